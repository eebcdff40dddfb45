// SPDX-License-Identifier: GPL-2.0-only
/**
 * One end of QEMU's `-netdev stream,server=off,addr.type=unix`: a socket that carries
 * frames, each after its length in four bytes, big-endian (QEMU docs, "stream").
 *
 * `stream` and not `socket`: it connects to unix sockets, so that no TCP port can be
 * taken or be reached by others. It came with QEMU 7.2, which Debian 12 has.
 */

import { createServer, type Server, type Socket } from 'node:net'
import type { Segment, Station } from './segment.ts'

/** More than the largest frame QEMU hands out (64 KiB of payload and headers); a larger length means lost framing. */
const MAX_FRAME = 70_000

export class QemuPort implements Station {
  readonly name: string
  readonly path: string
  private readonly segment: Segment
  private readonly server: Server
  private socket: Socket | undefined
  private corked = false

  private constructor(name: string, path: string, segment: Segment) {
    this.name = name
    this.path = path
    this.segment = segment
    this.server = createServer((socket) => this.accept(socket))
  }

  /**
   * @param name of the station, for messages
   * @param path of the unix socket to listen on, at most 107 bytes
   */
  static async listen(name: string, path: string, segment: Segment): Promise<QemuPort> {
    const port = new QemuPort(name, path, segment)
    await new Promise<void>((resolve, reject) => {
      port.server.once('error', reject)
      port.server.listen(path, resolve)
    })
    segment.attach(port)
    return port
  }

  deliver(frame: Buffer): void {
    const socket = this.socket
    if (!socket) return
    if (!this.corked) {
      // Frames of one turn go out in one write, so that the guest finds them together: GRO needs that.
      this.corked = true
      socket.cork()
      setImmediate(() => {
        this.corked = false
        socket.uncork()
      })
    }
    const length = Buffer.alloc(4)
    length.writeUInt32BE(frame.length)
    socket.write(length)
    socket.write(frame)
  }

  private accept(socket: Socket): void {
    this.socket = socket
    const decode = frameDecoder((frame) => this.segment.transmit(this, frame))
    socket.on('data', (chunk) => {
      try {
        decode(chunk)
      } catch {
        socket.destroy()
      }
    })
    // The end of the machine is noticed by who watches it; here it only ends the connection.
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      if (this.socket === socket) this.socket = undefined
    })
  }

  close(): void {
    this.segment.detach(this)
    this.socket?.destroy()
    this.server.close()
  }
}

/**
 * @param onFrame called with every complete frame
 * @returns takes the bytes of the socket, in whatever pieces they come
 */
export function frameDecoder(onFrame: (frame: Buffer) => void): (chunk: Buffer) => void {
  let pending: Buffer = Buffer.alloc(0)
  return (chunk) => {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk])
    let at = 0
    while (pending.length - at >= 4) {
      const length = pending.readUInt32BE(at)
      if (length > MAX_FRAME) throw new RangeError(`frame of ${length} bytes`)
      if (pending.length - at - 4 < length) break
      onFrame(Buffer.from(pending.subarray(at + 4, at + 4 + length)))
      at += 4 + length
    }
    pending = pending.subarray(at)
  }
}
