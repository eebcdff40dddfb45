/* SPDX-License-Identifier: GPL-2.0 */
/* IP Virtual Server: source NAT for connections opened by inside hosts */

#ifndef _NET_IP_VS_SNAT_H
#define _NET_IP_VS_SNAT_H

#include <linux/netfilter.h>
#include <net/ip_vs.h>

#ifdef CONFIG_IP_VS_SNAT

int ip_vs_snat_init(void);
void ip_vs_snat_cleanup(void);
int ip_vs_snat_net_init(struct netns_ipvs *ipvs);
void ip_vs_snat_net_cleanup(struct netns_ipvs *ipvs);

void ip_vs_snat_conn_init(struct ip_vs_conn *cp);
void __ip_vs_snat_conn_release(struct ip_vs_conn *cp);
u32 ip_vs_snat_conn_hashkey(const struct ip_vs_conn *cp);

bool __ip_vs_snat_known(struct netns_ipvs *ipvs, struct sk_buff *skb,
			struct ip_vs_iphdr *iph, unsigned int hook,
			unsigned int *verdict);
unsigned int __ip_vs_snat_new(struct netns_ipvs *ipvs, struct sk_buff *skb,
			      struct ip_vs_iphdr *iph,
			      const struct net_device *in,
			      const struct net_device *out);

/* Is this connection one of ours? */
static inline bool ip_vs_snat_conn(const struct ip_vs_conn *cp)
{
	return cp->flags & IP_VS_CONN_F_SNAT;
}

/* The last reference is gone: forget the connection */
static inline void ip_vs_snat_conn_release(struct ip_vs_conn *cp)
{
	if (ip_vs_snat_conn(cp))
		__ip_vs_snat_conn_release(cp);
}

/* Handle a packet of an existing SNAT connection. Returns false if it belongs
 * to none; then nothing happened to it, apart from reassembly.
 */
static inline bool ip_vs_snat_known(struct netns_ipvs *ipvs, int af,
				    struct sk_buff *skb,
				    struct ip_vs_iphdr *iph, unsigned int hook,
				    unsigned int *verdict)
{
	if (likely(!atomic_read(&ipvs->snat_conns)) || af != AF_INET)
		return false;
	return __ip_vs_snat_known(ipvs, skb, iph, hook, verdict);
}

/* Handle a forwarded packet that belongs to no connection */
static inline unsigned int ip_vs_snat_new(struct netns_ipvs *ipvs, int af,
					  struct sk_buff *skb,
					  struct ip_vs_iphdr *iph,
					  unsigned int hook,
					  const struct net_device *in,
					  const struct net_device *out)
{
	/* No port zero service means no catch-all service either */
	if (hook != NF_INET_FORWARD || af != AF_INET ||
	    !atomic_read(&ipvs->nullsvc_counter))
		return NF_ACCEPT;
	return __ip_vs_snat_new(ipvs, skb, iph, in, out);
}

/* The pool of a service changed, and perhaps its outside devices with it */
static inline void ip_vs_snat_pool_changed(struct netns_ipvs *ipvs)
{
	atomic_inc(&ipvs->snat_pool_gen);
}

#else

static inline int ip_vs_snat_init(void) { return 0; }
static inline void ip_vs_snat_cleanup(void) { }
static inline int ip_vs_snat_net_init(struct netns_ipvs *ipvs) { return 0; }
static inline void ip_vs_snat_net_cleanup(struct netns_ipvs *ipvs) { }

static inline void ip_vs_snat_conn_init(struct ip_vs_conn *cp) { }
static inline void ip_vs_snat_conn_release(struct ip_vs_conn *cp) { }
static inline void ip_vs_snat_pool_changed(struct netns_ipvs *ipvs) { }

static inline u32 ip_vs_snat_conn_hashkey(const struct ip_vs_conn *cp)
{
	return 0;
}

static inline bool ip_vs_snat_conn(const struct ip_vs_conn *cp)
{
	return false;
}

static inline bool ip_vs_snat_known(struct netns_ipvs *ipvs, int af,
				    struct sk_buff *skb,
				    struct ip_vs_iphdr *iph, unsigned int hook,
				    unsigned int *verdict)
{
	return false;
}

static inline unsigned int ip_vs_snat_new(struct netns_ipvs *ipvs, int af,
					  struct sk_buff *skb,
					  struct ip_vs_iphdr *iph,
					  unsigned int hook,
					  const struct net_device *in,
					  const struct net_device *out)
{
	return NF_ACCEPT;
}

#endif /* CONFIG_IP_VS_SNAT */

#endif /* _NET_IP_VS_SNAT_H */
