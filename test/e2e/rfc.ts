// SPDX-License-Identifier: GPL-2.0-only
/**
 * What the RFCs demand of a NAT and no other suite shows: docs/nat-behaviour.md lists them requirement by requirement.
 */

import assert from 'node:assert/strict'
import { Connection } from '../../vm/host/index.ts'
import { echo, icmp, icmpError, tcp, udp } from '../../vm/packet/index.ts'
import { A, B, CLIENT, POOL, ROUTER, S } from '../../vm/topology.ts'
import { between, connectionOf, counter, type Listed, snat, vsSysctl } from './lib/configure.ts'
import { anyFlags, KINDS, openFlow, quoted } from './lib/flow.ts'
import { suite, test } from './lib/suite.ts'
import { ask, assertNothingPrivateLeft, everyKindGoesOut } from './lib/traffic.ts'

const [P0 = ''] = POOL
const TIMERS = 'issue 10, D: TCP established 2 h 4 min, transitory 4 min; RFC 5382 REQ-5, RFC 4787 REQ-5, RFC 5508 REQ-2'
const SEQUENCES = 'issue 10, D: simultaneous open; RFC 5382 REQ-2'
const UNSOLICITED = 'issue 10, D: a SYN to an unsolicited port is not answered by the gateway\'s RST; RFC 5382 REQ-4'
const REFRESH = 'issue 10, D: RFC 4787 REQ-6, RFC 5508 REQ-6, RFC 7857 7.1'
const ERRORS = 'issue 10, D: ICMP errors inbound and outbound; RFC 5508 REQ-3 to REQ-5'
const LIMITS = 'issue 10, D: RFC 6888 REQ-4, REQ-5'

const ESTABLISHED_S = 7440
const TRANSITORY_S = 240
/** What may have passed since a timer was set; no machine is that slow. */
const PASSED_S = 60

/** Asserts that a connection's timer was set to a limit a moment ago. */
function assertLives(connection: Listed, limit: number): void {
  const { expires, state } = connection
  assert.ok(expires <= limit && expires > Math.max(limit - PASSED_S, 0), `${state} for ${expires} s more, of ${limit}`)
}

/** An MPLS label as an extension of an ICMP error (RFC 4884, 7; RFC 4950), its checksum left out, which is allowed. */
const EXTENSION = Buffer.from('20000000' + '00080101' + '00010101', 'hex')
/** What of the datagram comes before an extension, padded. */
const EXTENDED_QUOTE = 128

/** @returns a datagram whose ICMP checksum is wrong */
function damaged(datagram: Buffer): Buffer {
  const copy = Buffer.from(datagram)
  copy[22] = (copy[22] ?? 0) ^ 0xff
  return copy
}

