// SPDX-License-Identifier: GPL-2.0-only
import { existsSync, mkdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test from 'ava'
import { pickErrors } from '../../scripts/base/excerpt.ts'
import { runLogged } from '../../scripts/base/run.ts'
import { bring, readStamp } from '../../scripts/build/step.ts'
import discard from '../../scripts/commands/discard.ts'
import modules from '../../scripts/commands/modules.ts'
import { lostSymbols, parseFragment } from '../../scripts/kernel/kconfig.ts'
import { treeGit } from '../../scripts/kernel/series.ts'
import { step as config } from '../../scripts/steps/config.ts'
import { kernelRelease, step as kernel } from '../../scripts/steps/kernel.ts'
import { ipvsModules, saysOtherSeries } from '../../scripts/steps/modules.ts'
import { step as patch } from '../../scripts/steps/patch.ts'
import { createFixture, fails, read } from './fixture.ts'

test('the IPVS modules are found in the list of 6.1 and in that of 2.6.32', (t) => {
  const { context } = createFixture(t)
  const { build } = context().paths
  mkdirSync(build, { recursive: true })
  for (const folder of ['', 'kernel/']) {
    writeFileSync(join(build, 'modules.order'), ['lib/crc.ko', 'net/netfilter/ipvs/ip_vs.ko', 'net/netfilter/ipvs/ip_vs_rr.ko', ''].map((name) => (name ? folder + name : name)).join('\n'))
    t.deepEqual(ipvsModules(context()), ['net/netfilter/ipvs/ip_vs.ko', 'net/netfilter/ipvs/ip_vs_rr.ko'])
  }
})

test('a fragment sets and unsets symbols', (t) => {
  t.deepEqual(parseFragment('# why\nCONFIG_A=y\nCONFIG_B="x y"\n# CONFIG_C is not set\n'), [
    ['CONFIG_A', 'y'],
    ['CONFIG_B', '"x y"'],
    ['CONFIG_C', 'n'],
  ])
})

test('symbols that came out otherwise are told', (t) => {
  const requested = new Map(parseFragment('CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\n# CONFIG_D is not set\n'))
  t.deepEqual(lostSymbols(requested, 'CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\n'), [
    'CONFIG_B: m was asked for, y came out',
    'CONFIG_C: n was asked for, y came out',
  ])
})

test('fragments are merged, those of a flavour only where it is chosen', async (t) => {
  const { context, write } = createFixture(t)
  write('specs/kernel/lts/20-server.config', 'CONFIG_SERVER=y\n')
  write('specs/kernel/lts/sanitize.config', 'CONFIG_KASAN=y\n')
  write('specs/kernel/lts/instrumented.config', 'CONFIG_PREEMPT=y\n')
  write('specs/kernel/lts/kcsan.config', 'CONFIG_KCSAN=y\n')
  await bring(context(), config)
  await bring(context({ DEBUG: '1' }), config)
  const release = read(context().paths.build, '.config')
  const debug = read(context({ DEBUG: '1' }).paths.build, '.config')
  t.true(release.includes('CONFIG_IP_VS=m') && !/IP_VS_DEBUG|PREEMPT/.test(release))
  t.true(debug.includes('CONFIG_IP_VS_DEBUG=y') && debug.includes('CONFIG_SERVER=y'))
  await bring(context({ SANITIZE: '1' }), config)
  const sanitize = read(context({ SANITIZE: '1' }).paths.build, '.config')
  t.true(sanitize.includes('CONFIG_KASAN=y') && sanitize.includes('CONFIG_PREEMPT=y') && !/SERVER|IP_VS_DEBUG|KCSAN/.test(sanitize))
  await bring(context({ SANITIZE: 'kcsan' }), config)
  const kcsan = read(context({ SANITIZE: 'kcsan' }).paths.build, '.config')
  t.true(kcsan.includes('CONFIG_KCSAN=y') && kcsan.includes('CONFIG_PREEMPT=y') && !/SERVER|IP_VS_DEBUG|KASAN/.test(kcsan))
})

test('a kernel with nearly all symbols different is compiled from the beginning', async (t) => {
  const { context, write } = createFixture(t)
  write('specs/kernel/lts/sanitize.config', 'CONFIG_KASAN=y\n')
  await bring(context(), kernel)
  writeFileSync(join(context().paths.build, 'compiled.o'), '')
  await bring(context({ SANITIZE: '1' }), kernel)
  t.false(existsSync(join(context({ SANITIZE: '1' }).paths.build, 'compiled.o')))
  t.is(kernelRelease(context({ SANITIZE: '1' })), '6.12.3-1.snat1.x86_64+sanitize')
})

test('a debug build begins with what the release build has compiled, and with its own configuration', async (t) => {
  const { context } = createFixture(t)
  await bring(context(), kernel)
  const release = context().paths.build
  mkdirSync(join(release, 'tools'))
  writeFileSync(join(release, 'tools/.tool.o.cmd'), `gcc -o ${release}/tools/tool.o`)
  utimesSync(join(release, 'tools/.tool.o.cmd'), 1000, 1000)
  await bring(context({ DEBUG: '1' }), kernel)
  const debug = context({ DEBUG: '1' }).paths.build
  t.is(read(debug, 'tools/.tool.o.cmd'), `gcc -o ${debug}/tools/tool.o`)
  t.is(statSync(join(debug, 'tools/.tool.o.cmd')).mtimeMs, 1_000_000)
  t.true(read(debug, '.config').includes('CONFIG_IP_VS_DEBUG=y'))
  t.false(read(release, '.config').includes('CONFIG_IP_VS_DEBUG=y'))
})

test('a symbol that vanished fails the build and leaves the old configuration', async (t) => {
  const { context, write } = createFixture(t)
  const c = context()
  await bring(c, config)
  const before = statSync(join(c.paths.build, '.config')).mtimeMs
  write('specs/kernel/lts/20-more.config', 'CONFIG_VANISHED=y\n')
  const failure = await fails(t, 'build', () => bring(c, config))
  t.deepEqual(failure.details.excerpt, ['CONFIG_VANISHED: y was asked for, n came out'])
  t.is(statSync(join(c.paths.build, '.config')).mtimeMs, before)
})

test('a configuration that comes out the same is not touched', async (t) => {
  const { context, write } = createFixture(t)
  const c = context()
  await bring(c, config)
  const before = statSync(join(c.paths.build, '.config')).mtimeMs
  write('specs/kernel/lts/10-base.config', '# a comment\nCONFIG_IP_VS=m\n# CONFIG_SOUND is not set\n')
  await bring(c, config)
  t.is(statSync(join(c.paths.build, '.config')).mtimeMs, before)
})

test('the kernel is built once, and again after an edit of the tree', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  await bring(c, kernel)
  const image = join(c.paths.build, 'arch/x86/boot/bzImage')
  const first = statSync(image).mtimeMs
  await bring(c, kernel)
  t.is(statSync(image).mtimeMs, first)
  writeFileSync(join(c.paths.tree, 'net/netfilter/ipvs/ip_vs_core.c'), 'int edited;\n')
  await bring(c, kernel)
  t.is(read(image), 'int edited;\n')
  t.is(kernelRelease(c), '6.12.3-1.snat1.x86_64')
})

