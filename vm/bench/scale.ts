// SPDX-License-Identifier: GPL-2.0-only
/**
 * What packets cost where there are millions of flows, how much memory those take, and for how long packets of others do
 * not pass while they come, are ended or expire.
 *
 * Flows, memory and time are of one script in the guest, for an hour or so of its clock: that jumps whenever nobody asks it for something.
 */

import { type Flows, INSIDE, INSIDE2, POOL, ROUTER, VIP } from './network.ts'
import type { Kind } from './results.ts'
import { type Bench, type Count, countsOf, homeward, lost, outward, quietScript, type Run, script, withWay } from './runs.ts'
import { CONNTRACK_MOST, FAST, FLOWTABLE, IPTABLES, IPVS, type Way } from './ways.ts'

/** Of one run of pktgen: without a divisor in common, so that each port comes together with each remote. */
const PORTS = 15_625
const REMOTE_HOSTS = 64
const RUN_FLOWS = PORTS * REMOTE_HOSTS
const FIRST_PORT = 2_000
/** One that no other flow has. */
const NEW_REMOTE = '198.51.100.100'
const NEW_FLOWS = 2_001
/** Out of the first run, as many ports with each of the remotes. */
const SAMPLE_PORTS = 313

/**
 * How many flows there are, by the words that choose them, and the memory of the machine. Four million of the short way
 * and of a flowtable take more than 2 GiB.
 */
export const SCALES = [
  { asked: 'scale', fillings: [1, RUN_FLOWS], memoryMegabytes: 2048 },
  { asked: 'four million', fillings: [1, 4 * RUN_FLOWS], memoryMegabytes: 3072 },
] as const

const LIMIT_MS = 7_200_000
/** How long flows live that are to expire: each million is a quarter of a minute in coming, and twice that if each sends twice. */
const lifetime = (flows: number): number => 20 + Math.ceil(flows / RUN_FLOWS) * 20

/** The limits of {@link IPVS_LIMITS} are for fewer. */
const MOST = `
echo 5000000 >/proc/sys/net/ipv4/vs/snat_max_conns`

/** Each of the inside hosts has a pool and a rule of its own: what happens to those of one is nothing to the other, whose packets are watched. */
const withRules = (way: Way): Way => ({
  ...way,
  possible: `${way.possible} && ipvsadm -G && grep -q '^grown ' /proc/net/ip_vs_snat`,
  setUp: `ipvsadm -R <<END
--add-pool out -z ${POOL}
--add-rule --from ${INSIDE}/32 --pool out --id 1
--add-pool other -z ${VIP}
--add-rule --from ${INSIDE2}/32 --pool other --id 2
END
${way.setUp.split('\n').slice(1).join('\n')}${MOST}`,
})

export const SCALE_WAYS: readonly Way[] = [withRules(IPVS), withRules(FAST), IPTABLES, FLOWTABLE]

const isIpvs = ({ alsoTcp, limitPorts }: Way): boolean => alsoTcp !== undefined && limitPorts === IPVS.limitPorts

/** What keeps packets from passing, in words, and the script that does it. */
interface Event {
  what: string
  script: string
}

const NOTHING: Event = { what: 'nothing happens', script: 'sleep 1' }
const ENDS: readonly Event[] = [
  { what: 'rule and pool are deleted', script: 'ipvsadm --delete-rule --id 1; ipvsadm --delete-pool out' },
  { what: 'all are ended (--kill)', script: `ipvsadm --snat-conns -F ${INSIDE} --kill` },
]

/** What people do meanwhile, of which each was once as slow as there are flows, or worse. */
const CHORES: readonly Event[] = [
  { what: 'listing all connections', script: 'cat /proc/net/ip_vs_conn >/dev/null' },
  {
    what: '20 services that come and go',
    script: 'for port in $(seq 20); do ipvsadm -A -t 192.0.2.99:$port -s rr; ipvsadm -D -t 192.0.2.99:$port; done',
  },
]

const CLOCK = `now() { awk '{ print int($1 * 100 + 0.5) * 10 }' /proc/uptime; }`

const timed = ({ what, script: happens }: Event): string => `
ipvsadm -A -t 192.0.2.99:1 -s rr; ipvsadm -D -t 192.0.2.99:1
before=$(now)
${happens}
echo "lasted $(($(now) - before)) ${what}"`

/** How many flows are left. A flowtable is not asked: it looks at each of its flows every second, so in emulation those that expire take longer than all the rest. */
const LEFT = `left() {
  if [ -e /proc/net/ip_vs_snat ]; then awk '$1 == "conns" { print $2 }' /proc/net/ip_vs_snat; else cat /proc/sys/net/netfilter/nf_conntrack_count; fi
}`

/** Watching and a few more packets of before are left. */
const EXPIRED = 'until [ $(left) -le 10 ]; do sleep 1; done'

