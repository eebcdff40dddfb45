// SPDX-License-Identifier: GPL-2.0-only
import test from 'ava'
import { junit } from '../e2e/lib/junit.ts'
import { placeOf } from '../e2e/lib/run.ts'

test('results become well-formed XML, whatever is in the messages', (t) => {
  const xml = junit('lts', [
    { suite: 'snat', name: 'TCP "quoted" & <odd>', seconds: 1.5, outcome: 'passed' },
    { suite: 'snat', name: 'UDP', seconds: 0.25, outcome: 'failed', message: 'a < b\n\u0007bell', output: 'frames 1-2' },
    { suite: 'nat', name: 'TCP', seconds: 0, outcome: 'not run', message: 'no source' },
    { suite: 'nat', name: 'UDP', seconds: 0, outcome: 'not applicable', message: 'no "x" in this kernel' },
  ])
  t.true(xml.includes('<testsuites name="lts" tests="4" failures="1" errors="1" skipped="1" time="1.750">'))
  t.true(xml.includes('name="TCP &quot;quoted&quot; &amp; &lt;odd&gt;" time="1.500"/>'))
  t.true(xml.includes('<failure message="a &lt; b">a &lt; b\n?bell</failure>'))
  t.true(xml.includes('<system-out>frames 1-2</system-out>'))
  t.true(xml.includes('<error message="not run: no source">not run: no source</error>'))
  t.true(xml.includes('<skipped message="not applicable: no &quot;x&quot; in this kernel"/>'))
})

test('what was tested is said in every suite', (t) => {
  const xml = junit('lts', [{ suite: 'a', name: 'x', seconds: 0, outcome: 'passed' }, { suite: 'b', name: 'y', seconds: 0, outcome: 'passed' }], { commit: 'abc', dirty: 'true' })
  t.is(xml.split('    <properties>\n      <property name="commit" value="abc"/>\n      <property name="dirty" value="true"/>\n    </properties>\n').length, 3)
})

test('a test that fails says in which file and line', (t) => {
  const stack = (...frames: string[]) => Object.assign(new Error('x'), { stack: ['Error: x', ...frames].join('\n') })
  t.deepEqual(placeOf(stack('    at expectUdp (/a/test/e2e/lib/flow.ts:1:2)', '    at async run (/a/test/e2e/nat.ts:34:5)', '    at one (/a/test/e2e/lib/run.ts:9:9)')), ['at test/e2e/nat.ts:34'])
  t.deepEqual(placeOf(stack('    at node:internal/x:1:1')), [])
})
