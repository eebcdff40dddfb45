// SPDX-License-Identifier: GPL-2.0-only
/** The ways through the gateway that are compared: how each is set up, and taken away so that nothing of it is left. */

import type { Machine } from '../qemu/machine.ts'
import { nftablesFlowtable, nftablesNothing, nftablesSnat } from './nftables.ts'
import { FAR, INSIDE, NEAR, POOL, REMOTE_PORT, VIP } from './network.ts'
import { rulesFiles } from './rules.ts'

export interface Way {
  name: string
  /** A shell script whose status says whether this kernel and image can do it. */
  possible: string
  /** What is told where it is not possible. */
  lacking: string
  setUp: string
  tearDown: string
  /** The source of its packets at the remote, and where the remote sends replies to. */
  outside: string
  /** Limits the ports that it gives out to a range. */
  limitPorts?: (first: number, last: number) => string
  /** What it takes for TCP as well, where that is something of its own. */
  alsoTcp?: string
  /** Whether an established flow's packets are no longer seen by the kernel's own forwarding, which counts what it sees. */
  passesForwarding?: boolean
}

/** Files that the scripts below read. */
const FILES: Readonly<Record<string, Buffer>> = {
  '/tmp/nftables-snat': nftablesSnat(FAR, POOL),
  '/tmp/nftables-flowtable': nftablesFlowtable(FAR, POOL, [NEAR, FAR]),
  '/tmp/nftables-nothing': nftablesNothing(),
  ...rulesFiles(),
}

export async function putFiles(machine: Pick<Machine, 'put'>): Promise<void> {
  for (const [path, content] of Object.entries(FILES)) await machine.put(path, content)
}

/** No flow ends while it is measured, and no table is smaller than another's. */
const CONNTRACK = `
echo 262144 >/proc/sys/net/netfilter/nf_conntrack_max
echo 262144 >/sys/module/nf_conntrack/parameters/hashsize
for name in nf_conntrack_udp_timeout nf_conntrack_udp_timeout_stream nf_flowtable_udp_timeout; do
  [ ! -e /proc/sys/net/netfilter/$name ] || echo 3000 >/proc/sys/net/netfilter/$name
done`

/** For millions of flows. */
export const CONNTRACK_MOST = `
echo 5000000 >/proc/sys/net/netfilter/nf_conntrack_max
echo 4194304 >/sys/module/nf_conntrack/parameters/hashsize`

/** The engine of older commits has not all of these. */
export const IPVS_LIMITS = `
for setting in snat_max_conns=1000000 snat_max_conns_per_host=0 snat_udp_timeout=3000 snat_udp_unanswered_timeout=3000; do
  [ ! -e /proc/sys/net/ipv4/vs/\${setting%%=*} ] || echo \${setting#*=} >/proc/sys/net/ipv4/vs/\${setting%%=*}
done`

/** The hooks of a module cost something as long as it is there. */
const UNLOAD = `
for round in 1 2 3 4 5 6 7 8; do
  for module in $(awk '/^(ip_vs|iptable_nat|ipt_|xt_|nft_|nf_tables|nf_flow_table|nf_nat|nf_conntrack)/ { print $1 }' /proc/modules); do
    rmmod $module 2>/dev/null
  done
  grep -qE '^(ip_vs|nf_conntrack|nf_nat|nf_tables) ' /proc/modules || exit 0
  usleep 100000
done
grep -E '^(ip_vs|nf_)' /proc/modules
exit 1`

const NFTABLES = 'modprobe nf_tables && modprobe nft_chain_nat'
const NO_NFTABLES = 'this kernel has no nf_tables'

const iptablesSnat = (target: string, protocol = 'udp'): string => `iptables -t nat -A POSTROUTING -p ${protocol} -o ${FAR} -j SNAT --to-source ${target}`

/** @param service a protocol, as ipvsadm takes it */
const ipvsSnat = (service: '-t' | '-u'): string => `ipvsadm -A ${service} 0.0.0.0:0 -s rr -p 10 && ipvsadm -a ${service} 0.0.0.0:0 -r ${POOL}:0 -m`

