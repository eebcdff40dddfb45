// SPDX-License-Identifier: GPL-2.0-or-later
/* IP Virtual Server: who goes out by SNAT
 *
 * Rules say who does, and the last one of them is for stock tools: a service on
 * 0.0.0.0:0, whose -m destinations are the pool. For ICMP echo, that has no services,
 * the one for UDP counts, or else the one for TCP. The persistence timeout, that
 * ipvsadm demands for port 0, isn't used: the scheduler alone picks the pool address
 * of every new connection.
 */

#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/inetdevice.h>
#include <linux/slab.h>

#include "ip_vs_snat_config.h"

/* A default route may be in two halves */
#define SNAT_DEFAULT_LEN	1

/* Not each change of a route is told of (a nexthop of a group) */
#define SNAT_SCOPE_AGE	(10 * HZ)

/* How long a UDP packet of a server is taken for a reply of a connection that has
 * expired
 */
#define SNAT_LATE	(60 * HZ)

/* The service with the pool for a protocol, or NULL. The caller has to put it back,
 * and must not look for other services until then.
 */
static struct ip_vs_service *snat_find_service(struct netns_ipvs *ipvs,
					       u8 protocol,
					       enum snat_svc *which)
{
	struct ip_vs_service *svc;

	if (!atomic_read(&ipvs->nullsvc_counter))
		return NULL;
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
 * in order to be on none in particular. There are cards without ARP.
 */
static bool snat_dev_is_virtual(const struct net_device *dev)
{
	return dev->flags & IFF_LOOPBACK ||
	       ((dev->flags & (IFF_NOARP | IFF_POINTOPOINT)) == IFF_NOARP &&
		!ip_vs_snat_has_lower_dev(dev));
}

static void snat_scope_add(void *data, struct net_device *dev)
{
	struct snat_scope *scope = data;
	int i;

	if (snat_dev_is_virtual(dev))
		return;
	scope->told++;
	for (i = 0; i < scope->num; i++) {
		if (scope->ifindex[i] == dev->ifindex)
			return;
	}
	if (scope->num >= scope->room) {
		if (!ip_vs_snat_trusted(scope->ipvs))
			return;
		IP_VS_ERR_RL("SNAT: %s is taken for inside, %d devices are outside already\n",
			     dev->name, scope->num);
		return;
	}
	scope->ifindex[scope->num++] = dev->ifindex;
}

/* Nobody has these addresses on the Internet (RFC 1918, RFC 6598) */
static bool snat_is_private(__be32 addr)
{
	return ipv4_is_private_10(addr) || ipv4_is_private_172(addr) ||
	       ipv4_is_private_192(addr) ||
	       (addr & htonl(0xffc00000)) == htonl(0x64400000);
}

/* Outside is where a pool address is, or would be, if it's anywhere */
static void snat_scope_add_addr(struct snat_scope *scope,
				struct netns_ipvs *ipvs, __be32 addr)
{
	const struct ip_vs_snat_route_key key = { .daddr = addr };
	int told = scope->told;

	if (!ip_vs_snat_for_addr_dev(ipvs, addr, snat_scope_add, scope))
		ip_vs_snat_for_route_devs(ipvs, &key, 32, snat_scope_add,
					  scope);
	scope->by_default |= scope->told == told;
	scope->is_private |= snat_is_private(addr);
}

/* Where the default route leads to */
static void snat_scope_add_default(struct snat_scope *scope,
				   struct netns_ipvs *ipvs)
{
	const struct ip_vs_snat_route_key low = { }, high = {
		.daddr = htonl(1U << 31),
	};

	ip_vs_snat_for_route_devs(ipvs, &low, SNAT_DEFAULT_LEN, snat_scope_add,
				  scope);
	ip_vs_snat_for_route_devs(ipvs, &high, SNAT_DEFAULT_LEN, snat_scope_add,
				  scope);
}

static bool snat_scope_add_service(struct snat_scope *scope,
				   struct netns_ipvs *ipvs,
				   struct ip_vs_service *svc)
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
		snat_scope_add_addr(scope, ipvs, dest->addr.ip);
	}
	return empty;
}

/* Of addresses that follow each other, the first and the last one tell */
static bool snat_scope_add_pool(struct snat_scope *scope,
				struct netns_ipvs *ipvs,
				const struct snat_pool *pool)
{
	const struct snat_range *range = pool->ranges;
	u32 i;

	for (i = 0; i < pool->num_ranges; i++, range++) {
		if (!i || range[-1].max + 1 != range->min)
			snat_scope_add_addr(scope, ipvs, htonl(range->min));
		if (range->max != range->min &&
		    (i + 1 == pool->num_ranges ||
		     range->max + 1 != range[1].min))
			snat_scope_add_addr(scope, ipvs, htonl(range->max));
	}
	return !pool->num_ranges;
}

