// SPDX-License-Identifier: GPL-2.0-only
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { download, lastComplaint } from '../../scripts/base/download.ts'
import { Failure } from '../../scripts/base/errors.ts'
import { verifyTarball } from '../../scripts/base/signature.ts'
import type { Variables } from '../../scripts/build/context.ts'
import { bring, type Stamp, type Step } from '../../scripts/build/step.ts'
import { findBuilder, HOST } from '../../scripts/package/builders.ts'
import { Apt, suiteEntries, upstreamPart, withSourceEntries } from '../../scripts/source/apt.ts'
import { pinnedKey } from '../../scripts/source/srpm.ts'
import { Store, type Stored } from '../../scripts/source/store.ts'
import { el6Kernel, SOURCES, type Source } from '../../scripts/sources.ts'
import { step as check } from '../../scripts/steps/check.ts'
import { step as config } from '../../scripts/steps/config.ts'
import { step as dkms } from '../../scripts/steps/dkms.ts'
import { fetchUpstream, patchesOf, sourceFile, step as fetch, unusedSources } from '../../scripts/steps/fetch.ts'
import { revisionOf, step as prep } from '../../scripts/steps/prep.ts'
import { createBothLines, createFixture, createKeyring, fails, tarball } from './fixture.ts'

const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex')

test('local files go into the store under their digest', async (t) => {
  const { context, kernel } = createFixture(t)
  const c = context()
  await bring(c, fetch)
  const stored = sourceFile(c, 'linux-6.12')
  t.like(stored, { version: '6.12.3', origin: 'local', sha256: sha256(kernel), path: join(c.paths.store, sha256(kernel)) })
  t.is(sha256(stored.path), sha256(kernel))
})

test("a tool's tree has its own source only, which is the same for every target that has no other", async (t) => {
  const { context } = createFixture(t)
  const stamps: Stamp[] = []
  for (const TARGET of ['lts', 'lts-6.1', 'el6']) stamps.push(await bring(context({ TREE: 'ipvsadm', TARGET }), fetch))
  t.deepEqual(Object.keys(stamps[0]?.facts ?? {}), ['ipvsadm'])
  t.deepEqual(stamps.map(({ key }) => key), stamps.map(() => stamps[0]?.key))
  t.deepEqual(Object.keys((await bring(context({ TREE: 'keepalived' }), fetch)).facts), ['keepalived-2.3'])
})

test('a local file that was replaced by one of its size and time is another one', async (t) => {
  const { context, root } = createFixture(t)
  const path = tarball(dirname(root), 'popt-1.9.tar.gz', { README: 'one\n' })
  const c = context({ SOURCE: (context().variables.SOURCE ?? '').replace(/popt=[^,]*/, `popt=${path}`) })
  utimesSync(path, 1, 1)
  const { size, mtimeMs } = statSync(path)
  const before = (await bring(c, fetch)).key
  t.is((await bring(c, fetch)).key, before)
  writeFileSync(path, readFileSync(path))
  utimesSync(path, 1, 1)
  t.like(statSync(path), { size, mtimeMs })
  t.not((await bring(c, fetch)).key, before)
})

test('a truncated file is refused and nothing is kept', async (t) => {
  const { context, kernel } = createFixture(t)
  truncateSync(kernel, readFileSync(kernel).length - 20)
  const c = context()
  const failure = await fails(t, 'source', () => bring(c, fetch))
  t.regex(failure.message, /is damaged: it does not unpack/)
  t.deepEqual(readdirSync(join(c.paths.store, 'incoming')), [])
  t.deepEqual(readdirSync(c.paths.store).sort(), ['incoming', 'index'])
})

test('a file that bears a pinned name but is another one is refused', async (t) => {
  const { context, root } = createFixture(t)
  const fake = tarball(dirname(root), 'busybox-1.35.0.tar.bz2', { README: 'not busybox\n' })
  const sources = (context().variables.SOURCE ?? '').replace(/busybox=[^,]*/, `busybox=${fake}`)
  const failure = await fails(t, 'source', () => bring(context({ SOURCE: sources }), fetch))
  t.regex(failure.details.hint ?? '', /expected sha256 faeeb244c35a/)
  t.true(existsSync(fake), "the user's file stays")
})

