// SPDX-License-Identifier: GPL-2.0-only
/** Packets that the kernel has merged on reception (GRO) go through translation and are cut again. */

import assert from 'node:assert/strict'
import { Connection, type Host } from '../../vm/host/index.ts'
import type { Lab } from '../../vm/lab.ts'
import { tcp } from '../../vm/packet/index.ts'
import { A, C, POOL, S, type Link } from '../../vm/topology.ts'
import { snat } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'

const DF_GRO = 'issue 2: DF with GRO; defect 4: no false FRAG_NEEDED'
const MSS = 1460
const SEGMENTS = 16
const ROUNDS = 10
const [P0 = ''] = POOL

/** Fields of the line "Ip:" in /proc/net/snmp (RFC 4293): datagrams that were received, and that were forwarded. */
const COUNTERS = { received: 4, forwarded: 7 } as const

async function count(lab: Lab, what: keyof typeof COUNTERS): Promise<number> {
  return Number(await lab.gateway.sh(`awk '/^Ip:/ { value = $${COUNTERS[what]} } END { print value }' /proc/net/snmp`))
}

interface Stream {
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
async function sendMerged(stream: Stream): Promise<void> {
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

export default suite('offload', [
  test('merged segments with DF go out whole, without a false frag-needed', DF_GRO, async (lab) => {
    await snat(lab, { pool: [P0] })
    const sent = `${C}:40001 > ${S}:80`
    const seen = `${P0}:40001 > ${S}:80`
    await Connection.open({ client: lab.c, sent, server: lab.net, seen })
    await sendMerged({ lab, link: 'inside2', what: 'forwarded', from: lab.c, sent, to: lab.net, seen, seq: 1_000_001 })
  }),

  test('merged segments with DF come in whole, without a false frag-needed', DF_GRO, async (lab) => {
    await snat(lab, { pool: [P0] })
    const connection = await Connection.open({ client: lab.a, sent: `${A}:40002 > ${S}:80`, server: lab.net, seen: `${P0}:40002 > ${S}:80` })
    await connection.request('GET /')
    const sent = `${S}:80 > ${P0}:40002`
    await sendMerged({ lab, link: 'outside', what: 'received', from: lab.net, sent, to: lab.a, seen: `${S}:80 > ${A}:40002`, seq: 5_000_001 })
  }),
])