/* The service is the last rule, so its pool is outside as well */
static bool snat_scope_add_rules(struct snat_scope *scope,
				 struct netns_ipvs *ipvs)
{
	struct snat_config *config = rcu_dereference(ipvs->snat->config);
	struct ip_vs_service *svc;
	enum snat_svc which;
	bool empty = true;
	u32 i;

	for (i = 0; config && i < config->num_pools; i++)
		empty &= snat_scope_add_pool(scope, ipvs, config->pools[i]);

	svc = snat_find_service(ipvs, IPPROTO_TCP, &which);
	if (svc) {
		empty &= snat_scope_add_service(scope, ipvs, svc);
		ip_vs_snat_service_put(svc);
	}
	svc = snat_find_service(ipvs, IPPROTO_UDP, &which);
	if (svc) {
		empty &= snat_scope_add_service(scope, ipvs, svc);
		ip_vs_snat_service_put(svc);
	}
	return empty;
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

static bool snat_scope_is_routed(const struct snat_scope *scope, int ifindex)
{
	int i;

	for (i = 0; i < scope->num_routed; i++) {
		if (scope->routed[i] == ifindex)
			return true;
	}
	return false;
}

/* A device that shares a card with others may only hold the addresses (keepalived's
 * use_vmac), and what goes out leaves by the card itself. Not if the default route
 * leads by that device: then inside hosts may be on the card.
 */
static void snat_scope_add_cards(struct snat_scope *scope,
				 struct netns_ipvs *ipvs)
{
	int i, num = scope->num;

	/* One for each, if need be: what goes out leaves by it */
	scope->room = ARRAY_SIZE(scope->ifindex);
	for (i = 0; i < num; i++) {
		if (!snat_scope_is_routed(scope, scope->ifindex[i]))
			ip_vs_snat_for_card(ipvs, scope->ifindex[i],
					    snat_scope_add, scope);
	}
}

static void snat_scope_merge(struct snat_scope *scope, const int *ifindex,
			     int num)
{
	int i;

	for (i = 0; i < num; i++) {
		if (scope->num < ARRAY_SIZE(scope->ifindex) &&
		    !snat_scope_has(scope, ifindex[i]))
			scope->ifindex[scope->num++] = ifindex[i];
	}
}

/* One that has gone still tells: what it led to comes in by that, and without it nothing
 * becomes outside
 */
static void snat_scope_find_routed(struct snat_scope *scope,
				   struct netns_ipvs *ipvs,
				   const struct snat_scope *old)
{
	struct snat_scope now = { .ipvs = ipvs, .room = SNAT_SCOPE_DEVS };

	snat_scope_add_default(&now, ipvs);
	scope->num_routed = now.num;
	memcpy(scope->routed, now.ifindex, sizeof(scope->routed));
	if (now.num || !old)
		return;
	scope->num_routed = old->num_routed;
	memcpy(scope->routed, old->routed, sizeof(scope->routed));
}

/* Stock tools say nothing of inside and outside, nor need rules do so, so the pools
 * have to. For addresses that don't tell, outside is where the default route leads to.
 */
static void snat_scope_fill(struct snat_scope *scope, struct netns_ipvs *ipvs,
			    struct ip_vs_service *svc,
			    const struct snat_scope *old)
{
	bool empty = svc ? snat_scope_add_service(scope, ipvs, svc) :
			   snat_scope_add_rules(scope, ipvs);

	scope->by_default |= !scope->num;
	snat_scope_find_routed(scope, ipvs, old);
	if (empty && old && old->num) {
		/* A pool that was emptied must not let private addresses out */
		snat_scope_merge(scope, old->ifindex, old->num);
		scope->is_private = old->is_private;
	} else if (scope->by_default) {
		snat_scope_merge(scope, scope->routed, scope->num_routed);
	}
	snat_scope_add_cards(scope, ipvs);
	if (!scope->num && ip_vs_snat_trusted(ipvs))
		IP_VS_ERR_RL("SNAT: no outside device, neither by pool nor by default route\n");
}

/* The default route is looked at again now and then, by one CPU */
static bool snat_scope_is_due(struct snat_scope *scope)
{
	unsigned long filled = READ_ONCE(scope->filled), now = jiffies;

	return scope->by_default && time_after(now, filled + SNAT_SCOPE_AGE) &&
	       cmpxchg(&scope->filled, filled, now) == filled;
}

static bool snat_scope_current(struct snat_scope *scope,
			       struct netns_ipvs *ipvs)
{
	return scope && scope->route_gen == ip_vs_snat_route_gen(ipvs) &&
	       scope->pool_gen == atomic_read(&ipvs->snat->pool_gen) &&
	       !snat_scope_is_due(scope);
}

/* It's filled without the lock, which those who change a service need. If another CPU
 * is at it too, the last one wins, and the next packet sees whether it's current.
 */
static struct snat_scope *snat_scope_update(struct netns_ipvs *ipvs,
					    struct ip_vs_service *svc,
					    enum snat_svc which)
{
	struct ip_vs_snat *snat = ipvs->snat;
	struct snat_scope *scope, *old = rcu_dereference(snat->scope[which]);

