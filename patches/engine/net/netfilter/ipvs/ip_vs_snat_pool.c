// SPDX-License-Identifier: GPL-2.0-or-later
/* IP Virtual Server: pool addresses of SNAT, and which one a connection gets */

#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/slab.h>

#include "ip_vs_snat_config.h"

/* Members of a pool that are looked at for the least loaded one */
#define SNAT_WLC_LOOKS		64

/* Pool addresses */

static struct hlist_head *snat_addr_bucket(struct ip_vs_snat *snat, __be32 addr)
{
	return &snat->addr_tab[hash_32((__force u32)addr, SNAT_ADDR_BITS)];
}

/**
 * ip_vs_snat_dest_init - prepare a new destination of a service
 * @ipvs:	the network namespace
 * @dest:	the destination, that nobody else sees yet
 *
 * Return: 0 or a negative error.
 */
int ip_vs_snat_dest_init(struct netns_ipvs *ipvs, struct ip_vs_dest *dest)
{
	struct ip_vs_snat *snat = ipvs->snat;
	struct ip_vs_snat_addr *a, *fresh;

	if (!ip_vs_snat_enabled(ipvs) ||
	    !ip_vs_snat_service(AF_INET, dest->vfwmark, dest->vaddr.ip,
				dest->vport) || !ip_vs_snat_dest_is_ip4(dest))
		return 0;

	/* Rules and services are changed at the same time, so look under lock
	 * before it's added
	 */
	fresh = kzalloc(sizeof(*fresh), GFP_KERNEL_ACCOUNT);
	if (!fresh)
		return -ENOMEM;
	fresh->snat = snat;
	fresh->addr = dest->addr.ip;
	INIT_LIST_HEAD(&fresh->blocks);

	spin_lock_bh(&snat->scope_lock);
	if (snat->num_dests >= SNAT_FEW_DESTS && !ip_vs_snat_trusted(ipvs)) {
		spin_unlock_bh(&snat->scope_lock);
		kfree(fresh);
		return -ENOSPC;
	}
	snat->num_dests++;
	a = snat_addr_find(snat, dest->addr.ip);
	if (!a) {
		a = fresh;
		fresh = NULL;
		hlist_add_head_rcu(&a->node, snat_addr_bucket(snat, a->addr));
	}
	a->users++;
	spin_unlock_bh(&snat->scope_lock);
	kfree(fresh);
	dest->snat_addr = a;
	return 0;
}

/**
 * ip_vs_snat_dest_changed - a destination was added, changed or taken away
 * @ipvs:	the network namespace
 * @dest:	the destination
 * @available:	whether it's in its service
 */
void ip_vs_snat_dest_changed(struct netns_ipvs *ipvs, struct ip_vs_dest *dest,
			     bool available)
{
	bool active = available && ip_vs_snat_dest_is_pool(dest);

	if (!dest->snat_addr)
		return;
	if (active != dest->snat_active) {
		dest->snat_active = active;
		spin_lock_bh(&ipvs->snat->scope_lock);
		dest->snat_addr->active += active ? 1 : -1;
		spin_unlock_bh(&ipvs->snat->scope_lock);
	}

	/* Who sees the new generation has to see the change as well */
	smp_wmb();
	atomic_inc(&ipvs->snat->pool_gen);
}

/**
 * ip_vs_snat_dest_free - a destination goes, after its last connection
 * @dest:	the destination
 */
void ip_vs_snat_dest_free(struct ip_vs_dest *dest)
{
	struct ip_vs_snat_addr *a = dest->snat_addr;
	bool last;

	if (!a)
		return;
	spin_lock_bh(&a->snat->scope_lock);
	a->snat->num_dests--;
	last = !--a->users;
	if (last)
		hlist_del_rcu(&a->node);
	spin_unlock_bh(&a->snat->scope_lock);
	if (last)
		kfree_rcu(a, rcu_head);
	dest->snat_addr = NULL;
}

static bool snat_in_range(u32 range, u16 port)
{
	return port >= range >> 16 && port <= (range & 0xffff);
}

/**
 * snat_gives_port - may a connection get this port?
 * @snat:	the network namespace
 * @addr:	a pool address
 * @port:	the port
 *
 * Return: whether the port is in the range of a pool that has the address. Those that
 * have no range of their own, and services, have that of the sysctl.
 */
bool snat_gives_port(const struct ip_vs_snat *snat, __be32 addr, u16 port)
{
	u32 range = READ_ONCE(snat->set.port_range);
	struct ip_vs_snat_addr *a;
	struct snat_member *m;
	int services;

	a = snat_addr_find(snat, addr);
	if (!a)
		return false;
	services = READ_ONCE(a->users);
	hlist_for_each_entry_rcu(m, &a->members, node) {
		if (snat_in_range(READ_ONCE(m->port_range) ? : range, port))
			return true;
		services--;
	}
	return services > 0 && snat_in_range(range, port);
}

