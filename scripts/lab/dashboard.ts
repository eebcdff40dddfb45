// SPDX-License-Identifier: GPL-2.0-only
/** The picture of the dashboard: a run of the lab, recorded, in Prometheus, and the dashboard's own queries of it. */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { drawnOf, type Drawn, type Panel, queryOf, type Series } from '../../vm/dashboard/panels.ts'
import { svgOf } from '../../vm/dashboard/plot.ts'
import { backfill, type Sample, samplesOf } from '../../vm/dashboard/samples.ts'
import { record, SAMPLE_S } from '../../vm/dashboard/scenario.ts'
import { Failure } from '../base/errors.ts'
import { writeIfChanged } from '../base/files.ts'
import { log } from '../base/log.ts'
import { capture, runLogged } from '../base/run.ts'
import type { Context } from '../build/context.ts'
import { setUp } from '../build/setup.ts'
import { PROMETHEUS_REQUIREMENTS } from '../packages.ts'
import { bringGuest } from './guest.ts'
import { withInstructionClock } from './instructions.ts'

const INSTANCE = 'gateway1'
const HINT = 'It needs prometheus and promtool, which are in the package prometheus.'

export const dashboardFile = ({ paths }: Context): string => join(paths.root, 'docs/grafana-snat.json')
export const pictureFile = ({ paths }: Context): string => join(paths.root, 'docs/grafana-snat.svg')

/**
 * Runs the scenario in a machine, and draws what the dashboard shows of it.
 *
 * @returns path of the picture
 * @throws Failure of kind `environment` without Prometheus, `test` if it refuses what ipvsadm prints, or a query finds nothing
 */
export async function drawDashboard(context: Context): Promise<string> {
  await setUp(context, PROMETHEUS_REQUIREMENTS)
  const { stdout: version } = await capture(['sh', '-c', 'prometheus --version 2>&1 && promtool --version >/dev/null'], { anyExit: true })
  const [, release] = /^prometheus, version (\S+)/.exec(version) ?? []
  if (release === undefined) throw new Failure('environment', 'There is no Prometheus to ask.', { hint: HINT })
  const guest = await bringGuest(context)
  const samples = samplesOf(await withInstructionClock(context, guest, 'dashboard', record))
  await checkMetrics(samples)
  const { title, panels } = JSON.parse(readFileSync(dashboardFile(context), 'utf8')) as { title: string; panels: Panel[] }
  const drawn = await withPrometheus(context, samples, (address) => Promise.all(panels.map((panel) => ask(address, panel, samples))))
  const silent = drawn.filter(({ points, rows }) => points.length + rows.length === 0).map((panel) => panel.title)
  if (silent.length > 0) throw new Failure('test', 'There is nothing to see on some panels.', { excerpt: silent })
  const notes = [
    `The queries of docs/grafana-snat.json, answered by Prometheus ${release} from what ipvsadm --metrics said in the lab on Linux ${guest.image.release}.`,
    'Drawn by make dashboard (Vega), not by Grafana. A guest floods from the 11th to the 15th minute, an address takes nothing new from the 20th to the 25th.',
  ]
  writeIfChanged(pictureFile(context), await svgOf(title, notes, drawn))
  return pictureFile(context)
}

/** @throws Failure of kind `test` if Prometheus' own linter has something to say */
async function checkMetrics(samples: readonly Sample[]): Promise<void> {
  const last = samples.at(-1)
  if (!last) throw new Failure('test', 'Nothing was recorded.')
  const { stdout, stderr, exitCode } = await capture(['promtool', 'check', 'metrics'], { input: last.text, anyExit: true })
  const said = `${stdout}${stderr}`.trim()
  if (exitCode !== 0 || said !== '') throw new Failure('test', 'promtool does not like what ipvsadm --metrics prints.', { excerpt: said.split('\n') })
  log.info(`${samples.length} samples of ${last.text.split('\n').filter((line) => /^\w/.test(line)).length} series; promtool check metrics has nothing to say`)
}

/** Runs a Prometheus of its own that has the samples, and no network but the loopback. */
async function withPrometheus<T>(context: Context, samples: readonly Sample[], work: (address: string) => Promise<T>): Promise<T> {
  const folder = join(context.paths.work, `dashboard-${context.variant}`)
  const path = (name: string): string => join(folder, name)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  writeFileSync(path('samples'), backfill(samples, INSTANCE))
  writeFileSync(path('prometheus.yml'), '{}\n')
  await capture(['promtool', 'tsdb', 'create-blocks-from', 'openmetrics', path('samples'), path('data')], { kind: 'test' })
  let listening: (address: string) => void = () => undefined
  const address = new Promise<string>((resolve) => (listening = resolve))
  const running = runLogged(['prometheus', `--config.file=${path('prometheus.yml')}`, `--storage.tsdb.path=${path('data')}`, '--storage.tsdb.retention.time=100y', '--web.listen-address=127.0.0.1:0', '--web.enable-lifecycle'], {
    doing: 'asking Prometheus', log: join(context.paths.logs, 'prometheus.log'), kind: 'environment', hint: HINT,
    onLine: (line) => {
      const [, at] = /"Listening on" address=(\S+)/.exec(line) ?? []
      if (at !== undefined) listening(`http://${at}`)
    },
  })
  const early = running.then(() => Promise.reject(new Failure('environment', 'Prometheus has ended before it was asked.', { log: join(context.paths.logs, 'prometheus.log') })))
  const at = await Promise.race([address, early])
  try {
    return await Promise.race([untilReady(at).then(() => work(at)), early])
  } finally {
    early.catch(() => undefined)
    await fetch(`${at}/-/quit`, { method: 'POST' }).catch(() => undefined)
    await running.catch(() => undefined)
    rmSync(folder, { recursive: true, force: true })
  }
}

const READY_TRIES = 100
const READY_PAUSE_MS = 100

async function untilReady(address: string): Promise<void> {
  for (let tries = 0; tries < READY_TRIES; tries++) {
    if ((await fetch(`${address}/-/ready`)).ok) return
    await new Promise((resolve) => setTimeout(resolve, READY_PAUSE_MS))
  }
  throw new Failure('environment', 'Prometheus did not become ready.')
}

async function ask(address: string, panel: Panel, samples: readonly Sample[]): Promise<Drawn> {
  const [start, end] = [samples[0]?.time ?? 0, samples.at(-1)?.time ?? 0]
  const answers = await Promise.all(panel.targets.map(async (target) => {
    const query = new URLSearchParams({ query: queryOf(target, SAMPLE_S), start: String(start), end: String(end), step: String(SAMPLE_S) })
    const { status, error, data } = await (await fetch(`${address}/api/v1/query_range?${query.toString()}`)).json() as { status: string; error?: string; data?: { result: Series[] } }
    if (status !== 'success' || !data) throw new Failure('test', `Prometheus refuses a query of "${panel.title}": ${error ?? status}`, { excerpt: [target.expr] })
    return data.result
  }))
  return drawnOf(panel, answers)
}
