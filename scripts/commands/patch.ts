import { existsSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { Command } from '../lib/command.ts'
import type { Context } from '../lib/context.ts'
import { preparedFamily } from '../lib/family.ts'
import { digestTree } from '../lib/files.ts'
import { log } from '../lib/log.ts'
import { APPLIED, BASE, BRANCH, changeTree, commitSeries, compatFolder, engineFolder, requireSaved, seriesFolder, seriesPatches, treeGit } from '../lib/series.ts'
import { toolchainPatches } from '../lib/toolchain.ts'
import { bring, type Json, type Step } from '../lib/step.ts'
import { sourceVersion, step as prep } from './prep.ts'

export const step: Step = {
  name: 'patch',
  scope: 'target',
  needs: [prep],
  code: ['commands/patch.ts', 'lib/series.ts', 'lib/toolchain.ts'],
  inputs: async (context) => ({ files: relativeDigests(context), toolchain: relativeDigests(context, await toolchainPatches(context)) }),
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

function relativeDigests(context: Context, paths = [engineFolder(context), compatFolder(context), seriesFolder(context)]): Json {
  const digests = digestTree(...paths)
  return Object.fromEntries(Object.entries(digests).map(([path, digest]) => [path.slice(context.paths.root.length + 1), digest]))
}

/** Applies engine and series; edits in the tree that equal the new series (after `save`) are no obstacle. */
async function applySeries(context: Context, toolchain: readonly string[]): Promise<void> {
  const version = sourceVersion(context)
  log.step('patch', `the ${preparedFamily(context).series} series on Linux ${version}`)
  const { base, applied: made } = await commitSeries(context, version, toolchain)
  const git = treeGit(context)
  const difference = await git.raw('diff', '--name-only', made)
  if (difference !== '') {
    await requireSaved(context, 'the series cannot be applied again')
    await changeTree(context, ['checkout', '--quiet', '-B', BRANCH, made])
  } else {
    await changeTree(context, ['checkout', '--quiet', '-B', BRANCH])
    await changeTree(context, ['reset', '--quiet', made])
  }
  await git.raw('tag', '--force', BASE, base)
  await git.raw('update-ref', APPLIED, made)
  const first = toolchain.length > 0 ? `${toolchain.length} patches for today's tools, then ` : ''
  log.info(`${first}the engine and ${seriesPatches(context).length} patches, in ${context.paths.tree}`)
}

const command: Command = {
  summary: 'apply the engine and the patch series to the prepared source',
  help: `Every patch becomes a commit on the branch "${BRANCH}" of the prepared tree. All of
them are tried first, beside the work tree; a patch that does not fit names the
file and the hunk, and nothing changes.

Edits that you made in the prepared tree are never overwritten: keep them by
"make save" or throw them away by "make discard".`,
  async run(context) {
    await bring(context, step)
    process.stdout.write(`${context.paths.tree}\n`)
  },
}
export default command

