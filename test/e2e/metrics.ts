// SPDX-License-Identifier: GPL-2.0-only
/** What a gateway says of itself to those who watch it: metrics for Prometheus, and the pressure on its ports. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../../scripts/base/root.ts'
import type { Lab } from '../../vm/lab.ts'
import { udp } from '../../vm/packet/index.ts'
import { A, POOL, S, S2 } from '../../vm/topology.ts'
import { between } from './lib/configure.ts'
import { parseMetrics, type Sample, valueOf } from './lib/prometheus.ts'
import { suite, test } from './lib/suite.ts'
import { ask } from './lib/traffic.ts'

const METRICS = 'issue 13, 3: ipvsadm --metrics for the textfile collector of node_exporter, names by the conventions of Prometheus'
const PRESSURE = 'issue 13, 2: for each pool address the remotes that hold the most ports and how near to the end they are, with a threshold'
const [P0 = '', P1 = ''] = POOL

/** Two rules: of the host `a`, whose pool has ten ports, and one that drops. */
const RULES = `
  set -e
  ip addr add ${P0}/32 dev outside
  ipvsadm --add-pool narrow --ports 2000-2009 -z ${P0}
  ipvsadm --add-pool idle -z ${P1} -w 0
  ipvsadm --add-rule --id 7 -F ${A} --pool narrow
  ipvsadm --add-rule --id 8 -T 198.51.100.99 --oif outside --drop`

const metrics = async (lab: Lab): Promise<Sample[]> => parseMetrics(await lab.gateway.sh('ipvsadm --metrics'))

/** Opens UDP flows of `a`, each with an answer. */
async function flows(lab: Lab, count: number, remote: string): Promise<void> {
  for (let port = 0; port < count; port++) {
    await ask({ client: lab.a, sent: `${A}:${5000 + port} > ${remote}`, server: lab.net, seen: `${P0}:* > ${remote}` })
  }
}

interface Listed {
  rules: { id: number; stats: Record<string, number> }[]
  pools: { name: string; addresses: { address: string; stats: Record<string, number> }[] }[]
}

interface Pressed {
  pool: string | null
  address: string
  proto: string
  remote: [string, number]
  in_use: number
  ports: number
}

const pressure = async (lab: Lab, options = ''): Promise<Pressed[]> =>
  (JSON.parse(await lab.gateway.sh(`ipvsadm --pressure --json ${options}`)) as { pressure: Pressed[] }).pressure

