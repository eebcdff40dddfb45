/** One build at a time in one checkout, and one test run. */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Context } from './context.ts'
import { Failure } from './errors.ts'

/**
 * Runs `work` while holding the checkout's build lock.
 *
 * @throws Failure of kind `environment` when another build of this checkout runs
 */
export async function withBuildLock<T>(context: Context, work: () => Promise<T>): Promise<T> {
  return withLock(join(context.paths.checkout, 'lock'), 'build', work)
}

/**
 * Runs `work` while holding a lock.
 *
 * @param path of the lock's file; its folder is made
 * @param what of this checkout there can be only one of: "build", "end-to-end test run"
 * @throws Failure of kind `environment` when another process holds it
 */
export async function withLock<T>(path: string, what: string, work: () => Promise<T>): Promise<T> {
  mkdirSync(dirname(path), { recursive: true })
  take(path, what)
  try {
    return await work()
  } finally {
    rmSync(path, { force: true })
  }
}

function take(path: string, what: string): void {
  for (;;) {
    try {
      return writeFileSync(path, `${process.pid}\n`, { flag: 'wx' })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    const owner = Number(readFileSync(path, 'utf8'))
    if (isRunning(owner)) {
      throw new Failure('environment', `Another ${what} of this checkout is running (process ${owner}).`, {
        hint: `Wait for it to end, or stop it; other checkouts are not disturbed.`,
      })
    }
    // Its owner was killed before it could let go.
    rmSync(path, { force: true })
  }
}

function isRunning(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
