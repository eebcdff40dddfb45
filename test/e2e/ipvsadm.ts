// SPDX-License-Identifier: GPL-2.0-only
/** The words in which rules, pools and zones are said: as published, as listed, as saved, and wrong ones. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../../scripts/base/root.ts'
import { Host } from '../../vm/host/index.ts'
import type { Lab } from '../../vm/lab.ts'
import { udp } from '../../vm/packet/index.ts'
import { A, B, C, GATEWAY, POOL, S, S2 } from '../../vm/topology.ts'
import { between } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'
import { ask, assertNothingPrivateLeft, during, until } from './lib/traffic.ts'

const PUBLISHED = 'mission.md, step 17; issue 12: every published example works as typed'
const LISTING = 'issue 12, 4: listing is never empty when something exists, with counters; --stats, --rate, --exact, JSON'
const ROUND_TRIP = 'issue 12, 5: ipvsadm -S -n and -R round-trip everything'
const WHOLE = 'issue 12, 5: -R of a bad file changes nothing and names line and word; defect 10: an older rule survives a bad one'
const STOCK = 'issue 12: unpatched ipvsadm keeps working beside rules; defect 12'
const SPOKEN = 'issue 12: what cannot be done is said in a sentence, and changes nothing'
const [P0 = '', P1 = ''] = POOL

/** The two addresses of the published zone, and the net that they serve; its hosts are beyond the host `a`. */
const PUBLISHED_ADDRESSES = ['121.14.161.100', '121.14.161.101'] as const
const PUBLISHED_HOST = '192.168.0.5'
const ROUTES = 'ip route add 192.168.0.0/24 via 192.168.1.2'

const saved = (lab: Lab): Promise<string> => lab.gateway.sh('ipvsadm -S -n')

/** Writes a file for -R into the gateway. */
const put = (lab: Lab, lines: readonly string[]): Promise<void> => lab.gateway.put('/tmp/rules', Buffer.from(`${lines.join('\n')}\n`))

/** What `ipvsadm -G --json` prints, as far as the tests look at it. */
interface Listed {
  version: number
  rules: { id: number; zone: boolean; from: string; to: string; oif: string | null; action: string; pool: string | null; stats: Record<string, number> }[]
  pools: { name: string; algo: string; addresses: { address: string; weight: number; stats: Record<string, number> }[] }[]
}

const listed = async (lab: Lab): Promise<Listed> => JSON.parse(await lab.gateway.sh('ipvsadm -G --json')) as Listed

/** One of each thing that can be said, in the form in which it is saved. */
const EVERYTHING = [
  '-A -t 203.0.113.80:80 -s rr',
  '-a -t 203.0.113.80:80 -r 192.168.1.2:8080 -m -w 1',
  '-A -u 0.0.0.0:0 -s rr -p 10',
  '-a -u 0.0.0.0:0 -r 203.0.113.10:0 -m -w 1',
  '--add-pool=-x -O rr',
  '--add-address --pool -x -z 203.0.113.30',
  '--add-pool a.full/one:2_3-4 -O wlc --ports 2000-2999 --max-conns 100 --paired',
  '--add-address --pool a.full/one:2_3-4 -z 203.0.113.16-203.0.113.18',
  '--add-address --pool a.full/one:2_3-4 -z 203.0.113.20 -w 7',
  '--add-address --pool a.full/one:2_3-4 -z 203.0.113.21 -w 0',
  '--add-pool empty -O random',
  '--add-pool ipvsadm -O rr',
  '--add-rule --id 7 --priority 0 -F 10.0.0.0/8 -T 198.51.100.0/24 --proto tcp --dport 80-90 --iif eth1 --oif eth10 -W 203.0.113.254 --mark 0x1/0xff --pool empty -N 203.0.113.253',
  '--add-rule --id 3 --priority 5 --proto udp --dport 53 --accept',
  '--add-rule --id 4 --priority 6 --proto icmp --drop',
  '--add-rule --id 5 --priority 7 --oif ipvsadm --pool ipvsadm',
  '--add-rule --id 6 --priority 8 --oif=-x --pool -x',
  '-K --zone 192.168.0.0/16 --id 9',
  '--edit-pool zone:192.168.0.0/16 -O sh --max-conns 5',
  '-U --zone 192.168.0.0/16 -z 203.0.113.11',
  '-K --zone 0.0.0.0/0 --id 1',
  '--add-rule --id 2 --priority 4294967295 --pool a.full/one:2_3-4',
]

/** The published configuration of a gateway with several uplinks. */
const UPLINKS = [
  '-A -f 1 -s snat_sched',
  '-K -f 1 -F 192.168.40.0/24 -W 1.1.2.1 --oif eth1 -U 1.1.2.100-1.1.2.110 -O random',
  '-K -f 1 -F 192.168.40.0/24 -W 1.1.3.1 --oif eth2 -U 1.1.3.100-1.1.3.110 -O sdh',
  '-K -f 1 -F 192.168.50.0/24 -W 1.1.2.1 -N 1.1.3.1 -U 1.1.3.100-1.1.3.110 -O sh',
  '-K -f 1 -F 192.168.0.0/16 -N 1.1.3.1 -U 1.1.2.100-1.1.2.110',
]

/** Gives a device another name, and waits for its carrier. */
const rename = (from: string, to: string): string => `
  ip link set ${from} down; ip link set ${from} name ${to}; ip link set ${to} up
  until [ "$(cat /sys/class/net/${to}/carrier)" = 1 ]; do usleep 50000; done`

