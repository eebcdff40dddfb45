// SPDX-License-Identifier: GPL-2.0-only
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import test from 'ava'
import { Failure } from '../../scripts/base/errors.ts'
import { sha256File } from '../../scripts/base/files.ts'
import { createContext, type Context } from '../../scripts/build/context.ts'
import { kbuildEnvironment } from '../../scripts/kernel/kbuild.ts'
import { publish, requireEl6, verifyPackage } from '../../scripts/package/publish.ts'
import { rebuildAndCompare } from '../../scripts/package/reproduce.ts'
import { buildPackages, rebuildPackage, rpmEnvironment } from '../../scripts/package/rpm.ts'
import { step as rpm } from '../../scripts/steps/rpm.ts'

/** A package of one file, with the settings that our specs have. */
const SPEC = `%global _buildhost localhost
%global source_date_epoch_from_changelog 1
%global use_source_date_epoch_as_buildtime 1
%global clamp_mtime_to_source_date_epoch 1
%global _srcdefattr (-,root,root)
%global _source_payload w6.xzdio
%global _binary_payload w6.xzdio
%global _rpmformat 4
%global debug_package %{nil}
%global __os_install_post %{nil}
Name: fixture
Version: 1
Release: 1
Summary: Fixture
License: MIT
Source0: data
ExclusiveArch: x86_64
%description
Fixture.
%install
install -D -m 0644 %{SOURCE0} %{buildroot}/usr/share/fixture/data
%files
/usr/share/fixture
%changelog
* Sun Nov 22 2026 Nobody <nobody@localhost> - 1-1
- First
`

let folder = ''
let context: Context
let packages: string[] = []

test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lvs-snat-rpm-'))
  context = createContext({ CACHE: join(folder, 'cache'), JOBS: '1' })
  writeFileSync(join(folder, 'data'), 'data\n')
  packages = await build('one', SPEC)
})
test.after.always(() => rmSync(folder, { recursive: true, force: true }))

function build(name: string, spec: string): Promise<string[]> {
  const topdir = join(folder, name)
  return buildPackages(context, {
    name: 'fixture',
    spec,
    sources: [{ name: 'data', path: join(folder, 'data') }],
    topdir,
    log: join(folder, `${name}.log`),
  })
}

const digests = (paths: string[]): Promise<string[]> => Promise.all(paths.map((path) => sha256File(path)))

test.serial('a source and a binary package come out', (t) => {
  t.deepEqual(packages.map((path) => basename(path)), ['fixture-1-1.src.rpm', 'fixture-1-1.x86_64.rpm'])
})

test.serial('two builds in different folders give the same bytes', async (t) => {
  t.deepEqual(await digests(await build('two', SPEC)), await digests(packages))
})

test.serial('rpmbuild --rebuild of the source package gives the same bytes', async (t) => {
  const rebuilt = await rebuildPackage(context, packages[0] ?? '', { topdir: join(folder, 'three'), log: join(folder, 'three.log') })
  t.deepEqual(await digests(rebuilt), await digests(packages.slice(1)))
})

test.serial('a package that is rebuilt to be compared is compiled, though ccache has an answer', async (t) => {
  const [source = ''] = await build('compiled', SPEC.replace('%install', '%build\necho "recache: $CCACHE_RECACHE."\n%install'))
  const log = join(folder, 'rebuilt.log')
  await rebuildAndCompare(context, source, new Map())
  t.regex(readFileSync(join(context.paths.logs, 'reproduce-fixture-1-1.log'), 'utf8'), /^recache: 1\.$/m)
  await rebuildPackage(context, source, { topdir: join(folder, 'rebuilt'), log })
  t.regex(readFileSync(log, 'utf8'), /^recache: \.$/m)
})

test.serial('a package that EL6 could not read is refused', async (t) => {
  await t.notThrowsAsync(requireEl6(packages[1] ?? ''))
  const [, newer = ''] = await build('newer', SPEC.replace('_binary_payload w6.xzdio', '_binary_payload w3.zstdio'))
  const failure = await t.throwsAsync(requireEl6(newer), { instanceOf: Failure })
  t.regex((failure).details.excerpt?.join() ?? '', /PayloadIsZstd/)
})

test.serial('a package that was cut off or changed is refused, and not published', async (t) => {
  const content = readFileSync(packages[1] ?? '')
  const short = join(folder, 'short.rpm')
  writeFileSync(short, content)
  truncateSync(short, content.length - 10)
  const changed = join(folder, 'changed.rpm')
  content.writeUInt8((content.at(-20) ?? 0) ^ 1, content.length - 20)
  writeFileSync(changed, content)
  for (const path of [short, changed]) {
    await t.throwsAsync(verifyPackage(path), { instanceOf: Failure, message: /damaged/ })
    await t.throwsAsync(publish([path], join(folder, 'published')), { instanceOf: Failure })
    t.false(existsSync(join(folder, 'published', basename(path))))
  }
})

test.serial('published packages are listed with their digests, in order', async (t) => {
  const published = await publish([...packages].reverse(), join(folder, 'dist'))
  t.deepEqual(published.map(({ file }) => file), ['fixture-1-1.src.rpm', 'fixture-1-1.x86_64.rpm'])
  t.deepEqual(published.map(({ sha256 }) => sha256), await digests(packages))
})

test.serial('a build that fails names its log', async (t) => {
  const broken = build('broken', SPEC.replace('%install', '%install\nfalse'))
  const failure = await t.throwsAsync<Failure>(broken, { instanceOf: Failure })
  t.is(failure.kind, 'build')
  t.is(failure.details.log, join(folder, 'broken.log'))
})

test.serial('the environment brings nothing into a build, and ccache no relative paths', (t) => {
  const callers = { KCFLAGS: '-g', CCACHE_BASEDIR: '/', DEBUG: '1', TARGET: 'lts', MAKEFLAGS: 'n', ARCH: 'arm64', CROSS_COMPILE: 'aarch64-', LLVM: '1', CPATH: '/x', CDPATH: '/home', MAKEFILES: '/x' }
  Object.assign(process.env, callers)
  try {
    for (const environment of [rpmEnvironment(context, folder), kbuildEnvironment()]) {
      for (const name of Object.keys(callers)) t.is(environment[name], undefined, name)
      t.is(environment['LC_ALL'], 'C')
    }
  } finally {
    for (const name of Object.keys(callers)) Reflect.deleteProperty(process.env, name)
  }
})

test('each published package is an output, so that one that was deleted is built again', (t) => {
  const { stamps, dist } = context.paths
  mkdirSync(stamps[rpm.scope], { recursive: true })
  const facts = { packages: [{ file: 'kernel-1-1.x86_64.rpm' }, { file: 'kernel-1-1.src.rpm' }] }
  writeFileSync(join(stamps[rpm.scope], 'rpm.json'), JSON.stringify({ key: '', inputs: null, seconds: 1, facts }))
  t.deepEqual(rpm.outputs(context), [join(dist, 'RPMS/x86_64/kernel-1-1.x86_64.rpm'), join(dist, 'SRPMS/kernel-1-1.src.rpm')])
})
