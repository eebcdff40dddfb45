// SPDX-License-Identifier: GPL-2.0-only
/** The folders that checkouts have in a cache, and what is in use of them. */

import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { temporaryPlaces, writeIfChanged } from '../base/files.ts'
import { log } from '../base/log.ts'
import { createContext, labVariants, preparedTrees, type Context } from './context.ts'
import { checkoutLock, withBuildLock, withLock } from './lock.ts'

/** Which checkout a folder is of. */
const OWNER = 'root'

/** Writes down whose folder it is, so that it can be told when that checkout is gone. */
export function noteOwner({ paths }: Context): void {
  mkdirSync(paths.checkout, { recursive: true })
  writeIfChanged(join(paths.checkout, OWNER), paths.root)
}

/** A folder of a checkout's in the cache. */
export interface CheckoutFolder {
  path: string
  /** The checkout; unknown of a folder that an older version made, or whose file a crash has left without its content. */
  root?: string
  /** Its prepared kernels and tools. */
  contexts: readonly Context[]
}

/** @returns what checkouts, this one too, have in the cache */
export function checkoutFolders({ paths }: Context): CheckoutFolder[] {
  const parent = join(paths.cache, 'checkouts')
  const names = existsSync(parent) ? readdirSync(parent) : []
  return names.map((name) => {
    const path = join(parent, name)
    const owner = join(path, OWNER)
    const root = existsSync(owner) ? readFileSync(owner, 'utf8') : ''
    if (!isAbsolute(root)) return { path, contexts: [] }
    return { path, root, contexts: preparedTrees(createContext({ CACHE: paths.cache }, root)) }
  })
}

/** What has a lock of its own for as long as it needs the folders: what its name begins with, and what it is called. */
const RUNS = [
  ['e2e', 'end-to-end test run'], ['vm', 'virtual machine'], ['bench', 'benchmark'], ['install', 'installation test'],
  ['selftests', 'run of the selftests'], ['soak', 'soak'], ['dashboard', 'run for the dashboard'], ['reproduce', 'rebuild of the packages'],
  ['srpm-build', 'build of the SRPM'],
] as const

/**
 * Runs `work` while holding the lock of one of {@link RUNS}, of which there is one of a variant at a time.
 *
 * @throws Failure of kind `environment` when such a run of this checkout is under way
 */
export async function withRun<T>(context: Context, name: (typeof RUNS)[number][0], work: () => Promise<T>): Promise<T> {
  const what = new Map<string, string>(RUNS).get(name)
  return withLock(checkoutLock(context, `${name}-${context.variant}`), `${what} of this checkout`, work, { wait: context.wait, hint: 'WAIT=1 waits for it.' })
}

/**
 * Runs `work` while nothing else of these kernels' runs in the checkout: no build, test run or virtual machine.
 *
 * @throws Failure of kind `environment` when something does
 */
export async function withNothingRunning<T>(context: Context, kernels: readonly Context[], work: () => Promise<T>): Promise<T> {
  const names = kernels.flatMap((kernel) => labVariants(kernel))
  const locks = names.flatMap((name) => RUNS.map(([run, what]) => [`${run}-${name}`, what] as const))
  const take = (index: number): Promise<T> => {
    const [name, what] = locks[index] ?? []
    if (name === undefined) return work()
    return withLock(checkoutLock(context, name), `${what} of this checkout`, () => take(index + 1), { hint: 'End it first: its recordings and results would be removed.' })
  }
  return withBuildLock(context, () => take(0))
}

/** What no run of a day's age still needs. */
const KEPT_MS = 24 * 3600 * 1000

/** Removes what runs that were killed have left in the folders for temporary files. */
export function sweepTemporary(folders = temporaryPlaces(), now = Date.now()): void {
  for (const folder of folders) sweepFolder(folder, now)
}

function sweepFolder(folder: string, now: number): void {
  const sockets = readFileSync('/proc/net/unix', 'utf8')
  for (const name of readdirSync(folder).filter((each) => /^lvs-snat-[a-z]+-\w{6}$/.test(each))) {
    const path = join(folder, name)
    const stat = lstatSync(path, { throwIfNoEntry: false })
    // A virtual machine can be there for days, and opens no more sockets.
    if (sockets.includes(` ${path}/`)) continue
    if (!stat?.isDirectory() || stat.uid !== process.getuid?.() || now - stat.mtimeMs < KEPT_MS) continue
    rmSync(path, { recursive: true, force: true })
    log.info(`removed ${path}, which a run that was killed has left`)
  }
}
