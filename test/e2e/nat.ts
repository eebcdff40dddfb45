// SPDX-License-Identifier: GPL-2.0-only
/** LVS NAT as it always was, with no SNAT configured. */

import assert from 'node:assert/strict'
import { Connection } from '../../vm/host/index.ts'
import { tcp } from '../../vm/packet/index.ts'
import { A, B, CLIENT, S, VIP } from '../../vm/topology.ts'
import { nat } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'
import { ask } from './lib/traffic.ts'

const ALONE = 'issue 2: LVS NAT alone (TCP, UDP)'

export default suite('nat', [
  test('a TCP connection is balanced: handshake, data both ways, FIN', ALONE, async (lab) => {
    await nat(lab, { port: 80, servers: [`${A}:8080`] })
    const connection = await Connection.open({
      client: lab.net, sent: `${CLIENT}:5001 > ${VIP}:80`,
      server: lab.a, seen: `${CLIENT}:5001 > ${A}:8080`,
    })
    await connection.request('GET / HTTP/1.0\r\n\r\n')
    await connection.respond('HTTP/1.0 200 OK\r\n\r\nhello')
    await connection.finish()
  }),

  test('a TCP connection can be reset from either side', ALONE, async (lab) => {
    await nat(lab, { port: 80, servers: [`${A}:8080`] })
    for (const [port, side] of [[5002, 'client'], [5003, 'server']] as const) {
      const connection = await Connection.open({
        client: lab.net, sent: `${CLIENT}:${port} > ${VIP}:80`,
        server: lab.a, seen: `${CLIENT}:${port} > ${A}:8080`,
      })
      await connection.abort(side)
    }
  }),

  test('UDP datagrams are balanced and answered', ALONE, async (lab) => {
    await nat(lab, { protocol: 'udp', port: 53, servers: [`${A}:5353`] })
    await ask({
      client: lab.net, sent: `${CLIENT}:5004 > ${VIP}:53`,
      server: lab.a, seen: `${CLIENT}:5004 > ${A}:5353`,
    })
  }),

  test('two real servers take turns', ALONE, async (lab) => {
    await nat(lab, { port: 80, servers: [`${A}:80`, `${B}:80`] })
    for (let port = 5010; port < 5014; port++) lab.net.send(tcp(`${CLIENT}:${port} > ${VIP}:80`, 'S'))
    for (const [host, address] of [[lab.a, A], [lab.b, B]] as const) {
      for (let count = 0; count < 2; count++) await host.expect(`tcp ${CLIENT}:* > ${address}:80 S`)
    }
  }),

  test('what is not balanced is forwarded as it is, both ways', 'defect 13: unmatched traffic is not dropped', async (lab) => {
    await nat(lab, { port: 80, servers: [`${A}:8080`] })
    const seen = await ask({ client: lab.a, sent: `${A}:5005 > ${S}:53`, server: lab.net, seen: `${A}:5005 > ${S}:53` })
    assert.equal(seen, `${A}:5005 > ${S}:53`)
  }),
])
