// SPDX-License-Identifier: GPL-2.0-only
import { existsSync } from 'node:fs'
import { Failure } from '../base/errors.ts'
import { goal } from '../build/context.ts'
import { withBuildLock } from '../build/lock.ts'
import type { Command } from '../command.ts'
import { discard } from '../kernel/discard.ts'

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
