import type { Command } from '../lib/command.ts'
import { log } from '../lib/log.ts'
import { APPLIED, BRANCH, treeGit, treeState } from '../lib/series.ts'

const command: Command = {
  summary: 'throw away the edits of the prepared tree',
  help: `Puts the prepared tree back to what engine and series made of it. Your commits stay
in the reflog of the prepared tree for a while; uncommitted edits are gone.`,
  async run(context) {
    const { committed, uncommitted } = await treeState(context)
    const git = treeGit(context)
    await git.raw('checkout', '--quiet', '--force', '-B', BRANCH, APPLIED)
    await git.raw('clean', '--quiet', '--force', '-d')
    for (const name of uncommitted) log.info(`discarded edits of ${name}`)
    if (committed) log.info('discarded commits; git reflog in the prepared tree still knows them')
  },
}
export default command
