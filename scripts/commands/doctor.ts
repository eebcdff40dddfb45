// SPDX-License-Identifier: GPL-2.0-only
import { existsSync, statfsSync } from 'node:fs'
import { Failure } from '../base/errors.ts'
import type { Context } from '../build/context.ts'
import { findFarm } from '../build/farm.ts'
import { PLACES_HINT, placeProblems } from '../build/places.ts'
import { describe, missing, packageManager } from '../build/setup.ts'
import { toolVersions } from '../build/toolversions.ts'
import type { Command } from '../command.ts'

/** A pristine source, a build folder of the kernel and the packages, measured for TARGET=lts. */
const NEEDED_BYTES = 12e9

const command: Command = {
  summary: 'tell whether this host can build and test, and what it lacks',
  help: `Installs nothing. Prints the versions of the tools that take part, the space in
the cache folder, the packages that are missing, and whether the storages and hosts that
CCACHE_REMOTE_STORAGE and DISTCC_HOSTS name can be used.`,
  async run(context) {
    for (const [tool, version] of Object.entries(await toolVersions())) process.stdout.write(`${tool.padEnd(20)} ${version}\n`)
    const helpers = await findFarm()
    for (const { variable, name, trouble } of helpers) process.stdout.write(`${variable.padEnd(21)} ${name}${trouble === undefined ? ' can be used' : ` ${trouble} (left out)`}\n`)
    const lacking = missing()
    const places = placeProblems(context)
    const space = existsSync(context.paths.cache) ? spaceProblems(context) : []
    const problems = [...describe(lacking, packageManager()), ...places, ...space]
    if (problems.length === 0) {
      process.stdout.write('Nothing is missing.\n')
      return
    }
    const hints = [...(lacking.length > 0 ? ['make installs the packages.'] : []), ...(places.length > 0 ? [PLACES_HINT] : [])]
    throw new Failure('environment', `${problems.length} things are missing.`, { excerpt: problems, hint: hints.join('\n') })
  },
}
export default command

/** Says how much space there is. @returns what is wrong with it */
function spaceProblems(context: Context): string[] {
  const { bavail, bsize } = statfsSync(context.paths.cache)
  const free = bavail * bsize
  process.stdout.write(`${'cache'.padEnd(20)} ${context.paths.cache}, ${gigabytes(free)} free\n`)
  return free < NEEDED_BYTES ? [`A build needs about ${gigabytes(NEEDED_BYTES)} in the cache folder, which has ${gigabytes(free)}: free some space, or set CACHE= to another disk.`] : []
}

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`
