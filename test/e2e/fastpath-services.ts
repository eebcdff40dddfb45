// SPDX-License-Identifier: GPL-2.0-only
/** The short way (net.ipv4.vs.snat_fastpath) of balanced connections: what goes by it, what does not, and what ends it. */

import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { Connection } from '../../vm/host/index.ts'
import { type Lab, setMtu } from '../../vm/lab.ts'
import { type Packet, tcp, udp, type UdpOptions } from '../../vm/packet/index.ts'
import { A, B, C, CLIENT, GATEWAY, HOSTS, POOL, S, VIP } from '../../vm/topology.ts'
import { between, connectionOf, connections, nat, type NatOptions, snat, vsSysctl } from './lib/configure.ts'
import { iptables, matched, STATEFUL } from './lib/firewall.ts'
import { assertFast, assertSlow, countedOf, fast, learn, LONG_S, NONE, ONE, taken } from './lib/short-way.ts'
import { suite } from './lib/suite.ts'
import { ask, during, type Exchange, turn, until } from './lib/traffic.ts'

const SHORT = 'issue 14, 1: the same for LVS NAT connections (in and out), because every gateway here carries both'
const FALLS_BACK = 'issue 14, 1: LVS connections fall back to the whole way where each packet has to be looked at'
const CHANGES = 'issue 14, 1: what is deleted, moved or set for LVS connections counts as on the whole way'
const ASKED = `${CLIENT}:5001 > ${VIP}:53`
const SEEN = `${CLIENT}:5001 > ${A}:5353`
const DNS: NatOptions = { protocol: 'udp', port: 53, servers: [`${A}:5353`] }
const WEB: NatOptions = { port: 80, servers: [`${A}:8080`] }
const SMALL_MTU = 1000
/** Another service with the same server: its connections of one client and port look like those of the first one, inside. */
const VIP2 = '203.0.113.81'
const SECOND = `ip addr add ${VIP2}/32 dev outside\nipvsadm -A -u ${VIP2}:53 -s rr\nipvsadm -a -u ${VIP2}:53 -r ${A}:5353 -m`
const ASKED_SECOND = `${CLIENT}:5001 > ${VIP2}:53`
/** Requests after which a backup is told of a connection, and how often from then on (net.ipv4.vs.sync_threshold). */
const SYNC_AFTER = 3
const SYNC_EACH = 10

const exchange = (lab: Lab, more: Partial<Exchange> = {}): Exchange => ({ client: lab.net, sent: ASKED, server: lab.a, seen: SEEN, ...more })
const learnt = (lab: Lab): Promise<void> => learn(exchange(lab))
const goesFast = (lab: Lab): Promise<void> => assertFast(lab, exchange(lab))
const goesSlow = (lab: Lab): Promise<void> => assertSlow(lab, exchange(lab))
const request = (options: UdpOptions = {}, data: string | Buffer = 'request'): Buffer => udp(ASKED, data, options)
const reply = (options: UdpOptions = {}, data: string | Buffer = 'reply'): Buffer => udp(turn(SEEN), data, options)
const expectRequest = (lab: Lab): Promise<Packet> => lab.a.expect(`udp ${SEEN}`)
const expectReply = (lab: Lab): Promise<Packet> => lab.net.expect(`udp ${turn(ASKED)}`)

async function setUp(lab: Lab, services: readonly NatOptions[] = [DNS], seconds = LONG_S): Promise<void> {
  await vsSysctl(lab, 'snat_fastpath', String(seconds))
  for (const service of services) await nat(lab, service)
}

/** A UDP flow that goes the short way. */
async function fastFlow(lab: Lab): Promise<void> {
  await setUp(lab)
  await learnt(lab)
  await goesFast(lab)
}

const open = (lab: Lab, port = 5002): Promise<Connection> =>
  Connection.open({ client: lab.net, sent: `${CLIENT}:${port} > ${VIP}:80`, server: lab.a, seen: `${CLIENT}:${port} > ${A}:8080` })

/** A TCP connection of which all but SYN, FIN and RST goes the short way. */
async function fastConnection(lab: Lab): Promise<Connection> {
  await setUp(lab, [WEB])
  const connection = await open(lab)
  await connection.request('GET /')
  assert.deepEqual(await taken(lab, () => connection.respond('hello')), ONE)
  return connection
}

const stateOf = async (lab: Lab): Promise<string> => (await connectionOf(lab, `${A}:8080`)).state

/** @returns packets in and out of the service and of its server; IPVS adds them up every two seconds */
const counted = async (lab: Lab): Promise<string> =>
  (await lab.gateway.sh(`ipvsadm -ln --stats --exact -u ${VIP}:53 | awk '$2 ~ /:53/ { print $4, $5 }'`)).trim().split('\n').join(', ')

