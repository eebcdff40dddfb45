// SPDX-License-Identifier: GPL-2.0-only
/** Packages of the tools for Debian: its own source packages with our series behind its patches. */

import { execFileSync, spawnSync } from 'node:child_process'
import { accessSync, constants, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { listFiles } from '../../scripts/base/files.ts'
import { ROOT } from '../../scripts/base/root.ts'
import type { Context } from '../../scripts/build/context.ts'
import { bring } from '../../scripts/build/step.ts'
import deb from '../../scripts/commands/deb.ts'
import { packagingOf } from '../../scripts/package/deb-packaging.ts'
import { debVersion, patchSource, withoutEpoch, type Packaging } from '../../scripts/package/deb.ts'
import { requireMade, sumsFile } from '../../scripts/steps/repo.ts'
import { debianSource as sourceNameOf, SOURCES } from '../../scripts/sources.ts'
import { debPackages, step } from '../../scripts/steps/debs.ts'
import { PACKAGED } from '../../scripts/steps/tools.ts'
import { TARGETS } from '../../scripts/targets.ts'
import { debianSource, FILE, linePatch, SYSV } from './deb-fixture.ts'
import { createFixture, fails, type Fixture } from './fixture.ts'

/** What it is made of, and taken apart by. */
const hasDpkg = spawnSync('dpkg-source', ['--version']).status === 0
const dpkgTest = hasDpkg ? test : test.skip
const serialDpkgTest = hasDpkg ? test.serial : test.serial.skip

dpkgTest("the version is behind Debian's builds of the same source, and before what Debian mends", (t) => {
  const ours = debVersion('1:1.31-1', 3)
  const isBefore = (a: string, b: string): boolean => spawnSync('dpkg', ['--compare-versions', a, 'lt', b]).status === 0
  for (const earlier of ['1:1.31-1', '1:1.31-1+b1', '1:1.31-1+b12', debVersion('1:1.31-1', 2)]) t.true(isBefore(earlier, ours), earlier)
  for (const later of ['1:1.31-1+deb12u1', '1:1.31-1.1', '1:1.31-2', debVersion('1:1.31-1', 12), debVersion('1:1.31-2', 1)]) t.true(isBefore(ours, later), later)
  t.is(withoutEpoch(ours), '1.31-1+bsnat1.3')
})

test('every Debian of a target has a source for each tool', (t) => {
  for (const { stock } of TARGETS) {
    if (stock) for (const { name } of PACKAGED) t.true(SOURCES.some((source) => source.name === sourceNameOf(name, stock.suite) && source.apt.suite === stock.suite), `${name} ${stock.suite}`)
  }
})

function place(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-test-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

const PACKAGING: Packaging = {
  files: { 'tool-service': '#!/bin/sh\nexit\n', 'tool.udev': '# A rule\n' },
  instead: { rules: '#!/usr/bin/make -f\n# Ours\n', 'tool-load': 'It has none.\n' },
  added: { 'tool.manpages': 'tool-snat.8' },
  replaced: { 'tool.install': [[/usr/g, 'opt']] },
  options: { dh_installinit: '--no-stop-on-upgrade' },
  never: /usr\/sbin/,
}

dpkgTest("a source package gets our patches behind Debian's, an entry in its changelog, and is the same each time", async (t) => {
  const folder = place(t)
  const archive = debianSource(folder, 'tool', '1:2.0-4')
  const patches = [['0001-one.patch', linePatch(8)], ['0002-two.patch', linePatch(12)]].map(([name = '', content = '']) => (writeFileSync(join(folder, name), content), join(folder, name)))
  const make = (into: string) => patchSource({ archive, patches, build: 7, suite: 'trixie', packaging: PACKAGING }, join(folder, into))
  const { files, version } = await make('a')
  t.is(version, '1:2.0-4+bsnat1.7')
  t.deepEqual(files.map((path) => basename(path)), ['tool_2.0-4+bsnat1.7.dsc', 'tool_2.0.orig.tar.gz', 'tool_2.0-4+bsnat1.7.debian.tar.xz'])

  const unpacked = join(folder, 'unpacked')
  execFileSync('dpkg-source', ['--extract', files[0] ?? '', unpacked], { stdio: 'ignore' })
  const code = readFileSync(join(unpacked, FILE), 'utf8')
  for (const line of ['debians_3', 'ours_8', 'ours_12']) t.true(code.includes(`int ${line};`), line)
  t.is(readFileSync(join(unpacked, 'debian/patches/series'), 'utf8'), "# Debian's\ndebian.patch\nsnat/0001-one.patch\nsnat/0002-two.patch\n")
  const packaging = (name: string): string => readFileSync(join(unpacked, 'debian', name), 'utf8')
  t.is(packaging('tool.manpages'), 'tool.8\ntool-snat.8\n')
  t.is(packaging('tool-service'), '#!/bin/sh\nexit\n')
  t.notThrows(() => accessSync(join(unpacked, 'debian/tool-service'), constants.X_OK))
  t.false(existsSync(join(unpacked, 'debian/tool-load')))
  t.is(packaging('tool.install'), 'tool opt/sbin\n')
  t.is(packaging('rules'), '#!/usr/bin/make -f\n# Ours\n\noverride_dh_installinit:\n\tdh_installinit --no-stop-on-upgrade\n')
  const changelog = execFileSync('dpkg-parsechangelog', ['--count', '2'], { cwd: unpacked, encoding: 'utf8' })
  for (const line of ['Version: 1:2.0-4+bsnat1.7', 'Distribution: trixie', '     - change line 8', ' tool (1:2.0-4) unstable; urgency=medium']) t.true(changelog.includes(`${line}\n`), changelog)
  t.regex(changelog, /^Date: Sun, 22 Nov 2026 12:00:00 \+0000$/m)

  for (const [index, path] of (await make('b')).files.entries()) t.true(readFileSync(path).equals(readFileSync(files[index] ?? '')), basename(path))
})

dpkgTest("a patch that does not fit beside Debian's is named, and so is what is no source package with patches", async (t) => {
  const folder = place(t)
  const patch = (name: string, content: string): string => (writeFileSync(join(folder, name), content), join(folder, name))
  const make = (archive: string, patches: readonly string[], packaging: Packaging = {}) => {
    rmSync(join(folder, 'made'), { recursive: true, force: true })
    return patchSource({ archive, patches, build: 1, suite: 'trixie', packaging }, join(folder, 'made'))
  }
  const archive = debianSource(folder, 'tool', '2.0-4')
  const fits = patch('0001-fits.patch', linePatch(12))
  const failure = await fails(t, 'patch', () => make(archive, [fits, patch('0002-does-not.patch', linePatch(3))]))
  t.is(failure.message, "0002-does-not.patch does not fit tool 2.0-4 of Debian, behind Debian's own patches.")
  // Its lines are there, in another context: patch(1) alone would take it.
  t.regex((await fails(t, 'patch', () => make(archive, [patch('0001-fuzz.patch', linePatch(8, 'int another;'))]))).message, /^0001-fuzz\.patch does not fit/)
  const others: readonly (readonly [Packaging, RegExp])[] = [
    [{ files: { 'tool.manpages': 'x' } }, /has a tool\.manpages of its own\.$/],
    [{ added: { 'tool.docs': 'x' } }, /has no tool\.docs\.$/],
    [{ replaced: { 'tool.install': [[/bin\/none/g, '']] } }, /has no \/bin\\\/none\/g in tool\.install\.$/],
    [{ added: { rules: '\tdh_installinit --name=x' }, options: { dh_installinit: '--no-start' } }, /calls dh_installinit itself, which is to have --no-start\.$/],
    [{ never: /sbin/ }, /says \/sbin\/ in tool\.install\.$/],
  ]
  for (const [packaging, message] of others) t.regex((await fails(t, 'source', () => make(archive, [fits], packaging))).message, message)
  t.regex((await fails(t, 'source', () => make(debianSource(folder, 'old', '1.0-1', '1.0'), [fits]))).message, /its format is not 3\.0 \(quilt\)/)
  const empty = join(folder, 'empty.source.tar.xz')
  execFileSync('tar', ['--create', '--auto-compress', '--file', empty, '--directory', folder, '0001-fits.patch'])
  t.regex((await fails(t, 'source', () => make(empty, [fits]))).message, /not just one source package/)
  const damaged = join(folder, 'damaged')
  mkdirSync(damaged)
  execFileSync('tar', ['--extract', '--file', archive, '--directory', damaged])
  writeFileSync(join(damaged, 'tool_2.0.orig.tar.gz'), 'another')
  execFileSync('tar', ['--create', '--auto-compress', '--file', archive, '--directory', damaged, '.'])
  t.regex((await fails(t, 'source', () => make(archive, [fits]))).message, /^dpkg-source does not accept tool_2\.0-4\.dsc/)
})

const SERVICE = '/usr/libexec/ipvsadm/ipvsadm-service'

/** @returns the folder of the packaging that becomes of Debian's of ipvsadm */
async function ipvsadmPackaging(t: ExecutionContext, version: string): Promise<string> {
  const folder = place(t)
  await patchSource({ archive: debianSource(folder, 'ipvsadm', version), patches: [], build: 1, suite: 'trixie', packaging: packagingOf(ROOT, 'ipvsadm') }, join(folder, 'made'))
  return join(folder, 'made/source/debian')
}

/** @returns the words that the service is called with by one of Debian's scripts */
function calls(folder: string, script: string, word = '', environment: Record<string, string> = { AUTO: 'true' }): string[] {
  const text = readFileSync(join(folder, script), 'utf8').replaceAll(SERVICE, 'service').replace('. /lib/lsb/init-functions', 'log_action_begin_msg() { :; }; log_action_end_msg() { :; }')
  const { stdout, stderr } = spawnSync('sh', ['-c', `service() { echo "$1"; return \${STATUS:-0}; }\n${text.replaceAll('exec service', 'service')}`, script, word], { env: { PATH: '/usr/bin:/bin', ...environment }, encoding: 'utf8' })
  return `${stdout}${stderr}`.split('\n').filter(Boolean)
}

dpkgTest("Debian's scripts leave ipvsadm's table to the service, which they do not have clear it before it is restored", async (t) => {
  for (const version of ['1:1.31-5', '1:1.31-1']) {
    const folder = await ipvsadmPackaging(t, version)
    for (const word of ['start', 'restart', 'reload', 'load']) t.deepEqual(calls(folder, 'ipvsadm.init', word), ['start'], word)
    t.deepEqual(calls(folder, 'ipvsadm.init', 'stop'), ['stop'])
    t.deepEqual(calls(folder, 'ipvsadm.init', 'start', { AUTO: 'false' }), [])
    t.is(existsSync(join(folder, 'ipvsadm-load')), version === '1:1.31-5', 'Debian 12 has none')
    t.deepEqual(readFileSync(join(folder, 'rules'), 'utf8').match(/^override_dh_install\S+:\n.*--no-stop-on-upgrade/gm)?.length, 2)
    t.false(readFileSync(join(folder, 'ipvsadm-service'), 'utf8').includes('/etc/sysconfig'))
    // Else dpkg asks whoever has changed it, and an upgrade that nobody watches stops there.
    t.is(readFileSync(join(folder, 'ipvsadm.default'), 'utf8'), SYSV['ipvsadm.default'])
    t.regex(readFileSync(join(folder, 'ipvs-table.service'), 'utf8'), /^ExecCondition=.* is-enabled ipvsadm\.service$/m)
    t.is(readFileSync(join(folder, 'ipvsadm.udev'), 'utf8'), readFileSync(join(ROOT, 'specs/ipvsadm/ipvsadm.udev'), 'utf8'))
    // What is not named here is in no package.
    for (const name of ['ipvsadm-service', 'ipvs-table.service', 'ipvs-table.conf']) t.true(readFileSync(join(folder, 'ipvsadm.install'), 'utf8').includes(`debian/${name} usr/lib`), name)
  }
  const folder = await ipvsadmPackaging(t, '1:1.31-5')
  t.deepEqual(calls(folder, 'ipvsadm-load'), ['start'])
  t.deepEqual(calls(folder, 'ipvsadm-flush'), ['stop'])
  // As after a start that has failed for a wrong line.
  t.deepEqual(calls(folder, 'ipvsadm-flush', '', { AUTO: 'true', SERVICE_RESULT: 'exit-code' }), [])
  for (const environment of [{}, { AUTO: 'false' }]) for (const script of ['ipvsadm-load', 'ipvsadm-flush']) t.deepEqual(calls(folder, script, '', environment), [])
})

/** A checkout with series of the tools, source packages of Debian 13's, and a mmdebstrap that builds nothing. */
function checkout(t: ExecutionContext, versions = { ipvsadm: '1:1.31-5', keepalived: '1:2.3.3-1' }): Fixture & { calls: () => string[] } {
  const fixture = createFixture(t)
  const { root, write, context } = fixture
  for (const name of ['ipvsadm', 'keepalived-2.3']) {
    write(`patches/${name}/series`, '0001-ours.patch\n')
    write(`patches/${name}/0001-ours.patch`, linePatch(8))
  }
  const sources = Object.entries(versions).map(([name, version]) => `${name}-trixie=${debianSource(dirname(root), name, version)}`)
  cpSync(join(ROOT, 'specs'), join(root, 'specs'), { recursive: true })
  const bin = join(root, 'bin')
  mkdirSync(bin)
  // It builds the package whose source package is copied in.
  writeFileSync(join(bin, 'mmdebstrap'), `#!/bin/sh
echo call >>${root}/calls; for word in "$@"; do echo "$word"; done >>${root}/calls
rm -rf ${root}/system; mkdir -p ${root}/system/build/debs ${root}/system/control/DEBIAN ${root}/system/etc
for word in "$@"; do case $word in --customize-hook=copy-in*) file=$(basename "$(echo "$word" | cut -d' ' -f2)" .dsc) ;; esac; done
printf 'Package: %s\\nVersion: 1:%s\\nArchitecture: amd64\\nMaintainer: A <a@example.org>\\nDescription: A tool\\n' "\${file%%_*}" "\${file#*_}" >${root}/system/control/DEBIAN/control
[ -e ${root}/none ] || dpkg-deb --build ${root}/system/control ${root}/system/build/debs/\${file}_amd64.deb >&2
tar -C ${root}/system -cf - .
# As it writes more than tar reads.
sleep 0.5; head -c 300000 /dev/zero
`, { mode: 0o755 })
  writeFileSync(join(bin, 'apt-config'), `#!/bin/sh
echo 'Acquire::Languages:: "none";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::http::Proxy-Auto-Detect "/usr/bin/a-program-of-this-host";
Acquire::ForceIPv4 "true";'
`, { mode: 0o755 })
  const path = process.env['PATH']
  t.teardown(() => (process.env['PATH'] = path))
  process.env['PATH'] = `${bin}:${path}`
  const calls = (): string[] => (existsSync(join(root, 'calls')) ? readFileSync(join(root, 'calls'), 'utf8').split('call\n').slice(1) : [])
  return { ...fixture, calls, context: (variables) => context({ SOURCE: [context().variables.SOURCE, ...sources].join(','), ...variables }) }
}

const names = (context: Context): string[] => debPackages(context).map((path) => basename(path))

serialDpkgTest('the tools are built in a Debian of their release, each when something of it has changed', async (t) => {
  const { context, write, calls } = checkout(t)
  const c = context()
  await bring(c, step)
  t.deepEqual(names(c), ['ipvsadm_1.31-5+bsnat1.5_amd64.deb', 'keepalived_2.3.3-1+bsnat1.3_amd64.deb'])
  t.is(calls().length, 2)
  const [call = ''] = calls()
  t.regex(call, /^--include=build-essential$/m)
  t.regex(call, /^--customize-hook=copy-in \S+\/ipvsadm_1\.31-5\+bsnat1\.5\.dsc \S+\.orig\.tar\.gz \S+\.debian\.tar\.xz \/build$/m)
  t.regex(call, /^--customize-hook=chroot "\$1" apt-get --option Dpkg::Use-Pty=0 build-dep --yes --no-install-recommends \/build\/ipvsadm_1\.31-5\+bsnat1\.5\.dsc$/m)
  t.regex(call, /^--customize-hook=chroot "\$1" env -i [\s\S]*DEB_BUILD_OPTIONS=noautodbgsym[\s\S]*\ndpkg-buildpackage --build=binary --no-sign\n/m)
  t.deepEqual(call.match(/^--aptopt=.*$/gm), ['--aptopt=Acquire::http::Proxy "http://proxy.example:3128";', '--aptopt=Acquire::ForceIPv4 "true";'])
  t.regex(call, /--customize-hook=rm -f "\$1\/etc\/apt\/apt\.conf\.d\/99mmdebstrap"\ntrixie\n/)
  t.regex(call, /\ntrixie\n-\n.*deb-ipvsadm\.sources\n$/)
  t.deepEqual(listFiles(join(c.paths.work, 'debs')).length, 2, 'what it took is gone')

  await bring(c, step)
  t.is(calls().length, 2)
  write('patches/ipvsadm/0001-ours.patch', linePatch(12))
  await bring(c, step)
  t.is(calls().length, 3)
  t.regex(calls()[2] ?? '', /ipvsadm_1\.31-5/)
  write('specs/ipvsadm/ipvsadm-service', '#!/bin/sh\n')
  await bring(c, step)
  t.is(calls().length, 4)
})

serialDpkgTest('the command puts them into dist, from where they are signed', async (t) => {
  const { context } = checkout(t)
  const c = context()
  // Who installs by a pattern would get the last one of their names.
  for (const name of ['DEBS/ipvsadm_1.31-5+bsnat1.10_amd64.deb', 'DSCS/ipvsadm_1.30.orig.tar.gz', 'DEBS/ipvs-snat-dkms_6.1-1_all.deb']) {
    mkdirSync(dirname(join(c.paths.dist, name)), { recursive: true })
    writeFileSync(join(c.paths.dist, name), '')
  }
  const write = process.stdout.write.bind(process.stdout)
  let printed = ''
  process.stdout.write = (chunk: string) => ((printed += chunk), true)
  try {
    await deb.run(c)
  } finally {
    process.stdout.write = write
  }
  const folder = join(c.paths.dist, 'DEBS')
  t.deepEqual(printed.trim().split('\n'), names(c).map((name) => join(folder, name)))
  t.deepEqual(listFiles(folder), ['ipvs-snat-dkms_6.1-1_all.deb', ...names(c)])
  rmSync(join(folder, 'ipvs-snat-dkms_6.1-1_all.deb'))
  t.deepEqual(listFiles(join(c.paths.dist, 'DSCS')), [
    'ipvsadm_1.31-5+bsnat1.5.debian.tar.xz', 'ipvsadm_1.31-5+bsnat1.5.dsc', 'ipvsadm_1.31.orig.tar.gz',
    'keepalived_2.3.3-1+bsnat1.3.debian.tar.xz', 'keepalived_2.3.3-1+bsnat1.3.dsc', 'keepalived_2.3.3.orig.tar.gz',
  ])
  writeFileSync(sumsFile(c), '')
  await t.notThrowsAsync(() => requireMade(c))
})

serialDpkgTest('a Debian that nothing came out of fails, and a version or target that nothing is made for', async (t) => {
  const { context, write } = checkout(t, { ipvsadm: '1:1.31-5', keepalived: '1:2.2.8-1' })
  const c = context()
  write('none', '')
  t.is((await fails(t, 'build', () => bring(c, step))).message, 'Of ipvsadm came nothing, and not ipvsadm_1.31-5+bsnat1.5_amd64.deb.')
  rmSync(join(c.paths.root, 'none'))
  t.is((await fails(t, 'patch', () => bring(c, step))).message, 'No series is made for keepalived 2.2.8, which Debian 13 has.')
  await fails(t, 'usage', () => bring(context({ TARGET: 'el6' }), step))
})
