// SPDX-License-Identifier: GPL-2.0-only
/** Brings a kernel's source package into the store, once something vouches for it. */

import { copyFileSync, existsSync, rmSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { download } from '../base/download.ts'
import { Failure } from '../base/errors.ts'
import { sha256File } from '../base/files.ts'
import { log } from '../base/log.ts'
import type { Context } from '../build/context.ts'
import type { SrpmSource } from '../sources.ts'
import { nameDigestHint, readSrpm, sha256Inside, verifySrpm } from './srpm.ts'
import { Store, type Stored } from './store.ts'

/** SHA-256 by file name: sources.lock.json. */
export type Digests = Readonly<Record<string, string>>

/**
 * Takes the package that SRPM= names, or the one in the store, or fetches it.
 *
 * @param digests what the package and the tarball in it must be, where that is known
 * @throws Failure of kind `source` when it cannot be had, is damaged, another kernel's, or nothing vouches for it; nothing is kept then
 */
export async function fetchSrpm(context: Context, source: SrpmSource, digests: Digests): Promise<Stored> {
  const store = new Store(context.paths.store)
  const named = namedDigest(context)
  const local = localFile(context)
  const known = store.find(source.name)
  if (known && isWanted(known, named, local && (await sha256File(local))) && (await store.isWhole(known))) return known
  const incoming = store.incoming(`${process.pid}-${source.filename}`)
  try {
    const from = local ?? (await fetchPublished(store, source, incoming))
    if (local) copyFileSync(local, incoming)
    const { kernel, tarball } = await readSrpm(incoming, source.filename)
    requireKernel(source, kernel)
    const sha256 = await sha256File(incoming)
    const contains = { [tarball]: await sha256Inside(incoming, tarball) }
    const verified = named === undefined ? await requireSigned(context, source, incoming, local !== undefined, { [source.filename]: sha256, ...contains }, digests) : requireNamed(source, named, sha256)
    const origin = local ? 'local' : 'upstream'
    const stored = await store.add(incoming, { name: source.name, version: kernel, filename: source.filename, origin, from, verified, contains })
    store.remember(stored)
    return stored
  } finally {
    rmSync(incoming, { force: true })
  }
}

/** What was vouched for once stays good, as long as the user doesn't ask for another file. */
const isWanted = (known: Stored, named: string | undefined, local: string | undefined): boolean =>
  (named === undefined || known.sha256 === named) && (local === undefined || known.sha256 === local)

/** @returns SRPM_SHA256=, checked */
function namedDigest(context: Context): string | undefined {
  const value = context.variables.SRPM_SHA256
  if (!value) return undefined
  if (/^[0-9a-f]{64}$/.test(value)) return value
  throw new Failure('usage', `SRPM_SHA256="${value}" is no SHA-256 in hexadecimal.`, { hint: 'sha256sum FILE prints it.' })
}

/** @returns path of the file that SRPM= names */
export function localFile(context: Context): string | undefined {
  if (!context.variables.SRPM) return undefined
  const path = resolve(context.variables.SRPM)
  if (existsSync(path) && statSync(path).isFile()) return path
  throw new Failure('usage', `SRPM= names ${path}, which is not a file.`)
}

/** @returns the URL that it came from */
async function fetchPublished(store: Store, source: SrpmSource, path: string): Promise<string> {
  const hint = `Bring the file from elsewhere. If CentOS or Red Hat signed it:\n  SRPM=/path/${source.filename}\n${nameDigestHint(source.filename)}`
  if (source.urls.length === 0) {
    throw new Failure('source', `${source.filename} is nowhere to be fetched. ${source.unpublished ?? ''}`, { hint })
  }
  log.step('fetch', `${source.name}: ${source.summary}`)
  // What an interrupted run has got is continued by the next one.
  const growing = store.incoming(source.filename)
  const from = await download(source.urls, growing, hint, { check: (grown) => readSrpm(grown, source.filename) })
  copyFileSync(growing, path)
  rmSync(growing)
  return from
}

function requireKernel(source: SrpmSource, kernel: string): void {
  if (kernel === source.kernel) return
  throw new Failure('source', `The source package is of kernel ${kernel}, but ${source.kernel} is wanted.`, { hint: `To build that one: KERNEL=${kernel}` })
}

function requireNamed(source: SrpmSource, named: string, sha256: string): string {
  if (sha256 === named) return 'digest named by the user (SRPM_SHA256)'
  throw new Failure('source', `${source.filename} is not the file that SRPM_SHA256 names.`, {
    hint: `named sha256 ${named}\nbut it has   ${sha256}\nNothing was kept.`,
  })
}

/**
 * Wants a signature: of what was published by its publisher, of what the user brings by any of those who are pinned. What is
 * published has to have the pinned digests too, where there are any; another's package of that name is another file.
 *
 * @returns what vouches for it
 */
async function requireSigned(context: Context, source: SrpmSource, path: string, isLocal: boolean, found: Digests, digests: Digests): Promise<string> {
  const signer = await verifySrpm(path, source.filename, isLocal ? source.signers : [source.publisher], context.paths.root)
  const verified = `signature by ${signer.keyFingerprint} (${signer.keyOwner})`
  if (signer !== source.publisher) return verified
  requirePinned(found, digests)
  const unpinned = Object.entries(found).filter(([file]) => digests[file] === undefined)
  if (unpinned.length === 0) return `${verified}, sha256 pinned in sources.lock.json`
  log.info('its digests are not in scripts/sources.lock.json; these lines pin them:')
  for (const [file, sha256] of unpinned) log.info(`  ${JSON.stringify(file)}: ${JSON.stringify(sha256)},`)
  return verified
}

/** @throws Failure of kind `source` for a file that is pinned with another digest */
export function requirePinned(found: Digests, digests: Digests): void {
  for (const [file, sha256] of Object.entries(found)) {
    const pinned = digests[file]
    if (pinned === undefined || pinned === sha256) continue
    throw new Failure('source', `${file} is not the file that scripts/sources.lock.json pins, though its package is signed.`, {
      hint: `pinned sha256 ${pinned}\nbut it has    ${sha256}\nWas it published anew? Compare, then correct the lock, or name the digest of the package: SRPM_SHA256=.`,
    })
  }
}
