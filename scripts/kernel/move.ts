// SPDX-License-Identifier: GPL-2.0-only
/** The prepared tree's way from one commit to another, on which it can be stopped at any file. */

import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { writeIfChanged } from '../base/files.ts'
import type { Context } from '../build/context.ts'
import { BRANCH, requireSaved, treeGit, treeState } from './series.ts'

/** Commits that a move was between. */
interface Move {
  from: string
  to: string
}

/** It is there while a tree without edits of the user's is moved. */
const noteOf = ({ paths }: Context): string => join(paths.work, 'moving')

/**
 * Moves the work tree and its branch to a commit. What a move that was killed has left is no edit of the user's;
 * who calls says by {@link endMove} when all is done.
 *
 * @throws Failure of kind `patch` when the tree has edits
 */
export async function moveTo(context: Context, to: string): Promise<void> {
  const git = treeGit(context)
  const left = await leftByMove(context)
  if (left === undefined) await requireSaved(context, 'the series cannot be applied again')
  for (const name of left ?? []) rmSync(join(context.paths.tree, name), { force: true })
  writeIfChanged(noteOf(context), JSON.stringify({ from: await git.line('rev-parse', 'HEAD'), to }))
  await git.run('checkout', '--quiet', ...(left ? ['--force'] : []), '-B', BRANCH, to)
}

/** Once the tree is where it was to go, all that differs is the user's again. */
export const endMove = (context: Context): void => rmSync(noteOf(context), { force: true })

/** @returns the new files of a move that was not finished; undefined if there was none, or if the tree has something else as well */
async function leftByMove(context: Context): Promise<string[] | undefined> {
  const move = readNote(context)
  if (!move) return undefined
  const { tree } = context.paths
  const git = treeGit(context)
  const head = await git.line('rev-parse', 'HEAD')
  if (head !== move.from && head !== move.to) return undefined
  const { uncommitted } = await treeState(context)
  const before = new Set(await git.files(move.from, uncommitted))
  for (const name of uncommitted) if (!(await isOnTheWay(context, move, name))) return undefined
  return uncommitted.filter((name) => !before.has(name) && existsSync(join(tree, name)))
}

/** @returns whether a file is absent, as it was, or has come so far as git had written it */
async function isOnTheWay(context: Context, { from, to }: Move, name: string): Promise<boolean> {
  const git = treeGit(context)
  const path = join(context.paths.tree, name)
  if ((await git.lines('diff', '--name-only', from, to, '--', name)).length === 0) return false
  const content = existsSync(path) ? readFileSync(path, 'utf8') : ''
  const at = async (commit: string): Promise<string> => ((await git.files(commit, [name])).length > 0 ? git.text('show', `${commit}:${name}`) : '')
  return content === (await at(from)) || (await at(to)).startsWith(content)
}

function readNote(context: Context): Move | undefined {
  try {
    return JSON.parse(readFileSync(noteOf(context), 'utf8')) as Move
  } catch {
    // There is none, or a full disk has left it empty.
    return undefined
  }
}
