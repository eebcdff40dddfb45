// SPDX-License-Identifier: GPL-2.0-only
/** The picture of the dashboard, but for the machine and Prometheus. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { ROOT } from '../../scripts/base/root.ts'
import { drawnOf, type Panel, queryOf } from '../../vm/dashboard/panels.ts'
import { svgOf } from '../../vm/dashboard/plot.ts'
import { backfill, samplesOf } from '../../vm/dashboard/samples.ts'
import { scenario } from '../../vm/dashboard/scenario.ts'

const { panels } = JSON.parse(readFileSync(join(ROOT, 'docs/grafana-snat.json'), 'utf8')) as { panels: Panel[] }

test('samples become values with their times and the name of the gateway', (t) => {
  const samples = samplesOf('@1000\n# HELP one First.\none 1\ntwo{a="b c"} 2.5\n@1015\none 3\n')
  t.deepEqual(samples.map(({ time }) => time), [1000, 1015])
  t.is(backfill(samples, 'gw'), 'one{instance="gw"} 1 1000\ntwo{instance="gw",a="b c"} 2.5 1000\none{instance="gw"} 3 1015\n# EOF\n')
  t.deepEqual(samplesOf(''), [])
})

test('no query of the dashboard has a variable of Grafana left', (t) => {
  const queries = panels.flatMap(({ targets }) => targets.map((target) => queryOf(target, 15)))
  t.true(queries.length > 10)
  t.deepEqual(queries.filter((query) => query.includes('$')), [])
  t.true(queries.some((query) => query.includes('[60s]')))
})

test('what Prometheus answers is drawn under the names that the dashboard gives it', async (t) => {
  const panel: Panel = { title: 'Traffic', type: 'timeseries', targets: [{ expr: 'x', legendFormat: '{{address}} out {{none}}' }], fieldConfig: { defaults: { unit: 'bps' } } }
  const drawn = drawnOf(panel, [[{ metric: { address: '203.0.113.10' }, values: [[1000, '1'], [1015, '2']] }]])
  t.deepEqual(drawn, {
    title: 'Traffic', unit: 'bit/s', rows: [],
    points: [{ time: 1_000_000, value: 1, series: '203.0.113.10 out' }, { time: 1_015_000, value: 2, series: '203.0.113.10 out' }],
  })
  const table = drawnOf({ ...panel, title: 'Rules', type: 'table' }, [[{ metric: { rule: '7', action: 'snat' }, values: [[1000, '1']] }]])
  t.deepEqual([table.points, table.rows], [[], [{ rule: '7', action: 'snat' }]])
  const svg = await svgOf('A dashboard', ['from a test'], [drawn, table])
  for (const text of ['A dashboard', 'from a test', 'Traffic', 'bit/s', '203.0.113.10 out', '00:16', 'Rules', '>7<', '>snat<']) t.true(svg.includes(text), text)
})

test('the scenario takes as many samples as half an hour has, and undoes what it changes', (t) => {
  const script = scenario()
  t.is(script.match(/^ipvsadm --metrics$/gm)?.length, 120)
  t.is(script.match(/^sleep 15$/gm)?.length, 120)
  t.deepEqual(script.match(/ -w \d/g), [' -w 0', ' -w 1'])
})
