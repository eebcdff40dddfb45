/** Datagrams larger than a frame, cut by whoever sends them. */

import assert from 'node:assert/strict'
import { echo, fragment, udp } from '../../vm/packet/index.ts'
import { A, B, POOL, S } from '../../vm/topology.ts'
import { snat } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'
import { assertNothingPrivateLeft, gather, routeOf, turn } from './lib/traffic.ts'

const BOTH_WAYS = 'issue 2: fragments both ways'
const SIZE = 1480
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

  test('a fragment without its head goes nowhere', 'issue 2: nothing leaves with its private address', async (lab) => {
    await snat(lab, { pool: [P0] })
    const [, second] = fragment(udp(`${A}:40002 > ${S}:53`, pattern(2000), { df: false }), SIZE)
    lab.a.send(second as Buffer)
    await lab.settle()
    assertNothingPrivateLeft(lab)
  }),
])
