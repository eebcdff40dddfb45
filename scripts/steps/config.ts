// SPDX-License-Identifier: GPL-2.0-only
/** The kernel's configuration, merged from fragments on the kernel's own. */

import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { digestTree, writeIfChanged } from '../base/files.ts'
import { log } from '../base/log.ts'
import { capture, runLogged } from '../base/run.ts'
import type { Context } from '../build/context.ts'
import { digest, type Step } from '../build/step.ts'
import { ask } from '../build/toolversions.ts'
import { preparedFamily } from '../kernel/family.ts'
import { kbuildEnvironment } from '../kernel/kbuild.ts'
import { lostSymbols, parseFragment } from '../kernel/kconfig.ts'
import { treeGit } from '../kernel/series.ts'
import { FLAVOURS } from '../targets.ts'
import { sourceFile } from './fetch.ts'
import { step as patch } from './patch.ts'
import { preparedVersion, srpmFolder } from './prep.ts'

export const step: Step = {
  name: 'config',
  scope: 'variant',
  needs: [patch],
  code: ['steps/config.ts', 'kernel/kbuild.ts', 'kernel/kconfig.ts'],
  async inputs(context) {
    const [kconfig, compiler] = await Promise.all([kconfigDigest(context), ask('gcc', '--version')])
    return {
      base: context.target.baseConfig,
      packaged: context.srpm ? sourceFile(context, context.source).sha256 : null,
      fragments: Object.fromEntries(fragments(context).map((path) => [basename(path), Object.values(digestTree(path))[0] ?? ''])),
      kconfig,
      compiler,
    }
  },
  outputs: (context) => [join(context.paths.build, '.config')],
  async run(context) {
    const requested = await mergeConfig(context)
    return { symbols: requested }
  },
}

/** @returns paths of the fragments, in the order in which they are merged */
function fragments(context: Context): string[] {
  const { config: ofFamily } = preparedFamily(context)
  const { flavour } = context
  const omitted = [...FLAVOURS.flatMap((other) => other.fragments).filter((name) => !flavour?.fragments.includes(name)), ...(flavour?.without ?? [])]
  return [...context.configs, ...(ofFamily === undefined ? [] : [ofFamily])].flatMap((name) => {
    const folder = join(context.paths.root, 'specs', 'kernel', name)
    const names = readdirSync(folder).filter((file) => file.endsWith('.config')).sort()
    return names.filter((file) => !omitted.includes(file)).map((file) => join(folder, file))
  })
}

/** What of the prepared tree decides the configuration; edits of Kconfig files count, edits of code don't. */
async function kconfigDigest(context: Context): Promise<string> {
  const git = treeGit(context)
  const files = ':(glob)**/Kconfig*'
  return digest(await Promise.all([git.text('ls-files', '--stage', '--', files), git.text('diff', 'HEAD', '--', files)]))
}

/**
 * Merges the fragments beside the build folder and replaces `.config` only if it
 * differs, so that an incremental build survives.
 *
 * @returns how many symbols the fragments ask for
 * @throws Failure of kind `build` naming each symbol that did not survive
 */
async function mergeConfig(context: Context): Promise<number> {
  const { build } = context.paths
  const scratch = `${build}.config`
  rmSync(scratch, { recursive: true, force: true })
  mkdirSync(scratch, { recursive: true })
  const { baseConfig } = context.target
  log.step('config', `${Object.values(baseConfig)[0]} with ${fragments(context).map((path) => basename(path)).join(', ')}`)
  if ('goal' in baseConfig) await mergeOnGoal(context, scratch, baseConfig.goal)
  else await mergeOnPackaged(context, scratch, baseConfig.packaged)
  const requested = requireSurvival(context, join(scratch, '.config'))
  mkdirSync(build, { recursive: true })
  writeIfChanged(join(build, '.config'), readFileSync(join(scratch, '.config')))
  rmSync(scratch, { recursive: true })
  return requested
}

interface Configuring {
  /** The kernel's make for a folder. */
  make: string[]
  options: { env: NodeJS.ProcessEnv; log: string; doing: string }
}

function configuring(context: Context, scratch: string): Configuring {
  return {
    make: ['make', '-s', '-C', context.paths.tree, `O=${scratch}`],
    options: { env: kbuildEnvironment(), log: join(context.paths.logs, 'config.log'), doing: 'configuring the kernel' },
  }
}

/** Merges by the kernel's own merge_config.sh. */
async function mergeOnGoal(context: Context, scratch: string, goal: string): Promise<void> {
  const { make, options } = configuring(context, scratch)
  await runLogged([...make, goal], options)
  const merge = [join(context.paths.tree, 'scripts/kconfig/merge_config.sh'), '-m', '-O', scratch, join(scratch, '.config')]
  await runLogged([...merge, ...fragments(context)], { ...options, cwd: scratch })
  await runLogged([...make, context.target.settleConfig], options)
}

/**
 * Merges as the spec of the source package does: its Makefile.config makes RHEL's
 * configuration of its config-* files, by the merge.pl beside them.
 */
async function mergeOnPackaged(context: Context, scratch: string, name: string): Promise<void> {
  const { make, options } = configuring(context, scratch)
  const folder = join(scratch, 'packaged')
  mkdirSync(folder)
  const wanted = readdirSync(srpmFolder(context)).filter((file) => /^(config-.*|Makefile\..*|merge\.pl)$/.test(file))
  for (const file of wanted) copyFileSync(join(srpmFolder(context), file), join(folder, file))
  // Its rules name a Makefile, which in the spec's folder is the kernel's.
  writeFileSync(join(folder, 'Makefile'), '')
  await runLogged(['make', '-s', '-f', 'Makefile.config', `VERSION=${preparedVersion(context)}`, name], { ...options, cwd: folder })
  let merged = readFileSync(join(folder, name), 'utf8')
  for (const fragment of fragments(context)) {
    writeFileSync(join(folder, name), merged)
    merged = (await capture(['perl', 'merge.pl', fragment, name], { cwd: folder })).stdout
  }
  rmSync(folder, { recursive: true })
  writeFileSync(join(scratch, '.config'), merged)
  // Symbols that the fragments bring to light take their defaults.
  await runLogged([...make, context.target.settleConfig], options)
}

function requireSurvival(context: Context, config: string): number {
  const requested = new Map(fragments(context).flatMap((path) => parseFragment(readFileSync(path, 'utf8'))))
  const lost = lostSymbols(requested, readFileSync(config, 'utf8'))
  if (lost.length === 0) return requested.size
  const kept = join(context.paths.logs, 'rejected.config')
  copyFileSync(config, kept)
  throw new Failure('build', `${lost.length} configuration symbols did not survive the merge.`, {
    excerpt: lost,
    hint: 'A symbol was renamed, or lacks a dependency in this kernel: see "make menuconfig" there, and fix specs/kernel.',
    log: kept,
  })
}
