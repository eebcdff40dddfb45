// SPDX-License-Identifier: GPL-2.0-only
/** The folder of the benchmark's results, and the files in it. */

import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { Context } from '../../scripts/build/context.ts'
import { benchIn, type Benchmark, chosenParts, writeBaseline } from '../../scripts/lab/bench.ts'
import { compare } from '../../vm/bench/compare.ts'
import type { Measurement } from '../../vm/bench/results.ts'
import { baselineText, readKnown, readStored } from '../../vm/bench/stored.ts'
import { results, rounds, stored } from './bench-fixture.ts'
import { createFixture, fails } from './fixture.ts'

const GUEST = { image: { kernel: '/none', initrd: '/none', release: '6.12.3-1.snat1.x86_64' }, accelerator: 'tcg' } as const

test.before(() => {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-test-'))
  writeFileSync(join(folder, 'qemu-system-x86_64'), '#!/bin/sh\necho QEMU emulator version 7.2.0\n', { mode: 0o755 })
  process.env['PATH'] = `${folder}${delimiter}${process.env['PATH']}`
  process.once('exit', () => rmSync(folder, { recursive: true }))
})

/** Measures these, one after the other, and then throws, if it is to. */
const measuring = (all: readonly Measurement[], error?: Error): Benchmark['measuring'] => async (keep) => {
  for (let done = 1; done <= all.length; done++) keep(results(...all.slice(0, done)))
  if (error) throw error
  return results(...all)
}

/** @returns the lines that are printed */
async function run(context: Context, work: Benchmark['measuring']): Promise<string[]> {
  const lines: string[] = []
  await benchIn(context, { guest: GUEST, method: 'guest instructions', measuring: work, print: (line) => lines.push(line) })
  return lines
}

const folderOf = ({ paths }: Context): string => join(paths.dist, 'bench')
const unfinished = (context: Context): string => `${folderOf(context)}.unfinished`
const wayOf = (path: string): string[] => readStored(path).measurements.map(({ way }) => way)

test('results say where they come from, and have every repeat', async (t) => {
  const { context } = createFixture(t)
  const c = context({ REPEAT: '2' })
  const lines = await run(c, measuring(rounds({ way: 'plain forwarding' }, 6000, 6002)))
  t.true(lines.some((line) => /^plain forwarding +6001 \(0\.03 %\)/.test(line)))
  const all = readStored(folderOf(c))
  t.like(all, { schema: 1, complete: true, variant: 'lts', kernel: '6.12.3-1.snat1.x86_64', commit: null, dirty: true, tested: 'packages in dist', qemu: 'QEMU emulator version 7.2.0', rounds: 2 })
  t.true(all.host.processors > 0)
  t.true(Math.abs(Date.parse(all.date) - Date.now()) < 60_000)
  t.deepEqual(all.measurements.map(({ round, instructions }) => [round, instructions]), [[1, 6000], [2, 6002]])
  t.deepEqual(readdirSync(folderOf(c)), ['out.svg', 'report.md', 'results.json'])
  const report = readFileSync(join(folderOf(c), 'report.md'), 'utf8')
  t.true(report.includes('](out.svg)'))
  t.regex(report, /^- no baseline to compare with/m)
  t.false(existsSync(unfinished(c)))
})

test('what is tried of edits is marked as such', async (t) => {
  const { context } = createFixture(t)
  const c = context({ QUICK: '1' })
  await run(c, measuring(rounds({ way: 'plain forwarding' }, 6000)))
  t.like(readStored(folderOf(c)), { dirty: true, tested: 'modules of the prepared tree over the packages in dist' })
})

test('a run that ends before its end keeps what it has measured, and the results of the run before', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  await run(c, measuring(rounds({ way: 'before' }, 6000)))
  const lost = new Error('lost')
  const parts = [...rounds({ way: 'first' }, 1), ...rounds({ way: 'second' }, 2)]
  t.is(await t.throwsAsync(run(c, measuring(parts, lost))), lost)
  t.deepEqual(wayOf(folderOf(c)), ['before'])
  t.deepEqual(wayOf(unfinished(c)), ['first', 'second'])
  t.false(readStored(unfinished(c)).complete)

  // One that measures nothing takes nothing away.
  await t.throwsAsync(run(c, measuring([], lost)))
  t.deepEqual(wayOf(unfinished(c)), ['first', 'second'])

  writeFileSync(join(unfinished(c), 'left-over'), '')
  await run(c, measuring(rounds({ way: 'after' }, 6000)))
  t.deepEqual(wayOf(folderOf(c)), ['after'])
  t.false(existsSync(unfinished(c)))
  t.false(existsSync(join(folderOf(c), 'left-over')))
  t.deepEqual(readdirSync(c.paths.dist), ['bench'])
})

test('figures that mean nothing fail the command, whose results are there nevertheless', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  const refused = rounds({ way: 'IPVS SNAT' }, 6500).map((one) => ({ ...one, refused: '9 of 10 arrived translated' }))
  const failure = await fails(t, 'test', () => run(c, measuring([...refused, ...rounds({ way: 'plain forwarding' }, 6000)])))
  t.regex(failure.message, /^1 figures mean nothing/)
  t.is(readStored(folderOf(c)).measurements[0]?.refused, '9 of 10 arrived translated')
})

test('a word that no part has in its name is a mistake', async (t) => {
  const { context } = createFixture(t)
  t.is(chosenParts(context({ ONLY: 'flowtable' })).length, 5)
  t.regex((await fails(t, 'usage', async () => chosenParts(context({ ONLY: 'scale,fast' })))).message, /different machines/)
  const failure = await fails(t, 'usage', async () => chosenParts(context({ ONLY: 'colour' })))
  t.regex(failure.details.hint ?? '', /nftables, flowtable/)
})