test('what SOURCE= names and nothing takes is told, by the command that is run', (t) => {
  const { context } = createBothLines(t)
  const unused = (step: Step, variables: Variables = {}) => unusedSources(context(variables), step)
  t.deepEqual(unused(config), ['linux-6.1', 'keepalived'])
  t.deepEqual(unused(config, { TARGET: 'lts-6.1' }), ['linux-6.12', 'keepalived-2.3'])
  t.deepEqual(unused(config, { TARGET: 'el6' }), ['linux-6.1', 'linux-6.12', 'keepalived-2.3'])
  t.deepEqual(unused(check, { TARGET: 'el6' }), ['linux-6.12', 'keepalived-2.3'])
  t.deepEqual(unused(dkms), [])
  t.deepEqual(unused(prep, { TREE: 'ipvsadm' }).includes('ipvsadm'), false)
})

test('SOURCE= with an unknown name or a missing file is a usage error', async (t) => {
  const { context } = createFixture(t)
  t.regex((await fails(t, 'usage', () => bring(context({ SOURCE: 'linux=/x' }), fetch))).message, /"linux", which is no source/)
  t.regex((await fails(t, 'usage', () => bring(context({ SOURCE: 'popt=/nowhere' }), fetch))).message, /\/nowhere, which is not a file/)
})

test('a file whose name would be a program to rpm is refused', async (t) => {
  const { context, root } = createFixture(t)
  for (const name of ['popt-1%(touch ran).tar.gz', 'popt-1%{lua:x}.tar.gz', 'popt 1.tar.gz', 'popt-1\n.tar.gz']) {
    const path = join(root, name)
    writeFileSync(path, '')
    t.regex((await fails(t, 'usage', () => bring(context({ SOURCE: `popt=${path}` }), fetch))).message, /cannot stand in a spec/)
  }
})

test('a store takes only what has the expected digest', async (t) => {
  const { root, cache } = createFixture(t)
  const file = tarball(root, 'a-1.tar.gz', { a: 'a\n' })
  const store = new Store(join(cache, 'store'))
  const about = { name: 'a', version: '1', filename: 'a-1.tar.gz', origin: 'upstream', from: 'x', verified: 'y' } as const
  await fails(t, 'source', () => store.add(file, about, '0'.repeat(64)))
  t.is(store.find('a'), undefined)
  const link = join(root, 'link')
  symlinkSync(tarball(root, 'b-1.tar.gz', { b: 'b\n' }), link)
  await fails(t, 'internal', () => store.add(link, about))
})

