// SPDX-License-Identifier: GPL-2.0-only
/** The tables of connections: their size, and that each network namespace has its own. */

import assert from 'node:assert/strict'
import type { Lab } from '../../vm/lab.ts'
import { tcp, udp } from '../../vm/packet/index.ts'
import { A, POOL, S, S2 } from '../../vm/topology.ts'
import { between, counter, counters, snat, snatCommands, vsSysctl } from './lib/configure.ts'
import { elsewhere } from './lib/elsewhere.ts'
import { suite, test } from './lib/suite.ts'
import { ask, routeOf, turn, until } from './lib/traffic.ts'

const [P0 = ''] = POOL
const SIZE = 'issue 10, E: the engine\'s tables have a size of their own, and one can change it'
const NAMESPACES = 'issue 10, E: one namespace must not lengthen another\'s chains; /proc/net/ip_vs_snat* in an unprivileged namespace'
const GROWTH = 'issue 14, 3: tables that grow with what is in them'
const FLOWS = 300
/** More than the 16384 buckets that tables begin with. */
const MANY = 17_000
const BURST = 50

/** Lists all connections over and over: none twice, and all that there were before. */
const LIST_FOR_EVER = `
rm -f /tmp/enough
(until [ -e /tmp/enough ]; do
  before=$(awk '$1 == "conns" { print $2 }' /proc/net/ip_vs_snat)
  ipvsadm --snat-conns -n >/tmp/list || echo failed
  awk -v before=$before 'NR > 1 { n++; if (seen[$4]++) print "twice", $4 }
    END { print (n >= before ? "good" : "lost"), n, "of", before }' /tmp/list
done >/tmp/lists; echo end >>/tmp/lists) </dev/null >/dev/null 2>&1 &`

