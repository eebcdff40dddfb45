// SPDX-License-Identifier: GPL-2.0-only
/**
 * SNAT beside what else the kernel does with a forwarded packet: its firewall, connection tracking and NAT, source
 * validation, policy routing, and user space that decides about packets.
 */

import assert from 'node:assert/strict'
import { nftablesFlowtable, nftablesNothing } from '../../vm/bench/nftables.ts'
import { Connection } from '../../vm/host/index.ts'
import type { Lab } from '../../vm/lab.ts'
import { echo, icmpError, ipv4, summary, tcp, udp } from '../../vm/packet/index.ts'
import { A, B, C, CLIENT, GATEWAY, POOL, ROUTER, S, S2, VIP } from '../../vm/topology.ts'
import { between, counter, nat, snat, vsSysctl } from './lib/configure.ts'
import { CLOSED_GATEWAY, iptables, matched, STATEFUL } from './lib/firewall.ts'
import { anyFlags, KINDS, openFlow, quoted } from './lib/flow.ts'
import { suite, test } from './lib/suite.ts'
import { ask, assertNothingPrivateLeft, BACK_PACKETS, everyKindGoesOut, OUT_PACKETS } from './lib/traffic.ts'

const [P0 = '', P1 = ''] = POOL
const ROUTED = '192.0.2.77'
const FORWARD = 'issue 10, C: FORWARD sees inside addresses in both directions'
const INPUT = 'issue 10, C: INPUT policies do not break SNAT, and INPUT need not be opened'
const STATE = 'issue 10, C: a stateful firewall works with net.ipv4.vs.conntrack=0'
const ROUTING = 'issue 10, C: rp_filter, VRF and policy routing see the real flow'
const ONCE = 'issue 10, C: what connection tracking, NFQUEUE and a MASQUERADE rule do is defined; nothing is translated twice'
/** A protocol that SNAT does not know. */
const OTHER_PROTOCOL = 253
const MTU = 1400

/** A firewall that lets the inside out and the outside answer, and what it has to do with flows of each kind. */
async function statefulFirewallWorks(lab: Lab): Promise<void> {
  await snat(lab, { pool: [P0] })
  await iptables(lab, STATEFUL)
  await everyKindGoesOut(lab, P0)
  for (const kind of KINDS) {
    const flow = await openFlow(lab, kind)
    lab.net.send(icmpError(`${ROUTER} > ${P0}`, 'frag-needed', flow.sent.datagram, { mtu: MTU }))
    await lab.b.expect(`icmp ${ROUTER} > ${B} frag-needed ${quoted(flow.inside)}`)
    lab.net.send(flow.answer())
    const answer = await lab.b.expect(anyFlags(flow.answerInside))
    lab.b.send(icmpError(`${B} > ${S}`, 'port-unreachable', answer.datagram))
    await lab.net.expect(`icmp ${P0} > ${S} port-unreachable ${quoted(flow.answerOutside)}`)
  }
  await outsideOpensNothing(lab)
  await lab.settle()
  assertNothingPrivateLeft(lab)
}

async function outsideOpensNothing(lab: Lab): Promise<void> {
  lab.net.send([
    tcp(`${CLIENT}:5001 > ${A}:22`, 'S'), udp(`${CLIENT}:5001 > ${A}:53`, 'routed'), echo(`${CLIENT} > ${A}`, 'request', { echoId: 1 }),
    tcp(`${CLIENT}:5001 > ${P0}:40001`, 'S'), udp(`${CLIENT}:5001 > ${P0}:40001`, 'to a port in use'),
  ])
  await lab.settle()
  for (const kind of ['tcp', 'udp', 'icmp']) lab.a.refuse(`${kind} ${CLIENT}**`)
}

