// SPDX-License-Identifier: GPL-2.0-only
/** A QEMU process: started, watched until it ends, and ended with certainty. */

import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import semver from 'semver'
import { Failure } from '../../scripts/base/errors.ts'
import { readTail } from '../../scripts/base/excerpt.ts'
import { capture, guardGroup } from '../../scripts/base/run.ts'
import { versionIn } from '../../scripts/base/version.ts'

export const QEMU = 'qemu-system-x86_64'

export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
}

export interface QemuProcess {
  readonly pid: number
  readonly exited: Promise<Exit>
  /** Ends it at once. */
  kill: () => void
}

/**
 * @param args see `qemuArguments`
 * @param log file that QEMU's own messages go to; the command line is its first line
 * @param interactive let it have the terminal
 * @throws Failure of kind `environment` when QEMU cannot be started
 */
export async function startQemu(args: readonly string[], log: string, interactive = false): Promise<QemuProcess> {
  await requireQemu()
  mkdirSync(dirname(log), { recursive: true })
  const fd = openSync(log, 'w')
  try {
    const [program = QEMU, ...words] = [...guarded(), QEMU, ...args]
    const child = spawn(program, words, {
      // A group of its own, so that Ctrl-C reaches it through us and only once.
      detached: !interactive,
      stdio: interactive ? 'inherit' : ['ignore', fd, fd],
    })
    return await watch(child)
  } finally {
    closeSync(fd)
  }
}

/** The first with stream sockets. */
const OLDEST_QEMU = '7.2.0'

/** @throws Failure of kind `environment` without a QEMU that is new enough */
async function requireQemu(): Promise<void> {
  const found = await capture([QEMU, '--version'], { anyExit: true }).catch(() => undefined)
  const version = versionIn(found?.stdout ?? '')
  if (version && semver.gte(version, OLDEST_QEMU)) return
  throw new Failure('environment', version ? `QEMU ${version} is too old.` : `${QEMU} cannot be started.`, {
    hint: `QEMU ${OLDEST_QEMU} or later is needed (package qemu-system-x86).`,
  })
}

/** The kernel ends QEMU when this process is gone, however it went; util-linux 2.33 or later. */
const guarded = (): string[] => (existsSync('/usr/bin/setpriv') ? ['/usr/bin/setpriv', '--pdeathsig', 'KILL', '--'] : [])

async function watch(child: ChildProcess): Promise<QemuProcess> {
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', (cause) => {
      reject(new Failure('environment', `${QEMU} cannot be started.`, { hint: 'Install QEMU 7.2 or later.', cause }))
    })
  })
  const pid = child.pid as number
  const release = guardGroup(pid)
  const exited = new Promise<Exit>((resolve) => {
    child.once('exit', (code, signal) => {
      release()
      resolve({ code, signal })
    })
  })
  return { pid, exited, kill: () => void child.kill('SIGKILL') }
}

const TAIL_BYTES = 32 << 10

/**
 * @param bytes at the end of the file that are looked at
 * @returns the last lines of a file, without control characters; nothing when there is no such file
 */
export function tail(path: string, lines = 25, bytes = TAIL_BYTES): string[] {
  if (!existsSync(path)) return []
  // Terminals, not people, read the sequences with which the firmware clears the screen.
  const text = readTail(path, Math.min(bytes, TAIL_BYTES)).replace(/\u001B(\[[0-9;?=]*[A-Za-z]|c)/g, '').replaceAll('\r', '')
  return text.trimEnd().split('\n').slice(-lines)
}
