// SPDX-License-Identifier: GPL-2.0-only
/** Rules and pools of several network namespaces, and who may change them. */

import assert from 'node:assert/strict'
import type { Lab } from '../../vm/lab.ts'
import { A, POOL, S } from '../../vm/topology.ts'
import { counter } from './lib/configure.ts'
import { elsewhere } from './lib/elsewhere.ts'
import { atOnce, list, pool, rule } from './lib/rules.ts'
import { suite, test } from './lib/suite.ts'
import { ask } from './lib/traffic.ts'

const NAMESPACES = 'issue 12: per namespace on 6.1; defect 15: no namespaces'
const PRIVILEGE = 'issue 12: CAP_NET_ADMIN in the namespace\'s owner'
const LOG = 'issue 15, as the engine was attacked: an unprivileged user writes the log of the host, and hides lines of the gateway'
const [P0 = ''] = POOL
const INSIDE_NET = '192.168.0.0/16'
const COMMANDS = 20
const NEW_POOL = 5
const DUMP_FLAGS = 0x300
const DUMPS: readonly number[] = [8, 12, 13, 17, 18]
/** A user of no privilege, and group. */
const NOBODY = '65534:65534'
/** Adds a pool `x`, as genl-exchange reads it. */
const ADD_POOL = `${NEW_POOL} 0 0c0001800600010078000000`

/** Has a program that may be anybody's exchange messages. @returns the errors of the answers */
async function errorsOf(lab: Lab, who: string, lines: readonly string[]): Promise<number[]> {
  const output = await lab.gateway.sh(`${who} genl-exchange IPVS_SNAT <<'END'\n${lines.join('\n')}\nEND`)
  return output.trim().split('\n').map((line) => Number(line.split(' ')[1]))
}

const EPERM = 1

