/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the SNAT engine needs of the kernel around it, where kernel versions
 * differ. A port to another kernel replaces this file, not the engine.
 */

#ifndef _IP_VS_SNAT_COMPAT_H
#define _IP_VS_SNAT_COMPAT_H

#include <linux/jhash.h>
#include <linux/proc_fs.h>
#include <linux/seq_file_net.h>
#include <linux/siphash.h>
#include <net/inet_hashtables.h>
#include <net/ip.h>
#include <net/ip_fib.h>
#include <net/nexthop.h>
#include <net/route.h>
#include <net/tcp.h>
#include <net/udp.h>
#include <net/ip_vs_snat.h>

/* Parameters of packet_xmit() of a connection */
#define IP_VS_SNAT_XMIT_PARAMS						\
	struct sk_buff *skb, struct ip_vs_conn *cp,			\
	struct ip_vs_protocol *pp, struct ip_vs_iphdr *iph

/* Handlers of settings get a copy of what the user wrote */
#define ip_vs_snat_sysctl_buf	void *

/* The network namespace of a connection */
static inline struct netns_ipvs *ip_vs_snat_ipvs(const struct ip_vs_conn *cp)
{
	return cp->ipvs;
}

/* Secret of the port allocation, and of the hash tables */
struct ip_vs_snat_key {
	siphash_key_t	ports;
	u32		tables;
};

static inline void ip_vs_snat_key_init(struct ip_vs_snat_key *key)
{
	get_random_bytes(key, sizeof(*key));
}

/* Buckets need to be spread, a remote host must not be able to aim at one */
static inline u32 ip_vs_snat_table_hash(const struct ip_vs_snat_key *key,
					const struct netns_ipvs *ipvs, u8 proto,
					__be32 raddr, __be16 rport,
					__be32 laddr, __be16 lport)
{
	return jhash_3words((__force u32)raddr, (__force u32)laddr,
			    (__force u32)rport << 16 | (__force u32)lport,
			    key->tables ^ net_hash_mix(ipvs->net) ^ proto);
}

/* Ports must not be predictable either: this one is a real keyed hash */
static inline u64 ip_vs_snat_port_hash(const struct ip_vs_snat_key *key,
				       u8 proto, __be32 raddr, __be16 rport,
				       __be32 laddr, __be16 lport, __be32 pool)
{
	return siphash_3u64((__force u64)raddr << 32 | (__force u64)laddr,
			    (__force u64)pool << 32 | proto,
			    (__force u64)rport << 16 | (__force u64)lport,
			    &key->ports);
}

static inline bool ip_vs_snat_has_protocol(struct netns_ipvs *ipvs,
					   u16 protocol)
{
	return ip_vs_proto_data_get(ipvs, protocol);
}

/* The handler of TCP with timeouts of our own, and without secure_tcp, which
 * defends services against half-open connections from outside.
 */
struct ip_vs_snat_proto {
	struct ip_vs_proto_data	pd;
};

/* Returns false if this kernel was built without TCP for services */
static inline bool ip_vs_snat_tcp_init(struct netns_ipvs *ipvs,
				       struct ip_vs_snat_proto *tcp,
				       int *timeouts)
{
	struct ip_vs_proto_data *pd = ip_vs_proto_data_get(ipvs, IPPROTO_TCP);

	if (!pd)
		return false;
	tcp->pd = *pd;
	tcp->pd.timeout_table = timeouts;
	return true;
}

static inline void ip_vs_snat_tcp_transition(struct ip_vs_snat_proto *tcp,
					     struct ip_vs_conn *cp,
					     int direction,
					     const struct sk_buff *skb,
					     unsigned int thoff)
{
	tcp->pd.pp->state_transition(cp, direction, skb, &tcp->pd, thoff);
}

/* Catch-all service of a protocol, called under RCU lock with softirqs off */
static inline struct ip_vs_service *
ip_vs_snat_service_get(struct netns_ipvs *ipvs, u16 protocol)
{
	const union nf_inet_addr any = { .ip = htonl(INADDR_ANY) };

	return ip_vs_service_find(ipvs, AF_INET, 0, protocol, &any, 0);
}

static inline void ip_vs_snat_service_put(struct ip_vs_service *svc)
{
}

/* Let the scheduler pick a destination, called under RCU lock */
static inline struct ip_vs_dest *
ip_vs_snat_schedule(struct ip_vs_service *svc, struct sk_buff *skb,
		    struct ip_vs_iphdr *iph)
{
	struct ip_vs_scheduler *sched = rcu_dereference(svc->scheduler);

	if (!sched)
		return NULL;
	/* read svc->sched_data after svc->scheduler */
	smp_rmb();
	return sched->schedule(svc, skb, iph);
}

