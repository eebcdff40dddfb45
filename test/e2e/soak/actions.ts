// SPDX-License-Identifier: GPL-2.0-only
/** What happens to a gateway in the course of a soak: a table of which chance takes one after the other. */

import assert from 'node:assert/strict'
import { CLIENT_SEQ, Connection } from '../../../vm/host/index.ts'
import { echo, fragment, icmpError, tcp, udp } from '../../../vm/packet/index.ts'
import { A, B, C, CLIENT, POOL, ROUTER, S, VIP } from '../../../vm/topology.ts'
import { gather, routeOf, turn, until } from '../lib/traffic.ts'
import type { Dice } from './dice.ts'
import { REAL_PORT, SERVERS, SPARE, VIP_PORT, type World } from './world.ts'

export interface Action {
  name: string
  /** How often it comes, compared with the others. */
  weight: number
  /** @returns what was done, for the log */
  run: (world: World, dice: Dice) => Promise<string>
  /** Seconds it may take, where they are not the usual ones. */
  limit?: number
}

const POOLS = ['one', 'two', 'three'] as const
/** Numbers of the rules that come and go. */
const RULES = [11, 12, 13, 14, 15] as const
const NETS = ['192.168.1.0/24', '192.168.2.0/24', `${A}/32`, `${B}/32`, `${C}/32`, '192.168.0.0/17'] as const
const ALGORITHMS = ['rr', 'sh', 'sdh', 'random', 'wlc'] as const
const PROTOCOLS = ['tcp', 'udp', 'icmp', 'any'] as const

/** What a pool can be told, `none` to leave it as it is. */
const SETTINGS = [
  '', '-O sh', '-O wlc --paired', '--unpaired', '--ports 3000-3999', '--ports any', '--max-conns 20', '--max-conns 0', '--log-conns', '--no-log-conns',
  '--block-size 128 --max-blocks 4', '--block-size 256', '--block-size 0',
] as const

/** Settings of the gateway, each with values that tests have for it; the first is what it has at the beginning. */
const SYSCTLS: Readonly<Record<string, readonly string[]>> = {
  snat_fastpath: ['0', '1', '60'],
  snat_max_conns: ['65536', '64', '1000'],
  snat_max_conns_per_host: ['4096', '16', '0'],
  snat_tcp_timeout: ['7440', '20'],
  snat_tcp_transitory_timeout: ['240', '20'],
  snat_udp_timeout: ['300', '20'],
  snat_udp_unanswered_timeout: ['30', '15'],
  snat_icmp_timeout: ['60', '15'],
  snat_port_range: ['1024 65535', '2000 2199'],
  snat_block_rest: ['120', '0'],
  snat_one_armed: ['0', '1'],
  expire_nodest_conn: ['0', '1'],
}

const FUZZ_MESSAGES = 300
const DATAGRAM = 3000
const FRAGMENT = 1480

/** An address or a range of those for pools that come and go. */
function addresses(dice: Dice): string {
  const first = dice.below(SPARE.length)
  const last = dice.between(first, SPARE.length - 1)
  return first === last ? SPARE[first] ?? '' : `${SPARE[first]}-${SPARE[last]}`
}

/** What a rule says of packets. */
const match = (dice: Dice): string => [
  `-F ${dice.pick(NETS)}`,
  ...(dice.oneIn(3) ? [`-T ${dice.pick(['198.51.100.0/24', '192.0.2.0/24', `${S}/32`])}`] : []),
  ...dice.pick([[], [], [`--proto ${dice.pick(PROTOCOLS)}`], [`--proto ${dice.pick(['tcp', 'udp'])} --dport ${dice.pick(['53', '80', '1-1000'])}`]]),
  ...(dice.oneIn(4) ? [`--oif ${dice.pick(['outside', 'inside2', 'eth9'])}`] : []),
].join(' ')

/** What it does with them: nothing that lets them out as they are. */
const action = (dice: Dice): string => dice.pick([...POOLS.map((name) => `--pool ${name}`), ...POOLS.map((name) => `--pool ${name}`), '--drop'])

/** Packets of a flow, whose data the other end has to see as they were sent. */
const data = (dice: Dice): string => `${dice.below(1_000_000)} `.repeat(dice.between(1, 100))

/** Runs one of some commands, sometimes beside traffic. */
const oneOf = (commands: (dice: Dice) => readonly string[]) => async (world: World, dice: Dice): Promise<string> => {
  const command = dice.pick(commands(dice))
  return world.beside(dice, () => world.command(command))
}

