/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What rules and pools of SNAT need of the kernel around them, where kernel versions
 * differ.
 */

#ifndef _IP_VS_SNAT_CONFIG_COMPAT_H
#define _IP_VS_SNAT_CONFIG_COMPAT_H

#include <net/dst_cache.h>
#include <net/genetlink.h>

/* Destinations without a service, and what is counted */

static inline void ip_vs_snat_dest_set_available(struct ip_vs_dest *dest,
						 bool available)
{
	if (available)
		dest->cflags |= IP_VS_DEST_CF_AVAILABLE;
	else
		dest->cflags &= ~IP_VS_DEST_CF_AVAILABLE;
}

static inline int ip_vs_snat_stats_init(struct ip_vs_stats *stats)
{
	int cpu;

	stats->cpustats = alloc_percpu_gfp(struct ip_vs_cpu_stats,
					   GFP_KERNEL_ACCOUNT);
	if (!stats->cpustats)
		return -ENOMEM;
	for_each_possible_cpu(cpu)
		u64_stats_init(&per_cpu_ptr(stats->cpustats, cpu)->syncp);
	spin_lock_init(&stats->lock);
	return 0;
}

static inline void ip_vs_snat_stats_exit(struct ip_vs_stats *stats)
{
	free_percpu(stats->cpustats);
}

/* What was counted from the beginning on */
static inline void ip_vs_snat_stats_sum(struct ip_vs_stats *stats,
					struct ip_vs_kstats *sum)
{
	int cpu;

	memset(sum, 0, sizeof(*sum));
	for_each_possible_cpu(cpu) {
		struct ip_vs_cpu_stats *s = per_cpu_ptr(stats->cpustats, cpu);
		struct ip_vs_kstats one;
		unsigned int start;

		do {
			start = u64_stats_fetch_begin(&s->syncp);
			one.conns = u64_stats_read(&s->cnt.conns);
			one.inpkts = u64_stats_read(&s->cnt.inpkts);
			one.outpkts = u64_stats_read(&s->cnt.outpkts);
			one.inbytes = u64_stats_read(&s->cnt.inbytes);
			one.outbytes = u64_stats_read(&s->cnt.outbytes);
		} while (u64_stats_fetch_retry(&s->syncp, start));
		sum->conns += one.conns;
		sum->inpkts += one.inpkts;
		sum->outpkts += one.outpkts;
		sum->inbytes += one.inbytes;
		sum->outbytes += one.outbytes;
	}
}

/* Count from now on */
static inline void ip_vs_snat_stats_zero(struct ip_vs_stats *stats)
{
	ip_vs_snat_stats_sum(stats, &stats->kstats0);
}

/* What was counted until now */
static inline void ip_vs_snat_stats_read(struct ip_vs_stats *stats,
					 struct ip_vs_kstats *sum)
{
	ip_vs_snat_stats_sum(stats, sum);
	sum->conns -= stats->kstats0.conns;
	sum->inpkts -= stats->kstats0.inpkts;
	sum->outpkts -= stats->kstats0.outpkts;
	sum->inbytes -= stats->kstats0.inbytes;
	sum->outbytes -= stats->kstats0.outbytes;
}

/* Make a destination of no service. It's zeroed. */
static inline int ip_vs_snat_dest_setup(struct ip_vs_dest *dest, __be32 addr)
{
	if (ip_vs_snat_stats_init(&dest->stats))
		return -ENOMEM;
	INIT_LIST_HEAD(&dest->n_list);
	INIT_LIST_HEAD(&dest->t_list);
	INIT_HLIST_NODE(&dest->d_list);
	spin_lock_init(&dest->dst_lock);
	refcount_set(&dest->refcnt, 1);
	atomic_set(&dest->conn_flags,
		   IP_VS_CONN_F_MASQ | IP_VS_CONN_F_INACTIVE);
	dest->af = AF_INET;
	dest->addr.ip = addr;
	return 0;
}

/* Packets */

/* The next hop of a packet that is forwarded */
static inline __be32 ip_vs_snat_nexthop(const struct sk_buff *skb)
{
	const struct rtable *rt = skb_rtable(skb);

	return rt->rt_gw_family == AF_INET ? rt->rt_gw4 : ip_hdr(skb)->daddr;
}

/* The way to a neighbour that packets are redirected to, it finds itself anew when
 * routes have changed
 */
struct ip_vs_snat_way {
	struct dst_cache	cache;
};

static inline int ip_vs_snat_way_init(struct ip_vs_snat_way *way)
{
	return dst_cache_init(&way->cache, GFP_KERNEL_ACCOUNT);
}

static inline void ip_vs_snat_way_exit(struct ip_vs_snat_way *way)
{
	dst_cache_destroy(&way->cache);
}

/* Let a packet go by a neighbour, whatever its destination. Called with softirqs off.
 * Returns false if it's none.
 */
static inline bool ip_vs_snat_redirect(struct netns_ipvs *ipvs,
				       struct sk_buff *skb, __be32 gw,
				       struct ip_vs_snat_way *way)
{
	struct flowi4 fl4 = {
		.daddr		= gw,
		.flowi4_flags	= FLOWI_FLAG_KNOWN_NH,
	};
	struct rtable *rt;
	__be32 saddr;

