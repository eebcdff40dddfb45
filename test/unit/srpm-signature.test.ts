// SPDX-License-Identifier: GPL-2.0-only
/** What vouches for a kernel's source package, and what only seems to. */

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, delimiter, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { ROOT } from '../../scripts/base/root.ts'
import type { Context, Variables } from '../../scripts/build/context.ts'
import { fetchSrpm } from '../../scripts/source/fetch-srpm.ts'
import { pinnedKey, verifySrpm, vouchedFor } from '../../scripts/source/srpm.ts'
import { el6Kernel } from '../../scripts/sources.ts'
import { createFixture, fails, read } from './fixture.ts'
import { makeOld, type Signatures } from './old-rpm-fixture.ts'
import { makeOpenPgpKey, type OpenPgpKey } from './openpgp-fixture.ts'
import { adoptKey, keyPath, makeKey, makeSrpm, signedBy, type PublicKey } from './srpm-fixture.ts'

const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex')

const seconds = (date: string): number => Date.parse(date) / 1000

/** As that of CentOS 6: made in July 2011, for ten years. */
const CENTOS_DATES = { created: seconds('2011-07-03'), valid: 3650 * 86_400 }
const RELEASED = seconds('2012-06-25')

interface Checkout {
  folder: string
  /** An unsigned package. */
  srpm: string
  /** A context that brings a file, the unsigned one unless another is named. */
  bringing: (path?: string, variables?: Variables) => Context
}

let shared = ''
test.before(() => {
  shared = mkdtempSync(join(tmpdir(), 'lvs-snat-srpm-'))
  makeSrpm(shared)
})
test.after.always(() => rmSync(shared, { recursive: true, force: true }))

function createCheckout(t: ExecutionContext): Checkout {
  const { root, context } = createFixture(t)
  const folder = join(root, '..')
  const srpm = join(folder, 'kernel-2.6.32-279.el6.src.rpm')
  copyFileSync(join(shared, 'srpm-2.6.32-279.el6', basename(srpm)), srpm)
  return { folder, srpm, bringing: (path = srpm, variables = {}) => context({ TARGET: 'el6', SRPM: path, KERNEL: '2.6.32-279.el6', ...variables }) }
}

/** Writes a key of the test's own making where it can be pinned from. */
function published(folder: string, { fingerprint, packets }: OpenPgpKey): PublicKey {
  const file = join(folder, `${fingerprint}.key`)
  writeFileSync(file, packets)
  return { fingerprint, file }
}

/** A copy of a package in the form of RHEL 6. */
function oldCopy(folder: string, srpm: string, signatures: Signatures): string {
  const path = join(folder, 'old.src.rpm')
  copyFileSync(srpm, path)
  makeOld(path, signatures)
  return path
}

