// SPDX-License-Identifier: GPL-2.0-only
import test from 'ava'
import { chartsOf } from '../../vm/bench/charts.ts'
import { conversationsOf } from '../../vm/bench/connections.ts'
import { reportOf } from '../../vm/bench/markdown.ts'
import { ALONE, BESIDE, chooseParts, measure, memoryOf, partNames } from '../../vm/bench/measure.ts'
import { INSIDE, POOL, rateOf, REMOTE, sending, transferOf } from '../../vm/bench/network.ts'
import { nftablesFlowtable, nftablesNothing, nftablesSnat } from '../../vm/bench/nftables.ts'
import { svgOf } from '../../vm/bench/plot.ts'
import { refusals, tablesOf, textLines } from '../../vm/bench/report.ts'
import { figuresOf, type Measurement, nameOf, type Quantity, type Results, summaryOf } from '../../vm/bench/results.ts'
import { togetherOf, windowsOf } from '../../vm/bench/processors.ts'
import { PROFILE_UNIT } from '../../vm/bench/profile.ts'
import { countsOf } from '../../vm/bench/runs.ts'
import { gapsOf } from '../../vm/bench/scale.ts'
import { functionAt, symbolsOf } from '../../vm/bench/symbols.ts'
import { results, rounds, stored } from './bench-fixture.ts'

test('what pktgen says becomes instructions per packet, as 6.1 and as 2.6.32 say it', (t) => {
  t.deepEqual(rateOf('OK: 400000(c399000+d1000) usec, 40000 (60byte,0frags)'), { instructions: 10_000, sent: 40_000 })
  t.is(rateOf('OK: 400000(c399000+d1000) nsec, 40000 (60byte,0frags)').instructions, 10_000)
  t.throws(() => rateOf('ERROR'))
})

const run = (arrived: number): string => `begin\nforwarded 7\nshort 5\nOK: 100(c100+d0) usec, 10 (60byte,0frags)\nforwarded 17\nshort 6\narrived ${arrived}\n`

test('each run of a script has its counts, and one that says too little is an error', (t) => {
  t.deepEqual(countsOf(`noise\n${run(10)}${run(9)}`), [
    { instructions: 10_000, sent: 10, arrived: 10, forwarded: 10, short: 1 },
    { instructions: 10_000, sent: 10, arrived: 9, forwarded: 10, short: 1 },
  ])
  t.throws(() => countsOf('begin\nforwarded 7\nOK: 100(c100+d0) usec, 10 (60byte,0frags)\nforwarded 17\n'), { message: /did not say all/ })
})

test('a stream is counted by the time in which there was something to do, and by the source that its packets have', (t) => {
  t.deepEqual(transferOf('noise\ntook 1000 10 5 6 3000 110 25 36\npackets 30\npackets 0\n'), { busy: 1900, idle: 100, outward: 20, homeward: 30 })
  t.deepEqual(transferOf('took 1000 0 0 0 3000 0 0 0\npackets 28\npackets 2\n').refused, '2 of 30 packets had another source')
  t.is(transferOf('took 1000 0 0 0 3000 0 0 0\npackets 0\npackets 0\n').refused, '0 of 0 packets had another source')
  t.throws(() => transferOf('took 1000\n'), { message: /did not say all/ })
})

const connected = (served: string, done = 1000): string =>
  `noise\nforwarded 5\nshort 2\nconnected ${done} 90000000\ntook 1000 10 5 6 100001000 1000010 4005 4006\nforwarded 7005\nshort 1002\nserved ${served}\n`

test('connections are counted by their own time without what was idle, and by who came to the server', (t) => {
  t.deepEqual(conversationsOf(connected('1000 0')), { instructions: 89_000, sent: 1000, arrived: 1000, packets: 8, short: 2, idle: 1_000_000 })
  t.is(conversationsOf(connected('998 2')).refused, '2 of 1000 had another source')
  t.is(conversationsOf(connected('12 0', 12)).refused, '12 of 1000 arrived translated')
  t.is(conversationsOf(`short-connections: a connection: Host is unreachable\n${connected('12 0', 12)}`).refused, '12 of 1000 arrived translated: a connection: Host is unreachable')
  t.throws(() => conversationsOf(connected('1000')), { message: /did not say all/ })
})

