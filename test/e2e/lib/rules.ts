// SPDX-License-Identifier: GPL-2.0-only
/** Configures rules and pools of SNAT by netlink (linux/ip_vs_snat.h), message by message as no tool does, and reads the answers. */

import assert from 'node:assert/strict'
import type { Lab } from '../../../vm/lab.ts'

const FAMILY = 'IPVS_SNAT'

const COMMANDS = {
  begin: 1, commit: 2, abort: 3, flush: 4,
  newPool: 5, setPool: 6, delPool: 7, getPool: 8,
  newMember: 9, setMember: 10, delMember: 11, getMember: 12, getAddr: 13,
  newRule: 14, setRule: 15, delRule: 16, getRule: 17,
  getConn: 18, delConn: 19, zero: 20, getBlock: 21,
} as const

export type Command = keyof typeof COMMANDS

/** How the value of an attribute is written. */
type Kind = 'u8' | 'u16' | 'be16' | 'u32' | 'u64' | 'address' | 'string' | 'nested'

interface Attribute {
  type: number
  kind: Kind
  /** Of a nested attribute. */
  table?: Table
}

type Table = Readonly<Record<string, Attribute>>

const number = (type: number, kind: Kind, table?: Table): Attribute => (table ? { type, kind, table } : { type, kind })

const STATS: Table = {
  conns: number(1, 'u64'), pktsOut: number(2, 'u64'), bytesOut: number(3, 'u64'), pktsIn: number(4, 'u64'), bytesIn: number(5, 'u64'),
  noPort: number(6, 'u64'), limit: number(7, 'u64'), empty: number(8, 'u64'),
  active: number(9, 'u64'), inactive: number(10, 'u64'), conflicts: number(11, 'u64'), exhausted: number(12, 'u64'),
  noBlock: number(14, 'u64'),
}

const OBJECTS: Table = {
  pool: number(1, 'nested', {
    name: number(1, 'string'), algo: number(2, 'u32'), portMin: number(3, 'u16'), portMax: number(4, 'u16'),
    hostConns: number(5, 'u32'), flags: number(6, 'u32'), addrs: number(7, 'u32'), stats: number(8, 'nested', STATS),
    blockSize: number(10, 'u16'), hostBlocks: number(11, 'u32'), blocks: number(12, 'u32'), blocksUsed: number(13, 'u32'),
  }),
  member: number(2, 'nested', {
    pool: number(1, 'string'), min: number(2, 'address'), max: number(3, 'address'), weight: number(4, 'u32'),
    stats: number(5, 'nested', STATS),
  }),
  rule: number(3, 'nested', {
    id: number(1, 'u32'), priority: number(2, 'u32'), src: number(3, 'address'), srcLen: number(4, 'u8'),
    dst: number(5, 'address'), dstLen: number(6, 'u8'), proto: number(7, 'u8'), dportMin: number(8, 'u16'), dportMax: number(9, 'u16'),
    iif: number(10, 'string'), oif: number(11, 'string'), gw: number(12, 'address'), mark: number(13, 'u32'), markMask: number(14, 'u32'),
    action: number(15, 'u32'), pool: number(16, 'string'), newGw: number(17, 'address'), flags: number(18, 'u32'),
    stats: number(19, 'nested', STATS),
  }),
  conn: number(4, 'nested', {
    proto: number(1, 'u8'), inside: number(2, 'address'), insidePort: number(3, 'be16'), addr: number(4, 'address'), port: number(5, 'be16'),
    remote: number(6, 'address'), remotePort: number(7, 'be16'), state: number(8, 'string'), expires: number(9, 'u32'),
    rule: number(10, 'u32'), pool: number(11, 'string'), insideLen: number(12, 'u8'),
  }),
  count: number(5, 'u32'),
}

export type Value = number | string | { [name: string]: Value }
export type Fields = { [name: string]: Value }

export const ALGO = { rr: 0, sh: 1, sdh: 2, random: 3, wlc: 4 } as const
export const ACTION = { snat: 0, accept: 1, drop: 2 } as const

const NESTED = 0x8000
const TYPE_MASK = 0x3fff
const DUMP = 0x300
const ALIGNMENT = 4
const HEADER_BYTES = 4

function written(length: number, write: (bytes: Buffer) => void): Buffer {
  const bytes = Buffer.alloc(length)
  write(bytes)
  return bytes
}

/** The virtual machines are little-endian. */
const WRITERS: Readonly<Record<Exclude<Kind, 'nested'>, (value: number | string) => Buffer>> = {
  u8: (value) => Buffer.from([Number(value)]),
  u16: (value) => written(2, (bytes) => bytes.writeUInt16LE(Number(value))),
  be16: (value) => written(2, (bytes) => bytes.writeUInt16BE(Number(value))),
  u32: (value) => written(4, (bytes) => bytes.writeUInt32LE(Number(value))),
  u64: (value) => written(8, (bytes) => bytes.writeBigUInt64LE(BigInt(value))),
  address: (value) => Buffer.from(String(value).split('.').map(Number)),
  string: (value) => Buffer.from(`${value}\0`),
}

const READERS: Readonly<Record<Exclude<Kind, 'nested'>, (bytes: Buffer) => Value>> = {
  u8: (bytes) => bytes.readUInt8(),
  u16: (bytes) => bytes.readUInt16LE(),
  be16: (bytes) => bytes.readUInt16BE(),
  u32: (bytes) => bytes.readUInt32LE(),
  u64: (bytes) => Number(bytes.readBigUInt64LE()),
  address: (bytes) => [...bytes].join('.'),
  string: (bytes) => bytes.toString('latin1').replace(/\0.*$/s, ''),
}

