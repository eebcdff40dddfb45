/**
 * Measures what a forwarded packet costs, in guest instructions: one CPU under
 * `-icount shift=0`, where one instruction is one nanosecond of the guest's clock, so
 * that the rate pktgen reports is a count (equal to 0.1 % between runs and computers).
 *
 * pktgen sends into one end of a veth pair; the gateway takes it from the other and
 * forwards it into a network namespace, which drops it: 60-byte UDP to one remote address and port, from as many source ports
 * as there are flows.
 */

import type { Machine } from './qemu/machine.ts'

export interface Way {
  name: string
  /** Whether this kernel and image can do it; a shell script whose status says so. */
  possible: string
  setUp: string
  /** Prints how many connections there are: fewer than flows would mean that something else was measured. */
  connections?: string
  tearDown: string
}

export interface Measurement {
  way: string
  flows: number
  /** Guest instructions from pktgen's sending to the drop. */
  instructions: number
}

export const FLOWS = [1, 100, 1_000, 20_000] as const

const INSIDE = '192.168.1.2'
const REMOTE = '198.51.100.7'
const POOL = '203.0.113.10'
const FIRST_PORT = 20_000
/** Every flow is used at least twice while it is measured. */
const MEASURED_PACKETS = 40_000
/** The clock follows the instructions, not the wall, so a limit must be generous. */
const LIMIT_MS = 600_000

export const WAYS: readonly Way[] = [
  { name: 'plain forwarding', possible: 'true', setUp: 'true', tearDown: 'true' },
  {
    name: 'IPVS SNAT',
    possible: 'modprobe ip_vs && test -e /proc/net/ip_vs_snat',
    setUp: `ipvsadm -A -u 0.0.0.0:0 -s rr -p 10 && ipvsadm -a -u 0.0.0.0:0 -r ${POOL}:0 -m`,
    connections: "awk '$1 == \"conns\" { print $2 }' /proc/net/ip_vs_snat",
    tearDown: 'ipvsadm -C; for module in $(awk "/^ip_vs/ { print \\$1 }" /proc/modules); do rmmod $module 2>/dev/null; done; rmmod ip_vs; true',
  },
  {
    name: 'iptables SNAT',
    possible: 'iptables -t nat -L -n',
    setUp: `
      echo 262144 >/proc/sys/net/netfilter/nf_conntrack_max
      iptables -t nat -A POSTROUTING -o far -j SNAT --to-source ${POOL}`,
    connections: 'cat /proc/sys/net/netfilter/nf_conntrack_count',
    tearDown: 'iptables -t nat -F',
  },
]

const SETUP = `
set -e
modprobe veth; modprobe pktgen
# 2.6.32 cannot enter a namespace (setns), so the far one sets itself up as soon as its device comes; and it gives both
# ends of a pair the name that one asks for.
wired() { ip link add type veth; ip link set veth0 name $1; ip link set veth1 name $2; }
unshare -n sh -c '
  until ip link show dev sink >/dev/null 2>&1; do sleep 1; done
  ip addr add 203.0.113.254/24 dev sink; ip link set sink up; ip link set lo up
  exec sleep 1000000' & sink=$!
sleep 1
wired far sink
ip link set sink netns $sink
wired near source
ip link set source up
ip addr add 192.168.1.1/24 dev near; ip link set near up
ip addr add 203.0.113.1/24 dev far; ip addr add ${POOL}/32 dev far; ip link set far up
ip route add default via 203.0.113.254
echo 1 >/proc/sys/net/ipv4/ip_forward
for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$file; done
ping -c 3 -W 5 203.0.113.254 >/dev/null
`

/** @param count packets @returns a script that sends them and prints microseconds and packets */
function send(flows: number, count: number): string {
  const settings = [
    `count ${count}`, 'pkt_size 60', 'delay 0', 'clone_skb 0', `src_min ${INSIDE}`, `src_max ${INSIDE}`,
    `dst ${REMOTE}`, 'udp_dst_min 53', 'udp_dst_max 53', `udp_src_min ${FIRST_PORT}`, `udp_src_max ${FIRST_PORT + flows}`,
  ]
  return `
    set -e
    mac=$(cat /sys/class/net/near/address)
    echo rem_device_all >/proc/net/pktgen/kpktgend_0
    echo add_device source >/proc/net/pktgen/kpktgend_0
${settings.map((setting) => `    echo '${setting}' >/proc/net/pktgen/source`).join('\n')}
    echo "dst_mac $mac" >/proc/net/pktgen/source
    echo start >/proc/net/pktgen/pgctrl
    grep -o 'OK: [0-9]*.*' /proc/net/pktgen/source`
}

/** @param text what pktgen says of its run: `OK: 401234(c401000+d234) usec, 40000 (60byte,0frags)`; 2.6.32 calls the same microseconds nsec */
export function instructionsPerPacket(text: string): number {
  const match = /OK: (\d+)\(.*[un]sec, (\d+) /.exec(text)
  if (!match) throw new Error(`pktgen did not say how long it took: ${text}`)
  return (Number(match[1]) * 1000) / Number(match[2])
}

/**
 * @param machine one CPU, started with `instructionClock`
 * @param onMeasurement called after each
 * @returns all measurements that this kernel can do
 */
export async function measure(machine: Machine, onMeasurement: (measurement: Measurement) => void): Promise<Measurement[]> {
  await machine.sh(SETUP, LIMIT_MS)
  const all: Measurement[] = []
  for (const way of WAYS) {
    if ((await machine.run(way.possible, LIMIT_MS)).status !== 0) continue
    await machine.sh(way.setUp, LIMIT_MS)
    for (const flows of FLOWS) {
      // Once without counting, so that all connections exist.
      await machine.sh(send(flows, flows), LIMIT_MS)
      const text = await machine.sh(send(flows, MEASURED_PACKETS), LIMIT_MS)
      if (way.connections) await requireConnections(machine, way.connections, flows)
      const measurement = { way: way.name, flows, instructions: instructionsPerPacket(text) }
      onMeasurement(measurement)
      all.push(measurement)
    }
    await machine.sh(way.tearDown, LIMIT_MS)
  }
  return all
}

async function requireConnections(machine: Machine, script: string, flows: number): Promise<void> {
  const count = Number((await machine.sh(script)).trim())
  if (!(count >= flows)) throw new Error(`there are ${count} connections for ${flows} flows: the measurement would mean nothing`)
}

/** @returns the measurements as a table: instructions, and what they are over plain forwarding */
export function table(measurements: readonly Measurement[]): string[] {
  const of = (way: string, flows: number) => measurements.find((one) => one.way === way && one.flows === flows)?.instructions
  const ways = [...new Set(measurements.map(({ way }) => way))]
  const widths = [18, ...FLOWS.map(() => 18), 18]
  const row = (cells: readonly string[]) => cells.map((cell, index) => (index === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[index] ?? 0))).join('')
  const cell = (way: string, flows: number): string => {
    const count = of(way, flows)
    const plain = of(ways[0] ?? '', flows)
    if (count === undefined || plain === undefined) return '-'
    return way === ways[0] ? count.toFixed(0) : `${count.toFixed(0)} (+${(count - plain).toFixed(0)})`
  }
  const [, hundred, , most] = FLOWS
  const growth = (way: string): string => ((of(way, most) ?? NaN) / (of(way, hundred) ?? NaN)).toFixed(3)
  return [
    row(['instructions/packet', ...FLOWS.map((flows) => `${flows} flows`), `${most} / ${hundred}`]),
    ...ways.map((way) => row([way, ...FLOWS.map((flows) => cell(way, flows)), growth(way)])),
  ]
}
