/** One build at a time in one checkout. */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Context } from './context.ts'
import { Failure } from './errors.ts'

/**
 * Runs `work` while holding the checkout's build lock.
 *
 * @throws Failure of kind `environment` when another build of this checkout runs
 */
export async function withBuildLock<T>(context: Context, work: () => Promise<T>): Promise<T> {
  const path = join(context.paths.checkout, 'lock')
  mkdirSync(context.paths.checkout, { recursive: true })
  take(path)
  try {
    return await work()
  } finally {
    rmSync(path, { force: true })
  }
}

function take(path: string): void {
  for (;;) {
    try {
      return writeFileSync(path, `${process.pid}\n`, { flag: 'wx' })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    const owner = Number(readFileSync(path, 'utf8'))
    if (isRunning(owner)) {
      throw new Failure('environment', `Another build of this checkout is running (process ${owner}).`, {
        hint: 'Wait for it to end, or stop it; builds in different checkouts do not disturb each other.',
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
