import { existsSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { DISK_FULL_HINT, Failure } from '../base/errors.ts'
import { shorten } from '../base/excerpt.ts'
import { log } from '../base/log.ts'
import type { Context } from '../build/context.ts'
import { withBuildLock } from '../build/lock.ts'
import type { Command } from '../command.ts'
import { APPLIED, BRANCH, changeTree, goal, PRISTINE, treeGit, treeState } from '../kernel/series.ts'

const command: Command = {
  summary: 'throw away the edits of the prepared tree',
  anyTree: true,
  help: `Puts the prepared tree back to what engine and series made of it, whatever an interrupted
command left of it. Your commits stay in the reflog of the prepared tree for a while;
uncommitted edits are gone. A tree that git cannot restore is put aside, and the next
command prepares another.`,
  async run(context) {
    const { tree } = context.paths
    if (!existsSync(tree)) throw new Failure('usage', 'There is no prepared tree.', { hint: `${goal(context, 'patch')} prepares it.` })
    await withBuildLock(context, () => discard(context))
  },
}
export default command

async function discard(context: Context): Promise<void> {
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
  // What git left when it was killed; nobody else's git is at work in a tree that is to be thrown away.
  rmSync(join(context.paths.tree, '.git', 'index.lock'), { force: true })
  await changeTree(context, ['rebase', '--quit'], { anyExit: true })
  const { committed, uncommitted } = await treeState(context)
  const applied = await treeGit(context).raw('for-each-ref', '--format=%(objectname)', APPLIED)
  await changeTree(context, ['checkout', '--quiet', '--force', ...(applied === '' ? ['--detach', PRISTINE] : ['-B', BRANCH, APPLIED])])
  await changeTree(context, ['clean', '--quiet', '--force', '-d'])
  for (const line of shorten(uncommitted.map((name) => `discarded edits of ${name}`))) log.info(line)
  if (committed) log.info('discarded commits; git reflog in the prepared tree still knows them')
}
