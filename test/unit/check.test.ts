// SPDX-License-Identifier: GPL-2.0-only
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import check from '../../scripts/commands/check.ts'
import { bring, readStamp } from '../../scripts/build/step.ts'
import { step } from '../../scripts/steps/check.ts'
import { createFixture, fails, hookPatch, type Fixture } from './fixture.ts'

const SECOND = '0002-ipvs-hook-more.patch'

/** A checkout with a second patch, of line 10, in whose place is what `line` says. */
function withPatch(fixture: Fixture, line: string): void {
  fixture.write('patches/lts-6.12/series', `0001-ipvs-call-the-engine.patch\n${SECOND}\n`)
  fixture.write(`patches/lts-6.12/${SECOND}`, hookPatch(10, 'ipvs: hook more').replace('+int hooked_10;', `+${line}`))
}

test('a series that is clean passes, each commit built, after an interrupt too, and is not checked again', async (t) => {
  const fixture = createFixture(t)
  withPatch(fixture, 'int hooked_more;')
  const context = fixture.context()
  // What an interrupt leaves of a work tree that git was about to make.
  mkdirSync(join(context.paths.work, 'check-tree/net'), { recursive: true })
  const { facts } = await bring(context, step)
  t.deepEqual(facts, { patches: 3, commits: 3, versions: {} })
  t.true(existsSync(join(context.paths.work, 'check-build-build/net/netfilter/ipvs/ip_vs_core.o')))
  const before = readStamp(context, step)?.seconds
  await check.run(context)
  t.is(readStamp(context, step)?.seconds, before)
})

test('a patch that brings a warning is named', async (t) => {
  const fixture = createFixture(t)
  withPatch(fixture, 'static int nobody_uses_it;')
  const failure = await fails(t, 'test', () => check.run(fixture.context()))
  t.is(failure.message, '"ipvs: hook more" brings new warnings of gcc or sparse.')
  t.regex(failure.details.excerpt?.join('\n') ?? '', /ip_vs_core\.c:10:12: warning: .nobody_uses_it. defined but not used/)
})

test('a patch that does not build by itself is named, though the next one mends it', async (t) => {
  const fixture = createFixture(t)
  withPatch(fixture, 'int hooked_10')
  fixture.write('patches/lts-6.12/series', `0001-ipvs-call-the-engine.patch\n${SECOND}\n0003-mend.patch\n`)
  fixture.write('patches/lts-6.12/0003-mend.patch', hookPatch(10, 'ipvs: mend').replace('-int line_10;', '-int hooked_10'))
  const failure = await fails(t, 'build', () => check.run(fixture.context()))
  t.regex(failure.message, /^building patch 2, "ipvs: hook more" failed/)
})

test('what checkpatch complains of is shown, and the check is done again', async (t) => {
  const fixture = createFixture(t)
  withPatch(fixture, 'int hooked_more; ')
  const failure = await fails(t, 'test', () => check.run(fixture.context()))
  t.regex(failure.details.excerpt?.join('\n') ?? '', /ERROR:TRAILING_WHITESPACE: .*0003-ipvs-hook-more\.patch/)
  t.is(readStamp(fixture.context(), step), undefined)
})