	scope = kzalloc(sizeof(*scope), GFP_ATOMIC);
	/* The old one is better than none */
	if (!scope)
		return old;
	scope->ipvs = ipvs;
	scope->room = SNAT_SCOPE_DEVS;
	scope->filled = jiffies;
	scope->route_gen = ip_vs_snat_route_gen(ipvs);
	scope->pool_gen = atomic_read(&snat->pool_gen);
	/* Note which state it is before looking at it */
	smp_rmb();
	snat_scope_fill(scope, ipvs, svc, old);

	spin_lock_bh(&snat->scope_lock);
	old = rcu_dereference_protected(snat->scope[which],
					lockdep_is_held(&snat->scope_lock));
	rcu_assign_pointer(snat->scope[which], scope);
	spin_unlock_bh(&snat->scope_lock);
	if (old)
		kfree_rcu(old, rcu_head);
	return scope;
}

static struct snat_scope *snat_scope_get(struct netns_ipvs *ipvs,
					 struct ip_vs_service *svc,
					 enum snat_svc which)
{
	struct snat_scope *scope = rcu_dereference(ipvs->snat->scope[which]);

	if (unlikely(!snat_scope_current(scope, ipvs)))
		scope = snat_scope_update(ipvs, svc, which);
	return scope;
}

/* Rules */

/* A packet that rules are asked about */
struct snat_query {
	struct netns_ipvs	*ipvs;
	const struct sk_buff	*skb;		/* or NULL */
	const struct net_device	*in;		/* not a VRF */
	const struct net_device	*out;
	u64			nets;		/* source and destination */
	__be32			saddr;
	__be32			daddr;
	__be32			nexthop;
	u32			mark;
	u16			dport;
	u8			protocol;	/* 0: all, with all ports */
	u8			svc_protocol;	/* whose service it's for */
	bool			any_mark;
	bool			via_router;
	bool			from_inside;	/* if the rule doesn't tell */
	bool			to_outside;
	bool			astray;		/* see snat_goes_astray() */
};

/* With one device for both sides, the administrator has to say so; then inside is
 * who's a neighbour there, and outside starts at the next router.
 */
static bool snat_one_armed(const struct snat_query *q)
{
	if (likely(!READ_ONCE(q->ipvs->snat->set.one_armed)) || !q->via_router)
		return false;
	/* It may have the gateway's address on a device that shares the card */
	return (q->in->ifindex == q->out->ifindex ||
		ip_vs_snat_shares_card(q->in, q->out)) &&
	       ip_vs_snat_on_link(q->ipvs, q->out, q->saddr);
}

/* While no device of the outside is known, what leaves by another device than it came
 * in, by a router or a tunnel, may be on its way to the outside. Who decides about it
 * must not let it go with its private address. From inside to inside it may go, which
 * private destinations are if the pool isn't.
 */
static bool snat_goes_astray(const struct snat_query *q,
			     const struct snat_scope *scope)
{
	if (likely(scope && scope->num) || !snat_is_private(q->saddr) ||
	    (snat_is_private(q->daddr) && !(scope && scope->is_private)))
		return false;
	if (q->in->ifindex == q->out->ifindex)
		return snat_one_armed(q);
	return q->via_router || q->out->flags & (IFF_POINTOPOINT | IFF_NOARP);
}

/* Which devices of a packet are outside? */
struct snat_sides {
	const struct net_device *in_dev;
	const struct net_device *out_dev;
	bool			in;
	bool			out;
};

static void snat_sides_add(void *data, struct net_device *dev)
{
	struct snat_sides *sides = data;

	sides->in |= dev == sides->in_dev;
	sides->out |= dev == sides->out_dev;
}

/* Does the packet's own route tell, too? */
static bool snat_has_own_routes(const struct snat_query *q,
				const struct snat_scope *scope)
{
	return scope && scope->by_default && ip_vs_snat_has_fib_rules(q->ipvs);
}

/* What a packet is routed by */
static void snat_query_route(const struct snat_query *q,
			     struct ip_vs_snat_route_key *key)
{
	const struct iphdr *iph;
	const __be16 *ports;
	__be16 _ports[2];

