// SPDX-License-Identifier: GPL-2.0-only
/** Changing the configuration, and taking the module out, while packets flow. */

import assert from 'node:assert/strict'
import { Connection } from '../../vm/host/index.ts'
import type { Lab } from '../../vm/lab.ts'
import { echo, tcp, udp } from '../../vm/packet/index.ts'
import { A, B, CLIENT, POOL, S, S2, VIP } from '../../vm/topology.ts'
import { counter, nat, natCommands, snat, snatCommands } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'
import { configure, type Message, pool, rule } from './lib/rules.ts'
import { ask, assertNothingPrivateLeft, during } from './lib/traffic.ts'

const UNDER_TRAFFIC = 'issue 2: deleting and adding the service and pool addresses under traffic'
const UNLOAD = 'issue 2: module unload under traffic after flush'
const CHANGE_LIMIT_MS = 120_000
/** Seconds: traffic makes every command slow. */
const LIMIT_S = 180
const [P0 = '', P1 = ''] = POOL

/** New and old flows of all protocols, from inside and from outside, replies included. */
function traffic(lab: Lab): (round: number) => void {
  lab.net.service = (packet) => {
    if (packet.udp && packet.ip) lab.net.send(udp(`${packet.ip.dst}:${packet.udp.dport} > ${packet.ip.src}:${packet.udp.sport}`, 'a'))
    return true
  }
  lab.a.service = () => true
  lab.b.service = () => true
  return (round) => {
    const port = 10_000 + (round % 500)
    lab.a.send([
      tcp(`${A}:${port} > ${S}:80`, 'S'),
      tcp(`${A}:${port} > ${S}:80`, 'A'),
      udp(`${A}:${port} > ${S}:53`, 'q'),
      udp(`${A}:9 > ${S2}:53`, 'the same flow every time'),
      echo(`${A} > ${S}`, 'request', { echoId: port }),
    ])
    lab.net.send([tcp(`${CLIENT}:${port} > ${VIP}:80`, 'S'), udp(`${S}:53 > ${P0}:${port}`, 'a')])
  }
}

/** Has one ipvsadm process do the same changes many times over: faster than a process for each, so that more meets more. */
async function restore(lab: Lab, rounds: number, lines: readonly string[]): Promise<void> {
  await lab.gateway.sh(`
    cat >/tmp/round <<'END'
${lines.join('\n')}
END
    for round in $(seq ${rounds}); do cat /tmp/round; done | ipvsadm -R`, CHANGE_LIMIT_MS)
}

/** Ends the traffic's automatic answers and waits until the wires are quiet. */
async function quiet(lab: Lab): Promise<void> {
  for (const host of lab.hosts) host.service = undefined
  await lab.settle()
  for (const host of lab.hosts) host.inbox.length = 0
}

async function bothStillWork(lab: Lab): Promise<void> {
  const outbound = await Connection.open({ client: lab.b, sent: `${B}:45001 > ${S}:80`, server: lab.net, seen: `*:45001 > ${S}:80` })
  await outbound.request('GET /')
  await outbound.respond('hello')
  await outbound.finish()
  const inbound = await Connection.open({ client: lab.net, sent: `${CLIENT}:5001 > ${VIP}:80`, server: lab.a, seen: `${CLIENT}:5001 > ${A}:8080` })
  await inbound.respond('hello')
  await inbound.finish()
}

