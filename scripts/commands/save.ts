// SPDX-License-Identifier: GPL-2.0-only
import { withBuildLock } from '../build/lock.ts'
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { save } from '../kernel/save.ts'
import { BASE } from '../kernel/series.ts'
import { step as patch } from '../steps/patch.ts'

const command: Command = {
  summary: 'save the edits of the prepared tree into patches/',
  anyTree: true,
  help: `Engine files are copied back as they are in the prepared tree, committed or not.
Hooks are saved from the commits on top of the engine's, one patch a commit, so
commit your edits of them first, in the prepared tree:
  git commit --fixup=COMMIT FILES && git rebase --interactive --autosquash ${BASE}
or as a new commit, which becomes a new patch; of a tool (TREE=ipvsadm) every edit is
saved so. Patches that did not change stay
the same to the byte; one that is a link to that of another family becomes a file
of its own when it changes.`,
  async run(context) {
    await withBuildLock(context, () => save(context))
    await bring(context, patch)
  },
}
export default command
