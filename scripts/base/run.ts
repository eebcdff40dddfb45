// SPDX-License-Identifier: GPL-2.0-only
/** Running other programs: short ones whose output is wanted, long ones whose output goes to a log file. */

import { closeSync, existsSync, mkdirSync, openSync, readSync, statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import { $, type ProcessPromise } from 'zx/core'
import { callersEnvironment } from './environment.ts'
import { DISK_FULL_HINT, Failure, type FailureDetails, type FailureKind } from './errors.ts'
import { excerpt } from './excerpt.ts'
import { log } from './log.ts'
import { shellLine } from './quote.ts'

$.verbose = false

const POLL_MS = 300
const KILL_GRACE_MS = 5_000

/** Process groups of the programs that run now, so that an interrupt takes all of them along. */
const groups = new Set<number>()

let interrupted: NodeJS.Signals | undefined

/** Which signal has asked this process to stop, if any has; {@link untilInterrupted} takes one for its end. */
export const interruption = (): NodeJS.Signals | undefined => interrupted

const listeners = new Set<() => void>()

/** Calls when a signal has asked this process to stop. */
export const onInterrupt = (listener: () => void): void => void listeners.add(listener)

/** Ends what is left of the children at once. */
export function killChildren(): void {
  for (const group of groups) signalGroup(group, 'SIGKILL')
}

/**
 * Ends every running child with its whole process group: SIGTERM first, SIGKILL
 * for what is left after five seconds.
 */
export function stopChildren(signal: NodeJS.Signals): void {
  interrupted = signal
  for (const listener of listeners) listener()
  for (const group of groups) signalGroup(group, 'SIGTERM')
  setTimeout(killChildren, KILL_GRACE_MS).unref()
}

/**
 * Puts a process group that was started elsewhere under the care of {@link stopChildren}.
 *
 * @returns takes it out again, once it has ended
 */
export function guardGroup(group: number): () => void {
  groups.add(group)
  return () => groups.delete(group)
}

/**
 * Waits for work that has no end of its own, such as following a log: an interrupt is its end, and no failure.
 *
 * @param work what to wait for
 * @param stop makes `work` end; called on an interrupt
 */
export async function untilInterrupted(work: Promise<void>, stop: () => void): Promise<void> {
  const timer = setInterval(() => {
    if (interrupted) stop()
  }, POLL_MS)
  try {
    await work
    // What was asked for is what was to happen.
    interrupted = undefined
  } finally {
    clearInterval(timer)
  }
}

function signalGroup(group: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-group, signal)
  } catch {
    // The group ended by itself.
  }
}

/**
 * Between steps of work that runs no program.
 *
 * @throws Failure of kind `interrupted` when a signal has asked this process to stop
 */
export function requireUninterrupted(): void {
  if (interrupted) throw new Failure('interrupted', `Interrupted by ${interrupted}.`)
}

/** Descriptors of the locks that this process has. */
const locks = new Set<number>()

/**
 * Lets the programs that are run from now on have a lock too.
 *
 * @returns lets those that are run later not have it
 */
export function shareLock(fd: number): () => void {
  locks.add(fd)
  return () => locks.delete(fd)
}

/** The kernel ends a program when this process is gone, however it went; util-linux 2.33 or later. */
const guard = (): string => (existsSync('/usr/bin/setpriv') ? 'exec /usr/bin/setpriv --pdeathsig TERM -- ' : 'exec ')

/**
 * Their output is read, by this tool and by those who help. bash(1) reads the user's ~/.bashrc where its input is a socket, as
 * Node's pipes are, and no shell is above it: rshd could have called it.
 */
const FIXED = { LC_ALL: 'C', SHLVL: '2' }

/** What all programs are run with: the shell that zx calls gives way to the program. */
const common = () => ({ prefix: guard(), nothrow: true, quiet: true, detached: true })

async function tracked(child: ProcessPromise, cleanup = false): Promise<number> {
  const group = child.pid
  if (group !== undefined) groups.add(group)
  try {
    const { exitCode, signal } = await child
    if (!cleanup) requireUninterrupted()
    return exitCode ?? (signal === null ? 0 : 128)
  } finally {
    if (group !== undefined) groups.delete(group)
  }
}

export interface CaptureOptions {
  cwd?: string
  env?: NodeJS.ProcessEnv
  input?: string | Buffer
  /** Kind of the failure that a non-zero exit becomes; default `build`. */
  kind?: FailureKind
  /** Return the output whatever the exit code is. */
  anyExit?: boolean
  /** It tidies up, and does so after an interrupt as well. */
  cleanup?: boolean
}

