// SPDX-License-Identifier: GPL-2.0-only
/**
 * The store of downloads. A stored file's name is its SHA-256, so it never
 * changes; it gets that name only after it was verified. What is known of it
 * stands beside it in `index/`, one file a source.
 */

import { existsSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { asideOf, clearAsides, sha256File, writeIfChanged } from '../base/files.ts'
import { log } from '../base/log.ts'
import { capture } from '../base/run.ts'
import { WITH_OLD_DIGESTS } from './srpm.ts'

/** A source package of a distribution. */
export type SourcePackage = {
  /** Its ID in os-release(5). */
  distribution: string
  name: string
  version: string
}

/** A source that is in the store. */
export type Stored = {
  name: string
  /** The version as its origin tells it. */
  version: string
  /** The name that the origin gave the file. */
  filename: string
  sha256: string
  /** Bytes. */
  size: number
  origin: 'apt' | 'upstream' | 'local'
  /** Package and version, URL, or path: where exactly it came from. */
  from: string
  /** What vouches for it: "apt signature chain", "sha256 pinned in sources.lock.json", ... */
  verified: string
  /** SHA-256 of files inside it that count by themselves. */
  contains?: Record<string, string>
  /** The distribution's patches that are to be applied to it; null where its archive names some and does not have them. */
  patches?: Stored | null
  /** What a source is with its patches, and what they are of. */
  package?: SourcePackage
}

/** The programs that check a compressed file's integrity, by file ending. */
const INTEGRITY: ReadonlyMap<string, readonly string[]> = new Map([
  ['.xz', ['xz', '--test']],
  ['.gz', ['gzip', '--test']],
  ['.bz2', ['bzip2', '--test']],
  ['.rpm', ['rpmkeys', ...WITH_OLD_DIGESTS, '--checksig', '--nosignature']],
])

export class Store {
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
    mkdirSync(join(folder, 'incoming'), { recursive: true })
    mkdirSync(join(folder, 'index'), { recursive: true })
  }

  path(sha256: string): string {
    return join(this.#folder, sha256)
  }

  /** @returns where an unverified download may grow; the same name every time, so that it can be resumed */
  incoming(name: string): string {
    return join(this.#folder, 'incoming', name)
  }

  /** @returns what the store holds under a source's name, if the file is there and has its size */
  find(name: string): Stored | undefined {
    const stored = readIndex(this.#index(name))
    const size = stored && statSync(this.path(stored.sha256), { throwIfNoEntry: false })?.size
    return size === stored?.size ? stored : undefined
  }

  /**
   * Takes a file into the store: checks its integrity, and its digest where one is expected.
   *
   * @param path the file, which is moved
   * @param expected SHA-256 it must have
   * @throws Failure of kind `source` if it is damaged or another file than expected; it is removed then
   */
  async add(path: string, about: Omit<Stored, 'sha256' | 'size'>, expected?: string): Promise<Stored> {
    if (!lstatSync(path).isFile()) throw new Failure('internal', `${about.from} came as what is no file.`)
    const sha256 = await sha256File(path)
    const size = statSync(path).size
    if (expected !== undefined && sha256 !== expected) {
      rmSync(path)
      throw wrongDigest(about.from, sha256, expected)
    }
    await this.#checkIntegrity(path, about)
    renameSync(path, this.path(sha256))
    const stored: Stored = { ...about, sha256, size }
    if (about.origin !== 'local') this.remember(stored)
    return stored
  }

  /** Makes {@link find} find a stored file by its source's name. */
  remember(stored: Stored): void {
    writeIfChanged(this.#index(stored.name), `${JSON.stringify(stored, null, 2)}\n`)
  }

  /** @returns whether a stored file still is what was stored, and its patches are; one that is not is removed */
  async isWhole({ sha256, filename, patches }: Stored): Promise<boolean> {
    const path = this.path(sha256)
    if (existsSync(path) && (await sha256File(path)) === sha256) return patches ? this.isWhole(patches) : true
    log.warn(`${filename} was damaged since it was fetched; it is fetched again`)
    rmSync(path, { force: true })
    return false
  }

  async #checkIntegrity(path: string, about: Omit<Stored, 'sha256' | 'size'>): Promise<void> {
    const ending = /\.\w+$/.exec(about.filename)?.[0] ?? ''
    const test = INTEGRITY.get(ending)
    if (!test) throw new Failure('source', `${about.from} has an unknown form; .tar.xz, .tar.gz, .tar.bz2 or .src.rpm is wanted.`)
    clearAsides(path)
    const named = `${asideOf(path)}${ending}`
    renameSync(path, named)
    const { exitCode, stderr } = await capture([...test, named], { anyExit: true })
    if (exitCode === 0) return renameSync(named, path)
    rmSync(named)
    throw new Failure('source', `${about.from} is damaged: it does not unpack.`, {
      hint: 'It is truncated or tampered with. Nothing was kept; fetch it again.',
      excerpt: stderr.trim().split('\n').map((line) => line.replaceAll(named, basename(about.filename))),
    })
  }

  #index(name: string): string {
    return join(this.#folder, 'index', `${name}.json`)
  }
}

export const wrongDigest = (from: string, sha256: string, expected: string): Failure =>
  new Failure('source', `${from} is not the expected file: its digest is wrong.`, {
    hint: `expected sha256 ${expected}\nbut it has     ${sha256}\nIt was truncated or tampered with, or upstream replaced it. Nothing was kept.`,
  })

/** A file that a full disk or a crash has left empty says nothing. */
function readIndex(path: string): Stored | undefined {
  if (!existsSync(path)) return undefined
  try {
    const stored = JSON.parse(readFileSync(path, 'utf8')) as Stored | null
    return /^[0-9a-f]{64}$/.test(stored?.sha256 ?? '') ? (stored ?? undefined) : undefined
  } catch {
    return undefined
  }
}
