// SPDX-License-Identifier: GPL-2.0-only
/** The static tools of several targets in one checkout, and the patches of their libraries. */

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { listFiles } from '../../scripts/base/files.ts'
import { ROOT } from '../../scripts/base/root.ts'
import type { Context } from '../../scripts/build/context.ts'
import { bring, plan, type Step } from '../../scripts/build/step.ts'
import { TOOL_STEPS, toolPackages } from '../../scripts/steps/tools.ts'
import { sourceFile } from '../../scripts/steps/fetch.ts'
import { Store } from '../../scripts/source/store.ts'
import { createBothLines, createFixture, fails, read, tarball, type Fixture } from './fixture.ts'
import { createPackaged } from './packaged-fixture.ts'

/** What a tool's step makes in a moment: a package that tells of which source it is. */
function packaged(name: string): Step {
  const step = TOOL_STEPS.find((each) => each.name === `tool-${name}`)
  if (!step) throw new Error(`no tool ${name}`)
  const run = async (context: Context) => {
    const [folder = ''] = step.outputs(context)
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, `${name}.rpm`), sourceFile(context, context.target.tools?.[name] ?? name).filename)
    return {}
  }
  return { ...step, after: (step.after ?? []).filter((earlier) => earlier.name === 'fetch'), run }
}

test('targets that are built in turn keep their own keepalived, and nothing of the other is built again', async (t) => {
  const { context, root } = createBothLines(t)
  const recent = tarball(root, 'recent-2.0.tar.gz', { README: 'the recent one\n' })
  const SOURCE = (context().variables.SOURCE ?? '').replace(/keepalived-2\.3=[^,]*/, `keepalived-2.3=${recent}`)
  const [lts, earlier] = ['lts', 'lts-6.1'].map((TARGET) => context({ TARGET, SOURCE })) as [Context, Context]
  const step = { ...packaged('keepalived'), inputs: (c: Context) => sourceFile(c, c.target.tools?.['keepalived'] ?? 'keepalived').sha256 }
  const packages = (c: Context) => (toolPackages(c)['keepalived'] ?? []).map((path) => [basename(path), read(path)])
  await bring(lts, step)
  t.deepEqual(packages(lts), [['keepalived.rpm', 'recent-2.0.tar.gz']])
  // What a lab of the first takes while the other is built, after which the lock is free.
  await bring(earlier, step)
  t.deepEqual(packages(lts), [['keepalived.rpm', 'recent-2.0.tar.gz']])
  t.deepEqual(packages(earlier), [['keepalived.rpm', 'tool-1.0.tar.gz']])
  for (const each of [lts, earlier]) t.deepEqual((await plan(each, step)).filter(({ why }) => why !== undefined), [])
})

/** A patch of the line that a file has. */
const patchOf = (file: string, from: string, to: string): string => `Description: why\n--- a/${file}\n+++ b/${file}\n@@ -1 +1 @@\n-${from}\n+${to}\n`

/** What the distribution has for a library that says "upstream" in README: its patches, of which the second is made for what the first leaves. */
const DEBIAN = {
  'patches/series': '# why\n\nsecond-by-name.patch -p1\nfirst-by-name.patch # and why\n',
  'patches/second-by-name.patch': patchOf('README', 'upstream', 'corrected'),
  'patches/first-by-name.patch': patchOf('README', 'corrected', 'corrected twice'),
  'patches/not-in-series.patch': patchOf('README', 'corrected twice', 'no'),
  rules: '#!/usr/bin/make -f\n',
}

/** @returns path of it in the form that Debian has */
function debianTarball(folder: string, name: string, files: Readonly<Record<string, string>> = DEBIAN): string {
  renameSync(tarball(folder, 'debian.tar.xz', files), join(folder, name))
  rmSync(join(folder, 'debian'), { recursive: true })
  return join(folder, name)
}

/** Unpacks a library with functions of specs/static/musl.sh, as specs do. @returns exit code, and what is in a file then */
function unpack({ root }: Fixture, patches: readonly string[], file = 'README'): { status: number | null; content: string } {
  const upstream = tarball(root, 'lib-1.0.tar.gz', { README: 'upstream\n', configure: 'old\n' })
  const { status } = spawnSync('sh', ['-e', '-c', '. "$1"; shift; static_unpack "$@"; echo end > lib/end', 'sh', join(ROOT, 'specs/static/musl.sh'), upstream, 'lib', ...patches], { cwd: root })
  return { status, content: read(root, 'lib', file) }
}

test("a distribution's patches are applied in the order of its series, and none that is not in it", (t) => {
  const fixture = createFixture(t)
  t.deepEqual(unpack(fixture, [debianTarball(fixture.root, 'lib_1.0-1.debian.tar.xz')]), { status: 0, content: 'corrected twice\n' })
  // What was made of a file is not made anew because that was patched.
  t.is(execFileSync('find', ['lib', '-newer', 'lib/configure', '!', '-name', 'end', '-type', 'f'], { cwd: fixture.root, encoding: 'utf8' }), '')
})

