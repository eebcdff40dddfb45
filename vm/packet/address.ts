// SPDX-License-Identifier: GPL-2.0-only
/** Addresses as people write them, and as they lie in a packet. */

/** @param text dotted IPv4 address @returns its four bytes @throws TypeError when it is not one */
export function ipBytes(text: string): Buffer {
  const parts = text.split('.')
  const numbers = parts.map(Number)
  if (parts.length !== 4 || !parts.every((part) => /^\d{1,3}$/.test(part)) || numbers.some((number) => number > 255)) {
    throw new TypeError(`"${text}" is not an IPv4 address`)
  }
  return Buffer.from(numbers)
}

/** @returns the IPv4 address at `offset` of `bytes` in dotted form */
export const ipText = (bytes: Buffer, offset = 0): string => bytes.subarray(offset, offset + 4).join('.')

/** @param text six bytes in hexadecimal, with colons @returns the bytes @throws TypeError when it is no MAC address */
export function macBytes(text: string): Buffer {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(text)) throw new TypeError(`"${text}" is not a MAC address`)
  return Buffer.from(text.replaceAll(':', ''), 'hex')
}

/** @returns the MAC address at `offset` of `bytes`, with colons */
export function macText(bytes: Buffer, offset = 0): string {
  const hex = bytes.toString('hex', offset, offset + 6)
  return hex.replace(/(..)(?=.)/g, '$1:')
}

/** @param bytes sixteen bytes @returns IPv6 address, its longest run of zero groups shortened (RFC 5952) */
export function ip6Text(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16))
  let best = { start: 0, length: 0 }
  for (let start = 0; start < 8; start++) {
    let length = 0
    while (groups[start + length] === '0') length++
    if (length > best.length) best = { start, length }
  }
  if (best.length < 2) return groups.join(':')
  return `${groups.slice(0, best.start).join(':')}::${groups.slice(best.start + best.length).join(':')}`
}

/**
 * @param text IPv6 address, with or without `::`
 * @returns its sixteen bytes
 * @throws TypeError when it does not have eight groups
 */
export function ip6Bytes(text: string): Buffer {
  const [head = '', tail] = text.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : 8 - left.length - right.length
  const groups = [...left, ...Array.from({ length: Math.max(zeros, 0) }, () => '0'), ...right]
  if (groups.length !== 8) throw new TypeError(`"${text}" is not an IPv6 address`)
  const bytes = Buffer.alloc(16)
  groups.forEach((group, index) => bytes.writeUInt16BE(parseInt(group, 16), index * 2))
  return bytes
}
