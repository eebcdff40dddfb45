// SPDX-License-Identifier: GPL-2.0-only
/** The output folder of a flavour that is nearly the released kernel begins with what that one has compiled. */

import { copyFileSync, existsSync, readFileSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { asideOf, replaceFolder } from '../base/files.ts'
import { log } from '../base/log.ts'
import { capture } from '../base/run.ts'
import type { Context } from '../build/context.ts'

/**
 * Copies the released kernel's output folder, times included, if the flavour resembles it and has
 * nothing compiled yet. kbuild then compiles only what depends on the symbols in
 * which the two differ (scripts/basic/fixdep.c), instead of a whole kernel.
 *
 * @param isMarker tells the files that must not come along, because they are about the released kernel
 */
export async function seed(context: Context, isMarker: (name: string) => boolean): Promise<void> {
  const { build, releaseBuild: release } = context.paths
  if (!context.flavour?.resemblesRelease || isCompiled(build) || !isCompiled(release)) return
  log.info(`beginning with what is compiled in ${release}`)
  const aside = asideOf(build)
  try {
    await capture(['cp', '--archive', '--reflink=auto', release, aside])
    for (const name of readdirSync(aside).filter(isMarker)) rmSync(join(aside, name))
    await renameInCommands(aside, release, build)
    copyFileSync(join(build, '.config'), join(aside, '.config'))
    replaceFolder(aside, build)
  } finally {
    rmSync(aside, { recursive: true, force: true })
  }
}

/** kbuild writes it when all modules are compiled. */
export const isCompiled = (folder: string): boolean => existsSync(join(folder, 'modules.order'))

/**
 * Saved command lines that name the folder make what they built look outdated: those of
 * objtool do, and all objects depend on it.
 */
async function renameInCommands(folder: string, from: string, to: string): Promise<void> {
  const { stdout } = await capture(['grep', '-rlF', '--include=*.cmd', '--include=*.d', `${from}/`, folder], { anyExit: true })
  for (const path of stdout.split('\n').filter(Boolean)) {
    const { atime, mtime } = statSync(path)
    writeFileSync(path, readFileSync(path, 'latin1').replaceAll(`${from}/`, `${to}/`), 'latin1')
    utimesSync(path, atime, mtime)
  }
}
