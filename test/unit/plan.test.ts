// SPDX-License-Identifier: GPL-2.0-only
import { spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { describeProgress } from '../../scripts/base/log.ts'
import { ROOT } from '../../scripts/base/root.ts'
import { checkoutLock, locksHeld, withBuildLock, withLock } from '../../scripts/build/lock.ts'
import { revision } from '../../scripts/build/revision.ts'
import { bring, plan } from '../../scripts/build/step.ts'
import { createContext } from '../../scripts/build/context.ts'
import { describeCheckout } from '../../scripts/lab/status.ts'
import { chosenSuites } from '../../scripts/lab/e2e.ts'
import { step as config } from '../../scripts/steps/config.ts'
import { step as kernel } from '../../scripts/steps/kernel.ts'
import { createBothLines, createFixture, fails, printed } from './fixture.ts'

test('a plan says which steps would run and why, and runs none', async (t) => {
  const { context, write } = createFixture(t)
  const c = context()
  t.deepEqual((await plan(c, config)).map(({ step, why }) => [step, why]), ['fetch', 'prep', 'patch', 'config'].map((name) => [name, 'it has not succeeded yet']))
  t.false(existsSync(c.paths.work))
  await bring(c, kernel)
  t.deepEqual((await plan(c, kernel)).filter(({ why }) => why !== undefined), [])

  rmSync(join(c.paths.build, 'arch/x86/boot/bzImage'))
  t.deepEqual((await plan(c, kernel)).filter(({ why }) => why !== undefined), [{ step: 'kernel', why: `${join(c.paths.build, 'arch/x86/boot/bzImage')} is missing` }])

  write('specs/kernel/lts/20-more.config', 'CONFIG_IP_VS_RR=m\n')
  const stale = (await plan(c, kernel)).filter(({ why }) => why !== undefined)
  t.deepEqual(stale.map(({ step }) => step), ['config', 'kernel'])
  t.regex(stale[0]?.why ?? '', /^changed: \w+/)
  t.is(stale[1]?.why, 'comes after config')
})

test.serial('DRYRUN=1 builds nothing, and is refused where it says nothing', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  t.is(await printed(['config', 'DRYRUN=1'], c.variables), ['fetch', 'prep', 'patch', 'config'].map((name) => `${name.padEnd(18)} it has not succeeded yet\n`).join(''))
  t.false(existsSync(c.paths.checkout))
  await fails(t, 'usage', () => printed(['list', 'DRYRUN=1']))
  await fails(t, 'usage', () => printed(['list', 'V=1', 'Q=1']))
})

test('WAIT=1 waits for another build to end, which is refused without it', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  const order: string[] = []
  let second: Promise<void> | undefined
  await withBuildLock(c, async () => {
    await fails(t, 'environment', () => withBuildLock(c, async () => undefined))
    second = withBuildLock(context({ WAIT: '1' }), async () => void order.push('second'))
    order.push('first')
  })
  await second
  t.deepEqual(order, ['first', 'second'])
})

test('status tells who holds a lock of this checkout, from another process', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  const path = checkoutLock(c, 'e2e-lts')
  mkdirSync(c.paths.locks, { recursive: true })
  t.deepEqual(locksHeld(c), [])
  writeFileSync(path, 'process 1 on host: e2e\n')
  const child = spawn('flock', [path, 'sh', '-c', 'echo held; read end'], { stdio: ['pipe', 'pipe', 'ignore'] })
  await new Promise((resolve) => child.stdout.once('data', resolve))
  t.deepEqual(locksHeld(c), ['e2e-lts: process 1 on host: e2e'])
  child.stdin.end('\n')
  await new Promise((resolve) => child.once('exit', resolve))
  t.deepEqual(locksHeld(c), [])
  await withLock(path, 'test', async () => undefined)
})

test.serial('status tells what is stale and what is edited, of every variant that there is', async (t) => {
  const { cache, root, context } = createFixture(t)
  const c = context()
  for (const name of ['specs/busybox', 'specs/static', 'specs/ipvsadm', 'specs/keepalived', 'vm/guest', 'patches/ipvsadm', 'patches/keepalived']) cpSync(join(ROOT, name), join(root, name), { recursive: true })
  t.regex(await printed(['status'], c.variables), /^commit .*\nlts +fetch: it has not succeeded yet\n/)
  await bring(c, config)
  await bring(context({ DEBUG: '1' }), config)
  writeFileSync(join(c.paths.tree, 'net/Kconfig'), 'edited\n')
  const { variants, lines } = await describeCheckout(createContext({ CACHE: cache, SOURCE: c.variables.SOURCE ?? '' }, root))
  t.deepEqual(variants, ['lts', 'lts-debug'])
  t.true(lines.some((line) => /^lts-debug +export: /.test(line)), lines.join('\n'))
  t.is(lines.filter((line) => line.trim() === 'edited: net/Kconfig').length, 2)
})

test('status tells of each variant once, whatever tools are prepared beside', async (t) => {
  const { context, root } = createBothLines(t)
  const { paths } = context()
  for (const name of ['lts', 'lts-6.1', 'keepalived', 'keepalived-2.3', 'ipvsadm']) mkdirSync(join(paths.checkout, name), { recursive: true })
  for (const name of ['lts', 'lts-6.1']) mkdirSync(join(root, 'dist', name), { recursive: true })
  t.deepEqual((await describeCheckout(context())).variants, ['lts', 'lts-6.1'])
  t.deepEqual((await describeCheckout(context({ TARGET: 'lts-6.1' }))).variants, ['lts-6.1', 'lts'])
})

test('the tests are listed as ONLY= chooses them', async (t) => {
  const all = chosenSuites(createContext({})).flatMap(({ tests }) => tests)
  const some = chosenSuites(createContext({ ONLY: 'nat:' })).flatMap(({ tests }) => tests)
  t.true(some.length > 0 && some.length < all.length)
})

test('what was built is known by its commit, and whether that was all', async (t) => {
  const { context } = createFixture(t)
  t.deepEqual(await revision(context()), { commit: null, dirty: true })
  const here = await revision({ ...context(), paths: { ...context().paths, root: ROOT } })
  if (existsSync(join(ROOT, '.git'))) t.regex(here.commit ?? '', /^[0-9a-f]{40}$/)
})

test('progress has an end where that is known', (t) => {
  t.is(describeProgress(7, 1000), '7')
  t.is(describeProgress(1, 1000, 1000), '1 of about 1000')
  t.is(describeProgress(500, 30_000, 1000), '500 of about 1000, 30 s left')
  t.is(describeProgress(100, 60_000, 1000), '100 of about 1000, 9 min left')
  t.is(describeProgress(1001, 1000, 1000), '1001')
})
