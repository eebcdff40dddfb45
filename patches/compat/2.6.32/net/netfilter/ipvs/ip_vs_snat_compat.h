/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the SNAT engine needs of the kernel around it, where kernel versions
 * differ: this is the one for 2.6.32. A port to another kernel replaces this
 * file, not the engine.
 *
 * How IPVS differs here:
 * - It has one set of tables, that of the initial network namespace. Its state
 *   that newer kernels keep for each namespace is in ip_vs_netns.
 * - Services and their destinations are protected by the use count of the
 *   service: who changes them waits for it to drop, and spins under the lock
 *   that counting up needs. So who holds one service must not get another.
 *   Whether there is a service is looked up under RCU.
 * - Connections are freed at once, except those of SNAT.
 */

#ifndef _IP_VS_SNAT_COMPAT_H
#define _IP_VS_SNAT_COMPAT_H

#include <linux/hash.h>
#include <linux/inetdevice.h>
#include <linux/jhash.h>
#include <linux/mm.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/proc_fs.h>
#include <linux/random.h>
#include <linux/rculist.h>
#include <linux/seq_file.h>
#include <linux/vmalloc.h>
#include <net/inet_hashtables.h>
#include <net/inet_timewait_sock.h>
#include <net/ip.h>
#include <net/ip_fib.h>
#include <net/net_namespace.h>
#include <net/route.h>
#include <net/rtnetlink.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <net/udp.h>
#include <net/ip_vs_snat.h>

/* Its header can only be included if there is connection tracking */
#if defined(CONFIG_NF_CONNTRACK) || \
	defined(CONFIG_NF_CONNTRACK_MODULE)
#define IP_VS_SNAT_CONNTRACK
#include <net/netfilter/nf_conntrack.h>
#endif

/* Names of newer kernels */

#define READ_ONCE(x)		ACCESS_ONCE(x)
#define WRITE_ONCE(x, val)	(ACCESS_ONCE(x) = (val))
#define list_next_rcu(list)	((list)->next)
#define hlist_unhashed_lockless(node)	hlist_unhashed(node)

/* Memory for what users configure is accounted to nobody */
#ifndef GFP_KERNEL_ACCOUNT
#define GFP_KERNEL_ACCOUNT	GFP_KERNEL
#endif

#ifndef __rcu
#define __rcu
#endif

#ifndef __percpu
#define __percpu
#endif

#ifndef rcu_dereference_protected
#define rcu_dereference_protected(p, condition)	(p)
#endif

#define ip_vs_snat_entry_or_null(node, type, member)			\
({									\
	struct hlist_node *__node = (node);				\
	__node ? hlist_entry(__node, type, member) : NULL;		\
})

/* The one of this kernel needs a fourth argument as its cursor */
#undef hlist_for_each_entry_rcu
#define hlist_for_each_entry_rcu(pos, head, member)			\
	for (pos = ip_vs_snat_entry_or_null(				\
			rcu_dereference((head)->first),			\
			typeof(*(pos)), member);			\
	     pos;							\
	     pos = ip_vs_snat_entry_or_null(				\
			rcu_dereference((pos)->member.next),		\
			typeof(*(pos)), member))

/* The same without RCU */
#define ip_vs_snat_hlist_for_each(pos, head, member)			\
	for (pos = ip_vs_snat_entry_or_null((head)->first,		\
					    typeof(*(pos)), member);	\
	     pos;							\
	     pos = ip_vs_snat_entry_or_null((pos)->member.next,		\
					    typeof(*(pos)), member))

static inline void ip_vs_snat_kfree_rcu(struct rcu_head *head)
{
	kfree(head);
}

/* The head has to come first, and rcu_barrier() is needed before unloading */
#ifndef kfree_rcu
#define kfree_rcu(ptr, head)						\
do {									\
	BUILD_BUG_ON(offsetof(typeof(*(ptr)), head));			\
	call_rcu(&(ptr)->head, ip_vs_snat_kfree_rcu);			\
} while (0)
#endif

/* Softirqs are off wherever the engine counts */
#ifndef this_cpu_add
#define this_cpu_add(var, num)	(*this_cpu_ptr(&(var)) += (num))
#define this_cpu_inc(var)	this_cpu_add(var, 1)
#endif

/* A number below num from any number, both of 32 bits */
static inline u32 reciprocal_scale(u32 val, u32 num)
{
	return (u64)val * num >> 32;
}

static inline bool ip_is_fragment(const struct iphdr *iph)
{
	return iph->frag_off & htons(IP_MF | IP_OFFSET);
}

