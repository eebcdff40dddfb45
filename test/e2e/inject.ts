// SPDX-License-Identifier: GPL-2.0-only
/** Memory that runs out: one allocation after the other fails, in what configures SNAT, in what opens connections, in namespaces. */

import assert from 'node:assert/strict'
import type { Lab } from '../../vm/lab.ts'
import { udp } from '../../vm/packet/index.ts'
import { A, B, CLIENT, POOL, S, VIP } from '../../vm/topology.ts'
import { between, connections, counter, nat, snat, vsSysctl } from './lib/configure.ts'
import { LISTENS, tally } from './lib/events.ts'
import { assertFast, assertSlow, learn, LONG_S } from './lib/short-way.ts'
import { suite, test, type TestCase } from './lib/suite.ts'
import { ask, assertNothingPrivateLeft, type Exchange, until } from './lib/traffic.ts'

const INJECTION = 'issue 15: failure injection over the configuration and connection paths: no splat, no leak, clear errors'
const [P0 = '', P1 = '', P2 = '', P3 = ''] = POOL
const NEEDS = ['failing-allocations'] as const
const LIMIT_S = 240
const RUN_LIMIT_MS = 200_000

/** Of how many allocations of a case one is made to fail, each in a run of its own: all of them where there are no more. */
const RUNS = 16
/** More allocations than anything here asks for. */
const PLENTY = 1_000_000
/** One of so many failures may be that of the answer, after which it is not known whether it was done. */
const LOST_ANSWERS = 4

/** What fail-nth needs to count all allocations but those of a program's own pages. Kernels tell of each failure, which would fill the log. */
const SWITCH_ON = `
[ -e /sys/kernel/debug/failslab ] || mount -t debugfs none /sys/kernel/debug
for kind in failslab fail_page_alloc; do
  cd /sys/kernel/debug/$kind
  echo N >ignore-gfp-wait
  echo 0 >verbose
done
echo 0 >min-order`

/** What is there before each change. */
const BEFORE = [
  `-A -t ${VIP}:80 -s rr`,
  `-a -t ${VIP}:80 -r ${A}:8080 -m -w 1`,
  '--add-pool p -O sh --ports 2000-2999',
  `--add-address --pool p -z ${P0}`,
  '--add-pool r -O rr',
  '--add-rule --id 5 --priority 10 -F 10.0.0.0/8 --pool p',
  '-K --zone 192.168.0.0/16 --id 7',
  `-U --zone 192.168.0.0/16 -z ${P1}`,
]

/** Another configuration, for all at once. */
const OTHERWISE = [
  `-A -u ${VIP}:53 -s wlc`,
  `-a -u ${VIP}:53 -r ${A}:53 -m -w 1`,
  '--add-pool p -O rr --block-size 128 --max-blocks 2',
  `--add-address --pool p -z ${P2}-${P3}`,
  '--add-rule --id 5 --priority 20 -F 192.168.0.0/16 --pool p',
  '--add-rule --id 6 --priority 20 -F 10.0.0.0/8 --drop',
]

interface Change {
  what: string
  /** Lines for ipvsadm -R. */
  lines: readonly string[]
  options?: string
}