test('what was compiled lies directly below the source, unseen by git, and discard leaves it there', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  await bring(c, kernel)
  t.is(dirname(c.paths.build), c.paths.tree)
  t.is(dirname(context({ DEBUG: '1' }).paths.build), c.paths.tree)
  t.is(await treeGit(c).text('status', '--porcelain'), '')
  await discard.run(c)
  t.true(existsSync(join(c.paths.build, 'arch/x86/boot/bzImage')))
})

test('a new file in the tree counts as an edit', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  await bring(c, kernel)
  const before = readStamp(c, kernel)?.key
  mkdirSync(join(c.paths.tree, 'net/netfilter/ipvs'), { recursive: true })
  writeFileSync(join(c.paths.tree, 'net/netfilter/ipvs/new.c'), 'int n;\n')
  t.not((await bring(c, kernel)).key, before)
})

test('a broken build tells the error, the log, and runs again', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  await bring(c, patch)
  writeFileSync(join(c.paths.tree, 'FAIL'), '')
  const failure = await fails(t, 'build', () => bring(c, kernel))
  t.regex(failure.message, /building bzImage modules of Linux 6\.12\.3-1\.snat1\.x86_64 failed/)
  t.true(failure.details.excerpt?.includes("foo.c:3:1: error: expected ';'"))
  t.true(existsSync(failure.details.log ?? ''))
  t.is(readStamp(c, kernel), undefined)
})

