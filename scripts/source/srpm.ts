// SPDX-License-Identifier: GPL-2.0-only
/**
 * Source packages (SRPMs) of kernels: what vouches for one, what is in it, and the
 * tree that its own %prep makes. rpm reads package and spec; only the calls of the
 * spec's ApplyPatch functions are read here.
 */

import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { callersEnvironment } from '../base/environment.ts'
import { Failure } from '../base/errors.ts'
import { capture, runLogged } from '../base/run.ts'
import type { PackageSigner } from '../sources.ts'

/** What a package's header says. */
export interface SrpmHeader {
  /** VERSION-RELEASE. */
  kernel: string
  /** Name of the kernel's tarball in it. */
  tarball: string
}

const BROUGHT_ANEW = 'It is truncated or tampered with. Nothing was kept; fetch it again.'

/**
 * What Sequoia is to take, which verifies for rpm on Debian 13 and Fedora: packages of 2012 are signed by way of SHA-1, and
 * so are the keys by themselves. By its own policy it refuses the keys ("No binding signature") and the signatures ("SHA1 is
 * not considered secure since 2013-02-01"). RPM_SEQUOIA_CRYPTO_POLICY names another one (README of rpm-sequoia; format:
 * https://docs.rs/sequoia-policy-config; tried with rpm 4.20.1 and rpm-sequoia 1.8.0 of Debian 13).
 *
 * It is for the pinned keys alone, as rpm knows no others then. Nobody can make a second file for a signature that there is, by
 * SHA-1 neither; what can be made are two files of one digest, of which the owner of the key would have to sign the first. A
 * date would not limit it: Sequoia compares one with today's and not with the signature's (documentation of its StandardPolicy).
 */
const CRYPTO_POLICY = `[hash_algorithms]
sha1 = "always"

[packets]
signature.v3 = "always"
`

/**
 * What rpm 6 is to check: a package of rpm 4.8 has SHA-1 and MD5 digests only, which it no longer looks at by itself, and then
 * says "DIGESTS NOT OK" for want of others (rpm 6.1.0 of Debian's forky: its macro is 0x20100). Zero is what rpm 4 has. Who
 * vouches for the package is another question.
 */
export const WITH_OLD_DIGESTS = ['--define', '_pkgverify_flags 0x0'] as const

/**
 * rpm without the settings of the user's and with a database of its own.
 *
 * @param database that {@link withDatabase} has made
 */
function rpmOf(database: string): { options: string[]; env: NodeJS.ProcessEnv } {
  return { options: ['--dbpath', database, ...WITH_OLD_DIGESTS], env: { ...callersEnvironment(), HOME: database, LC_ALL: 'C', RPM_SEQUOIA_CRYPTO_POLICY: policyIn(database) } }
}

/** rpm-sequoia does nothing at all without the file that the variable names. */
const policyIn = (database: string): string => join(database, 'crypto-policy')

async function withDatabase<T>(work: (database: string) => Promise<T>): Promise<T> {
  const database = mkdtempSync(join(tmpdir(), 'lvs-snat-rpm-'))
  try {
    writeFileSync(policyIn(database), CRYPTO_POLICY)
    return await work(database)
  } finally {
    rmSync(database, { recursive: true, force: true })
  }
}

/**
 * @param path of an SRPM
 * @param called what it is called in messages
 * @throws Failure of kind `source` when it is damaged, no source package, or not of a kernel
 */
export async function readSrpm(path: string, called: string): Promise<SrpmHeader> {
  return withDatabase(async (database) => {
    const { options, env } = rpmOf(database)
    const check = await capture(['rpmkeys', ...options, '--checksig', '--nosignature', path], { env, anyExit: true })
    if (check.exitCode !== 0) {
      const excerpt = `${check.stdout}${check.stderr}`.trim().replaceAll(path, called).split('\n')
      throw new Failure('source', `${called} is damaged: rpm does not accept its digests.`, { hint: BROUGHT_ANEW, excerpt })
    }
    const format = '%{NAME} %{VERSION}-%{RELEASE} %{SOURCEPACKAGE}\\n[%{SOURCE}\\n]'
    const { stdout } = await capture(['rpm', ...options, '--query', '--nosignature', '--queryformat', format, '--package', path], { env, kind: 'source' })
    const [first = '', ...sources] = stdout.split('\n')
    const [name, kernel = '', source] = first.split(' ')
    const tarball = sources.find((file) => /^linux-.*\.tar\.\w+$/.test(file))
    if (name === 'kernel' && source === '1' && tarball !== undefined) return { kernel, tarball }
    throw new Failure('source', `${called} is no source package of a kernel.`, { excerpt: [`rpm calls it ${first}`] })
  })
}

