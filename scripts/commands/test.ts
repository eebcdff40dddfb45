// SPDX-License-Identifier: GPL-2.0-only
import { setUp } from '../build/setup.ts'
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { beforeTests, runE2e } from '../lab/e2e.ts'
import { requireRules, runUnitTests } from '../lab/unit.ts'
import { step as all } from '../steps/all.ts'
import { step as check } from '../steps/check.ts'

const command: Command = {
  summary: 'rules, unit tests, checks of the series, end-to-end tests of the built packages',
  help: `Checks the toolchain's own code ("make lint"), runs the unit tests, builds what is not up to date, runs "make check" and then the
end-to-end tests in virtual machines assembled from the packages in dist.
ONLY= selects end-to-end tests. Results are in dist/VARIANT/test.`,
  step: all,
  async run(context) {
    await setUp(context)
    const unit = await beforeTests(context, async () => {
      await requireRules(context)
      const counts = await runUnitTests(context)
      process.stdout.write(`${counts.passed} unit tests passed\n`)
      await bring(context, all)
      await bring(context, check)
      return counts
    })
    const e2e = await runE2e(context)
    const total = (key: 'passed' | 'failed'): number => unit[key] + e2e[key]
    process.stdout.write(`${e2e.notApplicable} end-to-end tests do not apply to this kernel\n`)
    process.stdout.write(`${total('passed')} passed, ${total('failed')} failed, ${unit.skipped} skipped\n`)
  },
}
export default command
