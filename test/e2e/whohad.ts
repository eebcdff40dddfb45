// SPDX-License-Identifier: GPL-2.0-only
/** Who had an address and port: blocks of ports, the events about them, the log, and what is found in it. */

import assert from 'node:assert/strict'
import { log } from '../../scripts/base/log.ts'
import type { Lab } from '../../vm/lab.ts'
import { tcp, udp } from '../../vm/packet/index.ts'
import { A, B, POOL, S, S2 } from '../../vm/topology.ts'
import { between, counter, counters, vsSysctl } from './lib/configure.ts'
import { LISTENS, LOST, tally } from './lib/events.ts'
import { refused } from './lib/rules.ts'
import { suite, test } from './lib/suite.ts'
import { ask, assertNothingPrivateLeft, ping, until } from './lib/traffic.ts'

const BLOCKS = 'issue 13, 4: port-block allocation per inside host (RFC 7422), a pool option; blocks run out, are reused late, and are listed'
const EVENTS = 'issue 13, 4: events by netlink multicast, ipvsadm --monitor prints them (text, JSON), none is lost without saying how many'
const QUERY = 'issue 13, 4: a query ("203.0.113.10, port 40001, 03:12") is answered by a command from the logs (RFC 6888, requirement 12)'
const [P0 = '', P1 = ''] = POOL
const SIZE = 128
const FIRST = 2000
const LIMIT_S = 120
const EINVAL = 22
const ERANGE = 34

/** How many events of connections, for each size of the buffer. */
const events = Number(process.env['LVS_SNAT_EVENTS'] || 40_000)
/** Two events for each flow, that of its end too. */
const GENERATED = { host: '192.168.77.2', gateway: '192.168.77.1', remote: '198.51.100.77', firstPort: 10_000, flows: 10_000 }
/** Where a machine has no KVM, and a sanitized kernel. */
const EVENTS_PER_S = 1000
const ROUND_MS = 120_000

const DAY = 'issue 13: the log query against a recorded day of the lab'
const TURN_S = 2 * 3600
const TURNS = 11
const DAY_HOSTS = 5
const ROTATED_EVERY = 3
/** Has no divisor in common with the blocks: all of them have their turns. */
const ASKED_EVERY = 2

/** Who had a block then, by a port of it; seconds since 1970. */
interface Moment {
  second: number
  holds: ReadonlyMap<string, number>
}

/** Hosts of the inside that only send. */
const host = (number: number): string => `192.168.1.${50 + number}`

interface SetUp {
  blocks: number
  perHost: number
  more?: string
}

/** A pool at P0 with so many blocks, for all of the inside. */
async function pool(lab: Lab, { blocks, perHost, more = '' }: SetUp): Promise<void> {
  await lab.gateway.sh(`
    set -e
    ip addr add ${P0}/32 dev outside
    ipvsadm --add-pool blocks -O sh --ports ${FIRST}-${FIRST + blocks * SIZE - 1} --block-size ${SIZE} --max-blocks ${perHost} ${more} -z ${P0}
    ipvsadm --add-rule --id 1 -F 192.168.1.0/24 --pool blocks`)
}

interface Block {
  inside: string
  pool_address: string
  ports: [number, number]
  pool: string
  conns: number
  seconds: number
}

const listed = async (lab: Lab, options = ''): Promise<Block[]> =>
  (JSON.parse(await lab.gateway.sh(`ipvsadm --snat-blocks --json ${options}`)) as { blocks: Block[] }).blocks

/** @returns the number of the block that a port is in */
const blockOf = (port: number): number => Math.floor((port - FIRST) / SIZE)

/** Opens a UDP flow that nobody answers. @returns the port that it leaves with */
async function open(lab: Lab, inside: string, port = 5000, remote = S): Promise<number> {
  lab.a.send(udp(`${inside}:${port} > ${remote}:53`, 'q'))
  const seen = await lab.net.expect(`udp *:* > ${remote}:53`)
  return seen.udp?.sport ?? 0
}

/** Asserts that a new flow gets nowhere. */
async function refuse(lab: Lab, inside: string, port: number, remote = S): Promise<void> {
  lab.a.send(udp(`${inside}:${port} > ${remote}:53`, 'q'))
  await lab.settle()
  lab.net.refuse(`udp *:* > ${remote}:53`)
}

