// SPDX-License-Identifier: GPL-2.0-only
import type { Command } from '../command.ts'
import { bringModules, MODULES_FOLDER, step } from '../steps/modules.ts'

const command: Command = {
  summary: `rebuild only the modules of ${MODULES_FOLDER}`,
  help: `For the daily loop: edit the prepared tree ("make patch" prints where it is), then
  make modules && make vm-reload
The kernel is built first if it never was; after that, only the IPVS modules are.
Prints the paths of the modules.`,
  step,
  async run(context) {
    await bringModules(context)
    for (const path of step.outputs(context)) process.stdout.write(`${path}\n`)
  },
}
export default command
