// SPDX-License-Identifier: GPL-2.0-only
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { ROOT } from '../../scripts/base/root.ts'
import { FLAVOURS } from '../../scripts/targets.ts'

test('a kernel that watches itself does not lose what it says', (t) => {
  const watching = FLAVOURS.flatMap(({ lab }) => lab ?? [])
  t.is(watching.length, 2)
  for (const { append } of watching) t.true(append.includes('log_buf_len=16M'))
})

test('a data race of the kernel alone does not hide one of IPVS', (t) => {
  t.regex(readFileSync(join(ROOT, 'specs/kernel/lts/kcsan.config'), 'utf8'), /^CONFIG_KCSAN_REPORT_ONCE_IN_MS=0$/m)
})
