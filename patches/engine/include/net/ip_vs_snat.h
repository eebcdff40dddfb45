/* SPDX-License-Identifier: GPL-2.0 */
/* IP Virtual Server: source NAT for connections opened by inside hosts.
 *
 * This is what the rest of IPVS calls. Packets come to the engine from the hooks of
 * IPVS, but for replies, which it meets earlier by a hook of its own.
 */

#ifndef _NET_IP_VS_SNAT_H
#define _NET_IP_VS_SNAT_H

#include <net/ip_vs.h>
#include <net/route.h>

#ifdef CONFIG_IP_VS_SNAT

int ip_vs_snat_register_nl(void);
void ip_vs_snat_unregister_nl(void);
int ip_vs_snat_net_init(struct netns_ipvs *ipvs);
void ip_vs_snat_net_cleanup(struct netns_ipvs *ipvs);
void ip_vs_snat_net_disable(struct netns_ipvs *ipvs);

int __ip_vs_snat_service_prepare(struct netns_ipvs *ipvs);
void __ip_vs_snat_service_added(struct netns_ipvs *ipvs, u16 protocol,
				__be32 addr, __be16 port);
int ip_vs_snat_dest_init(struct netns_ipvs *ipvs, struct ip_vs_dest *dest);
void ip_vs_snat_dest_changed(struct netns_ipvs *ipvs, struct ip_vs_dest *dest,
			     bool available);
void ip_vs_snat_dest_free(struct ip_vs_dest *dest);

unsigned int __ip_vs_snat_local_in(struct netns_ipvs *ipvs,
				   struct sk_buff *skb,
				   const struct net_device *in);
unsigned int __ip_vs_snat_local_out(struct netns_ipvs *ipvs,
				    struct sk_buff *skb);
unsigned int __ip_vs_snat_forward_known(struct netns_ipvs *ipvs,
					struct sk_buff *skb,
					const struct net_device *in,
					const struct net_device *out);
unsigned int __ip_vs_snat_forward_new(struct netns_ipvs *ipvs,
				      struct sk_buff *skb,
				      const struct net_device *in,
				      const struct net_device *out);

void ip_vs_snat_conn_init(struct ip_vs_conn *cp);
void ip_vs_snat_conn_release(struct ip_vs_conn *cp);
void ip_vs_snat_conn_drop(struct ip_vs_conn *cp);
bool ip_vs_snat_conn_end(struct ip_vs_conn *cp);
void __ip_vs_snat_service_conn_new(struct netns_ipvs *ipvs,
				   const struct ip_vs_conn *cp);
void __ip_vs_snat_service_conn_forget(struct ip_vs_conn *cp);
void __ip_vs_snat_service_conn_gone(struct netns_ipvs *ipvs,
				    const struct ip_vs_conn *cp);
bool ip_vs_snat_conn_shed_first(const struct ip_vs_conn *cp);
bool ip_vs_snat_conn_shed_rest(struct netns_ipvs *ipvs);
u32 ip_vs_snat_conn_hashkey(const struct ip_vs_conn *cp);

/* Was there ever a pool? If so, the tables are there. */
static inline bool ip_vs_snat_enabled(const struct netns_ipvs *ipvs)
{
	/* With what was made before it was set */
	return smp_load_acquire(&ipvs->snat_enabled);
}

/* LOCAL_IN, after services have taken what is theirs */
static inline unsigned int ip_vs_snat_local_in(struct netns_ipvs *ipvs,
					       struct sk_buff *skb,
					       const struct net_device *in)
{
	return ip_vs_snat_enabled(ipvs) ? __ip_vs_snat_local_in(ipvs, skb, in) :
	       NF_ACCEPT;
}

/* LOCAL_OUT, after services have taken what is theirs */
static inline unsigned int ip_vs_snat_local_out(struct netns_ipvs *ipvs,
						struct sk_buff *skb)
{
	return ip_vs_snat_enabled(ipvs) ? __ip_vs_snat_local_out(ipvs, skb) :
	       NF_ACCEPT;
}

