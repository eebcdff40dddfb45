// SPDX-License-Identifier: GPL-2.0-only
/** The choice of a pool address and port when few are left. */

import assert from 'node:assert/strict'
import type { Host } from '../../vm/host/index.ts'
import type { Lab } from '../../vm/lab.ts'
import { echo, type Packet, tcp, udp } from '../../vm/packet/index.ts'
import { A, B, POOL, S, S2 } from '../../vm/topology.ts'
import { between, counter, counters, snat, vsSysctl } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'
import { assertNothingPrivateLeft, until } from './lib/traffic.ts'

const SCHEDULER = 'issue 10, A 5: a scheduler that has no answer is not the end while any usable address exists'
const PAIRED = 'issue 10, A 5 and D; RFC 4787, REQ-2: paired pooling, one inside host on one pool address'
const SEARCH = 'issue 10, B 3: probes are independent of what is taken, and nothing is refused while something is free'
const REFUSAL = 'issue 10, B 4: a flow that found no port does not pay for every packet'
const [P0 = '', P1 = '', P2 = '', P3 = ''] = POOL
const FIRST = 10_000
const PORTS = 1024
const LAST = FIRST + PORTS - 1
/** Remotes whose ports are mapped at a time, at most (SNAT_HOT_MAX). */
const MAPS = 256
/** Packets that are under way at a time. */
const BURST = 50
/** Filling the pool takes a while on an emulated machine. */
const LIMIT_S = 120

/** A kind of traffic whose ports, or ids, are translated. */
interface Kind {
  name: string
  protocols: readonly ('tcp' | 'udp')[]
  packet: (from: string, port: number, remote?: string) => Buffer
  /** @returns the port or id that a packet has left with, if it is of this kind and to that remote */
  given: (packet: Packet, remote?: string) => number | undefined
}

const UDP: Kind = {
  name: 'UDP ports',
  protocols: ['udp'],
  packet: (from, port, remote = `${S}:53`) => udp(`${from}:${port} > ${remote}`, 'question'),
  given: (packet, remote = `${S}:53`) => (`${packet.ip?.dst}:${packet.udp?.dport}` === remote ? packet.udp?.sport : undefined),
}

const KINDS: readonly Kind[] = [
  UDP,
  {
    name: 'TCP ports',
    protocols: ['tcp'],
    packet: (from, port) => tcp(`${from}:${port} > ${S}:80`, 'S', { seq: 77 }),
    given: ({ ip, tcp: header }) => (ip?.dst === S ? header?.sport : undefined),
  },
  {
    name: 'echo ids',
    protocols: ['udp'],
    packet: (from, port) => echo(`${from} > ${S}`, 'request', { echoId: port }),
    given: ({ ip, icmp }) => (ip?.dst === S && icmp?.type === 8 ? icmp.id : undefined),
  },
]

/** Sends a packet of each port and returns what they have left with, in the order of their arrival. */
async function give(lab: Lab, kind: Kind, host: Host, from: string, ports: readonly number[], remote?: string): Promise<number[]> {
  lab.net.inbox.length = 0
  for (let at = 0; at < ports.length; at += BURST) {
    host.send(ports.slice(at, at + BURST).map((port) => kind.packet(from, port, remote)))
    await lab.breathe()
  }
  await lab.settle()
  const given = lab.net.inbox.flatMap((packet) => kind.given(packet, remote) ?? [])
  lab.net.inbox.length = 0
  return given
}

const ports = (first: number, count: number): number[] => Array.from({ length: count }, (_, index) => first + index)

/** One pool address with few ports, whose flows outlive the test. */
async function smallPool(lab: Lab, kind: Kind): Promise<void> {
  await vsSysctl(lab, 'snat_port_range', `${FIRST} ${LAST}`)
  for (const name of ['snat_udp_unanswered_timeout', 'snat_icmp_timeout', 'snat_tcp_transitory_timeout']) await vsSysctl(lab, name, '3000')
  await snat(lab, { pool: [P0], protocols: kind.protocols })
}

/** Takes ports in a row, as one busy host does. */
async function takeBlock(lab: Lab, kind: Kind, count: number, first = FIRST): Promise<void> {
  const given = await give(lab, kind, lab.a, A, ports(first, count))
  assert.deepEqual(given, ports(first, count), 'each flow keeps its port')
}

/**
 * How there come to be many maps of ports that are of no use: most ports of a pool are reserved, and each of many remotes gets a flow.
 * Few ports are mapped at once. Of many, a flow maps a part, and finds a port before it needs the rest.
 */
const USELESS_MAPS = [
  { what: 'most ports are reserved', range: '20000-20255', reserved: '20006-20255', remotes: 700 },
  { what: 'a part of the ports is mapped', range: '20000-21599', reserved: '20112-21599', remotes: 2200 },
] as const
const RESERVED = '/proc/sys/net/ipv4/ip_local_reserved_ports'

