// SPDX-License-Identifier: GPL-2.0-only
/** ICMP errors and resets that the gateway itself sends about translated packets: each side learns only of its own addresses. */

import assert from 'node:assert/strict'
import { type Lab, setMtu } from '../../vm/lab.ts'
import { echo, type IcmpError, type Packet, summary, tcp, udp } from '../../vm/packet/index.ts'
import { A, B, CLIENT, GATEWAY, POOL, ROUTER, S } from '../../vm/topology.ts'
import { between, snat } from './lib/configure.ts'
import { iptables } from './lib/firewall.ts'
import { type AnswerOptions, type Flow, KINDS, openFlow, quoted } from './lib/flow.ts'
import { suite, test } from './lib/suite.ts'
import { turn } from './lib/traffic.ts'

const [P0 = ''] = POOL
const ROUTED = '192.0.2.77'
const REPLY = 'issue 10, C: ICMP errors that the gateway sends about a reply name the pool address to the remote'
const OUTBOUND = 'issue 10, C: ICMP errors that the gateway sends about an outbound packet name the inside address to the inside'
/** An address of the outside link that nobody has. */
const NOBODY = '203.0.113.99'
const ROUTE_ERROR_COST = '/proc/sys/net/ipv4/route/error_cost'
const SMALL_MTU = 1000
const LARGE = Buffer.alloc(1300, 'large')

/** Something that keeps a reply from its inside host, {@link B}, and what the gateway says of it to the remote. */
interface Trouble {
  name: string
  error: IcmpError
  setUp?: string
  takeDown?: string
  answer?: AnswerOptions
  /** The host does not answer ARP. */
  down?: boolean
}

const TROUBLES: readonly Trouble[] = [
  { name: 'whose TTL ends here', error: 'time-exceeded', answer: { ttl: 1 } },
  { name: 'that is too large for the inside link', error: 'frag-needed', setUp: setMtu('inside', SMALL_MTU), answer: { data: LARGE } },
  {
    name: 'for which there is no route', error: 'host-unreachable',
    // The kernel has a limit of its own for errors of its routing table.
    setUp: `cat ${ROUTE_ERROR_COST} >/tmp/cost; echo 0 >${ROUTE_ERROR_COST}; ip route add unreachable ${B}`,
    takeDown: `ip route del unreachable ${B}; cat /tmp/cost >${ROUTE_ERROR_COST}`,
  },
  { name: 'that the firewall rejects', error: 'port-unreachable', setUp: `iptables -A FORWARD -d ${B} -j REJECT` },
  { name: 'for a host that is down', error: 'host-unreachable', down: true, setUp: 'ip neigh flush dev inside' },
]

async function remoteLearns(lab: Lab, trouble: Trouble): Promise<void> {
  await snat(lab, { pool: [P0] })
  const flows: Flow[] = []
  for (const kind of KINDS) flows.push(await openFlow(lab, kind))
  lab.b.down = trouble.down ?? false
  await between(lab, trouble.setUp ?? '', trouble.takeDown ?? '', async () => {
    const answers = flows.map((flow) => ({ flow, answer: flow.answer(trouble.answer) }))
    // All at once, as in insideLearns().
    for (const { answer } of answers) lab.net.send(answer)
    for (const { flow, answer } of answers) {
      const error = await lab.net.expect(`icmp * > ${S} ${trouble.error} ${quoted(flow.answerOutside)}`)
      assertQuotes(error, answer)
      if (trouble.error === 'frag-needed') assert.equal(error.icmp?.mtu, SMALL_MTU, 'MTU of the inside link')
    }
  }).finally(() => (lab.b.down = false))
  await lab.settle()
  lab.b.refuse(`* ${S}**`)
  assertNothingInsideShows(lab)
}

/**
 * Asserts that an error quotes a packet as it was sent, as much of it as there is, but for what a router
 * changes on the way: TTL and header checksum.
 */
function assertQuotes(error: Packet, sent: Buffer): void {
  const quote = error.icmp?.quoted?.datagram ?? Buffer.alloc(0)
  assert.ok(quote.length >= 28, 'the IP header and eight bytes are quoted')
  const comparable = (datagram: Buffer): string => {
    const copy = Buffer.from(datagram.subarray(0, quote.length))
    copy[8] = 0
    copy.writeUInt16BE(0, 10)
    return copy.toString('hex')
  }
  assert.equal(comparable(quote), comparable(sent), 'the quoted packet')
}