/** Has replies to host `a` take a way of their own, by host `c`. */
async function repliesGoByC(lab: Lab, rule: string, chosenBy: readonly string[]): Promise<void> {
  await snat(lab, { pool: [P0] })
  await iptables(lab, chosenBy)
  const setUp = `ip route add default via ${C} table 100\nip rule add ${rule} lookup 100`
  const takeDown = `ip rule del ${rule} lookup 100\nip route flush table 100`
  await between(lab, setUp, takeDown, async () => {
    for (const kind of KINDS) {
      const flow = await openFlow(lab, kind)
      lab.net.send(flow.answer())
      await lab.c.expect(anyFlags(flow.answerInside))
    }
    lab.b.refuse(`* ${S}**`)
  })
}

const PLACES = [['on the outside device', P0, 'outside'], ['on the loopback device', P0, 'lo'], ['routed here', ROUTED, 'none']] as const

/** The chains of a forwarded packet, each with a queue of its own. */
const QUEUES = ['-t raw -A PREROUTING', '-t mangle -A PREROUTING', '-t filter -A FORWARD', '-t mangle -A POSTROUTING'] as const
const FORWARD_QUEUE = QUEUES.indexOf('-t filter -A FORWARD')

/** @returns packets that a queue has handed out, and packets that it has lost */
async function queueCounts(lab: Lab, queue: number): Promise<{ seen: number; lost: number }> {
  const text = await lab.gateway.sh('cat /proc/net/netfilter/nfnetlink_queue')
  const row = text.split('\n').map((line) => line.trim().split(/\s+/).map(Number)).find(([number]) => number === queue) ?? []
  return { seen: row[7] ?? 0, lost: (row[5] ?? 0) + (row[6] ?? 0) }
}