/** Opens many flows of a host to S. @returns the ports that they leave with, in their order */
async function flood(lab: Lab, inside: string, count: number, from = 10_000): Promise<number[]> {
  const ports: number[] = []
  for (let sent = 0; sent < count; sent += 16) {
    const some = Math.min(16, count - sent)
    for (let one = 0; one < some; one++) lab.a.send(udp(`${inside}:${from + sent + one} > ${S}:53`, 'q'))
    for (let one = 0; one < some; one++) ports.push((await lab.net.expect(`udp *:* > ${S}:53`)).udp?.sport ?? 0)
  }
  return ports
}

/** Ends the connections of a host. */
const end = (lab: Lab, inside: string): Promise<string> => lab.gateway.sh(`ipvsadm --snat-conns -F ${inside} --kill`)

const dropsOfRule = async (lab: Lab): Promise<number | undefined> =>
  (JSON.parse(await lab.gateway.sh('ipvsadm -G --json')) as { rules: { stats: Record<string, number> }[] }).rules[0]?.stats['drop_no_block']

/** Events of `ipvsadm --monitor`, which runs while `work` does. */
async function monitored(lab: Lab, options: string, work: () => Promise<void>): Promise<string[]> {
  const start = `ipvsadm --monitor ${options} </dev/null >/tmp/events 2>&1 & echo $! >/tmp/monitor.pid`
  await between(lab, start, 'kill -CONT $(cat /tmp/monitor.pid); kill $(cat /tmp/monitor.pid); rm -f /tmp/monitor.pid', async () => {
    await until('the monitor listens', async () => (await lab.gateway.sh('cat /tmp/events')).includes(LISTENS))
    await work()
  })
  const lines = (await lab.gateway.sh('cat /tmp/events; rm /tmp/events')).trim().split('\n')
  return lines.slice(lines.findIndex((line) => line.includes(LISTENS)) + 1)
}

/** Waits until the monitor has told of the last event. */
const told = (lab: Lab, words: string): Promise<void> =>
  until(`the monitor tells "${words}"`, async () => (await lab.gateway.sh('cat /tmp/events')).includes(words))

/** Sends so many packets from ports of their own, by pktgen, from one device of the gateway to another that is an inside one. */
const GENERATOR = `
  set -e
  modprobe veth; modprobe pktgen; modprobe iptable_mangle
  ip link add type veth; ip link set veth0 name source; ip link set veth1 name near
  ip link set source up; ip addr add ${GENERATED.gateway}/24 dev near; ip link set near up
  for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$file; done
  # The lab's wire would be what limits them.
  iptables -t mangle -A POSTROUTING -d ${GENERATED.remote} -j DROP
  echo add_device source >/proc/net/pktgen/kpktgend_0
  mac=$(ip link show dev near | awk '$1 == "link/ether" { print $2 }')
  for setting in pkt_size=60 delay=0 clone_skb=0 src_min=${GENERATED.host} src_max=${GENERATED.host} dst=${GENERATED.remote} dst_mac=$mac \\
    udp_src_min=${GENERATED.firstPort} udp_src_max=${GENERATED.firstPort + GENERATED.flows} udp_dst_min=53 udp_dst_max=53 count=${GENERATED.flows}
  do echo "\${setting%%=*} \${setting#*=}" >/proc/net/pktgen/source; done`
const NO_GENERATOR = `
  echo rem_device_all >/proc/net/pktgen/kpktgend_0
  iptables -t mangle -F POSTROUTING
  ip link del near; rmmod pktgen`
/** Of a text that no shell keeps: prints how many events there were and were lost, and the first's and the last's number, once a host has a connection. */
const TALLY = `awk '
  $2 == "blocks-held" { print >"/tmp/listening"; close("/tmp/listening") }
  $2 == "lost" { lost += $3 }
  $3 == "seq" { seen++; if (!first) first = $4; last = $4 }
  / conn-new .* inside ${A}:/ { print seen, lost + 0, first, last; exit }'`

