// SPDX-License-Identifier: GPL-2.0-only
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { BRANCH } from '../kernel/series.ts'
import { step } from '../steps/patch.ts'

const command: Command = {
  summary: 'apply the engine and the patch series to the prepared source',
  anyTree: true,
  help: `Every patch becomes a commit on the branch "${BRANCH}" of the prepared tree. All of
them are tried first, beside the work tree; a patch that does not fit names the
file and the hunk, and nothing changes.

TREE=ipvsadm is about ipvsadm's source and patches/ipvsadm, which have no engine. Of
TREE=keepalived the version decides which series it is: lts has that of Debian 13.

Edits that you made in the prepared tree are never overwritten: keep them by
"make save" or throw them away by "make discard".`,
  step,
  async run(context) {
    await bring(context, step)
    process.stdout.write(`${context.paths.tree}\n`)
  },
}
export default command
