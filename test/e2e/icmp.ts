// SPDX-License-Identifier: GPL-2.0-only
/** ICMP errors about translated packets, each way, and what the gateway itself says when a TTL ends. */

import assert from 'node:assert/strict'
import { type Lab, setMtu } from '../../vm/lab.ts'
import { echo, icmpError, type IcmpError, type Packet, tcp, udp } from '../../vm/packet/index.ts'
import { A, B, CLIENT, GATEWAY, POOL, ROUTER, S, VIP } from '../../vm/topology.ts'
import { counter, nat, snat } from './lib/configure.ts'
import { anyFlags, type Kind, KINDS, openFlow, quoted } from './lib/flow.ts'
import { suite, test } from './lib/suite.ts'
import { assertNothingPrivateLeft, turn } from './lib/traffic.ts'

const ERRORS: readonly IcmpError[] = ['frag-needed', 'time-exceeded', 'port-unreachable']
const EACH_WAY = 'issue 2: ICMP frag-needed, time-exceeded, port-unreachable each way, quoting TCP, UDP and echo; defect 3'
const TTL = 'issue 2: TTL 1 each way'
const MTU = 1400
const [P0 = ''] = POOL

function checkMtu(packet: Packet, error: IcmpError): void {
  if (error === 'frag-needed') assert.equal(packet.icmp?.mtu, MTU, 'the next hop\'s MTU')
}

/** An error from a router on the way, about what the inside host has sent. */
async function errorComesIn(lab: Lab, kind: Kind, error: IcmpError): Promise<void> {
  const flow = await openFlow(lab, kind)
  for (const quote of [8, 1000]) {
    lab.net.send(icmpError(`${ROUTER} > ${P0}`, error, flow.sent.datagram, { mtu: MTU, quote }))
    checkMtu(await lab.b.expect(`icmp ${ROUTER} > ${B} ${error} ${quoted(flow.inside)}`), error)
  }
  lab.a.refuse('icmp **')
  assert.equal(await counter(lab, 'icmp_errors_in'), 2)
}

/** An error from the inside host, about what the outside has answered. */
async function errorGoesOut(lab: Lab, kind: Kind, error: IcmpError): Promise<void> {
  const flow = await openFlow(lab, kind)
  lab.net.send(flow.answer())
  const answer = await lab.b.expect(anyFlags(flow.answerInside))
  for (const quote of [8, 1000]) {
    lab.b.send(icmpError(`${B} > ${S}`, error, answer.datagram, { mtu: MTU, quote }))
    checkMtu(await lab.net.expect(`icmp ${P0} > ${S} ${error} ${quoted(flow.answerOutside)}`), error)
  }
  await lab.settle()
  assertNothingPrivateLeft(lab)
  assert.equal(await counter(lab, 'icmp_errors_out'), 2)
}