/** @returns one attribute, padded */
export function attribute(type: number, value: Buffer): Buffer {
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt16LE(HEADER_BYTES + value.length, 0)
  header.writeUInt16LE(type, 2)
  return Buffer.concat([header, value, Buffer.alloc(-value.length & (ALIGNMENT - 1))])
}

/** @returns fields as attributes; an object is a nested one */
export function encode(fields: Fields, table: Table = OBJECTS): Buffer {
  return Buffer.concat(
    Object.entries(fields).map(([name, value]) => {
      const known = table[name]
      if (!known) throw new Error(`there is no attribute ${name}`)
      if (typeof value === 'object') return attribute(known.type | NESTED, encode(value, known.table))
      if (known.kind === 'nested') throw new Error(`${name} is nested`)
      return attribute(known.type, WRITERS[known.kind](value))
    }),
  )
}

/** The opposite of {@link encode}; what is not known is left out. */
function decode(bytes: Buffer, table: Table = OBJECTS): Fields {
  const fields: Fields = {}
  for (let at = 0; at + HEADER_BYTES <= bytes.length;) {
    const length = bytes.readUInt16LE(at)
    const type = bytes.readUInt16LE(at + 2) & TYPE_MASK
    const value = bytes.subarray(at + HEADER_BYTES, at + length)
    const [name, known] = Object.entries(table).find(([, one]) => one.type === type) ?? []
    if (name && known) fields[name] = known.kind === 'nested' ? decode(value, known.table) : READERS[known.kind](value)
    at += (length + ALIGNMENT - 1) & -ALIGNMENT
  }
  return fields
}

/** A message to the kernel. */
export interface Message {
  command: Command
  fields?: Fields
  /** Attributes as they are, instead of fields. */
  bytes?: Buffer
}

export interface Answer {
  /** 0 or an errno. */
  error: number
  /** What the kernel says about an error; empty on 2.6.32. */
  text: string
  messages: Fields[]
  /** A dump is not consistent. */
  interrupted: boolean
}

const isDump = (command: Command): boolean => command.startsWith('get')

/** Sends messages by one socket, one after the other. @returns the answer to each */
export async function exchange(lab: Lab, messages: readonly Message[]): Promise<Answer[]> {
  const lines = messages.map(({ command, fields, bytes }) =>
    `${COMMANDS[command]} ${isDump(command) ? DUMP : 0} ${(bytes ?? encode(fields ?? {})).toString('hex')}`)
  const output = await lab.gateway.sh(`genl-exchange ${FAMILY} <<'END'\n${lines.join('\n')}\nEND`)
  const answers: Answer[] = []
  let got: Fields[] = []
  for (const line of output.trim().split('\n')) {
    const [what, first = '', second = '', ...text] = line.split(' ')
    if (what === 'msg') {
      got.push(decode(Buffer.from(second, 'hex')))
      continue
    }
    assert.ok(what === 'ack' || what === 'done', `an answer: ${line}`)
    answers.push({ error: Number(first), text: text.join(' '), messages: got, interrupted: what === 'done' && second === '1' })
    got = []
  }
  assert.equal(answers.length, messages.length, 'answers')
  return answers
}

/** Sends messages that the kernel has to accept. @returns what it has answered to all */
export async function configure(lab: Lab, ...messages: readonly Message[]): Promise<Fields[]> {
  const answers = await exchange(lab, messages)
  answers.forEach(({ error, text }, index) => assert.equal(error, 0, `${messages[index]?.command}: ${text}`))
  return answers.flatMap((answer) => answer.messages)
}

/** Sends messages that take effect together. */
export async function atOnce(lab: Lab, ...messages: readonly Message[]): Promise<void> {
  await configure(lab, { command: 'begin' }, ...messages, { command: 'commit' })
}

/** Sends one message that the kernel has to refuse. @returns what it says */
export async function refused(lab: Lab, message: Message, error: number): Promise<string> {
  const answers = await exchange(lab, [message])
  for (const answer of answers) assert.equal(answer.error, error, `${message.command}: ${answer.text}`)
  return answers.map(({ text }) => text).join()
}

/** Adds a pool with its addresses, which may be ranges: `A-B`. */
export const pool = (name: string, addresses: readonly string[], settings: Fields = {}): Message[] => [
  { command: 'newPool', fields: { pool: { name, ...settings } } },
  ...addresses.map((address): Message => {
    const [min = '', max = min] = address.split('-')
    return { command: 'newMember', fields: { member: { pool: name, min, max } } }
  }),
]

/** @param net `NETWORK/LENGTH` */
function network(prefix: 'src' | 'dst', net: string): Fields {
  const [address = '', length = '32'] = net.split('/')
  return { [prefix]: address, [`${prefix}Len`]: Number(length) }
}

/**
 * Adds a rule.
 *
 * @param from source network
 * @param to name of a pool, or what else to do
 * @param more further attributes; `to` is the destination network
 */
export function rule(from: string, action: string, { to, ...more }: Fields & { to?: string } = {}): Message {
  const what: Fields = action === 'drop' || action === 'accept' ? { action: ACTION[action] } : { action: ACTION.snat, pool: action }
  return { command: 'newRule', fields: { rule: { ...network('src', from), ...(to ? network('dst', to) : {}), ...what, ...more } } }
}

/** @returns the objects that a dump lists */
export async function list(lab: Lab, command: Command, fields?: Fields): Promise<Fields[]> {
  const messages = await configure(lab, fields ? { command, fields } : { command })
  return messages.map((message) => Object.values(message)[0] as Fields)
}
