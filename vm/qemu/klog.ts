// SPDX-License-Identifier: GPL-2.0-only
/** The guest's kernel log as it comes, from /proc/kmsg over a port of its own. */

import { createWriteStream, mkdirSync, type WriteStream } from 'node:fs'
import type { Socket } from 'node:net'
import { dirname } from 'node:path'

interface Waiter {
  text: string
  resolve: (index: number) => void
}

export class KernelLog {
  readonly lines: string[] = []
  private readonly file: WriteStream
  private readonly waiters = new Set<Waiter>()
  private readonly listeners = new Set<(line: string) => void>()
  private rest = ''

  /** @param path file that the log is kept in */
  constructor(socket: Socket, path: string) {
    mkdirSync(dirname(path), { recursive: true })
    this.file = createWriteStream(path)
    socket.on('data', (chunk: Buffer) => this.receive(chunk.toString('latin1')))
    socket.on('close', () => this.file.end())
    socket.on('error', () => undefined)
  }

  /** @returns stops the calls */
  listen(listener: (line: string) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /**
   * @param text part of a line to wait for
   * @param from index of the first line to look at
   * @param within milliseconds
   * @returns index of the line, or undefined when it did not come in time
   */
  async find(text: string, from: number, within: number): Promise<number | undefined> {
    const index = this.lines.findIndex((line, at) => at >= from && line.includes(text))
    if (index >= 0) return index
    return new Promise((resolve) => {
      const finish = (found: number | undefined) => {
        clearTimeout(timer)
        this.waiters.delete(waiter)
        resolve(found)
      }
      const waiter: Waiter = { text, resolve: finish }
      const timer = setTimeout(() => finish(undefined), within)
      this.waiters.add(waiter)
    })
  }

  private receive(text: string): void {
    this.file.write(text)
    const lines = (this.rest + text).split('\n')
    this.rest = lines.pop() ?? ''
    for (const line of lines) {
      this.lines.push(line)
      for (const listener of this.listeners) listener(line)
      for (const waiter of this.waiters) if (line.includes(waiter.text)) waiter.resolve(this.lines.length - 1)
    }
  }
}
