// SPDX-License-Identifier: GPL-2.0-only
/**
 * Packages as rpm 4.8 of RHEL 6 made them: what vouches for the payload is a signature of header and payload
 * together, or an MD5 digest; the header has no digest of the payload, which every rpm writes since 4.14.
 * (rpm's documentation: "Package format V4", "Signatures and digests".)
 */

import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'

interface Entry {
  tag: number
  type: number
  count: number
  data: Buffer
}

const LEAD_SIZE = 96
const INTRODUCTION_SIZE = 16
const ENTRY_SIZE = 16
const MAGIC = Buffer.from('8eade80100000000', 'hex')

const REGION = { signatures: 62, header: 63 } as const
const TYPE = { int32: 4, string: 6, binary: 7 } as const
/** Bytes of one value, and what its offset is a multiple of. */
const WIDTHS: Readonly<Record<number, number>> = { 1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1 }

/** PAYLOADDIGEST, PAYLOADDIGESTALGO and PAYLOADDIGESTALT. */
const NEWER_THAN_RHEL6 = [5092, 5093, 5097]

/** What is in the signature header. */
const SIGNATURE = { ofHeader: 268, sha1: 269, size: 1000, ofAll: 1002, md5: 1004, payloadSize: 1007 } as const

const sizeOf = (header: Buffer): number => INTRODUCTION_SIZE + header.readUInt32BE(8) * ENTRY_SIZE + header.readUInt32BE(12)

/** Strings end with a zero each. */
function length(store: Buffer, type: number, offset: number, count: number): number {
  const width = WIDTHS[type]
  if (width !== undefined) return width * count
  let end = offset
  for (let index = 0; index < count; index++) end = store.indexOf(0, end) + 1
  return end - offset
}

function readEntries(header: Buffer): Entry[] {
  const count = header.readUInt32BE(8)
  const store = header.subarray(INTRODUCTION_SIZE + count * ENTRY_SIZE)
  return Array.from({ length: count }, (_, index) => {
    const [tag = 0, type = 0, offset = 0, values = 0] = [0, 4, 8, 12].map((at) => header.readUInt32BE(INTRODUCTION_SIZE + index * ENTRY_SIZE + at))
    return { tag, type, count: values, data: store.subarray(offset, offset + length(store, type, offset, values)) }
  })
}

/** @param region the tag that says that all entries belong together, whose data is a copy of its own index entry */
function writeHeader(region: number, entries: readonly Entry[]): Buffer {
  const all = entries.length + 1
  const entry = (...values: readonly number[]): Buffer => Buffer.concat(values.map((value) => int32(value)))
  const index: Buffer[] = []
  let store = Buffer.alloc(0)
  for (const { tag, type, count, data } of entries) {
    const width = WIDTHS[type] ?? 1
    store = Buffer.concat([store, Buffer.alloc((width - (store.length % width)) % width)])
    index.push(entry(tag, type, store.length, count))
    store = Buffer.concat([store, data])
  }
  const trailer = entry(region, TYPE.binary, -all * ENTRY_SIZE, ENTRY_SIZE)
  const first = entry(region, TYPE.binary, store.length, ENTRY_SIZE)
  return Buffer.concat([MAGIC, int32(all), int32(store.length + ENTRY_SIZE), first, ...index, store, trailer])
}

function int32(value: number): Buffer {
  const buffer = Buffer.alloc(4)
  buffer.writeInt32BE(value)
  return buffer
}

const padded = (signatures: Buffer): Buffer => Buffer.concat([signatures, Buffer.alloc((8 - (signatures.length % 8)) % 8)])

export interface Signatures {
  ofHeader?: (data: Buffer) => Buffer
  /** Of header and payload together. */
  ofAll?: (data: Buffer) => Buffer
  /** Changes the payload after the header was signed, as who makes digests anew can. */
  alter?: (payload: Buffer) => Buffer
}

/** Makes an old package of a new one, in its place. */
export function makeOld(path: string, { ofHeader, ofAll, alter = (payload) => payload }: Signatures): void {
  const content = readFileSync(path)
  const newer = content.subarray(LEAD_SIZE)
  const rest = newer.subarray(padded(newer.subarray(0, sizeOf(newer))).length)
  const kept = readEntries(rest).filter(({ tag }) => tag !== REGION.header && !NEWER_THAN_RHEL6.includes(tag))
  const header = writeHeader(REGION.header, kept)
  const archive = rest.subarray(sizeOf(rest))
  const payload = alter(archive)
  const all = Buffer.concat([header, payload])
  const binary = (tag: number, data: Buffer): Entry => ({ tag, type: TYPE.binary, count: data.length, data })
  const value = (tag: number, is: number): Entry => ({ tag, type: TYPE.int32, count: 1, data: int32(is) })
  const digest = createHash('sha1').update(header).digest('hex')
  const signatures = writeHeader(REGION.signatures, [
    ...(ofHeader ? [binary(SIGNATURE.ofHeader, ofHeader(header))] : []),
    { tag: SIGNATURE.sha1, type: TYPE.string, count: 1, data: Buffer.from(`${digest}\0`) },
    value(SIGNATURE.size, all.length),
    ...(ofAll ? [binary(SIGNATURE.ofAll, ofAll(all))] : []),
    binary(SIGNATURE.md5, createHash('md5').update(all).digest()),
    value(SIGNATURE.payloadSize, gunzipSync(archive).length),
  ])
  writeFileSync(path, Buffer.concat([content.subarray(0, LEAD_SIZE), padded(signatures), all]))
}
