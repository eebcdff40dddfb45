// SPDX-License-Identifier: GPL-2.0-only
/** Runs of the end-to-end tests, and the folder of their results. */

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { SUITES } from '../../test/e2e/index.ts'
import { junit, type TestResult } from '../../test/e2e/lib/junit.ts'
import { mergeResults, repeat } from '../../test/e2e/lib/repeat.ts'
import { runSuites, type RunOptions, type RunReport } from '../../test/e2e/lib/run.ts'
import { choose, type Suite } from '../../test/e2e/lib/suite.ts'
import { withRuntimeFolder } from '../../vm/runtime.ts'
import { Failure } from '../base/errors.ts'
import { sha256File } from '../base/files.ts'
import { log } from '../base/log.ts'
import { withRun } from '../build/checkouts.ts'
import { isSet, type Context } from '../build/context.ts'
import { writeEvidence } from '../steps/all.ts'
import { sumsFile } from '../steps/repo.ts'
import { bringGuest, isQuick, testedRevision, type Guest } from './guest.ts'
import { tellRaces } from './races.ts'

export interface Counts {
  passed: number
  failed: number
  notApplicable: number
}

/** Results of edits that are not packaged prove nothing of the packages, and have a folder of their own. */
const resultsFolder = (context: Context): string => join(context.paths.dist, isQuick(context) ? 'test.quick' : 'test')

/**
 * Runs the end-to-end tests that ONLY chooses against the packages in dist, as often as REPEAT says.
 *
 * @throws Failure of kind `usage` when ONLY chooses none, `test` when a test fails,
 *   `lostVm` when a virtual machine does, `environment` when they run already in this checkout
 */
export async function runE2e(context: Context): Promise<Counts> {
  const suites = chosenSuites(context)
  const settings = labSettings(context)
  // What others build while this one waits is what it tests.
  return withRun(context, 'e2e', async () => {
    const guest = await orNotRun(context, () => bringGuest(context), writeNotRun)
    return runIn(context, suites, { ...guest, ...settings })
  })
}

/**
 * Does what the tests depend on. If that fails, the results say of every chosen test that it did not run, and why;
 * those of an earlier run are put aside, because they would be taken for this one's.
 *
 * @throws what `prepare` throws
 */
export async function beforeTests<T>(context: Context, prepare: () => Promise<T>): Promise<T> {
  return orNotRun(context, prepare, async (...report) => {
    // The results of a run that is under way are not ours to remove.
    await withRun({ ...context, wait: false }, 'e2e', () => writeNotRun(...report)).catch((error: unknown) => log.warn(error instanceof Error ? error.message : String(error)))
  })
}

type Report = (context: Context, results: readonly TestResult[], tested: Properties) => Promise<void>

async function orNotRun<T>(context: Context, prepare: () => Promise<T>, report: Report): Promise<T> {
  const suites = chosenSuites(context)
  // After an interrupt no program is run any more, git neither.
  const tested = await properties(context)
  try {
    return await prepare()
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    const results = withNotRun(suites, [], reason)
    process.stdout.write(`${results.length} end-to-end tests not run: ${reason}\n`)
    await report(context, results, tested)
    throw error
  }
}

async function writeNotRun(context: Context, results: readonly TestResult[], tested: Properties): Promise<void> {
  writeFileSync(join(newResults(context), JUNIT), junit(context.variant, results, tested))
}

/** @throws Failure of kind `usage` when ONLY chooses no test */
export function chosenSuites(context: Context): Suite[] {
  const suites = choose(SUITES, context.variables.ONLY)
  if (suites.length > 0) return suites
  throw new Failure('usage', `No end-to-end test has a name with "${context.variables.ONLY}" in it.`, {
    hint: `Suites: ${SUITES.map((suite) => suite.name).join(', ')}`,
  })
}

/** @returns the results of all tests, in their order: those that there are, and that the others were not run */
function withNotRun(suites: readonly Suite[], results: readonly TestResult[], reason: string): TestResult[] {
  return suites.flatMap(({ name, tests }) =>
    tests.map((test): TestResult => {
      const result = results.find((one) => one.suite === name && one.name === test.name)
      return result ?? { suite: name, name: test.name, seconds: 0, outcome: 'not run', message: reason }
    }),
  )
}

/**
 * What is known of a run that has ended before its end, or whose packets prove nothing.
 *
 * @param before results of the runs before it
 * @param done results of its own
 */
export function resultsOfEnded(suites: readonly Suite[], before: readonly (readonly TestResult[])[], done: readonly TestResult[], reason: string): TestResult[] {
  const results = mergeResults([...before, withNotRun(suites, done, reason)])
  const isRed = results.some(({ outcome }) => outcome === 'failed' || outcome === 'not run')
  return isRed ? results : [...results, { suite: 'run', name: 'the run as a whole', seconds: 0, outcome: 'failed', message: reason }]
}