/** @returns a folder that is removed when the test ends */
function folderFor(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-test-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

test('files that are not ours, of another schema or damaged are told apart', async (t) => {
  const folder = folderFor(t)
  const good = stored(rounds({ way: 'IPVS SNAT' }, 6500))
  const empty = join(folder, 'empty')
  mkdirSync(empty)
  const write = (name: string, content: unknown): string => {
    const path = join(folder, name)
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content))
    return path
  }
  for (const [path, message] of [
    [join(folder, 'none'), /^There is no \/.*none\.$/],
    [empty, /empty has no results\.json\.$/],
    [write('text', 'IPVS SNAT 6500'), /no object in JSON/],
    [write('list', []), /no object in JSON/],
    [write('old', { kernel: '6.1', measurements: [] }), /or from one that did not say so yet/],
    [write('other', { ...good, format: 'lcov' }), /it is a file of "lcov"/],
    [write('newer', { ...good, schema: 2 }), /has schema 2; what is read here is schema 1/],
    [write('damaged', { ...good, kernel: 6, measurements: [{ ...good.measurements[0], instructions: '6500' }] }), /damaged is damaged: kernel, measurements\.$/],
  ] as const) {
    t.regex((await fails(t, 'usage', async () => readKnown(path))).message, message)
  }
  t.deepEqual(readStored(write('good', good)), good)
})

const baselineOf = ({ paths }: Context): string => join(paths.root, 'test/bench/baseline-lts.json')

test('without a baseline a run says so in one line; with one, what is slower than its commit', async (t) => {
  const { context } = createFixture(t)
  const c = context({ REPEAT: '2' })
  const figures = (snat: number): Measurement[] => [...rounds({ way: 'plain forwarding' }, 6000, 6001), ...rounds({ way: 'IPVS SNAT' }, snat, snat + 1)]
  const first = await run(c, measuring(figures(6500)))
  t.deepEqual(first.filter((line) => line.includes('baseline')), ['no baseline to compare with: there is no test/bench/baseline-lts.json (make bench-baseline writes it)'])

  t.is(writeBaseline(c), baselineOf(c))
  const second = await run(c, measuring(figures(6695)))
  t.deepEqual(second.slice(-2), [
    'slower by 3.0 % than an unknown commit: IPVS SNAT, out, 1 flow, with checksum: 6501 instructions, then 6696 (noise 0.1 %)',
    'the same as an unknown commit within noise (0.1 %): 1 figure',
  ])
})

test('a baseline is a line a figure, and is read as the results that it is of', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  const of = stored([...rounds({ way: 'IPVS SNAT' }, 6500.04, 6501, 6499.96), ...rounds({ way: 'IPVS SNAT', kind: 'new', flows: 200, occupancy: 95 }, 15_475, 15_480, 15_470)], { rounds: 3 })
  mkdirSync(folderOf(c), { recursive: true })
  writeFileSync(join(folderOf(c), 'results.json'), JSON.stringify(of))
  writeBaseline(c)
  t.deepEqual(readFileSync(baselineOf(c), 'utf8').split('\n').filter((line) => line.includes('IPVS')), [
    '    "IPVS SNAT, out, 1 flow, with checksum": [6500,6501,6500],',
    '    "IPVS SNAT, new, 200 flows, with checksum, 95 % taken": [15475,15480,15470]',
  ])
  const baseline = readKnown(baselineOf(c))
  const { host: _host, measurements: _measurements, loads: _loads, quantities: _quantities, inapplicable: _inapplicable, format: _format, schema: _schema, complete: _complete, ...origin } = of
  t.deepEqual(baseline.origin, origin)
  t.deepEqual([...baseline.figures.values()].map(({ values }) => values), [[6500, 6501, 6500], [15_475, 15_480, 15_470]])
  t.deepEqual(compare(baseline, readKnown(folderOf(c))).same.length, 2)
})

test('what a run cannot be compared with takes nothing from it', async (t) => {
  const { context, write } = createFixture(t)
  const c = context()
  write('test/bench/baseline-lts.json', '{}')
  const lines = await run(c, measuring(rounds({ way: 'IPVS SNAT' }, 6500)))
  t.regex(lines.at(-1) ?? '', /^not compared with the baseline: .*baseline-lts\.json is not from make bench/)
  t.deepEqual(wayOf(folderOf(c)), ['IPVS SNAT'])
})

test('no baseline is made of nothing, nor of figures that mean nothing', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  t.regex((await fails(t, 'usage', async () => writeBaseline(c))).message, /^There is no .*bench\.$/)
  const refused = rounds({ way: 'IPVS SNAT' }, 6500).map((one) => ({ ...one, refused: '9 of 10 arrived translated' }))
  await t.throwsAsync(run(c, measuring(refused)))
  t.regex((await fails(t, 'usage', async () => writeBaseline(c))).message, /figures that mean nothing/)
  t.false(existsSync(baselineOf(c)))
})

test('a baseline that is damaged is told of', async (t) => {
  const path = join(folderFor(t), 'baseline.json')
  writeFileSync(path, baselineText(stored(rounds({ way: 'IPVS SNAT' }, 6500))).replace('[6500]', '[]'))
  t.regex((await fails(t, 'usage', async () => readKnown(path))).message, /is damaged: figures\.$/)
  await fails(t, 'usage', async () => readStored(path))
})
