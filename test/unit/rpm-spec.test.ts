// SPDX-License-Identifier: GPL-2.0-only
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { Failure } from '../../scripts/base/errors.ts'
import { ROOT } from '../../scripts/base/root.ts'
import { capture } from '../../scripts/base/run.ts'
import { createContext } from '../../scripts/build/context.ts'
import { kernelPackage, kernelSpec, readKernelSpec } from '../../scripts/package/rpm-kernel.ts'
import { judgeFindings, lintFindings, lintSummary } from '../../scripts/package/lint.ts'
import { el6Problems } from '../../scripts/package/publish.ts'
import { setGlobals, upstreamVersion } from '../../scripts/package/rpm.ts'
import { BUILD_HOST, BUILDID, SOURCE_DATE_EPOCH } from '../../scripts/release.ts'
import { fillPatches } from '../../scripts/steps/tools.ts'
import { FLAVOURS } from '../../scripts/targets.ts'

/** Of a kernel of kernel.org. */
const RELEASE = `1${BUILDID}`

const normal = createContext({})
const debug = createContext({ DEBUG: '1' })
const specOf = (name: string): string => readFileSync(join(normal.paths.root, 'specs', name, `${name}.spec`), 'utf8')

/** Hands a spec to rpmspec as a file of its own. */
async function rpmspec(spec: string, ...options: string[]): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-spec-'))
  try {
    writeFileSync(join(folder, 'tested.spec'), spec)
    return (await capture(['rpmspec', ...options, join(folder, 'tested.spec')])).stdout
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const expand = (spec: string, ...options: string[]): Promise<string> => rpmspec(spec, '--parse', ...options)

async function packageNames(spec: string): Promise<string[]> {
  const format = '%{NAME}-%{EPOCHNUM}:%{VERSION}-%{RELEASE}.%{ARCH}\\n'
  const shown = await rpmspec(spec, '--query', '--target', 'x86_64', '--queryformat', format)
  return shown.trim().split('\n').filter((line) => line.endsWith('.x86_64'))
}

function fillKernel(context: typeof normal, patches: string[]): string {
  return kernelSpec(context, readKernelSpec(context, '6.1.5'), { version: '6.1.5', release: RELEASE, tarball: 'linux-6.1.5.tar.xz', patches })
}

test('globals are replaced by name, and only those that are there', (t) => {
  t.is(setGlobals('%global a   1\n%global ab 2\n', { a: 'x$1' }), '%global a   x$1\n%global ab 2\n')
  t.throws(() => setGlobals('%global ab 2\n', { a: '3' }), { instanceOf: Failure })
})

test('the upstream version is read from the names that archives use', (t) => {
  t.is(upstreamVersion('openssl_3.0.22.orig.tar.gz'), '3.0.22')
  t.is(upstreamVersion('popt_1.19+dfsg.orig.tar.xz'), '1.19')
  t.is(upstreamVersion('keepalived-2.2.8.tar.gz'), '2.2.8')
  t.throws(() => upstreamVersion('latest.tar.gz'), { instanceOf: Failure })
})

test('features that rpm of EL6 does not know are told', (t) => {
  const known = ['/bin/sh', 'rpmlib(FileDigests) <= 4.6.0-1', 'rpmlib(PayloadIsXz) <= 5.2-1']
  t.deepEqual(el6Problems(known), [])
  t.deepEqual(el6Problems([...known, 'rpmlib(PayloadIsZstd) <= 5.4.18-1']), ['rpmlib(PayloadIsZstd) <= 5.4.18-1'])
})

test('findings of rpmlint are found, and a run that checked too little is refused', (t) => {
  const output = 'kernel.x86_64: W: no-documentation\nchecks: 26, packages: 2\n 2 packages and 0 specfiles checked; 0 errors'
  t.deepEqual(lintFindings(output), ['kernel.x86_64: W: no-documentation'])
  const summary = (stdout: string, expected: number, stderr = ''): string => lintSummary({ stdout, stderr }, expected, ROOT)
  t.notThrows(() => summary(output, 2))
  t.is(t.throws<Failure>(() => summary(output, 3), { instanceOf: Failure }).kind, 'build')
  t.throws(() => summary('', 1), { instanceOf: Failure })
  const full = '(none): E: fatal error while reading kernel.rpm: [Errno 28] No space left on device'
  t.is(t.throws<Failure>(() => summary('', 1, full), { instanceOf: Failure }).kind, 'environment')
})

test('every spec parses as it is committed, and has the release of the project', async (t) => {
  t.deepEqual(await packageNames(specOf('ipvsadm')), [`ipvsadm-1:1.31-4${BUILDID}.x86_64`])
  t.deepEqual(await packageNames(specOf('keepalived')), [`keepalived-1:2.2.7-3${BUILDID}.x86_64`])
  const kernel = await packageNames(specOf('kernel'))
  t.true(kernel.every((name) => name.endsWith(`-${RELEASE}.x86_64`)), kernel.join())
})

test('findings of a known rpmlint end the build, those of a newer one only warn', (t) => {
  const output = (version: string, ...lines: string[]): string => [`rpmlint: ${version}`, ...lines].join('\n')
  const finding = 'kernel.x86_64: E: new-check something'
  const error = t.throws(() => judgeFindings('kernel', output('2.4.0', finding), '/log'), { instanceOf: Failure })
  t.deepEqual(error.details, { log: '/log', hint: 'Correct the spec, or explain the exception in specs/rpmlint.toml.', excerpt: [finding] })
  t.throws(() => judgeFindings('kernel', finding, '/log'), { instanceOf: Failure })
  t.notThrows(() => judgeFindings('kernel', output('2.99.0', finding), '/log'))
  t.notThrows(() => judgeFindings('kernel', output('2.4.0'), '/log'))
})

test('the newest changelog entry of every spec is of the day of the release', (t) => {
  for (const name of ['ipvsadm', 'keepalived', 'kernel']) {
    const date = /^%changelog\n\* (\w+ \w+ \d+ \d+) /m.exec(specOf(name))?.[1]
    t.is(Date.parse(`${date} 12:00 UTC`) / 1000, SOURCE_DATE_EPOCH, name)
  }
})

test('reproducible, readable by EL6: the settings stand in the specs themselves', async (t) => {
  for (const name of ['ipvsadm', 'keepalived', 'kernel']) {
    const settings = '%_buildhost %use_source_date_epoch_as_buildtime %clamp_mtime_to_source_date_epoch'
    const shown = await expand(`${specOf(name)}\nshown: ${settings} %_rpmformat %_binary_filedigest_algorithm %_binary_payload\n`)
    t.regex(shown, new RegExp(`shown: ${BUILD_HOST} 1 1 4 8 w\\d\\.xzdio`), name)
  }
})

test('the kernel of each variant has names and a release of its own', async (t) => {
  t.deepEqual(await packageNames(fillKernel(normal, [])), [
    `kernel-0:6.1.5-${RELEASE}.x86_64`,
    `kernel-devel-0:6.1.5-${RELEASE}.x86_64`,
  ])
  t.deepEqual(await packageNames(fillKernel(debug, [])), [
    `kernel-debug-0:6.1.5-${RELEASE}.x86_64`,
    `kernel-debug-devel-0:6.1.5-${RELEASE}.x86_64`,
  ])
  t.deepEqual([kernelPackage(normal), kernelPackage(debug)], ['kernel', 'kernel-debug'], 'the names of the spec files')
  t.regex(await expand(fillKernel(normal, [])), new RegExp(`LOCALVERSION=-${RELEASE}.x86_64 `))
  t.regex(await expand(fillKernel(debug, [])), new RegExp(`LOCALVERSION=-${RELEASE}.x86_64\\+debug `))
})

test('no line of what a kernel says of itself is longer than rpmlint takes', async (t) => {
  for (const context of [normal, ...FLAVOURS.map(({ variable, value }) => createContext({ [variable]: value }))]) {
    const said = await rpmspec(fillKernel(context, []), '--query', '--queryformat', '%{DESCRIPTION}\n')
    t.regex(said, /SNAT/)
    t.deepEqual(said.split('\n').filter((line) => line.length > 79), [])
  }
})

test('patches are applied in order and counted', async (t) => {
  const spec = await expand(fillKernel(normal, ['0001-engine.patch', '0002-hooks.patch']))
  t.regex(spec, /Patch1: +0001-engine\.patch\nPatch2: +0002-hooks\.patch/)
  t.regex(spec, /for patch in '\S+\/0001-engine\.patch' '\S+\/0002-hooks\.patch' ; do/)
  t.regex(spec, /test "\$number" -eq 2/)
})

for (const [tool, version] of [['ipvsadm', '1.31-4'], ['keepalived', '2.2.7-3']] as const) test(`the series of ${tool} is named, applied in order, and told of in the changelog`, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-test-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const mail = (subject: string): string => `From 0000\nFrom: A Writer <a.writer@example.org>\nDate: today\nSubject: [PATCH] ${subject}\n\nBecause.\n`
  const patches = Object.entries({ '0001-a.patch': 'add 100 %{rules}', '0002-b.patch': 'list rules, with their\n counters' }).map(([name, subject]) => {
    writeFileSync(join(folder, name), mail(subject))
    return join(folder, name)
  })
  const spec = fillPatches(specOf(tool), patches)
  const expanded = await expand(spec)
  t.regex(expanded, /Patch1: +0001-a\.patch\nPatch2: +0002-b\.patch/)
  t.regex(expanded, new RegExp(`for patch in '\\S+/0001-a\\.patch' '\\S+/0002-b\\.patch' ; do\\n +patch -d ${tool} -p1 -F0 -s < "\\$patch"`))
  const changelog = await rpmspec(spec, '--query', '--srpm', '--queryformat', '[%{CHANGELOGNAME}\\n%{CHANGELOGTEXT}\\n]')
  t.true(changelog.includes(`- 1:${version}.snat1\n- add 100 %{rules}\n- list rules, with their counters\n`), changelog)
  t.regex(await rpmspec(fillPatches(specOf(tool), []), '--query', '--srpm', '--queryformat', '[%{CHANGELOGTEXT}\\n]'), /^- Without the series/)
})

