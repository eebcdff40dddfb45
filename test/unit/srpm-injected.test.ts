// SPDX-License-Identifier: GPL-2.0-only
import { createHash } from 'node:crypto'
import { appendFileSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { Context, Variables } from '../../scripts/build/context.ts'
import { bring } from '../../scripts/build/step.ts'
import srpmCommand from '../../scripts/commands/srpm.ts'
import { ipvsDigests } from '../../scripts/kernel/family.ts'
import { prepareTree, unpackSrpm } from '../../scripts/source/srpm.ts'
import { srpmFolder } from '../../scripts/steps/prep.ts'
import { injectedSrpm, step as srpm } from '../../scripts/steps/srpm.ts'
import { createFixture, fails, hookPatch, read } from './fixture.ts'
import { makeSrpm } from './srpm-fixture.ts'

/** The lines of a RHEL spec that the injection needs, in the words of this file. */
const HEAD = `%define distro_build 279
%define dist .el6
# % define buildid .local
%define pkg_release %{distro_build}%{?dist}%{?buildid}
%define kernel_prereq initscripts, kernel-firmware >= %{rpmversion}-%{pkg_release}, grubby
%if 0%{!?fixture:1}
%define rpmversion 2.6.32
%endif
`
const TAIL = `cp $RPM_SOURCE_DIR/merge.pl $RPM_SOURCE_DIR/config-* .
make -s -f $RPM_SOURCE_DIR/Makefile.config VERSION=2.6.32 kernel-2.6.32-x86_64.config
mkdir configs
cp kernel-2.6.32-x86_64.config configs/
# MORE
`

const injectable = (more: string) => (spec: string): string =>
  `${HEAD}${spec}%changelog\n* Wed Jun 13 2012 Nobody <nobody@localhost> [2.6.32-279.el6]\n- First\n`
    .replace('Release: 279.el6', 'Release: %{pkg_release}\nRequires: %{kernel_prereq}')
    .replace('cd %{tree}\n', 'mv %{tree} linux-%{version}-%{release}.x86_64\ncd linux-%{version}-%{release}.x86_64\n')
    .replace('ApplyOptionalPatch linux-kernel-test.patch\n', `ApplyOptionalPatch linux-kernel-test.patch\n${TAIL.replace('# MORE', more)}`)

/** A checkout with a series of one hook, and a source package of its fake kernel whose %prep does something more. */
async function prepare(t: ExecutionContext, more = '', variables: Variables = {}): Promise<Context> {
  const fixture = createFixture(t)
  const folder = join(fixture.root, '..')
  fixture.write('patches/el6-279/series', '0001-hook.patch\n')
  fixture.write('patches/el6-279/0001-hook.patch', hookPatch(5))
  fixture.write('patches/el6-toolchain/series', '')
  fixture.write('patches/compat/2.6.32/net/netfilter/ipvs/ip_vs_snat_compat.h', '/* 2.6.32 */\n')
  fixture.write('specs/kernel/el6-rhel/ipvs.config', '# why\nCONFIG_IP_VS_SNAT=y\n')
  fixture.write('specs/kernel/el6-rhel/debug.config', 'CONFIG_IP_VS_DEBUG=y\n')
  const path = makeSrpm(folder, { edit: injectable(more) })
  await unpackSrpm(path, join(folder, 'unpacked'), join(folder, 'log'))
  mkdirSync(join(folder, 'tree'))
  await prepareTree(join(folder, 'unpacked'), join(folder, 'tree'), folder)
  const sha256 = createHash('sha256').update(readFileSync(path)).digest('hex')
  const tools = (fixture.context().variables.SOURCE ?? '').replace(/linux-6\.12=[^,]*,?/, '')
  const context = fixture.context({ TARGET: 'el6', SOURCE: tools, SRPM: path, SRPM_SHA256: sha256, ...variables })
  const families = context.target.families.slice(0, 1).map((family) => ({ ...family, files: ipvsDigests(join(folder, 'tree')) }))
  return { ...context, target: { ...context.target, families } }
}

async function contents(context: Context): Promise<string> {
  const folder = join(context.paths.cache, 'looked-into')
  await unpackSrpm(injectedSrpm(context), folder, join(context.paths.cache, 'log'))
  return folder
}

test("the series is in the kernel's own source package, whose %prep makes our tree of it", async (t) => {
  const context = await prepare(t)
  const { facts } = await bring(context, srpm)
  t.is(basename(injectedSrpm(context)), 'kernel-2.6.32-279.el6.snat1.src.rpm')
  t.like(facts, { patches: 2, compared: 3 })
  const folder = await contents(context)
  t.deepEqual(readdirSync(folder).filter((name) => name.startsWith('000')), ['0001-ipvs-add-an-SNAT-engine.patch', '0002-ipvs-call-the-engine.patch'])
  t.regex(read(folder, 'kernel.spec'), /^Patch2: 0001-ipvs-add-an-SNAT-engine\.patch\nPatch3: 0002-ipvs-call-the-engine\.patch$/m)
  t.is(read(folder, 'config-generic-rhel'), 'CONFIG_RHEL=y\nCONFIG_IP_VS_SNAT=y\n')
  const before = await srpm.inputs(context)
  t.deepEqual(await srpm.inputs(context), before)
  appendFileSync(join(srpmFolder(context), 'kernel.spec'), '- Zeroth\n')
  t.notDeepEqual(await srpm.inputs(context), before, 'another spec makes another package')
})

test('the debug variant has a name of its own and its symbols', async (t) => {
  const context = await prepare(t, '', { DEBUG: '1' })
  await bring(context, srpm)
  t.is(basename(injectedSrpm(context)), 'kernel-2.6.32-279.el6.snat1.ipvsdebug.src.rpm')
  t.regex(read(await contents(context), 'config-generic-rhel'), /^CONFIG_IP_VS_DEBUG=y$/m)
})

test('a %prep that makes other files than ours is refused, naming them', async (t) => {
  const context = await prepare(t, 'echo "int more;" >> net/netfilter/ipvs/ip_vs_core.c\necho > net/netfilter/ipvs/ip_vs_more.c')
  const failure = await fails(t, 'patch', () => bring(context, srpm))
  t.deepEqual(failure.details.excerpt, ['net/netfilter/ipvs/ip_vs_core.c', 'net/netfilter/ipvs/ip_vs_more.c'])
  t.throws(() => injectedSrpm(context))
})

test('a symbol that the SRPM configures otherwise is told', async (t) => {
  const context = await prepare(t, 'sed -i "s/.*CONFIG_IP_VS_SNAT.*/# CONFIG_IP_VS_SNAT is not set/" configs/*')
  const failure = await fails(t, 'build', () => bring(context, srpm))
  t.deepEqual(failure.details.excerpt, ['CONFIG_IP_VS_SNAT: y was asked for, n came out'])
})

test('a %prep that fails names its log', async (t) => {
  const failure = await fails(t, 'build', async () => bring(await prepare(t, 'false'), srpm))
  t.regex(failure.details.log ?? '', /srpm-prep\.log$/)
})

test('a target whose kernel is no SRPM is told so', async (t) => {
  await fails(t, 'usage', () => srpmCommand.run(createFixture(t).context()))
})
