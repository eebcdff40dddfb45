// SPDX-License-Identifier: GPL-2.0-only
/** Rebuilding what is published. */

import { copyFileSync, mkdirSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { sha256File } from '../base/files.ts'
import { log } from '../base/log.ts'
import type { Context } from '../build/context.ts'
import { rebuildPackage } from './rpm.ts'

const folderOf = ({ paths, variant }: Context): string => join(paths.work, `reproduce-${variant}`)

/** Packages of dist as they were at one time, whatever is built there later. */
export interface Kept {
  /** Paths of copies of source packages. */
  sources: readonly string[]
  /** SHA-256 of all packages, by file name. */
  published: ReadonlyMap<string, string>
}

/**
 * Copies source packages, and takes the digests of all that they are compared with.
 *
 * @param sources those of the packages that can be rebuilt here
 */
export async function keepPackages(context: Context, packages: readonly string[], sources: readonly string[]): Promise<Kept> {
  const folder = join(folderOf(context), 'SRPMS')
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const published = new Map<string, string>()
  for (const path of packages) published.set(basename(path), await sha256File(path))
  return { published, sources: sources.map((path) => copied(path, join(folder, basename(path)))) }
}

function copied(from: string, to: string): string {
  copyFileSync(from, to)
  return to
}

/**
 * Rebuilds all source packages, one after the other, and removes the copies.
 *
 * @returns a line for each package that came out differently
 */
export async function rebuildKept(context: Context, { sources, published }: Kept): Promise<string[]> {
  const different: string[] = []
  try {
    for (const source of sources) different.push(...(await rebuildAndCompare(context, source, published)))
    return different
  } finally {
    for (const path of sources) rmSync(path)
  }
}

/**
 * Rebuilds one source package elsewhere and compares.
 *
 * @param published SHA-256 of the packages in dist, by file name
 * @returns a line for each package that came out differently
 */
export async function rebuildAndCompare(context: Context, source: string, published: ReadonlyMap<string, string>): Promise<string[]> {
  const name = basename(source, '.src.rpm')
  const topdir = join(folderOf(context), name)
  log.step('reproduce', `${basename(source)} by rpmbuild --rebuild`)
  const built = await rebuildPackage(context, source, {
    topdir,
    afresh: true,
    log: join(context.paths.logs, `reproduce-${name}.log`),
    onLine: log.counter(),
  })
  const different: string[] = []
  for (const path of built) {
    const file = basename(path)
    const digest = await sha256File(path)
    const same = published.get(file) === digest
    process.stdout.write(`${same ? 'same     ' : 'DIFFERENT'} ${digest}  ${file}\n`)
    if (!same) different.push(`${file}: ${published.get(file) ?? 'not in dist'} in dist, ${digest} now; kept in ${topdir}`)
  }
  if (built.length === 0) different.push(`${basename(source)} gave no packages`)
  if (different.length === 0) rmSync(topdir, { recursive: true, force: true })
  return different
}
