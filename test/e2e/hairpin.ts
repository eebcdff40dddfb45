// SPDX-License-Identifier: GPL-2.0-only
/** Inside hosts that ask for an address of their own gateway. */

import assert from 'node:assert/strict'
import { Connection } from '../../vm/host/index.ts'
import { echo, ipv4, PROTOCOL, tcp, udp } from '../../vm/packet/index.ts'
import { A, B, C, POOL, S, VIP } from '../../vm/topology.ts'
import { between, counter, nat, snat } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'
import { ask } from './lib/traffic.ts'

const HAIRPIN = 'issue 10, D: an inside host that asks for a virtual service or a pool address of its own gateway gets a defined outcome'
const [P0 = ''] = POOL
const ROUTED = '192.0.2.77'

export default suite('hairpin', [
  test('an inside host reaches a balanced service of its own gateway', HAIRPIN, async (lab) => {
    await snat(lab, { pool: [P0] })
    await nat(lab, { port: 80, servers: [`${C}:8080`] })
    await nat(lab, { protocol: 'udp', port: 53, servers: [`${C}:5353`] })
    const connection = await Connection.open({ client: lab.a, sent: `${A}:40001 > ${VIP}:80`, server: lab.c, seen: `${A}:40001 > ${C}:8080` })
    await connection.request('GET /')
    await connection.respond('hello')
    await connection.finish()
    await ask({ client: lab.a, sent: `${A}:40002 > ${VIP}:53`, server: lab.c, seen: `${A}:40002 > ${C}:5353` })
    assert.equal(await counter(lab, 'created'), 0)
  }),

  test('an inside host that asks for a pool address of the gateway meets the gateway, and no other host', HAIRPIN, async (lab) => {
    await snat(lab, { pool: [P0] })
    await between(lab, `httpd -p ${P0}:8081 -h /tmp`, 'killall httpd', async () => {
      // b holds these ports of the pool address for a remote.
      lab.b.send([tcp(`${B}:40001 > ${S}:80`, 'S'), udp(`${B}:40001 > ${S}:80`, 'q')])
      await lab.net.expect(`tcp ${P0}:40001 > ${S}:80 S`)
      await lab.net.expect(`udp ${P0}:40001 > ${S}:80`)
      lab.a.send(tcp(`${A}:40002 > ${P0}:8081`, 'S'))
      await lab.a.expect(`tcp ${P0}:8081 > ${A}:40002 SA`)
      lab.a.send(echo(`${A} > ${P0}`, 'request', { echoId: 7 }))
      await lab.a.expect(`icmp ${P0} > ${A} echo-reply id=7`)
      lab.a.send(udp(`${A}:40002 > ${P0}:40001`, 'q'))
      await lab.a.expect(`icmp ${P0} > ${A} port-unreachable [udp ${A}:40002 > ${P0}:40001]`)
      lab.a.send(tcp(`${A}:40003 > ${P0}:40001`, 'S'))
      await lab.settle()
      lab.a.refuse(`tcp ${P0}:40001 > **`)
      for (const kind of ['tcp', 'udp', 'icmp']) lab.b.refuse(`${kind} **`)
      assert.equal(await counter(lab, 'created'), 2)
      assert.equal(await counter(lab, 'drop_unsolicited'), 1)
    })
  }),

  test('an inside host that asks for a routed pool address is answered by nobody', HAIRPIN, async (lab) => {
    await snat(lab, { pool: [ROUTED], device: 'none' })
    lab.b.send(udp(`${B}:40001 > ${S}:80`, 'q'))
    await lab.net.expect(`udp ${ROUTED}:40001 > ${S}:80`)
    lab.a.send([
      tcp(`${A}:40002 > ${ROUTED}:40001`, 'S'), udp(`${A}:40002 > ${ROUTED}:40001`, 'q'),
      echo(`${A} > ${ROUTED}`, 'request', { echoId: 7 }), ipv4(`${A} > ${ROUTED}`, PROTOCOL.gre, Buffer.alloc(16)),
    ])
    await lab.settle()
    assert.deepEqual(lab.sent('outside', `** > ${ROUTED}**`), [])
    assert.deepEqual(lab.sent('inside').filter((packet) => packet.ip?.src === ROUTED), [])
    assert.equal(await counter(lab, 'created'), 1)
    assert.equal(await counter(lab, 'drop_unsolicited'), 4)
  }),
])
