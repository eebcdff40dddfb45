// SPDX-License-Identifier: GPL-2.0-only
/** What is done with packages that are there: a repository of them, and the proof that they can be made again. */

import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { sha256File } from '../../scripts/base/files.ts'
import { log } from '../../scripts/base/log.ts'
import type { Context } from '../../scripts/build/context.ts'
import repo from '../../scripts/commands/repo.ts'
import reproduce from '../../scripts/commands/reproduce.ts'
import { keepPackages, rebuildAndCompare, rebuildKept } from '../../scripts/package/reproduce.ts'
import { buildPackages, REPRODUCIBLE } from '../../scripts/package/rpm.ts'
import { signedFolder, step as repository, sumsFile } from '../../scripts/steps/repo.ts'
import { createFixture, fails, read } from './fixture.ts'

/** A package with one file, which a line of shell writes into %{buildroot}/data. */
const spec = (script: string): string => `${Object.entries(REPRODUCIBLE).map(([name, value]) => `%global ${name} ${value}\n`).join('')}
Name: fixture
Version: 1
Release: 1
Summary: Fixture
License: MIT
BuildArch: noarch
%description
Fixture.
%install
mkdir -p %{buildroot}
${script}
%files
/data
%changelog
* Sun Nov 22 2026 Nobody <nobody@localhost> - 1-1
- First
`

interface Packaged {
  context: Context
  source: string
  published: Map<string, string>
}

/** A checkout with the packages of a spec in dist. */
async function packaged(t: ExecutionContext, script: string): Promise<Packaged> {
  const fixture = createFixture(t)
  const context = fixture.context()
  const folder = dirname(fixture.root)
  const packages = await buildPackages(context, { name: 'fixture', spec: spec(script), sources: [], topdir: join(folder, 'rpmbuild'), log: join(folder, 'log') })
  const published = new Map<string, string>()
  for (const path of packages) {
    const into = join(context.paths.dist, path.endsWith('.src.rpm') ? 'SRPMS' : 'RPMS/x86_64', basename(path))
    mkdirSync(dirname(into), { recursive: true })
    copyFileSync(path, into)
    published.set(basename(path), await sha256File(path))
  }
  return { context, source: packages[0] ?? '', published }
}

const SAME = 'echo data > %{buildroot}/data'

test('a package that comes out the same is told so, and nothing is kept of it', async (t) => {
  const { context, source, published } = await packaged(t, SAME)
  t.deepEqual(await rebuildAndCompare(context, source, published), [])
  t.deepEqual(readdirSync(join(context.paths.work, 'reproduce-lts')), [])
})

test('a package that comes out otherwise is told with both digests, and kept', async (t) => {
  const { context, source, published } = await packaged(t, 'cat /proc/sys/kernel/random/uuid > %{buildroot}/data')
  const [line = '', ...more] = await rebuildAndCompare(context, source, published)
  t.deepEqual(more, [])
  t.true(line.startsWith(`fixture-1-1.noarch.rpm: ${published.get('fixture-1-1.noarch.rpm')} in dist, `), line)
  t.true(existsSync(join(context.paths.work, 'reproduce-lts/fixture-1-1/RPMS/noarch/fixture-1-1.noarch.rpm')))
})

test('what is built while packages are rebuilt makes no difference', async (t) => {
  const { context, published } = await packaged(t, SAME)
  const source = join(context.paths.dist, 'SRPMS/fixture-1-1.src.rpm')
  const kept = await keepPackages(context, [source, join(context.paths.dist, 'RPMS/x86_64/fixture-1-1.noarch.rpm')], [source])
  t.deepEqual(kept.published, published)
  rmSync(context.paths.dist, { recursive: true })
  t.deepEqual(await rebuildKept(context, kept), [])
  t.deepEqual(readdirSync(join(context.paths.work, 'reproduce-lts/SRPMS')), [])
})

test('a package that dist does not have is a difference', async (t) => {
  const { context, source } = await packaged(t, SAME)
  t.regex((await rebuildAndCompare(context, source, new Map())).join('\n'), /^fixture-1-1\.noarch\.rpm: not in dist in dist, /)
})

test('dist becomes a repository whose digests hold, the same each time, without what tests have recorded', async (t) => {
  const { context } = await packaged(t, SAME)
  const { dist } = context.paths
  writeFileSync(join(dist, 'lvs-snat-6.12.3.patch'), 'a patch\n')
  mkdirSync(join(dist, 'test'))
  copyFileSync(join(dist, 'SRPMS/fixture-1-1.src.rpm'), join(dist, 'test/fixture-1-1.src.rpm'))
  // A run that was killed has left them.
  cpSync(join(dist, 'RPMS'), join(dist, 'RPMS.new-123-abcdef'), { recursive: true })
  writeFileSync(join(dist, 'SHA256SUMS.new-123-abcdef'), '')
  t.deepEqual(await repository.run(context), { files: read(sumsFile(context)).trimEnd().split('\n').length })
  const sums = read(sumsFile(context))
  for (const name of ['RPMS/x86_64/fixture-1-1.noarch.rpm', 'SRPMS/fixture-1-1.src.rpm', 'repodata/repomd.xml', 'lvs-snat-6.12.3.patch']) t.true(sums.includes(`  ${name}\n`), name)
  t.false(sums.includes('test/'))
  t.false(existsSync(join(dist, 'SHA256SUMS.new-123-abcdef')))
  execFileSync('sha256sum', ['--check', '--quiet', 'SHA256SUMS'], { cwd: dist })
  const primary = readdirSync(join(dist, 'repodata')).find((name) => name.endsWith('primary.xml.gz')) ?? ''
  const listed = execFileSync('gzip', ['-dc', join(dist, 'repodata', primary)], { encoding: 'utf8' })
  t.is(listed.match(/<location href="[^"]*"/g)?.sort().join(' '), '<location href="RPMS/x86_64/fixture-1-1.noarch.rpm" <location href="SRPMS/fixture-1-1.src.rpm"')
  await repository.run(context)
  t.is(read(sumsFile(context)), sums)
  writeFileSync(join(dist, 'SRPMS/fixture-1-1.src.rpm'), 'damaged')
  t.is(spawnSync('sha256sum', ['--check', '--quiet', 'SHA256SUMS'], { cwd: dist }).status, 1)
})

test.serial('whoever builds other packages is told that the signed copy is of the earlier ones', async (t) => {
  const { context } = await packaged(t, SAME)
  const said: string[] = []
  const before = { ...log }
  log.warn = (line) => void said.push(line)
  t.teardown(() => Object.assign(log, before))
  await repository.run(context)
  mkdirSync(signedFolder(context))
  await repository.run(context)
  t.deepEqual(said, [])
  rmSync(join(context.paths.dist, 'SRPMS'), { recursive: true })
  await repository.run(context)
  t.deepEqual(said, [`${signedFolder(context)} is of earlier packages; make repo SIGN=KEY makes it anew.`])
})

test('without a kernel that builds there is neither repository nor proof', async (t) => {
  const { context, write } = createFixture(t)
  write('patches/lts-6.12/series', 'missing.patch\n')
  for (const command of [repo, reproduce]) await fails(t, 'patch', () => command.run(context()))
  t.false(existsSync(context().paths.dist))
})
