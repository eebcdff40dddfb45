import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { SUITES } from '../../test/e2e/index.ts'
import { runSuites, type RunReport } from '../../test/e2e/lib/run.ts'
import { choose, type Suite } from '../../test/e2e/lib/suite.ts'
import { withRuntimeFolder } from '../../vm/runtime.ts'
import type { Command } from '../lib/command.ts'
import type { Context } from '../lib/context.ts'
import { Failure } from '../lib/errors.ts'
import { bringGuest, type Guest } from '../lib/guest.ts'
import { withLock } from '../lib/lock.ts'
import { log } from '../lib/log.ts'
import { setUp } from '../lib/setup.ts'

export interface Counts {
  passed: number
  failed: number
  skipped: number
}

const resultsFolder = (context: Context): string => join(context.paths.dist, 'test')

/**
 * Runs the end-to-end tests that ONLY chooses against the packages in dist.
 *
 * @throws Failure of kind `usage` when ONLY chooses none, `test` when a test fails,
 *   `lostVm` when a virtual machine does, `environment` when they run already in this checkout
 */
export async function runE2e(context: Context): Promise<Counts> {
  const suites = choose(SUITES, context.variables.ONLY)
  if (suites.length === 0) {
    throw new Failure('usage', `No end-to-end test has a name with "${context.variables.ONLY}" in it.`, {
      hint: `Suites: ${SUITES.map((suite) => suite.name).join(', ')}`,
    })
  }
  const guest = await bringGuest(context)
  const lock = join(context.paths.work, `e2e-${context.variant}.lock`)
  return withLock(lock, 'end-to-end test run', () => runIn(context, suites, guest))
}

/** Two runs at once would write over each other's captures, which are the evidence. */
async function runIn(context: Context, suites: readonly Suite[], guest: Guest): Promise<Counts> {
  const results = resultsFolder(context)
  rmSync(results, { recursive: true, force: true })
  mkdirSync(results, { recursive: true })
  const report = await withRuntimeFolder((sockets) =>
    runSuites(suites, { ...guest, name: context.variant, sockets, results, print: (line) => process.stdout.write(`${line}\n`) }),
  )
  writeFileSync(join(results, 'junit.xml'), report.xml)
  return conclude(report, results)
}

function conclude(report: RunReport, results: string): Counts {
  const count = (outcome: string) => report.results.filter((result) => result.outcome === outcome).length
  const counts = { passed: count('passed'), failed: count('failed'), skipped: count('skipped') }
  log.info(`tshark has verified the checksums of ${report.verifiedFrames} packets; results are in ${results}`)
  if (counts.failed === 0 && counts.passed > 0) return counts
  process.stdout.write(`${counts.passed} passed, ${counts.failed} failed\n`)
  const [lost] = report.lost
  if (lost) {
    throw new Failure('lostVm', `${counts.failed} end-to-end tests failed; a virtual machine was lost ${report.lost.length} times. First: ${lost.message}`, {
      ...(lost.details.log === undefined ? {} : { log: lost.details.log }),
    })
  }
  throw new Failure('test', `${counts.failed} end-to-end tests failed.`, { log: join(results, 'junit.xml') })
}

const command: Command = {
  summary: 'end-to-end tests in virtual machines, on packets seen on the wire',
  help: `Boots a gateway assembled from the packages in dist (which are built first if need
be), puts scripted hosts on its links, and runs the tests of test/e2e. ONLY= chooses
tests by words of their names, for example
  make e2e ONLY=nat:,fragments
Suites: ${SUITES.map((suite) => suite.name).join(', ')}.
Results are in dist/VARIANT/test: junit.xml, a pcap of each link, consoles, kernel logs.
Exit codes: 7 a test failed, 8 a virtual machine was lost.`,
  async run(context) {
    await setUp(context)
    const { passed, failed } = await runE2e(context)
    process.stdout.write(`${passed} passed, ${failed} failed\n`)
  },
}
export default command