const CHANGES: readonly Change[] = [
  { what: 'a pool with addresses is added', lines: [`--add-pool q -O wlc --block-size 256 -z ${P2}-${P3}`] },
  { what: 'a pool is edited', lines: ['--edit-pool p -O rr --ports 3000-4999 --block-size 128'] },
  { what: 'a pool is deleted', lines: ['--delete-pool r'] },
  { what: 'an address is added, one edited and one deleted', lines: [`--add-address --pool p -z ${P2}`, `--edit-address --pool p -z ${P0} -w 0`, `-W --zone 192.168.0.0/16 -z ${P1}`] },
  { what: 'a rule is added', lines: [`--add-rule --id 6 -F 192.168.1.0/24 --proto tcp --dport 25 -T 198.51.100.0/24 --pool p`] },
  { what: 'a rule is edited', lines: ['--edit-rule --id 5 -F 10.1.0.0/16 --drop'] },
  { what: 'a rule is deleted', lines: ['--delete-rule --id 5'] },
  { what: 'a zone is added', lines: ['-K --zone 192.168.1.0/24 --id 8', `-U --zone 192.168.1.0/24 -z ${P2}`] },
  { what: 'a zone is deleted', lines: ['-V --zone 192.168.0.0/16'] },
  { what: 'a service is added', lines: [`-A -u 0.0.0.0:0 -s rr`, `-a -u 0.0.0.0:0 -r ${P3}:0 -m`] },
  { what: 'a service is edited', lines: [`-E -t ${VIP}:80 -s wlc`] },
  { what: 'a service is deleted', lines: [`-D -t ${VIP}:80`] },
  { what: 'a whole file takes the place of all', lines: OTHERWISE, options: '--replace' },
]

const heredoc = (path: string, lines: readonly string[]): string => `cat >${path} <<'END'\n${lines.join('\n')}\nEND`

interface Run {
  nth: number
  status: number
  /** The state afterwards, as ipvsadm -S says it. */
  saved: string
  output: string
  /** How many allocations there were too few; 0 if one has failed. */
  left: number
}

/** Reads what {@link FEED} prints. */
function runsOf(output: string): Run[] {
  return output.split(/^== /m).slice(1).map((text) => {
    const [, nth, status, saved = ''] = /^(\d+) (\d+) (\w+)\n/.exec(text) ?? []
    return { nth: Number(nth), status: Number(status), saved, output: text.slice(text.indexOf('\n') + 1), left: Number(/^left (\d+)$/m.exec(text)?.[1] ?? Number.NaN) }
  })
}

/**
 * Has a command read a file as often as there is an allocation to fail, at most {@link RUNS} times, each time from {@link BEFORE}.
 *
 * @param command reads /tmp/lines
 */
async function feed(lab: Lab, command: string, lines: readonly string[]): Promise<Run[]> {
  return runsOf(await lab.gateway.sh(`
    ${SWITCH_ON}
    cd /tmp
    ${heredoc('/tmp/before', BEFORE)}
    ${heredoc('/tmp/lines', lines)}
    saved() { ipvsadm -S -n | md5sum | cut -d ' ' -f 1; }
    before() { ipvsadm -R --replace </tmp/before || exit 9; }
    try() {
      output=$(alloc-fail feed $1 /tmp/lines ${command} 2>&1)
      status=$?
      left=$(echo "$output" | sed -n 's/^left //p')
      now=$(saved)
      echo "== $1 $status $now"
      echo "$output"
      [ $status = 0 ] || ipvsadm -S -n | sed 's/^/| /'
    }
    before
    first=$(saved)
    echo "== 0 0 $first"
    echo 'left 0'
    try ${PLENTY}
    all=$((${PLENTY} - left))
    # Odd: kmemleak has an allocation of its own for nearly each one, and copes without.
    step=$(((all + ${RUNS} - 1) / ${RUNS} | 1))
    for nth in $(seq 1 $step $all); do
      [ $now = $first ] || before
      try $nth
    done
    rm -f /tmp/before /tmp/lines`, RUN_LIMIT_MS))
}

/** What is new is in force by then, and what stays beside it is named (ipvsadm(8), -R). */
const NOT_DELETED = /^Can't delete /m

