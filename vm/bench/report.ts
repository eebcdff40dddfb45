// SPDX-License-Identifier: GPL-2.0-only
/** Tables of what was measured, for people: on a terminal and in Markdown. */

import { CONNECTIONS } from './connections.ts'
import { functionOf, kindOf, PROFILE_UNIT, REST } from './profile.ts'
import { ALONE, BESIDE, FLOWS, MANY_FLOWS, OCCUPANCIES } from './measure.ts'
import { countOf, type Figure, figuresOf, grouped, groupedBy, type Kind, type Load, nameOf, type Quantity, quantityName, type Results, roundsOf, spreadOf, type Subject, type Summary, summaryOf, withChecksum } from './results.ts'
import { MANY_RULES, RULE_COUNTS, SHAPES } from './rules.ts'
import { SEGMENT_BYTES } from './network.ts'
import { IPTABLES, IPVS, LVS, LVS_WAYS, PLAIN, WAYS } from './ways.ts'

export interface Table {
  title: string
  /** What the columns are; the first one is that of the rows' names. */
  head: readonly string[]
  rows: readonly (readonly string[])[]
}

/** One for each direction. */
export const DIRECTIONS: readonly { kind: Kind; title: string; flows: readonly number[] }[] = [
  { kind: 'out', title: 'out', flows: FLOWS },
  { kind: 'back', title: 'back', flows: FLOWS },
  { kind: 'new', title: 'each packet a new flow', flows: [MANY_FLOWS] },
]

export const percent = (part: number, digits = 1): string => `${(part * 100).toFixed(digits)} %`
export const signedPercent = (part: number): string => `${part < 0 ? '' : '+'}${percent(part)}`

/** A median, and behind it, where there are several rounds, their spread. */
const withSpread = (text: string, summary: Summary, rounds: number): string => (rounds > 1 ? `${text} (${percent(spreadOf(summary), 2)})` : text)

export class Figures {
  readonly all: readonly Figure[]

  constructor(results: Results) {
    this.all = figuresOf(results.measurements)
  }

  find(subject: Subject): Figure | undefined {
    const name = nameOf(subject)
    return this.all.find((one) => nameOf(one) === name)
  }

  /** @returns the median of a figure that means something */
  count(subject: Subject): number | undefined {
    const found = this.find(subject)
    return found?.refused === undefined ? found?.instructions.median : undefined
  }

  has(test: (one: Figure) => boolean): boolean {
    return this.all.some(test)
  }

  /** Whether packets had checksums that were measured, those with one first. */
  get checksums(): boolean[] {
    return [true, false].filter((checksum) => this.has((one) => one.checksum === checksum))
  }
}

const figureCell = ({ instructions, values }: Figure, text: string): string => withSpread(text, instructions, values.length)

/** Count, surplus over plain forwarding, and that in terms of what iptables adds. */
function forwardedCell(figures: Figures, subject: Subject): string {
  const found = figures.find(subject)
  const plain = figures.count({ ...subject, way: PLAIN.name })
  if (!found) return '-'
  if (found.refused !== undefined) return 'refused'
  const { median } = found.instructions
  if (subject.way === PLAIN.name || plain === undefined) return figureCell(found, median.toFixed(0))
  const surplus = median - plain
  const reference = (figures.count({ ...subject, way: IPTABLES.name }) ?? NaN) - plain
  const ratio = subject.way === IPTABLES.name || !Number.isFinite(reference) ? '' : ` ${(surplus / reference).toFixed(2)}`
  return figureCell(found, `${median.toFixed(0)} ${surplus < 0 ? '' : '+'}${surplus.toFixed(0)}${ratio}`)
}

const flowsHead = (flows: readonly number[]): string[] => flows.map((count) => countOf(count, 'flow'))

function forwarding(figures: Figures, checksum: boolean): Table[] {
  return DIRECTIONS.flatMap(({ kind, title, flows }) => {
    const ways = WAYS.filter(({ name }) => figures.has((one) => one.way === name && one.kind === kind && one.checksum === checksum && one.occupancy === undefined && one.filled === undefined))
    if (ways.length === 0) return []
    return [{
      title: `60-byte UDP ${withChecksum(checksum)}, ${title}: instructions per packet, those over plain forwarding, and the part of what iptables SNAT adds`,
      head: [title, ...flowsHead(flows)],
      rows: ways.map(({ name: way }) => [way, ...flows.map((count) => forwardedCell(figures, { way, kind, checksum, flows: count }))]),
    }]
  })
}

/** Requests and replies of a balanced service, on the whole way and on the short one. */
export const SERVED: readonly { way: string; kind: Kind; title: string }[] = LVS_WAYS.flatMap(({ name: way }) =>
  ([['in', 'requests'], ['reply', 'replies']] as const).map(([kind, what]) => ({ way, kind, title: `${way}: ${what}` })),
)

