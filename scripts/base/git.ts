/**
 * Questions to git. What changes a work tree runs as a program of its own instead
 * (run.ts), so that it holds the locks and has ended before an interrupt is over.
 */

import { setMaxListeners } from 'node:events'
import { simpleGit } from 'simple-git'
import { DISK_FULL_HINT, Failure } from './errors.ts'
import { interruption, onInterrupt, requireUninterrupted } from './run.ts'

export interface Git {
  /**
   * @param words what follows `git` on a command line
   * @returns what it printed
   * @throws Failure of kind `environment` when git fails, `interrupted` after a signal
   */
  raw: (...words: string[]) => Promise<string>
}

export interface GitOptions {
  /** Settings, as `-c` takes them. */
  config?: string[]
  /** The whole environment, instead of this process's. */
  env?: Record<string, string>
  /** What the user can do when git fails. */
  hint?: string
}

const stopped = new AbortController()
setMaxListeners(0, stopped.signal)
onInterrupt(() => stopped.abort())

/** @param folder a work tree or a bare repository */
export function git(folder: string, { config = [], env, hint }: GitOptions = {}): Git {
  const client = simpleGit({ baseDir: folder, config, abort: stopped.signal, unsafe: { allowUnsafeConfigPaths: true } })
  if (env) client.env(env)
  return {
    async raw(...words) {
      requireUninterrupted()
      try {
        return await client.raw(...words)
      } catch (error) {
        throw asGitFailure(error, folder, words, hint)
      }
    },
  }
}

function asGitFailure(cause: unknown, folder: string, words: readonly string[], hint?: string): Failure {
  if (interruption()) return new Failure('interrupted', `Interrupted by ${interruption()}.`, { cause })
  const excerpt = (cause instanceof Error ? cause.message : String(cause)).trim().split('\n').slice(-15)
  if (excerpt.some((line) => /No space left on device|Disk quota exceeded/.test(line))) {
    return new Failure('environment', `No space left on the disk: git ${words[0]} failed in ${folder}.`, { excerpt, hint: DISK_FULL_HINT, cause })
  }
  return new Failure('environment', `git ${words[0]} failed in ${folder}.`, { excerpt, cause, ...(hint === undefined ? {} : { hint }) })
}
