// SPDX-License-Identifier: GPL-2.0-only
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { CHECKED, step } from '../steps/check.ts'

const command: Command = {
  summary: 'checkpatch, sparse and warnings on the series; every patch builds on its own',
  help: `Runs checkpatch.pl --strict on every patch, and compiles ${CHECKED} at every
commit of the series with sparse and the kernel's extra warnings (W=1 where it has them):
no commit may fail to build or bring a warning that the pristine source does not have.
Of a distribution's kernel, the symbols that it promises to keep (kABI) must have the
checksums they have without the series.`,
  step,
  async run(context) {
    const { facts } = await bring(context, step)
    process.stdout.write(`${Number(facts['patches'])} patches: checkpatch clean, each builds, no new warnings\n`)
  },
}
export default command