/* FORWARD, before services: packets that belong to an SNAT connection. They are
 * marked, so that services leave them alone.
 */
static inline unsigned int
ip_vs_snat_forward_known(struct netns_ipvs *ipvs, struct sk_buff *skb,
			 const struct net_device *in,
			 const struct net_device *out)
{
	return ip_vs_snat_enabled(ipvs) ?
	       __ip_vs_snat_forward_known(ipvs, skb, in, out) : NF_ACCEPT;
}

/* FORWARD, after services: packets that belong to no connection at all */
static inline unsigned int
ip_vs_snat_forward_new(struct netns_ipvs *ipvs, struct sk_buff *skb,
		       const struct net_device *in,
		       const struct net_device *out)
{
	return ip_vs_snat_enabled(ipvs) ?
	       __ip_vs_snat_forward_new(ipvs, skb, in, out) : NF_ACCEPT;
}

/* Is this connection one of ours? */
static inline bool ip_vs_snat_conn(const struct ip_vs_conn *cp)
{
	return cp->flags & IP_VS_CONN_F_SNAT;
}

/* Is the service with this address the rule of SNAT, and its destinations the
 * pool?
 */
static inline bool ip_vs_snat_service(u16 af, u32 fwmark, __be32 addr,
				      __be16 port)
{
	return af == AF_INET && !fwmark && !port && addr == htonl(INADDR_ANY);
}

/* A service is going to be added: get ready if it's ours */
static inline int ip_vs_snat_service_prepare(struct netns_ipvs *ipvs, u16 af,
					     u32 fwmark, __be32 addr,
					     __be16 port)
{
	if (!ip_vs_snat_service(af, fwmark, addr, port))
		return 0;
	return __ip_vs_snat_service_prepare(ipvs);
}

/* A service is there: it wins against SNAT connections of its address and port, or
 * of all ports
 */
static inline void ip_vs_snat_service_added(struct netns_ipvs *ipvs,
					    const struct ip_vs_service *svc)
{
	if (ip_vs_snat_enabled(ipvs) && svc->af == AF_INET && !svc->fwmark &&
	    svc->addr.ip != htonl(INADDR_ANY))
		__ip_vs_snat_service_added(ipvs, svc->protocol, svc->addr.ip,
					   svc->port);
}

#ifdef IP_VS_SNAT_FASTPATH
/* A connection of whatever kind is being made, and has no short way yet */
static inline void ip_vs_snat_conn_prepare(struct ip_vs_conn *cp)
{
	INIT_HLIST_NODE(&cp->snat_in);
	INIT_HLIST_NODE(&cp->snat_out);
	RCU_INIT_POINTER(cp->snat.ways, NULL);
	cp->snat.rule = NULL;
	cp->snat.seen = 0;
}

/* For whom IPVS has translated the last packet on a CPU, and by which routes. It's only
 * compared with.
 */
struct ip_vs_snat_note {
	const struct ip_vs_conn	*cp;
	int			genid;
};

DECLARE_PER_CPU(struct ip_vs_snat_note, ip_vs_snat_noted);

/* A packet of a service is translated, and has the route that it came with */
static inline void ip_vs_snat_note(const struct ip_vs_conn *cp,
				   const struct sk_buff *skb)
{
	this_cpu_write(ip_vs_snat_noted.cp, cp);
	this_cpu_write(ip_vs_snat_noted.genid, skb_rtable(skb)->rt_genid);
}

static inline void ip_vs_snat_service_conn_forget(struct ip_vs_conn *cp)
{
	if (unlikely(rcu_access_pointer(cp->snat.ways)))
		__ip_vs_snat_service_conn_forget(cp);
}
#else
static inline void ip_vs_snat_service_conn_forget(struct ip_vs_conn *cp) { }
#endif

/* A connection has been hashed */
static inline void ip_vs_snat_conn_hashed(struct netns_ipvs *ipvs,
					  const struct ip_vs_conn *cp)
{
	if (!ip_vs_snat_conn(cp) && cp->af == AF_INET)
		__ip_vs_snat_service_conn_new(ipvs, cp);
}