test('a steady stream says for how long it was kept, unless that is its own doing', (t) => {
  t.deepEqual(gapsOf('noise\nwatched all are ended\nstream 10 0 0 1300000\nwatched nothing happens\nstream 10 0 0 200000\n'), [
    { what: 'all are ended', microseconds: 1100 }, { what: 'nothing happens', microseconds: 0 },
  ])
  t.is(gapsOf('watched all come\nstream 8 2 0 900000\n')[0]?.refused, '2 of 10 packets were lost')
  t.is(gapsOf('watched all come\nstream 8 0 1 900000\n')[0]?.refused, '1 times there was nothing to send')
  t.throws(() => gapsOf('watched all come\nsteady-stream: sending: No buffer space available\n'), { message: /did not say all/ })
})

test('of two processors, writes to what both use are told by function, without those of their housekeeping', async (t) => {
  t.deepEqual(togetherOf('begin\nOK: 1(c1+d0) usec, 10 (60byte,0frags)\nOK: 2(c1+d0) usec, 10 (60byte,0frags)\narrived 19\n'), [{ sent: 20, arrived: 19 }])
  t.throws(() => togetherOf('begin\narrived 1\n'), { message: /did not say all/ })
  t.deepEqual(windowsOf('window\nffff0 ff40 2 3 70 60\nwindow\n'), [[{ address: 0xffff0n, line: 'ff40', writes: 5, uses: 60 }], []])
  const symbols = symbolsOf('0000000000000010 T one\n0000000000000030 t two\t[ip_vs]\n')
  t.deepEqual([0x10n, 0x2fn, 0x30n, 0x8n].map((address) => functionAt(symbols, address)), ['one', 'one', 'two [ip_vs]', 'unknown'])

  const sent = 'begin\nOK: 1(c1+d0) usec, 10000 (60byte,0frags)\nOK: 1(c1+d0) usec, 10000 (60byte,0frags)\narrived 20000\n'
  const machine = {
    ...fakeMachine(/nothing/),
    sh: async (text: string) => `${text.split('echo begin').slice(1).map(() => sent).join('')}symbols\n0000000000001000 T locks\n0000000000002000 t counts\t[ip_vs]\n0000000000003000 t estimates\t[ip_vs]\n`,
  }
  const windows = ['1000 40 9000 9000 9000 9000', '1000 40 9000 9000 9000 9000\n1004 80 10000 10000 20000 20000\n2004 c0 5000 5000 5000 9000\n2008 100 100 100 900 900\n3000 140 100 100 9000 9000', '']
  const found = await measure(machine, chooseParts('processors').slice(0, 1), {
    rounds: 1, progress: () => undefined, keep: () => undefined, told: () => windows.map((window) => `window\n${window}\n`).join(''),
  })
  t.deepEqual(found.quantities.map(({ what, value }) => [what, value]), [
    ['out: writes to what the other processor uses', 1.5], ['out: of these, locks', 1], ['out: of these, counts [ip_vs]', 0.5],
    ['out: writes there of functions that do not with every other packet', 0.01],
    ['back: writes to what the other processor uses', 0], ['back: writes there of functions that do not with every other packet', 0],
  ])
})

