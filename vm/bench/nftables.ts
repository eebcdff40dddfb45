// SPDX-License-Identifier: GPL-2.0-only
/**
 * The rules of nf_tables that the benchmark compares with, as the netlink messages that set them up
 * (linux/netfilter/nf_tables.h). `netlink-batch` in the guest sends them; its source says why not nft.
 */

/** Of linux/netfilter/nfnetlink.h and linux/netlink.h. */
const SUBSYSTEM = 10
const BATCH_BEGIN = 16
const BATCH_END = 17
const REQUEST = 0x1
const ACKNOWLEDGE = 0x4
const CREATE = 0x400
const NESTED = 0x8000
const IPV4 = 2

/** Of linux/netfilter/nf_tables.h: messages, then attributes by what they belong to. */
const NEW = { table: 0, chain: 3, rule: 6, flowtable: 22 } as const
const DELETE = { table: 2 } as const
const TABLE = { name: 1 } as const
const CHAIN = { table: 1, name: 3, hook: 4, type: 7 } as const
const HOOK = { number: 1, priority: 2, devices: 3 } as const
const RULE = { table: 1, chain: 2, expressions: 4 } as const
const FLOWTABLE = { table: 1, name: 2, hook: 3 } as const
const EXPRESSION = { name: 1, data: 2 } as const
const META = { register: 1, key: 2 } as const
const COMPARE = { register: 1, operator: 2, data: 3 } as const
const IMMEDIATE = { register: 1, data: 2 } as const
const NAT = { type: 1, family: 2, address: 3 } as const
const OFFLOAD = { table: 1 } as const
const ELEMENT = 1
const DATA_VALUE = 1
const DEVICE_NAME = 1
const OUTPUT_NAME = 7
const EQUAL = 0
const SOURCE_NAT = 0
const REGISTER_1 = 1

/** Of linux/netfilter.h and linux/netfilter_ipv4.h. */
const FORWARD = { number: 2, priority: 0 } as const
const POSTROUTING = { number: 4, priority: 100 } as const
const INGRESS = { number: 0, priority: 0 } as const
const DEVICE_NAME_BYTES = 16

const TABLE_NAME = 'bench'
const FLOWTABLE_NAME = 'fast'

const align = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)])

function attribute(type: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(4)
  header.writeUInt16LE(4 + payload.length, 0)
  header.writeUInt16LE(type, 2)
  return align(Buffer.concat([header, payload]))
}

const nested = (type: number, ...attributes: readonly Buffer[]): Buffer => attribute(type | NESTED, Buffer.concat(attributes))
const text = (type: number, value: string): Buffer => attribute(type, Buffer.from(`${value}\0`))

/** nf_tables takes numbers in the network's byte order. */
function number(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return attribute(type, bytes)
}

/** @param resource what struct nfgenmsg calls res_id */
function message(type: number, flags: number, family: number, resource: number, body: Buffer): Buffer {
  const header = Buffer.alloc(20)
  header.writeUInt32LE(header.length + body.length, 0)
  header.writeUInt16LE(type, 4)
  header.writeUInt16LE(REQUEST | flags, 6)
  header.writeUInt8(family, 16)
  header.writeUInt16BE(resource, 18)
  return align(Buffer.concat([header, body]))
}

const request = (what: number, flags: number, attributes: readonly Buffer[]): Buffer =>
  message((SUBSYSTEM << 8) | what, ACKNOWLEDGE | flags, IPV4, 0, Buffer.concat(attributes))

const create = (what: number, ...attributes: readonly Buffer[]): Buffer => request(what, CREATE, attributes)

const batch = (...messages: readonly Buffer[]): Buffer =>
  Buffer.concat([message(BATCH_BEGIN, 0, 0, SUBSYSTEM, Buffer.alloc(0)), ...messages, message(BATCH_END, 0, 0, SUBSYSTEM, Buffer.alloc(0))])

function chain(name: string, type: string, hook: { number: number; priority: number }): Buffer {
  const place = nested(CHAIN.hook, number(HOOK.number, hook.number), number(HOOK.priority, hook.priority))
  return create(NEW.chain, text(CHAIN.table, TABLE_NAME), text(CHAIN.name, name), place, text(CHAIN.type, type))
}

const rule = (chainName: string, ...expressions: readonly Buffer[]): Buffer =>
  create(NEW.rule, text(RULE.table, TABLE_NAME), text(RULE.chain, chainName), nested(RULE.expressions, ...expressions))

const expression = (name: string, ...attributes: readonly Buffer[]): Buffer =>
  nested(ELEMENT, text(EXPRESSION.name, name), nested(EXPRESSION.data, ...attributes))

const value = (type: number, bytes: Buffer): Buffer => nested(type, attribute(DATA_VALUE, bytes))

function deviceName(name: string): Buffer {
  const bytes = Buffer.alloc(DEVICE_NAME_BYTES)
  bytes.write(name)
  return bytes
}

/** table ip bench { chain post { type nat hook postrouting priority srcnat; oifname DEVICE snat to ADDRESS } } */
function sourceNat(device: string, address: string): Buffer[] {
  return [
    create(NEW.table, text(TABLE.name, TABLE_NAME)),
    chain('post', 'nat', POSTROUTING),
    rule(
      'post',
      expression('meta', number(META.register, REGISTER_1), number(META.key, OUTPUT_NAME)),
      expression('cmp', number(COMPARE.register, REGISTER_1), number(COMPARE.operator, EQUAL), value(COMPARE.data, deviceName(device))),
      expression('immediate', number(IMMEDIATE.register, REGISTER_1), value(IMMEDIATE.data, Buffer.from(address.split('.').map(Number)))),
      expression('nat', number(NAT.type, SOURCE_NAT), number(NAT.family, IPV4), number(NAT.address, REGISTER_1)),
    ),
  ]
}

/** @returns the messages for source NAT of what leaves by a device */
export const nftablesSnat = (device: string, address: string): Buffer => batch(...sourceNat(device, address))

/**
 * And in the same table: flowtable fast { hook ingress priority 0; devices = { DEVICES } }
 * chain forward { type filter hook forward priority filter; flow add @fast }
 *
 * @param devices both sides of the gateway
 */
export function nftablesFlowtable(device: string, address: string, devices: readonly string[]): Buffer {
  const hook = nested(
    FLOWTABLE.hook,
    number(HOOK.number, INGRESS.number),
    number(HOOK.priority, INGRESS.priority),
    nested(HOOK.devices, ...devices.map((name) => text(DEVICE_NAME, name))),
  )
  return batch(
    ...sourceNat(device, address),
    create(NEW.flowtable, text(FLOWTABLE.table, TABLE_NAME), text(FLOWTABLE.name, FLOWTABLE_NAME), hook),
    chain('forward', 'filter', FORWARD),
    rule('forward', expression('flow_offload', text(OFFLOAD.table, FLOWTABLE_NAME))),
  )
}

/** @returns the messages that take all of it away again */
export const nftablesNothing = (): Buffer => batch(request(DELETE.table, 0, [text(TABLE.name, TABLE_NAME)]))