export default suite('rfc', [
  test('a TCP connection may be idle for 2 h 4 min, and for 4 min while it opens or closes', TIMERS, async (lab) => {
    await snat(lab, { pool: [P0] })
    lab.a.send(tcp(`${A}:40000 > ${S}:80`, 'S'))
    await lab.net.expect(`tcp ${P0}:40000 > ${S}:80 S`)
    const opening = await connectionOf(lab, `${A}:40000`)
    assert.equal(opening.state, 'SYN_SENT')
    assertLives(opening, TRANSITORY_S)
    const connection = await Connection.open({ client: lab.a, sent: `${A}:40001 > ${S}:80`, server: lab.net, seen: `${P0}:40001 > ${S}:80` })
    const established = await connectionOf(lab, `${A}:40001`)
    assert.equal(established.state, 'ESTABLISHED')
    assertLives(established, ESTABLISHED_S)
    await connection.finish()
    assertLives(await connectionOf(lab, `${A}:40001`), TRANSITORY_S)
  }),

  ...(['client', 'server'] as const).map((first) =>
    test(`a TCP connection that only the ${first} has closed carries data and lives on`, SEQUENCES, async (lab) => {
      await snat(lab, { pool: [P0] })
      const connection = await Connection.open({ client: lab.a, sent: `${A}:40001 > ${S}:80`, server: lab.net, seen: `${P0}:40001 > ${S}:80` })
      await (first === 'client' ? connection.finishClient() : connection.finishServer())
      await (first === 'client' ? connection.respond('more') : connection.request('more'))
      assertLives(await connectionOf(lab, `${A}:40001`), ESTABLISHED_S)
      await (first === 'client' ? connection.finishServer() : connection.finishClient())
      assertLives(await connectionOf(lab, `${A}:40001`), TRANSITORY_S)
    }),
  ),

  ...(['client', 'server'] as const).map((side) =>
    test(`a reset by the ${side} is passed on, and leaves the connection for 4 min`, 'issue 10, D: RFC 7857 2.2', async (lab) => {
      await snat(lab, { pool: [P0] })
      const connection = await Connection.open({ client: lab.a, sent: `${A}:40001 > ${S}:80`, server: lab.net, seen: `${P0}:40001 > ${S}:80` })
      await connection.abort(side)
      assertLives(await connectionOf(lab, `${A}:40001`), TRANSITORY_S)
      await connection.request('not meant, it seems')
      assertLives(await connectionOf(lab, `${A}:40001`), ESTABLISHED_S)
    }),
  ),

  test('both ends may open a TCP connection at once', SEQUENCES, async (lab) => {
    await snat(lab, { pool: [P0] })
    const out = `${A}:40001 > ${S}:80`
    const seen = `${P0}:40001 > ${S}:80`
    const back = `${S}:80 > ${P0}:40001`
    const arrived = `${S}:80 > ${A}:40001`
    lab.a.send(tcp(out, 'S', { seq: 100 }))
    await lab.net.expect(`tcp ${seen} S`)
    lab.net.send(tcp(back, 'S', { seq: 500 }))
    await lab.a.expect(`tcp ${arrived} S`)
    lab.a.send(tcp(out, 'SA', { seq: 100, ack: 501 }))
    await lab.net.expect(`tcp ${seen} SA`)
    lab.net.send(tcp(back, 'SA', { seq: 500, ack: 101 }))
    await lab.a.expect(`tcp ${arrived} SA`)
    assertLives(await connectionOf(lab, `${A}:40001`), ESTABLISHED_S)
    lab.a.send(tcp(out, 'PA', { seq: 101, ack: 501, data: 'hello' }))
    await lab.net.expect(`tcp ${seen} PA`)
    lab.net.send(tcp(back, 'PA', { seq: 501, ack: 106, data: 'hello' }))
    await lab.a.expect(`tcp ${arrived} PA`)
    assert.equal(await counter(lab, 'created'), 1)
  }),

  ...([['on the outside device', 'outside'], ['on the loopback device', 'lo']] as const).map(([place, device]) =>
    test(`an unsolicited SYN to a pool address ${place} is met with silence`, UNSOLICITED, async (lab) => {
      await between(lab, 'true', `ip addr del ${P0}/32 dev lo 2>/dev/null; true`, async () => {
        await snat(lab, { pool: [P0], device })
        await everyKindGoesOut(lab, P0)
        lab.net.send([tcp(`${CLIENT}:5001 > ${P0}:30000`, 'S'), tcp(`${CLIENT}:5001 > ${P0}:40001`, 'S')])
        await lab.settle()
        lab.net.refuse(`tcp ${P0}:* > ${CLIENT}:5001 *`)
        lab.net.refuse('icmp * > * port-unreachable **')
        assert.equal(await counter(lab, 'drop_unsolicited'), 2)
      })
    }),
  ),

  test('a connection from inside opens although the outside has sent a SYN before', UNSOLICITED, async (lab) => {
    await snat(lab, { pool: [P0] })
    lab.net.send(tcp(`${S}:80 > ${P0}:40001`, 'S', { seq: 500 }))
    await lab.settle()
    lab.net.refuse(`tcp ${P0}:40001 > **`)
    const connection = await Connection.open({ client: lab.a, sent: `${A}:40001 > ${S}:80`, server: lab.net, seen: `${P0}:40001 > ${S}:80` })
    await connection.finish()
  }),

  test('services on a pool address still answer, and so do ports that SNAT does not give out', UNSOLICITED, async (lab) => {
    await snat(lab, { pool: [P0] })
    await between(lab, `
      httpd -p ${P0}:8081 -h /tmp
      ipvsadm -A -t ${P0}:8082 -s rr
      ipvsadm -a -t ${P0}:8082 -r ${A}:8080 -m`, 'killall httpd', async () => {
      lab.net.send(tcp(`${CLIENT}:5001 > ${P0}:8081`, 'S'))
      await lab.net.expect(`tcp ${P0}:8081 > ${CLIENT}:5001 SA`)
      lab.net.send(tcp(`${CLIENT}:5001 > ${P0}:8082`, 'S'))
      await lab.a.expect(`tcp ${CLIENT}:5001 > ${A}:8080 S`)
      lab.net.send(tcp(`${CLIENT}:5001 > ${P0}:999`, 'S'))
      await lab.net.expect(`tcp ${P0}:999 > ${CLIENT}:5001 RA`)
      assert.equal(await counter(lab, 'drop_unsolicited'), 0)
    })
  }),

  test('UDP lives 5 min when it was answered, 30 s when not, and a ping 1 min', TIMERS, async (lab) => {
    await snat(lab, { pool: [P0] })
    const send = async (port: number) => {
      lab.a.send(udp(`${A}:${port} > ${S}:53`, 'q'))
      await lab.net.expect(`udp ${P0}:${port} > ${S}:53`)
      return connectionOf(lab, `${A}:${port}`)
    }
    assertLives(await send(40001), 30)
    await vsSysctl(lab, 'snat_udp_unanswered_timeout', '120')
    assertLives(await send(40002), 120)
    await ask({ client: lab.a, sent: `${A}:40003 > ${S}:53`, server: lab.net, seen: `${P0}:40003 > ${S}:53` })
    assertLives(await connectionOf(lab, `${A}:40003`), 300)
    lab.a.send(echo(`${A} > ${S}`, 'request', { echoId: 40004 }))
    await lab.net.expect(`icmp ${P0} > ${S} echo-request id=40004`)
    assertLives(await connectionOf(lab, `${A}:40004`), 60)
  }),

  ...([['udp', 'snat_udp_timeout', `${B}:7000`, 300], ['echo', 'snat_icmp_timeout', `${B}:7070`, 60]] as const).map(([kind, sysctl, inside, usual]) =>
    test(`packets of either direction refresh ${kind}, and ICMP errors do not`, REFRESH, async (lab) => {
      await snat(lab, { pool: [P0] })
      const flow = await openFlow(lab, kind)
      const answered = async () => {
        lab.net.send(flow.answer())
        return lab.b.expect(flow.answerInside)
      }
      const answer = await answered()
      assertLives(await connectionOf(lab, inside), usual)
      await vsSysctl(lab, sysctl, String(usual * 2))
      lab.net.send(icmpError(`${ROUTER} > ${P0}`, 'time-exceeded', flow.sent.datagram))
      await lab.b.expect(`icmp ${ROUTER} > ${B} time-exceeded ${quoted(flow.inside)}`)
      lab.b.send(icmpError(`${B} > ${S}`, 'port-unreachable', answer.datagram))
      await lab.net.expect(`icmp ${P0} > ${S} port-unreachable ${quoted(flow.answerOutside)}`)
      assertLives(await connectionOf(lab, inside), usual)
      await answered()
      assertLives(await connectionOf(lab, inside), usual * 2)
      await vsSysctl(lab, sysctl, String(usual * 4))
      lab.b.send(flow.question)
      await lab.net.expect(flow.outside)
      assertLives(await connectionOf(lab, inside), usual * 4)
    }),
  ),

  ...KINDS.map((kind) =>
    test(`an ICMP error ends no mapping of ${kind}`, 'issue 10, D: RFC 4787 REQ-12, RFC 5382 REQ-10, RFC 5508 REQ-6', async (lab) => {
      await snat(lab, { pool: [P0] })
      const flow = await openFlow(lab, kind)
      for (const error of ['port-unreachable', 'host-unreachable', 'time-exceeded', 'frag-needed'] as const) {
        lab.net.send(icmpError(`${ROUTER} > ${P0}`, error, flow.sent.datagram, { mtu: 1400 }))
        await lab.b.expect(`icmp ${ROUTER} > ${B} ${error} ${quoted(flow.inside)}`)
        lab.net.send(flow.answer())
        const answer = await lab.b.expect(anyFlags(flow.answerInside))
        lab.b.send(icmpError(`${B} > ${S}`, error, answer.datagram, { mtu: 1400 }))
        await lab.net.expect(`icmp ${P0} > ${S} ${error} ${quoted(flow.answerOutside)}`)
        lab.b.send(flow.question)
        await lab.net.expect(anyFlags(flow.outside))
      }
      assert.equal(await counter(lab, 'created'), 2)
    }),
  ),

  ...KINDS.map((kind) =>
    test(`an ICMP error about ${kind} with a wrong checksum goes nowhere`, ERRORS, async (lab) => {
      await snat(lab, { pool: [P0] })
      const flow = await openFlow(lab, kind)
      lab.net.send(flow.answer())
      const answer = await lab.b.expect(anyFlags(flow.answerInside))
      lab.net.send(damaged(icmpError(`${ROUTER} > ${P0}`, 'port-unreachable', flow.sent.datagram)))
      lab.b.send(damaged(icmpError(`${B} > ${S}`, 'port-unreachable', answer.datagram)))
      await lab.settle()
      lab.b.refuse('icmp * > * port-unreachable **')
      lab.net.refuse('icmp * > * port-unreachable **')
      assertNothingPrivateLeft(lab)
    }),
  ),

  test('an ICMP error is translated behind the IP options of the packet that it quotes', ERRORS, async (lab) => {
    await snat(lab, { pool: [P0] })
    const noOperation = Buffer.alloc(4, 1)
    lab.a.send(udp(`${A}:7000 > ${S}:53`, 'takes the port'))
    await lab.net.expect(`udp ${P0}:7000 > ${S}:53`)
    lab.b.send(udp(`${B}:7000 > ${S}:53`, 'q', { options: noOperation }))
    const sent = await lab.net.expect(`udp ${P0}:* > ${S}:53`)
    lab.net.send(icmpError(`${ROUTER} > ${P0}`, 'port-unreachable', sent.datagram))
    await lab.b.expect(`icmp ${ROUTER} > ${B} port-unreachable [udp ${B}:7000 > ${S}:53]`)
  }),

  ...KINDS.map((kind) =>
    test(`an ICMP error about ${kind} keeps its extensions`, ERRORS, async (lab) => {
      await snat(lab, { pool: [P0] })
      const flow = await openFlow(lab, kind)
      const quote = Buffer.alloc(EXTENDED_QUOTE)
      flow.sent.datagram.copy(quote)
      // The second byte counts the words of the quote.
      const head = Buffer.from([0, EXTENDED_QUOTE / 4, 0, 0])
      lab.net.send(icmp(`${ROUTER} > ${P0}`, 11, 0, Buffer.concat([head, quote, EXTENSION])))
      const error = await lab.b.expect(`icmp ${ROUTER} > ${B} time-exceeded ${quoted(flow.inside)}`)
      const message = error.datagram.subarray(20)
      assert.deepEqual(message.subarray(4, 8), head, 'length of the quote')
      assert.deepEqual(message.subarray(8 + EXTENDED_QUOTE), EXTENSION, 'extension')
      const padding = message.subarray(8 + flow.sent.datagram.length, 8 + EXTENDED_QUOTE)
      assert.ok(padding.every((byte) => byte === 0), 'padding')
    }),
  ),

  test('no payload is rewritten, whatever addresses it names', 'issue 10, D: RFC 4787 REQ-10, RFC 5382 REQ-6: no ALG', async (lab) => {
    await lab.gateway.sh('modprobe ip_vs_ftp')
    await snat(lab, { pool: [P0] })
    const invite = `INVITE sip:x@${S} SIP/2.0\r\nVia: SIP/2.0/UDP ${A}:5060\r\nContact: <sip:a@${A}:5060>\r\n\r\n`
    await ask({ client: lab.a, sent: `${A}:5060 > ${S}:5060`, server: lab.net, seen: `${P0}:5060 > ${S}:5060` }, invite, invite)
    const control = await Connection.open({ client: lab.a, sent: `${A}:40001 > ${S}:21`, server: lab.net, seen: `${P0}:40001 > ${S}:21` })
    await control.request(`PORT ${A.replaceAll('.', ',')},156,65\r\n`)
    await control.respond(`227 Entering Passive Mode (${S.replaceAll('.', ',')},156,66)\r\n`)
    await control.finish()
  }),

  test('connections leave nothing in the log', 'issue 10, D: RFC 6888 REQ-12, REQ-14', async (lab) => {
    await snat(lab, { pool: [P0] })
    await lab.gateway.sh('echo "lab: what follows" >/dev/kmsg')
    await everyKindGoesOut(lab, P0)
    for (const kind of KINDS) await openFlow(lab, kind)
    // 6.12 tells how many rates it can estimate, by a thread that is some time about it after the first service.
    const log = await lab.gateway.sh("dmesg | sed -e '1,/lab: what follows/d' -e '/ ests per chain, /d'")
    assert.doesNotMatch(log, /SNAT|IPVS/)
  }),

  test('an inside host gets as many connections as it may have, and the others theirs', LIMITS, async (lab) => {
    const share = 4
    await vsSysctl(lab, 'snat_max_conns_per_host', String(share))
    await snat(lab, { pool: [P0] })
    const exchanges = Array.from({ length: share }, (_, index) => ({
      client: lab.a, sent: `${A}:${40001 + index} > ${S}:53`, server: lab.net, seen: `${P0}:${40001 + index} > ${S}:53`,
    }))
    for (const exchange of exchanges) await ask(exchange)
    lab.a.send(udp(`${A}:41000 > ${S}:53`, 'one too many'))
    await lab.settle()
    lab.net.refuse(`udp ${P0}:41000 > **`)
    assertNothingPrivateLeft(lab)
    assert.equal(await counter(lab, 'limit_host'), 1)
    await ask({ client: lab.b, sent: `${B}:41000 > ${S}:53`, server: lab.net, seen: `${P0}:41000 > ${S}:53` })
    for (const exchange of exchanges) await ask(exchange)
  }),
])
