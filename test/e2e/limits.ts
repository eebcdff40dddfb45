// SPDX-License-Identifier: GPL-2.0-only
/** What one host can take of the connection table, and who has to make room when it is full. */

import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { Connection, type Host } from '../../vm/host/index.ts'
import type { Lab } from '../../vm/lab.ts'
import { echo, tcp, udp } from '../../vm/packet/index.ts'
import { A, B, CLIENT, POOL, S, S2, VIP } from '../../vm/topology.ts'
import { connectionOf, connections, counter, counters, nat, snat, vsSysctl } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'
import { ask, assertNothingPrivateLeft, ping, until } from './lib/traffic.ts'

const LIMIT = 'issue 10, B 2: a limit for the namespace and for each inside host; when full, unanswered flows go first, then new ones are refused, counted, logged'
const LIFETIME = 'issue 10, B 2: unanswered UDP lives 30 s, answered 300 s'
const KEPT = 'issue 15, as the engine was attacked; RFC 4787, REQ-6a: who outside sends now and then keeps a flow, and so denies the host that has opened it new ones'
const DEFENCE = 'issue 10, B 2: IPVS\'s own memory defence sheds unanswered SNAT flows first, established last'
const [P0 = ''] = POOL
const SMALL = 16
/** What may have passed since the packet that the test is about. */
const SINCE_S = 20
/** Packets that are under way at a time. */
const BURST = 50
/** Far above what net_ratelimit lets through in the moments that a test lasts (10 at once, then one in 5 s). */
const LOG_LINES = 30

/** Limits of the namespace and of each inside host; 0 is none for the latter. */
async function limits(lab: Lab, all: number, perHost: number): Promise<void> {
  await vsSysctl(lab, 'snat_max_conns', String(all))
  await vsSysctl(lab, 'snat_max_conns_per_host', String(perHost))
}

/** Questions of a host from ports from `first` on, that nobody answers. */
async function flood(lab: Lab, host: Host, address: string, first: number, count: number): Promise<void> {
  for (let sent = 0; sent < count; sent += BURST) {
    const ports = Array.from({ length: Math.min(BURST, count - sent) }, (_, index) => first + sent + index)
    host.send(ports.map((port) => udp(`${address}:${port} > ${S2}:53`, 'flood')))
    await lab.breathe()
  }
  await lab.settle()
}

/** @returns how many questions of that flood have left */
const passed = (lab: Lab): number => lab.sent('outside', `udp ${P0}:* > ${S2}:53`).length

/** Asks and is answered, from ports from `first` on. */
async function converse(lab: Lab, host: Host, address: string, first: number, count: number): Promise<void> {
  for (let port = first; port < first + count; port++) {
    await ask({ client: host, sent: `${address}:${port} > ${S}:53`, server: lab.net, seen: `${P0}:${port} > ${S}:53` })
  }
}

/** Asserts that flows of {@link converse} have kept their ports, and that answers still arrive. */
const goOn = converse

/**
 * Asserts that refusals are logged, with a limit. A test before may have used up what the log takes in 5 s.
 *
 * @param from line of the log where the test began
 * @param refuse makes one more
 */
async function assertLogged(lab: Lab, from: number, words: string, refuse: () => void): Promise<void> {
  const lines = () => lab.gateway.klog.lines.slice(from).filter((line) => line.includes(words)).length
  await until(`the log says "${words}"`, async () => {
    refuse()
    await lab.breathe()
    return lines() > 0
  })
  assert.ok(lines() < LOG_LINES, `the log is rate-limited, and had ${lines()} lines for 200 packets`)
}

async function assertExpires(lab: Lab, destination: string, seconds: number): Promise<void> {
  const { expires } = await connectionOf(lab, destination)
  assert.ok(expires <= seconds && expires > seconds - SINCE_S, `it will be forgotten in ${expires} s, not in ${seconds} s`)
}