/* Service on exactly this address and port, called under RCU lock */
static inline bool ip_vs_snat_has_service(struct netns_ipvs *ipvs, u16 protocol,
					  __be32 addr, __be16 port)
{
	const union nf_inet_addr vaddr = { .ip = addr };
	struct ip_vs_service *svc;

	svc = ip_vs_service_find(ipvs, AF_INET, 0, protocol, &vaddr, port);
	return svc && svc->port == port;
}

/* Can this destination be a pool address at all? */
static inline bool ip_vs_snat_dest_is_pool(struct ip_vs_dest *dest)
{
	return dest->af == AF_INET &&
	       IP_VS_DFWD_METHOD(dest) == IP_VS_CONN_F_MASQ;
}

/* Is it in its service, or was it taken away? */
static inline bool ip_vs_snat_dest_available(const struct ip_vs_dest *dest)
{
	return dest->cflags & IP_VS_DEST_CF_AVAILABLE;
}

static inline bool ip_vs_snat_addr_is_local(struct netns_ipvs *ipvs,
					    __be32 addr)
{
	return inet_addr_type(ipvs->net, addr) == RTN_LOCAL;
}

static inline bool ip_vs_snat_port_reserved(struct netns_ipvs *ipvs,
					    __be16 port)
{
	return inet_is_local_reserved_port(ipvs->net, ntohs(port));
}

/* Would a packet from the remote address and port to the local ones end up in
 * a socket of this host? Called under RCU lock.
 */
static inline bool ip_vs_snat_has_socket(struct netns_ipvs *ipvs, u16 protocol,
					 __be32 raddr, __be16 rport,
					 __be32 laddr, __be16 lport, int ifindex)
{
	struct net *net = ipvs->net;
	struct sock *sk;

	switch (protocol) {
	case IPPROTO_TCP:
		sk = inet_lookup(net, net->ipv4.tcp_death_row.hashinfo, NULL, 0,
				 raddr, rport, laddr, lport, ifindex);
		if (sk)
			sock_gen_put(sk);
		return sk;
	case IPPROTO_UDP:
		return __udp4_lib_lookup(net, raddr, rport, laddr, lport,
					 ifindex, 0, &udp_table, NULL);
	default:
		return false;
	}
}

/* Does a connection of a service have this tuple? Called under RCU lock. */
static inline bool ip_vs_snat_has_conn(struct netns_ipvs *ipvs, u16 protocol,
				       __be32 raddr, __be16 rport,
				       __be32 laddr, __be16 lport)
{
	const union nf_inet_addr caddr = { .ip = raddr };
	const union nf_inet_addr vaddr = { .ip = laddr };
	struct ip_vs_conn_param p;
	struct ip_vs_conn *cp;

	ip_vs_conn_fill_param(ipvs, AF_INET, protocol, &caddr, rport,
			      &vaddr, lport, &p);
	cp = ip_vs_conn_in_get(&p);
	if (cp)
		__ip_vs_conn_put(cp);
	return cp;
}

/* A new SNAT connection of an inside host, with a port of a pool address */
static inline struct ip_vs_conn *
ip_vs_snat_conn_new(struct netns_ipvs *ipvs, struct ip_vs_dest *dest,
		    u16 protocol, __be32 raddr, __be16 rport, __be16 port,
		    __be32 inside, __be16 inside_port)
{
	const union nf_inet_addr caddr = { .ip = raddr };
	const union nf_inet_addr daddr = { .ip = inside };
	struct ip_vs_conn_param p;

	ip_vs_conn_fill_param(ipvs, AF_INET, protocol, &caddr, rport,
			      &dest->addr, port, &p);
	return ip_vs_conn_new(&p, AF_INET, &daddr, inside_port,
			      IP_VS_CONN_F_SNAT, dest, 0);
}

/* Changes with every change of an address, a device or a route */
static inline int ip_vs_snat_route_gen(struct netns_ipvs *ipvs)
{
	return rt_genid_ipv4(ipvs->net);
}

/* Call back with the device that holds an address, under RCU lock. Returns false
 * if there is none.
 */
static inline bool
ip_vs_snat_for_addr_dev(struct netns_ipvs *ipvs, __be32 addr,
			void (*fn)(void *data, struct net_device *dev),
			void *data)
{
	struct net_device *dev = __ip_dev_find(ipvs->net, addr, false);

	if (dev)
		fn(data, dev);
	return dev;
}

/* Call back with every device of the route to an address, or of the default
 * route for address 0, called under RCU lock.
 */
static inline void
ip_vs_snat_for_route_devs(struct netns_ipvs *ipvs, __be32 addr,
			  void (*fn)(void *data, struct net_device *dev),
			  void *data)
{
	struct flowi4 fl4 = { .daddr = addr };
	struct fib_result res = { };
	int i;

	if (fib_lookup(ipvs->net, &fl4, &res, FIB_LOOKUP_NOREF) ||
	    res.type != RTN_UNICAST || (!addr && res.prefixlen))
		return;
	for (i = 0; i < fib_info_num_path(res.fi); i++) {
		struct net_device *dev = fib_info_nhc(res.fi, i)->nhc_dev;

		if (dev)
			fn(data, dev);
	}
}

