// SPDX-License-Identifier: GPL-2.0-only
/** The short way of established flows (net.ipv4.vs.snat_fastpath): what goes by it, what does not, and what ends it. */

import assert from 'node:assert/strict'
import { Connection, type Host } from '../../vm/host/index.ts'
import { type Lab, setMtu } from '../../vm/lab.ts'
import { fragment, type Packet, tcp, udp, type UdpOptions } from '../../vm/packet/index.ts'
import { A, B, C, GATEWAY, HOSTS, POOL, ROUTER, S } from '../../vm/topology.ts'
import { sendMerged } from './lib/bulk.ts'
import { between, connectionOf, snat, snatCommands, vsSysctl } from './lib/configure.ts'
import { elsewhere } from './lib/elsewhere.ts'
import { iptables, matched, STATEFUL } from './lib/firewall.ts'
import { atOnce, pool, rule } from './lib/rules.ts'
import { assertFast, assertSlow, countedOf, fast, learn, LONG_S, NONE, ONE, taken } from './lib/short-way.ts'
import { suite } from './lib/suite.ts'
import { ask, assertNothingPrivateLeft, during, type Exchange, gather, turn, until } from './lib/traffic.ts'

const SHORT = 'issue 14, 1: established flows go straight to the neighbour, with TTL, checksum, counters, timeouts and state as otherwise'
const FALLS_BACK = 'issue 14, 1: falls back for fragments, options, TTL 1, oversize, marks, and rules that must see every packet'
/** A kernel that watches its memory takes seconds for each of them. */
const CHANGES_S = 60
const CHANGES = 'issue 14, 1: an invalid route or neighbour, a device that is down, whatever is deleted ends it'
const INGRESS = 'issue 14, 1: packets are taken at the ingress of the device, where nobody has looked at them before'
const [P0 = ''] = POOL
const SENT = `${B}:40001 > ${S}:53`
const SEEN = `${P0}:40001 > ${S}:53`
const SMALL_MTU = 1000
/** A bit of the DSCP field. */
const DSCP = 0x20
/** EtherType of a tag of IEEE 802.1Q, and the VLAN's number with the EtherType that follows. */
const TAGGED = 0x8100
const TAG = Buffer.from([0, 5, 8, 0])

const exchange = (lab: Lab, more: Partial<Exchange> = {}): Exchange => ({ client: lab.b, sent: SENT, server: lab.net, seen: SEEN, ...more })

async function setUp(lab: Lab, seconds = LONG_S): Promise<void> {
  await vsSysctl(lab, 'snat_fastpath', String(seconds))
  await snat(lab, { pool: [P0] })
}

const learnt = (lab: Lab): Promise<void> => learn(exchange(lab))
const goesFast = (lab: Lab): Promise<void> => assertFast(lab, exchange(lab))
const goesSlow = (lab: Lab): Promise<void> => assertSlow(lab, exchange(lab))

/** A UDP flow that goes the short way. */
async function fastFlow(lab: Lab): Promise<void> {
  await setUp(lab)
  await learnt(lab)
  await goesFast(lab)
}

/** A TCP connection of which all but SYN and FIN goes the short way. */
async function fastConnection(lab: Lab): Promise<Connection> {
  const connection = await Connection.open({ client: lab.b, sent: SENT, server: lab.net, seen: SEEN })
  await connection.request('GET /')
  assert.deepEqual(await taken(lab, () => connection.respond('hello')), ONE)
  return connection
}

/** @returns all packets that the gateway has forwarded */
const forwarded = async (lab: Lab): Promise<number> => Number(await lab.gateway.sh(`awk '/^Ip:/ { count = $7 } END { print count }' /proc/net/snmp`))

/** An exchange of short packets, which fill the frame with more than they have. */
async function shortExchange(lab: Lab): Promise<void> {
  lab.b.send(Buffer.concat([packetOut(), PADDING]))
  await expectOut(lab)
  lab.net.send(Buffer.concat([packetIn(), PADDING]))
  await expectIn(lab)
}

/** @returns packets of the pool address, in and out; IPVS adds them up every two seconds */
const ofPool = async (lab: Lab): Promise<string> => (await lab.gateway.sh(`ipvsadm -ln --stats --exact -u 0.0.0.0:0 | awk '$2 == "${P0}:0" { print $4, $5 }'`)).trim()

