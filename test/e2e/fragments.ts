// SPDX-License-Identifier: GPL-2.0-only
/** Datagrams larger than a frame, cut by whoever sends them. */

import assert from 'node:assert/strict'
import { setMtu } from '../../vm/lab.ts'
import { echo, fragment, udp } from '../../vm/packet/index.ts'
import { A, B, C, POOL, ROUTER, S } from '../../vm/topology.ts'
import { between, snat } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'
import { assertNothingPrivateLeft, everyKindGoesOut, gather, routeOf, turn } from './lib/traffic.ts'

const BOTH_WAYS = 'issue 2: fragments both ways'
const REFRAGMENTED = 'issue 10, D: fragments both ways (refragmentation); RFC 4787 REQ-13'
const SIZE = 1480
const SMALL_MTU = 1000
const [P0 = ''] = POOL

/** Data that shows when parts of it are exchanged. */
const pattern = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, index) => (index >> 3) & 255))

export default suite('fragments', [
  ...([['in order', (parts: Buffer[]) => parts], ['last one first', (parts: Buffer[]) => [...parts].reverse()]] as const).map(([order, arrange]) =>
    test(`UDP in fragments, ${order}, both ways`, BOTH_WAYS, async (lab) => {
      await snat(lab, { pool: [P0] })
      // The port is taken, so that it is changed as well as the address.
      lab.a.send(udp(`${A}:40001 > ${S}:53`, 'q'))
      await lab.net.expect(`udp ${P0}:40001 > ${S}:53`)
      for (const length of [3000, 4001]) {
        const data = pattern(length)
        lab.b.send(arrange(fragment(udp(`${B}:40001 > ${S}:53`, data, { df: false }), SIZE)))
        const out = await gather(lab.net, `udp ${P0}:* > ${S}:53`, `frag 17 ${P0} > ${S} offset=*`)
        assert.ok(out.body.subarray(8).equals(data), 'data of the question')
        const seen = routeOf(out.head)
        assert.notEqual(seen, `${P0}:40001 > ${S}:53`)
        lab.net.send(arrange(fragment(udp(turn(seen), data, { df: false }), SIZE)))
        const back = await gather(lab.b, `udp ${S}:53 > ${B}:40001`, `frag 17 ${S} > ${B} offset=*`)
        assert.ok(back.body.subarray(8).equals(data), 'data of the answer')
      }
      await lab.settle()
      assertNothingPrivateLeft(lab)
    }),
  ),

  test('a large ping in fragments, both ways', BOTH_WAYS, async (lab) => {
    await snat(lab, { pool: [P0] })
    const data = pattern(2999)
    lab.a.send(fragment(echo(`${A} > ${S}`, 'request', { echoId: 9009, data, df: false }), SIZE))
    const out = await gather(lab.net, `icmp ${P0} > ${S} echo-request id=9009`, `frag 1 ${P0} > ${S} offset=*`)
    assert.ok(out.body.subarray(8).equals(data), 'data of the request')
    lab.net.send(fragment(echo(`${S} > ${P0}`, 'reply', { echoId: 9009, data, df: false }), SIZE))
    const back = await gather(lab.a, `icmp ${S} > ${A} echo-reply id=9009`, `frag 1 ${S} > ${A} offset=*`)
    assert.ok(back.body.subarray(8).equals(data), 'data of the reply')
  }),

  test('a datagram that does not fit the way on is cut after its translation, both ways', REFRAGMENTED, async (lab) => {
    await snat(lab, { pool: [P0] })
    const data = pattern(1400)
    await between(lab, `ip route add ${S} via ${ROUTER} mtu ${SMALL_MTU}\n${setMtu('inside', SMALL_MTU)}`, `ip route del ${S}`, async () => {
      lab.a.send(udp(`${A}:40003 > ${S}:53`, data, { df: false }))
      const out = await gather(lab.net, `udp ${P0}:40003 > ${S}:53`, `frag 17 ${P0} > ${S} offset=*`)
      assert.ok(out.head.ip?.mf, 'it was cut')
      assert.ok(out.body.subarray(8).equals(data), 'data of the question')
      lab.net.send(udp(`${S}:53 > ${P0}:40003`, data, { df: false }))
      const back = await gather(lab.a, `udp ${S}:53 > ${A}:40003`, `frag 17 ${S} > ${A} offset=*`)
      assert.ok(back.head.ip?.mf, 'it was cut')
      assert.ok(back.body.subarray(8).equals(data), 'data of the answer')
    })
  }),

  test('a datagram of overlapping fragments goes on whole or not at all', BOTH_WAYS, async (lab) => {
    await snat(lab, { pool: [P0] })
    const data = pattern(2000)
    const datagram = udp(`${A}:40004 > ${S}:53`, data, { df: false })
    // Eight bytes are in both pieces: 6.1 takes that for an attack, 2.6.32 puts them together.
    const [first] = fragment(datagram, SIZE)
    const [, second] = fragment(datagram, SIZE - 8)
    lab.a.send([first as Buffer, second as Buffer])
    await lab.settle()
    assertNothingPrivateLeft(lab)
    if (lab.sent('outside', `udp ${P0}:40004 > ${S}:53`).length > 0) {
      const { body } = await gather(lab.net, `udp ${P0}:40004 > ${S}:53`, `frag 17 ${P0} > ${S} offset=*`)
      assert.ok(body.subarray(8).equals(data), 'data')
    }
    lab.a.send(fragment(udp(`${A}:40004 > ${S}:53`, data, { df: false }), SIZE))
    const { body } = await gather(lab.net, `udp ${P0}:40004 > ${S}:53`, `frag 17 ${P0} > ${S} offset=*`)
    assert.ok(body.subarray(8).equals(data), 'data of what came after')
  }),

  test('fragments that must not be cut any more pass between inside hosts', BOTH_WAYS, async (lab) => {
    await snat(lab, { pool: [P0] })
    const data = pattern(2000)
    lab.a.send(fragment(udp(`${A}:5000 > ${C}:6000`, data), SIZE))
    const { body } = await gather(lab.c, `udp ${A}:5000 > ${C}:6000`, `frag 17 ${A} > ${C} offset=*`)
    assert.deepEqual(body.subarray(8), data)
  }),

  test('fragments whose rest never comes keep nobody else waiting', 'issue 10, D: RFC 4787 REQ-14a', async (lab) => {
    await snat(lab, { pool: [P0] })
    const low = '/proc/sys/net/ipv4/ipfrag_low_thresh'
    const high = '/proc/sys/net/ipv4/ipfrag_high_thresh'
    await between(lab, `cat ${low} >/tmp/low; cat ${high} >/tmp/high; echo 8192 >${low}; echo 65536 >${high}`, `cat /tmp/high >${high}; cat /tmp/low >${low}`, async () => {
      for (let count = 0; count < 200; count++) {
        lab.a.send(fragment(udp(`${A}:40005 > ${S}:53`, pattern(2000), { df: false }), SIZE)[0] as Buffer)
        lab.net.send(fragment(udp(`${S}:53 > ${P0}:40005`, pattern(2000), { df: false }), SIZE)[0] as Buffer)
        if (count % 20 === 0) await lab.breathe()
      }
      await everyKindGoesOut(lab, P0)
      assertNothingPrivateLeft(lab)
    })
  }),

  test('a fragment without its head goes nowhere', 'issue 2: nothing leaves with its private address', async (lab) => {
    await snat(lab, { pool: [P0] })
    const [, second] = fragment(udp(`${A}:40002 > ${S}:53`, pattern(2000), { df: false }), SIZE)
    lab.a.send(second as Buffer)
    await lab.settle()
    assertNothingPrivateLeft(lab)
  }),
])
