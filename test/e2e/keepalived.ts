// SPDX-License-Identifier: GPL-2.0-only
/** Pools, rules and zones out of keepalived.conf: as published, reloaded, wrong, with health checks and VRRP. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../../scripts/base/root.ts'
import { Connection, Host } from '../../vm/host/index.ts'
import type { Lab } from '../../vm/lab.ts'
import { echo, type Packet, tcp, udp } from '../../vm/packet/index.ts'
import { A, B, GATEWAY, POOL, ROUTER, S, S2 } from '../../vm/topology.ts'
import { between } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'
import { ask, assertNothingPrivateLeft, during, until } from './lib/traffic.ts'

const PUBLISHED = 'issue 13, 1: zones and rules in keepalived.conf exactly as published'
const NAMES = 'issue 13, 1: the same with names that read well'
const RELOAD = 'issue 13, 1: a reload changes only what changed: not one packet of an unchanged rule is lost, no connection dropped'
const BAD = 'issue 13: a bad file changes nothing; keepalived -t names file and line'
const HEALTH = 'issue 13, 1: a next hop that does not answer takes its addresses out of the pool, and back'
const VRRP = 'issue 13, 1: pool addresses move with a vrrp_instance'
const TOLD = 'issue 13, 1: SIGUSR1 and JSON output include SNAT'
const BLOCKS = 'issue 13, 4: port-block allocation per inside host (RFC 7422), a pool option; blocks run out, are reused late, and are listed'
const STOP = 'issue 13: as a service that people run: nothing leaves with a private address when it stops'
const [P0 = '', P1 = '', P2 = '', P3 = '', P4 = ''] = POOL

/** A further router outside, which the packaged example names. */
const ROUTER2 = '203.0.113.253'
const ROUTER2_MAC = '02:00:00:00:02:fd'

const CONF = '/tmp/keepalived.conf'
const LOG = '/tmp/keepalived.log'
/** TCG on a busy host; what is waited for comes about by then. */
const LIMIT_S = 180

/** What a shell adds to the signal that has ended a program. */
const KILLED = 128

/** An example of the package. */
const example = (name: string): string => readFileSync(join(ROOT, 'specs/keepalived', name), 'utf8')

const saved = (lab: Lab): Promise<string> => lab.gateway.sh('ipvsadm -S -n')
const write = (lab: Lab, config: string): Promise<void> => lab.gateway.put(CONF, Buffer.from(config))

/** What there is of a process is gone before the next test, whatever it is doing. */
const STOPPED = `
  [ ! -e /tmp/keepalived.pid ] || kill $(cat /tmp/keepalived.pid) 2>/dev/null
  for try in $(seq 100); do pidof keepalived >/dev/null || break; usleep 100000; done
  ! pidof keepalived >/dev/null || killall -9 keepalived
  rm -f /tmp/keepalived.pid`

/** Runs keepalived with a configuration while `work` does what it does. */
async function running(lab: Lab, config: string, work: () => Promise<void>, options = '--check'): Promise<void> {
  await write(lab, config)
  const start = `
    ${STOPPED}
    rm -f ${LOG}
    keepalived --dont-fork --log-console --log-detail ${options} --pid /tmp/keepalived.pid --use-file ${CONF} >>${LOG} 2>&1 &`
  try {
    await between(lab, start, STOPPED, work)
  } catch (error) {
    if (error instanceof Error) error.message += `\n${(await lab.gateway.run(`tail -30 ${LOG}`)).output}`
    throw error
  }
}

const stop = (lab: Lab): Promise<string> => lab.gateway.sh(STOPPED)

async function saves(lab: Lab, what: RegExp): Promise<void> {
  await until(`ipvsadm -S says ${what}`, async () => what.test(await saved(lab)))
}

/** Reloads, and waits until that is done: keepalived says so at its end. */
async function reload(lab: Lab, config: string): Promise<void> {
  await write(lab, config)
  await lab.gateway.sh(`: >${LOG}; kill -HUP $(cat /tmp/keepalived.pid)`)
}

/** Has the router outside answer pings and questions of DNS, while `alive()` says so. */
function answers(lab: Lab, alive: () => boolean): void {
  lab.net.service = (packet) => {
    if (packet.icmp && packet.ip?.dst === ROUTER) {
      if (alive()) lab.net.send(pong(packet))
      return true
    }
    return false
  }
}

function pong({ ip, icmp, data }: Packet): Buffer {
  return echo(`${ip?.dst} > ${ip?.src}`, 'reply', { echoId: icmp?.id ?? 0, seq: icmp?.seq ?? 0, data })
}

const ask1 = (lab: Lab, port: number, source: string): Promise<string> =>
  ask({ client: lab.a, sent: `${A}:${port} > ${S}:53`, server: lab.net, seen: `${source}:${port} > ${S}:53` })

/** What a pool `blocks` says of them, for A; B has a pool without. */
const blocksOf = (words: string): string => `
snat_pool blocks {
  address ${P0}
  ${words}
}
snat_pool beside {
  address ${P1}
}
snat_rule {
  from ${A}
  pool blocks
}
snat_rule {
  from ${B}
  pool beside
}
`

/** @returns who has which block of ports, and for how many connections */
async function listBlocks(lab: Lab): Promise<unknown[]> {
  const { blocks } = JSON.parse(await lab.gateway.sh('ipvsadm --snat-blocks --json')) as { blocks: { inside: string; ports: [number, number]; pool: string; conns: number }[] }
  return blocks.map(({ inside, ports, pool, conns }) => [inside, ...ports, pool, conns])
}

/** Waits until the log of this start or reload tells of as many changes, and of no others. */
async function toldOf(lab: Lab, changes: string): Promise<void> {
  let log = ''
  await until('the log says that it is told', async () => /SNAT: the kernel has been told/.test(log = await lab.gateway.sh(`cat ${LOG}`)))
  assert.deepEqual([...log.matchAll(/has been told of (\d+ changes?)/g)].map(([, told]) => told), [changes])
}