/** What goes the whole way, though its flow has a short one, and what becomes of it. */
const UNUSUAL: readonly (readonly [what: string, run: (lab: Lab) => Promise<void>])[] = [
  ['whose TTL ends here', async (lab) => {
    lab.net.send(request({ ttl: 1 }))
    await lab.net.expect(`icmp * > ${CLIENT} time-exceeded [udp ${ASKED}]`)
    lab.a.send(reply({ ttl: 1 }))
    await lab.a.expect(`icmp ${GATEWAY.inside.address} > ${A} time-exceeded [udp ${turn(SEEN)}]`)
  }],
  ['with options in the IP header', async (lab) => {
    lab.net.send(request({ options: Buffer.from([1, 1, 1, 0]) }))
    await expectRequest(lab)
    lab.a.send(reply({ options: Buffer.from([1, 1, 1, 0]) }))
    await expectReply(lab)
  }],
  ['of another class of service', async (lab) => {
    lab.net.send(request({ tos: 0x20 }))
    assert.equal((await expectRequest(lab)).ip?.tos, 0x20)
    lab.a.send(reply({ tos: 0x20 }))
    assert.equal((await expectReply(lab)).ip?.tos, 0x20)
  }],
]

/** Where each packet has to be seen, or says more than to which connection it belongs. */
const WATCHED: readonly (readonly [what: string, service: NatOptions, setUp: string, takeDown?: string])[] = [
  ['that connection tracking follows', DNS, `echo 1 >/proc/sys/net/ipv4/vs/conntrack\niptables ${STATEFUL.join('\niptables ')}`, 'echo 0 >/proc/sys/net/ipv4/vs/conntrack'],
  ['whose packets have a mark', DNS, 'iptables -t mangle -A PREROUTING -p udp -j MARK --set-mark 1'],
  ['whose packets get another class of service', DNS, 'iptables -t mangle -A POSTROUTING -p udp -j DSCP --set-dscp 8'],
  ['whose packets a program lets pass', DNS, 'modprobe nfnetlink_queue; queue-accept 0 0; iptables -A INPUT -p udp -j NFQUEUE --queue-num 0; iptables -A FORWARD -p udp -j NFQUEUE --queue-num 0', 'killall queue-accept'],
]