export interface Captured {
  stdout: string
  stderr: string
  exitCode: number
}

/**
 * Runs a short program and returns what it printed.
 *
 * @throws Failure when it cannot be started or exits other than 0 (unless `anyExit`)
 */
export async function capture(argv: readonly string[], options: CaptureOptions = {}): Promise<Captured> {
  if (!options.cleanup) requireUninterrupted()
  log.detail(`+ ${shellLine(argv)}`)
  const child = $({
    ...common(),
    cwd: options.cwd ?? process.cwd(),
    env: { ...(options.env ?? callersEnvironment()), ...FIXED },
    // An empty input would leave zx's pipe open, and the program waiting for its end.
    ...(options.input?.length ? { input: options.input, stdio: ['pipe', 'pipe', 'pipe', ...locks] } : { stdio: ['ignore', 'pipe', 'pipe', ...locks] }),
  })`${argv}`
  const exitCode = await tracked(child, options.cleanup)
  const output = await child
  const captured = { stdout: output.stdout, stderr: output.stderr, exitCode }
  if (exitCode !== 0 && !options.anyExit) {
    const lines = captured.stderr.trimEnd().split('\n').slice(-15)
    throw failure(options.kind ?? 'build', `${argv[0]} failed with exit code ${exitCode}: ${argv.join(' ')}`, { excerpt: lines }, options.cwd ?? process.cwd())
  }
  return captured
}

export interface LoggedOptions {
  cwd?: string
  env?: NodeJS.ProcessEnv
  /** Path of the log file; it is overwritten. */
  log: string
  /** Folder that the program writes to, if that can be on another disk than the log. */
  into?: string
  /** Kind of the failure that a non-zero exit becomes; default `build`. */
  kind?: FailureKind
  /** What was being done, for the message: "compiling the kernel". */
  doing: string
  hint?: string
  /** Called with every line of output, as it comes. */
  onLine?: (line: string) => void
}

/**
 * Runs a long program. Its output goes to `log`, never through this process's memory.
 *
 * @throws Failure with the lines of the log that matter and the log's path
 */
export async function runLogged(argv: readonly string[], options: LoggedOptions): Promise<void> {
  requireUninterrupted()
  mkdirSync(dirname(options.log), { recursive: true })
  const fd = openSync(options.log, 'w+')
  log.detail(`+ ${shellLine(argv)}`)
  const follower = follow(fd, (line) => {
    log.detail(line)
    options.onLine?.(line)
  })
  try {
    const exitCode = await tracked(
      $({
        ...common(),
        cwd: options.cwd ?? process.cwd(),
        env: { ...(options.env ?? callersEnvironment()), ...FIXED },
        stdio: ['ignore', fd, fd, ...locks],
      })`${argv}`,
    )
    if (exitCode !== 0) {
      throw failure(options.kind ?? 'build', `${options.doing} failed: ${argv[0]} exited with ${exitCode}.`, {
        excerpt: excerpt(options.log),
        log: options.log,
        ...(options.hint === undefined ? {} : { hint: options.hint }),
      }, dirname(options.log), ...(options.into === undefined ? [] : [options.into]))
    }
  } finally {
    follower.stop()
    closeSync(fd)
  }
}

/** Less than this is a full disk: logs, at least, can no longer be written. */
const FULL_BYTES = 1 << 20

/**
 * A program that met a full disk did not fail because of what it was given. Where its
 * log is on the same disk, it could not even say so.
 *
 * @param folders where the program wrote
 */
export function failure(kind: FailureKind, message: string, details: FailureDetails & { excerpt: string[] }, ...folders: readonly string[]): Failure {
  const said = details.excerpt.some((line) => /No space left on device|Disk quota exceeded/.test(line))
  if (!said && !folders.some(isFull)) return new Failure(kind, message, details)
  return new Failure('environment', `No space left on the disk: ${message}`, { ...details, hint: DISK_FULL_HINT })
}

function isFull(folder: string): boolean {
  const { bavail, bsize } = statfsSync(folder)
  return bavail * bsize < FULL_BYTES
}

/** Hands the lines that appear in a growing file to `onLine`. */
function follow(fd: number, onLine: (line: string) => void): { stop: () => void } {
  const chunk = Buffer.alloc(1 << 16)
  let position = 0
  let rest = ''
  const read = () => {
    for (;;) {
      const size = readSync(fd, chunk, 0, chunk.length, position)
      if (size === 0) return
      position += size
      const lines = (rest + chunk.toString('utf8', 0, size)).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) onLine(line)
    }
  }
  const timer = setInterval(read, POLL_MS)
  return {
    stop: () => {
      clearInterval(timer)
      read()
    },
  }
}