test('a program that met a full disk is not blamed for it', async (t) => {
  const { root } = createFixture(t)
  const script = 'echo "cc1: fatal error: writing x.o: No space left on device"; exit 1'
  const failure = await fails(t, 'environment', () => runLogged(['sh', '-c', script], { doing: 'compiling', log: join(root, 'log') }))
  t.regex(failure.message, /No space left on the disk: compiling failed/)
})

test('modules are rebuilt after an edit without the kernel', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  await modules.run(c)
  const image = statSync(join(c.paths.build, 'arch/x86/boot/bzImage')).mtimeMs
  writeFileSync(join(c.paths.tree, 'net/netfilter/ipvs/ip_vs_core.c'), 'int edited;\n')
  await modules.run(c)
  t.is(read(c.paths.build, 'net/netfilter/ipvs/ip_vs.ko'), 'int edited;\n')
  t.is(statSync(join(c.paths.build, 'arch/x86/boot/bzImage')).mtimeMs, image)
})

test('modules of a tree that is not of the series as it is by now are told as such, and edits of the tree are not', async (t) => {
  const { context, write } = createFixture(t)
  const c = context()
  await modules.run(c)
  writeFileSync(join(c.paths.tree, 'net/netfilter/ipvs/ip_vs_snat.c'), 'int edited;\n')
  t.is(await saysOtherSeries(c), undefined)
  write('patches/engine/net/netfilter/ipvs/ip_vs_snat.c', 'int edited;\n')
  t.regex(await saysOtherSeries(c) ?? '', /patch has not run since \(changed: files\); first: make patch$/)
  await bring(c, patch)
  t.is(await saysOtherSeries(c), undefined)
})

test('modules of edits that were thrown away are not taken for the kernel\'s', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  await bring(c, kernel)
  writeFileSync(join(c.paths.tree, 'net/netfilter/ipvs/ip_vs_core.c'), 'int edited;\n')
  await modules.run(c)
  await discard.run(c)
  const image = join(c.paths.build, 'arch/x86/boot/bzImage')
  utimesSync(image, 1, 1)
  await bring(c, kernel)
  t.not(statSync(image).mtimeMs, 1000)
})

test('an edit that comes back after the kernel was built without it is compiled again', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  const edit = () => writeFileSync(join(c.paths.tree, 'net/netfilter/ipvs/ip_vs_core.c'), 'int edited;\n')
  await bring(c, kernel)
  edit()
  await modules.run(c)
  await discard.run(c)
  await bring(c, kernel)
  edit()
  await modules.run(c)
  t.is(read(c.paths.build, 'net/netfilter/ipvs/ip_vs.ko'), 'int edited;\n')
})

test('after modules that did not build, the kernel is built again', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  await bring(c, kernel)
  writeFileSync(join(c.paths.tree, 'FAIL'), '')
  writeFileSync(join(c.paths.tree, 'net/netfilter/ipvs/ip_vs_core.c'), 'broken\n')
  await fails(t, 'build', () => modules.run(c))
  rmSync(join(c.paths.tree, 'FAIL'))
  await discard.run(c)
  const image = join(c.paths.build, 'arch/x86/boot/bzImage')
  utimesSync(image, 1, 1)
  await bring(c, kernel)
  t.not(statSync(image).mtimeMs, 1000)
})

test('the excerpt of a log shows the errors with what led to them', (t) => {
  const log = ['a', 'b', 'In function f:', 'x.c:1: error: bad', 'c', 'd', 'e', 'make: *** [x.o] Error 1', 'tail']
  t.deepEqual(pickErrors(log), ['b', 'In function f:', 'x.c:1: error: bad', 'd', 'e', 'make: *** [x.o] Error 1'])
  t.deepEqual(pickErrors(['', 'nothing special', '']), ['nothing special'])
})
