// SPDX-License-Identifier: GPL-2.0-only
/** The folder of the benchmark's results, and the files in it. */

import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { Context } from '../../scripts/build/context.ts'
import { benchIn, type Benchmark, chosenParts } from '../../scripts/lab/bench.ts'
import type { Measurement } from '../../vm/bench/results.ts'
import { readKnown, readStored } from '../../vm/bench/stored.ts'
import { results, rounds, stored } from './bench-fixture.ts'
import { createFixture, fails } from './fixture.ts'

const GUEST = { image: { kernel: '/none', initrd: '/none', release: '6.1.7-1.snat1.x86_64' }, accelerator: 'tcg' } as const

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
  await benchIn(context, { guest: GUEST, measuring: work, print: (line) => lines.push(line) })
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
  t.like(all, { schema: 1, complete: true, variant: 'lts', kernel: '6.1.7-1.snat1.x86_64', commit: null, dirty: true, tested: 'packages in dist', qemu: 'QEMU emulator version 7.2.0', rounds: 2 })
  t.true(all.host.processors > 0)
  t.true(Math.abs(Date.parse(all.date) - Date.now()) < 60_000)
  t.deepEqual(all.measurements.map(({ round, instructions }) => [round, instructions]), [[1, 6000], [2, 6002]])
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
  t.is(chosenParts(context({ ONLY: 'flowtable' })).length, 2)
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