static inline int skb_ensure_writable(struct sk_buff *skb, unsigned int len)
{
	return skb_make_writable(skb, len) ? 0 : -ENOMEM;
}

static inline int sysctl_expire_nodest_conn(struct netns_ipvs *ipvs)
{
	return sysctl_ip_vs_expire_nodest_conn;
}

static inline void ip_vs_fill_iph_skb(int af, const struct sk_buff *skb,
				      bool inverse, struct ip_vs_iphdr *iph)
{
	ip_vs_fill_iphdr(af, skb_network_header(skb), iph);
}

/* The connection may be about to be freed, then it's as good as not there */
static inline bool __ip_vs_conn_get(struct ip_vs_conn *cp)
{
	return atomic_inc_not_zero(&cp->refcnt);
}

static inline int ip_vs_dest_inactconns(const struct ip_vs_dest *dest)
{
	return atomic_read(&dest->inactconns);
}

static inline bool ip_vs_has_real_service(struct netns_ipvs *ipvs, int af,
					  u16 protocol,
					  const union nf_inet_addr *addr,
					  __be16 port)
{
	return ip_vs_lookup_real_service(af, protocol, addr, port);
}

/* Parameters of packet_xmit() of a connection */
#define IP_VS_SNAT_XMIT_PARAMS						\
	struct sk_buff *skb, struct ip_vs_conn *cp,			\
	struct ip_vs_protocol *pp

/* Handlers of settings copy from and to the user themselves */
#define ip_vs_snat_sysctl_buf	void __user *
#define ip_vs_snat_ctl_table	struct ctl_table

/* The network namespace of a connection */
static inline struct netns_ipvs *ip_vs_snat_ipvs(const struct ip_vs_conn *cp)
{
	return &ip_vs_netns;
}

/* Ports must not be predictable, and what newer kernels have for that isn't exported */
static inline u64 ip_vs_snat_random(void)
{
	u64 value;

	get_random_bytes(&value, sizeof(value));
	return value;
}

/* Catch-all service of a protocol, called with softirqs off. Neither it nor its
 * destinations change until it's put back; nobody may sleep, nor get another
 * service, until then.
 */
static inline struct ip_vs_service *
ip_vs_snat_service_get(struct netns_ipvs *ipvs, u16 protocol)
{
	const union nf_inet_addr any = { .ip = htonl(INADDR_ANY) };

	return ip_vs_service_get(AF_INET, 0, protocol, &any, 0);
}

static inline void ip_vs_snat_service_put(struct ip_vs_service *svc)
{
	ip_vs_service_put(svc);
}

/* Let the scheduler pick a destination of a service that is held */
static inline struct ip_vs_dest *
ip_vs_snat_schedule(struct ip_vs_service *svc, struct sk_buff *skb,
		    struct ip_vs_iphdr *iph)
{
	return svc->scheduler->schedule(svc, skb);
}

/* Service on this address and port or on all ports, called under RCU lock */
static inline bool ip_vs_snat_has_service(struct netns_ipvs *ipvs, u16 protocol,
					  __be32 addr, __be16 port)
{
	const union nf_inet_addr vaddr = { .ip = addr };

	return ip_vs_has_service(AF_INET, protocol, &vaddr, port) ||
	       ip_vs_has_service(AF_INET, protocol, &vaddr, 0);
}

static inline bool ip_vs_snat_dest_is_ip4(const struct ip_vs_dest *dest)
{
	return dest->af == AF_INET;
}

/* One active connection more (1) or less (-1), and the opposite of the others */
static inline void ip_vs_snat_dest_activity(struct ip_vs_dest *dest, int change)
{
	atomic_add(change, &dest->activeconns);
	atomic_sub(change, &dest->inactconns);
}

/* Can this destination be a pool address at all? */
static inline bool ip_vs_snat_dest_is_pool(struct ip_vs_dest *dest)
{
	return (atomic_read(&dest->conn_flags) & IP_VS_CONN_F_FWD_MASK) ==
	       IP_VS_CONN_F_MASQ;
}

/* Is it in its service, or was it taken away? */
static inline bool ip_vs_snat_dest_available(const struct ip_vs_dest *dest)
{
	return dest->flags & IP_VS_DEST_F_AVAILABLE;
}

static inline bool ip_vs_snat_addr_is_local(struct netns_ipvs *ipvs,
					    __be32 addr)
{
	return inet_addr_type(ipvs->net, addr) == RTN_LOCAL;
}