	memset(key, 0, sizeof(*key));
	key->daddr = q->daddr;
	key->saddr = q->saddr;
	key->iif = q->in->ifindex;
	key->mark = q->mark;
	key->protocol = q->svc_protocol;
	if (!q->skb)
		return;
	iph = ip_hdr(q->skb);
	key->tos = iph->tos;
	if (iph->protocol != IPPROTO_TCP && iph->protocol != IPPROTO_UDP)
		return;
	ports = skb_header_pointer(q->skb, ip_hdrlen(q->skb), sizeof(_ports),
				   _ports);
	if (ports) {
		key->sport = ports[0];
		key->dport = ports[1];
	}
}

/* What its answers would be routed by */
static void snat_query_route_back(const struct snat_query *q,
				  struct ip_vs_snat_route_key *key)
{
	snat_query_route(q, key);
	swap(key->daddr, key->saddr);
	swap(key->dport, key->sport);
	key->iif = q->out->ifindex;
}

/* Where the host's own default route tells what is outside, so does that of a packet,
 * which rules of routing may have in another table. By that, it may as well have come
 * from there; if everybody may have its source, so may the way back.
 */
static void snat_ask_routes(const struct snat_query *q,
			    struct snat_sides *sides)
{
	struct snat_sides back = { .in_dev = q->in };
	struct ip_vs_snat_route_key key;

	snat_query_route(q, &key);
	ip_vs_snat_for_route_devs(q->ipvs, &key, SNAT_DEFAULT_LEN,
				  snat_sides_add, sides);
	if (sides->in || snat_is_private(q->saddr))
		return;
	snat_query_route_back(q, &key);
	ip_vs_snat_for_route_devs(q->ipvs, &key, SNAT_DEFAULT_LEN,
				  snat_sides_add, &back);
	sides->in = back.in;
}

static void snat_find_sides(const struct snat_query *q,
			    const struct snat_scope *scope,
			    struct snat_sides *sides)
{
	sides->in_dev = q->in;
	sides->out_dev = q->out;
	sides->in = scope && snat_scope_has(scope, q->in->ifindex);
	sides->out = scope && snat_scope_has(scope, q->out->ifindex);
	if (unlikely(snat_has_own_routes(q, scope)) && !sides->in)
		snat_ask_routes(q, sides);
}

/* Does a packet go from the inside to the outside, as the pool of a service tells?
 * What comes from the outside never does, whatever its source address.
 */
static bool snat_goes_out(struct snat_query *q, struct ip_vs_service *svc,
			  enum snat_svc which)
{
	struct snat_scope *scope = snat_scope_get(q->ipvs, svc, which);
	struct snat_sides sides;

