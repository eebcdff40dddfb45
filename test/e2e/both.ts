// SPDX-License-Identifier: GPL-2.0-only
/** LVS NAT and SNAT on one gateway at the same time. */

import assert from 'node:assert/strict'
import { Connection } from '../../vm/host/index.ts'
import type { Lab } from '../../vm/lab.ts'
import { tcp, udp } from '../../vm/packet/index.ts'
import { A, B, CLIENT, POOL, S, VIP } from '../../vm/topology.ts'
import { connections, counter, type NatOptions, natCommands, snatCommands } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'
import { ask, ping, turn, until } from './lib/traffic.ts'

const [P0 = ''] = POOL
const NAT: NatOptions[] = [{ port: 80, servers: [`${A}:8080`] }, { protocol: 'udp', port: 53, servers: [`${A}:53`] }]
const STEP_12 = 'step 12 of the walk-through: the SNAT hook leaves LVS NAT replies alone; defect 5'

/** A balanced connection and an outgoing one, of one inside host, packet by packet in turns. */
async function bothWork(lab: Lab): Promise<void> {
  const inbound = await Connection.open({ client: lab.net, sent: `${CLIENT}:5001 > ${VIP}:80`, server: lab.a, seen: `${CLIENT}:5001 > ${A}:8080` })
  const outbound = await Connection.open({ client: lab.a, sent: `${A}:40001 > ${S}:80`, server: lab.net, seen: `${P0}:40001 > ${S}:80` })
  for (const text of ['one', 'two', 'three']) {
    await inbound.request(`in ${text}`)
    await outbound.request(`out ${text}`)
    await inbound.respond(`in ${text}`)
    await outbound.respond(`out ${text}`)
  }
  await ask({ client: lab.net, sent: `${CLIENT}:5002 > ${VIP}:53`, server: lab.a, seen: `${CLIENT}:5002 > ${A}:53` })
  await ask({ client: lab.a, sent: `${A}:40002 > ${S}:53`, server: lab.net, seen: `${P0}:40002 > ${S}:53` })
  await ping(lab.a, `${A} > ${S}`, 9, lab.net, P0)
  await outbound.finish()
  await inbound.finish()
}

export default suite('both', [
  ...([['LVS NAT first', [...NAT.map(natCommands), snatCommands({ pool: [P0] })]], ['SNAT first', [snatCommands({ pool: [P0] }), ...NAT.map(natCommands)]]] as const).map(([order, commands]) =>
    test(`both carry connections of one host, ${order}`, 'issue 2: both at once, in both orders of configuration', async (lab) => {
      await lab.gateway.sh(`set -e\n${commands.join('\n')}`)
      await bothWork(lab)
    }),
  ),

  test('an inside host and a client may use each other\'s ports', STEP_12, async (lab) => {
    await lab.gateway.sh(`set -e\n${snatCommands({ pool: [P0] })}\n${natCommands({ port: 80, servers: [`${A}:8080`] })}`)
    // The real server connects to the very client that it serves, from the port that it serves on.
    const inbound = await Connection.open({ client: lab.net, sent: `${CLIENT}:5003 > ${VIP}:80`, server: lab.a, seen: `${CLIENT}:5003 > ${A}:8080` })
    const outbound = await Connection.open({ client: lab.b, sent: `${B}:8080 > ${CLIENT}:5003`, server: lab.net, seen: `${P0}:8080 > ${CLIENT}:5003` })
    await inbound.respond('from the service')
    await outbound.respond('from the client')
    await inbound.finish()
    await outbound.finish()
  }),

  test('replies of a real server whose connection has expired stay as they are', 'issue 2: expired real-server replies untouched; defect 5', async (lab) => {
    await lab.gateway.sh(`set -e\n${snatCommands({ pool: [P0] })}\n${NAT.map(natCommands).join('\n')}\nipvsadm --set 0 0 1`)
    lab.a.send(tcp(`${A}:8080 > ${CLIENT}:5004`, 'PA', { data: 'late' }))
    await lab.net.expect(`tcp ${A}:8080 > ${CLIENT}:5004 PA`)
    lab.a.send(tcp(`${A}:8080 > ${CLIENT}:5004`, 'SA'))
    await lab.net.expect(`tcp ${A}:8080 > ${CLIENT}:5004 SA`)
    // UDP looks the same whoever has begun: a late reply is one only if there was a question.
    await ask({ client: lab.net, sent: `${CLIENT}:5004 > ${VIP}:53`, server: lab.a, seen: `${CLIENT}:5004 > ${A}:53` })
    await until('the balanced connection has expired', async () => (await connections(lab)).length === 0)
    lab.a.send(udp(`${A}:53 > ${CLIENT}:5004`, 'late'))
    await lab.net.expect(`udp ${A}:53 > ${CLIENT}:5004`)
    assert.equal(await counter(lab, 'created'), 0)
    assert.equal(await counter(lab, 'late_reply'), 3)
  }),

  test('deleting the SNAT service leaves balanced connections alone, and the reverse', 'defect 6: deleting a service makes no connection look like another kind', async (lab) => {
    await lab.gateway.sh(`set -e\n${natCommands({ port: 80, servers: [`${A}:8080`] })}\n${snatCommands({ pool: [P0] })}`)
    const inbound = await Connection.open({ client: lab.net, sent: `${CLIENT}:5005 > ${VIP}:80`, server: lab.a, seen: `${CLIENT}:5005 > ${A}:8080` })
    const outbound = await Connection.open({ client: lab.a, sent: `${A}:40005 > ${S}:80`, server: lab.net, seen: `${P0}:40005 > ${S}:80` })
    await lab.gateway.sh('ipvsadm -D -t 0.0.0.0:0; ipvsadm -D -u 0.0.0.0:0')
    await inbound.request('still there?')
    await inbound.respond('yes')
    await lab.gateway.sh(snatCommands({ pool: [P0], device: 'none' }))
    await outbound.request('and you?')
    await outbound.respond('too')
    await lab.gateway.sh(`ipvsadm -D -t ${VIP}:80`)
    await outbound.request('again')
    // Its service is gone: the reply must not leave as if it were SNAT.
    lab.a.send(tcp(turn(`${CLIENT}:5005 > ${A}:8080`), 'PA', { seq: 9, ack: 9, data: 'orphan' }))
    await lab.settle()
    lab.net.refuse(`tcp ${P0}:* > ${CLIENT}:5005 *`)
    await outbound.finish()
  }),
])
