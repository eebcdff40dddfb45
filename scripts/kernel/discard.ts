// SPDX-License-Identifier: GPL-2.0-only
/** Edits of the prepared tree, thrown away. */

import { renameSync } from 'node:fs'
import { DISK_FULL_HINT, Failure } from '../base/errors.ts'
import { shorten } from '../base/excerpt.ts'
import { removeStaleLocks } from '../base/git.ts'
import { log } from '../base/log.ts'
import { type Context, goal } from '../build/context.ts'
import { appliedCommit, BRANCH, PRISTINE, treeGit, treeState } from './series.ts'

/** Puts the prepared tree back to what the series made of it, or aside if git cannot. */
export async function discard(context: Context): Promise<void> {
  try {
    await restore(context)
  } catch (error) {
    if (!(error instanceof Failure) || error.kind === 'interrupted' || error.details.hint === DISK_FULL_HINT) throw error
    const { tree } = context.paths
    const aside = `${tree}.damaged-${new Date().toISOString().replace(/\W/g, '')}`
    renameSync(tree, aside)
    log.warn(`git cannot restore the prepared tree: ${(error.details.excerpt ?? [error.message])[0]}`)
    log.info(`it was put aside, for ${goal(context, 'clean')} to remove: ${aside}`)
  }
}

async function restore(context: Context): Promise<void> {
  removeStaleLocks(context.paths.tree)
  const git = treeGit(context)
  await git.attempt('rebase', '--quit')
  const { committed, uncommitted } = await treeState(context)
  const applied = await appliedCommit(context)
  await git.run('checkout', '--quiet', '--force', ...(applied === undefined ? ['--detach', PRISTINE] : ['-B', BRANCH, applied]))
  await git.run('clean', '--quiet', '--force', '-d')
  for (const line of shorten(uncommitted.map((name) => `discarded edits of ${name}`))) log.info(line)
  if (committed) log.info('discarded commits; git reflog in the prepared tree still knows them')
}