async function tcpFlow(world: World, dice: Dice): Promise<string> {
  const { host, address } = dice.pick(world.hosts)
  const sent = `${address}:${world.nextPort()} > ${dice.pick(SERVERS)}:80`
  const [request, answer, end] = [data(dice), data(dice), dice.pick(['finish', 'client', 'server', 'stay'] as const)]
  const left = await world.leaves(host, tcp(sent, 'S', { seq: CLIENT_SEQ }), `tcp *:* > ${sent.split(' > ')[1]} S`)
  if (!left) return `${sent}: refused`
  const connection = await Connection.open({ client: host, sent, server: world.lab.net, seen: routeOf(left) })
  await connection.request(request)
  await connection.respond(answer)
  if (end === 'finish') await connection.finish()
  else if (end !== 'stay') await connection.abort(end)
  world.flows.answered++
  return `${sent} as ${connection.seen}, ${end}`
}

async function udpFlow(world: World, dice: Dice): Promise<string> {
  const { host, address } = dice.pick(world.hosts)
  const sent = `${address}:${world.nextPort()} > ${dice.pick(SERVERS)}:53`
  const [question, answer] = [data(dice), data(dice)]
  const left = await world.leaves(host, udp(sent, question), `udp *:* > ${sent.split(' > ')[1]}`)
  if (!left) return `${sent}: refused`
  assert.equal(left.data.toString(), question, 'data of the question')
  world.lab.net.send(udp(turn(routeOf(left)), answer))
  const back = await host.expect(`udp ${turn(sent)}`)
  assert.equal(back.data.toString(), answer, 'data of the answer')
  world.flows.answered++
  return `${sent} as ${routeOf(left)}`
}

async function pingFlow(world: World, dice: Dice): Promise<string> {
  const { host, address } = dice.pick(world.hosts)
  const [server, echoId, text] = [dice.pick(SERVERS), world.nextPort(), data(dice)]
  const left = await world.leaves(host, echo(`${address} > ${server}`, 'request', { echoId, data: text }), `icmp * > ${server} echo-request id=*`)
  if (!left) return `${address} > ${server} ${echoId}: refused`
  world.lab.net.send(echo(`${server} > ${left.ip?.src}`, 'reply', { echoId: left.icmp?.id ?? 0, data: left.data }))
  const back = await host.expect(`icmp ${server} > ${address} echo-reply id=${echoId}`)
  assert.equal(back.data.toString(), text, 'data of the echo')
  world.flows.answered++
  return `${address} > ${server} ${echoId} as ${left.ip?.src} ${left.icmp?.id}`
}

async function fragments(world: World, dice: Dice): Promise<string> {
  const { host, address } = dice.pick(world.hosts)
  const { net } = world.lab
  const server = dice.pick(SERVERS)
  const sent = `${address}:${world.nextPort()} > ${server}:53`
  const [body, backwards] = [Buffer.alloc(DATAGRAM, data(dice)), dice.oneIn(2)]
  const cut = (route: string): Buffer[] => {
    const parts = fragment(udp(route, body, { df: false }), FRAGMENT)
    return backwards ? parts.reverse() : parts
  }
  const left = await world.leaves(host, cut(sent), `udp *:* > ${server}:53`)
  if (!left) return `${sent}: refused`
  const out = await gather(net, `udp ${routeOf(left)}`, `frag 17 ${left.ip?.src} > ${server} offset=*`)
  assert.ok(out.body.subarray(8).equals(body), 'data of the question')
  net.send(cut(turn(routeOf(left))))
  const back = await gather(host, `udp ${turn(sent)}`, `frag 17 ${server} > ${address} offset=*`)
  assert.ok(back.body.subarray(8).equals(body), 'data of the answer')
  world.flows.answered++
  return `${sent} as ${routeOf(left)}${backwards ? ', the last one first' : ''}`
}

async function balanced(world: World, dice: Dice): Promise<string> {
  const { net, a } = world.lab
  const port = world.nextPort()
  const [request, answer, end] = [data(dice), data(dice), dice.pick(['finish', 'client', 'server'] as const)]
  const connection = await Connection.open({ client: net, sent: `${CLIENT}:${port} > ${VIP}:${VIP_PORT}`, server: a, seen: `${CLIENT}:${port} > ${A}:${REAL_PORT}` })
  await connection.request(request)
  await connection.respond(answer)
  await (end === 'finish' ? connection.finish() : connection.abort(end))
  world.flows.answered++
  return `${connection.sent}, ${end}`
}

