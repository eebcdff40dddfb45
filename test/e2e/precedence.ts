// SPDX-License-Identifier: GPL-2.0-only
/** Who wins when a packet could be SNAT's, the gateway's own, or a balanced service's. */

import assert from 'node:assert/strict'
import { Connection } from '../../vm/host/index.ts'
import type { Lab } from '../../vm/lab.ts'
import { echo, tcp, udp } from '../../vm/packet/index.ts'
import { A, CLIENT, POOL, ROUTER, S, S2, VIP } from '../../vm/topology.ts'
import { connections, counter, natCommands, snat, vsSysctl } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'
import { ask, assertNothingPrivateLeft, nameError, routeOf, turn, until } from './lib/traffic.ts'

const OWN = 'issue 10, A 2: the gateway\'s own traffic wins over an SNAT flow of the same tuple'
const SERVERS_OWN = 'issue 10, A 3: everything of a real server that is no reply of a balanced connection is translated'
const LATE = 'issue 10, A 3: a reply of a balanced connection, live or just forgotten, is never translated'
const SERVICE_WINS = 'issue 10, A 3: a balanced service that appears wins'
const [P0 = ''] = POOL
const LOOPBACK = '127.0.0.1'

/** Has the gateway talk from the pool address, and from a port that is known before. */
async function fromPool(lab: Lab, port: number, work: () => Promise<void>): Promise<void> {
  const [low, high] = [port - 1, port]
  const before = await lab.gateway.sh('cat /proc/sys/net/ipv4/ip_local_port_range')
  await lab.gateway.sh(`set -e
    ip route replace default via ${ROUTER} src ${P0}
    echo ${low} >/proc/sys/net/ipv4/ip_local_reserved_ports
    echo ${low} ${high} >/proc/sys/net/ipv4/ip_local_port_range`)
  try {
    await work()
  } finally {
    await lab.gateway.sh(`
      echo >/proc/sys/net/ipv4/ip_local_reserved_ports
      echo ${before.trim()} >/proc/sys/net/ipv4/ip_local_port_range`)
  }
}

/** The name server outside: answers what the gateway asks, and leaves other questions to the test. */
function serveNames(lab: Lab): void {
  lab.net.service = (packet) => {
    if (packet.udp?.dport !== 53 || !packet.data.includes('name')) return false
    lab.net.send(udp(turn(routeOf(packet)), nameError(packet.data)))
    return true
  }
}

/** @returns where the gateway's own questions for a name were sent from */
const askedFrom = (lab: Lab): Set<string> =>
  new Set(lab.sent('outside', `udp * > ${S}:53`).filter(({ data }) => data.includes('name')).map(routeOf))

/**
 * A connection that a program of the gateway opens from the pool address.
 *
 * @param port its own, of no other test, as TCP may keep it for a minute
 * @param between runs while it is open
 */
async function ownConnection(lab: Lab, port: number, between: () => Promise<void>): Promise<void> {
  // In the background, because the gateway runs one script at a time.
  await lab.gateway.sh(`
    rm -f /tmp/go /tmp/heard /tmp/done
    speak() { echo before; until [ -e /tmp/go ]; do usleep 50000; done; echo after; }
    (speak | timeout 40 nc -p ${port} ${S} 81 >/tmp/heard 2>&1; touch /tmp/done) >/dev/null 2>&1 &`)
  const route = `${P0}:${port} > ${S}:81`
  const syn = await lab.net.expect(`tcp ${route} S`)
  const seq = (syn.tcp?.seq ?? 0) + 1
  lab.net.send(tcp(turn(route), 'SA', { seq: 9000, ack: seq }))
  const before = await lab.net.expect(`tcp ${route} PA`)
  assert.equal(before.data.toString(), 'before\n')
  lab.net.send(tcp(turn(route), 'A', { seq: 9001, ack: seq + 7 }))
  await between()
  await lab.gateway.sh('touch /tmp/go')
  const after = await lab.net.expect(`tcp ${route} PA`)
  assert.equal(after.data.toString(), 'after\n')
  lab.net.send(tcp(turn(route), 'PA', { seq: 9001, ack: seq + 13, data: 'answer\n' }))
  lab.net.send(tcp(turn(route), 'FA', { seq: 9008, ack: seq + 13 }))
  const fin = await lab.net.expect(`tcp ${route} FA`)
  lab.net.send(tcp(turn(route), 'A', { seq: 9009, ack: (fin.tcp?.seq ?? 0) + 1 }))
  const heard = await lab.gateway.sh('until [ -e /tmp/done ]; do usleep 50000; done; cat /tmp/heard')
  assert.equal(heard, 'answer\n', 'what the program has read')
}