function serving(figures: Figures, checksum: boolean): Table[] {
  const served = SERVED.filter(({ way }) => figures.has((one) => one.way === way && one.checksum === checksum))
  if (served.length === 0) return []
  const cell = (way: string, kind: Kind, flows: number): string => {
    const [found, whole] = [figures.find({ way, kind, checksum, flows }), figures.count({ way: LVS.name, kind, checksum, flows })]
    if (!found) return '-'
    if (found.refused !== undefined) return 'refused'
    const { median } = found.instructions
    return figureCell(found, `${median.toFixed(0)}${way === LVS.name || whole === undefined ? '' : ` x${(median / whole).toFixed(2)}`}`)
  }
  return [{
    title: `LVS NAT, UDP ${withChecksum(checksum)}: instructions per packet, and how many times those of the whole way`,
    head: ['', ...flowsHead(FLOWS)],
    rows: served.map(({ way, kind, title }) => [title, ...FLOWS.map((flows) => cell(way, kind, flows))]),
  }]
}

function balancing(figures: Figures, checksum: boolean): Table[] {
  if (!figures.has((one) => one.way === ALONE && one.checksum === checksum)) return []
  const subject = (way: string, flows: number): Subject => ({ way, kind: 'in', checksum, flows })
  const cell = (way: string, flows: number): string => {
    const [found, alone] = [figures.find(subject(way, flows)), figures.count(subject(ALONE, flows))]
    if (!found) return '-'
    if (found.refused !== undefined) return 'refused'
    const { median } = found.instructions
    return figureCell(found, `${median.toFixed(0)}${way === ALONE || alone === undefined ? '' : ` ${signedPercent(median / alone - 1)}`}`)
  }
  return [{
    title: `LVS NAT in, UDP ${withChecksum(checksum)}: instructions per packet, and what SNAT beside it adds`,
    head: ['in', ...flowsHead(FLOWS)],
    rows: [ALONE, BESIDE].map((way) => [way, ...FLOWS.map((flows) => cell(way, flows))]),
  }]
}

/** One instruction takes one nanosecond. */
const gigabits = (instructions: number): string => ((SEGMENT_BYTES * 8) / instructions).toFixed(2)

function bulk(figures: Figures): Table[] {
  const kinds = ['down', 'up'] as const
  const ways = WAYS.filter(({ name }) => figures.has((one) => one.way === name && kinds.some((kind) => kind === one.kind)))
  if (ways.length === 0) return []
  const cell = (way: string, kind: Kind): string => {
    const found = figures.find({ way, kind, checksum: true, flows: 1 })
    if (!found) return '-'
    if (found.refused !== undefined) return 'refused'
    const { median } = found.instructions
    return figureCell(found, `${median.toFixed(0)}, ${gigabits(median)} Gbit/s`)
  }
  return [{
    title: `A TCP stream, merged on its way (GSO), with both its ends: instructions for each ${grouped(SEGMENT_BYTES)} bytes, and the rate of 1,000,000,000 instructions a second`,
    head: ['stream', ...kinds],
    rows: ways.map(({ name }) => [name, ...kinds.map((kind) => cell(name, kind))]),
  }]
}

function connections(figures: Figures): Table[] {
  const subject = (way: string): Subject => ({ way, kind: 'connection', checksum: true, flows: CONNECTIONS })
  const ways = WAYS.filter(({ name }) => figures.find(subject(name)))
  if (ways.length === 0) return []
  return [{
    title: 'A short TCP connection, from its SYN to the last acknowledgement, with both its ends: instructions, those over plain forwarding, and the part of what iptables SNAT adds',
    head: ['', 'connection'],
    rows: ways.map(({ name }) => [name, forwardedCell(figures, subject(name))]),
  }]
}

function occupancy(figures: Figures): Table[] {
  const [first] = figures.all.filter((one) => one.occupancy !== undefined)
  if (!first) return []
  const find = (way: string, taken: number): Figure | undefined => figures.all.find((one) => one.way === way && one.occupancy === taken)
  const cell = (way: string, taken: number): string => {
    const [found, empty] = [find(way, taken), find(way, 0)]
    if (!found || !empty) return '-'
    if (found.refused !== undefined) return 'refused'
    const { median } = found.instructions
    const times = empty.refused === undefined ? ` x${(median / empty.instructions.median).toFixed(2)}` : ''
    return figureCell(found, `${median.toFixed(0)}${times}, ${found.sent - found.arrived}`)
  }
  return [{
    title: `A new flow by how much of the port range is taken, in one block: instructions, times those at 0 %, and flows refused of ${first.sent}`,
    head: ['taken', ...OCCUPANCIES.map((taken) => `${taken} %`)],
    rows: [IPVS, IPTABLES].filter(({ name }) => find(name, 0)).map(({ name }) => [name, ...OCCUPANCIES.map((taken) => cell(name, taken))]),
  }]
}

