// SPDX-License-Identifier: GPL-2.0-only
/** A release: what is refused, what it consists of, and what is said of it. */

import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import parse from 'spdx-expression-parse'
import { Failure } from '../../scripts/base/errors.ts'
import { listFiles, sha256File } from '../../scripts/base/files.ts'
import type { Context, Variables } from '../../scripts/build/context.ts'
import { bring } from '../../scripts/build/step.ts'
import { requireVersion, tagRelease } from '../../scripts/build/tag.ts'
import { describePackage } from '../../scripts/package/describe.ts'
import { buildPackages } from '../../scripts/package/rpm.ts'
import { declaredLicense, packageUrl, sbom } from '../../scripts/package/sbom.ts'
import { requireKey } from '../../scripts/package/sign.ts'
import { Store, type Stored } from '../../scripts/source/store.ts'
import { SOURCE_LICENSES, SOURCES } from '../../scripts/sources.ts'
import { dkmsPackage, dkmsRpms, step as dkms } from '../../scripts/steps/dkms.ts'
import { fetchDebs } from '../../scripts/steps/debs.ts'
import { step as exportStep } from '../../scripts/steps/export.ts'
import { isWithoutPatches, step as fetch } from '../../scripts/steps/fetch.ts'
import { describeRelease } from '../../scripts/collect/facts.ts'
import { clearSignatures, releasedContexts, releaseFolder, releaseStep, requireSources, saysLeftOut, signRelease, verifyRelease } from '../../scripts/collect/release.ts'
import { step as repo } from '../../scripts/steps/repo.ts'
import { BUILDID } from '../../scripts/release.ts'
import { TARGETS } from '../../scripts/targets.ts'
import { emptyDeb } from './deb-fixture.ts'
import { createBothLines, createFixture, createKeyring, fails, fingerprint, printed, read, tarball, type Fixture } from './fixture.ts'

const CHANGES = `# Changelog

## Unreleased

## 1.1.0 (2026-11-29)

### Added

- A release.

## 1.0.0

- The first one.
`