export const PLAIN: Way = { name: 'plain forwarding', possible: 'true', lacking: '', setUp: 'true', tearDown: 'true', outside: INSIDE }

export const IPVS: Way = {
  name: 'IPVS SNAT',
  possible: 'modprobe ip_vs && test -e /proc/net/ip_vs_snat',
  lacking: 'this kernel has no SNAT in IPVS',
  setUp: `${ipvsSnat('-u')}\n${IPVS_LIMITS}`,
  alsoTcp: ipvsSnat('-t'),
  tearDown: `ipvsadm -C\n${UNLOAD}`,
  outside: POOL,
  limitPorts: (first, last) => `echo '${first} ${last}' >/proc/sys/net/ipv4/vs/snat_port_range`,
}

export const IPTABLES: Way = {
  name: 'iptables SNAT',
  possible: 'iptables -t nat -L -n',
  lacking: 'this kernel has no iptables',
  setUp: `${iptablesSnat(POOL)}\n${CONNTRACK}`,
  alsoTcp: iptablesSnat(POOL, 'tcp'),
  tearDown: `iptables -t nat -F\n${UNLOAD}`,
  outside: POOL,
  limitPorts: (first, last) => `iptables -t nat -F POSTROUTING\n${iptablesSnat(`${POOL}:${first}-${last}`)}`,
}

const NFTABLES_SNAT: Way = {
  name: 'nftables SNAT',
  possible: NFTABLES,
  lacking: NO_NFTABLES,
  setUp: `netlink-batch </tmp/nftables-snat\n${CONNTRACK}`,
  tearDown: `netlink-batch </tmp/nftables-nothing\n${UNLOAD}`,
  outside: POOL,
}

export const FLOWTABLE: Way = {
  name: 'nftables, flowtable',
  possible: `${NFTABLES} && modprobe nft_flow_offload && modprobe nf_flow_table_inet`,
  lacking: NO_NFTABLES,
  setUp: `netlink-batch </tmp/nftables-flowtable\n${CONNTRACK}`,
  tearDown: `netlink-batch </tmp/nftables-nothing\n${UNLOAD}`,
  outside: POOL,
  passesForwarding: true,
}

/** Longer than a part of the benchmark takes. */
const FASTPATH = '/proc/sys/net/ipv4/vs/snat_fastpath'
const FASTPATH_S = 3600

/** With the short way of established flows. */
export const FAST: Way = {
  ...IPVS,
  name: 'IPVS SNAT, fast',
  possible: `modprobe ip_vs && test -e ${FASTPATH}`,
  lacking: 'this kernel has no short way for flows of SNAT in IPVS',
  setUp: `${IPVS.setUp}\necho ${FASTPATH_S} >${FASTPATH}`,
  passesForwarding: true,
}

/** By rules instead of a service. */
export const RULES: Way = {
  ...IPVS,
  name: 'IPVS SNAT, rules',
  possible: 'modprobe ip_vs && ipvsadm -G',
  lacking: 'this kernel or ipvsadm has no rules of SNAT',
}

/** Those that translate, or leave alone, what goes out. */
export const WAYS: readonly Way[] = [PLAIN, IPVS, FAST, IPTABLES, NFTABLES_SNAT, FLOWTABLE]

/** A balanced service in front of the inside host. */
export const LVS_SERVICE = `ipvsadm -A -u ${VIP}:${REMOTE_PORT} -s rr && ipvsadm -a -u ${VIP}:${REMOTE_PORT} -r ${INSIDE}:${REMOTE_PORT} -m`

export const LVS: Way = { ...IPVS, name: 'LVS NAT', setUp: LVS_SERVICE }

const LVS_FAST: Way = { ...FAST, name: 'LVS NAT, fast', setUp: `${LVS_SERVICE}\necho ${FASTPATH_S} >${FASTPATH}` }

/** Those of a balanced service, without SNAT beside it. */
export const LVS_WAYS: readonly Way[] = [LVS, LVS_FAST]
