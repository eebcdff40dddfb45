// SPDX-License-Identifier: GPL-2.0-only
/**
 * The network inside the one virtual machine that is measured, and how packets are sent through it:
 *
 *     namespace "inside"              the gateway                   namespace "remote"
 *     source 192.168.1.2 -- near 192.168.1.1  far 203.0.113.1 -- sink 203.0.113.254, 198.51.100.7
 *
 * pktgen sends from one end, one processor does all the work, and a rule in the other end's
 * namespace counts and drops what arrives with the addresses that it should have by then.
 */

export const INSIDE = '192.168.1.2'
/** Another inside host, of the same device. */
export const INSIDE2 = '192.168.1.3'
/** The first of the remotes, and the network that they are in. */
export const REMOTE = '198.51.100.7'
export const REMOTES = '198.51.100.0/24'
export const REMOTE_PORT = 53
export const POOL = '203.0.113.10'
export const VIP = '203.0.113.80'
/** The gateway's devices. */
export const NEAR = 'near'
export const FAR = 'far'

export type End = 'inside' | 'remote'

/**
 * Functions for every script that runs in the machine.
 *
 * 2.6.32 can enter no network namespace (setns), so that a shell in each takes commands. And its pktgen
 * knows only the first namespace: "inside" is that one there, and does not take packets in.
 */
export const FUNCTIONS = `
# at END COMMAND...: runs a command in the end's namespace
at() {
  end=$1; shift
  if [ $end = inside ] && [ ! -e /tmp/inside.do ]; then eval "$*"; return; fi
  echo "$*" >/tmp/$end.do
  read -r status </tmp/$end.done
  cat /tmp/$end.out
  return $status
}

# serve END: the other side of it
serve() {
  while read -r command </tmp/$1.do; do
    ( . /tmp/functions; eval "$command" ) >/tmp/$1.out 2>&1
    echo $? >/tmp/$1.done
  done
}

# mac DEVICE: its address; /sys shows the devices of the first namespace everywhere
mac() { ip link show dev $1 | awk '$1 == "link/ether" { print $2 }'; }

# prepare PROCESSOR DEVICE COUNT KEY=VALUE...: what a processor's pktgen is to send
prepare() {
  thread=/proc/net/pktgen/kpktgend_$1; device=$2; count=$3; shift 3
  echo add_device $device >$thread
  for setting in count=$count pkt_size=60 delay=0 clone_skb=0 "$@"; do
    echo "\${setting%%=*} \${setting#*=}" >/proc/net/pktgen/$device
  done
}

# packets DEVICE COUNT KEY=VALUE...: sends by pktgen, and prints what it says of its run
packets() {
  echo rem_device_all >/proc/net/pktgen/kpktgend_0
  prepare 0 "$@"
  echo start >/proc/net/pktgen/pgctrl
  grep -o 'OK: [0-9]*.*' /proc/net/pktgen/$device
}

# forget: has no processor's pktgen know a device any more; the threads do that when they come to it
forget() {
  for thread in /proc/net/pktgen/kpktgend_*; do echo rem_device_all >$thread; done
  while ls /proc/net/pktgen | grep -q @; do usleep 100000; done
  sleep 1
}

# both DEVICE: the same of all that is prepared, for processors whose device is DEVICE@PROCESSOR
both() {
  mark-window begin
  echo start >/proc/net/pktgen/pgctrl
  mark-window end
  for file in /proc/net/pktgen/$1@*; do grep -o 'OK: [0-9]*.*' $file; done
}

# expecting SOURCE DESTINATION: from now on, counts what comes with these addresses, and drops it
expecting() {
  iptables -t raw -F PREROUTING
  iptables -t raw -A PREROUTING -p udp -s $1 -d $2 -j DROP
}

# arrived: how many have come since "expecting"
arrived() {
  iptables -t raw -L PREROUTING -nvx | awk 'NR == 3 { print "arrived " $1 }'
}
`

