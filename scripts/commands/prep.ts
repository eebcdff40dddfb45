// SPDX-License-Identifier: GPL-2.0-only
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { PRISTINE } from '../kernel/series.ts'
import { step } from '../steps/prep.ts'

const command: Command = {
  summary: 'unpack the pristine source into a git work tree',
  anyTree: true,
  help: `Imports the fetched source into a git repository in the cache, once for all
checkouts, and checks it out where the series will be applied. The tag "${PRISTINE}"
is the source as it was published; of a source package, what its own %prep makes of it.
A kernel whose IPVS sources are of a family without a series is refused.`,
  step,
  async run(context) {
    await bring(context, step)
    process.stdout.write(`${context.paths.tree}\n`)
  },
}
export default command
