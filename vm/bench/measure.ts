// SPDX-License-Identifier: GPL-2.0-only
/**
 * Measures what a forwarded packet costs, in guest instructions: one CPU under
 * `-icount shift=0`, where one instruction is one nanosecond of the guest's clock, so
 * that the rate pktgen reports is a count (equal to 0.1 % between runs and computers).
 *
 * What was sent is counted at the other end, where it has to arrive with the addresses of
 * the translation: a figure of packets that did not is refused. What belongs together is one
 * script in the guest, whose clock jumps while it has nothing to do: flows would time out.
 */

import { connect } from './connections.ts'
import { BULK_MIB, BULK_SEGMENTS, type Flows, INSIDE, INSIDE2, REMOTE, REMOTES, transfer, transferOf, VIP } from './network.ts'
import type { Kind, Results } from './results.ts'
import { share } from './processors.ts'
import { profile } from './profile.ts'
import { LOADS, RULE_COUNTS, rulesFile, secondsOf, SHAPES, timed } from './rules.ts'
import { Bench, type Count, countsOf, type Guest, homeward, lost, outward, type Run, script, withHosts, withWay } from './runs.ts'
import { fill, SCALES, SCALE_WAYS } from './scale.ts'
import { IPTABLES, IPVS, IPVS_LIMITS, LVS_SERVICE, LVS_WAYS, PLAIN, RULES, type Way, WAYS } from './ways.ts'

/** What is counted, and how, for those who read or compare the figures. */
const METHOD = 'guest instructions per packet: one processor under TCG, -icount shift=0'

/** Plugins of QEMU that watch the machine, by their files in vm/qemu, and what is counted with them. */
const METHODS_OF_PLUGINS = {
  'shared-writes': 'writes per packet to lines of memory that both of two processors use: TCG with a plugin',
  profile: 'guest instructions per packet, by functions: one processor under TCG, -icount shift=0, with a plugin',
} as const
export type Plugin = keyof typeof METHODS_OF_PLUGINS

export const FLOWS = [1, 1_000, 20_000, 100_000] as const
/** Those that are new, or beside others. */
export const [, , MANY_FLOWS] = FLOWS
export const OCCUPANCIES = [0, 50, 90, 95, 99] as const

/** Flows that were there before would not be new, and one remote has not ports enough for all. */
const SETS: Readonly<Record<(typeof FLOWS)[number], Flows>> = {
  1: { ports: [10_000, 1], remotes: 1 },
  1_000: { ports: [10_001, 1_000], remotes: 1 },
  20_000: { ports: [11_001, 20_000], remotes: 1 },
  100_000: { ports: [31_001, 25_001], remotes: 4 },
}
/** Every flow is used at least once while it is measured. */
const measuredPackets = (flows: number): number => Math.max(flows, 20_000)
/** The port range whose occupancy is varied, and from where new flows come, outside of it, so that none can keep its port. */
const RANGE = [20_000, 39_999] as const
const RANGE_SIZE = RANGE[1] - RANGE[0] + 1
const NEWCOMERS = [50_000, 200] as const

/** A part of the benchmark that can be chosen by its name. */
export interface Part {
  name: string
  way: Way
  run: (bench: Bench) => Promise<void>
  /** The part that its figures are told over, and that comes along. */
  over?: string
  /** What takes long, or a larger machine, is chosen by this name only, and measured in a run of its own. */
  asked?: string
  memoryMegabytes?: number
  /** What watches the machine. */
  plugin?: Plugin
}

const TWO = 'two processors'
const PROFILE = 'profile'

const connectionsName = ({ name }: Way): string => `${name}, connections`