/** After {@link FUNCTIONS} are in /tmp/functions. */
export const SETUP = `
set -e
. /tmp/functions
modprobe veth; modprobe pktgen; modprobe iptable_raw
# 2.6.32 gives both ends of a pair the name that one asks for.
wired() { ip link add type veth; ip link set veth0 name $1; ip link set veth1 name $2; }
# begin END: a namespace and the shell in it; prints its process
begin() {
  mkfifo /tmp/$1.do /tmp/$1.done
  unshare -n sh -c ". /tmp/functions; serve $1" >/dev/null 2>&1 &
  echo $!
}
remote=$(begin remote)
if at remote test -e /proc/net/pktgen; then
  inside=$(begin inside)
  at inside true
fi
wired ${FAR} sink
ip link set sink netns $remote
at remote 'ip addr add 203.0.113.254/24 dev sink; ip link set sink up'
wired ${NEAR} source
if [ -n "$inside" ]; then ip link set source netns $inside; fi
at inside ip link set source up
ip addr add 192.168.1.1/24 dev ${NEAR}; ip link set ${NEAR} up
ip addr add 203.0.113.1/24 dev ${FAR}; ip addr add ${POOL}/32 dev ${FAR}; ip addr add ${VIP}/32 dev ${FAR}; ip link set ${FAR} up
ip route add default via 203.0.113.254
# Nobody asks for an address while something is measured.
arp -i ${FAR} -s 203.0.113.254 $(at remote mac sink)
for host in ${INSIDE} ${INSIDE2}; do arp -i ${NEAR} -s $host $(at inside mac source); done
# If the kernel leaves packets to this thread, they come before what pktgen sends next, and are neither lost nor left over.
chrt -f -p 50 $(pidof ksoftirqd/0) >/dev/null
echo 1 >/proc/sys/net/ipv4/ip_forward
for file in /proc/sys/net/ipv4/conf/*/rp_filter /proc/sys/net/ipv4/conf/*/send_redirects; do echo 0 >$file; done
`

/** Flows that differ by the port of one side, and by the remote. */
export interface Flows {
  /** First port and number of ports; the other side's is {@link REMOTE_PORT}. */
  ports: readonly [first: number, count: number]
  /** How many remotes take turns. Without a divisor in common with the ports, each comes together with each. */
  remotes: number
}

/** What a run of pktgen sends: one packet of each flow, over and over. */
export interface Stream extends Flows {
  from: End
  source: string
  destination: string
  varies: 'source' | 'destination'
  checksum: boolean
  packets: number
}

/** @returns the last one of as many remotes, or an address that is none of theirs */
const lastOf = (address: string, remotes: number): string =>
  address.startsWith(REMOTES.replace(/\d+\/.*/, '')) ? address.replace(/\d+$/, (last) => String(Number(last) + remotes - 1)) : address

/** The device of an end, and the gateway's on the other side of the wire. */
const devicesOf = (end: End): readonly [own: string, gateway: string] => (end === 'inside' ? ['source', NEAR] : ['sink', FAR])

/** @returns a line of shell that sends it and prints what pktgen says */
export function sending(stream: Stream): string {
  const [device] = devicesOf(stream.from)
  return `at ${stream.from} packets ${device} ${settingsOf(stream)}`
}

/** A device behind which there is nothing. */
export const NOWHERE = 'nowhere'

/**
 * @param device of the end that they are from
 * @returns lines of shell by which each processor sends a stream of its own, all at once, and prints what pktgen says
 */
export function sendingAtOnce(streams: readonly Stream[], from: End, device = devicesOf(from)[0]): string {
  return [
    `at ${from} forget`,
    ...streams.map((stream, processor) => `at ${from} prepare ${processor} ${device}@${processor} ${settingsOf(stream)}`),
    `at ${from} both ${device}`,
  ].join('\n')
}

/** @returns number of packets, and how they look */
function settingsOf(stream: Stream): string {
  const [first, count] = stream.ports
  const range = (side: 'src' | 'dst', low: number, high: number) => [`udp_${side}_min=${low}`, `udp_${side}_max=${high}`]
  const addresses = (side: 'src' | 'dst', address: string) => [`${side}_min=${address}`, `${side}_max=${lastOf(address, stream.remotes)}`]
  const [, gateway] = devicesOf(stream.from)
  const settings = [
    ...addresses('src', stream.source), ...addresses('dst', stream.destination),
    ...range(stream.varies === 'source' ? 'src' : 'dst', first, first + count),
    ...range(stream.varies === 'source' ? 'dst' : 'src', REMOTE_PORT, REMOTE_PORT),
    ...(stream.checksum ? ['flag=UDPCSUM'] : []),
  ]
  return `${stream.packets} ${settings.join(' ')} dst_mac=$(mac ${gateway})`
}

/** Payload of a full segment at an MTU of 1500 with time stamps (RFC 7323, Appendix A). */
export const SEGMENT_BYTES = 1448
export const BULK_MIB = 256
/** Segments of a stream, which pass the gateway merged (GSO). */
export const BULK_SEGMENTS = Math.ceil((BULK_MIB * 2 ** 20) / SEGMENT_BYTES)
export const ROUTER = '203.0.113.254'

