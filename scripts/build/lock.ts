// SPDX-License-Identifier: GPL-2.0-only
/**
 * Locks by flock(2): the kernel gives one away only when every process that has it is
 * gone, however it went and in whichever container it ran. The programs that this process
 * runs have its locks too, so that what outlives a killed parent still holds them.
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { closeSync, existsSync, ftruncateSync, openSync, readdirSync, readFileSync, readlinkSync, writeSync } from 'node:fs'
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { asFailure, makeFolder } from '../base/files.ts'
import { log } from '../base/log.ts'
import { guardGroup, requireUninterrupted, shareLock } from '../base/run.ts'
import type { Context } from './context.ts'

/** flock(1) exits with it when somebody else has the lock. */
const HELD = 1

export interface LockOptions {
  /** Several may have it at once, and none while another has it alone. */
  shared?: boolean
  /** Wait until it is free instead of refusing. */
  wait?: boolean
  hint?: string
}

/**
 * Runs `work` while holding the checkout's build lock.
 *
 * @throws Failure of kind `environment` when another build of this checkout runs
 */
export async function withBuildLock<T>(context: Context, work: () => Promise<T>): Promise<T> {
  const using = () => withLock(cacheLock(context), 'purge of the cache', work, { shared: true })
  return withLock(checkoutLock(context, 'build'), 'build of this checkout', using, { wait: context.wait, hint: OTHERS })
}

const OTHERS = 'Wait for it to end (WAIT=1 does), or stop it; other checkouts are not disturbed.'

/** @returns path of the lock of something that this checkout has one of: "build", "vm-lts" */
export const checkoutLock = ({ paths }: Context, name: string): string => join(paths.locks, `${basename(paths.checkout)}.${name}`)

/** @returns path of the lock that all who use the cache share, and who removes it has alone */
export const cacheLock = ({ paths }: Context): string => join(paths.locks, 'cache')

/**
 * Runs `work` while holding the lock of something that checkouts share, after whoever has it.
 *
 * @param name of what is shared, as a file name
 * @param what it is that only one can do at a time, for the message
 */
export async function withSharedThing<T>(context: Context, name: string, what: string, work: () => Promise<T>): Promise<T> {
  return withLock(join(context.paths.locks, name), what, work, { wait: true })
}

/**
 * Runs `work` while holding a lock.
 *
 * @param path of the lock's file, which is made and stays: who removes it lets a third one in
 * @param what it is that there can be only one of, for messages: "build of this checkout"
 * @throws Failure of kind `environment` when another process has it, that tells which
 */
export async function withLock<T>(path: string, what: string, work: () => Promise<T>, options: LockOptions = {}): Promise<T> {
  const fd = openLock(path)
  let release: () => void = () => undefined
  try {
    await take(fd, path, what, options)
    release = shareLock(fd)
    if (!options.shared) writeOwner(fd)
    return await work()
  } finally {
    release()
    // Not by closing it alone: a program that runs on in the background, such as an agent of gpg's, may have it too.
    spawnSync('flock', ['--unlock', '3'], { stdio: ['ignore', 'ignore', 'ignore', fd] })
    closeSync(fd)
  }
}

/** @throws Failure of kind `environment` where there can be no such file */
function openLock(path: string): number {
  try {
    makeFolder(dirname(path))
    // Who can read a file can lock it.
    return openSync(path, 'a+', 0o600)
  } catch (cause) {
    const known = asFailure(cause)
    if (known instanceof Failure) throw known
    throw new Failure('environment', `The lock ${path} cannot be made (${(cause as NodeJS.ErrnoException).code}).`, { hint: 'Set CACHE= to a folder of your own.', cause })
  }
}

async function take(fd: number, path: string, what: string, { shared, wait, hint }: LockOptions): Promise<void> {
  const mode = shared ? '--shared' : '--exclusive'
  if (await flock(fd, [mode, '--nonblock'])) return
  const owner = describeOwner(path)
  if (!wait) {
    throw new Failure('environment', `Another ${what} is running (${owner}).`, { excerpt: holders(path), ...(hint ? { hint } : {}) })
  }
  log.info(`waiting for another ${what} to end (${owner})`)
  await flock(fd, [mode])
  requireUninterrupted()
}

/**
 * flock(1) locks what the descriptor stands for, which stays locked after it as long as
 * anybody has that open.
 *
 * @returns whether it is ours now
 * @throws Failure of kind `environment` without flock(1)
 */
async function flock(fd: number, words: readonly string[]): Promise<boolean> {
  const child = spawn('flock', [...words, '3'], { stdio: ['ignore', 'ignore', 'inherit', fd], detached: true })
  const done = child.pid === undefined ? () => undefined : guardGroup(child.pid)
  try {
    const code = await exitCode(child)
    // Without a code a signal has ended it, and this process is about to end too.
    if (code === 0 || code === HELD || code === null) return code === 0
    throw new Failure('environment', `flock failed with exit code ${code}.`, { hint: 'Is CACHE= on a file system without locks?' })
  } finally {
    done()
  }
}

const exitCode = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve, reject) => {
    child.once('exit', resolve)
    child.once('error', (cause) => reject(new Failure('environment', 'flock cannot be started.', { hint: 'It is in the package util-linux.', cause })))
  })

function writeOwner(fd: number): void {
  ftruncateSync(fd)
  writeSync(fd, `process ${process.pid} on ${hostname()}: ${process.argv.slice(2).join(' ')}\n`)
}

const describeOwner = (path: string): string => readFileSync(path, 'utf8').trim() || 'somebody'

/** @returns a line for each process of this host, as far as it can be seen, that has the lock's file open */
function holders(path: string): string[] {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name) && name !== String(process.pid)).flatMap((pid) => {
    try {
      const open = readdirSync(`/proc/${pid}/fd`).some((fd) => linkOf(`/proc/${pid}/fd/${fd}`) === path)
      return open ? [`held by process ${pid}, ${readFileSync(`/proc/${pid}/comm`, 'utf8').trim()}`] : []
    } catch {
      // It is somebody else's, or has ended.
      return []
    }
  })
}

/** @returns a line for each lock of this checkout that somebody has, with what it is and who that is */
export function locksHeld({ paths }: Context): string[] {
  const prefix = `${basename(paths.checkout)}.`
  const names = existsSync(paths.locks) ? readdirSync(paths.locks).filter((name) => name.startsWith(prefix)) : []
  return names.flatMap((name) => {
    const path = join(paths.locks, name)
    const who = holders(path)
    return who.length === 0 ? [] : [`${name.slice(prefix.length)}: ${describeOwner(path)}`]
  })
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}