/** What was done as a whole, or refused in words as a whole. @param alone whether it is a deletion and nothing else */
function assertAllOrNothing(runs: readonly Run[], alone: boolean): void {
  const [before, whole, ...failing] = runs
  assert.ok(before && whole)
  assert.equal(whole.status, 0, whole.output)
  assert.notEqual(whole.saved, before.saved, 'something is changed')
  assert.ok(failing.some(({ left }) => left === 0), 'some allocations failed')
  for (const { nth, status, saved, output } of failing) {
    assert.ok(status < 128 || status === 255, `allocation ${nth}: status ${status}\n${output}`)
    if (status === 0) assert.equal(saved, whole.saved, `allocation ${nth}: it says that it was done\n${output}`)
    else if (NOT_DELETED.test(output)) assert.equal(saved === before.saved, alone, `allocation ${nth}: the rest is done\n${output}`)
    else assert.ok([before.saved, whole.saved].includes(saved), `allocation ${nth}: all or nothing\n${output}`)
    if (status !== 0) assert.match(output.replaceAll(/^(left|\|) .*$/gm, ''), /[a-z]{2,} [a-z]{2,}/i, `allocation ${nth}: it says why`)
  }
  const done = failing.filter(({ status, saved }) => status !== 0 && saved === whole.saved)
  assert.ok(done.length * LOST_ANSWERS <= failing.length, `of ${failing.length} failures, what was refused was done:\n${done.map(({ nth, output }) => `${nth}: ${output}`).join('')}`)
}

/** A flow goes out by the address of the inside's zone, as it did before. */
const worksAgain = (lab: Lab): Promise<string> => ask({ client: lab.a, sent: `${A}:40001 > ${S}:53`, server: lab.net, seen: `${P1}:40001 > ${S}:53` })

const changing = ({ what, lines, options = '' }: Change): TestCase =>
  test(`${what} as a whole or not at all, whichever allocation fails`, INJECTION, async (lab) => {
    await lab.gateway.sh(`ip addr add ${P1}/32 dev outside; modprobe tun`)
    const runs = await feed(lab, `ipvsadm -R ${options}`, lines)
    assertAllOrNothing(runs, lines.length === 1 && /^(-D|--delete-)/.test(lines[0] ?? ''))
    // Most allocations are those of kmemleak, lockdep and the program's own pages, which do without; a small change may have no other among the chosen ones.
    if (lines === OTHERWISE) assert.ok(runs.some(({ left, status }) => left === 0 && status !== 0), 'some failures are told')
    await lab.gateway.sh(`ipvsadm -R --replace <<'END'\n${BEFORE.join('\n')}\nEND`)
    await worksAgain(lab)
  }, { limit: LIMIT_S, needs: NEEDS })

/** Lists that genl-exchange asks for: pools, members, addresses, rules, connections, blocks. */
const LISTS = [8, 12, 13, 17, 18, 21].map((command) => `${command} 0x300 `)

/** More allocations than the devices of a new namespace ask for. */
const OF_DEVICES = 100

/** @returns so many numbers from the first to the last one, as far apart as they can be, odd and even ones in turn; all of them where there are no more */
function spread(first: number, last: number, count: number): number[] {
  const step = Math.ceil((last - first + 1) / count) | 1
  return Array.from({ length: Math.ceil((last - first + 1) / step) }, (_, index) => first + index * step)
}

const INJECT = 'inject'
const FLOWS = 48

interface Opening {
  what: string
  pool: string
  monitor?: boolean
}

const OPENINGS: readonly Opening[] = [
  { what: 'a pool', pool: '' },
  { what: 'a paired pool with least connections', pool: '-O wlc --paired --max-conns 4' },
  { what: 'a pool with blocks of ports, and a monitor', pool: '--block-size 128 --max-blocks 2', monitor: true },
  { what: 'a pool whose connections are told of, and a monitor', pool: '--log-conns', monitor: true },
]

/** The inside behind a tun device, from which a datagram goes its whole way in one system call. */
const inside = (number: number): string => `192.168.9.${2 + number}`

interface Sent {
  nth: number
  left: number
}

