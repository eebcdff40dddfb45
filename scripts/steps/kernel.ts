// SPDX-License-Identifier: GPL-2.0-only
/** The compiled kernel, in its output folder. */

import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { log } from '../base/log.ts'
import { runLogged } from '../base/run.ts'
import type { Context } from '../build/context.ts'
import { distributedEnvironment } from '../build/farm.ts'
import { digest, type Facts, type Json, type Step } from '../build/step.ts'
import { ask } from '../build/toolversions.ts'
import { ccacheEnvironment, kbuild, kbuildEnvironment, localVersion } from '../kernel/kbuild.ts'
import { isCompiled, seed } from '../kernel/seed.ts'
import { treeContent } from '../kernel/series.ts'
import { compilerOptions } from '../kernel/toolchain.ts'
import { step as config } from './config.ts'
import { preparedVersion } from './prep.ts'

export const step: Step = {
  name: 'kernel',
  scope: 'variant',
  needs: [config],
  code: ['steps/kernel.ts', 'kernel/kbuild.ts', 'kernel/seed.ts'],
  async inputs(context) {
    const [content, compiler] = await Promise.all([treeContent(context), ask('gcc', '--version')])
    return {
      tree: digest(content),
      release: localVersion(context),
      options: await compilerOptions(context),
      environment: buildVariables(),
      compiler,
    }
  },
  outputs: (context, inputs) => [
    join(context.paths.build, 'arch/x86/boot/bzImage'),
    join(context.paths.build, 'modules.order'),
    ...compiledMarkers(context, inputs),
  ],
  async run(context) {
    log.step('kernel', `Linux ${kernelRelease(context)}, ${context.jobs} jobs`)
    await seed(context, isMarker)
    return make(context, 'kernel', 'bzImage', 'modules')
  },
}

/**
 * The output folder holds what was compiled last, be it by "make modules" or by "make
 * kernel", each perhaps from other edits than the other's; a file tells from which.
 *
 * @param tree digest of the prepared tree's content
 */
const compiledMarker = (context: Context, tree: string): string => join(context.paths.build, `${MARKER}${tree}`)

/**
 * @param inputs of a step that compiles, with the prepared tree's digest as `tree`
 * @returns the outputs that exist only while the output folder holds what was compiled from that tree
 */
export const compiledMarkers = (context: Context, inputs?: Json): string[] =>
  inputs ? [compiledMarker(context, (inputs as { tree: string }).tree)] : []

const MARKER = '.compiled-'
const isMarker = (name: string): boolean => name.startsWith(MARKER)

function unmarkCompiled(context: Context): void {
  const { build } = context.paths
  for (const name of readdirSync(build).filter(isMarker)) rmSync(join(build, name))
}

/** @returns what `uname -r` says under this kernel */
export const kernelRelease = (context: Context): string => `${preparedVersion(context)}${localVersion(context)}`

function buildVariables(): Record<string, string> {
  const environment = kbuildEnvironment()
  const names = Object.keys(environment).filter((name) => name.startsWith('KBUILD_'))
  return Object.fromEntries(names.map((name) => [name, environment[name] ?? '']))
}

/**
 * Runs the kernel's make with ccache in the output folder of this variant.
 *
 * @param name of the log file, and of the step in messages
 * @returns how many compilations there were, how many of them ccache answered, and how many of these from a storage elsewhere
 */
export async function make(context: Context, name: string, ...goals: string[]): Promise<Facts> {
  const statsLog = join(context.paths.logs, `${name}.ccache`)
  const tree = digest(await treeContent(context))
  rmSync(statsLog, { force: true })
  unmarkCompiled(context)
  await runLogged(await kbuild(context, ...goals), {
    env: { ...kbuildEnvironment(), ...ccacheEnvironment(context, statsLog), ...distributedEnvironment() },
    log: join(context.paths.logs, `${name}.log`),
    doing: `building ${goals.join(' ')} of Linux ${kernelRelease(context)}`,
    onLine: log.counter(expectedLines(context)),
  })
  writeFileSync(compiledMarker(context, tree), '')
  return ccacheFacts(statsLog)
}

/** @returns about how many lines a build from nothing prints; of one that continues nobody knows */
const expectedLines = (context: Context): number | undefined =>
  isCompiled(context.paths.build) ? undefined : (context.flavour?.lines ?? context.target.lines[context.config])

/** Counts results in a ccache stats log: a comment line with the file, then a line a result (ccache(1), stats_log). */
function ccacheFacts(statsLog: string): Facts {
  const results = existsSync(statsLog) ? readFileSync(statsLog, 'utf8').split('\n') : []
  const count = (...names: string[]): number => results.filter((line) => names.includes(line)).length
  const hits = count('direct_cache_hit', 'preprocessed_cache_hit')
  return { ccacheHits: hits, remoteHits: count('remote_storage_hit'), compilations: hits + count('cache_miss') }
}
