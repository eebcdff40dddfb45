// SPDX-License-Identifier: GPL-2.0-only
/** Which pool address and which port a connection is given. */

import assert from 'node:assert/strict'
import type { Lab } from '../../vm/lab.ts'
import { echo, tcp, udp } from '../../vm/packet/index.ts'
import { A, B, POOL, S } from '../../vm/topology.ts'
import { counter, snat, vsSysctl } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'
import { ask, assertNothingPrivateLeft, until } from './lib/traffic.ts'

const PAIRED = 'issue 10, D: paired pooling with sh survives a full or drained address; RFC 4787 REQ-2, RFC 6888 REQ-2, RFC 7857 4'
const PORTS = 'issue 10, D: RFC 4787 REQ-3 and REQ-4, RFC 6056 4, RFC 7857 8 and 9, RFC 6888 REQ-15'
const [P0 = '', P1 = ''] = POOL
const FOUR = POOL.slice(0, 4)
const PORT = 7000

/** Further inside hosts, which all send by host `a`; nobody answers them. */
const hosts = (count: number): string[] => Array.from({ length: count }, (_, index) => `192.168.1.${20 + index}`)

/** @returns pool address and port that a datagram of an inside host leaves with */
async function leavesAs(lab: Lab, from: string, sport = PORT, to = `${S}:53`): Promise<{ address: string; port: number }> {
  lab.a.send(udp(`${from}:${sport} > ${to}`, 'q'))
  const seen = await lab.net.expect(`udp *:* > ${to}`)
  return { address: seen.ip?.src ?? '', port: seen.udp?.sport ?? 0 }
}

/** @returns the addresses that flows of each host to several remote ports leave with, each once */
async function addressesOf(lab: Lab, from: readonly string[], remotePorts: readonly number[]): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>()
  for (const host of from) {
    const used = new Set<string>()
    for (const port of remotePorts) used.add((await leavesAs(lab, host, PORT, `${S}:${port}`)).address)
    found.set(host, [...used])
  }
  return found
}