const PARTS: readonly Part[] = [
  ...WAYS.map((way): Part => ({ name: way.name, way, over: PLAIN.name, run: (bench) => forward(bench, way) })),
  { name: 'LVS NAT in', way: IPVS, over: PLAIN.name, run: balance },
  ...LVS_WAYS.map((way): Part => ({ name: way.name, way, over: PLAIN.name, run: (bench) => serve(bench, way) })),
  ...[IPVS, IPTABLES].map((way): Part => ({ name: `${way.name}, occupancy`, way, over: PLAIN.name, run: (bench) => occupy(bench, way) })),
  ...WAYS.map((way): Part => ({ name: `${way.name}, bulk`, way, run: (bench) => moveBulk(bench, way) })),
  ...WAYS.map((way): Part => ({ name: connectionsName(way), way, over: connectionsName(PLAIN), run: (bench) => connect(bench, way) })),
  { name: RULES.name, way: RULES, over: PLAIN.name, run: askRules },
  ...SCALES.flatMap(({ asked, fillings, memoryMegabytes }) => SCALE_WAYS.map((way): Part => ({
    name: `${way.name}, ${asked}`, way, asked, memoryMegabytes, run: (bench) => fill(bench, way, fillings),
  }))),
  ...WAYS.map((way): Part => ({ name: `${way.name}, ${TWO}`, way, asked: TWO, plugin: 'shared-writes', run: (bench) => share(bench, way) })),
  ...WAYS.map((way): Part => ({ name: `${way.name}, ${PROFILE}`, way, asked: PROFILE, plugin: 'profile', run: (bench) => profile(bench, way, SETS[MANY_FLOWS]) })),
]

export const partNames = (): string[] => PARTS.map(({ name }) => name)

/** @param only words separated by commas, of which the name of a part contains one; without it, all parts are chosen @returns nothing if there is none */
export function chooseParts(only: string | undefined): Part[] {
  const words = (only ?? '').toLowerCase().split(',').map((word) => word.trim()).filter(Boolean)
  const wanted = ({ name, asked }: Part): boolean => words.some((word) => (asked ?? name).toLowerCase().includes(word))
  if (words.length === 0) return PARTS.filter(({ asked }) => asked === undefined)
  const found = PARTS.filter(wanted)
  return PARTS.filter((part) => found.includes(part) || found.some(({ over }) => over === part.name))
}

/** @returns what watches the machine that measures them */
export const pluginOf = (parts: readonly Part[]): Plugin | undefined => parts.find(({ plugin }) => plugin !== undefined)?.plugin

export function methodOf(parts: readonly Part[]): string {
  const plugin = pluginOf(parts)
  return plugin === undefined ? METHOD : METHODS_OF_PLUGINS[plugin]
}

/** @returns whether one machine can measure all of them */
export const agree = (parts: readonly Part[]): boolean => new Set(parts.map(({ memoryMegabytes, plugin }) => `${memoryMegabytes} ${plugin}`)).size === 1

/** @returns how much the machine needs for these */
export const memoryOf = (parts: readonly Part[]): number | undefined =>
  parts.reduce<number | undefined>((most, { memoryMegabytes }) => (memoryMegabytes === undefined ? most : Math.max(most ?? 0, memoryMegabytes)), undefined)

async function forward(bench: Bench, way: Way): Promise<void> {
  for (const checksum of bench.checksums) {
    await withWay(bench, way, async () => {
      for (const flows of FLOWS) await forwardFlows(bench, way, flows, checksum)
    })
  }
}

async function forwardFlows(bench: Bench, way: Way, flows: (typeof FLOWS)[number], checksum: boolean): Promise<void> {
  const out = (packets: number) => outward(way, checksum, SETS[flows], packets)
  const back = (packets: number) => homeward(way, checksum, SETS[flows], packets)
  // The second packet of a flow still costs more where it is what puts the flow on a fast path.
  const measured = measuredPackets(flows)
  const runs = [out(flows), out(flows), out(measured), ...(bench.replies ? [back(flows), back(flows), back(measured)] : [])]
  const counts = countsOf(await bench.sh(['set -e', ...runs.map(script)].join('\n')))
  const [fresh, , established, , , returned] = counts
  const add = (kind: Kind, count: Count | undefined) => {
    if (!count) return
    const slow = count.forwarded - count.short
    const refused = lost(count) ?? (way.passesForwarding && kind !== 'new' && slow > 0 ? `${slow} of ${count.sent} were forwarded the slow way` : undefined)
    bench.addCount({ way: way.name, kind, checksum, flows }, count, refused)
  }
  if (flows === MANY_FLOWS) add('new', fresh)
  add('out', established)
  add('back', returned)
}

