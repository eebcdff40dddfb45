// SPDX-License-Identifier: GPL-2.0-only
/** The lab's side of the guest's command channel, see `init`. */

import type { Socket } from 'node:net'

export interface Outcome {
  status: number
  /** stdout and stderr, as they came. */
  output: string
}

interface Pending {
  resolve: (outcome: Outcome) => void
  reject: (error: Error) => void
}

export class Agent {
  /** Resolves when the guest listens. */
  readonly ready: Promise<Outcome>
  private readonly socket: Socket
  private readonly data: Socket
  private readonly pending = new Map<string, Pending>()
  private buffer: Buffer = Buffer.alloc(0)
  private next = 1

  /**
   * @param socket of the command port
   * @param data of the port that files go over
   */
  constructor(socket: Socket, data: Socket) {
    this.socket = socket
    this.data = data
    this.ready = new Promise((resolve, reject) => this.pending.set('ready', { resolve, reject }))
    // A machine that dies before it is ready is reported by who watches the machine.
    this.ready.catch(() => undefined)
    socket.on('data', (chunk: Buffer) => this.receive(chunk))
    socket.on('error', () => undefined)
    data.on('error', () => undefined)
  }

  /** Runs a shell script in the guest. One at a time runs there; more of them wait in the channel. */
  async run(script: string): Promise<Outcome> {
    return this.request((id) => {
      this.socket.write(`run ${id} ${Buffer.from(script).toString('base64')}\n`)
    })
  }

  /** Writes a file in the guest. */
  async put(path: string, content: Buffer): Promise<Outcome> {
    return this.request((id) => {
      this.socket.write(`put ${id} ${content.length} ${path}\n`)
      this.data.write(content)
    })
  }

  /** Makes everything that waits for the guest fail. */
  abandon(error: Error): void {
    for (const { reject } of this.pending.values()) reject(error)
    this.pending.clear()
  }

  private async request(send: (id: string) => void): Promise<Outcome> {
    const id = String(this.next++)
    return new Promise((resolve, reject) => {
      this.pending.set(id, { resolve, reject })
      send(id)
    })
  }

  private receive(chunk: Buffer): void {
    this.buffer = Buffer.concat([this.buffer, chunk])
    for (;;) {
      const end = this.buffer.indexOf('\n')
      if (end < 0) return
      const [id = '', status, size] = this.buffer.toString('latin1', 0, end).split(' ')
      const length = Number(size)
      if (this.buffer.length < end + 1 + length) return
      const output = this.buffer.toString('utf8', end + 1, end + 1 + length)
      this.buffer = this.buffer.subarray(end + 1 + length)
      this.pending.get(id)?.resolve({ status: Number(status), output })
      this.pending.delete(id)
    }
  }
}
