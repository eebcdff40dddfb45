// SPDX-License-Identifier: GPL-2.0-only
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { messageOfAssertion } from '../e2e/lib/assertion.ts'
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
  const stack = (...frames: string[]) => ['Error: x', ...frames].join('\n')
  t.deepEqual(placeOf(stack('    at expectUdp (/a/test/e2e/lib/flow.ts:1:2)', '    at async run (/a/test/e2e/nat.ts:34:5)', '    at one (/a/test/e2e/lib/run.ts:9:9)')), ['at test/e2e/nat.ts:34'])
  t.deepEqual(placeOf(stack('    at node:internal/x:1:1')), [])
})

test('an assertion that fails says which field of which packet was what, in the message that CI shows', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'lvs-unit-'))
  t.teardown(() => rmSync(root, { recursive: true }))
  mkdirSync(join(root, 'test/e2e'), { recursive: true })
  const message = (code: string, compare: () => void): string => {
    writeFileSync(join(root, 'test/e2e/x.ts'), `// a line\n  ${code}\n`)
    const error = t.throws(compare, { instanceOf: assert.AssertionError })
    return messageOfAssertion(error, `AssertionError: x\n    at run (${root}/test/e2e/x.ts:2:10)`, root)
  }
  const sent = { ip: { ttl: 64, tos: 0 } }
  t.is(message('assert.equal(sent.ip.ttl, 63)', () => assert.equal(sent.ip.ttl, 63)), 'sent.ip.ttl is 64, expected 63')
  t.is(message('assert.equal(f(sent, ")", [1, 2]), 63, "the TTL")', () => assert.equal(64, 63, 'the TTL')).split('\n')[0], 'the TTL: f(sent, ")", [1, 2]) is 64, expected 63')
  t.is(message('if (sent) assert.ok(\n    sent.ip\n      .ttl < 64,\n)', () => assert.ok(sent.ip.ttl < 64)), 'sent.ip .ttl < 64 is false')
  t.is(message('assert.notEqual(port, 7000)', () => assert.notEqual(7000, 7000)), 'port is 7000, expected anything else')
  t.is(message('assert.match(list, /b/)', () => assert.match('a', /b/)), "list is 'a', expected a match of /b/")
  t.regex(message('assert.deepEqual(sent.ip, { ttl: 63, tos: 0 })', () => assert.deepEqual(sent.ip, { ttl: 63, tos: 0 })), /^sent\.ip is \{ ttl: 64, tos: 0 \}, expected \{ ttl: 63, tos: 0 \}\n/)
  t.is(message('no assertion', () => assert.fail('waited in vain')), 'waited in vain')
  const xml = junit('lts', [{ suite: 'a', name: 'x', seconds: 0, outcome: 'failed', message: message('assert.equal(sent.ip.ttl, 63)', () => assert.equal(sent.ip.ttl, 63)) }])
  t.true(xml.includes('<failure message="sent.ip.ttl is 64, expected 63">'))
})