/** Names of the two rows of LVS NAT. */
export const ALONE = 'LVS NAT in, alone'
export const BESIDE = `LVS NAT in, beside ${MANY_FLOWS} SNAT flows`

async function balance(bench: Bench): Promise<void> {
  if (!bench.replies) return
  for (const checksum of bench.checksums) {
    // Those of the others pass in both cases, translated or not, so that what is compared is not how far used the allocator and the neighbours are.
    const others = (way: Way): Run => outward(way, checksum, SETS[MANY_FLOWS], MANY_FLOWS)
    const alone: Way = { ...IPVS, setUp: LVS_SERVICE }
    await withWay(bench, alone, () => balanceFlows(bench, ALONE, checksum, [others(PLAIN)]))
    const beside: Way = { ...IPVS, setUp: `${IPVS.setUp}\n${LVS_SERVICE}` }
    await withWay(bench, beside, () => balanceFlows(bench, BESIDE, checksum, [others(IPVS)]))
  }
}

async function balanceFlows(bench: Bench, name: string, checksum: boolean, before: readonly Run[]): Promise<void> {
  for (const flows of FLOWS) {
    const run = (packets: number) => requests(checksum, SETS[flows], packets)
    const runs = [...before, run(flows), run(measuredPackets(flows))]
    const counts = countsOf(await bench.sh(['set -e', ...runs.map(script)].join('\n')))
    const count = counts[counts.length - 1]
    if (!count) throw new Error('nothing was measured')
    bench.addCount({ way: name, kind: 'in', checksum, flows }, count, counts.map(lost).find((reason) => reason !== undefined))
  }
}

const requests = (checksum: boolean, flows: Flows, packets: number): Run => ({
  stream: { from: 'remote', source: REMOTE, destination: VIP, ...flows, varies: 'source', checksum, packets },
  seen: [REMOTES, INSIDE],
})

const replies = (checksum: boolean, flows: Flows, packets: number): Run => ({
  stream: { from: 'inside', source: INSIDE, destination: REMOTE, ...flows, varies: 'destination', checksum, packets },
  seen: [VIP, REMOTES],
})

/** Clients' packets and the server's, on the whole way and on the short one. */
async function serve(bench: Bench, way: Way): Promise<void> {
  if (!bench.replies) return
  for (const checksum of bench.checksums) {
    await withWay(bench, way, async () => {
      for (const flows of FLOWS) await serveFlows(bench, way, flows, checksum)
    })
  }
}

async function serveFlows(bench: Bench, way: Way, flows: (typeof FLOWS)[number], checksum: boolean): Promise<void> {
  const both = (packets: number): Run[] => [requests, replies].map((run) => run(checksum, SETS[flows], packets))
  // The second packet of a direction is what it learns its way from.
  const runs = [...both(flows), ...both(flows), ...both(measuredPackets(flows))]
  const counts = countsOf(await bench.sh(['set -e', ...runs.map(script)].join('\n')))
  for (const [index, kind] of (['in', 'reply'] as const).entries()) {
    const count = counts[counts.length - 2 + index]
    if (!count) throw new Error('nothing was measured')
    const slow = count.sent - count.short
    bench.addCount({ way: way.name, kind, checksum, flows }, count, lost(count) ?? (way.passesForwarding && slow > 0 ? `${slow} of ${count.sent} went the slow way` : undefined))
  }
}

/** The taken ports are one block, from the range's first port on, as those of a host that went through them are. */
async function occupy(bench: Bench, way: Way): Promise<void> {
  const checksum = bench.checksums[0] ?? false
  for (const occupancy of OCCUPANCIES) {
    await withWay(bench, way, async () => {
      const taken = (RANGE_SIZE * occupancy) / 100
      const fill = taken === 0 ? [] : [outward(way, checksum, { ports: [RANGE[0], taken], remotes: 1 }, taken)]
      const newcomers = outward(way, checksum, { ports: NEWCOMERS, remotes: 1 }, NEWCOMERS[1])
      const runs = [...fill, { ...newcomers, stream: { ...newcomers.stream, source: INSIDE2 } }]
      const limit = way.limitPorts?.(...RANGE) ?? ''
      const counts = countsOf(await bench.sh(['set -e', limit, ...runs.map(script)].join('\n')))
      const [newest] = counts.slice(-1)
      if (!newest) throw new Error('nothing was measured')
      const refused = counts.slice(0, -1).map(lost).find((reason) => reason !== undefined)
      bench.addCount({ way: way.name, kind: 'new', checksum, flows: NEWCOMERS[1], occupancy }, newest, refused && `the ports were not taken: ${refused}`)
    })
  }
}

