// SPDX-License-Identifier: GPL-2.0-only
/** The tools as they are packaged, beyond what the other suites use. */

import assert from 'node:assert/strict'
import { Connection } from '../../vm/host/index.ts'
import { A, CLIENT, POOL, S, VIP } from '../../vm/topology.ts'
import { natCommands, snatCommands } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'

const [P0 = ''] = POOL

const KEEPALIVED = `
virtual_server ${VIP} 80 {
  lb_algo rr
  lb_kind NAT
  protocol TCP
  real_server ${A} 8080 {
    weight 1
  }
}
virtual_server 0.0.0.0 0 {
  lb_algo rr
  lb_kind NAT
  persistence_timeout 10
  protocol TCP
  real_server ${P0} 0 {
    weight 1
  }
}
`

export default suite('tools', [
  test('ipvsadm saves and restores LVS NAT and SNAT together', 'engine.md: ipvsadm -S / -R round-trip everything; step 18 of the walk-through', async (lab) => {
    const listed = await lab.gateway.sh(`
      set -e
      ${natCommands({ port: 80, servers: [`${A}:8080`] })}
      ${snatCommands({ pool: POOL.slice(0, 2) })}
      ipvsadm -S -n >/tmp/saved
      ipvsadm -C
      ipvsadm -R </tmp/saved
      ipvsadm -S -n | cmp - /tmp/saved
      cat /tmp/saved`)
    assert.match(listed, /-A -t 0\.0\.0\.0:0 -s rr -p 10/)
    await Connection.open({ client: lab.a, sent: `${A}:40001 > ${S}:80`, server: lab.net, seen: `*:40001 > ${S}:80` })
  }),

  test('keepalived sets up LVS NAT and SNAT', 'engine.md: the compatibility front end works with unpatched keepalived', async (lab) => {
    await lab.gateway.put('/tmp/keepalived.conf', Buffer.from(KEEPALIVED))
    await lab.gateway.sh(`
      ip addr add ${P0}/32 dev outside
      ip addr add ${VIP}/32 dev outside
      keepalived --check --dont-fork --log-console --use-file /tmp/keepalived.conf >/tmp/keepalived.log 2>&1 &
      tries=0
      until ipvsadm -ln | grep -q '${P0}:0' && ipvsadm -ln | grep -q '${A}:8080'; do
        tries=$((tries + 1))
        if [ $tries -gt 100 ]; then cat /tmp/keepalived.log; exit 1; fi
        usleep 100000
      done`)
    try {
      const outbound = await Connection.open({ client: lab.a, sent: `${A}:40002 > ${S}:80`, server: lab.net, seen: `${P0}:40002 > ${S}:80` })
      const inbound = await Connection.open({ client: lab.net, sent: `${CLIENT}:5001 > ${VIP}:80`, server: lab.a, seen: `${CLIENT}:5001 > ${A}:8080` })
      await outbound.finish()
      await inbound.finish()
    } finally {
      await lab.gateway.run('killall keepalived; for try in $(seq 50); do pidof keepalived >/dev/null || break; usleep 100000; done')
    }
  }),
])
