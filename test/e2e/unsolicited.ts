// SPDX-License-Identifier: GPL-2.0-only
/** Packets that nobody inside has asked for: what outside sends is never taken for something that goes out. */

import assert from 'node:assert/strict'
import { Connection, type Host } from '../../vm/host/index.ts'
import type { Lab } from '../../vm/lab.ts'
import { echo, fragment, icmp, icmpError, ipv4, PROTOCOL, summary, tcp, udp } from '../../vm/packet/index.ts'
import { A, C, CLIENT, GATEWAY, POOL, ROUTER, S, S2, VIP } from '../../vm/topology.ts'
import { between, counter, nat, snat, snatCommands, vsSysctl } from './lib/configure.ts'
import { atOnce, pool, rule } from './lib/rules.ts'
import { suite, test } from './lib/suite.ts'
import { ask, assertNothingPrivateLeft, everyKindGoesOut, until, withNeighbour } from './lib/traffic.ts'

const OUTSIDE = 'issue 10, A 1: a packet that comes in by an outside device is never new outbound'
const TOWARDS = 'issue 10, A 1: nothing is translated towards a pool address, and what comes unsolicited ends here'
const ERRORS = 'issue 10, A 6; RFC 5508, REQ-5: an ICMP error from inside about no connection is dropped and counted'
const PAST = 'issue 15, as the engine was attacked: an ICMP redirect leads a host past the gateway, with its private address'
const REFLECTED = 'issue 15, as the engine was attacked: what is sent with an outside address is answered to that, by the gateway'
const LATER = 'issue 15, as the engine was attacked: an inside host takes clients of a program that has not begun to listen yet'
const DOMAIN = 'issue 15, as the engine was attacked: programs in a routing domain lose ports and clients'
const SILENT = 'issue 10, D; RFC 5382, REQ-4: an unsolicited SYN is not answered at once'
const [P0 = '', P1 = ''] = POOL
/** A pool address that is routed to the gateway, and that the gateway itself routes to the router outside. */
const ROUTED = '192.0.2.77'
/** A neighbour of the gateway outside, that uses it as its router. */
const NEIGHBOUR = '203.0.113.77'
const REDIRECT = 'type=5 code=1'
/** How long the kernel waits before it redirects a host again. */
const REDIRECT_LOAD = '/proc/sys/net/ipv4/route/redirect_load'

/** Packets of every kind from `from` to a pool address. */
const strays = (from: string, to: string): Buffer[] => [
  udp(`${from}:53 > ${to}:40001`, 'stray'),
  udp(`${from}:53 > ${to}:53`, 'below the ports that are given out'),
  tcp(`${from}:80 > ${to}:40001`, 'S'),
  tcp(`${from}:80 > ${to}:80`, 'S'),
  tcp(`${from}:80 > ${to}:40001`, 'SA'),
  tcp(`${from}:80 > ${to}:40001`, 'PA', { data: 'stray' }),
  tcp(`${from}:80 > ${to}:40001`, 'R'),
  echo(`${from} > ${to}`, 'request', { echoId: 40001 }),
  echo(`${from} > ${to}`, 'reply', { echoId: 40001 }),
  icmp(`${from} > ${to}`, 13, 0, Buffer.alloc(16)),
  icmpError(`${from} > ${to}`, 'port-unreachable', udp(`${to}:40001 > ${from}:53`, 'never sent')),
  ipv4(`${from} > ${to}`, PROTOCOL.gre, Buffer.from('0000880b00000000', 'hex')),
  ipv4(`${from} > ${to}`, PROTOCOL.esp, Buffer.alloc(16)),
  ipv4(`${from} > ${to}`, PROTOCOL.sctp, Buffer.alloc(16)),
  ipv4(`${from} > ${to}`, 253, Buffer.alloc(16)),
]

/** Asserts that the gateway has sent nothing to or from an address by any link. */
function assertNothingSentOf(lab: Lab, address: string): void {
  for (const link of ['inside', 'inside2', 'outside'] as const) {
    const sent = lab.sent(link).filter(({ ip }) => ip?.src === address || ip?.dst === address)
    assert.deepEqual(sent.map(summary), [], `sent by ${link}`)
  }
}

