// SPDX-License-Identifier: GPL-2.0-only
/** Ports of the pool: used up, reserved, and never given twice. */

import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { CLIENT_SEQ, Connection } from '../../vm/host/index.ts'
import { echo, tcp, udp } from '../../vm/packet/index.ts'
import { A, B, CLIENT, POOL, S, S2, VIP } from '../../vm/topology.ts'
import { between, counter, nat, snat, vsSysctl } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'
import { ask, assertNothingPrivateLeft, ping, routeOf } from './lib/traffic.ts'

const [P0 = '', P1 = ''] = POOL
const EXHAUSTION = 'issue 2: port exhaustion with a tiny pool (the rest goes on, counter and rate-limited log); defect 14'
const OVER = 'issue 15, as the engine was attacked: 268 short connections a second use up the ports of an address for a remote, with what is over'
/** More than the connections that have ended, which began at CLIENT_SEQ, have sent. */
const AHEAD = CLIENT_SEQ + 1000
/** More than a port rests that a connection has left, when there are no others. */
const REST_MS = 4000
/** More than nobody looks again for what is over, when there was nothing. */
const REFUSED_MS = 500
/** Far above what net_ratelimit lets through in the moments that a test lasts (10 at once, then one in 5 s). */
const LOG_LINES = 30

