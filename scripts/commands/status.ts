// SPDX-License-Identifier: GPL-2.0-only
import type { Command } from '../command.ts'
import { describeCheckout } from '../lab/status.ts'

const command: Command = {
  summary: 'tell what of this checkout is up to date, edited or locked',
  anyKernel: true,
  help: `Of each variant that something was built of, and of the one that the variables choose: the steps that
"make" would run, and why; edits in the prepared tree that are not in the series; what runs now.
Changes nothing, and takes no lock.`,
  async run(context) {
    for (const line of (await describeCheckout(context)).lines) process.stdout.write(`${line}\n`)
  },
}
export default command