static bool snat_dest_usable(struct ip_vs_dest *dest)
{
	return ip_vs_snat_dest_is_pool(dest) && atomic_read(&dest->weight) > 0 &&
	       !(dest->flags & IP_VS_DEST_F_OVERLOAD);
}

/* The next usable pool address of the service, perhaps the same one again. Some
 * addresses may be on their way out of the list, so don't count on coming back
 * to the start of it.
 */
static struct ip_vs_dest *snat_service_next(struct ip_vs_service *svc,
					    struct list_head *pos)
{
	unsigned int left = READ_ONCE(svc->num_dests) + 1;
	struct ip_vs_dest *dest;

	while (left--) {
		pos = rcu_dereference(list_next_rcu(pos));
		if (pos == &svc->destinations)
			continue;
		dest = list_entry(pos, struct ip_vs_dest, n_list);
		if (snat_dest_usable(dest))
			return dest;
	}
	return NULL;
}

/* The scheduler has no answer, or one that is no pool address, while there are
 * addresses: take one that stays the same for an inside host.
 */
static struct ip_vs_dest *snat_any_dest(struct ip_vs_snat *snat,
					struct ip_vs_service *svc,
					__be32 inside)
{
	u32 num = READ_ONCE(svc->num_dests), skip;
	struct list_head *pos = &svc->destinations;

	if (!num)
		return NULL;
	skip = reciprocal_scale(jhash_1word((__force u32)inside,
					    snat->hash_key[0]), num);
	while (skip--) {
		struct list_head *next = rcu_dereference(list_next_rcu(pos));

		if (next == &svc->destinations)
			break;
		pos = next;
	}
	return snat_service_next(svc, pos);
}

static struct ip_vs_dest *snat_schedule(struct netns_ipvs *ipvs,
					struct ip_vs_service *svc,
					struct sk_buff *skb,
					const struct snat_tuple *inside)
{
	struct ip_vs_iphdr iph;
	struct ip_vs_dest *dest;

	ip_vs_fill_iph_skb(AF_INET, skb, false, &iph);
	dest = ip_vs_snat_schedule(svc, skb, &iph);
	if (dest && snat_dest_usable(dest))
		return dest;
	return snat_any_dest(ipvs->snat, svc, inside->laddr);
}

static u64 snat_load(struct ip_vs_dest *dest, int weight)
{
	return (u64)ip_vs_dest_conn_overhead(dest) * weight;
}

/* The member of a pool with the least connections for its weight, of all of them or
 * of some at random places
 */
static u32 snat_least_loaded(const struct snat_pool *pool)
{
	u64 random = ip_vs_snat_random() | 1;
	u32 num = min_t(u32, pool->num_usable, SNAT_WLC_LOOKS);
	u32 best = 0, i;

	for (i = 0; i < num; i++) {
		u32 place = num == pool->num_usable ? i :
			    snat_next_place(&random, pool->num_usable);
		struct ip_vs_dest *dest = &pool->usable[place]->dest;
		struct ip_vs_dest *other = &pool->usable[best]->dest;

		if (!i || snat_load(dest, atomic_read(&other->weight)) <
			  snat_load(other, atomic_read(&dest->weight)))
			best = place;
	}
	return best;
}

/* Hashes of addresses are the same on each gateway, whenever it has started */
static u32 snat_place_by_hash(const struct snat_pool *pool, __be32 inside,
			      __be32 remote)
{
	return reciprocal_scale(jhash_2words((__force u32)inside,
					     (__force u32)remote, 0),
				pool->num_usable);
}

/* Where in a pool of a rule a new connection looks for an address first */
static u32 snat_pool_place(struct snat_pool *pool,
			   const struct snat_tuple *inside)
{
	switch (pool->spec.algo) {
	case IPVS_SNAT_ALGO_SH:
		return snat_place_by_hash(pool, inside->laddr, 0);
	case IPVS_SNAT_ALGO_SDH:
		return snat_place_by_hash(pool, inside->laddr, inside->raddr);
	case IPVS_SNAT_ALGO_RANDOM:
		return reciprocal_scale(ip_vs_snat_random() >> 32,
					pool->num_usable);
	case IPVS_SNAT_ALGO_WLC:
		return snat_least_loaded(pool);
	default:
		return (u32)(atomic_inc_return(&pool->turn) - 1) %
		       pool->num_usable;
	}
}

/* Pairing: a host on the inside keeps its address (RFC 4787, REQ-2) */

/* Under the lock of the host */
static struct snat_pairing *snat_pairing_find(struct ip_vs_snat_host *host,
					      const char *pool)
{
	struct snat_pairing *pairing = host->pairings;

	while (pairing && strcmp(pairing->member->pool, pool))
		pairing = pairing->next;
	return pairing;
}