function rules(figures: Figures): Table[] {
  if (!figures.has((one) => one.rules !== undefined)) return []
  const cell = (shape: string, kind: Kind): string => {
    const [few, many] = RULE_COUNTS.map((count) => figures.all.find((one) => one.kind === kind && one.rules?.shape === shape && one.rules.count === count))
    if (!few || !many) return '-'
    if (few.refused !== undefined || many.refused !== undefined) return 'refused'
    const [ofFew, ofMany] = [few, many].map((one) => figureCell(one, one.instructions.median.toFixed(0)))
    return `${ofFew}, ${ofMany} x${(many.instructions.median / few.instructions.median).toFixed(2)}`
  }
  return [{
    title: `Rules that differ by something, the last one matches: instructions with ${RULE_COUNTS.map(grouped).join(' and ')}, and how many times as many`,
    head: ['rules differ by', 'established', 'new flow'],
    rows: SHAPES.map(({ name }) => [name, cell(name, 'out'), cell(name, 'new')]),
  }]
}

const inOrder = (numbers: readonly number[]): number[] => [...new Set(numbers)].sort((one, other) => one - other)

function scaling(figures: Figures): Table[] {
  const found = figures.all.filter(({ filled }) => filled !== undefined)
  if (found.length === 0) return []
  const fillings = inOrder(found.map(({ filled = 0 }) => filled))
  const cell = (way: string, kind: Kind, filled: number): string => {
    const [one, few] = [filled, 1].map((count) => found.find((figure) => figure.way === way && figure.kind === kind && figure.filled === count))
    if (!one) return '-'
    if (one.refused !== undefined) return 'refused'
    const { median } = one.instructions
    return figureCell(one, `${median.toFixed(0)}${filled === 1 || few === undefined || few.refused !== undefined ? '' : ` x${(median / few.instructions.median).toFixed(3)}`}`)
  }
  return [{
    title: 'A packet of some of so many flows, and of a new one beside them: instructions, and how many times those where there is one flow',
    head: ['', ...DIRECTIONS.flatMap(({ kind }) => fillings.map((count) => `${kind}, ${grouped(count)}`))],
    rows: [...new Set(found.map(({ way }) => way))].map((way) => [way, ...DIRECTIONS.flatMap(({ kind }) => fillings.map((count) => cell(way, kind, count)))]),
  }]
}

const quantityText = (value: number): string => (value < 100 ? value.toFixed(1) : grouped(value))

function otherwise(all: readonly Quantity[]): Table[] {
  const quantities = all.filter(({ unit }) => unit !== PROFILE_UNIT)
  if (quantities.length === 0) return []
  const counts = inOrder(quantities.map(({ flows }) => flows))
  const rowOf = ({ way, what, unit }: Quantity): string => `${way}: ${what} (${unit})`
  const cell = (rounds: readonly Quantity[]): string => {
    if (rounds.length === 0) return '-'
    if (rounds.some(({ refused }) => refused !== undefined)) return 'refused'
    const summary = summaryOf(rounds.map(({ value }) => value))
    return rounds.length > 1 ? `${quantityText(summary.median)} (${quantityText(summary.low)} to ${quantityText(summary.high)})` : quantityText(summary.median)
  }
  return [{
    title: 'What else was measured',
    head: ['', ...flowsHead(counts)],
    rows: [...groupedBy(quantities, rowOf)].map(([row, all]) => [row, ...counts.map((count) => cell(all.filter(({ flows }) => flows === count)))]),
  }]
}

/** Functions of which no way has more instructions for a packet are told together. */
const FEW = 5

/** Instructions for a packet by function, of each round. Those of a refused round mean nothing, and without it the median would be another one's. */
interface Profile {
  refused: boolean
  rounds: readonly ReadonlyMap<string, number>[]
}

const profileOf = (quantities: readonly Quantity[]): Profile => ({
  refused: quantities.some(({ refused }) => refused !== undefined),
  rounds: [...groupedBy(quantities, ({ round }) => `${round}`).values()].map((round) => new Map(round.map(({ what, value }) => [functionOf(what), value]))),
})

/** @returns the median of all rounds: a function that one lacks has none there */
const instructionsOf = ({ rounds }: Profile, name: string): number => summaryOf(rounds.map((round) => round.get(name) ?? 0)).median || 0

/** @param rows functions that have a row of their own @returns the median of what the rounds have besides */
const restOf = ({ rounds }: Profile, rows: ReadonlySet<string>): number =>
  summaryOf(rounds.map((round) => [...round].reduce((sum, [name, value]) => (rows.has(name) ? sum : sum + value), 0))).median || 0

