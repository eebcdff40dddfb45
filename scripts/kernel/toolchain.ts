// SPDX-License-Identifier: GPL-2.0-only
/**
 * What compilers and other tools newer than a kernel need: patches of their own series,
 * and options of the compiler. Which apply is decided by the versions of the tools.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import semver from 'semver'
import { Failure } from '../base/errors.ts'
import { versionIn } from '../base/version.ts'
import { isKernel, type Context } from '../build/context.ts'
import { ask } from '../build/toolversions.ts'
import { patchesFolder, readSeries } from './series.ts'

/** How each tool tells its version. */
const TOOLS: Readonly<Record<string, readonly string[]>> = {
  gcc: ['gcc', '-dumpfullversion', '-dumpversion'],
  binutils: ['ld', '--version'],
  make: ['make', '--version'],
  perl: ['perl', '-e', 'printf "%vd", $^V'],
}

/** Said by a patch that is needed whatever the tools are. */
const ALWAYS = 'always'

/** @returns whether a tool is of that version or newer, and so needs what the kernel doesn't have */
async function isNewer(tool: string, since: string): Promise<boolean> {
  const argv = TOOLS[tool]
  if (argv === undefined) throw new Failure('internal', `"${tool}" is none of: ${Object.keys(TOOLS).join(', ')}.`)
  const answer = await ask(...argv)
  const version = versionIn(answer)
  const bound = semver.coerce(since)
  if (version && bound) return semver.gte(version, bound)
  throw new Failure('environment', `It is unknown which version ${argv[0]} is: "${answer.trim()}".`)
}

/** @returns paths of the patches of the kernel's toolchain series that today's tools need, in order */
export async function toolchainPatches(context: Context): Promise<string[]> {
  const { toolchain } = context.target
  if (toolchain === undefined || !isKernel(context)) return []
  const needed: string[] = []
  for (const path of readSeries(join(patchesFolder(context), toolchain.series))) {
    if (await isNeeded(path)) needed.push(path)
  }
  return needed
}

async function isNeeded(path: string): Promise<boolean> {
  const reason = /^Needed-since: (.*)$/m.exec(readFileSync(path, 'utf8'))?.[1]
  if (reason === ALWAYS) return true
  const [, tool, since] = /^(\w+) ([\d.]+)$/.exec(reason ?? '') ?? []
  if (tool !== undefined && since !== undefined) return isNewer(tool, since)
  throw new Failure('patch', `${path} does not tell which tool needs it.`, { hint: `It wants a line such as "Needed-since: gcc 5", or "Needed-since: ${ALWAYS}".` })
}

/** @returns the options that today's compiler needs for the target's kernel */
export async function compilerOptions(context: Context): Promise<string[]> {
  const needed: string[] = []
  for (const { since, options } of context.target.toolchain?.compiler ?? []) {
    if (await isNewer('gcc', since)) needed.push(...options)
  }
  return needed
}
