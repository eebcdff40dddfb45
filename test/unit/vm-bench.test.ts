// SPDX-License-Identifier: GPL-2.0-only
import test from 'ava'
import { ALONE, BESIDE, chooseParts, countsOf, type Measurement, partNames } from '../../vm/bench/measure.ts'
import { INSIDE, POOL, rateOf, REMOTE, sending } from '../../vm/bench/network.ts'
import { nftablesFlowtable, nftablesNothing, nftablesSnat } from '../../vm/bench/nftables.ts'
import { tables } from '../../vm/bench/report.ts'

test('what pktgen says becomes instructions per packet, as 6.1 and as 2.6.32 say it', (t) => {
  t.deepEqual(rateOf('OK: 400000(c399000+d1000) usec, 40000 (60byte,0frags)'), { instructions: 10_000, sent: 40_000 })
  t.is(rateOf('OK: 400000(c399000+d1000) nsec, 40000 (60byte,0frags)').instructions, 10_000)
  t.throws(() => rateOf('ERROR'))
})

const run = (arrived: number): string => `begin\nforwarded 7\nOK: 100(c100+d0) usec, 10 (60byte,0frags)\nforwarded 17\narrived ${arrived}\n`

test('each run of a script has its counts, and one that says too little is an error', (t) => {
  t.deepEqual(countsOf(`noise\n${run(10)}${run(9)}`), [
    { instructions: 10_000, sent: 10, arrived: 10, forwarded: 10 },
    { instructions: 10_000, sent: 10, arrived: 9, forwarded: 10 },
  ])
  t.throws(() => countsOf('begin\nforwarded 7\nOK: 100(c100+d0) usec, 10 (60byte,0frags)\nforwarded 17\n'), { message: /did not say all/ })
})

test('flows differ by the port of the side that is inside', (t) => {
  const stream = { source: '192.0.2.1', destination: '192.0.2.2', ports: [1000, 20] as const, remotes: 1, checksum: true, packets: 40 }
  const out = sending({ ...stream, from: 'inside', varies: 'source' })
  t.regex(out, /^at inside packets source 40 .*dst_min=192\.0\.2\.2 dst_max=192\.0\.2\.2 udp_src_min=1000 udp_src_max=1020 udp_dst_min=53 udp_dst_max=53 flag=UDPCSUM /)
  t.regex(sending({ ...stream, from: 'remote', varies: 'destination', checksum: false }), /packets sink .*udp_dst_min=1000 udp_dst_max=1020 udp_src_min=53 udp_src_max=53 dst_mac/)
})

test('more flows than a remote has ports differ by the remote as well, in both directions', (t) => {
  const stream = { ports: [1000, 21] as const, remotes: 4, checksum: true, packets: 84 }
  const out = sending({ ...stream, from: 'inside', source: INSIDE, destination: REMOTE, varies: 'source' })
  t.regex(out, /src_min=192\.168\.1\.2 src_max=192\.168\.1\.2 dst_min=198\.51\.100\.7 dst_max=198\.51\.100\.10 /)
  const back = sending({ ...stream, from: 'remote', source: REMOTE, destination: POOL, varies: 'destination' })
  t.regex(back, /src_min=198\.51\.100\.7 src_max=198\.51\.100\.10 dst_min=203\.0\.113\.10 dst_max=203\.0\.113\.10 /)
})

test('parts are chosen by words of their names, and plain forwarding comes along', (t) => {
  t.is(chooseParts(undefined).length, partNames().length)
  t.deepEqual(chooseParts('LVS').map(({ name }) => name), ['plain forwarding', 'LVS NAT in'])
  t.deepEqual(chooseParts('flowtable').map(({ name }) => name), ['plain forwarding', 'nftables, flowtable'])
  t.deepEqual(chooseParts('nothing like it'), [])
})

/** @returns type and body of each message, all lengths checked */
function messages(batch: Buffer): { type: number; flags: number; body: Buffer }[] {
  const found = []
  for (let at = 0; at < batch.length;) {
    const length = batch.readUInt32LE(at)
    found.push({ type: batch.readUInt16LE(at + 4), flags: batch.readUInt16LE(at + 6), body: batch.subarray(at + 20, at + length) })
    at += length
  }
  return found
}