/* Is the checksum in a transport header only that of the addresses yet? */
static inline bool ip_vs_snat_sum_is_partial(const struct sk_buff *skb,
					     unsigned int thoff)
{
	return skb->ip_summed == CHECKSUM_PARTIAL &&
	       skb->csum_start - skb_headroom(skb) == thoff;
}

/* net.ipv4.ip_local_reserved_ports: a bit for each port */
static inline const unsigned long *
ip_vs_snat_reserved_ports(struct netns_ipvs *ipvs)
{
	return sysctl_local_reserved_ports;
}

/* Would a packet from the remote address and port to the local ones end up in
 * a socket of this host?
 */
static inline bool ip_vs_snat_has_socket(struct netns_ipvs *ipvs, u16 protocol,
					 __be32 raddr, __be16 rport,
					 __be32 laddr, __be16 lport, int ifindex)
{
	struct sock *sk;

	switch (protocol) {
	case IPPROTO_TCP:
		sk = inet_lookup(ipvs->net, &tcp_hashinfo, raddr, rport,
				 laddr, lport, ifindex);
		if (!sk)
			return false;
		if (sk->sk_state == TCP_TIME_WAIT)
			inet_twsk_put(inet_twsk(sk));
		else
			sock_put(sk);
		return true;
	case IPPROTO_UDP:
		sk = udp4_lib_lookup(ipvs->net, raddr, rport, laddr, lport,
				     ifindex);
		if (sk)
			sock_put(sk);
		return sk;
	default:
		return false;
	}
}

/* Does a connection of a service have this tuple? */
static inline bool ip_vs_snat_has_conn(struct netns_ipvs *ipvs, u16 protocol,
				       __be32 raddr, __be16 rport,
				       __be32 laddr, __be16 lport)
{
	const union nf_inet_addr caddr = { .ip = raddr };
	const union nf_inet_addr vaddr = { .ip = laddr };
	struct ip_vs_conn *cp;

	cp = ip_vs_conn_in_get(AF_INET, protocol, &caddr, rport, &vaddr, lport);
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

	return ip_vs_conn_new(AF_INET, protocol, &caddr, rport,
			      &dest->addr, port, &daddr, inside_port,
			      IP_VS_CONN_F_SNAT, dest);
}

/* Changes with every change of an address, a device or a route, and now and then
 * without one.
 */
static inline int ip_vs_snat_route_gen(struct netns_ipvs *ipvs)
{
	return atomic_read(&ipvs->net->ipv4.rt_genid);
}

/* Call back with the device that holds an address. Returns false if there is
 * none.
 */
static inline bool
ip_vs_snat_for_addr_dev(struct netns_ipvs *ipvs, __be32 addr,
			void (*fn)(void *data, struct net_device *dev),
			void *data)
{
	struct net_device *dev = ip_dev_find(ipvs->net, addr);

	if (!dev)
		return false;
	fn(data, dev);
	dev_put(dev);
	return true;
}

/* May there be rules of routing, so that not all packets have the same routes? */
static inline bool ip_vs_snat_has_fib_rules(struct netns_ipvs *ipvs)
{
#ifdef CONFIG_IP_MULTIPLE_TABLES
	return true;
#else
	return false;
#endif
}

/* fib_lookup() isn't exported, what it does is. On success, the nexthops have to
 * be put back.
 */
static inline struct fib_info *ip_vs_snat_fib_lookup(struct netns_ipvs *ipvs,
						     const struct ip_vs_snat_route_key *key,
						     struct fib_result *res)
{
	struct flowi fl = {
		.iif			= key->iif,
		.mark			= key->mark,
		.nl_u.ip4_u.daddr	= key->daddr,
		.nl_u.ip4_u.saddr	= key->saddr,
		.nl_u.ip4_u.tos		= key->tos & IPTOS_RT_MASK,
	};
	int err;

	memset(res, 0, sizeof(*res));
#ifdef CONFIG_IP_MULTIPLE_TABLES
	{
		struct fib_lookup_arg arg = { .result = res };

		err = fib_rules_lookup(ipvs->net->ipv4.rules_ops, &fl, 0, &arg);
		if (arg.rule)
			fib_rule_put(arg.rule);
	}
#else
	err = fib_lookup(ipvs->net, &fl, res);
#endif
	return err ? NULL : res->fi;
}

/* free_fib_info() isn't exported. If the last reference is ours, the route was
 * deleted while we looked at it; then this does the same, but for the number of
 * nexthops, which is only used to choose the size of a hash table.
 */