test('where the instructions of a packet are is told by function, of those that are measured and not of what comes before them', async (t) => {
  const answer = (arrived: number) => `begin\nOK: 1(c1+d0) usec, 20000 (60byte,0frags)\narrived ${arrived}\n`
  const machine = {
    ...fakeMachine(/nothing/),
    sh: async (text: string) => {
      const runs = text.split('echo begin').length - 1
      return `${Array.from({ length: runs }, (_, index) => answer(index === 2 ? 19_999 : 20_000)).join('')}symbols\n0000000000001000 T forwards\n0000000000002000 t adds\t[ip_vs]\n0000000000003000 t little\n0000000000004000 t hardly\n`
    },
  }
  const windows = ['1000 2000000\n1010 2000000\n2000 200000\n3000 20000\n4000 10', '1000 1', '1000 2000000', '2000 1', '2000 1', '2000 400000']
  const lines: string[] = []
  const found = await measure(machine, chooseParts('profile').slice(0, 1), {
    rounds: 1, progress: (line) => lines.push(line), keep: () => undefined, told: () => windows.map((window) => `window\n${window}\n`).join(''),
  })
  t.deepEqual(found.quantities.map(({ what, value, refused }) => [what, value, refused]), [
    ['new: forwards', 200, undefined], ['new: adds [ip_vs]', 10, undefined], ['new: little', 1, undefined], ['new: all others', 0.0005, undefined],
    ['out: forwards', 100, '19999 of 20000 arrived translated'], ['out: all others', 0, '19999 of 20000 arrived translated'],
    ['back: adds [ip_vs]', 20, undefined], ['back: all others', 0, undefined],
  ])
  t.deepEqual(lines, ['plain forwarding, new: 211 instructions per packet, of 3 functions', 'plain forwarding, out: 100 instructions per packet, of 1 functions', 'plain forwarding, back: 20 instructions per packet, of 1 functions'])
  t.deepEqual(tablesOf(found).map(({ rows }) => rows), [
    [['all', '211'], ['forwards', '200'], ['adds [ip_vs]', '10'], ['all others', '1']],
    [['all', 'refused'], ['all others', 'refused']],
    [['all', '20'], ['adds [ip_vs]', '20'], ['all others', '-']],
  ])
  t.deepEqual(refusals(found), ['plain forwarding, out, 20,000 flows: 19999 of 20000 arrived translated'])
})

/** @param rounds instructions of functions in each round */
const profiled = (way: string, rounds: readonly Record<string, number>[], refused?: string): Quantity[] =>
  rounds.flatMap((functions, index) => Object.entries(functions).map(([name, value]) => ({
    way, what: `out: ${name}`, flows: 20_000, unit: PROFILE_UNIT, round: index + 1, value, ...(refused !== undefined && index === 0 ? { refused } : {}),
  })))

const profilesOf = (...quantities: Quantity[]) => tablesOf({ ...results(), quantities }).map(({ head, rows }) => [head, ...rows])

test('a function of few instructions is a row or is told with the others by its median, and counted once', (t) => {
  t.deepEqual(profilesOf(
    ...profiled('plain forwarding', [{ forwards: 100, near: 5.5, wavers: 4, 'all others': 1 }, { forwards: 104, near: 4.9, wavers: 4.8, 'all others': 2 }]),
    // A function that is in one round only has none in the others: a timer that went off.
    ...profiled('IPVS SNAT', [{ forwards: 100, adds: 30, timer: 90, near: 3, 'all others': 1 }, { forwards: 100, adds: 34, near: 3, 'all others': 1 }, { forwards: 100, adds: 32, near: 3, 'all others': 1 }]),
  ), [[
    ['function', 'plain forwarding', 'IPVS SNAT'],
    ['all', '113', '136'],
    ['forwards', '102', '100'],
    ['adds', '-', '32'],
    ['near', '5', '3'],
    ['all others', '6', '1'],
  ]])
})