/** Serves one file, with ranges unless told not to, and counts the bytes it sent. */
async function serve(content: Buffer): Promise<{ server: Server; url: string; sent: () => number }> {
  let sent = 0
  const server = createServer((request, response) => {
    const start = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0)
    const part = content.subarray(start)
    sent += part.length
    const range = { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` }
    response.writeHead(start > 0 ? 206 : 200, { 'content-length': part.length, ...(start > 0 ? range : {}) })
    response.end(part)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/file`, sent: () => sent }
}

test('a download continues where it stopped', async (t) => {
  const { root } = createFixture(t)
  const content = Buffer.alloc(100_000, 'x')
  const { server, url, sent } = await serve(content)
  t.teardown(() => server.close())
  writeFileSync(join(root, 'file.part'), content.subarray(0, 60_000))
  await download([url], join(root, 'file'), '')
  t.deepEqual(readFileSync(join(root, 'file')), content)
  t.is(sent(), 40_000)
})

/** Wants the file with this content. */
const only = (content: Buffer) => ({
  check: async (path: string) => {
    if (!readFileSync(path).equals(content)) throw new Failure('source', 'another file')
  },
})

test('a place that has another file does not keep away those that have it', async (t) => {
  const { root, write } = createFixture(t)
  const content = Buffer.from('the file')
  const portal = `file://${write('portal', '<html>log in to this network</html>')}`
  const good = `file://${write('good', 'the file')}`
  const path = join(root, 'file')
  t.is(await download([portal, good], path, '', only(content)), good)
  t.deepEqual(readFileSync(path), content)
  const failure = await fails(t, 'source', () => download([portal, portal], path, 'bring it', only(content)))
  t.deepEqual(failure.details.excerpt, [`${portal}: another file`, `${portal}: another file`])
  t.is((await fails(t, 'source', () => download([portal], path, '', only(content)))).message, 'another file')
  t.false(existsSync(`${path}.part`))
})

test('what was begun with another file, or cannot be continued, is begun anew', async (t) => {
  const { root, write } = createFixture(t)
  const content = Buffer.alloc(100_000, 'x')
  const { server, url, sent } = await serve(content)
  const whole = createServer((_request, response) => response.end(content))
  await new Promise<void>((resolve) => whole.listen(0, '127.0.0.1', resolve))
  t.teardown(() => void (server.close(), whole.close()))
  const path = join(root, 'file')
  const begin = (length: number) => write('file.part', 'y'.repeat(length))
  for (const [length, place] of [
    [60_000, url],
    [200_000, `file://${write('served', content.toString())}`],
    [60_000, `http://127.0.0.1:${(whole.address() as AddressInfo).port}/file`],
  ] as const) {
    begin(length)
    t.is(await download([place], path, '', only(content)), place)
    t.deepEqual(readFileSync(path), content)
  }
  t.is(sent(), 140_000)
})

test('neither the disk nor the time that a download takes is up to the server', async (t) => {
  const { root } = createFixture(t)
  const server = createServer((request, response) => {
    if (request.url === '/silent') return
    if (request.url === '/told') return void response.writeHead(200, { 'content-length': 2e6 }).write('a')
    const more = () => {
      if (!response.destroyed) response.write(Buffer.alloc(1 << 16), more)
    }
    more()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => void (server.closeAllConnections(), server.close()))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const path = join(root, 'file')
  const long = await fails(t, 'source', () => download([`${url}/endless`, `${url}/told`], path, '', { longest: 1e6, seconds: 60 }))
  t.deepEqual(long.details.excerpt, [`${url}/endless: it is longer than 1.0 MB`, `${url}/told: it is longer than 1.0 MB`])
  const late = await fails(t, 'source', () => download([`${url}/silent`], path, '', { longest: 1e6, seconds: 2 }))
  t.regex(late.details.excerpt?.[0] ?? '', /\(28\) Operation timed out after 2\d\d\d milliseconds/)
  t.false(existsSync(`${path}.part`))
})

test('what curl says at each try is said once', (t) => {
  t.is(lastComplaint('curl: (6) Could not resolve host: a.example\ncurl: (6) Could not resolve host: a.example\n'), '(6) Could not resolve host: a.example')
  t.is(lastComplaint(''), '')
})

test('when no place has the file, every place is named with its reason', async (t) => {
  const { root } = createFixture(t)
  const { server, url } = await serve(Buffer.from(''))
  server.close()
  const failure = await fails(t, 'source', () => download(['file:///nowhere/file', url], join(root, 'file'), 'SOURCE=linux-6.12=PATH'))
  t.is(failure.details.excerpt?.length, 2)
  t.regex(failure.details.excerpt?.[0] ?? '', /^file:\/\/\/nowhere\/file: /)
  t.regex(failure.details.hint ?? '', /network[^]*\nSOURCE=linux-6\.12=PATH$/)
})

/** Makes a key in a fresh GnuPG home, and signs the uncompressed content of a tarball as kernel.org does. */
function sign(folder: string, owner: string, file: string): { keyFingerprint: string; keyFile: string; signature: string } {
  const home = join(folder, `gpg-${owner}`)
  execFileSync('mkdir', ['-m', '700', home])
  const gpg = (...words: string[]) => execFileSync('gpg', ['--homedir', home, '--batch', '--quiet', '--passphrase', '', ...words], { stdio: ['ignore', 'pipe', 'ignore'] })
  gpg('--quick-generate-key', `${owner}@example.org`, 'ed25519', 'sign')
  const keyFingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(gpg('--with-colons', '--list-keys').toString())?.[1] ?? ''
  const keyFile = join(home, 'key.asc')
  writeFileSync(keyFile, gpg('--armor', '--export'))
  const plain = join(home, 'plain')
  writeFileSync(plain, execFileSync('xz', ['-dc', file]))
  gpg('--armor', '--detach-sign', plain)
  execFileSync('gpgconf', ['--homedir', home, '--kill', 'all'])
  return { keyFingerprint, keyFile, signature: `${plain}.asc` }
}

/** @returns path of the key with the revocation that gpg has made beside it */
function revoked(home: string, { keyFingerprint, keyFile }: { keyFingerprint: string; keyFile: string }): string {
  const certificate = readFileSync(join(home, 'openpgp-revocs.d', `${keyFingerprint}.rev`), 'utf8').replace(/^:(?=-)/m, '')
  const path = join(home, 'revoked.asc')
  writeFileSync(path, `${readFileSync(keyFile, 'utf8')}\n${certificate.slice(certificate.indexOf('-----BEGIN'))}`)
  return path
}

test('a signature counts only if it is good and by the pinned key', async (t) => {
  const { root, kernel } = createFixture(t)
  const good = sign(root, 'good', kernel)
  const owner = { keyFingerprint: good.keyFingerprint, keyOwner: 'good@example.org' }
  await t.notThrowsAsync(() => verifyTarball(kernel, good.signature, owner, good.keyFile))
  const withdrawn = revoked(join(root, 'gpg-good'), good)
  await fails(t, 'source', () => verifyTarball(kernel, good.signature, owner, withdrawn))
  const signer = { ...owner, keyFile: 'key' }
  t.deepEqual((await fails(t, 'source', () => pinnedKey(withdrawn, signer))).details.excerpt, ['Its owner has revoked it.'])
  await t.notThrowsAsync(() => pinnedKey(good.keyFile, signer))
  const other = sign(root, 'other', kernel)
  await fails(t, 'source', () => verifyTarball(kernel, other.signature, owner, other.keyFile))
  const tampered = tarball(root, 'linux-6.1.99.tar.xz', { Makefile: 'tampered\n' })
  await fails(t, 'source', () => verifyTarball(tampered, good.signature, owner, good.keyFile))
})

test('what upstream signs and nobody has pinned is taken by its signature, from a place whose file is the signed one', async (t) => {
  const { root, cache, kernel } = createFixture(t)
  const good = sign(root, 'good', kernel)
  const folder = join(root, 'bad')
  mkdirSync(folder)
  const [wrong, right] = [tarball(folder, basename(kernel), { Makefile: 'tampered\n' }), kernel].map((path) => `file://${path}`) as [string, string]
  const older = tarball(folder, 'linux-6.1.6.tar.xz', { Makefile: 'VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 6\nEXTRAVERSION =\n' })
  const source = (urls: string[], signature?: { url: string; keyFingerprint: string; keyOwner: string }): Source =>
    ({ name: 'linux', summary: 'x', apt: { kind: 'source', package: 'x', file: /x/ }, upstream: { version: '6.12.3', urls, ...(signature ? { signature } : {}) } })
  const signature = { url: `file://${good.signature}`, keyFingerprint: good.keyFingerprint, keyOwner: 'good@example.org' }
  const store = new Store(join(cache, 'store'))
  const fetchIt = (one: Source) => fetchUpstream(store, one, (path, file, signer) => verifyTarball(path, file, signer, good.keyFile))
  await fails(t, 'source', () => fetchIt(source([wrong], signature)))
  t.is(store.find('linux'), undefined)
  const stored = await fetchIt(source([wrong, right], signature))
  t.like(stored, { from: right, verified: `signature by ${good.keyFingerprint}`, sha256: sha256(kernel) })
  t.regex((await fails(t, 'source', () => fetchIt(source([right])))).message, /no digest .* is not signed/)
  await fails(t, 'source', () => fetchIt(source([right], { ...signature, url: right })))
  const old = sign(root, 'old', older)
  const replayed = source([`file://${older}`], { url: `file://${old.signature}`, keyFingerprint: old.keyFingerprint, keyOwner: 'old@example.org' })
  t.regex((await fails(t, 'source', () => fetchUpstream(store, replayed, (path, file, signer) => verifyTarball(path, file, signer, old.keyFile)))).message, /is signed, but it is not Linux 6\.12\.3/)
})

test('source entries are enabled in both forms of a source list', (t) => {
  const list = 'deb [signed-by=/k.gpg] http://example.org/debian stable main\n# deb-src no\n'
  t.is(
    withSourceEntries('a.list', list),
    'deb [signed-by=/k.gpg] http://example.org/debian stable main\ndeb-src [signed-by=/k.gpg] http://example.org/debian stable main\n# deb-src no\n',
  )
  t.is(withSourceEntries('a.sources', 'Types: deb\nURIs: x\n'), 'Types: deb deb-src\nURIs: x\n')
})

test('an archive that is taken without a signature is none to vouch for a source', (t) => {
  const lines = ['deb [trusted=yes] http://a x main', 'deb-src [ arch=amd64 Trusted=yes ] http://a x main', 'deb [allow-insecure=yes] http://a x main', 'deb [trusted=no] http://b x main']
  t.is(withSourceEntries('a.list', lines.join('\n')), 'deb [trusted=no] http://b x main\ndeb-src [trusted=no] http://b x main')
  const stanza = (...more: string[]): string => ['Types: deb', 'URIs: x', ...more].join('\n')
  t.is(withSourceEntries('a.sources', [stanza('Trusted: yes'), stanza('allow-weak:yes'), stanza('Trusted: no')].join('\n\n')), stanza('Trusted: no').replace('deb', 'deb deb-src'))
})

const digestOf = (algorithm: string, path: string): string => createHash(algorithm).update(readFileSync(path)).digest('hex')

const FORMAT = 'Format: 3.0 (quilt)\n'

/**
 * Makes an archive in a folder, with one source package.
 *
 * @param version that its patches are named by
 * @returns the folder
 */
function createArchive(folder: string, version = '2.0-1'): string {
  const archive = join(folder, 'archive')
  mkdirSync(archive)
  const names = ['tool_2.0.orig.tar.gz', `tool_${version}.debian.tar.xz`]
  for (const name of names) execFileSync('mv', [tarball(folder, name, { README: 'signed\n' }), archive])
  const sums = (algorithm: string, name: string): string => ` ${digestOf(algorithm, join(archive, name))} ${statSync(join(archive, name)).size} ${name}\n`
  const all = (algorithm: string, ...more: string[]): string => [...names, ...more].map((name) => sums(algorithm, name)).join('')
  writeFileSync(join(archive, 'tool_2.0-1.dsc'), `${FORMAT}Source: tool\nVersion: 1:2.0-1\nChecksums-Sha256:\n${all('sha256')}`)
  const both = (algorithm: string): string => all(algorithm, 'tool_2.0-1.dsc')
  writeFileSync(join(archive, 'Sources'), `Package: tool\n${FORMAT}Binary: tool\nVersion: 1:2.0-1\nDirectory: .\nFiles:\n${both('md5')}Checksums-Sha256:\n${both('sha256')}`)
  writeFileSync(join(archive, 'Packages'), '')
  writeFileSync(join(archive, 'Release'), `Origin: Test\nDate: ${new Date().toUTCString()}\nSHA256:\n${sums('sha256', 'Sources')}${sums('sha256', 'Packages')}`)
  return archive
}

/** Signs an archive. @returns apt that has it and no other */
function signedArchive(t: ExecutionContext, version?: string): { apt: Apt; archive: string; folder: string } {
  const { folder, gpg } = createKeyring(t)
  const archive = createArchive(folder, version)
  gpg('--quick-generate-key', 'archive@example.org', 'default', 'default', 'never')
  gpg('--output', join(archive, 'InRelease'), '--clearsign', join(archive, 'Release'))
  gpg('--output', join(folder, 'keys.gpg'), '--export')
  const list = join(folder, 'test.list')
  writeFileSync(list, `deb [signed-by=${join(folder, 'keys.gpg')}] file:${archive} ./\n`)
  return { apt: new Apt(mkdtempSync(join(folder, 'apt-')), undefined, [list]), archive, folder }
}

const PATCHED = { package: 'tool', kind: 'source', file: /\.orig\.tar/, patches: /\.debian\.tar/ } as const

const aptTest = spawnSync('apt-get', ['--version']).status === 0 ? test.serial : test.serial.skip

aptTest('what apt has of an archive in a folder is the file and no link to it, and a host that allows archives without signatures gets none', async (t) => {
  const { folder, gpg } = createKeyring(t)
  const archive = createArchive(folder)
  const apt = (options: string): Apt => {
    const list = join(folder, 'test.list')
    writeFileSync(list, `deb ${options} file:${archive} ./\n`)
    return new Apt(mkdtempSync(join(folder, 'apt-')), undefined, [list])
  }
  const source = { package: 'tool', kind: 'source', file: /\.orig\.tar/ } as const
  const fetchTool = (options: string) => apt(options).fetch(source, join(folder, 'incoming'), '')
  const before = process.env['APT_CONFIG']
  t.teardown(() => {
    if (before === undefined) delete process.env['APT_CONFIG']
    else process.env['APT_CONFIG'] = before
  })
  process.env['APT_CONFIG'] = join(folder, 'apt.conf')
  writeFileSync(process.env['APT_CONFIG'], 'APT::Get::AllowUnauthenticated "true";\nAcquire::AllowInsecureRepositories "true";\n')
  t.regex((await fails(t, 'source', () => fetchTool(''))).details.excerpt?.join('\n') ?? '', /is not signed/)
  t.is(await fetchTool('[trusted=yes]'), undefined)
  gpg('--quick-generate-key', 'archive@example.org', 'default', 'default', 'never')
  gpg('--output', join(archive, 'InRelease'), '--clearsign', join(archive, 'Release'))
  gpg('--output', join(folder, 'keys.gpg'), '--export')
  const file = await fetchTool(`[signed-by=${join(folder, 'keys.gpg')}]`)
  t.like(file, { filename: 'tool_2.0.orig.tar.gz', version: '2.0' })
  t.true(lstatSync(file?.path ?? '').isFile())
  t.is(sha256(file?.path ?? ''), sha256(join(archive, 'tool_2.0.orig.tar.gz')))

  const signed = `[signed-by=${join(folder, 'keys.gpg')}]`
  const all = async () => apt(signed).fetch({ ...source, kind: 'whole', file: /\.dsc$/ }, join(folder, 'incoming'), '')
  const whole = await all()
  t.like(whole, { filename: 'tool_2.0-1.source.tar.xz', version: '1:2.0-1', from: 'source package tool 1:2.0-1' })
  const [bytes, unpacked] = [readFileSync(whole?.path ?? ''), join(folder, 'unpacked')]
  mkdirSync(unpacked)
  execFileSync('tar', ['--extract', '--file', whole?.path ?? '', '--directory', unpacked])
  t.deepEqual(readdirSync(unpacked).sort(), ['tool_2.0-1.debian.tar.xz', 'tool_2.0-1.dsc', 'tool_2.0.orig.tar.gz'])
  for (const name of readdirSync(unpacked)) t.is(sha256(join(unpacked, name)), sha256(join(archive, name)), name)
  t.deepEqual(readFileSync((await all())?.path ?? ''), bytes)
})

test('what only a distribution has is not looked for elsewhere', async (t) => {
  const { cache } = createFixture(t)
  const source: Source = { name: 'tool-trixie', summary: 'a tool', apt: { kind: 'whole', package: 'tool', file: /\.dsc$/, suite: 'trixie' } }
  const failure = await fails(t, 'source', () => fetchUpstream(new Store(join(cache, 'store')), source))
  t.is(failure.message, 'apt has no tool-trixie for this host.')
  t.regex(failure.details.hint ?? '', /SOURCE=tool-trixie=PATH$/)
})

aptTest("the distribution's patches come with the tarball that they are for, as files, and with their whole version", async (t) => {
  const { apt, archive, folder } = signedArchive(t)
  const file = await apt.fetch(PATCHED, join(folder, 'incoming'), '')
  t.like(file, { filename: 'tool_2.0.orig.tar.gz', version: '2.0', from: 'source package tool 1:2.0-1', package: { name: 'tool', version: '1:2.0-1' } })
  t.is(file?.patches?.filename, 'tool_2.0-1.debian.tar.xz')
  t.true(lstatSync(file?.patches?.path ?? '').isFile())
  t.is(sha256(file?.patches?.path ?? ''), sha256(join(archive, 'tool_2.0-1.debian.tar.xz')))
})

aptTest('patches of another version than the package are refused', async (t) => {
  const { apt, folder } = signedArchive(t, '2.1-1')
  const failure = await fails(t, 'source', () => apt.fetch(PATCHED, join(folder, 'incoming'), 'SOURCE=tool=PATH'))
  t.is(failure.message, 'apt delivered tool_2.1-1.debian.tar.xz, which is not of tool 1:2.0-1.')
  t.regex(failure.details.hint ?? '', /try again later\.\nSOURCE=tool=PATH$/)
})

aptTest('of an archive that does not have the patches that it names the tarball is taken, which says so; patches that are others are refused', async (t) => {
  const { apt, archive, folder } = signedArchive(t)
  const patches = join(archive, 'tool_2.0-1.debian.tar.xz')
  writeFileSync(patches, 'others')
  await fails(t, 'source', () => apt.fetch(PATCHED, join(folder, 'incoming'), ''))
  rmSync(patches)
  const file = await apt.fetch(PATCHED, join(folder, 'incoming'), '')
  t.like(file, { filename: 'tool_2.0.orig.tar.gz', patches: null, package: undefined })
  t.regex(file?.from ?? '', /^source package tool 2\.0 without the distribution's patches/)
})

test.serial('a library that apt has brought is asked for again until its patches were asked for, and when they are damaged', async (t) => {
  const { context, root } = createFixture(t)
  const bin = join(root, 'bin')
  mkdirSync(bin)
  for (const name of ['apt-get', 'apt-cache', 'curl']) writeFileSync(join(bin, name), '#!/bin/sh\nif [ "$1" != --version ]; then echo "no network" >&2; exit 6; fi\n', { mode: 0o755 })
  const path = process.env['PATH']
  t.teardown(() => (process.env['PATH'] = path))
  process.env['PATH'] = `${bin}:${path}`
  const c = context({ SOURCE: (context().variables.SOURCE ?? '').replace(/,popt=[^,]*/, '') })
  const store = new Store(c.paths.store)
  const about = (name: string) => ({ name, version: '1', filename: `${name}-1.tar.gz`, origin: 'apt', from: 'x', verified: 'y' }) as const
  const add = (name: string, more: Partial<Stored> = {}) => store.add(tarball(root, `${name}-1.tar.gz`, { README: name }), { ...about(name), ...more })
  await add('popt')
  await fails(t, 'source', () => bring(c, fetch))
  await add('popt', { patches: null })
  await t.notThrowsAsync(() => bring(c, fetch))
  const patches = await add('popt-patches')
  await add('popt', { patches })
  rmSync(c.paths.stamps.target, { recursive: true })
  await bring(c, fetch)
  t.deepEqual(patchesOf(c, sourceFile(c, 'popt')), [{ name: 'popt-patches-1.tar.gz', path: store.path(patches.sha256) }])
  t.deepEqual(patchesOf(c, sourceFile(c, 'libnl')), [])
  truncateSync(store.path(patches.sha256))
  await fails(t, 'source', () => bring(c, fetch))
})

test('another release of Debian is asked for at the addresses that the host has of its archives', (t) => {
  const keys = '/usr/share/keyrings/debian-archive-keyring.gpg'
  const uris = (...lists: string[]): string[] => [...suiteEntries(lists, 'trixie').matchAll(/^URIs: (.*)$/gm)].map(([, uri = '']) => uri)
  const mirrors = join(mkdtempSync(join(tmpdir(), 'lvs-snat-mirrors-')), 'debian.list')
  t.teardown(() => rmSync(dirname(mirrors), { recursive: true }))
  writeFileSync(mirrors, '# a comment\nhttps://cloud.example.org/debian\n')
  const mirror = `# a comment\nTypes: deb\nURIs: https://mirror.example.org/debian/\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: ${keys}\n\nTypes: deb\nURIs: https://mirror.example.org/security\nSuites: bookworm-security\nComponents: main\n`
  const [main, security] = suiteEntries(['# deb http://old.example.org/debian stable main\n', mirror], 'trixie').split('\n\n')
  t.is(main, `Types: deb deb-src\nURIs: https://mirror.example.org/debian\nSuites: trixie trixie-updates\nComponents: main\nSigned-By: ${keys}`)
  t.is(security, `Types: deb deb-src\nURIs: https://mirror.example.org/security\nSuites: trixie-security\nComponents: main\nSigned-By: ${keys}\n`)
  t.deepEqual(uris('deb [arch=amd64] http://m.example.org/debian bookworm main\ndeb http://security.debian.org/ bookworm-security main\n'), ['http://m.example.org/debian', 'http://security.debian.org'])
  // An official image of clouds, other distributions, and archives of others, whose keys are not Debian's.
  t.deepEqual(uris(`Types: deb\nURIs: mirror+file://${mirrors}\nSuites: trixie\nComponents: main\n`), ['https://cloud.example.org/debian'])
  t.deepEqual(uris('Types: deb\nURIs: mirror+file:///nowhere/debian.list\nSuites: trixie\nComponents: main\n'), [])
  t.deepEqual(uris('deb http://archive.example.org/ubuntu noble main\n'), [])
  t.deepEqual(uris('deb [signed-by=/usr/share/keyrings/caddy.gpg] https://others.example.org/debian any-version main\n', 'deb [signed-by=/k.gpg] https://others.example.org/debian trixie main\n', mirror)[0], 'https://mirror.example.org/debian')
  t.deepEqual(uris('Types: deb\nEnabled: no\nURIs: http://old.example.org/debian\nSuites: trixie\nComponents: main\n'), [])
  t.deepEqual(uris('Types: deb\nURIs: https://others.example.org/debian\nSuites: trixie\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n'), [])
  t.deepEqual(uris(), [])
})

test('an upstream version is found in a Debian version', (t) => {
  t.is(upstreamPart('1:2.2.7-1+b2\n'), '2.2.7')
  t.is(upstreamPart('1.19+dfsg'), '1.19')
  t.is(upstreamPart('6.1.192-2'), '6.1.192')
})

test('nothing comes over a connection that others can change', (t) => {
  const upstream = SOURCES.flatMap(({ upstream }) => (upstream ? [...upstream.urls, ...(upstream.signature ? [upstream.signature.url] : [])] : []))
  const all = [...upstream, ...el6Kernel('kernel', '2.6.32-279.el6').urls, HOST.repository]
  t.true(all.length > 15)
  t.deepEqual(all.filter((url) => !url.startsWith('https://')), [])
  const container = findBuilder('podman').command(HOST, '/s/k.src.rpm', '/r').join('\n')
  t.deepEqual(container.match(/http:\/\/(?!mirror\.centos\.org)\S+/g), null)
})

test('a download follows no redirection to a connection that others can change', async (t) => {
  const { root } = createFixture(t)
  const { server, url } = await serve(Buffer.from('content'))
  const redirecting = createServer((_request, response) => response.writeHead(302, { location: url }).end())
  await new Promise<void>((resolve) => redirecting.listen(0, '127.0.0.1', resolve))
  t.teardown(() => void (server.close(), redirecting.close()))
  const failure = await fails(t, 'source', () => download([`http://127.0.0.1:${(redirecting.address() as AddressInfo).port}/file`], join(root, 'file'), ''))
  t.regex(failure.details.excerpt?.[0] ?? '', /[Pp]rotocol "?http"?/)
})

test("Debian's revision of a kernel is in its packages' release, as its security updates may leave the version", (t) => {
  const of = (origin: 'apt' | 'local', from: string): string => revisionOf({ origin, from })
  t.is(of('apt', 'linux-source-6.12 6.12.118-2'), '2')
  t.is(of('apt', 'linux-source-6.1 6.1.192-1~deb11u1'), '1~deb11u1')
  t.is(of('local', '/sources/linux-6.12.118-3.tar.xz'), '1')
})