/** A stream of TCP, merged into large packets on its way (GSO): what the gateway does is the smaller part of it. */
async function moveBulk(bench: Bench, way: Way): Promise<void> {
  if (!bench.replies) return
  await withHosts(bench, way, async () => {
    for (const kind of ['down', 'up'] as const) {
      // The first one also pays for what the ends learn of the path, and for memory that comes from elsewhere.
      await bench.sh(transfer(kind, way.outside))
      const { busy, idle, outward, homeward, refused } = transferOf(await bench.sh(transfer(kind, way.outside)))
      bench.addCount({ way: way.name, kind, checksum: true, flows: 1 }, { instructions: busy / BULK_SEGMENTS, sent: BULK_SEGMENTS, arrived: BULK_SEGMENTS }, refused)
      const add = (what: string, unit: string, value: number) => bench.addQuantity({ way: way.name, what: `${kind}: ${what}`, flows: 1, unit, value })
      const [data, acknowledgements] = kind === 'up' ? [outward, homeward] : [homeward, outward]
      add('packets of data', 'per MiB', data / BULK_MIB)
      add('packets of acknowledgements', 'per MiB', acknowledgements / BULK_MIB)
      add('nothing to do', 'milliseconds', idle / 1_000_000)
    }
  })
}

const RULE_FLOWS = 1_000

/** What an established flow's packet and a new flow cost when its rule is the last one. */
async function askRules(bench: Bench): Promise<void> {
  const checksum = bench.checksums[0] ?? false
  for (const shape of SHAPES) {
    for (const count of RULE_COUNTS) {
      const way: Way = { ...RULES, setUp: `set -e\nipvsadm -R <${rulesFile(shape, count)}\n${IPVS_LIMITS}` }
      await withWay(bench, way, async () => {
        const runs = [RULE_FLOWS, RULE_FLOWS, measuredPackets(RULE_FLOWS)].map((packets) => outward(way, checksum, SETS[RULE_FLOWS], packets))
        const [fresh, , established] = countsOf(await bench.sh(['set -e', ...runs.map(script)].join('\n')))
        for (const [kind, found] of [['new', fresh], ['out', established]] as const) {
          if (!found) throw new Error('nothing was measured')
          bench.addCount({ way: way.name, kind, checksum, flows: RULE_FLOWS, rules: { count, shape: shape.name } }, found, lost(found))
        }
      })
    }
  }
  for (const { name, script: load } of LOADS) {
    await withWay(bench, { ...RULES, setUp: 'modprobe ip_vs' }, async () => bench.addLoad(name, secondsOf(await bench.sh(timed(load)))))
  }
}

export interface Course {
  /** How often everything is measured. What changes while the machine runs meets all ways alike, because they take turns. */
  rounds: number
  /** Called with a line about each figure. */
  progress: (line: string) => void
  /** Called after each part with all that was measured until then. */
  keep: (results: Results) => void
  /** What the plugin of the emulator has written until now, if it has one. */
  told?: () => string
}

/**
 * @param machine one CPU, started with `instructionClock`
 * @param parts what {@link chooseParts} chose: all of them once, then all of them again
 */
export async function measure(machine: Guest, parts: readonly Part[], { rounds, progress, keep, told }: Course): Promise<Results> {
  const bench = new Bench(machine, progress, told ?? (() => ''))
  await bench.setUp()
  const possible = new Set(parts)
  for (let round = 1; round <= rounds; round++) {
    if (rounds > 1) progress(`round ${round} of ${rounds}`)
    bench.round = round
    for (const part of possible) {
      if (round > 1 || await bench.can(part.way.possible)) {
        await part.run(bench)
      } else {
        possible.delete(part)
        bench.lacks(part.name, part.way.lacking)
      }
      keep(bench.results)
    }
  }
  return bench.results
}