/** Has redirects sent, as kernels do by themselves, for as long as `work` takes. */
const withRedirects = (lab: Lab, work: () => Promise<void>): Promise<void> => between(lab, `
  for file in /proc/sys/net/ipv4/conf/*/send_redirects; do echo 1 >$file; done
  cat ${REDIRECT_LOAD} >/tmp/load
  echo 0 >${REDIRECT_LOAD}`, `
  cat /tmp/load >${REDIRECT_LOAD}
  for file in /proc/sys/net/ipv4/conf/*/send_redirects; do echo 0 >$file; done`, work)

/** What would go out if it came from inside. @param from its source, without the port */
const outbound = (from: string, to = S): Buffer[] => [
  udp(`${from}:40001 > ${to}:53`, 'relay me'),
  tcp(`${from}:40001 > ${to}:80`, 'S'),
  tcp(`${from}:40001 > ${to}:80`, 'PA', { data: 'relay me' }),
  echo(`${from} > ${to}`, 'request', { echoId: 40001 }),
]

/** Asserts that {@link outbound} has left as it came. */
async function expectUnmodified(lab: Lab, from: string, to = S): Promise<void> {
  await lab.net.expect(`udp ${from}:40001 > ${to}:53`)
  await lab.net.expect(`tcp ${from}:40001 > ${to}:80 S`)
  await lab.net.expect(`tcp ${from}:40001 > ${to}:80 PA`)
  await lab.net.expect(`icmp ${from} > ${to} echo-request id=40001`)
}

/** Inside errors about packets that never came, and about what cannot be a packet of anybody. */
const errorsAboutNothing = (): Buffer[] => [
  icmpError(`${A} > ${S}`, 'port-unreachable', udp(`${S}:53 > ${A}:40001`, 'never came')),
  icmpError(`${A} > ${S}`, 'time-exceeded', tcp(`${S}:80 > ${A}:40001`, 'A')),
  icmpError(`${A} > ${S}`, 'frag-needed', echo(`${S} > ${A}`, 'reply', { echoId: 40001 }), { mtu: 1400 }),
  icmpError(`${A} > ${S}`, 'host-unreachable', udp(`${A}:40001 > ${S}:53`, 'from here, not from there')),
  icmpError(`${A} > ${S}`, 'port-unreachable', udp(`${S}:53 > ${A}:40001`, 'cut off'), { quote: 2 }),
  icmp(`${A} > ${S}`, 3, 3, Buffer.alloc(4)),
  icmp(`${A} > ${S}`, 4, 0, Buffer.concat([Buffer.alloc(4), udp(`${S}:53 > ${A}:40001`, 'quench')])),
  icmp(`${A} > ${S}`, 12, 0, Buffer.concat([Buffer.alloc(4), udp(`${S}:53 > ${A}:40001`, 'problem')])),
]

/** Has the outside device in a virtual routing domain for as long as `work` takes. */
async function outsideInVrf(lab: Lab, work: () => Promise<void>): Promise<void> {
  const carrier = 'until [ "$(cat /sys/class/net/outside/carrier)" = 1 ]; do usleep 50000; done'
  await between(lab, `
    modprobe vrf
    ip link add red type vrf table 10
    ip link set red up
    ip link set outside master red
    ip route add default via ${ROUTER} dev outside table 10
    ip route add 192.168.1.0/24 dev inside table 10
    ip route add default via ${ROUTER} dev outside
    ${carrier}`, `
    ip link set outside nomaster
    ip link del red
    ip route flush table 10
    ip route replace default via ${ROUTER}
    ip -6 addr add ${GATEWAY.outside.address6}/64 dev outside 2>/dev/null
    echo 0 >/proc/sys/net/ipv4/tcp_l3mdev_accept
    ${carrier}`, work)
}

/** Sends what says to be of an inside host's flow, from elsewhere, and looks at what leaves. */
async function forgesLeadNowhere(lab: Lab, forger: Host): Promise<void> {
  const [, source = ''] = (await ask({ client: lab.a, sent: `${A}:40002 > ${S}:53`, server: lab.net, seen: `*:* > ${S}:53` })).split(' ')
  const connection = await Connection.open({ client: lab.a, sent: `${A}:40001 > ${S}:80`, server: lab.net, seen: `*:* > ${S}:80` })
  await connection.respond('hello')
  const before = lab.sent('outside').length
  forger.send([
    udp(`${A}:40002 > ${S}:53`, 'forged'),
    tcp(`${A}:40001 > ${S}:80`, 'A', { seq: 0x40000000, ack: 1, data: 'x' }), tcp(`${A}:40001 > ${S}:80`, 'R', { seq: 0x40000001 }),
    icmpError(`${C} > ${S}`, 'port-unreachable', udp(`${S}:53 > ${A}:40002`, 'answer')),
  ])
  await lab.settle()
  const left = lab.sent('outside').slice(before).filter(({ ip }) => ip?.dst === S && POOL.includes(ip.src)).map(summary)
  assert.deepEqual(left, [], `the flow is known as ${source}`)
  await connection.request('still there')
  await connection.finish()
}