export default suite('mapping', [
  test('sh gives an inside host one address for TCP, UDP and echo', PAIRED, async (lab) => {
    await snat(lab, { pool: FOUR, scheduler: 'sh' })
    const used = new Set<string>()
    for (const host of hosts(8)) {
      const { address } = await leavesAs(lab, host)
      lab.a.send([tcp(`${host}:${PORT} > ${S}:80`, 'S'), echo(`${host} > ${S}`, 'request', { echoId: PORT })])
      await lab.net.expect(`tcp ${address}:* > ${S}:80 S`)
      await lab.net.expect(`icmp ${address} > ${S} echo-request id=*`)
      used.add(address)
    }
    assert.ok(used.size > 1, 'hosts are spread over the pool')
  }),

  test('sh gives the hosts of a drained address another one each, and leaves the others alone', PAIRED, async (lab) => {
    await snat(lab, { pool: FOUR, scheduler: 'sh', protocols: ['udp'] })
    const inside = hosts(24)
    const before = await addressesOf(lab, inside, [1, 2])
    assert.deepEqual([...before.values()].map((used) => used.length), inside.map(() => 1))
    await lab.gateway.sh(`ipvsadm -e -u 0.0.0.0:0 -r ${P1}:0 -m -w 0`)
    const after = await addressesOf(lab, inside, [3, 4, 5])
    for (const [host, [address]] of before) {
      const used = after.get(host) ?? []
      assert.equal(used.length, 1, `addresses of ${host}: ${used.join()}`)
      if (address === P1) assert.notEqual(used[0], P1, `${host} had the drained address`)
      else assert.equal(used[0], address, `${host} had another address`)
    }
    const moved = new Set([...before].filter(([, [address]]) => address === P1).map(([host]) => after.get(host)?.[0]))
    assert.ok(moved.size > 1, 'the hosts of the drained address are spread over the others')
    assert.equal(await counter(lab, 'drop_no_pool'), 0)
  }),

  test('sh moves a host on when its address is full, and leaves it what it had', PAIRED, async (lab) => {
    await vsSysctl(lab, 'snat_port_range', '50000 50001')
    await snat(lab, { pool: FOUR, scheduler: 'sh', protocols: ['udp'] })
    const exchange = (port: number, seen: string) => ({ client: lab.a, sent: `${A}:${port} > ${S}:53`, server: lab.net, seen })
    const seen: string[] = []
    for (let port = 40000; port < 40004; port++) seen.push(await ask(exchange(port, `*:* > ${S}:53`)))
    const addresses = seen.map((route) => route.split(':')[0])
    assert.equal(addresses[1], addresses[0])
    assert.notEqual(addresses[2], addresses[0])
    assert.equal(addresses[3], addresses[2], 'the host is paired with the next address too')
    for (const [index, route] of seen.entries()) await ask(exchange(40000 + index, route))
    // To another remote its first address has room.
    const other = await leavesAs(lab, A, 40009, `${S}:54`)
    assert.equal(other.address, addresses[0])
  }),

  test('a pool need not be contiguous', 'issue 10, D: RFC 6888 REQ-3', async (lab) => {
    const pool = [P0, POOL[5] ?? '', '192.0.2.77']
    await snat(lab, { pool, protocols: ['udp'] })
    const used = new Set<string>()
    for (const host of hosts(6)) used.add((await leavesAs(lab, host)).address)
    assert.deepEqual([...used].sort(), [...pool].sort())
  }),

  test('a port is kept while it is free, and one that is taken is replaced by one from anywhere', PORTS, async (lab) => {
    await snat(lab, { pool: [P0] })
    const [first = '', ...rest] = hosts(33)
    assert.equal((await leavesAs(lab, first)).port, PORT)
    const ports: number[] = []
    for (const host of rest) ports.push((await leavesAs(lab, host)).port)
    assert.equal(new Set([PORT, ...ports]).size, rest.length + 1, 'no port is given twice')
    assert.ok(ports.every((port) => port >= 1024), 'the range')
    const steps = ports.slice(1).map((port, index) => port - (ports[index] ?? 0))
    assert.ok(new Set(steps).size > rest.length / 2, `steps between ports: ${steps.join()}`)
    assert.ok(steps.some((step) => step > 0) && steps.some((step) => step < 0), 'ports do not only rise or fall')
    assert.ok(Math.max(...ports) - Math.min(...ports) > 16384, 'ports come from all of the range')
  }),

  test('the port that replaces a taken one is another one each time', `${PORTS}; defect 9: sequential ports`, async (lab) => {
    await snat(lab, { pool: [P0] })
    await vsSysctl(lab, 'snat_udp_unanswered_timeout', '1')
    lab.a.send(udp(`${A}:7000 > ${S}:53`, 'takes the port'))
    await lab.net.expect(`udp ${P0}:7000 > ${S}:53`)
    lab.net.send(udp(`${S}:53 > ${P0}:7000`, 'and keeps it'))
    await lab.a.expect(`udp ${S}:53 > ${A}:7000`)
    const ports = new Set<number | undefined>()
    for (let round = 0; round < 3; round++) {
      lab.b.send(udp(`${B}:7000 > ${S}:53`, 'gets another'))
      ports.add((await lab.net.expect(`udp ${P0}:* > ${S}:53`)).udp?.sport)
      await until('the flow has expired', async () => await counter(lab, 'unanswered') === 0)
    }
    assert.notEqual(ports.size, 1, [...ports].join())
  }),

  test('an odd or even port keeps its parity while it is free', PORTS, async (lab) => {
    await snat(lab, { pool: [P0] })
    for (const port of [7001, 7002]) assert.equal((await leavesAs(lab, A, port)).port, port)
  }),

  test('a source port below the range is replaced, and kept when the range has it', PORTS, async (lab) => {
    await snat(lab, { pool: [P0] })
    assert.ok((await leavesAs(lab, A, 123)).port >= 1024)
    await vsSysctl(lab, 'snat_port_range', '1 65535')
    assert.equal((await leavesAs(lab, A, 124)).port, 124)
    await lab.settle()
    assertNothingPrivateLeft(lab)
  }),
])
