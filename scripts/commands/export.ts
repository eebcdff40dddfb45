// SPDX-License-Identifier: GPL-2.0-only
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { exportedPatch, step } from '../steps/export.ts'

const command: Command = {
  summary: 'write the series as one self-contained patch',
  help: `Writes dist/VARIANT/lvs-snat-VERSION.patch: engine and hooks in one file that
applies to the pristine source with "patch -p1". It is applied to a copy and the
result compared before it gets its name.`,
  step,
  async run(context) {
    await bring(context, step)
    process.stdout.write(`${exportedPatch(context)}\n`)
  },
}
export default command
