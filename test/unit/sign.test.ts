// SPDX-License-Identifier: GPL-2.0-only
/** Packages and repositories signed with a key of the user's, and verified by the programs that will. */

import { execFileSync, spawnSync } from 'node:child_process'
import { appendFileSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import test from 'ava'
import { Failure } from '../../scripts/base/errors.ts'
import { checksums } from '../../scripts/base/files.ts'
import { KEY_FILE, signPackages } from '../../scripts/package/sign.ts'
import { createRepository, requireMade, sumsFile } from '../../scripts/steps/repo.ts'
import { createFixture, createKeyring, fails, fingerprint } from './fixture.ts'

const SPEC = `Name: fixture
Version: 1
Release: 1
Summary: A package
License: GPL-2.0-only
BuildArch: noarch
%description
A package.
%files
`

test.serial('only one key that can sign now is taken, and its public half alone is published', async (t) => {
  const { folder, gpg } = createKeyring(t)
  const dist = join(folder, 'dist')
  mkdirSync(join(dist, 'RPMS'), { recursive: true })
  gpg('--quick-generate-key', 'Old <old@example.org>', 'rsa2048', 'sign')
  gpg('--quick-generate-key', 'New <new@example.org>', 'rsa2048', 'sign')
  gpg('--faked-system-time', '20200101T000000!', '--quick-generate-key', 'late@example.net', 'rsa2048', 'sign', '1d')
  const published = async (key: string) => {
    await signPackages(dist, join(dist, 'signed'), key, async () => undefined)
    return gpg('--with-colons', '--show-keys', join(dist, 'signed', KEY_FILE))
  }
  const refused = async (key: string, message: RegExp) => {
    await t.throwsAsync(published(key), { instanceOf: Failure, message })
    t.deepEqual(readdirSync(dist), ['RPMS'])
  }
  await refused('example.org', /^SIGN="example.org" is said of 2 keys\.$/)
  await refused('late@example.net', /is a key that cannot sign: it has expired/)
  await refused('--version', /is no key that gpg could sign with/)
  const listed = await published('new@example.org')
  t.is(listed.match(/^pub:/gm)?.length, 1)
  t.is(fingerprint(listed), fingerprint(gpg('--with-colons', '--list-keys', 'new@example.org')))
  t.is(fingerprint(await published(`${fingerprint(listed)}!`)), fingerprint(listed))
})

test.serial('a signed copy is accepted by rpm, gpg and apt, and refused once it was changed', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  const { folder, gpg } = createKeyring(t)
  gpg('--quick-generate-key', 'packager@example.org', 'rsa2048', 'sign')
  const key = fingerprint(gpg('--with-colons', '--list-keys'))

  const dist = join(folder, 'dist')
  writeFileSync(join(folder, 'fixture.spec'), SPEC)
  const build = () => execFileSync('rpmbuild', ['-bb', '--define', `_topdir ${folder}/top`, '--define', `_rpmdir ${dist}/RPMS`, '--define', '_rpmfilename x86_64/%{name}.rpm', join(folder, 'fixture.spec')], { stdio: 'ignore' })
  build()
  const control = join(folder, 'deb/DEBIAN/control')
  mkdirSync(join(folder, 'deb/DEBIAN'), { recursive: true })
  writeFileSync(control, 'Package: fixture\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: A package\n')
  mkdirSync(join(dist, 'DEBS'))
  execFileSync('dpkg-deb', ['--build', '--root-owner-group', join(folder, 'deb'), join(dist, 'DEBS/fixture_1_all.deb')], { stdio: 'ignore' })

  const source = join(dist, 'DSCS/fixture_1.tar.xz')
  mkdirSync(dirname(source))
  writeFileSync(source, 'its source')
  const signed = join(dist, 'signed')
  await t.throwsAsync(signPackages(dist, signed, 'nobody@example.org', (where) => createRepository(c, where)), { instanceOf: Failure, message: /is no key/ })
  await signPackages(dist, signed, key, (where) => createRepository(c, where))

  const rpm = join(signed, 'RPMS/x86_64/fixture.rpm')
  const keys = ['--define', `_dbpath ${folder}/rpmdb`, '--define', '_keyring rpmdb']
  execFileSync('rpmkeys', [...keys, '--import', join(signed, KEY_FILE)])
  t.regex(execFileSync('rpmkeys', [...keys, '--checksig', rpm], { encoding: 'utf8' }), /digests signatures OK/)
  t.notRegex(execFileSync('rpmkeys', [...keys, '--checksig', join(dist, 'RPMS/x86_64/fixture.rpm')], { encoding: 'utf8' }), /signatures OK/)
  const bytes = readFileSync(rpm)
  await signPackages(dist, signed, key, (where) => createRepository(c, where))
  t.deepEqual(readFileSync(rpm), bytes, 'it would have its size and its time, and another digest')
  gpg('--quick-generate-key', 'another@example.org', 'rsa2048', 'sign')
  await signPackages(dist, signed, 'another@example.org', (where) => createRepository(c, where))
  t.notDeepEqual(readFileSync(rpm), bytes, 'by another key')
  await signPackages(dist, signed, key, (where) => createRepository(c, where))
  const changed = readFileSync(rpm)
  writeFileSync(join(folder, 'fixture.spec'), SPEC.replace('Summary: A', 'Summary: Another'))
  build()
  await signPackages(dist, signed, key, (where) => createRepository(c, where))
  t.notDeepEqual(readFileSync(rpm), changed, 'of another content')
  t.regex(execFileSync('rpm', ['--query', '--package', '--nosignature', '--queryformat', '%{SUMMARY}', rpm], { encoding: 'utf8' }), /^Another/)
  t.regex(execFileSync('rpmkeys', [...keys, '--checksig', rpm], { encoding: 'utf8' }), /digests signatures OK/)

  const verify = () => spawnSync('gpg', ['--batch', '--verify', join(signed, 'repodata/repomd.xml.asc'), join(signed, 'repodata/repomd.xml')]).status
  t.is(verify(), 0)
  appendFileSync(join(signed, 'repodata/repomd.xml'), ' ')
  t.not(verify(), 0)

  t.is(readFileSync(join(signed, 'DSCS', basename(source)), 'utf8'), 'its source')
  const download = () => aptDownload(join(folder, 'apt'), join(signed, 'DEBS'), join(signed, KEY_FILE))
  t.is(download().status, 0, download().stderr)
  t.deepEqual(readFileSync(join(folder, 'apt/fixture_1_all.deb')), readFileSync(join(dist, 'DEBS/fixture_1_all.deb')))
  const deb = join(signed, 'DEBS/fixture_1_all.deb')
  const whole = readFileSync(deb)
  writeFileSync(deb, Buffer.concat([whole.subarray(0, -1), Buffer.from('x')]))
  t.not(download().status, 0)
  writeFileSync(deb, whole)
  appendFileSync(join(signed, 'DEBS/Packages'), '\n')
  t.not(download().status, 0)
  t.false(existsSync(join(folder, 'apt/fixture_1_all.deb')))
})