static inline void ip_vs_snat_fib_put(struct fib_info *fi)
{
	int i;

	if (!atomic_dec_and_test(&fi->fib_clntref))
		return;
	for (i = 0; i < fi->fib_nhs; i++) {
		if (fi->fib_nh[i].nh_dev)
			dev_put(fi->fib_nh[i].nh_dev);
	}
	release_net(fi->fib_net);
	kfree(fi);
}

/* Call back with every device of the route of a packet, if its net is no smaller than
 * that
 */
static inline void
ip_vs_snat_for_route_devs(struct netns_ipvs *ipvs,
			  const struct ip_vs_snat_route_key *key, int max_len,
			  void (*fn)(void *data, struct net_device *dev),
			  void *data)
{
	struct fib_result res;
	struct fib_info *fi;
	int i;

	fi = ip_vs_snat_fib_lookup(ipvs, key, &res);
	if (!fi)
		return;
	if (res.type == RTN_UNICAST && res.prefixlen <= max_len) {
		for (i = 0; i < fi->fib_nhs; i++) {
			if (fi->fib_nh[i].nh_dev)
				fn(data, fi->fib_nh[i].nh_dev);
		}
	}
	ip_vs_snat_fib_put(fi);
}

/* Does a device share a card with others, which have addresses of their own? */
static inline bool ip_vs_snat_shares_card(const struct net_device *dev,
					  const struct net_device *card)
{
	return dev->rtnl_link_ops &&
	       !strcmp(dev->rtnl_link_ops->kind, "macvlan") &&
	       dev->iflink == card->ifindex;
}

/* Call back with the card that a device shares with others */
static inline void
ip_vs_snat_for_card(struct netns_ipvs *ipvs, int ifindex,
		    void (*fn)(void *data, struct net_device *dev), void *data)
{
	struct net_device *dev = dev_get_by_index(ipvs->net, ifindex);
	struct net_device *card;

	if (!dev)
		return;
	card = dev_get_by_index(ipvs->net, dev->iflink);
	if (card && ip_vs_snat_shares_card(dev, card))
		fn(data, card);
	if (card)
		dev_put(card);
	dev_put(dev);
}

/* Does the packet leave towards a router, not towards its destination? */
static inline bool ip_vs_snat_via_router(const struct sk_buff *skb)
{
	return skb_rtable(skb)->rt_gateway != skb_rtable(skb)->rt_dst;
}

/* Is the address that of a neighbour on the device? */
static inline bool ip_vs_snat_on_link(struct netns_ipvs *ipvs,
				      const struct net_device *dev, __be32 addr)
{
	const struct ip_vs_snat_route_key key = { .daddr = addr };
	struct fib_result res;
	struct fib_info *fi;
	bool found = false;
	int i;

	fi = ip_vs_snat_fib_lookup(ipvs, &key, &res);
	if (!fi)
		return false;
	for (i = 0; res.type == RTN_UNICAST && i < fi->fib_nhs; i++) {
		if (fi->fib_nh[i].nh_dev == dev && !fi->fib_nh[i].nh_gw)
			found = true;
	}
	ip_vs_snat_fib_put(fi);
	return found;
}

/* Reassemble a datagram, nonzero if it was not the last piece. It goes out in pieces
 * that fit the device, as it has no DF any more.
 */
static inline int ip_vs_snat_defrag(struct netns_ipvs *ipvs,
				    struct sk_buff *skb, bool out)
{
	int err = ip_defrag(skb, out ? IP_DEFRAG_VS_FWD : IP_DEFRAG_VS_IN);

	if (!err)
		ip_send_check(ip_hdr(skb));
	return err;
}

