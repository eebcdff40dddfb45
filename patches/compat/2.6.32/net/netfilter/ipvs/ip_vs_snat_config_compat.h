/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What rules and pools of SNAT need of the kernel around them, where kernel versions
 * differ: this is the one for 2.6.32.
 *
 * How generic netlink differs here:
 * - It knows only the initial network namespace.
 * - Nobody can be told in words what is wrong.
 * - The attributes of a message that asks for a dump are parsed by who answers.
 * - The end of a socket is told where nobody may sleep.
 */

#ifndef _IP_VS_SNAT_CONFIG_COMPAT_H
#define _IP_VS_SNAT_CONFIG_COMPAT_H

#include <linux/err.h>
#include <linux/netdevice.h>
#include <linux/netlink.h>
#include <net/genetlink.h>

/* Names of newer kernels */

#ifndef MODULE_ALIAS_GENL_FAMILY
#define MODULE_ALIAS_GENL_FAMILY(family)				\
	MODULE_ALIAS("net-pf-16-proto-16-family-" family)
#endif

#ifndef rcu_access_pointer
#define rcu_access_pointer(p)	ACCESS_ONCE(p)
#endif

#define strscpy			strlcpy

struct netlink_ext_ack;

#define NL_SET_ERR_MSG(extack, msg)					\
	((void)(extack))
#define NL_SET_ERR_MSG_ATTR(extack, attr, msg)				\
	((void)(extack), (void)(attr))

static inline int nla_put_be16(struct sk_buff *skb, int attr, __be16 value)
{
	return nla_put(skb, attr, sizeof(value), &value);
}

static inline int nla_put_be32(struct sk_buff *skb, int attr, __be32 value)
{
	return nla_put(skb, attr, sizeof(value), &value);
}

/* Destinations without a service, and what is counted */

struct ip_vs_kstats {
	u64	conns;
	u64	inpkts;
	u64	outpkts;
	u64	inbytes;
	u64	outbytes;
};

static inline int ip_vs_dest_conn_overhead(struct ip_vs_dest *dest)
{
	return (atomic_read(&dest->activeconns) << 8) +
	       atomic_read(&dest->inactconns);
}

static inline void ip_vs_snat_dest_set_available(struct ip_vs_dest *dest,
						 bool available)
{
	if (available)
		dest->flags |= IP_VS_DEST_F_AVAILABLE;
	else
		dest->flags &= ~IP_VS_DEST_F_AVAILABLE;
}

static inline int ip_vs_snat_stats_init(struct ip_vs_stats *stats)
{
	spin_lock_init(&stats->lock);
	return 0;
}

static inline void ip_vs_snat_stats_exit(struct ip_vs_stats *stats)
{
}

/* Count from now on */
static inline void ip_vs_snat_stats_zero(struct ip_vs_stats *stats)
{
	spin_lock_bh(&stats->lock);
	memset(&stats->ustats, 0, sizeof(stats->ustats));
	spin_unlock_bh(&stats->lock);
}

/* What was counted until now */
static inline void ip_vs_snat_stats_read(struct ip_vs_stats *stats,
					 struct ip_vs_kstats *sum)
{
	spin_lock_bh(&stats->lock);
	sum->conns = stats->ustats.conns;
	sum->inpkts = stats->ustats.inpkts;
	sum->outpkts = stats->ustats.outpkts;
	sum->inbytes = stats->ustats.inbytes;
	sum->outbytes = stats->ustats.outbytes;
	spin_unlock_bh(&stats->lock);
}

/* Make a destination of no service. It's zeroed. */
static inline int ip_vs_snat_dest_setup(struct ip_vs_dest *dest, __be32 addr)
{
	INIT_LIST_HEAD(&dest->n_list);
	INIT_LIST_HEAD(&dest->d_list);
	spin_lock_init(&dest->dst_lock);
	atomic_set(&dest->refcnt, 1);
	atomic_set(&dest->conn_flags,
		   IP_VS_CONN_F_MASQ | IP_VS_CONN_F_INACTIVE);
	dest->af = AF_INET;
	dest->addr.ip = addr;
	return ip_vs_snat_stats_init(&dest->stats);
}

/* Packets */

/* The next hop of a packet that is forwarded */
static inline __be32 ip_vs_snat_nexthop(const struct sk_buff *skb)
{
	return skb_rtable(skb)->rt_gateway;
}

/* This kernel caches routes itself */
struct ip_vs_snat_way {
};

static inline int ip_vs_snat_way_init(struct ip_vs_snat_way *way)
{
	return 0;
}

static inline void ip_vs_snat_way_exit(struct ip_vs_snat_way *way)
{
}

/* Let a packet go by a neighbour, whatever its destination: a route has its neighbour
 * here. Called with softirqs off. Returns false if it's none.
 */
static inline bool ip_vs_snat_redirect(struct netns_ipvs *ipvs,
				       struct sk_buff *skb, __be32 gw,
				       struct ip_vs_snat_way *way)
{
	struct flowi fl = { .nl_u.ip4_u.daddr = gw };
	struct rtable *rt;

	if (ip_route_output_key(ipvs->net, &rt, &fl))
		return false;
	if (rt->rt_type != RTN_UNICAST || rt->rt_gateway != gw) {
		ip_rt_put(rt);
		return false;
	}
	skb_dst_drop(skb);
	skb_dst_set(skb, &rt->u.dst);
	return true;
}

/* The device that a packet came in by */
static inline const struct net_device *
ip_vs_snat_in_dev(const struct sk_buff *skb, const struct net_device *in)
{
	return in;
}