/** Sends flows, each from a host of its own and twice, of which the NTH allocation fails. */
async function send(lab: Lab, first: number, nths: readonly number[]): Promise<Sent[]> {
  const lines = nths.flatMap((nth, index) => Array.from({ length: 2 }, () => `${nth} ${udp(`${inside(first + index)}:5000 > ${S}:53`, 'q').toString('hex')}`))
  const output = await lab.gateway.sh(`alloc-fail tun ${INJECT} <<'END'\n${lines.join('\n')}\nEND`)
  return output.trim().split('\n').map((line) => ({ nth: Number(line.split(' ')[0]), left: Number(line.split(' ')[2]) }))
}

const opening = ({ what, pool, monitor }: Opening): TestCase =>
  test(`connections of ${what} open or do not, whichever allocation fails`, INJECTION, async (lab) => {
    const start = `
      ${SWITCH_ON}
      modprobe tun
      alloc-fail tun ${INJECT} </dev/null
      ip addr add 192.168.9.1/24 dev ${INJECT}
      ip link set ${INJECT} up
      ip addr add ${P0}/32 dev outside
      ipvsadm --add-pool p ${pool} -z ${P0}
      ipvsadm --add-rule -F 192.168.9.0/24 --pool p`
    await between(lab, start, `ip link del ${INJECT}`, async () => {
      if (monitor) {
        await lab.gateway.sh('ipvsadm --monitor </dev/null >/tmp/events 2>&1 & echo $! >/tmp/monitor.pid')
        await until('the monitor listens', async () => (await lab.gateway.sh('cat /tmp/events')).includes(LISTENS))
      }
      const sent = await send(lab, 0, Array.from({ length: FLOWS }, (_, index) => index + 1))
      assert.ok(sent.some(({ left }) => left === 0), 'some allocations have failed')
      assert.ok(sent.some(({ left }) => left > 0), `there are fewer than ${FLOWS}, so each has failed once`)
      await send(lab, FLOWS, [0])
      await lab.settle()
      const left = lab.sent('outside', `udp * > ${S}:53`)
      assert.ok(left.length > 2 && left.every(({ ip }) => ip?.src === P0), 'what has left was translated')
      assertNothingPrivateLeft(lab)
      await lab.gateway.sh('ipvsadm --snat-conns -F 192.168.9.0/24 --kill')
      await until('no connection is left', async () => (await counter(lab, 'conns')) === 0)
      assert.deepEqual(JSON.parse(await lab.gateway.sh('ipvsadm --snat-blocks --json')), { version: 1, blocks: [] })
      if (monitor) {
        const events = (await lab.gateway.sh('kill $(cat /tmp/monitor.pid); cat /tmp/events; rm -f /tmp/events /tmp/monitor.pid')).trim().split('\n')
        const { seen, lost, span } = tally(events.slice(events.findIndex((line) => line.includes(LISTENS)) + 1))
        assert.ok(seen > 0)
        assert.ok(seen + lost >= span, `of ${span} events ${seen} were told, and of ${lost} that they are lost`)
      }
      await send(lab, FLOWS + 1, [0])
      await lab.net.expect(`udp ${P0}:* > ${S}:53`)
    })
  }, { limit: LIMIT_S, needs: NEEDS })

/** What packets that are on their way ask for of the size of a short way (`kmalloc(GFP_ATOMIC)`): none is there. The kernel was booted with slub_debug=A for it. */
const NO_WAYS = `
${SWITCH_ON}
[ "$(cat /sys/kernel/slab/kmalloc-64/failslab)" = 1 ]
cd /sys/kernel/debug/failslab
echo Y >ignore-gfp-wait
echo Y >cache-filter
echo -1 >times
echo 100 >probability`

const WAYS_AGAIN = `
cd /sys/kernel/debug/failslab
echo 0 >probability
echo N >cache-filter`