test('what was not made here is refused by its name', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  const { checkout, dist } = c.paths
  const put = (path: string, content: string) => (mkdirSync(dirname(path), { recursive: true }), writeFileSync(path, content))
  for (const name of ['RPMS/x86_64/kernel.rpm', 'DEBS/made.deb', 'DKMS/made.rpm']) put(join(dist, name), name)
  for (const name of ['DEBS/made.deb', 'DKMS/made.rpm']) cpSync(join(dist, name), join(checkout, 'dkms', basename(name)))
  writeFileSync(sumsFile(c), await checksums(dist, ['RPMS/x86_64/kernel.rpm']))
  await requireMade(c)
  for (const name of ['RPMS/x86_64/foreign.rpm', 'SRPMS/foreign.src.rpm', 'DEBS/earlier.deb', 'DKMS/earlier.rpm']) put(join(dist, name), name)
  appendFileSync(join(dist, 'RPMS/x86_64/kernel.rpm'), 'x')
  const failure = await fails(t, 'build', () => requireMade(c))
  t.deepEqual(failure.details.excerpt, ['RPMS/x86_64/foreign.rpm', 'RPMS/x86_64/kernel.rpm', 'SRPMS/foreign.src.rpm', 'DKMS/earlier.rpm', 'DEBS/earlier.deb'])
})

/** Takes the package by an apt with nothing but this repository, in a folder of its own. */
function aptDownload(folder: string, repository: string, key: string): { status: number | null; stderr: string } {
  rmSync(folder, { recursive: true, force: true })
  for (const name of ['parts', 'lists/partial', 'archives/partial']) mkdirSync(join(folder, name), { recursive: true })
  writeFileSync(join(folder, 'parts/a.sources'), `Types: deb\nURIs: file:${repository}\nSuites: ./\nSigned-By: ${key}\n`)
  const settings = {
    'Dir::Etc::SourceList': '/dev/null', 'Dir::Etc::SourceParts': join(folder, 'parts'), 'Dir::State::Lists': join(folder, 'lists'),
    'Dir::State::Status': '/dev/null', 'Dir::Cache': folder, 'Dir::Cache::Archives': join(folder, 'archives'), 'APT::Sandbox::User': '',
  }
  const options = Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`])
  const run = (...words: string[]) => spawnSync('apt-get', ['--quiet', ...options, ...words], { cwd: folder, encoding: 'utf8' })
  const update = run('update', '--error-on=any')
  return update.status === 0 ? run('download', 'fixture') : update
}