/** Asserts that a reload of a file that says the same tells the kernel nothing. */
async function reloadSame(lab: Lab, config: string): Promise<void> {
  await reload(lab, config)
  await until('it was reloaded', async () => /Reloading/.test(await lab.gateway.sh(`cat ${LOG}`)))
  await lab.gateway.sh('usleep 500000')
  assert.doesNotMatch(await lab.gateway.sh(`cat ${LOG}`), /has been told/, 'nothing has changed, so nothing is said')
}

/** Two rules and a pool for each; what is said of the second one is a part of the test. */
const twoHosts = (second: string): string => `
snat_pool one {
  address ${P0}
}
snat_pool two {
  address ${P1}
}
snat_rule {
  from ${A}
  pool one
}
snat_rule {
  from ${B}
  ${second}
}
`

export default suite('keepalived', [
  test('the published zones are those of the published commands', PUBLISHED, async (lab) => {
    const commands = [
      '-K --zone 192.168.0.0/16', '-U --zone 192.168.0.0/16 -z 121.14.161.100', '-U --zone 192.168.0.0/16 -z 121.14.161.101',
      '-K --zone 192.168.7.0/24', '-U --zone 192.168.7.0/24 -z 121.14.161.102-121.14.161.105',
      '-K --zone 192.168.7.7/32',
    ]
    await lab.gateway.sh(`set -e; ${commands.map((command) => `ipvsadm ${command}`).join('; ')}; ipvsadm -A -t 0.0.0.0:0 -s rr`)
    const typed = await saved(lab)
    await lab.gateway.sh('ipvsadm -C')
    const routes = `
      for host in 100 101; do ip addr add 121.14.161.$host/32 dev outside; done
      ip route add 192.168.0.0/24 via ${A}; ip route add 192.168.7.0/24 via ${A}; ip route add 10.0.0.0/8 via ${A}`
    await running(lab, example('snat-zones.conf'), async () => {
      await lab.gateway.sh(`set -e\n${routes}`)
      await saves(lab, /--zone 192\.168\.7\.7\/32/)
      assert.equal(await saved(lab), typed)
      const first = await ask({ client: lab.a, sent: `192.168.0.5:4001 > ${S}:53`, server: lab.net, seen: `*:4001 > ${S}:53` })
      const second = await ask({ client: lab.a, sent: `192.168.0.5:4002 > ${S}:53`, server: lab.net, seen: `*:4002 > ${S}:53` })
      assert.deepEqual([first, second].map((seen) => seen.split(':')[0]).sort(), ['121.14.161.100', '121.14.161.101'])
      lab.a.send(udp(`192.168.7.7:4003 > ${S}:53`, 'blacklisted'))
      lab.a.send(tcp(`10.0.0.5:4004 > ${S}:80`, 'S'))
      await lab.settle()
      lab.net.refuse('udp **')
      lab.net.refuse('tcp **')
    })
  }, { limit: LIMIT_S }),

  test('the published rules are those of the published commands', PUBLISHED, async (lab) => {
    const commands = [
      '-A -f 1 -s snat_sched',
      '-K -f 1 -F 192.168.40.0/24 -W 1.1.2.1 --oif eth1 -U 1.1.2.100-1.1.2.110 -O random',
      '-K -f 1 -F 192.168.40.0/24 -W 1.1.3.1 --oif eth2 -U 1.1.3.100-1.1.3.110 -O sdh',
      '-K -f 1 -F 192.168.50.0/24 -W 1.1.2.1 -N 1.1.3.1 -U 1.1.3.100-1.1.3.110 -O sh',
      '-K -f 1 -F 192.168.0.0/16 -N 1.1.3.1 -U 1.1.2.100-1.1.2.110',
    ]
    await lab.gateway.sh(`set -e; ${commands.map((command) => `ipvsadm ${command}`).join('; ')}`)
    const typed = await saved(lab)
    await lab.gateway.sh('ipvsadm -C')
    await running(lab, example('snat-rules.conf'), async () => {
      await saves(lab, /--id 4 /)
      assert.equal(await saved(lab), typed)
    })
  }, { limit: LIMIT_S }),

  test('every word of a pool and of a rule arrives', NAMES, async (lab) => {
    const config = `
snat_pool a.full/one:2_3-4 {
  algo wlc
  ports 2000-2999
  max_conns 100
  paired
  log_conns
  max_blocks 3
  block_size 128
  address 203.0.113.16-18 203.0.113.20-203.0.113.21 weight 7
  address 203.0.113.22 weight 0
}
snat_rule {
  from 10.0.0.0/255.0.0.0
  to 198.51.100.0/24
  proto tcp
  dport 80-90
  iif eth1
  oif eth10
  gw 203.0.113.254
  mark 0x1/0xff
  priority 0
  pool a.full/one:2_3-4
  new_gw 203.0.113.253
}
snat_rule {
  proto udp
  dport 53
  priority 5
  accept
}
snat_rule {
  proto icmp
  drop
}
zone 172.16.0.0/12 {
  laddr_group_name a.full/one:2_3-4
}
snat_rule {
  snat_ip ${P0},203.0.113.30-203.0.113.31
}
`
    await running(lab, config, async () => {
      await saves(lab, /--id 5 --pool rule:5/)
      assert.deepEqual((await saved(lab)).trim().split('\n'), [
        '--add-pool a.full/one:2_3-4 -O wlc --ports 2000-2999 --max-conns 100 --paired --block-size 128 --max-blocks 3 --log-conns',
        '--add-address --pool a.full/one:2_3-4 -z 203.0.113.16-203.0.113.18 -w 7',
        '--add-address --pool a.full/one:2_3-4 -z 203.0.113.20-203.0.113.21 -w 7',
        '--add-address --pool a.full/one:2_3-4 -z 203.0.113.22 -w 0',
        '--add-pool rule:5 -O sdh',
        `--add-address --pool rule:5 -z ${P0}`,
        '--add-address --pool rule:5 -z 203.0.113.30-203.0.113.31',
        '--add-rule --id 1 --priority 0 -F 10.0.0.0/8 -T 198.51.100.0/24 --proto tcp --dport 80-90 --iif eth1 --oif eth10 -W 203.0.113.254 --mark 0x1/0xff --pool a.full/one:2_3-4 -N 203.0.113.253',
        '--add-rule --id 2 --priority 5 --proto udp --dport 53 --accept',
        '--add-rule --id 4 -F 172.16.0.0/12 --pool a.full/one:2_3-4',
        '--add-rule --id 3 --proto icmp --drop',
        '--add-rule --id 5 --pool rule:5',
      ])
    })
  }, { limit: LIMIT_S }),

  test('a reload changes only what changed, and not a packet is lost', RELOAD, async (lab) => {
    await lab.gateway.sh(`for address in ${P0} ${P1} ${P2}; do ip addr add $address/32 dev outside; done`)
    await running(lab, twoHosts('pool two'), async () => {
      await saves(lab, /--id 2 /)
      await lab.gateway.sh('ipvsadm --add-pool byhand -O rr; ipvsadm --add-rule --id 77 -F 10.9.0.0/16 --pool byhand')
      const kept = await Connection.open({ client: lab.a, sent: `${A}:40001 > ${S}:80`, server: lab.net, seen: `${P0}:40001 > ${S}:80` })
      const edited = await Connection.open({ client: lab.b, sent: `${B}:40001 > ${S}:80`, server: lab.net, seen: `${P1}:40001 > ${S}:80` })
      let sent = 0
      lab.net.service = (packet) => packet.udp !== undefined && ++arrived > 0
      let arrived = 0
      const send = (round: number): void => {
        lab.a.send([udp(`${A}:9 > ${S2}:53`, 'the same flow'), udp(`${A}:${10_000 + (round % 20_000)} > ${S}:53`, 'a new one')])
        sent += 2
      }
      await during(lab, send, async () => {
        for (const second of ['snat_ip 203.0.113.12', 'drop', 'pool two\n  priority 5', 'pool two']) {
          await reload(lab, twoHosts(second))
          await until('the log says that it is told', async () => /SNAT: the kernel has been told/.test(await lab.gateway.sh(`cat ${LOG}`)))
        }
      })
      await lab.settle()
      assert.equal(arrived, sent, 'packets of the rule that stayed')
      lab.net.service = undefined
      await kept.request('still here')
      await edited.request('here too')
      const after = await saved(lab)
      assert.match(after, /--add-rule --id 77 -F 10\.9\.0\.0\/16 --pool byhand/, "somebody else's rule stays")
      assert.match(after, new RegExp(`--add-rule --id 1 -F ${A}/32 --pool one\n`))
      await reloadSame(lab, twoHosts('pool two'))
      assertNothingPrivateLeft(lab)
    })
  }, { limit: LIMIT_S }),

  test('an edited rule keeps its number and counters', RELOAD, async (lab) => {
    await lab.gateway.sh(`ip addr add ${P0}/32 dev outside`)
    const rule = (net: string): string => `snat_rule {\n  from ${net}\n  snat_ip ${P0}\n}\n`
    await running(lab, rule('192.168.1.0/24'), async () => {
      await saves(lab, /--id 1 /)
      await ask1(lab, 4001, P0)
      await reload(lab, rule('192.168.0.0/16'))
      await saves(lab, /--id 1 -F 192\.168\.0\.0\/16/)
      const { rules } = JSON.parse(await lab.gateway.sh('ipvsadm -G --json')) as { rules: { id: number; stats: { conns: number } }[] }
      assert.deepEqual(rules.map(({ id, stats }) => [id, stats.conns]), [[1, 1]])
    })
  }, { limit: LIMIT_S }),

  test('what somebody has changed by hand meanwhile is found out, and put right', RELOAD, async (lab) => {
    await running(lab, twoHosts('pool two'), async () => {
      await saves(lab, /--id 2 /)
      const before = await saved(lab)
      await lab.gateway.sh('ipvsadm --clear-snat')
      await reload(lab, twoHosts('accept'))
      await saves(lab, new RegExp(`-F ${B}/32 --accept`))
      assert.match(await saved(lab), new RegExp(`-F ${A}/32 --pool one`))
      for (const loss of ['ipvsadm --clear-snat', 'rmmod ip_vs && modprobe ip_vs']) {
        await reload(lab, twoHosts('pool two'))
        await saves(lab, /--pool two/)
        await lab.gateway.sh(loss)
        await reload(lab, twoHosts('pool two')) // of the same file
        await saves(lab, /--id 2 /)
        assert.equal(await saved(lab), before, loss)
      }
    })
  }, { limit: LIMIT_S }),

  test('a pool that a rule of somebody else needs stays, and all else is changed', RELOAD, async (lab) => {
    const one = `snat_pool one {\n  address ${P0}\n}\n`
    await running(lab, `${one}snat_pool mail {\n  address ${P1}\n}\n`, async () => {
      await saves(lab, /--pool mail/)
      await lab.gateway.sh('ipvsadm --add-rule --id 77 -F 10.9.0.0/16 --pool mail')
      await reload(lab, `${one}snat_rule {\n  from ${A}\n  pool one\n}\n`)
      await saves(lab, new RegExp(`-F ${A}/32 --pool one`))
      assert.match(await saved(lab), new RegExp(`--pool mail -z ${P1}\n`))
      await lab.gateway.sh('ipvsadm --delete-rule --id 77')
      await reload(lab, one)
      await until('the pool is gone', async () => !/mail/.test(await saved(lab)))
    })
  }, { limit: LIMIT_S }),

  test('a bad file changes nothing, and is told by file and line', BAD, async (lab) => {
    const good = twoHosts('pool two')
    // Of a single file keepalived names only the line, where a kernel has no memfd_create().
    const bad: readonly (readonly [second: string, message: RegExp])[] = [
      ['pool three', /\((\/tmp\/bad\.conf: )?Line 12\) .*no pool or group 'three'/],
      ['snat_ip 203.0.113.300', /\((\/tmp\/bad\.conf: )?Line 14\) .*'203\.0\.113\.300' is no IPv4 address/],
      ['frm 10.0.0.0/8\n  drop', /\((\/tmp\/bad\.conf: )?Line 14\) Unknown keyword 'frm'/],
      ['algo sh\n  pool two', /\((\/tmp\/bad\.conf: )?Line 16\) .*algo belongs to snat_ip/],
      ['dport 53\n  drop', /\((\/tmp\/bad\.conf: )?Line 16\) .*dport needs 'proto tcp' or 'proto udp'/],
      [`from ${A}\n  drop`, /\((\/tmp\/bad\.conf: )?Line 12\) .*about the same packets/],
      ['from 192.168.1.1/24\n  drop', /\((\/tmp\/bad\.conf: )?Line 14\) .*the net is 192\.168\.1\.0\/24/],
      ['pool', /\((\/tmp\/bad\.conf: )?Line 14\) .*'pool' needs a value/],
    ]
    await running(lab, good, async () => {
      await saves(lab, /--id 2 /)
      const before = await saved(lab)
      for (const [second, message] of bad) {
        await lab.gateway.put('/tmp/bad.conf', Buffer.from(twoHosts(second)))
        const { status, output } = await lab.gateway.run('keepalived -t -f /tmp/bad.conf 2>&1')
        assert.notEqual(status, 0, second)
        assert.match(output, message)
        await reload(lab, twoHosts(second))
        await until('the log says that it stays', async () => /SNAT: its configuration is wrong/.test(await lab.gateway.sh(`cat ${LOG}`)))
        assert.equal(await saved(lab), before, second)
      }
      await reload(lab, twoHosts('accept'))
      await saves(lab, new RegExp(`-F ${B}/32 --accept`))
    })
  }, { limit: LIMIT_S * 2 }),

  test('rules in a virtual server that is left out stay as they are', BAD, async (lab) => {
    const config = (server: string, address = P0, words = ''): string => `
virtual_server ${server} {
  ${words}
  snat_rule {
    from ${A}
    snat_ip ${address}
  }
}
`
    await running(lab, config('fwmark 1'), async () => {
      await saves(lab, new RegExp(`-z ${P0}\n`))
      const before = await saved(lab)
      for (const [server, message] of [
        ['1.2.3.444 80', /\((\/tmp\/keepalived\.conf: )?Line 2\) Invalid virtual server IP address\/port 1\.2\.3\.444\/80/],
        ['fwmark 4294967296', /\((\/tmp\/keepalived\.conf: )?Line 2\) virtual server fwmark '4294967296'/],
      ] as const) {
        await reload(lab, config(server))
        await until('the log says that it stays', async () => /SNAT: its configuration is wrong/.test(await lab.gateway.sh(`cat ${LOG}`)))
        assert.equal(await saved(lab), before, server)
        assert.match((await lab.gateway.run(`keepalived -t -f ${CONF} 2>&1`)).output, message)
      }
      // A real server that is left out has no rules in it.
      await reload(lab, config('fwmark 1', P1, 'real_server 1.2.3.444 80 {\n  }'))
      await saves(lab, new RegExp(`-z ${P1}\n`))
    })
    for (const [file, message] of [
      // Without a block of it, the words that follow are read all the same.
      [config('1.2.3.444 80').replace(' {', ''), /Invalid virtual server IP address/],
      [`virtual_server 1.2.3.444 80 {\n}\n${config('fwmark 1').replace(/^virtual.*/m, '').replace(/}\n$/, '')}`, /SNAT: a part of the configuration is left out, and may have had rules in it/],
    ] as const) {
      await lab.gateway.put('/tmp/bad.conf', Buffer.from(file))
      const { status, output } = await lab.gateway.run('keepalived -t -f /tmp/bad.conf 2>&1')
      assert.ok(status > 0 && status < KILLED, `${file}exit ${status}`)
      assert.match(output, message)
    }
    // Who has nothing of SNAT, not even from before, is told nothing of it.
    await running(lab, 'virtual_server 1.2.3.444 80 {\n}\n', async () => {
      await until('it has started', async () => /Startup complete/.test(await lab.gateway.sh(`cat ${LOG}`)))
      assert.doesNotMatch(await lab.gateway.sh(`cat ${LOG}`), /SNAT:/)
    }, '--check --checkers_pid /tmp/without-snat.pid')
  }, { limit: LIMIT_S }),

  test('a next hop that is wrong is nobody who is checked', BAD, async (lab) => {
    const config = `snat_pool two {\n  next_hop nobody {\n    address ${P0}\n    TCP_CHECK {\n      connect_port 9\n    }\n  }\n}\n`
    await running(lab, config, async () => {
      await until('it has started', async () => /Startup complete/.test(await lab.gateway.sh(`cat ${LOG}`)))
      const log = await lab.gateway.sh(`cat ${LOG}`)
      assert.match(log, /SNAT: its configuration is wrong/)
      assert.doesNotMatch(log, /healthchecker for service|TCP_CHECK/)
    })
  }, { limit: LIMIT_S }),

  test('what the kernel would refuse, and what would be left out in silence, is told by file and line', BAD, async (lab) => {
    const rule = (...words: string[]): string => `snat_rule {\n${words.map((word) => `  ${word}\n`).join('')}}\n`
    const hop = (address: string): string => `  next_hop 203.0.113.254 {\n    address ${address}\n  }\n`
    const bad: readonly (readonly [config: string, line: number, message: RegExp])[] = [
      ...['0.0.0.1', '127.0.0.1', '224.0.0.1', '126.0.0.0-128.0.0.0'].map((range) => [rule(`snat_ip ${range}`), 2, /is no address of hosts/] as const),
      [rule('snat_ip 192.168.100.1001'), 2, /'192\.168\.100\.1001' is no IPv4 address/],
      [rule('from 192.168.100.1001/32', 'drop'), 2, /'192\.168\.100\.1001\/32' is no IPv4 address/],
      ...['gw', 'new_gw'].map((word) => [rule(`${word} 127.0.0.1`, `snat_ip ${P0}`), 2, /'127\.0\.0\.1' is no next hop/] as const),
      ...['any', 'a/b', 'eth0:1'].map((name) => [rule(`oif ${name}`, 'drop'), 2, new RegExp(`'${name}' is no name of an interface`)] as const),
      [rule('mark 0x101/0xff', 'drop'), 2, /mark '0x101\/0xff' has bits beyond its mask/],
      [rule('proto tcp', 'dport 80 443', 'drop'), 3, /'443' is too much behind 'dport'/],
      [rule('accept no'), 2, /'no' is too much behind 'accept'/],
      [`snat_pool "" {\n  address ${P0}\n}\n`, 1, /'' is no name of a pool/],
      [`snat_pool rule:1 {\n  address ${P0}\n}\n`, 1, /'rule:1' is a name of a pool that a rule or zone has for itself/],
      [`snat_pool two {\n${hop(P0)}${hop(P1)}}\n`, 5, /pool 'two' has the next hop 203\.0\.113\.254 already/],
      // What follows is about a next hop even where no block of it begins.
      ...(['nobody', ''] as const).map((hop) => [`snat_pool two {\n  next_hop ${hop}\n    address ${P0}\n    retry 1\n}\n`, 2, /next hop 'nobody' is no IPv4 address|'next_hop' needs a value/] as const),
      [`snat_pool two {\n${hop(P0)}  next_hop 203.0.113.254\n    address ${P1}\n}\n`, 5, /pool 'two' has the next hop 203\.0\.113\.254 already/],
      [`snat_pool much {\n  address 10.0.0.0-10.1.0.0\n}\n`, 1, /more than 65536 addresses of pools/],
      [`snat_pool master {\n  vrrp_instance nobody\n  address ${P0}\n}\n`, 1, /there is no vrrp_instance 'nobody'/],
    ]
    for (const [config, line, message] of bad) {
      await lab.gateway.put('/tmp/bad.conf', Buffer.from(config))
      const { status, output } = await lab.gateway.run('keepalived -t -f /tmp/bad.conf 2>&1')
      assert.ok(status > 0 && status < KILLED, `${config}exit ${status}`)
      assert.match(output, new RegExp(`\\((/tmp/bad\\.conf: )?Line ${line}\\) SNAT: .*${message.source}`), config)
    }
  }, { limit: LIMIT_S }),

  test('blocks of ports come out of the file, and a reload that changes them leaves hosts what they have', BLOCKS, async (lab) => {
    await lab.gateway.sh(`for address in ${P0} ${P1}; do ip addr add $address/32 dev outside; done`)
    const flow = (port: number): Promise<string> => ask1(lab, port, P0)
    const held = [A, 2000, 2127, 'blocks']
    await running(lab, blocksOf('ports 2000-2511\n  block_size 128\n  max_blocks 1'), async () => {
      await saves(lab, /--add-pool blocks -O rr --ports 2000-2511 --block-size 128 --max-blocks 1\n/)
      await saves(lab, /--add-pool beside -O rr\n/)
      const before = await flow(2005)
      assert.deepEqual(await listBlocks(lab), [[...held, 1]])

      const changed = blocksOf('ports 2000-2511\n  block_size 128\n  max_blocks 2\n  log_conns')
      await reload(lab, changed)
      await toldOf(lab, '1 change')
      await saves(lab, /--add-pool blocks -O rr --ports 2000-2511 --block-size 128 --max-blocks 2 --log-conns\n/)
      assert.deepEqual(await listBlocks(lab), [[...held, 1]])
      assert.equal(await flow(2005), before, 'what is open goes on')
      await flow(2006)
      assert.deepEqual(await listBlocks(lab), [[...held, 2]], 'the host goes on with its block')
      await reloadSame(lab, changed)

      await reload(lab, blocksOf('ports 2000-2511'))
      await toldOf(lab, '1 change')
      await saves(lab, /--add-pool blocks -O rr --ports 2000-2511\n/)
      assert.deepEqual(await listBlocks(lab), [[...held, 2]], 'until its connections end')
      await lab.gateway.sh(`ipvsadm --snat-conns -F ${A} --kill`)
      assert.deepEqual(await listBlocks(lab), [])
      assertNothingPrivateLeft(lab)
    })
  }, { limit: LIMIT_S }),

  test('a pool whose blocks say nothing of ports and of their number is known again', BLOCKS, async (lab) => {
    const config = blocksOf('block_size 512')
    const full = /--add-pool blocks -O rr --ports 1024-65535 --block-size 512 --max-blocks 8\n/
    await running(lab, config, async () => {
      await saves(lab, full)
      await reloadSame(lab, config)
      await stop(lab)
      await saves(lab, new RegExp(`--pool blocks -z ${P0} -w 0`))
    })
    await running(lab, config, async () => {
      await saves(lab, new RegExp(`--pool blocks -z ${P0}\n`))
      await saves(lab, full)
      await toldOf(lab, '2 changes') // the weights of both pools' addresses
    })
  }, { limit: LIMIT_S }),

  test('zones of a local_address_group have blocks of its addresses', BLOCKS, async (lab) => {
    const config = `
local_address_group shared {
  ${P0}-${P1}
  block_size 256
  max_blocks 2
  log_conns
}
zone 192.168.1.0/24 {
  laddr_group_name shared
}
zone 192.168.2.0 255.255.255.0 {
  laddr_group_name shared
}
`
    await running(lab, config, async () => {
      for (const zone of ['192.168.1.0/24', '192.168.2.0/24']) {
        await saves(lab, new RegExp(`--edit-pool zone:${zone} -O rr --ports 1024-65535 --block-size 256 --max-blocks 2 --log-conns\n`))
      }
      await reloadSame(lab, config)
    })
  }, { limit: LIMIT_S }),

  test('blocks that the kernel would refuse are told by file and line', `${BLOCKS}; ${BAD}`, async (lab) => {
    const position = (line: number): string => `\\((/tmp/bad\\.conf: )?Line ${line}\\) .*`
    const bad: readonly (readonly [words: string, message: RegExp])[] = [
      ...['0', '64', '100', '200', '32768', '-128', 'many'].map((size) => [`block_size ${size}`, new RegExp(`${position(4)}block_size '${size}' is no power of 2 from 128 to 16384`)] as const),
      ...['0', '65'].map((number) => [`block_size 128\n  max_blocks ${number}`, new RegExp(`${position(5)}max_blocks '${number}' is no number from 1 to 64`)] as const),
      ['max_blocks 2', new RegExp(`${position(5)}max_blocks needs a block_size`)],
      ['block_size', new RegExp(`${position(4)}'block_size' needs a value`)],
      ['block_size 256\n  ports 2000-2100', new RegExp(`${position(6)}ports 2000-2100 are less than a block of 256`)],
      ['block_size 128\n  address 10.0.0.0-10.0.15.255', new RegExp(`${position(2)}with these addresses there are more than 524288 blocks of ports`)],
    ]
    const good = blocksOf('block_size 128')
    await running(lab, good, async () => {
      await saves(lab, /--block-size 128/)
      const before = await saved(lab)
      for (const [words, message] of bad) {
        await lab.gateway.put('/tmp/bad.conf', Buffer.from(blocksOf(words)))
        const { status, output } = await lab.gateway.run('keepalived -t -f /tmp/bad.conf 2>&1')
        assert.notEqual(status, 0, words)
        assert.match(output, message)
        assert.equal(output.match(/SNAT: /g)?.length, 1, `one mistake, one sentence: ${output}`)
      }
      await reload(lab, blocksOf('block_size 100'))
      await until('the log says that it stays', async () => /SNAT: its configuration is wrong/.test(await lab.gateway.sh(`cat ${LOG}`)))
      assert.equal(await saved(lab), before)
      const crowded = [...Array(65).keys()].map((zone) => `zone 10.${zone}.0.0/16 {\n  laddr_group_name shared\n}\n`).join('')
      const group = (words: string): string => `local_address_group shared {\n  ${P0}\n  ${words}\n}\n`
      await lab.gateway.put('/tmp/bad.conf', Buffer.from(group('block_size 16384') + crowded))
      assert.match((await lab.gateway.run('keepalived -t -f /tmp/bad.conf 2>&1')).output, new RegExp(`${position(5)}more than 64 pools have blocks of ${P0}`))
      await lab.gateway.put('/tmp/bad.conf', Buffer.from(group('log_conns') + crowded))
      assert.deepEqual(await lab.gateway.run('keepalived -t -f /tmp/bad.conf 2>&1'), { status: 0, output: '' })
    })
  }, { limit: LIMIT_S }),

  test('when it stops, rules stay with addresses that take nothing new, and it finds them again', STOP, async (lab) => {
    await lab.gateway.sh(`for address in ${P0} ${P1}; do ip addr add $address/32 dev outside; done`)
    let connection: Connection | undefined
    await running(lab, twoHosts('pool two'), async () => {
      await saves(lab, /--id 2 /)
      connection = await Connection.open({ client: lab.a, sent: `${A}:40001 > ${S}:80`, server: lab.net, seen: `${P0}:40001 > ${S}:80` })
      await stop(lab)
      await connection.request('goes on')
      lab.a.send(tcp(`${A}:40002 > ${S}:80`, 'S'))
      await lab.settle()
      lab.net.refuse('tcp **')
      assertNothingPrivateLeft(lab)
      assert.match(await saved(lab), new RegExp(`--add-address --pool one -z ${P0} -w 0`))
      await lab.gateway.sh('ipvsadm --add-rule --id 9 --priority 1 -F 10.9.0.0/16 --accept')
    })
    // the second rule is gone from the file meanwhile
    await running(lab, `snat_pool one {\n  address ${P0}\n}\nsnat_rule {\n  from ${A}\n  pool one\n}\n`, async () => {
      await saves(lab, new RegExp(`--pool one -z ${P0}\n`))
      assert.deepEqual((await saved(lab)).trim().split('\n'), [
        '--add-pool one -O rr', `--add-address --pool one -z ${P0}`,
        '--add-rule --id 9 --priority 1 -F 10.9.0.0/16 --accept', `--add-rule --id 1 -F ${A}/32 --pool one`,
      ])
      await connection?.request('as if nothing had happened')
      await connection?.finish()
    })
  }, { limit: LIMIT_S }),

  test('what was changed by hand keeps no address from being left alone when it stops', STOP, async (lab) => {
    await running(lab, twoHosts('pool two'), async () => {
      await saves(lab, /--id 2 /)
      await lab.gateway.sh(`ipvsadm --delete-address --pool one -z ${P0}`)
      await stop(lab)
      await saves(lab, new RegExp(`--pool two -z ${P1} -w 0`))
    })
  }, { limit: LIMIT_S }),

  test('a next hop that does not answer takes its addresses out, and back, under traffic', HEALTH, async (lab) => {
    const hop = (address: string, pool: string): string => `next_hop ${address} {
    address ${pool}
    delay_loop 1
    retry 1
    delay_before_retry 1
    MISC_CHECK {
      misc_path "/bin/sh /tmp/answers ${address}"
      misc_timeout 2
    }
  }`
    const config = `
global_defs {
  enable_script_security
  script_user root
}
snat_pool both {
  ${hop(ROUTER, P0)}
  ${hop(ROUTER2, P1)}
}
snat_pool last {
  address ${P2}
}
snat_rule {
  from 192.168.1.0/24
  priority 1
  pool both
  skip_when_down
}
snat_rule {
  from 192.168.1.0/24
  pool last
}
`
    const up = (address: string, alive: boolean): Promise<string> => lab.gateway.sh(`${alive ? 'rm -f' : ': >'} /tmp/down.${address}`)
    const weight = (address: string, weight: number): Promise<void> => saves(lab, new RegExp(`-z ${address.replaceAll('.', '\\.')}${weight === 1 ? '' : ` -w ${weight}`}\n`))
    await lab.gateway.sh(`
      for address in ${P0} ${P1} ${P2}; do ip addr add $address/32 dev outside; done
      rm -f /tmp/down.*
      echo root:x:0:0::/: >/etc/passwd; echo root:x:0: >/etc/group
      echo '[ ! -e /tmp/down.$1 ]' >/tmp/answers`)
    await running(lab, config, async () => {
      await weight(P0, 1)
      const old = await Connection.open({ client: lab.b, sent: `${B}:40001 > ${S}:80`, server: lab.net, seen: `*:40001 > ${S}:80` })
      lab.net.service = ({ udp }) => udp !== undefined
      await during(lab, (round) => lab.a.send(udp(`${A}:${10_000 + (round % 20_000)} > ${S2}:53`, 'q')), async () => {
        await up(ROUTER, false)
        await weight(P0, 0)
      })
      lab.net.service = undefined
      await lab.settle()
      lab.net.inbox.length = 0
      for (const port of [4001, 4002, 4003]) await ask1(lab, port, P1)
      await old.request('goes on whichever it has')
      await up(ROUTER2, false)
      await saves(lab, /--pool last/)
      await until('the rule is skipped', async () => !/--priority 1 /.test(await saved(lab)))
      await ask1(lab, 4004, P2)
      await up(ROUTER, true)
      await weight(P0, 1)
      for (const port of [4005, 4006]) await ask1(lab, port, P0)
      await up(ROUTER2, true)
      await weight(P1, 1)
      assertNothingPrivateLeft(lab)
      await reload(lab, `${config}misspelled\n`)
      await until('the log says that it stays', async () => /SNAT: its configuration is wrong/.test(await lab.gateway.sh(`cat ${LOG}`)))
      await up(ROUTER, false)
      await weight(P0, 0)
      await up(ROUTER, true)
      await weight(P0, 1)
    })
  }, { limit: LIMIT_S }),

  test('the example of two routers: pings, and addresses that follow a VRRP instance', `${HEALTH}; ${VRRP}`, async (lab) => {
    const second = new Host(lab.links.outside, { name: 'second router', mac: ROUTER2_MAC, addresses: [ROUTER2], gateway: GATEWAY.outside.mac })
    let alive = true
    try {
      answers(lab, () => alive)
      await lab.gateway.sh(`for address in ${[P0, P1, P2, P3, P4].join(' ')}; do ip addr add $address/32 dev outside; done`)
      await running(lab, example('snat-pools.conf'), async () => {
        await saves(lab, /--pool first/)
        await saves(lab, new RegExp(`--pool first -z ${P0}-${P1}\n`))
        const outside = await ask({ client: lab.a, sent: `${A}:4001 > ${S}:53`, server: lab.net, seen: `*:* > ${S}:53` })
        assert.match(outside, new RegExp(`^(${P0}|${P1}):`))
        assert.equal((await listBlocks(lab)).length, 1)
        const mail = await Connection.open({ client: lab.a, sent: `${A}:4002 > ${S}:25`, server: lab.net, seen: `${P4}:4002 > ${S}:25` })
        await mail.finish()
        alive = false
        await until('the rule is skipped', async () => !/--priority 200/.test(await saved(lab)))
        const seen = await ask({ client: lab.a, sent: `${A}:4003 > ${S}:53`, server: second, seen: `*:* > ${S}:53` })
        assert.ok([P2, P3].includes(seen.split(':')[0] ?? ''), seen)
        alive = true
        await saves(lab, /--priority 200/)
        await lab.gateway.sh('ip link set inside down')
        await saves(lab, new RegExp(`--pool second -z ${P2}-${P3} -w 0`))
        await lab.gateway.sh('ip link set inside up')
        await saves(lab, new RegExp(`--pool second -z ${P2}-${P3}\n`))
      }, '')
    } finally {
      lab.links.outside.detach(second)
    }
  }, { limit: LIMIT_S * 2, needs: ['ping-sockets'] }),

  test('a VRRP instance that gets another name goes on to be master', VRRP, async (lab) => {
    const config = (name: string): string => `
vrrp_instance ${name} {
  state MASTER
  interface inside
  virtual_router_id 52
  priority 150
  advert_int 1
  virtual_ipaddress {
    192.168.1.254/24
  }
}
snat_pool one {
  vrrp_instance ${name}
  address ${P0}
}
`
    await running(lab, config('before'), async () => {
      await saves(lab, new RegExp(`--pool one -z ${P0}\n`))
      await reload(lab, config('after'))
      // by then the checker process has told the kernel
      await until('it was reloaded', async () => /Reload complete/.test(await lab.gateway.sh(`cat ${LOG}`)))
      await saves(lab, new RegExp(`--pool one -z ${P0}\n`))
    }, '')
  }, { limit: LIMIT_S }),

  test('of two gateways one has the addresses: the other takes over when it ends or loses its link, and gives them back', VRRP, async (lab) => {
    const config = (device: string, wan: string, priority: number): string => `
vrrp_instance both {
  state BACKUP
  interface ${device}
  virtual_router_id 53
  priority ${priority}
  advert_int 1
  virtual_ipaddress {
    ${P0}/32 dev ${wan}
  }
}
snat_pool moves {
  vrrp_instance both
  address ${P0}
}
snat_rule {
  from 192.168.1.0/24
  pool moves
}
`
    const second = await lab.realHost('real')
    const gateways = { first: lab.gateway, second }
    const hasIt = async (who: keyof typeof gateways): Promise<void> => {
      for (const [name, machine] of Object.entries(gateways)) {
        await until(`the ${name} gateway knows that the ${who} one is master`, async () => {
          const state = await machine.sh(`ipvsadm -S -n; ip -4 -o addr show to ${P0}`)
          return name === who ? state.includes(`-z ${P0}\n`) && state.includes('inet ') : state.includes(`-z ${P0} -w 0\n`) && !state.includes('inet ')
        })
      }
    }
    await second.put(CONF, Buffer.from(config('lan', 'lan', 100)))
    await second.sh(`${STOPPED}\nkeepalived --dont-fork --log-console --pid /tmp/keepalived.pid --use-file ${CONF} >${LOG} 2>&1 &`)
    try {
      await until('the second one is master while it is alone', async () => (await second.run(`ipvsadm -S -n | grep -q -- '-z ${P0}$'`)).status === 0)
      await running(lab, config('inside', 'outside', 150), async () => {
        await hasIt('first')
        await ask1(lab, 4001, P0)
        await lab.gateway.sh('kill -STOP $(pidof keepalived)')
        await until('the second one takes over from one that hangs', async () => (await second.run(`ipvsadm -S -n | grep -q -- '-z ${P0}$'`)).status === 0)
        await lab.gateway.sh('kill -CONT $(pidof keepalived)')
        await hasIt('first')
        await ask1(lab, 4002, P0)
        await lab.gateway.sh('ip link set inside down')
        await hasIt('second')
        await lab.gateway.sh('ip link set inside up')
        await hasIt('first')
        await ask1(lab, 4003, P0)
        await stop(lab)
        await hasIt('second')
      }, '')
    } catch (error) {
      if (error instanceof Error) error.message += `\nthe second gateway:\n${(await second.run(`tail -30 ${LOG}`)).output}`
      throw error
    } finally {
      await second.run(`${STOPPED}\nipvsadm -C; ipvsadm --clear-snat; ip addr del ${P0}/32 dev lan 2>/dev/null`)
    }
  }, { limit: LIMIT_S * 2 }),

  test('what is configured is told by SIGUSR1, in words, and in JSON', TOLD, async (lab) => {
    const config = `${twoHosts(`snat_ip ${P2}`)}snat_pool blocks {\n  block_size 256\n  log_conns\n  address ${P3}\n}\n`
    await running(lab, config, async () => {
      await saves(lab, /--id 2 /)
      await lab.gateway.sh('rm -f /tmp/keepalived_check.*; kill -USR1 $(cat /tmp/keepalived.pid); kill -$(keepalived --signum=JSON) $(cat /tmp/keepalived.pid)')
      await until('both are written', async () => (await lab.gateway.run('ls /tmp/keepalived_check.data && tail -c 2 /tmp/keepalived_check.json | grep -q "}"')).status === 0)
      const dump = await lab.gateway.sh('cat /tmp/keepalived_check.data')
      assert.match(dump, new RegExp(`SNAT pool = one\n {3}Algorithm = rr\n {3}Addresses = ${P0}, weight 1, up\n`))
      assert.match(dump, new RegExp(`SNAT rule from ${B}/32 to 0\\.0\\.0\\.0/0\n {3}Number = 2\n`))
      assert.match(dump, / SNAT pool = blocks\n {3}Algorithm = rr\n {3}Ports = 1024-65535\n {3}Blocks of ports = 256, of a host at most 8\n {3}Connections are logged\n/)
      const { snat } = JSON.parse(await lab.gateway.sh('cat /tmp/keepalived_check.json')) as { snat: { pools: Record<string, unknown>[]; rules: { id: number; from: string }[] } }
      assert.deepEqual(snat.pools.map(({ name, block_size: size, max_blocks: most, log_conns: log }) => [name, size, most, log]),
        [['one', undefined, undefined, false], ['two', undefined, undefined, false], ['blocks', 256, 8, true]])
      assert.deepEqual(snat.rules.map(({ id, from }) => [id, from]), [[1, `${A}/32`], [2, `${B}/32`]])
    })
  }, { limit: LIMIT_S }),

  test('a kernel without SNAT in IPVS is told of in a sentence', 'issue 13, 1: the patched one says in one sentence what an older kernel lacks', async (lab) => {
    await between(lab, `
      modprobe=$(cat /proc/sys/kernel/modprobe); echo $modprobe >/tmp/modprobe
      echo /bin/false >/proc/sys/kernel/modprobe
      rmmod ip_vs`, 'cat /tmp/modprobe >/proc/sys/kernel/modprobe; modprobe ip_vs', async () => {
      await running(lab, twoHosts('pool two'), async () => {
        await until('the log says so', async () => /this kernel has no rules, pools and zones of SNAT/.test(await lab.gateway.sh(`cat ${LOG}`)))
        assert.equal((await lab.gateway.sh(`grep -c 'SNAT:' ${LOG}`)).trim(), '1')
      })
    })
  }, { limit: LIMIT_S }),
])