/**
 * Finds out who vouches for a package. Digests alone, which rpm accepts
 * of an unsigned package, are not enough; nor is a signature of the header alone unless
 * the header has a digest of the payload (rpmkeys(8), and the tags of rpm's file format).
 *
 * @param called what it is called in messages
 * @param signers of whom one has to have signed it
 * @param root the checkout, which has their keys
 * @returns the one who did
 * @throws Failure of kind `source` when none did, or a key is not the one that is pinned
 */
export async function verifySrpm(path: string, called: string, signers: readonly PackageSigner[], root: string): Promise<PackageSigner> {
  const said = new Set<string>()
  for (const signer of signers) {
    const { exitCode, lines } = await checkSignature(path, await pinnedKey(join(root, signer.keyFile), signer))
    if (exitCode === 0 && vouchedFor(lines, signer.keyFingerprint)) return signer
    for (const line of lines) said.add(line)
  }
  const wanted = signers.map(({ keyFingerprint, keyOwner }) => `  ${keyFingerprint} (${keyOwner})`)
  throw new Failure('source', `${called} is not signed by a key that is pinned for it.`, {
    excerpt: [...said],
    hint: `A good signature is wanted by\n${wanted.join('\n')}\nNothing was kept.\n${nameDigestHint(called)}`,
  })
}

/**
 * @param key in OpenPGP's armour; rpm knows no other
 * @returns what `rpmkeys --checksig --verbose` says of a package
 */
async function checkSignature(path: string, key: string): Promise<{ exitCode: number; lines: string[] }> {
  return withDatabase(async (database) => {
    const { options, env } = rpmOf(database)
    const file = join(database, 'key.asc')
    writeFileSync(file, key)
    await capture(['rpmkeys', ...options, '--import', file], { env, kind: 'source' })
    const { exitCode, stdout } = await capture(['rpmkeys', ...options, '--checksig', '--verbose', path], { env, anyExit: true })
    return { exitCode, lines: stdout.split('\n').slice(1).map((line) => line.trim()).filter(Boolean) }
  })
}

/** How a file can be used that no pinned key signed. */
export const nameDigestHint = (called: string): string =>
  `If you trust this file for another reason, such as having compared it, name its digest:\n  SRPM=/path/${called} SRPM_SHA256=$(sha256sum < /path/${called} | cut -c1-64)`

/**
 * @param lines that `rpmkeys --checksig --verbose` prints of a package whose only known key is the pinned one
 * @param fingerprint of the pinned key, which has to be the one that signed: rpm names it by its ID of 8 or 16
 *   digits or, from version 6 on, by its fingerprint
 */
export function vouchedFor(lines: readonly string[], fingerprint: string): boolean {
  const signers = lines.flatMap((line) => /[Ss]ignature, key (?:ID |fingerprint: )([0-9a-f]+)/.exec(line)?.[1] ?? [])
  const own = signers.every((id) => id.length >= 8 && fingerprint.toLowerCase().endsWith(id))
  const good = (pattern: RegExp): boolean => lines.some((line) => pattern.test(line) && /: OK$/.test(line))
  const all = lines.length > 0 && lines.every((line) => /: OK$/.test(line))
  const whole = good(/^((Legacy )?OpenPGP )?V\d .*[Ss]ignature, key /)
  const header = good(/^Header (OpenPGP )?V\d .*[Ss]ignature, key /) && good(/^Payload SHA\d+ digest/)
  return all && signers.length > 0 && own && (whole || header)
}

/**
 * A key is named by its primary's fingerprint. gpg finds keys by the fingerprints of subkeys
 * too, and whoever has a public key can make it a subkey of his own.
 *
 * @returns the pinned key, in OpenPGP's armour
 * @throws Failure of kind `source` unless it is the only key in the file, without subkeys, and was not revoked
 */
