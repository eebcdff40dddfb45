// SPDX-License-Identifier: GPL-2.0-only
/** The same tests many times: which of them fail now and then, and how often. */

import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { TestResult } from './junit.ts'
import { mergeRaces } from './klog.ts'
import type { RunReport } from './run.ts'

export interface Repetition {
  /** How many times. */
  times: number
  /** Folder of the recordings; those of each run are in a folder in it, if there are several. */
  folder: string
  /**
   * Runs the tests once.
   *
   * @param folder of this run's recordings
   * @param before results of the runs before
   */
  run: (folder: string, before: readonly (readonly TestResult[])[]) => Promise<RunReport>
  /** Called with every line for the user. */
  print: (line: string) => void
}

/**
 * Runs tests as often as is asked for, whatever fails. Recordings of a run in which nothing failed are not kept,
 * where there are several.
 *
 * @returns what came of all runs together, see {@link mergeResults}
 * @throws what a run throws
 */
export async function repeat({ times, folder, run, print }: Repetition): Promise<RunReport> {
  if (times === 1) return run(folder, [])
  const reports: RunReport[] = []
  for (let number = 1; number <= times; number++) {
    const recordings = join(folder, `run-${number}`)
    const report = await run(recordings, reports.map(({ results }) => results))
    reports.push(report)
    if (!hasFailure(report)) rmSync(recordings, { recursive: true, force: true })
    print(`run ${number} of ${times} done; ${reports.filter(hasFailure).length} of ${number} had failures`)
  }
  const results = mergeResults(reports.map((report) => report.results))
  for (const result of results) if (result.outcome === 'failed') print(`${keyOf(result)}: ${firstLine(result.message)}`)
  return {
    results,
    lost: reports.flatMap(({ lost }) => lost),
    verifiedFrames: reports.reduce((sum, report) => sum + report.verifiedFrames, 0),
    foreignRaces: mergeRaces(reports.flatMap(({ foreignRaces }) => foreignRaces)),
  }
}

const hasFailure = ({ results }: RunReport): boolean => results.some(({ outcome }) => outcome === 'failed')

const firstLine = (text: string | undefined): string => text?.split('\n')[0] ?? ''

/** What became of a test in several runs is the first of these that occurred. */
const OUTCOMES: readonly TestResult['outcome'][] = ['failed', 'not run', 'passed', 'not applicable']

/**
 * @param runs results of each run; a test need not be in all of them
 * @returns one result for each test: passed if it passed every time; else how often it did not, in which runs, and the first run's why
 */
export function mergeResults(runs: readonly (readonly TestResult[])[]): TestResult[] {
  if (runs.length === 1) return [...(runs[0] ?? [])]
  const tests = new Map(runs.flat().map((result) => [keyOf(result), result]))
  return [...tests.keys()].map((key) => merge(runs.map((results) => results.find((result) => keyOf(result) === key))))
}

const keyOf = ({ suite, name }: TestResult): string => `${suite}: ${name}`

function merge(times: readonly (TestResult | undefined)[]): TestResult {
  const known = times.filter((time) => time !== undefined)
  const shown = OUTCOMES.map((outcome) => known.find((time) => time.outcome === outcome)).find((time) => time !== undefined) as TestResult
  const seconds = known.reduce((sum, time) => sum + time.seconds, 0)
  if (shown.outcome === 'passed' || shown.outcome === 'not applicable') return { ...shown, seconds }
  const runs = times.flatMap((time, index) => (time?.outcome === shown.outcome ? [index + 1] : []))
  const message = `${shown.outcome} in ${runs.length} of ${times.length} runs (${runs.join(', ')})\nrun ${runs[0]}: ${shown.message ?? ''}`
  return { ...shown, seconds, message }
}