export default suite('metrics', [
  test('every counter is there, in the format of Prometheus, and is what the lists say', METRICS, async (lab) => {
    await lab.gateway.sh(RULES)
    await flows(lab, 3, `${S}:53`)
    const samples = await metrics(lab)
    assert.equal(valueOf(samples, 'ipvs_snat_connections'), 3)
    assert.equal(valueOf(samples, 'ipvs_snat_rule_connections_total', { rule: '7' }), 3)
    assert.equal(valueOf(samples, 'ipvs_snat_rule_packets_total', { rule: '7', direction: 'in' }), 3)
    assert.equal(valueOf(samples, 'ipvs_snat_rule_info', { rule: '7', from: `${A}/32`, to: '0.0.0.0/0', action: 'snat', pool: 'narrow' }), 1)
    assert.equal(valueOf(samples, 'ipvs_snat_rule_info', { rule: '8', action: 'drop', oif: 'outside', pool: '' }), 1)
    assert.equal(valueOf(samples, 'ipvs_snat_address_weight', { pool: 'idle', address: P1 }), 0)
    assert.equal(valueOf(samples, 'ipvs_snat_address_connections_total', { pool: 'narrow', address: P0 }), 3)
    const { rules, pools } = JSON.parse(await lab.gateway.sh('ipvsadm -G --json')) as Listed
    assert.equal(valueOf(samples, 'ipvs_snat_rule_bytes_total', { rule: '7', direction: 'out' }), rules.find(({ id }) => id === 7)?.stats['bytes_out'])
    const [address] = pools.find(({ name }) => name === 'narrow')?.addresses ?? []
    assert.equal(valueOf(samples, 'ipvs_snat_address_bytes_total', { address: P0, direction: 'in' }), address?.stats['bytes_in'])
    const counted = (await lab.gateway.sh('cat /proc/net/ip_vs_snat')).trim().split('\n').map((line) => line.split(' '))
    for (const [name = '', value] of counted.filter(([name = '']) => !['conns', 'unanswered', 'port_maps'].includes(name))) {
      const dropped = /^drop_(.*)/.exec(name)?.[1]
      const shown = dropped === undefined ? valueOf(samples, 'ipvs_snat_events_total', { event: name }) : valueOf(samples, 'ipvs_snat_dropped_packets_total', { reason: dropped })
      assert.equal(shown, Number(value), name)
    }
  }),

  test('without rules and connections the metrics are well formed too', METRICS, async (lab) => {
    const samples = await metrics(lab)
    assert.equal(valueOf(samples, 'ipvs_snat_connections'), 0)
    assert.equal(valueOf(samples, 'ipvs_snat_port_maps'), 0)
    assert.deepEqual(samples.filter(({ labels }) => labels['event'] === 'port_maps'), [])
    assert.ok(valueOf(samples, 'ipvs_snat_connections_limit') > 0)
    assert.deepEqual(samples.filter(({ name }) => name.includes('_rule_') || name.includes('_address_')), [])
  }),

  test('the service writes them as a whole or not at all, and tells of ports that run out', `${METRICS}; ${PRESSURE}`, async (lab) => {
    await lab.gateway.sh(RULES)
    const script = readFileSync(join(ROOT, 'specs/ipvsadm/ipvsadm-metrics'), 'utf8')
    await lab.gateway.put('/tmp/ipvsadm-metrics', Buffer.from(`logger() { cat >>/tmp/logged; }\n${script}`))
    const setUp = `
      mkdir -p /etc/sysconfig /tmp/collector
      printf 'IPVS_METRICS_FOLDER=/tmp/collector\\nIPVS_PRESSURE_WARN=80\\n' >/etc/sysconfig/ipvsadm-config`
    await between(lab, setUp, 'rm -rf /etc/sysconfig/ipvsadm-config /tmp/collector /tmp/logged', async () => {
      await flows(lab, 7, `${S}:53`)
      await lab.gateway.sh('sh /tmp/ipvsadm-metrics')
      assert.equal(await lab.gateway.sh('ls /tmp/collector; cat /tmp/logged'), 'ipvs_snat.prom\n', 'nothing is near its end')
      assert.equal(valueOf(parseMetrics(await lab.gateway.sh('cat /tmp/collector/ipvs_snat.prom')), 'ipvs_snat_connections'), 7)
      await flows(lab, 8, `${S}:53`)
      await lab.gateway.sh('sh /tmp/ipvsadm-metrics')
      assert.match(await lab.gateway.sh('cat /tmp/logged'), new RegExp(`^narrow +${P0} +udp +${S}:53 +8 +10 +80%\n$`))
      const { status } = await lab.gateway.run('mv /usr/sbin/ipvsadm /tmp/aside; sh /tmp/ipvsadm-metrics 2>/dev/null; code=$?; mv /tmp/aside /usr/sbin/ipvsadm; exit $code')
      assert.notEqual(status, 0)
      assert.equal(await lab.gateway.sh('ls /tmp/collector'), 'ipvs_snat.prom\n', 'a run that fails leaves what was there')
      assert.equal(valueOf(parseMetrics(await lab.gateway.sh('cat /tmp/collector/ipvs_snat.prom')), 'ipvs_snat_connections'), 8)
    })
  }),

  test('pressure is told by address and remote, and a threshold before anything is refused', PRESSURE, async (lab) => {
    await lab.gateway.sh(RULES)
    await flows(lab, 9, `${S}:53`)
    await flows(lab, 2, `${S2}:53`)
    assert.deepEqual(await pressure(lab), [
      { pool: 'narrow', address: P0, proto: 'udp', remote: [S, 53], in_use: 9, ports: 10 },
      { pool: 'narrow', address: P0, proto: 'udp', remote: [S2, 53], in_use: 2, ports: 10 },
    ])
    assert.match(await lab.gateway.sh('ipvsadm --pressure -n'), new RegExp(`^Pool .*\nnarrow +${P0} +udp +${S}:53 +9 +10 +90%\nnarrow +${P0} +udp +${S2}:53 +2 +10 +20%\n$`))
    assert.deepEqual((await pressure(lab, '--warn 90')).map(({ remote }) => remote), [[S, 53]])
    assert.equal(await lab.gateway.sh('ipvsadm --pressure --warn 91'), '')
    assert.deepEqual(await pressure(lab, '--pool idle'), [])
    // so far nobody was refused; the ports are at their end after one more
    assert.equal(valueOf(await metrics(lab), 'ipvs_snat_address_exhausted_total', { pool: 'narrow' }), 0)
    await flows(lab, 10, `${S}:53`)
    lab.a.send(udp(`${A}:6000 > ${S}:53`, 'one too many'))
    await lab.settle()
    lab.net.refuse('udp **')
    assert.equal((await pressure(lab, '--warn 100')).length, 1)
    assert.equal(valueOf(await metrics(lab), 'ipvs_snat_rule_dropped_packets_total', { rule: '7', reason: 'no_port' }), 1)
  }),
])
