// SPDX-License-Identifier: GPL-2.0-only
/** Reads the text format of Prometheus, more strictly than Prometheus does: https://prometheus.io/docs/instrumenting/exposition_formats/ */

import assert from 'node:assert/strict'

export interface Sample {
  name: string
  labels: Readonly<Record<string, string>>
  value: number
}

const COMMENT = /^# (HELP|TYPE) ([a-z_][a-z0-9_]*) (.+)$/
const SAMPLE = /^([a-z_][a-z0-9_]*)(?:\{(.*)\})? (\d+(?:\.\d+)?)$/
const LABEL = /([a-z_][a-z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/gy

/**
 * @returns the samples
 * @throws AssertionError that names the line which breaks a rule of the format, or a convention for names
 */
export function parseMetrics(text: string): Sample[] {
  assert.ok(text.endsWith('\n'), 'the last line ends')
  const types = new Map<string, string>()
  const helped = new Set<string>()
  const series = new Set<string>()
  const samples: Sample[] = []
  for (const line of text.trimEnd().split('\n')) {
    const [, keyword, metric = '', rest = ''] = COMMENT.exec(line) ?? []
    if (keyword === 'HELP') {
      assert.ok(!helped.has(metric), `help twice: ${line}`)
      helped.add(metric)
    } else if (keyword === 'TYPE') {
      assert.ok(helped.has(metric) && !types.has(metric), `the type follows the help, once: ${line}`)
      assert.ok(rest === 'gauge' || rest === 'counter', line)
      assert.equal(metric.endsWith('_total'), rest === 'counter', `only counters end with _total: ${line}`)
      types.set(metric, rest)
    } else {
      samples.push(readSample(line, [...types.keys()].at(-1) ?? '', series))
    }
  }
  return samples
}

function readSample(line: string, metric: string, series: Set<string>): Sample {
  const [, name = '', text = '', value] = SAMPLE.exec(line) ?? []
  assert.equal(name, metric, `a sample stands below the type of its metric: ${line}`)
  const found = [...text.matchAll(LABEL)]
  assert.equal(found.map(([whole]) => whole).join(''), text, `labels of ${line}`)
  const labels = Object.fromEntries(found.map(([, label = '', content = '']) => [label, content]))
  assert.equal(Object.keys(labels).length, found.length, `a label twice: ${line}`)
  const key = `${name}${JSON.stringify(Object.entries(labels).sort())}`
  assert.ok(!series.has(key), `a series twice: ${line}`)
  series.add(key)
  return { name, labels, value: Number(value) }
}

/** @returns the value of the only sample that has these labels */
export function valueOf(samples: readonly Sample[], name: string, labels: Readonly<Record<string, string>> = {}): number {
  const found = samples.filter((sample) => sample.name === name && Object.entries(labels).every(([label, value]) => sample.labels[label] === value))
  assert.equal(found.length, 1, `samples of ${name} ${JSON.stringify(labels)}`)
  return found[0]?.value ?? Number.NaN
}
