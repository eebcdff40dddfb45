// SPDX-License-Identifier: GPL-2.0-only
import { inapplicable, label } from '../../test/e2e/lib/suite.ts'
import type { Command } from '../command.ts'
import { chosenSuites, lackedBy } from '../lab/e2e.ts'

const command: Command = {
  summary: 'list the end-to-end tests, those that ONLY= chooses',
  anyKernel: true,
  help: `A line a test, by the name that ONLY= of "make e2e" looks at. Behind those that do not apply to the
kernel is the reason. With V=1 what each test proves is below it.`,
  async run(context) {
    for (const suite of chosenSuites(context)) {
      for (const test of suite.tests) {
        const reason = inapplicable(test, lackedBy(context))
        process.stdout.write(`${label(suite, test)}${reason === undefined ? '' : ` (N/A: ${reason})`}\n`)
        if (context.variables.V === '1') process.stdout.write(`    ${test.proves}\n`)
      }
    }
  },
}
export default command
