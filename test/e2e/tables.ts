// SPDX-License-Identifier: GPL-2.0-only
/** The tables of connections: their size, and that each network namespace has its own. */

import assert from 'node:assert/strict'
import type { Lab } from '../../vm/lab.ts'
import { tcp, udp } from '../../vm/packet/index.ts'
import { A, POOL, S, S2 } from '../../vm/topology.ts'
import { counters, snat, snatCommands } from './lib/configure.ts'
import { elsewhere } from './lib/elsewhere.ts'
import { suite, test } from './lib/suite.ts'
import { ask, routeOf, turn } from './lib/traffic.ts'

const [P0 = ''] = POOL
const SIZE = 'issue 10, E: the engine\'s tables have a size of their own, by memory, and one can change it'
const NAMESPACES = 'issue 10, E: one namespace must not lengthen another\'s chains; /proc/net/ip_vs_snat* in an unprivileged namespace'
const FLOWS = 300

/** @returns counters by name, of a text that may have more in it */
const countersIn = (text: string): Record<string, number> =>
  Object.fromEntries([...text.matchAll(/^(\w+)\s+(\d+)$/gm)].map(([, name = '', value]) => [name, Number(value)]))

async function manyFlowsWork(lab: Lab): Promise<void> {
  await snat(lab, { pool: [P0], protocols: ['udp'] })
  const ports = Array.from({ length: FLOWS }, (_, index) => 20000 + index)
  for (const port of ports) lab.a.send(udp(`${A}:${port} > ${S}:53`, 'q'))
  for (const _ of ports) lab.net.send(udp(turn(routeOf(await lab.net.expect(`udp ${P0}:* > ${S}:53`))), 'a'))
  for (const port of ports) await lab.a.expect(`udp ${S}:53 > ${A}:${port}`)
}

export default suite('tables', [
  test('the parameter snat_tab_bits makes the tables as small as one likes', SIZE, async (lab) => {
    const bits = await lab.gateway.sh(`
      set -e
      rmmod ip_vs
      modprobe ip_vs snat_tab_bits=4
      cat /sys/module/ip_vs/parameters/snat_tab_bits`)
    assert.equal(bits.trim(), '4')
    await manyFlowsWork(lab)
  }),

  test('without the parameter the size follows the memory', SIZE, async (lab) => {
    assert.equal((await lab.gateway.sh('cat /sys/module/ip_vs/parameters/snat_tab_bits')).trim(), '0')
    await manyFlowsWork(lab)
  }),

  test('two namespaces translate the same tuple, each with its own pool, counters and end', NAMESPACES, async (lab) => {
    await snat(lab, { pool: [P0] })
    lab.a.send(tcp(`${A}:40017 > ${S2}:81`, 'S', { seq: 7 }))
    await lab.net.expect(`tcp ${P0}:40017 > ${S2}:81 S`)
    const printed = await elsewhere(lab, {
      remote: S2,
      router: snatCommands({ pool: ['10.9.9.10'], device: 'far' }),
      host: `ping -c 5 -W 5 ${S2}; echo GET / HTTP/1.0 | nc -p 40017 -w 5 ${S2} 81`,
      report: 'cat /proc/net/ip_vs_snat; ipvsadm -lnc',
    })
    assert.match(printed, / [1-5] packets received/)
    assert.match(printed, /HTTP\/1/)
    assert.match(printed, new RegExp(`TCP .*10\\.9\\.9\\.10:40017 +${A.replaceAll('.', '\\.')}:40017`))
    assert.doesNotMatch(printed, new RegExp(P0.replaceAll('.', '\\.')))
    assert.equal(countersIn(printed)['created'], 2)
    const { created, conns } = await counters(lab)
    assert.deepEqual({ created, conns }, { created: 1, conns: 1 })
    lab.net.send(tcp(`${S2}:81 > ${P0}:40017`, 'SA', { seq: 1, ack: 8 }))
    await lab.a.expect(`tcp ${S2}:81 > ${A}:40017 SA`)
  }, { needs: ['ipvs-namespaces'] }),

  test('an unprivileged user sees the counters of a namespace of his own, and changes nobody else\'s settings', NAMESPACES, async (lab) => {
    await snat(lab, { pool: [P0] })
    await ask({ client: lab.a, sent: `${A}:40001 > ${S}:53`, server: lab.net, seen: `${P0}:40001 > ${S}:53` })
    const printed = await lab.gateway.sh(`
      range=/proc/sys/net/ipv4/vs/snat_port_range
      before=$(cat $range)
      chpst -u 1000:1000 unshare -U -r -n sh -c '
        ip link set lo up
        cat /proc/net/ip_vs_snat && cat /proc/net/ip_vs_snat_pool || echo cannot read
        ipvsadm -ln
        echo 100 200 >/proc/sys/net/ipv4/vs/snat_port_range'
      [ "$(cat $range)" = "$before" ] || echo changed`)
    const seen = countersIn(printed)
    assert.deepEqual({ conns: seen['conns'], created: seen['created'] }, { conns: 0, created: 0 })
    assert.doesNotMatch(printed, new RegExp(`cannot read|changed|${P0.replaceAll('.', '\\.')}`))
    const { created } = await counters(lab)
    assert.equal(created, 1)
  }, { needs: ['user-namespaces'] }),
])
