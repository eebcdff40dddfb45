// SPDX-License-Identifier: GPL-2.0-only
/** What is deleted while flows are open: they stand still, and nothing of them leaves with its private address. */

import assert from 'node:assert/strict'
import { Connection } from '../../vm/host/index.ts'
import type { Lab } from '../../vm/lab.ts'
import { echo, tcp, udp } from '../../vm/packet/index.ts'
import { A, CLIENT, POOL, S, S2, VIP } from '../../vm/topology.ts'
import { counter, nat, snat, snatCommands, vsSysctl } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'
import { ask, assertNothingPrivateLeft, ping, turn, until } from './lib/traffic.ts'

const STAND_STILL = 'issue 10, A 4: connections stand still, whatever is deleted, in whatever order, until the flows are gone'
const [P0 = '', P1 = ''] = POOL
const ECHO_ID = 7007

const SERVICES = { tcp: '-t 0.0.0.0:0', udp: '-u 0.0.0.0:0' } as const
const deleteService = (protocol: keyof typeof SERVICES): string => `ipvsadm -D ${SERVICES[protocol]}`
const deleteAddress = (protocol: keyof typeof SERVICES): string => `ipvsadm -d ${SERVICES[protocol]} -r ${P0}:0`
const FROM_DEVICE = `ip addr del ${P0}/32 dev outside`

/** Each deletes everything, one command after the other. */
const ORDERS: readonly (readonly [string, readonly string[]])[] = [
  ['all at once', ['ipvsadm -C']],
  ['the TCP service first', [deleteService('tcp'), deleteService('udp')]],
  ['the UDP service first', [deleteService('udp'), deleteService('tcp')]],
  ['addresses first', [deleteAddress('tcp'), deleteAddress('udp'), deleteService('tcp'), deleteService('udp')]],
  ['one address, its service, all', [deleteAddress('udp'), deleteService('udp'), 'ipvsadm -C']],
  ['services, then the address of the device', [deleteService('udp'), deleteService('tcp'), FROM_DEVICE]],
  ['the address of the device, then all', [FROM_DEVICE, 'ipvsadm -C']],
]

/** A flow of each kind that is open. */
interface Flows {
  connection: Connection
  /** Route of the UDP flow as the remote sees it. */
  question: string
}

async function open(lab: Lab): Promise<Flows> {
  const connection = await Connection.open({ client: lab.a, sent: `${A}:40001 > ${S}:80`, server: lab.net, seen: `${P0}:40001 > ${S}:80` })
  const question = await ask({ client: lab.a, sent: `${A}:40002 > ${S}:53`, server: lab.net, seen: `${P0}:40002 > ${S}:53` })
  await ping(lab.a, `${A} > ${S}`, ECHO_ID, lab.net, P0)
  return { connection, question }
}

/** A packet of each flow each way, of which nobody waits for any. */
async function sendOfAll(lab: Lab, { connection, question }: Flows): Promise<void> {
  const { client, server } = connection.next
  lab.a.send([
    tcp(connection.sent, 'PA', { seq: client, ack: server, data: 'lost' }),
    udp(`${A}:40002 > ${S}:53`, 'lost'),
    echo(`${A} > ${S}`, 'request', { echoId: ECHO_ID, data: 'lost' }),
  ])
  lab.net.send([
    tcp(turn(connection.seen), 'PA', { seq: server, ack: client, data: 'lost' }),
    udp(turn(question), 'lost'),
    echo(`${S} > ${P0}`, 'reply', { echoId: ECHO_ID, data: 'lost' }),
  ])
  await lab.settle()
}

function assertNothingLeftBut(lab: Lab, allowed: number): void {
  const left = lab.net.inbox.filter(({ ip }) => ip?.dst === S)
  assert.equal(left.length, allowed, 'packets to the remote')
  for (const host of lab.hosts) host.inbox.length = 0
}

async function goesOn(lab: Lab, { connection }: Flows): Promise<void> {
  await connection.request('found again')
  await connection.respond('yes')
  await ask({ client: lab.a, sent: `${A}:40002 > ${S}:53`, server: lab.net, seen: `${P0}:40002 > ${S}:53` })
  assert.equal(await ping(lab.a, `${A} > ${S}`, ECHO_ID, lab.net, P0), ECHO_ID)
  await connection.finish()
}

