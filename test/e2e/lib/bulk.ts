// SPDX-License-Identifier: GPL-2.0-only
/** Bulk TCP data that the kernel merges on reception (GRO). */

import assert from 'node:assert/strict'
import type { Host } from '../../../vm/host/index.ts'
import type { Lab } from '../../../vm/lab.ts'
import { tcp } from '../../../vm/packet/index.ts'
import type { Link } from '../../../vm/topology.ts'

const MSS = 1460
const SEGMENTS = 16
const ROUNDS = 10

/** Fields of the line "Ip:" in /proc/net/snmp (RFC 4293): datagrams that were received, and that were forwarded. */
const COUNTERS = { received: 4, forwarded: 7 } as const

async function count(lab: Lab, what: keyof typeof COUNTERS): Promise<number> {
  return Number(await lab.gateway.sh(`awk '/^Ip:/ { value = $${COUNTERS[what]} } END { print value }' /proc/net/snmp`))
}

export interface Stream {
  lab: Lab
  link: Link
  what: keyof typeof COUNTERS
  from: Host
  sent: string
  to: Host
  seen: string
  seq: number
}

/**
 * Sends bursts until the kernel has merged segments of one: whether it does depends on how many it finds at once, and an
 * emulated machine is sometimes too fast for the wire.
 */
export async function sendMerged(stream: Stream): Promise<void> {
  const { lab, link } = stream
  // 2.6.32 leaves it to the administrator for this card.
  await lab.gateway.sh(`ethtool -K ${link} gro on`)
  for (let round = 0; round < ROUNDS; round++) {
    await lab.settle()
    const before = await count(lab, stream.what)
    const seq = stream.seq + round * MSS * SEGMENTS
    await burst(stream.from, stream.sent, stream.to, stream.seen, seq, Buffer.alloc(MSS * SEGMENTS, `round ${round} of ${link} `))
    const passed = (await count(lab, stream.what)) - before
    if (passed < SEGMENTS) return
  }
  assert.fail(`no segments were merged in ${ROUNDS} bursts of ${SEGMENTS}, so nothing is proven`)
}

/** Sends segments back to back with DF set, and expects their data, in however many packets, with no ICMP error. */
async function burst(from: Host, sent: string, to: Host, seen: string, seq: number, window: Buffer): Promise<void> {
  const packets: Buffer[] = []
  for (let at = 0; at < window.length; at += MSS) {
    packets.push(tcp(sent, 'A', { seq: seq + at, ack: 1, data: window.subarray(at, at + MSS), df: true }))
  }
  from.send(packets)
  let got = 0
  while (got < window.length) {
    const packet = await to.expect(`tcp ${seen} *`)
    if (packet.data.length === 0) continue
    assert.equal((packet.tcp?.seq ?? 0) - seq, got, 'segments in order')
    assert.ok(packet.data.equals(window.subarray(got, got + packet.data.length)), 'data of a segment')
    assert.ok(packet.datagram.length <= 1500, `a packet of ${packet.datagram.length} bytes`)
    assert.ok(packet.ip?.df, 'DF is kept')
    got += packet.data.length
  }
  from.refuse('icmp * > * frag-needed **')
}
