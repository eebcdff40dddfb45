// SPDX-License-Identifier: GPL-2.0-only
import test from 'ava'
import { tapFailures } from '../../scripts/lab/unit.ts'

const REPORT = [
  'ok 1 - one',
  'not ok 2 - two',
  '  ---',
  '    message: two is not one',
  '  ...',
  'ok 3 - three',
  '  # a line of its own',
  'not ok 4 - four',
]

test('what failed is told with its reason', (t) => {
  t.deepEqual(tapFailures(REPORT), ['not ok 2 - two', '  ---', '    message: two is not one', '  ...', 'not ok 4 - four'])
})

test('the last failure of a report that breaks off keeps what there is', (t) => {
  t.deepEqual(tapFailures(REPORT.slice(0, 4)), REPORT.slice(1, 4))
})

test('of many failures every name is told, and of the first ones why', (t) => {
  const told = tapFailures(Array.from({ length: 40 }, (_, index) => [`not ok ${index} - t`, ...Array.from({ length: 60 }, () => '    at: there')]).flat())
  t.is(told.filter((line) => line.startsWith('not ok')).length, 40)
  t.true(told.length < 200)
  t.deepEqual(told.slice(-2), ['not ok 38 - t', 'not ok 39 - t'])
})