export default suite('removal', [
  test('without a service, the gateway answers clients of a deleted one as if there was no IPVS', STAND_STILL, async (lab) => {
    await snat(lab, { pool: [P0] })
    await nat(lab, { servers: [`${A}:80`] })
    const connection = await Connection.open({ client: lab.net, sent: `${CLIENT}:5001 > ${VIP}:80`, server: lab.a, seen: `${CLIENT}:5001 > ${A}:80` })
    await lab.gateway.sh('ipvsadm -C')
    lab.net.send(tcp(`${CLIENT}:5001 > ${VIP}:80`, 'PA', { seq: connection.next.client, ack: connection.next.server, data: 'more' }))
    await lab.net.expect(`tcp ${VIP}:80 > ${CLIENT}:5001 R`)
  }, { needs: ['service-hooks'] }),

  ...ORDERS.map(([order, commands]) =>
    test(`flows stand still while everything is deleted, ${order}, and go on when it is back`, STAND_STILL, async (lab) => {
      await snat(lab, { pool: [P0] })
      const flows = await open(lab)
      for (const command of commands) {
        await lab.gateway.sh(command)
        await sendOfAll(lab, flows)
        assertNothingPrivateLeft(lab)
        for (const host of [lab.a, lab.net]) host.refuse(`tcp ${P0}:* > * R*`)
      }
      for (const host of lab.hosts) host.inbox.length = 0
      const before = await counter(lab, 'drop_pool_gone')
      await sendOfAll(lab, flows)
      assertNothingPrivateLeft(lab)
      assertNothingLeftBut(lab, 0)
      assert.equal((await counter(lab, 'drop_pool_gone')) - before, 6, 'each packet, either way, is counted')
      await lab.gateway.sh(`set -e
        ip addr show dev outside | grep -qF ${P0}/ || ip addr add ${P0}/32 dev outside
        ${snatCommands({ pool: [P0], device: 'none' })}`)
      await goesOn(lab, flows)
      assert.equal(await counter(lab, 'created'), 3)
    }),
  ),

  test('of a routed pool address as well, flows stand still until it is back', STAND_STILL, async (lab) => {
    const routed = '192.0.2.77'
    await snat(lab, { pool: [routed], device: 'none' })
    const seen = `${routed}:40001 > ${S}:80`
    const connection = await Connection.open({ client: lab.a, sent: `${A}:40001 > ${S}:80`, server: lab.net, seen })
    await lab.gateway.sh('ipvsadm -C')
    const { client, server } = connection.next
    lab.a.send(tcp(`${A}:40001 > ${S}:80`, 'PA', { seq: client, ack: server, data: 'lost' }))
    lab.net.send(tcp(turn(seen), 'PA', { seq: server, ack: client, data: 'lost' }))
    await lab.settle()
    assertNothingPrivateLeft(lab)
    assertNothingLeftBut(lab, 0)
    lab.net.refuse(`tcp * > ${routed}:* *`)
    await snat(lab, { pool: [routed], device: 'none' })
    await connection.request('found again')
    await connection.respond('yes')
  }),

  test('what is new while no service is there is not SNAT\'s, and what is old stands still', STAND_STILL, async (lab) => {
    await snat(lab, { pool: [P0] })
    await ask({ client: lab.a, sent: `${A}:40002 > ${S}:53`, server: lab.net, seen: `${P0}:40002 > ${S}:53` })
    await lab.gateway.sh('ipvsadm -C')
    lab.a.send(udp(`${A}:40003 > ${S}:53`, 'plain'))
    await lab.net.expect(`udp ${A}:40003 > ${S}:53`)
    lab.a.send(udp(`${A}:40002 > ${S}:53`, 'lost'))
    await lab.settle()
    lab.net.refuse('udp **')
  }),

  test('flows that stand still end in time', STAND_STILL, async (lab) => {
    await vsSysctl(lab, 'snat_udp_timeout', '1')
    await snat(lab, { pool: [P0] })
    await ask({ client: lab.a, sent: `${A}:40002 > ${S}:53`, server: lab.net, seen: `${P0}:40002 > ${S}:53` })
    await lab.gateway.sh('ipvsadm -C')
    await until('the flow has ended', async () => (await counter(lab, 'conns')) === 0)
    await snat(lab, { pool: [P1] })
    await ask({ client: lab.a, sent: `${A}:40002 > ${S}:53`, server: lab.net, seen: `${P1}:40002 > ${S}:53` })
  }),

  test('with expire_nodest_conn, flows of a deleted address end at once and start anew from another', STAND_STILL, async (lab) => {
    await vsSysctl(lab, 'expire_nodest_conn', '1')
    await snat(lab, { pool: [P0] })
    const { connection } = await open(lab)
    await lab.gateway.sh(`set -e
      ip addr add ${P1}/32 dev outside
      ${(['-t', '-u'] as const).map((service) => `ipvsadm -a ${service} 0.0.0.0:0 -r ${P1}:0 -m; ipvsadm -d ${service} 0.0.0.0:0 -r ${P0}:0`).join('\n')}`)
    await ask({ client: lab.a, sent: `${A}:40002 > ${S}:53`, server: lab.net, seen: `${P1}:40002 > ${S}:53` })
    await ping(lab.a, `${A} > ${S}`, ECHO_ID, lab.net, P1)
    lab.a.send(tcp(`${A}:40001 > ${S}:80`, 'PA', { seq: connection.next.client, ack: connection.next.server, data: 'lost' }))
    await lab.settle()
    lab.net.refuse('tcp **')
    await Connection.open({ client: lab.a, sent: `${A}:40001 > ${S}:80`, server: lab.net, seen: `${P1}:40001 > ${S}:80` })
    await ask({ client: lab.a, sent: `${A}:40003 > ${S2}:53`, server: lab.net, seen: `${P1}:40003 > ${S2}:53` })
    assertNothingPrivateLeft(lab)
  }),

  test('with expire_nodest_conn, flows of a service that is deleted as well do not go on with their private address', STAND_STILL, async (lab) => {
    await vsSysctl(lab, 'expire_nodest_conn', '1')
    await snat(lab, { pool: [P0] })
    const flows = await open(lab)
    await lab.gateway.sh('ipvsadm -C')
    for (let round = 0; round < 3; round++) {
      await sendOfAll(lab, flows)
      assertNothingPrivateLeft(lab)
    }
    for (const host of lab.hosts) host.inbox.length = 0
    await lab.gateway.sh(snatCommands({ pool: [P0], device: 'none' }))
    await goesOn(lab, flows)
  }),

  test('a repeated SYN of a flow does not leave when the service of its protocol is gone, and another is there', STAND_STILL, async (lab) => {
    await snat(lab, { pool: [P0] })
    lab.a.send(tcp(`${A}:40001 > ${S}:80`, 'S'))
    await lab.net.expect(`tcp ${P0}:40001 > ${S}:80 S`)
    await lab.gateway.sh(deleteService('tcp'))
    lab.a.send(tcp(`${A}:40001 > ${S}:80`, 'S'))
    await lab.settle()
    lab.net.refuse('tcp **')
    assertNothingPrivateLeft(lab)
  }),
])