/* Netlink */

#define ip_vs_snat_genl_ops	struct genl_ops

#define IP_VS_SNAT_GENL_OP(_cmd, _doit, _dumpit)			\
	{								\
		.cmd	= _cmd,						\
		.flags	= GENL_ADMIN_PERM,				\
		.policy	= snat_nl_policy,				\
		.doit	= _doit,					\
		.dumpit	= _dumpit,					\
	}

#define IP_VS_SNAT_GENL_FAMILY						\
struct genl_multicast_group ip_vs_snat_genl_groups[SNAT_NL_GROUPS] = {	\
	[SNAT_NL_CONFIG] = { .name = IPVS_SNAT_MCGRP_CONFIG },		\
	[SNAT_NL_EVENTS] = { .name = IPVS_SNAT_MCGRP_EVENTS },		\
};									\
									\
struct genl_family snat_nl_family = {					\
	.id		= GENL_ID_GENERATE,				\
	.name		= IPVS_SNAT_GENL_NAME,				\
	.version	= IPVS_SNAT_GENL_VERSION,			\
	.maxattr	= IPVS_SNAT_ATTR_MAX,				\
}

extern struct genl_multicast_group ip_vs_snat_genl_groups[SNAT_NL_GROUPS];

static inline int ip_vs_snat_genl_register(struct genl_family *family,
					   ip_vs_snat_genl_ops *ops,
					   unsigned int num)
{
	int ret = genl_register_family_with_ops(family, ops, num);
	int i;

	if (ret)
		return ret;
	for (i = 0; !ret && i < SNAT_NL_GROUPS; i++)
		ret = genl_register_mc_group(family, &ip_vs_snat_genl_groups[i]);
	if (ret)
		genl_unregister_family(family);
	return ret;
}

static inline struct netns_ipvs *ip_vs_snat_genl_ipvs(struct genl_info *info)
{
	return &ip_vs_netns;
}

static inline struct netns_ipvs *ip_vs_snat_skb_ipvs(const struct sk_buff *skb)
{
	return &ip_vs_netns;
}

static inline struct ip_vs_snat *
ip_vs_snat_notify_snat(const struct netlink_notify *notify)
{
	return net_eq(notify->net, &init_net) ? ip_vs_netns.snat : NULL;
}

#define ip_vs_snat_portid(info)		((info)->snd_pid)
#define ip_vs_snat_cb_portid(cb)	(NETLINK_CB((cb)->skb).pid)
#define ip_vs_snat_notify_portid(notify)	((notify)->pid)
#define ip_vs_snat_extack(info)		((struct netlink_ext_ack *)NULL)
#define ip_vs_snat_cb_extack(cb)	((struct netlink_ext_ack *)NULL)
#define ip_vs_snat_nla_string		nla_strlcpy
#define ip_vs_snat_put_u64(skb, attr, value, pad)			\
	nla_put_u64(skb, attr, value)

static inline const char *ip_vs_snat_state_name(const struct ip_vs_conn *cp)
{
	return cp->protocol == IPPROTO_ICMP ? "ICMP" :
	       ip_vs_state_name(cp->protocol, cp->state);
}

/* As newer kernels do, refuse what is unknown or too long */
static inline int ip_vs_snat_parse_nested(struct nlattr **tb, int max,
					  const struct nlattr *attr,
					  const struct nla_policy *policy,
					  struct netlink_ext_ack *extack)
{
	static const u8 sizes[NLA_TYPE_MAX + 1] = {
		[NLA_U8]	= sizeof(u8),
		[NLA_U16]	= sizeof(u16),
		[NLA_U32]	= sizeof(u32),
	};
	struct nlattr *one;
	int left;

	nla_for_each_nested(one, (struct nlattr *)attr, left) {
		int type = nla_type(one);

		if (type < 1 || type > max || !policy[type].type ||
		    (sizes[policy[type].type] &&
		     nla_len(one) != sizes[policy[type].type]))
			return -EINVAL;
	}
	if (left)
		return -EINVAL;
	return nla_parse_nested(tb, max, (struct nlattr *)attr, policy);
}

/* Attributes of the message that has asked for a dump */
static inline struct nlattr **
ip_vs_snat_dump_attrs(struct netlink_callback *cb, struct nlattr **tb, int max,
		      const struct nla_policy *policy)
{
	int ret = nlmsg_parse(cb->nlh, GENL_HDRLEN, tb, max, policy);

	return ret ? ERR_PTR(ret) : tb;
}

/* Who reads a dump cannot be told that it's not consistent */
static inline void ip_vs_snat_dump_gen(struct netlink_callback *cb, u32 gen)
{
}

static inline void ip_vs_snat_dump_check(struct netlink_callback *cb, void *hdr)
{
}

static inline bool ip_vs_snat_has_listeners(struct netns_ipvs *ipvs,
					    struct genl_family *family,
					    enum snat_nl_group group)
{
	return netlink_has_listeners(ipvs->net->genl_sock,
				     ip_vs_snat_genl_groups[group].id);
}

static inline void ip_vs_snat_genl_multicast(struct netns_ipvs *ipvs,
					     struct genl_family *family,
					     struct sk_buff *skb,
					     enum snat_nl_group group, gfp_t gfp)
{
	genlmsg_multicast_netns(ipvs->net, skb, 0,
				ip_vs_snat_genl_groups[group].id, gfp);
}

#endif /* _IP_VS_SNAT_CONFIG_COMPAT_H */
