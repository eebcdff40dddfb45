// SPDX-License-Identifier: GPL-2.0-only
/** What SNAT must leave alone although it is configured. */

import assert from 'node:assert/strict'
import { Connection, type Host } from '../../vm/host/index.ts'
import type { Lab } from '../../vm/lab.ts'
import { echo, icmpError, ip6Bytes, ipv4, ipv6, PROTOCOL, tcp, udp, udp6 } from '../../vm/packet/index.ts'
import { A, B, C, CLIENT, GATEWAY, HOSTS, POOL, ROUTER, S, VIP } from '../../vm/topology.ts'
import { between, counter, nat, snat, snatCommands } from './lib/configure.ts'
import { elsewhere } from './lib/elsewhere.ts'
import { atOnce, pool, rule } from './lib/rules.ts'
import { suite, test } from './lib/suite.ts'
import { ask, assertNothingPrivateLeft, everyKindGoesOut, nameError, ping, routeOf, turn, withNeighbour } from './lib/traffic.ts'

const [P0 = '', P1 = ''] = POOL
const UNTOUCHED = 'issue 2: inside to inside, expired real-server replies and the gateway\'s own traffic untouched; defect 5'
const OTHERS = 'issue 2: IPv6 and other protocols pass'
const STOCK = 'issue 2: LVS NAT (also DR, fwmark and persistent services) untouched beside SNAT'
const VMAC = 'issue 15, as the engine was attacked: keepalived\'s use_vmac has the virtual addresses on a macvlan, and the routes below it'
const CLOSED = 'issue 15, as the engine was attacked: who has no default route, or has it in a table of its own, sends nothing out as it is'
const VMAC_ADDRESS = '00:00:5e:00:01:33'
/** Neighbours of the gateway by the outside link, outside and inside. */
const NEIGHBOUR = '203.0.113.77'
const INSIDE_NEIGHBOUR = '10.9.0.5'

/** Has a macvlan `vmac` of the outside device for as long as `work` takes. */
const withMacvlan = (lab: Lab, work: () => Promise<void>): Promise<void> => between(lab, `
  ip link add link outside name vmac address ${VMAC_ADDRESS} type macvlan
  ip link set vmac up`, `
  ip link del vmac
  ip route replace default via ${ROUTER}`, work)

/** Has routes instead of a default route, and a pool address on no device that tells, for as long as `work` takes. */
const withRoutes = (lab: Lab, routes: readonly string[], work: () => Promise<void>): Promise<void> => between(lab, `
  ip addr add ${P0}/32 dev lo
  ip route del default
  ${routes.map((route) => `ip route add ${route} via ${ROUTER}`).join('\n  ')}`, `
  ip addr del ${P0}/32 dev lo
  ${routes.map((route) => `ip route del ${route}`).join('\n  ')}
  ip route replace default via ${ROUTER}`, work)
const SOME_ROUTES = ['198.51.100.0/24', '192.0.2.0/24']
const LOST = 'issue 15, as the engine was attacked: who loses the default route keeps the inside network'
const TABLES = 'issue 15, as the engine was attacked: the default route is in a table of its own, and the host has another, or leads by a tunnel'
const SMALL = 'issue 15, as the engine was attacked: one ICMP error makes a neighbour look like one behind a router'
/** In networks behind A and C, which are routers then. */
const NEAR = '10.7.0.5'
const FAR = '10.8.0.5'
const PUBLIC = '198.18.0.5'
const IPIP = 4

/** Has a pool address on lo and networks behind A and C for as long as `work` takes, which may replace the default route. */
const withInsideRouters = (lab: Lab, work: () => Promise<void>): Promise<void> => between(lab, `
  ip addr add ${P0}/32 dev lo
  ip route add 10.7.0.0/16 via ${A}
  ip route add 10.8.0.0/16 via ${C}
  ip route add 198.18.0.0/16 via ${C}`, `
  ip addr del ${P0}/32 dev lo
  ip route del 10.7.0.0/16
  ip route del 10.8.0.0/16
  ip route del 198.18.0.0/16
  ip route replace default via ${ROUTER}`, work)

