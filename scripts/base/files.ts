// SPDX-License-Identifier: GPL-2.0-only
/** Small helpers on files: digests, and writing that never leaves half a file. */

import { createHash, randomBytes } from 'node:crypto'
import { closeSync, createReadStream, existsSync, fsyncSync, lstatSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join, relative } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { DISK_FULL_HINT, Failure } from './errors.ts'
import { ROOT } from './root.ts'

/** @returns SHA-256 of a file's content, in hexadecimal */
export async function sha256File(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}

/** @returns a line for each file of a folder, which `sha256sum --check` reads there */
export async function checksums(folder: string, names: readonly string[]): Promise<string> {
  const lines: string[] = []
  for (const name of names) lines.push(`${await sha256File(join(folder, name))}  ${name}\n`)
  return lines.join('')
}

/**
 * Writes a file aside and renames it when its content is on the disk, unless it has that content already.
 *
 * @returns whether the file changed, so that make can be spared a rebuild
 */
export function writeIfChanged(path: string, content: string | Buffer): boolean {
  const wanted = Buffer.isBuffer(content) ? content : Buffer.from(content)
  if (existsSync(path) && readFileSync(path).equals(wanted)) return false
  const aside = asideOf(path)
  try {
    writeThrough(aside, wanted)
    renameSync(aside, path)
  } catch (error) {
    rmSync(aside, { force: true })
    // A full disk is told of without the file's name.
    throw Object.assign(error as NodeJS.ErrnoException, { path })
  }
  return true
}

/** Else a crash can leave the name of a file that was renamed, and nothing in it. */
function writeThrough(path: string, content: Buffer): void {
  const fd = openSync(path, 'w')
  try {
    writeFileSync(fd, content)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/** @returns the folders in which sockets and other files of a run are made, the first choice first */
export const temporaryPlaces = (): string[] =>
  [...new Set([process.env['XDG_RUNTIME_DIR'], tmpdir(), '/tmp'])].filter((place): place is string => place !== undefined && existsSync(place))

/** Makes a folder with those above it. Node's own way never ends below /proc, where a folder cannot be made and is not there either. */
export function makeFolder(path: string): void {
  if (existsSync(path)) return
  makeFolder(dirname(path))
  try {
    mkdirSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

/** @returns a name next to `path`, on the same file system, that nobody else uses */
export function asideOf(path: string): string {
  return `${path}.new-${process.pid}-${randomBytes(3).toString('hex')}`
}

/** Removes what processes that were killed have left beside `path`; who calls has the lock that those had. */
export function clearAsides(path: string): void {
  clearAsidesIn(dirname(path), (name) => name === basename(path))
}

/** {@link clearAsides} of whatever a folder holds, or of names that are asked for. */
export function clearAsidesIn(folder: string, isMeant: (name: string) => boolean = () => true): void {
  if (!existsSync(folder)) return
  const isAside = (each: string): boolean => ASIDE.test(each) && isMeant(each.replace(ASIDE, ''))
  for (const each of readdirSync(folder).filter(isAside)) rmSync(join(folder, each), { recursive: true, force: true })
}

/** What {@link asideOf} adds to a name, and who has called it added to that. */
const ASIDE = /\.new-\d+-[0-9a-f]{6}(\.\w+)?$/

/** Puts the folder `from` where `to` is; what was there is removed only after the new one is in place. */
export function replaceFolder(from: string, to: string): void {
  if (existsSync(to)) renameSync(to, asideOf(to))
  renameSync(from, to)
  clearAsides(to)
}

/** @param results folder of a command's results, which is empty then; what an earlier run has recorded is put aside @returns it */
export function newResults(results: string): string {
  if (existsSync(results) && readdirSync(results).length > 1) {
    rmSync(`${results}.previous`, { recursive: true, force: true })
    renameSync(results, `${results}.previous`)
  }
  rmSync(results, { recursive: true, force: true })
  mkdirSync(results, { recursive: true })
  return results
}

/** @returns whether specs, makefiles and shells take a file's name as it stands; to rpm, `%(...)` in it would be a program */
export const isPlainName = (name: string): boolean => /^[\w.+~-]+$/.test(name)

/** @returns paths of all below a folder that is no folder, relative to it, sorted: links too, which are not followed */
export function listFiles(folder: string): string[] {
  if (!existsSync(folder)) return []
  const found: string[] = []
  const visit = (at: string) => {
    for (const name of readdirSync(at)) {
      const path = join(at, name)
      if (lstatSync(path).isDirectory()) visit(path)
      else found.push(relative(folder, path))
    }
  }
  visit(folder)
  return found.sort()
}

/** @returns path and content digest of every file below the given files and folders, for a step's inputs */
export function digestTree(...paths: string[]): Record<string, string> {
  const digests: Record<string, string> = {}
  for (const path of paths) {
    const files = existsSync(path) && lstatSync(path).isDirectory() ? listFiles(path).map((name) => join(path, name)) : [path]
    for (const file of files) digests[file] = createHash('sha256').update(readFileSync(file)).digest('hex')
  }
  return digests
}

/** Turns "no space left" and "not permitted", wherever they come from, into a message for the user. */
export function asFailure(error: unknown): unknown {
  const { code, path: from, dest } = error as NodeJS.ErrnoException & { dest?: string }
  // Of a copy, what could not be written.
  const path = dest ?? from
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new Failure('environment', `No space left on the disk${path ? ` while writing ${path}` : ''}.`, {
      hint: DISK_FULL_HINT,
      cause: error,
    })
  }
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    return new Failure('environment', `Not allowed to write${path ? ` ${path}` : ''} (${code}).`, {
      hint: path?.startsWith(ROOT) ? 'The checkout and dist in it have to be writable: check their owner and how they are mounted.' : 'Check the owner of the folder, or set CACHE= to a folder of your own.',
      cause: error,
    })
  }
  return error
}
