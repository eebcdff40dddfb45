// SPDX-License-Identifier: GPL-2.0-only
import { bring, readStamp } from '../build/step.ts'
import type { Command } from '../command.ts'
import { step as kernel } from '../steps/kernel.ts'
import { MODULES_FOLDER, step } from '../steps/modules.ts'

const command: Command = {
  summary: `rebuild only the modules of ${MODULES_FOLDER}`,
  help: `For the daily loop: edit the prepared tree ("make patch" prints where it is), then
  make modules && make vm-reload
The kernel is built first if it never was; after that, only the IPVS modules are.
Prints the paths of the modules.`,
  async run(context) {
    if (!readStamp(context, kernel)) await bring(context, kernel)
    await bring(context, step)
    for (const path of step.outputs(context)) process.stdout.write(`${path}\n`)
  },
}
export default command