const stateOf = async (lab: Lab): Promise<string> => (await connectionOf(lab, `${B}:40001`)).state
const PADDING = Buffer.alloc(18)
const packetOut = (options: UdpOptions = {}, data: string | Buffer = 'out'): Buffer => udp(SENT, data, options)
const packetIn = (options: UdpOptions = {}, data: string | Buffer = 'in'): Buffer => udp(turn(SEEN), data, options)
const expectOut = (lab: Lab): Promise<Packet> => lab.net.expect(`udp ${SEEN}`)
const expectIn = (lab: Lab, at: Host = lab.b): Promise<Packet> => at.expect(`udp ${turn(SENT)}`)

/** What goes the whole way, though its flow has a short one, and what becomes of it. */
const UNUSUAL: readonly (readonly [what: string, run: (lab: Lab) => Promise<void>])[] = [
  ['whose TTL ends here', async (lab) => {
    lab.b.send(packetOut({ ttl: 1 }))
    await lab.b.expect(`icmp ${GATEWAY.inside.address} > ${B} time-exceeded [udp ${SENT}]`)
    lab.net.send(packetIn({ ttl: 1 }))
    await lab.net.expect(`icmp * > ${S} time-exceeded [udp ${turn(SEEN)}]`)
  }],
  ['with options in the IP header', async (lab) => {
    lab.b.send(packetOut({ options: Buffer.from([1, 1, 1, 0]) }))
    await expectOut(lab)
    lab.net.send(packetIn({ options: Buffer.from([1, 1, 1, 0]) }))
    await expectIn(lab)
  }],
  ['in fragments', async (lab) => {
    const data = Buffer.alloc(2000, 'data ')
    lab.b.send(fragment(packetOut({ df: false }, data), 1480))
    assert.ok((await gather(lab.net, `udp ${SEEN}`, `frag 17 ${P0} > ${S} offset=*`)).body.subarray(8).equals(data))
    lab.net.send(fragment(packetIn({ df: false }, data), 1480))
    assert.ok((await gather(lab.b, `udp ${turn(SENT)}`, `frag 17 ${S} > ${B} offset=*`)).body.subarray(8).equals(data))
  }],
  ['of another class of service', async (lab) => {
    lab.b.send(packetOut({ tos: DSCP }))
    assert.equal((await expectOut(lab)).ip?.tos, DSCP)
    lab.net.send(packetIn({ tos: DSCP }))
    assert.equal((await expectIn(lab)).ip?.tos, DSCP)
  }],
]

/** What an administrator can have that must see each packet, or that gives packets something of its own. */
const WATCHERS: readonly (readonly [what: string, setUp: string, takeDown?: string])[] = [
  ['that connection tracking follows', `iptables ${STATEFUL.join('\niptables ')}`],
  ['whose packets have a mark', 'iptables -t mangle -A FORWARD -p udp -j MARK --set-mark 1'],
  ['whose packets get another class of service', 'iptables -t mangle -A POSTROUTING -p udp -j DSCP --set-dscp 8'],
  ['whose packets get a class of traffic', 'iptables -t mangle -A POSTROUTING -p udp -j CLASSIFY --set-class 1:10'],
  ['whose packets a program lets pass', 'modprobe nfnetlink_queue; queue-accept 0 0; iptables -A FORWARD -p udp -j NFQUEUE --queue-num 0', 'killall queue-accept'],
]

/** What looks like a packet of a flow at the ingress of the device, and is none that the gateway forwards. */
const NOT_OURS: readonly (readonly [what: string, send: (lab: Lab, packet: Buffer) => void])[] = [
  ['for another host, which a device in promiscuous mode hears', (lab, packet) => lab.b.send(packet, HOSTS.a.mac)],
  ['of a VLAN', (lab, packet) => lab.b.sendFrame(TAGGED, Buffer.concat([TAG, packet]))],
  ['with a wrong sum of its IP header', (lab, packet) => {
    packet.writeUInt16BE(packet.readUInt16BE(10) ^ 1, 10)
    lab.b.send(packet)
  }],
  ['shorter than it says', (lab, packet) => lab.b.send(packet.subarray(0, -1))],
]

