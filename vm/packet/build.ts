// SPDX-License-Identifier: GPL-2.0-only
/**
 * Builds packets from a notation like tcpdump's: `tcp('192.168.1.2:40000 > 198.51.100.7:80', 'S')`.
 * What a builder returns is an IP datagram; the sending host puts the Ethernet header in front.
 *
 * The layouts are those of RFC 791 (IPv4), 792 (ICMP), 768 (UDP), 793 (TCP) and 8200 (IPv6).
 */

import { ip6Bytes, ipBytes, macBytes } from './address.ts'
import { checksum, pseudoHeader } from './checksum.ts'

/** Flags of RFC 791, 3.1, with the offset of a fragment in one word. */
const DONT_FRAGMENT = 0x4000
const MORE_FRAGMENTS = 0x2000

export const PROTOCOL = { icmp: 1, ipip: 4, tcp: 6, udp: 17, gre: 47, esp: 50, icmp6: 58, sctp: 132 } as const
export const ETHERTYPE = { ip: 0x0800, arp: 0x0806, ip6: 0x86dd } as const

const TCP_FLAGS = ['F', 'S', 'R', 'P', 'A', 'U', 'E', 'C'] as const

/** What every IPv4 header may be given; all have a usual value. */
export interface IpOptions {
  ttl?: number
  tos?: number
  /** Identification; default: counts up, so that tshark never takes two datagrams for fragments of one. */
  id?: number
  /** Don't fragment; default true, as real hosts send it. */
  df?: boolean
  /** Header options, padded to a multiple of four bytes. */
  options?: Buffer
}

export interface TcpOptions extends IpOptions {
  seq?: number
  ack?: number
  window?: number
  data?: string | Buffer
  /** TCP header options, padded to a multiple of four bytes. */
  tcpOptions?: Buffer
  /** Added to the right checksum, to send a wrong one. */
  wrong?: number
}

export interface UdpOptions extends IpOptions {
  /** Send the checksum field as 0, "not computed". */
  noChecksum?: boolean
  wrong?: number
}

let nextId = 1

/** @returns the two sides of `A > B` @throws TypeError when the arrow is missing */
export function sides(route: string): [string, string] {
  const [from, to, ...rest] = route.split(' > ')
  if (from === undefined || to === undefined || rest.length > 0) throw new TypeError(`"${route}" is not "A > B"`)
  return [from.trim(), to.trim()]
}

function endpoint(text: string): { address: string; port: number } {
  const [address = '', port = ''] = text.split(':')
  if (!/^\d+$/.test(port) || Number(port) > 0xffff) throw new TypeError(`"${text}" has no port`)
  return { address, port: Number(port) }
}

const bytesOf = (data: string | Buffer | undefined): Buffer =>
  data === undefined ? Buffer.alloc(0) : typeof data === 'string' ? Buffer.from(data) : data

/**
 * @param route `SOURCE > DESTINATION`, addresses only
 * @param protocol its number
 * @param body what follows the IP header
 * @returns an IPv4 datagram
 */
export function ipv4(route: string, protocol: number, body: Buffer, options: IpOptions = {}): Buffer {
  const [source, destination] = sides(route)
  const extra = options.options ?? Buffer.alloc(0)
  const header = Buffer.alloc(20 + extra.length)
  header[0] = 0x40 | (header.length >> 2)
  header[1] = options.tos ?? 0
  header.writeUInt16BE(header.length + body.length, 2)
  header.writeUInt16BE(options.id ?? nextId++ & 0xffff, 4)
  header.writeUInt16BE(options.df === false ? 0 : DONT_FRAGMENT, 6)
  header[8] = options.ttl ?? 64
  header[9] = protocol
  ipBytes(source).copy(header, 12)
  ipBytes(destination).copy(header, 16)
  extra.copy(header, 20)
  header.writeUInt16BE(checksum(header), 10)
  return Buffer.concat([header, body])
}

/**
 * @param route `SOURCE:PORT > DESTINATION:PORT`
 * @param flags letters of F S R P A U E C
 */