async function insideToInside(world: World): Promise<string> {
  const { a, c } = world.lab
  const route = `${A}:${world.nextPort()} > ${C}:53`
  a.send(udp(route, 'q'))
  await c.expect(`udp ${route}`)
  return route
}

async function strangers(world: World, dice: Dice): Promise<string> {
  const { lab } = world
  const packets = Array.from({ length: dice.between(1, 20) }, () => {
    const [pool, port] = [dice.pick(POOL), dice.between(1, 65_535)]
    const quote = udp(`${pool}:${port} > ${CLIENT}:53`, 'never sent')
    return dice.pick([
      () => tcp(`${CLIENT}:80 > ${pool}:${port}`, dice.pick(['S', 'SA', 'A', 'R', 'FA', 'RA', 'SF', 'U']), { seq: dice.below(2 ** 31) }),
      () => udp(`${CLIENT}:53 > ${pool}:${port}`, 'nobody has asked'),
      () => echo(`${CLIENT} > ${pool}`, dice.pick(['request', 'reply']), { echoId: port }),
      () => icmpError(`${CLIENT} > ${pool}`, dice.pick(['port-unreachable', 'frag-needed', 'time-exceeded']), quote, { mtu: 576 }),
    ])()
  })
  lab.net.send(packets)
  await lab.settle()
  for (const { host } of world.hosts) host.refuse(`* ${CLIENT}** > **`)
  return `${packets.length} packets`
}

/** What hosts send that is no beginning of anything, or no whole packet; of ICMP, only errors: what else is no request of echo passes as it is. */
async function oddities(world: World, dice: Dice): Promise<string> {
  const { host, address } = dice.pick(world.hosts)
  const route = `${address}:${world.nextPort()} > ${dice.pick(SERVERS)}:80`
  const [from, to] = [address, dice.pick(SERVERS)]
  const packets = dice.pick<Buffer[]>([
    [tcp(route, dice.pick(['A', 'FA', 'R', 'SF', 'SR', 'U', 'SA', 'FPU']), { seq: 1, ack: 1 })],
    [udp(route, 'dies on its way', { ttl: 1 })],
    [udp(route, 'with an option', { options: Buffer.from([1, 1, 1, 0]) })],
    [fragment(udp(route, Buffer.alloc(DATAGRAM), { df: false }), FRAGMENT)[0] as Buffer],
    [fragment(udp(route, Buffer.alloc(DATAGRAM), { df: false }), FRAGMENT)[1] as Buffer],
    [icmpError(`${from} > ${to}`, 'port-unreachable', udp(`${to}:53 > ${from}:9`, 'q'))],
  ])
  host.send(packets)
  await world.lab.settle()
  return route
}

async function saveAndRestore(world: World, dice: Dice): Promise<string> {
  const { gateway } = world.lab
  return world.beside(dice, async () => {
    const saved = await gateway.sh('ipvsadm -S -n | tee /tmp/saved')
    await gateway.sh('ipvsadm -R --replace </tmp/saved')
    assert.equal(await gateway.sh('ipvsadm -S -n'), saved, 'what was restored')
    return `${saved.split('\n').length - 1} lines`
  })
}

/** Lines that make a file wrong, of which nothing may take effect then. */
const WRONG = ['--add-rule --id 90 --pool nowhere', '--add-pool one,two', '-a -t 203.0.113.81:80 -r nobody', '--frobnicate', '--add-rule --id 90 --dport 80 --drop'] as const

async function restoreWrong(world: World, dice: Dice): Promise<string> {
  const { gateway } = world.lab
  const wrong = dice.pick(WRONG)
  return world.beside(dice, async () => {
    const saved = await gateway.sh('ipvsadm -S -n | tee /tmp/saved')
    const said = await world.command(`{ echo '--add-pool new'; cat /tmp/saved; echo '${wrong}'; } | ipvsadm -R --replace`)
    assert.match(said, /: refused, /)
    assert.equal(await gateway.sh('ipvsadm -S -n'), saved, 'what was there before')
    return said
  })
}

/** Numbers, because names are asked for where nobody answers. */
const LISTS = [
  'ipvsadm -ln', 'ipvsadm -ln --stats', 'ipvsadm -lnc', 'ipvsadm -G -n', 'ipvsadm -G -n --stats', 'ipvsadm -S -n', 'ipvsadm --snat-conns -n', 'ipvsadm --snat-blocks -n',
  'ipvsadm --pressure -n', 'ipvsadm --metrics', 'cat /proc/net/ip_vs /proc/net/ip_vs_conn /proc/net/ip_vs_stats /proc/net/ip_vs_snat /proc/net/ip_vs_snat_pool',
] as const
const JSON_LISTS = ['ipvsadm -G --json', 'ipvsadm --snat-conns --json', 'ipvsadm --snat-blocks --json', 'ipvsadm --pressure --json'] as const