export default suite('limits', [
  test('the settings have their documented defaults', LIMIT, async (lab) => {
    const text = await lab.gateway.sh('cd /proc/sys/net/ipv4/vs && grep -H . snat_*')
    const values = Object.fromEntries(text.trim().split('\n').map((line) => line.split(':') as [string, string]))
    // snat_reroute is of stock IPVS, about balanced connections; not every kernel has snat_fastpath, and FASTPATH=1 sets it.
    const { snat_max_conns: max, snat_max_conns_per_host: perHost, snat_reroute: _, snat_fastpath: _short, ...rest } = values
    assert.deepEqual(rest, {
      snat_block_rest: '120',
      snat_icmp_timeout: '60',
      snat_one_armed: '0',
      snat_port_range: '1024\t65535',
      snat_tcp_timeout: '7440',
      snat_tcp_transitory_timeout: '240',
      snat_udp_timeout: '300',
      snat_udp_unanswered_timeout: '30',
    })
    assert.equal(Number(perHost), Math.floor(Number(max) / 4))
    const kilobytes = Number(await lab.gateway.sh('awk \'/^MemTotal:/ { print $2 }\' /proc/meminfo'))
    const byMemory = Number(max) * 8
    assert.ok(byMemory > kilobytes / 2 && byMemory < kilobytes * 2, `${max} connections for ${kilobytes} KiB`)
  }),

  test('UDP that nobody has answered lives for 30 s, and then for 300 s', LIFETIME, async (lab) => {
    await snat(lab, { pool: [P0] })
    lab.a.send([udp(`${A}:40001 > ${S}:53`, 'question'), udp(`${A}:40001 > ${S}:53`, 'again')])
    await lab.net.expect(`udp ${P0}:40001 > ${S}:53`)
    await assertExpires(lab, `${A}:40001`, 30)
    // Nobody but the remote answers.
    lab.net.send([udp(`${CLIENT}:53 > ${P0}:40001`, 'forged'), udp(`${S}:54 > ${P0}:40001`, 'forged')])
    await lab.settle()
    await assertExpires(lab, `${A}:40001`, 30)
    lab.net.send(udp(`${S}:53 > ${P0}:40001`, 'answer'))
    await lab.a.expect(`udp ${S}:53 > ${A}:40001`)
    await assertExpires(lab, `${A}:40001`, 300)
    lab.a.send(udp(`${A}:40001 > ${S}:53`, 'one more'))
    await lab.settle()
    await assertExpires(lab, `${A}:40001`, 300)
  }),

  test('the number of unanswered flows is known', LIFETIME, async (lab) => {
    await snat(lab, { pool: [P0] })
    lab.a.send([udp(`${A}:40001 > ${S}:53`, 'question'), tcp(`${A}:40002 > ${S}:80`, 'S', { seq: 77 }), echo(`${A} > ${S}`, 'request', { echoId: 40003 })])
    await lab.settle()
    assert.equal(await counter(lab, 'unanswered'), 3)
    lab.net.send(udp(`${S}:53 > ${P0}:40001`, 'answer'))
    lab.net.send(udp(`${S}:53 > ${P0}:40001`, 'and more'))
    await lab.settle()
    assert.equal(await counter(lab, 'unanswered'), 2)
    lab.net.send([tcp(`${S}:80 > ${P0}:40002`, 'SA', { seq: 1, ack: 78 }), echo(`${S} > ${P0}`, 'reply', { echoId: 40003 })])
    await lab.settle()
    assert.equal(await counter(lab, 'unanswered'), 0)
    assert.equal(await counter(lab, 'conns'), 3)
  }),

  test('connections that a host has ended make room for its new ones', LIMIT, async (lab) => {
    await limits(lab, SMALL, 4)
    await snat(lab, { pool: [P0] })
    for (let port = 40001; port < 40011; port++) {
      const connection = await Connection.open({ client: lab.a, sent: `${A}:${port} > ${S}:80`, server: lab.net, seen: `${P0}:${port} > ${S}:80` })
      await connection.finish()
    }
    assert.equal(await counter(lab, 'limit_host'), 0)
    assert.equal(await counter(lab, 'early_drop'), 6)
    assert.equal(await counter(lab, 'conns'), 4)
  }),

  test('in a full table the host\'s oldest unanswered flow makes room', LIMIT, async (lab) => {
    await limits(lab, SMALL, 0)
    await snat(lab, { pool: [P0] })
    await flood(lab, lab.a, A, 41000, SMALL)
    assert.equal(await counter(lab, 'early_drop'), 0)
    await flood(lab, lab.a, A, 42000, 3)
    assert.equal(passed(lab), SMALL + 3, 'everything has left')
    assert.equal(await counter(lab, 'early_drop'), 3)
    assert.equal(await counter(lab, 'conns'), SMALL)
    const answer = (port: number) => udp(`${S2}:53 > ${P0}:${port}`, 'answer')
    lab.net.send([41000, 41001, 41002, 41003, 41015, 42000, 42002].map(answer))
    await lab.settle()
    const answered = lab.a.inbox.map(({ udp: header }) => header?.dport)
    assert.deepEqual(answered, [41003, 41015, 42000, 42002], 'flows that are still there')
  }),

  test('servers that never close do not hold a full table', LIMIT, async (lab) => {
    await limits(lab, 4, 0)
    await snat(lab, { pool: [P0] })
    for (let port = 40001; port <= 40004; port++) {
      const connection = await Connection.open({ client: lab.a, sent: `${A}:${port} > ${S}:80`, server: lab.net, seen: `${P0}:${port} > ${S}:80` })
      await connection.finishClient()
    }
    await ask({ client: lab.b, sent: `${B}:40009 > ${S2}:53`, server: lab.net, seen: `${P0}:40009 > ${S2}:53` })
    assert.equal(await counter(lab, 'limit_conns'), 0)
    assert.equal(await counter(lab, 'early_drop'), 1)
  }),

  test('a flood does not push out what is answered or established', LIMIT, async (lab) => {
    await limits(lab, SMALL, 0)
    await snat(lab, { pool: [P0] })
    await converse(lab, lab.a, A, 40000, 3)
    await converse(lab, lab.b, B, 40010, 3)
    const connection = await Connection.open({ client: lab.a, sent: `${A}:40020 > ${S}:80`, server: lab.net, seen: `${P0}:40020 > ${S}:80` })
    const half = await Connection.open({ client: lab.b, sent: `${B}:40021 > ${S}:80`, server: lab.net, seen: `${P0}:40021 > ${S}:80` })
    await half.fromClient('FA', '')
    const id = await ping(lab.b, `${B} > ${S}`, 40030, lab.net, P0)
    await flood(lab, lab.a, A, 41000, 300)
    assert.equal(passed(lab), 300)
    assert.ok((await counter(lab, 'conns')) <= SMALL)
    assert.equal(await counter(lab, 'limit_conns'), 0)
    await goOn(lab, lab.a, A, 40000, 3)
    await goOn(lab, lab.b, B, 40010, 3)
    await connection.respond('still there')
    await half.respond('not done yet')
    assert.equal(await ping(lab.b, `${B} > ${S}`, 40030, lab.net, P0), id)
    assert.equal(await counter(lab, 'created'), 9 + 300, 'none has started anew')
  }),

  test('a host that forges the addresses of many is bounded by the table, and harms nobody who is answered', LIMIT, async (lab) => {
    await limits(lab, SMALL, 4)
    await snat(lab, { pool: [P0] })
    await converse(lab, lab.b, B, 40000, 4)
    for (let host = 0; host < 200; host++) lab.a.send([1, 2].map((port) => udp(`192.168.1.${50 + host}:${port} > ${S2}:53`, 'flood')))
    await lab.settle()
    assert.equal(passed(lab), 400)
    assert.equal(await counter(lab, 'conns'), SMALL)
    await goOn(lab, lab.b, B, 40000, 4)
  }),

  test('when nothing can make room, what is new is refused, counted and logged, and the rest goes on', LIMIT, async (lab) => {
    await limits(lab, SMALL, 0)
    await snat(lab, { pool: [P0] })
    await nat(lab, { port: 80, servers: [`${A}:8080`] })
    await converse(lab, lab.a, A, 40000, SMALL)
    const from = lab.gateway.klog.lines.length
    await flood(lab, lab.b, B, 41000, 200)
    assert.equal(passed(lab), 0)
    assertNothingPrivateLeft(lab)
    assert.equal(await counter(lab, 'limit_conns'), 200)
    assert.equal(await counter(lab, 'exhausted'), 0)
    await goOn(lab, lab.a, A, 40000, SMALL)
    const inbound = await Connection.open({ client: lab.net, sent: `${CLIENT}:5001 > ${VIP}:80`, server: lab.a, seen: `${CLIENT}:5001 > ${A}:8080` })
    await inbound.finish()
    await assertLogged(lab, from, 'SNAT: table full', () => lab.b.send(udp(`${B}:41000 > ${S2}:53`, 'flood')))
    await vsSysctl(lab, 'snat_max_conns', String(SMALL + 1))
    await ask({ client: lab.b, sent: `${B}:41000 > ${S}:53`, server: lab.net, seen: `${P0}:* > ${S}:53` })
  }),

  test('a host that has its share gets no more, and others do', LIMIT, async (lab) => {
    await limits(lab, 1000, 8)
    await snat(lab, { pool: [P0] })
    await converse(lab, lab.a, A, 40000, 8)
    const from = lab.gateway.klog.lines.length
    await flood(lab, lab.a, A, 41000, 200)
    lab.a.send([tcp(`${A}:42000 > ${S}:80`, 'S'), echo(`${A} > ${S}`, 'request', { echoId: 42001 })])
    await lab.settle()
    assert.equal(passed(lab), 0)
    lab.net.refuse('tcp **')
    assertNothingPrivateLeft(lab)
    assert.equal(await counter(lab, 'limit_host'), 202)
    assert.equal(await counter(lab, 'limit_conns'), 0)
    await goOn(lab, lab.a, A, 40000, 8)
    await converse(lab, lab.b, B, 40100, 8)
    await assertLogged(lab, from, 'SNAT: too many connections', () => lab.a.send(udp(`${A}:41000 > ${S2}:53`, 'flood')))
  }),

  test('a host at its limit makes room for itself alone', LIMIT, async (lab) => {
    await limits(lab, 1000, 8)
    await snat(lab, { pool: [P0] })
    lab.b.send(udp(`${B}:40000 > ${S}:53`, 'not answered yet'))
    await lab.net.expect(`udp ${P0}:40000 > ${S}:53`)
    await flood(lab, lab.a, A, 41000, 100)
    assert.equal(passed(lab), 100, 'its own oldest have made room')
    assert.equal(await counter(lab, 'early_drop'), 92)
    assert.equal(await counter(lab, 'conns'), 9)
    lab.net.send(udp(`${S}:53 > ${P0}:40000`, 'answer'))
    await lab.b.expect(`udp ${S}:53 > ${B}:40000`)
  }),

  test('in a table that others have filled, their unanswered and closed flows make room', LIMIT, async (lab) => {
    await limits(lab, 8, 0)
    await snat(lab, { pool: [P0] })
    await flood(lab, lab.a, A, 41000, 8)
    await converse(lab, lab.b, B, 40000, 4)
    assert.equal(await counter(lab, 'early_drop'), 4)
    for (let port = 40100; port < 40104; port++) {
      const connection = await Connection.open({ client: lab.b, sent: `${B}:${port} > ${S}:80`, server: lab.net, seen: `${P0}:${port} > ${S}:80` })
      await connection.finish()
    }
    await converse(lab, lab.a, A, 40200, 4)
    await goOn(lab, lab.b, B, 40000, 4)
    assert.equal(await counter(lab, 'limit_conns'), 0)
    assert.equal(await counter(lab, 'conns'), 8)
  }),

  test('a remote cannot keep flows that their inside host has left, so that the host gets no new ones', KEPT, async (lab) => {
    const share = 4
    await limits(lab, 1000, share)
    await vsSysctl(lab, 'snat_udp_timeout', '4')
    await vsSysctl(lab, 'snat_icmp_timeout', '4')
    await snat(lab, { pool: [P0] })
    await converse(lab, lab.a, A, 40000, share - 1)
    await converse(lab, lab.b, B, 40100, share)
    const id = await ping(lab.a, `${A} > ${S}`, 40003, lab.net, P0)
    const keep = (): void => {
      for (const [first, count] of [[40000, share - 1], [40100, share]] as const) {
        lab.net.send(Array.from({ length: count }, (_, index) => udp(`${S}:53 > ${P0}:${first + index}`, 'stay')))
      }
      lab.net.send(echo(`${S} > ${P0}`, 'reply', { echoId: id }))
    }
    // For more than twice the time that one who is silent on both sides has.
    for (let round = 0; round < 12; round++) {
      await delay(1000)
      keep()
      lab.b.send(Array.from({ length: share }, (_, index) => udp(`${B}:${40100 + index} > ${S}:53`, 'still there')))
      await lab.breathe()
    }
    assert.equal(await counter(lab, 'conns'), 2 * share)
    await vsSysctl(lab, 'snat_udp_timeout', '300')
    await vsSysctl(lab, 'snat_icmp_timeout', '300')
    keep()
    // Who has not left keeps what he has.
    lab.b.send(udp(`${B}:41000 > ${S2}:53`, 'one more'))
    await lab.settle()
    assert.equal(await counter(lab, 'limit_host'), 1)
    await converse(lab, lab.a, A, 41000, 1)
    assert.equal(await counter(lab, 'early_drop'), 1)
    assert.equal(await counter(lab, 'limit_host'), 1)
    // When he speaks again, he has them again.
    const left = (await connections(lab)).filter(({ destination }) => destination.startsWith(`${A}:`)).map(({ destination }) => Number(destination.split(':')[1]))
    lab.a.send(left.map((port) => (port === 40003 ? echo(`${A} > ${S}`, 'request', { echoId: id }) : udp(`${A}:${port} > ${S}:53`, 'still here'))))
    await lab.settle()
    lab.a.send(udp(`${A}:42000 > ${S2}:53`, 'one more'))
    await lab.settle()
    assert.equal(await counter(lab, 'limit_host'), 2)
    assert.equal(await counter(lab, 'early_drop'), 1)
  }),

  test('a limit that is lowered does no harm to what is there', LIMIT, async (lab) => {
    await limits(lab, 0x10000, 0)
    await snat(lab, { pool: [P0] })
    await converse(lab, lab.a, A, 40000, 8)
    await limits(lab, 4, 0)
    await goOn(lab, lab.a, A, 40000, 8)
    await flood(lab, lab.b, B, 41000, 5)
    assert.equal(passed(lab), 0)
    await limits(lab, 0x10000, 4)
    await flood(lab, lab.a, A, 41000, 5)
    assert.equal(passed(lab), 0)
    await converse(lab, lab.b, B, 40100, 4)
  }),

  test('what has ended counts no more, for the host either', LIMIT, async (lab) => {
    await limits(lab, 16, 8)
    for (const name of ['snat_udp_timeout', 'snat_udp_unanswered_timeout', 'snat_tcp_transitory_timeout', 'snat_icmp_timeout']) await vsSysctl(lab, name, '1')
    await snat(lab, { pool: [P0] })
    await flood(lab, lab.a, A, 41000, 30)
    await converse(lab, lab.b, B, 40000, 3)
    await ping(lab.b, `${B} > ${S}`, 40010, lab.net, P0)
    lab.b.send(tcp(`${B}:40020 > ${S}:80`, 'S'))
    const connection = await Connection.open({ client: lab.b, sent: `${B}:40021 > ${S}:80`, server: lab.net, seen: `${P0}:40021 > ${S}:80` })
    await connection.finish()
    await until('all flows have ended', async () => (await counter(lab, 'conns')) === 0)
    assert.equal(await counter(lab, 'unanswered'), 0)
    for (const name of ['snat_udp_timeout', 'snat_udp_unanswered_timeout']) await vsSysctl(lab, name, '300')
    const before = await counters(lab)
    await converse(lab, lab.a, A, 43000, 8)
    await converse(lab, lab.b, B, 44000, 8)
    const after = await counters(lab)
    for (const name of ['early_drop', 'limit_host', 'limit_conns']) assert.equal(after[name], before[name], name)
    assert.equal(after['conns'], 16)
  }),

  test('the defence of the memory takes unanswered flows, and no others while there are some', DEFENCE, async (lab) => {
    await vsSysctl(lab, 'snat_udp_unanswered_timeout', '3000')
    await snat(lab, { pool: [P0] })
    await converse(lab, lab.a, A, 40000, 5)
    const connection = await Connection.open({ client: lab.a, sent: `${A}:40020 > ${S}:80`, server: lab.net, seen: `${P0}:40020 > ${S}:80` })
    await flood(lab, lab.b, B, 41000, 200)
    assert.equal(await counter(lab, 'unanswered'), 200)
    await vsSysctl(lab, 'drop_entry', '3')
    await until('unanswered flows are taken', async () => (await counter(lab, 'unanswered')) < 180)
    await vsSysctl(lab, 'drop_entry', '0')
    const { conns = 0, unanswered = 0 } = await counters(lab)
    assert.equal(conns - unanswered, 6, 'answered and established flows')
    await goOn(lab, lab.a, A, 40000, 5)
    await connection.respond('still there')
  }),
])
