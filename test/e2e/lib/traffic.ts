// SPDX-License-Identifier: GPL-2.0-only
/** Traffic patterns that several tests use. */

import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import type { Lab } from '../../../vm/lab.ts'
import { Connection, Host } from '../../../vm/host/index.ts'
import { echo, type Packet, sides, summary, udp } from '../../../vm/packet/index.ts'
import { A, GATEWAY, S } from '../../../vm/topology.ts'

/** @returns `A > B` as `B > A` */
export const turn = (route: string): string => sides(route).reverse().join(' > ')

/** @returns `SOURCE:PORT > DESTINATION:PORT` of a TCP or UDP packet */
export function routeOf(packet: Packet): string {
  const ports = packet.tcp ?? packet.udp
  assert.ok(packet.ip && ports, 'a packet with ports')
  return `${packet.ip.src}:${ports.sport} > ${packet.ip.dst}:${ports.dport}`
}

export interface Exchange {
  client: Host
  /** What the client sends. */
  sent: string
  server: Host
  /** What the server is to see; `*` where it cannot be known before. */
  seen: string
}

/**
 * One UDP datagram there and one back, with their data compared.
 *
 * @returns the route as the server saw it
 */
export async function ask(exchange: Exchange, question: string | Buffer = 'question', answer: string | Buffer = 'answer'): Promise<string> {
  exchange.client.send(udp(exchange.sent, question))
  const arrived = await exchange.server.expect(`udp ${exchange.seen}`)
  assert.equal(arrived.data.toString('latin1'), Buffer.from(question).toString('latin1'), 'data of the question')
  const seen = routeOf(arrived)
  exchange.server.send(udp(turn(seen), answer))
  const back = await exchange.client.expect(`udp ${turn(exchange.sent)}`)
  assert.equal(back.data.toString('latin1'), Buffer.from(answer).toString('latin1'), 'data of the answer')
  return seen
}

/**
 * One ping there and back.
 *
 * @param route `CLIENT > SERVER`
 * @param source address the server is to see
 * @returns the id that the server saw
 */
export async function ping(client: Host, route: string, echoId: number, server: Host, source: string): Promise<number> {
  const [from, to] = sides(route)
  client.send(echo(route, 'request', { echoId }))
  const request = await server.expect(`icmp ${source} > ${to} echo-request id=*`)
  const id = request.icmp?.id ?? -1
  server.send(echo(`${to} > ${source}`, 'reply', { echoId: id, data: request.data }))
  const reply = await client.expect(`icmp ${to} > ${from} echo-reply id=${echoId}`)
  assert.equal(reply.data.toString(), 'echo data', 'data of the echo')
  return id
}

const POLL_MS = 200
const POLLS = 100

/**
 * Waits for what takes its time.
 *
 * @param what is waited for, in words
 * @throws AssertionError when it does not come about
 */
export async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let polls = 0; polls < POLLS; polls++) {
    if (await holds()) return
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
  assert.fail(`waited in vain: ${what}`)
}

/** @returns the answer "there is no such name" to a DNS query (RFC 1035, 4.1.1) */
export function nameError(query: Buffer): Buffer {
  const answer = Buffer.from(query)
  answer.writeUInt16BE(0x8183, 2)
  return answer
}

/** Packets of {@link everyKindGoesOut} in each direction. */
export const OUT_PACKETS = 8
export const BACK_PACKETS = 7

/**
 * A whole TCP connection, a UDP exchange and a ping, from inside host `a` to {@link S}.
 *
 * @param pool address that the outside has to see
 * @param port source port of all three, and id of the ping
 */
export async function everyKindGoesOut(lab: Lab, pool: string, port = 40001): Promise<void> {
  const connection = await Connection.open({ client: lab.a, sent: `${A}:${port} > ${S}:80`, server: lab.net, seen: `${pool}:${port} > ${S}:80` })
  await connection.request('GET /')
  await connection.respond('hello')
  await connection.finish()
  await ask({ client: lab.a, sent: `${A}:${port} > ${S}:53`, server: lab.net, seen: `${pool}:${port} > ${S}:53` })
  await ping(lab.a, `${A} > ${S}`, port, lab.net, pool)
}

/** Rounds of packets that are under way at a time. */
const BURST = 5

/**
 * Sends while `work` runs, as fast as the gateway takes it.
 *
 * @param send one round of packets
 * @param pause between some rounds and the next, in milliseconds: what the gateway forwards takes time from `work`
 */
export async function during<T>(lab: Lab, send: (round: number) => void, work: () => Promise<T>, pause = 0): Promise<T> {
  let done = false
  const pump = async () => {
    for (let round = 0; !done; round += BURST) {
      for (let count = 0; count < BURST; count++) send(round + count)
      await lab.breathe()
      if (pause > 0) await delay(pause)
    }
  }
  const working = work().finally(() => (done = true))
  const [result] = await Promise.all([working, pump()])
  return result
}

/**
 * Asserts that nothing with a private address has left by the outside link.
 * Call it when the wires have settled.
 */
export function assertNothingPrivateLeft(lab: Lab): void {
  const leaked = lab.sent('outside').filter((packet) => packet.ip?.src.startsWith('192.168.'))
  assert.deepEqual(leaked.slice(0, 5).map(summary), [], `${leaked.length} packets left with a private address`)
}

/** Puts a host on the outside link that has the gateway as its router, for as long as `work` takes. */
export async function withNeighbour(lab: Lab, address: string, work: (neighbour: Host) => Promise<void>, link: 'outside' | 'inside2' = 'outside'): Promise<void> {
  const neighbour = new Host(lab.links[link], { name: 'neighbour', mac: '02:00:00:00:02:4d', addresses: [address], gateway: GATEWAY[link].mac })
  try {
    await work(neighbour)
  } finally {
    lab.links[link].detach(neighbour)
  }
}

/** Collects the fragments of one datagram at a host. @returns the first fragment, and the reassembled IP payload */
export async function gather(host: Host, first: string, rest: string): Promise<{ head: Packet; body: Buffer }> {
  const head = await host.expect(first)
  const parts = [head]
  while (parts.at(-1)?.ip?.mf) parts.push(await host.expect(rest))
  const headers = 20
  let at = 0
  for (const part of parts) {
    assert.equal(part.ip?.offset, at, 'offset of a fragment')
    at += part.datagram.length - headers
  }
  return { head, body: Buffer.concat(parts.map((part) => part.datagram.subarray(headers))) }
}