const timeouts = (seconds: number): string => `
for file in ipv4/vs/snat_udp_unanswered_timeout netfilter/nf_conntrack_udp_timeout netfilter/nf_flowtable_udp_timeout; do
  [ ! -e /proc/sys/net/$file ] || echo ${seconds} >/proc/sys/net/$file
done`

/** The inside host that sends steadily, to a port of the remote's own. */
const STREAM_SETUP = `
at inside 'ip link set lo up; ip addr add ${INSIDE2}/24 dev source; ip route add default via 192.168.1.1; steady-stream pace source'`

const STREAM_TEARDOWN = `
at inside 'ip addr del ${INSIDE2}/24 dev source'`

/** Packets are under way before it begins, and until it has ended. */
const watched = ({ what, script: happens }: Event): string => `
rm -f /tmp/stream.stop /tmp/stream.result
at remote 'steady-stream receive >/tmp/stream.result 2>&1 &'
at inside 'steady-stream send ${INSIDE2} ${ROUTER} /tmp/stream.stop >/tmp/stream.sender 2>&1 &'
usleep 300000
${happens}
usleep 300000
touch /tmp/stream.stop
until [ -s /tmp/stream.result ]; do usleep 100000; done
echo 'watched ${what}'
cat /tmp/stream.result /tmp/stream.sender`

const INTERVAL_NS = 200_000

/** Memory that is there, and what slabs have of it. */
const MEMORY = `memory() {
  awk '$1 == "MemAvailable:" { print "available " $2 * 1024 }' /proc/meminfo
  awk 'NR > 2 { print $1 " " $15 * $6 * 4096 }' /proc/slabinfo >/tmp/slabs.$1
}
slabs() {
  awk -v least=$1 'NR == FNR { before[$1] = $2; next } $2 - before[$1] > least { print "slab " $1 " " $2 - before[$1] }' /tmp/slabs.before /tmp/slabs.after
}
grown() {
  [ ! -e /proc/net/ip_vs_snat ] || awk '$1 == "grown" { print }' /proc/net/ip_vs_snat
}`

const ONE: Flows = { ports: [FIRST_PORT, 1], remotes: 1 }

function fillRuns(way: Way, checksum: boolean, flows: number): Run[] {
  const millions = Array.from({ length: flows / RUN_FLOWS }, (_, nth): Flows => ({ ports: [FIRST_PORT + nth * PORTS, PORTS], remotes: REMOTE_HOSTS }))
  const sets = flows === 1 ? [ONE] : millions
  return sets.map((set) => outward(way, checksum, set, set.ports[1] * set.remotes))
}

/** A flow of a fast way has sent twice before that is known. */
const repeated = (way: Way, runs: readonly Run[]): Run[] => (way.passesForwarding ? [...runs, ...runs] : [...runs])

/** @param fillings how many flows there are to be */
export async function fill(bench: Bench, way: Way, fillings: readonly number[]): Promise<void> {
  const checksum = bench.checksums[0] ?? false
  for (const flows of fillings) {
    // Where there is one flow, a table for millions would only keep the worker busy that looks through it.
    const limits = flows > 1 && !isIpvs(way) ? CONNTRACK_MOST : ''
    const watching: Way = { ...way, setUp: [way.setUp, limits, STREAM_SETUP].join('\n'), tearDown: `${STREAM_TEARDOWN}\n${way.tearDown}` }
    await withWay(bench, watching, () => fillOnce(bench, way, flows, checksum))
    if (flows > 1 && way !== FLOWTABLE) await withWay(bench, watching, () => expire(bench, way, flows, checksum))
  }
}

