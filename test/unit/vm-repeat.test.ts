// SPDX-License-Identifier: GPL-2.0-only
import { existsSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { Failure } from '../../scripts/base/errors.ts'
import type { TestResult } from '../e2e/lib/junit.ts'
import { mergeResults, repeat } from '../e2e/lib/repeat.ts'

const result = (name: string, outcome: TestResult['outcome'], message?: string): TestResult => ({
  suite: 'nat', name, seconds: 1, outcome, ...(message === undefined ? {} : { message }),
})

/** Runs of two tests, of which one fails in the runs that are named. */
function runs(times: number, failing: readonly number[]) {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-unit-'))
  const lines: string[] = []
  let number = 0
  const run = async (recordings: string) => {
    number++
    mkdirSync(recordings, { recursive: true })
    writeFileSync(join(recordings, 'outside.pcap'), 'evidence')
    const fails = failing.includes(number)
    const flaky = fails ? result('flaky', 'failed', `${number} went wrong\nmore`) : result('flaky', 'passed')
    return { results: [result('solid', 'passed'), flaky], lost: fails ? [new Failure('lostVm', 'gone')] : [], verifiedFrames: 10, foreignRaces: [{ title: 'data-race in a / b', times: 1, unknownOrigin: false, report: [] }] }
  }
  return { folder, lines, report: repeat({ times, folder, run, print: (line) => lines.push(line) }) }
}

test('tests that are run many times are counted, and one that failed once has failed', async (t) => {
  const { folder, lines, report } = runs(4, [2, 3])
  const { results, lost, verifiedFrames, foreignRaces } = await report
  t.deepEqual(results, [
    { ...result('solid', 'passed'), seconds: 4 },
    { ...result('flaky', 'failed', 'failed in 2 of 4 runs (2, 3)\nrun 2: 2 went wrong\nmore'), seconds: 4 },
  ])
  t.is(lost.length, 2)
  t.is(verifiedFrames, 40)
  t.deepEqual(foreignRaces.map(({ times }) => times), [4])
  t.deepEqual(lines, [
    'run 1 of 4 done; 0 of 1 had failures',
    'run 2 of 4 done; 1 of 2 had failures',
    'run 3 of 4 done; 2 of 3 had failures',
    'run 4 of 4 done; 2 of 4 had failures',
    'nat: flaky: failed in 2 of 4 runs (2, 3)',
  ])
  t.deepEqual([1, 2, 3, 4].filter((number) => existsSync(join(folder, `run-${number}/outside.pcap`))), [2, 3])
})

test('a single run keeps its recordings where they always are', async (t) => {
  const { folder, lines, report } = runs(1, [])
  t.deepEqual((await report).results, [result('solid', 'passed'), result('flaky', 'passed')])
  t.true(existsSync(join(folder, 'outside.pcap')))
  t.deepEqual(lines, [])
})

test('of several runs, a failure counts more than a test that was not run, and that more than one that passed', (t) => {
  const merged = mergeResults([
    [result('a', 'passed'), result('b', 'passed'), result('c', 'not applicable'), result('leaks', 'passed')],
    [result('a', 'failed', 'why'), result('b', 'not run', 'stopped'), result('c', 'not applicable')],
    [result('a', 'not run', 'stopped'), result('b', 'passed'), result('c', 'not applicable'), result('leaks', 'failed', 'leaked')],
  ])
  t.deepEqual(merged.map(({ name, outcome, message }) => [name, outcome, message?.split('\n')[0]]), [
    ['a', 'failed', 'failed in 1 of 3 runs (2)'],
    ['b', 'not run', 'not run in 1 of 3 runs (2)'],
    ['c', 'not applicable', undefined],
    ['leaks', 'failed', 'failed in 1 of 3 runs (3)'],
  ])
})
