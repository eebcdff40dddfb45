// SPDX-License-Identifier: GPL-2.0-only
import test from 'ava'
import { junit } from '../e2e/lib/junit.ts'

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
