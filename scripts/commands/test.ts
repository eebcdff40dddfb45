import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { runLogged } from '../base/run.ts'
import type { Context } from '../build/context.ts'
import { inheritedEnvironment } from '../build/environment.ts'
import { setUp } from '../build/setup.ts'
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { beforeTests, runE2e } from '../lab/e2e.ts'
import { step as all } from '../steps/all.ts'
import { step as check } from '../steps/check.ts'

interface Counts {
  passed: number
  failed: number
  skipped: number
}

/**
 * Runs the toolchain's own tests.
 *
 * @throws Failure of kind `test` with the failed tests, or if none ran
 */
async function runUnitTests(context: Context): Promise<Counts> {
  const path = join(context.paths.logs, 'unit.tap')
  log.step('test', 'unit tests')
  const counts = (): Counts => tapCounts(readFileSync(path, 'utf8'))
  try {
    await runLogged(['npx', '--no', 'ava', '--', '--tap'], {
      cwd: context.paths.root,
      env: inheritedEnvironment(),
      log: path,
      kind: 'test',
      doing: 'the unit tests',
      onLine: (line) => log.progress(line),
    })
  } catch (error) {
    if (!(error instanceof Failure) || error.kind !== 'test') throw error
    const failed = readFileSync(path, 'utf8').split('\n').filter((line) => line.startsWith('not ok'))
    throw new Failure('test', `${failed.length} unit tests failed.`, { excerpt: failed, log: path })
  }
  if (counts().passed === 0) throw new Failure('test', 'No unit test ran.', { log: path })
  return counts()
}

/** Counts in the Test Anything Protocol (https://testanything.org/tap-version-13-specification.html). */
function tapCounts(tap: string): Counts {
  const lines = tap.split('\n')
  const skipped = lines.filter((line) => /^ok .*# (skip|todo)/i.test(line)).length
  return {
    passed: lines.filter((line) => line.startsWith('ok ')).length - skipped,
    failed: lines.filter((line) => line.startsWith('not ok ')).length,
    skipped,
  }
}

const command: Command = {
  summary: 'unit tests, checks of the series, end-to-end tests of the built packages',
  help: `Runs the unit tests, builds what is not up to date, runs "make check" and then the
end-to-end tests in virtual machines assembled from the packages in dist.
ONLY= selects end-to-end tests. Results are in dist/VARIANT/test.`,
  async run(context) {
    await setUp(context)
    mkdirSync(context.paths.logs, { recursive: true })
    const unit = await beforeTests(context, async () => {
      const counts = await runUnitTests(context)
      process.stdout.write(`${counts.passed} unit tests passed\n`)
      await bring(context, all)
      await bring(context, check)
      return counts
    })
    const e2e = await runE2e(context)
    const total = (key: 'passed' | 'failed'): number => unit[key] + e2e[key]
    process.stdout.write(`${e2e.notApplicable} end-to-end tests do not apply to this kernel\n`)
    process.stdout.write(`${total('passed')} passed, ${total('failed')} failed, ${unit.skipped} skipped\n`)
  },
}
export default command