export default suite('whohad', [
  test('a host takes one block of ports, for whatever protocol and remote, and nobody else gets ports of it', BLOCKS, async (lab) => {
    await pool(lab, { blocks: 4, perHost: 2 })
    const ports = [
      await ask({ client: lab.a, sent: `${A}:${FIRST + 5} > ${S}:53`, server: lab.net, seen: `${P0}:${FIRST + 5} > ${S}:53` }),
      await ask({ client: lab.a, sent: `${A}:40001 > ${S2}:53`, server: lab.net, seen: `${P0}:* > ${S2}:53` }),
    ].map((route) => Number(/:(\d+) >/.exec(route)?.[1]))
    lab.a.send(tcp(`${A}:40001 > ${S}:80`, 'S', { seq: 7 }))
    ports.push((await lab.net.expect(`tcp ${P0}:* > ${S}:80 S`)).tcp?.sport ?? 0)
    ports.push(await ping(lab.a, `${A} > ${S}`, 40001, lab.net, P0))
    const other = await ask({ client: lab.b, sent: `${B}:${FIRST + 5} > ${S2}:53`, server: lab.net, seen: `${P0}:* > ${S2}:53` })
    assert.deepEqual(ports.map(blockOf), [0, 0, 0, 0])
    assert.equal(blockOf(Number(/:(\d+) >/.exec(other)?.[1])), 1)
    const blocks = await listed(lab)
    assert.deepEqual(blocks.map(({ seconds: _, ...block }) => block), [
      { inside: A, pool_address: P0, ports: [FIRST, FIRST + SIZE - 1], pool: 'blocks', conns: 4 },
      { inside: B, pool_address: P0, ports: [FIRST + SIZE, FIRST + 2 * SIZE - 1], pool: 'blocks', conns: 1 },
    ])
    assert.deepEqual((await listed(lab, `-F ${B}`)).map(({ inside }) => inside), [B])
    assert.deepEqual(await listed(lab, '--pool other'), [])
    assert.match(await lab.gateway.sh('ipvsadm --snat-blocks -n'), new RegExp(`^Inside +PoolAddress +Ports +Conns +Seconds +Pool\n${A} +${P0} +2000-2127 +4 +\\d+ blocks\n`))
    assert.match(await lab.gateway.sh('ipvsadm -G -n'), /^blocks sh ports 2000-2511 block-size 128 max-blocks 2 \(2 of 4 in use\)$/m)
    assertNothingPrivateLeft(lab)
  }, { limit: LIMIT_S }),

  test('a pool that is gone keeps only the blocks that hosts have', BLOCKS, async (lab) => {
    await pool(lab, { blocks: 2, perHost: 2 })
    const held = await open(lab, host(1))
    await lab.gateway.sh(`
      set -e
      ipvsadm --delete-rule --id 1
      ipvsadm --delete-pool blocks
      ipvsadm --add-pool plain -O sh --ports ${FIRST}-${FIRST + 2 * SIZE - 1} -z ${P0}
      ipvsadm --add-rule --id 1 -F 192.168.1.0/24 --pool plain`)
    const ports = await flood(lab, host(2), SIZE / 2)
    assert.ok(ports.every((port) => blockOf(port) !== blockOf(held)), 'no port of the block that is still in use')
    assertNothingPrivateLeft(lab)
  }, { limit: LIMIT_S }),

  test('a pool that no longer has blocks keeps those that hosts have for them', BLOCKS, async (lab) => {
    await pool(lab, { blocks: 2, perHost: 2 })
    const held = await open(lab, host(1))
    await lab.gateway.sh(`ipvsadm --edit-pool blocks -O sh --ports ${FIRST}-${FIRST + 2 * SIZE - 1} --block-size 0`)
    const ports = await flood(lab, host(2), SIZE / 2)
    assert.ok(ports.every((port) => blockOf(port) !== blockOf(held)), 'no port of the block that is still in use')
  }, { limit: LIMIT_S }),

  test('blocks whose ports the kernel keeps for others are passed over', BLOCKS, async (lab) => {
    await pool(lab, { blocks: 8, perHost: 2 })
    await between(lab, `echo ${FIRST}-${FIRST + 6 * SIZE - 1} >/proc/sys/net/ipv4/ip_local_reserved_ports`, 'echo >/proc/sys/net/ipv4/ip_local_reserved_ports', async () => {
      assert.equal(blockOf(await open(lab, host(1))), 6)
      assert.equal(blockOf(await open(lab, host(2))), 7)
      assert.deepEqual((await listed(lab)).map(({ ports: [first] }) => blockOf(first)).sort(), [6, 7])
      assert.equal(await counter(lab, 'blocks_taken'), 2, 'nobody is told of blocks that no host has had')
      await refuse(lab, host(3), 5000)
    })
  }, { limit: LIMIT_S }),

  test('hosts get blocks as long as there are any, however many have ports that others still have', BLOCKS, async (lab) => {
    const large = 4 * SIZE
    const last = FIRST + 16 * large - 1
    await lab.gateway.sh(`
      set -e
      ip addr add ${P0}/32 dev outside
      ipvsadm --add-pool blocks -O sh --ports ${FIRST}-${last} --block-size ${large} --max-blocks 1 -z ${P0}
      ipvsadm --add-rule --id 1 -F 192.168.1.0/24 --pool blocks`)
    for (let number = 0; number < 12; number++) await open(lab, host(number))
    await lab.gateway.sh(`ipvsadm --edit-pool blocks --block-size ${SIZE}`)
    const blocks: number[] = []
    for (let number = 20; number < 36; number++) blocks.push(blockOf(await open(lab, host(number))))
    assert.deepEqual(blocks, Array.from({ length: 16 }, (_, index) => 48 + index), 'the ports of twelve large blocks are those of 48 small ones')
    await refuse(lab, host(36), 5000)
    await vsSysctl(lab, 'snat_block_rest', '0')
    await end(lab, host(3))
    assert.equal(Math.floor(blockOf(await open(lab, host(36), 5001)) / 4), 3, 'as soon as others have them no more')
  }, { limit: LIMIT_S }),

  test('hosts of a pool get blocks as long as there are any, however many are in use by another pool with the same address', BLOCKS, async (lab) => {
    await pool(lab, { blocks: 64, perHost: 1 })
    await lab.gateway.sh(`
      set -e
      ipvsadm --add-pool other -O sh --ports ${FIRST}-${FIRST + 64 * SIZE - 1} --block-size ${SIZE} --max-blocks 1 -z ${P0}
      ipvsadm --add-rule --priority 1 -F ${B} --pool other`)
    for (let number = 0; number < 40; number++) await open(lab, host(number))
    assert.equal(blockOf(await open(lab, B)), 40)
  }, { limit: LIMIT_S }),

  test('a full block is followed by another one, up to the limit of the host, and what is refused then has a counter of its own', BLOCKS, async (lab) => {
    await pool(lab, { blocks: 4, perHost: 2 })
    const ports = await flood(lab, A, 2 * SIZE)
    assert.equal(new Set(ports).size, 2 * SIZE, 'every port is given once for a remote')
    assert.deepEqual([...new Set(ports.map(blockOf))].sort(), [0, 1])
    await refuse(lab, A, 20_000)
    await refuse(lab, A, 20_001)
    const { limit_blocks: limit, no_block: none, exhausted, blocks_taken: taken } = await counters(lab)
    assert.deepEqual([limit, none, exhausted, taken], [2, 0, 0, 2])
    assert.equal(await dropsOfRule(lab), 2)
    // a port that is in use for one remote is free for others, and other hosts have blocks of their own
    assert.ok(blockOf(await open(lab, A, 20_002, S2)) < 2)
    assert.equal(blockOf(await open(lab, B)), 2)
    assert.deepEqual((await listed(lab)).map(({ inside, conns }) => [inside, conns]).sort(), [[A, SIZE], [A, SIZE + 1], [B, 1]].sort())
    assertNothingPrivateLeft(lab)
  }, { limit: LIMIT_S }),

  test('when no block is left, hosts that have one go on, and others are refused and counted', BLOCKS, async (lab) => {
    await pool(lab, { blocks: 2, perHost: 1 })
    await open(lab, host(1))
    await open(lab, host(2))
    await refuse(lab, host(3), 5000)
    assert.equal(await counter(lab, 'no_block'), 1)
    assert.equal(await dropsOfRule(lab), 1)
    assert.equal(blockOf(await open(lab, host(2), 5001)), 1)
    await lab.gateway.sh(`ip addr add ${P1}/32 dev outside && ipvsadm --add-address --pool blocks -z ${P1}`)
    await open(lab, host(3), 5001)
    assert.deepEqual((await listed(lab, `-F ${host(3)}`)).map(({ pool_address }) => pool_address), [P1])
  }),

  test('a block goes with its last connection, rests, and is the last one that another host gets', BLOCKS, async (lab) => {
    await pool(lab, { blocks: 4, perHost: 1 })
    for (const number of [0, 1, 2, 3]) assert.equal(blockOf(await open(lab, host(number))), number)
    await end(lab, host(2))
    await end(lab, host(0))
    assert.deepEqual((await listed(lab)).map(({ inside }) => inside), [host(1), host(3)])
    await refuse(lab, host(4), 5000)
    assert.equal(await counter(lab, 'no_block'), 1, 'both rest')
    assert.equal(blockOf(await open(lab, host(0), 5001)), 0, 'its own one a host gets back at once')
    await end(lab, host(0))
    await vsSysctl(lab, 'snat_block_rest', '0')
    assert.equal(blockOf(await open(lab, host(4), 5001)), 2, 'the one that was given back first')
    assert.equal(blockOf(await open(lab, host(5))), 0)
    await refuse(lab, host(6), 5000)
  }),

  test('taking and giving back gets a host no more blocks than its limit', BLOCKS, async (lab) => {
    await pool(lab, { blocks: 4, perHost: 2 })
    const blocks = new Set<number>()
    for (let round = 0; round < 6; round++) {
      blocks.add(blockOf(await open(lab, A, 6000 + round)))
      await end(lab, A)
    }
    await flood(lab, A, 2 * SIZE)
    await refuse(lab, A, 20_000)
    for (const { ports } of await listed(lab)) blocks.add(blockOf(ports[0]))
    assert.equal(blocks.size, 2)
    assert.equal(blockOf(await open(lab, host(1))), 2)
    assert.equal(blockOf(await open(lab, host(2))), 3)
  }, { limit: LIMIT_S }),

  test('an address drains, is deleted and comes back while a host has a block of it', BLOCKS, async (lab) => {
    await pool(lab, { blocks: 2, perHost: 1 })
    const before = await open(lab, A, 5000)
    await lab.gateway.sh(`ip addr add ${P1}/32 dev outside && ipvsadm --add-address --pool blocks -z ${P1} && ipvsadm --edit-address --pool blocks -z ${P0} -w 0`)
    assert.equal(await open(lab, A, 5000), before, 'what is open goes on')
    await open(lab, A, 5001)
    assert.deepEqual((await listed(lab)).map(({ pool_address }) => pool_address), [P0, P1])
    await lab.gateway.sh(`ipvsadm --delete-address --pool blocks -z ${P0}`)
    assert.deepEqual((await listed(lab)).map(({ pool_address }) => pool_address), [P0, P1], 'it is held as long as it has a connection')
    await lab.gateway.sh(`ipvsadm --add-address --pool blocks -z ${P0}`)
    assert.equal(await open(lab, A, 5000), before)
    await lab.gateway.sh(`ipvsadm --delete-address --pool blocks -z ${P0}`)
    await end(lab, A)
    assert.deepEqual(await listed(lab), [])
    await lab.gateway.sh('ipvsadm --clear-snat')
    assert.deepEqual(await listed(lab), [])
  }),

  test('blocks of another size are taken from then on, and those that are held are used up', BLOCKS, async (lab) => {
    await pool(lab, { blocks: 4, perHost: 1 })
    const before = await open(lab, A, 5000)
    await lab.gateway.sh('ipvsadm --edit-pool blocks --block-size 256')
    assert.equal(await open(lab, A, 5000), before)
    await open(lab, B, 5000)
    await open(lab, A, 5001)
    assert.deepEqual((await listed(lab)).map(({ inside, ports }) => [inside, ports]), [
      [A, [FIRST, FIRST + SIZE - 1]], [A, [FIRST, FIRST + 255]], [B, [FIRST + 256, FIRST + 511]],
    ], 'nobody else gets ports that a host still has')
    await lab.gateway.sh('ipvsadm --edit-pool blocks --block-size 0')
    await end(lab, A)
    await end(lab, B)
    assert.deepEqual(await listed(lab), [])
    await open(lab, A, 5002)
    assert.deepEqual(await listed(lab), [])
  }),

  test('another pool with the same address keeps off the ports of its blocks', BLOCKS, async (lab) => {
    await pool(lab, { blocks: 4, perHost: 1 })
    const last = FIRST + 4 * SIZE - 1
    await lab.gateway.sh(`
      set -e
      ipvsadm --add-pool beside --ports ${last - 127}-${last + 128} -z ${P0}
      ipvsadm --add-rule --priority 1 -F ${host(1)} --pool beside
      ipvsadm --add-pool within --ports ${FIRST}-${FIRST + 99} -z ${P0}
      ipvsadm --add-rule --priority 1 -F ${host(2)} --pool within`)
    for (const port of await flood(lab, host(1), 8, last - 7)) assert.ok(port > last, `port ${port}`)
    await refuse(lab, host(2), FIRST)
    assert.equal(blockOf(await open(lab, A)), 0)
  }),

  test('settings are checked, saved, and restored', BLOCKS, async (lab) => {
    const size = (blockSize: number, more = {}) => ({ command: 'newPool', fields: { pool: { name: 'x', blockSize, ...more } } }) as const
    await refused(lab, size(100), ERANGE)
    await refused(lab, size(64), ERANGE)
    await refused(lab, size(32768), ERANGE)
    await refused(lab, size(256, { portMin: 2000, portMax: 2100 }), EINVAL)
    await refused(lab, size(256, { hostBlocks: 65 }), ERANGE)
    await refused(lab, size(0, { hostBlocks: 2 }), EINVAL)
    await lab.gateway.sh('set -e; ipvsadm --add-pool one --block-size 512; ipvsadm --add-pool two --log-conns; ipvsadm --add-pool three --ports 2000-3000 --block-size 128 --max-blocks 3 --paired')
    const saved = await lab.gateway.sh('ipvsadm -S -n')
    assert.equal(saved, [
      '--add-pool one -O rr --ports 1024-65535 --block-size 512 --max-blocks 8',
      '--add-pool three -O rr --ports 2000-3000 --paired --block-size 128 --max-blocks 3',
      '--add-pool two -O rr --log-conns',
      '',
    ].join('\n'))
    await lab.gateway.sh('set -e; ipvsadm -S -n >/tmp/saved; ipvsadm -C; ipvsadm -R </tmp/saved; rm /tmp/saved')
    assert.equal(await lab.gateway.sh('ipvsadm -S -n'), saved)
    await lab.gateway.sh('set -e; ipvsadm --edit-pool two --no-log-conns; ipvsadm --edit-pool one --block-size 0')
    assert.doesNotMatch(await lab.gateway.sh('ipvsadm -S -n'), /log-conns|512/)
  }),

  test('what happens to blocks is told as it happens, numbered without a gap', EVENTS, async (lab) => {
    await pool(lab, { blocks: 2, perHost: 1 })
    await open(lab, host(1))
    const text = await monitored(lab, '', async () => {
      await open(lab, host(1), 5001)
      await open(lab, host(2))
      await end(lab, host(2))
      await end(lab, host(1))
      await told(lab, `block-freed seq 4`)
    })
    const block = (number: number, inside: string): string =>
      `inside ${inside} address ${P0} ports ${FIRST + number * SIZE}-${FIRST + (number + 1) * SIZE - 1} pool blocks`
    assert.deepEqual(text.map((line) => line.replace(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z /, '')), [
      `block-taken seq 2 ${block(1, host(2))}`, `block-freed seq 3 ${block(1, host(2))}`, `block-freed seq 4 ${block(0, host(1))}`,
    ])
    const json = await monitored(lab, '--json', async () => {
      await open(lab, host(1), 5002)
      await told(lab, 'block-taken')
    })
    const [event] = json.map((line) => JSON.parse(line) as Record<string, unknown>)
    assert.deepEqual({ ...event, time: '' }, { time: '', event: 'block-taken', seq: 5, inside: host(1), pool_address: P0, ports: [FIRST, FIRST + SIZE - 1], pool: 'blocks' })
  }),

  test('of a burst of connections each is told, or how many are not', EVENTS, async (lab) => {
    const count = 200
    await lab.gateway.sh(`
      set -e
      ip addr add ${P0}/32 dev outside
      ipvsadm --add-pool logged --log-conns -z ${P0}
      ipvsadm --add-rule -F 192.168.1.0/24 --pool logged`)
    const complete = await monitored(lab, '', async () => {
      await flood(lab, A, count)
      await end(lab, A)
      await told(lab, `seq ${2 * count} `)
    })
    assert.deepEqual(tally(complete), { seen: 2 * count, lost: 0, span: 2 * count })
    assert.match(complete[0] ?? '', new RegExp(` conn-new seq 1 inside ${A}:10000 address ${P0}:10000 remote ${S}:53 proto udp pool logged$`))
    assert.equal(complete.filter((line) => line.includes(' conn-end ')).length, count)

    const stopped = await monitored(lab, '--json --buffer 8', async () => {
      await open(lab, B, 5000)
      await told(lab, `"seq": ${2 * count + 1},`)
      await lab.gateway.sh('kill -STOP $(cat /tmp/monitor.pid)')
      await flood(lab, A, count)
      await lab.gateway.sh('kill -CONT $(cat /tmp/monitor.pid)')
      await until('it has read what it has', async () => {
        await open(lab, B, 5001 + Math.floor(Math.random() * 4000))
        return LOST.test(await lab.gateway.sh('cat /tmp/events'))
      })
    })
    const { seen, lost, span } = tally(stopped)
    assert.ok(lost > count / 2, `${lost} of ${count} did not fit`)
    assert.equal(seen + lost, span, 'what was told, and how many were not')
  }, { limit: LIMIT_S }),

  test(`${events} events at full speed: each is told, or how many are not, with the usual buffer and with a small one`, EVENTS, async (lab) => {
    const rounds = Math.ceil(events / (2 * GENERATED.flows))
    await lab.gateway.sh(`
      set -e
      ip addr add ${P0}/32 dev outside
      ipvsadm --add-pool logged --log-conns -z ${P0}
      ipvsadm --add-rule -F 192.168.0.0/16 --pool logged`)
    await between(lab, GENERATOR, NO_GENERATOR, async () => {
      for (const options of ['', '--buffer 8']) {
        await between(lab, `(ipvsadm --monitor ${options} </dev/null & echo $! >/tmp/monitor.pid; wait) | ${TALLY} >/tmp/tally &`, 'kill $(cat /tmp/monitor.pid); rm -f /tmp/tally /tmp/listening /tmp/monitor.pid', async () => {
          await until('the monitor listens', async () => (await lab.gateway.run('test -e /tmp/listening')).status === 0)
          const before = await counter(lab, 'created')
          for (let round = 0; round < rounds; round++) {
            await lab.gateway.sh(`
              echo start >/proc/net/pktgen/pgctrl
              grep -q 'OK: .*, ${GENERATED.flows} ' /proc/net/pktgen/source
              ipvsadm --snat-conns -F ${GENERATED.host} --kill >/dev/null`, ROUND_MS)
            await until('all have ended', async () => (await counter(lab, 'conns')) === 0)
          }
          // What comes too fast for the gateway is lost before it is a connection.
          const flows = (await counter(lab, 'created')) - before
          assert.ok(flows > (rounds * GENERATED.flows) / 2, `${flows} flows were opened`)
          let port = 5000
          await until('the monitor tells of a later connection', async () => {
            await open(lab, A, port++)
            return (await lab.gateway.run('test -s /tmp/tally')).status === 0
          })
          const [seen = 0, lost = 0, first = 0, last = 0] = (await lab.gateway.sh('cat /tmp/tally')).trim().split(' ').map(Number)
          log.info(`${seen} events were told, ${lost} were not${options && ` (${options})`}`)
          assert.equal(seen + lost, last - first + 1, 'what was told, and how many were not')
          assert.ok(seen + lost > 2 * flows, `${seen + lost} events of ${flows} flows`)
          await end(lab, A)
        })
      }
    })
  }, { limit: LIMIT_S + (2 * events) / EVENTS_PER_S }),

  test('the log says who had a port at a time: two hosts one after the other, before, between, and what it does not cover', QUERY, async (lab) => {
    const logs = '/tmp/who'
    const log = `${logs}/ipvs-snat.log`
    const now = async (): Promise<string> => (await lab.gateway.sh(`date -u '+%Y-%m-%d %H:%M:%S'Z; sleep 2`)).trim()
    const who = (at: string, port: number) => lab.gateway.run(`ipvsadm --who ${P0}:${port} --at '${at}' --log ${log}`)
    await pool(lab, { blocks: 1, perHost: 1 })
    await vsSysctl(lab, 'snat_block_rest', '0')
    const before = await now()
    await between(lab, `mkdir ${logs}; ipvsadm --monitor --log ${log} </dev/null >/dev/null 2>&1 & echo $! >/tmp/monitor.pid`, `kill $(cat /tmp/monitor.pid); rm -rf ${logs} /tmp/monitor.pid`, async () => {
      await until('the log begins', async () => (await lab.gateway.run(`grep -q blocks-held ${log}`)).status === 0)
      const empty = await now()
      const port = await open(lab, host(1))
      const first = await now()
      await end(lab, host(1))
      await now()
      const between1and2 = await now()
      assert.equal(await open(lab, host(2), port), port, 'the same port, for another host')
      // as logrotate does it; what is held is told again in the new file
      await lab.gateway.sh(`mv ${log} ${log}-20261128 && kill -HUP $(cat /tmp/monitor.pid)`)
      await until('the new log begins', async () => (await lab.gateway.run(`grep -q 'block-held.*${host(2)}' ${log}`)).status === 0)
      const second = await now()
      await end(lab, host(2))
      await until('the end is told', async () => (await lab.gateway.run(`grep -q block-freed ${log}`)).status === 0)
      await now()
      const after = await now()
      await open(lab, host(3))
      await until('something later is told', async () => (await lab.gateway.run(`grep -q ${host(3)} ${log}`)).status === 0)

      const answers = new Map<string, { status: number; output: string }>()
      for (const at of [before, empty, first, between1and2, second, after, '2001-01-01 03:12']) answers.set(at, await who(at, port))
      const nobody = { status: 1, output: 'Nobody had it\n' }
      assert.match(answers.get(first)?.output ?? '', new RegExp(`^${host(1)} had ports 2000-2127 \\(pool blocks\\) from [-0-9: ]+ until [-0-9: ]+\n$`))
      assert.match(answers.get(second)?.output ?? '', new RegExp(`^${host(2)} had ports 2000-2127 \\(pool blocks\\) from [-0-9: ]+ until [-0-9: ]+\n$`))
      for (const at of [empty, between1and2, after]) assert.deepEqual(answers.get(at), nobody, at)
      for (const at of [before, '2001-01-01 03:12']) {
        assert.equal(answers.get(at)?.status, 3)
        assert.match(answers.get(at)?.output ?? '', /^The log does not cover this time; it has /)
      }
      assert.equal((await who(first, 9)).status, 1)
      const minute = await who(first.slice(0, 16) + 'Z', port)
      assert.ok(minute.output.includes(`${host(1)} had ports`), minute.output)
      assert.match((await lab.gateway.run(`ipvsadm --who ${P0}:${port} --at '${first}' --log ${log}.none`)).output, /There is no log/)
    })
  }, { limit: LIMIT_S }),

  test('of a recorded day, whose logs were rotated, each question has the answer of that time', DAY, async (lab) => {
    const log = '/tmp/day/ipvs-snat.log'
    await pool(lab, { blocks: DAY_HOSTS, perHost: 1 })
    await vsSysctl(lab, 'snat_block_rest', '0')
    const moments: Moment[] = []
    const holds = new Map<string, number>()
    const [start = 0, uptime = 0] = (await lab.gateway.sh(`date +%s; cut -d . -f 1 /proc/uptime`)).trim().split('\n').map(Number)
    const go = (second: number): Promise<string> => lab.gateway.sh(`date -s @${start + second} >/dev/null`)
    // A second that is over when the clock goes on to the next turn.
    const remember = async (): Promise<void> => {
      const now = Number(await lab.gateway.sh('sleep 2; date +%s'))
      moments.push({ second: now - 1, holds: new Map(holds) })
    }
    const setUp = `mkdir /tmp/day; ipvsadm --monitor --log ${log} </dev/null >/dev/null 2>&1 & echo $! >/tmp/monitor.pid`
    const takeDown = `kill $(cat /tmp/monitor.pid); rm -rf /tmp/day /tmp/monitor.pid; date -s @$((${start} + $(cut -d . -f 1 /proc/uptime) - ${uptime})) >/dev/null`
    await between(lab, setUp, takeDown, async () => {
      await until('the log begins', async () => (await lab.gateway.run(`grep -q blocks-held ${log}`)).status === 0)
      for (let turn = 1; turn <= TURNS; turn++) {
        await go(turn * TURN_S)
        const inside = host(turn % DAY_HOSTS)
        holds.set(inside, await open(lab, inside, 5000 + turn))
        await remember()
        await go(turn * TURN_S + TURN_S / 2)
        // Every third keeps its block a turn longer.
        const gone = [...holds.keys()].filter((name) => turn % 3 > 0 || name !== inside)
        for (const one of gone) {
          await end(lab, one)
          holds.delete(one)
        }
        // The monitor notices what time it is when something happens.
        if (gone.length > 0) await remember()
        if (turn % ROTATED_EVERY > 0) continue
        const rotated = `${log}-${String(turn).padStart(2, '0')}`
        await lab.gateway.sh(`mv ${log} ${rotated} && kill -HUP $(cat /tmp/monitor.pid)`)
        await until('the new log begins', async () => (await lab.gateway.run(`grep -q blocks-held ${log}`)).status === 0)
        if (turn < TURNS / 2) await lab.gateway.sh(`gzip ${rotated}`)
      }
      await go((TURNS + 1) * TURN_S)
      await open(lab, host(DAY_HOSTS), 5000)
      await until('the log has the last event', async () => (await lab.gateway.run(`grep -q 'block-taken.* inside ${host(DAY_HOSTS)} ' ${log}`)).status === 0)

      const blocks = [...new Set(moments.flatMap((moment) => [...moment.holds.values()].map(blockOf)))]
      const questions = moments.flatMap((moment) => blocks.map((number) => ({ ...moment, number }))).filter((_, index) => index % ASKED_EVERY === 0)
      const asked = questions.map(({ second, number }) => `ipvsadm --who ${P0}:${FIRST + number * SIZE} --at "$(date -u -d @${second} '+%Y-%m-%d %H:%M:%S')Z" --log ${log} | cut -d ' ' -f 1 | tr '\\n' ' '; echo`)
      const answers: string[] = []
      for (let some = 0; some < asked.length; some += 10) answers.push(...(await lab.gateway.sh(asked.slice(some, some + 10).join('\n'))).split('\n').slice(0, -1))
      assert.deepEqual(
        answers.map((answer) => answer.trim()),
        questions.map(({ holds, number }) => [...holds].find(([, port]) => blockOf(port) === number)?.[0] ?? 'Nobody'),
      )
      assert.ok(blocks.length > 1 && answers.some((answer) => answer.startsWith('Nobody')), 'several blocks, and times when nobody had them')
    })
  }, { limit: 2 * LIMIT_S }),
])