/** The two uplinks of that configuration, on the links of `net` and `c`. */
const UPLINKS_UP = `
  ${rename('outside', 'eth1')}
  ${rename('inside2', 'eth2')}
  ip addr add 1.1.2.2/24 dev eth1
  ip addr add 1.1.3.2/24 dev eth2
  ip route replace default via 1.1.2.1
  ip route add 192.0.2.0/24 via 1.1.3.1
  for net in 40 50 60; do ip route add 192.168.$net.0/24 via ${A}; done`
const UPLINKS_DOWN = `${rename('eth1', 'outside')}\n${rename('eth2', 'inside2')}`

/** What is said of a command that cannot be carried out; the kernel has a zone, a pool `p` and a rule 5 for it. */
const MISTAKES: readonly (readonly [command: string, message: RegExp])[] = [
  ['-K --zone 10.0.0.1/8', /zone `10\.0\.0\.1\/8'.* the net is 10\.0\.0\.0\/8/],
  ['-K --zone 10.0.0.0/255.0.255.0', /zone `10\.0\.0\.0\/255\.0\.255\.0'/],
  ['-K --zone 192.168.0.0/16', /Zone 192\.168\.0\.0\/16 exists already/],
  ['-V --zone 10.0.0.0/8', /Zone 10\.0\.0\.0\/8 does not exist/],
  ['-W --zone 192.168.0.0/16 -z 203.0.113.99', /does not have 203\.0\.113\.99/],
  ['-U --zone 192.168.0.0/16 -z 203.0.113.11', /has 203\.0\.113\.11 already/],
  ['-U --zone 192.168.0.0/16 -z 203.0.113.9-203.0.113.3', /`203\.0\.113\.9-203\.0\.113\.3'/],
  ['-U --zone 192.168.0.0/16', /'address' option/],
  ['-P -t 203.0.113.80:80 -z 203.0.113.9', /reserved for the local addresses of FULLNAT/],
  ['-Q -t 203.0.113.80:80 -z 203.0.113.9', /reserved for the local addresses of FULLNAT/],
  ['--add-pool p', /Pool p exists already/],
  ['--add-pool p,q', /`p,q'/],
  ['--delete-pool p', /Pool p is needed by a rule/],
  ['--delete-pool q', /Pool q does not exist/],
  ['--add-address --pool q -z 203.0.113.9', /Pool q does not exist/],
  ['--add-rule --pool q', /Pool q does not exist/],
  ['--add-rule --id 5 --drop', /Rule 5 exists already/],
  ['--add-rule -F 10.9.0.0/16 --drop', /A rule from 10\.9\.0\.0\/16 .* exists already/],
  ['--add-rule -F 10.0.0.0/8', /'snat-ip', 'pool', 'accept' or 'drop'/],
  ['--add-rule --drop --accept', /'drop' conflicts with the 'accept'/],
  ['--add-rule --dport 80 --drop', /'--proto tcp'/],
  ['--edit-rule --id 6 --drop', /Rule 6 does not exist/],
  ['-k -F 10.0.0.0/8 -U 203.0.113.9', /There is no rule from 10\.0\.0\.0\/8/],
  ['-H -f 1 -F 10.0.0.0/8', /There is no rule from 10\.0\.0\.0\/8/],
  ['--add-rule -O sh --pool p', /--edit-pool/],
  ['--add-rule --oif a-name-that-is-too-long --drop', /`a-name-that-is-too-long'/],
  ['--snat-conns --kill', /which connections/],
  ['-G --pool q', /Pool q does not exist/],
  ['-G --stats --rate', /'rate' conflicts with the 'stats'/],
  ['--add-rule --drop -W 0.0.0.0', /next hop `0\.0\.0\.0'/],
  ['--add-rule --pool p -N 0.0.0.0', /new next hop `0\.0\.0\.0'/],
  ['-R --replace <&-', /Bad file descriptor/],
  ['-K --zone 10.0.0.0/8 --drop', /Illegal 'drop' option/],
  ['-K --zone 10.0.0.0/8 10.0.0.0/8', /unexpected argument/],
]

/** Files that -R refuses, with what it says. */
const BAD_FILES: readonly (readonly [what: string, lines: readonly string[], message: RegExp])[] = [
  ['a word that is none', ['-K --zone 172.16.0.0/12', '', '# a comment', '-U --zone 172.16.0.0/12 -z 203.0.113.300'], /line 4: .*`203\.0\.113\.300'/],
  ['an option that there is not', ['-K --zone 172.16.0.0/12', '-A -t 203.0.113.81:80 --bogus'], /line 2: .*--bogus/],
  ['an address of a service', ['-K --zone 172.16.0.0/12', '-A -t 203.0.113.81:99999 -s rr'], /line 2, `203\.0\.113\.81:99999'/],
  ['a pool that there is not', ['-A -t 203.0.113.81:80 -s rr', '-K --zone 172.16.0.0/12', '--add-rule --pool nowhere'], /line 3: Pool nowhere does not exist/],
  ['a zone twice', ['-K --zone 172.16.0.0/12', '-K --zone 172.16.0.0/12'], /line 2: Zone 172\.16\.0\.0\/12 exists already/],
  ['a scheduler that there is not', ['-K --zone 172.16.0.0/12', '-A -t 203.0.113.81:80 -s rr', '-A -t 203.0.113.82:80 -s bogus'], /line 3: .*\n.*Nothing was changed/],
  ['a command that lists', ['-K --zone 172.16.0.0/12', '-G'], /line 2: .*no command that can be restored/],
  ['a command that lists services', ['-K --zone 172.16.0.0/12', '-L -n'], /^line 2: `-L' is no command that can be restored\n$/],
  ['a command that saves', ['-K --zone 172.16.0.0/12', '-S'], /^line 2: `-S' is no command that can be restored\n$/],
  ['a command that there is not', ['-K --zone 172.16.0.0/12', '--ad-rule --drop'], /^line 2: `--ad-rule' is no command that can be restored\n$/],
  ['a call for help', ['-K --zone 172.16.0.0/12', '-h'], /^line 2: `-h' is no command that can be restored\n$/],
  ['a question for the version', ['-K --zone 172.16.0.0/12', '--version'], /^line 2: `--version' is no command that can be restored\n$/],
  ['a zero byte', ['-K --zone 172.16.0.0/12', '-K --zone 10.0.0.0/8\0 --drop'], /^line 2: there is a zero byte in it\n$/],
  ['nothing but zero bytes', ['\0'.repeat(4096)], /^line 1: there is a zero byte in it\n$/],
]

/** A zone, a pool that a rule needs, and the rule. */
const SOME = ['-K --zone 192.168.0.0/16', '-U --zone 192.168.0.0/16 -z 203.0.113.11', '--add-pool p -z 203.0.113.12', '--add-rule --id 5 -F 10.9.0.0/16 --pool p']

/** The simple way, for UDP, and a service of balancing beside it. */
const SIMPLE = [
  '-A -u 0.0.0.0:0 -s rr',
  `-a -u 0.0.0.0:0 -r ${P0}:0 -m -w 1`,
  '-A -t 203.0.113.80:80 -s rr',
  `-a -t 203.0.113.80:80 -r ${A}:8080 -m -w 3`,
]

/** Files that -R refuses after {@link SIMPLE}, the last line of each: there are lines before it that it takes. */
const REFUSED_LAST = [
  ['-A -t 203.0.113.81:80 -s rr', SIMPLE[0] ?? ''],
  ['-E -u 0.0.0.0:0 -s wlc', `-e -u 0.0.0.0:0 -r ${P0}:0 -m -w 7`, `-a -u 0.0.0.0:0 -r ${P1}:0 -m`, '-D -t 203.0.113.80:80', '-A -t 203.0.113.82:80 -s bogus'],
  ['-C', '-A -t 203.0.113.82:80 -s rr', '-A -t 203.0.113.83:80 -s bogus'],
  ['-Z', '--set 111 112 113', '--start-daemon master --mcast-interface outside', '-D -u 0.0.0.0:0', '--start-daemon backup --mcast-interface nowhere'],
  [`-d -u 0.0.0.0:0 -r ${P0}:0`, '--add-rule --pool nowhere'],
] as const

/** All that a refused file has to leave as it was. */
const ALL_OF_IT = 'ipvsadm -S -n; ipvsadm -ln --stats --exact; ipvsadm -l --timeout; ipvsadm -l --daemon; ipvsadm -G --json'

/** Waits until the counters of the service 0.0.0.0:0 are those of one flow: the kernel sums them up now and then. */
const counted = (lab: Lab): Promise<void> => until('a flow is counted', async () => ONE_FLOW.test(await lab.gateway.sh('ipvsadm -ln --stats -u 0.0.0.0:0')))
const ONE_FLOW = /^UDP +0\.0\.0\.0:0 +1 /m

/** Beginnings of flows of which each has to be translated. */
const newFlows = (lab: Lab) => (round: number): void => lab.a.send(udp(`${A}:${10_000 + (round % 50_000)} > ${S}:53`, 'a new flow'))

const commands = (lines: readonly string[]): string => lines.map((line) => `ipvsadm ${line}`).join('\n')

/** Sets up rules, with pool addresses that are the gateway's own. */
const configure = (lab: Lab, lines: readonly string[], addresses: readonly string[] = [P0, P1]): Promise<string> =>
  lab.gateway.sh(`set -e\n${addresses.map((address) => `ip addr add ${address}/32 dev outside`).join('\n')}\n${commands(lines)}`)

/** A flow to the same remote from another port. @returns the address that it leaves with */
async function leavesAs(lab: Lab, host: string, port: number): Promise<string> {
  const client = host === B ? lab.b : lab.a
  const route = await ask({ client, sent: `${host}:${port} > ${S}:53`, server: lab.net, seen: `*:${port} > ${S}:53` })
  return route.split(':')[0] ?? ''
}

/** Sends a packet of which nothing may leave. */
async function isDropped(lab: Lab, host: string, port: number): Promise<void> {
  lab.a.send(udp(`${host}:${port} > ${S}:53`, 'lost'))
  await lab.settle()
  lab.net.refuse('udp **')
}

/** Runs a command that must fail. @returns what it said */
async function refused(lab: Lab, command: string): Promise<string> {
  const { status, output } = await lab.gateway.run(command)
  assert.notEqual(status, 0, command)
  return output
}

export default suite('ipvsadm', [
  test('the published zone configuration works as typed', PUBLISHED, async (lab) => {
    const [first, second] = PUBLISHED_ADDRESSES
    await lab.gateway.sh(`
      set -e
      ${ROUTES}
      ipvsadm -A -t 0.0.0.0:0 -s rr
      ipvsadm -K --zone 192.168.0.0/16
      ipvsadm -U --zone 192.168.0.0/24 -z ${first}
      ipvsadm -U --zone 192.168.0.0/24 -z ${second}`)
    const one = await leavesAs(lab, PUBLISHED_HOST, 5001)
    const other = await leavesAs(lab, PUBLISHED_HOST, 5002)
    assert.deepEqual([one, other].sort(), [first, second], 'one after the other')
    assert.equal(await leavesAs(lab, PUBLISHED_HOST, 5003), one)
    await isDropped(lab, A, 5004)
    const zones = await lab.gateway.sh('ipvsadm -G -n')
    assert.match(zones, /^NET\/MASK +TOTAL SNAT_IP +CONFLICTS +CONNS\n192\.168\.0\.0\/24 +2 121\.14\.161\.100 +0 +\d\n +121\.14\.161\.101 +0 +\d\n192\.168\.0\.0\/16 +0 /)
    await lab.gateway.sh(`ipvsadm -W --zone 192.168.0.0/24 -z ${first}`)
    for (const port of [5005, 5006]) assert.equal(await leavesAs(lab, PUBLISHED_HOST, port), second)
    await lab.gateway.sh('ipvsadm -V --zone 192.168.0.0/24')
    await isDropped(lab, PUBLISHED_HOST, 5007)
  }),

  test('a netmask stands for its length, and the words may be long', PUBLISHED, async (lab) => {
    await lab.gateway.sh(`
      set -e
      ipvsadm --add-zone --zone 192.168.0.0/255.255.0.0
      ipvsadm --add-laddr-zone --zone=192.168.0.0/16 --laddr ${P0}
      ipvsadm --add-laddr-zone --zone 192.168.0.0/255.255.0.0 --address ${P1} --weight 0
      ipvsadm --del-laddr-zone --zone 192.168.0.0/16 --laddr ${P0}`)
    assert.equal(await saved(lab), `-K --zone 192.168.0.0/16 --id 1\n-U --zone 192.168.0.0/16 -z ${P1} -w 0\n`)
    await lab.gateway.sh('ipvsadm --del-zone --zone 192.168.0.0/16')
    assert.equal(await saved(lab), '')
  }),

  test('the published configuration of several uplinks works as typed', PUBLISHED, async (lab) => {
    await lab.gateway.sh(`set -e\n${commands(UPLINKS)}`)
    assert.deepEqual((await saved(lab)).trim().split('\n'), [
      '--add-pool rule:1 -O random', '--add-address --pool rule:1 -z 1.1.2.100-1.1.2.110',
      '--add-pool rule:2 -O sdh', '--add-address --pool rule:2 -z 1.1.3.100-1.1.3.110',
      '--add-pool rule:3 -O sh', '--add-address --pool rule:3 -z 1.1.3.100-1.1.3.110',
      '--add-pool rule:4 -O sdh', '--add-address --pool rule:4 -z 1.1.2.100-1.1.2.110',
      '--add-rule --id 1 -F 192.168.40.0/24 --oif eth1 -W 1.1.2.1 --pool rule:1',
      '--add-rule --id 2 -F 192.168.40.0/24 --oif eth2 -W 1.1.3.1 --pool rule:2',
      '--add-rule --id 3 -F 192.168.50.0/24 -W 1.1.2.1 --pool rule:3 -N 1.1.3.1',
      '--add-rule --id 4 -F 192.168.0.0/16 --pool rule:4 -N 1.1.3.1',
    ])
    await lab.gateway.sh(`
      set -e
      ipvsadm -k -f 1 -F 192.168.50.0/24 -W 1.1.2.1 -U 1.1.3.105-1.1.3.120 -O random -N 1.1.3.2
      ipvsadm -H -f 1 -F 192.168.40.0/24 -W 1.1.2.1 --oif eth1`)
    const after = await saved(lab)
    assert.match(after, /^--add-rule --id 3 -F 192\.168\.50\.0\/24 -W 1\.1\.2\.1 --pool rule:3 -N 1\.1\.3\.2$/m)
    assert.match(after, /^--add-pool rule:3 -O random\n/m)
    assert.doesNotMatch(after, /rule:1|1\.1\.3\.104/)
    const { pools } = await listed(lab)
    const addresses = pools.find(({ name }) => name === 'rule:3')?.addresses.map(({ address }) => address)
    assert.deepEqual(addresses, Array.from({ length: 16 }, (_, index) => `1.1.3.${105 + index}`))
  }),

  test('each uplink of that configuration has its own addresses, and takes over from the other', 'issue 12: two uplinks, one dies; next-hop redirect', async (lab) => {
    const router = (link: 'outside' | 'inside2', address: string): Host =>
      new Host(lab.links[link], { name: `router of ${link}`, mac: '02:00:00:00:09:01', addresses: [address], gateway: GATEWAY[link].mac })
    const first = router('outside', '1.1.2.1')
    const second = router('inside2', '1.1.3.1')
    try {
      await between(lab, UPLINKS_UP, UPLINKS_DOWN, async () => {
        await lab.gateway.sh(`set -e\n${commands(UPLINKS)}`)
        const goes = async (source: string, port: number, remote: string, by: Host): Promise<string> => {
          const seen = await ask({ client: lab.a, sent: `${source}:${port} > ${remote}:53`, server: by, seen: `*:${port} > ${remote}:53` })
          return seen.replace(/\.\d+:.*/, '')
        }
        assert.equal(await goes('192.168.40.5', 5001, S, first), '1.1.2')
        assert.equal(await goes('192.168.40.5', 5002, S2, second), '1.1.3')
        assert.equal(await goes('192.168.50.5', 5003, S, second), '1.1.3', 'another next hop than the route has')
        assert.equal(await goes('192.168.60.5', 5004, S, second), '1.1.2', 'the general rule, whatever the route')
        await lab.gateway.sh('ip route replace default via 1.1.3.1')
        assert.equal(await goes('192.168.40.5', 5005, S, second), '1.1.3')
        assertNothingPrivateLeft(lab)
      })
    } finally {
      lab.links.outside.detach(first)
      lab.links.inside2.detach(second)
    }
  }, { limit: 120 }),

  test('a pool that a rule was added with stays while others need it', SPOKEN, async (lab) => {
    await lab.gateway.sh(`
      set -e
      ipvsadm -K -f 1 -F 10.0.0.0/8 -U ${P0}
      ipvsadm --add-rule -F 11.0.0.0/8 --pool rule:1
      ipvsadm -H -f 1 -F 10.0.0.0/8
      ipvsadm --delete-rule --id 2
      ipvsadm -K -f 1 -F 10.0.0.0/8 -U ${P1}`)
    assert.match(await saved(lab), /^--add-rule --id 2 -F 10\.0\.0\.0\/8 --pool rule:2$/m)
  }),

  test('a source without a length is a host, and 0.0.0.0/0 is all of them', 'defect 10: -F host becomes /0, -F 0.0.0.0/0 is ignored', async (lab) => {
    await configure(lab, [`-K -f 1 -F ${A} -U ${P0}`])
    assert.equal(await leavesAs(lab, A, 5001), P0)
    assert.equal(await leavesAs(lab, B, 5002), B, 'unmatched traffic passes: defect 13')
    await lab.gateway.sh(`ipvsadm -K -f 1 -F 0.0.0.0/0 -U ${P1}`)
    assert.equal(await leavesAs(lab, B, 5003), P1)
    assert.equal(await leavesAs(lab, A, 5004), P0, 'a general rule after a specific one')
  }),

  test('everything that can be said is saved as it was said, and restored from that', ROUND_TRIP, async (lab) => {
    await put(lab, EVERYTHING)
    await lab.gateway.sh('ipvsadm -R </tmp/rules')
    assert.deepEqual((await saved(lab)).trim().split('\n'), EVERYTHING)
    await lab.gateway.sh('ipvsadm -C')
    assert.equal(await saved(lab), '')
    await lab.gateway.sh('ipvsadm -R </tmp/rules')
    assert.deepEqual((await saved(lab)).trim().split('\n'), EVERYTHING)
    await lab.gateway.sh('ipvsadm --clear-snat')
    assert.deepEqual((await saved(lab)).trim().split('\n'), EVERYTHING.slice(0, 4))
  }),

  test('a file edits what it has set up', ROUND_TRIP, async (lab) => {
    await put(lab, ['-K -f 1 -F 10.0.0.0/8 -U 203.0.113.20-203.0.113.29', '-k -f 1 -F 10.0.0.0/8 -U 203.0.113.26-203.0.113.31', '-k -f 1 -F 10.0.0.0/8 -U 203.0.113.27'])
    const only = '--add-pool rule:1 -O sdh\n--add-address --pool rule:1 -z 203.0.113.27\n--add-rule --id 1 -F 10.0.0.0/8 --pool rule:1\n'
    await lab.gateway.sh('ipvsadm -R --replace </tmp/rules')
    assert.equal(await saved(lab), only)
    await lab.gateway.sh('ipvsadm --delete-address --pool rule:1 -z 203.0.113.27 && ipvsadm --add-address --pool rule:1 -z 203.0.113.99')
    await lab.gateway.sh('ipvsadm -R --replace </tmp/rules')
    assert.equal(await saved(lab), only, 'whatever was there before')
  }),

  test('what is saved while others change it can be restored', ROUND_TRIP, async (lab) => {
    const count = 50
    await put(lab, Array.from({ length: count }, (_, index) => [`--add-pool p${index} -z 203.0.113.${index}`, `--add-rule -F 10.0.${index}.0/24 --pool p${index}`]).flat())
    const torn = await lab.gateway.sh(`
      (for i in $(seq 12); do ipvsadm -R --replace </tmp/rules; ipvsadm --clear-snat; done) >/dev/null 2>&1 &
      while kill -0 $! 2>/dev/null; do
        ipvsadm -S -n >/tmp/saved 2>/dev/null || continue
        for word in add-rule add-pool add-address; do grep -c -e "--$word" /tmp/saved; done | uniq | wc -l
      done | sort | uniq -c`)
    assert.match(torn, /^ *\d+ 1\n$/)
  }, { limit: 120 }),

  test('a device that is called in no encoding is listed', LISTING, async (lab) => {
    await lab.gateway.sh("ipvsadm --add-rule --oif $(printf 'caf\\351') --drop")
    assert.equal((await listed(lab)).rules[0]?.oif, 'caf\u00e9')
  }),

  test('a file may clear what was there, and leave numbers to be chosen', ROUND_TRIP, async (lab) => {
    await configure(lab, [...SOME, '-A -t 203.0.113.80:80 -s rr'], [])
    await put(lab, [
      'ipvsadm --add-pool gone', '-C # everything so far', '-A -t 203.0.113.81:80 -s rr', `--add-pool p -z ${P0}`, '--add-rule --priority 1 --pool p',
      `-K -f 1 -F 10.0.0.0/8 -U ${P1}`, '-K --zone 10.1.0.0/16', '--add-rule --id 2 --drop', '--add-rule --id 4294967295 -F 10.2.0.0/16 --accept',
      '--add-rule -F 10.3.0.0/16 --drop',
    ])
    await lab.gateway.sh('ipvsadm -R </tmp/rules')
    const text = await saved(lab)
    assert.doesNotMatch(text, /gone|203\.0\.113\.80|192\.168/)
    const { rules } = await listed(lab)
    assert.equal(new Set(rules.map(({ id }) => id)).size, 6)
    assert.ok(rules.every(({ pool, id }) => !pool?.startsWith('rule:') || pool === `rule:${id}`))
  }),

  test('a thousand rules and ten thousand addresses are restored, listed and saved', 'issue 12: 1,000 rules and 10,000 pool addresses loaded, listed, saved and restored', async (lab) => {
    const address = (base: number, index: number): string => `10.${base}.${index >> 8}.${index & 255}`
    const pools = Array.from({ length: 10 }, (_, pool) => [
      `--add-pool p${pool} -O rr`,
      ...Array.from({ length: 1000 }, (_, index) => `--add-address --pool p${pool} -z ${address(100 + pool, 2 * index)}`),
    ])
    const rules = Array.from({ length: 1000 }, (_, index) => `--add-rule --id ${index + 1} -F ${address(1, index)}/32 --pool p${index % 10}`)
    await put(lab, [...pools.flat(), ...rules])
    await lab.gateway.sh('ipvsadm -R </tmp/rules && ipvsadm -S -n | cmp - /tmp/rules')
    await lab.gateway.sh('ipvsadm -R --replace </tmp/rules && ipvsadm -S -n | cmp - /tmp/rules')
    const all = await listed(lab)
    assert.equal(all.rules.length, 1000)
    assert.equal(all.pools.flatMap(({ addresses }) => addresses).length, 10_000)
  }, { limit: 180 }),

  ...BAD_FILES.map(([what, lines, message]) =>
    test(`a file with ${what} changes nothing`, WHOLE, async (lab) => {
      await configure(lab, [...SOME, '-A -t 203.0.113.80:80 -s rr', `-a -t 203.0.113.80:80 -r ${A}:8080 -m -w 3`])
      const before = await saved(lab)
      await put(lab, lines)
      for (const command of ['ipvsadm -R </tmp/rules', 'ipvsadm -R --replace </tmp/rules']) {
        assert.match(await refused(lab, command), message)
        assert.equal(await saved(lab), before)
      }
    }),
  ),

  test('a file that is refused leaves services, counters, timeouts and daemons as they were', WHOLE, async (lab) => {
    await configure(lab, SIMPLE)
    assert.equal(await leavesAs(lab, A, 5001), P0)
    await counted(lab)
    const before = await lab.gateway.sh(ALL_OF_IT)
    for (const lines of REFUSED_LAST) {
      await put(lab, lines)
      assert.match(await refused(lab, 'ipvsadm -R </tmp/rules'), new RegExp(`^line ${lines.length}: .*\nNothing was changed\n$`))
      assert.equal(await lab.gateway.sh(ALL_OF_IT), before, lines.join('\n'))
    }
  }),

  test('a sync daemon that is stopped before it has run for the first time is no riddle', WHOLE, async (lab) => {
    await put(lab, ['--start-daemon master --mcast-interface outside', '--start-daemon backup --mcast-interface nowhere'])
    // With one processor, which a real-time process keeps, the thread gets no turn between its start and its stop.
    const { status, output } = await lab.gateway.run(`
      echo 0 >/sys/devices/system/cpu/cpu1/online
      timeout 10 chrt -f 1 ipvsadm -R </tmp/rules 2>&1
      status=$?
      echo 1 >/sys/devices/system/cpu/cpu1/online
      exit $status`)
    assert.match(output, /^line 2: .*\nNothing was changed\n$/, `exit ${status}`)
    assert.equal(await lab.gateway.sh('ipvsadm -l --daemon'), '')
  }),

  test('no private address leaves while a file is refused', WHOLE, async (lab) => {
    await configure(lab, SIMPLE)
    await put(lab, REFUSED_LAST[0])
    await during(lab, newFlows(lab), () => lab.gateway.sh('for i in $(seq 20); do ! ipvsadm -R </tmp/rules 2>/dev/null || exit 1; done'))
    await lab.settle()
    assertNothingPrivateLeft(lab)
  }, { limit: 120 }),

  test('services that stay are not taken away when others are put in their place', 'issue 12: a restart of the service restores rules and pools', async (lab) => {
    await configure(lab, [...SIMPLE, '-A -t 203.0.113.81:80 -s rr', `-a -t 203.0.113.81:80 -r ${A}:8081 -m`])
    assert.equal(await leavesAs(lab, A, 5001), P0)
    await counted(lab)
    const wanted = [
      '-A -t 203.0.113.80:80 -s wlc -p 30', `-a -t 203.0.113.80:80 -r ${A}:8080 -m -w 4`, `-a -t 203.0.113.80:80 -r ${B}:8080 -m -w 1`,
      '-A -t 203.0.113.82:80 -s sh', `-a -t 203.0.113.82:80 -r ${A}:8082 -m -w 1`,
      ...SIMPLE.slice(0, 2),
    ]
    await put(lab, wanted)
    await lab.gateway.sh('ipvsadm -R --replace </tmp/rules')
    assert.deepEqual((await saved(lab)).trim().split('\n'), wanted)
    assert.match(await lab.gateway.sh('ipvsadm -ln --stats -u 0.0.0.0:0'), ONE_FLOW, 'its counters go on')
    await put(lab, [...wanted, '-Z', '--set 111 112 113', '--start-daemon master --mcast-interface outside', '--stop-daemon master'])
    await lab.gateway.sh('ipvsadm -R --replace </tmp/rules')
    assert.match(await lab.gateway.sh('ipvsadm -ln --stats -u 0.0.0.0:0; ipvsadm -l --timeout; ipvsadm -l --daemon'), /^UDP +0\.0\.0\.0:0 +0 [^]*: 111 112 113\n$/m)
    await lab.gateway.sh('ipvsadm --set 900 120 300')
  }),

  test('no private address leaves while services, rules and zones take the place of each other', 'issue 12: a restart of the service restores rules and pools', async (lab) => {
    const files = [SIMPLE, ['-A -u 0.0.0.0:0 -s wlc -p 10', `-a -u 0.0.0.0:0 -r ${P1}:0 -m -w 1`], [`--add-pool p -z ${P0}`, '--add-rule -F 192.168.1.0/24 --pool p']]
    await configure(lab, SIMPLE)
    for (const [index, lines] of files.entries()) await lab.gateway.put(`/tmp/rules${index}`, Buffer.from(`${lines.join('\n')}\n`))
    await during(lab, newFlows(lab), () => lab.gateway.sh(`
      set -e
      for i in $(seq 10); do for file in /tmp/rules?; do ipvsadm -R --replace <$file; done; done`))
    await lab.settle()
    assertNothingPrivateLeft(lab)
  }, { limit: 120 }),

  test('what is restored in place of what was there leaves flows of the same addresses alone', 'issue 12: a restart of the service restores rules and pools', async (lab) => {
    await configure(lab, SOME, [P0, P1, '203.0.113.12'])
    await lab.gateway.sh('ipvsadm -S -n >/tmp/rules')
    assert.equal(await leavesAs(lab, A, 5001), P1)
    await lab.gateway.sh('ipvsadm -R --replace </tmp/rules')
    assert.equal(await leavesAs(lab, A, 5001), P1)
    assertNothingPrivateLeft(lab)
  }),

  test('the service lets no private address out when it is stopped, and restores everything', 'issue 12: stopping the service does not let private addresses out', async (lab) => {
    await lab.gateway.put('/tmp/service', readFileSync(join(ROOT, 'specs/ipvsadm/ipvsadm-service')))
    await lab.gateway.sh('mkdir -p /etc/sysconfig /var/run')
    for (const [name, words] of [['save', '-S "$@"'], ['restore', '-R --replace']]) {
      await lab.gateway.put(`/tmp/ipvsadm-${name}`, Buffer.from(`#!/bin/sh\nexec ipvsadm ${words}\n`))
    }
    await lab.gateway.sh('chmod 755 /tmp/ipvsadm-* && ln -sf /tmp/ipvsadm-save /tmp/ipvsadm-restore /usr/sbin/')
    await configure(lab, [...SOME, ...SIMPLE], [P0, P1])
    const before = await saved(lab)
    await lab.gateway.sh(`
      set -e
      sh /tmp/service save
      echo IPVS_SAVE_ON_STOP=yes >/etc/sysconfig/ipvsadm-config
      sh /tmp/service stop && sh /tmp/service stop && sh /tmp/service save
      rm /etc/sysconfig/ipvsadm-config`)
    assert.equal(await lab.gateway.sh("ipvsadm -S -n | grep -e ' -t ' || true"), '')
    await isDropped(lab, A, 5001)
    lab.c.send(udp(`${C}:5001 > ${S}:53`, 'of no rule'))
    await lab.settle()
    lab.net.refuse('udp **')
    assertNothingPrivateLeft(lab)
    await lab.gateway.sh('sh /tmp/service start')
    assert.equal(await saved(lab), before)
    assert.equal(await leavesAs(lab, A, 5002), P1)
  }),

  test('lists have what happened', LISTING, async (lab) => {
    await configure(lab, [`--add-pool office -O rr -z ${P0}`, '--add-rule --id 5 -F 192.168.1.0/24 --pool office', `-K --zone ${C}/32`])
    for (const port of [5001, 5002, 5003]) assert.equal(await leavesAs(lab, A, port), P0)
    lab.c.send(udp(`${C}:5004 > ${S}:53`, 'lost'))
    await lab.settle()
    const { version, rules, pools } = await listed(lab)
    assert.equal(version, 1)
    const [zone, rule] = rules
    assert.deepEqual([zone?.zone, zone?.from, zone?.stats['drop_empty']], [true, `${C}/32`, 1])
    assert.deepEqual([rule?.id, rule?.action, rule?.pool, rule?.stats['conns']], [5, 'snat', 'office', 3])
    const counted = pools.find(({ name }) => name === 'office')?.addresses[0]?.stats
    assert.deepEqual([counted?.['conns'], counted?.['pkts_out'], counted?.['pkts_in']], [3, 3, 3])
    const plain = await lab.gateway.sh('ipvsadm -G -n')
    assert.match(plain, /^Rule +Priority +From +To/m)
    assert.match(plain, /^5 +1000 +192\.168\.1\.0\/24 +any\n +-> pool office +3 +0 +0 +0$/m)
    assert.match(plain, /^office rr\n +-> 203\.0\.113\.10 +1 +\d+ +\d+ +0 +0$/m)
    const stats = await lab.gateway.sh('ipvsadm -G -n --stats --exact')
    assert.match(stats, /^ +-> pool office +3 +3 +3 +\d+ +\d+$/m)
    assert.match(await lab.gateway.sh('ipvsadm -G -n --rate'), /CPS +InPPS +OutPPS +InBPS +OutBPS/)
    assert.match(await lab.gateway.sh('ipvsadm -ln'), /^SNAT: 2 rules, 2 pools \(ipvsadm -G\)$/m)
    await lab.gateway.sh('ipvsadm --zero-snat --id 5')
    assert.equal((await listed(lab)).rules[1]?.stats['conns'], 0)
  }),

  test('connections of a host, a rule and a pool are listed and ended', 'issue 12, 4: connections of a rule, a pool, an inside host can be listed and killed', async (lab) => {
    await configure(lab, [`--add-pool office -O rr -z ${P0}`, '--add-rule --id 5 -F 192.168.1.0/24 --pool office'])
    for (const port of [5001, 5002]) await leavesAs(lab, A, port)
    await leavesAs(lab, B, 5003)
    const count = async (filter: string): Promise<number> => {
      const { connections } = JSON.parse(await lab.gateway.sh(`ipvsadm --snat-conns --json ${filter}`)) as { connections: unknown[] }
      return connections.length
    }
    assert.deepEqual([await count(''), await count(`-F ${A}`), await count('-F 192.168.1.0/24'), await count('--pool office'), await count('--id 5')], [3, 2, 3, 3, 3])
    assert.match(await lab.gateway.sh(`ipvsadm --snat-conns -n --src ${B}`), new RegExp(`^udp +\\d\\d:\\d\\d +\\S+ +${B}:5003 +${P0}:5003 +${S}:53 +5 +office$`, 'm'))
    assert.equal(await lab.gateway.sh(`ipvsadm --snat-conns --src ${A} --kill`), '2 connections ended\n')
    assert.equal(await count(''), 1)
    assert.equal(await lab.gateway.sh('ipvsadm --snat-conns --pool office --kill'), '1 connections ended\n')
  }),

  test('a pool address is drained, and taken back', 'issue 12, 3: a pool address is drained (weight 0) or removed', async (lab) => {
    await configure(lab, [`--add-pool office -O rr -z ${P0},${P1}`, '--add-rule -F 192.168.1.0/24 --pool office'])
    const first = await leavesAs(lab, A, 5001)
    await lab.gateway.sh(`ipvsadm --edit-address --pool office -z ${first} -w 0`)
    for (const port of [5002, 5003]) assert.notEqual(await leavesAs(lab, A, port), first)
    assert.equal(await leavesAs(lab, A, 5001), first, 'what was there goes on')
    await lab.gateway.sh(`ipvsadm --edit-address --pool office -z ${first} -w 1`)
    assert.equal(new Set([await leavesAs(lab, A, 5004), await leavesAs(lab, A, 5005)]).size, 2)
  }),

  test('what cannot be done is said, and changes nothing', SPOKEN, async (lab) => {
    await configure(lab, SOME, [])
    const before = await saved(lab)
    for (const [command, message] of MISTAKES) {
      assert.match(await refused(lab, `ipvsadm ${command}`), message, command)
      assert.equal(await saved(lab), before, command)
    }
  }),

  test('what the kernel says of a mistake is passed on', SPOKEN, async (lab) => {
    assert.match(await refused(lab, 'ipvsadm --add-rule --drop -W 224.0.0.1'), /no address of a gateway/)
  }, { needs: ['extended-acks'] }),

  test('unpatched ipvsadm works beside rules', STOCK, async (lab) => {
    await configure(lab, SOME)
    await lab.gateway.sh(`
      set -e
      ipvsadm-stock -A -t 203.0.113.80:80 -s rr
      ipvsadm-stock -a -t 203.0.113.80:80 -r ${A}:8080 -m
      ipvsadm-stock -A -u 0.0.0.0:0 -s rr -p 10
      ipvsadm-stock -a -u 0.0.0.0:0 -r ${P0}:0 -m`)
    const plain = await lab.gateway.sh('ipvsadm-stock -ln')
    assert.match(plain, /-> 192\.168\.1\.2:8080 +Masq/)
    assert.equal(await lab.gateway.sh('ipvsadm -ln'), `${plain}SNAT: 2 rules, 2 pools (ipvsadm -G)\n`)
    assert.equal(await leavesAs(lab, A, 5001), P1, 'of the zone')
    await lab.gateway.sh(`ip route add 172.16.0.0/16 via ${C}`)
    lab.c.send(udp(`172.16.0.9:5002 > ${S}:53`, 'of no rule'))
    await lab.net.expect(`udp ${P0}:5002 > ${S}:53`)
    await lab.gateway.sh('ipvsadm-stock -C')
    assert.match(await saved(lab), /^-K --zone/m, 'it knows nothing of them')
    assert.equal(await leavesAs(lab, A, 5003), P1)
  }),
])
