// SPDX-License-Identifier: GPL-2.0-only
/** Which commit of this project something was made from. */

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Git } from '../base/git.ts'
import type { Context } from './context.ts'

export type Revision = {
  /** Name of the checkout's commit; null of a copy without git, and before the first one. */
  commit: string | null
  /** Whether the checkout has changes that are not committed, or files that are not added. */
  dirty: boolean
}

export async function revision({ paths }: Context): Promise<Revision> {
  if (!existsSync(join(paths.root, '.git'))) return { commit: null, dirty: true }
  // In a container, and by sudo, the checkout is another user's than who calls; by calling its Makefile he has trusted it.
  const config = [`safe.directory=${paths.root}`]
  const lines = await new Git(paths.root, { userConfig: true, config }).lines('status', '--porcelain=v2', '--branch')
  const commit = /^# branch\.oid ([0-9a-f]+)$/m.exec(lines.join('\n'))?.[1] ?? null
  return { commit, dirty: commit === null || lines.some((line) => !line.startsWith('#')) }
}

const begun = new Map<string, Revision>()

/** Notes from which commit something begins to be made: a build takes most of an hour, and checkouts are worked in. */
export async function noteRevision(context: Context): Promise<void> {
  begun.set(context.paths.root, await revision(context))
}

/** @returns the commit that everything since {@link noteRevision} was made from; where it is another one by now, that and changes */
export async function builtRevision(context: Context): Promise<Revision> {
  const now = await revision(context)
  const before = begun.get(context.paths.root) ?? now
  return before.commit === now.commit && before.dirty === now.dirty ? now : { ...before, dirty: true }
}