/**
 * snat_pool_find - find a member of a pool
 * @pool:	the pool
 * @m:		a member of any pool
 * @place:	set to where it is among those that are usable
 *
 * Return: whether it's one of them.
 */
bool snat_pool_find(const struct snat_pool *pool, const struct snat_member *m,
		    u32 *place)
{
	u32 addr = ntohl(m->dest.addr.ip), low = 0, high = pool->num_usable;

	while (low < high) {
		u32 mid = low + (high - low) / 2;

		if (ntohl(pool->usable[mid]->dest.addr.ip) < addr)
			low = mid + 1;
		else
			high = mid;
	}
	*place = low;
	return low < pool->num_usable && pool->usable[low] == m;
}

/* Where in a pool the address is that an inside host has already, if it has one */
static bool snat_paired_place(struct ip_vs_snat *snat,
			      const struct snat_pool *pool, __be32 inside,
			      u32 *place)
{
	spinlock_t *lock = snat_host_lock_of(snat, inside);
	struct snat_pairing *pairing = NULL;
	struct ip_vs_snat_host *host;
	bool found;

	spin_lock(lock);
	host = snat_host_find(snat, inside);
	if (host)
		pairing = snat_pairing_find(host, pool->spec.name);
	found = pairing && snat_pool_find(pool, pairing->member, place);
	spin_unlock(lock);
	return found;
}

/**
 * snat_pair - remember which pool address an inside host has
 * @snat:	the network namespace
 * @pool:	a pool that pairs
 * @inside:	the host, that has got a connection, and may have lost it again
 * @dest:	the address
 */
void snat_pair(struct ip_vs_snat *snat, const struct snat_pool *pool,
	       __be32 inside, struct ip_vs_dest *dest)
{
	struct snat_member *m = snat_member_of_dest(dest), *old = NULL;
	spinlock_t *lock = snat_host_lock_of(snat, inside);
	struct snat_pairing *pairing;
	struct ip_vs_snat_host *host;

	spin_lock(lock);
	host = snat_host_find(snat, inside);
	if (!host)
		goto unlock;
	pairing = snat_pairing_find(host, pool->spec.name);
	if (!pairing) {
		/* Without memory, the next connection is paired */
		pairing = kmalloc(sizeof(*pairing), GFP_ATOMIC);
		if (!pairing)
			goto unlock;
		pairing->next = host->pairings;
		host->pairings = pairing;
	} else if (pairing->member == m) {
		goto unlock;
	} else {
		old = pairing->member;
	}
	atomic_inc(&m->refcnt);
	pairing->member = m;
unlock:
	spin_unlock(lock);
	if (old)
		snat_member_put(old);
}

/**
 * snat_host_unpair - forget what an inside host had
 * @host:	the host, that has no connections any more, under its lock
 */
void snat_host_unpair(struct ip_vs_snat_host *host)
{
	struct snat_pairing *pairing, *next;

	for (pairing = host->pairings; pairing; pairing = next) {
		next = pairing->next;
		snat_member_put(pairing->member);
		kfree(pairing);
	}
}

/**
 * snat_first_dest - choose a pool address for a new connection
 * @ipvs:	the network namespace
 * @source:	the service or pool
 * @skb:	the packet that starts the connection
 * @inside:	the flow
 * @place:	for snat_next_dest()
 *
 * Return: the address or NULL if there is none.
 */
struct ip_vs_dest *snat_first_dest(struct netns_ipvs *ipvs,
				   const struct snat_source *source,
				   struct sk_buff *skb,
				   const struct snat_tuple *inside, u32 *place)
{
	struct snat_pool *pool = source->pool;

	if (!pool)
		return snat_schedule(ipvs, source->svc, skb, inside);
	if (!pool->num_usable)
		return NULL;
	if (!(pool->spec.flags & IPVS_SNAT_POOL_F_PAIRED) ||
	    !snat_paired_place(ipvs->snat, pool, inside->laddr, place))
		*place = snat_pool_place(pool, inside);
	return &pool->usable[*place]->dest;
}

/**
 * snat_next_dest - choose another pool address
 * @source:	the service or pool
 * @dest:	the address before
 * @place:	its place
 *
 * Return: the next address, perhaps the same one, or NULL if there is none.
 */
struct ip_vs_dest *snat_next_dest(const struct snat_source *source,
				  struct ip_vs_dest *dest, u32 *place)
{
	struct snat_pool *pool = source->pool;

	if (!pool)
		return snat_service_next(source->svc, &dest->n_list);
	*place = (*place + 1) % pool->num_usable;
	return &pool->usable[*place]->dest;
}
