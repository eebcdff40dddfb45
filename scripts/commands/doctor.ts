import { mkdirSync, statfsSync } from 'node:fs'
import type { Command } from '../lib/command.ts'
import type { Context } from '../lib/context.ts'
import { Failure } from '../lib/errors.ts'
import { describe, missing, packageManager } from '../lib/setup.ts'
import { toolVersions } from '../lib/toolversions.ts'

/** A pristine source, a build folder of the kernel and the packages, measured for TARGET=lts. */
const NEEDED_BYTES = 12e9

const command: Command = {
  summary: 'tell whether this host can build and test, and what it lacks',
  help: `Installs nothing. Prints the versions of the tools that take part, the space in
the cache folder, and the packages that are missing.`,
  async run(context) {
    for (const [tool, version] of Object.entries(await toolVersions())) process.stdout.write(`${tool.padEnd(20)} ${version}\n`)
    const free = freeBytes(context)
    process.stdout.write(`${'cache'.padEnd(20)} ${context.paths.cache}, ${gigabytes(free)} free\n`)
    const lacking = missing()
    if (lacking.length > 0) {
      throw new Failure('environment', `${lacking.length} things are missing; make installs them.`, {
        excerpt: describe(lacking, packageManager()),
      })
    }
    if (free < NEEDED_BYTES) {
      throw new Failure('environment', `A build needs about ${gigabytes(NEEDED_BYTES)} in the cache folder.`, {
        hint: 'Free some space, or set CACHE= to a folder on another disk.',
      })
    }
    process.stdout.write('Nothing is missing.\n')
  },
}
export default command

function freeBytes(context: Context): number {
  mkdirSync(context.paths.cache, { recursive: true })
  const { bavail, bsize } = statfsSync(context.paths.cache)
  return bavail * bsize
}

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`
