// SPDX-License-Identifier: GPL-2.0-only
/** Takes frames apart, and says in one line what a packet is, in the notation that the builders take. */

import { ip6Text, ipText, macText } from './address.ts'
import { ETHERTYPE, flagText, ICMP_ERRORS, PROTOCOL } from './build.ts'

export interface IpHeader {
  src: string
  dst: string
  protocol: number
  ttl: number
  tos: number
  id: number
  df: boolean
  /** More fragments follow. */
  mf: boolean
  /** Offset of a fragment in bytes. */
  offset: number
  /** Total length by the header; a frame may be longer by its padding. */
  length: number
}

export interface Packet {
  /** Which frame of its link's pcap it came in. */
  frame?: number
  /** Missing for the datagram that an ICMP error quotes. */
  eth?: { src: string; dst: string; type: number }
  arp?: { operation: number; senderMac: string; sender: string; target: string }
  ip?: IpHeader
  ip6?: { src: string; dst: string; next: number; hopLimit: number }
  /** Quoted headers may be cut off after the sequence number. */
  tcp?: { sport: number; dport: number; seq: number; ack: number; flags: string; window: number; options: Buffer }
  udp?: { sport: number; dport: number; length: number; checksum: number }
  icmp?: { type: number; code: number; id: number; seq: number; mtu: number; quoted?: Packet }
  /** What follows the last header that was understood. */
  data: Buffer
  /** The IP datagram without Ethernet header and padding. */
  datagram: Buffer
}

/** @param frame as it was on the wire, without preamble and check sequence */
export function parseFrame(frame: Buffer): Packet {
  const type = frame.readUInt16BE(12)
  const eth = { dst: macText(frame, 0), src: macText(frame, 6), type }
  const body = frame.subarray(14)
  if (type === ETHERTYPE.ip && body.length >= 20) return { ...parseDatagram(body), eth }
  if (type === ETHERTYPE.arp && body.length >= 28) return { ...parseArp(body), eth }
  if (type === ETHERTYPE.ip6 && body.length >= 40) return { ...parseIp6(body), eth }
  return { eth, data: body, datagram: body }
}

function parseArp(body: Buffer): Packet {
  const arp = {
    operation: body.readUInt16BE(6),
    senderMac: macText(body, 8),
    sender: ipText(body, 14),
    target: ipText(body, 24),
  }
  return { arp, data: body.subarray(28), datagram: body.subarray(0, 28) }
}

function parseIp6(body: Buffer): Packet {
  const datagram = body.subarray(0, 40 + body.readUInt16BE(4))
  const ip6 = {
    src: ip6Text(body.subarray(8, 24)),
    dst: ip6Text(body.subarray(24, 40)),
    next: body[6] ?? 0,
    hopLimit: body[7] ?? 0,
  }
  return { ip6, data: datagram.subarray(40), datagram }
}

/** @param body starts with an IPv4 header; may be cut off (as a quote) or padded */
export function parseDatagram(body: Buffer): Packet {
  const flags = body.readUInt16BE(6)
  const ip: IpHeader = {
    src: ipText(body, 12),
    dst: ipText(body, 16),
    protocol: body[9] ?? 0,
    ttl: body[8] ?? 0,
    tos: body[1] ?? 0,
    id: body.readUInt16BE(4),
    df: (flags & 0x4000) !== 0,
    mf: (flags & 0x2000) !== 0,
    offset: (flags & 0x1fff) * 8,
    length: body.readUInt16BE(2),
  }
  const datagram = body.subarray(0, ip.length)
  const rest = datagram.subarray(((body[0] ?? 0) & 15) * 4)
  return { ip, datagram, data: rest, ...(ip.offset === 0 ? parseTransport(ip.protocol, rest) : {}) }
}

function parseTransport(protocol: number, rest: Buffer): Partial<Packet> {
  if (rest.length < 8) return {}
  if (protocol === PROTOCOL.tcp) return parseTcp(rest)
  if (protocol === PROTOCOL.icmp) return parseIcmp(rest)
  if (protocol !== PROTOCOL.udp) return {}
  const udp = {
    sport: rest.readUInt16BE(0),
    dport: rest.readUInt16BE(2),
    length: rest.readUInt16BE(4),
    checksum: rest.readUInt16BE(6),
  }
  return { udp, data: rest.subarray(8) }
}

function parseTcp(rest: Buffer): Partial<Packet> {
  const whole = rest.length >= 20
  const headerLength = whole ? ((rest[12] ?? 0) >> 4) * 4 : 8
  const tcp = {
    sport: rest.readUInt16BE(0),
    dport: rest.readUInt16BE(2),
    seq: rest.readUInt32BE(4),
    ack: whole ? rest.readUInt32BE(8) : 0,
    flags: whole ? flagText(rest[13] ?? 0) : '.',
    window: whole ? rest.readUInt16BE(14) : 0,
    options: whole ? rest.subarray(20, headerLength) : Buffer.alloc(0),
  }
  return { tcp, data: rest.subarray(headerLength) }
}

function parseIcmp(rest: Buffer): Partial<Packet> {
  const type = rest[0] ?? 0
  const icmp = {
    type,
    code: rest[1] ?? 0,
    id: rest.readUInt16BE(4),
    seq: rest.readUInt16BE(6),
    mtu: rest.readUInt16BE(6),
  }
  const data = rest.subarray(8)
  const isError = type === 3 || type === 4 || type === 5 || type === 11 || type === 12
  if (!isError || data.length < 20) return { icmp, data }
  return { icmp: { ...icmp, quoted: parseDatagram(data) }, data }
}

