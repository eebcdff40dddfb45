// SPDX-License-Identifier: GPL-2.0-or-later
/* IP Virtual Server: who goes out by SNAT
 *
 * The rule is a service on 0.0.0.0:0, its -m destinations are the pool. For
 * ICMP echo, that has no services, the one for UDP counts, or else the one for
 * TCP. The persistence timeout, that ipvsadm demands for port 0, isn't used: the
 * scheduler alone picks the pool address of every new connection.
 */

#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/inetdevice.h>
#include <linux/slab.h>

#include "ip_vs_snat_int.h"

/* How long a UDP packet of a server is taken for a reply of a connection that has
 * expired
 */
#define SNAT_LATE	(60 * HZ)

/**
 * snat_find_service - find the service with the pool for a protocol
 * @ipvs:	the network namespace
 * @protocol:	TCP, UDP or ICMP
 * @which:	set to whose pool it is
 *
 * Return: the service or NULL. The caller has to put it back, and must not look
 * for other services until then.
 */
struct ip_vs_service *snat_find_service(struct netns_ipvs *ipvs, u8 protocol,
					enum snat_svc *which)
{
	struct ip_vs_service *svc;

	if (protocol != IPPROTO_TCP) {
		svc = ip_vs_snat_service_get(ipvs, IPPROTO_UDP);
		*which = SNAT_SVC_UDP;
		if (svc || protocol == IPPROTO_UDP)
			return svc;
	}
	*which = SNAT_SVC_TCP;
	return ip_vs_snat_service_get(ipvs, IPPROTO_TCP);
}

/* Scope: the devices of the outside */

/* No packet leaves by a loopback or dummy device: pool addresses are put there
 * in order to be on none in particular.
 */
static bool snat_dev_is_virtual(const struct net_device *dev)
{
	return dev->flags & IFF_LOOPBACK ||
	       (dev->flags & (IFF_NOARP | IFF_POINTOPOINT)) == IFF_NOARP;
}

static void snat_scope_add(void *data, struct net_device *dev)
{
	struct snat_scope *scope = data;
	int i;

	if (snat_dev_is_virtual(dev))
		return;
	for (i = 0; i < scope->num; i++) {
		if (scope->ifindex[i] == dev->ifindex)
			return;
	}
	if (scope->num < SNAT_SCOPE_DEVS)
		scope->ifindex[scope->num++] = dev->ifindex;
}

/* Stock tools say nothing of inside and outside, so the pool has to: outside is
 * where its addresses are, or would be. If it doesn't tell, outside is where the
 * default route leads to.
 */
static void snat_scope_fill(struct snat_scope *scope, struct netns_ipvs *ipvs,
			    struct ip_vs_service *svc,
			    const struct snat_scope *old)
{
	unsigned int left = READ_ONCE(svc->num_dests);
	struct ip_vs_dest *dest;
	bool empty = true;

	list_for_each_entry_rcu(dest, &svc->destinations, n_list) {
		/* One that has moved to another service's list would lead us
		 * round and round in there
		 */
		if (!left--)
			break;
		if (!ip_vs_snat_dest_is_pool(dest))
			continue;
		empty = false;
		if (!ip_vs_snat_for_addr_dev(ipvs, dest->addr.ip,
					     snat_scope_add, scope))
			ip_vs_snat_for_route_devs(ipvs, dest->addr.ip,
						  snat_scope_add, scope);
	}

	/* A pool that was emptied must not let private addresses out */
	if (empty && old && old->num) {
		scope->num = old->num;
		memcpy(scope->ifindex, old->ifindex, sizeof(scope->ifindex));
	}
	if (!scope->num)
		ip_vs_snat_for_route_devs(ipvs, 0, snat_scope_add, scope);
	if (!scope->num)
		IP_VS_ERR_RL("SNAT: no outside device, neither by pool nor by default route\n");
}

static bool snat_scope_current(const struct snat_scope *scope,
			       struct netns_ipvs *ipvs)
{
	return scope && scope->route_gen == ip_vs_snat_route_gen(ipvs) &&
	       scope->pool_gen == atomic_read(&ipvs->snat->pool_gen);
}

static struct snat_scope *snat_scope_update(struct netns_ipvs *ipvs,
					    struct ip_vs_service *svc,
					    enum snat_svc which)
{
	struct ip_vs_snat *snat = ipvs->snat;
	struct snat_scope *scope, *old;

	spin_lock_bh(&snat->scope_lock);
	old = rcu_dereference_protected(snat->scope[which],
					lockdep_is_held(&snat->scope_lock));
	scope = old;
	if (snat_scope_current(old, ipvs))
		goto unlock;

	scope = kzalloc(sizeof(*scope), GFP_ATOMIC);
	if (!scope) {
		/* The old one is better than none */
		scope = old;
		goto unlock;
	}
	scope->route_gen = ip_vs_snat_route_gen(ipvs);
	scope->pool_gen = atomic_read(&snat->pool_gen);
	/* Note which state it is before looking at it */
	smp_rmb();
	snat_scope_fill(scope, ipvs, svc, old);
	rcu_assign_pointer(snat->scope[which], scope);
	if (old)
		kfree_rcu(old, rcu_head);

unlock:
	spin_unlock_bh(&snat->scope_lock);
	return scope;
}