/** A slow kernel forwards less than it is sent, and all of that has to wait somewhere (net.core.netdev_max_backlog, for all namespaces). */
const BACKLOG = '/proc/sys/net/core/netdev_max_backlog'
const KNOWN = 4000
const REPLIED = 30_000
/** send PROCESSOR DEVICE COUNT KEY=VALUE...: as fast as that processor can. */
const SEND = `
modprobe pktgen
send() {
  thread=/proc/net/pktgen/kpktgend_$1; device=$2; count=$3; shift 3
  echo rem_device_all >$thread
  echo add_device $device >$thread
  for setting in count=$count pkt_size=60 delay=0 clone_skb=0 "$@"; do
    echo "\${setting%%=*} \${setting#*=}" >/proc/net/pktgen/$device
  done
  echo start >/proc/net/pktgen/pgctrl
}`
/** To flows that are known, from the other side, by the other processor. */
const REPLIES = `
iptables -t raw -A PREROUTING -i near -p udp -j DROP
send 1 near ${REPLIED} src_min=${S2} src_max=${S2} dst_min=10.9.9.10 dst_max=10.9.9.10 udp_src_min=53 udp_src_max=53 udp_dst_min=10000 udp_dst_max=${10_000 + KNOWN} dst_mac=$(cat /tmp/far.mac)
iptables -t raw -F PREROUTING
touch /tmp/replied`

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

  test('the tables grow with what is in them, and meanwhile every flow stays what it was', GROWTH, async (lab) => {
    assert.equal((await lab.gateway.sh('cat /sys/module/ip_vs/parameters/snat_tab_bits')).trim(), '0')
    for (const name of ['snat_udp_timeout', 'snat_udp_unanswered_timeout']) await vsSysctl(lab, name, '3000')
    await vsSysctl(lab, 'snat_max_conns_per_host', '0')
    await vsSysctl(lab, 'snat_max_conns', `${MANY}`)
    await snat(lab, { pool: [P0], protocols: ['udp'] })
    await lab.gateway.sh(LIST_FOR_EVER)

    const flow = (index: number): number => 2000 + index
    for (let at = 0; at < MANY; at += BURST) {
      lab.a.send(Array.from({ length: Math.min(BURST, MANY - at) }, (_, index) => udp(`${A}:${flow(at + index)} > ${S}:53`, 'q')))
      await lab.breathe()
      if (at % (10 * BURST) !== 0) continue
      const old = flow(Math.floor(at / 2))
      lab.net.send(udp(`${S}:53 > ${P0}:${old}`, 'a'))
      await lab.a.expect(`udp ${S}:53 > ${A}:${old}`)
    }
    await until('the tables have grown', async () => await counter(lab, 'grown') === 1)
    const { created, conns } = await counters(lab)
    assert.deepEqual({ created, conns }, { created: MANY, conns: MANY })
    assert.equal(new Set(lab.net.inbox.map(({ udp: header }) => header?.sport)).size, MANY, 'ports on the wire')

    for (let at = 0; at < MANY; at += MANY / 100) {
      lab.net.send(udp(`${S}:53 > ${P0}:${flow(at)}`, 'a'))
      await lab.a.expect(`udp ${S}:53 > ${A}:${flow(at)}`)
    }
    const [all = '', ...lists] = (await lab.gateway.sh(`
      touch /tmp/enough
      until grep -q end /tmp/lists; do sleep 1; done
      ipvsadm --snat-conns -n | awk 'NR > 1' | wc -l
      cat /tmp/lists`)).trim().split('\n')
    assert.equal(all, `${MANY}`, 'connections in a list')
    assert.deepEqual(lists.filter((line) => !/^(?:good|end)/.test(line)), [], 'lists that were made meanwhile')
    const lengths = lists.flatMap((line) => Number(/^good (\d+) of/.exec(line)?.[1] ?? []))
    assert.ok(lengths.some((length) => length > 0 && length < MANY), `lists while flows came: ${lengths.join(', ')}`)
    assert.equal(await counter(lab, 'created'), MANY, 'no reply was for nobody, and no flow began anew')

    // Each read goes on where the one before it ended, in the middle of a bucket or a line.
    const listed = await lab.gateway.sh(`
      for size in 100 4000 1000000; do
        dd if=/proc/net/ip_vs_conn bs=$size 2>/dev/null | awk 'NR > 1 { print $2, $3, $4, $5, $6, $7 }' >/tmp/listed
        echo "$(wc -l </tmp/listed) $(sort -u /tmp/listed | wc -l)"
      done`)
    assert.equal(listed, `${MANY} ${MANY}\n`.repeat(3), 'connections that /proc/net/ip_vs_conn has, and those that are different')
  }),

  test('a table that grows under full load loses no packet of flows that are known', GROWTH, async (lab) => between(lab, `echo 1000000 >${BACKLOG}`, `echo 1000 >${BACKLOG}`, async () => {
    await lab.gateway.sh(`rm -f /tmp/known /tmp/replied\n${SEND}\n(until [ -e /tmp/known ]; do usleep 50000; done; ${REPLIES}) </dev/null >/dev/null 2>&1 &`)
    const printed = await elsewhere(lab, {
      remote: S2,
      router: `${snatCommands({ pool: ['10.9.9.10'], device: 'far', protocols: ['udp'] })}
        for device in left far; do ip link show dev $device | awk '"'"'$1 == "link/ether" { print $2 }'"'"' >/tmp/$device.mac; done
        for name in snat_udp_timeout snat_udp_unanswered_timeout; do echo 3000 >/proc/sys/net/ipv4/vs/$name; done
        echo ${4 * MANY} >/proc/sys/net/ipv4/vs/snat_max_conns; echo 0 >/proc/sys/net/ipv4/vs/snat_max_conns_per_host`,
      host: `${SEND}
        ping -c 1 ${S2}
        iptables -t raw -A PREROUTING -p udp -s ${S2} -j DROP
        send 0 right ${KNOWN} src_min=${A} src_max=${A} dst_min=${S2} dst_max=${S2} udp_src_min=10000 udp_src_max=${10_000 + KNOWN} udp_dst_min=53 udp_dst_max=53 dst_mac=$(cat /tmp/left.mac)
        touch /tmp/known
        send 0 right ${MANY} src_min=${A} src_max=${A} dst_min=${S2} dst_max=${S2} udp_src_min=20000 udp_src_max=${20_000 + MANY} udp_dst_min=54 udp_dst_max=54 dst_mac=$(cat /tmp/left.mac)
        until [ -e /tmp/replied ]; do usleep 50000; done
        iptables -t raw -L PREROUTING -nvx | awk '"'"'NR == 3 { print "replies " $1 }'"'"'`,
      report: 'cat /proc/net/ip_vs_snat',
    })
    const { replies, created, grown } = countersIn(printed)
    // And the echo.
    assert.deepEqual({ replies, created, grown }, { replies: REPLIED, created: KNOWN + MANY + 1, grown: 1 })
  }), { needs: ['ipvs-namespaces'] }),

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
        ipvsadm --add-pool few -z 10.8.0.0-10.8.0.255 || echo cannot add
        ipvsadm --add-pool many -z 10.8.1.0
        echo 100 200 >/proc/sys/net/ipv4/vs/snat_port_range' 2>&1
      [ "$(cat $range)" = "$before" ] || echo changed`)
    const seen = countersIn(printed)
    assert.deepEqual({ conns: seen['conns'], created: seen['created'] }, { conns: 0, created: 0 })
    assert.match(printed, /too many addresses/)
    assert.doesNotMatch(printed, new RegExp(`cannot read|cannot add|changed|${P0.replaceAll('.', '\\.')}`))
    const { created } = await counters(lab)
    assert.equal(created, 1)
  }, { needs: ['user-namespaces'] }),
])