/** A checkout with a commit. */
function repository(t: ExecutionContext, fixture = createFixture(t)): Fixture & { git: (...words: string[]) => string; commit: () => void } {
  const git = (...words: string[]): string => execFileSync('git', words, { cwd: fixture.root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  const commit = (): void => {
    git('add', '--all')
    git('commit', '--quiet', '--message', 'a commit', '--date', '2026-11-29T12:00:00Z')
  }
  fixture.write('.gitignore', '/dist/\n')
  fixture.write('CHANGELOG.md', CHANGES)
  fixture.write('package.json', '{"version": "1.1.0", "license": "GPL-2.0-only"}\n')
  git('init', '--quiet')
  git('config', 'user.name', 'A Releaser')
  git('config', 'user.email', 'releaser@example.org')
  commit()
  git('tag', 'v1.0.0')
  return { ...fixture, git, commit }
}

const WITHOUT_EL6: Variables = { VERSION: '1.1.0', WITHOUT: 'el6' }

const REFUSED: readonly [string, Variables, (checkout: ReturnType<typeof repository>) => void, RegExp][] = [
  ['no version', {}, () => undefined, /^VERSION="" is no version/],
  ['what is not semver', { VERSION: '1.1' }, () => undefined, /^VERSION="1.1" is no version/],
  ['a tag instead of a version', { VERSION: 'v1.1.0' }, () => undefined, /is no version/],
  ['a file that is not added', WITHOUT_EL6, ({ write }) => void write('new', ''), /not committed, or files that are not added/],
  ['a change that is not committed', WITHOUT_EL6, ({ write }) => void write('package.json', '{}'), /not committed, or files that are not added/],
  ['a version that package.json does not say', { VERSION: '1.2.0' }, () => undefined, /^package.json says version 1.1.0, and not 1.2.0/],
  ['a version without a section', WITHOUT_EL6, ({ write, commit }) => (write('CHANGELOG.md', '# Changelog\n\n## Unreleased\n'), commit()), /^CHANGELOG.md has no section for 1.1.0/],
  ['an empty section', WITHOUT_EL6, ({ write, commit }) => (write('CHANGELOG.md', '## 1.1.0\n\n## 1.0.0\n\n- x\n'), commit()), /or nothing in it/],
  ['a change that belongs to no version', WITHOUT_EL6, ({ write, commit }) => (write('CHANGELOG.md', CHANGES.replace('Unreleased\n', 'Unreleased\n\n- x\n')), commit()), /has changes below "Unreleased"/],
  ['a tag that there is', WITHOUT_EL6, ({ git }) => void git('tag', '--annotate', '--message', 'x', 'v1.1.0'), /^There is a tag v1.1.0 already/],
  ['a version below the last tag', WITHOUT_EL6, ({ git }) => void git('tag', 'v1.2.0'), /^1.1.0 is not greater than 1.2.0/],
  ['a version below the last section', WITHOUT_EL6, ({ write, commit }) => (write('CHANGELOG.md', `## 2.0.0\n\n- x\n\n${CHANGES}`), commit()), /^1.1.0 is not greater than 2.0.0/],
  ['the build ID of the release before', WITHOUT_EL6, ({ write, commit, git }) => (write('scripts/release.ts', `export const BUILDID = '${BUILDID}'\n`), commit(), git('tag', '--force', 'v1.0.0')), /is the build ID of 1\.0\.0 already/],
  ['a clone without tags', WITHOUT_EL6, ({ git }) => void git('tag', '--delete', 'v1.0.0'), /tells of 1\.0\.0, and this clone has no tag v1\.0\.0/],
  ['a shallow clone', WITHOUT_EL6, ({ git, root }) => writeFileSync(join(root, '.git/shallow'), `${git('rev-parse', 'HEAD')}\n`), /^This clone is shallow/],
  ['another release without a tag', { ...WITHOUT_EL6, AGAIN: '1' }, () => undefined, /^There is no tag v1.1.0/],
  ['another release of a lightweight tag', { ...WITHOUT_EL6, AGAIN: '1' }, ({ git }) => void git('tag', 'v1.1.0'), /is no annotated tag of the commit/],
  ['another release of another commit', { ...WITHOUT_EL6, AGAIN: '1' }, ({ git, write, commit }) => (git('tag', '--annotate', '--message', 'x', 'v1.1.0'), write('x', ''), commit()), /is no annotated tag of the commit/],
]
for (const [what, variables, change, message] of REFUSED) {
  test(`${what} is refused`, async (t) => {
    const checkout = repository(t)
    change(checkout)
    t.regex((await fails(t, 'usage', () => requireVersion(checkout.context(variables)))).message, message)
  })
}

test.serial('the command refuses before it builds', async (t) => {
  t.regex((await fails(t, 'usage', () => printed(['release']))).message, /^VERSION="" is no version/)
  t.regex((await fails(t, 'usage', () => printed(['release'], { DRYRUN: '1', TARGET: 'el6' }))).message, /TARGET mean nothing for it/)
})

test('a version that a side branch has tagged does not count, and the tag that is made says what has changed', async (t) => {
  const { git, commit, context, write } = repository(t)
  git('checkout', '--quiet', '-b', 'side')
  write('side', '')
  commit()
  git('tag', '--annotate', '--message', 'x', 'v3.0.0')
  git('checkout', '--quiet', '-')
  const version = await requireVersion(context(WITHOUT_EL6))
  t.is(version.commit, git('rev-parse', 'HEAD'))
  t.is(version.time, Number(git('show', '--no-patch', '--format=%ct')))
  t.is(version.changes, '### Added\n\n- A release.')
  await tagRelease(context(), version)
  t.is(git('cat-file', '-t', 'v1.1.0'), 'tag')
  t.is(git('for-each-ref', '--format=%(contents)', 'refs/tags/v1.1.0'), 'lvs-snat 1.1.0\n\n### Added\n\n- A release.')
  await fails(t, 'usage', () => requireVersion(context(WITHOUT_EL6)))
  t.is((await requireVersion(context({ ...WITHOUT_EL6, AGAIN: '1' }))).tag, 'v1.1.0')
})

test('a release has all targets but those that are named, and what needs them', (t) => {
  const { context } = createFixture(t)
  const released = (variables: Variables) => releasedContexts(context(variables)).map(({ variant }) => variant)
  t.deepEqual(released({}), TARGETS.map(({ name }) => name))
  t.deepEqual(released({ WITHOUT: 'el6' }), ['lts', 'lts-6.1'])
  t.deepEqual(saysLeftOut(context({ WITHOUT: 'el6,deb' })), ['TARGET=el6', 'ipvsadm and keepalived for Debian'])
  t.deepEqual(saysLeftOut(context({ WITHOUT: 'lts' })), ['TARGET=lts', 'the package for DKMS, which is for lts and lts-6.1'])
  for (const variables of [{ WITHOUT: 'el7' }, { WITHOUT: 'lts,lts-6.1,el6' }, { TARGET: 'el6' }, { DEBUG: '1' }] satisfies Variables[]) {
    t.throws(() => released(variables), { instanceOf: Failure })
  }
})

test.serial('a target whose source cannot be had is told of before anything is built, unless it is left out', async (t) => {
  const { root, context } = createBothLines(t)
  const bin = join(root, 'bin')
  mkdirSync(bin)
  for (const name of ['curl', 'apt-get', 'apt-cache']) writeFileSync(join(bin, name), '#!/bin/sh\necho "no network" >&2\nexit 6\n', { mode: 0o755 })
  const path = process.env['PATH']
  t.teardown(() => (process.env['PATH'] = path))
  process.env['PATH'] = `${bin}:${path}`
  const failure = await fails(t, 'source', () => requireSources(context({ VERSION: '1.1.0' })))
  t.is(failure.message, 'Nothing is released: there are no sources for el6,deb.')
  t.regex(failure.details.hint ?? '', /WITHOUT=el6,deb\n/)
  t.regex(failure.details.excerpt?.join('\n') ?? '', /^el6: Could not download .*\ndeb of lts: apt has no ipvsadm-trixie for this host\.\ndeb of lts-6\.1: /)
  await t.notThrowsAsync(() => requireSources(context({ VERSION: '1.1.0', WITHOUT: 'el6,deb' })))
})

/** Takes a library from the user, and puts it into the store as if apt had brought it. */
async function bringByApt(context: Fixture['context'], folder: string, patched: boolean): Promise<Variables> {
  const store = new Store(context().paths.store)
  const by = { origin: 'apt', from: 'source package popt 1.0-1~deb12u2', verified: 'y', ...(patched ? { package: { distribution: 'debian', name: 'popt', version: '1.0-1~deb12u2' } } : {}) } as const
  const add = (name: string, filename: string, more: Partial<Stored>) => store.add(tarball(folder, filename, { README: name }), { name, version: '1.0', filename, ...by, ...more })
  const patches = patched ? await add('popt-patches', 'popt_1.0-1~deb12u2.debian.tar.xz', { version: '1.0-1~deb12u2' }) : null
  await add('popt', 'popt_1.0.orig.tar.gz', { patches })
  return { SOURCE: (context().variables.SOURCE ?? '').replace(/,popt=[^,]*/, '') }
}

test('nothing is released with a library that lacks the patches which the distribution has for it', async (t) => {
  const { root, context } = createBothLines(t)
  const released = (variables: Variables) => requireSources(context({ VERSION: '1.1.0', WITHOUT: 'el6,deb', ...variables }))
  const unpatched = await bringByApt(context, root, false)
  const failure = await fails(t, 'source', () => released(unpatched))
  t.regex(failure.message, /^Nothing is released: popt came without the security patches/)
  t.regex(failure.details.hint ?? '', /name it: SOURCE=popt=PATH$/)
  await t.notThrowsAsync(() => released({}))
  await t.notThrowsAsync(async () => released(await bringByApt(context, root, true)))
  // Of a host without an archive that has it.
  t.true(isWithoutPatches({ name: 'popt', origin: 'upstream' } as Stored))
  t.false(isWithoutPatches({ name: 'busybox', origin: 'upstream' } as Stored))
})

test('of a library with patches a release says which source package of the distribution it is', async (t) => {
  const { root, context, write } = createBothLines(t)
  write('package.json', '{"license": "GPL-2.0-only"}\n')
  const c = context(await bringByApt(context, root, true))
  await bring(c, fetch)
  await bring(c, exportStep)
  const folder = join(root, 'release')
  const [binary, source] = (await fixturePackage(c, root, 'ipvsadm', 'popt_1.0.orig.tar.gz', 'popt_1.0-1~deb12u2.debian.tar.xz')).reverse() as [string, string]
  for (const path of [binary, source]) cpSync(path, join(folder, c.variant, basename(path)))
  const version = { version: '1.1.0', tag: 'v1.1.0', commit: 'a'.repeat(40), time: 0, changes: '' }
  const facts = await describeRelease({ context: c, contexts: [c], dkms: { contexts: [], folder: join(folder, 'dkms') }, debs: [], version, folder, without: [] })
  const document = facts.sbom as unknown as Document
  checkSpdx(t, document)
  const ids = ['SPDXRef-Source-popt-1.0-1-deb12u2', 'SPDXRef-Source-popt-patches-1.0-1-deb12u2']
  t.deepEqual(document.relationships.filter(({ spdxElementId }) => spdxElementId.endsWith('.src.rpm')).map(({ relatedSpdxElement }) => relatedSpdxElement), ids)
  for (const [name, file] of [['popt', 'popt_1.0.orig.tar.gz'], ['popt-patches', 'popt_1.0-1~deb12u2.debian.tar.xz']] as const) {
    t.like(document.packages.find((each) => each.name === name), {
      versionInfo: '1.0-1~deb12u2', packageFileName: file, sourceInfo: 'source package popt 1.0-1~deb12u2; y', licenseDeclared: 'MIT',
      externalRefs: [{ referenceLocator: 'pkg:deb/debian/popt@1.0-1~deb12u2?arch=source' }],
    })
  }
  const statement = (await facts.statement(new Map())) as unknown as Statement
  checkStatement(t, statement)
  const named = statement.predicate.buildDefinition.resolvedDependencies.filter(({ name }) => name.startsWith('popt'))
  t.deepEqual(named.map(({ name, uri }) => [name, uri]), ['popt_1.0.orig.tar.gz', 'popt_1.0-1~deb12u2.debian.tar.xz'].map((name) => [name, 'pkg:deb/debian/popt@1.0-1~deb12u2?arch=source']))
})

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
Name: NAME
Epoch: 2
Version: 1.0
Release: 1+a
Summary: A fixture
License: MIT AND LicenseRef-Odd
SOURCES
ExclusiveArch: x86_64
%description
A fixture.
%install
install -D -m 0644 %{SOURCE0} %{buildroot}/usr/share/NAME/data
%files
/usr/share/NAME
%changelog
* Sun Nov 22 2026 Nobody <nobody@localhost> - 2:1.0-1+a
- First
`

/** @returns paths of a source package and its binary package, of which the first source is in */
function fixturePackage(context: Context, folder: string, name: string, ...sources: string[]): Promise<string[]> {
  const topdir = join(folder, `${context.variant}-${name}`)
  const path = join(folder, `${name}-${sources[0]}`)
  writeFileSync(path, 'data\n')
  const lines = sources.map((source, index) => `Source${index}: ${source}`).join('\n')
  return buildPackages(context, { name, spec: SPEC.replaceAll('NAME', name).replace('SOURCES', lines), sources: sources.map((source) => ({ name: source, path })), topdir, log: join(topdir, 'log') })
}

/** Fills dist of a target with a package of a source, as if it had been built, and one that the targets have in common. */
async function fillDist(context: Context, folder: string): Promise<void> {
  await bring(context, exportStep)
  const built = [...await fixturePackage(context, folder, `kernel-${context.target.line}`, 'kernel.config'), ...await fixturePackage(context, folder, 'ipvsadm', 'tool-1.0.tar.gz')]
  for (const path of built) cpSync(path, join(context.paths.dist, path.endsWith('.src.rpm') ? 'SRPMS' : 'RPMS/x86_64', basename(path)))
  await repo.run(context)
}

/** Each target's Debian has another revision. */
const debVersion = ({ target }: Context): string => `1:1.31-${target.stock?.suite === 'trixie' ? 5 : 1}+bsnat1.3`

/** @returns what SOURCE= says of the source packages of both releases of Debian */
const debianSources = (folder: string): string[] =>
  ['trixie', 'bookworm'].flatMap((suite) => ['ipvsadm', 'keepalived'].map((name) => `${name}-${suite}=${tarball(folder, `${name}_1.31-5.source.tar.xz`, { [suite]: name })}`))

/** Makes the packages of the tools for Debian, as if they had been built. */
async function fillDebs(context: Context): Promise<void> {
  await bring(context, fetchDebs)
  for (const name of ['ipvsadm', 'keepalived']) emptyDeb(join(context.paths.work, 'debs', name), name, debVersion(context))
  const sources = join(context.paths.work, 'deb-sources/ipvsadm')
  mkdirSync(sources, { recursive: true })
  writeFileSync(join(sources, 'ipvsadm.dsc'), '')
}

interface Element { SPDXID: string; name: string; packageFileName?: string; checksums?: { checksumValue: string }[] }
interface Document {
  spdxVersion: string
  dataLicense: string
  SPDXID: string
  packages: Element[]
  relationships: { spdxElementId: string; relationshipType: string; relatedSpdxElement: string }[]
  creationInfo: { created: string }
  documentNamespace: string
  hasExtractedLicensingInfos: { licenseId: string }[]
}
interface Manifest {
  commit: string
  without: string[]
  targets: Record<string, { command: string; kernelRelease: string }>
  packages: { path: string; sha256: string }[]
}
interface Statement {
  subject: { name: string; digest: { sha256: string } }[]
  predicate: { buildDefinition: { buildType: string; externalParameters: unknown; resolvedDependencies: { name: string; uri?: string; digest: Record<string, string> }[] }; runDetails: { builder: { id: string } } }
}

const json = (...path: string[]): unknown => JSON.parse(read(...path))

test.serial('a release has the packages of all targets, and says of what they were made; the same commit gives the same bytes', async (t) => {
  const { root, context, git } = repository(t, createBothLines(t))
  const c = context({ ...WITHOUT_EL6, SOURCE: [context().variables.SOURCE, ...debianSources(dirname(root))].join(',') })
  const contexts = releasedContexts(c)
  for (const each of contexts) await fillDist(each, join(root, '..'))
  for (const each of contexts) await fillDebs(each)
  await bring(c, dkms)
  // What the targets are built by takes hours.
  const step = { ...releaseStep(c), after: [] }
  await bring(c, step)

  const folder = releaseFolder(c)
  t.is(folder, join(root, 'dist/release/1.1.0'))
  const files = listFiles(folder)
  t.deepEqual(files.filter((name) => !name.includes('/')), ['CHANGELOG.md', 'SHA256SUMS', 'lvs-snat-1.1.0.intoto.json', 'lvs-snat-1.1.0.spdx.json', 'manifest.json'])
  t.deepEqual(files.filter((name) => name.startsWith('lts/') && !name.includes('repodata')), [
    'lts/DEBS/ipvsadm_1.31-5+bsnat1.3_amd64.deb', 'lts/DEBS/keepalived_1.31-5+bsnat1.3_amd64.deb', 'lts/DSCS/ipvsadm.dsc',
    'lts/RPMS/x86_64/ipvsadm-1.0-1+a.x86_64.rpm', 'lts/RPMS/x86_64/kernel-6.12-1.0-1+a.x86_64.rpm', 'lts/SHA256SUMS',
    'lts/SRPMS/ipvsadm-1.0-1+a.src.rpm', 'lts/SRPMS/kernel-6.12-1.0-1+a.src.rpm', 'lts/lvs-snat-6.12.3.patch',
  ])
  t.true(files.includes('lts/repodata/repomd.xml') && files.includes('lts-6.1/lvs-snat-6.1.7.patch'))
  const [rpm = '', srpm = ''] = dkmsRpms(c).map((path) => basename(path))
  t.deepEqual(files.filter((name) => /^dkms\/(?!repodata)/.test(name)), [`dkms/DEBS/${basename(dkmsPackage(c))}`, `dkms/RPMS/noarch/${rpm}`, `dkms/SRPMS/${srpm}`])
  t.true(files.includes('dkms/repodata/repomd.xml'))
  t.is(execFileSync('sha256sum', ['--check', '--strict', '--quiet', 'SHA256SUMS'], { cwd: join(folder, 'lts-6.1'), encoding: 'utf8' }), '')
  t.regex(read(folder, 'lts-6.1/SHA256SUMS'), /  DEBS\/ipvsadm_.*\n.*  DEBS\/keepalived_.*\n.*  DSCS\/ipvsadm\.dsc\n$/)
  t.is(read(folder, 'CHANGELOG.md'), '# lvs-snat 1.1.0\n\n### Added\n\n- A release.\n')
  await t.notThrowsAsync(() => verifyRelease(folder))

  const manifest = json(folder, 'manifest.json') as Manifest
  t.is(manifest.commit, git('rev-parse', 'HEAD'))
  t.deepEqual(manifest.without, ['el6'])
  t.is(manifest.targets['lts']?.kernelRelease, '6.12.3-1.snat1.x86_64')
  t.is(manifest.targets['lts-6.1']?.command, 'make TARGET=lts-6.1')
  t.deepEqual(manifest.packages.map(({ path }) => path).sort(), files.filter((name) => /\.(rpm|deb)$/.test(name)))
  for (const { path, sha256 } of manifest.packages) t.is(sha256, await sha256File(join(folder, path)))

  const document = json(folder, 'lvs-snat-1.1.0.spdx.json') as Document
  checkSpdx(t, document)
  t.deepEqual(document.hasExtractedLicensingInfos.map(({ licenseId }) => licenseId), ['LicenseRef-Odd'])
  const related = (from: string): string[] => document.relationships.filter(({ spdxElementId }) => spdxElementId === from).map(({ relationshipType, relatedSpdxElement }) => `${relationshipType} ${relatedSpdxElement}`)
  t.deepEqual(related('SPDXRef-Package-kernel-6.12-1.0-1-a.x86-64.rpm'), ['GENERATED_FROM SPDXRef-Package-kernel-6.12-1.0-1-a.src.rpm'])
  t.deepEqual(related('SPDXRef-Package-kernel-6.12-1.0-1-a.src.rpm'), ['GENERATED_FROM SPDXRef-Source-linux-6.12-6.12.3'])
  const musl = document.packages.find(({ name }) => name === 'musl')?.SPDXID
  t.deepEqual(related('SPDXRef-Package-ipvsadm-1.0-1-a.x86-64.rpm'), ['GENERATED_FROM SPDXRef-Package-ipvsadm-1.0-1-a.src.rpm', `STATIC_LINK ${musl}`])
  t.deepEqual(related('SPDXRef-Package-lvs-snat-6.12.3.patch'), ['PATCH_FOR SPDXRef-Source-linux-6.12-6.12.3'])
  const deb = document.packages.find(({ packageFileName }) => packageFileName === basename(dkmsPackage(c)))?.SPDXID ?? ''
  t.deepEqual(related(deb), ['GENERATED_FROM SPDXRef-Source-linux-6.12-6.12.3', 'GENERATED_FROM SPDXRef-Source-linux-6.1-6.1.7'])
  const tools = document.packages.filter(({ packageFileName }) => packageFileName?.startsWith('keepalived_') && packageFileName.endsWith('.deb'))
  t.deepEqual(tools.flatMap(({ SPDXID }) => related(SPDXID)), ['GENERATED_FROM SPDXRef-Source-keepalived-trixie-1.31', 'GENERATED_FROM SPDXRef-Source-keepalived-bookworm-1.31'])
  // Both targets have it.
  t.is(document.packages.filter(({ packageFileName }) => packageFileName === 'ipvsadm-1.0-1+a.x86_64.rpm').length, 1)

  const statement = json(folder, 'lvs-snat-1.1.0.intoto.json') as Statement
  checkStatement(t, statement)
  t.deepEqual(statement.subject.map(({ name }) => name), files.filter((name) => name !== 'SHA256SUMS' && !name.endsWith('.intoto.json')))
  for (const { name, digest } of statement.subject) t.is(digest.sha256, await sha256File(join(folder, name)))
  t.deepEqual(statement.predicate.buildDefinition.externalParameters, { version: '1.1.0', tag: 'v1.1.0', without: ['el6'], commands: { lts: 'make TARGET=lts', 'lts-6.1': 'make TARGET=lts-6.1' } })
  const dependencies = statement.predicate.buildDefinition.resolvedDependencies
  t.deepEqual(dependencies[0], { name: 'lvs-snat', digest: { gitCommit: manifest.commit } })
  t.deepEqual(dependencies.find(({ name }) => name === 'linux-6.12.3.tar.xz')?.digest, { sha256: await sha256File((c.variables.SOURCE ?? '').replace(/^.*linux-6\.12=([^,]*).*$/, '$1')) })
  // No path of this host is told.
  t.false(files.some((name) => !/\.(rpm|deb|gz|zst)$/.test(name) && read(folder, name).includes(dirname(root))))

  const first = new Map(files.map((name) => [name, readFileSync(join(folder, name))]))
  rmSync(folder, { recursive: true })
  await bring(c, step)
  t.deepEqual(listFiles(folder), files)
  for (const [name, bytes] of first) t.true(bytes.equals(readFileSync(join(folder, name))), name)

  writeFileSync(join(folder, 'untold'), '')
  t.deepEqual((await fails(t, 'build', () => verifyRelease(folder))).details.excerpt, ['untold: not told of'])
  rmSync(join(folder, 'lts/repodata/repomd.xml'))
  t.true((await fails(t, 'build', () => verifyRelease(folder))).details.excerpt?.some((line) => line.startsWith('lts/repodata/repomd.xml: ')))

  writeFileSync(join(contexts[0]?.paths.dist ?? '', 'RPMS/x86_64/ipvsadm-1.0-1+a.x86_64.rpm'), 'damaged')
  rmSync(folder, { recursive: true })
  await fails(t, 'build', () => bring(c, step))
  t.deepEqual(readdirSync(join(root, 'dist/release')), [])
  t.false(existsSync(folder))
})

test.serial('a signed release has a signed tag, and beside the packages signed ones of the same content', async (t) => {
  const { root, context, git } = repository(t)
  const { folder: home, gpg } = createKeyring(t)
  gpg('--quick-generate-key', 'releaser@example.org', 'rsa2048', 'sign')
  const signer = await requireKey('releaser@example.org')
  const c = context(WITHOUT_EL6)
  const folder = releaseFolder(c)
  const [, rpm = ''] = await fixturePackage(c, home, 'fixture', 'data')
  const name = `lts/RPMS/x86_64/${basename(rpm)}`
  cpSync(rpm, join(folder, name))
  writeFileSync(join(folder, 'SHA256SUMS'), `${await sha256File(rpm)}  ${name}\n`)
  await signRelease(c, signer)
  await t.notThrowsAsync(() => verifyRelease(folder))
  const verify = (file: string) => execFileSync('gpg', ['--batch', '--verify', join(folder, `${file}.asc`), join(folder, file)], { stdio: 'ignore' })
  t.notThrows(() => verify('SHA256SUMS'))
  t.notThrows(() => verify('lts/signed/repodata/repomd.xml'))
  t.is(fingerprint(gpg('--with-colons', '--show-keys', join(folder, 'KEY.asc'))), signer)
  const header = (path: string) => execFileSync('rpm', ['--query', '--package', '--nosignature', '--queryformat', '%{SHA256HEADER}', path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  const signed = join(folder, 'lts/signed/RPMS/x86_64', basename(rpm))
  t.not(await sha256File(signed), await sha256File(rpm))
  t.is(header(signed), header(rpm))

  // What a run that was killed has left, and an earlier one has signed.
  for (const left of ['lts/signed.new-4711-abcdef/KEY.asc', 'old/signed/RPMS/foreign.rpm']) {
    mkdirSync(dirname(join(folder, left)), { recursive: true })
    writeFileSync(join(folder, left), '')
  }
  t.deepEqual((await fails(t, 'build', () => verifyRelease(folder))).details.excerpt?.sort(), ['lts/signed.new-4711-abcdef/KEY.asc: not told of', 'old/signed/RPMS/foreign.rpm: not told of'])
  rmSync(join(folder, 'old'), { recursive: true })
  clearSignatures(c)
  await t.notThrowsAsync(() => verifyRelease(folder))
  t.deepEqual(listFiles(folder).filter((file) => /signed|asc/.test(file)), [])

  await tagRelease(c, await requireVersion(c), signer)
  t.notThrows(() => git('verify-tag', 'v1.1.0'), root)
})

/** What packages, relationships and the document may have, of what SPDX 2.3 knows, and what they have to have. */
const KEYS = {
  document: ['spdxVersion', 'dataLicense', 'SPDXID', 'name', 'documentNamespace', 'creationInfo', 'packages', 'hasExtractedLicensingInfos', 'relationships'],
  package: [
    'SPDXID', 'name', 'versionInfo', 'packageFileName', 'summary', 'supplier', 'downloadLocation', 'sourceInfo', 'primaryPackagePurpose', 'checksums', 'filesAnalyzed',
    'licenseConcluded', 'licenseDeclared', 'licenseComments', 'copyrightText', 'externalRefs',
  ],
} as const

/** The rules of the specification that its JSON schema, and its text, have for what is used here. */
function checkSpdx(t: ExecutionContext, document: Document): void {
  t.deepEqual(Object.keys(document).filter((key) => !(KEYS.document as readonly string[]).includes(key)), [])
  t.is(document.spdxVersion, 'SPDX-2.3')
  t.is(document.dataLicense, 'CC0-1.0')
  t.is(document.SPDXID, 'SPDXRef-DOCUMENT')
  t.regex(document.documentNamespace, /^https:\/\/[^#\s]+$/)
  t.regex(document.creationInfo.created, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
  const ids = ['SPDXRef-DOCUMENT', ...document.packages.map(({ SPDXID }) => SPDXID)]
  t.is(new Set(ids).size, ids.length)
  for (const each of document.packages as (Record<string, string | boolean> & Element)[]) {
    t.deepEqual(Object.keys(each).filter((key) => !(KEYS.package as readonly string[]).includes(key)), [], each.SPDXID)
    t.regex(each.SPDXID, /^SPDXRef-[a-zA-Z0-9.-]+$/)
    t.true(typeof each.name === 'string' && each.name !== '')
    t.regex(String(each['downloadLocation']), /^(NOASSERTION|https:\/\/\S+)$/)
    t.regex(String(each['supplier']), /^(NOASSERTION|Organization: .+)$/)
    t.is(each['filesAnalyzed'], false)
    if (each['licenseDeclared'] !== 'NOASSERTION') t.notThrows(() => parse(String(each['licenseDeclared'])), each.SPDXID)
    if (each['primaryPackagePurpose'] !== undefined) t.true(['SOURCE', 'INSTALL', 'LIBRARY'].includes(String(each['primaryPackagePurpose'])))
    for (const { checksumValue, algorithm } of (each.checksums ?? []) as { checksumValue: string; algorithm?: string }[]) t.regex(`${algorithm} ${checksumValue}`, /^SHA256 [0-9a-f]{64}$/)
    for (const reference of (each['externalRefs'] ?? []) as unknown as Record<string, string>[]) {
      t.deepEqual({ ...reference, referenceLocator: '' }, { referenceCategory: 'PACKAGE-MANAGER', referenceType: 'purl', referenceLocator: '' })
      t.regex(reference['referenceLocator'] ?? '', /^pkg:[a-z]+(\/[a-z-]+)?\/[^/@?#\s]+@[^/@?#\s+:]+(\?[a-z]+=[^&\s]+(&[a-z]+=[^&\s]+)*)?$/)
    }
  }
  for (const { spdxElementId, relationshipType, relatedSpdxElement } of document.relationships) {
    t.true(['DESCRIBES', 'CONTAINS', 'GENERATED_FROM', 'STATIC_LINK', 'PATCH_FOR'].includes(relationshipType))
    t.true(ids.includes(spdxElementId) && ids.includes(relatedSpdxElement), `${spdxElementId} ${relationshipType} ${relatedSpdxElement}`)
  }
  t.deepEqual(document.relationships.filter(({ relationshipType }) => relationshipType === 'DESCRIBES').map(({ spdxElementId }) => spdxElementId), ['SPDXRef-DOCUMENT'])
  const told = document.hasExtractedLicensingInfos.map(({ licenseId }) => licenseId)
  for (const used of JSON.stringify(document.packages).match(/LicenseRef-[A-Za-z0-9.-]+/g) ?? []) t.true(told.includes(used), used)
}

/** What the specifications of in-toto and SLSA ask of a statement. */
function checkStatement(t: ExecutionContext, statement: Statement): void {
  t.deepEqual(Object.keys(statement), ['_type', 'subject', 'predicateType', 'predicate'])
  t.like(statement, { _type: 'https://in-toto.io/Statement/v1', predicateType: 'https://slsa.dev/provenance/v1' })
  const { buildDefinition, runDetails } = statement.predicate
  t.deepEqual(Object.keys(buildDefinition), ['buildType', 'externalParameters', 'internalParameters', 'resolvedDependencies'])
  for (const uri of [buildDefinition.buildType, runDetails.builder.id]) t.regex(uri, /^tag:[\w.-]+@[\w.-]+,\d{4}:\S+$/)
  t.is(new Set(statement.subject.map(({ name }) => name)).size, statement.subject.length)
  for (const { digest } of statement.subject) t.regex(digest.sha256, /^[0-9a-f]{64}$/)
  for (const { digest } of buildDefinition.resolvedDependencies) t.regex(Object.entries(digest).join(), /^(sha256,[0-9a-f]{64}|gitCommit,[0-9a-f]{40})$/)
}

test('licences are told in the words of SPDX, or in those of the package', (t) => {
  t.deepEqual(declaredLicense('GPL-2.0-or-later AND LicenseRef-Odd'), { licenseDeclared: 'GPL-2.0-or-later AND LicenseRef-Odd' })
  t.deepEqual(declaredLicense('GPLv2'), { licenseDeclared: 'GPL-2.0-only' })
  t.deepEqual(declaredLicense('Redistributable'), { licenseDeclared: 'NOASSERTION', licenseComments: 'It says "Redistributable", which is no expression of SPDX.' })
  for (const name of [...SOURCES.map((source) => source.name), 'musl', ...TARGETS.map(({ source }) => source)]) t.notThrows(() => parse(SOURCE_LICENSES[name] ?? ''), name)
})

test('the URL of a package names it to programs', (t) => {
  t.is(packageUrl('rpm/lvs-snat', 'kernel', '6.1-1+a', { arch: 'x86_64', epoch: '2' }), 'pkg:rpm/lvs-snat/kernel@6.1-1%2Ba?arch=x86_64&epoch=2')
})

test('a bill of materials that contradicts itself is refused', (t) => {
  const version = { version: '1.1.0', tag: 'v1.1.0', commit: 'a', time: 0, changes: '' }
  const bill = { version, license: 'MIT', products: [], ingredients: [], patches: [{ file: 'a.patch', sha256: '', for: 'SPDXRef-Source-linux-1' }] }
  t.throws(() => sbom(bill), { message: /names SPDXRef-Source-linux-1, and has none/ })
  const linux = { name: 'linux', version: '1', filename: 'linux', sha256: '', license: 'MIT', origin: '' }
  t.notThrows(() => sbom({ ...bill, ingredients: [linux] }))
  t.throws(() => sbom({ ...bill, ingredients: [linux, linux] }), { message: /Two elements/ })
})

test('what a package says of itself is read of both kinds', async (t) => {
  const { context } = createBothLines(t)
  const c = context()
  await bring(c, fetch)
  await bring(c, dkms)
  t.like(await describePackage(dkmsPackage(c)), { type: 'deb', name: 'ipvs-snat-dkms', architecture: 'all', license: 'GPL-2.0-only', version: '6.12.3+6.1.7-1.1.snat1' })
})