/**
 * @returns one line: `tcp 10.0.0.2:40000 > 198.51.100.7:80 SA`, `udp A:P > B:Q`,
 * `icmp A > B echo-request id=7`, `icmp A > B port-unreachable [udp C:P > D:Q]`,
 * `frag 17 A > B offset=1480`, `ip 47 A > B`, `ip6 17 A > B`, `arp who-has A tell B`
 */
export function summary(packet: Packet): string {
  const { ip, tcp, udp, icmp, arp, ip6 } = packet
  if (arp) return arp.operation === 1 ? `arp who-has ${arp.target} tell ${arp.sender}` : `arp ${arp.sender} is-at ${arp.senderMac}`
  if (ip6) return `ip6 ${ip6.next} ${ip6.src} > ${ip6.dst}`
  if (!ip) return `ethertype 0x${(packet.eth?.type ?? 0).toString(16).padStart(4, '0')}`
  const route = `${ip.src} > ${ip.dst}`
  if (ip.offset > 0) return `frag ${ip.protocol} ${route} offset=${ip.offset}`
  if (tcp) return `tcp ${ip.src}:${tcp.sport} > ${ip.dst}:${tcp.dport} ${tcp.flags}`
  if (udp) return `udp ${ip.src}:${udp.sport} > ${ip.dst}:${udp.dport}`
  if (icmp) return `icmp ${route} ${icmpText(icmp)}`
  return `ip ${ip.protocol} ${route}`
}

function icmpText(icmp: NonNullable<Packet['icmp']>): string {
  if (icmp.type === 8) return `echo-request id=${icmp.id}`
  if (icmp.type === 0) return `echo-reply id=${icmp.id}`
  const known = Object.entries(ICMP_ERRORS).find(([, [type, code]]) => type === icmp.type && code === icmp.code)
  const name = known ? known[0] : `type=${icmp.type} code=${icmp.code}`
  return icmp.quoted ? `${name} [${summary(icmp.quoted)}]` : name
}

/**
 * @param pattern a line as {@link summary} makes it, in which `*` stands for any part of one word and `**` for anything
 * @returns whether a packet is meant by it
 */
export function matches(pattern: string, packet: Packet): boolean {
  return patternOf(pattern).test(summary(packet))
}

/** What the words of a {@link summary} say, by its first one; a dash says nothing. */
const FIELDS: Readonly<Record<string, readonly string[]>> = {
  tcp: ['protocol', 'source', '-', 'destination', 'flags'],
  udp: ['protocol', 'source', '-', 'destination'],
  icmp: ['protocol', 'source', '-', 'destination', 'kind', 'echo'],
  frag: ['protocol', 'number', 'source', '-', 'destination', 'place'],
  ip: ['protocol', 'number', 'source', '-', 'destination'],
  ip6: ['protocol', 'number', 'source', '-', 'destination'],
}

/**
 * @param pattern as {@link matches} takes it
 * @returns in which fields a packet is another one, such as "source port 7001 instead of 7000"; nothing of a packet of
 *   another protocol, with which there is nothing to compare
 */
export function differences(pattern: string, packet: Packet): string[] | undefined {
  const [wanted, found] = [fieldsOf(pattern), fieldsOf(summary(packet))]
  if (!wanted || !found || wanted.get('protocol') !== found.get('protocol')) return undefined
  const names = [...new Set([...wanted.keys(), ...found.keys()])]
  return names.flatMap((name) => {
    const [want, have] = [wanted.get(name) ?? 'none', found.get(name) ?? 'none']
    return patternOf(want).test(have) ? [] : [`${name} ${have} instead of ${want}`]
  })
}

/** @returns the fields of a line, those of a quoted packet too; nothing of a line that leaves open which those are */
function fieldsOf(line: string): Map<string, string> | undefined {
  if (line.includes('**')) return undefined
  const [, outer = '', inner] = /^([^[]*?)(?: \[(.*)\])?$/.exec(line) ?? []
  const words = outer.split(' ')
  const names = FIELDS[words[0] ?? '']
  const quoted = inner === undefined ? new Map<string, string>() : fieldsOf(inner)
  if (!names || !quoted || words.length > names.length) return undefined
  const own = words.flatMap((word, index) => fieldOf(names[index] ?? '-', word))
  return new Map([...own, ...[...quoted].map(([name, value]): [string, string] => [`quoted ${name}`, value])])
}

function fieldOf(name: string, word: string): [string, string][] {
  const [, address, port] = /^([^:]*):([^:]*)$/.exec(word) ?? []
  if (name === '-') return []
  return address === undefined || port === undefined ? [[name, word]] : [[`${name} address`, address], [`${name} port`, port]]
}

const patterns = new Map<string, RegExp>()
/** A run of hours has patterns without end. */
const PATTERNS_KEPT = 1000

function patternOf(pattern: string): RegExp {
  const known = patterns.get(pattern)
  if (known) return known
  const escaped = pattern.replace(/[.[\]()+?^$|\\]/g, '\\$&').replaceAll('**', '\0').replaceAll('*', '[^ \\[\\]]*').replaceAll('\0', '.*')
  const compiled = new RegExp(`^${escaped}$`)
  if (patterns.size >= PATTERNS_KEPT) patterns.clear()
  patterns.set(pattern, compiled)
  return compiled
}