test('a profile of packets that went astray in one round is refused, and its functions are no rows', (t) => {
  const quantities = [...profiled('plain forwarding', [{ forwards: 100, 'all others': 1 }]), ...profiled('IPVS SNAT', [{ forwards: 90, drops: 50, 'all others': 1 }, { forwards: 100, 'all others': 1 }], 'astray')]
  t.deepEqual(profilesOf(...quantities), [[
    ['function', 'plain forwarding', 'IPVS SNAT'],
    ['all', '101', 'refused'],
    ['forwards', '100', 'refused'],
    ['all others', '1', 'refused'],
  ]])
  t.deepEqual(refusals({ ...results(), quantities }), ['IPVS SNAT, out, 20,000 flows: astray'])
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
  t.deepEqual(chooseParts('LVS').map(({ name }) => name), ['plain forwarding', 'LVS NAT in', 'LVS NAT', 'LVS NAT, fast'])
  t.deepEqual(chooseParts('flowtable').map(({ name }) => name), [
    'plain forwarding', 'nftables, flowtable', 'nftables, flowtable, bulk', 'plain forwarding, connections', 'nftables, flowtable, connections',
  ])
  for (const word of ['bulk', 'connections']) t.true(chooseParts(word).every(({ name }) => name.endsWith(`, ${word}`)))
  t.deepEqual(chooseParts('nothing like it'), [])
})