/** @returns the attributes of a level, by type */
function attributes(body: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>()
  for (let at = 0; at < body.length;) {
    const length = body.readUInt16LE(at)
    found.set(body.readUInt16LE(at + 2) & 0x3fff, body.subarray(at + 4, at + length))
    at += (length + 3) & ~3
  }
  return found
}

test('rules of nf_tables are a batch of messages, each acknowledged but its begin and end', (t) => {
  const types = (batch: Buffer) => messages(batch).map(({ type }) => type)
  t.deepEqual(types(nftablesSnat('far', '203.0.113.10')), [16, 0xa00, 0xa03, 0xa06, 17])
  t.deepEqual(types(nftablesFlowtable('far', '203.0.113.10', ['near', 'far'])), [16, 0xa00, 0xa03, 0xa06, 0xa16, 0xa03, 0xa06, 17])
  t.deepEqual(types(nftablesNothing()), [16, 0xa02, 17])
  const [begin, table, chain, rule] = messages(nftablesSnat('far', '203.0.113.10'))
  t.is((begin?.flags ?? 0) & 4, 0)
  t.is((table?.flags ?? 0) & 4, 4)
  t.deepEqual(attributes(chain?.body ?? Buffer.alloc(0)).get(7)?.toString(), 'nat\0')
  t.true(rule?.body.includes(Buffer.from([203, 0, 113, 10])))
})

const flowCounts = [1, 1_000, 20_000, 100_000]
const figures = (way: string, kind: Measurement['kind'], instructions: number): Measurement[] =>
  flowCounts.map((flows) => ({ way, kind, checksum: true, flows, instructions, sent: 10, arrived: 10 }))

test('the table tells what each way adds, in terms of iptables, and refuses what did not arrive', (t) => {
  const occupied = (way: string, occupancy: number, instructions: number): Measurement =>
    ({ way, kind: 'new', checksum: true, flows: 200, occupancy, instructions, sent: 200, arrived: 190 })
  const ruled = (count: number, instructions: number): Measurement =>
    ({ way: 'IPVS SNAT, rules', kind: 'new', checksum: true, flows: 1_000, rules: { count, shape: 'ports' }, instructions, sent: 10, arrived: 10 })
  const lines = tables({
    measurements: [
      ...figures('plain forwarding', 'out', 6000), ...figures('iptables SNAT', 'out', 8000), ...figures('nftables, flowtable', 'out', 5000),
      ...figures('IPVS SNAT', 'out', 6500).map((one) => (one.flows === 1 ? { ...one, refused: '9 of 10 arrived translated' } : one)),
      ...figures(ALONE, 'in', 7000), ...figures(BESIDE, 'in', 7070),
      ruled(1, 10_000), ruled(1_000, 10_500),
      occupied('IPVS SNAT', 0, 10_000), occupied('IPVS SNAT', 95, 15_000),
    ],
    loads: [{ how: 'one ipvsadm -R', seconds: 0.08 }],
    inapplicable: [{ what: 'nftables SNAT', reason: 'this kernel has no nf_tables' }],
  })
  const line = (start: string, nth = 0) => lines.filter((one) => one.startsWith(start))[nth] ?? ''
  t.regex(line('IPVS SNAT'), /^IPVS SNAT +refused( +6500 \+500 0\.25){3}$/)
  t.regex(line('iptables SNAT'), /^iptables SNAT +8000 \+2000 /)
  t.regex(line('nftables, flowtable'), /5000 -1000 -0\.50/)
  t.true(lines.some((one) => /7000, 7070 \+1\.0 %/.test(one)))
  t.true(lines.some((one) => /^IPVS SNAT +10000 x1\.00, 10 .*15000 x1\.50, 10/.test(one)))
  t.regex(line('ports'), /^ports +- +10000, 10500 x1\.05$/)
  t.regex(line('one ipvsadm -R'), /0\.08$/)
  t.true(lines.includes('refused: IPVS SNAT, out, 1 flows: 9 of 10 arrived translated'))
  t.true(lines.includes('nftables SNAT: not applicable: this kernel has no nf_tables'))
})
