// SPDX-License-Identifier: GPL-2.0-only
/** SNAT alone: inside hosts open connections to the outside. */

import assert from 'node:assert/strict'
import { Connection } from '../../vm/host/index.ts'
import { tcp, udp } from '../../vm/packet/index.ts'
import { A, B, POOL, S, S2 } from '../../vm/topology.ts'
import { counter, snat } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'
import { ask, assertNothingPrivateLeft, ping, routeOf, turn } from './lib/traffic.ts'

const ALONE = 'issue 2: SNAT alone (TCP handshake, data, FIN, RST; UDP; echo)'
const SAME_PORT = 'issue 2: two inside hosts with the same source port (and the same echo id) to the same remote; defect 1'
const [P0 = '', P1 = ''] = POOL

export default suite('snat', [
  test('a TCP connection goes out: handshake, data both ways, FIN', ALONE, async (lab) => {
    await snat(lab, { pool: [P0] })
    const connection = await Connection.open({
      client: lab.a, sent: `${A}:40001 > ${S}:80`,
      server: lab.net, seen: `${P0}:40001 > ${S}:80`,
    })
    await connection.request('GET / HTTP/1.0\r\n\r\n')
    await connection.respond('HTTP/1.0 200 OK\r\n\r\nhello')
    await connection.finish()
    assertNothingPrivateLeft(lab)
  }),

  test('a TCP connection can be reset from either side', ALONE, async (lab) => {
    await snat(lab, { pool: [P0] })
    for (const [port, side] of [[40002, 'client'], [40003, 'server']] as const) {
      const connection = await Connection.open({
        client: lab.a, sent: `${A}:${port} > ${S}:80`,
        server: lab.net, seen: `${P0}:${port} > ${S}:80`,
      })
      await connection.abort(side)
    }
  }),

  test('UDP datagrams go out and are answered', ALONE, async (lab) => {
    await snat(lab, { pool: [P0] })
    await ask({ client: lab.a, sent: `${A}:40004 > ${S}:53`, server: lab.net, seen: `${P0}:40004 > ${S}:53` })
    assertNothingPrivateLeft(lab)
  }),

  test('pings go out and are answered', ALONE, async (lab) => {
    await snat(lab, { pool: [P0] })
    await ping(lab.a, `${A} > ${S}`, 2077, lab.net, P0)
    await ping(lab.a, `${A} > ${S}`, 2077, lab.net, P0)
    assert.equal(await counter(lab, 'created'), 1, 'pings with one id are one connection')
    assertNothingPrivateLeft(lab)
  }),

  test('two hosts with the same TCP source port to one remote get different ports, and each its own replies', SAME_PORT, async (lab) => {
    await snat(lab, { pool: [P0] })
    const ofA = await Connection.open({ client: lab.a, sent: `${A}:40005 > ${S}:80`, server: lab.net, seen: `${P0}:* > ${S}:80` })
    const ofB = await Connection.open({ client: lab.b, sent: `${B}:40005 > ${S}:80`, server: lab.net, seen: `${P0}:* > ${S}:80` })
    assert.notEqual(ofA.seen, ofB.seen)
    await ofA.respond('for a')
    await ofB.respond('for b')
    await ofA.request('from a')
    await ofB.request('from b')
    await ofB.finish()
    await ofA.finish()
    assert.ok((await counter(lab, 'port_conflicts')) >= 1, 'the conflict is counted')
  }),

  test('two hosts with the same UDP source port to one remote get different ports, and each its own replies', SAME_PORT, async (lab) => {
    await snat(lab, { pool: [P0] })
    lab.a.send(udp(`${A}:40006 > ${S}:53`, 'from a'))
    lab.b.send(udp(`${B}:40006 > ${S}:53`, 'from b'))
    for (let count = 0; count < 2; count++) {
      const query = await lab.net.expect(`udp ${P0}:* > ${S}:53`)
      lab.net.send(udp(turn(routeOf(query)), `${query.data.toString()} answered`))
    }
    assert.equal((await lab.a.expect(`udp ${S}:53 > ${A}:40006`)).data.toString(), 'from a answered')
    assert.equal((await lab.b.expect(`udp ${S}:53 > ${B}:40006`)).data.toString(), 'from b answered')
  }),

  test('two hosts with the same echo id to one remote get different ids, and each its own replies', `${SAME_PORT}; defect 11: the same echo id to the same remote`, async (lab) => {
    await snat(lab, { pool: [P0] })
    const ofA = await ping(lab.a, `${A} > ${S}`, 7007, lab.net, P0)
    const ofB = await ping(lab.b, `${B} > ${S}`, 7007, lab.net, P0)
    assert.notEqual(ofA, ofB)
    assert.equal(await ping(lab.a, `${A} > ${S}`, 7007, lab.net, P0), ofA, 'a keeps its id')
    assert.equal(await ping(lab.b, `${B} > ${S}`, 7007, lab.net, P0), ofB, 'b keeps its id')
  }),

  test('one port serves many remotes at once', 'engine.md: unique ports for each remote', async (lab) => {
    await snat(lab, { pool: [P0] })
    await ask({ client: lab.a, sent: `${A}:40007 > ${S}:53`, server: lab.net, seen: `${P0}:40007 > ${S}:53` })
    await ask({ client: lab.b, sent: `${B}:40007 > ${S2}:53`, server: lab.net, seen: `${P0}:40007 > ${S2}:53` })
    await ask({ client: lab.b, sent: `${B}:40007 > ${S}:123`, server: lab.net, seen: `${P0}:40007 > ${S}:123` })
  }),

  ...[1, 2, 8].map((size) =>
    test(`a pool of ${size} is used to the last address, evenly`, 'issue 2: pool of 1, 2 and 8 addresses', async (lab) => {
      const pool = POOL.slice(0, size)
      await snat(lab, { pool })
      const used = new Map<string, number>()
      for (let port = 41000; port < 41000 + size * 3; port++) {
        const seen = await ask({ client: lab.a, sent: `${A}:${port} > ${S}:53`, server: lab.net, seen: `*:${port} > ${S}:53` })
        const address = seen.split(':')[0] ?? ''
        used.set(address, (used.get(address) ?? 0) + 1)
      }
      assert.deepEqual([...used.keys()].sort(), [...pool].sort(), 'addresses used')
      assert.deepEqual([...new Set(used.values())], [3], 'connections on each address')
    }),
  ),

  test('the scheduler sh keeps an inside host on one pool address', 'engine.md: pool algorithms (sh)', async (lab) => {
    await snat(lab, { pool: POOL, scheduler: 'sh' })
    const addresses = new Set<string>()
    for (let port = 41100; port < 41108; port++) {
      const seen = await ask({ client: lab.a, sent: `${A}:${port} > ${S}:53`, server: lab.net, seen: `*:${port} > ${S}:53` })
      addresses.add(seen.split(':')[0] ?? '')
    }
    assert.equal(addresses.size, 1)
  }),

  test('a retransmitted SYN keeps its port', 'issue 2: SYN retransmission keeps its port', async (lab) => {
    await snat(lab, { pool: [P0, P1] })
    const syn = () => tcp(`${A}:40008 > ${S}:80`, 'S', { seq: 77 })
    lab.a.send(syn())
    const first = routeOf(await lab.net.expect(`tcp *:* > ${S}:80 S`))
    lab.b.send(tcp(`${B}:40008 > ${S}:80`, 'S', { seq: 99 }))
    const other = routeOf(await lab.net.expect(`tcp *:* > ${S}:80 S`))
    assert.notEqual(first, other)
    for (let count = 0; count < 3; count++) {
      lab.a.send(syn())
      await lab.net.expect(`tcp ${first} S`)
      lab.b.send(tcp(`${B}:40008 > ${S}:80`, 'S', { seq: 99 }))
      await lab.net.expect(`tcp ${other} S`)
    }
    assert.equal(await counter(lab, 'created'), 2)
  }),

  test('TCP without a connection that is no SYN never leaves', 'issue 2: non-SYN without connection never leaves with its private address; defect 7', async (lab) => {
    await snat(lab, { pool: [P0] })
    const flags = ['A', 'PA', 'FA', 'R', 'RA', 'SA', 'SF', '', 'FPU']
    for (const [index, letters] of flags.entries()) lab.a.send(tcp(`${A}:${42000 + index} > ${S}:80`, letters, { data: letters.includes('S') ? '' : 'x' }))
    await lab.settle()
    assertNothingPrivateLeft(lab)
    lab.net.refuse(`tcp *:* > ${S}:80 *`)
    assert.equal(await counter(lab, 'drop_no_conn'), flags.length)
    assert.equal(await counter(lab, 'created'), 0)
  }),

  test('the TTL goes down by one each way', 'defect 7: the TTL of replies is decremented', async (lab) => {
    await snat(lab, { pool: [P0] })
    lab.a.send(udp(`${A}:40009 > ${S}:53`, 'q', { ttl: 40 }))
    const out = await lab.net.expect(`udp ${P0}:40009 > ${S}:53`)
    assert.equal(out.ip?.ttl, 39)
    lab.net.send(udp(`${S}:53 > ${P0}:40009`, 'a', { ttl: 30 }))
    const back = await lab.a.expect(`udp ${S}:53 > ${A}:40009`)
    assert.equal(back.ip?.ttl, 29)
  }),

  test('UDP without checksum stays without, both ways', 'issue 2: UDP without checksum', async (lab) => {
    await snat(lab, { pool: [P0] })
    lab.a.send(udp(`${A}:40010 > ${S}:53`, 'odd', { noChecksum: true }))
    const out = await lab.net.expect(`udp ${P0}:40010 > ${S}:53`)
    assert.equal(out.udp?.checksum, 0)
    lab.net.send(udp(`${S}:53 > ${P0}:40010`, 'even', { noChecksum: true }))
    const back = await lab.a.expect(`udp ${S}:53 > ${A}:40010`)
    assert.equal(back.udp?.checksum, 0)
  }),

  test('data of every odd length arrives whole, both ways', 'issue 2: odd lengths', async (lab) => {
    await snat(lab, { pool: [P0] })
    const connection = await Connection.open({ client: lab.a, sent: `${A}:40011 > ${S}:80`, server: lab.net, seen: `${P0}:40011 > ${S}:80` })
    for (const length of [1, 3, 19, 535, 1459]) {
      const data = Buffer.alloc(length, 'snat')
      await connection.request(data)
      await connection.respond(data)
      await ask({ client: lab.a, sent: `${A}:${42100 + length} > ${S}:53`, server: lab.net, seen: `${P0}:${42100 + length} > ${S}:53` }, data, data)
    }
  }),
])
