// SPDX-License-Identifier: GPL-2.0-only
/** The machine that is measured, what its runs of pktgen say, and what is kept of that. */

import type { Machine } from '../qemu/machine.ts'
import { type End, type Flows, FUNCTIONS, HOSTS_SETUP, HOSTS_TEARDOWN, INSIDE, otherEnd, rateOf, REMOTE, REMOTES, sending, SETUP, type Stream } from './network.ts'
import { countedOf, type Measurement, nameOf, type Quantity, quantityName, type Results, type Subject } from './results.ts'
import { putFiles, type Way } from './ways.ts'

/** The clock follows the instructions, not the wall, so a limit must be generous. */
const LIMIT_MS = 900_000

/** What is asked of the machine. */
export type Guest = Pick<Machine, 'sh' | 'run' | 'put'>

export class Bench {
  readonly results: Results = { measurements: [], loads: [], quantities: [], inapplicable: [] }
  /** Whether pktgen can put a UDP checksum in, and send from a namespace. */
  checksums: readonly boolean[] = [true, false]
  replies = true
  /** Which one it is that now measures everything once. */
  round = 1

  constructor(
    private readonly machine: Guest,
    private readonly progress: (line: string) => void,
    /** What the plugin of the emulator has written until now, if it has one. */
    readonly told: () => string,
  ) {}

  async sh(script: string, limit = LIMIT_MS): Promise<string> {
    return this.machine.sh(`. /tmp/functions\n${script}`, limit)
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
    this.progress(`${nameOf(measurement)}: ${refused ? `refused: ${refused}` : `${instructions.toFixed(0)} instructions per ${countedOf(measurement.kind)}, ${arrived} of ${sent} arrived`}`)
  }

  /** @param refused why the figure means nothing, if it does not */
  addCount(subject: Subject, { instructions, sent, arrived }: Pick<Count, 'instructions' | 'sent' | 'arrived'>, refused: string | undefined): void {
    this.add({ ...subject, instructions, sent, arrived, ...(refused === undefined ? {} : { refused }) })
  }

  addQuantity(quantity: Omit<Quantity, 'round'>): void {
    this.results.quantities.push({ ...quantity, round: this.round })
    this.progress(`${quantityName(quantity)}: ${quantity.value} ${quantity.unit}${quantity.refused === undefined ? '' : `, refused: ${quantity.refused}`}`)
  }

  /** @param line what is said of all of them together */
  addQuantities(quantities: readonly Omit<Quantity, 'round'>[], line: string): void {
    this.results.quantities.push(...quantities.map((quantity) => ({ ...quantity, round: this.round })))
    this.progress(line)
  }

  addLoad(how: string, seconds: number): void {
    this.results.loads.push({ how, round: this.round, seconds })
    this.progress(`loading rules, ${how}: ${seconds} s`)
  }
}

/** @param seen source and destination that its packets have at the other end */
export interface Run {
  stream: Stream
  seen: readonly [source: string, destination: string]
}

export interface Count {
  instructions: number
  sent: number
  arrived: number
  /** How many of them went all the way through the kernel's own forwarding, or a short way of IPVS. */
  forwarded: number
  short: number
}

const BEGIN = 'begin'
/** What goes the short way of IPVS counts as forwarded as well, but requests for services. */
export const WENT = `cat /proc/net/snmp /proc/net/ip_vs_snat 2>/dev/null |
awk '$1 == "Ip:" && $7 ~ /[0-9]/ { forwarded = $7 } $1 ~ /^fast_/ { short += $2 } END { print "forwarded " forwarded; print "short " short + 0 }'`

const FRESH = 'fresh-slabs'

/** @returns a script for a run; {@link countsOf} reads what it prints */
export const script = (run: Run): string => scriptOf(run, [FRESH])

/** @returns the same where others are watched, whom fresh-slabs keeps waiting for 0.45 ms; what is left is 0.14 ms for a rule that counts */
export const quietScript = (run: Run): string => scriptOf(run, [])

function scriptOf({ stream, seen }: Run, before: readonly string[]): string {
  const end: End = otherEnd(stream.from)
  return [`echo ${BEGIN}`, `at ${end} expecting ${seen.join(' ')}`, WENT, ...before, sending(stream), WENT, `at ${end} arrived`].join('\n')
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

export const numbersAfter = (word: string, text: string): number[] => [...text.matchAll(new RegExp(`^${word} (\\d+)$`, 'gm'))].map((match) => Number(match[1]))

/** @returns by how much the number after a word is larger the second time; NaN if it is not there twice */
export function increase(word: string, text: string): number {
  const [before = NaN, after = NaN] = numbersAfter(word, text)
  return after - before
}

export function lost({ sent, arrived }: Pick<Count, 'sent' | 'arrived'>): string | undefined {
  return arrived === sent ? undefined : `${arrived} of ${sent} arrived translated`
}

export async function withWay(bench: Bench, way: Way, work: () => Promise<void>): Promise<void> {
  await bench.sh(`${way.possible}\n${way.setUp}`)
  await work()
  await bench.sh(way.tearDown)
}

/** The same for TCP, between hosts that have sockets. */
export const withHosts = (bench: Bench, way: Way, work: () => Promise<void>): Promise<void> =>
  withWay(bench, { ...way, setUp: [way.setUp, way.alsoTcp, HOSTS_SETUP].join('\n'), tearDown: `${HOSTS_TEARDOWN}\n${way.tearDown}` }, work)

export const outward = (way: Way, checksum: boolean, flows: Flows, packets: number): Run => ({
  stream: { from: 'inside', source: INSIDE, destination: REMOTE, ...flows, varies: 'source', checksum, packets },
  seen: [way.outside, REMOTES],
})

export const homeward = (way: Way, checksum: boolean, flows: Flows, packets: number): Run => ({
  stream: { from: 'remote', source: REMOTE, destination: way.outside, ...flows, varies: 'destination', checksum, packets },
  seen: [REMOTES, INSIDE],
})