	snat_find_sides(q, scope, &sides);
	if (likely(sides.out)) {
		q->astray = false;
		return !sides.in || snat_one_armed(q);
	}
	q->astray = snat_goes_astray(q, scope);
	return q->astray;
}

static bool snat_is_oif(const struct snat_config *config,
			const struct net_device *dev)
{
	u32 low = 0, high = config->num_oifs;

	while (low < high) {
		u32 mid = low + (high - low) / 2;
		int cmp = strcmp(config->oifs[mid], dev->name);

		if (!cmp)
			return true;
		if (cmp < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

/* Which sides the devices of a packet belong to */
static void snat_query_sides(struct snat_query *q,
			     const struct snat_config *config)
{
	struct snat_scope *scope = snat_scope_get(q->ipvs, NULL, SNAT_SVC_RULES);
	struct snat_sides sides;

	snat_find_sides(q, scope, &sides);
	q->to_outside = sides.out || snat_is_oif(config, q->out);
	q->from_inside = !(sides.in || snat_is_oif(config, q->in)) ||
			 snat_one_armed(q);
	q->astray = !q->to_outside && snat_goes_astray(q, scope);
}

static void snat_query_init(struct snat_query *q, struct netns_ipvs *ipvs,
			    const struct snat_config *config,
			    const struct sk_buff *skb,
			    const struct net_device *in,
			    const struct net_device *out)
{
	memset(q, 0, sizeof(*q));
	q->ipvs = ipvs;
	q->skb = skb;
	q->in = ip_vs_snat_in_dev(skb, in);
	q->out = out;
	q->saddr = ip_hdr(skb)->saddr;
	q->daddr = ip_hdr(skb)->daddr;
	q->nets = snat_nets(ntohl(q->saddr), ntohl(q->daddr));
	q->nexthop = ip_vs_snat_nexthop(skb);
	q->mark = skb->mark;
	q->svc_protocol = ip_hdr(skb)->protocol;
	q->via_router = ip_vs_snat_via_router(skb);
	if (config)
		snat_query_sides(q, config);
}

/* Does a rule itself tell which packets leave for the outside? */
static bool snat_rule_tells(const struct snat_rule_spec *spec)
{
	return *spec->oif || spec->gw || spec->dst_len;
}

static bool snat_rule_goes_out(const struct snat_rule_spec *spec,
			       const struct snat_query *q)
{
	if (*spec->iif ? strcmp(spec->iif, q->in->name) : !q->from_inside)
		return false;
	if (*spec->oif)
		return !strcmp(spec->oif, q->out->name);
	return q->to_outside || q->astray || snat_rule_tells(spec);
}

/* Does a rule match a packet whose addresses and port do? */
static bool snat_rule_matches(const struct snat_match *match,
			      const struct snat_query *q)
{
	const struct snat_rule_spec *spec;

	if (match->protocol && q->protocol && match->protocol != q->protocol)
		return false;
	spec = &match->rule->spec;
	if (!q->any_mark && (q->mark & spec->mark_mask) != spec->mark)
		return false;
	if (spec->gw && spec->gw != q->nexthop)
		return false;
	return snat_rule_goes_out(spec, q);
}

static bool snat_match_is(const struct snat_match *match, u64 nets, u32 service)
{
	return match->nets == nets && match->service == service;
}

static bool snat_match_below(const struct snat_match *match, u64 nets,
			     u32 service)
{
	return match->nets < nets ||
	       (match->nets == nets && match->service < service);
}

/* Where in a group a service, or the next one that there is, begins */
static u32 snat_group_pos(const struct snat_match *matches,
			  const struct snat_group *group, u64 nets, u32 service)
{
	u32 low = group->begin, high = group->end;

	while (low < high) {
		u32 mid = low + (high - low) / 2;

		if (snat_match_below(&matches[mid], nets, service))
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* The first matching rule of those about one service, or all. They are in their order. */
static const struct snat_match *
snat_find_service_rule(const struct snat_match *matches,
		       const struct snat_group *group,
		       const struct snat_query *q, u64 nets, u32 service)
{
	u32 i = snat_group_pos(matches, group, nets, service);

	for (; i < group->end && snat_match_is(&matches[i], nets, service); i++) {
		if (snat_rule_matches(&matches[i], q))
			return &matches[i];
	}
	return NULL;
}

/* The first matching rule of those about a range of ports: of all that begin at the
 * service or before it, as far back as one of them reaches it
 */
static const struct snat_match *
snat_find_range_rule(const struct snat_match *matches,
		     const struct snat_group *group,
		     const struct snat_query *q, u64 nets, u32 service)
{
	u32 i = snat_group_pos(matches, group, nets, service + 1);
	const struct snat_match *first = NULL;

	while (i-- > group->begin && matches[i].nets == nets &&
	       matches[i].reach >= service) {
		const struct snat_match *match = &matches[i];

		if (match->last >= service && snat_rule_matches(match, q) &&
		    (!first || snat_match_precedes(match, first)))
			first = match;
	}
	return first;
}

/* The first matching rule of all services */
static const struct snat_match *
snat_find_any_rule(const struct snat_match *matches,
		   const struct snat_group *group,
		   const struct snat_query *q, u64 nets)
{
	u32 i = snat_group_pos(matches, group, nets, 0);
	const struct snat_match *first = NULL;

	for (; i < group->end && matches[i].nets == nets; i++) {
		if (snat_rule_matches(&matches[i], q) &&
		    (!first || snat_match_precedes(&matches[i], first)))
			first = &matches[i];
	}
	return first;
}

static const struct snat_match *
snat_find_in_group(const struct snat_match *matches,
		   const struct snat_group *group, const struct snat_query *q)
{
	u32 service = snat_service(q->protocol, q->dport);
	u64 nets = q->nets & group->mask;

	if (unlikely(!q->protocol))
		return snat_find_any_rule(matches, group, q, nets);
	switch (group->ports) {
	case SNAT_PORTS_RANGE:
		return snat_find_range_rule(matches, group, q, nets, service);
	case SNAT_PORTS_ONE:
		return snat_find_service_rule(matches, group, q, nets, service);
	default:
		return snat_find_service_rule(matches, group, q, nets, 0);
	}
}

/* The first matching rule. One step for each group, not for each rule. */
static const struct snat_match *
snat_find_rule(const struct snat_config *config, const struct snat_query *q)
{
	const struct snat_match *first = NULL, *match;
	u32 i;

	for (i = 0; i < config->num_groups; i++) {
		match = snat_find_in_group(config->matches, &config->groups[i],
					   q);
		if (match && (!first || snat_match_precedes(match, first)))
			first = match;
	}
	return first;
}

/**
 * snat_from_outside - does a packet come in by a device of the outside?
 * @ipvs:	the network namespace
 * @skb:	the packet
 * @in:		the device that it came in by
 * @out:	the device that it leaves by
 *
 * Return: whether it does, so that it's not from an inside host, whatever its source
 * address.
 */
bool snat_from_outside(struct netns_ipvs *ipvs, const struct sk_buff *skb,
		       const struct net_device *in,
		       const struct net_device *out)
{
	struct snat_config *config = rcu_dereference(ipvs->snat->config);
	struct ip_vs_service *svc;
	struct snat_sides sides;
	enum snat_svc which;
	struct snat_query q;

	snat_query_init(&q, ipvs, config, skb, in, out);
	if (config)
		return !q.from_inside;
	svc = snat_find_service(ipvs, q.svc_protocol, &which);
	if (!svc)
		return q.in->ifindex == out->ifindex &&
		       !READ_ONCE(ipvs->snat->set.one_armed);
	snat_find_sides(&q, snat_scope_get(ipvs, svc, which), &sides);
	ip_vs_snat_service_put(svc);
	return sides.in && !snat_one_armed(&q);
}

/**
 * snat_from_server - is the source of a flow a service, or one of its real servers?
 * @ipvs:	the network namespace
 * @t:		the flow
 */
bool snat_from_server(struct netns_ipvs *ipvs, const struct snat_tuple *t)
{
	const union nf_inet_addr addr = { .ip = t->laddr };

	return ip_vs_has_real_service(ipvs, AF_INET, t->protocol, &addr,
				      t->lport) ||
	       ip_vs_has_real_service(ipvs, AF_INET, t->protocol, &addr, 0);
}

/* Is this a reply that comes too late, because the connection of the service has
 * been forgotten? It goes its way as it would without SNAT. What is no reply goes
 * out like the traffic of any other inside host, and so does what is left of a TCP
 * connection that the server has opened itself: for as long as that would have lived.
 */
static bool snat_late_reply(struct netns_ipvs *ipvs, const struct snat_tuple *t,
			    bool syn)
{
	switch (t->protocol) {
	case IPPROTO_TCP:
		if (!syn && snat_from_server(ipvs, t))
			return !snat_memo_has(ipvs->snat, ipvs->snat->late, t,
					      READ_ONCE(ipvs->snat->set.tcp_timeout));
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

/* Find who decides on a packet: a rule, or the service. Returns what to do if it's no
 * late reply.
 */
static enum snat_action snat_match_source(struct snat_query *q,
					  const struct snat_config *config,
					  struct snat_source *source)
{
	const struct snat_match *match = NULL;
	enum snat_svc which;

	if (config)
		match = snat_find_rule(config, q);
	if (match) {
		source->rule = match->rule;
		source->pool = match->pool;
		switch (match->rule->spec.action) {
		case IPVS_SNAT_ACTION_ACCEPT:
			return SNAT_ACT_PASS;
		case IPVS_SNAT_ACTION_DROP:
			return SNAT_ACT_DROP;
		default:
			return SNAT_ACT_TRANSLATE;
		}
	}
	source->svc = snat_find_service(q->ipvs, q->svc_protocol, &which);
	if (source->svc && snat_goes_out(q, source->svc, which))
		return SNAT_ACT_TRANSLATE;
	return SNAT_ACT_PASS;
}

static void snat_query_tuple(struct snat_query *q, const struct snat_tuple *t)
{
	q->protocol = t->protocol;
	q->dport = ntohs(t->rport);
}

/* Does a rule or the service decide on a packet? */
static bool snat_query_decides(struct snat_query *q,
			       const struct snat_config *config)
{
	struct snat_source source = { };
	enum snat_action action = snat_match_source(q, config, &source);

	snat_source_put(&source);
	return action != SNAT_ACT_PASS || source.rule;
}

/**
 * snat_is_decided - would a rule or the service decide on a packet?
 * @ipvs:	the network namespace
 * @skb:	the packet
 * @t:		its tuple
 * @in:		the device that it came in by
 * @out:	the device that it leaves by
 *
 * Return: whether one would; else it passes with its own address.
 */
bool snat_is_decided(struct netns_ipvs *ipvs, const struct sk_buff *skb,
		     const struct snat_tuple *t, const struct net_device *in,
		     const struct net_device *out)
{
	struct snat_config *config = rcu_dereference(ipvs->snat->config);
	struct snat_query q;

	snat_query_init(&q, ipvs, config, skb, in, out);
	snat_query_tuple(&q, t);
	return snat_query_decides(&q, config);
}

/**
 * snat_leads_past - would a redirect lead an inside host past this gateway?
 * @ipvs:	the network namespace
 * @about:	the packet that it's about, or the head of it
 * @router:	by whom the host is to send such packets
 * @dev:	the device by which that came in, and leaves
 *
 * It's about all packets to that destination, of whatever protocol and mark.
 *
 * Return: whether a rule or the service may decide on some of them.
 */
bool snat_leads_past(struct netns_ipvs *ipvs, const struct iphdr *about,
		     __be32 router, const struct net_device *dev)
{
	struct snat_config *config = rcu_dereference(ipvs->snat->config);
	struct snat_query q = {
		.ipvs		= ipvs,
		.in		= dev,
		.out		= dev,
		.nets		= snat_nets(ntohl(about->saddr),
					    ntohl(about->daddr)),
		.saddr		= about->saddr,
		.daddr		= about->daddr,
		.nexthop	= router,
		.any_mark	= true,
		.via_router	= router != about->daddr,
	};

	if (config)
		snat_query_sides(&q, config);
	return snat_query_decides(&q, config);
}

/* What a rule itself does with a packet */
static void snat_rule_count(const struct snat_source *source,
			    const struct sk_buff *skb)
{
	if (source->rule)
		ip_vs_snat_stats_packet(&source->rule->tally->stats, skb->len,
					true);
}

/* Would a packet be translated if a device of the outside was known? */
static bool snat_is_astray(const struct snat_query *q,
			   const struct snat_source *source)
{
	return unlikely(q->astray) &&
	       (!source->rule || !snat_rule_tells(&source->rule->spec));
}

/* The devices by which a source would be answered */
struct snat_home {
	const struct snat_config *config;
	const struct snat_scope	*scope;
	const struct net_device	*in;
	bool			by_default;	/* the route is one */
	bool			inside;
	bool			outside;
};

static void snat_home_add(void *data, struct net_device *dev)
{
	struct snat_home *home = data;
	bool outside = home->by_default ||
		       (home->scope &&
			snat_scope_has(home->scope, dev->ifindex)) ||
		       (home->config && snat_is_oif(home->config, dev));

	if (outside && dev->ifindex != home->in->ifindex &&
	    !ip_vs_snat_shares_card(home->in, dev))
		home->outside = true;
	else
		home->inside = true;
}

static void snat_home_find(const struct snat_query *q,
			   const struct ip_vs_snat_route_key *key,
			   struct snat_home *home)
{
	if (unlikely(snat_has_own_routes(q, home->scope))) {
		home->by_default = true;
		ip_vs_snat_for_route_devs(q->ipvs, key, SNAT_DEFAULT_LEN,
					  snat_home_add, home);
		home->by_default = false;
		if (home->inside || home->outside)
			return;
	}
	ip_vs_snat_for_route_devs(q->ipvs, key, 32, snat_home_add, home);
}

/* Does the source of a packet live outside, whatever device that came in by? What is
 * answered to it would leave for the outside again, from this gateway. If no pool
 * address is private, nobody out there has a private one; a rule about what comes in by
 * a device of the outside means just that.
 */
static bool snat_lives_outside(const struct snat_query *q,
			       const struct snat_config *config,
			       const struct snat_source *source)
{
	enum snat_svc which = SNAT_SVC_RULES;
	struct ip_vs_snat_route_key key;
	struct snat_home home = {
		.config	= config,
		.in	= q->in,
	};

	if (source->rule && *source->rule->spec.iif && !q->from_inside)
		return false;
	if (!config)
		which = source->svc->protocol == IPPROTO_TCP ? SNAT_SVC_TCP :
							       SNAT_SVC_UDP;
	/* It's up to date, or was a moment ago, when this packet was decided on */
	home.scope = rcu_dereference(q->ipvs->snat->scope[which]);
	if (likely(snat_is_private(q->saddr)) &&
	    !(home.scope && home.scope->is_private))
		return false;
	snat_query_route_back(q, &key);
	key.mark = 0;
	snat_home_find(q, &key, &home);
	/* Its answers may get the mark that it has */
	key.mark = q->mark;
	if (key.mark && !home.inside)
		snat_home_find(q, &key, &home);
	return home.outside && !home.inside;
}

/* Nobody answers it, it's going to be encrypted, or connection tracking translates it:
 * rules may drop it, not translate it.
 */
static bool snat_is_for_others(struct sk_buff *skb, const struct snat_tuple *t)
{
	return ipv4_is_multicast(t->raddr) || ipv4_is_lbcast(t->raddr) ||
	       ip_vs_snat_has_xfrm(skb) || ip_vs_snat_ct_busy(skb);
}

/**
 * snat_match - decide on a packet without a connection
 * @ipvs:	the network namespace
 * @skb:	the packet
 * @thoff:	offset of its transport header
 * @t:		its tuple
 * @in:		the device that it came in by
 * @out:	the device that it leaves by
 * @source:	set to where it gets an address from; the caller has to put it back,
 *		and must not look for services until then
 *
 * Return: what to do with it, and that is counted unless it's translated.
 */
enum snat_action snat_match(struct netns_ipvs *ipvs, struct sk_buff *skb,
			    unsigned int thoff, const struct snat_tuple *t,
			    const struct net_device *in,
			    const struct net_device *out,
			    struct snat_source *source)
{
	struct snat_config *config = rcu_dereference(ipvs->snat->config);
	enum snat_action action;
	struct snat_query q;
	bool syn;

	snat_query_init(&q, ipvs, config, skb, in, out);
	snat_query_tuple(&q, t);
	action = snat_match_source(&q, config, source);
	if (action == SNAT_ACT_DROP) {
		snat_rule_count(source, skb);
		snat_count(ipvs, SNAT_CTR_DROP_RULE);
		return SNAT_ACT_DROP;
	}
	if (action == SNAT_ACT_PASS || snat_is_for_others(skb, t)) {
		snat_rule_count(source, skb);
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
	if (snat_is_astray(&q, source)) {
		snat_count(ipvs, SNAT_CTR_DROP_NO_WAY);
		return SNAT_ACT_DROP;
	}
	/* Who comes by IPsec has shown who he is, and is answered by that */
	if (!skb_sec_path(skb) && snat_lives_outside(&q, config, source)) {
		snat_count(ipvs, SNAT_CTR_DROP_UNSOLICITED);
		return SNAT_ACT_DROP;
	}
	return SNAT_ACT_TRANSLATE;
}

/**
 * snat_match_lost - decide on a packet that should be translated, and can't be
 * @ipvs:	the network namespace
 * @skb:	the packet: an ICMP error about something that we don't know (RFC 5508,
 *		REQ-5), or one without ports
 * @about:	the flow that it belongs to, or NULL if it doesn't tell
 * @in:		the device that it came in by
 * @out:	the device that it leaves by
 * @which:	what to count
 *
 * Who goes out is told as for other packets.
 *
 * Return: whether it is to pass, or to be dropped.
 */
enum snat_action snat_match_lost(struct netns_ipvs *ipvs, struct sk_buff *skb,
				 const struct snat_tuple *about,
				 const struct net_device *in,
				 const struct net_device *out,
				 enum snat_counter which)
{
	struct snat_config *config = rcu_dereference(ipvs->snat->config);
	struct snat_source source = { };
	enum snat_action action;
	struct snat_query q;

	if (ip_vs_snat_has_xfrm(skb) || ip_vs_snat_ct_busy(skb))
		return SNAT_ACT_PASS;
	snat_query_init(&q, ipvs, config, skb, in, out);
	if (about)
		snat_query_tuple(&q, about);
	action = snat_match_source(&q, config, &source);
	snat_source_put(&source);
	if (action == SNAT_ACT_PASS)
		return SNAT_ACT_PASS;
	snat_count(ipvs, which);
	return SNAT_ACT_DROP;
}

/**
 * snat_match_other - decide on a packet that cannot be translated
 * @ipvs:	the network namespace
 * @skb:	the packet, of another protocol, or an ICMP query other than echo
 * @in:		the device that it came in by
 * @out:	the device that it leaves by
 *
 * Only rules that drop are about it, and those without a pool address, which drop
 * as well: who is kept in by one must not get out by another protocol.
 */
enum snat_action snat_match_other(struct netns_ipvs *ipvs, struct sk_buff *skb,
				  const struct net_device *in,
				  const struct net_device *out)
{
	struct snat_config *config = rcu_dereference(ipvs->snat->config);
	const struct snat_match *match;
	struct snat_source source;
	struct snat_query q;

	if (!config)
		return SNAT_ACT_PASS;
	snat_query_init(&q, ipvs, config, skb, in, out);
	q.protocol = ip_hdr(skb)->protocol;
	match = snat_find_rule(config, &q);
	if (!match || match->rule->spec.action == IPVS_SNAT_ACTION_ACCEPT ||
	    (match->pool &&
	     (match->pool->num_addrs || ip_vs_snat_has_xfrm(skb))))
		return SNAT_ACT_PASS;

	source.rule = match->rule;
	snat_rule_count(&source, skb);
	snat_count(ipvs, SNAT_CTR_DROP_RULE);
	return SNAT_ACT_DROP;
}

/**
 * snat_source_put - put back what snat_match() has found
 * @source:	where a connection gets its address from
 */
void snat_source_put(struct snat_source *source)
{
	if (source->svc)
		ip_vs_snat_service_put(source->svc);
}
