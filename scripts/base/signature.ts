// SPDX-License-Identifier: GPL-2.0-only
/** OpenPGP signatures against a pinned fingerprint. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Failure } from './errors.ts'
import { capture } from './run.ts'

export interface Signer {
  /** Fingerprint of the primary key, 40 hexadecimal digits. */
  keyFingerprint: string
  /** Mail address under which the key is published (Web Key Directory). */
  keyOwner: string
}

/**
 * Verifies a detached signature of a compressed tarball's uncompressed content,
 * which is how kernel.org signs (https://www.kernel.org/signature.html).
 *
 * @param keyFile take the key from this file instead of its owner's Web Key Directory
 * @throws Failure of kind `source` for a bad signature or another key, `environment` when the key cannot be had
 */
export async function verifyTarball(tarball: string, signature: string, signer: Signer, keyFile?: string): Promise<void> {
  const home = mkdtempSync(join(tmpdir(), 'lvs-snat-gpg-'))
  try {
    const gpg = ['gpg', '--homedir', home, '--batch', '--no-options']
    await importKey(gpg, signer, keyFile)
    const script = 'xz --decompress --stdout "$1" | "${@:3}" --status-fd 1 --verify "$2" -'
    const { stdout, stderr } = await capture(['bash', '-c', script, '-', tarball, signature, ...gpg], { anyExit: true })
    if (signedBy(stdout) === signer.keyFingerprint) return
    throw new Failure('source', `The signature of ${tarball} is not good.`, {
      hint: `A good signature by ${signer.keyFingerprint} (${signer.keyOwner}) is wanted.`,
      excerpt: stderr.trim().split('\n'),
    })
  } finally {
    await capture(['gpgconf', '--homedir', home, '--kill', 'all'], { anyExit: true, cleanup: true })
    rmSync(home, { recursive: true, force: true })
  }
}

async function importKey(gpg: string[], signer: Signer, keyFile: string | undefined): Promise<void> {
  const argv = keyFile
    ? [...gpg, '--import', keyFile]
    : [...gpg, '--auto-key-locate', 'clear,wkd', '--locate-external-keys', signer.keyOwner]
  const { exitCode, stderr } = await capture(argv, { anyExit: true })
  if (exitCode === 0) return
  throw new Failure('environment', `The key of ${signer.keyOwner} could not be had, so the signature cannot be checked.`, {
    hint: 'Check the network; the key is fetched from its owner, and its fingerprint is pinned in scripts/sources.ts.',
    excerpt: stderr.trim().split('\n'),
  })
}

/**
 * @returns the primary key's fingerprint in gpg's VALIDSIG line (doc/DETAILS of GnuPG), if the signature is good. gpg says
 *   VALIDSIG, and exits with 0, for a key that was revoked too: without GOODSIG.
 */
function signedBy(status: string): string | undefined {
  if (!/^\[GNUPG:\] GOODSIG /m.test(status)) return undefined
  const valid = /^\[GNUPG:\] VALIDSIG (.*)$/m.exec(status)?.[1]?.split(' ')
  return valid?.at(-1)
}
