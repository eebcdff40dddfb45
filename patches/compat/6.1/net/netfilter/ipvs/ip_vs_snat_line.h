/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What Linux 6.1 has otherwise than other kernels with the same compatibility header */

#ifndef _IP_VS_SNAT_LINE_H
#define _IP_VS_SNAT_LINE_H

#include <linux/sysctl.h>
#include <net/genetlink.h>
#include <net/ip.h>
#include <net/ip_vs.h>
#include <net/udp.h>

/* What of the type of service packets are routed by */
#define IP_VS_SNAT_ROUTE_TOS	IPTOS_RT_MASK

/* Sockets of UDP, those of all namespaces */
#define ip_vs_snat_udp_table(net)	(&udp_table)

/* Counters of all traffic of a namespace */
static inline struct ip_vs_stats *ip_vs_snat_tot_stats(struct netns_ipvs *ipvs)
{
	return &ipvs->tot_stats;
}

/* Traffic is summed up without services, too */
static inline void ip_vs_snat_sum_traffic(struct netns_ipvs *ipvs)
{
}

/* The length that a packet says it has */
static inline unsigned int ip_vs_snat_totlen(const struct sk_buff *skb)
{
	return ntohs(ip_hdr(skb)->tot_len);
}

/* Attributes of the message that has asked for a dump */
static inline struct nlattr **
ip_vs_snat_dump_attrs(struct netlink_callback *cb, struct nlattr **tb, int max,
		      const struct nla_policy *policy)
{
	return genl_dumpit_info(cb)->attrs;
}

/* What goes a short way is counted as all that comes and goes, and as what is forwarded
 * if it would have been
 */
static inline void ip_vs_snat_count_passed(struct net *net,
					   const struct sk_buff *skb,
					   unsigned int received, bool forwarded)
{
	unsigned int len = skb->len;

	__IP_UPD_PO_STATS(net, IPSTATS_MIB_IN, received);
	__IP_ADD_STATS(net, IPSTATS_MIB_NOECTPKTS +
			    (ip_hdr(skb)->tos & INET_ECN_MASK),
		       max_t(unsigned short, 1, skb_shinfo(skb)->gso_segs));
	if (forwarded) {
		__IP_INC_STATS(net, IPSTATS_MIB_OUTFORWDATAGRAMS);
		__IP_ADD_STATS(net, IPSTATS_MIB_OUTOCTETS, len);
	}
	IP_UPD_PO_STATS(net, IPSTATS_MIB_OUT, len);
}

/* Is it a copy of a packet for somebody else that goes its way now (TEE)? */
static inline bool ip_vs_snat_is_duplicate(void)
{
	return this_cpu_read(nf_skb_duplicated);
}

/* Is this no task of a program? */
static inline bool ip_vs_snat_in_kernel_task(void)
{
	return current->flags & PF_KTHREAD;
}

/* What handlers of settings get */
#define ip_vs_snat_ctl_table	struct ctl_table

#ifdef CONFIG_SYSCTL
/* The table has one entry more than it has settings */
static inline struct ctl_table_header *
ip_vs_snat_register_sysctl(struct netns_ipvs *ipvs, struct ctl_table *tbl,
			   size_t num)
{
	/* Don't export sysctls to unprivileged users */
	if (ipvs->net->user_ns != &init_user_ns)
		tbl[0].procname = NULL;
	return register_net_sysctl(ipvs->net, "net/ipv4/vs", tbl);
}
#endif

#endif /* _IP_VS_SNAT_LINE_H */