test('a library without patches is as upstream has it', (t) => {
  const fixture = createFixture(t)
  t.deepEqual(unpack(fixture, []), { status: 0, content: 'upstream\n' })
  t.deepEqual(unpack(fixture, [debianTarball(fixture.root, 'lib_1.0-1.debian.tar.xz', { rules: '' })]), { status: 0, content: 'upstream\n' })
})

test('a patch that does not fit, or was applied before, or is not there, ends the build', (t) => {
  for (const files of [
    { ...DEBIAN, 'patches/second-by-name.patch': patchOf('README', 'another', 'corrected') },
    { ...DEBIAN, 'patches/series': 'second-by-name.patch\nsecond-by-name.patch\nfirst-by-name.patch\n' },
    { ...DEBIAN, 'patches/series': 'second-by-name.patch\nnowhere.patch\nfirst-by-name.patch\n' },
  ]) {
    const fixture = createFixture(t)
    t.not(unpack(fixture, [debianTarball(fixture.root, 'lib_1.0-1.debian.tar.xz', files)]).status, 0)
    t.deepEqual(listFiles(join(fixture.root, 'lib')).filter((name) => name === 'end'), [])
  }
})

const RPMS = spawnSync('rpmbuild', ['--version']).status === 0 ? test : test.skip

/** A tool's own spec as far as its sources are unpacked and patched, and then packages of what a library says in README. */
function shortSpec(tool: string, library: string): string {
  const [head = ''] = read(ROOT, 'specs', tool, `${tool}.spec`).split(/^%build$/m)
  // No tool is unpacked here whose files these lines could look for.
  return `${head.replace(/^%if %\{free[^]*$/m, '')}
%install
install -D -m 0644 ${library}/README %{buildroot}/usr/share/%{name}/data
%files
/usr/share/%{name}
%changelog
* Sun Nov 22 2026 Nobody <nobody@localhost> - 1-1
- @changes@
`
}

/** A checkout in which a tool is packaged, with a library that apt has brought with patches. */
async function patchedCheckout(t: ExecutionContext, tool: string, library: string, files: Readonly<Record<string, string>>): Promise<{ context: Context; step: Step; sources: string[] }> {
  const packaged = createPackaged(t)
  const { context, root, write } = packaged
  for (const name of listFiles(join(ROOT, 'specs', tool))) write(`specs/${tool}/${name}`, read(ROOT, 'specs', tool, name))
  write(`specs/${tool}/${tool}.spec`, shortSpec(tool, library))
  const c = context({ SOURCE: (context().variables.SOURCE ?? '').replace(new RegExp(`,${library}=[^,]*`), '') })
  const store = new Store(c.paths.store)
  const folder = dirname(root)
  const by = { origin: 'apt', from: 'x', verified: 'y' } as const
  const [upstream, debian] = [`${library}_1.0.orig.tar.gz`, `${library}_1.0-1~deb12u2.debian.tar.xz`] as const
  const patches = await store.add(debianTarball(folder, debian, files), { name: `${library}-patches`, version: '1.0-1~deb12u2', filename: debian, ...by })
  await store.add(tarball(folder, upstream, { README: 'upstream\n' }), { name: library, version: '1.0', filename: upstream, patches, ...by })
  const step = TOOL_STEPS.find(({ name }) => name === `tool-${tool}`)
  if (!step) throw new Error(`no tool ${tool}`)
  return { context: c, step, sources: [upstream, debian] }
}

for (const [tool, library] of [['ipvsadm', 'popt'], ['ipvsadm', 'libnl'], ['keepalived', 'openssl'], ['keepalived', 'libnl']] as const) {
  RPMS(`${tool} is built with the patches of ${library}, which its source package has`, async (t) => {
    const { context, step, sources } = await patchedCheckout(t, tool, library, DEBIAN)
    await bring(context, step)
    const [source = '', binary = ''] = [...(toolPackages(context)[tool] ?? [])].sort((one) => (one.endsWith('.src.rpm') ? -1 : 1))
    const content = (path: string) => execFileSync('sh', ['-c', 'rpm2cpio "$1" | cpio --extract --to-stdout --quiet "*/data"', 'sh', path], { encoding: 'utf8' })
    t.is(content(binary), 'corrected twice\n')
    const listed = execFileSync('rpm', ['--query', '--list', '--package', '--nosignature', source], { encoding: 'utf8' }).split('\n')
    t.deepEqual(sources.filter((name) => !listed.includes(name)), [])
    t.deepEqual((await plan(context, step)).filter(({ why }) => why !== undefined), [])
  })
}

RPMS('a tool whose library has a patch that does not fit is not built', async (t) => {
  const { context, step } = await patchedCheckout(t, 'ipvsadm', 'popt', { ...DEBIAN, 'patches/second-by-name.patch': patchOf('README', 'another', 'corrected') })
  await fails(t, 'build', () => bring(context, step))
  t.deepEqual(toolPackages(context)['ipvsadm'], [])
})
