// SPDX-License-Identifier: GPL-2.0-only
/** What was measured: every repeat as it was, and what the repeats of a figure say together. */

/**
 * Which packets of a flow: from inside, replies, from a client to a balanced service, from its server, the first of each flow from inside;
 * or segments of a TCP stream from outside, or from inside, with all that both its ends do; or whole TCP connections from inside, likewise.
 */
export type Kind = 'out' | 'back' | 'in' | 'reply' | 'new' | 'down' | 'up' | 'connection'

/** @returns what instructions are counted for each of */
export const countedOf = (kind: Kind): 'connection' | 'packet' | 'segment' => (kind === 'connection' ? kind : kind === 'down' || kind === 'up' ? 'segment' : 'packet')

/** What a figure is about. */
export interface Subject {
  way: string
  kind: Kind
  checksum: boolean
  flows: number
  /** Percent of the port range that was taken before; only where that is what is measured. */
  occupancy?: number
  /** How many rules there are, and what they differ by; only where that is what is measured. */
  rules?: { count: number; shape: string }
  /** How many flows there are, of which these are some, or beside which they are new; only where that is what is measured. */
  filled?: number
}

export interface Measurement extends Subject {
  /** In which round, from 1 on: each round measures everything once. */
  round: number
  /** Guest instructions from pktgen's sending to the drop at the other end, per packet that was sent; or per {@link countedOf} of it. */
  instructions: number
  sent: number
  /** Those that came with the translated addresses. */
  arrived: number
  /** Why the figure means nothing. */
  refused?: string
}

/** What cannot be measured on this kernel, and why. */
export interface Inapplicable {
  what: string
  reason: string
}

/** How long loading rules takes. */
export interface Load {
  how: string
  round: number
  /** Seconds of the guest: 10^9 instructions each. */
  seconds: number
}

/** Something else that was measured beside the instructions of packets. */
export interface Quantity {
  way: string
  what: string
  /** How many flows there are. */
  flows: number
  unit: string
  round: number
  value: number
  /** Why it means nothing. */
  refused?: string
}

export interface Results {
  measurements: Measurement[]
  loads: Load[]
  quantities: Quantity[]
  inapplicable: Inapplicable[]
}

/** What several values say together. */
export interface Summary {
  median: number
  low: number
  high: number
}

/** The repeats of a measurement, together. */
export interface Figure extends Subject {
  /** Instructions of each round. */
  values: number[]
  instructions: Summary
  /** Medians. */
  sent: number
  arrived: number
  /** Why the figure means nothing: it is refused if it was in one round. */
  refused?: string
}

export const grouped = (count: number): string => count.toLocaleString('en-US', { maximumFractionDigits: 0 })

export const countOf = (count: number, what: string): string => `${grouped(count)} ${what}${count === 1 ? '' : 's'}`

export const withChecksum = (checksum: boolean): string => (checksum ? 'with checksum' : 'without checksum')

/** @returns the name of a figure, which no other figure has */
export function nameOf({ way, kind, checksum, flows, occupancy, rules, filled }: Subject): string {
  return [
    way, kind, countOf(flows, 'flow'), withChecksum(checksum),
    ...(occupancy === undefined ? [] : [`${occupancy} % taken`]),
    ...(rules ? [`${countOf(rules.count, 'rule')} that differ by ${rules.shape}`] : []),
    ...(filled === undefined ? [] : [`${kind === 'new' ? 'beside' : 'of'} ${grouped(filled)}`]),
  ].join(', ')
}

/** @returns the name of a quantity, which no other one has */
export const quantityName = ({ way, what, flows }: Pick<Quantity, 'way' | 'what' | 'flows'>): string => `${way}, ${what}, ${countOf(flows, 'flow')}`

/** @param values at least one */
export function summaryOf(values: readonly number[]): Summary {
  const sorted = [...values].sort((one, other) => one - other)
  const at = (index: number): number => sorted[index] ?? NaN
  return { median: (at(Math.floor((sorted.length - 1) / 2)) + at(Math.ceil((sorted.length - 1) / 2))) / 2, low: at(0), high: at(sorted.length - 1) }
}

/** @returns the largest value less the smallest, as a part of the median */
export const spreadOf = ({ median, low, high }: Summary): number => (high - low) / median

/** @returns values by their keys, which are in the order of their first values */
export function groupedBy<T>(values: readonly T[], keyOf: (value: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const value of values) {
    const [key, group] = [keyOf(value), groups.get(keyOf(value))]
    if (group) group.push(value)
    else groups.set(key, [value])
  }
  return groups
}

/** @returns a figure of each subject, in the order of their first measurements */
export const figuresOf = (measurements: readonly Measurement[]): Figure[] => [...groupedBy(measurements, nameOf).values()].map(figureOf)

function figureOf(rounds: readonly Measurement[]): Figure {
  const [first] = rounds as [Measurement]
  const { round: _round, instructions: _instructions, refused: _refused, ...subject } = first
  const median = (of: (one: Measurement) => number): number => summaryOf(rounds.map(of)).median
  const values = rounds.map(({ instructions }) => instructions)
  const reason = reasonOf(rounds)
  return {
    ...subject,
    values,
    instructions: summaryOf(values),
    sent: median(({ sent }) => sent),
    arrived: median(({ arrived }) => arrived),
    ...(reason === undefined ? {} : { refused: reason }),
  }
}

function reasonOf(rounds: readonly Measurement[]): string | undefined {
  const reasons = rounds.flatMap(({ refused }) => (refused === undefined ? [] : [refused]))
  return rounds.length > 1 && reasons.length > 0 ? `in ${reasons.length} of ${rounds.length} rounds: ${reasons[0]}` : reasons[0]
}

/** @returns how many rounds have something in these results */
export const roundsOf = ({ measurements, loads, quantities }: Results): number => new Set([...measurements, ...loads, ...quantities].map(({ round }) => round)).size