async function lists(world: World, dice: Dice): Promise<string> {
  const command = dice.pick([...LISTS, ...JSON_LISTS])
  return world.beside(dice, async () => {
    const output = await world.lab.gateway.sh(command)
    if (command.endsWith('--json')) JSON.parse(output)
    return command
  })
}

const carrier = (link: string): string => `until [ "$(cat /sys/class/net/${link}/carrier)" = 1 ]; do usleep 50000; done`

/** Going down takes a link's routes and neighbours with it. */
async function linkDown(world: World, dice: Dice): Promise<string> {
  const link = dice.pick(['inside', 'inside2', 'outside'] as const)
  await world.lab.gateway.sh(`
    set -e
    ip link set ${link} down
    ip link set ${link} up
    ${carrier(link)}
    ip route replace default via ${ROUTER}`)
  await world.lab.settle()
  return link
}

async function addressAway(world: World, dice: Dice): Promise<string> {
  const address = dice.pick(POOL)
  return world.beside(dice, async () => {
    await world.lab.gateway.sh(`ip addr del ${address}/32 dev outside; usleep ${dice.pick([0, 50_000])}; ip addr add ${address}/32 dev outside`)
    return address
  })
}

async function namespace(world: World, dice: Dice): Promise<string> {
  return world.beside(dice, async () => {
    await world.lab.gateway.sh(`unshare -n sh -c '
      set -e
      ip link set lo up
      ipvsadm --add-pool inner --block-size 256 -z 10.9.9.8-10.9.9.9
      ipvsadm -K --zone 10.0.0.0/8
      ipvsadm -A -u 0.0.0.0:0 -s rr
      ipvsadm -S -n >/dev/null'`)
    return 'with a pool, a zone and a service'
  })
}

async function fuzz(world: World, dice: Dice): Promise<string> {
  const seed = dice.below(2 ** 31)
  await world.anew(() => world.lab.gateway.sh(`snat-fuzz ${seed} ${FUZZ_MESSAGES}`))
  return `seed ${seed}`
}

async function reload(world: World): Promise<string> {
  const ended = await world.endWatch()
  // Whatever uses the modules of IPVS is gone with the services and namespaces, the latter a moment later.
  await world.anew(() => world.lab.gateway.sh(`
    ipvsadm -C
    for round in $(seq 50); do
      for module in $(awk '/^ip_vs/ { print $1 }' /proc/modules); do rmmod $module 2>/dev/null; done
      grep -q '^ip_vs ' /proc/modules || break
      usleep 100000
    done
    ! grep '^ip_vs ' /proc/modules && modprobe ip_vs`))
  return `the monitor: ${ended}`
}

/** A net that no other rule names. */
const KEPT_NET = '192.168.2.0/25'
const keepalivedConf = (algo: string): Buffer => Buffer.from(`
snat_pool kept {
  algo ${algo}
  address ${SPARE.at(-1)}
}
snat_rule {
  from ${KEPT_NET}
  priority 500
  pool kept
}
`)

/** It begins, reads another file, and ends; its rule stays, with an address that takes nothing new. */
async function keepalived(world: World, dice: Dice): Promise<string> {
  const { gateway } = world.lab
  const says = (what: RegExp): Promise<void> => until(`ipvsadm -S says ${what}`, async () => what.test(await gateway.sh('ipvsadm -S -n')))
  return world.beside(dice, async () => {
    await gateway.put('/tmp/keepalived.conf', keepalivedConf('rr'))
    await gateway.sh('keepalived --dont-fork --log-console --check --pid /tmp/keepalived.pid --use-file /tmp/keepalived.conf >/tmp/keepalived.log 2>&1 &')
    try {
      await says(/--add-pool kept -O rr.*[^]*--pool kept -z [\d.]+$/m)
      await gateway.put('/tmp/keepalived.conf', keepalivedConf('sh'))
      await gateway.sh('kill -HUP $(cat /tmp/keepalived.pid)')
      await says(/--add-pool kept -O sh/)
    } finally {
      await gateway.sh(`
        kill $(cat /tmp/keepalived.pid)
        for try in $(seq 200); do pidof keepalived >/dev/null || exit 0; usleep 100000; done
        cat /tmp/keepalived.log
        exit 1`)
    }
    return 'begun, reloaded, ended'
  })
}