/** Asserts that nothing has left by the outside link that is from an inside address, or quotes one. */
function assertNothingInsideShows(lab: Lab): void {
  const inside = (packet: Packet | undefined): boolean =>
    packet?.ip !== undefined && [packet.ip.src, packet.ip.dst].some((address) => address.startsWith('192.168.'))
  const shown = lab.sent('outside').filter((packet) => inside(packet) || inside(packet.icmp?.quoted))
  assert.deepEqual(shown.map(summary), [], 'packets outside that show an inside address')
}

/** Packets of each kind from both inside hosts with the same port, so that those of `b` are given another. */
const outbound = (from: string, to: string, options: AnswerOptions = {}): Buffer[] => [
  tcp(`${from}:7000 > ${to}:80`, 'S', { seq: 7, ...options }),
  udp(`${from}:7000 > ${to}:80`, options.data ?? 'q', options),
  echo(`${from} > ${to}`, 'request', { echoId: 7000, ...options }),
]

const summaries = (from: string, to: string): string[] => [
  `tcp ${from}:7000 > ${to}:80`, `udp ${from}:7000 > ${to}:80`, `icmp ${from} > ${to} echo-request id=7000`,
]

/** Sends from both inside hosts what cannot be delivered, and has each told about its own packets. */
async function insideLearns(lab: Lab, to: string, error: IcmpError, options: AnswerOptions = {}): Promise<Packet[]> {
  const hosts = [[lab.a, A], [lab.b, B]] as const
  const sent = hosts.flatMap(([host, from]) => {
    const lines = summaries(from, to)
    return outbound(from, to, options).map((packet, index) => ({ host, packet, line: lines[index] ?? '', error: `icmp * > ${from} ${error}` }))
  })
  // All at once: what comes while a neighbour is given up is dropped without a word (neigh_invalidate() of net/core/neighbour.c).
  for (const { host, packet } of sent) host.send(packet)
  const errors: Packet[] = []
  for (const { host, packet, line, error } of sent) {
    const about = await host.expect(`${error} ${quoted(line)}`)
    assertQuotes(about, packet)
    errors.push(about)
  }
  await lab.settle()
  for (const host of [lab.a, lab.b]) host.refuse('icmp **')
  assertNothingInsideShows(lab)
  return errors
}

/** How many packets wait for a neighbour (arp(7)): three on 2.6.32, which drops the others without a word. */
const WAITING = '/proc/sys/net/ipv4/neigh/outside/unres_qlen'