export function tcp(route: string, flags: string, options: TcpOptions = {}): Buffer {
  const [from, to] = sides(route).map(endpoint) as [ReturnType<typeof endpoint>, ReturnType<typeof endpoint>]
  const extra = options.tcpOptions ?? Buffer.alloc(0)
  const header = Buffer.alloc(20 + extra.length)
  header.writeUInt16BE(from.port, 0)
  header.writeUInt16BE(to.port, 2)
  header.writeUInt32BE((options.seq ?? 0) >>> 0, 4)
  header.writeUInt32BE((options.ack ?? 0) >>> 0, 8)
  header[12] = (header.length >> 2) << 4
  header[13] = flagBits(flags)
  header.writeUInt16BE(options.window ?? 65535, 14)
  extra.copy(header, 20)
  const segment = Buffer.concat([header, bytesOf(options.data)])
  storeChecksum(segment, 16, PROTOCOL.tcp, ipBytes(from.address), ipBytes(to.address), options.wrong)
  return ipv4(`${from.address} > ${to.address}`, PROTOCOL.tcp, segment, options)
}

/** @returns the flag byte of letters such as `SA` @throws TypeError for an unknown letter */
export function flagBits(flags: string): number {
  let bits = 0
  for (const letter of flags) {
    const index = (TCP_FLAGS as readonly string[]).indexOf(letter)
    if (index < 0) throw new TypeError(`"${letter}" is not a TCP flag`)
    bits |= 1 << index
  }
  return bits
}

/** @returns the letters of a flag byte, in the order S F R P A U E C, `.` for none */
export function flagText(bits: number): string {
  const order = ['S', 'F', 'R', 'P', 'A', 'U', 'E', 'C'] as const
  return order.filter((letter) => bits & (1 << TCP_FLAGS.indexOf(letter))).join('') || '.'
}

/** @param route `SOURCE:PORT > DESTINATION:PORT` */
export function udp(route: string, data: string | Buffer = '', options: UdpOptions = {}): Buffer {
  const [from, to] = sides(route).map(endpoint) as [ReturnType<typeof endpoint>, ReturnType<typeof endpoint>]
  const body = bytesOf(data)
  const header = Buffer.alloc(8)
  header.writeUInt16BE(from.port, 0)
  header.writeUInt16BE(to.port, 2)
  header.writeUInt16BE(8 + body.length, 4)
  const segment = Buffer.concat([header, body])
  if (!options.noChecksum) {
    storeChecksum(segment, 6, PROTOCOL.udp, ipBytes(from.address), ipBytes(to.address), options.wrong)
  }
  return ipv4(`${from.address} > ${to.address}`, PROTOCOL.udp, segment, options)
}

function storeChecksum(segment: Buffer, at: number, protocol: number, from: Buffer, to: Buffer, wrong = 0): void {
  const value = checksum(pseudoHeader(from, to, protocol, segment.length), segment)
  const stored = (value + wrong) & 0xffff
  // 0 means "no checksum" in UDP; its other form, all ones, is sent instead (RFC 768).
  segment.writeUInt16BE(protocol === PROTOCOL.udp && stored === 0 ? 0xffff : stored, at)
}

/**
 * @param route `SOURCE > DESTINATION`
 * @param kind `request` or `reply`
 */
export function echo(
  route: string,
  kind: 'request' | 'reply',
  options: IpOptions & { id?: number; echoId: number; seq?: number; data?: string | Buffer },
): Buffer {
  const rest = Buffer.alloc(4)
  rest.writeUInt16BE(options.echoId, 0)
  rest.writeUInt16BE(options.seq ?? 1, 2)
  return icmp(route, kind === 'request' ? 8 : 0, 0, Buffer.concat([rest, bytesOf(options.data ?? 'echo data')]), options)
}

/** @param rest everything after type, code and checksum */
export function icmp(route: string, type: number, code: number, rest: Buffer, options: IpOptions = {}): Buffer {
  const message = Buffer.concat([Buffer.from([type, code, 0, 0]), rest])
  message.writeUInt16BE(checksum(message), 2)
  return ipv4(route, PROTOCOL.icmp, message, options)
}

/** The ICMP errors that the tests send and expect, by the name used in the notation. */
export const ICMP_ERRORS = {
  'net-unreachable': [3, 0],
  'host-unreachable': [3, 1],
  'port-unreachable': [3, 3],
  'frag-needed': [3, 4],
  'time-exceeded': [11, 0],
} as const

export type IcmpError = keyof typeof ICMP_ERRORS

/**
 * @param route `SOURCE > DESTINATION` of the error
 * @param about the datagram that caused it; its header and `quote` bytes of its data are sent back
 * @param options `mtu` is for frag-needed; `quote` defaults to the 8 bytes that every router sends
 */
