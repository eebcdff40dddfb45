// SPDX-License-Identifier: GPL-2.0-only
/** What is drawn of what was measured: which figures, in which order, under which title. How it is drawn is plot.ts. */

import { CONNECTIONS } from './connections.ts'
import { ALONE, BESIDE, FLOWS, OCCUPANCIES } from './measure.ts'
import { SEGMENT_BYTES } from './network.ts'
import { DIRECTIONS, Figures, SERVED } from './report.ts'
import { countedOf, countOf, type Figure, grouped, type Kind, type Results, roundsOf, type Summary, withChecksum } from './results.ts'
import { RULE_COUNTS, SHAPES } from './rules.ts'
import { IPTABLES, IPVS, WAYS } from './ways.ts'

/** A bar: where it is, how high, and from where to where the rounds were. */
export interface Bar extends Summary {
  /** Which group along the horizontal axis. */
  x: string
  /** Which of the group. */
  series: string
}

export interface Chart {
  /** Of its file, without what follows the dot. */
  name: string
  title: string
  /** Lines below the title: what is drawn, and what is missing. */
  notes: string[]
  /** What the axes are of. The vertical one begins at 0. */
  axes: { x: string; y: string }
  /** All that there could be, in their order: a colour is that of the same one, whatever is missing. */
  series: string[]
  bars: Bar[]
}

/** A figure that is drawn, if it is there and means something. */
interface Place extends Pick<Bar, 'x' | 'series'> {
  figure: Figure | undefined
}

interface Drawing extends Pick<Chart, 'name' | 'title'> {
  /** What the horizontal axis is of. */
  across: string
  places: Place[]
}

function forwarding(figures: Figures, checksum: boolean): Drawing[] {
  return DIRECTIONS.map(({ kind, title, flows }) => ({
    name: `${kind}${suffix(checksum)}`,
    title: `60-byte UDP ${withChecksum(checksum)}: ${title}`,
    across: 'flows',
    places: flows.flatMap((count) => WAYS.map(({ name: way }) => ({ x: grouped(count), series: way, figure: figures.find({ way, kind, checksum, flows: count }) }))),
  }))
}

const suffix = (checksum: boolean): string => (checksum ? '' : '-without-checksum')

const balancing = (figures: Figures, checksum: boolean): Drawing => ({
  name: `lvs-nat${suffix(checksum)}`,
  title: `LVS NAT in, 60-byte UDP ${withChecksum(checksum)}`,
  across: 'flows',
  places: FLOWS.flatMap((flows) => [ALONE, BESIDE].map((way) => ({ x: grouped(flows), series: way, figure: figures.find({ way, kind: 'in', checksum, flows }) }))),
})

const serving = (figures: Figures, checksum: boolean): Drawing => ({
  name: `lvs-nat-ways${suffix(checksum)}`,
  title: `LVS NAT, both ways, 60-byte UDP ${withChecksum(checksum)}`,
  across: 'flows',
  places: FLOWS.flatMap((flows) => SERVED.map(({ way, kind, title }) => ({ x: grouped(flows), series: title, figure: figures.find({ way, kind, checksum, flows }) }))),
})

const bulk = (figures: Figures): Drawing => ({
  name: 'bulk',
  title: `A TCP stream, merged on its way (GSO): each ${grouped(SEGMENT_BYTES)} bytes, with both its ends`,
  across: 'direction',
  places: (['down', 'up'] as const).flatMap((kind) => WAYS.map(({ name: way }) => ({ x: kind, series: way, figure: figures.find({ way, kind, checksum: true, flows: 1 }) }))),
})

const connections = (figures: Figures): Drawing => ({
  name: 'connections',
  title: 'A short TCP connection, from its SYN to the last acknowledgement, with both its ends',
  across: 'way',
  places: WAYS.map(({ name: way }) => ({ x: way, series: way, figure: figures.find({ way, kind: 'connection', checksum: true, flows: CONNECTIONS }) })),
})

const occupancy = ({ all }: Figures): Drawing => ({
  name: 'occupancy',
  title: 'A new flow while ports are taken, in one block',
  across: 'percent of the ports that are taken',
  places: OCCUPANCIES.flatMap((taken) => [IPVS, IPTABLES].map(({ name }) => ({ x: String(taken), series: name, figure: all.find((one) => one.way === name && one.occupancy === taken) }))),
})

const RULE_KINDS: readonly { kind: Kind; title: string }[] = [{ kind: 'out', title: 'an established flow' }, { kind: 'new', title: 'a new flow' }]

function rules({ all }: Figures): Drawing[] {
  const find = (kind: Kind, shape: string, count: number): Figure | undefined => all.find((one) => one.kind === kind && one.rules?.shape === shape && one.rules.count === count)
  return RULE_KINDS.map(({ kind, title }) => ({
    name: `rules-${kind}`,
    title: `The last rule matches: ${title}`,
    across: 'what the rules differ by',
    places: SHAPES.flatMap(({ name }) => RULE_COUNTS.map((count) => ({ x: name, series: countOf(count, 'rule'), figure: find(kind, name, count) }))),
  }))
}

/**
 * @param source where the figures come from, in words: a plot goes about without its report
 * @returns a chart of everything that was measured in instructions; what means nothing is not drawn, and named
 */
export function chartsOf(results: Results, source: string): Chart[] {
  const figures = new Figures(results)
  const { checksums } = figures
  const drawings = [
    ...checksums.flatMap((checksum) => forwarding(figures, checksum)), ...checksums.map((checksum) => balancing(figures, checksum)),
    ...checksums.map((checksum) => serving(figures, checksum)),
    bulk(figures), connections(figures), occupancy(figures), ...rules(figures),
  ]
  return drawings.map((drawing) => chartOf(drawing, source, roundsOf(results))).filter(({ bars }) => bars.length > 0)
}

function chartOf({ name, title, across, places }: Drawing, source: string, rounds: number): Chart {
  const found = places.flatMap(({ figure, ...place }) => (figure ? [{ ...place, ...figure }] : []))
  const refused = found.filter((one) => one.refused !== undefined).map(({ series, x }) => `${series} (${x})`)
  return {
    name,
    title,
    notes: [
      `${source}.`,
      rounds > 1 ? `Bars: medians of ${rounds} rounds. Lines: from the smallest to the largest.` : 'Measured once.',
      ...(refused.length > 0 ? [`Not drawn, because packets went astray: ${refused.join(', ')}.`] : []),
    ],
    axes: { x: across, y: `guest instructions per ${countedOf(found[0]?.kind ?? 'out')}` },
    series: [...new Set(places.map(({ series }) => series))],
    bars: found.filter((one) => one.refused === undefined).map(({ series, x, instructions }) => ({ x, series, ...instructions })),
  }
}
