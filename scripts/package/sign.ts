// SPDX-License-Identifier: GPL-2.0-only
/** A signed copy of what is in dist: packages, a repository for dnf, and one for apt. */

import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { createHash } from 'node:crypto'
import { tmpdir } from 'node:os'
import { basename, dirname, join, relative } from 'node:path'
import { Failure } from '../base/errors.ts'
import { asideOf, listFiles, replaceFolder } from '../base/files.ts'
import { log } from '../base/log.ts'
import { capture, type Captured, type CaptureOptions } from '../base/run.ts'
import { SOURCE_DATE_EPOCH } from '../release.ts'

/** The folders of dist that are signed. */
const RPM_FOLDERS = ['RPMS', 'SRPMS', 'DKMS']
const DEB_FOLDER = 'DEBS'
/** The source packages of those, which go along: who offers the ones offers the others. */
const DSC_FOLDER = 'DSCS'
/** The public key beside them. */
export const KEY_FILE = 'KEY.asc'

/**
 * Copies packages and signs them and their repositories by gpg, with a key of the user's.
 *
 * @param dist folder with the packages
 * @param folder the signed copy, which is replaced as a whole
 * @param key as gpg knows it; a fingerprint is best
 * @param createRepository makes `repodata` in a folder, of the packages in some of its folders
 * @throws Failure of kind `usage` for a key that there is not, `environment` when signing fails
 */
export async function signPackages(dist: string, folder: string, key: string, createRepository: (folder: string, folders: readonly string[]) => Promise<void>): Promise<void> {
  const signer = await requireKey(key)
  const aside = asideOf(folder)
  try {
    const rpms = copyFiles(dist, aside, filesIn(dist, RPM_FOLDERS))
    if (rpms.length > 0) {
      await writeKey(aside, signer)
      await signRpms(await withoutSigned(rpms, aside, folder), signer)
      for (const path of rpms) setTime(path)
      await createRepository(aside, RPM_FOLDERS)
      await signFile(join(aside, 'repodata', 'repomd.xml'), signer)
    }
    const debs = copyFiles(dist, aside, filesIn(dist, [DEB_FOLDER]))
    if (debs.length > 0) await indexDebs(join(aside, DEB_FOLDER), debs, signer)
    copyFiles(dist, aside, filesIn(dist, [DSC_FOLDER]))
    if (!existsSync(join(aside, KEY_FILE))) await writeKey(aside, signer)
    await verifySigned(aside, rpms)
    mkdirSync(dirname(folder), { recursive: true })
    replaceFolder(aside, folder)
    log.info(`${rpms.length} RPMs and ${debs.length} packages of Debian, signed: ${folder}`)
  } finally {
    rmSync(aside, { recursive: true, force: true })
  }
}

async function signRpms(rpms: readonly string[], signer: string): Promise<void> {
  if (rpms.length === 0) return
  // rpm of Debian looks for gpg nowhere.
  const { stdout: program } = await capture(['sh', '-c', 'command -v gpg'])
  await capture(['rpmsign', '--define', `__gpg ${program.trim()}`, '--define', `_gpg_name ${signer}`, '--addsign', ...rpms], { kind: 'environment' })
}

/** Digests of an RPM's header and payload, which no signature changes: the one that all have, and the one of rpm 4.14 and later. */
async function contentOf(rpm: string): Promise<string> {
  const { stdout } = await capture(['rpm', '--query', '--package', '--nosignature', '--queryformat', '%{SIGMD5} %{SHA256HEADER}', rpm], { anyExit: true })
  return stdout
}

/**
 * Takes what was signed by the same key already as it is. A signature is another one each time, with the same length: who serves
 * the folder would keep the RPM, as its size and time are the same, and take the repository that has the new digest.
 *
 * @param rpms copies in `aside`
 * @param signed what is about to be replaced
 * @returns those that are to be signed
 */
async function withoutSigned(rpms: readonly string[], aside: string, signed: string): Promise<string[]> {
  return await withKey(join(aside, KEY_FILE), async ({ checksig }) => {
    const left: string[] = []
    for (const rpm of rpms) {
      const before = join(signed, relative(aside, rpm))
      const same = existsSync(before) && (await contentOf(before)) === (await contentOf(rpm)) && (await checksig([before], { anyExit: true })).exitCode === 0
      if (same) copyFileSync(before, rpm)
      else left.push(rpm)
    }
    return left
  })
}

/** What those can verify who have only a public key. */
interface Verifier {
  checksig: (rpms: readonly string[], options?: CaptureOptions) => Promise<Captured>
  /** @param files a signature, and what it is of if that is another file */
  verify: (files: readonly string[]) => Promise<Captured>
}

async function withKey<Result>(key: string, work: (verifier: Verifier) => Promise<Result>): Promise<Result> {
  const home = mkdtempSync(join(tmpdir(), 'lvs-snat-signed-'))
  const database = ['--dbpath', join(home, 'rpm')]
  const check = (words: string[], options: CaptureOptions = {}) => capture(words, { kind: 'build', ...options })
  try {
    await check(['rpmkeys', ...database, '--import', key])
    await check(['gpg', '--homedir', home, '--batch', '--quiet', '--import', key])
    return await work({
      checksig: (rpms, options) => check(['rpmkeys', ...database, '--checksig', ...rpms], options),
      verify: (files) => check(['gpg', '--homedir', home, '--batch', '--quiet', '--verify', ...files]),
    })
  } finally {
    await capture(['gpgconf', '--homedir', home, '--kill', 'all'], { anyExit: true, cleanup: true })
    rmSync(home, { recursive: true, force: true })
  }
}