export function icmpError(
  route: string,
  error: IcmpError,
  about: Buffer,
  options: IpOptions & { mtu?: number; quote?: number } = {},
): Buffer {
  const [type, code] = ICMP_ERRORS[error]
  const rest = Buffer.alloc(4)
  if (options.mtu !== undefined) rest.writeUInt16BE(options.mtu, 2)
  const headerLength = ((about[0] ?? 0) & 15) * 4
  const quoted = about.subarray(0, headerLength + (options.quote ?? 8))
  return icmp(route, type, code, Buffer.concat([rest, quoted]), options)
}

/**
 * Cuts an IPv4 datagram into fragments, which say of further cutting what it says.
 *
 * @param size bytes of data in every fragment but the last; a multiple of 8
 */
export function fragment(datagram: Buffer, size: number): Buffer[] {
  if (size % 8 !== 0) throw new TypeError(`fragment size ${size} is not a multiple of 8`)
  const headerLength = ((datagram[0] ?? 0) & 15) * 4
  const flags = datagram.readUInt16BE(6)
  const body = datagram.subarray(headerLength)
  const fragments: Buffer[] = []
  for (let at = 0; at < body.length; at += size) {
    const header = Buffer.from(datagram.subarray(0, headerLength))
    const part = body.subarray(at, at + size)
    header.writeUInt16BE(headerLength + part.length, 2)
    header.writeUInt16BE((flags & DONT_FRAGMENT) | (at >> 3) | (at + size < body.length ? MORE_FRAGMENTS : 0), 6)
    header.writeUInt16BE(0, 10)
    header.writeUInt16BE(checksum(header), 10)
    fragments.push(Buffer.concat([header, part]))
  }
  return fragments
}

/** @param route `SOURCE > DESTINATION`, IPv6 addresses; a UDP datagram with both ports equal to `port` */
export function udp6(route: string, port: number, data: string): Buffer {
  const [source, destination] = sides(route).map(ip6Bytes) as [Buffer, Buffer]
  const segment = Buffer.alloc(8 + Buffer.byteLength(data))
  segment.writeUInt16BE(port, 0)
  segment.writeUInt16BE(port, 2)
  segment.writeUInt16BE(segment.length, 4)
  segment.write(data, 8)
  storeChecksum(segment, 6, PROTOCOL.udp, source, destination)
  return ipv6(source, destination, PROTOCOL.udp, segment)
}

/** @returns an IPv6 datagram without extension headers; hop limit 255 is what neighbour discovery demands */
export function ipv6(source: Buffer, destination: Buffer, next: number, body: Buffer, hopLimit = 64): Buffer {
  const header = Buffer.alloc(40)
  header[0] = 0x60
  header.writeUInt16BE(body.length, 4)
  header[6] = next
  header[7] = hopLimit
  source.copy(header, 8)
  destination.copy(header, 24)
  return Buffer.concat([header, body])
}

/** @returns a neighbour advertisement that answers a solicitation for `target` (RFC 4861, 4.4) */
export function neighbourAdvertisement(target: Buffer, destination: Buffer, mac: string): Buffer {
  const message = Buffer.alloc(24)
  message[0] = 136
  message.writeUInt32BE(0x60000000, 4)
  target.copy(message, 8)
  const full = Buffer.concat([message, Buffer.from([2, 1]), macBytes(mac)])
  full.writeUInt16BE(checksum(pseudoHeader(target, destination, PROTOCOL.icmp6, full.length), full), 2)
  return ipv6(target, destination, PROTOCOL.icmp6, full, 255)
}

/** @returns a frame, padded to Ethernet's minimum of 60 bytes */
export function ethernet(source: string, destination: string, type: number, body: Buffer): Buffer {
  const header = Buffer.concat([macBytes(destination), macBytes(source), Buffer.from([type >> 8, type & 255])])
  const padding = Buffer.alloc(Math.max(0, 60 - header.length - body.length))
  return Buffer.concat([header, body, padding])
}

/** @param operation 1 asks, 2 answers @returns the body of an ARP frame (RFC 826) */
export function arp(operation: 1 | 2, sender: { mac: string; ip: string }, target: { mac: string; ip: string }): Buffer {
  return Buffer.concat([
    Buffer.from([0, 1, 8, 0, 6, 4, 0, operation]),
    macBytes(sender.mac),
    ipBytes(sender.ip),
    macBytes(target.mac),
    ipBytes(target.ip),
  ])
}