test('a patch whose name would be a program to rpm is refused', (t) => {
  t.throws(() => fillPatches(specOf('ipvsadm'), ['/x/0001-a%(touch ran).patch']), { instanceOf: Failure, message: /^The patch file name "0001-a%\(touch ran\)\.patch" cannot stand in a spec/ })
})

test('keepalived is patched only where it still frees sync groups late', async (t) => {
  const spec = specOf('keepalived')
  for (const [version, patched] of [['2.2.7', true], ['2.2.8', false], ['2.3.3', false]] as const) {
    const expanded = await expand(setGlobals(spec, { tool_version: version }))
    t.is(/^patch .* < \S+\/free-sync-groups-first\.patch$/m.test(expanded), patched, version)
  }
})

test('what make kernel has compiled is packaged without compiling it again', async (t) => {
  const options = ['--define', 'kernel_tree /the/tree', '--define', 'kernel_output /the/output', '--define', 'kernel_make make -C /the/tree O=/the/output']
  const packaged = await expand(fillKernel(normal, ['0001-engine.patch']), ...options)
  t.notRegex(packaged, /olddefconfig|bzImage modules$/m)
  t.regex(packaged, /make -C \/the\/tree O=\/the\/output .* modules_install/)
  t.regex(await expand(fillKernel(normal, ['0001-engine.patch'])), /bzImage modules$/m)
})

