// SPDX-License-Identifier: GPL-2.0-only
/** Engine and series as commits of the prepared tree. */

import { existsSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { digestTree } from '../base/files.ts'
import { removeStaleLocks } from '../base/git.ts'
import { log } from '../base/log.ts'
import type { Context } from '../build/context.ts'
import type { Json, Step } from '../build/step.ts'
import { commitSeries } from '../kernel/commits.ts'
import { endMove, moveTo } from '../kernel/move.ts'
import { APPLIED, BASE, BRANCH, engineFolders, patchFiles, seriesFolder, seriesPatches, treeGit } from '../kernel/series.ts'
import { toolchainPatches } from '../kernel/toolchain.ts'
import { sourceVersion, step as prep } from './prep.ts'

export const step: Step = {
  name: 'patch',
  scope: 'target',
  needs: [prep],
  code: ['steps/patch.ts', 'kernel/commits.ts', 'kernel/move.ts', 'kernel/series.ts', 'kernel/toolchain.ts'],
  inputs: async (context) => ({ files: relativeDigests(context, patchFolders(context).flatMap((folder) => patchFiles(context, folder))), toolchain: relativeDigests(context, await toolchainPatches(context)) }),
  outputs: (context) => [appliedRef(context)],
  async run(context) {
    const toolchain = await toolchainPatches(context)
    await applySeries(context, toolchain)
    const names = (paths: readonly string[]): string[] => paths.map((path) => basename(path))
    return { toolchain: names(toolchain), patches: names(seriesPatches(context)) }
  },
}

/** @returns the file in which git keeps what was applied last; a tree that was prepared anew has none */
function appliedRef(context: Context): string {
  const packed = join(context.paths.tree, '.git', 'packed-refs')
  const isPacked = existsSync(packed) && readFileSync(packed, 'utf8').includes(` ${APPLIED}\n`)
  return isPacked ? packed : join(context.paths.tree, '.git', APPLIED)
}

const patchFolders = (context: Context): string[] => [...engineFolders(context), seriesFolder(context) ?? []].flat()

function relativeDigests(context: Context, paths: readonly string[]): Json {
  const digests = digestTree(...paths)
  return Object.fromEntries(Object.entries(digests).map(([path, digest]) => [path.slice(context.paths.root.length + 1), digest]))
}

/** Applies engine and series; edits in the tree that equal the new series (after `save`) are no obstacle. */
async function applySeries(context: Context, toolchain: readonly string[]): Promise<void> {
  const what = `${context.tree.title} ${sourceVersion(context)}`
  const folder = seriesFolder(context)
  if (folder === undefined) log.warn(`no series is made for ${what}: it is packaged as it is published`)
  else log.step('patch', `the ${basename(folder)} series on ${what}`)
  removeStaleLocks(context.paths.tree)
  const { base, applied: made } = await commitSeries(context, toolchain, what)
  const git = treeGit(context)
  if ((await git.lines('diff', '--name-only', made)).length > 0) {
    await moveTo(context, made)
  } else {
    await git.run('checkout', '--quiet', '-B', BRANCH)
    await git.run('reset', '--quiet', made)
  }
  await git.run('tag', '--force', BASE, base)
  await git.run('update-ref', APPLIED, made)
  endMove(context)
  const first = toolchain.length > 0 ? `${toolchain.length} patches for today's tools, then ` : ''
  const engine = engineFolders(context).length > 0 ? 'the engine and ' : ''
  log.info(`${first}${engine}${seriesPatches(context).length} patches, in ${context.paths.tree}`)
}
