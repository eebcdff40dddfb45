// SPDX-License-Identifier: GPL-2.0-only
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { Failure } from '../../scripts/base/errors.ts'
import { capture } from '../../scripts/base/run.ts'
import { injectSpec, setConfig, type Injection } from '../../scripts/package/inject.ts'
import { read, tarball } from './fixture.ts'

/** A spec of our own with the places that matter, and functions that do what RHEL's do. */
const SPEC = `%define rpmversion 2.6.32
%define distro_build 279
# Another kernel is named by:
# % define buildid .local
%define pkg_release %{distro_build}%{?dist}%{?buildid}
%define kernel_prereq initscripts >= 8, kernel-firmware >= %{rpmversion}-%{pkg_release}, grubby >= 7
Name: kernel
Version: %{rpmversion}
Release: %{pkg_release}
Summary: Fixture
License: GPLv2
Requires: %{kernel_prereq}
Source0: linux.tar.xz
Patch7: an-older.patch
Patch999999: linux-kernel-test.patch
BuildArch: noarch
%description
Fixture.
%prep
ApplyPatch()
{
  patch -p1 -F1 -s < $RPM_SOURCE_DIR/$1
}
ApplyOptionalPatch()
{
  if [ $(wc -l < $RPM_SOURCE_DIR/$1) -gt 9 ]; then ApplyPatch $1; fi
}
%setup -q -n linux
ApplyOptionalPatch linux-kernel-test.patch
%files
%changelog
* Wed Jun 13 2012 Nobody <nobody@localhost> [2.6.32-279.el6]
- First
`

const INJECTION: Injection = {
  buildid: '.snat1',
  dist: '.el6',
  patches: [
    { file: '0001-one.patch', subject: 'ipvs: one, 100 % of it' },
    { file: '0002-two.patch', subject: 'ipvs: two' },
  ],
  time: Date.UTC(2026, 10, 22, 12) / 1000,
  release: '2.6.32-279.el6.snat1',
  packager: 'A Writer <a.writer@example.org>',
}

/** A patch that makes a file; with its one line it has seven, fewer than ApplyOptionalPatch takes. */
const shortPatch = (name: string): string => `diff --git a/${name} b/${name}\n--- /dev/null\n+++ b/${name}\n@@ -0,0 +1 @@\n+${name}\n`

let folder = ''
test.before(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvs-snat-inject-'))
})
test.after.always(() => rmSync(folder, { recursive: true, force: true }))

function refused(t: { throws: (work: () => unknown, how: object) => unknown }, spec: string): string[] {
  const failure = t.throws(() => injectSpec(spec, INJECTION), { instanceOf: Failure }) as Failure
  return failure.details.excerpt ?? []
}

test('the buildid is defined where the spec has it commented, with a space or without', (t) => {
  for (const comment of ['# % define buildid .local', '#% define buildid .local', '# %define buildid .local']) {
    const spec = injectSpec(SPEC.replace('# % define buildid .local', comment), INJECTION)
    t.true(spec.includes(`\n${comment}\n%define buildid .snat1\n%define dist .el6\n`), comment)
  }
})

test('a dist that the spec sets itself stays', (t) => {
  const spec = injectSpec(`%define dist .el6\n${SPEC}`, INJECTION)
  t.is(spec.match(/^%define dist /gm)?.length, 1)
})

test('patches get a Patch line and an ApplyPatch line each, in order, before the last patch', (t) => {
  const spec = injectSpec(SPEC, INJECTION)
  t.regex(spec, /^Patch8: 0001-one\.patch\nPatch9: 0002-two\.patch\n\nPatch999999: linux-kernel-test\.patch$/m)
  t.regex(spec, /^ApplyPatch 0001-one\.patch\nApplyPatch 0002-two\.patch\nApplyOptionalPatch linux-kernel-test\.patch$/m)
})

test('the firmware of the stock kernel is enough', (t) => {
  t.regex(injectSpec(SPEC, INJECTION), /kernel-firmware >= %\{kernel_rpmversion\}-%\{distro_build\}%\{\?dist\}, grubby/)
})

test('rpmversion, which is a macro of newer rpms themselves, has another name wherever it is used', (t) => {
  const spec = injectSpec(`${SPEC.replace('Release: ', '%global rpmversion %{?rpmversion}\nRelease: ')}- %rpmversion, not rpmversion\n`, INJECTION)
  t.deepEqual(spec.match(/.*rpmversion.*/g), [
    '%define kernel_rpmversion 2.6.32',
    '%define kernel_prereq initscripts >= 8, kernel-firmware >= %{kernel_rpmversion}-%{distro_build}%{?dist}, grubby >= 7',
    'Version: %{kernel_rpmversion}',
    '%global kernel_rpmversion %{?kernel_rpmversion}',
    '- %kernel_rpmversion, not rpmversion',
  ])
})

test('the changelog tells what was added', (t) => {
  const [, entry = ''] = injectSpec(SPEC, INJECTION).split('%changelog\n')
  t.is(
    entry.slice(0, entry.indexOf('* Wed')),
    '* Sun Nov 22 2026 A Writer <a.writer@example.org> [2.6.32-279.el6.snat1]\n- [net] ipvs: one, 100 %% of it\n- [net] ipvs: two\n\n',
  )
})

