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

import type { Machine } from '../qemu/machine.ts'
import {
  BULK_SEGMENTS, BULK_SETUP, BULK_TEARDOWN, type End, type Flows, FUNCTIONS, INSIDE, INSIDE2, otherEnd, rateOf, REMOTE, REMOTES, sending, SETUP, type Stream, transfer, transferOf, VIP,
} from './network.ts'
import { type Kind, type Measurement, nameOf, type Results, type Subject } from './results.ts'
import { LOADS, RULE_COUNTS, rulesFile, secondsOf, SHAPES, timed } from './rules.ts'
import { IPTABLES, IPVS, IPVS_LIMITS, LVS_SERVICE, LVS_WAYS, PLAIN, putFiles, RULES, type Way, WAYS } from './ways.ts'

/** What is counted, and how, for those who read or compare the figures. */
export const METHOD = 'guest instructions per packet: one processor under TCG, -icount shift=0'

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
/** The clock follows the instructions, not the wall, so a limit must be generous. */
const LIMIT_MS = 900_000

/** What is asked of the machine. */
type Guest = Pick<Machine, 'sh' | 'run' | 'put'>

/** A part of the benchmark that can be chosen by its name. */
export interface Part {
  name: string
  way: Way
  run: (bench: Bench) => Promise<void>
}

const PARTS: readonly Part[] = [
  ...WAYS.map((way): Part => ({ name: way.name, way, run: (bench) => forward(bench, way) })),
  { name: 'LVS NAT in', way: IPVS, run: balance },
  ...LVS_WAYS.map((way): Part => ({ name: way.name, way, run: (bench) => serve(bench, way) })),
  ...[IPVS, IPTABLES].map((way): Part => ({ name: `${way.name}, occupancy`, way, run: (bench) => occupy(bench, way) })),
  ...WAYS.map((way): Part => ({ name: `${way.name}, bulk`, way, run: (bench) => moveBulk(bench, way) })),
  { name: RULES.name, way: RULES, run: askRules },
]

export const partNames = (): string[] => PARTS.map(({ name }) => name)

/** @param only words separated by commas, of which the name of a part contains one; without it, all parts are chosen @returns nothing if there is none */
export function chooseParts(only: string | undefined): Part[] {
  const words = (only ?? '').toLowerCase().split(',').map((word) => word.trim()).filter(Boolean)
  const wanted = ({ name }: Part): boolean => words.some((word) => name.toLowerCase().includes(word))
  if (words.length === 0) return [...PARTS]
  // The other figures are told over plain forwarding.
  return PARTS.some(wanted) ? PARTS.filter((part) => part.name === PLAIN.name || wanted(part)) : []
}

class Bench {
  readonly results: Results = { measurements: [], loads: [], inapplicable: [] }
  /** Whether pktgen can put a UDP checksum in, and send from a namespace. */
  checksums: readonly boolean[] = [true, false]
  replies = true
  /** Which one it is that now measures everything once. */
  round = 1

  constructor(
    private readonly machine: Guest,
    private readonly progress: (line: string) => void,
  ) {}

  async sh(script: string): Promise<string> {
    return this.machine.sh(`. /tmp/functions\n${script}`, LIMIT_MS)
  }

  async setUp(): Promise<void> {
    await this.machine.put('/tmp/functions', Buffer.from(FUNCTIONS))
    await putFiles(this.machine)
    await this.machine.sh(SETUP, LIMIT_MS)
    const kernel = 'pktgen of this kernel'
    if (!(await this.can('at inside packets source 1 flag=UDPCSUM; at inside grep -q UDPCSUM /proc/net/pktgen/source'))) {
      this.checksums = [false]
      this.lacks('UDP with a checksum', `${kernel} has no flag UDPCSUM`)
    }
    if (!(await this.can('test -e /tmp/inside.do'))) {
      this.replies = false
      this.lacks('replies, and LVS NAT in', `${kernel} knows only the first network namespace, which the gateway is in`)
    }
  }

  async can(script: string): Promise<boolean> {
    return (await this.machine.run(`. /tmp/functions\n${script}`, LIMIT_MS)).status === 0
  }

  lacks(what: string, reason: string): void {
    this.results.inapplicable.push({ what, reason })
    this.progress(`${what}: not applicable: ${reason}`)
  }

  add(measurement: Omit<Measurement, 'round'>): void {
    this.results.measurements.push({ ...measurement, round: this.round })
    const { instructions, sent, arrived, refused } = measurement
    this.progress(`${nameOf(measurement)}: ${refused ? `refused: ${refused}` : `${instructions.toFixed(0)} instructions per packet, ${arrived} of ${sent} arrived`}`)
  }

