// SPDX-License-Identifier: GPL-2.0-only
/** Records frames in the classic pcap format, microseconds, link type Ethernet; readable while it grows. */

import { closeSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'

const MAGIC = 0xa1b2c3d4
const LINKTYPE_ETHERNET = 1
const SNAP_LENGTH = 65535

export class PcapWriter {
  readonly path: string
  /** Frames written so far; the number tshark will give to the last one. */
  frames = 0
  private fd: number
  private closed = false

  /** @param path of the file; it is overwritten, its folder made */
  constructor(path: string) {
    mkdirSync(dirname(path), { recursive: true })
    this.path = path
    this.fd = begin(path)
  }

  /** Writes a frame at once, so that whoever follows the file sees it. */
  write(frame: Buffer, microseconds = nowMicroseconds()): void {
    if (this.closed) return
    writeSync(this.fd, Buffer.concat([recordHeader(frame.length, microseconds), frame]))
    this.frames++
  }

  /**
   * Puts aside what there is, over what was put aside before, and begins anew: so the file of a run without an end has one.
   *
   * @returns path of what was put aside
   */
  restart(): string {
    const aside = this.path.replace(/(\.pcap)?$/, '.previous$1')
    if (this.closed) return aside
    closeSync(this.fd)
    renameSync(this.path, aside)
    this.fd = begin(this.path)
    this.frames = 0
    return aside
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    closeSync(this.fd)
  }
}

function begin(path: string): number {
  const fd = openSync(path, 'w')
  writeSync(fd, fileHeader())
  return fd
}

/** @returns the 24 bytes every pcap file starts with, little-endian */
export function fileHeader(): Buffer {
  const header = Buffer.alloc(24)
  header.writeUInt32LE(MAGIC, 0)
  header.writeUInt16LE(2, 4)
  header.writeUInt16LE(4, 6)
  header.writeUInt32LE(SNAP_LENGTH, 16)
  header.writeUInt32LE(LINKTYPE_ETHERNET, 20)
  return header
}

function recordHeader(length: number, microseconds: bigint): Buffer {
  const header = Buffer.alloc(16)
  header.writeUInt32LE(Number(microseconds / 1_000_000n), 0)
  header.writeUInt32LE(Number(microseconds % 1_000_000n), 4)
  header.writeUInt32LE(length, 8)
  header.writeUInt32LE(length, 12)
  return header
}

/** Wall clock with the monotonic clock's resolution: Date alone has only milliseconds. */
const clockOffset = BigInt(Date.now()) * 1000n - process.hrtime.bigint() / 1000n
const nowMicroseconds = (): bigint => clockOffset + process.hrtime.bigint() / 1000n