test('a spec without an anchor is refused, and all that are missing are named', (t) => {
  const anchors = ['# % define buildid .local', 'Patch999999: linux-kernel-test.patch', 'ApplyOptionalPatch linux-kernel-test.patch', '%changelog']
  for (const anchor of anchors) {
    const [only = '', ...more] = refused(t, SPEC.replace(`\n${anchor}\n`, '\n'))
    t.deepEqual(more, [])
    t.true(only.startsWith(`missing: "${anchor}"`), only)
  }
  t.is(refused(t, SPEC.replace('ApplyPatch()', 'AnotherName()')).length, 1)
  t.is(refused(t, SPEC.replace('%{pkg_release}, grubby', '279, grubby')).length, 1)
  t.is(refused(t, 'Name: kernel\n').length, 6)
})

test('a buildid that is set already, and an anchor that is there twice, are refused', (t) => {
  t.regex(refused(t, SPEC.replace('# % define buildid .local', '%define buildid .plus')).join(), /missing: "# % define buildid/)
  t.regex(refused(t, `${SPEC}%changelog\n`).join(), /2 times instead of once: "%changelog"/)
})

test('rpmbuild -bp applies the patches, also those that ApplyOptionalPatch would leave out', async (t) => {
  const top = join(folder, 'rpmbuild')
  mkdirSync(join(top, 'SOURCES'), { recursive: true })
  writeFileSync(join(top, 'kernel.spec'), injectSpec(SPEC, INJECTION))
  cpSync(tarball(folder, 'linux.tar.xz', { COPYING: 'GPL\n' }), join(top, 'SOURCES', 'linux.tar.xz'))
  for (const name of ['0001-one', '0002-two', 'linux-kernel-test', 'an-older']) writeFileSync(join(top, 'SOURCES', `${name}.patch`), shortPatch(name))
  await capture(['rpmbuild', '-bp', '--nodeps', '--define', `_topdir ${top}`, join(top, 'kernel.spec')])
  const found = await capture(['find', top, '-name', '000?-*', '-path', '*/BUILD/*', '-printf', '%f\n'])
  t.deepEqual(found.stdout.trim().split('\n').sort(), ['0001-one', '0002-two'])
  const skipped = await capture(['find', top, '-name', 'linux-kernel-test', '-path', '*/BUILD/*'])
  t.is(skipped.stdout, '', 'the 9-line rule of ApplyOptionalPatch')
})

test('the package has the release of the file, above the stock one, and asks for stock firmware', async (t) => {
  const path = join(folder, 'queried.spec')
  writeFileSync(path, injectSpec(SPEC, INJECTION))
  const { stdout } = await capture(['rpmspec', '--query', '--queryformat', '%{VERSION}-%{RELEASE}\\n[%{REQUIRES} %{REQUIREVERSION}\\n]', path])
  const [release, ...requires] = stdout.split('\n')
  t.is(release, '2.6.32-279.el6.snat1')
  t.true(requires.includes('kernel-firmware 2.6.32-279.el6'), stdout)
  const compared = await capture(['rpm', '--eval', "%{lua:print(rpm.vercmp('279.el6.snat1', '279.el6'))}"])
  t.is(compared.stdout.trim(), '1')
})

/** What merge.pl of the SRPM does: values of the first file win, those that are new go to the end. */
const MERGE = `my %new; open(F, $ARGV[0]); for (<F>) { $new{$1} = $_ if /# (\\w+) is not set/ || /(\\w+)=/; }
open(G, $ARGV[1]); for (<G>) { my $n = (/# (\\w+) is not set/ || /(\\w+)=/) ? $1 : ''; print exists $new{$n} ? delete $new{$n} : $_; }
print sort values %new;`

test('symbols that are set in the overriding file come through the merge once', async (t) => {
  const symbols = new Map([['CONFIG_IP_VS_SNAT', 'y'], ['CONFIG_IP_VS_DEBUG', 'y'], ['CONFIG_SOUND', 'n']])
  const override = join(folder, 'config-generic-rhel')
  const generic = join(folder, 'config-generic')
  writeFileSync(override, setConfig('CONFIG_IP_VS_IPV6=y\n# CONFIG_IP_VS_SNAT is not set\n\n\n', symbols))
  writeFileSync(generic, 'CONFIG_IP_VS=m\n# CONFIG_IP_VS_DEBUG is not set\nCONFIG_SOUND=m\nCONFIG_IP_VS_DEBUG_MORE=y\n')
  t.is(read(override), 'CONFIG_IP_VS_IPV6=y\nCONFIG_IP_VS_SNAT=y\nCONFIG_IP_VS_DEBUG=y\n# CONFIG_SOUND is not set\n')
  const { stdout } = await capture(['perl', '-e', MERGE, override, generic])
  t.is(stdout, 'CONFIG_IP_VS=m\nCONFIG_IP_VS_DEBUG=y\n# CONFIG_SOUND is not set\nCONFIG_IP_VS_DEBUG_MORE=y\nCONFIG_IP_VS_IPV6=y\nCONFIG_IP_VS_SNAT=y\n')
})
