// SPDX-License-Identifier: GPL-2.0-only
/** docs/operating.md, followed: each command of the page is typed where the page says so. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../../scripts/base/root.ts'
import { Connection } from '../../vm/host/index.ts'
import type { Lab } from '../../vm/lab.ts'
import { udp } from '../../vm/packet/index.ts'
import { A, B, POOL, S, S2 } from '../../vm/topology.ts'
import { between } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'
import { ask, assertNothingPrivateLeft, until } from './lib/traffic.ts'

const RUNBOOK = 'issue 13, 5: the runbook, each section tried in the lab by following it'
const [P0 = '', P1 = ''] = POOL
/** Ports of the page's pool, for one remote. */
const PORTS = 100
const LIMIT_S = 120

/** @returns the commands of each block below a heading, block by block */
function blocks(heading: string): string[][] {
  const page = readFileSync(join(ROOT, 'docs/operating.md'), 'utf8')
  const section = page.split(/^##? (?=[A-Z])/m).find((part) => part.startsWith(`${heading}\n`)) ?? ''
  const found = [...section.matchAll(/^```\n(.*?)^```/gms)].map(([, body = '']) => body.split('\n').filter((line) => line.startsWith('# ')).map((line) => line.slice(2)))
  assert.ok(found.length > 0, `the page has a section "${heading}" with commands`)
  return found
}

/** Types what the page says, and returns what that prints. */
async function follow(lab: Lab, block: readonly string[] | undefined): Promise<string> {
  assert.ok(block !== undefined && block.length > 0, 'the page has this block')
  let printed = ''
  for (const command of block) printed += `# ${command}\n${await lab.gateway.sh(command)}`
  return printed
}

/** The gateway of the page. */
async function setUp(lab: Lab): Promise<void> {
  await lab.gateway.sh(`for address in ${POOL.slice(0, 4).join(' ')}; do ip addr add $address/32 dev outside; done`)
  await follow(lab, blocks('Running a gateway')[0])
}

/** Opens UDP flows to S:53, each answered, as far as there are ports. */
async function flood(lab: Lab, host: typeof lab.a, from: string, count: number, remote = S): Promise<void> {
  lab.net.service = ({ udp: ports, ip }) => {
    if (ports && ip) lab.net.send(udp(`${ip.dst}:${ports.dport} > ${ip.src}:${ports.sport}`, 'a'))
    return ports !== undefined
  }
  host.service = ({ udp: ports }) => ports !== undefined
  for (let port = 0; port < count; port++) {
    host.send(udp(`${from}:${10_000 + port} > ${remote}:53`, 'q'))
    if (port % 10 === 9) await lab.breathe()
  }
  await lab.settle()
  lab.net.service = undefined
  host.service = undefined
}

const asks = (lab: Lab, port: number, remote = S): Promise<string> => ask({ client: lab.a, sent: `${A}:${port} > ${remote}:53`, server: lab.net, seen: `*:* > ${remote}:53` })

export default suite('operating', [
  test('addresses running out: seen by pressure, log and counters, and more of them help', RUNBOOK, async (lab) => {
    await setUp(lab)
    await flood(lab, lab.a, A, 2 * PORTS + 5)
    const [pressure, log, more] = blocks('Addresses are running out')
    const seen = await follow(lab, pressure)
    assert.match(seen, new RegExp(`office +${P0} +udp +${S}:53 +${PORTS} +${PORTS} +100%`))
    assert.match(seen, new RegExp(`office +${P1} +udp +${S}:53 +${PORTS} +${PORTS} +100%`))
    const told = await follow(lab, log)
    assert.match(told, /IPVS: SNAT.*\n/)
    await asks(lab, 4001, S2)
    await follow(lab, more)
    const source = (await asks(lab, 4002)).split(':')[0] ?? ''
    assert.ok(POOL.slice(2, 4).includes(source), source)
    assertNothingPrivateLeft(lab)
  }, { limit: LIMIT_S }),

  test('one host floods: it is found, stopped and limited, and nobody else notices', RUNBOOK, async (lab) => {
    await setUp(lab)
    await flood(lab, lab.b, B, 60)
    const other = await Connection.open({ client: lab.a, sent: `${A}:4001 > ${S2}:80`, server: lab.net, seen: `*:* > ${S2}:80` })
    const [who, stopIt, limit] = blocks('One host floods')
    assert.match(await follow(lab, who), new RegExp(`\n60 ${B}\n1 ${A}\n`))
    assert.match(await follow(lab, stopIt), /^60 connections ended$/m)
    lab.b.send(udp(`${B}:9000 > ${S}:53`, 'q'))
    await lab.settle()
    lab.net.refuse('udp **')
    await other.request('still here')
    assert.match(await follow(lab, limit), /--max-conns 50/)
    await flood(lab, lab.b, B, 60)
    assert.equal((await lab.gateway.sh(`ipvsadm --snat-conns -n -F ${B} | tail -n +2 | wc -l`)).trim(), '50')
    await other.respond('yes')
  }, { limit: LIMIT_S }),

  test('an uplink is gone: its address takes nothing new, and everything when it is back', RUNBOOK, async (lab) => {
    await setUp(lab)
    const [gone, back] = blocks('An uplink is gone')
    assert.match(await follow(lab, gone), new RegExp(`${P0} +0 `))
    for (let port = 4001; port < 4006; port++) assert.equal((await asks(lab, port)).split(':')[0], P1)
    await follow(lab, back)
    await lab.gateway.sh(`ipvsadm --edit-address --pool office -z ${P1} -w 0`)
    assert.equal((await asks(lab, 4010)).split(':')[0], P0)
  }),

  test('an address is taken out of service without losing a connection', RUNBOOK, async (lab) => {
    await setUp(lab)
    await lab.gateway.sh('ipvsadm --edit-pool office -O rr')
    const pairs = [4001, 4002].map((port) => Connection.open({ client: lab.a, sent: `${A}:${port} > ${S}:80`, server: lab.net, seen: `*:* > ${S}:80` }))
    const connections = await Promise.all(pairs)
    const [drain, drained] = blocks('Taking an address out of service')
    assert.match(await follow(lab, drain), new RegExp(`${P1} +0 +1 `))
    await lab.gateway.sh('echo 1 >/proc/sys/net/ipv4/vs/snat_tcp_transitory_timeout')
    for (const connection of connections) {
      await connection.request('goes on')
      await connection.finish()
    }
    await until('its connections end', async () => new RegExp(`${P1} +0 +0 +0 `).test(await lab.gateway.sh('ipvsadm -G -n --pool office')))
    assert.doesNotMatch((await follow(lab, drained)).replace(/^[^]*--delete-address.*/m, ''), new RegExp(P1))
    await asks(lab, 4003)
  }, { limit: LIMIT_S }),

  test('who had an address: blocks are listed, and the log is asked', RUNBOOK, async (lab) => {
    await setUp(lab)
    const [enable, list, who] = blocks('Who had an address')
    await follow(lab, enable)
    const log = 'mkdir -p /var/log; ipvsadm --monitor --log /var/log/ipvs-snat.log </dev/null >/dev/null 2>&1 & echo $! >/tmp/monitor.pid'
    await between(lab, log, 'kill $(cat /tmp/monitor.pid); rm -f /tmp/monitor.pid /var/log/ipvs-snat.log', async () => {
      await until('the log begins', async () => (await lab.gateway.run('grep -q blocks-held /var/log/ipvs-snat.log')).status === 0)
      await asks(lab, 2005)
      assert.match(await follow(lab, list), new RegExp(`\n${A} +${P1} +2000-2127 +1 +\\d+ office\n`))
      await until('the log has it', async () => (await lab.gateway.run('grep -q block-taken /var/log/ipvs-snat.log')).status === 0)
      assert.match(await follow(lab, who), new RegExp(`\n${A} had ports 2000-2127 \\(pool office\\) from `))
    })
  }, { limit: LIMIT_S }),
])
