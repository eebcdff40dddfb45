// SPDX-License-Identifier: GPL-2.0-only
/** rpmlint's findings on packages. */

import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import semver from 'semver'
import { callersEnvironment } from '../base/environment.ts'
import { Failure } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { capture, failure, type Captured } from '../base/run.ts'
import type { Context } from '../build/context.ts'

/**
 * Runs rpmlint with specs/rpmlint.toml, where every exception is explained.
 *
 * @param packages of one spec: rpmlint 2.4 mixes up the specs of several source packages
 * @returns its last line
 * @throws Failure of kind `build` when it reports what is not explained there
 */
export async function lint(context: Context, name: string, packages: readonly string[]): Promise<string> {
  const path = join(context.paths.logs, `rpmlint-${name}.log`)
  const config = join(context.paths.root, 'specs', 'rpmlint.toml')
  const folder = join(context.paths.work, 'rpmlint')
  mkdirSync(context.paths.logs, { recursive: true })
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  try {
    // It unpacks them, and what it has unpacked stays where it is killed: not in /tmp, which nobody would look through.
    const output = await capture(['rpmlint', '--config', config, ...packages], { env: { ...callersEnvironment(), TMPDIR: folder }, anyExit: true })
    writeFileSync(path, `${output.stdout}${output.stderr}`)
    const summary = lintSummary(output, packages.length, folder)
    judgeFindings(name, output.stdout, path)
    return summary
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The newest rpmlint whose findings are known, and explained or corrected. */
const KNOWN_RPMLINT = '2.7.0'

/**
 * A newer rpmlint has checks that nobody has looked at yet; that is for those who work
 * on the specs, and ends no user's build.
 *
 * @param path of the log with rpmlint's output
 * @throws Failure of kind `build` for findings of an rpmlint that is known
 */
export function judgeFindings(name: string, output: string, path: string): void {
  const findings = lintFindings(output)
  if (findings.length === 0) return
  const version = semver.coerce(/^rpmlint: (\S+)/m.exec(output)?.[1])
  if (version && semver.gt(version, KNOWN_RPMLINT)) {
    log.warn(`rpmlint ${version}, newer than ${KNOWN_RPMLINT}, has ${findings.length} findings on ${name}: ${path}`)
    return
  }
  throw new Failure('build', `rpmlint has ${findings.length} findings on ${name}.`, {
    log: path,
    hint: 'Correct the spec, or explain the exception in specs/rpmlint.toml.',
    excerpt: findings.slice(0, 20),
  })
}

/** @returns the lines of rpmlint's output that report an error or a warning */
export function lintFindings(output: string): string[] {
  return output.split('\n').filter((line) => /^\S+: [EW]: /.test(line))
}

/**
 * @param folder in which it unpacks packages
 * @throws Failure of kind `build` when rpmlint did not look at as many packages as it was given, `environment` when the disk is full
 */
export function lintSummary({ stdout, stderr }: Pick<Captured, 'stdout' | 'stderr'>, expected: number, folder: string): string {
  const summary = stdout.split('\n').find((line) => / packages and \d+ specfiles checked/.test(line))?.trim() ?? ''
  if (Number(/^(\d+) packages/.exec(summary)?.[1]) === expected) return summary
  throw failure('build', `rpmlint did not check all ${expected} packages: "${summary}".`, { excerpt: stderr.trimEnd().split('\n').slice(-15) }, folder)
}
