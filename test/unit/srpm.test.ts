// SPDX-License-Identifier: GPL-2.0-only
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Failure } from '../../scripts/base/errors.ts'
import { createContext, type Context, type Variables } from '../../scripts/build/context.ts'
import { bring } from '../../scripts/build/step.ts'
import { ipvsDigests, recognise } from '../../scripts/kernel/family.ts'
import { fetchSrpm, requirePinned } from '../../scripts/source/fetch-srpm.ts'
import { planPrep, prepareTree, unpackSrpm } from '../../scripts/source/srpm.ts'
import { el6Kernel, type SrpmSource } from '../../scripts/sources.ts'
import { step as config } from '../../scripts/steps/config.ts'
import { sourceFile, step as fetch } from '../../scripts/steps/fetch.ts'
import { kernelRelease, step as kernel } from '../../scripts/steps/kernel.ts'
import { step as patch } from '../../scripts/steps/patch.ts'
import { step as prep } from '../../scripts/steps/prep.ts'
import { createFixture, fails, read, type Fixture } from './fixture.ts'
import { makeKey, makeSrpm, NINE_LINES, rpmbuild, signedBy, TEN_LINES } from './srpm-fixture.ts'

const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex')

/** A checkout with a series for the fake kernel. */
function el6Fixture(t: ExecutionContext): Fixture & { folder: string; el6: (variables?: Variables) => Context } {
  const fixture = createFixture(t)
  fixture.write('patches/el6-279/series', '')
  fixture.write('patches/el6-toolchain/series', '')
  fixture.write('patches/compat/2.6.32/net/netfilter/ipvs/ip_vs_snat_compat.h', '/* 2.6.32 */\n')
  fixture.write('specs/kernel/el6/10-base.config', '# CONFIG_SOUND is not set\n')
  fixture.write('specs/kernel/el6-rhel/ipvs.config', 'CONFIG_IP_VS_SNAT=y\n')
  const tools = (fixture.context().variables.SOURCE ?? '').replace(/linux-6\.12=[^,]*,?/, '')
  const el6 = (variables: Variables = {}) => fixture.context({ TARGET: 'el6', SOURCE: tools, ...variables })
  return { ...fixture, folder: join(fixture.root, '..'), el6 }
}

/** The same context, whose target takes the fake kernel for one of its families. */
const knowing = (context: Context, tree: string): Context => ({
  ...context,
  target: { ...context.target, families: context.target.families.slice(0, 1).map((family) => ({ ...family, files: ipvsDigests(tree) })) },
})

test('KERNEL= and the name of the file in SRPM= say which kernel, which has folders of its own', (t) => {
  const of = (variables: Variables) => createContext({ TARGET: 'el6', ...variables }, '/checkout')
  t.like(of({}), { name: 'el6', variant: 'el6', source: 'kernel-2.6.32-279.el6' })
  t.true(of({}).paths.dist.endsWith('/dist/el6'))
  t.is(of({ KERNEL: '2.6.32-279.el6', DEBUG: '1', CONFIG: 'rhel' }).variant, 'el6-rhel-debug')
  t.is(of({ SRPM: '/x/kernel-2.6.32-358.el6.src.rpm' }).variant, 'el6-2.6.32-358.el6')
  t.is(of({ SRPM: '/x/other.src.rpm' }).name, 'el6')
  t.throws(() => of({ KERNEL: '3.10.0-1.el7' }), { message: /is no kernel of TARGET=el6/ })
  t.throws(() => of({ CONFIG: 'tiny' }), { message: /is no configuration of TARGET=el6/ })
  t.throws(() => createContext({ KERNEL: '2.6.32-279.el6', SRPM: 'x' }), { message: /^KERNEL and SRPM mean nothing for TARGET=lts/ })
})