/** Has a route that only what comes from inside takes, and a pool address on lo, for as long as `work` takes. */
const withOwnTable = (lab: Lab, own: string, main: string, work: () => Promise<void>): Promise<void> => between(lab, `
  ip addr add ${P0}/32 dev lo
  ip route del default
  ip route add 198.18.0.0/16 via ${C}
  ip rule add iif inside lookup 77
  ip route add default ${own} table 77
  ip route add 192.168.2.0/24 dev inside2 table 77
  ${main}`, `
  ip rule del iif inside lookup 77
  ip route flush table 77
  ip route del 198.18.0.0/16
  ip addr del ${P0}/32 dev lo
  ip route replace default via ${ROUTER}`, work)

/** Makes whoever asks a router of its own: `ip route flush cache` keeps what is known of its MTU. */
const shrink = (from: Host, source: string, own: string, to: string): void =>
  from.send(icmpError(`${source} > ${own}`, 'frag-needed', echo(`${own} > ${to}`, 'reply', { echoId: 1 }), { mtu: 1400 }))
const forget = (device: string, net: string, own: string): string => `ip route del ${net} dev ${device}; ip route add ${net} dev ${device} scope link src ${own}`

export default suite('scope', [
  test('inside hosts talk to each other with their own addresses', UNTOUCHED, async (lab) => {
    await snat(lab, { pool: [P0] })
    const connection = await Connection.open({ client: lab.a, sent: `${A}:40001 > ${C}:80`, server: lab.c, seen: `${A}:40001 > ${C}:80` })
    await connection.request('GET /')
    await connection.respond('hello')
    await connection.finish()
    await ask({ client: lab.c, sent: `${C}:40002 > ${A}:53`, server: lab.a, seen: `${C}:40002 > ${A}:53` })
    await ping(lab.a, `${A} > ${C}`, 5, lab.c, A)
    assert.equal(await counter(lab, 'created'), 0)
  }),

  test('hosts of one inside link talk through the gateway with their own addresses', UNTOUCHED, async (lab) => {
    await snat(lab, { pool: [P0] })
    await ask({ client: lab.a, sent: `${A}:40001 > ${B}:53`, server: lab.b, seen: `${A}:40001 > ${B}:53` })
    assert.equal(await counter(lab, 'created'), 0)
  }),

  test('the gateway talks with its own address', UNTOUCHED, async (lab) => {
    await snat(lab, { pool: [P0] })
    const own = GATEWAY.outside.address
    lab.net.service = (packet) => {
      if (packet.udp?.dport !== 53) return false
      lab.net.send(udp(turn(routeOf(packet)), nameError(packet.data)))
      return true
    }
    // One after the other: the applets of the static busybox that make packets of each protocol.
    const talking = lab.gateway.run(`ping -c 1 -W 5 ${S}; wget -T 5 -O - http://${S}:81/; timeout 5 nslookup name.test ${S}`)
    const request = await lab.net.expect(`icmp ${own} > ${S} echo-request id=*`)
    lab.net.send(ipv4(`${S} > ${own}`, PROTOCOL.icmp, replyTo(request.datagram.subarray(20))))
    const syn = await lab.net.expect(`tcp ${own}:* > ${S}:81 S`)
    lab.net.send(tcp(turn(routeOf(syn)), 'RA', { ack: (syn.tcp?.seq ?? 0) + 1 }))
    const { output } = await talking
    assert.match(output, /1 packets received/)
    assert.match(output, /refused/)
    assert.match(output, /NXDOMAIN/)
    assert.ok(lab.sent('outside', `udp ${own}:* > ${S}:53`).length > 0)
    assert.equal(await counter(lab, 'created'), 0)
  }),

  test('what is routed from outside to an inside host is not translated', 'engine.md: no match passes the packet unmodified', async (lab) => {
    await snat(lab, { pool: [P0] })
    lab.net.send(udp(`${CLIENT}:5001 > ${A}:9`, 'routed'))
    await lab.a.expect(`udp ${CLIENT}:5001 > ${A}:9`)
    assert.equal(await counter(lab, 'created'), 0)
  }),

  test('a protocol without a catch-all service passes unmodified', 'defect 13: unmatched traffic through the box is not dropped', async (lab) => {
    await snat(lab, { pool: [P0], protocols: ['tcp'] })
    await ask({ client: lab.a, sent: `${A}:40004 > ${S}:53`, server: lab.net, seen: `${A}:40004 > ${S}:53` })
    await ping(lab.a, `${A} > ${S}`, 6, lab.net, P0)
    await lab.gateway.sh('ipvsadm -C')
    await snat(lab, { pool: [P1], protocols: ['udp'] })
    lab.a.send(tcp(`${A}:40005 > ${S}:80`, 'PA', { data: 'not even a SYN' }))
    await lab.net.expect(`tcp ${A}:40005 > ${S}:80 PA`)
  }),

  test('nothing is translated once the services are gone', 'defect 13; engine.md: no match passes the packet unmodified', async (lab) => {
    await snat(lab, { pool: [P0] })
    await ask({ client: lab.a, sent: `${A}:40006 > ${S}:53`, server: lab.net, seen: `${P0}:40006 > ${S}:53` })
    await lab.gateway.sh('ipvsadm -C')
    lab.a.send(udp(`${A}:40007 > ${S}:53`, 'plain'))
    await lab.net.expect(`udp ${A}:40007 > ${S}:53`)
  }),

  ...([['GRE', PROTOCOL.gre], ['ESP', PROTOCOL.esp], ['IP in IP', PROTOCOL.ipip], ['SCTP', PROTOCOL.sctp], ['253', 253]] as const).map(([name, protocol]) =>
    test(`${name} passes unmodified, both ways`, OTHERS, async (lab) => {
      await snat(lab, { pool: [P0] })
      const body = protocol === PROTOCOL.ipip ? udp('10.1.1.1:5 > 10.1.1.2:6', 'inner') : Buffer.from('0000880b000000000102030405060708', 'hex')
      lab.a.send(ipv4(`${A} > ${S}`, protocol, body))
      const out = await lab.net.expect(`ip ${protocol} ${A} > ${S}`)
      assert.ok(out.data.equals(body), 'body')
      lab.net.send(ipv4(`${S} > ${A}`, protocol, body))
      const back = await lab.a.expect(`ip ${protocol} ${S} > ${A}`)
      assert.ok(back.data.equals(body), 'body')
    }),
  ),

  test('IPv6 passes, both ways', OTHERS, async (lab) => {
    await snat(lab, { pool: [P0] })
    lab.a.send(udp6('fd00:1::2 > fd00:9::9', 9, 'six'))
    await lab.net.expect('ip6 17 fd00:1::2 > fd00:9::9')
    lab.net.send(udp6('fd00:9::9 > fd00:1::2', 9, 'six'))
    await lab.a.expect('ip6 17 fd00:9::9 > fd00:1::2')
    lab.a.send(ipv6(ip6Bytes('fd00:1::2'), ip6Bytes('fd00:9::9'), 59, Buffer.alloc(0)))
    await lab.net.expect('ip6 59 fd00:1::2 > fd00:9::9')
  }),

  test('an IPv6 service is balanced', STOCK, async (lab) => {
    await snat(lab, { pool: [P0] })
    await lab.gateway.sh(`
      set -e
      ipvsadm -A -u [fd00:2::80]:9 -s rr
      ipvsadm -a -u [fd00:2::80]:9 -r [fd00:1::2]:9 -m
      ip -6 addr add fd00:2::80/128 dev outside`)
    try {
      lab.net.send(udp6('fd00:9::9 > fd00:2::80', 9, 'six'))
      await lab.a.expect('ip6 17 fd00:9::9 > fd00:1::2')
      lab.a.send(udp6('fd00:1::2 > fd00:9::9', 9, 'reply'))
      await lab.net.expect('ip6 17 fd00:2::80 > fd00:9::9')
    } finally {
      await lab.gateway.sh('ip -6 addr del fd00:2::80/128 dev outside')
    }
  }),

  test('a direct-routing service forwards to the real server as it did', STOCK, async (lab) => {
    await snat(lab, { pool: [P0] })
    await nat(lab, { port: 80, servers: [A], forwarding: '-g' })
    lab.net.send(tcp(`${CLIENT}:5002 > ${VIP}:80`, 'S'))
    const syn = await lab.a.expect(`tcp ${CLIENT}:5002 > ${VIP}:80 S`)
    assert.equal(syn.eth?.dst, HOSTS.a.mac)
    assert.equal(await counter(lab, 'created'), 0)
  }),

  test('a persistent service keeps a client on its real server', STOCK, async (lab) => {
    await snat(lab, { pool: [P0] })
    await nat(lab, { port: 80, servers: [`${A}:80`, `${B}:80`], more: '-p 360' })
    lab.net.send(tcp(`${CLIENT}:5003 > ${VIP}:80`, 'S'))
    lab.net.send(tcp(`${CLIENT}:5004 > ${VIP}:80`, 'S'))
    lab.net.send(tcp(`${CLIENT}:5005 > ${VIP}:80`, 'S'))
    await lab.settle()
    const counts = [lab.a, lab.b].map((host) => host.inbox.filter((packet) => packet.tcp?.flags === 'S').length).sort()
    assert.deepEqual(counts, [0, 3])
    await ask({ client: lab.a, sent: `${A}:40008 > ${S}:53`, server: lab.net, seen: `${P0}:40008 > ${S}:53` })
  }),

  test('a service of a firewall mark is balanced', `${STOCK}; defect 8: the test for 0.0.0.0:0 matches every fwmark service`, async (lab) => {
    await lab.gateway.sh(`
      set -e
      iptables -t mangle -A PREROUTING -d ${VIP} -j MARK --set-mark 7
      ip addr add ${VIP}/32 dev outside
      ipvsadm -A -f 7 -s rr
      ipvsadm -a -f 7 -r ${A} -m`)
    try {
      await snat(lab, { pool: [P0] })
      const connection = await Connection.open({ client: lab.net, sent: `${CLIENT}:5006 > ${VIP}:81`, server: lab.a, seen: `${CLIENT}:5006 > ${A}:81` })
      await connection.respond('hello')
      await connection.finish()
      await ask({ client: lab.a, sent: `${A}:40009 > ${S}:53`, server: lab.net, seen: `${P0}:40009 > ${S}:53` })
    } finally {
      await lab.gateway.sh('iptables -t mangle -F')
    }
  }),

  test('a pool address that is only routed to the gateway works like a local one', 'issue 2: pool address that is not local; defect 6', async (lab) => {
    await snat(lab, { pool: ['192.0.2.77'], device: 'none' })
    const P = '192.0.2.77'
    const connection = await Connection.open({ client: lab.a, sent: `${A}:40010 > ${S}:80`, server: lab.net, seen: `${P}:40010 > ${S}:80` })
    await connection.request('GET /')
    await connection.respond('hello')
    await connection.finish()
    await ask({ client: lab.a, sent: `${A}:40011 > ${S}:53`, server: lab.net, seen: `${P}:40011 > ${S}:53` })
    await ping(lab.a, `${A} > ${S}`, 8, lab.net, P)
    // Added to the gateway later, it goes on.
    await lab.gateway.sh(`ip addr add ${P}/32 dev outside`)
    await ask({ client: lab.a, sent: `${A}:40011 > ${S}:53`, server: lab.net, seen: `${P}:40011 > ${S}:53` })
    await lab.gateway.sh(`ip addr del ${P}/32 dev outside`)
    await ask({ client: lab.a, sent: `${A}:40011 > ${S}:53`, server: lab.net, seen: `${P}:40011 > ${S}:53` })
  }),

  test('a null route for a routed pool address is not in the way', 'issue 10, A 1: README says which null route ends packets to a routed pool address while there is no service', async (lab) => {
    const P = '192.0.2.77'
    await lab.gateway.sh(`ip route add blackhole ${P}/32 metric 1024`)
    try {
      await snat(lab, { pool: [P], device: 'none' })
      await ask({ client: lab.a, sent: `${A}:40018 > ${S}:53`, server: lab.net, seen: `${P}:40018 > ${S}:53` })
      await lab.gateway.sh('ipvsadm -C')
      lab.net.send(udp(`${CLIENT}:5001 > ${P}:9`, 'unsolicited'))
      await lab.settle()
      lab.net.refuse(`udp ${CLIENT}:5001 > ${P}:9`)
    } finally {
      await lab.gateway.sh(`ip route del blackhole ${P}/32`)
    }
  }),

  test('pool addresses may lie on the loopback device', 'FACTS: outside devices are those of the default route then', async (lab) => {
    await snat(lab, { pool: [P0], device: 'lo' })
    await ask({ client: lab.a, sent: `${A}:40012 > ${S}:53`, server: lab.net, seen: `${P0}:40012 > ${S}:53` })
    await ask({ client: lab.a, sent: `${A}:40013 > ${C}:53`, server: lab.c, seen: `${A}:40013 > ${C}:53` })
    await lab.gateway.sh(`ip addr del ${P0}/32 dev lo`)
  }),

  ...(['a service', 'a rule'] as const).map((by) =>
    test(`a pool address on a macvlan of the outside device is outside, by ${by}`, VMAC, async (lab) => {
      await withMacvlan(lab, async () => {
        await lab.gateway.sh(`ip addr add ${P0}/32 dev vmac`)
        if (by === 'a service') await snat(lab, { pool: [P0], device: 'none' })
        else await atOnce(lab, ...pool('out', [P0]), rule('192.168.0.0/16', 'out'))
        await everyKindGoesOut(lab, P0)
        // To the address of the macvlan, as the switch has it.
        lab.a.send(udp(`${A}:40002 > ${S}:53`, 'question'))
        await lab.net.expect(`udp ${P0}:40002 > ${S}:53`)
        lab.net.send(udp(`${S}:53 > ${P0}:40002`, 'answer'), VMAC_ADDRESS)
        await lab.a.expect(`udp ${S}:53 > ${A}:40002`)
        await ask({ client: lab.c, sent: `${C}:40003 > ${A}:53`, server: lab.a, seen: `${C}:40003 > ${A}:53` })
        assertNothingPrivateLeft(lab)
        const created = await counter(lab, 'created')
        lab.net.send(udp(`${CLIENT}:5001 > ${A}:9`, 'routed'))
        await lab.a.expect(`udp ${CLIENT}:5001 > ${A}:9`)
        await withNeighbour(lab, NEIGHBOUR, async (neighbour) => {
          neighbour.send(udp(`${NEIGHBOUR}:5001 > ${S}:53`, 'no relay'))
          await lab.net.expect(`udp ${NEIGHBOUR}:5001 > ${S}:53`)
        })
        assert.equal(await counter(lab, 'created'), created)
      })
    }),
  ),

  test('a macvlan that the default route leads by says nothing of the device below it', VMAC, async (lab) => {
    // Both sides on one wire, and the macvlan is the gateway's outside.
    await withMacvlan(lab, async () => {
      await lab.gateway.sh(`set -e
        ip addr add 10.9.0.1/24 dev outside
        ip addr add ${P0}/24 dev vmac
        ip route replace default via ${ROUTER} dev vmac`)
      await snat(lab, { pool: [P0], device: 'none' })
      await withNeighbour(lab, INSIDE_NEIGHBOUR, async (neighbour) => {
        neighbour.send(udp(`${INSIDE_NEIGHBOUR}:40001 > ${S}:53`, 'question'))
        await lab.net.expect(`udp ${P0}:40001 > ${S}:53`)
      })
    })
  }),

  test('with one link for all, neighbours may have the address of a macvlan as their router', VMAC, async (lab) => {
    await withMacvlan(lab, async () => {
      await lab.gateway.sh(`ip addr add ${P0}/32 dev vmac`)
      await snat(lab, { pool: [P0], device: 'none' })
      await lab.gateway.sh('echo 1 >/proc/sys/net/ipv4/vs/snat_one_armed')
      await withNeighbour(lab, NEIGHBOUR, async (neighbour) => {
        neighbour.send(udp(`${NEIGHBOUR}:40001 > ${S}:53`, 'question'), VMAC_ADDRESS)
        await lab.net.expect(`udp ${P0}:40001 > ${S}:53`)
        lab.net.send(udp(`${S}:53 > ${P0}:40001`, 'answer'), VMAC_ADDRESS)
        await neighbour.expect(`udp ${S}:53 > ${NEIGHBOUR}:40001`)
        neighbour.send(udp(`${CLIENT}:40002 > ${S}:53`, 'not on this link'), VMAC_ADDRESS)
        await lab.net.expect(`udp ${CLIENT}:40002 > ${S}:53`)
      })
    })
  }),

  ...(['a service', 'a zone', 'a zone without addresses'] as const).map((by) =>
    test(`while no device of the outside is known, nothing leaves by a router with its private address, by ${by}`, CLOSED, async (lab) => {
      await withRoutes(lab, SOME_ROUTES, async () => {
        if (by === 'a service') await snat(lab, { pool: [P0], device: 'none' })
        else if (by === 'a zone') await atOnce(lab, ...pool('out', [P0]), rule('192.168.0.0/16', 'out'))
        else await lab.gateway.sh('ipvsadm -K --zone 192.168.0.0/16')
        lab.a.send([udp(`${A}:40001 > ${S}:53`, 'x'), tcp(`${A}:40001 > ${S}:80`, 'S'), tcp(`${A}:40002 > ${S}:80`, 'A'), echo(`${A} > ${S}`, 'request', { echoId: 7 })])
        await lab.settle()
        assertNothingPrivateLeft(lab)
        assert.equal(await counter(lab, 'created'), 0)
        assert.equal(await counter(lab, 'drop_no_way'), 3)
        assert.equal(await counter(lab, 'drop_no_conn'), 1)
        // Between neighbours of the gateway everything passes, and from outside to inside.
        await ask({ client: lab.a, sent: `${A}:40003 > ${C}:53`, server: lab.c, seen: `${A}:40003 > ${C}:53` })
        lab.net.send(udp(`${CLIENT}:5001 > ${A}:9`, 'routed'))
        await lab.a.expect(`udp ${CLIENT}:5001 > ${A}:9`)
        // As soon as it is, the same goes out.
        if (by === 'a zone without addresses') return
        await lab.gateway.sh(`ip route add default via ${ROUTER}`)
        await everyKindGoesOut(lab, P0)
        await lab.gateway.sh('ip route del default')
      })
    }),
  ),

  ...(['a service', 'a rule'] as const).map((by) =>
    test(`who loses the default route keeps the inside network, by ${by}`, LOST, async (lab) => {
      await withInsideRouters(lab, async () => {
        if (by === 'a service') await snat(lab, { pool: [P0], device: 'none' })
        else await atOnce(lab, ...pool('out', [P0]), rule('0.0.0.0/0', 'out'))
        const passes = async (port: number): Promise<void> => {
          await ask({ client: lab.a, sent: `${NEAR}:${port} > ${FAR}:53`, server: lab.c, seen: `${NEAR}:${port} > ${FAR}:53` })
          lab.net.send(udp(`${CLIENT}:${port} > ${FAR}:9`, 'routed'))
          await lab.c.expect(`udp ${CLIENT}:${port} > ${FAR}:9`)
        }
        await passes(40001)
        const connection = await Connection.open({ client: lab.a, sent: `${NEAR}:40002 > ${FAR}:80`, server: lab.c, seen: `${NEAR}:40002 > ${FAR}:80` })
        await lab.gateway.sh(`ip route del default; ip route add 198.51.100.0/24 via ${ROUTER}`)
        try {
          await connection.request('still there?')
          await connection.respond('yes')
          await passes(40003)
          // Where it led to is still outside.
          await everyKindGoesOut(lab, P0)
        } finally {
          await lab.gateway.sh('ip route del 198.51.100.0/24')
        }
      })
    }),
  ),

  ...(['a service', 'a rule'] as const).map((by) =>
    test(`who never had a default route keeps the inside network, by ${by}`, LOST, async (lab) => {
      await withInsideRouters(lab, async () => {
        await lab.gateway.sh('ip route del default')
        if (by === 'a service') await snat(lab, { pool: [P0], device: 'none' })
        else await atOnce(lab, ...pool('out', [P0]), rule('0.0.0.0/0', 'out'))
        await ask({ client: lab.a, sent: `${NEAR}:40001 > ${FAR}:53`, server: lab.c, seen: `${NEAR}:40001 > ${FAR}:53` })
        lab.net.send(udp(`${CLIENT}:5001 > ${FAR}:9`, 'routed'))
        await lab.c.expect(`udp ${CLIENT}:5001 > ${FAR}:9`)
        lab.a.send(udp(`${NEAR}:40002 > ${PUBLIC}:53`, 'perhaps outside'))
        await lab.settle()
        lab.c.refuse('udp * > *:53')
        assert.equal(await counter(lab, 'drop_no_way'), 1)
      })
    }),
  ),

  ...([['no default route', ''], ['another default route', `ip route add default via ${C}`]] as const).flatMap(([what, main]) =>
    (['a service', 'a rule'] as const).map((by) =>
      test(`the default route of what comes from inside tells where the outside is, where the host has ${what}, by ${by}`, TABLES, async (lab) => {
        await withOwnTable(lab, `via ${ROUTER}`, main, async () => {
          if (by === 'a service') await snat(lab, { pool: [P0], device: 'none' })
          else await atOnce(lab, ...pool('out', [P0]), rule('192.168.0.0/16', 'out'))
          await everyKindGoesOut(lab, P0)
          // Where the host's own leads to is outside as well.
          if (main === '') await ask({ client: lab.a, sent: `${A}:40003 > ${C}:53`, server: lab.c, seen: `${A}:40003 > ${C}:53` })
          assertNothingPrivateLeft(lab)
        })
      }),
    ),
  ),

  test('a tunnel that the default route of what comes from inside leads by is outside', TABLES, async (lab) => {
    await between(lab, `
      modprobe ipip
      ip tunnel add p2p mode ipip local ${GATEWAY.outside.address} remote ${ROUTER}
      ip link set p2p up`, 'ip tunnel del p2p; modprobe -r ipip', async () => {
      await withOwnTable(lab, 'dev p2p', '', async () => {
        await snat(lab, { pool: [P0], device: 'none' })
        lab.a.send(udp(`${A}:40001 > ${S}:53`, 'question'))
        await lab.settle()
        const [tunnelled] = lab.sent('outside').filter(({ ip }) => ip?.protocol === IPIP)
        assert.equal(tunnelled?.datagram.subarray(32, 36).join('.'), P0)
        // Without that route nothing is known of the outside, and a tunnel has no router.
        await lab.gateway.sh('ip route del default table 77; ip route add 198.51.100.0/24 dev p2p table 77; ipvsadm -C')
        await snat(lab, { pool: [P0], device: 'none' })
        lab.a.send(udp(`${A}:40002 > ${S}:53`, 'question'))
        await lab.settle()
        assert.equal(lab.sent('outside').filter(({ ip }) => ip?.protocol === IPIP).length, 1)
      })
    })
  }),

  test('a neighbour with a smaller MTU is still a neighbour, while no device of the outside is known', SMALL, async (lab) => {
    const own = '198.18.0.1'
    await between(lab, `
      ip addr add ${P0}/32 dev lo
      ip addr add ${own}/24 dev inside2
      ip route del default`, `
      ip addr del ${P0}/32 dev lo
      ip addr del ${own}/24 dev inside2
      ip route replace default via ${ROUTER}`, async () => {
      await snat(lab, { pool: [P0], device: 'none' })
      await withNeighbour(lab, PUBLIC, async (neighbour) => {
        shrink(neighbour, PUBLIC, own, PUBLIC)
        await lab.settle()
        await ask({ client: lab.a, sent: `${A}:40002 > ${PUBLIC}:53`, server: neighbour, seen: `${A}:40002 > ${PUBLIC}:53` })
      }, 'inside2')
      assert.equal(await counter(lab, 'drop_no_way'), 0)
    })
  }),

  test('a neighbour with a smaller MTU is still a neighbour, with one link for all', SMALL, async (lab) => {
    await snat(lab, { pool: [P0] })
    await lab.gateway.sh('echo 1 >/proc/sys/net/ipv4/vs/snat_one_armed')
    await withNeighbour(lab, NEIGHBOUR, async (neighbour) => {
      shrink(neighbour, NEIGHBOUR, GATEWAY.outside.address, ROUTER)
      await lab.settle()
      neighbour.send(udp(`${NEIGHBOUR}:40002 > ${ROUTER}:53`, 'next door'))
      await lab.net.expect(`udp ${NEIGHBOUR}:40002 > ${ROUTER}:53`)
      assert.equal(await counter(lab, 'created'), 0)
    })
    // The default route's next hop has to be found by it again.
    await lab.gateway.sh(`${forget('outside', '203.0.113.0/24', GATEWAY.outside.address)}; ip route replace default via ${ROUTER}`)
  }),

  test('the card below as many macvlans as may hold pool addresses is outside too', VMAC, async (lab) => {
    const many = Array.from({ length: 16 }, (_, index) => ({ name: `v${index}`, address: `203.0.113.${100 + index}` }))
    await between(lab, many.map(({ name, address }) => `
      ip link add link outside name ${name} type macvlan
      ip link set ${name} up
      ip addr add ${address}/32 dev ${name}`).join(''), many.map(({ name }) => `ip link del ${name}`).join('\n'), async () => {
      await snat(lab, { pool: many.map(({ address }) => address), device: 'none' })
      lab.a.send([udp(`${A}:40001 > ${S}:53`, 'question'), tcp(`${A}:40001 > ${S}:80`, 'S')])
      await lab.settle()
      assertNothingPrivateLeft(lab)
      assert.equal(await counter(lab, 'created'), 2)
    })
  }),

  test('a default route in two halves tells where the outside is', CLOSED, async (lab) => {
    await withRoutes(lab, ['0.0.0.0/1', '128.0.0.0/1'], async () => {
      await snat(lab, { pool: [P0], device: 'none' })
      await everyKindGoesOut(lab, P0)
      await ask({ client: lab.a, sent: `${A}:40003 > ${C}:53`, server: lab.c, seen: `${A}:40003 > ${C}:53` })
    })
  }),

  test('while no device of the outside is known, rules that name one, or a destination, go on', CLOSED, async (lab) => {
    await withRoutes(lab, SOME_ROUTES, async () => {
      await atOnce(lab, ...pool('out', [P0]), rule(`${A}/32`, 'out', { oif: 'outside' }), rule(`${B}/32`, 'out', { to: `${S}/32` }), rule(`${C}/32`, 'accept'))
      await ask({ client: lab.a, sent: `${A}:40001 > ${S}:53`, server: lab.net, seen: `${P0}:40001 > ${S}:53` })
      await ask({ client: lab.b, sent: `${B}:40001 > ${S}:53`, server: lab.net, seen: `${P0}:* > ${S}:53` })
      await ask({ client: lab.c, sent: `${C}:40001 > ${S}:53`, server: lab.net, seen: `${C}:40001 > ${S}:53` })
    })
  }),

  test('another network namespace has its own services, counters and end', 'issue 2: namespace-aware', async (lab) => {
    const seen = await lab.gateway.sh(`
      unshare -n sh -c '
        ip link set lo up
        ${snatCommands({ pool: [P0], device: 'lo' }).replaceAll('\n', '\n        ')}
        ipvsadm -ln; cat /proc/net/ip_vs_snat_pool
        echo 100 200 >/proc/sys/net/ipv4/vs/snat_port_range
      '
      cat /proc/sys/net/ipv4/vs/snat_port_range`)
    assert.match(seen, new RegExp(`TCP +${P0.replaceAll('.', '\\.')}`))
    assert.match(seen, /1024\s+65535/)
    assert.doesNotMatch(await lab.gateway.sh('ipvsadm -ln'), /0\.0\.0\.0:0/)
    await ask({ client: lab.a, sent: `${A}:40016 > ${S}:53`, server: lab.net, seen: `${A}:40016 > ${S}:53` })
  }, { needs: ['ipvs-namespaces'] }),

  test('what another network namespace forwards is left alone', 'el6.md: IPVS hooks run in every namespace of 2.6.32', async (lab) => {
    await snat(lab, { pool: [P0] })
    lab.a.send(tcp(`${A}:40017 > ${S}:81`, 'S'))
    await lab.net.expect(`tcp ${P0}:40017 > ${S}:81 S`)
    // Elsewhere there is an A too, behind a router of its own, and it connects from the same port to the same address.
    const heard = await elsewhere(lab, {
      remote: S,
      router: `ip addr add ${P0}/32 dev far`,
      host: `ping -c 5 -W 5 ${S}; echo GET / HTTP/1.0 | nc -p 40017 -w 5 ${S} 81`,
    })
    assert.match(heard, / [1-5] packets received/)
    assert.match(heard, /HTTP\/1/)
    assert.equal(await counter(lab, 'created'), 1)
  }),

  test('connection tracking and its NAT beside it are not in the way', 'engine.md: net.ipv4.vs.conntrack handling', async (lab) => {
    // Whoever lists the table has it, and connection tracking with it, attached to every packet.
    await lab.gateway.sh('iptables -t nat -L -n && test -e /proc/sys/net/netfilter/nf_conntrack_count')
    await bothKindsGoOut(lab)
  }),

  test('connection tracking beside it works when IPVS is told to use it', 'engine.md: net.ipv4.vs.conntrack handling', async (lab) => {
    await lab.gateway.sh('modprobe nf_conntrack && echo 1 >/proc/sys/net/ipv4/vs/conntrack')
    await bothKindsGoOut(lab)
  }, { needs: ['ipvs-conntrack'] }),
])

async function bothKindsGoOut(lab: Lab): Promise<void> {
  await snat(lab, { pool: [P0] })
  const connection = await Connection.open({ client: lab.a, sent: `${A}:40014 > ${S}:80`, server: lab.net, seen: `${P0}:40014 > ${S}:80` })
  await connection.request('GET /')
  await connection.respond('hello')
  await connection.finish()
  await ask({ client: lab.a, sent: `${A}:40015 > ${S}:53`, server: lab.net, seen: `${P0}:40015 > ${S}:53` })
}

/** @returns the echo reply to an echo request, both without their IP headers */
function replyTo(request: Buffer): Buffer {
  const reply = Buffer.from(request)
  reply[0] = 0
  // The type goes from 8 to 0, so the checksum's first byte grows by 8, with end-around carry.
  const sum = reply.readUInt16BE(2) + 0x0800
  reply.writeUInt16BE((sum & 0xffff) + (sum >> 16), 2)
  return reply
}
