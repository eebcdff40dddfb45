import { basename } from 'node:path'
import type { Command } from '../lib/command.ts'
import type { Context } from '../lib/context.ts'
import { preparedFamily } from '../lib/family.ts'
import { digestTree } from '../lib/files.ts'
import { log } from '../lib/log.ts'
import { APPLIED, BRANCH, commitSeries, compatFolder, engineFolder, requireSaved, seriesFolder, seriesPatches, treeGit } from '../lib/series.ts'
import { bring, type Json, type Step } from '../lib/step.ts'
import { sourceVersion, step as prep } from './prep.ts'

export const step: Step = {
  name: 'patch',
  scope: 'target',
  needs: [prep],
  inputs: (context) => relativeDigests(context),
  outputs: () => [],
  async run(context) {
    await applySeries(context)
    return { patches: seriesPatches(context).map((path) => basename(path)) }
  },
}

function relativeDigests(context: Context): Json {
  const digests = digestTree(engineFolder(context), compatFolder(context), seriesFolder(context))
  return Object.fromEntries(Object.entries(digests).map(([path, digest]) => [path.slice(context.paths.root.length + 1), digest]))
}

/** Applies engine and series; edits in the tree that equal the new series (after `save`) are no obstacle. */
async function applySeries(context: Context): Promise<void> {
  const version = sourceVersion(context)
  log.step('patch', `the ${preparedFamily(context).series} series on Linux ${version}`)
  const made = await commitSeries(context, version)
  const git = treeGit(context)
  const difference = await git.raw('diff', '--name-only', made)
  if (difference !== '') {
    await requireSaved(context, 'the series cannot be applied again')
    await git.raw('checkout', '--quiet', '-B', BRANCH, made)
  } else {
    await git.raw('checkout', '--quiet', '-B', BRANCH)
    await git.raw('reset', '--quiet', made)
  }
  await git.raw('update-ref', APPLIED, made)
  log.info(`${seriesPatches(context).length} patches and the engine, in ${context.paths.tree}`)
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