/* Does the packet leave towards a router, not towards its destination? */
static inline bool ip_vs_snat_via_router(const struct sk_buff *skb)
{
	return skb_rtable(skb)->rt_gw_family;
}

/* Route to an inside host, NULL if there is none */
static inline struct dst_entry *ip_vs_snat_route_to(struct netns_ipvs *ipvs,
						    const struct sk_buff *skb,
						    __be32 daddr)
{
	struct flowi4 fl4 = {
		.daddr = daddr,
		.flowi4_mark = skb->mark,
	};
	struct rtable *rt = ip_route_output_key(ipvs->net, &fl4);

	return IS_ERR(rt) ? NULL : &rt->dst;
}

static inline bool ip_vs_snat_route_is_local(const struct dst_entry *dst)
{
	return ((const struct rtable *)dst)->rt_flags & RTCF_LOCAL;
}

/* Reassemble a datagram, nonzero if it was not the last piece */
static inline int ip_vs_snat_defrag(struct netns_ipvs *ipvs,
				    struct sk_buff *skb)
{
	int err = ip_defrag(ipvs->net, skb, IP_DEFRAG_VS_FWD);

	if (!err)
		ip_send_check(ip_hdr(skb));
	return err;
}

static inline bool ip_vs_snat_exceeds_mtu(const struct sk_buff *skb,
					  unsigned int mtu)
{
	/* Length of the longest fragment that the sender made */
	unsigned int frag_size = IPCB(skb)->frag_max_size;

	/* It is going to be cut in pieces of the size that it came in */
	if (frag_size)
		return frag_size > mtu;
	if (skb->len <= mtu)
		return false;
	return !(skb_is_gso(skb) && skb_gso_validate_network_len(skb, mtu));
}

/* Let a datagram that came in fragments go out in fragments of that size */
static inline void ip_vs_snat_keep_fragments(struct sk_buff *skb)
{
	if (IPCB(skb)->frag_max_size)
		skb->ignore_df = 1;
}

/* Give conntrack its part in a translated packet */
static inline void ip_vs_snat_conntrack(struct sk_buff *skb,
					struct ip_vs_conn *cp, bool out)
{
	if (likely(!(cp->flags & IP_VS_CONN_F_NFCT)))
		ip_vs_notrack(skb);
	else
		ip_vs_update_conntrack(skb, cp, !out);
}

/* Send a packet from the LOCAL_IN hook on its new way */
static inline void ip_vs_snat_output(struct netns_ipvs *ipvs,
				     struct sk_buff *skb)
{
	skb_clear_tstamp(skb);
	NF_HOOK(NFPROTO_IPV4, NF_INET_LOCAL_OUT, ipvs->net, NULL, skb,
		NULL, skb_dst(skb)->dev, dst_output);
}

/* Counters of all traffic of a namespace */
static inline struct ip_vs_stats *ip_vs_snat_tot_stats(struct netns_ipvs *ipvs)
{
	return &ipvs->tot_stats;
}

static inline void ip_vs_snat_stats_conn(struct ip_vs_stats *stats)
{
	struct ip_vs_cpu_stats *s = this_cpu_ptr(stats->cpustats);

	u64_stats_update_begin(&s->syncp);
	u64_stats_inc(&s->cnt.conns);
	u64_stats_update_end(&s->syncp);
}

static inline void ip_vs_snat_stats_packet(struct ip_vs_stats *stats,
					   unsigned int len, bool out)
{
	struct ip_vs_cpu_stats *s = this_cpu_ptr(stats->cpustats);

	u64_stats_update_begin(&s->syncp);
	u64_stats_inc(out ? &s->cnt.outpkts : &s->cnt.inpkts);
	u64_stats_add(out ? &s->cnt.outbytes : &s->cnt.inbytes, len);
	u64_stats_update_end(&s->syncp);
}

#ifdef CONFIG_PROC_FS
static inline struct netns_ipvs *ip_vs_snat_seq_ipvs(struct seq_file *seq)
{
	return net_ipvs(seq_file_single_net(seq));
}

/* A file in /proc/net with all of its text from one call */
static inline bool ip_vs_snat_proc_create(struct netns_ipvs *ipvs,
					  const char *name,
					  int (*show)(struct seq_file *seq,
						      void *v))
{
	return proc_create_net_single(name, 0444, ipvs->net->proc_net, show,
				      NULL);
}
#endif

#ifdef CONFIG_SYSCTL
static inline struct ctl_table_header *
ip_vs_snat_register_sysctl(struct netns_ipvs *ipvs, struct ctl_table *tbl)
{
	/* Don't export sysctls to unprivileged users */
	if (ipvs->net->user_ns != &init_user_ns)
		tbl[0].procname = NULL;
	return register_net_sysctl(ipvs->net, "net/ipv4/vs", tbl);
}
#endif

#endif /* _IP_VS_SNAT_COMPAT_H */
