// SPDX-License-Identifier: GPL-2.0-only
import { log } from '../base/log.ts'
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { sweep } from '../kernel/sweep.ts'
import { step } from '../steps/all.ts'

const command: Command = {
  summary: 'build everything: packages, repository, exported patch, metadata',
  help: `What "make" alone does: brings every step up to date and writes dist/VARIANT.
metadata.json there tells the inputs with their digests, the tools, the seconds of
each phase when it last ran, and what ccache spared.`,
  step,
  async run(context) {
    await bring(context, step)
    await sweep(context)
    log.step('all', `up to date: ${context.paths.dist}`)
  },
}
export default command
