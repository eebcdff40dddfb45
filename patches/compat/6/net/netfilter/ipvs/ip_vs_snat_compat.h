/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the SNAT engine needs of the kernel around it, where kernel versions
 * differ. A port to another kernel replaces this file, not the engine. What differs
 * between the kernels that share it is in ip_vs_snat_line.h.
 */

#ifndef _IP_VS_SNAT_COMPAT_H
#define _IP_VS_SNAT_COMPAT_H

#include <linux/filter.h>
#include <linux/hash.h>
#include <linux/if_arp.h>
#include <linux/inetdevice.h>
#include <linux/jhash.h>
#include <linux/mm.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/proc_fs.h>
#include <linux/random.h>
#include <linux/seq_file_net.h>
#include <net/inet_hashtables.h>
#include <net/l3mdev.h>
#include <net/ip.h>
#include <net/ip_fib.h>
#include <net/nexthop.h>
#include <net/route.h>
#include <net/rtnetlink.h>
#include <net/tcp.h>
#include <net/udp.h>
#include <net/ip_vs_snat.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/netfilter/nf_nat.h>

#include "ip_vs_snat_line.h"

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

/* Ports must not be predictable */
static inline u64 ip_vs_snat_random(void)
{
	return get_random_u64();
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

/* Service on this address and port or on all ports, called under RCU lock */
static inline bool ip_vs_snat_has_service(struct netns_ipvs *ipvs, u16 protocol,
					  __be32 addr, __be16 port)
{
	const union nf_inet_addr vaddr = { .ip = addr };
	struct ip_vs_service *svc;

	svc = ip_vs_service_find(ipvs, AF_INET, 0, protocol, &vaddr, port);
	return svc && (svc->port == port || !svc->port);
}

static inline bool ip_vs_snat_dest_is_ip4(const struct ip_vs_dest *dest)
{
	return dest->af == AF_INET;
}

/* One active connection more (1) or less (-1) */
static inline void ip_vs_snat_dest_activity(struct ip_vs_dest *dest, int change)
{
	atomic_add(change, &dest->activeconns);
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
	/* That of a device in a VRF is in another table */
	return inet_addr_type(ipvs->net, addr) == RTN_LOCAL ||
	       __ip_dev_find(ipvs->net, addr, false);
}

/* Is the checksum in a transport header only that of the addresses yet? That of a tunnel
 * need not be when what is in the tunnel waits for its sum (udp_set_csum()).
 */
static inline bool ip_vs_snat_sum_is_partial(const struct sk_buff *skb,
					     unsigned int thoff)
{
	return skb->ip_summed == CHECKSUM_PARTIAL &&
	       (skb_checksum_start_offset(skb) == thoff ||
		(skb_is_gso(skb) &&
		 skb_shinfo(skb)->gso_type & SKB_GSO_UDP_TUNNEL_CSUM));
}

/* net.ipv4.ip_local_reserved_ports: a bit for each port, or NULL */
static inline const unsigned long *
ip_vs_snat_reserved_ports(struct netns_ipvs *ipvs)
{
#ifdef CONFIG_SYSCTL
	return ipvs->net->ipv4.sysctl_local_reserved_ports;
#else
	return NULL;
#endif
}

/* Is it certain that no socket is bound to this port, which is most often so? Not if one
 * is in the same bucket, and not where a program of BPF may choose one with another port.
 */
static inline bool ip_vs_snat_port_unbound(struct net *net, u16 protocol,
					   __be16 port)
{
	struct inet_hashinfo *tcp = net->ipv4.tcp_death_row.hashinfo;
	u16 num = ntohs(port);

	if (static_branch_unlikely(&bpf_sk_lookup_enabled))
		return false;
	if (protocol == IPPROTO_UDP)
		return !READ_ONCE(udp_hashslot(ip_vs_snat_udp_table(net), net,
					       num)->count);
	return hlist_empty(&tcp->bhash[inet_bhashfn(net, num,
						    tcp->bhash_size)].chain);
}

/* Would a packet from the remote address and port to the local ones, that comes in by
 * the device, end up in a socket of this host? Called under RCU lock.
 */
static inline bool ip_vs_snat_has_socket(struct netns_ipvs *ipvs, u16 protocol,
					 __be32 raddr, __be16 rport,
					 __be32 laddr, __be16 lport, int ifindex)
{
	struct net *net = ipvs->net;
	struct inet_hashinfo *tcp = net->ipv4.tcp_death_row.hashinfo;
	bool unbound = ip_vs_snat_port_unbound(net, protocol, lport);
	int vrf, dif, sdif;
	struct sock *sk;

	/* A connection of TCP that a transparent socket with another port has begun
	 * to accept is bound to none yet
	 */
	if (unbound && protocol != IPPROTO_TCP)
		return false;
	/* A packet of a device in a VRF comes in by the VRF as well */
	vrf = l3mdev_master_ifindex_by_index(net, ifindex);
	dif = vrf ? : ifindex;
	sdif = vrf ? ifindex : 0;

	switch (protocol) {
	case IPPROTO_TCP:
		sk = __inet_lookup_established(net, tcp, raddr, rport, laddr,
					       ntohs(lport), dif, sdif);
		if (sk) {
			sock_gen_put(sk);
			return true;
		}
		return !unbound &&
		       __inet_lookup_listener(net, tcp, NULL, 0, raddr, rport,
					      laddr, ntohs(lport), dif, sdif);
	case IPPROTO_UDP:
		return __udp4_lib_lookup(net, raddr, rport, laddr, lport,
					 dif, sdif, ip_vs_snat_udp_table(net),
					 NULL);
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

/* Call back with every device of the route of a packet, if its net is no smaller than
 * that. Called under RCU lock.
 */
static inline void
ip_vs_snat_for_route_devs(struct netns_ipvs *ipvs,
			  const struct ip_vs_snat_route_key *key, int max_len,
			  void (*fn)(void *data, struct net_device *dev),
			  void *data)
{
	struct flowi4 fl4 = {
		.daddr		= key->daddr,
		.saddr		= key->saddr,
		.flowi4_iif	= key->iif,
		.flowi4_mark	= key->mark,
		.flowi4_tos	= key->tos & IP_VS_SNAT_ROUTE_TOS,
		.flowi4_proto	= key->protocol,
		.fl4_sport	= key->sport,
		.fl4_dport	= key->dport,
	};
	struct fib_result res = { };
	int i;

	if (fib_lookup(ipvs->net, &fl4, &res, FIB_LOOKUP_NOREF) ||
	    res.type != RTN_UNICAST || res.prefixlen > max_len)
		return;
	for (i = 0; i < fib_info_num_path(res.fi); i++) {
		struct net_device *dev = fib_info_nhc(res.fi, i)->nhc_dev;

		if (dev)
			fn(data, dev);
	}
}

/* Are there rules of routing, so that not all packets have the same routes? */
static inline bool ip_vs_snat_has_fib_rules(struct netns_ipvs *ipvs)
{
#ifdef CONFIG_IP_MULTIPLE_TABLES
	return ipvs->net->ipv4.fib_has_custom_rules;
#else
	return false;
#endif
}

/* Does a device share a card with others, which have addresses of their own? */
static inline bool ip_vs_snat_shares_card(const struct net_device *dev,
					  const struct net_device *card)
{
	const struct rtnl_link_ops *ops = dev->rtnl_link_ops;

	if (!ops || (strcmp(ops->kind, "macvlan") && strcmp(ops->kind, "ipvlan")))
		return false;
	/* In another namespace, another one has that number */
	return dev_get_iflink(dev) == card->ifindex &&
	       ops->get_link_net(dev) == dev_net(card);
}

/* Call back with the card that a device shares with others. Called under RCU lock. */
static inline void
ip_vs_snat_for_card(struct netns_ipvs *ipvs, int ifindex,
		    void (*fn)(void *data, struct net_device *dev), void *data)
{
	struct net_device *dev = dev_get_by_index_rcu(ipvs->net, ifindex);
	struct net_device *card;

	if (!dev)
		return;
	card = dev_get_by_index_rcu(ipvs->net, dev_get_iflink(dev));
	if (card && ip_vs_snat_shares_card(dev, card))
		fn(data, card);
}

/* Does the packet leave towards a router, not towards its destination? A neighbour for
 * whom a smaller MTU is known is its own gateway, which is no router.
 */
static inline bool ip_vs_snat_via_router(const struct sk_buff *skb)
{
	return skb_rtable(skb)->rt_uses_gateway;
}

/* Is the address that of a neighbour on the device? Called under RCU lock. */
static inline bool ip_vs_snat_on_link(struct netns_ipvs *ipvs,
				      const struct net_device *dev, __be32 addr)
{
	struct flowi4 fl4 = { .daddr = addr, .flowi4_iif = dev->ifindex };
	struct fib_result res = { };
	const struct fib_nh_common *nhc;

	if (fib_lookup(ipvs->net, &fl4, &res, FIB_LOOKUP_NOREF) ||
	    res.type != RTN_UNICAST)
		return false;
	nhc = FIB_RES_NHC(res);
	return nhc && !nhc->nhc_gw_family && nhc->nhc_dev == dev;
}

/* Reassemble a datagram, nonzero if it was not the last piece */
static inline int ip_vs_snat_defrag(struct netns_ipvs *ipvs,
				    struct sk_buff *skb, bool out)
{
	int err = ip_defrag(ipvs->net, skb,
			    out ? IP_DEFRAG_VS_FWD : IP_DEFRAG_VS_IN);

	if (!err) {
		ip_send_check(ip_hdr(skb));
		/* It goes on in fragments, as it came */
		skb->ignore_df = 1;
	}
	return err;
}

/* Do NAT rules of netfilter translate the source of the flow already? */
static inline bool ip_vs_snat_ct_busy(const struct sk_buff *skb)
{
#if IS_ENABLED(CONFIG_NF_CONNTRACK)
	enum ip_conntrack_info ctinfo;
	const struct nf_conn *ct = nf_ct_get(skb, &ctinfo);

	if (!ct)
		return false;
	return ct->status & (CTINFO2DIR(ctinfo) == IP_CT_DIR_REPLY ?
			     IPS_DST_NAT : IPS_SRC_NAT);
#else
	return false;
#endif
}

/* Connection tracking takes the inside host for the end of the flow. Keep NAT rules
 * of netfilter from translating it once more, as for a flow that none of them
 * matches. Called under RCU lock.
 */
static inline void ip_vs_snat_ct_bind(struct sk_buff *skb, bool out)
{
#if IS_ENABLED(CONFIG_NF_NAT)
	enum ip_conntrack_info ctinfo;
	struct nf_conn *ct = nf_ct_get(skb, &ctinfo);
	const struct nf_nat_hook *nat_hook;

	if (likely(!ct))
		return;
	/* A flowtable would send the packets of the inside host as they are */
	if (unlikely(!(ct->status & IPS_NAT_CLASH)))
		set_bit(IPS_NAT_CLASH_BIT, &ct->status);
	if (!out || nf_ct_is_confirmed(ct) || ct->status & IPS_SRC_NAT_DONE)
		return;
	nat_hook = rcu_dereference(nf_nat_hook);
	if (nat_hook)
		nat_hook->parse_nat_setup(ct, NF_NAT_MANIP_SRC, NULL);
#endif
}

/* Do IPsec policies decide about what is forwarded? */
static inline bool ip_vs_snat_has_policy(const struct net *net)
{
#ifdef CONFIG_XFRM
	return net->xfrm.policy_count[XFRM_POLICY_FWD];
#else
	return false;
#endif
}

/* Does the packet leave through an IPsec tunnel? */
static inline bool ip_vs_snat_has_xfrm(const struct sk_buff *skb)
{
#ifdef CONFIG_XFRM
	return skb_dst(skb)->xfrm;
#else
	return false;
#endif
}

/* The device that a packet came in by, of a VRF the one that belongs to it */
static inline int ip_vs_snat_iif(const struct sk_buff *skb,
				 const struct net_device *in)
{
	return IPCB(skb)->iif ? : in->ifindex;
}

/* The destination of a packet of this host has changed, so has its way */
static inline int ip_vs_snat_reroute(struct netns_ipvs *ipvs,
				     struct sk_buff *skb)
{
	return ip_route_me_harder(ipvs->net, skb->sk, skb, RTN_LOCAL);
}

/* The hook of PRE_ROUTING. All that comes to this machine passes it: its private
 * pointer is what it looks at first.
 */
#define IP_VS_SNAT_PRE_ROUTING(fn)					\
static unsigned int fn##_hook(void *priv, struct sk_buff *skb,		\
			      const struct nf_hook_state *state)	\
{									\
	return fn(priv, net_ipvs(state->net), skb, state->in);		\
}

/* Those of IPVS may not be there yet, as it registers them for its first service */
static inline int ip_vs_snat_register_hook(struct netns_ipvs *ipvs,
					   struct nf_hook_ops *ops,
					   struct hlist_head *addr_tab)
{
	int ret = ip_vs_register_hooks(ipvs, AF_INET);

	ops->priv = addr_tab;
	return ret < 0 ? ret : nf_register_net_hook(ipvs->net, ops);
}

static inline void ip_vs_snat_unregister_hook(struct netns_ipvs *ipvs,
					      const struct nf_hook_ops *ops)
{
	nf_unregister_net_hook(ipvs->net, ops);
}

#define ip_vs_snat_hlist_for_each	hlist_for_each_entry

static inline unsigned long ip_vs_snat_total_pages(void)
{
	return totalram_pages();
}

/* Is who administers the namespace an administrator of this host? */
static inline bool ip_vs_snat_trusted(struct netns_ipvs *ipvs)
{
	return ipvs->net->user_ns == &init_user_ns;
}

/* Zeroed memory, charged to who asks for it */
static inline void *ip_vs_snat_big_alloc(size_t size)
{
	const gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN;
	void *p = kmalloc(size, gfp | __GFP_NORETRY);

	/* In pieces if need be, but no process is to be killed for it */
	return p ? : __vmalloc(size, gfp | __GFP_RETRY_MAYFAIL);
}

/* Is it a card by another one, here or in another namespace (ipvlan, netkit), or a tunnel
 * that may have many ends (GRE, xfrm)? tunl0 is neither, and is used like a dummy.
 */
static inline bool ip_vs_snat_has_lower_dev(const struct net_device *dev)
{
	return dev->netdev_ops->ndo_get_iflink &&
	       (dev->type == ARPHRD_ETHER || dev->type == ARPHRD_NONE ||
		dev->type == ARPHRD_IPGRE);
}

/* Do some work, on whichever processor has time for it */
static inline void ip_vs_snat_queue(struct delayed_work *work,
				    unsigned long delay)
{
	queue_delayed_work(system_unbound_wq, work, delay);
}

/* The same, whenever it was to be done before */
static inline void ip_vs_snat_requeue(struct delayed_work *work,
				      unsigned long delay)
{
	mod_delayed_work(system_unbound_wq, work, delay);
}

static inline void ip_vs_snat_big_free(void *p)
{
	kvfree(p);
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

#endif /* _IP_VS_SNAT_COMPAT_H */