export default suite('inject', [
  ...CHANGES.map(changing),

  test('lists end or are refused, whichever allocation fails', INJECTION, async (lab) => {
    await lab.gateway.sh(`ip addr add ${P1}/32 dev outside`)
    const [before, whole, ...failing] = await feed(lab, 'genl-exchange IPVS_SNAT', LISTS)
    assert.equal(whole?.status, 0, whole?.output)
    assert.ok(failing.some(({ left }) => left === 0))
    for (const { nth, saved, status, output } of failing) {
      assert.equal(saved, before?.saved, `allocation ${nth}: what is there stays\n${output}`)
      assert.ok(status < 128, `allocation ${nth}: status ${status}\n${output}`)
    }
    await worksAgain(lab)
  }, { limit: LIMIT_S, needs: NEEDS }),

  ...OPENINGS.map(opening),

  test('a flow whose short way finds no memory goes the whole way, and leaves nothing behind', INJECTION, async (lab) => {
    await vsSysctl(lab, 'snat_fastpath', String(LONG_S))
    await snat(lab, { pool: [P0] })
    await nat(lab, { protocol: 'udp', port: 53, servers: [`${A}:5353`] })
    const flows = (port: number): Exchange[] => [
      { client: lab.b, sent: `${B}:${port} > ${S}:53`, server: lab.net, seen: `${P0}:${port} > ${S}:53` },
      { client: lab.net, sent: `${CLIENT}:${port} > ${VIP}:53`, server: lab.a, seen: `${CLIENT}:${port} > ${A}:5353` },
    ]
    // A flow that is new needs memory of that size as well, and its first packet learns no way.
    for (const flow of flows(4000)) await ask(flow)
    await between(lab, NO_WAYS, WAYS_AGAIN, async () => {
      for (const flow of flows(4000)) {
        await learn(flow)
        await assertSlow(lab, flow)
      }
    })
    await lab.gateway.sh('ipvsadm --set 0 0 1')
    await vsSysctl(lab, 'snat_udp_timeout', '1')
    for (const flow of flows(4000)) await ask(flow)
    await until('they have expired', async () => (await connections(lab)).length === 0)
    await vsSysctl(lab, 'snat_udp_timeout', '300')
    await lab.gateway.sh('ipvsadm --set 0 0 300')
    // Others have their memory by now, and are looked for where they were.
    for (let port = 4001; port < 4020; port++) for (const flow of flows(port)) await learn(flow)
    for (const flow of flows(4000)) {
      await learn(flow)
      await assertFast(lab, flow)
    }
  }, { limit: LIMIT_S, needs: [...NEEDS, 'fastpath'] }),

  test('a network namespace comes about or does not, whichever allocation fails', INJECTION, async (lab) => {
    const make = async (nths: readonly number[]): Promise<{ left: number; error: number }[]> => {
      const output = await lab.gateway.sh(`${SWITCH_ON}\nalloc-fail unshare <<'END'\n${nths.join('\n')}\nEND`, RUN_LIMIT_MS)
      return output.trim().split('\n').map((line) => line.split(' ').map(Number)).map(([, , left = 0, error = 0]) => ({ left, error }))
    }
    const count = async (): Promise<number> => PLENTY - ((await make([PLENTY]))[0]?.left ?? 0)
    await lab.gateway.sh('rmmod ip_vs')
    const others = await count()
    await lab.gateway.sh('modprobe ip_vs')
    const all = await count()
    assert.ok(all > others, 'IPVS has memory in each namespace')
    // Its modules are the last ones that do, but for those of devices.
    const nths = [...spread(1, others, RUNS), ...spread(Math.max(others - OF_DEVICES, 1), all, 5 * RUNS)]
    const made = await make(nths)
    assert.equal(made.length, nths.length)
    assert.ok(made.some(({ error }) => error !== 0), 'some of them were refused')
    await lab.gateway.sh(`unshare -n sh -c 'ipvsadm --add-pool p -z 10.9.9.9 && ipvsadm -S -n | grep -q 10.9.9.9'`)
  }, { limit: LIMIT_S, needs: NEEDS }),
])
