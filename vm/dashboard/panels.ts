// SPDX-License-Identifier: GPL-2.0-only
/** The panels of a dashboard of Grafana, and what Prometheus answers to their queries. */

export interface Target {
  expr: string
  legendFormat?: string
}

export interface Panel {
  title: string
  type: string
  targets: Target[]
  fieldConfig: { defaults: { unit?: string } }
}

/** Values of one combination of labels, as /api/v1/query_range of Prometheus has them. */
export interface Series {
  metric: Readonly<Record<string, string>>
  values: readonly (readonly [time: number, value: string])[]
}

export interface Point {
  /** Milliseconds since 1970. */
  time: number
  value: number
  series: string
}

/** What is drawn of a panel. */
export interface Drawn {
  title: string
  unit: string
  points: Point[]
  /** Of a table, instead of points: what each row says. */
  rows: readonly Readonly<Record<string, string>>[]
}

/** What people read of Grafana's names of units. */
const UNITS: Readonly<Record<string, string>> = { pps: 'packets/s', cps: 'connections/s', bps: 'bit/s', ops: 'per second' }

/**
 * @param interval of the samples, in seconds
 * @returns a query without Grafana's variables: all gateways, and rates over four samples as Grafana chooses them
 */
export const queryOf = ({ expr }: Target, interval: number): string => expr.replaceAll('$__rate_interval', `${4 * interval}s`).replaceAll('$instance', '.*')

/** @param answers of the panel's queries, in their order */
export function drawnOf(panel: Panel, answers: readonly (readonly Series[])[]): Drawn {
  const isTable = panel.type === 'table'
  return {
    title: panel.title,
    unit: UNITS[panel.fieldConfig.defaults.unit ?? ''] ?? '',
    points: isTable ? [] : panel.targets.flatMap((target, index) => (answers[index] ?? []).flatMap((series) => pointsOf(series, nameOf(target, series)))),
    rows: isTable ? answers.flat().map(({ metric }) => metric) : [],
  }
}

const nameOf = ({ legendFormat = '' }: Target, { metric }: Series): string => legendFormat.replace(/\{\{(\w+)\}\}/g, (_, label: string) => metric[label] ?? '').trim()

const pointsOf = ({ values }: Series, series: string): Point[] => values.map(([time, value]) => ({ time: time * 1000, value: Number(value), series }))