export default suite('change', [
  test('a flow survives its pool address being taken away and given back', UNDER_TRAFFIC, async (lab) => {
    await snat(lab, { pool: [P0] })
    const connection = await Connection.open({ client: lab.a, sent: `${A}:40001 > ${S}:80`, server: lab.net, seen: `${P0}:40001 > ${S}:80` })
    await lab.gateway.sh(`ipvsadm -d -t 0.0.0.0:0 -r ${P0}:0`)
    lab.a.send(tcp(`${A}:40001 > ${S}:80`, 'PA', { seq: 1, data: 'lost' }))
    lab.a.send(tcp(`${A}:40002 > ${S}:80`, 'S'))
    await lab.settle()
    lab.net.refuse('tcp **')
    assertNothingPrivateLeft(lab)
    assert.ok((await counter(lab, 'drop_no_pool')) >= 1, 'the counter says why')
    await lab.gateway.sh(`ipvsadm -a -t 0.0.0.0:0 -r ${P0}:0 -m`)
    await connection.request('found again')
    await connection.respond('yes')
    await connection.finish()
  }),

  test('an address added to the pool is used at once, and one with weight 0 no more', UNDER_TRAFFIC, async (lab) => {
    await snat(lab, { pool: [P0], protocols: ['udp'] })
    await ask({ client: lab.a, sent: `${A}:40003 > ${S}:53`, server: lab.net, seen: `${P0}:40003 > ${S}:53` })
    await lab.gateway.sh(`ip addr add ${P1}/32 dev outside; ipvsadm -a -u 0.0.0.0:0 -r ${P1}:0 -m; ipvsadm -e -u 0.0.0.0:0 -r ${P0}:0 -m -w 0`)
    await ask({ client: lab.a, sent: `${A}:40004 > ${S}:53`, server: lab.net, seen: `${P1}:40004 > ${S}:53` })
    await ask({ client: lab.a, sent: `${A}:40003 > ${S}:53`, server: lab.net, seen: `${P0}:40003 > ${S}:53` })
  }),

  test('pool addresses come and go under traffic', UNDER_TRAFFIC, async (lab) => {
    await snat(lab, { pool: [P0, P1] })
    await nat(lab, { port: 80, servers: [`${A}:8080`] })
    await during(lab, traffic(lab), () => restore(lab, 40, ['-t', '-u'].flatMap((service) => [P0, P1].flatMap((address) => [
      `-d ${service} 0.0.0.0:0 -r ${address}:0`,
      `-a ${service} 0.0.0.0:0 -r ${address}:0 -m`,
    ]))))
    await quiet(lab)
    assertNothingPrivateLeft(lab)
    await bothStillWork(lab)
  }, { limit: LIMIT_S }),

  test('zones, their addresses and their pools come and go under traffic', 'defect 8: a zone is looked up without lock or reference, and its deletion leaks', async (lab) => {
    const zone = (name: string, net: string, id: number): Message[] => [...pool(name, [P0, P1]), rule(net, name, { id, flags: 1 })]
    const rounds = Array.from({ length: 40 }, (): Message[] => [
      { command: 'delMember', fields: { member: { pool: 'host', min: P0 } } },
      { command: 'delMember', fields: { member: { pool: 'host', min: P1 } } },
      { command: 'newMember', fields: { member: { pool: 'host', min: P0, max: P1 } } },
      { command: 'delRule', fields: { rule: { id: 2 } } },
      { command: 'delPool', fields: { pool: { name: 'host' } } },
      ...zone('host', `${A}/32`, 2),
    ])
    await lab.gateway.sh(`for address in ${P0} ${P1}; do ip addr add $address/32 dev outside; done`)
    await configure(lab, ...zone('all', '192.168.0.0/16', 1), ...zone('host', `${A}/32`, 2))
    await nat(lab, { port: 80, servers: [`${A}:8080`] })
    await during(lab, traffic(lab), () => configure(lab, ...rounds.flat()))
    await quiet(lab)
    assertNothingPrivateLeft(lab)
    await bothStillWork(lab)
  }, { limit: LIMIT_S }),

  test('services come and go under traffic', UNDER_TRAFFIC, async (lab) => {
    await snat(lab, { pool: [P0, P1] })
    await nat(lab, { port: 80, servers: [`${A}:8080`] })
    await during(lab, traffic(lab), () => restore(lab, 40, ['-t', '-u'].flatMap((service) => [
      `-D ${service} 0.0.0.0:0`,
      `-A ${service} 0.0.0.0:0 -s rr -p 10`,
      `-a ${service} 0.0.0.0:0 -r ${P0}:0 -m`,
      `-a ${service} 0.0.0.0:0 -r ${P1}:0 -m`,
    ])))
    await quiet(lab)
    await bothStillWork(lab)
  }, { limit: LIMIT_S }),

  test('everything is flushed and set up again under traffic, with connections removed at once', UNDER_TRAFFIC, async (lab) => {
    await lab.gateway.sh('echo 1 >/proc/sys/net/ipv4/vs/expire_nodest_conn')
    await snat(lab, { pool: [P0, P1] })
    await nat(lab, { port: 80, servers: [`${A}:8080`] })
    await during(lab, traffic(lab), () => lab.gateway.sh(`
      set -e
      for round in $(seq 8); do
        ipvsadm -C
        ${snatCommands({ pool: [P0, P1], device: 'none' })}
        ${natCommands({ port: 80, servers: [`${A}:8080`] })}
      done`, CHANGE_LIMIT_MS))
    await quiet(lab)
    await bothStillWork(lab)
  }, { limit: LIMIT_S }),

  test('the module is unloaded under traffic after a flush, and loaded again', UNLOAD, async (lab) => {
    for (let round = 0; round < 3; round++) {
      await lab.gateway.sh(`set -e
        modprobe ip_vs
        ${snatCommands({ pool: [P0, P1], device: 'none' })}
        ip addr show dev outside | grep -qF ${P0}/ || ip addr add ${P0}/32 dev outside
        ip addr show dev outside | grep -qF ${P1}/ || ip addr add ${P1}/32 dev outside
        ${natCommands({ port: 80, servers: [`${A}:8080`] })}`)
      await during(lab, traffic(lab), async () => {
        await new Promise((resolve) => setTimeout(resolve, 300))
        assert.ok((await counter(lab, 'conns')) > 0, 'there are connections to lose')
        await lab.gateway.sh(`set -e
          ipvsadm -C
          rmmod ip_vs_rr
          rmmod ip_vs
          ! grep -q '^ip_vs ' /proc/modules`)
      })
      await quiet(lab)
    }
    await lab.gateway.sh(`set -e
      modprobe ip_vs
      ${snatCommands({ pool: [P0, P1], device: 'none' })}
      ${natCommands({ port: 80, servers: [`${A}:8080`] })}`)
    await bothStillWork(lab)
  }, { limit: LIMIT_S }),
])