export default suite('namespaces', [
  test('rules and pools of one namespace are neither seen nor changed in another, and nobody there is told', NAMESPACES, async (lab) => {
    await lab.gateway.sh(`ip addr add ${P0}/32 dev outside`)
    await atOnce(lab, ...pool('out', [P0]), rule(INSIDE_NET, 'out', { id: 7 }))
    const before = [await list(lab, 'getRule'), await list(lab, 'getAddr')]
    await lab.gateway.sh('genl-exchange IPVS_SNAT config >/tmp/news')
    try {
      const output = await lab.gateway.sh(`
        unshare -n sh -c '
          set -e
          ip link set lo up
          ipvsadm -S -n
          echo --
          ipvsadm --add-pool out -z 10.9.9.8
          ipvsadm -K --zone 10.0.0.0/8
          ipvsadm -U --zone 10.0.0.0/8 -z 10.9.9.9
          ipvsadm -S -n
          echo --
          ipvsadm -C
          ipvsadm -S -n'`)
      const [first, second = '', third] = output.split(/^--\n/m)
      assert.equal(first, '', 'what it has at its beginning')
      assert.match(second, /10\.9\.9\.8/)
      assert.match(second, /10\.0\.0\.0\/8.*10\.9\.9\.9/)
      assert.doesNotMatch(second, new RegExp(`${P0}|192\\.168`))
      assert.equal(third, '', 'what it has at its end')
      assert.equal(await lab.gateway.sh('cat /tmp/news'), '')
    } finally {
      await lab.gateway.sh('killall genl-exchange; rm /tmp/news')
    }
    assert.deepEqual([await list(lab, 'getRule'), await list(lab, 'getAddr')], before)
    await ask({ client: lab.a, sent: `${A}:40001 > ${S}:53`, server: lab.net, seen: `${P0}:40001 > ${S}:53` })
  }, { needs: ['ipvs-namespaces'] }),

  test('who has no privilege may neither change nor list anything', PRIVILEGE, async (lab) => {
    await atOnce(lab, ...pool('out', [P0]), rule(INSIDE_NET, 'out'))
    const all = Array.from({ length: COMMANDS }, (_, index) => `${index + 1} ${DUMPS.includes(index + 1) ? DUMP_FLAGS : 0} `)
    assert.deepEqual(await errorsOf(lab, `setuidgid ${NOBODY}`, all), all.map(() => EPERM))
    assert.equal((await list(lab, 'getRule')).length, 1)
    assert.equal((await list(lab, 'getPool')).length, 1)
  }),

  test('who has a user namespace of his own may change what belongs to it, and nothing else', PRIVILEGE, async (lab) => {
    assert.deepEqual(await errorsOf(lab, `setuidgid ${NOBODY} unshare -r`, [ADD_POOL]), [EPERM])
    assert.deepEqual(await errorsOf(lab, `setuidgid ${NOBODY} unshare -r -n`, [ADD_POOL]), [0])
    assert.deepEqual(await list(lab, 'getPool'), [])
  }, { needs: ['ipvs-namespaces', 'user-namespaces'] }),

  test('who has a user namespace of his own does not write the log of the host', LOG, async (lab) => {
    const from = lab.gateway.klog.lines.length
    const seen = await lab.gateway.sh(`
      set -e
      modprobe veth
      setuidgid ${NOBODY} unshare -r -n sh -c '
        set -e
        ip link set lo up
        echo 1 >/proc/sys/net/ipv4/ip_forward
        ip link add type veth
        ip addr add 192.168.1.1/24 dev veth0; ip link set veth0 up
        unshare -n sleep 1000 & host=$!
        until [ "$(readlink /proc/$host/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do usleep 50000; done
        ip link set veth1 netns $host
        nsenter -t $host -n sh -c "ip addr add 192.168.1.2/24 dev veth1; ip link set veth1 up; ip route add default via 192.168.1.1"
        ip link add type veth; ip link set veth1 up; ip link set veth2 up; ip addr add 10.9.9.8/24 dev veth2
        ip route add 198.51.100.0/24 via 10.9.9.7
        ipvsadm --add-pool nowhere -z 10.99.99.8
        ipvsadm --add-rule --id 1 -F 192.168.0.0/16 --pool nowhere
        nsenter -t $host -n ping -c 1 -W 1 198.51.100.7 || true
        ipvsadm --delete-rule --id 1
        ipvsadm --delete-pool nowhere
        ipvsadm --add-pool one --ports 50000-50000 -z 10.9.9.8
        ipvsadm --add-rule -F 192.168.0.0/16 --pool one
        nsenter -t $host -n sh -c "ping -c 1 -W 1 198.51.100.7; ping -c 1 -W 1 198.51.100.7" || true
        cat /proc/net/ip_vs_snat
        kill $host'`)
    assert.match(seen, /^exhausted\s+1$/m)
    assert.match(seen, /^drop_no_way\s+1$/m)
    assert.deepEqual(lab.gateway.klog.lines.slice(from).filter((line) => line.includes('SNAT')), [])
  }, { needs: ['ipvs-namespaces', 'user-namespaces'] }),

  test('a namespace that ends takes rules, pools, flows and an open change along', NAMESPACES, async (lab) => {
    const heard = await elsewhere(lab, {
      remote: S,
      router: `
        ip addr add 10.9.9.77/32 dev far
        ipvsadm --add-pool out -z 10.9.9.77
        ipvsadm --add-rule -F ${INSIDE_NET} --pool out
        rm -f /tmp/open; mkfifo /tmp/open
        genl-exchange IPVS_SNAT </tmp/open >/tmp/answers &
        exec 3>/tmp/open
        echo "1 0 " >&3; echo "${ADD_POOL}" >&3`,
      host: `ping -c 5 -W 5 ${S}; echo GET / HTTP/1.0 | nc -p 40017 -w 5 ${S} 81`,
      report: 'cat /proc/net/ip_vs_snat /tmp/answers; ipvsadm -G -n',
    })
    assert.match(heard, / [1-5] packets received/)
    assert.match(heard, /HTTP\/1/)
    assert.match(heard, /^created\s+2$/m)
    assert.match(heard, /^ack 0 .*\nack 0 /m)
    assert.match(heard, /10\.9\.9\.77/)
    assert.equal(await counter(lab, 'created'), 0)
    assert.deepEqual(await list(lab, 'getRule'), [])
    // A module that is held, or a connection that is left in its slab, is seen here.
    await lab.gateway.sh('set -e; rmmod ip_vs; modprobe ip_vs')
  }, { needs: ['ipvs-namespaces'] }),
])
