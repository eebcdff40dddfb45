// SPDX-License-Identifier: GPL-2.0-only
/** Shows a pcap file while it grows. */

import { spawn } from 'node:child_process'
import { Failure } from '../scripts/base/errors.ts'
import { capture, guardGroup } from '../scripts/base/run.ts'

/**
 * A shell's pipe between the two: tshark takes a capture from a pipe but not from the socket that Node would give it.
 * A signal ends tail alone, and so the capture, which tshark then writes to its end; the shell waits for that.
 */
const FOLLOW = `trap : TERM; tail -c +1 -f "$1" | { shift; trap '' TERM; exec tshark -n -l -r - "$@" 2>/dev/null; }`

export interface CaptureOptions {
  /** Which packets, as tshark -Y takes it. */
  filter?: string
  /** A file that they are written to as well. */
  write?: string
  /** Their bytes too, beside a summary of each. */
  bytes?: boolean
}

export interface Capture {
  /** Resolves when the decoder has ended. */
  ended: Promise<void>
  stop: () => void
}

/**
 * @param path of a pcap file that is being written
 * @throws Failure of kind `environment` without tshark, `usage` for a filter that it does not understand
 */
export async function followCapture(path: string, { filter, write, bytes }: CaptureOptions = {}): Promise<Capture> {
  const found = await capture(['tshark', '--version'], { anyExit: true }).catch(() => undefined)
  if (found?.exitCode !== 0) throw new Failure('environment', 'tshark, which decodes packets, is missing.', { hint: 'make doctor' })
  if (filter !== undefined) await requireFilter(filter)
  const words = [...(filter === undefined ? [] : ['-Y', filter]), ...(write === undefined ? [] : ['-P', '-w', write]), ...(bytes ? ['-P', '-x'] : [])]
  const child = spawn('sh', ['-c', FOLLOW, 'sh', path, ...words], { stdio: ['ignore', 'inherit', 'ignore'], detached: true })
  const group = child.pid
  const release = group === undefined ? () => undefined : guardGroup(group)
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => {
      release()
      resolve()
    })
  })
  return {
    ended,
    stop: () => {
      if (group === undefined || child.exitCode !== null || child.signalCode !== null) return
      process.kill(-group, 'SIGTERM')
    },
  }
}

async function requireFilter(filter: string): Promise<void> {
  const nothing = '/dev/null'
  const { stderr } = await capture(['tshark', '-r', nothing, '-Y', filter], { anyExit: true })
  // A filter is looked at before the file, which is no capture.
  if (stderr.includes(nothing)) return
  throw new Failure('usage', `tshark does not understand the filter "${filter}".`, { excerpt: stderr.trim().split('\n').slice(-3), hint: "For example: FILTER='tcp.port == 80'" })
}