/* Do NAT rules of netfilter translate the source of the flow already? */
static inline bool ip_vs_snat_ct_busy(const struct sk_buff *skb)
{
#ifdef IP_VS_SNAT_CONNTRACK
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

/* Connection tracking takes the inside host for the end of the flow. Tell
 * ip_vs_post_routing(): no NAT rule of netfilter may translate the source once more,
 * but all else goes on, and so does NAT of what comes in.
 */
static inline void ip_vs_snat_ct_bind(struct sk_buff *skb, bool out)
{
	IPCB(skb)->flags |= out ? IPSKB_SNAT_OUT : IPSKB_SNAT_IN;
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

/* The device that a packet came in by */
static inline int ip_vs_snat_iif(const struct sk_buff *skb,
				 const struct net_device *in)
{
	return in->ifindex;
}

/* The destination of a packet of this host has changed, so has its way */
static inline int ip_vs_snat_reroute(struct netns_ipvs *ipvs,
				     struct sk_buff *skb)
{
	return ip_route_me_harder(skb, RTN_LOCAL);
}

/* Hooks for packets that come in. They get those of every network namespace, and a
 * bridge that loses a port may not know where a packet came in.
 */

#define IP_VS_SNAT_PRE_ROUTING(fn)					\
static unsigned int fn##_hook(unsigned int hooknum, struct sk_buff *skb,	\
			      const struct net_device *in,		\
			      const struct net_device *out,		\
			      int (*okfn)(struct sk_buff *))		\
{									\
	if (!in || !net_eq(dev_net(in), &init_net))			\
		return NF_ACCEPT;					\
	return fn(ip_vs_netns.snat->addr_tab, &ip_vs_netns, skb, in);	\
}

static inline int ip_vs_snat_register_hook(struct netns_ipvs *ipvs,
					   struct nf_hook_ops *ops,
					   struct hlist_head *addr_tab)
{
	ops->owner = THIS_MODULE;
	return nf_register_hook(ops);
}

static inline void ip_vs_snat_unregister_hook(struct netns_ipvs *ipvs,
					      struct nf_hook_ops *ops)
{
	nf_unregister_hook(ops);
}

static inline unsigned long ip_vs_snat_total_pages(void)
{
	return totalram_pages;
}

/* There is but one namespace, the host's own */
static inline bool ip_vs_snat_trusted(struct netns_ipvs *ipvs)
{
	return true;
}

/* Zeroed memory, for which no process is to be killed */
static inline void *ip_vs_snat_big_alloc(size_t size)
{
	return __vmalloc(size, GFP_KERNEL | __GFP_HIGHMEM | __GFP_ZERO |
			       __GFP_NORETRY | __GFP_NOWARN, PAGE_KERNEL);
}

/* Do some work, on this processor: newer kernels have a queue for all of them */
static inline void ip_vs_snat_queue(struct delayed_work *work,
				    unsigned long delay)
{
	schedule_delayed_work(work, delay);
}

/* The same, whenever it was to be done before */
static inline void ip_vs_snat_requeue(struct delayed_work *work,
				      unsigned long delay)
{
	__cancel_delayed_work(work);
	schedule_delayed_work(work, delay);
}

static inline void ip_vs_snat_big_free(void *p)
{
	vfree(p);
}

/* There is no ipvlan */
static inline bool ip_vs_snat_has_lower_dev(const struct net_device *dev)
{
	return false;
}

/* Traffic is summed up without services, too */
static inline void ip_vs_snat_sum_traffic(struct netns_ipvs *ipvs)
{
}

/* Counters of all traffic */
static inline struct ip_vs_stats *ip_vs_snat_tot_stats(struct netns_ipvs *ipvs)
{
	return &ip_vs_stats;
}

static inline void ip_vs_snat_stats_conn(struct ip_vs_stats *stats)
{
	spin_lock(&stats->lock);
	stats->ustats.conns++;
	spin_unlock(&stats->lock);
}

static inline void ip_vs_snat_stats_packet(struct ip_vs_stats *stats,
					   unsigned int len, bool out)
{
	spin_lock(&stats->lock);
	if (out) {
		stats->ustats.outpkts++;
		stats->ustats.outbytes += len;
	} else {
		stats->ustats.inpkts++;
		stats->ustats.inbytes += len;
	}
	spin_unlock(&stats->lock);
}

#ifdef CONFIG_PROC_FS
static inline struct netns_ipvs *ip_vs_snat_seq_ipvs(struct seq_file *seq)
{
	return &ip_vs_netns;
}

static int ip_vs_snat_proc_open(struct inode *inode, struct file *file)
{
	return single_open(file, PDE(inode)->data, NULL);
}

static const struct file_operations ip_vs_snat_proc_fops = {
	.owner		= THIS_MODULE,
	.open		= ip_vs_snat_proc_open,
	.read		= seq_read,
	.llseek		= seq_lseek,
	.release	= single_release,
};

/* A file in /proc/net with all of its text from one call */
static inline bool ip_vs_snat_proc_create(struct netns_ipvs *ipvs,
					  const char *name,
					  int (*show)(struct seq_file *seq,
						      void *v))
{
	return proc_create_data(name, 0444, ipvs->net->proc_net,
				&ip_vs_snat_proc_fops, show);
}
#endif

#ifdef CONFIG_SYSCTL
/* The table has one entry more than it has settings */
static inline struct ctl_table_header *
ip_vs_snat_register_sysctl(struct netns_ipvs *ipvs, struct ctl_table *tbl,
			   size_t num)
{
	return register_sysctl_paths(net_vs_ctl_path, tbl);
}
#endif

#endif /* _IP_VS_SNAT_COMPAT_H */