export default suite('icmp', [
  ...KINDS.flatMap((kind) => ERRORS.map((error) =>
    test(`${error} about ${kind} comes in`, EACH_WAY, async (lab) => {
      await snat(lab, { pool: [P0] })
      await errorComesIn(lab, kind, error)
    }),
  )),

  ...KINDS.flatMap((kind) => ERRORS.map((error) =>
    test(`${error} about ${kind} goes out`, EACH_WAY, async (lab) => {
      await snat(lab, { pool: [P0] })
      await errorGoesOut(lab, kind, error)
    }),
  )),

  test('a packet that ends at the gateway is answered with its private address, and does not leave', TTL, async (lab) => {
    await snat(lab, { pool: [P0] })
    const send = (ttl: number) => lab.a.send([
      tcp(`${A}:7000 > ${S}:80`, 'S', { ttl }),
      udp(`${A}:7000 > ${S}:53`, 'q', { ttl }),
      echo(`${A} > ${S}`, 'request', { echoId: 7070, ttl }),
    ])
    const expectErrors = async () => {
      await lab.a.expect(`icmp ${GATEWAY.inside.address} > ${A} time-exceeded [tcp ${A}:7000 > ${S}:80 *]`)
      await lab.a.expect(`icmp ${GATEWAY.inside.address} > ${A} time-exceeded [udp ${A}:7000 > ${S}:53]`)
      await lab.a.expect(`icmp ${GATEWAY.inside.address} > ${A} time-exceeded [icmp ${A} > ${S} echo-request id=7070]`)
    }
    send(1)
    await expectErrors()
    lab.net.refuse(`* * > ${S}**`)
    send(64)
    await lab.net.expect(`tcp ${P0}:7000 > ${S}:80 S`)
    await lab.net.expect(`udp ${P0}:7000 > ${S}:53`)
    await lab.net.expect(`icmp ${P0} > ${S} echo-request id=7070`)
    // Now that there are connections, once more.
    send(1)
    await expectErrors()
    await lab.settle()
    assertNothingPrivateLeft(lab)
  }),

  test('a reply that ends at the gateway is answered to the remote with what the remote sent', TTL, async (lab) => {
    await snat(lab, { pool: [P0] })
    lab.a.send([tcp(`${A}:7001 > ${S}:80`, 'S'), udp(`${A}:7001 > ${S}:53`, 'q'), echo(`${A} > ${S}`, 'request', { echoId: 7071 })])
    await lab.net.expect(`tcp ${P0}:7001 > ${S}:80 S`)
    await lab.net.expect(`udp ${P0}:7001 > ${S}:53`)
    await lab.net.expect(`icmp ${P0} > ${S} echo-request id=7071`)
    lab.net.send([
      tcp(`${S}:80 > ${P0}:7001`, 'SA', { ttl: 1 }),
      udp(`${S}:53 > ${P0}:7001`, 'a', { ttl: 1 }),
      echo(`${S} > ${P0}`, 'reply', { echoId: 7071, ttl: 1 }),
    ])
    await lab.net.expect(`icmp * > ${S} time-exceeded [tcp ${S}:80 > ${P0}:7001 *]`)
    await lab.net.expect(`icmp * > ${S} time-exceeded [udp ${S}:53 > ${P0}:7001]`)
    await lab.net.expect(`icmp * > ${S} time-exceeded [icmp ${S} > ${P0} echo-reply id=7071]`)
    await lab.settle()
    lab.a.refuse(`* ${S}**`)
  }),

  test('a smaller MTU inside is told to the remote about its own packet', 'defect 3: path MTU discovery works', async (lab) => {
    await snat(lab, { pool: [P0] })
    await lab.gateway.sh(setMtu('inside', 1000))
    lab.a.send(udp(`${A}:7002 > ${S}:53`, 'q'))
    await lab.net.expect(`udp ${P0}:7002 > ${S}:53`)
    lab.net.send(udp(`${S}:53 > ${P0}:7002`, Buffer.alloc(1300), { df: true }))
    const error = await lab.net.expect(`icmp * > ${S} frag-needed [udp ${S}:53 > ${P0}:7002]`)
    assert.equal(error.icmp?.mtu, 1000)
    lab.net.send(udp(`${S}:53 > ${P0}:7002`, Buffer.alloc(900), { df: true }))
    await lab.a.expect(`udp ${S}:53 > ${A}:7002`)
  }),

  test('errors about a balanced connection are translated as before', 'issue 2: LVS NAT untouched beside SNAT', async (lab) => {
    await snat(lab, { pool: [P0] })
    await nat(lab, { port: 80, servers: [`${A}:8080`] })
    lab.net.send(tcp(`${CLIENT}:5001 > ${VIP}:80`, 'S', { seq: 1 }))
    const syn = await lab.a.expect(`tcp ${CLIENT}:5001 > ${A}:8080 S`)
    lab.a.send(icmpError(`${A} > ${CLIENT}`, 'port-unreachable', syn.datagram))
    await lab.net.expect(`icmp ${VIP} > ${CLIENT} port-unreachable [tcp ${CLIENT}:5001 > ${VIP}:80 *]`)
    lab.a.send(tcp(turn(`${CLIENT}:5001 > ${A}:8080`), 'SA', { seq: 1, ack: 2 }))
    const answer = await lab.net.expect(`tcp ${VIP}:80 > ${CLIENT}:5001 SA`)
    lab.net.send(icmpError(`${ROUTER} > ${VIP}`, 'frag-needed', answer.datagram, { mtu: MTU }))
    await lab.a.expect(`icmp ${ROUTER} > ${A} frag-needed [tcp ${A}:8080 > ${CLIENT}:5001 *]`)
  }),

  test('errors that belong to no connection are not translated, and flood no log', 'defect 3: outgoing ICMP errors do not log without limit', async (lab) => {
    await snat(lab, { pool: [P0] })
    const from = lab.gateway.klog.lines.length
    for (let port = 1; port <= 200; port++) {
      lab.net.send(icmpError(`${ROUTER} > ${P0}`, 'port-unreachable', udp(`${P0}:${port} > ${S}:53`)))
      lab.a.send(icmpError(`${A} > ${S}`, 'port-unreachable', udp(`${S}:53 > ${A}:${port}`)))
    }
    await lab.settle()
    lab.a.refuse('icmp * > * port-unreachable **')
    lab.net.refuse('icmp * > * port-unreachable **')
    const lines = lab.gateway.klog.lines.slice(from)
    assert.ok(lines.length < 30, `${lines.length} lines in the kernel log`)
  }),
])
