// SPDX-License-Identifier: GPL-2.0-only
/** When connections end: by their time, however far it is off, and many at once. */

import assert from 'node:assert/strict'
import type { Lab } from '../../vm/lab.ts'
import { udp } from '../../vm/packet/index.ts'
import { A, B, POOL, S } from '../../vm/topology.ts'
import { connections, counter, snat, vsSysctl } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'
import { ask, during, until } from './lib/traffic.ts'

const [P0 = ''] = POOL
const TIMERS = 'issue 14, 3: expiring or flushing millions of flows blocks nobody: they have no timer each, and end all the same'
const UNANSWERED = 'snat_udp_unanswered_timeout'
/** Seconds. The wheel's first level is about 16 of them; what is to come later is in the second. */
const NEAR = 8
const FAR = 20
/** What is displayed is rounded down, the worker comes four times a second, and a busy host takes its time. */
const SLACK_S = 5
/** More than the worker ends in one go. */
const MANY = 5000
const BURST = 50

/** Prints how many seconds a connection had left, and after how many it was gone. */
const END_OF = `
end_of() {
  from=$(cut -d. -f1 /proc/uptime)
  left=$(ipvsadm -lnc | awk -v port=":$1" 'index($6, port) { split($2, time, ":"); print time[1] * 60 + time[2] }')
  while ipvsadm -lnc | grep -q ":$1 *$"; do usleep 200000; done
  echo $1 $left $(($(cut -d. -f1 /proc/uptime) - from))
}`

/** Questions of {@link A} that nobody answers, from {@link MANY} ports. */
async function flood(lab: Lab): Promise<void> {
  for (let at = 0; at < MANY; at += BURST) {
    lab.a.send(Array.from({ length: BURST }, (_, index) => udp(`${A}:${2000 + at + index} > ${S}:53`, 'q')))
    await lab.breathe()
  }
}

async function many(lab: Lab): Promise<void> {
  await vsSysctl(lab, UNANSWERED, '3000')
  await vsSysctl(lab, 'snat_max_conns_per_host', '0')
  await vsSysctl(lab, 'snat_max_conns', String(2 * MANY))
  await snat(lab, { pool: [P0], protocols: ['udp'] })
  await flood(lab)
  await until('all have come', async () => (await counter(lab, 'conns')) === MANY)
}

export default suite('expiry', [
  test('connections end when their time is over, be it soon or not, and those that are used do not', TIMERS, async (lab) => {
    await snat(lab, { pool: [P0], protocols: ['udp'] })
    const send = (port: number): void => lab.a.send(udp(`${A}:${port} > ${S}:53`, 'q'))
    const [near, far, used] = [40001, 40002, 40003]
    const seconds = { [near]: NEAR, [far]: FAR }
    for (const port of [near, far, used]) {
      await vsSysctl(lab, UNANSWERED, String(seconds[port] ?? FAR))
      send(port)
      await lab.settle()
    }
    const ends = await during(lab, () => send(used), () => lab.gateway.sh(`${END_OF}\nend_of ${near}\nend_of ${far}`), 500)
    for (const line of ends.trim().split('\n')) {
      const [port = 0, left = 0, passed = 0] = line.split(' ').map(Number)
      assert.ok(left > 0 && left <= (seconds[port] ?? 0), `flow ${port} was to live for ${left} s`)
      assert.ok(passed >= left && passed <= left + SLACK_S * lab.patience, `flow ${port} was to live for ${left} s, and did for ${passed} s`)
    }
    assert.deepEqual((await connections(lab)).map(({ destination }) => destination), [`${A}:${used}`])
    assert.equal(await counter(lab, 'created'), 3)
  }),

  test('a shorter time counts from the next packet on, though the flow was to live for an hour', TIMERS, async (lab) => {
    await vsSysctl(lab, UNANSWERED, '3000')
    await vsSysctl(lab, 'snat_udp_timeout', '3000')
    await snat(lab, { pool: [P0], protocols: ['udp'] })
    await ask({ client: lab.a, sent: `${A}:40001 > ${S}:53`, server: lab.net, seen: `${P0}:40001 > ${S}:53` })
    await ask({ client: lab.b, sent: `${B}:40002 > ${S}:53`, server: lab.net, seen: `${P0}:40002 > ${S}:53` })
    await vsSysctl(lab, 'snat_udp_timeout', '1')
    lab.a.send(udp(`${A}:40001 > ${S}:53`, 'q'))
    await until('it has ended', async () => (await counter(lab, 'conns')) === 1)
    assert.deepEqual((await connections(lab)).map(({ destination }) => destination), [`${B}:40002`])
  }),

  test('many whose time is over at once all end', TIMERS, async (lab) => {
    await many(lab)
    await vsSysctl(lab, UNANSWERED, '2')
    await flood(lab)
    await until('all have ended', async () => (await counter(lab, 'conns')) === 0)
    assert.equal(await counter(lab, 'unanswered'), 0)
    assert.deepEqual(await connections(lab), [])
  }),

  test('many that are ended at once are gone at once', TIMERS, async (lab) => {
    await many(lab)
    const reply = (): void => lab.net.send(udp(`${S}:53 > ${P0}:2000`, 'a'))
    reply()
    await lab.a.expect(`udp ${S}:53 > ${A}:2000`)
    assert.equal(await lab.gateway.sh(`ipvsadm --snat-conns --src ${A} --kill; awk '$1 == "conns" { print $2 }' /proc/net/ip_vs_snat`), `${MANY} connections ended\n0\n`)
    reply()
    await lab.settle()
    assert.deepEqual(lab.a.inbox, [], 'what came for a flow that was ended')
    await until('they are out of the list', async () => (await connections(lab)).length === 0)
  }),

  test('the module can be removed with many that live', TIMERS, async (lab) => {
    await many(lab)
    await lab.gateway.sh('set -e; ipvsadm -C; rmmod ip_vs_rr; rmmod ip_vs; modprobe ip_vs')
    await snat(lab, { pool: [P0], protocols: ['udp'], device: 'none' })
    await ask({ client: lab.b, sent: `${B}:40002 > ${S}:53`, server: lab.net, seen: `${P0}:40002 > ${S}:53` })
    assert.deepEqual((await connections(lab)).map(({ destination }) => destination), [`${B}:40002`])
  }),
])