export default suite('ports', [
  test('a used-up pool drops what is new and carries on with the rest', EXHAUSTION, async (lab) => {
    await vsSysctl(lab, 'snat_port_range', '50000 50003')
    await snat(lab, { pool: [P0] })
    await nat(lab, { port: 80, servers: [`${A}:8080`] })
    const from = lab.gateway.klog.lines.length
    const open: Connection[] = []
    for (let port = 40000; port < 40004; port++) {
      open.push(await Connection.open({ client: lab.a, sent: `${A}:${port} > ${S}:80`, server: lab.net, seen: `${P0}:* > ${S}:80` }))
    }
    assert.equal(new Set(open.map((connection) => connection.seen)).size, 4, 'four ports, each given once')
    for (let count = 0; count < 200; count++) lab.b.send(tcp(`${B}:${41000 + count} > ${S}:80`, 'S'))
    await lab.settle()
    lab.net.refuse(`tcp *:* > ${S}:80 S`)
    assertNothingPrivateLeft(lab)
    assert.equal(await counter(lab, 'exhausted'), 200)

    for (const connection of open) await connection.request('goes on')
    await ask({ client: lab.b, sent: `${B}:41000 > ${S2}:53`, server: lab.net, seen: `${P0}:* > ${S2}:53` })
    const inbound = await Connection.open({ client: lab.net, sent: `${CLIENT}:5001 > ${VIP}:80`, server: lab.a, seen: `${CLIENT}:5001 > ${A}:8080` })
    await inbound.finish()

    const lines = lab.gateway.klog.lines.slice(from).filter((line) => line.includes('SNAT: no free port'))
    assert.ok(lines.length >= 1, 'the log says that ports are used up')
    assert.ok(lines.length < LOG_LINES, `the log is rate-limited, and had ${lines.length} lines for 200 packets`)
  }),

  test('a port that is free again is given again', EXHAUSTION, async (lab) => {
    await vsSysctl(lab, 'snat_port_range', '50000 50000')
    await vsSysctl(lab, 'snat_udp_timeout', '1')
    await snat(lab, { pool: [P0] })
    await ask({ client: lab.a, sent: `${A}:40000 > ${S}:53`, server: lab.net, seen: `${P0}:50000 > ${S}:53` })
    lab.b.send(udp(`${B}:40000 > ${S}:53`, 'too early'))
    await lab.settle()
    lab.net.refuse(`udp *:* > ${S}:53`)
    for (let tries = 0; tries < 50 && (await counter(lab, 'conns')) > 0; tries++) await new Promise((resolve) => setTimeout(resolve, 200))
    await ask({ client: lab.b, sent: `${B}:40000 > ${S}:53`, server: lab.net, seen: `${P0}:50000 > ${S}:53` })
  }),

  ...(['closed by both sides', 'reset by the server'] as const).map((end) =>
    test(`ports of connections that are ${end} are given again when there are no others`, OVER, async (lab) => {
      await vsSysctl(lab, 'snat_port_range', '50000 50003')
      await snat(lab, { pool: [P0] })
      const open: Connection[] = []
      for (let port = 50000; port < 50004; port++) {
        open.push(await Connection.open({ client: lab.a, sent: `${A}:${port} > ${S}:80`, server: lab.net, seen: `${P0}:${port} > ${S}:80` }))
      }
      const [one, two, ...rest] = open
      for (const connection of [one, two]) {
        if (end === 'reset by the server') await connection?.abort('server')
        else await connection?.finish()
      }
      // What has only just ended may have packets on their way.
      lab.b.send(tcp(`${B}:41000 > ${S}:80`, 'S', { seq: AHEAD }))
      await lab.settle()
      lab.net.refuse(`tcp *:* > ${S}:80 S`)
      await delay(REST_MS)
      // A server that waits for what is late takes a number that is ahead for that of a new connection, and no other (RFC 6191).
      lab.b.send(tcp(`${B}:41001 > ${S}:80`, 'S', { seq: 1 }))
      await lab.settle()
      lab.net.refuse(`tcp *:* > ${S}:80 S`)
      lab.b.send([41002, 41003].map((port) => tcp(`${B}:${port} > ${S}:80`, 'S', { seq: AHEAD })))
      const given = [await lab.net.expect(`tcp ${P0}:* > ${S}:80 S`), await lab.net.expect(`tcp ${P0}:* > ${S}:80 S`)]
      assert.deepEqual(given.map(routeOf).sort(), [`${P0}:50000 > ${S}:80`, `${P0}:50001 > ${S}:80`])
      assert.equal(await counter(lab, 'early_drop'), 2)
      lab.b.send(tcp(`${B}:41004 > ${S}:80`, 'S', { seq: AHEAD }))
      await lab.settle()
      lab.net.refuse(`tcp *:* > ${S}:80 S`)
      assert.equal(await counter(lab, 'exhausted'), 3)
      for (const connection of rest) await connection.request('goes on')
    }),
  ),

  test('a port is not taken from a connection whose last data nobody has acknowledged, nor from one for nothing', OVER, async (lab) => {
    await vsSysctl(lab, 'snat_port_range', '50000 50001')
    await snat(lab, { pool: [P0] })
    const open = async (port: number): Promise<Connection> =>
      Connection.open({ client: lab.a, sent: `${A}:${port} > ${S}:80`, server: lab.net, seen: `${P0}:${port} > ${S}:80` })
    const one = await open(50000)
    await open(50001)
    // The server has closed its side; what the inside host says last gets lost behind the gateway.
    await one.finishServer()
    const { client: seq, server: ack } = one.next
    const last = tcp(one.sent, 'FPA', { seq, ack, data: 'the last' })
    lab.a.send(last)
    await lab.net.expect(`tcp ${one.seen} FPA`)
    await delay(REST_MS)
    lab.b.send(tcp(`${B}:41000 > ${S}:80`, 'S', { seq: AHEAD }))
    await lab.settle()
    lab.a.send(last)
    await lab.net.expect(`tcp ${one.seen} FPA`)
    lab.net.refuse(`tcp *:* > ${S}:80 S`)
    // With the acknowledgement nothing is missing any more. But the port is for others now, and then it is not.
    lab.net.send(tcp(`${S}:80 > ${P0}:50000`, 'A', { seq: ack, ack: seq + 'the last'.length + 1 }))
    await delay(REST_MS)
    await between(lab, 'echo 50000 >/proc/sys/net/ipv4/ip_local_reserved_ports', 'echo >/proc/sys/net/ipv4/ip_local_reserved_ports', async () => {
      lab.b.send(tcp(`${B}:41001 > ${S}:80`, 'S', { seq: AHEAD }))
      await lab.settle()
      lab.net.refuse(`tcp *:* > ${S}:80 S`)
      assert.equal(await counter(lab, 'early_drop'), 0)
    })
    await delay(REFUSED_MS)
    lab.b.send(tcp(`${B}:41002 > ${S}:80`, 'S', { seq: AHEAD }))
    await lab.net.expect(`tcp ${P0}:50000 > ${S}:80 S`)
  }),

  test('a full address hands over to the next one', 'issue 2: fallback to the next pool address; defect 9: one address tried, then drop', async (lab) => {
    await vsSysctl(lab, 'snat_port_range', '50000 50001')
    await snat(lab, { pool: [P0, P1], scheduler: 'sh' })
    const seen: string[] = []
    for (let port = 40000; port < 40004; port++) {
      seen.push(await ask({ client: lab.a, sent: `${A}:${port} > ${S}:53`, server: lab.net, seen: `*:* > ${S}:53` }))
    }
    const expected = [P0, P1].flatMap((address) => [50000, 50001].map((port) => `${address}:${port} > ${S}:53`))
    assert.deepEqual(seen.sort(), expected)
    assert.equal(await counter(lab, 'next_address'), 2)
    lab.a.send(udp(`${A}:40004 > ${S}:53`, 'one too many'))
    await lab.settle()
    lab.net.refuse(`udp *:* > ${S}:53`)
    assert.equal(await counter(lab, 'exhausted'), 1)
  }),

  test('echo ids can be used up like ports', EXHAUSTION, async (lab) => {
    await vsSysctl(lab, 'snat_port_range', '50000 50001')
    await snat(lab, { pool: [P0] })
    const first = await ping(lab.a, `${A} > ${S}`, 1, lab.net, P0)
    const second = await ping(lab.a, `${A} > ${S}`, 2, lab.net, P0)
    assert.deepEqual([first, second].sort(), [50000, 50001])
    lab.a.send(echo(`${A} > ${S}`, 'request', { echoId: 3 }))
    await lab.settle()
    lab.net.refuse(`icmp * > ${S} echo-request id=*`)
    assert.equal(await ping(lab.a, `${A} > ${S}`, 1, lab.net, P0), first)
  }),

  test('ports of balanced services, reserved ports and the gateway\'s own sockets are not given', 'engine.md: reserved ports, ports of IPVS services and local sockets are skipped; defect 9', async (lab) => {
    await vsSysctl(lab, 'snat_port_range', '50000 50003')
    await snat(lab, { pool: [P0], protocols: ['tcp'] })
    await lab.gateway.sh(`
      set -e
      ipvsadm -A -t ${P0}:50000 -s rr
      ipvsadm -a -t ${P0}:50000 -r ${B}:80 -m
      echo 50001 >/proc/sys/net/ipv4/ip_local_reserved_ports
      httpd -p ${P0}:50002 -h /tmp
      tries=0
      until netstat -ltn | grep -q :50002; do tries=$((tries + 1)); [ $tries -lt 50 ]; usleep 100000; done`)
    try {
      lab.a.send(tcp(`${A}:50001 > ${S}:80`, 'S'))
      assert.equal(routeOf(await lab.net.expect(`tcp *:* > ${S}:80 S`)), `${P0}:50003 > ${S}:80`)
      lab.a.send(tcp(`${A}:50000 > ${S}:80`, 'S'))
      await lab.settle()
      lab.net.refuse(`tcp *:* > ${S}:80 S`)
    } finally {
      await lab.gateway.sh('echo >/proc/sys/net/ipv4/ip_local_reserved_ports; killall httpd')
    }
  }),

  test('nor are ports of its UDP sockets, and of connections that it opens', 'issue 14, 4: sockets are looked for only where one may have the port', async (lab) => {
    await vsSysctl(lab, 'snat_port_range', '50000 50001')
    await snat(lab, { pool: [P0] })
    await lab.gateway.sh(`
      set -e
      udpsvd ${P0} 50000 cat </dev/null >/dev/null 2>&1 &
      nc -s ${P0} -p 50000 ${S} 81 </dev/null >/dev/null 2>&1 &
      tries=0
      until netstat -lun | grep -q :50000 && netstat -tn | grep -q :50000; do tries=$((tries + 1)); [ $tries -lt 50 ]; usleep 100000; done`)
    try {
      await lab.net.expect(`tcp ${P0}:50000 > ${S}:81 S`)
      lab.a.send(udp(`${A}:50000 > ${S}:53`, 'q'))
      assert.equal(routeOf(await lab.net.expect(`udp *:* > ${S}:53`)), `${P0}:50001 > ${S}:53`)
      lab.a.send(tcp(`${A}:50000 > ${S}:81`, 'S', { seq: 7 }))
      await lab.net.expect(`tcp ${P0}:50001 > ${S}:81 S`)
      // To where the gateway has none, the same port is free.
      lab.a.send(tcp(`${A}:50000 > ${S2}:81`, 'S'))
      await lab.net.expect(`tcp ${P0}:50000 > ${S2}:81 S`)
    } finally {
      await lab.gateway.sh('killall udpsvd nc')
    }
  }),

  test('many flows to one address and port are spread over the connection table', 'defect 2: not all flows to one server share a hash bucket', async (lab) => {
    await snat(lab, { pool: [P0], protocols: ['udp'] })
    const flows = 300
    for (let port = 20000; port < 20000 + flows; port++) lab.a.send(udp(`${A}:${port} > ${S}:53`, 'q'))
    for (let count = 0; count < flows; count++) await lab.net.expect(`udp ${P0}:* > ${S}:53`)
    // The table is listed bucket by bucket, and a bucket newest (or oldest) first: flows of one bucket are listed in order.
    const listed = (await lab.gateway.sh('ipvsadm -lnc')).matchAll(new RegExp(`${A.replaceAll('.', '\\.')}:(\\d+)`, 'g'))
    const ports = [...listed].map((match) => Number(match[1]))
    assert.equal(ports.length, flows, 'connections listed')
    const falling = ports.filter((port, index) => index > 0 && port < (ports[index - 1] ?? 0)).length
    assert.ok(falling > flows / 4 && falling < (flows * 3) / 4, `${falling} of ${flows - 1} neighbours in the table are in order: one bucket`)
  }),
])
