// SPDX-License-Identifier: GPL-2.0-only
/** What TCP packets do to the state of a connection, those of a blind attacker among them. */

import assert from 'node:assert/strict'
import { Connection } from '../../vm/host/index.ts'
import type { Lab } from '../../vm/lab.ts'
import { tcp } from '../../vm/packet/index.ts'
import { A, POOL, S } from '../../vm/topology.ts'
import { connectionOf, counter, snat } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'
import { turn } from './lib/traffic.ts'

const BLIND = 'issue 10, B 1: a RST or FIN counts only if its sequence number fits what the inside host has acknowledged'
const AFTER_RST = 'issue 10, B 1: later data revives the state, and after a valid RST the mapping stays (RFC 7857, 2.2)'
const TIMEOUTS = 'issue 10, D; RFC 5382, REQ-5: established 2 h 4 min, transitory 4 min'
const STATES = 'issue 10, B 1 and D; RFC 6146, 3.5.2: states of TCP connections'
const ESTABLISHED_S = 7440
const TRANSITORY_S = 240
/** What may have passed since the packet that the test is about. */
const SINCE_S = 60
/** Bytes that are under way on a fast line to far away. Linux lets a receiver have 6 MiB (tcp_rmem). */
const FAR_AHEAD = 4 << 20
const SEGMENT = 1460
/** Segments that are under way at a time, in the lab. */
const BURST = 64
const [P0 = ''] = POOL
const INSIDE = `${A}:40001`
const SENT = `${INSIDE} > ${S}:80`
const SEEN = `${P0}:40001 > ${S}:80`

const open = (lab: Lab): Promise<Connection> => Connection.open({ client: lab.a, sent: SENT, server: lab.net, seen: SEEN })

/** Asserts the state of the connection, and that it lives on as long as an established one. */
async function assertEstablished(lab: Lab): Promise<void> {
  const { state, expires } = await connectionOf(lab, INSIDE)
  assert.equal(state, 'ESTABLISHED')
  assertLong(expires)
}

const assertLong = (expires: number): void => assert.ok(expires > 3600, `it would be forgotten in ${expires} s`)

async function assertTransitory(lab: Lab, states: readonly string[]): Promise<void> {
  const { state, expires } = await connectionOf(lab, INSIDE)
  assert.ok(states.includes(state), `${state} is none of ${states.join(', ')}`)
  assert.ok(expires <= TRANSITORY_S && expires > TRANSITORY_S - SINCE_S, `it will be forgotten in ${expires} s`)
}

/** A packet of the remote, real or forged; it's forwarded whatever it does to the state. */
async function fromOutside(lab: Lab, flags: string, options: Parameters<typeof tcp>[2]): Promise<void> {
  lab.net.send(tcp(turn(SEEN), flags, options))
  await lab.a.expect(`tcp ${turn(SENT)} ${order(flags)}`)
}

async function fromInside(lab: Lab, flags: string, options: Parameters<typeof tcp>[2]): Promise<void> {
  lab.a.send(tcp(SENT, flags, options))
  await lab.net.expect(`tcp ${SEEN} ${order(flags)}`)
}

const order = (flags: string): string => [...'SFRPAUEC'].filter((flag) => flags.includes(flag)).join('')

/** Numbers that a blind attacker may hit on, relative to the right one. */
const WRONG: readonly (readonly [string, number])[] = [
  ['in the window', 1000], ['one too high', 1], ['one too low', -1], ['of the past', -100_000], ['far away', 0x4000_0000],
]