export const ACTIONS: readonly Action[] = [
  { name: 'TCP', weight: 12, run: tcpFlow },
  { name: 'UDP', weight: 12, run: udpFlow },
  { name: 'ping', weight: 6, run: pingFlow },
  { name: 'fragments', weight: 5, run: fragments },
  { name: 'LVS NAT', weight: 6, run: balanced },
  { name: 'inside to inside', weight: 2, run: insideToInside },
  { name: 'strangers', weight: 5, run: strangers },
  { name: 'oddities', weight: 5, run: oddities },

  { name: 'pool', weight: 8, run: oneOf((dice) => {
    const [name, settings] = [dice.pick(POOLS), dice.pick(SETTINGS)]
    return [
      `ipvsadm --add-pool ${name} -O ${dice.pick(ALGORITHMS)} ${dice.oneIn(2) ? settings.replace(/-O \S+/, '') : ''} -z ${addresses(dice)}`,
      `ipvsadm --edit-pool ${name} ${settings || '-O rr'}`,
      `ipvsadm --delete-pool ${name}`,
    ]
  }) },
  { name: 'addresses of a pool', weight: 6, run: oneOf((dice) => {
    const where = `--pool ${dice.pick(POOLS)} -z ${addresses(dice)}`
    return [`ipvsadm --add-address ${where}`, `ipvsadm --edit-address ${where} -w ${dice.below(3)}`, `ipvsadm --edit-address ${where} -w 0`, `ipvsadm --delete-address ${where}`]
  }) },
  { name: 'rule', weight: 8, run: oneOf((dice) => {
    const id = dice.pick(RULES)
    const add = `ipvsadm --add-rule --id ${id} --priority ${dice.pick([10, 1000, 2000])} ${match(dice)} ${action(dice)}`
    return [add, add, `ipvsadm --edit-rule --id ${id} ${dice.oneIn(2) ? match(dice) : action(dice)}`, `ipvsadm --delete-rule --id ${id}`, `ipvsadm --zero-snat --id ${id}`]
  }) },
  { name: 'zone', weight: 5, run: oneOf((dice) => {
    const zone = `--zone ${dice.pick(NETS)}`
    return [`ipvsadm -K ${zone}`, `ipvsadm -U ${zone} -z ${addresses(dice)}`, `ipvsadm -W ${zone} -z ${addresses(dice)}`, `ipvsadm -V ${zone}`]
  }) },
  { name: 'service', weight: 5, run: oneOf((dice) => {
    const [port, server] = [dice.between(81, 83), dice.pick([A, B, C])]
    const service = `${dice.pick(['-t', '-u'])} ${VIP}:${port}`
    return [
      `ipvsadm -A ${service} -s rr && ipvsadm -a ${service} -r ${server}:${REAL_PORT} -m`, `ipvsadm -a ${service} -r ${server}:${REAL_PORT} -m`,
      `ipvsadm -e ${service} -r ${server}:${REAL_PORT} -m -w ${dice.below(3)}`, `ipvsadm -d ${service} -r ${server}:${REAL_PORT}`, `ipvsadm -D ${service}`,
    ]
  }) },
  { name: 'connections ended', weight: 4, run: oneOf((dice) => [`ipvsadm --snat-conns -F ${dice.pick(NETS)} --kill`, `ipvsadm --snat-conns --pool ${dice.pick(POOLS)} --kill`]) },
  { name: 'save and restore', weight: 4, run: saveAndRestore },
  { name: 'restore what is wrong', weight: 3, run: restoreWrong },
  { name: 'lists', weight: 6, run: lists },
  { name: 'setting', weight: 6, run: oneOf((dice) => {
    const name = dice.pick(Object.keys(SYSCTLS))
    // Not every kernel has all of them.
    return [`[ ! -e /proc/sys/net/ipv4/vs/${name} ] || echo ${dice.pick(SYSCTLS[name] ?? [])} >/proc/sys/net/ipv4/vs/${name}`]
  }) },
  { name: 'monitor', weight: 6, run: async (world, dice) => world.watch(dice.pick(['', '--json', '--buffer 8'])) },
  { name: 'link down and up', weight: 1, run: linkDown },
  { name: 'address away and back', weight: 2, run: addressAway },
  { name: 'namespace', weight: 2, run: namespace },
  { name: 'keepalived', weight: 1, run: keepalived },
  { name: 'fuzz', weight: 1, run: fuzz, limit: 180 },
  { name: 'module', weight: 1, run: reload },
]