/** Has a web server on the gateway for as long as `work` takes. @param where `ADDRESS:PORT` or `PORT` */
async function listening(lab: Lab, where: string, work: () => Promise<void>): Promise<void> {
  await lab.gateway.sh(`
    set -e
    httpd -p ${where} -h /tmp
    tries=0
    until netstat -ltn | grep -q ':${where.split(':').pop()} '; do tries=$((tries + 1)); [ $tries -lt 50 ]; usleep 100000; done`)
  try {
    await work()
  } finally {
    await lab.gateway.sh('killall httpd')
  }
}

export default suite('unsolicited', [
  test('what outside sends to a routed pool address makes no connection and is not sent back, whatever its protocol', TOWARDS, async (lab) => {
    await snat(lab, { pool: [ROUTED], device: 'none' })
    const packets = strays(CLIENT, ROUTED)
    lab.net.send(packets)
    await lab.settle()
    assertNothingSentOf(lab, ROUTED)
    assert.equal(await counter(lab, 'created'), 0)
    assert.equal(await counter(lab, 'drop_unsolicited'), packets.length)
  }),

  test('a datagram in fragments to a routed pool address is not sent back', TOWARDS, async (lab) => {
    await snat(lab, { pool: [ROUTED], device: 'none' })
    lab.net.send(fragment(udp(`${CLIENT}:53 > ${ROUTED}:40001`, Buffer.alloc(2000), { df: false }), 1480))
    lab.net.send(fragment(ipv4(`${CLIENT} > ${ROUTED}`, PROTOCOL.gre, Buffer.alloc(2000), { df: false }), 1480))
    await lab.settle()
    assertNothingSentOf(lab, ROUTED)
    assert.equal(await counter(lab, 'created'), 0)
  }),

  test('what an inside host sends to a routed pool address is not translated and goes nowhere', TOWARDS, async (lab) => {
    await snat(lab, { pool: [ROUTED], device: 'none' })
    const packets = strays(A, ROUTED)
    lab.a.send(packets)
    await lab.settle()
    assertNothingSentOf(lab, ROUTED)
    assertNothingPrivateLeft(lab)
    assert.equal(await counter(lab, 'created'), 0)
  }),

  test('an inside host that says it has a pool address is not translated, and gets nothing that circles', TOWARDS, async (lab) => {
    await snat(lab, { pool: [ROUTED, P0], device: 'none' })
    lab.a.send([udp(`${ROUTED}:40001 > ${S}:53`, 'spoofed'), udp(`${P0}:40001 > ${S}:53`, 'spoofed'), tcp(`${ROUTED}:40001 > ${S}:80`, 'S'), echo(`${ROUTED} > ${S}`, 'request', { echoId: 1 })])
    await lab.settle()
    lab.net.send(udp(`${S}:53 > ${ROUTED}:40001`, 'to itself'))
    await lab.settle()
    assert.deepEqual(lab.sent('outside').filter(({ ip }) => ip?.dst === S || ip?.dst === ROUTED).map(summary), [])
    assert.equal(await counter(lab, 'created'), 0)
  }),

  ...(['a service', 'a rule'] as const).map((by) =>
    test(`an inside host that names an outside address as its source has no answers sent there, by ${by}`, REFLECTED, async (lab) => {
      await lab.gateway.sh(`ip addr add ${P0}/32 dev outside`)
      if (by === 'a service') await snat(lab, { pool: [P0], device: 'none' })
      else await atOnce(lab, ...pool('out', [P0]), rule('0.0.0.0/0', 'out'))
      lab.a.send(outbound(CLIENT))
      lab.a.send(outbound(NEIGHBOUR))
      await lab.settle()
      assert.deepEqual(lab.sent('outside').filter(({ ip }) => ip?.dst === S).map(summary), [])
      assert.equal(await counter(lab, 'created'), 0)
      assert.equal(await counter(lab, 'drop_unsolicited'), 6)
      // Whoever lives inside may come by another device than the gateway answers him by, or from behind a router.
      await between(lab, `ip route add 198.18.0.0/16 via ${A}; ip rule add iif outside lookup 77; ip route add 198.19.0.0/16 via ${A} table 77`,
        `ip route del 198.18.0.0/16; ip rule del iif outside lookup 77; ip route flush table 77`, async () => {
          for (const source of [C, '198.18.7.5', '198.19.7.5']) {
            lab.a.send(udp(`${source}:40005 > ${S}:53`, 'question'))
            const { udp: header } = await lab.net.expect(`udp ${P0}:* > ${S}:53`)
            lab.net.send(udp(`${S}:53 > ${P0}:${header?.sport}`, 'answer'))
            await (source === C ? lab.c : lab.a).expect(`udp ${S}:53 > ${source}:40005`)
          }
        })
    }),
  ),

  test('an inside network goes out that is routed by a mark, if its packets have that too, or is private', REFLECTED, async (lab) => {
    await between(lab, `
      ip rule add fwmark 9 lookup 77
      ip route add 198.19.0.0/16 via ${A} table 77
      ip route add 10.9.0.0/16 via ${A} table 77
      iptables -t mangle -A PREROUTING -s 198.19.0.0/16 -j MARK --set-mark 9
      iptables -t mangle -A PREROUTING -d 198.19.0.0/16 -j MARK --set-mark 9
      iptables -t mangle -A PREROUTING -d 10.9.0.0/16 -j MARK --set-mark 9`, `
      iptables -t mangle -F
      ip rule del fwmark 9 lookup 77
      ip route flush table 77`, async () => {
      await snat(lab, { pool: [P0] })
      for (const source of ['198.19.7.5', '10.9.0.5']) await ask({ client: lab.a, sent: `${source}:40001 > ${S}:53`, server: lab.net, seen: `${P0}:* > ${S}:53` })
    })
  }),

  test('a rule about what comes in by a second uplink translates it, by whichever uplink it is answered', REFLECTED, async (lab) => {
    const towards = '192.168.1.50'
    await lab.gateway.sh(`ip addr add ${P0}/32 dev outside; ip addr add ${towards}/32 dev inside`)
    // The second uplink is inside2 here, and c is its router.
    await atOnce(lab, ...pool('out', [P0]), ...pool('in', [towards]), rule('192.168.0.0/16', 'out', { iif: 'inside', oif: 'outside' }),
      rule('192.168.0.0/16', 'out', { iif: 'inside', oif: 'inside2' }), rule('0.0.0.0/0', 'in', { iif: 'inside2', oif: 'inside' }))
    lab.c.send(udp(`${CLIENT}:5001 > ${A}:9`, 'in by the second uplink'))
    await lab.a.expect(`udp ${towards}:* > ${A}:9`)
  }),

  test('a flow lets in its own remote only, and the rest is not sent back', TOWARDS, async (lab) => {
    await snat(lab, { pool: [ROUTED], device: 'none' })
    await ask({ client: lab.a, sent: `${A}:40001 > ${S}:53`, server: lab.net, seen: `${ROUTED}:40001 > ${S}:53` })
    lab.net.send([
      udp(`${CLIENT}:53 > ${ROUTED}:40001`, 'another address'),
      udp(`${S}:54 > ${ROUTED}:40001`, 'another port'),
      udp(`${S}:53 > ${ROUTED}:40002`, 'to another port'),
      tcp(`${S}:53 > ${ROUTED}:40001`, 'S'),
    ])
    await lab.settle()
    lab.a.refuse('* **')
    lab.net.refuse(`* * > ${ROUTED}**`)
    assert.equal(await counter(lab, 'created'), 1)
    assert.equal(await counter(lab, 'drop_unsolicited'), 4)
    lab.net.send(udp(`${S}:53 > ${ROUTED}:40001`, 'the remote'))
    await lab.a.expect(`udp ${S}:53 > ${A}:40001`)
  }),

  test('a pool address of one protocol is none of a flow, and still no packet to it is sent back', TOWARDS, async (lab) => {
    await snat(lab, { pool: [ROUTED], protocols: ['tcp'], device: 'none' })
    lab.net.send(strays(CLIENT, ROUTED))
    await lab.settle()
    assertNothingSentOf(lab, ROUTED)
  }),

  test('a neighbour outside cannot have the gateway relay for it', OUTSIDE, async (lab) => {
    await snat(lab, { pool: [P0] })
    await withNeighbour(lab, NEIGHBOUR, async (neighbour) => {
      neighbour.send(outbound(NEIGHBOUR))
      await expectUnmodified(lab, NEIGHBOUR)
    })
    assert.equal(await counter(lab, 'created'), 0)
    assert.ok((await counter(lab, 'out_of_scope')) >= 3)
  }),

  ...([['a local', P0, 'outside'], ['a routed', ROUTED, 'none']] as const).map(([kind, pool, device]) =>
    test(`a forged inside source that comes in from outside is not translated, with ${kind} pool address`, OUTSIDE, async (lab) => {
      await snat(lab, { pool: [pool], device })
      for (const oneArmed of ['0', '1']) {
        await vsSysctl(lab, 'snat_one_armed', oneArmed)
        for (const source of [A, CLIENT]) {
          lab.net.send(outbound(source, S2))
          await expectUnmodified(lab, source, S2)
        }
      }
      assert.equal(await counter(lab, 'created'), 0)
    }),
  ),

  test('with two outside links, what comes in by one does not go out by the other translated', OUTSIDE, async (lab) => {
    await lab.gateway.sh(`set -e
      ${snatCommands({ pool: [P0, P1], device: 'none' })}
      ip addr add ${P0}/32 dev outside
      ip addr add ${P1}/32 dev inside2`)
    lab.c.send(outbound(C))
    await expectUnmodified(lab, C)
    assert.equal(await counter(lab, 'created'), 0)
    await ask({ client: lab.a, sent: `${A}:40002 > ${S}:53`, server: lab.net, seen: `*:* > ${S}:53` })
    assert.equal(await counter(lab, 'created'), 1)
  }),

  test('with one link for all, the operator may let its own hosts out, and nobody else', OUTSIDE, async (lab) => {
    await snat(lab, { pool: [P0] })
    await vsSysctl(lab, 'snat_one_armed', '1')
    await withNeighbour(lab, NEIGHBOUR, async (neighbour) => {
      const seen = await ask({ client: neighbour, sent: `${NEIGHBOUR}:40001 > ${S}:53`, server: lab.net, seen: `${P0}:40001 > ${S}:53` })
      assert.equal(seen, `${P0}:40001 > ${S}:53`)
      const connection = await Connection.open({ client: neighbour, sent: `${NEIGHBOUR}:40002 > ${S}:80`, server: lab.net, seen: `${P0}:40002 > ${S}:80` })
      await connection.respond('hello')
      await connection.finish()
      assert.equal(await counter(lab, 'created'), 2)
      // Not on this link, and not by a router.
      neighbour.send(outbound(CLIENT, S2))
      await expectUnmodified(lab, CLIENT, S2)
      neighbour.send(outbound(NEIGHBOUR, ROUTER))
      await expectUnmodified(lab, NEIGHBOUR, ROUTER)
      assert.equal(await counter(lab, 'created'), 2)
    })
  }),

  test('with one link for all, no host is told to go past the gateway', PAST, async (lab) => {
    await withRedirects(lab, async () => {
      await snat(lab, { pool: [P0] })
      await withNeighbour(lab, NEIGHBOUR, async (neighbour) => {
        neighbour.send(udp(`${NEIGHBOUR}:40001 > ${S2}:53`, 'not translated yet'))
        await neighbour.expect(`icmp * > ${NEIGHBOUR} ${REDIRECT} [udp ${NEIGHBOUR}:40001 > ${S2}:53]`)
        await vsSysctl(lab, 'snat_one_armed', '1')
        await ask({ client: neighbour, sent: `${NEIGHBOUR}:40001 > ${S}:53`, server: lab.net, seen: `${P0}:40001 > ${S}:53` })
        // What cannot be translated would lead the host past the gateway, too.
        neighbour.send([ipv4(`${NEIGHBOUR} > ${S}`, PROTOCOL.gre, Buffer.alloc(16)), tcp(`${NEIGHBOUR}:40002 > ${S}:80`, 'S'), echo(`${NEIGHBOUR} > ${S}`, 'request', { echoId: 7 })])
        await lab.settle()
        neighbour.refuse(`icmp * > * ${REDIRECT} **`)
        // To a neighbour of its own it goes without the gateway.
        neighbour.send(udp(`${NEIGHBOUR}:40001 > ${ROUTER}:53`, 'next door'))
        await neighbour.expect(`icmp * > ${NEIGHBOUR} ${REDIRECT} [udp ${NEIGHBOUR}:40001 > ${ROUTER}:53]`)
      })
    })
  }),

  test('a rule about packets that leave by the device that they come in by keeps hosts from being told to go past the gateway', PAST, async (lab) => {
    await withRedirects(lab, async () => {
      await lab.gateway.sh(`ip addr add ${P0}/32 dev outside`)
      await atOnce(lab, ...pool('out', [P0]), rule(`${NEIGHBOUR}/32`, 'out', { iif: 'outside', oif: 'outside', to: `${S}/32`, mark: 7, markMask: 0xff }))
      await withNeighbour(lab, NEIGHBOUR, async (neighbour) => {
        neighbour.send(udp(`${NEIGHBOUR}:40001 > ${S}:53`, 'may get a mark'))
        await lab.settle()
        neighbour.send(udp(`${NEIGHBOUR}:40001 > ${S2}:53`, 'no rule is about it'))
        await neighbour.expect(`icmp * > ${NEIGHBOUR} ${REDIRECT} [udp ${NEIGHBOUR}:40001 > ${S2}:53]`)
        await lab.settle()
        neighbour.refuse(`icmp * > * ${REDIRECT} **`)
      })
    })
  }),

  test('with one link for all, packets to a routed pool address still go nowhere', TOWARDS, async (lab) => {
    await snat(lab, { pool: [ROUTED], device: 'none' })
    await vsSysctl(lab, 'snat_one_armed', '1')
    await withNeighbour(lab, NEIGHBOUR, async (neighbour) => {
      neighbour.send(strays(NEIGHBOUR, ROUTED))
      await lab.settle()
      assertNothingSentOf(lab, ROUTED)
      assert.equal(await counter(lab, 'created'), 0)
    })
  }),

  test('what says to be of a known flow, but comes by a second uplink, leads nowhere', OUTSIDE, async (lab) => {
    await lab.gateway.sh(`set -e
      ${snatCommands({ pool: [P0, P1], device: 'none' })}
      ip addr add ${P0}/32 dev outside
      ip addr add ${P1}/32 dev inside2`)
    await forgesLeadNowhere(lab, lab.c)
  }),

  test('what says to be of a known flow, but comes from outside in a virtual routing domain, leads nowhere', OUTSIDE, async (lab) => {
    await outsideInVrf(lab, async () => {
      await snat(lab, { pool: [P0], device: 'outside' })
      await forgesLeadNowhere(lab, lab.net)
    })
  }, { needs: ['vrf'] }),

  test('what says to be of a known flow, but comes from outside, leads nowhere', OUTSIDE, async (lab) => {
    await snat(lab, { pool: [P0] })
    await forgesLeadNowhere(lab, lab.net)
  }),

  test('an inside host may change its way to the gateway in the middle of a flow', OUTSIDE, async (lab) => {
    await snat(lab, { pool: [P0] })
    await ask({ client: lab.a, sent: `${A}:40002 > ${S}:53`, server: lab.net, seen: `${P0}:40002 > ${S}:53` })
    await lab.gateway.sh('for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$file; done')
    for (const way of [lab.c, lab.c, lab.a]) {
      way.send(udp(`${A}:40002 > ${S}:53`, 'by another way'))
      await lab.net.expect(`udp ${P0}:40002 > ${S}:53`)
    }
  }),

  test('a SYN to a port that may be given out gets no answer, and one to a port that may not is refused', SILENT, async (lab) => {
    await snat(lab, { pool: [P0] })
    lab.net.send([tcp(`${CLIENT}:5001 > ${P0}:40001`, 'S'), tcp(`${CLIENT}:5002 > ${P0}:65535`, 'S'), tcp(`${CLIENT}:5003 > ${P0}:1024`, 'S')])
    await lab.settle()
    lab.net.refuse(`tcp ${P0}:* > ${CLIENT}:* *`)
    assert.equal(await counter(lab, 'drop_unsolicited'), 3)
    lab.net.send(tcp(`${CLIENT}:5004 > ${P0}:1023`, 'S'))
    await lab.net.expect(`tcp ${P0}:1023 > ${CLIENT}:5004 RA`)
    // The gateway's other addresses are no pool.
    lab.net.send(tcp(`${CLIENT}:5005 > ${GATEWAY.outside.address}:40001`, 'S'))
    await lab.net.expect(`tcp ${GATEWAY.outside.address}:40001 > ${CLIENT}:5005 RA`)
  }),

  ...[`${P0}:8081`, '8081'].map((where) =>
    test(`a SYN to a program of the gateway that listens on ${where} is answered`, SILENT, async (lab) => {
      await snat(lab, { pool: [P0] })
      await listening(lab, where, async () => {
        lab.net.send(tcp(`${CLIENT}:5001 > ${P0}:8081`, 'S'))
        await lab.net.expect(`tcp ${P0}:8081 > ${CLIENT}:5001 SA`)
        lab.net.send(tcp(`${CLIENT}:5001 > ${P0}:8081`, 'R', { seq: 1 }))
      })
    }),
  ),

  test('a program in a virtual routing domain keeps its port, whatever an inside host sends from the same', DOMAIN, async (lab) => {
    await outsideInVrf(lab, async () => {
      await lab.gateway.sh('echo 1 >/proc/sys/net/ipv4/tcp_l3mdev_accept')
      await snat(lab, { pool: [P0], device: 'outside' })
      await listening(lab, '8081', async () => {
        lab.a.send(tcp(`${A}:8081 > ${CLIENT}:5007`, 'S'))
        const { tcp: header } = await lab.net.expect(`tcp ${P0}:* > ${CLIENT}:5007 S`)
        assert.notEqual(header?.sport, 8081)
        lab.net.send(tcp(`${CLIENT}:5007 > ${P0}:8081`, 'S'))
        await lab.net.expect(`tcp ${P0}:8081 > ${CLIENT}:5007 SA`)
        lab.net.send(tcp(`${CLIENT}:5007 > ${P0}:8081`, 'R', { seq: 1 }))
      })
    })
  }, { needs: ['vrf'] }),

  test('a program in a virtual routing domain has its clients whenever it began to listen', DOMAIN, async (lab) => {
    await outsideInVrf(lab, async () => {
      await lab.gateway.sh('echo 1 >/proc/sys/net/ipv4/tcp_l3mdev_accept')
      await snat(lab, { pool: [P0], device: 'outside' })
      lab.a.send(tcp(`${A}:8081 > ${CLIENT}:5007`, 'S'))
      await lab.net.expect(`tcp ${P0}:8081 > ${CLIENT}:5007 S`)
      await listening(lab, '8081', async () => {
        lab.net.send(tcp(`${CLIENT}:5007 > ${P0}:8081`, 'S'))
        await lab.net.expect(`tcp ${P0}:8081 > ${CLIENT}:5007 SA`)
        lab.a.refuse(`tcp ${CLIENT}:5007 > ${A}:8081 **`)
        lab.net.send(tcp(`${CLIENT}:5007 > ${P0}:8081`, 'R', { seq: 1 }))
      })
    })
  }, { needs: ['vrf'] }),

  test('a program that begins to listen on a pool address has its clients, whatever an inside host has sent to them before', LATER, async (lab) => {
    await snat(lab, { pool: [P0] })
    // One SYN to each port that the client may connect from: all of them leave by the port of the program.
    lab.a.send(Array.from({ length: 20 }, (_, index) => tcp(`${A}:8081 > ${CLIENT}:${5000 + index}`, 'S')))
    await lab.net.expect(`tcp ${P0}:8081 > ${CLIENT}:5019 S`)
    // While nobody listens there, both sides may open it.
    lab.net.send(tcp(`${CLIENT}:5006 > ${P0}:8081`, 'S'))
    await lab.a.expect(`tcp ${CLIENT}:5006 > ${A}:8081 S`)
    await listening(lab, `${P0}:8081`, async () => {
      lab.net.send(tcp(`${CLIENT}:5007 > ${P0}:8081`, 'S'))
      await lab.net.expect(`tcp ${P0}:8081 > ${CLIENT}:5007 SA`)
      lab.a.refuse(`tcp ${CLIENT}:5007 > ${A}:8081 **`)
      assert.equal(await counter(lab, 'yield_own'), 1)
      lab.net.send(tcp(`${CLIENT}:5007 > ${P0}:8081`, 'R', { seq: 1 }))
    })
  }),

  test('a pool address in a virtual routing domain is as silent as any other, and who listens there is heard', SILENT, async (lab) => {
    await outsideInVrf(lab, async () => {
      await snat(lab, { pool: [P0], device: 'outside' })
      await everyKindGoesOut(lab, P0)
      await listening(lab, '8081', async () => {
        const knock = (port: number) => lab.net.send(tcp(`${CLIENT}:${port} > ${P0}:8081`, 'S'))
        // A program that is in no domain does not listen in this one.
        knock(5001)
        await lab.settle()
        lab.net.refuse(`tcp ${P0}:8081 > *:*`)
        await lab.gateway.sh('echo 1 >/proc/sys/net/ipv4/tcp_l3mdev_accept')
        knock(5002)
        await lab.net.expect(`tcp ${P0}:8081 > ${CLIENT}:5002 SA`)
        lab.net.send(tcp(`${CLIENT}:5002 > ${P0}:8081`, 'R', { seq: 1 }))
      })
    })
  }, { needs: ['vrf'] }),

  test('a SYN to a balanced service at a pool address is balanced', SILENT, async (lab) => {
    await snat(lab, { pool: [P0] })
    await lab.gateway.sh(`ipvsadm -A -t ${P0}:8082 -s rr && ipvsadm -a -t ${P0}:8082 -r ${A}:80 -m`)
    const connection = await Connection.open({ client: lab.net, sent: `${CLIENT}:5001 > ${P0}:8082`, server: lab.a, seen: `${CLIENT}:5001 > ${A}:80` })
    await connection.respond('hello')
    await connection.finish()
  }),

  test('an ICMP error from inside about nothing does not leave', ERRORS, async (lab) => {
    await snat(lab, { pool: [P0] })
    const errors = errorsAboutNothing()
    lab.a.send(errors)
    await lab.settle()
    assertNothingPrivateLeft(lab)
    assert.deepEqual(lab.sent('outside').filter((packet) => packet.ip?.dst === S).map(summary), [])
    assert.equal(await counter(lab, 'drop_icmp_error'), errors.length)
  }),

  test('an ICMP error about a flow that has ended does not leave', ERRORS, async (lab) => {
    await vsSysctl(lab, 'snat_udp_timeout', '1')
    await snat(lab, { pool: [P0] })
    await ask({ client: lab.a, sent: `${A}:40001 > ${S}:53`, server: lab.net, seen: `${P0}:40001 > ${S}:53` })
    await until('the flow has ended', async () => (await counter(lab, 'conns')) === 0)
    lab.a.send(icmpError(`${A} > ${S}`, 'port-unreachable', udp(`${S}:53 > ${A}:40001`, 'answer')))
    await lab.settle()
    assertNothingPrivateLeft(lab)
    assert.equal(await counter(lab, 'drop_icmp_error'), 1)
  }),

  test('ICMP errors between inside hosts, from outside, and about balanced connections pass', ERRORS, async (lab) => {
    await snat(lab, { pool: [P0] })
    await nat(lab, { port: 80, servers: [`${A}:8080`] })
    lab.a.send(icmpError(`${A} > ${C}`, 'port-unreachable', udp(`${C}:53 > ${A}:40001`, 'routed')))
    await lab.c.expect(`icmp ${A} > ${C} port-unreachable [udp ${C}:53 > ${A}:40001]`)
    lab.net.send(icmpError(`${CLIENT} > ${A}`, 'port-unreachable', udp(`${A}:40001 > ${CLIENT}:53`, 'routed')))
    await lab.a.expect(`icmp ${CLIENT} > ${A} port-unreachable [udp ${A}:40001 > ${CLIENT}:53]`)
    lab.net.send(tcp(`${CLIENT}:5001 > ${VIP}:80`, 'S'))
    const syn = await lab.a.expect(`tcp ${CLIENT}:5001 > ${A}:8080 S`)
    lab.a.send(icmpError(`${A} > ${CLIENT}`, 'port-unreachable', syn.datagram))
    await lab.net.expect(`icmp ${VIP} > ${CLIENT} port-unreachable [tcp ${CLIENT}:5001 > ${VIP}:80 *]`)
    assert.equal(await counter(lab, 'drop_icmp_error'), 0)
  }),
])
