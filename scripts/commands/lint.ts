// SPDX-License-Identifier: GPL-2.0-only
import type { Command } from '../command.ts'
import { requireRules } from '../lab/unit.ts'

const command: Command = {
  summary: "check the toolchain's own code: types, and the rules of eslint.config.js",
  help: `Runs tsc and ESLint, whose typed rules find promises that nobody waits for, and which holds the style.
What it can correct by itself: npx eslint --fix .
The series is checked by "make check".`,
  async run(context) {
    await requireRules(context)
    process.stdout.write('types and rules are kept\n')
  },
}
export default command