export default suite('tcp', [
  ...WRONG.map(([what, offset]) =>
    test(`a RST with a number ${what} changes nothing`, BLIND, async (lab) => {
      await snat(lab, { pool: [P0] })
      const connection = await open(lab)
      await connection.request('GET /')
      await connection.respond('hello')
      const { client, server } = connection.next
      await fromOutside(lab, 'R', { seq: server + offset })
      await assertEstablished(lab)
      await fromOutside(lab, 'RA', { seq: server + offset, ack: client })
      await assertEstablished(lab)
      // Who forges the inside host's address may sit inside as well.
      lab.b.send(tcp(SENT, 'R', { seq: client + offset }))
      await lab.net.expect(`tcp ${SEEN} R`)
      await assertEstablished(lab)
      assert.equal(await counter(lab, 'rst_ignored'), 3)
      await connection.respond('still there')
    }),
  ),

  ...(['client', 'server'] as const).map((side) =>
    test(`a RST of the ${side} with the right number closes, and the mapping stays for four minutes`, AFTER_RST, async (lab) => {
      await snat(lab, { pool: [P0] })
      const connection = await open(lab)
      await connection.request('GET /')
      await connection.respond('hello')
      await connection.abort(side)
      await assertTransitory(lab, ['CLOSE'])
      assert.equal(await counter(lab, 'rst_ignored'), 0)
    }),
  ),

  test('data after a RST revives the connection, from either side', AFTER_RST, async (lab) => {
    await snat(lab, { pool: [P0] })
    const connection = await open(lab)
    await connection.abort('server')
    await assertTransitory(lab, ['CLOSE'])
    await connection.request('it was forged')
    await assertEstablished(lab)
    await connection.abort('server')
    await assertTransitory(lab, ['CLOSE'])
    await connection.fromServer('PA', 'it was forged, and the inside says so')
    await assertTransitory(lab, ['CLOSE'])
    await connection.fromClient('A', '')
    await assertEstablished(lab)
  }),

  test('what a server sends after a RST does not keep the connection', AFTER_RST, async (lab) => {
    await snat(lab, { pool: [P0] })
    const connection = await open(lab)
    await connection.abort('client')
    await fromOutside(lab, 'A', { seq: 0x70000000, ack: 0x70000000 })
    const { server, client } = connection.next
    await fromOutside(lab, 'PA', { seq: server, ack: client, data: Buffer.alloc(500) })
    await assertTransitory(lab, ['CLOSE'])
  }),

  test('a SYN from inside after a RST starts anew', AFTER_RST, async (lab) => {
    await snat(lab, { pool: [P0] })
    const connection = await open(lab)
    await connection.abort('client')
    const again = await Connection.open({ client: lab.a, sent: SENT, server: lab.net, seen: `${P0}:* > ${S}:80` }, { seq: 1_000_000 })
    await again.request('GET /')
    await again.respond('hello')
    await assertEstablished(lab)
  }),

  test('a RST is right at what inside has acknowledged, and at the end of what outside has sent', BLIND, async (lab) => {
    await snat(lab, { pool: [P0] })
    const connection = await open(lab)
    const { client, server } = connection.next
    await fromOutside(lab, 'PA', { seq: server, ack: client, data: Buffer.alloc(500) })
    await fromOutside(lab, 'R', { seq: server + 250 })
    await assertEstablished(lab)
    await fromOutside(lab, 'R', { seq: server + 500 })
    await assertTransitory(lab, ['CLOSE'])
    await fromInside(lab, 'A', { seq: client, ack: server })
    await assertEstablished(lab)
    await fromOutside(lab, 'R', { seq: server })
    await assertTransitory(lab, ['CLOSE'])
  }),

  test('an old acknowledgement does not make an old number right', BLIND, async (lab) => {
    await snat(lab, { pool: [P0] })
    const connection = await open(lab)
    const { client, server } = connection.next
    await fromOutside(lab, 'PA', { seq: server, ack: client, data: Buffer.alloc(1000) })
    await fromInside(lab, 'A', { seq: client, ack: server + 1000 })
    await fromInside(lab, 'A', { seq: client, ack: server + 400 })
    await fromOutside(lab, 'PA', { seq: server + 200, ack: client, data: Buffer.alloc(300) })
    for (const seq of [server, server + 400, server + 500]) await fromOutside(lab, 'R', { seq })
    await assertEstablished(lab)
    await fromOutside(lab, 'R', { seq: server + 1000 })
    await assertTransitory(lab, ['CLOSE'])
  }),

  test('a forged segment does not make a forged RST right', BLIND, async (lab) => {
    await snat(lab, { pool: [P0] })
    const connection = await open(lab)
    await connection.request('GET /')
    await connection.respond('hello')
    const { client, server } = connection.next
    for (const offset of [0x1000_0000, 0x3000_0000, 0x5000_0000, 0x7000_0000]) {
      await fromOutside(lab, 'A', { seq: server + offset, ack: client, data: 'forged' })
      await fromOutside(lab, 'R', { seq: server + offset + 6 })
      await fromOutside(lab, 'R', { seq: server + offset })
      await assertEstablished(lab)
    }
  }),

  test('a sender may be far ahead of what is acknowledged, and its RST and FIN count', BLIND, async (lab) => {
    await snat(lab, { pool: [P0] })
    const connection = await open(lab)
    const { client, server } = connection.next
    for (let at = 0; at < FAR_AHEAD; at += SEGMENT * BURST) {
      const starts = Array.from({ length: BURST }, (_, index) => at + index * SEGMENT).filter((start) => start < FAR_AHEAD)
      lab.net.send(starts.map((start) => tcp(turn(SEEN), 'A', { seq: server + start, ack: client, data: Buffer.alloc(Math.min(SEGMENT, FAR_AHEAD - start)) })))
      await lab.settle()
    }
    // The first segment was lost on the way to the host, and came again: everything is acknowledged at once.
    await fromInside(lab, 'A', { seq: client, ack: server + FAR_AHEAD })
    await fromOutside(lab, 'PA', { seq: server + FAR_AHEAD, ack: client, data: 'more' })
    await fromInside(lab, 'A', { seq: client, ack: server + FAR_AHEAD + 4 })
    await fromOutside(lab, 'R', { seq: server })
    await assertEstablished(lab)
    await fromOutside(lab, 'R', { seq: server + FAR_AHEAD + 4 })
    await assertTransitory(lab, ['CLOSE'])
    await fromInside(lab, 'FA', { seq: client, ack: server + FAR_AHEAD + 4 })
    await fromOutside(lab, 'FA', { seq: server + FAR_AHEAD + 4, ack: client + 1 })
    await fromInside(lab, 'A', { seq: client + 1, ack: server + FAR_AHEAD + 5 })
    await assertTransitory(lab, ['TIME_WAIT'])
  }),

  test('numbers that have wrapped around are compared rightly', BLIND, async (lab) => {
    await snat(lab, { pool: [P0] })
    const client = 0xffff_fff0
    const server = 0xffff_ffe0
    await fromInside(lab, 'S', { seq: client - 1 })
    await fromOutside(lab, 'SA', { seq: server - 1, ack: client })
    await fromInside(lab, 'A', { seq: client, ack: server })
    await fromInside(lab, 'PA', { seq: client, ack: server, data: Buffer.alloc(0x30) })
    await fromOutside(lab, 'PA', { seq: server, ack: client + 0x30, data: Buffer.alloc(0x40) })
    await fromInside(lab, 'A', { seq: client + 0x30, ack: server + 0x40 })
    await fromOutside(lab, 'R', { seq: server })
    await assertEstablished(lab)
    await fromOutside(lab, 'R', { seq: server + 0x40 })
    await assertTransitory(lab, ['CLOSE'])
  }),

  test('a RST answers a SYN if it acknowledges it', BLIND, async (lab) => {
    await snat(lab, { pool: [P0] })
    await fromInside(lab, 'S', { seq: 77 })
    await assertTransitory(lab, ['SYN_SENT'])
    for (const [seq, ack] of [[0, 77], [0, 79], [77, 0]] as const) await fromOutside(lab, 'RA', { seq, ack })
    await fromOutside(lab, 'R', { seq: 0 })
    await assertTransitory(lab, ['SYN_SENT'])
    assert.equal(await counter(lab, 'rst_ignored'), 4)
    await fromOutside(lab, 'RA', { seq: 0, ack: 78 })
    await assertTransitory(lab, ['CLOSE'])
  }),

  test('an established connection lives for 2 h 4 min', TIMEOUTS, async (lab) => {
    await snat(lab, { pool: [P0] })
    const connection = await open(lab)
    await connection.request('GET /')
    const { expires } = await connectionOf(lab, INSIDE)
    assert.ok(expires <= ESTABLISHED_S && expires > ESTABLISHED_S - SINCE_S, `it will be forgotten in ${expires} s`)
  }),

  ...(['client', 'server'] as const).map((side) =>
    test(`a FIN of the ${side} alone, right or blind, leaves the time that an established connection has`, BLIND, async (lab) => {
      await snat(lab, { pool: [P0] })
      const connection = await open(lab)
      const { client, server } = connection.next
      if (side === 'server') await fromOutside(lab, 'FA', { seq: server + 1000, ack: client })
      else await fromInside(lab, 'FA', { seq: client + 1000, ack: server })
      assertLong((await connectionOf(lab, INSIDE)).expires)
      await (side === 'server' ? connection.fromServer('FA', '') : connection.fromClient('FA', ''))
      assertLong((await connectionOf(lab, INSIDE)).expires)
      // The other side has seen it, and may talk on for as long as it likes.
      if (side === 'server') await fromInside(lab, 'PA', { seq: client, ack: server + 1, data: 'not done yet' })
      else await connection.fromServer('PA', 'not done yet')
      const { state, expires } = await connectionOf(lab, INSIDE)
      assert.equal(state, side === 'server' ? 'CLOSE_WAIT' : 'FIN_WAIT')
      assertLong(expires)
    }),
  ),

  test('a connection that both sides have closed is forgotten after four minutes, and a SYN starts anew before', TIMEOUTS, async (lab) => {
    await snat(lab, { pool: [P0] })
    const connection = await open(lab)
    await connection.finish()
    await assertTransitory(lab, ['TIME_WAIT'])
    const again = await Connection.open({ client: lab.a, sent: SENT, server: lab.net, seen: `${P0}:* > ${S}:80` })
    await again.respond('hello')
    await assertEstablished(lab)
  }),

  ...([['outside', fromOutside], ['inside', fromInside]] as const).map(([side, send]) =>
    test(`a SYN from ${side} leaves an established connection as it is`, STATES, async (lab) => {
      await snat(lab, { pool: [P0] })
      const connection = await open(lab)
      await send(lab, 'S', { seq: 4711 })
      await assertEstablished(lab)
      await send(lab, 'SA', { seq: 4711, ack: 4712 })
      await assertEstablished(lab)
      await connection.request('still there')
      await connection.respond('yes')
    }),
  ),

  test('nobody outside can place a number that lets a RST fit', BLIND, async (lab) => {
    await snat(lab, { pool: [P0] })
    const connection = await open(lab)
    const { client, server } = connection.next
    const guess = server + 700_000
    await fromOutside(lab, 'A', { seq: guess, ack: client })
    await fromOutside(lab, 'R', { seq: guess })
    await assertEstablished(lab)
    assert.equal(await counter(lab, 'rst_ignored'), 1)
  }),

  test('a FIN far ahead counts when the inside host has acknowledged it, and a made-up one never', BLIND, async (lab) => {
    await snat(lab, { pool: [P0] })
    const connection = await open(lab)
    const { client, server } = connection.next
    await fromOutside(lab, 'FA', { seq: server + 500, ack: client })
    await fromInside(lab, 'FA', { seq: client, ack: server })
    assertLong((await connectionOf(lab, INSIDE)).expires)
    await fromOutside(lab, 'FA', { seq: server + FAR_AHEAD, ack: client + 1 })
    assertLong((await connectionOf(lab, INSIDE)).expires)
    await fromInside(lab, 'A', { seq: client + 1, ack: server + FAR_AHEAD + 1 })
    await assertTransitory(lab, ['TIME_WAIT'])
  }),

  test('only an answer to the SYN establishes a connection', STATES, async (lab) => {
    await snat(lab, { pool: [P0] })
    await fromInside(lab, 'S', { seq: 77 })
    await fromOutside(lab, 'SA', { seq: 5000, ack: 1 })
    await assertTransitory(lab, ['SYN_SENT'])
    await fromOutside(lab, 'PA', { seq: 5000, ack: 78, data: 'too early' })
    await assertTransitory(lab, ['SYN_SENT'])
    await fromInside(lab, 'A', { seq: 78, ack: 1 })
    await assertTransitory(lab, ['SYN_SENT'])
    await fromOutside(lab, 'FA', { seq: 5000, ack: 78 })
    await assertTransitory(lab, ['SYN_SENT'])
    await fromOutside(lab, 'SA', { seq: 5000, ack: 78 })
    await fromInside(lab, 'A', { seq: 78, ack: 5001 })
    await assertEstablished(lab)
  }),

  test('both sides may open at the same time', 'issue 10, D; RFC 5382, REQ-2: simultaneous open', async (lab) => {
    await snat(lab, { pool: [P0] })
    await fromInside(lab, 'S', { seq: 77 })
    await fromOutside(lab, 'S', { seq: 5000 })
    await fromInside(lab, 'SA', { seq: 77, ack: 5001 })
    await fromOutside(lab, 'SA', { seq: 5000, ack: 78 })
    await assertEstablished(lab)
    await fromInside(lab, 'PA', { seq: 78, ack: 5001, data: 'hello' })
    await fromOutside(lab, 'PA', { seq: 5001, ack: 83, data: 'hello' })
    await assertEstablished(lab)
  }),
])
