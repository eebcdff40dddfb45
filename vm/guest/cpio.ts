// SPDX-License-Identifier: GPL-2.0-only
/** Writes the archive an initramfs is: cpio in the "newc" form (kernel: Documentation/driver-api/early-userspace/buffer-format.rst). */

export interface Entry {
  /** Path in the archive, without a leading slash. */
  path: string
  /** Type and permission bits, as in stat: 0o100755, 0o040755, 0o120777. */
  mode: number
  /** Content of a file, or target of a symbolic link. */
  data?: Buffer
  /** Major and minor number of a device. */
  device?: readonly [number, number]
}

export const FILE = 0o100000
export const FOLDER = 0o040000
export const LINK = 0o120000
export const CHARACTER_DEVICE = 0o020000

/** @param entries folders before what they contain @returns the archive; everything in it belongs to root */
export function cpio(entries: readonly Entry[]): Buffer {
  const parts = entries.flatMap((entry, index) => record(entry, index + 1))
  parts.push(...record({ path: 'TRAILER!!!', mode: 0 }, 0))
  return Buffer.concat(parts)
}

function record(entry: Entry, inode: number): Buffer[] {
  const data = entry.data ?? Buffer.alloc(0)
  const name = Buffer.from(`${entry.path}\0`)
  const [major, minor] = entry.device ?? [0, 0]
  const links = (entry.mode & FOLDER) === FOLDER ? 2 : 1
  const fields = [inode, entry.mode, 0, 0, links, 0, data.length, 0, 0, major, minor, name.length, 0]
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`
  return [Buffer.from(header), name, padding(header.length + name.length), data, padding(data.length)]
}

const padding = (length: number): Buffer => Buffer.alloc((4 - (length % 4)) % 4)