	rt = dst_cache_get_ip4(&way->cache, &saddr);
	if (!rt) {
		rt = ip_route_output_key(ipvs->net, &fl4);
		if (IS_ERR(rt))
			return false;
		if (rt->rt_type != RTN_UNICAST ||
		    rt->rt_gw_family != AF_INET || rt->rt_gw4 != gw) {
			ip_rt_put(rt);
			return false;
		}
		dst_cache_set_ip4(&way->cache, &rt->dst, fl4.saddr);
	}
	skb_dst_drop(skb);
	skb_dst_set(skb, &rt->dst);
	return true;
}

/* The device that a packet came in by, of a VRF the one that belongs to it.
 * Called under RCU lock.
 */
static inline const struct net_device *
ip_vs_snat_in_dev(const struct sk_buff *skb, const struct net_device *in)
{
	int ifindex = ip_vs_snat_iif(skb, in);

	if (likely(ifindex == in->ifindex))
		return in;
	return dev_get_by_index_rcu(dev_net(in), ifindex) ? : in;
}

/* Netlink */

#define ip_vs_snat_genl_ops	const struct genl_ops

#define IP_VS_SNAT_GENL_OP(_cmd, _doit, _dumpit)			\
	{								\
		.cmd	= _cmd,						\
		.flags	= GENL_UNS_ADMIN_PERM,				\
		.doit	= _doit,					\
		.dumpit	= _dumpit,					\
	}

#define IP_VS_SNAT_GENL_FAMILY						\
static const struct genl_multicast_group snat_nl_groups[] = {		\
	[SNAT_NL_CONFIG] = {						\
		.name	= IPVS_SNAT_MCGRP_CONFIG,			\
		.flags	= GENL_MCAST_CAP_NET_ADMIN,			\
	},								\
	[SNAT_NL_EVENTS] = {						\
		.name	= IPVS_SNAT_MCGRP_EVENTS,			\
		.flags	= GENL_MCAST_CAP_NET_ADMIN,			\
	},								\
};									\
									\
struct genl_family snat_nl_family __ro_after_init = {			\
	.name		= IPVS_SNAT_GENL_NAME,				\
	.version	= IPVS_SNAT_GENL_VERSION,			\
	.maxattr	= IPVS_SNAT_ATTR_MAX,				\
	.policy		= snat_nl_policy,				\
	.netnsok	= true,						\
	.parallel_ops	= true,						\
	.module		= THIS_MODULE,					\
	.ops		= snat_nl_ops,					\
	.n_ops		= ARRAY_SIZE(snat_nl_ops),			\
	.mcgrps		= snat_nl_groups,				\
	.n_mcgrps	= ARRAY_SIZE(snat_nl_groups),			\
	.resv_start_op	= IPVS_SNAT_CMD_UNSPEC + 1,			\
}

static inline int ip_vs_snat_genl_register(struct genl_family *family,
					   ip_vs_snat_genl_ops *ops,
					   unsigned int num)
{
	return genl_register_family(family);
}

static inline struct netns_ipvs *
ip_vs_snat_genl_ipvs(struct genl_info *info)
{
	return net_ipvs(genl_info_net(info));
}

static inline struct netns_ipvs *ip_vs_snat_skb_ipvs(const struct sk_buff *skb)
{
	return net_ipvs(sock_net(skb->sk));
}

/* The namespace where a socket was closed may be one that has no IPVS any more */
static inline struct ip_vs_snat *
ip_vs_snat_notify_snat(const struct netlink_notify *notify)
{
	struct netns_ipvs *ipvs = net_ipvs(notify->net);

	return ipvs ? ipvs->snat : NULL;
}

#define ip_vs_snat_portid(info)		((info)->snd_portid)
#define ip_vs_snat_cb_portid(cb)	(NETLINK_CB((cb)->skb).portid)
#define ip_vs_snat_notify_portid(notify)	((notify)->portid)
#define ip_vs_snat_extack(info)		((info)->extack)
#define ip_vs_snat_cb_extack(cb)	((cb)->extack)
#define ip_vs_snat_parse_nested		nla_parse_nested
#define ip_vs_snat_nla_string		nla_strscpy
#define ip_vs_snat_put_u64		nla_put_u64_64bit
#define ip_vs_snat_state_name		ip_vs_state_name
#define ip_vs_snat_dump_check		genl_dump_check_consistent

/* Note of which generation is what a dump tells */
static inline void ip_vs_snat_dump_gen(struct netlink_callback *cb, u32 gen)
{
	/* 0 would not be compared */
	cb->seq = gen + 1;
}

static inline bool ip_vs_snat_has_listeners(struct netns_ipvs *ipvs,
					    const struct genl_family *family,
					    enum snat_nl_group group)
{
	return genl_has_listeners(family, ipvs->net, group);
}

static inline void ip_vs_snat_genl_multicast(struct netns_ipvs *ipvs,
					     const struct genl_family *family,
					     struct sk_buff *skb,
					     enum snat_nl_group group, gfp_t gfp)
{
	genlmsg_multicast_netns(family, ipvs->net, skb, 0, group, gfp);
}

#endif /* _IP_VS_SNAT_CONFIG_COMPAT_H */