export async function pinnedKey(keyFile: string, signer: PackageSigner): Promise<string> {
  const home = mkdtempSync(join(tmpdir(), 'lvs-snat-gpg-'))
  const gpg = ['gpg', '--homedir', home, '--batch', '--no-options', '--quiet']
  try {
    const { stdout: packets } = await capture([...gpg, '--list-packets', keyFile], { anyExit: true })
    await capture([...gpg, '--import', keyFile], { anyExit: true })
    const { stdout: listed } = await capture([...gpg, '--with-colons', '--list-keys'], { anyExit: true })
    const wrong = whatIsWrong(listed, packets, signer.keyFingerprint)
    if (wrong === undefined) return (await capture([...gpg, '--armor', '--export', signer.keyFingerprint], { kind: 'source' })).stdout
    throw new Failure('source', `${keyFile} does not hold the key ${signer.keyFingerprint} (${signer.keyOwner}), and no other.`, {
      excerpt: [wrong],
      hint: 'The fingerprint is pinned in scripts/sources.ts, and the file came with the checkout: git status tells whether it was changed.',
    })
  } finally {
    await capture(['gpgconf', '--homedir', home, '--kill', 'all'], { anyExit: true, cleanup: true })
    rmSync(home, { recursive: true, force: true })
  }
}

/**
 * @param listed what gpg lists with colons of a key file that it has imported (doc/DETAILS of GnuPG): rpm does not look whether a key was revoked
 * @param packets what `gpg --list-packets` says of the file itself: gpg drops a subkey that the key's owner has not bound
 */
function whatIsWrong(listed: string, packets: string, fingerprint: string): string | undefined {
  const found = primaryFingerprints(listed)
  if (found.length === 0) return 'It holds no key.'
  if (found.length > 1 || found[0] !== fingerprint) return `It holds ${found.join(', ')}.`
  if (/^pub:r:/m.test(listed)) return 'Its owner has revoked it.'
  return /^:public sub key packet:/m.test(packets) ? 'It has subkeys.' : undefined
}

/** @returns the fingerprint that follows each record of a primary key in what gpg lists with colons (doc/DETAILS of GnuPG) */
function primaryFingerprints(listed: string): string[] {
  return [...listed.matchAll(/^pub:.*\n(?:(?!(?:pub|sub|fpr):).*\n)*fpr:+([0-9A-F]{40}):/gm)].map(([, fingerprint = '']) => fingerprint)
}

/**
 * Unpacks an SRPM into a new folder.
 *
 * @param log path of a log file
 */
export async function unpackSrpm(srpm: string, folder: string, log: string): Promise<void> {
  mkdirSync(folder, { recursive: true })
  await runLogged(['bash', '-o', 'pipefail', '-c', 'rpm2cpio "$1" | cpio --extract --quiet --no-absolute-filenames', '-', srpm], {
    cwd: folder,
    doing: 'unpacking the source package',
    log,
    kind: 'source',
  })
}

/** @returns SHA-256 of a file inside an SRPM, in hexadecimal */
export async function sha256Inside(srpm: string, file: string): Promise<string> {
  const script = 'rpm2cpio "$1" | cpio --extract --quiet --to-stdout "$2" "./$2" | sha256sum'
  const { stdout } = await capture(['bash', '-o', 'pipefail', '-c', script, '-', srpm, file], { kind: 'source' })
  return stdout.slice(0, 64)
}

/** A patch that %prep applies. */
export interface PrepPatch {
  file: string
  /** Skipped if it is of nine lines or fewer. */
  optional: boolean
  /** Options of its own for patch(1). */
  options: readonly string[]
}

/** What a kernel spec's %prep does to make the source tree. */
export interface PrepPlan {
  tarball: string
  /** patch(1) with its options. */
  command: readonly string[]
  patches: readonly PrepPatch[]
}

/** ApplyOptionalPatch of the spec takes only files that have more lines. */
const EMPTY_PATCH_LINES = 9

/**
 * @param spec a kernel spec as `rpmspec --parse` prints it: macros and conditions resolved
 * @throws Failure of kind `source` naming what a kernel spec of RHEL 6 has and this one lacks
 */