async function fillOnce(bench: Bench, way: Way, flows: number, checksum: boolean): Promise<void> {
  const set: Flows = flows === 1 ? ONE : { ports: [FIRST_PORT, SAMPLE_PORTS], remotes: REMOTE_HOSTS }
  const sample = set.ports[1] * set.remotes
  const [out, back] = [outward, homeward].map((direction) => (packets: number) => direction(way, checksum, set, packets)) as [(packets: number) => Run, (packets: number) => Run]
  const fresh = outward(way, checksum, { ports: [FIRST_PORT, NEW_FLOWS], remotes: 1 }, NEW_FLOWS)
  const measured = Math.max(sample, 20_000)
  const filling = repeated(way, fillRuns(way, checksum, flows))
  const after = [out(sample), out(sample), out(measured), back(sample), back(sample), back(measured), { ...fresh, stream: { ...fresh.stream, destination: NEW_REMOTE } }]
  const chores = isIpvs(way) ? CHORES : []
  const events = flows === 1 ? [NOTHING] : isIpvs(way) ? ENDS : []
  const output = await bench.sh([
    'set -e', MEMORY, 'memory before', ...filling.map(script), 'memory after', `slabs ${flows * 8}`, 'grown', ...after.map(script), CLOCK, ...chores.map(timed), ...events.map(watched),
  ].join('\n'), LIMIT_MS)

  const counts = countsOf(output)
  const filled = counts.slice(0, filling.length)
  const unfilled = filled.map(lost).find((reason) => reason !== undefined)
  const refused = unfilled && `it was not filled: ${unfilled}`
  const [, , established, , , returned, newest] = counts.slice(filling.length)
  const add = (kind: Kind, count: Count | undefined, of: number) => {
    if (!count) throw new Error('nothing was measured')
    const slow = count.forwarded - count.short
    bench.addCount({ way: way.name, kind, checksum, flows: of, filled: flows }, count,
      refused ?? lost(count) ?? (way.passesForwarding && kind !== 'new' && slow > 0 ? `${slow} of ${count.sent} were forwarded the slow way` : undefined))
  }
  add('out', established, sample)
  add('back', returned, sample)
  add('new', newest, NEW_FLOWS)
  if (flows > 1) addFilling(bench, way, flows, filled, output, refused)
  addTimes(bench, way, flows, output, refused)
  addGaps(bench, way, flows, output, refused)
}

/** How long what people do takes by the guest's clock, which tells hundredths of a second. Modules and hooks of a first service are there before. */
function addTimes(bench: Bench, way: Way, flows: number, output: string, refused: string | undefined): void {
  for (const [, milliseconds, what = ''] of output.matchAll(/^lasted (\d+) (.*)$/gm)) {
    bench.addQuantity({ way: way.name, what, flows, unit: 'milliseconds', value: Number(milliseconds), ...(refused === undefined ? {} : { refused }) })
  }
}

/** What filling costs and takes. */
function addFilling(bench: Bench, way: Way, flows: number, filled: readonly Count[], output: string, refused: string | undefined): void {
  const add = (what: string, unit: string, value: number) => bench.addQuantity({ way: way.name, what, flows, unit, value, ...(refused === undefined ? {} : { refused }) })
  const first = filled.slice(0, flows / RUN_FLOWS)
  add('each came', 'instructions', first.reduce((sum, { instructions }) => sum + instructions, 0) / first.length)
  const [before = NaN, after = NaN] = [...output.matchAll(/^available (\d+)$/gm)].map(([, bytes]) => Number(bytes))
  add('memory of each', 'bytes', (before - after) / flows)
  for (const [, name, bytes] of output.matchAll(/^slab (\S+) (\d+)$/gm)) add(`${name} of each`, 'bytes', Number(bytes) / flows)
  const [, grown] = /^grown (\d+)$/m.exec(output) ?? []
  if (grown !== undefined) add('tables have grown', 'times', Number(grown))
}

/** @returns what a steady stream has seen of each event, in microseconds, and why that means nothing, if it does */
export function gapsOf(output: string): { what: string; microseconds: number; refused?: string }[] {
  return output.split(/^watched /m).slice(1).map((text) => {
    const [, what = ''] = /^(.*)$/m.exec(text) ?? []
    const [, received, missing, late, longest] = (/^stream (\d+) (\d+) (\d+) (\d+)$/m.exec(text) ?? []).map(Number)
    if (received === undefined || missing === undefined || late === undefined || longest === undefined) throw new Error(`a stream did not say all that it should: ${text}`)
    const refused = missing > 0 ? `${missing} of ${received + missing} packets were lost` : late > 0 ? `${late} times there was nothing to send` : undefined
    return { what, microseconds: Math.max(longest - INTERVAL_NS, 0) / 1000, ...(refused === undefined ? {} : { refused }) }
  })
}

function addGaps(bench: Bench, way: Way, flows: number, output: string, refused: string | undefined): void {
  for (const gap of gapsOf(output)) {
    const reason = refused ?? gap.refused
    bench.addQuantity({ way: way.name, what: `no packet while ${gap.what}`, flows, unit: 'microseconds', value: gap.microseconds, ...(reason === undefined ? {} : { refused: reason }) })
  }
}

/** They come once more, and expire one after the other, as they came. */
async function expire(bench: Bench, way: Way, flows: number, checksum: boolean): Promise<void> {
  const filling = repeated(way, fillRuns(way, checksum, flows))
  const events: Event[] = [{ what: 'all come', script: filling.map(quietScript).join('\n') }, { what: 'all expire', script: EXPIRED }]
  const output = await bench.sh(['set -e', LEFT, timeouts(lifetime(flows)), ...events.map(watched)].join('\n'), LIMIT_MS)
  const unfilled = countsOf(output).map(lost).find((reason) => reason !== undefined)
  addGaps(bench, way, flows, output, unfilled && `it was not filled: ${unfilled}`)
}
