// SPDX-License-Identifier: GPL-2.0-only
/** What scripted hosts do when nobody tells them what to expect: they answer, as simple servers would. */

import { echo, type Packet, tcp, udp } from '../packet/index.ts'
import type { Host } from './host.ts'

/**
 * Makes a host answer pings, echo UDP, and serve TCP without keeping state: it takes
 * every connection, echoes what it is sent, and closes when the client does.
 *
 * @param host answers for whatever address the packet was sent to
 */
export function answerEverything(host: Host): void {
  host.service = (packet) => {
    const reply = replyTo(packet)
    if (reply) host.send(reply)
    return true
  }
}

/** @returns the answer to a packet, or nothing where a server would be silent */
export function replyTo(packet: Packet): Buffer | undefined {
  const { ip } = packet
  if (!ip) return undefined
  if (packet.icmp?.type === 8) {
    return echo(`${ip.dst} > ${ip.src}`, 'reply', { echoId: packet.icmp.id, seq: packet.icmp.seq, data: packet.data })
  }
  if (packet.udp) return udp(`${ip.dst}:${packet.udp.dport} > ${ip.src}:${packet.udp.sport}`, packet.data)
  return packet.tcp ? tcpReply(packet, packet.tcp) : undefined
}

const FIRST_SEQUENCE = 5_000_000

function tcpReply({ ip, data }: Packet, header: NonNullable<Packet['tcp']>): Buffer | undefined {
  const route = `${ip?.dst}:${header.dport} > ${ip?.src}:${header.sport}`
  const has = (flag: string): boolean => header.flags.includes(flag)
  const next = (header.seq + data.length + (has('S') || has('F') ? 1 : 0)) >>> 0
  if (has('R')) return undefined
  if (has('S') && !has('A')) return tcp(route, 'SA', { seq: FIRST_SEQUENCE, ack: next })
  if (has('F')) return tcp(route, 'FA', { seq: header.ack, ack: next })
  if (data.length > 0) return tcp(route, 'PA', { seq: header.ack, ack: next, data })
  return undefined
}