/** Sources that a scheduler hashes; their packets all come from the one scripted host. */
const SOURCES = Array.from({ length: 64 }, (_, index) => `192.168.1.${100 + index}`)

/**
 * Opens four flows of a source.
 *
 * @param round makes the flows different from those of other rounds
 * @returns the pool addresses that they leave from
 */
async function addressesOf(lab: Lab, source: string, round: number, remote = S): Promise<string[]> {
  const own = ports(20_000 + 1000 * round + 4 * SOURCES.indexOf(source), 4)
  lab.a.send(own.map((port) => udp(`${source}:${port} > ${remote}:53`, 'question')))
  const left = await Promise.all(own.map((port) => lab.net.expect(`udp *:${port} > ${remote}:53`)))
  return [...new Set(left.map(({ ip }) => ip?.src ?? ''))]
}

export default suite('exhaustion', [
  ...(['sh', 'dh'] as const).map((scheduler) =>
    test(`the scheduler ${scheduler} refuses nobody because of an address of weight 0`, SCHEDULER, async (lab) => {
      await snat(lab, { pool: [P0, P1], scheduler, protocols: ['udp'] })
      await lab.gateway.sh(`ipvsadm -e -u 0.0.0.0:0 -r ${P0}:0 -m -w 0`)
      for (const source of SOURCES) {
        for (const remote of [S, S2]) assert.deepEqual(await addressesOf(lab, source, 0, remote), [P1], source)
      }
      assert.equal(await counter(lab, 'drop_no_pool'), 0)
    }),
  ),

  test('hosts whose address takes no more keep to one address each, and not all to the same', PAIRED, async (lab) => {
    await snat(lab, { pool: [P0, P1, P2, P3], scheduler: 'sh', protocols: ['udp'] })
    const before = new Map<string, string>()
    for (const source of SOURCES) {
      const [address = '', ...others] = await addressesOf(lab, source, 0)
      assert.deepEqual(others, [], `further addresses of ${source}`)
      before.set(source, address)
    }
    await lab.gateway.sh(`ipvsadm -e -u 0.0.0.0:0 -r ${P0}:0 -m -w 0`)
    const moved = new Set<string>()
    for (const source of SOURCES) {
      const [address = '', ...others] = [...await addressesOf(lab, source, 1), ...await addressesOf(lab, source, 2, S2)]
      assert.deepEqual(others.filter((other) => other !== address), [], `further addresses of ${source}`)
      assert.notEqual(address, P0)
      if (before.get(source) === P0) moved.add(address)
      else assert.equal(address, before.get(source), `${source} has no reason to move`)
    }
    assert.ok(moved.size > 1, `all of them have moved to ${[...moved].join()}`)
  }),

  test('without any address that takes something, what is new is dropped, and counted', SCHEDULER, async (lab) => {
    await snat(lab, { pool: [P0, P1], scheduler: 'sh', protocols: ['udp'] })
    await lab.gateway.sh(`ipvsadm -e -u 0.0.0.0:0 -r ${P0}:0 -m -w 0; ipvsadm -e -u 0.0.0.0:0 -r ${P1}:0 -m -w 0`)
    lab.a.send(ports(40_000, 3).map((port) => udp(`${A}:${port} > ${S}:53`, 'question')))
    await lab.settle()
    lab.net.refuse('udp **')
    assertNothingPrivateLeft(lab)
    assert.equal(await counter(lab, 'drop_no_pool'), 3)
  }),

  test('with half of the ports taken in a row, nobody is refused', SEARCH, async (lab) => {
    await smallPool(lab, UDP)
    await takeBlock(lab, UDP, PORTS / 2)
    const given = await give(lab, UDP, lab.b, B, ports(40_000, 200))
    assert.equal(given.length, 200, 'flows that have found a port')
    assert.equal(new Set(given).size, 200, 'different ports')
    assert.equal(await counter(lab, 'exhausted'), 0)
  }, { limit: LIMIT_S }),

  ...KINDS.map((kind) =>
    test(`${kind.name}: with 95 % taken in a row, the rest is found to the last one, and then a flow is refused`, SEARCH, async (lab) => {
      const block = Math.ceil(PORTS * 0.95)
      await smallPool(lab, kind)
      await takeBlock(lab, kind, block)
      const given = await give(lab, kind, lab.b, B, ports(40_000, PORTS - block))
      assert.deepEqual(given.sort((a, b) => a - b), ports(FIRST + block, PORTS - block), 'every port that was free')
      assert.equal(await counter(lab, 'exhausted'), 0)
      assert.deepEqual(await give(lab, kind, lab.b, B, [50_000]), [])
      assert.equal(await counter(lab, 'exhausted'), 1)
      assertNothingPrivateLeft(lab)
      // Those that have one keep it.
      assert.deepEqual(await give(lab, kind, lab.a, A, ports(FIRST, 20)), ports(FIRST, 20))
    }, { limit: LIMIT_S }),
  ),

  test('ports that lie apart are found as well', SEARCH, async (lab) => {
    await smallPool(lab, UDP)
    const free = [0, 1, 511, 700, 1023].map((offset) => FIRST + offset)
    const taken = ports(FIRST, PORTS).filter((port) => !free.includes(port))
    assert.equal((await give(lab, UDP, lab.a, A, taken)).length, taken.length)
    const given = await give(lab, UDP, lab.b, B, ports(40_000, free.length))
    assert.deepEqual(given.sort((a, b) => a - b), free)
    assert.equal(await counter(lab, 'exhausted'), 0)
  }, { limit: LIMIT_S }),

  test('a pool that is full for one remote serves all others', SEARCH, async (lab) => {
    await smallPool(lab, UDP)
    await takeBlock(lab, UDP, PORTS)
    assert.deepEqual(await give(lab, UDP, lab.b, B, [40_000]), [])
    for (const remote of [`${S}:54`, `${S2}:53`]) {
      assert.deepEqual(await give(lab, UDP, lab.b, B, [FIRST + 7], remote), [FIRST + 7])
    }
    lab.b.send(echo(`${B} > ${S}`, 'request', { echoId: FIRST + 7 }))
    await lab.net.expect(`icmp ${P0} > ${S} echo-request id=${FIRST + 7}`)
  }, { limit: LIMIT_S }),

  test('a port that becomes free in a full pool is found again, once', SEARCH, async (lab) => {
    await smallPool(lab, UDP)
    await takeBlock(lab, UDP, PORTS)
    assert.deepEqual(await give(lab, UDP, lab.b, B, [40_000]), [])
    for (const [round, port] of [FIRST + 500, LAST, FIRST].entries()) {
      await vsSysctl(lab, 'snat_udp_unanswered_timeout', '1')
      await give(lab, UDP, lab.a, A, [port])
      await vsSysctl(lab, 'snat_udp_unanswered_timeout', '3000')
      await until('a port is free', async () => (await counter(lab, 'conns')) < PORTS)
      assert.deepEqual(await give(lab, UDP, lab.b, B, [41_000 + 2 * round, 41_001 + 2 * round]), [port])
    }
  }, { limit: LIMIT_S }),

  test('a full pool notices that its range has grown or shrunk', SEARCH, async (lab) => {
    await smallPool(lab, UDP)
    await takeBlock(lab, UDP, PORTS)
    assert.deepEqual(await give(lab, UDP, lab.b, B, [40_000]), [])
    await vsSysctl(lab, 'snat_port_range', `${FIRST - 1} ${LAST + 2}`)
    const given = await give(lab, UDP, lab.b, B, ports(41_000, 4))
    assert.deepEqual(given.sort((a, b) => a - b), [FIRST - 1, LAST + 1, LAST + 2])
    await vsSysctl(lab, 'snat_port_range', '30000 30000')
    assert.deepEqual(await give(lab, UDP, lab.b, B, ports(42_000, 2)), [30_000])
  }, { limit: LIMIT_S }),

  test('a full pool gives no port that is reserved', SEARCH, async (lab) => {
    await smallPool(lab, UDP)
    await between(lab, `echo ${LAST - 1}-${LAST} >${RESERVED}`, `echo >${RESERVED}`, async () => {
      await takeBlock(lab, UDP, PORTS - 4)
      const given = await give(lab, UDP, lab.b, B, ports(40_000, 4))
      assert.deepEqual(given.sort((a, b) => a - b), [LAST - 3, LAST - 2])
    })
  }, { limit: LIMIT_S }),

  test('the last port of many is found by the first flow that looks for one', SEARCH, async (lab) => {
    const many = 4 * PORTS
    const free = FIRST + many - 100
    await smallPool(lab, UDP)
    await vsSysctl(lab, 'snat_port_range', `${FIRST} ${FIRST + many - 1}`)
    await give(lab, UDP, lab.a, A, ports(FIRST, many).filter((port) => port !== free))
    assert.deepEqual(await give(lab, UDP, lab.b, B, [50_000]), [free])
  }, { limit: LIMIT_S }),

  test('a full pool gives ports that are no longer reserved', SEARCH, async (lab) => {
    await smallPool(lab, UDP)
    await between(lab, `echo ${LAST - 1}-${LAST} >${RESERVED}`, `echo >${RESERVED}`, async () => {
      await takeBlock(lab, UDP, PORTS - 2)
      assert.deepEqual(await give(lab, UDP, lab.b, B, [40_000]), [])
    })
    const given = await give(lab, UDP, lab.b, B, ports(41_000, 2))
    assert.deepEqual(given.sort((a, b) => a - b), [LAST - 1, LAST])
  }, { limit: LIMIT_S }),

  test('ports that are reserved while they are taken do not hide one that is free', SEARCH, async (lab) => {
    const freed = [...ports(FIRST, 100), FIRST + 101]
    await smallPool(lab, UDP)
    await takeBlock(lab, UDP, PORTS)
    assert.deepEqual(await give(lab, UDP, lab.b, B, [40_000]), [])
    await between(lab, `echo ${FIRST}-${FIRST + 99} >${RESERVED}`, `echo >${RESERVED}`, async () => {
      await vsSysctl(lab, 'snat_udp_unanswered_timeout', '1')
      await give(lab, UDP, lab.a, A, freed)
      await vsSysctl(lab, 'snat_udp_unanswered_timeout', '3000')
      await until('their flows have ended', async () => (await counter(lab, 'conns')) === PORTS - freed.length)
      assert.deepEqual(await give(lab, UDP, lab.b, B, [41_000]), [FIRST + 101])
    })
  }, { limit: LIMIT_S }),

  ...USELESS_MAPS.map(({ what, range, reserved, remotes }) =>
    test(`the last ports are found, however many remotes there were before for which ${what}`, SEARCH, async (lab) => {
      await smallPool(lab, UDP)
      await lab.gateway.sh(`ipvsadm --add-pool reserved --ports ${range} -z ${P0} && ipvsadm --add-rule --id 1 -F ${A} --pool reserved`)
      await between(lab, `echo ${reserved} >${RESERVED}`, `echo >${RESERVED}`, async () => {
        for (const remote of ports(1000, remotes)) {
          lab.a.send(udp(`${A}:5000 > ${S}:${remote}`, 'question'))
          if (remote % BURST === 0) await lab.breathe()
        }
        await lab.settle()
      })
      const { conns, port_maps: maps = 0 } = await counters(lab)
      assert.equal(conns, remotes)
      assert.ok(maps > 0 && maps <= MAPS, `${maps} maps of ports`)
      await lab.gateway.sh('ipvsadm --delete-rule --id 1')
      const free = [0, 1, 511, 700, 1023].map((offset) => FIRST + offset)
      await give(lab, UDP, lab.a, A, ports(FIRST, PORTS).filter((port) => !free.includes(port)))
      assert.deepEqual((await give(lab, UDP, lab.b, B, ports(40_000, free.length))).sort((a, b) => a - b), free)
      await lab.gateway.sh('ipvsadm --snat-conns --from 192.168.0.0/16 --kill')
      assert.equal(await counter(lab, 'port_maps'), 0)
    }, { limit: LIMIT_S }),
  ),

  test('ports that a service has on all of an address make no maps', 'issue 15, as the engine was attacked: only what a map can tell is worth one', async (lab) => {
    await snat(lab, { pool: [P0, P1] })
    await lab.gateway.sh(`ipvsadm -A -t ${P0}:0 -s rr -p 10; ipvsadm -a -t ${P0}:0 -r ${A}:0 -m`)
    for (let port = 1; port <= 40; port++) lab.b.send(tcp(`${B}:40001 > ${S}:${port}`, 'S'))
    await lab.settle()
    assert.equal(lab.sent('outside', `tcp ${P1}:* > ${S}:* S`).length, 40)
    assert.equal(await counter(lab, 'port_maps'), 0, 'maps of 64,512 ports, none of which is taken')
  }),

  test('a flow that was refused costs no search for each of its packets', `${REFUSAL}; defect 9: 10,000 tries per SYN`, async (lab) => {
    const packets = 300
    await smallPool(lab, UDP)
    await takeBlock(lab, UDP, PORTS)
    await give(lab, UDP, lab.b, B, ports(40_000, 3))
    const before = await counter(lab, 'port_conflicts')
    const given = await give(lab, UDP, lab.b, B, Array.from({ length: packets }, () => 41_000))
    assert.deepEqual(given, [])
    const conflicts = (await counter(lab, 'port_conflicts')) - before
    assert.ok(conflicts < packets, `${conflicts} ports were tried for ${packets} packets`)
    assertNothingPrivateLeft(lab)
  }, { limit: LIMIT_S }),

  test('a flow that was refused a moment ago gets a port when there is one', REFUSAL, async (lab) => {
    await smallPool(lab, UDP)
    await takeBlock(lab, UDP, PORTS)
    assert.deepEqual(await give(lab, UDP, lab.b, B, [41_000]), [])
    await vsSysctl(lab, 'snat_port_range', `${FIRST} ${LAST + 1}`)
    await until('the flow gets a port', async () => (await give(lab, UDP, lab.b, B, [41_000])).length === 1)
  }, { limit: LIMIT_S }),
])