export default suite('fastservices', [
  fast('no packet goes a short way unless the administrator says so, whether there is SNAT or not', SHORT, async (lab) => {
    await setUp(lab, [DNS], 0)
    await learnt(lab)
    await goesSlow(lab)
    await vsSysctl(lab, 'snat_fastpath', String(LONG_S))
    await learnt(lab)
    await goesFast(lab)
    await vsSysctl(lab, 'snat_fastpath', '0')
    await goesSlow(lab)
  }),

  fast('UDP is translated both ways, hops are counted, and so are packets of the service and its server', SHORT, async (lab) => {
    await fastFlow(lab)
    assert.deepEqual(await taken(lab, async () => {
      lab.net.send(request({ ttl: 64 }))
      const arrived = await expectRequest(lab)
      assert.deepEqual([arrived.ip?.ttl, arrived.data.toString()], [63, 'request'])
      lab.a.send(reply({ ttl: 7 }))
      const back = await expectReply(lab)
      assert.deepEqual([back.ip?.ttl, back.data.toString()], [6, 'reply'])
      lab.a.send(reply({ noChecksum: true }))
      assert.equal((await expectReply(lab)).udp?.checksum, 0)
    }), { out: 2, in: 1 })
    await until('the packets are counted', async () => (await counted(lab)) === '4 5, 4 5')
  }),

  fast('the kernel counts packets as on the whole way', SHORT, async (lab) => {
    await setUp(lab)
    await learnt(lab)
    const one = async (): Promise<void> => {
      await ask(exchange(lab))
    }
    await vsSysctl(lab, 'snat_fastpath', '0')
    const whole = await countedOf(lab, one)
    await vsSysctl(lab, 'snat_fastpath', String(LONG_S))
    await learnt(lab)
    assert.deepEqual(await taken(lab, async () => assert.deepEqual(await countedOf(lab, one), whole)), ONE)
  }),

  fast('TCP data go the short way, SYN and FIN the whole way, and the state follows', SHORT, async (lab) => {
    const connection = await fastConnection(lab)
    for (let round = 0; round < 3; round++) assert.deepEqual(await taken(lab, () => connection.request('more')), ONE)
    assert.equal(await stateOf(lab), 'ESTABLISHED')
    assert.deepEqual(await taken(lab, () => connection.finish()), NONE)
    assert.equal(await stateOf(lab), 'TIME_WAIT')
  }),

  fast('a RST ends a connection, and what comes after it goes the whole way', SHORT, async (lab) => {
    const connection = await fastConnection(lab)
    await connection.abort('client')
    assert.equal(await stateOf(lab), 'CLOSE')
    assert.deepEqual(await taken(lab, async () => {
      lab.a.send(tcp(`${A}:8080 > ${CLIENT}:5002`, 'A', { seq: 1, ack: 1 }))
      await lab.net.expect(`tcp ${VIP}:80 > ${CLIENT}:5002 A`)
    }), NONE)
  }),

  fast('balanced connections and those of inside hosts go the short way at the same time, of one host and by one address', SHORT, async (lab) => {
    const [P0 = ''] = POOL
    await snat(lab, { pool: [P0, VIP] })
    await setUp(lab, [DNS, WEB])
    const flows = [
      exchange(lab),
      { client: lab.a, sent: `${A}:5353 > ${S}:5001`, server: lab.net, seen: `*:* > ${S}:5001` },
      { client: lab.a, sent: `${A}:5354 > ${S}:5001`, server: lab.net, seen: `*:* > ${S}:5001` },
    ]
    for (const flow of flows) await learn({ ...flow, seen: await ask(flow) })
    for (const flow of flows) await assertFast(lab, flow)
    const connection = await open(lab)
    await connection.request('GET /')
    assert.deepEqual(await taken(lab, () => connection.respond('hello')), ONE)
    await connection.finish()
  }),

  fast('packets keep a connection alive by the timeouts that are set, and one that is idle goes', SHORT, async (lab) => {
    await fastFlow(lab)
    for (const [seconds, least] of [[5000, 4000], [90, 80], [2, 0]] as const) {
      await lab.gateway.sh(`ipvsadm --set 0 0 ${seconds}`)
      await goesFast(lab)
      const { expires } = await connectionOf(lab, `${A}:5353`)
      assert.ok(expires <= seconds && expires >= least, `${expires} s of ${seconds}`)
    }
    await until('it has expired', async () => (await connections(lab)).length === 0)
    await goesSlow(lab)
    await learnt(lab)
    await goesFast(lab)
  }),

  ...UNUSUAL.map(([what, run]) =>
    fast(`a packet ${what} goes the whole way, and its flow stays on the short one`, FALLS_BACK, async (lab) => {
      await fastFlow(lab)
      assert.deepEqual(await taken(lab, () => run(lab)), NONE)
      await goesFast(lab)
    }),
  ),

  fast('a packet that does not fit is answered as on the whole way', FALLS_BACK, async (lab) => {
    await setUp(lab)
    const large = Buffer.alloc(1300, 'large')
    await between(lab, `ip route add ${CLIENT} via 203.0.113.254 mtu ${SMALL_MTU}\n${setMtu('inside', SMALL_MTU)}`, `ip route del ${CLIENT}`, async () => {
      await learnt(lab)
      await goesFast(lab)
      assert.deepEqual(await taken(lab, async () => {
        lab.net.send(request({}, large))
        assert.equal((await lab.net.expect(`icmp * > ${CLIENT} frag-needed [udp ${ASKED}]`)).icmp?.mtu, SMALL_MTU)
        lab.a.send(reply({}, large))
        assert.equal((await lab.a.expect(`icmp ${GATEWAY.inside.address} > ${A} frag-needed [udp ${turn(SEEN)}]`)).icmp?.mtu, SMALL_MTU)
      }), NONE)
      await goesFast(lab)
    })
  }),

  ...WATCHED.map(([what, service, script, takeDown = 'true']) =>
    fast(`a connection ${what} stays on the whole way`, FALLS_BACK, async (lab) => {
      await between(lab, script, takeDown, async () => {
        await setUp(lab, [service])
        await learnt(lab)
        await goesSlow(lab)
        await goesSlow(lab)
      })
    }),
  ),

  fast('where IPVS leaves connection tracking out, balanced connections go the short way past it', SHORT, async (lab) => {
    await setUp(lab)
    await iptables(lab, STATEFUL)
    await learnt(lab)
    await goesFast(lab)
  }),

  fast('somebody who gets a copy of each packet (TEE) does not get the packets themselves', FALLS_BACK, async (lab) => {
    await setUp(lab)
    await iptables(lab, [`-t mangle -A POSTROUTING -p udp -d ${A} -j TEE --gateway ${C}`, `-t mangle -A POSTROUTING -p udp -d ${CLIENT} -j TEE --gateway ${C}`])
    await learnt(lab)
    await goesFast(lab)
  }),

  fast('a client that goes to another service with the same server hears from that one', CHANGES, async (lab) => {
    await fastFlow(lab)
    await lab.gateway.sh(`set -e\n${SECOND}`)
    const second = exchange(lab, { sent: ASKED_SECOND })
    await learn(second)
    await assertFast(lab, second)
  }),

  fast('packets to one service do not keep those to another one on the short way, though they have the same server', CHANGES, async (lab) => {
    await setUp(lab, [DNS], 1)
    await lab.gateway.sh(`set -e\n${SECOND}`)
    await learnt(lab)
    await learn(exchange(lab, { sent: ASKED_SECOND }))
    await iptables(lab, [`-A INPUT -p udp -d ${VIP2} -j DROP`])
    const both = async (): Promise<void> => {
      lab.net.send(request())
      lab.net.send(udp(ASKED_SECOND, 'refused'))
      await lab.settle()
    }
    await until('the rule sees the second service', async () => {
      await both()
      return (await matched(lab, 'INPUT')).some((packets) => packets > 0)
    })
    lab.a.inbox.length = 0
    for (let round = 0; round < 5; round++) {
      await both()
      await delay(500)
    }
    assert.deepEqual(new Set(lab.a.inbox.map(({ data }) => data.toString())), new Set(['request']))
  }),

  fast('a persistent service has its connections go the short way', SHORT, async (lab) => {
    await setUp(lab, [{ ...DNS, more: '-p 300' }])
    await learnt(lab)
    await goesFast(lab)
  }),

  fast('a rule of INPUT counts for connections that are under way within the time that is set', FALLS_BACK, async (lab) => {
    await setUp(lab, [DNS], 1)
    await learnt(lab)
    await iptables(lab, [`-A INPUT -p udp -s ${CLIENT} -j DROP`])
    await until('the rule sees the flow', async () => {
      lab.net.send(request())
      await lab.settle()
      return (await matched(lab, 'INPUT')).some((packets) => packets > 0)
    })
    lab.a.inbox.length = 0
    assert.deepEqual(await taken(lab, async () => {
      for (let count = 0; count < 3; count++) lab.net.send(request())
      await lab.settle()
    }), NONE)
    lab.a.refuse('udp **')
  }),

  fast('a server that takes no new connections keeps those that it has on the short way', CHANGES, async (lab) => {
    await fastFlow(lab)
    await lab.gateway.sh(`ipvsadm -e -u ${VIP}:53 -r ${A}:5353 -m -w 0`)
    await goesFast(lab)
  }),

  fast('a server or service that is deleted stops its connections, and they go on with it', CHANGES, async (lab) => {
    await fastFlow(lab)
    for (const [gone, back] of [
      [`ipvsadm -d -u ${VIP}:53 -r ${A}:5353`, `ipvsadm -a -u ${VIP}:53 -r ${A}:5353 -m`],
      ['ipvsadm -C', `ipvsadm -A -u ${VIP}:53 -s rr\nipvsadm -a -u ${VIP}:53 -r ${A}:5353 -m`],
    ] as const) {
      await lab.gateway.sh(gone)
      assert.deepEqual(await taken(lab, async () => {
        lab.net.send(request())
        await lab.settle()
      }), NONE)
      lab.a.refuse('udp **')
      await lab.gateway.sh(`set -e\n${back}`)
      await ask(exchange(lab))
      await goesFast(lab)
    }
  }),

  fast('a client that begins anew gets another server instead of one that takes none, and stays with it', CHANGES, async (lab) => {
    const sent = `${CLIENT}:5002 > ${VIP}:80`
    await vsSysctl(lab, 'expire_nodest_conn', '1')
    try {
      await fastConnection(lab)
      await lab.gateway.sh(`ipvsadm -e -t ${VIP}:80 -r ${A}:8080 -m -w 0; ipvsadm -a -t ${VIP}:80 -r ${B}:8080 -m`)
      const again = await Connection.open({ client: lab.net, sent, server: lab.b, seen: `${CLIENT}:5002 > ${B}:8080` })
      await again.request('GET /')
      assert.deepEqual(await taken(lab, () => again.respond('hello')), ONE)
      lab.a.refuse('tcp **')
      await until('the old connection is gone', async () => (await connections(lab)).length === 1)
    } finally {
      await vsSysctl(lab, 'expire_nodest_conn', '0')
    }
  }),

  fast('an address of a service that the gateway has no more is no service at once', CHANGES, async (lab) => {
    await fastFlow(lab)
    await lab.gateway.sh(`ip addr del ${VIP}/32 dev outside`)
    assert.deepEqual(await taken(lab, async () => {
      lab.net.send(request())
      await lab.settle()
    }), NONE)
    lab.a.refuse('udp **')
  }),

  fast('another route to the server counts at once, and so does another address of its neighbour', CHANGES, async (lab) => {
    await fastFlow(lab)
    await between(lab, `ip route add ${A}/32 via ${C}`, `ip route del ${A}/32`, async () => {
      for (const went of [NONE, { out: 0, in: 1 }]) {
        assert.deepEqual(await taken(lab, async () => {
          lab.net.send(request())
          await lab.c.expect(`udp ${SEEN}`)
        }), went)
      }
    })
    await learnt(lab)
    await between(lab, `arp -i inside -s ${A} ${HOSTS.b.mac}`, `arp -i inside -d ${A}`, async () => {
      assert.deepEqual(await taken(lab, async () => {
        lab.net.send(request())
        await lab.b.expect(`udp ${SEEN}`)
      }), { out: 0, in: 1 })
    })
  }),

  fast('a gateway that is only a backup does not balance on the short way either', CHANGES, async (lab) => {
    await between(lab, 'ipvsadm --start-daemon backup --mcast-interface outside', 'ipvsadm --stop-daemon backup; echo 0 >/proc/sys/net/ipv4/vs/backup_only', async () => {
      await fastFlow(lab)
      await vsSysctl(lab, 'backup_only', '1')
      assert.deepEqual(await taken(lab, async () => {
        lab.net.send(request())
        await lab.settle()
      }), NONE)
      lab.a.refuse('udp **')
      await vsSysctl(lab, 'backup_only', '0')
      await goesFast(lab)
    })
  }),

  fast('a backup is told of connections as often as on the whole way', CHANGES, async (lab) => {
    const requests = SYNC_AFTER + 2 * SYNC_EACH
    await between(lab, `echo ${SYNC_AFTER} ${SYNC_EACH} >/proc/sys/net/ipv4/vs/sync_threshold; ipvsadm --start-daemon master --mcast-interface outside`, 'ipvsadm --stop-daemon master; echo 3 50 >/proc/sys/net/ipv4/vs/sync_threshold', async () => {
      await setUp(lab)
      const went = await taken(lab, async () => {
        for (let count = 0; count < requests; count++) await ask(exchange(lab))
      })
      assert.deepEqual(went, { out: requests - 2, in: requests - 5 }, 'all but what is learnt from, and the requests that a backup is told of')
    })
  }),

  fast('a backup is told of persistent clients with each request, as on the whole way', CHANGES, async (lab) => {
    await between(lab, 'ipvsadm --start-daemon master --mcast-interface outside', 'ipvsadm --stop-daemon master', async () => {
      await setUp(lab, [{ ...DNS, more: '-p 300' }])
      await learnt(lab)
      assert.deepEqual(await taken(lab, () => ask(exchange(lab))), { out: 1, in: 0 })
    })
  }),

  fast('connections end while their packets go the short way, and so does the module', CHANGES, async (lab) => {
    await fastFlow(lab)
    lab.a.service = (packet) => {
      if (packet.udp && packet.ip) lab.a.send(udp(`${packet.ip.dst}:${packet.udp.dport} > ${packet.ip.src}:${packet.udp.sport}`, 'a'))
      return true
    }
    lab.net.service = () => true
    const send = (round: number): void => lab.net.send(udp(`${CLIENT}:${6000 + (round % 4)} > ${VIP}:53`, 'q'))
    await during(lab, send, () => lab.gateway.sh(`
      for round in $(seq 20); do
        ipvsadm --set 0 0 1
        echo $((round % 2 * ${LONG_S})) >/proc/sys/net/ipv4/vs/snat_fastpath
        ipvsadm -d -u ${VIP}:53 -r ${A}:5353
        echo $((round % 3 / 2)) >/proc/sys/net/ipv4/vs/expire_nodest_conn
        usleep 50000
        ipvsadm -a -u ${VIP}:53 -r ${A}:5353 -m
      done
      ipvsadm --set 0 0 300
      echo 0 >/proc/sys/net/ipv4/vs/expire_nodest_conn
      echo ${LONG_S} >/proc/sys/net/ipv4/vs/snat_fastpath`))
    lab.a.service = undefined
    await lab.settle()
    lab.net.service = undefined
    lab.a.inbox.length = 0
    await learnt(lab)
    await goesFast(lab)
    lab.a.service = () => true
    await during(lab, send, () => lab.gateway.sh('set -e; ipvsadm -C; rmmod ip_vs_rr; rmmod ip_vs; modprobe ip_vs'))
  }, { limit: 180 }),
])
