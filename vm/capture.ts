// SPDX-License-Identifier: GPL-2.0-only
/** Shows a pcap file while it grows. */

import { spawn } from 'node:child_process'
import { Failure } from '../scripts/base/errors.ts'
import { capture, guardGroup } from '../scripts/base/run.ts'

/**
 * -n no names, -l a line at a time, -P a summary of each packet, -x its bytes. A shell's pipe between the two: tshark
 * takes a capture from a pipe but not from the socket that Node would give it.
 */
const FOLLOW = 'tail -c +1 -f "$1" | tshark -n -l -P -x -r - 2>/dev/null'

export interface Capture {
  /** Resolves when the decoder has ended. */
  ended: Promise<void>
  stop: () => void
}

/**
 * @param path of a pcap file that is being written
 * @throws Failure of kind `environment` without tshark
 */
export async function followCapture(path: string): Promise<Capture> {
  const found = await capture(['tshark', '--version'], { anyExit: true }).catch(() => undefined)
  if (found?.exitCode !== 0) throw new Failure('environment', 'tshark, which decodes packets, is missing.', { hint: 'make doctor' })
  const child = spawn('sh', ['-c', FOLLOW, 'sh', path], { stdio: ['ignore', 'inherit', 'inherit'], detached: true })
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
