// SPDX-License-Identifier: GPL-2.0-only
import test from 'ava'
import { newWarnings } from '../../scripts/kernel/warnings.ts'

const old = ['  CC foo.o', '/a/net/x.c:10:3: warning: unused', "/a/net/x.c:20:1: warning: context imbalance in 'f'"]

test('a warning that only moved is not new', (t) => {
  t.deepEqual(newWarnings(old, ['../linux/net/x.c:12:3: warning: unused', "/a/net/x.c:25:1: warning: context imbalance in 'f'"]), [])
})

test('a warning that came twice where it stood once is new', (t) => {
  t.deepEqual(newWarnings(old, [...old, '/a/net/x.c:99:3: warning: unused']), ['/a/net/x.c:99:3: warning: unused'])
})

test('a header that was not changed may complain once more in every file that includes it', (t) => {
  const header = '/a/include/linux/skbuff.h:399:41: error: invalid bitfield'
  t.deepEqual(newWarnings([header], [header, header], ['net/x.c']), [])
  t.deepEqual(newWarnings([header], [header, header], ['include/linux/skbuff.h']), [header])
  t.deepEqual(newWarnings([], [header]), [header])
})

test('a warning in another file is new', (t) => {
  t.deepEqual(newWarnings(old, ['/a/net/y.c:10:3: warning: unused']), ['/a/net/y.c:10:3: warning: unused'])
})
