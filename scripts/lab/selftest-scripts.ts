// SPDX-License-Identifier: GPL-2.0-only
/** Which of the kernel's own tests (Documentation/dev-tools/kselftest.rst) are run on a gateway, and which are not, by what each says of itself. */

/** Folders of the netfilter tests below tools/testing/selftests, the newer place first (Linux 6.10 moved them). */
export const FOLDERS = ['net/netfilter', 'netfilter'] as const

/** What scripts of the newer place read beside what is in their folder. */
export const LIBRARIES = ['net/lib.sh'] as const

export interface Selftest {
  /** Names of the script: kernels call it by one of them. */
  scripts: readonly string[]
  /** What it shows of a gateway. */
  why: string
  /** Whether each of its network namespaces gets a service of IPVS and a zone of SNAT first, whose addresses nothing in it has. */
  beside: boolean
  /** Whether a kernel without it has failed. */
  required: boolean
  /** What it may say has failed: it ends as if it had not. */
  tolerated?: RegExp
  /** The only folder of which it is run. */
  only?: (typeof FOLDERS)[number]
}

const plain = (why: string, ...scripts: string[]): Selftest => ({ scripts, why, beside: false, required: true })
const beside = (why: string, ...scripts: string[]): Selftest => ({ scripts, why, beside: true, required: false })

export const SELFTESTS: readonly Selftest[] = [
  plain('LVS by direct routing, NAT and tunnels, as it is without SNAT', 'ipvs.sh'),
  { ...beside('the same beside SNAT, which is not to touch what LVS has', 'ipvs.sh'), required: true },
  beside('SNAT, DNAT, masquerading and redirection of nf_tables', 'nft_nat.sh'),
  beside('clients with the same address in zones of connection tracking, and ports that NAT has to change', 'nft_nat_zones.sh'),
  beside('ports that NAT has to change where sockets have their packets early', 'nf_nat_edemux.sh'),
  beside('ICMP errors and redirects through masquerading', 'conntrack_icmp_related.sh'),
  beside('connections that are redirected before anybody has answered', 'conntrack_tcp_unreplied.sh'),
  beside('masquerading and marks in virtual routing and forwarding', 'conntrack_vrf.sh'),
  beside('path MTU discovery through a tunnel, with connection tracking', 'conntrack_ipip_mtu.sh', 'ipip-conntrack-mtu.sh'),
  // Its IPsec takes its time where AES has no instructions of its own. A file that does not arrive elsewhere is told of once more.
  { ...beside('flowtables, with NAT, bridges and VLANs', 'nft_flowtable.sh'), tolerated: /ipsec tunnel mode|file mismatch/ },
  // That of the older folder waits for ever if the client comes before the server listens.
  { ...beside('the helper for FTP, beside which there is ip_vs_ftp', 'nft_conntrack_helper.sh'), only: 'net/netfilter' },
  beside('SYN cookies for those behind the gateway', 'nft_synproxy.sh'),
  beside('reverse path filters of nf_tables', 'nft_fib.sh'),
  beside('reverse path filters of iptables and nf_tables', 'rpath.sh'),
  beside('how often a rule sees a packet at input and output, where IPVS has hooks too', 'nft_meta.sh'),
  beside('bridged packets that come to the hooks of IP', 'br_netfilter.sh'),
]

const COMPILED = 'needs a program that is compiled for it, with libraries of the machine'
const SETS = 'sets and transactions of nf_tables, without packets that a gateway forwards'
const PROXY = 'transparent proxies, which are sockets of the gateway'

/** What is not run, by the name of the script. */
export const LEFT_OUT: Readonly<Record<string, string>> = {
  'br_netfilter_queue.sh': COMPILED,
  'conntrack_reverse_clash.sh': COMPILED,
  'conntrack_sctp_collision.sh': COMPILED,
  'nft_queue.sh': COMPILED,
  'nft_audit.sh': COMPILED,
  'nf_conntrack_packetdrill.sh': 'packetdrill is in no package of Debian',
  'nft_concat_range.sh': SETS,
  'nft_concat_range_perf.sh': SETS,
  'nft_trans_stress.sh': SETS,
  'nft_zones_many.sh': 'measures how long many zones take',
  'nft_tproxy_tcp.sh': PROXY,
  'nft_tproxy_udp.sh': PROXY,
  'bridge_brouter.sh': 'ebtables, before anything of IP',
  'vxlan_mtu_frag.sh': 'VXLAN in a bridge',
  'xt_string.sh': 'what is in packets',
  'lib.sh': 'is what others read',
}

/** Modules that the scripts load or have the kernel load, by the files `config` of their folders and by what failed without (IPsec of nft_flowtable.sh). */
export const MODULES: readonly string[] = [
  'bridge', 'br_netfilter', 'macvlan', 'nf_*', 'nfnetlink*', 'ip6*', 'ebt*', 'sch_*', 'cls_u32', 'inet_diag', 'tcp_diag', 'udp_diag', 'ipcomp',
  'esp4', 'esp6', 'xfrm*', 'authenc', 'echainiv', 'seqiv', 'cbc', 'ctr', 'gcm', 'ghash_generic', 'aes_generic', 'sha1_generic', 'sha256_generic', 'sha512_generic', 'hmac', 'crypto_null', 'drbg',
]