export function planPrep(spec: string): PrepPlan {
  const [, prep] = /^%prep\n(.*?)^%build$/ms.exec(`${spec}\n%build\n`) ?? []
  const tarball = /^Source0: *(\S+)$/m.exec(spec)?.[1]
  const command = /^ *patch_command='(patch -p1(?: -F\d+)? -s)'$/m.exec(prep ?? '')?.[1]
  const rule = new RegExp(`"\\$C" -gt ${EMPTY_PATCH_LINES} \\]`).test(prep ?? '')
  const calls = [...(prep ?? '').matchAll(/^[ \t]*Apply(Optional)?Patch[ \t]+(\S+)[ \t]*(.*)$/gm)]
  if (prep === undefined || tarball === undefined || command === undefined || !rule) {
    const lacking = { '%prep': prep, Source0: tarball, "patch_command='patch -p1 ...'": command, [`the rule of ${EMPTY_PATCH_LINES} lines in ApplyOptionalPatch`]: rule || undefined }
    throw new Failure('source', 'The spec in the source package is none of a RHEL 6 kernel.', {
      excerpt: Object.entries(lacking).flatMap(([what, found]) => (found === undefined ? [`It lacks ${what}.`] : [])),
    })
  }
  const isCall = (name: string): boolean => !/^[$"']/.test(name)
  return {
    tarball: tarball.replace(/^.*\//, ''),
    command: command.split(' '),
    patches: calls.flatMap(([, optional, file = '', options = '']) =>
      isCall(file) ? [{ file, optional: optional !== undefined, options: options.split(/\s+/).filter(Boolean) }] : [],
    ),
  }
}

/**
 * rpm 4.20 and later have a macro `rpmversion` of their own and refuse a spec that defines
 * it, as those of RHEL 6 kernels do. Under another name it means the same to every rpm.
 *
 * @param spec text of RHEL's kernel.spec
 */
export const renameRpmversion = (spec: string): string =>
  spec.replace(/(%(?:define|global)[ \t]+|%\{?[?!]*)rpmversion\b/g, '$1kernel_rpmversion')

/** @returns the plan of the spec in a folder that {@link unpackSrpm} has made */
export async function readPlan(folder: string): Promise<PrepPlan> {
  const spec = join(folder, 'kernel.spec')
  if (!existsSync(spec)) throw new Failure('source', 'The source package has no kernel.spec.', { excerpt: readdirSync(folder).slice(0, 20) })
  const { stdout } = await withDatabase((database) => {
    const readable = join(database, 'kernel.spec')
    writeFileSync(readable, renameRpmversion(readFileSync(spec, 'utf8')))
    return capture(['rpmspec', '--parse', '--target', 'x86_64', '--define', `_sourcedir ${folder}`, '--define', `_dbpath ${database}`, readable], {
      env: rpmOf(database).env,
      kind: 'source',
    })
  })
  return planPrep(stdout)
}

/**
 * Makes the source tree as the spec's %prep does, without what it adds for its own build.
 *
 * @param folder that {@link unpackSrpm} has made
 * @param tree an empty folder
 * @param logs folder for log files
 * @returns the names of the patches that were applied
 * @throws Failure of kind `source` when a patch does not apply
 */
export async function prepareTree(folder: string, tree: string, logs: string): Promise<string[]> {
  const plan = await readPlan(folder)
  const tarball = join(folder, plan.tarball)
  if (!existsSync(tarball)) throw new Failure('source', `The source package lacks ${plan.tarball}, which its spec names.`)
  await runLogged(['tar', '--extract', '--no-same-owner', '--strip-components=1', '--file', tarball, '--directory', tree], {
    doing: `unpacking ${plan.tarball}`,
    log: join(logs, 'unpack.log'),
    kind: 'source',
  })
  const applied = plan.patches.filter(({ file, optional }) => !optional || !isEmptyPatch(folder, file))
  for (const { file, options } of applied) {
    const [program = 'patch', ...words] = plan.command
    await runLogged([program, ...words, '--no-backup-if-mismatch', ...options, '--input', await plainPatch(folder, file)], {
      cwd: tree,
      doing: `applying ${file} of the source package`,
      log: join(logs, 'srpm-patch.log'),
      kind: 'source',
    })
  }
  return applied.map(({ file }) => file)
}

function isEmptyPatch(folder: string, file: string): boolean {
  return existsSync(join(folder, file)) && readFileSync(join(folder, file), 'utf8').split('\n').length - 1 <= EMPTY_PATCH_LINES
}

const DECOMPRESSORS: Readonly<Record<string, string>> = { '.bz2': 'bunzip2', '.gz': 'gunzip' }

/** @returns the path of a patch, of which a compressed one is decompressed first */
async function plainPatch(folder: string, file: string): Promise<string> {
  const ending = /\.\w+$/.exec(file)?.[0] ?? ''
  const program = DECOMPRESSORS[ending]
  if (program === undefined) return join(folder, file)
  const plain = join(folder, `.${file.slice(0, -ending.length)}`)
  copyFileSync(join(folder, file), `${plain}${ending}`)
  await capture([program, '--force', `${plain}${ending}`], { kind: 'source' })
  return plain
}