/** A table for each direction, functions with most instructions first. */
function profiles(quantities: readonly Quantity[]): Table[] {
  const found = quantities.filter(({ unit }) => unit === PROFILE_UNIT)
  const ways = WAYS.map(({ name }) => name).filter((name) => found.some(({ way }) => way === name))
  return [...groupedBy(found, ({ what }) => kindOf(what))].map(([kind, all]) => {
    const ofWays = groupedBy(all, ({ way }) => way)
    const columns = ways.map((way) => profileOf(ofWays.get(way) ?? []))
    const valid = columns.filter(({ refused }) => !refused)
    const names = [...new Set(valid.flatMap(({ rounds }) => rounds.flatMap((round) => [...round.keys()])))].filter((name) => name !== REST)
    const most = new Map(names.map((name) => [name, Math.max(...valid.map((column) => instructionsOf(column, name)))]))
    const rows = new Set([...most].filter(([, value]) => value >= FEW).sort(([, one], [, other]) => other - one).map(([name]) => name))
    const row = (name: string, valueOf: (column: Profile) => number): string[] =>
      [name, ...columns.map((column) => (column.refused ? 'refused' : valueOf(column) === 0 ? '-' : valueOf(column).toFixed(0)))]
    return {
      title: `Where the instructions of a packet are, ${DIRECTIONS.find((direction) => direction.kind === kind)?.title ?? kind}, with pktgen that sends it and the rule that counts it`,
      head: ['function', ...ways],
      rows: [
        row('all', (column) => [...rows].reduce((sum, name) => sum + instructionsOf(column, name), restOf(column, rows))),
        ...[...rows].map((name) => row(name, (column) => instructionsOf(column, name))),
        row(REST, (column) => restOf(column, rows)),
      ],
    }
  })
}

function loading(loads: readonly Load[]): Table[] {
  if (loads.length === 0) return []
  const row = (how: string, rounds: readonly Load[]): string[] => {
    const summary = summaryOf(rounds.map(({ seconds }) => seconds))
    return [how, withSpread(summary.median.toFixed(2), summary, rounds.length)]
  }
  return [{
    title: `Loading ${grouped(MANY_RULES)} rules: seconds of 1,000,000,000 instructions`,
    head: ['loaded by', 'seconds'],
    rows: [...groupedBy(loads, ({ how }) => how)].map(([how, rounds]) => row(how, rounds)),
  }]
}

/** @returns a table of everything that was measured */
export function tablesOf(results: Results): Table[] {
  const figures = new Figures(results)
  return [
    ...figures.checksums.flatMap((checksum) => forwarding(figures, checksum)),
    ...figures.checksums.flatMap((checksum) => balancing(figures, checksum)),
    ...figures.checksums.flatMap((checksum) => serving(figures, checksum)),
    ...bulk(figures), ...connections(figures), ...occupancy(figures), ...rules(figures), ...loading(results.loads),
    ...scaling(figures), ...profiles(results.quantities), ...otherwise(results.quantities),
  ]
}

/** @returns what is to be read before the tables */
export const legend = (results: Results): string[] =>
  roundsOf(results) > 1 ? [`Medians of ${roundsOf(results)} rounds; in brackets the largest less the smallest of them, in percent of the median.`] : []

/** What is refused at once has one name: a profile, with all its functions. */
const refusedName = (quantity: Quantity): string => quantityName(quantity.unit === PROFILE_UNIT ? { ...quantity, what: kindOf(quantity.what) } : quantity)

/** @returns a line for each figure that means nothing */
export const refusals = ({ measurements, quantities }: Results): string[] => [
  ...figuresOf(measurements).flatMap((figure) => (figure.refused === undefined ? [] : [`${nameOf(figure)}: ${figure.refused}`])),
  ...new Set(quantities.flatMap((quantity) => (quantity.refused === undefined ? [] : [`${refusedName(quantity)}: ${quantity.refused}`]))),
]

/** @returns a line for each thing that this kernel cannot do */
export const inapplicables = ({ inapplicable }: Results): string[] => inapplicable.map(({ what, reason }) => `${what}: ${reason}`)

const SEPARATOR = '  '

/** @returns lines of a terminal */
function textOf({ title, head, rows }: Table): string[] {
  const lines = [head, ...rows]
  const widths = head.map((_, column) => Math.max(...lines.map((cells) => (cells[column] ?? '').length)))
  const line = (cells: readonly string[]): string =>
    cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join(SEPARATOR).trimEnd()
  return [title, ...lines.map(line)]
}

/** @returns lines of a terminal: all tables, and what is missing in them */
export const textLines = (results: Results): string[] => [
  ...legend(results),
  ...tablesOf(results).flatMap((table) => [...textOf(table), '']),
  ...inapplicables(results).map((line) => `not applicable: ${line}`),
  ...refusals(results).map((line) => `refused: ${line}`),
]