  /** @param refused why the figure means nothing, if it does not */
  addCount(subject: Subject, { instructions, sent, arrived }: Pick<Count, 'instructions' | 'sent' | 'arrived'>, refused: string | undefined): void {
    this.add({ ...subject, instructions, sent, arrived, ...(refused === undefined ? {} : { refused }) })
  }

  addLoad(how: string, seconds: number): void {
    this.results.loads.push({ how, round: this.round, seconds })
    this.progress(`loading rules, ${how}: ${seconds} s`)
  }
}

/** @param seen source and destination that its packets have at the other end */
interface Run {
  stream: Stream
  seen: readonly [source: string, destination: string]
}

interface Count {
  instructions: number
  sent: number
  arrived: number
  /** How many of them went all the way through the kernel's own forwarding, or a short way of IPVS. */
  forwarded: number
  short: number
}

const BEGIN = 'begin'
/** What goes the short way of IPVS counts as forwarded as well, but requests for services. */
const WENT = `cat /proc/net/snmp /proc/net/ip_vs_snat 2>/dev/null |
awk '$1 == "Ip:" && $7 ~ /[0-9]/ { forwarded = $7 } $1 ~ /^fast_/ { short += $2 } END { print "forwarded " forwarded; print "short " short + 0 }'`

/** @returns a script for a run; {@link countsOf} reads what it prints */
function script({ stream, seen }: Run): string {
  const end: End = otherEnd(stream.from)
  return [`echo ${BEGIN}`, `at ${end} expecting ${seen.join(' ')}`, WENT, 'fresh-slabs', sending(stream), WENT, `at ${end} arrived`].join('\n')
}

/** @returns a count of each run that printed `output`, in order */
export function countsOf(output: string): Count[] {
  return output.split(new RegExp(`^${BEGIN}\n`, 'm')).slice(1).map((text) => {
    const [arrived = NaN] = numbersAfter('arrived', text)
    const count = { ...rateOf(text), arrived, forwarded: increase('forwarded', text), short: increase('short', text) }
    if (Object.values(count).every(Number.isFinite)) return count
    throw new Error(`a run did not say all that it should: ${text}`)
  })
}

const numbersAfter = (word: string, text: string): number[] => [...text.matchAll(new RegExp(`^${word} (\\d+)$`, 'gm'))].map((match) => Number(match[1]))

function increase(word: string, text: string): number {
  const [before = NaN, after = NaN] = numbersAfter(word, text)
  return after - before
}

function lost({ sent, arrived }: Count): string | undefined {
  return arrived === sent ? undefined : `${arrived} of ${sent} arrived translated`
}

async function withWay(bench: Bench, way: Way, work: () => Promise<void>): Promise<void> {
  await bench.sh(`${way.possible}\n${way.setUp}`)
  await work()
  await bench.sh(way.tearDown)
}

async function forward(bench: Bench, way: Way): Promise<void> {
  for (const checksum of bench.checksums) {
    await withWay(bench, way, async () => {
      for (const flows of FLOWS) await forwardFlows(bench, way, flows, checksum)
    })
  }
}

const outward = (way: Way, checksum: boolean, flows: Flows, packets: number): Run => ({
  stream: { from: 'inside', source: INSIDE, destination: REMOTE, ...flows, varies: 'source', checksum, packets },
  seen: [way.outside, REMOTES],
})

const homeward = (way: Way, checksum: boolean, flows: Flows, packets: number): Run => ({
  stream: { from: 'remote', source: REMOTE, destination: way.outside, ...flows, varies: 'destination', checksum, packets },
  seen: [REMOTES, INSIDE],
})

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
  await withWay(bench, { ...way, setUp: [way.setUp, way.alsoTcp, BULK_SETUP].join('\n'), tearDown: `${BULK_TEARDOWN}\n${way.tearDown}` }, async () => {
    for (const kind of ['down', 'up'] as const) {
      const { nanoseconds, refused } = transferOf(await bench.sh(transfer(kind, way.outside)))
      bench.addCount({ way: way.name, kind, checksum: true, flows: 1 }, { instructions: nanoseconds / BULK_SEGMENTS, sent: BULK_SEGMENTS, arrived: BULK_SEGMENTS }, refused)
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
}

/**
 * @param machine one CPU, started with `instructionClock`
 * @param parts what {@link chooseParts} chose: all of them once, then all of them again
 */
export async function measure(machine: Guest, parts: readonly Part[], { rounds, progress, keep }: Course): Promise<Results> {
  const bench = new Bench(machine, progress)
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
