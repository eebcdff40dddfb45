// SPDX-License-Identifier: GPL-2.0-only
/**
 * OpenPGP as it was written in 2012 (RFC 4880): keys of any date and age, and signatures of version 3 and by
 * SHA-1. GnuPG 2 makes no signatures of version 3 any more.
 */

import { createHash, createSign, generateKeyPairSync, type KeyObject } from 'node:crypto'

/** Hash algorithms by their numbers (section 9.4). */
const HASHES = { sha1: 2, sha256: 8 } as const

/** Packet tags (section 4.3). */
const TAG = { signature: 2, key: 6, userId: 13, subkey: 14 } as const

const RSA = 1

export interface SignatureOptions {
  version?: 3 | 4
  hash?: keyof typeof HASHES
  /** Seconds since 1970. */
  at: number
}

export interface KeyOptions {
  /** Seconds since 1970. */
  created: number
  /** After how many seconds it expires; never, if this is left out. */
  valid?: number
  hash?: keyof typeof HASHES
}

export interface OpenPgpKey {
  /** 40 hexadecimal digits, upper case. */
  fingerprint: string
  /** The public key, without armour. */
  packets: Buffer
  /** @returns a signature packet */
  sign: (data: Buffer, options: SignatureOptions) => Buffer
  /** The key as a subkey of another one, bound by a signature of its own and not by that of its primary. */
  unboundSubkey: Buffer
}

const number = (value: number, bytes: 1 | 2 | 4): Buffer => {
  const buffer = Buffer.alloc(bytes)
  buffer.writeUIntBE(value, 0, bytes)
  return buffer
}

/** Old format with a length of two octets (section 4.2.1), which is also how keys and signatures are hashed. */
const packet = (tag: number, body: Buffer): Buffer => Buffer.concat([Buffer.of(0x80 | (tag << 2) | 1), number(body.length, 2), body])

/** Section 3.2. */
function mpi(value: Buffer): Buffer {
  const first = value.findIndex((byte) => byte !== 0)
  const digits = value.subarray(first)
  return Buffer.concat([number(digits.length * 8 - Math.clz32(digits[0] ?? 0) + 24, 2), digits])
}

const subpacket = (type: number, body: Buffer): Buffer => Buffer.concat([Buffer.of(body.length + 1, type), body])

/** Makes an RSA key of 2048 bits with a signature of itself. */
export function makeOpenPgpKey({ created, valid, hash = 'sha1' }: KeyOptions): OpenPgpKey {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const jwk = publicKey.export({ format: 'jwk' })
  const [n, e] = [jwk.n, jwk.e].map((value) => mpi(Buffer.from(value ?? '', 'base64url'))) as [Buffer, Buffer]
  const body = Buffer.concat([Buffer.of(4), number(created, 4), Buffer.of(RSA), n, e])
  const key = packet(TAG.key, body)
  const fingerprint = createHash('sha1').update(key).digest()
  const id = fingerprint.subarray(12)

  const signature4 = (type: number, data: Buffer, by: keyof typeof HASHES, at: number, more: readonly Buffer[] = []): Buffer => {
    const hashed = Buffer.concat([subpacket(2, number(at, 4)), ...more])
    const head = Buffer.concat([Buffer.of(4, type, RSA, HASHES[by]), number(hashed.length, 2), hashed])
    const issuer = subpacket(16, id)
    const signed = Buffer.concat([data, head, Buffer.of(4, 0xff), number(head.length, 4)])
    return packet(TAG.signature, Buffer.concat([head, number(issuer.length, 2), issuer, seal(privateKey, by, signed)]))
  }
  const sign = (data: Buffer, { version = 3, hash: by = 'sha1', at }: SignatureOptions): Buffer => {
    if (version === 4) return signature4(0, data, by, at)
    const signed = Buffer.concat([Buffer.of(0), number(at, 4)])
    return packet(TAG.signature, Buffer.concat([Buffer.of(3, signed.length), signed, id, Buffer.of(RSA, HASHES[by]), seal(privateKey, by, Buffer.concat([data, signed]))]))
  }

  const user = Buffer.from('Old <old@example.org>')
  const named = Buffer.concat([key, Buffer.of(0xb4), number(user.length, 4), user])
  const expires = valid === undefined ? [] : [subpacket(9, number(valid, 4))]
  const mayCertifyAndSign = subpacket(27, Buffer.of(3))
  const packets = Buffer.concat([key, packet(TAG.userId, user), signature4(0x13, named, hash, created, [mayCertifyAndSign, ...expires])])
  const unboundSubkey = Buffer.concat([packet(TAG.subkey, body), signature4(0x18, key, hash, created, [mayCertifyAndSign])])
  return { fingerprint: fingerprint.toString('hex').toUpperCase(), packets, sign, unboundSubkey }
}

/** The end of a signature packet: the first two octets of the hash, and the signature. */
function seal(key: KeyObject, hash: keyof typeof HASHES, data: Buffer): Buffer {
  const left = createHash(hash).update(data).digest().subarray(0, 2)
  return Buffer.concat([left, mpi(createSign(hash).update(data).sign(key))])
}