/** A balanced service that has {@link A} as its only server. */
interface Balanced {
  kind: string
  /** Shell commands that set it up, for UDP and TCP. */
  commands: string
}

/** All of them take questions at port 53 and connections at port 80 of the virtual address. */
const BALANCED: readonly Balanced[] = [
  {
    kind: 'of one port',
    commands: ['tcp', 'udp'].map((protocol) => natCommands({
      protocol: protocol as 'tcp' | 'udp', port: protocol === 'tcp' ? 80 : 53, servers: [protocol === 'tcp' ? `${A}:80` : `${A}:53`],
    })).join('\n'),
  },
  {
    kind: 'of all ports',
    commands: (['tcp', 'udp'] as const).map((protocol) => natCommands({ protocol, port: 0, servers: [`${A}:0`], more: '-p 10' })).join('\n'),
  },
  {
    kind: 'of a firewall mark',
    commands: `
      iptables -t mangle -A PREROUTING -d ${VIP} -j MARK --set-mark 7
      ip addr add ${VIP}/32 dev outside
      ipvsadm -A -f 7 -s rr
      ipvsadm -a -f 7 -r ${A} -m`,
  },
]

/** Has a balanced service and SNAT, for as long as `work` takes. */
async function beside(lab: Lab, balanced: Balanced, work: () => Promise<void>): Promise<void> {
  await lab.gateway.sh(`set -e\n${balanced.commands}`)
  await snat(lab, { pool: [P0] })
  try {
    await work()
  } finally {
    await lab.gateway.sh('! grep -q iptable_mangle /proc/modules || iptables -t mangle -F')
  }
}

/** A client's question is answered by the service, from port `port` of the client. */
const balancedQuestion = (lab: Lab, port: number): Promise<string> =>
  ask({ client: lab.net, sent: `${CLIENT}:${port} > ${VIP}:53`, server: lab.a, seen: `${CLIENT}:${port} > ${A}:53` })

const forgotten = (lab: Lab, client: string): Promise<void> =>
  until(`the connection of ${client} is forgotten`, async () => (await connections(lab)).every(({ source }) => source !== client))