/** The ends as hosts with a TCP stack of their own. */
export const HOSTS_SETUP = `
at inside 'ip link set lo up; ip addr add ${INSIDE}/24 dev source; ip route add default via 192.168.1.1'
at remote 'ip link set lo up; ip route add 192.168.1.0/24 via 203.0.113.1'`

export const HOSTS_TEARDOWN = `
at remote 'ip route del 192.168.1.0/24'
at inside ip addr del ${INSIDE}/24 dev source`

/**
 * A function of shell that prints the guest's clock, how long it has had nothing to do, both in nanoseconds, and how many packets the gateway has
 * had from and for inside: {@link passedOf} reads `took` before two of these lines.
 */
export const NOW = `now() {
  awk '/^now at/ { time = $3 } $1 == ".idle_sleeptime" { idle += $3 } END { printf "%s %.0f ", time, idle }' /proc/timer_list
  cd /sys/class/net/${NEAR}/statistics
  cat rx_packets tx_packets
}`

interface Passed {
  /** Nanoseconds in which there was something to do. */
  busy: number
  /** And in which there was not: somebody waited for a timer. */
  idle: number
  /** Packets that came to the gateway from inside, and that it has sent there. */
  outward: number
  homeward: number
}

/** @returns what has passed from one {@link NOW} to the next, if the text has both */
export function passedOf(text: string): Passed | undefined {
  const numbers = (/^took((?: \d+){8})$/m.exec(text)?.[1] ?? '').trim().split(' ').map(Number)
  const [time, idle, outward, homeward] = numbers.slice(4).map((after, index) => after - (numbers[index] ?? NaN))
  return time === undefined || idle === undefined || outward === undefined || homeward === undefined ? undefined : { busy: time - idle, idle, outward, homeward }
}

/** What each end does with the file; the inside host connects. */
const TRANSFERS = {
  down: { remote: 'send /tmp/bulk', inside: 'receive' },
  up: { remote: 'receive', inside: 'send /tmp/bulk' },
} as const
const BULK_PORT = 81

/**
 * @param seen source that its packets have at the remote
 * @returns a script that moves the file and prints {@link NOW} of before and after, then how many packets had which source
 */
export const transfer = (direction: keyof typeof TRANSFERS, seen: string): string => `
set -e
[ -e /tmp/bulk ] || dd if=/dev/zero of=/tmp/bulk bs=1M count=${BULK_MIB} 2>/dev/null
at remote 'bulk-stream listen ${ROUTER} ${BULK_PORT} ${TRANSFERS[direction].remote} </dev/null >/dev/null 2>&1 &'
at remote 'iptables -t raw -F PREROUTING; iptables -t raw -A PREROUTING -p tcp -s ${seen}; iptables -t raw -A PREROUTING -p tcp ! -s ${seen}'
${NOW}
before=$(now)
at inside bulk-stream connect ${ROUTER} ${BULK_PORT} ${TRANSFERS[direction].inside}
echo took $before $(now)
at remote iptables -t raw -L PREROUTING -nvx | awk 'NR > 2 { print "packets " $1 }'`

interface Transfer extends Passed {
  /** Why that means nothing, if it does. */
  refused?: string
}

/** @param text what a {@link transfer} has printed */
export function transferOf(text: string): Transfer {
  const passed = passedOf(text)
  const [seen, others] = [...text.matchAll(/^packets (\d+)$/gm)].map(([, count]) => Number(count))
  if (passed === undefined || seen === undefined || others === undefined) throw new Error(`a transfer did not say all that it should: ${text}`)
  const refused = seen === 0 || others > 0 ? `${others} of ${seen + others} packets had another source` : undefined
  return { ...passed, ...(refused === undefined ? {} : { refused }) }
}

/** @returns the end that a stream arrives at */
export const otherEnd = (end: End): End => (end === 'inside' ? 'remote' : 'inside')

/** @param text with what pktgen says of its run: `OK: 401234(c401000+d234) usec, 40000 (60byte,0frags)`; 2.6.32 calls the same microseconds nsec */
export function rateOf(text: string): { instructions: number; sent: number } {
  const match = /OK: (\d+)\(.*[un]sec, (\d+) /.exec(text)
  if (!match) throw new Error(`pktgen did not say how long it took: ${text}`)
  const sent = Number(match[2])
  return { instructions: (Number(match[1]) * 1000) / sent, sent }
}
