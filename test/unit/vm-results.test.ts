// SPDX-License-Identifier: GPL-2.0-only
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { Failure } from '../../scripts/base/errors.ts'
import { sha256File } from '../../scripts/base/files.ts'
import { createContext } from '../../scripts/build/context.ts'
import { checkoutLock, withBuildLock, withLock } from '../../scripts/build/lock.ts'
import { beforeTests, lackedBy, resultsOfEnded, runE2e } from '../../scripts/lab/e2e.ts'
import { tellRaces } from '../../scripts/lab/races.ts'
import { TARGETS } from '../../scripts/targets.ts'
import { SUITES } from '../e2e/index.ts'
import type { TestResult } from '../e2e/lib/junit.ts'
import { inapplicable, test as e2e } from '../e2e/lib/suite.ts'
import { createFixture, fails, read } from './fixture.ts'

test('without a source, the results say of every test that it was not run, and why', async (t) => {
  const { context, write } = createFixture(t)
  const c = context({ SOURCE: 'linux-6.12=/no/such/file' })
  write('dist/lts/test/old.pcap', 'of an earlier run')
  const failure = await fails(t, 'usage', () => runE2e(c))
  const xml = read(c.paths.dist, 'test', 'junit.xml')
  const count = SUITES.reduce((sum, { tests }) => sum + tests.length, 0)
  t.true(xml.includes(`tests="${count}" failures="0" errors="${count}" skipped="0"`))
  t.is(xml.split('<error message="not run: ').length - 1, count)
  t.true(xml.includes(failure.message))
  t.throws(() => read(c.paths.dist, 'test', 'old.pcap'), { code: 'ENOENT' })
  t.is(read(c.paths.dist, 'test.previous', 'old.pcap'), 'of an earlier run')
  await fails(t, 'usage', () => runE2e(c))
  t.is(read(c.paths.dist, 'test.previous', 'old.pcap'), 'of an earlier run')
})

test('a run that another build or an unsaved edit stops reads as errors, and keeps what was recorded', async (t) => {
  const { context, write } = createFixture(t)
  const c = context()
  write('dist/lts/test/old.pcap', 'of an earlier run')
  await withBuildLock(c, () => fails(t, 'environment', () => runE2e(c)))
  t.true(read(c.paths.dist, 'test', 'junit.xml').includes('<error message="not run: Another build of this checkout is running'))
  t.is(read(c.paths.dist, 'test.previous', 'old.pcap'), 'of an earlier run')
})

test('a test run that is under way keeps its results when another cannot begin', async (t) => {
  const { context, write } = createFixture(t)
  const c = context({ SOURCE: 'linux-6.12=/no/such/file' })
  write('dist/lts/test/running.pcap', 'evidence')
  await withLock(checkoutLock(c, 'e2e-lts'), 'test run', async () => {
    // Before it builds anything: who waits with WAIT=1 tests what there is when its turn comes.
    t.regex((await fails(t, 'environment', () => runE2e(c))).message, /^Another end-to-end test run of this checkout is running/)
    await fails(t, 'build', () => beforeTests(c, () => Promise.reject(new Failure('build', 'broken'))))
  })
  t.is(read(c.paths.dist, 'test', 'running.pcap'), 'evidence')
})

test('the results name the packages that were tested by the digest of their checksums', async (t) => {
  const { context, write } = createFixture(t)
  const c = context({ SOURCE: 'linux-6.12=/no/such/file' })
  const sums = write('dist/lts/SHA256SUMS', 'of the packages\n')
  await fails(t, 'usage', () => runE2e(c))
  t.true(read(c.paths.dist, 'test', 'junit.xml').includes(`<property name="SHA256SUMS" value="${await sha256File(sums)}"/>`))
})

test('what was recorded stays when a variable makes no sense', async (t) => {
  const { context, write } = createFixture(t)
  write('dist/el6/test/old.pcap', 'of an earlier run')
  const c = context({ TARGET: 'el6', FASTPATH: '1' })
  const failure = await fails(t, 'usage', () => runE2e(c))
  t.regex(failure.message, /^FASTPATH=1 means nothing/)
  t.is(read(c.paths.dist, 'test', 'old.pcap'), 'of an earlier run')
})

test('a run that has ended before its end is red, even if every test of it has passed', (t) => {
  const suites = [{ name: 'a', tests: [e2e('x', 'y', async () => undefined), e2e('z', 'y', async () => undefined)] }]
  const passed = (name: string): TestResult => ({ suite: 'a', name, seconds: 1, outcome: 'passed' })
  const outcomes = (...done: TestResult[]) => resultsOfEnded(suites, [], done, 'why').map(({ name, outcome, message = '' }) => `${name}: ${outcome} ${message}`.trim())
  t.deepEqual(outcomes(passed('x')), ['x: passed', 'z: not run why'])
  t.deepEqual(outcomes(passed('x'), passed('z')), ['x: passed', 'z: passed', 'the run as a whole: failed why'])
})

test('a test does not apply to a kernel that lacks what it needs, for that kernel\'s reason', (t) => {
  const nothing = async () => undefined
  const one = e2e('x', 'y', nothing, { needs: ['ipvs-namespaces', 'ipvs-conntrack'] })
  t.is(inapplicable(one, {}), undefined)
  t.is(inapplicable(one, { 'ipvs-conntrack': 'none' }), 'none')
  t.is(inapplicable(e2e('x', 'y', nothing), { 'ipvs-conntrack': 'none' }), undefined)
})

test('what a target lacks is needed by a test, and has a reason that can be read', (t) => {
  const needed = new Set(SUITES.flatMap(({ tests }) => tests.flatMap(({ needs }) => needs)))
  t.true(needed.size > 0)
  for (const { lacks } of TARGETS) {
    for (const [feature, reason] of Object.entries(lacks)) {
      t.true(needed.has(feature as never), feature)
      t.true(reason.length > 20, feature)
    }
  }
})

test('allocations can be made to fail only in the kernel that is built for it', (t) => {
  t.is(lackedBy(createContext({ SANITIZE: '1' }))['failing-allocations'], undefined)
  for (const variables of [{}, { DEBUG: '1' }, { SANITIZE: 'kcsan' }, { KERNEL: 'stock' }, { TARGET: 'el6' }]) {
    t.regex(lackedBy(createContext(variables))['failing-allocations'] ?? '', /SANITIZE=1/)
  }
  t.true(SUITES.flatMap(({ tests }) => tests).some(({ needs }) => needs.includes('failing-allocations')))
})

test('data races of the kernel alone are listed with how often they were told of, those whose other side may be IPVS first', (t) => {
  const { root, write } = createFixture(t)
  write('results/junit.xml', '')
  const folder = join(root, 'results')
  tellRaces([], folder)
  t.false(existsSync(join(folder, 'races.txt')))
  const known = { title: 'data-race in b / c', times: 2, unknownOrigin: false, report: ['KCSAN: b / c', ' b+0x1/0x2'] }
  const unknown = { title: 'data-race in d+0x1/0x2', times: 1, unknownOrigin: true, report: ['KCSAN: d', ' d+0x1/0x2'] }
  tellRaces([known, unknown], folder)
  t.is(read(folder, 'races.txt'), [
    'One side is not known, and may be IPVS:\n1 data-race in d+0x1/0x2\n', 'Both sides are known, and neither is in IPVS:\n2 data-race in b / c\n',
    'KCSAN: d\n d+0x1/0x2\n', 'KCSAN: b / c\n b+0x1/0x2\n',
  ].join('\n'))
})
