// SPDX-License-Identifier: GPL-2.0-only
import { join } from 'node:path'
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { step } from '../steps/config.ts'

const command: Command = {
  summary: 'make the kernel configuration from its fragments',
  help: `Merges the fragments of specs/kernel/TARGET on the kernel's own base configuration
and verifies that every symbol they ask for survived. DEBUG=1 adds debug.config; SANITIZE=1
adds sanitize.config, SANITIZE=kcsan kcsan.config, and both instrumented.config, and leave out the drivers of real machines.
Prints the path of the .config.`,
  step,
  async run(context) {
    await bring(context, step)
    const config = join(context.paths.build, '.config')
    process.stdout.write(`${config}\n`)
  },
}
export default command