test('known kernels have places to be fetched from, first and later builds of a release apart', (t) => {
  t.regex(el6Kernel('kernel', '2.6.32-279.el6').urls[0] ?? '', /\/6\.3\/os\/Source\/SPackages\/kernel-2\.6\.32-279\.el6\.src\.rpm$/)
  t.regex(el6Kernel('kernel', '2.6.32-279.22.1.el6').urls[0] ?? '', /\/6\.3\/updates\/Source\/SPackages\//)
  t.regex(el6Kernel('kernel', '2.6.32-358.el6').urls[0] ?? '', /\/6\.4\/os\//)
  t.deepEqual(el6Kernel('kernel', '2.6.32-279.22.1.el6.local').urls, [])
})

test('a kernel that was never published has to be brought, and the message says how', async (t) => {
  const { el6 } = el6Fixture(t)
  const failure = await fails(t, 'source', () => bring(el6({ KERNEL: '2.6.32-279.23.1.el6' }), fetch))
  t.regex(failure.message, /kernel-2\.6\.32-279\.23\.1\.el6\.src\.rpm is nowhere to be fetched\. .*RHSA-2013:0662/)
  t.regex(failure.details.hint ?? '', /SRPM=[^]*SRPM_SHA256=/)
})

test('without network the message names the file, every place that was tried and both ways to bring it', async (t) => {
  const { el6 } = el6Fixture(t)
  const c = el6()
  const urls = ['http://127.0.0.1:9/a/kernel-2.6.32-279.el6.src.rpm', 'http://127.0.0.1:9/b/kernel-2.6.32-279.el6.src.rpm']
  const failure = await fails(t, 'source', () => fetchSrpm(c, { ...(c.srpm as SrpmSource), urls }, {}))
  t.regex(failure.message, /kernel-2\.6\.32-279\.el6\.src\.rpm/)
  t.deepEqual(failure.details.excerpt?.map((line) => line.split(': ')[0]), urls)
  t.regex(failure.details.hint ?? '', /SRPM=\/path[^]*SRPM_SHA256=/)
})

test('a package is taken whose digest the user names, and needs not be named again', async (t) => {
  const { el6, folder } = el6Fixture(t)
  const srpm = makeSrpm(folder)
  await bring(el6({ SRPM: srpm, SRPM_SHA256: sha256(srpm) }), fetch)
  const stored = sourceFile(el6(), 'kernel-2.6.32-279.el6')
  t.like(stored, { version: '2.6.32-279.el6', verified: 'digest named by the user (SRPM_SHA256)', sha256: sha256(srpm) })
  const tarball = join(folder, 'srpm-2.6.32-279.el6', 'linux-2.6.32-279.el6.tar.bz2')
  t.deepEqual(stored.contains, { 'linux-2.6.32-279.el6.tar.bz2': sha256(tarball) })
  await t.notThrowsAsync(() => bring(el6(), fetch))
})

test('a package is refused, and nothing kept, that is unsigned, truncated, another one, or no kernel', async (t) => {
  const { el6, folder, cache } = el6Fixture(t)
  const srpm = makeSrpm(folder)
  const key = makeKey(folder, 'centos')
  const refused = async (path: string, pattern: RegExp, variables: Variables = {}): Promise<void> => {
    const c = el6({ SRPM: path, KERNEL: '2.6.32-279.el6', ...variables })
    const failure = await fails(t, 'source', () => fetchSrpm(c, signedBy(c, key), {}))
    t.regex(`${failure.message}\n${failure.details.hint}`, pattern)
    t.deepEqual(readdirSync(join(cache, 'store', 'incoming')), [])
    t.deepEqual(readdirSync(join(cache, 'store')).sort(), ['incoming', 'index'])
    t.true(existsSync(path), "the user's file stays")
  }
  await refused(srpm, /is not signed by a key that is pinned[^]*SRPM_SHA256=/)
  await refused(srpm, /is not the file that SRPM_SHA256 names/, { SRPM_SHA256: '0'.repeat(64) })
  await refused(makeSrpm(folder, { kernel: '2.6.32-358.el6' }), /is of kernel 2\.6\.32-358\.el6, but 2\.6\.32-279\.el6 is wanted[^]*KERNEL=2\.6\.32-358\.el6/)
  const truncated = join(folder, 'truncated.src.rpm')
  copyFileSync(srpm, truncated)
  truncateSync(truncated, readFileSync(srpm).length - 50)
  await refused(truncated, /is damaged/)
  const text = join(folder, 'text.src.rpm')
  writeFileSync(text, 'no package\n')
  await refused(text, /is damaged/)
  await fails(t, 'usage', () => fetchSrpm(el6({ SRPM: srpm, SRPM_SHA256: 'abc' }), signedBy(el6(), key), {}))
  await fails(t, 'usage', () => fetchSrpm(el6({ SRPM: '/nowhere/kernel-2.6.32-279.el6.src.rpm' }), signedBy(el6(), key), {}))
})

test('a pinned file has to match, an unknown one is free', (t) => {
  t.notThrows(() => requirePinned({ a: '1' }, { b: '2' }))
  t.notThrows(() => requirePinned({ a: '1' }, { a: '1' }))
  t.throws(() => requirePinned({ a: '1' }, { a: '2' }), { message: /^a is not the file/ })
})

for (const [what, testPatch, applied] of [
  ['nine lines is skipped', NINE_LINES, ['fix.patch.bz2']],
  ['ten lines is applied', TEN_LINES, ['fix.patch.bz2', 'linux-kernel-test.patch']],
] as const) {
  test(`the tree is the one that rpmbuild -bp makes: an optional patch of ${what}`, async (t) => {
    const root = join(createFixture(t).root, 'trees')
    mkdirSync(join(root, 'ours'), { recursive: true })
    await unpackSrpm(makeSrpm(root, { testPatch }), join(root, 'unpacked'), join(root, 'log'))
    t.deepEqual(await prepareTree(join(root, 'unpacked'), join(root, 'ours'), root), applied)
    rpmbuild(join(root, 'unpacked'), '-bp', join(root, 'unpacked', 'kernel.spec'))
    const build = existsSync(join(root, 'unpacked', 'kernel-2.6.32-build')) ? 'kernel-2.6.32-build' : ''
    const theirs = join(root, 'unpacked', build, 'kernel-2.6.32-279.el6', 'linux-2.6.32-279.el6')
    t.is(execFileSync('diff', ['-r', theirs, join(root, 'ours')], { encoding: 'utf8' }), '')
    t.is(read(root, 'ours', 'fixed.c'), 'int fixed;\n')
    t.is(read(root, 'ours', 'net/netfilter/ipvs/ip_vs_core.c').includes('patched_6'), applied.length === 2)
  })
}

test('a spec without what a RHEL 6 kernel has is refused by name', (t) => {
  const plan = () => planPrep('Source0: linux.tar.bz2\n%prep\nApplyPatch a.patch\n')
  const error = t.throws<Failure>(plan, { instanceOf: Failure })
  t.deepEqual(error.details.excerpt, ["It lacks patch_command='patch -p1 ...'.", 'It lacks the rule of 9 lines in ApplyOptionalPatch.'])
})

test('a kernel of an unknown family is refused before anything is kept, with what fits', async (t) => {
  const { el6, folder, cache } = el6Fixture(t)
  const srpm = makeSrpm(folder, { kernel: '2.6.32-431.el6' })
  const c = el6({ SRPM: srpm, SRPM_SHA256: sha256(srpm) })
  const failure = await fails(t, 'source', () => bring(c, prep))
  t.regex(failure.message, /of a family that there is no series for\. Nothing was built/)
  t.true(failure.details.excerpt?.some((line) => line.includes('2.6.32-279.el6 to')))
  t.deepEqual(readdirSync(join(cache, 'pristine')).filter((name) => !name.startsWith('.')), [])
})

test('the nearest family is named with the files that differ', (t) => {
  const { root, context, write } = createFixture(t)
  write('tree/net/netfilter/ipvs/a.c', 'a\n')
  write('tree/include/net/ip_vs.h', 'h\n')
  const digests = ipvsDigests(join(root, 'tree'))
  t.deepEqual(Object.keys(digests), ['include/net/ip_vs.h', 'net/netfilter/ipvs/a.c'])
  const family = { name: 'one', series: 's', compat: ['c'], kernels: 'some', files: digests }
  const target = { ...context().target, families: [{ ...family, name: 'far', files: {} }, family] }
  t.is(recognise(target, join(root, 'tree')).name, 'one')
  write('tree/net/netfilter/ipvs/b.c', 'b\n')
  const error = t.throws<Failure>(() => recognise(target, join(root, 'tree')), { instanceOf: Failure })
  t.deepEqual(error.details.excerpt?.slice(-2), ['This one differs from one in:', '  net/netfilter/ipvs/b.c'])
})

test("from the source package to the kernel: RHEL's configuration, our release, the tools' patches below the engine", async (t) => {
  const { el6, folder, write, root } = el6Fixture(t)
  const srpm = makeSrpm(folder)
  await unpackSrpm(srpm, join(folder, 'unpacked'), join(folder, 'log'))
  mkdirSync(join(folder, 'tree'))
  await prepareTree(join(folder, 'unpacked'), join(folder, 'tree'), folder)
  write('patches/el6-toolchain/series', '0001-old.patch\n0002-new.patch\n')
  for (const [name, since] of [['0001-old.patch', 'always'], ['0002-new.patch', 'gcc 999']] as const) {
    write(`patches/el6-toolchain/${name}`, toolPatch(name, since))
  }
  const c = knowing(el6({ SRPM: srpm, SRPM_SHA256: sha256(srpm) }), join(folder, 'tree'))
  const stamp = await bring(c, patch)
  t.deepEqual(stamp.facts, { toolchain: ['0001-old.patch'], patches: [] })
  const log = execFileSync('git', ['log', '--format=%s', 'pristine..base'], { cwd: c.paths.tree, encoding: 'utf8' })
  t.is(log, '0001-old.patch\n')
  await bring(c, config)
  t.deepEqual(read(c.paths.build, '.config').split('\n').filter(Boolean).sort(), ['# CONFIG_SOUND is not set', 'CONFIG_IP_VS=m', 'CONFIG_IP_VS_SNAT=y', 'CONFIG_RHEL=y'])
  await bring(c, kernel)
  t.is(kernelRelease(c), '2.6.32-279.el6.snat1.x86_64')
  t.regex(read(c.paths.build, 'arch/x86/boot/bzImage'), /^2\.6\.32-279\.el6\.snat1\.x86_64 by ccache gcc -std=gnu89 /)
  t.true(existsSync(join(root, 'patches')))
})

const toolPatch = (subject: string, since: string): string => `From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: A Writer <a.writer@example.org>
Date: Sun, 22 Nov 2026 12:00:00 +0000
Subject: [PATCH] ${subject}

Needed-since: ${since}
---
diff --git a/fixed.c b/fixed.c
--- a/fixed.c
+++ b/fixed.c
@@ -1 +1 @@
-int fixed;
+int tooled;
`