export default suite('firewall', [
  test('FORWARD sees inside addresses in both directions', FORWARD, async (lab) => {
    await snat(lab, { pool: [P0] })
    await iptables(lab, [
      `-A FORWARD -i inside -o outside -s ${A} -d ${S}`, `-A FORWARD -i outside -o inside -s ${S} -d ${A}`,
      `-A FORWARD -s ${P0}`, `-A FORWARD -d ${P0}`,
    ])
    await everyKindGoesOut(lab, P0)
    assert.deepEqual(await matched(lab, 'FORWARD'), [OUT_PACKETS, BACK_PACKETS, 0, 0])
  }, { needs: ['whole-way'] }),

  test('PREROUTING sees replies with the pool address in raw, and with the inside one from mangle on', FORWARD, async (lab) => {
    await snat(lab, { pool: [P0] })
    const rules = [`-d ${P0}`, `-d ${A}`]
    await iptables(lab, ['raw', 'mangle'].flatMap((table) => rules.map((rule) => `-t ${table} -A PREROUTING -i outside ${rule}`)))
    await iptables(lab, [`-t mangle -A POSTROUTING -o outside -s ${P0}`, `-t mangle -A POSTROUTING -o inside -d ${A} -s ${S}`])
    await everyKindGoesOut(lab, P0)
    assert.deepEqual(await matched(lab, '-t raw PREROUTING'), [BACK_PACKETS, 0])
    assert.deepEqual(await matched(lab, '-t mangle PREROUTING'), [0, BACK_PACKETS])
    assert.deepEqual(await matched(lab, '-t mangle POSTROUTING'), [OUT_PACKETS, BACK_PACKETS])
  }, { needs: ['whole-way'] }),

  test('a closed INPUT and OUTPUT are not in the way, and see nothing of it', INPUT, async (lab) => {
    await snat(lab, { pool: [P0] })
    await iptables(lab, [...CLOSED_GATEWAY, '-P OUTPUT DROP', '-A OUTPUT -p icmp --icmp-type echo-reply -j ACCEPT', `-A INPUT -d ${P0}`, `-A OUTPUT -d ${A}`])
    await everyKindGoesOut(lab, P0)
    for (const kind of KINDS) {
      const flow = await openFlow(lab, kind)
      lab.net.send(icmpError(`${ROUTER} > ${P0}`, 'port-unreachable', flow.sent.datagram))
      await lab.b.expect(`icmp ${ROUTER} > ${B} port-unreachable ${quoted(flow.inside)}`)
    }
    const [, toPool] = await matched(lab, 'INPUT')
    assert.equal(toPool, 0)
  }),

  test('a listener of the gateway on a pool address stays behind its INPUT rules', INPUT, async (lab) => {
    await snat(lab, { pool: [P0] })
    await iptables(lab, CLOSED_GATEWAY)
    await between(lab, `httpd -p ${P0}:8081 -h /tmp`, 'killall httpd', async () => {
      lab.net.send(tcp(`${CLIENT}:5001 > ${P0}:8081`, 'S'))
      await everyKindGoesOut(lab, P0)
      await lab.settle()
      lab.net.refuse(`tcp ${P0}:8081 > **`)
      await iptables(lab, ['-A INPUT -p tcp --dport 8081 -j ACCEPT'])
      lab.net.send(tcp(`${CLIENT}:5002 > ${P0}:8081`, 'S'))
      await lab.net.expect(`tcp ${P0}:8081 > ${CLIENT}:5002 SA`)
    })
  }),

  test('a stateful firewall works', STATE, statefulFirewallWorks),

  test('a stateful firewall works when IPVS is told to use connection tracking', STATE, async (lab) => {
    await vsSysctl(lab, 'conntrack', '1')
    await statefulFirewallWorks(lab)
  }, { needs: ['ipvs-conntrack'] }),

  test('connection tracking knows the inside addresses, and confirms its entries', STATE, async (lab) => {
    await snat(lab, { pool: [P0] })
    const entry = `--ctorigsrc ${A} --ctorigdst ${S} --ctreplsrc ${S} --ctrepldst ${A}`
    await iptables(lab, [`-A FORWARD -d ${A} -m conntrack --ctstate ESTABLISHED --ctstatus CONFIRMED ${entry}`])
    await everyKindGoesOut(lab, P0)
    assert.deepEqual(await matched(lab, 'FORWARD'), [BACK_PACKETS])
  }),

  test('a firewall in FORWARD can stop either direction', FORWARD, async (lab) => {
    await snat(lab, { pool: [P0] })
    await iptables(lab, [`-A FORWARD -d ${B} -j DROP`, `-A FORWARD -s ${A} -p udp --dport 54 -j DROP`])
    const flow = await openFlow(lab, 'udp')
    lab.net.send(flow.answer())
    lab.a.send(udp(`${A}:40001 > ${S}:54`, 'forbidden'))
    await lab.settle()
    lab.b.refuse(flow.answerInside)
    lab.net.refuse(`udp * > ${S}:54`)
    await everyKindGoesOut(lab, P0)
  }),

  ...PLACES.map(([place, pool, device]) =>
    test(`strict rp_filter on every device lets SNAT work, pool address ${place}`, ROUTING, async (lab) => {
      const strict = 'for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 >$file; done'
      await between(lab, strict, `ip addr del ${pool}/32 dev lo 2>/dev/null; true`, async () => {
        await snat(lab, { pool: [pool], device })
        await everyKindGoesOut(lab, pool)
        // It is on: what comes by the wrong device goes nowhere.
        lab.c.send(udp(`${A}:40002 > ${S}:53`, 'from elsewhere'))
        await lab.settle()
        lab.net.refuse(`udp *:* > ${S}:53`)
      })
    }),
  ),

  test('replies take the way that a rule for the inside address gives them', ROUTING, async (lab) => repliesGoByC(lab, `to ${B}`, [])),

  test('replies take the way of a mark that mangle gives by the inside address', ROUTING, async (lab) =>
    repliesGoByC(lab, 'fwmark 5', [`-t mangle -A PREROUTING -d ${B} -j MARK --set-mark 5`])),

  test('replies take the way of the mark that connection tracking has kept', ROUTING, async (lab) =>
    repliesGoByC(lab, 'fwmark 5', [
      `-t mangle -A PREROUTING -i inside -s ${B} -j CONNMARK --set-mark 5`,
      '-t mangle -A PREROUTING -i outside -j CONNMARK --restore-mark',
    ])),

  test('a flowtable of nf_tables leaves these flows alone', ONCE, async (lab) => {
    await lab.gateway.put('/tmp/flowtable', nftablesFlowtable('inside2', P1, ['inside', 'outside']))
    await lab.gateway.put('/tmp/nothing', nftablesNothing())
    await between(lab, 'set -e; for module in nf_tables nft_chain_nat nft_flow_offload nf_flow_table_inet; do modprobe $module; done; netlink-batch </tmp/flowtable', 'netlink-batch </tmp/nothing', async () => {
      await snat(lab, { pool: [P0] })
      // Connection tracking keeps them for a while, so no other test may have the same ports.
      for (let round = 0; round < 3; round++) {
        await ask({ client: lab.a, sent: `${A}:40102 > ${S}:53`, server: lab.net, seen: `${P0}:40102 > ${S}:53` })
      }
      const connection = await Connection.open({ client: lab.a, sent: `${A}:40101 > ${S}:80`, server: lab.net, seen: `${P0}:40101 > ${S}:80` })
      await connection.request('GET /')
      await connection.respond('hello')
      await connection.finish()
      assertNothingPrivateLeft(lab)
    })
  }, { needs: ['flowtable'] }),

  test('inside hosts of a virtual routing domain go out, and get their replies', ROUTING, async (lab) => {
    const carrier = 'until [ "$(cat /sys/class/net/inside2/carrier)" = 1 ]; do usleep 50000; done'
    const inside2 = GATEWAY.inside2
    await between(lab, `
      modprobe vrf
      ip link add blue type vrf table 10
      ip link set blue up
      ip link set inside2 master blue
      ip route add default via ${ROUTER} dev outside table 10
      ip route add 192.168.2.0/24 dev inside2
      ${carrier}`, `
      ip link set inside2 nomaster
      ip link del blue
      ip route flush table 10
      ip -6 addr add ${inside2.address6}/64 dev inside2 2>/dev/null
      ${carrier}`, async () => {
      await snat(lab, { pool: [P0] })
      const connection = await Connection.open({ client: lab.c, sent: `${C}:40001 > ${S}:80`, server: lab.net, seen: `${P0}:40001 > ${S}:80` })
      await connection.request('GET /')
      await connection.respond('hello')
      await ask({ client: lab.c, sent: `${C}:40002 > ${S}:53`, server: lab.net, seen: `${P0}:40002 > ${S}:53` })
      await everyKindGoesOut(lab, P0, 40003)
      await connection.finish()
    })
  }, { needs: ['vrf'] }),

  ...([['MASQUERADE', GATEWAY.outside.address], [`SNAT --to-source ${P1}`, P1]] as const).map(([target, other]) =>
    test(`an iptables rule ${target.split(' ')[0]} on the same device translates only the rest`, ONCE, async (lab) => {
      await snat(lab, { pool: [P0] })
      await iptables(lab, [`-t nat -A POSTROUTING -o outside -j ${target}`])
      await everyKindGoesOut(lab, P0)
      for (const kind of KINDS) {
        const flow = await openFlow(lab, kind)
        lab.net.send(flow.answer())
        await lab.b.expect(anyFlags(flow.answerInside))
      }
      lab.a.send(ipv4(`${A} > ${S}`, OTHER_PROTOCOL, Buffer.from('not ours')))
      await lab.net.expect(`ip ${OTHER_PROTOCOL} ${other} > ${S}`)
      await lab.settle()
      const byRule = lab.sent('outside').filter(({ ip }) => ip?.src === other && ip.dst === S)
      assert.deepEqual(byRule.map(summary), [`ip ${OTHER_PROTOCOL} ${other} > ${S}`])
    }),
  ),

  test('a flow that iptables has translated before SNAT was there goes on as it was', ONCE, async (lab) => {
    await iptables(lab, ['-t nat -A POSTROUTING -o outside -j MASQUERADE'])
    const own = GATEWAY.outside.address
    const connection = await Connection.open({ client: lab.a, sent: `${A}:40001 > ${S}:80`, server: lab.net, seen: `${own}:40001 > ${S}:80` })
    const question = { client: lab.a, sent: `${A}:40002 > ${S}:53`, server: lab.net, seen: `${own}:40002 > ${S}:53` }
    await ask(question)
    await snat(lab, { pool: [P0] })
    await connection.request('still masqueraded')
    await connection.respond('yes')
    await ask(question)
    assert.equal(await counter(lab, 'created'), 0)
    await everyKindGoesOut(lab, P0, 40003)
    await connection.finish()
  }),

  test('iptables may give an outbound flow another destination, and SNAT its source', ONCE, async (lab) => {
    await snat(lab, { pool: [P0] })
    await iptables(lab, [
      ...['tcp', 'udp'].map((protocol) => `-t nat -A PREROUTING -i inside -d ${S2} -p ${protocol} --dport 80 -j DNAT --to-destination ${S}:8080`),
      `-t nat -A PREROUTING -i inside -d ${S2} -p icmp -j DNAT --to-destination ${S}`,
    ])
    const connection = await Connection.open({ client: lab.a, sent: `${A}:40001 > ${S2}:80`, server: lab.net, seen: `${P0}:40001 > ${S}:8080` })
    await connection.request('GET /')
    await connection.respond('hello')
    await connection.finish()
    lab.a.send([udp(`${A}:40002 > ${S2}:80`, 'q'), echo(`${A} > ${S2}`, 'request', { echoId: 40009 })])
    await lab.net.expect(`udp ${P0}:40002 > ${S}:8080`)
    await lab.net.expect(`icmp ${P0} > ${S} echo-request id=40009`)
    lab.net.send([udp(`${S}:8080 > ${P0}:40002`, 'a'), echo(`${S} > ${P0}`, 'reply', { echoId: 40009 })])
    await lab.a.expect(`udp ${S2}:80 > ${A}:40002`)
    await lab.a.expect(`icmp ${S2} > ${A} echo-reply id=40009`)
  }),

  test('packets that user space accepts from a queue go on as if nothing had been', ONCE, async (lab) => {
    await snat(lab, { pool: [P0] })
    const last = QUEUES.length - 1
    await between(lab, `modprobe nfnetlink_queue; queue-accept 0 ${last}`, 'killall queue-accept', async () => {
      await iptables(lab, QUEUES.map((chain, queue) => `${chain} -j NFQUEUE --queue-num ${queue}`))
      await everyKindGoesOut(lab, P0)
      for (const queue of QUEUES.keys()) {
        const { seen, lost } = await queueCounts(lab, queue)
        assert.ok(seen >= OUT_PACKETS + BACK_PACKETS, `queue ${queue} has seen ${seen} packets`)
        assert.equal(lost, 0)
      }
      assert.equal((await queueCounts(lab, FORWARD_QUEUE)).seen, OUT_PACKETS + BACK_PACKETS)
    })
  }),

  test('LVS NAT works beside SNAT, a firewall, connection tracking and its NAT', 'issue 10, C: LVS NAT in and out beside all this', async (lab) => {
    await snat(lab, { pool: [P0] })
    await nat(lab, { port: 80, servers: [`${A}:8080`] })
    await iptables(lab, [
      ...CLOSED_GATEWAY, `-A INPUT -d ${VIP} -p tcp --dport 80 -j ACCEPT`,
      ...STATEFUL, `-A FORWARD -s ${A} -p tcp --sport 8080 -j ACCEPT`,
      '-t nat -A POSTROUTING -o outside -j MASQUERADE',
    ])
    const inbound = await Connection.open({ client: lab.net, sent: `${CLIENT}:5001 > ${VIP}:80`, server: lab.a, seen: `${CLIENT}:5001 > ${A}:8080` })
    await everyKindGoesOut(lab, P0)
    await inbound.request('GET /')
    await inbound.respond('hello')
    await everyKindGoesOut(lab, P0, 40002)
    await inbound.finish()
  }),
])
