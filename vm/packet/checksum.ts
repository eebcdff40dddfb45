// SPDX-License-Identifier: GPL-2.0-only
/** The Internet checksum (RFC 1071). Used to build packets; the gateway's packets are verified by tshark, not by this. */

/** @returns the ones' complement sum of `parts` as if they were one buffer; every part but the last has an even length */
function sum(parts: readonly Buffer[]): number {
  let total = 0
  for (const part of parts) {
    const even = part.length & ~1
    for (let at = 0; at < even; at += 2) total += part.readUInt16BE(at)
    if (even < part.length) total += (part[even] ?? 0) << 8
  }
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 0x10000)
  return total
}

/** @returns the checksum to be stored; parts before the last must have an even length */
export const checksum = (...parts: Buffer[]): number => ~sum(parts) & 0xffff

/**
 * @param source IPv4 or IPv6 address, in bytes
 * @param destination likewise
 * @param protocol number of the protocol whose header follows
 * @param length of that header and its data, in bytes
 * @returns the pseudo header that TCP and UDP checksums cover (RFC 793, RFC 8200)
 */
export function pseudoHeader(source: Buffer, destination: Buffer, protocol: number, length: number): Buffer {
  const tail = Buffer.alloc(source.length === 4 ? 4 : 8)
  if (source.length === 4) {
    tail[1] = protocol
    tail.writeUInt16BE(length, 2)
  } else {
    tail.writeUInt32BE(length, 0)
    tail[7] = protocol
  }
  return Buffer.concat([source, destination, tail])
}