test('what takes long is measured only when it is asked for, alone and in a larger machine', (t) => {
  const usual = chooseParts(undefined)
  t.is(memoryOf(usual), undefined)
  t.false(usual.some(({ name }) => /scale|million/.test(name)))
  const scale = chooseParts('scale')
  t.deepEqual(scale.map(({ name }) => name), ['IPVS SNAT', 'IPVS SNAT, fast', 'iptables SNAT', 'nftables, flowtable'].map((way) => `${way}, scale`))
  t.is(memoryOf(scale), 2048)
  t.is(chooseParts('million').length, 4)
  t.is(memoryOf(chooseParts('million')), 3072)
  t.false(chooseParts('fast').some(({ asked }) => asked !== undefined))
  t.deepEqual([...new Set(chooseParts('processors').map(({ plugin }) => plugin))], ['shared-writes'])
  t.is(new Set(partNames()).size, usual.length + 20)
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
  flowCounts.map((flows) => ({ way, kind, checksum: true, flows, round: 1, instructions, sent: 10, arrived: 10 }))

test('the table tells what each way adds, in terms of iptables, and refuses what did not arrive', (t) => {
  const occupied = (way: string, occupancy: number, instructions: number): Measurement =>
    ({ way, kind: 'new', checksum: true, flows: 200, occupancy, round: 1, instructions, sent: 200, arrived: 190 })
  const ruled = (count: number, instructions: number): Measurement =>
    ({ way: 'IPVS SNAT, rules', kind: 'new', checksum: true, flows: 1_000, rules: { count, shape: 'ports' }, round: 1, instructions, sent: 10, arrived: 10 })
  const lines = textLines({
    measurements: [
      ...figures('plain forwarding', 'out', 6000), ...figures('iptables SNAT', 'out', 8000), ...figures('nftables, flowtable', 'out', 5000),
      ...figures('IPVS SNAT', 'out', 6500).map((one) => (one.flows === 1 ? { ...one, refused: '9 of 10 arrived translated' } : one)),
      ...figures(ALONE, 'in', 7000), ...figures(BESIDE, 'in', 7070),
      ...figures('LVS NAT', 'reply', 8000), ...figures('LVS NAT, fast', 'reply', 5000),
      ...figures('nftables, flowtable', 'up', 3620).slice(0, 1),
      ...['plain forwarding', 'IPVS SNAT', 'iptables SNAT'].flatMap((way, index) => rounds({ way, kind: 'connection', flows: 1_000 }, 80_000 + 5_000 * index)),
      ruled(1, 10_000), ruled(1_000, 10_500),
      occupied('IPVS SNAT', 0, 10_000), occupied('IPVS SNAT', 95, 15_000),
    ],
    loads: [{ how: 'one ipvsadm -R', round: 1, seconds: 0.08 }],
    quantities: [],
    inapplicable: [{ what: 'nftables SNAT', reason: 'this kernel has no nf_tables' }],
  })
  const line = (start: string, nth = 0) => lines.filter((one) => one.startsWith(start))[nth] ?? ''
  t.regex(line('IPVS SNAT'), /^IPVS SNAT +refused( +6500 \+500 0\.25){3}$/)
  t.regex(line('iptables SNAT'), /^iptables SNAT +8000 \+2000 /)
  t.regex(line('nftables, flowtable'), /5000 -1000 -0\.50/)
  t.regex(line(BESIDE), /^LVS NAT in, beside 20000 SNAT flows( +7070 \+1\.0 %){4}$/)
  t.true(lines.some((one) => /^nftables, flowtable +- +3620, 3\.20 Gbit\/s$/.test(one)), lines.join('\n'))
  t.true(lines.some((one) => /^IPVS SNAT +85000 \+5000 0\.50$/.test(one)), lines.join('\n'))
  t.regex(line('LVS NAT: replies'), /: replies( +8000){4}$/)
  t.regex(line('LVS NAT, fast: replies'), /: replies( +5000 x0\.63){4}$/)
  t.true(lines.some((one) => /^IPVS SNAT +10000 x1\.00, 10 .*15000 x1\.50, 10/.test(one)))
  t.regex(line('ports'), /^ports +- +10000, 10500 x1\.05$/)
  t.regex(line('one ipvsadm -R'), /0\.08$/)
  t.true(lines.includes('refused: IPVS SNAT, out, 1 flow, with checksum: 9 of 10 arrived translated'))
  t.true(lines.includes('not applicable: nftables SNAT: this kernel has no nf_tables'))
})

test('of several rounds, tables have the median and the spread, and what was refused once is refused', (t) => {
  t.deepEqual(summaryOf([5, 1, 2, 4]), { median: 3, low: 1, high: 5 })
  const measurements = [
    ...rounds({ way: 'plain forwarding' }, 6000, 6012, 6006), ...rounds({ way: 'IPVS SNAT' }, 6506, 6500, 6520),
    ...rounds({ way: 'iptables SNAT' }, 8000, 8000, 8000).map((one) => (one.round === 2 ? { ...one, refused: '9 of 10 arrived translated' } : one)),
  ]
  const figures = figuresOf(measurements)
  t.deepEqual(figures.map(nameOf), ['plain forwarding', 'IPVS SNAT', 'iptables SNAT'].map((way) => `${way}, out, 1 flow, with checksum`))
  t.deepEqual(figures[1]?.values, [6506, 6500, 6520])
  const lines = textLines({ measurements, loads: [1, 2, 3].map((round) => ({ how: 'one ipvsadm -R', round, seconds: round / 10 })), quantities: [], inapplicable: [] })
  t.regex(lines[0] ?? '', /^Medians of 3 rounds; in brackets/)
  t.true(lines.some((one) => /^IPVS SNAT +6506 \+500 \(0\.31 %\) +-/.test(one)))
  t.true(lines.some((one) => /^one ipvsadm -R +0\.20 \(100\.00 %\)$/.test(one)))
  t.true(lines.includes('refused: iptables SNAT, out, 1 flow, with checksum: in 1 of 3 rounds: 9 of 10 arrived translated'))
})

/** A machine that answers as one does where every packet arrives, at one more microsecond for each that was sent before. */
function fakeMachine(lacking: RegExp, goesShort = false) {
  let sent = 0
  let short = 0
  const answer = (script: string): string => [
    ...[...script.matchAll(/packets (?:source|sink) (\d+) /g)].map(([, count]) => {
      sent++
      const before = short
      if (goesShort) short += Number(count)
      return `begin\nforwarded 7\nshort ${before}\nOK: ${Number(count) * 6 + sent}(c1+d0) usec, ${count} (60byte,0frags)\nforwarded 7\nshort ${short}\narrived ${count}\n`
    }),
    ...[...script.matchAll(/^echo 'watched (.*)'$/gm)].map(([, what]) => `watched ${what}\nstream 10 0 0 ${what === 'nothing happens' ? 200_000 : 700_000}\n`),
    ...[...script.matchAll(/^echo "lasted .*?\)\) (.*)"$/gm)].map(([, what]) => `lasted 120 ${what}\n`),
    ...(script.includes('memory before') ? ['available 900000000\navailable 500000000\nslab ip_vs_conn 384000000\ngrown 4\n'] : []),
    ...(script.includes('short-connections connect') ? ['forwarded 0\nshort 0\nconnected 1000 90000000\nforwarded 8000\nshort 0\nserved 1000 0\n'] : []),
    ...(script.includes('echo took') ? ['took 1000 0 5 5 182001000 0 10 10\npackets 30\npackets 0\n'] : []),
    'seconds 0.5\n',
  ].join('')
  return {
    scripts: [] as string[],
    async sh(script: string) {
      this.scripts.push(script)
      return answer(script)
    },
    run: async (script: string) => ({ status: lacking.test(script) ? 1 : 0, output: '' }),
    put: async () => undefined,
  }
}

test('all parts are measured once, then all again, and what is known is kept after each', async (t) => {
  const progress: string[] = []
  const kept: number[] = []
  const parts = chooseParts('plain,iptables,rules')
  const results = await measure(fakeMachine(/UDPCSUM/), parts, { rounds: 2, progress: (line) => progress.push(line), keep: (known: Results) => kept.push(known.measurements.length) })
  // Nine figures of each way without a checksum, five of occupancy, two of a stream of each way, one of connections, twenty of rules.
  t.deepEqual(kept, [9, 18, 23, 25, 27, 28, 29, 49, 58, 67, 72, 74, 76, 77, 78, 98])
  t.is(progress.filter((line) => /^round \d of 2$/.test(line)).length, 2)
  t.deepEqual(results.inapplicable.map(({ what }) => what), ['UDP with a checksum'])
  t.deepEqual(results.measurements.map(({ round }) => round), [...Array<number>(49).fill(1), ...Array<number>(49).fill(2)])
  t.deepEqual(results.loads.map(({ round }) => round), [1, 1, 1, 2, 2, 2])
  for (const figure of figuresOf(results.measurements)) {
    t.is(figure.values.length, 2, nameOf(figure))
    t.is(figure.refused, undefined)
  }
})

test('both ways of LVS NAT are measured, and what went the whole way is no figure of the short one', async (t) => {
  for (const goesShort of [true, false]) {
    const results = await measure(fakeMachine(/UDPCSUM/, goesShort), chooseParts('LVS NAT, fast'), { rounds: 1, progress: () => undefined, keep: () => undefined })
    const served = results.measurements.filter(({ way }) => way === 'LVS NAT, fast')
    t.deepEqual(served.map(({ kind, flows }) => [kind, flows]), flowCounts.flatMap((flows) => [['in', flows], ['reply', flows]]))
    t.deepEqual([...new Set(served.map(({ refused }) => refused?.replace(/\d+/g, 'N')))], [goesShort ? undefined : 'N of N went the slow way'])
  }
})

test('millions of flows are told by packets of some of them, by memory, and by how long others wait', async (t) => {
  const found = await measure(fakeMachine(/nothing/), chooseParts('scale'), { rounds: 1, progress: () => undefined, keep: () => undefined })
  t.deepEqual(found.measurements.filter(({ way }) => way === 'IPVS SNAT').map(({ kind, flows, filled }) => [kind, flows, filled]), [
    ['out', 1, 1], ['back', 1, 1], ['new', 2_001, 1], ['out', 20_032, 1_000_000], ['back', 20_032, 1_000_000], ['new', 2_001, 1_000_000],
  ])
  const lines = textLines(found)
  const line = (start: string) => lines.find((one) => one.startsWith(start)) ?? ''
  t.regex(line('IPVS SNAT  '), / x\d\.\d{3} /)
  t.regex(line('IPVS SNAT: memory of each (bytes)'), / - +400$/)
  t.regex(line('IPVS SNAT: ip_vs_conn of each (bytes)'), / - +384$/)
  t.regex(line('IPVS SNAT: tables have grown (times)'), / - +4\.0$/)
  t.regex(line('IPVS SNAT: no packet while nothing happens (microseconds)'), / 0\.0 +-$/)
  t.regex(line('IPVS SNAT: no packet while all are ended (--kill) (microseconds)'), / - +500$/)
  t.regex(line('IPVS SNAT: listing all connections (milliseconds)'), / 120 +120$/)
  t.regex(line('IPVS SNAT: 20 services that come and go (milliseconds)'), / 120 +120$/)
  t.is(line('iptables SNAT: no packet while all are ended'), '')
})

test('a part that this kernel cannot do is asked for once', async (t) => {
  const machine = fakeMachine(/iptables -t nat -L|inside\.do/)
  const results = await measure(machine, chooseParts('iptables'), { rounds: 3, progress: () => undefined, keep: () => undefined })
  t.deepEqual(results.inapplicable.map(({ what }) => what), ['replies, and LVS NAT in', 'iptables SNAT', 'iptables SNAT, occupancy', 'iptables SNAT, bulk', 'iptables SNAT, connections'])
  t.deepEqual([...new Set(results.measurements.map(({ way, kind }) => `${way}, ${kind}`))], ['plain forwarding, out', 'plain forwarding, new'])
  t.false(machine.scripts.some((script) => script.includes('iptables -t nat')))
})

/** Heights of the bars of a plot, and lengths of the lines of their ranges, in their order. */
function drawnIn(svg: string): { bars: number[]; ranges: number[]; colours: string[] } {
  const bars = [...svg.matchAll(/<path d="M[^"]*v([\d.]+)h[^"]*" fill="(#\w{6})"/g)]
  return {
    bars: bars.map(([, height]) => Number(height)),
    ranges: [...svg.matchAll(/<line [^>]*y2="(-?[\d.]+)" stroke="black"/g)].map(([, length]) => Math.abs(Number(length))),
    colours: bars.map(([, , colour = '']) => colour),
  }
}

test('bars are as high as their figures are large, from 0 on, with the range of the rounds and units', async (t) => {
  const measurements = [...rounds({ way: 'plain forwarding' }, 6000, 6000, 6000), ...rounds({ way: 'IPVS SNAT' }, 6500, 6400, 6800), ...rounds({ way: 'nftables, flowtable' }, 3000, 3000, 3000)]
  const [chart, ...others] = chartsOf(results(...measurements), 'a kernel')
  t.deepEqual(others, [])
  t.like(chart, { name: 'out', title: '60-byte UDP with checksum: out', axes: { x: 'flows', y: 'guest instructions per packet' } })
  const svg = chart ? await svgOf(chart) : ''
  const { bars, ranges } = drawnIn(svg)
  t.is(bars.length, 3)
  const ofPlain = (value: number | undefined): number => Number(((value ?? NaN) / (bars[0] ?? NaN)).toFixed(3))
  t.deepEqual(bars.map(ofPlain), [1, 1.083, 0.5])
  t.deepEqual(ranges.map(ofPlain), [0, 0.067, 0])
  for (const text of ['guest instructions per packet', 'flows', '0', '60-byte UDP with checksum: out', 'IPVS SNAT', 'nftables, flowtable']) t.true(svg.includes(`>${text}<`), text)
  t.regex(svg, />a kernel\.</)
  t.regex(svg, /Bars: medians of 3 rounds\. Lines: from the smallest to the largest\./)
  t.notRegex(svg, />iptables SNAT</)
})

test('what means nothing is not drawn but named, and the others keep their colours', async (t) => {
  const measurements = ['plain forwarding', 'IPVS SNAT', 'iptables SNAT'].flatMap((way) => rounds({ way }, 6000))
  const [all] = chartsOf(results(...measurements), 'a kernel')
  const [some] = chartsOf(results(...measurements.map((one) => (one.way === 'plain forwarding' ? { ...one, refused: '9 of 10 arrived translated' } : one))), 'a kernel')
  if (!all || !some) return t.fail('nothing is drawn')
  const [ofAll, ofSome] = [await svgOf(all), await svgOf(some)]
  t.is(new Set(drawnIn(ofAll).colours).size, 3)
  t.deepEqual(drawnIn(ofSome).colours, drawnIn(ofAll).colours.slice(1))
  t.regex(ofSome, /Not drawn, because packets went astray: plain forwarding \(1\)\./)
  t.regex(ofSome, /Measured once\./)
})

test('each kind of figure has its chart', (t) => {
  const charts = chartsOf(results(
    ...rounds({ way: 'IPVS SNAT' }, 6500), ...rounds({ way: 'IPVS SNAT', kind: 'back', checksum: false }, 6500), ...rounds({ way: ALONE, kind: 'in' }, 7000),
    ...rounds({ way: 'LVS NAT, fast', kind: 'reply' }, 5000), ...rounds({ way: 'IPVS SNAT', kind: 'up' }, 3620), ...rounds({ way: 'IPVS SNAT', kind: 'connection', flows: 1_000 }, 85_000),
    ...rounds({ way: 'IPVS SNAT', kind: 'new', flows: 200, occupancy: 90 }, 15_000), ...rounds({ way: 'IPVS SNAT, rules', kind: 'new', flows: 1_000, rules: { count: 1_000, shape: 'ports' } }, 10_000),
  ), 'a kernel')
  t.deepEqual(charts.map(({ name, bars }) => [name, bars.map(({ x, series, median }) => [x, series, median])]), [
    ['out', [['1', 'IPVS SNAT', 6500]]],
    ['back-without-checksum', [['1', 'IPVS SNAT', 6500]]],
    ['lvs-nat', [['1', ALONE, 7000]]],
    ['lvs-nat-ways', [['1', 'LVS NAT, fast: replies', 5000]]],
    ['bulk', [['up', 'IPVS SNAT', 3620]]],
    ['connections', [['IPVS SNAT', 'IPVS SNAT', 85_000]]],
    ['occupancy', [['90', 'IPVS SNAT', 15_000]]],
    ['rules-new', [['ports', '1,000 rules', 10_000]]],
  ])
})

test('the report names machine, kernel, commit and spread, and what was refused and not applicable', (t) => {
  const measurements = [
    ...rounds({ way: 'plain forwarding' }, 6000, 6003), ...rounds({ way: 'IPVS SNAT' }, 6500, 6530), ...rounds({ way: 'IPVS SNAT, fast' }, 4973, 4973),
    ...rounds({ way: 'iptables SNAT' }, 8000, 8000).map((one) => ({ ...one, refused: '9 of 10 arrived translated' })),
  ]
  const all = { ...stored(measurements, { rounds: 2, dirty: true }), inapplicable: [{ what: 'nftables SNAT', reason: 'this kernel has no nf_tables' }] }
  const lines = reportOf(all, chartsOf(all, 'a kernel'), ['slower by 3.0 % than commit 1: IPVS SNAT']).split('\n')
  for (const line of [
    '| kernel | 6.1.192-1.snat1.x86_64 (lts) |',
    '| commit | commit 0123456789ab with changes |',
    '| machine | QEMU emulator version 7.2.0, on A Processor (2 processors, Linux 6.1) |',
    '| rounds | 2 of 2 |',
    '| spread | of half of the figures at most 0.05 %, at most 0.46 % (IPVS SNAT, out, 1 flow, with checksum) |',
    '- slower by 3.0 % than commit 1: IPVS SNAT',
    '- iptables SNAT, out, 1 flow, with checksum: in 2 of 2 rounds: 9 of 10 arrived translated',
    '- nftables SNAT: this kernel has no nf_tables',
    '| out | 1 flow | 1,000 flows | 20,000 flows | 100,000 flows |',
    '|---|---:|---:|---:|---:|',
    '| iptables SNAT | refused | - | - | - |',
    '![60-byte UDP with checksum: out](out.svg)',
  ]) t.true(lines.includes(line), line)
  t.true(reportOf(stored([]), [], []).includes('## Refused\n\nNone.\n'))
})