/* The last reference to a connection of a service is gone */
static inline void ip_vs_snat_service_conn_release(struct netns_ipvs *ipvs,
						   struct ip_vs_conn *cp)
{
	ip_vs_snat_service_conn_forget(cp);
	if (ip_vs_snat_enabled(ipvs) && cp->protocol == IPPROTO_UDP &&
	    cp->af == AF_INET)
		__ip_vs_snat_service_conn_gone(ipvs, cp);
}

#else

static inline int ip_vs_snat_register_nl(void) { return 0; }
static inline void ip_vs_snat_unregister_nl(void) { }
static inline int ip_vs_snat_net_init(struct netns_ipvs *ipvs) { return 0; }
static inline void ip_vs_snat_net_cleanup(struct netns_ipvs *ipvs) { }
static inline void ip_vs_snat_net_disable(struct netns_ipvs *ipvs) { }

static inline bool ip_vs_snat_enabled(const struct netns_ipvs *ipvs)
{
	return false;
}

static inline unsigned int ip_vs_snat_local_in(struct netns_ipvs *ipvs,
					       struct sk_buff *skb,
					       const struct net_device *in)
{
	return NF_ACCEPT;
}

static inline unsigned int ip_vs_snat_local_out(struct netns_ipvs *ipvs,
						struct sk_buff *skb)
{
	return NF_ACCEPT;
}

static inline unsigned int
ip_vs_snat_forward_known(struct netns_ipvs *ipvs, struct sk_buff *skb,
			 const struct net_device *in,
			 const struct net_device *out)
{
	return NF_ACCEPT;
}

static inline unsigned int
ip_vs_snat_forward_new(struct netns_ipvs *ipvs, struct sk_buff *skb,
		       const struct net_device *in,
		       const struct net_device *out)
{
	return NF_ACCEPT;
}

static inline bool ip_vs_snat_service(u16 af, u32 fwmark, __be32 addr,
				      __be16 port)
{
	return false;
}

static inline int ip_vs_snat_service_prepare(struct netns_ipvs *ipvs, u16 af,
					     u32 fwmark, __be32 addr,
					     __be16 port)
{
	return 0;
}

static inline void ip_vs_snat_service_added(struct netns_ipvs *ipvs,
					    const struct ip_vs_service *svc)
{
}

static inline int ip_vs_snat_dest_init(struct netns_ipvs *ipvs,
				       struct ip_vs_dest *dest)
{
	return 0;
}

static inline void ip_vs_snat_dest_changed(struct netns_ipvs *ipvs,
					   struct ip_vs_dest *dest,
					   bool available)
{
}

static inline void ip_vs_snat_dest_free(struct ip_vs_dest *dest) { }

static inline void ip_vs_snat_conn_prepare(struct ip_vs_conn *cp) { }

static inline void ip_vs_snat_note(const struct ip_vs_conn *cp,
				   const struct sk_buff *skb)
{
}

static inline void ip_vs_snat_conn_init(struct ip_vs_conn *cp) { }

static inline void ip_vs_snat_conn_hashed(struct netns_ipvs *ipvs,
					  const struct ip_vs_conn *cp)
{
}

static inline void ip_vs_snat_service_conn_release(struct netns_ipvs *ipvs,
						   struct ip_vs_conn *cp)
{
}

static inline void ip_vs_snat_conn_drop(struct ip_vs_conn *cp) { }

static inline bool ip_vs_snat_conn_shed_first(const struct ip_vs_conn *cp)
{
	return false;
}

static inline bool ip_vs_snat_conn_shed_rest(struct netns_ipvs *ipvs)
{
	return false;
}

static inline u32 ip_vs_snat_conn_hashkey(const struct ip_vs_conn *cp)
{
	return 0;
}

static inline bool ip_vs_snat_conn(const struct ip_vs_conn *cp)
{
	return false;
}

#endif /* CONFIG_IP_VS_SNAT */

#endif /* _NET_IP_VS_SNAT_H */
