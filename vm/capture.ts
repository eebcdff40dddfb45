/** Shows a pcap file while it grows. */

import { spawn } from 'node:child_process'
import { closeSync, openSync, readSync } from 'node:fs'
import { Failure } from '../scripts/lib/errors.ts'
import { guardGroup } from '../scripts/lib/run.ts'

const POLL_MS = 100
const CHUNK_BYTES = 1 << 16

/** -n no names, -l a line at a time, -x the bytes; the columns are tshark's own. */
const TSHARK = ['tshark', '-n', '-l', '-x', '-r', '-'] as const

export interface Capture {
  /** Resolves when the decoder has ended. */
  ended: Promise<void>
  stop: () => void
}

/** @param path of a pcap file that is being written */
export function followCapture(path: string): Capture {
  const [program, ...args] = TSHARK
  const child = spawn(program, args, { stdio: ['pipe', 'inherit', 'ignore'], detached: true })
  const release = child.pid === undefined ? () => undefined : guardGroup(child.pid)
  const fd = openSync(path, 'r')
  const chunk = Buffer.alloc(CHUNK_BYTES)
  child.stdin.on('error', () => undefined)
  const timer = setInterval(() => {
    for (;;) {
      const size = readSync(fd, chunk, 0, chunk.length, null)
      if (size === 0) return
      child.stdin.write(Buffer.from(chunk.subarray(0, size)))
    }
  }, POLL_MS)
  let stopped = false
  const stop = () => {
    if (stopped) return
    stopped = true
    clearInterval(timer)
    closeSync(fd)
    child.stdin.end()
  }
  const ended = new Promise<void>((resolve, reject) => {
    child.once('error', (cause) => reject(new Failure('environment', 'tshark cannot be started.', { hint: 'make doctor', cause })))
    child.once('exit', () => {
      release()
      stop()
      resolve()
    })
  })
  return { ended, stop }
}
