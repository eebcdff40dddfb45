// SPDX-License-Identifier: GPL-2.0-only
/** Draws the panels of a dashboard as one SVG, by Vega. */

import type { Data, GroupMark, Mark, Spec, Title } from 'vega'
import type { Drawn } from './panels.ts'

const COLUMNS = 2
const WIDTH = 520
const HEIGHT = 170
const GAP_X = 90
const GAP_Y = 130
const ROW_HEIGHT = 18
const INK = '#333333'
/** Can be told apart by people who do not see all colours (Okabe and Ito). */
const COLOURS = ['#0072B2', '#E69F00', '#009E73', '#D55E00', '#56B4E9', '#CC79A7', '#999999', '#000000']
/** A table has the whole width. */
const TABLE_WIDTH = COLUMNS * WIDTH + (COLUMNS - 1) * GAP_X
/** Columns of the table, in their order. */
const COLUMNS_OF_RULES = ['rule', 'priority', 'from', 'to', 'oif', 'action', 'pool'] as const

/** @param notes lines below the title: where it comes from @returns the text of an SVG file */
export async function svgOf(title: string, notes: readonly string[], panels: readonly Drawn[]): Promise<string> {
  // It is not in the one file that each command reads (Makefile).
  const { parse, View } = await import('vega')
  const view = new View(parse(specOf(title, notes, panels)), { renderer: 'none' })
  try {
    return `${await view.toSVG()}\n`
  } finally {
    view.finalize()
  }
}

const specOf = (title: string, notes: readonly string[], panels: readonly Drawn[]): Spec => ({
  $schema: 'https://vega.github.io/schema/vega/v6.json',
  width: TABLE_WIDTH,
  height: Math.ceil(panels.length / COLUMNS) * (HEIGHT + GAP_Y) - GAP_Y,
  padding: 20,
  background: 'white',
  title: titleOf(title, { subtitle: [...notes], offset: 30, subtitleColor: INK }),
  data: panels.map(dataOf),
  scales: [{ name: 'time', type: 'utc', domain: { fields: panels.flatMap(({ points }, index) => (points.length > 0 ? [{ data: nameOf(index), field: 'time' }] : [])) }, range: [0, WIDTH] }],
  marks: panels.map((panel, index) => (panel.rows.length > 0 ? tableOf(panel, index) : linesOf(panel, index))),
})

const titleOf = (text: string, more: Partial<Title> = {}): Title => ({ text, anchor: 'start', frame: 'group', color: INK, ...more })

const nameOf = (index: number): string => `panel${index}`

const dataOf = ({ points, rows }: Drawn, index: number): Data => ({ name: nameOf(index), values: rows.length > 0 ? rows.map((row, at) => ({ ...row, at })) : points })

/** Where a panel is, and its title. */
const frameOf = ({ title }: Drawn, index: number): Pick<GroupMark, 'type' | 'encode' | 'title'> => ({
  type: 'group',
  title: titleOf(title),
  encode: {
    enter: {
      x: { value: (index % COLUMNS) * (WIDTH + GAP_X) },
      y: { value: Math.floor(index / COLUMNS) * (HEIGHT + GAP_Y) },
      width: { value: WIDTH },
      height: { value: HEIGHT },
    },
  },
})

function linesOf(panel: Drawn, index: number): Mark {
  const series = [...new Set(panel.points.map((point) => point.series))].sort()
  const highest = Math.max(1, ...panel.points.map(({ value }) => value))
  return {
    ...frameOf(panel, index),
    // Else grid and legend would be as wide as the whole.
    signals: [{ name: 'width', update: String(WIDTH) }, { name: 'height', update: String(HEIGHT) }],
    scales: [
      { name: 'value', type: 'linear', domain: [0, highest], range: [HEIGHT, 0], nice: true },
      { name: 'colour', type: 'ordinal', domain: series, range: COLOURS },
    ],
    axes: [
      { orient: 'left', scale: 'value', title: panel.unit, grid: true, tickCount: 5, format: '~s', gridColor: '#dddddd', titleColor: INK, labelColor: INK },
      { orient: 'bottom', scale: 'time', format: '%H:%M', tickCount: 6, labelColor: INK },
    ],
    legends: series.length > 0 ? [{ stroke: 'colour', symbolType: 'stroke', orient: 'bottom', direction: 'horizontal', columns: 3, labelColor: INK, labelLimit: 200 }] : [],
    marks: [{
      type: 'group',
      from: { facet: { name: 'line', data: nameOf(index), groupby: 'series' } },
      marks: [{
        type: 'line',
        from: { data: 'line' },
        encode: {
          enter: {
            x: { scale: 'time', field: 'time' },
            y: { scale: 'value', field: 'value' },
            stroke: { scale: 'colour', field: 'series' },
            strokeWidth: { value: 1.5 },
          },
        },
      }],
    }],
  }
}

function tableOf(panel: Drawn, index: number): Mark {
  const place = (at: number): number => (at * TABLE_WIDTH) / COLUMNS_OF_RULES.length
  return {
    ...frameOf(panel, index),
    marks: COLUMNS_OF_RULES.flatMap((column, at): Mark[] => [
      { type: 'text', encode: { enter: { x: { value: place(at) }, y: { value: ROW_HEIGHT }, text: { value: column }, fontWeight: { value: 'bold' }, fill: { value: INK } } } },
      {
        type: 'text',
        from: { data: nameOf(index) },
        encode: { enter: { x: { value: place(at) }, y: { signal: `(datum.at + 2) * ${ROW_HEIGHT}` }, text: { field: column }, fill: { value: INK }, limit: { value: place(1) - 6 } } },
      },
    ]),
  }
}