export default suite('gateway-errors', [
  ...TROUBLES.map((trouble) => test(`the remote learns of a reply ${trouble.name}`, REPLY, async (lab) => remoteLearns(lab, trouble))),

  test('the remote learns of a reply to a routed pool address whose TTL ends here', REPLY, async (lab) => {
    await snat(lab, { pool: [ROUTED], device: 'none' })
    for (const kind of KINDS) {
      const flow = await openFlow(lab, kind, ROUTED)
      const answer = flow.answer({ ttl: 1 })
      lab.net.send(answer)
      const error = await lab.net.expect(`icmp ${GATEWAY.outside.address} > ${S} time-exceeded ${quoted(flow.answerOutside)}`)
      assertQuotes(error, answer)
    }
    assertNothingInsideShows(lab)
  }),

  test('the remote learns of a reply that connection tracking has seen', REPLY, async (lab) => {
    await iptables(lab, ['-t nat -A POSTROUTING -o outside -j MASQUERADE'])
    await snat(lab, { pool: [P0] })
    for (const kind of KINDS) {
      const flow = await openFlow(lab, kind)
      const answer = flow.answer({ ttl: 1 })
      lab.net.send(answer)
      assertQuotes(await lab.net.expect(`icmp * > ${S} time-exceeded ${quoted(flow.answerOutside)}`), answer)
    }
    assertNothingInsideShows(lab)
  }),

  test('a firewall that resets a reply does so from the pool address', REPLY, async (lab) => {
    await snat(lab, { pool: [P0] })
    await iptables(lab, [`-A FORWARD -p tcp -d ${B} -j REJECT --reject-with tcp-reset`])
    const flow = await openFlow(lab, 'tcp')
    lab.net.send(flow.answer())
    const [, back = ''] = flow.outside.split(/ (.*)/)
    const reset = await lab.net.expect(`tcp ${back} R`)
    assert.equal(reset.tcp?.seq, 8, 'the sequence number that the remote has acknowledged')
    await lab.settle()
    assertNothingInsideShows(lab)
  }),

  test('a firewall that resets an outbound connection does so from the remote', OUTBOUND, async (lab) => {
    await snat(lab, { pool: [P0] })
    await iptables(lab, ['-A FORWARD -p tcp --dport 81 -j REJECT --reject-with tcp-reset'])
    const route = `${A}:7000 > ${S}:81`
    lab.a.send(tcp(route, 'S', { seq: 7 }))
    await lab.a.expect(`tcp ${turn(route)} RA`)
  }),

  ...([['on the gateway', P0, 'outside'], ['routed to it', ROUTED, 'none'], ['on its loopback device', ROUTED, 'lo']] as const).map(([place, pool, device]) =>
    test(`the inside learns of a neighbour outside that does not answer, pool address ${place}`, OUTBOUND, async (lab) => {
      await snat(lab, { pool: [pool], device })
      await between(lab, `cat ${WAITING} >/tmp/waiting; echo 64 >${WAITING}`, `cat /tmp/waiting >${WAITING}`, async () => {
        await insideLearns(lab, NOBODY, 'host-unreachable')
      })
    }),
  ),

  test('the inside learns of the smaller MTU of a route outside', OUTBOUND, async (lab) => {
    await snat(lab, { pool: [P0] })
    await between(lab, `ip route add ${S} via ${ROUTER} mtu ${SMALL_MTU}`, `ip route del ${S}`, async () => {
      const errors = await insideLearns(lab, S, 'frag-needed', { data: LARGE })
      assert.deepEqual([...new Set(errors.map((error) => error.icmp?.mtu))], [SMALL_MTU])
    })
  }),

  test('the inside learns of a TTL that ends here, before and after there is a connection', OUTBOUND, async (lab) => {
    await snat(lab, { pool: [P0] })
    await insideLearns(lab, S, 'time-exceeded', { ttl: 1 })
    for (const kind of KINDS) await openFlow(lab, kind)
    await insideLearns(lab, S, 'time-exceeded', { ttl: 1 })
  }),

  test('an error about what is no SNAT connection stays as it is', REPLY, async (lab) => {
    await snat(lab, { pool: [P0] })
    await openFlow(lab, 'udp')
    const stray = udp(`${CLIENT}:5001 > ${P0}:7000`, 'to a port in use, from another remote')
    lab.net.send(stray)
    assertQuotes(await lab.net.expect(`icmp ${P0} > ${CLIENT} port-unreachable [udp ${CLIENT}:5001 > ${P0}:7000]`), stray)
    const late = udp(`${CLIENT}:5001 > ${A}:7000`, 'to the inside', { ttl: 1 })
    lab.net.send(late)
    assertQuotes(await lab.net.expect(`icmp * > ${CLIENT} time-exceeded [udp ${CLIENT}:5001 > ${A}:7000]`), late)
  }),

  test('errors are sent as fast as the kernel sends others, and no faster', REPLY, async (lab) => {
    await snat(lab, { pool: [P0] })
    const limit = '/proc/sys/net/ipv4/icmp_ratelimit'
    await between(lab, `echo 10000 >${limit}`, `echo 0 >${limit}`, async () => {
      const flow = await openFlow(lab, 'udp')
      for (let count = 0; count < 100; count++) lab.net.send(flow.answer({ ttl: 1 }))
      await lab.settle()
      const errors = lab.sent('outside', `icmp * > ${S} time-exceeded **`)
      assert.ok(errors.length >= 1 && errors.length < 50, `${errors.length} errors about 100 packets`)
      assertNothingInsideShows(lab)
    })
  }),
])
