// SPDX-License-Identifier: GPL-2.0-only
/** The toolchain's own tests and rules, as a part of all tests. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { runLogged } from '../base/run.ts'
import type { Context } from '../build/context.ts'
import { inheritedEnvironment } from '../build/environment.ts'

export interface UnitCounts {
  passed: number
  failed: number
  skipped: number
}

/** What reads the toolchain's own code, with its name in messages; each a program of npm's packages. */
const RULES = [
  { name: 'tsc', doing: 'checking the types', words: [] },
  { name: 'eslint', doing: 'checking the rules of eslint.config.js', words: ['--cache', '--cache-location', 'node_modules/.cache/eslint', '.'] },
] as const

/** Of how many failed tests it is told why, and in how many lines each. */
const DIAGNOSED = 5
const DIAGNOSIS_LINES = 25

/** @throws Failure of kind `test` with what breaks a rule */
export async function requireRules(context: Context): Promise<void> {
  for (const { name, doing, words } of RULES) {
    log.step('lint', doing)
    await runLogged(['npx', '--no', name, '--', ...words], {
      cwd: context.paths.root,
      env: inheritedEnvironment(),
      log: join(context.paths.logs, `${name}.log`),
      kind: 'test',
      doing,
    })
  }
}

/**
 * Runs the toolchain's own tests, and looks how much of it they run.
 *
 * @throws Failure of kind `test` with the failed tests, if none ran, or if they leave out more than .c8rc.json allows
 */
export async function runUnitTests(context: Context): Promise<UnitCounts> {
  const path = join(context.paths.logs, 'unit.tap')
  log.step('test', 'unit tests')
  const counts = (): UnitCounts => tapCounts(readFileSync(path, 'utf8'))
  try {
    await runLogged(['npx', '--no', 'c8', '--', 'ava', '--tap'], {
      cwd: context.paths.root,
      env: inheritedEnvironment(),
      log: path,
      kind: 'test',
      doing: 'the unit tests',
      onLine: (line) => log.progress(line),
    })
  } catch (error) {
    if (!(error instanceof Failure) || error.kind !== 'test') throw error
    const lines = readFileSync(path, 'utf8').split('\n')
    const failed = lines.filter((line) => line.startsWith('not ok'))
    const uncovered = lines.filter((line) => line.startsWith('ERROR: Coverage'))
    if (failed.length === 0 && uncovered.length > 0) throw new Failure('test', 'The unit tests leave out too much of the code.', { excerpt: uncovered, hint: 'npm run coverage tells which lines; .c8rc.json has the floor.', log: path })
    throw new Failure('test', `${failed.length} unit tests failed.`, { excerpt: tapFailures(lines), log: path })
  }
  if (counts().passed === 0) throw new Failure('test', 'No unit test ran.', { log: path })
  return counts()
}

/**
 * The log stays on the machine that ran the tests; what it prints is often all that is left of it.
 *
 * @param lines of a report in the Test Anything Protocol
 * @returns its failed tests, the first of them with what is said of them
 */
export function tapFailures(lines: readonly string[]): string[] {
  const found = lines.flatMap((line, at) => (line.startsWith('not ok') ? [at] : []))
  return found.flatMap((at, index) => {
    const rest = lines.slice(at + 1)
    const end = rest.findIndex((line) => !line.startsWith(' '))
    const said = index < DIAGNOSED ? rest.slice(0, end < 0 ? undefined : end) : []
    return [lines[at] ?? '', ...said.slice(0, DIAGNOSIS_LINES)]
  })
}

/** Counts in the Test Anything Protocol (https://testanything.org/tap-version-13-specification.html). */
function tapCounts(tap: string): UnitCounts {
  const lines = tap.split('\n')
  const skipped = lines.filter((line) => /^ok .*# (skip|todo)/i.test(line)).length
  return {
    passed: lines.filter((line) => line.startsWith('ok ')).length - skipped,
    failed: lines.filter((line) => line.startsWith('not ok ')).length,
    skipped,
  }
}
