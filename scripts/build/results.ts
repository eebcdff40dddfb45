// SPDX-License-Identifier: GPL-2.0-only
/**
 * Results that are the same for every checkout, such as the static tools. They stand
 * in the cache under the digest of all that decides them, so that what one checkout
 * has built, another one takes in a moment. A checkout works with a copy of its own:
 * nothing that happens to the cache takes anything away from it.
 */

import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { asideOf, clearAsidesIn, digestTree, replaceFolder } from '../base/files.ts'
import { log } from '../base/log.ts'
import type { Context } from './context.ts'
import { withSharedThing } from './lock.ts'

/** How many results of one name stay: a few branches and compilers, and an end to growth. */
const KEPT = 5

/** Path and SHA-256 of each file of a result; beside the files, and not part of the result. */
const MANIFEST = 'digests.json'

export interface Result {
  /** A name for people, and the folder in the cache. */
  name: string
  /** Digest of everything that decides the result; see `digest` of step.ts. */
  key: string
  /** Puts the files of the result into an empty folder. */
  make: (folder: string) => Promise<void>
}

/**
 * Puts a result into a folder of this checkout: from the cache if it is there and
 * whole, else by making it, which puts it into the cache as well.
 *
 * @param folder is replaced as a whole
 * @returns whether it was made now
 * @throws Failure of `make`; the folder is as it was then, and the cache without the result
 */
export async function bringResult(context: Context, result: Result, folder: string): Promise<boolean> {
  return withSharedThing(context, `result-${result.name}`, `build of ${result.name}`, () => takeOrMake(context, result, folder))
}

async function takeOrMake(context: Context, result: Result, folder: string): Promise<boolean> {
  const shelf = join(context.paths.results, result.name)
  const stored = join(shelf, result.key)
  // Else they would count as results that were used, and push out some that are.
  clearAsidesIn(shelf)
  const taken = isWhole(stored)
  if (!taken) await store(stored, result.make)
  const now = Date.now() / 1000
  utimesSync(stored, now, now)
  prune(stored, now)
  copy(join(stored, 'files'), folder)
  if (taken) log.info(`${result.name} was built before from the same: ${stored}`)
  return !taken
}

async function store(stored: string, make: Result['make']): Promise<void> {
  const aside = asideOf(stored)
  const files = join(aside, 'files')
  mkdirSync(files, { recursive: true })
  try {
    await make(files)
    writeFileSync(join(aside, MANIFEST), JSON.stringify(digests(files), null, 2))
    rmSync(stored, { recursive: true, force: true })
    renameSync(aside, stored)
  } finally {
    rmSync(aside, { recursive: true, force: true })
  }
}

/** @returns whether the result is there, with the bytes that were stored */
function isWhole(stored: string): boolean {
  const manifest = join(stored, MANIFEST)
  if (!existsSync(manifest)) return false
  try {
    return JSON.stringify(JSON.parse(readFileSync(manifest, 'utf8'))) === JSON.stringify(digests(join(stored, 'files')))
  } catch {
    return false
  }
}

function digests(folder: string): Record<string, string> {
  return Object.fromEntries(Object.entries(digestTree(folder)).map(([path, digest]) => [relative(folder, path), digest]))
}

function copy(from: string, to: string): void {
  const aside = asideOf(to)
  mkdirSync(dirname(to), { recursive: true })
  try {
    cpSync(from, aside, { recursive: true, preserveTimestamps: true })
    replaceFolder(aside, to)
  } finally {
    rmSync(aside, { recursive: true, force: true })
  }
}

/** Removes all but the results that were used last, which is this one and before it others. */
function prune(stored: string, now: number): void {
  const shelf = dirname(stored)
  const others = readdirSync(shelf).map((name) => join(shelf, name)).filter((path) => path !== stored)
  // Used while the clock was ahead: else they would push all others out until it is that time.
  for (const path of others.filter((each) => lastUse(each) > now)) utimesSync(path, now, now)
  const byUse = others.sort((a, b) => lastUse(b) - lastUse(a))
  for (const path of byUse.slice(KEPT - 1)) rmSync(path, { recursive: true, force: true })
}

const lastUse = (path: string): number => statSync(path).mtimeMs / 1000