test('a kernel version that cannot be an RPM version is refused', (t) => {
  t.throws(() => readKernelSpec(normal, '6.1.5-rc1'), { instanceOf: Failure })
})

/** As `make rpm` fills it in for RHEL 6, with two exported symbols. */
const el6Kernel = (): string =>
  kernelSpec(normal, readKernelSpec(normal, '2.6.32'), {
    ...{ version: '2.6.32', release: '279.el6.snat1', stock: '279.el6', tarball: 'kernel.src.rpm', patches: [] },
    provides: ['kernel(one) = 0x01234567', 'kernel(two) = 0x89abcdef'],
  })

test('RHEL 6: firmware is a package, which the kernel takes from the stock kernel too', async (t) => {
  const names = (await rpmspec(el6Kernel(), '--query', '--target', 'x86_64', '--queryformat', '%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}\\n')).trim().split('\n')
  t.true(['kernel-2.6.32-279.el6.snat1.x86_64', 'kernel-devel-2.6.32-279.el6.snat1.x86_64', 'kernel-firmware-2.6.32-279.el6.snat1.noarch'].every((name) => names.includes(name)), names.join())
  t.regex(await expand(el6Kernel()), /^Requires: +kernel-firmware >= 2\.6\.32-279\.el6$/m)
  t.false((await expand(fillKernel(normal, []))).includes('kernel-firmware'))
})

test('RHEL 6: the kernel provides the checksums of its symbols, for kmods', async (t) => {
  t.regex(await expand(el6Kernel()), /^Provides: +kernel\(one\) = 0x01234567\nProvides: +kernel\(two\) = 0x89abcdef$/m)
})

test('files of /etc and units that manuals and documents name are in the packages', (t) => {
  const { root } = normal.paths
  const tools = ['ipvsadm', 'keepalived']
  const files = tools.flatMap((name) => specOf(name).split('\n'))
  const added = tools.flatMap((name) => {
    const folder = join(root, 'patches', name)
    return readdirSync(folder).flatMap((file) => readFileSync(join(folder, file), 'utf8').split('\n').filter((line) => line.startsWith('+')))
  })
  const documents = ['README.md', 'docs/operating.md', 'docs/snat.md', 'docs/debian.md'].map((path) => readFileSync(join(root, path), 'utf8'))
  const text = [...added, ...documents].join('\n').replaceAll('\\-', '-')
  const named = new Set(text.match(/\/etc\/(?:sysconfig|logrotate\.d|cron\.d)\/[\w.-]*\w|\bipvsadm(?:-\w+)?\.(?:service|timer)\b/g))
  t.true(named.size > 5)
  for (const name of named) t.true(files.some((line) => line.endsWith(name.startsWith('/') ? ` ${name}` : `/${name}`)), name)
})

test('what rpmlint may report of the kernel, it may of every flavour', (t) => {
  const named = [...readFileSync(join(ROOT, 'specs/rpmlint.toml'), 'utf8').matchAll(/'kernel\(([^)]*)\)/g)].map(([, flavours = '']) => flavours)
  t.true(named.length > 10)
  for (const flavours of named) t.deepEqual(flavours.split('|').sort(), FLAVOURS.map(({ name }) => `-${name}`).sort())
})