test('each key in the checkout is the pinned one, with nothing but its own signature', async (t) => {
  const home = mkdtempSync(join(shared, 'gpg-'))
  const { publisher, signers } = el6Kernel('kernel', '2.6.32-279.el6')
  t.deepEqual(signers.map(({ keyFingerprint }) => keyFingerprint), ['C1DAC52D1664E8A4386DBA430946FCA2C105B9DE', '567E347AD0044ADE55BA8A5F199E2F91FD431D51'])
  t.true(signers.indexOf(publisher) === 0)
  t.deepEqual(readdirSync(join(ROOT, 'specs/keys')).sort(), ['README.md', ...signers.map(({ keyFile }) => basename(keyFile))].sort())
  for (const signer of signers) {
    t.regex(await pinnedKey(join(ROOT, signer.keyFile), signer), /^-----BEGIN PGP PUBLIC KEY BLOCK-----\n/)
    const packets = execFileSync('gpg', ['--homedir', home, '--batch', '--no-options', '--list-packets', join(ROOT, signer.keyFile)], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    t.deepEqual(packets.match(/^:[a-z ]+/gim), [':public key packet', ':user ID packet', ':signature packet'])
    t.regex(packets, new RegExp(`^:signature packet: algo 1, keyid ${signer.keyFingerprint.slice(-16)}$`, 'm'))
  }
})

test('a signature counts only if it is good and by the pinned key, and the lock still has to agree', async (t) => {
  const { folder, srpm, bringing } = createCheckout(t)
  const [pinned, other] = [makeKey(folder, 'centos'), makeKey(folder, 'other')]
  const c = bringing()
  const source = signedBy(c, pinned)
  other.sign(srpm)
  const wrong = await fails(t, 'source', () => fetchSrpm(c, source, {}))
  t.true(wrong.details.excerpt?.some((line) => /[Ss]ignature.*NOKEY/.test(line)), wrong.details.excerpt?.join())
  t.true(wrong.details.hint?.includes(`${pinned.fingerprint} (publisher)`), wrong.details.hint)
  pinned.sign(srpm)
  const locked = { 'linux-2.6.32-279.el6.tar.bz2': '0'.repeat(64) }
  t.regex((await fails(t, 'source', () => fetchSrpm(c, source, locked))).message, /tar\.bz2 is not the file that scripts\/sources\.lock\.json pins/)
  const stored = await fetchSrpm(c, source, { 'kernel-2.6.32-279.el6.src.rpm': sha256(srpm) })
  t.is(stored.verified, `signature by ${pinned.fingerprint} (publisher)`)
  const content = readFileSync(srpm)
  content.writeUInt8(content.readUInt8(content.length - 100) ^ 1, content.length - 100)
  writeFileSync(srpm, content)
  t.regex((await fails(t, 'source', () => fetchSrpm(c, source, {}))).message, /is damaged/)
})

test("a file that is brought counts by any one pinned key's signature, and what is known of it says whose", async (t) => {
  const { folder, srpm, bringing } = createCheckout(t)
  const [centos, redHat] = [makeKey(folder, 'centos'), makeKey(folder, 'redhat')]
  const c = bringing()
  redHat.sign(srpm)
  await fails(t, 'source', () => fetchSrpm(c, signedBy(c, centos), {}))
  const pinned = { 'kernel-2.6.32-279.el6.src.rpm': '0'.repeat(64) }
  const { verified, origin } = await fetchSrpm(c, signedBy(c, centos, redHat), pinned)
  t.deepEqual([verified, origin], [`signature by ${redHat.fingerprint} (other 1)`, 'local'], 'the lock is about what CentOS has published')
})

test('what is published counts only by the signature of its publisher', async (t) => {
  const { folder, srpm, bringing } = createCheckout(t)
  const [centos, redHat] = [makeKey(folder, 'centos'), makeKey(folder, 'redhat')]
  const c = bringing('', { SRPM: '' })
  const source = { ...signedBy(c, centos, redHat), urls: [`file://${srpm}`] }
  redHat.sign(srpm)
  const failure = await fails(t, 'source', () => fetchSrpm(c, source, {}))
  t.regex(failure.message, /is not signed by a key that is pinned/)
  t.false(failure.details.hint?.includes(redHat.fingerprint))
  centos.sign(srpm)
  const places = [`file://${join(ROOT, 'LICENSE')}`, ...source.urls]
  const { verified, origin, from } = await fetchSrpm(c, { ...source, urls: places }, {})
  t.deepEqual([verified, origin, from], [`signature by ${centos.fingerprint} (publisher)`, 'upstream', places[1]], 'what is no package is not taken for it')
})

for (const version of [3, 4] as const) {
  for (const hash of ['sha1', 'sha256'] as const) {
    test(`a package of 2012 counts by a key that has expired since: signatures of version ${version} by ${hash}`, async (t) => {
      const { folder, srpm, bringing } = createCheckout(t)
      const key = makeOpenPgpKey(CENTOS_DATES)
      const sign = (data: Buffer): Buffer => key.sign(data, { version, hash, at: RELEASED })
      const path = oldCopy(folder, srpm, { ofHeader: sign, ofAll: sign })
      const c = bringing(path)
      t.is((await fetchSrpm(c, signedBy(c, published(folder, key)), {})).verified, `signature by ${key.fingerprint} (publisher)`)
      const other = await fails(t, 'source', () => verifySrpm(path, 'it', signedBy(c, published(folder, makeOpenPgpKey(CENTOS_DATES))).signers, c.paths.root))
      t.regex(other.details.excerpt?.join('\n') ?? '', new RegExp(`V${version} RSA/${hash.toUpperCase()} [Ss]ignature, .*: NOKEY`))
    })
  }
}

test('a good signature of the header alone does not count, as the header of an old package does not say what its payload is', async (t) => {
  const { folder, srpm, bringing } = createCheckout(t)
  const key = makeOpenPgpKey(CENTOS_DATES)
  const ofHeader = (data: Buffer): Buffer => key.sign(data, { at: RELEASED })
  const path = oldCopy(folder, srpm, { ofHeader, alter: (payload) => Buffer.concat([payload, Buffer.alloc(4)]) })
  const c = bringing()
  const failure = await fails(t, 'source', () => verifySrpm(path, 'it', signedBy(c, published(folder, key)).signers, c.paths.root))
  t.regex(failure.message, /is not signed by a key that is pinned/)
  const excerpt = failure.details.excerpt ?? []
  t.true(excerpt.some((line) => /^Header .*[Ss]ignature, .*: OK$/.test(line)), excerpt.join('\n'))
})

test.serial('whatever asks rpm about a package tells it to take what 2012 had: rpm 6 old digests, and rpm-sequoia SHA-1, whatever the user tells it', async (t) => {
  const { folder, srpm, bringing } = createCheckout(t)
  const key = makeKey(folder, 'centos')
  key.sign(srpm)
  const programs = join(folder, 'programs')
  mkdirSync(programs)
  for (const name of ['rpmkeys', 'rpm']) {
    writeFileSync(join(programs, name), `#!/bin/sh
PATH=\${PATH#*:}
printf '%s\\n' "${name} $*, policy: $(grep -x 'sha1 = .*' "$RPM_SEQUOIA_CRYPTO_POLICY")" >> ${folder}/calls
exec ${name} "$@"
`)
    chmodSync(join(programs, name), 0o755)
  }
  const path = process.env['PATH']
  t.teardown(() => {
    process.env['PATH'] = path
    delete process.env['RPM_SEQUOIA_CRYPTO_POLICY']
  })
  process.env['PATH'] = [programs, path].join(delimiter)
  process.env['RPM_SEQUOIA_CRYPTO_POLICY'] = ''
  const c = bringing()
  await fetchSrpm(c, signedBy(c, key), {})
  const calls = read(folder, 'calls').trim().split('\n')
  const those = (word: string): string[] => calls.filter((call) => call.includes(` ${word} `))
  t.deepEqual([those('--query').length, those('--import').length, those('--checksig').length, those('--nosignature').length], [1, 1, 3, 3])
  t.deepEqual(those('--checksig').filter((call) => !call.includes(' --define _pkgverify_flags 0x0 ')), [])
  t.deepEqual(calls.filter((call) => !call.includes('--nosignature') && !call.endsWith('policy: sha1 = "always"')), [])
})

/** What a key file of a checkout was changed to: by whom, and what is said of it. */
const TAMPERED: readonly { what: string; change: (pinned: OpenPgpKey, attacker: OpenPgpKey) => Buffer; held: (pinned: OpenPgpKey, attacker: OpenPgpKey) => string }[] = [
  { what: 'with another key', change: (_, attacker) => attacker.packets, held: (_, attacker) => `It holds ${attacker.fingerprint}.` },
  { what: 'with another key behind it', change: (pinned, attacker) => Buffer.concat([pinned.packets, attacker.packets]), held: (pinned, attacker) => `It holds ${pinned.fingerprint}, ${attacker.fingerprint}.` },
  { what: 'with another key before it', change: (pinned, attacker) => Buffer.concat([attacker.packets, pinned.packets]), held: (pinned, attacker) => `It holds ${attacker.fingerprint}, ${pinned.fingerprint}.` },
  { what: 'with another key as its subkey', change: (pinned, attacker) => Buffer.concat([pinned.packets, attacker.unboundSubkey]), held: () => 'It has subkeys.' },
  { what: 'as the subkey of another key', change: (pinned, attacker) => Buffer.concat([attacker.packets, pinned.unboundSubkey]), held: (_, attacker) => `It holds ${attacker.fingerprint}.` },
  { what: 'cut short', change: (pinned) => pinned.packets.subarray(0, 200), held: () => 'It holds no key.' },
]

for (const { what, change, held } of TAMPERED) {
  test(`a key file that was tampered with is refused, whoever signed the package: ${what}`, async (t) => {
    const { folder, srpm, bringing } = createCheckout(t)
    const [pinned, attacker] = [makeOpenPgpKey(CENTOS_DATES), makeOpenPgpKey(CENTOS_DATES)]
    for (const signer of [pinned, attacker]) {
      const sign = (data: Buffer): Buffer => signer.sign(data, { at: RELEASED })
      const path = oldCopy(folder, srpm, { ofHeader: sign, ofAll: sign })
      const c = bringing()
      const { signers, publisher } = signedBy(c, published(folder, pinned))
      writeFileSync(join(c.paths.root, publisher.keyFile), change(pinned, attacker))
      const failure = await fails(t, 'source', () => verifySrpm(path, 'it', signers, c.paths.root))
      t.regex(failure.message, new RegExp(`/specs/keys/${pinned.fingerprint} does not hold the key ${pinned.fingerprint} \\(publisher\\), and no other`))
      t.deepEqual(failure.details.excerpt, [held(pinned, attacker)])
    }
  })
}

test('a key file that is missing, or empty, is named', async (t) => {
  const { folder, bringing } = createCheckout(t)
  const c = bringing()
  const key = makeKey(folder, 'centos')
  const source = signedBy(c, key)
  for (const change of [() => writeFileSync(keyPath(c, key), ''), () => rmSync(keyPath(c, key))]) {
    change()
    const failure = await fails(t, 'source', () => fetchSrpm(c, source, {}))
    t.true(failure.message.startsWith(keyPath(c, key)))
    t.deepEqual(failure.details.excerpt, ['It holds no key.'])
  }
})

test('a key that carries the pinned one as a subkey, bound by its own signature, is not the pinned one', async (t) => {
  const { folder, srpm, bringing } = createCheckout(t)
  const attacker = makeKey(folder, 'attacker')
  const pinned = makeKey(folder, 'centos')
  attacker.sign(srpm)
  const adopted = adoptKey(folder, 'attacker', 'centos')
  const listed = execFileSync('gpg', ['--homedir', folder, '--with-colons', '--show-keys', adopted], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  t.regex(listed, new RegExp(`^sub:[^]*^fpr:+${pinned.fingerprint}:`, 'm'))
  const c = bringing()
  const source = signedBy(c, pinned)
  copyFileSync(adopted, keyPath(c, pinned))
  const failure = await fails(t, 'source', () => fetchSrpm(c, source, {}))
  t.deepEqual(failure.details.excerpt, [`It holds ${attacker.fingerprint}.`])
})

test('a signature by a subkey of the pinned key does not count, as those that are pinned have none', async (t) => {
  const { folder, srpm, bringing } = createCheckout(t)
  const pinned = makeKey(folder, 'centos')
  const gpg = (...words: string[]): string =>
    execFileSync('gpg', ['--homedir', join(folder, 'gpg-centos'), '--batch', '--quiet', '--passphrase', '', ...words], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  gpg('--quick-add-key', pinned.fingerprint, 'rsa2048', 'sign')
  const c = bringing()
  const source = signedBy(c, pinned)
  pinned.sign(srpm)
  const unknown = await fails(t, 'source', () => fetchSrpm(c, source, {}))
  t.true(unknown.details.excerpt?.some((line) => /[Ss]ignature.*NOKEY/.test(line)), unknown.details.excerpt?.join())
  writeFileSync(keyPath(c, pinned), gpg('--armor', '--export'))
  t.deepEqual((await fails(t, 'source', () => fetchSrpm(c, source, {}))).details.excerpt, ['It has subkeys.'])
})

test('what rpmkeys says counts only with a signature over everything', (t) => {
  const fingerprint = 'C1DAC52D1664E8A4386DBA430946FCA2C105B9DE'
  const vouched = (lines: readonly string[], by = fingerprint): boolean => vouchedFor(lines, by)
  const old = ['Header V3 RSA/SHA1 Signature, key ID c105b9de: OK', 'Header SHA1 digest: OK', 'V3 RSA/SHA1 Signature, key ID c105b9de: OK', 'MD5 digest: OK']
  t.true(vouched(old))
  t.true(vouched(['Header V4 RSA/SHA256 Signature, key ID c105b9de: OK', 'Header SHA256 digest: OK', 'Payload SHA256 digest: OK']))
  const rpm6 = ['Header OpenPGP V4 RSA/SHA512 signature, key fingerprint: 7562cf05884d7d8497a96a52eb8837e50cb71aa7: OK', 'Header SHA256 digest: OK']
  t.true(vouched([...rpm6, 'Payload SHA256 digest: OK'], '7562CF05884D7D8497A96A52EB8837E50CB71AA7'))
  const rpm61 = ['Header SHA1 digest: OK', 'Legacy OpenPGP V3 RSA/SHA1 signature, key fingerprint: 7562cf05884d7d8497a96a52eb8837e50cb71aa7: OK', 'Legacy MD5 digest: OK']
  t.true(vouched(rpm61, '7562CF05884D7D8497A96A52EB8837E50CB71AA7'))
  t.false(vouched(rpm61.map((line) => line.replace(/(signature.*): OK/, '$1: NOTTRUSTED')), '7562CF05884D7D8497A96A52EB8837E50CB71AA7'), 'for which rpm 6 ends with status 0')
  t.false(vouched(rpm6, '7562CF05884D7D8497A96A52EB8837E50CB71AA7'), 'the header is signed, but does not say what the payload is')
  t.false(vouched(old.filter((line) => !line.startsWith('V3'))), 'the payload is not signed')
  t.false(vouched(['Header SHA1 digest: OK', 'MD5 digest: OK']), 'digests alone')
  t.false(vouched([...old.slice(0, 2), 'V3 RSA/SHA1 Signature, key ID c105b9de: NOKEY', 'MD5 digest: OK']))
  t.false(vouched(old.map((line) => line.replace('c105b9de', 'c105b9df'))), 'by another key')
  t.false(vouched([...old, 'V3 RSA/SHA1 Signature, key ID 12345678: OK']), 'by another key too')
  t.true(vouched(old.map((line) => line.replace('c105b9de', '0946fca2c105b9de'))))
  t.false(vouched([]))
})