/** @param name what the device of {@link C} is called */
const upAgain = (name = 'inside2'): string => `
  ip link set ${name} up
  ip -6 addr add ${GATEWAY.inside2.address6}/64 dev ${name}
  until [ "$(cat /sys/class/net/${name}/carrier)" = 1 ]; do usleep 50000; done`

/** Has a device go to another namespace, which ends, so that it comes back. */
const AWAY_AND_BACK = `
  rm -f /tmp/away
  unshare -n sh -c 'touch /tmp/away; exec sleep 1000' & away=$!
  until [ -e /tmp/away ]; do usleep 50000; done
  ip link set inside2 netns $away
  if ip link show dev inside2 2>/dev/null; then exit 1; fi
  kill $away
  until ip link show dev inside2 >/dev/null 2>&1; do usleep 50000; done
  ip addr add ${GATEWAY.inside2.address}/24 dev inside2
  ${upAgain()}`

/** @param to its name from now on */
const renamed = (from: string, to: string): string => `ip link set ${from} down; ip link set ${from} name ${to}\n${upAgain(to)}`

/** What happens to a device while ways lead by it. */
const DEVICE_CHANGES: readonly (readonly [what: string, change: string, back: string])[] = [
  ['was in another namespace meanwhile', AWAY_AND_BACK, 'true'],
  ['has another name', renamed('inside2', 'other'), renamed('other', 'inside2')],
]

