import test from 'ava'
import { newWarnings } from '../../scripts/lib/warnings.ts'

const old = ['  CC foo.o', '/a/net/x.c:10:3: warning: unused', "/a/net/x.c:20:1: warning: context imbalance in 'f'"]

test('a warning that only moved is not new', (t) => {
  t.deepEqual(newWarnings(old, ['../linux/net/x.c:12:3: warning: unused', "/a/net/x.c:25:1: warning: context imbalance in 'f'"]), [])
})

test('a warning that came twice where it stood once is new', (t) => {
  t.deepEqual(newWarnings(old, [...old, '/a/net/x.c:99:3: warning: unused']), ['/a/net/x.c:99:3: warning: unused'])
})

test('a warning in another file is new', (t) => {
  t.deepEqual(newWarnings(old, ['/a/net/y.c:10:3: warning: unused']), ['/a/net/y.c:10:3: warning: unused'])
})
