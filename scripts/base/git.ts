// SPDX-License-Identifier: GPL-2.0-only
/**
 * git, for questions by simple-git, and as a program of its own (run.ts) for what changes
 * a work tree: such a program holds the locks, and has ended before an interrupt is over.
 */

import { setMaxListeners } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { simpleGit, type SimpleGit } from 'simple-git'
import { extract } from 'tar'
import { Failure } from './errors.ts'
import { asideOf, listFiles } from './files.ts'
import { capture, failure, interruption, onInterrupt, requireUninterrupted, type Captured, type CaptureOptions } from './run.ts'

export interface GitOptions {
  /** Settings, as `-c` takes them. */
  config?: readonly string[]
  /** Variables for git. */
  env?: NodeJS.ProcessEnv
  /** Whether the user's configuration counts: about a repository of his own. */
  userConfig?: boolean
  /** What the user can do when git fails. */
  hint?: string
}

const stopped = new AbortController()
setMaxListeners(0, stopped.signal)
onInterrupt(() => stopped.abort())

/** Whether a commit is signed, how a file is checked out, which hooks run: in repositories of this tool's that is not the user's to set. */
const OWN_CONFIG = {
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_ATTR_NOSYSTEM: '1',
  // gitattributes(5), gitignore(5): the user's own are in git/attributes and git/ignore of this folder, whatever the configuration.
  XDG_CONFIG_HOME: '/dev/null',
}

/** No others: a git that has called this tool, from a hook, has named its own repository and index in variables. */
const INHERITED = ['PATH', 'HOME', 'XDG_CONFIG_HOME'] as const

function environmentOf({ env, userConfig }: GitOptions): Record<string, string> {
  const inherited = INHERITED.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]] as const]))
  return { ...Object.fromEntries(inherited), ...(userConfig ? {} : OWN_CONFIG), LC_ALL: 'C', ...env }
}

/** Not when git has ended, after which what it printed may still be on its way. */
const WHOLE = { onClose: true, onExit: false }

/** A work tree or a bare repository, and how git is called there. */
export class Git {
  readonly #folder: string
  readonly #options: GitOptions
  readonly #environment: Record<string, string>
  readonly #client: SimpleGit

  constructor(folder: string, options: GitOptions = {}) {
    this.#folder = folder
    this.#options = options
    this.#environment = environmentOf(options)
    this.#client = simpleGit({ baseDir: folder, config: [...(options.config ?? [])], abort: stopped.signal, completion: WHOLE, unsafe: { allowUnsafeConfigPaths: true } })
    this.#client.env(this.#environment)
  }

  /**
   * Asks.
   *
   * @param words what follows `git` on a command line
   * @returns what it printed
   * @throws Failure of kind `environment` when git fails, `interrupted` after a signal
   */
  async text(...words: string[]): Promise<string> {
    requireUninterrupted()
    try {
      return await this.#client.raw(...words)
    } catch (error) {
      throw this.#failure(error, words)
    }
  }

  /** @returns the one line that it printed, or nothing */
  async line(...words: string[]): Promise<string> {
    return (await this.text(...words)).trim()
  }

  /** @returns the lines that it printed, without empty ones */
  async lines(...words: string[]): Promise<string[]> {
    return (await this.text(...words)).split('\n').filter(Boolean)
  }

  /** @returns whether it says yes, by its exit code */
  async holds(...words: string[]): Promise<boolean> {
    const { exitCode } = await this.call(words, { anyExit: true })
    return exitCode === 0
  }

  /** Changes a work tree, or what lies in the repository. @throws Failure of kind `environment` when git fails */
  async run(...words: string[]): Promise<void> {
    await this.call(words, { kind: 'environment' })
  }

  /** Like {@link run}, for what may fail without harm. */
  async attempt(...words: string[]): Promise<void> {
    await this.call(words, { anyExit: true })
  }

  /** @returns names of the files that a commit has at the given paths */
  async files(commit: string, paths: readonly string[]): Promise<string[]> {
    return this.lines('ls-tree', '-r', '--name-only', commit, '--', ...paths)
  }

  /** Puts files of a commit below a folder, which is made if it is not there. Names that the commit lacks are a failure. */
  async unpack(commit: string, names: readonly string[], folder: string): Promise<void> {
    mkdirSync(folder, { recursive: true })
    const archive = asideOf(`${folder}.tar`)
    try {
      await this.call(['archive', '--format=tar', `--output=${archive}`, commit, '--', ...names], { kind: 'environment' })
      await extract({ file: archive, cwd: folder })
    } finally {
      rmSync(archive, { force: true })
    }
  }

  /** Runs git, and says how it ended. */
  async call(words: readonly string[], options: CaptureOptions): Promise<Captured> {
    const config = (this.#options.config ?? []).flatMap((setting) => ['-c', setting])
    return capture(['git', ...config, ...words], { ...options, cwd: this.#folder, env: this.#environment })
  }

  #failure(cause: unknown, words: readonly string[]): Failure {
    if (interruption()) return new Failure('interrupted', `Interrupted by ${interruption()}.`, { cause })
    const excerpt = (cause instanceof Error ? cause.message : String(cause)).trim().split('\n').slice(-15)
    const { hint } = this.#options
    // Some of git's messages do not say of which trouble; a folder that is gone is on no disk.
    return failure('environment', `git ${words[0]} failed in ${this.#folder}.`, { excerpt, cause, ...(hint === undefined ? {} : { hint }) }, existsSync(this.#folder) ? this.#folder : '/')
  }
}

/** The parts of a repository in which git locks by making a file: NAME.lock (lockfile.h of git's sources). */
const LOCKED = ['refs', 'worktrees']

/**
 * Removes the locks of a git that was killed, in which every later one would see another at work. While
 * a git is at work in the tree, be it the user's whose editor waits for a message, they stay.
 *
 * @param tree a work tree, whose lock the caller has
 */
export function removeStaleLocks(tree: string): void {
  const repository = join(tree, '.git')
  // Of a work tree beside another one it is a file.
  if (!existsSync(join(repository, '.')) || isAtWork(tree)) return
  const names = [...readdirSync(repository), ...LOCKED.flatMap((folder) => listFiles(join(repository, folder)).map((name) => join(folder, name)))]
  for (const name of names.filter((each) => each.endsWith('.lock'))) rmSync(join(repository, name), { force: true })
}

function isAtWork(tree: string): boolean {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).some((pid) => {
    try {
      return readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('git') && `${readlinkSync(`/proc/${pid}/cwd`)}/`.startsWith(`${tree}/`)
    } catch {
      // It has ended, or is somebody else's.
      return false
    }
  })
}