static bool snat_scope_has(const struct snat_scope *scope, int ifindex)
{
	int i;

	for (i = 0; i < scope->num; i++) {
		if (scope->ifindex[i] == ifindex)
			return true;
	}
	return false;
}

/**
 * snat_goes_out - does a packet go from the inside to the outside?
 * @ipvs:	the network namespace
 * @svc:	the service with the pool
 * @which:	whose pool it is
 * @skb:	the packet
 * @in:		the device that it came in by
 * @out:	the device that it leaves by
 *
 * What comes from the outside never does, whatever its source address. With one
 * device for both sides, the administrator has to say so; then inside is who's a
 * neighbour there, and outside starts at the next router.
 */
bool snat_goes_out(struct netns_ipvs *ipvs, struct ip_vs_service *svc,
		   enum snat_svc which, const struct sk_buff *skb,
		   const struct net_device *in, const struct net_device *out)
{
	struct snat_scope *scope = rcu_dereference(ipvs->snat->scope[which]);
	/* Not the VRF that the device belongs to */
	int iif = ip_vs_snat_iif(skb, in);

	if (unlikely(!snat_scope_current(scope, ipvs)))
		scope = snat_scope_update(ipvs, svc, which);
	if (!scope || !snat_scope_has(scope, out->ifindex))
		return false;
	if (likely(!snat_scope_has(scope, iif)))
		return true;
	return iif == out->ifindex && READ_ONCE(ipvs->snat->set.one_armed) &&
	       ip_vs_snat_via_router(skb) &&
	       ip_vs_snat_on_link(ipvs, in, ip_hdr(skb)->saddr);
}

/* Is the source a service, or one of its real servers? */
static bool snat_from_server(struct netns_ipvs *ipvs,
			     const struct snat_tuple *t)
{
	const union nf_inet_addr addr = { .ip = t->laddr };

	return ip_vs_has_real_service(ipvs, AF_INET, t->protocol, &addr,
				      t->lport) ||
	       ip_vs_has_real_service(ipvs, AF_INET, t->protocol, &addr, 0);
}

/* Is this a reply that comes too late, because the connection of the service has
 * been forgotten? It goes its way as it would without SNAT. What is no reply goes
 * out like the traffic of any other inside host.
 */
static bool snat_late_reply(struct netns_ipvs *ipvs, const struct snat_tuple *t,
			    bool syn)
{
	switch (t->protocol) {
	case IPPROTO_TCP:
		if (!syn && snat_from_server(ipvs, t))
			return true;
		break;
	case IPPROTO_UDP:
		if (snat_memo_has(ipvs->snat, ipvs->snat->late, t, SNAT_LATE))
			return true;
		break;
	default:
		return false;
	}
	/* A real server that replies by itself (direct routing, tunnel) */
	return ip_vs_snat_has_service(ipvs, t->protocol, t->laddr, t->lport);
}

/**
 * snat_match - decide on a packet without a connection
 * @ipvs:	the network namespace
 * @svc:	the service with the pool
 * @which:	whose pool it is
 * @skb:	the packet
 * @thoff:	offset of its transport header
 * @t:		its tuple
 * @in:		the device that it came in by
 * @out:	the device that it leaves by
 *
 * This is the rule of the last resort, for stock tools; rules of other kinds would
 * be asked before it.
 */
enum snat_action snat_match(struct netns_ipvs *ipvs, struct ip_vs_service *svc,
			    enum snat_svc which, struct sk_buff *skb,
			    unsigned int thoff, const struct snat_tuple *t,
			    const struct net_device *in,
			    const struct net_device *out)
{
	bool syn;

	if (ipv4_is_multicast(t->raddr) || ipv4_is_lbcast(t->raddr) ||
	    !snat_goes_out(ipvs, svc, which, skb, in, out) ||
	    ip_vs_snat_has_xfrm(skb) || ip_vs_snat_ct_busy(skb)) {
		snat_count(ipvs, SNAT_CTR_OUT_OF_SCOPE);
		return SNAT_ACT_PASS;
	}
	syn = t->protocol == IPPROTO_TCP && snat_is_syn(skb, thoff);
	if (snat_late_reply(ipvs, t, syn)) {
		snat_count(ipvs, SNAT_CTR_LATE_REPLY);
		return SNAT_ACT_PASS;
	}

	/* In the middle of a connection that we don't know, perhaps since a
	 * reboot: it can't go on, and its address must not get out.
	 */
	if (t->protocol == IPPROTO_TCP && !syn) {
		snat_count(ipvs, SNAT_CTR_DROP_NO_CONN);
		return SNAT_ACT_DROP;
	}
	return SNAT_ACT_TRANSLATE;
}