const JUNIT = 'junit.xml'

/**
 * Makes an empty folder of results. What an earlier run has recorded is put aside, and stays there until another
 * run has recorded something.
 */
function newResults(context: Context): string {
  const results = resultsFolder(context)
  const hasRecordings = existsSync(results) && readdirSync(results).some((name) => name !== JUNIT)
  if (hasRecordings) {
    const previous = `${results}.previous`
    rmSync(previous, { recursive: true, force: true })
    renameSync(results, previous)
  }
  rmSync(results, { recursive: true, force: true })
  mkdirSync(results, { recursive: true })
  return results
}

type Properties = Readonly<Record<string, string>>

/** What the report says of what was tested: which packages, anyone can tell by the digest of their checksums. */
async function properties(context: Context): Promise<Properties> {
  const { commit, dirty, tested } = await testedRevision(context)
  const sums = sumsFile(context)
  return { commit: commit ?? 'unknown', dirty: String(dirty), tested, ...(existsSync(sums) ? { [basename(sums)]: await sha256File(sums) } : {}) }
}

/** Runs tests in labs of a guest, with their results in dist. Two at once would write over each other's captures, which are the evidence. */
export async function runIn(context: Context, suites: readonly Suite[], guest: Guest & LabSettings): Promise<Counts> {
  const tested = await properties(context)
  const results = newResults(context)
  const print = (line: string) => process.stdout.write(`${line}\n`)
  const write = (all: readonly TestResult[]) => writeFileSync(join(results, JUNIT), junit(context.variant, all, tested))
  // It stays if this process is killed.
  write(withNotRun(suites, [], 'the run was ended'))
  const report = await repeat({
    times: context.repeat,
    folder: results,
    print,
    run: (folder, before) => {
      const unfinished = (done: readonly TestResult[], reason: string) => write(resultsOfEnded(suites, before, done, reason))
      return withRuntimeFolder((sockets) =>
        runSuites(suites, { ...guest, ...context.flavour?.lab, labs: context.labs, sockets, results: folder, print, unfinished }),
      )
    },
  })
  write(report.results)
  if (!isQuick(context)) await writeEvidence(context)
  return conclude(report, results)
}

/** Longer than most tests take, so that few packets of a flow go the whole way. */
const FASTPATH_S = 60

type LabSettings = Pick<RunOptions, 'lacks' | 'begin'>

/** @returns what the kernel lacks that tests need, as it is built, each with the reason */
export const lackedBy = ({ target, flavour }: Context): RunOptions['lacks'] =>
  flavour?.lab?.failsAllocations ? target.lacks : { ...target.lacks, 'failing-allocations': 'allocations can be made to fail only in the kernel of SANITIZE=1' }

/** What all tests find, and which of them do not apply then. */
function labSettings(context: Context): LabSettings {
  const lacks = lackedBy(context)
  if (!isSet(context.variables, 'FASTPATH')) return { lacks }
  if (lacks.fastpath !== undefined) throw new Failure('usage', `FASTPATH=1 means nothing for TARGET=${context.target.name}: ${lacks.fastpath}.`)
  return {
    lacks: { ...lacks, 'whole-way': 'rules do not see the packets that go the short way, and FASTPATH=1' },
    begin: `echo ${FASTPATH_S} >/proc/sys/net/ipv4/vs/snat_fastpath`,
  }
}

function conclude(report: RunReport, results: string): Counts {
  const count = (outcome: TestResult['outcome']) => report.results.filter((result) => result.outcome === outcome).length
  const counts = { passed: count('passed'), failed: count('failed'), notApplicable: count('not applicable') }
  tellRaces(report.foreignRaces, results)
  log.info(`tshark has verified the checksums of ${report.verifiedFrames} packets; results are in ${results}`)
  if (counts.failed === 0 && counts.passed > 0) return counts
  process.stdout.write(`${describe(counts)}\n`)
  const [lost] = report.lost
  if (lost) {
    throw new Failure('lostVm', `${counts.failed} end-to-end tests failed; a virtual machine was lost ${report.lost.length} times. First: ${lost.message}`, {
      ...(lost.details.log === undefined ? {} : { log: lost.details.log }),
    })
  }
  if (counts.failed === 0) throw new Failure('test', 'No end-to-end test was run: none of the chosen ones applies to this kernel.')
  throw new Failure('test', `${counts.failed} end-to-end tests failed.`, { log: join(results, JUNIT) })
}

export const describe = ({ passed, failed, notApplicable }: Counts): string => `${passed} passed, ${failed} failed, ${notApplicable} not applicable`