export default suite('fastpath', [
  fast('no packet goes a short way unless the administrator says so', SHORT, async (lab) => {
    await vsSysctl(lab, 'snat_fastpath', '0')
    await snat(lab, { pool: [P0] })
    await learnt(lab)
    await goesSlow(lab)
    await vsSysctl(lab, 'snat_fastpath', String(LONG_S))
    await learnt(lab)
    await goesFast(lab)
    await vsSysctl(lab, 'snat_fastpath', '0')
    await goesSlow(lab)
  }),

  fast('UDP is translated both ways, hops are counted, and so are packets', SHORT, async (lab) => {
    // The port is taken, so that it is changed as well as the address.
    await setUp(lab)
    await ask(exchange(lab, { client: lab.a, sent: `${A}:40001 > ${S}:53` }))
    const seen = await ask(exchange(lab, { seen: `${P0}:* > ${S}:53` }))
    await ask(exchange(lab, { seen }))
    const before = await forwarded(lab)
    assert.deepEqual(await taken(lab, async () => {
      lab.b.send(packetOut({ ttl: 64 }, 'question'))
      const out = await lab.net.expect(`udp ${seen}`)
      assert.deepEqual([out.ip?.ttl, out.data.toString()], [63, 'question'])
      lab.net.send(udp(turn(seen), 'answer', { ttl: 7 }))
      const back = await expectIn(lab)
      assert.deepEqual([back.ip?.ttl, back.data.toString()], [6, 'answer'])
      lab.net.send(udp(turn(seen), 'no checksum', { noChecksum: true }))
      assert.equal((await expectIn(lab)).udp?.checksum, 0)
    }), { out: 1, in: 2 })
    assert.equal((await forwarded(lab)) - before, 3, 'packets that are forwarded')
    await until('the packets of the pool address are counted', async () => (await ofPool(lab)) === '5 4')
  }),

  fast('the kernel counts packets as on the whole way, and what fills their frames goes no further', SHORT, async (lab) => {
    await setUp(lab)
    await learnt(lab)
    await vsSysctl(lab, 'snat_fastpath', '0')
    const whole = await countedOf(lab, () => shortExchange(lab))
    await vsSysctl(lab, 'snat_fastpath', String(LONG_S))
    await learnt(lab)
    assert.deepEqual(await taken(lab, async () => assert.deepEqual(await countedOf(lab, () => shortExchange(lab)), whole)), ONE)
  }),

  fast('TCP data go the short way, SYN and FIN the whole way, and the state follows', SHORT, async (lab) => {
    await setUp(lab)
    const connection = await fastConnection(lab)
    for (let round = 0; round < 3; round++) assert.deepEqual(await taken(lab, () => connection.request('more')), ONE)
    assert.equal(await stateOf(lab), 'ESTABLISHED')
    assert.deepEqual(await taken(lab, () => connection.finish()), NONE)
    assert.equal(await stateOf(lab), 'TIME_WAIT')
  }),

  fast('sequence numbers are followed on the short way: only a RST that fits ends the connection', SHORT, async (lab) => {
    await setUp(lab)
    const connection = await fastConnection(lab)
    await connection.respond(Buffer.alloc(1000))
    const { server } = connection.next
    for (const seq of [server - 1000, server + 1]) {
      lab.net.send(tcp(turn(SEEN), 'R', { seq }))
      await lab.b.expect(`tcp ${turn(SENT)} R`)
      assert.equal(await stateOf(lab), 'ESTABLISHED')
    }
    await connection.abort('server')
    assert.equal(await stateOf(lab), 'CLOSE')
    assert.deepEqual(await taken(lab, () => connection.fromServer('PA', 'late')), NONE)
    assert.equal(await stateOf(lab), 'CLOSE')
    await connection.request('it was forged')
    assert.equal(await stateOf(lab), 'ESTABLISHED')
    assert.deepEqual(await taken(lab, () => connection.respond('indeed')), ONE)
  }),

  fast('a FIN that somebody has made up does not take a connection off the short way, and a right one ends it', SHORT, async (lab) => {
    await setUp(lab)
    const connection = await fastConnection(lab)
    const { client, server } = connection.next
    lab.net.send(tcp(turn(SEEN), 'FA', { seq: server + 123_456, ack: client }))
    await lab.b.expect(`tcp ${turn(SENT)} FA`)
    assert.deepEqual(await taken(lab, () => connection.respond('more')), ONE)
    await connection.finish()
    assert.equal(await stateOf(lab), 'TIME_WAIT')
  }),

  fast('segments that were merged on reception go the short way, and out as they came', SHORT, async (lab) => {
    await setUp(lab)
    const sent = `${C}:40001 > ${S}:80`
    const seen = `${P0}:40001 > ${S}:80`
    const connection = await Connection.open({ client: lab.c, sent, server: lab.net, seen })
    await connection.request('GET /')
    const went = await taken(lab, () => sendMerged({ lab, link: 'inside2', what: 'forwarded', from: lab.c, sent, to: lab.net, seen, seq: connection.next.client }))
    assert.ok(went.out > 0, 'the short way')
  }),

  fast('packets keep the connection alive, by the timeouts that are set', SHORT, async (lab) => {
    await fastFlow(lab)
    for (const [seconds, least] of [[5000, 4000], [90, 0]] as const) {
      await vsSysctl(lab, 'snat_udp_timeout', String(seconds))
      await goesFast(lab)
      const { expires } = await connectionOf(lab, `${B}:40001`)
      assert.ok(expires <= seconds && expires >= least, `${expires} s of ${seconds}`)
    }
  }),

  ...UNUSUAL.map(([what, run]) =>
    fast(`a packet ${what} goes the whole way, and its flow stays on the short one`, FALLS_BACK, async (lab) => {
      await fastFlow(lab)
      assert.deepEqual(await taken(lab, () => run(lab)), NONE)
      await goesFast(lab)
    }),
  ),

  fast('a packet that does not fit is answered, or cut, as on the whole way', FALLS_BACK, async (lab) => {
    await setUp(lab)
    const large = Buffer.alloc(1300, 'large')
    await between(lab, `ip route add ${S} via ${ROUTER} mtu ${SMALL_MTU}\n${setMtu('inside', SMALL_MTU)}`, `ip route del ${S}`, async () => {
      await learnt(lab)
      await goesFast(lab)
      assert.deepEqual(await taken(lab, async () => {
        lab.b.send(packetOut({}, large))
        assert.equal((await lab.b.expect(`icmp ${GATEWAY.inside.address} > ${B} frag-needed [udp ${SENT}]`)).icmp?.mtu, SMALL_MTU)
        lab.net.send(packetIn({}, large))
        assert.equal((await lab.net.expect(`icmp * > ${S} frag-needed [udp ${turn(SEEN)}]`)).icmp?.mtu, SMALL_MTU)
        lab.b.send(packetOut({ df: false }, large))
        assert.ok((await gather(lab.net, `udp ${SEEN}`, `frag 17 ${P0} > ${S} offset=*`)).body.subarray(8).equals(large))
      }), NONE)
      await goesFast(lab)
    })
  }),

  ...NOT_OURS.map(([what, send]) =>
    fast(`a packet ${what} goes nowhere, though its flow has a short way`, INGRESS, async (lab) => {
      await fastFlow(lab)
      await between(lab, 'ip link set inside promisc on', 'ip link set inside promisc off', async () => {
        assert.deepEqual(await taken(lab, async () => {
          send(lab, packetOut({}, Buffer.alloc(100)))
          await lab.settle()
        }), NONE)
        lab.net.refuse('udp **')
      })
      await goesFast(lab)
    }),
  ),

  fast('packets of a VLAN go the short way from its own device', INGRESS, async (lab) => {
    await setUp(lab)
    await between(lab, 'modprobe 8021q; ip link add link inside name tagged type vlan id 5; ip link set tagged up; ip addr add 192.168.5.1/24 dev tagged', 'ip link del tagged; rmmod 8021q', async () => {
      const send = async (): Promise<void> => {
        lab.b.sendFrame(TAGGED, Buffer.concat([TAG, udp(`192.168.5.2:40001 > ${S}:53`, 'out')]))
        await expectOut(lab)
      }
      for (let round = 0; round < 2; round++) await send()
      assert.deepEqual(await taken(lab, send), { out: 1, in: 0 })
      // Who claims to be that host on another device is not it.
      assert.deepEqual(await taken(lab, async () => {
        lab.b.send(udp(`192.168.5.2:40001 > ${S}:53`, 'forged'))
        await lab.settle()
      }), NONE)
    })
  }),

  ...WATCHERS.map(([what, script, takeDown = 'true']) =>
    fast(`a flow ${what} stays on the whole way`, FALLS_BACK, async (lab) => {
      await setUp(lab)
      await between(lab, script, takeDown, async () => {
        await learnt(lab)
        await goesSlow(lab)
        await goesSlow(lab)
      })
    }),
  ),

  fast('somebody who gets a copy of each packet (TEE) does not get the packets themselves', FALLS_BACK, async (lab) => {
    await setUp(lab)
    await iptables(lab, [`-t mangle -A POSTROUTING -p udp -s ${S} -j TEE --gateway ${C}`, `-t mangle -A FORWARD -p udp -s ${S} -j TEE --gateway ${C}`])
    await learnt(lab)
    await goesFast(lab)
  }),

  fast('where connection tracking is told to leave a flow alone, it may go the short way', FALLS_BACK, async (lab) => {
    await setUp(lab)
    await iptables(lab, ['-t raw -A PREROUTING -p udp -j CT --notrack', '-A FORWARD -m conntrack --ctstate UNTRACKED', ...STATEFUL.slice(1)])
    await learnt(lab)
    await goesFast(lab)
  }),

  fast('a rule of FORWARD counts for flows that are under way within the time that is set, and no flow may go before it passes', FALLS_BACK, async (lab) => {
    await setUp(lab, 1)
    await learnt(lab)
    await iptables(lab, [`-A FORWARD -p udp -d ${B} -j DROP`])
    await until('the rule sees the flow', async () => {
      lab.net.send(packetIn())
      await lab.settle()
      return (await matched(lab, 'FORWARD')).some((packets) => packets > 0)
    })
    lab.b.inbox.length = 0
    assert.deepEqual(await taken(lab, async () => {
      for (let count = 0; count < 3; count++) lab.net.send(packetIn())
      await lab.settle()
    }), NONE)
    lab.b.refuse('udp **')
  }),

  fast('no rule of iptables sees what goes the short way', SHORT, async (lab) => {
    await fastFlow(lab)
    await iptables(lab, [`-A FORWARD -p udp -s ${B}`, `-t raw -A PREROUTING -p udp -s ${B}`])
    await goesFast(lab)
    assert.deepEqual([await matched(lab, 'FORWARD'), await matched(lab, '-t raw PREROUTING')], [[0], [0]])
  }),

  fast('another route counts at once, and so does its end', CHANGES, async (lab) => {
    await fastFlow(lab)
    await between(lab, `ip route add ${B}/32 via ${C}`, `ip route del ${B}/32 2>/dev/null; true`, async () => {
      for (let round = 0; round < 2; round++) {
        lab.net.send(packetIn())
        await expectIn(lab, lab.c)
      }
      assert.deepEqual(await taken(lab, async () => {
        lab.net.send(packetIn())
        await expectIn(lab, lab.c)
      }), { out: 0, in: 1 })
      await lab.gateway.sh(`ip route del ${B}/32`)
      lab.net.send(packetIn())
      await expectIn(lab)
      await learnt(lab)
      await goesFast(lab)
    })
  }),

  fast('a route that goes nowhere counts at once', CHANGES, async (lab) => {
    await fastFlow(lab)
    await between(lab, `ip route add blackhole ${S}`, `ip route del blackhole ${S}`, async () => {
      lab.b.send(packetOut())
      await lab.settle()
      lab.net.refuse('udp **')
    })
    await ask(exchange(lab))
    await goesFast(lab)
  }),

  fast('a rule about routes counts at once', CHANGES, async (lab) => {
    await fastFlow(lab)
    await between(lab, `ip route add default via ${C} table 100; ip rule add to ${B} lookup 100`, `ip rule del to ${B} lookup 100; ip route flush table 100`, async () => {
      lab.net.send(packetIn())
      await expectIn(lab, lab.c)
    })
    lab.net.send(packetIn())
    await expectIn(lab)
  }),

  fast('a neighbour that has another address, or none any more, counts at once', CHANGES, async (lab) => {
    await fastFlow(lab)
    await between(lab, `arp -i inside -s ${B} ${HOSTS.a.mac}`, `arp -i inside -d ${B}`, async () => {
      assert.deepEqual(await taken(lab, async () => {
        lab.net.send(packetIn())
        await expectIn(lab, lab.a)
      }), { out: 0, in: 1 })
    })
    // Its address is asked for again.
    lab.net.send(packetIn())
    await expectIn(lab)
  }),

  fast('the remote learns of a neighbour that does not answer any more', CHANGES, async (lab) => {
    await fastFlow(lab)
    lab.b.down = true
    await lab.gateway.sh('ip neigh flush dev inside')
    lab.net.send(packetIn())
    await lab.net.expect(`icmp * > ${S} host-unreachable [udp ${turn(SEEN)}]`).finally(() => (lab.b.down = false))
  }),

  fast('a device that goes down takes the way with it, and it is there again', CHANGES, async (lab) => {
    await setUp(lab)
    const flow = exchange(lab, { client: lab.c, sent: `${C}:40002 > ${S}:53`, seen: `${P0}:40002 > ${S}:53` })
    await learn(flow)
    await assertFast(lab, flow)
    await between(lab, 'ip link set inside2 down', upAgain(), async () => {
      assert.deepEqual(await taken(lab, async () => {
        lab.net.send(udp(turn(flow.seen), 'lost'))
        // Nobody can ping its host; what comes after it has gone through.
        await ask(exchange(lab))
      }), NONE)
    })
    await ask(flow)
    await learn(flow)
    await assertFast(lab, flow)
  }),

  ...DEVICE_CHANGES.map(([what, change, back]) =>
    fast(`flows go the short way again by a device that ${what}`, INGRESS, async (lab) => {
      await setUp(lab)
      const flow = exchange(lab, { client: lab.c, sent: `${C}:40002 > ${S}:53`, seen: `${P0}:40002 > ${S}:53` })
      await learn(flow)
      await assertFast(lab, flow)
      await between(lab, change, back, async () => {
        await ask(flow)
        await learn(flow)
        await assertFast(lab, flow)
      })
    }),
  ),

  fast('a device that is removed takes the way with it, and is gone at once', CHANGES, async (lab) => {
    await fastFlow(lab)
    const tunnel = `modprobe ipip; ip tunnel add tunnel mode ipip remote ${C} local ${GATEWAY.inside2.address}; ip link set tunnel up; ip route add ${B}/32 dev tunnel`
    await between(lab, tunnel, 'ip link del tunnel 2>/dev/null; rmmod ipip', async () => {
      const throughTunnel = async (): Promise<void> => {
        lab.net.send(packetIn())
        await lab.c.expect(`ip 4 ${GATEWAY.inside2.address} > ${C}`)
      }
      // The tunnel tells the route its MTU, which makes it another one.
      for (let round = 0; round < 3; round++) await throughTunnel()
      assert.deepEqual(await taken(lab, throughTunnel), { out: 0, in: 1 })
      await lab.gateway.sh('ip link del tunnel')
      lab.net.send(packetIn())
      await expectIn(lab)
      await learnt(lab)
      await goesFast(lab)
    })
  }),

  fast('a pool address or service that is deleted stops its flows, and they go on with it', CHANGES, async (lab) => {
    await fastFlow(lab)
    for (const [gone, back] of [
      [`ipvsadm -d -u 0.0.0.0:0 -r ${P0}:0`, `ipvsadm -a -u 0.0.0.0:0 -r ${P0}:0 -m`],
      ['ipvsadm -C', snatCommands({ pool: [P0], device: 'none' })],
    ] as const) {
      await lab.gateway.sh(gone)
      lab.b.send(packetOut())
      lab.net.send(packetIn())
      await lab.settle()
      lab.net.refuse('udp **')
      lab.b.refuse('udp **')
      await lab.gateway.sh(`set -e\n${back}`)
      await ask(exchange(lab))
      await goesFast(lab)
    }
    assertNothingPrivateLeft(lab)
  }),

  fast('a connection that is ended from outside of it has no way any more', CHANGES, async (lab) => {
    await fastFlow(lab)
    await lab.gateway.sh(`ipvsadm --snat-conns -F ${B} --kill`)
    assert.deepEqual(await taken(lab, async () => {
      lab.net.send(packetIn())
      await lab.settle()
      lab.b.refuse('udp **')
      lab.b.send(packetOut())
      await expectOut(lab)
    }), NONE)
    await ask(exchange(lab))
    await learnt(lab)
    await goesFast(lab)
  }),

  fast('flows of rules go the short way as those of a service do', SHORT, async (lab) => {
    await vsSysctl(lab, 'snat_fastpath', String(LONG_S))
    await lab.gateway.sh(`ip addr add ${P0}/32 dev outside`)
    await atOnce(lab, ...pool('out', [P0]), rule('192.168.0.0/16', 'out', { id: 5 }))
    await learnt(lab)
    await goesFast(lab)
    await lab.gateway.sh('ipvsadm --delete-rule --id 5')
    await goesFast(lab)
  }),

  fast('flows of another network namespace go the short way, and their ways end with it', SHORT, async (lab) => {
    const printed = await elsewhere(lab, {
      remote: S,
      router: `${snatCommands({ pool: ['10.9.9.10'], device: 'far' })}\necho ${LONG_S} >/proc/sys/net/ipv4/vs/snat_fastpath`,
      host: `for round in 1 2 3; do echo GET / HTTP/1.0 | nc -w 5 ${S} 81; done`,
      report: 'cat /proc/net/ip_vs_snat',
    })
    assert.match(printed, /HTTP\/1/)
    assert.match(printed, /^fast_in [1-9]/m)
  }, { needs: ['ipvs-namespaces'] }),

  fast('it is turned on and off under traffic, and the module is unloaded with ways in use', CHANGES, async (lab) => {
    await fastFlow(lab)
    lab.net.service = (packet) => {
      if (packet.udp && packet.ip) lab.net.send(udp(`${packet.ip.dst}:${packet.udp.dport} > ${packet.ip.src}:${packet.udp.sport}`, 'a'))
      return true
    }
    lab.b.service = () => true
    const send = (round: number): void => lab.b.send(udp(`${B}:${41_001 + (round % 4)} > ${S}:53`, 'q'))
    await during(lab, send, () => lab.gateway.sh(`
      modprobe veth
      now() { cut -d . -f 1 /proc/uptime; }
      end=$(($(now) + ${CHANGES_S}))
      for round in $(seq 40); do
        [ $round -le 4 ] || [ $(now) -lt $end ] || break
        echo $((round % 2 * ${LONG_S})) >/proc/sys/net/ipv4/vs/snat_fastpath
        ip route add 10.99.0.0/16 dev inside; ip route del 10.99.0.0/16 dev inside
        ip link add type veth; ip link del veth0
      done
      echo ${LONG_S} >/proc/sys/net/ipv4/vs/snat_fastpath`))
    lab.net.service = undefined
    await lab.settle()
    lab.b.service = undefined
    await learnt(lab)
    await goesFast(lab)
    lab.net.service = () => true
    await during(lab, send, () => lab.gateway.sh('set -e; ipvsadm -C; rmmod ip_vs_rr; rmmod ip_vs; modprobe ip_vs'))
  }, { limit: 180 }),
])
