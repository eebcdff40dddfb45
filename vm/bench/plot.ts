// SPDX-License-Identifier: GPL-2.0-only
/** Draws charts as SVG, by Vega. */

import type { Axis, Data, Legend, Mark, Scale, Spec, Title } from 'vega'
import type { Chart } from './charts.ts'

const WIDTH = 720
const HEIGHT = 320
/** Can be told apart by people who do not see all colours, and in grey (Okabe and Ito). */
const COLOURS = ['#999999', '#0072B2', '#56B4E9', '#E69F00', '#D55E00', '#009E73']
const INK = '#333333'

/** @returns the text of an SVG file */
export async function svgOf(chart: Chart): Promise<string> {
  // It is not in the one file that each command reads (Makefile): only this one needs it.
  const { parse, View } = await import('vega')
  const view = new View(parse(specOf(chart)), { renderer: 'none' })
  try {
    return `${await view.toSVG()}\n`
  } finally {
    view.finalize()
  }
}

function specOf(chart: Chart): Spec {
  const { axes, bars } = chart
  const drawn = chart.series.filter((series) => bars.some((bar) => bar.series === series))
  return {
    $schema: 'https://vega.github.io/schema/vega/v6.json',
    width: WIDTH,
    height: HEIGHT,
    padding: 10,
    background: 'white',
    title: titleOf(chart),
    data: dataOf(chart),
    scales: scalesOf(chart),
    axes: axesOf(axes),
    legends: [legendOf(drawn)],
    marks: [groupsOf(drawn)],
  }
}

const titleOf = ({ title, notes }: Chart): Title => ({ text: title, subtitle: notes, anchor: 'start', offset: 12, color: INK, subtitleColor: INK })

const dataOf = ({ bars }: Chart): Data[] => [{ name: 'bars', values: bars.map((bar) => ({ ...bar })) }]

const scalesOf = ({ bars, series }: Chart): Scale[] => [
  { name: 'group', type: 'band', domain: [...new Set(bars.map(({ x }) => x))], range: 'width', padding: 0.2 },
  // A difference is to look as large as it is.
  { name: 'height', type: 'linear', domain: { data: 'bars', field: 'high' }, range: 'height', zero: true, nice: true },
  { name: 'colour', type: 'ordinal', domain: series, range: COLOURS },
]

const axesOf = ({ x, y }: Chart['axes']): Axis[] => [
  { orient: 'left', scale: 'height', title: y, grid: true, format: ',d', gridColor: '#dddddd', titleColor: INK, labelColor: INK },
  { orient: 'bottom', scale: 'group', title: x, ticks: false, labelPadding: 6, titleColor: INK, labelColor: INK },
]

const legendOf = (drawn: string[]): Legend =>
  ({ fill: 'colour', values: drawn, symbolType: 'square', orient: 'bottom', direction: 'horizontal', columns: 3, labelColor: INK, labelLimit: 300 })

/** A group for each place along the axis, and in it a bar for each series, with the range of its rounds. */
const groupsOf = (drawn: string[]): Mark => ({
  type: 'group',
  from: { facet: { data: 'bars', name: 'group', groupby: 'x' } },
  encode: { enter: { x: { scale: 'group', field: 'x' } } },
  signals: [{ name: 'width', update: "bandwidth('group')" }],
  scales: [{ name: 'place', type: 'band', range: 'width', domain: drawn, padding: 0.1 }],
  marks: [
    {
      type: 'rect',
      from: { data: 'group' },
      encode: {
        enter: {
          x: { scale: 'place', field: 'series' },
          width: { scale: 'place', band: 1 },
          y: { scale: 'height', field: 'median' },
          y2: { scale: 'height', value: 0 },
          fill: { scale: 'colour', field: 'series' },
        },
      },
    },
    {
      type: 'rule',
      from: { data: 'group' },
      encode: {
        enter: {
          x: { scale: 'place', field: 'series', band: 0.5 },
          y: { scale: 'height', field: 'low' },
          y2: { scale: 'height', field: 'high' },
          stroke: { value: 'black' },
          strokeWidth: { value: 1.5 },
        },
      },
    },
  ],
})
