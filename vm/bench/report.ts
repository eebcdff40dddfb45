// SPDX-License-Identifier: GPL-2.0-only
/** Tables of what was measured, for people. */

import { ALONE, BESIDE, FLOWS, type Kind, type Load, MANY_FLOWS, type Measurement, OCCUPANCIES, type Results } from './measure.ts'
import { MANY_RULES, RULE_COUNTS, SHAPES } from './rules.ts'
import { IPTABLES, IPVS, PLAIN, WAYS } from './ways.ts'

const NAME_WIDTH = 18
const CELL_WIDTH = 19
const LOAD_WIDTH = 28

interface Column {
  kind: Kind
  flows: number
}

const FORWARDING: readonly { title: string; columns: readonly Column[] }[] = [
  { title: 'out', columns: FLOWS.map((flows): Column => ({ kind: 'out', flows })) },
  { title: 'back', columns: FLOWS.map((flows): Column => ({ kind: 'back', flows })) },
  { title: 'new', columns: [{ kind: 'new', flows: MANY_FLOWS }] },
]

const row = (name: string, cells: readonly string[]): string => `${name.padEnd(NAME_WIDTH)}${cells.map((cell) => cell.padStart(CELL_WIDTH)).join('')}`.trimEnd()
const grouped = (count: number): string => count.toLocaleString('en-US', { maximumFractionDigits: 0 })

class Figures {
  constructor(private readonly measurements: readonly Measurement[]) {}

  find(way: string, column: Column, checksum: boolean, occupancy?: number): Measurement | undefined {
    return this.measurements.find((one) =>
      one.way === way && one.kind === column.kind && one.flows === column.flows && one.checksum === checksum && one.occupancy === occupancy)
  }

  /** @returns the count of a figure that means something */
  count(way: string, column: Column, checksum: boolean): number | undefined {
    const found = this.find(way, column, checksum)
    return found?.refused === undefined ? found?.instructions : undefined
  }

  /** Count, surplus over plain forwarding, and that in terms of what iptables adds. */
  cell(way: string, column: Column, checksum: boolean): string {
    const found = this.find(way, column, checksum)
    const plain = this.count(PLAIN.name, column, checksum)
    if (!found) return '-'
    if (found.refused !== undefined) return 'refused'
    if (way === PLAIN.name || plain === undefined) return found.instructions.toFixed(0)
    const surplus = found.instructions - plain
    const reference = (this.count(IPTABLES.name, column, checksum) ?? NaN) - plain
    const ratio = way === IPTABLES.name || !Number.isFinite(reference) ? '' : ` ${(surplus / reference).toFixed(2)}`
    return `${found.instructions.toFixed(0)} ${surplus < 0 ? '' : '+'}${surplus.toFixed(0)}${ratio}`
  }
}

const withChecksum = (checksum: boolean): string => (checksum ? 'with checksum' : 'without checksum')
const heading = (columns: readonly Column[], title: string): string[] => columns.map(({ flows }) => `${title}, ${grouped(flows)} flow${flows === 1 ? '' : 's'}`)

function forwarding(figures: Figures, checksum: boolean): string[] {
  return [
    `60-byte UDP ${withChecksum(checksum)}: instructions per packet, those over plain forwarding, and the part of what iptables SNAT adds`,
    ...FORWARDING.flatMap(({ title, columns }) => [
      row('', heading(columns, title)),
      ...WAYS.map((way) => row(way.name, columns.map((column) => figures.cell(way.name, column, checksum)))),
    ]),
  ]
}

function balancing(figures: Figures, checksum: boolean): string[] {
  const columns = FLOWS.map((flows): Column => ({ kind: 'in', flows }))
  const cell = (column: Column): string => {
    const [alone, beside] = [figures.count(ALONE, column, checksum), figures.count(BESIDE, column, checksum)]
    if (alone === undefined || beside === undefined) return 'refused'
    return `${alone.toFixed(0)}, ${beside.toFixed(0)} ${percent(beside / alone - 1)}`
  }
  return [`LVS NAT in, UDP ${withChecksum(checksum)}: alone, and beside ${grouped(MANY_FLOWS)} SNAT flows`, row('', heading(columns, 'in')), row('', columns.map(cell))]
}

const percent = (part: number): string => `${part < 0 ? '' : '+'}${(part * 100).toFixed(1)} %`

function occupancy(measurements: readonly Measurement[]): string[] {
  const cell = (way: string, taken: number): string => {
    const found = measurements.find((one) => one.way === way && one.occupancy === taken)
    const empty = measurements.find((one) => one.way === way && one.occupancy === 0)
    if (!found || !empty) return '-'
    if (found.refused !== undefined) return 'refused'
    return `${found.instructions.toFixed(0)} x${(found.instructions / empty.instructions).toFixed(2)}, ${found.sent - found.arrived}`
  }
  const [first] = measurements.filter((one) => one.occupancy !== undefined)
  return [
    `A new flow by how much of the port range is taken, in one block: instructions, times those at 0 %, and flows refused of ${first?.sent}`,
    row('', OCCUPANCIES.map((taken) => `${taken} %`)),
    ...[IPVS, IPTABLES].map(({ name }) => row(name, OCCUPANCIES.map((taken) => cell(name, taken)))),
  ]
}

function rules(measurements: readonly Measurement[]): string[] {
  const cell = (shape: string, kind: Kind): string => {
    const [few, many] = RULE_COUNTS.map((count) =>
      measurements.find((one) => one.kind === kind && one.rules?.shape === shape && one.rules.count === count))
    if (!few || !many) return '-'
    if (few.refused !== undefined || many.refused !== undefined) return 'refused'
    return `${few.instructions.toFixed(0)}, ${many.instructions.toFixed(0)} x${(many.instructions / few.instructions).toFixed(2)}`
  }
  return [
    `Rules that differ by something, the last one matches: instructions with ${RULE_COUNTS.map(grouped).join(' and ')}, and how many times as many`,
    row('', ['established', 'new flow']),
    ...SHAPES.map(({ name }) => row(name, [cell(name, 'out'), cell(name, 'new')])),
  ]
}

function loading(loads: readonly Load[]): string[] {
  return [`Loading ${grouped(MANY_RULES)} rules: seconds of 1,000,000,000 instructions`, ...loads.map(({ how, seconds }) => `${how.padEnd(LOAD_WIDTH)}${seconds.toFixed(2)}`)]
}

/** @returns lines */
export function tables({ measurements, loads, inapplicable }: Results): string[] {
  const figures = new Figures(measurements)
  const checksums = [true, false].filter((checksum) => measurements.some((one) => one.checksum === checksum))
  const has = (test: (one: Measurement) => boolean) => measurements.some(test)
  return [
    ...checksums.flatMap((checksum) => [...forwarding(figures, checksum), '']),
    ...checksums.filter(() => has(({ kind }) => kind === 'in')).flatMap((checksum) => [...balancing(figures, checksum), '']),
    ...(has((one) => one.occupancy !== undefined) ? [...occupancy(measurements), ''] : []),
    ...(has((one) => one.rules !== undefined) ? [...rules(measurements), ''] : []),
    ...(loads.length > 0 ? [...loading(loads), ''] : []),
    ...inapplicable.map(({ what, reason }) => `${what}: not applicable: ${reason}`),
    ...measurements.flatMap(({ way, kind, flows, refused }) => (refused === undefined ? [] : [`refused: ${way}, ${kind}, ${flows} flows: ${refused}`])),
  ]
}
