// SPDX-License-Identifier: GPL-2.0-only
/** In a process of its own: after an interrupt there is nothing more to be asked of git. */

import { execFileSync } from 'node:child_process'
import test from 'ava'
import { Failure } from '../../scripts/base/errors.ts'
import { stopChildren } from '../../scripts/base/run.ts'
import { beforeTests } from '../../scripts/lab/e2e.ts'
import { createFixture, read } from './fixture.ts'

for (const error of [new TypeError('x is undefined'), new Failure('interrupted', 'Interrupted by SIGINT.')]) {
  test.serial(`what ends a run before its first test makes its results errors: ${error.name}`, async (t) => {
    const { context, root, write } = createFixture(t)
    execFileSync('git', ['init', '--quiet', root])
    const c = context()
    write('dist/lts/test/junit.xml', 'of an earlier run')
    const end = async () => {
      if (error instanceof Failure) stopChildren('SIGINT')
      throw error
    }
    await t.throwsAsync(beforeTests(c, end), { is: error })
    t.true(read(c.paths.dist, 'test', 'junit.xml').includes(`<error message="not run: ${error.message}`))
  })
}