export default suite('precedence', [
  test('a question of the gateway is answered to it, although an inside host has asked from the same port', OWN, async (lab) => {
    await snat(lab, { pool: [P0] })
    await ask({ client: lab.a, sent: `${A}:40123 > ${S}:53`, server: lab.net, seen: `${P0}:40123 > ${S}:53` })
    await fromPool(lab, 40123, async () => {
      serveNames(lab)
      const { output } = await lab.gateway.run(`timeout 12 nslookup name.test ${S}`)
      assert.deepEqual([...askedFrom(lab)], [`${P0}:40123 > ${S}:53`], 'the gateway asks from the port of the flow')
      assert.match(output, /NXDOMAIN/)
      lab.a.refuse('udp **')
      assert.equal(await counter(lab, 'yield_own'), 1)
    })
    await ask({ client: lab.a, sent: `${A}:40123 > ${S}:53`, server: lab.net, seen: `${P0}:* > ${S}:53` })
  }),

  test('a question of the gateway is answered to it, although an inside host asks from the same port meanwhile', OWN, async (lab) => {
    await snat(lab, { pool: [P0] })
    await fromPool(lab, 40123, async () => {
      const asking = lab.gateway.run(`timeout 12 nslookup name.test ${S}`)
      await lab.net.expect(`udp ${P0}:40123 > ${S}:53`)
      lab.a.send(udp(`${A}:40123 > ${S}:53`, 'question'))
      serveNames(lab)
      const { output } = await asking
      assert.match(output, /NXDOMAIN/)
      lab.a.refuse('udp **')
    })
  }),

  test('a connection of the gateway works, although an inside host has one of the same ports', OWN, async (lab) => {
    await snat(lab, { pool: [P0] })
    const inside = await Connection.open({ client: lab.a, sent: `${A}:40017 > ${S}:81`, server: lab.net, seen: `${P0}:40017 > ${S}:81` })
    await fromPool(lab, 40017, () => ownConnection(lab, 40017, async () => {
      assert.equal(await counter(lab, 'yield_own'), 1)
      // The inside host's connection has ended: nothing of it gets into the gateway's.
      lab.a.send(tcp(inside.sent, 'PA', { seq: inside.next.client, ack: inside.next.server, data: 'mixed in' }))
      await lab.settle()
      assert.equal(lab.net.inbox.filter(({ data }) => data.includes('mixed in')).length, 0)
    }))
    lab.a.refuse('tcp **')
    await Connection.open({ client: lab.a, sent: `${A}:40018 > ${S}:81`, server: lab.net, seen: `${P0}:* > ${S}:81` })
  }),

  test('a connection of the gateway works, although an inside host opens one from the same port meanwhile', OWN, async (lab) => {
    await snat(lab, { pool: [P0] })
    await fromPool(lab, 40019, () => ownConnection(lab, 40019, async () => {
      const inside = await Connection.open({ client: lab.a, sent: `${A}:40019 > ${S}:81`, server: lab.net, seen: `${P0}:* > ${S}:81` })
      assert.notEqual(inside.seen, `${P0}:40019 > ${S}:81`)
      await inside.respond('hello')
      await inside.finish()
    }))
  }),

  test('a ping of the gateway is answered to it, although an inside host pings with the same id', OWN, async (lab) => {
    await snat(lab, { pool: [P0] })
    const pinging = lab.gateway.run(`ping -c 3 -W 10 -I ${P0} ${S}`)
    const request = `icmp ${P0} > ${S} echo-request id=*`
    const id = (await lab.net.expect(request)).icmp?.id ?? 0
    const own = `icmp ${P0} > ${S} echo-request id=${id}`
    lab.a.send(echo(`${A} > ${S}`, 'request', { echoId: id, data: 'of the inside host' }))
    lab.net.service = (packet) => {
      if (packet.icmp?.type !== 8 || packet.data.includes('of the inside host')) return false
      lab.net.send(echo(`${S} > ${P0}`, 'reply', { echoId: packet.icmp.id, seq: packet.icmp.seq, data: packet.data }))
      return true
    }
    const { output } = await pinging
    assert.ok(lab.sent('outside', own).length >= 2, 'the gateway pings with one id')
    assert.match(output, / [12] packets received/)
    lab.a.refuse(`icmp ${S} > ${A} echo-reply id=*`)
  }),

  test('the gateway reaches programs of its own at a pool address', OWN, async (lab) => {
    await snat(lab, { pool: [P0] })
    const output = await lab.gateway.sh(`
      echo hello >/tmp/file
      httpd -p 8081 -h /tmp
      for where in ${P0} ${LOOPBACK}; do
        tries=0
        until wget -q -T 2 -O - http://$where:8081/file; do tries=$((tries + 1)); [ $tries -lt 5 ] || exit 1; done
      done
      ping -c 1 -W 5 ${P0}
      killall httpd`)
    assert.match(output, /hello\nhello\n/)
    assert.match(output, / 1 packets received/)
    assert.equal(await counter(lab, 'created'), 0)
  }),

  ...BALANCED.map((balanced) =>
    test(`what a real server sends from its service port is translated, beside a service ${balanced.kind}`, SERVERS_OWN, async (lab) => {
      await beside(lab, balanced, async () => {
        await balancedQuestion(lab, 5001)
        await ask({ client: lab.a, sent: `${A}:53 > ${S}:53`, server: lab.net, seen: `${P0}:* > ${S}:53` })
        await ask({ client: lab.a, sent: `${A}:53 > ${CLIENT}:53`, server: lab.net, seen: `${P0}:* > ${CLIENT}:53` })
        const connection = await Connection.open({ client: lab.a, sent: `${A}:80 > ${S}:80`, server: lab.net, seen: `${P0}:* > ${S}:80` })
        await connection.request('GET /')
        await connection.respond('hello')
        await connection.finish()
        await balancedQuestion(lab, 5001)
        await balancedQuestion(lab, 5002)
        assert.equal(await counter(lab, 'created'), 3)
      })
    }),
  ),

  test('a time server that is balanced asks others for the time from its own port', SERVERS_OWN, async (lab) => {
    await lab.gateway.sh(`set -e\n${natCommands({ protocol: 'udp', port: 123, servers: [`${A}:123`] })}`)
    await snat(lab, { pool: [P0] })
    await ask({ client: lab.a, sent: `${A}:123 > ${S}:123`, server: lab.net, seen: `${P0}:* > ${S}:123` })
    await ask({ client: lab.a, sent: `${A}:123 > ${S2}:123`, server: lab.net, seen: `${P0}:* > ${S2}:123` })
    // Those that it asks may be its clients as well, with the other's port only.
    await ask({ client: lab.net, sent: `${S}:1123 > ${VIP}:123`, server: lab.a, seen: `${S}:1123 > ${A}:123` })
  }),

  ...BALANCED.map((balanced) =>
    test(`what is left of a connection that a real server has opened itself does not leave with its private address, beside a service ${balanced.kind}`, SERVERS_OWN, async (lab) => {
      await beside(lab, balanced, async () => {
        await vsSysctl(lab, 'expire_nodest_conn', '1')
        for (const [port, end] of [[5006, `ipvsadm --snat-conns -F ${A} --kill`], [5007, `ipvsadm -d -t 0.0.0.0:0 -r ${P0}:0`]] as const) {
          const route = `${A}:80 > ${CLIENT}:${port}`
          const connection = await Connection.open({ client: lab.a, sent: route, server: lab.net, seen: `${P0}:* > ${CLIENT}:${port}` })
          await lab.gateway.sh(end)
          const { client: seq, server: ack } = connection.next
          for (const flags of ['PA', 'FA', 'R']) lab.a.send(tcp(route, flags, { seq, ack }))
          await lab.settle()
          lab.net.refuse('tcp **')
        }
        assert.equal(await counter(lab, 'late_reply'), 0)
        assertNothingPrivateLeft(lab)
      })
    }),
  ),

  ...BALANCED.map((balanced) =>
    test(`a late answer of a real server leaves as it is, of a service ${balanced.kind}`, LATE, async (lab) => {
      await beside(lab, balanced, async () => {
        await lab.gateway.sh('ipvsadm --set 0 0 1')
        await balancedQuestion(lab, 5004)
        await forgotten(lab, `${CLIENT}:5004`)
        lab.a.send(udp(`${A}:53 > ${CLIENT}:5004`, 'late'))
        await lab.net.expect(`udp ${A}:53 > ${CLIENT}:5004`)
        assert.equal(await counter(lab, 'created'), 0)
        assert.equal(await counter(lab, 'late_reply'), 1)
        // Nobody of these has asked.
        for (const remote of [`${CLIENT}:5005`, `${S}:5004`]) {
          await ask({ client: lab.a, sent: `${A}:53 > ${remote}`, server: lab.net, seen: `${P0}:* > ${remote}` })
        }
        // A client that asks again is served again.
        await balancedQuestion(lab, 5004)
      })
    }),
  ),

  test('the answer to a datagram that was balanced alone is not translated', LATE, async (lab) => {
    await lab.gateway.sh(`set -e\n${natCommands({ protocol: 'udp', port: 53, servers: [`${A}:53`], more: '-o' })}`)
    await snat(lab, { pool: [P0] })
    lab.net.send(udp(`${CLIENT}:5001 > ${VIP}:53`, 'question'))
    await lab.a.expect(`udp ${CLIENT}:5001 > ${A}:53`)
    lab.a.send(udp(`${A}:53 > ${CLIENT}:5001`, 'answer'))
    await lab.settle()
    lab.net.refuse(`udp ${P0}:* > ${CLIENT}:5001`)
    assert.equal(await counter(lab, 'created'), 0)
  }),

  ...BALANCED.map((balanced) =>
    test(`TCP of a real server that is no SYN leaves as it is when IPVS has forgotten it, of a service ${balanced.kind}`, LATE, async (lab) => {
      await beside(lab, balanced, async () => {
        for (const flags of ['PA', 'FA', 'R', 'SA']) {
          lab.a.send(tcp(`${A}:80 > ${CLIENT}:5004`, flags))
          await lab.net.expect(`tcp ${A}:80 > ${CLIENT}:5004 ${flags}`)
        }
        assert.equal(await counter(lab, 'created'), 0)
        assert.equal(await counter(lab, 'late_reply'), 4)
        assert.equal(await counter(lab, 'drop_no_conn'), 0)
      })
    }),
  ),

  ...BALANCED.map((balanced) =>
    test(`a remote that a server has asked is served when it asks the service ${balanced.kind}`, SERVICE_WINS, async (lab) => {
      await beside(lab, balanced, async () => {
        await ask({ client: lab.a, sent: `${A}:53 > ${CLIENT}:5010`, server: lab.net, seen: `${P0}:* > ${CLIENT}:5010` })
        await balancedQuestion(lab, 5010)
        await balancedQuestion(lab, 5010)
        assert.equal(await counter(lab, 'yield_service'), 1)

        lab.a.send(tcp(`${A}:80 > ${CLIENT}:5011`, 'S'))
        await lab.net.expect(`tcp ${P0}:* > ${CLIENT}:5011 S`)
        const inbound = await Connection.open({ client: lab.net, sent: `${CLIENT}:5011 > ${VIP}:80`, server: lab.a, seen: `${CLIENT}:5011 > ${A}:80` })
        await inbound.respond('hello')
        await inbound.finish()
        assert.equal(await counter(lab, 'yield_service'), 2)
      })
    }),
  ),
])