/**
 * Looks at the signatures as those do who have only the public key beside them.
 *
 * @throws Failure of kind `build` when one is missing or wrong
 */
async function verifySigned(folder: string, rpms: readonly string[]): Promise<void> {
  await withKey(join(folder, KEY_FILE), async ({ checksig, verify }) => {
    if (rpms.length > 0) await checksig(rpms)
    const signed = [[join(folder, 'repodata', 'repomd.xml.asc'), join(folder, 'repodata', 'repomd.xml')], [join(folder, DEB_FOLDER, 'InRelease')]]
    for (const files of signed.filter(([signature = '']) => existsSync(signature))) await verify(files)
  })
}

const gpg = (...words: string[]) => capture(['gpg', '--batch', '--yes', '--quiet', ...words], { kind: 'environment' })

/**
 * Leaves a signature beside a file, with `.asc` behind its name.
 *
 * @param signer what {@link requireKey} has returned
 */
export async function signFile(path: string, signer: string): Promise<void> {
  await gpg('--local-user', signer, '--armor', '--detach-sign', path)
}

/** Puts the public key into a folder. */
export async function writeKey(folder: string, signer: string): Promise<void> {
  await gpg('--armor', '--output', join(folder, KEY_FILE), '--export', signer)
}

/** Names one key, or one of its subkeys, and no other that gpg finds by the same words; rpm finds no macro in it. */
const EXACT = /^(0x)?[0-9a-f]{8,40}!$/i

/**
 * @returns the key's fingerprint, or what was given if it says which subkey is to sign
 * @throws Failure of kind `usage` unless it is one that can sign now
 */
export async function requireKey(key: string): Promise<string> {
  const { stdout } = await capture(['gpg', '--batch', '--with-colons', '--list-secret-keys', '--', key], { anyExit: true })
  // Fields of a record, see doc/DETAILS of GnuPG: the 2nd is validity, the 12th in capitals what the key can be used for as a whole.
  const records = stdout.split('\n').map((line) => line.split(':'))
  const keys = records.flatMap((record, index) => (record[0] === 'sec' ? [{ capabilities: record[11] ?? '', fingerprint: records.slice(index).find(([type]) => type === 'fpr')?.[9] ?? '' }] : []))
  const [found, ...others] = keys
  if (!found) throw new Failure('usage', `SIGN="${key}" is no key that gpg could sign with.`, { hint: KEYS_HINT })
  if (others.length > 0) throw new Failure('usage', `SIGN="${key}" is said of ${keys.length} keys.`, { excerpt: keys.map(({ fingerprint }) => fingerprint), hint: 'Name one by its fingerprint.' })
  if (!found.capabilities.includes('S')) throw new Failure('usage', `SIGN="${key}" is a key that cannot sign: it has expired, was revoked, or is not made for it.`, { excerpt: [found.fingerprint], hint: KEYS_HINT })
  return EXACT.test(key) ? key : found.fingerprint
}

const KEYS_HINT = 'gpg --list-secret-keys shows those that there are; GNUPGHOME= says where.'

const filesIn = (from: string, folders: readonly string[]): string[] => folders.flatMap((name) => listFiles(join(from, name)).map((file) => join(name, file)))

/** @returns names of the files in dist that are signed */
export const signedFiles = (dist: string): string[] => filesIn(dist, [...RPM_FOLDERS, DEB_FOLDER])

/**
 * Copies files with the time that those in dist have.
 *
 * @param names of files below `from`
 * @returns paths of the copies
 */
export function copyFiles(from: string, to: string, names: readonly string[]): string[] {
  mkdirSync(to, { recursive: true })
  return names.map((name) => {
    const path = join(to, name)
    mkdirSync(dirname(path), { recursive: true })
    copyFileSync(join(from, name), path)
    setTime(path)
    return path
  })
}

/** Gives a file the time that stands for "now". */
export const setTime = (path: string): void => utimesSync(path, SOURCE_DATE_EPOCH, SOURCE_DATE_EPOCH)

const sha256 = (content: string | Buffer): string => createHash('sha256').update(content).digest('hex')

/** Makes a folder a repository of apt's flat form (sources.list(5)), with everything that its InRelease vouches for. */
async function indexDebs(folder: string, debs: readonly string[], key: string): Promise<void> {
  const entries = await Promise.all(debs.map(packageEntry))
  const packages = entries.join('\n')
  writeFileSync(join(folder, 'Packages'), packages)
  const release = [
    'Origin: lvs-snat', 'Label: lvs-snat', 'Architectures: all amd64', `Date: ${new Date(SOURCE_DATE_EPOCH * 1000).toUTCString()}`,
    'SHA256:', ` ${sha256(packages)} ${Buffer.byteLength(packages)} Packages`, '',
  ]
  const path = join(folder, 'Release')
  writeFileSync(path, release.join('\n'))
  await gpg('--local-user', key, '--digest-algo', 'SHA512', '--output', join(folder, 'InRelease'), '--clearsign', path)
  rmSync(path)
}

/** @returns a package's own control file, and where and what the package is */
async function packageEntry(deb: string): Promise<string> {
  const { stdout: control } = await capture(['dpkg-deb', '--field', deb])
  return `${control.trimEnd()}\nFilename: ./${basename(deb)}\nSize: ${statSync(deb).size}\nSHA256: ${sha256(readFileSync(deb))}\n`
}
