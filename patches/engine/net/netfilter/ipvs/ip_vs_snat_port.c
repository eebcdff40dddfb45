// SPDX-License-Identifier: GPL-2.0-or-later
/* IP Virtual Server: ports of pool addresses of SNAT, and how a connection gets one */

#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/bitmap.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "ip_vs_snat_config.h"

/* Bounds on the work for one new connection */
#define SNAT_PORT_TRIES		128	/* per pool address */
#define SNAT_ADDR_TRIES		4
#define SNAT_BLOCK_TAKES	4	/* while other CPUs, or other sockets, have them */

/* Ports found in use or reserved before they are mapped. With three in
 * four in use, it takes a thousand new connections until that happens.
 */
#define SNAT_HOT_MISSES		24
#define SNAT_HOT_STEP		512	/* ports that a new connection maps */
#define SNAT_HOT_RUN		8	/* ports to try before going elsewhere */
#define SNAT_HOT_MAX		256	/* maps, of up to 8 KiB each */

/* How long nothing was heard of a connection that is over before another one may have its
 * port, when there are no others. What is late, such as a FIN that is repeated, has come
 * by then.
 */
#define SNAT_PORT_REST		(3 * HZ)

/* How long a flow is refused that has found no port a moment ago */
#define SNAT_REFUSED		(HZ / 4)

/* Maps of ports
 *
 * Looking for a free port at random places is fine as long as many are free. When
 * that fails too often, the ports of this pool address and this remote port are
 * mapped. A bit is set for each port that a connection has, so finding a free one
 * takes no luck, nor does finding that there is none.
 *
 * Tens of thousands of ports are not looked up at once: each new connection maps some
 * of them, and looks at random places. Who finds none there has to map what is left.
 *
 * Reserved ports have no bit, as they may be others in the next moment.
 */

struct snat_hot {
	struct rcu_head		rcu_head;
	struct hlist_node	node;
	struct snat_tuple	t;		/* without the local port */
	u32			range;		/* as in the settings */
	u32			num;
	spinlock_t		lock;		/* protects the next two */
	u32			mapped;		/* ports, from the first one on */
	u32			reserved;	/* of these, when they were mapped */
	atomic_t		freed;		/* ports that were let go */
	atomic_t		taken;
	unsigned long		ports[];
};

/* The ports that are reserved, if any can be: ids of ICMP echo are not */
static const unsigned long *snat_reserved(struct netns_ipvs *ipvs, u8 protocol)
{
	return protocol == IPPROTO_ICMP ? NULL : ip_vs_snat_reserved_ports(ipvs);
}

static bool snat_hot_match(const struct snat_hot *hot,
			   const struct snat_tuple *t)
{
	return hot->t.laddr == t->laddr && hot->t.raddr == t->raddr &&
	       hot->t.rport == t->rport && hot->t.protocol == t->protocol;
}

static struct hlist_head *snat_hot_bucket(struct ip_vs_snat *snat,
					  const struct snat_tuple *t)
{
	return &snat->hot_tab[snat_hash(snat, t, 0) >> (32 - SNAT_HOT_BITS)];
}

/* The map of the ports of a range, if they are mapped */
static struct snat_hot *snat_hot_find(struct ip_vs_snat *snat,
				      const struct snat_tuple *t, u32 range)
{
	struct snat_hot *hot;

	if (likely(!atomic_read(&snat->num_hot)))
		return NULL;
	hlist_for_each_entry_rcu(hot, snat_hot_bucket(snat, t), node) {
		if (hot->range == range && snat_hot_match(hot, t))
			return hot;
	}
	return NULL;
}

/* Set the bit of a port, unless a connection lets it go in this moment: whoever
 * clears the bit has taken the connection out of the table before.
 */
static void snat_hot_set(struct ip_vs_snat *snat, struct snat_hot *hot,
			 const struct snat_tuple *t, u32 hash)
{
	u32 bit = ntohs(t->lport) - (hot->range >> 16);

	if (bit >= hot->num)
		return;
	if (!test_and_set_bit(bit, hot->ports))
		atomic_inc(&hot->taken);
	/* Look after setting it, as who lets it go clears after unlinking */
	smp_mb();
	if (!snat_in_taken(snat, t, hash) &&
	    test_and_clear_bit(bit, hot->ports))
		atomic_dec(&hot->taken);
}

static bool snat_hot_is_whole(const struct snat_hot *hot)
{
	/* Pairs with that of snat_hot_map(): then all bits are there */
	return smp_load_acquire(&hot->mapped) == hot->num;
}

/* How many ports that are mapped may be taken */
static int snat_hot_usable(const struct snat_hot *hot)
{
	return READ_ONCE(hot->mapped) - READ_ONCE(hot->reserved);
}

/* Called under hot_lock */
static void snat_hot_remove(struct ip_vs_snat *snat, struct snat_hot *hot)
{
	hlist_del_rcu(&hot->node);
	atomic_dec(&snat->num_hot);
	kfree_rcu(hot, rcu_head);
}

/* Set the bits of many ports at once. They are counted first, so that it never looks as if
 * there were none.
 */
static void snat_hot_add(struct snat_hot *hot, u32 word, unsigned long taken)
{
	unsigned long old, seen = READ_ONCE(hot->ports[word]);

	atomic_add(hweight_long(taken), &hot->taken);
	do {
		old = seen;
		seen = cmpxchg(&hot->ports[word], old, old | taken);
	} while (seen != old);
	atomic_sub(hweight_long(taken & old), &hot->taken);
}

/* Clear the bits of ports that were let go while they were mapped */
static void snat_hot_verify(struct ip_vs_snat *snat, struct snat_hot *hot,
			    u32 start, const unsigned long *taken, u32 num)
{
	u32 first = (hot->range >> 16) + start, bit;
	u32 base = snat_hash(snat, &hot->t, 0) + first;
	struct snat_tuple t = hot->t;

	for_each_set_bit(bit, taken, num) {
		t.lport = htons(first + bit);
		if (!snat_in_taken(snat, &t, base + bit) &&
		    test_and_clear_bit(start + bit, hot->ports))
			atomic_dec(&hot->taken);
	}
}

/* Map some more ports. Called under the map's lock. */
static void snat_hot_map(struct netns_ipvs *ipvs, struct snat_hot *hot)
{
	const unsigned long *reserved = snat_reserved(ipvs, hot->t.protocol);
	u32 start = hot->mapped, num = min_t(u32, hot->num - start, SNAT_HOT_STEP);
	u32 first = (hot->range >> 16) + start, bit;
	struct ip_vs_snat *snat = ipvs->snat;
	u32 base = snat_hash(snat, &hot->t, 0) + first;
	DECLARE_BITMAP(taken, SNAT_HOT_STEP);
	struct snat_tuple t = hot->t;
	int freed;

	BUILD_BUG_ON(SNAT_HOT_STEP % BITS_PER_LONG);
	bitmap_zero(taken, SNAT_HOT_STEP);
	freed = atomic_read(&hot->freed);
	/* What was let go before is seen, and so is what was by those who don't find the
	 * map, as this is after finding it. What is let go from now on is counted.
	 */
	smp_mb();
	for (bit = 0; bit < num; bit++) {
		t.lport = htons(first + bit);
		if (snat_in_taken(snat, &t, base + bit))
			__set_bit(bit, taken);
		else if (reserved && test_bit(first + bit, reserved))
			WRITE_ONCE(hot->reserved, hot->reserved + 1);
	}
	for (bit = 0; bit < num; bit += BITS_PER_LONG)
		snat_hot_add(hot, (start + bit) / BITS_PER_LONG,
			     taken[bit / BITS_PER_LONG]);

	/* Who counts later finds the bits set. Pairs with that of snat_hot_clear(). */
	smp_mb();
	if (atomic_read(&hot->freed) != freed)
		snat_hot_verify(snat, hot, start, taken, num);
	/* Pairs with that of snat_hot_is_whole() */
	smp_store_release(&hot->mapped, start + num);
}

/* A new connection's part in mapping the ports, unless another CPU is at it */
static void snat_hot_go_on(struct netns_ipvs *ipvs, struct snat_hot *hot)
{
	if (likely(snat_hot_is_whole(hot)) || !spin_trylock_bh(&hot->lock))
		return;
	snat_hot_map(ipvs, hot);
	spin_unlock_bh(&hot->lock);
}

/* Map the rest of the ports */
static void snat_hot_finish(struct netns_ipvs *ipvs, struct snat_hot *hot)
{
	while (!snat_hot_is_whole(hot)) {
		spin_lock_bh(&hot->lock);
		snat_hot_map(ipvs, hot);
		spin_unlock_bh(&hot->lock);
	}
}

/* Is there room for one more map? A map goes with its last connections. But it may have
 * none, if the ports are reserved, or belong to something else: those that are of no use
 * go when there is no room, together and now and then, as they do save work.
 */
static bool snat_hot_has_room(struct ip_vs_snat *snat)
{
	struct snat_hot *hot;
	int i;

	if (likely(atomic_read(&snat->num_hot) < SNAT_HOT_MAX))
		return true;
	if (time_before(jiffies, READ_ONCE(snat->hot_swept) + SNAT_HOT_SWEEP))
		return false;
	spin_lock_bh(&snat->hot_lock);
	WRITE_ONCE(snat->hot_swept, jiffies);
	for (i = 0; i < 1 << SNAT_HOT_BITS; i++) {
		/* Under RCU lock, so that what is removed leads on */
		ip_vs_snat_hlist_for_each(hot, &snat->hot_tab[i], node) {
			/* Of a few ports, how many are taken says nothing */
			if (atomic_read(&hot->taken) <
			    max(snat_hot_usable(hot), 2 * SNAT_HOT_MISSES) / 2)
				snat_hot_remove(snat, hot);
		}
	}
	spin_unlock_bh(&snat->hot_lock);
	return atomic_read(&snat->num_hot) < SNAT_HOT_MAX;
}

/* A map without a port in it, or the one that there is by now */
static struct snat_hot *snat_hot_create(struct ip_vs_snat *snat,
					const struct snat_tuple *t, u32 range)
{
	u32 num = (range & 0xffff) - (range >> 16) + 1;
	struct snat_hot *hot, *other;

	if (!snat_hot_has_room(snat))
		return NULL;
	hot = kzalloc(sizeof(*hot) + BITS_TO_LONGS(num) * sizeof(long),
		      GFP_ATOMIC | __GFP_NOWARN);
	if (!hot)
		return NULL;
	spin_lock_init(&hot->lock);
	hot->t = *t;
	hot->range = range;
	hot->num = num;

	atomic_inc(&snat->num_hot);
	spin_lock_bh(&snat->hot_lock);
	other = snat_hot_find(snat, t, range);
	if (!other)
		hlist_add_head_rcu(&hot->node, snat_hot_bucket(snat, t));
	spin_unlock_bh(&snat->hot_lock);
	if (other) {
		atomic_dec(&snat->num_hot);
		kfree(hot);
		return other;
	}

	/* Who doesn't find the map has taken or let go a port before, which is seen when
	 * it's mapped. Pairs with those of snat_hot_port_taken() and _free().
	 */
	smp_mb();
	return hot;
}

/**
 * snat_hot_port_taken - a connection has got an outside tuple
 * @snat:	the network namespace
 * @t:		the tuple, already in the table
 */
void snat_hot_port_taken(struct ip_vs_snat *snat, const struct snat_tuple *t)
{
	struct snat_hot *hot;

	/* Pairs with that of snat_hot_create(): it's seen here or there */
	smp_mb();
	if (likely(!atomic_read(&snat->num_hot)))
		return;
	hlist_for_each_entry_rcu(hot, snat_hot_bucket(snat, t), node) {
		if (snat_hot_match(hot, t))
			snat_hot_set(snat, hot, t, snat_in_hash(snat, t));
	}
}

/* Clear the bit of a port. The map goes when half of its ports are free. One that isn't
 * whole can't tell, it goes with the last port that it knows.
 */
static void snat_hot_clear(struct ip_vs_snat *snat, struct snat_hot *hot,
			   const struct snat_tuple *t)
{
	u32 bit = ntohs(t->lport) - (hot->range >> 16);
	bool whole;
	int taken;

	if (bit >= hot->num)
		return;
	/* Has a barrier, see snat_hot_map() */
	atomic_inc_return(&hot->freed);
	if (!test_and_clear_bit(bit, hot->ports))
		return;
	/* In this order, as it may be made whole, with many more that are taken */
	whole = snat_hot_is_whole(hot);
	taken = atomic_dec_return(&hot->taken);
	if (taken >= (whole ? snat_hot_usable(hot) / 2 : 1))
		return;

	spin_lock_bh(&snat->hot_lock);
	if (snat_hot_find(snat, t, hot->range) == hot)
		snat_hot_remove(snat, hot);
	spin_unlock_bh(&snat->hot_lock);
}

/**
 * snat_hot_port_free - a connection has let its outside tuple go
 * @snat:	the network namespace
 * @t:		the tuple, no longer in the table
 */
void snat_hot_port_free(struct ip_vs_snat *snat, const struct snat_tuple *t)
{
	struct snat_hot *hot;

	/* As in snat_hot_port_taken() */
	smp_mb();
	if (likely(!atomic_read(&snat->num_hot)))
		return;
	rcu_read_lock();
	hlist_for_each_entry_rcu(hot, snat_hot_bucket(snat, t), node) {
		if (snat_hot_match(hot, t))
			snat_hot_clear(snat, hot, t);
	}
	rcu_read_unlock();
}

/**
 * snat_hot_flush - forget all maps
 * @snat:	the network namespace
 */
void snat_hot_flush(struct ip_vs_snat *snat)
{
	struct snat_hot *hot;
	int i;

	if (!snat->hot_tab)
		return;
	spin_lock_bh(&snat->hot_lock);
	for (i = 0; i < 1 << SNAT_HOT_BITS; i++) {
		while (!hlist_empty(&snat->hot_tab[i])) {
			hot = hlist_entry(snat->hot_tab[i].first,
					  struct snat_hot, node);
			snat_hot_remove(snat, hot);
		}
	}
	spin_unlock_bh(&snat->hot_lock);
}

/* Ports */

/* A search for a port of one pool address */
struct snat_search {
	struct netns_ipvs	*ipvs;
	struct ip_vs_dest	*dest;
	struct ip_vs_snat_host	*host;
	struct snat_block	*block;		/* to look in, if there are any */
	const struct snat_source *source;
	const struct sk_buff	*skb;
	const struct snat_tuple	*inside;
	struct snat_tuple	outside;
	bool			over;		/* take ports of those that are over */
	bool			rested;		/* some are, for long enough */
	u32			looks;		/* at them, of all addresses */
	u32			base;		/* hash of port 0 */
	u32			range;
	u32			conflicts;
	u32			mappable;	/* of these, see snat_port_mappable() */
	int			ifindex;
	bool			local;
};

static bool snat_port_reserved(const struct snat_search *s)
{
	const unsigned long *reserved;

	reserved = snat_reserved(s->ipvs, s->outside.protocol);
	return reserved && test_bit(ntohs(s->outside.lport), reserved);
}

/* Is the port of the outside tuple one that a map would tell to leave alone? */
static bool snat_port_mappable(const struct snat_search *s, u32 hash)
{
	return snat_in_taken(s->ipvs->snat, &s->outside, hash) ||
	       snat_port_reserved(s);
}

/* Is the port of the outside tuple free, apart from SNAT connections and those that are
 * reserved? The answer may be out of date when the connection is inserted, that's no
 * harm.
 */
static bool snat_port_allowed(struct snat_search *s)
{
	const struct snat_tuple *t = &s->outside;
	struct netns_ipvs *ipvs = s->ipvs;

	/* Of another pool, or of a service */
	if (!s->block && snat_port_in_blocks(s->dest, ntohs(t->lport)))
		return false;
	if (t->protocol == IPPROTO_ICMP)
		return true;

	if (ip_vs_snat_has_service(ipvs, t->protocol, t->laddr, t->lport))
		return false;
	if (s->local &&
	    ip_vs_snat_has_socket(ipvs, t->protocol, t->raddr, t->rport,
				  t->laddr, t->lport, s->ifindex))
		return false;

	/* Perhaps the address is a virtual one as well */
	return !ip_vs_snat_has_conn(ipvs, t->protocol, t->raddr, t->rport,
				    t->laddr, t->lport);
}

/* Drop a connection that was made in vain */
static void snat_conn_discard(struct ip_vs_conn *cp)
{
	__ip_vs_conn_put(cp);
	snat_conn_end(cp);
}

/* Try one port: the connection, NULL if the port is taken, or an error if all other
 * ports would fail too.
 */
static struct ip_vs_conn *snat_try_port(struct snat_search *s, u32 port)
{
	const struct snat_claim claim = {
		.inside		= s->inside,
		.outside	= &s->outside,
		.outside_hash	= s->base + port,
		.host		= s->host,
	};
	const struct snat_tuple *inside = s->inside;
	struct ip_vs_conn *cp, *mine;
	bool taken;

	s->outside.lport = htons(port);
	if (snat_port_mappable(s, s->base + port)) {
		s->mappable++;
		goto conflict;
	}
	if (!snat_port_allowed(s))
		goto conflict;

	mine = ip_vs_snat_conn_new(s->ipvs, s->dest, inside->protocol,
				   inside->raddr, inside->rport,
				   s->outside.lport,
				   inside->laddr, inside->lport);
	if (!mine)
		return ERR_PTR(-ENOMEM);
	if (s->source->rule)
		snat_conn_bind_rule(mine, s->source->rule);
	mine->snat.block = s->block;
	cp = snat_conn_insert(mine, &claim, &taken);
	if (likely(cp == mine))
		return cp;
	snat_conn_discard(mine);
	if (!taken) {
		s->host = NULL;
		return cp;
	}
	s->mappable++;

conflict:
	s->conflicts++;
	return NULL;
}

/* The next port from a place on that is free and not reserved; if there is none, a larger
 * one than the map has
 */
static u32 snat_hot_next_free(struct netns_ipvs *ipvs,
			      const struct snat_hot *hot, u32 bit)
{
	const unsigned long *reserved = snat_reserved(ipvs, hot->t.protocol);
	u32 first = hot->range >> 16;

	for (;;) {
		bit = find_next_zero_bit(hot->ports, hot->num, bit);
		if (bit >= hot->num || !reserved ||
		    !test_bit(first + bit, reserved))
			return bit;
		bit = find_next_zero_bit(reserved, 65536, first + bit) - first;
	}
}

/* A port that the map has as free, from a place on. If something else has some of
 * them, a socket or a service, go on elsewhere.
 */
static struct ip_vs_conn *snat_search_map(struct snat_search *s,
					  struct snat_hot *hot, u64 *state)
{
	struct ip_vs_snat *snat = s->ipvs->snat;
	u32 first = hot->range >> 16, tries, bit = 0;
	struct ip_vs_conn *cp;

	for (tries = 0; tries < SNAT_PORT_TRIES; tries++, bit++) {
		if (tries % SNAT_HOT_RUN == 0)
			bit = snat_next_place(state, hot->num);
		bit = snat_hot_next_free(s->ipvs, hot, bit);
		if (bit >= hot->num)
			bit = snat_hot_next_free(s->ipvs, hot, 0);
		if (bit >= hot->num)
			break;
		cp = snat_try_port(s, first + bit);
		if (cp)
			return cp;
		if (snat_in_taken(snat, &s->outside, s->base + first + bit))
			snat_hot_set(snat, hot, &s->outside,
				     s->base + first + bit);
	}
	return NULL;
}

static struct ip_vs_conn *snat_search_ports(struct snat_search *s)
{
	struct ip_vs_snat *snat = s->ipvs->snat;
	u32 first = s->range >> 16, num = (s->range & 0xffff) - first + 1;
	u32 wanted = ntohs(s->inside->lport) - first;
	struct snat_hot *hot;
	struct ip_vs_conn *cp;
	u64 state;
	u32 i;

	hot = snat_hot_find(snat, &s->outside, s->range);
	if (unlikely(hot))
		snat_hot_go_on(s->ipvs, hot);
	if (wanted < num) {
		cp = snat_try_port(s, first + wanted);
		if (cp)
			return cp;
	}

	state = ip_vs_snat_random() | 1;
	if (num <= SNAT_PORT_TRIES) {
		u32 start = snat_next_place(&state, num);

		for (i = 0; i < num; i++) {
			cp = snat_try_port(s, first + (start + i) % num);
			if (cp)
				return cp;
		}
		return NULL;
	}

	for (i = 0; i < SNAT_PORT_TRIES && !(hot && snat_hot_is_whole(hot)); i++) {
		cp = snat_try_port(s, first + snat_next_place(&state, num));
		if (cp)
			return cp;
		if (s->mappable <= SNAT_HOT_MISSES || hot)
			continue;
		hot = snat_hot_create(snat, &s->outside, s->range);
		if (hot)
			snat_hot_go_on(s->ipvs, hot);
	}
	if (!hot)
		return NULL;
	snat_hot_finish(s->ipvs, hot);
	return snat_search_map(s, hot, &state);
}

/* Is a connection over for long enough that nothing of it is on its way? */
static bool snat_port_rested(const struct ip_vs_conn *cp)
{
	unsigned long last = READ_ONCE(cp->timer.expires) - cp->timeout;

	return snat_tcp_over(cp) && time_after(jiffies, last + SNAT_PORT_REST);
}

/* Have a connection of TCP that is over let a port go. A server that has closed first
 * waits for what is late, and takes no number for that of a new connection that isn't
 * ahead (RFC 6191).
 */
static bool snat_port_release(struct snat_search *s, u32 port, u32 seq)
{
	struct ip_vs_snat *snat = s->ipvs->snat;
	struct ip_vs_conn *cp;

	s->outside.lport = htons(port);
	if (snat_port_reserved(s) || !snat_port_allowed(s))
		return false;
	cp = snat_in_get(snat, &s->outside);
	if (!cp)
		return false;
	if (!snat_port_rested(cp))
		goto put;
	s->rested = true;
	if (!after(seq, READ_ONCE(cp->snat.tcp_end[SNAT_DIR_OUT])))
		goto put;
	snat_conn_retire(cp);
	snat_count(s->ipvs, SNAT_CTR_EARLY_DROP);
	return true;

put:
	__ip_vs_conn_put(cp);
	return false;
}

/* All ports are taken: look at some of them, or at all if they are few, for connections
 * that are over. It's not done again for a moment if there are none.
 */
static struct ip_vs_conn *snat_search_over(struct snat_search *s)
{
	u32 first = s->range >> 16, num = (s->range & 0xffff) - first + 1;
	u32 i, start, port, tries = min_t(u32, num, SNAT_PORT_TRIES);
	struct ip_vs_snat *snat = s->ipvs->snat;
	struct snat_tuple looked = s->outside;
	struct ip_vs_conn *cp = NULL;
	struct tcphdr _th, *th;
	u64 state;

	th = skb_header_pointer(s->skb, ip_hdrlen(s->skb), sizeof(_th), &_th);
	/* No inside host has a pool address */
	looked.lport = htons(first);
	if (!th || s->looks > SNAT_PORT_TRIES - tries ||
	    snat_memo_has(snat, snat->refused, &looked, SNAT_REFUSED))
		return NULL;
	s->looks += tries;
	s->rested = false;
	state = ip_vs_snat_random() | 1;
	start = snat_next_place(&state, num);
	for (i = 0; i < tries && !cp; i++) {
		port = first + (num <= SNAT_PORT_TRIES ? (start + i) % num :
				snat_next_place(&state, num));
		if (snat_port_release(s, port, ntohl(th->seq)))
			cp = snat_try_port(s, port);
	}
	if (!cp && !s->rested)
		snat_memo_put(snat, snat->refused, &looked);
	return cp;
}

/* Is a pool address one of the gateway's own? The answer is kept until routes change, and
 * all addresses have one: it's the generation of routes << 2 | 2 | local.
 */
static bool snat_addr_is_local(struct netns_ipvs *ipvs,
			       const struct ip_vs_dest *dest)
{
	u32 known = (u32)ip_vs_snat_route_gen(ipvs) << 2 | 2;
	struct ip_vs_snat_addr *a = dest->snat_addr;
	u32 local;

	if (unlikely(!a))
		return ip_vs_snat_addr_is_local(ipvs, dest->addr.ip);
	local = READ_ONCE(a->local);
	if (likely((local & ~1U) == known))
		return local & 1;
	/* Note which state it is before looking at it */
	smp_rmb();
	local = ip_vs_snat_addr_is_local(ipvs, dest->addr.ip);
	WRITE_ONCE(a->local, known | local);
	return local;
}

/* Find a port of a pool address: the port of the inside host if possible */
static struct ip_vs_conn *snat_try_dest(struct snat_search *s,
					struct ip_vs_dest *dest)
{
	struct ip_vs_snat *snat = s->ipvs->snat;
	struct ip_vs_conn *cp;

	s->dest = dest;
	s->outside = *s->inside;
	s->outside.laddr = dest->addr.ip;
	s->base = snat_hash(snat, &s->outside, 0);
	s->local = snat_addr_is_local(s->ipvs, dest);
	s->conflicts = 0;
	s->mappable = 0;

	cp = s->over ? snat_search_over(s) : snat_search_ports(s);
	if (s->conflicts) {
		snat_count_add(s->ipvs, SNAT_CTR_PORT_CONFLICTS, s->conflicts);
		atomic_add(s->conflicts, &dest->snat_conflicts);
	}
	if (!cp && !s->block && !s->over)
		atomic_inc(&dest->snat_exhausted);
	return cp;
}

/**
 * __snat_complain - log that a flow was refused
 * @inside:	the flow
 * @what:	the reason
 */
void __snat_complain(const struct snat_tuple *inside, const char *what)
{
	pr_err("SNAT: %s for %s %pI4:%u -> %pI4:%u\n", what,
	       ip_vs_proto_name(inside->protocol),
	       &inside->laddr, ntohs(inside->lport),
	       &inside->raddr, ntohs(inside->rport));
}

static void snat_account_conn(struct ip_vs_conn *cp)
{
	struct ip_vs_service *svc;

	ip_vs_snat_stats_conn(&cp->dest->stats);
	svc = rcu_dereference(cp->dest->svc);
	if (svc)
		ip_vs_snat_stats_conn(&svc->stats);
	else if (cp->snat.rule)
		ip_vs_snat_stats_conn(&cp->snat.rule->tally->stats);
	ip_vs_snat_stats_conn(ip_vs_snat_tot_stats(ip_vs_snat_ipvs(cp)));
}

/* Count what a rule has dropped, and why */
static void snat_count_drop(const struct snat_source *source,
			    enum snat_rule_drop why)
{
	if (source->rule)
		atomic_long_inc(&source->rule->tally->drops[why]);
}

/* A port of some pool addresses, one after the other: NULL if there is none */
static struct ip_vs_conn *snat_try_dests(struct snat_search *s,
					 struct ip_vs_dest *first, u32 place)
{
	struct ip_vs_dest *dest = first;
	struct ip_vs_conn *cp;
	int tries = 0;

	do {
		cp = snat_try_dest(s, dest);
		if (cp) {
			if (tries && !IS_ERR(cp))
				snat_count(s->ipvs, SNAT_CTR_NEXT_ADDRESS);
			return cp;
		}
		dest = snat_next_dest(s->source, dest, &place);
	} while (++tries < SNAT_ADDR_TRIES && dest && dest != first);
	return NULL;
}

/* Is it worth the while to look once more, for ports of connections that are over? */
static bool snat_looks_for_over(struct snat_search *s)
{
	s->over = s->inside->protocol == IPPROTO_TCP;
	return s->over;
}

static struct ip_vs_conn *snat_try_pool(struct snat_search *s,
					struct ip_vs_dest *first, u32 place)
{
	struct ip_vs_conn *cp = snat_try_dests(s, first, place);

	if (!cp && snat_looks_for_over(s))
		cp = snat_try_dests(s, first, place);
	if (IS_ERR(cp)) {
		snat_count(s->ipvs, SNAT_CTR_DROP_OTHER);
		return NULL;
	}
	if (cp)
		return cp;

	snat_count(s->ipvs, SNAT_CTR_EXHAUSTED);
	snat_count_drop(s->source, SNAT_RULE_DROP_NO_PORT);
	snat_complain(s->ipvs, s->inside, "no free port");
	snat_memo_put(s->ipvs->snat, s->ipvs->snat->refused, s->inside);
	return NULL;
}

/* Look for a port in a block. The connection has the block then. */
static struct ip_vs_conn *snat_try_block(struct snat_search *s,
					 struct snat_block *block, bool fresh)
{
	struct ip_vs_conn *cp;

	s->block = block;
	s->range = snat_block_first(block) << 16 | snat_block_last(block);
	cp = snat_try_dest(s, snat_block_dest(block));
	if (!IS_ERR_OR_NULL(cp))
		return cp;
	if (fresh)
		snat_block_give_up(s->ipvs, block);
	else
		snat_block_put(s->ipvs, block);
	return cp;
}

/* Count a flow that gets no block of ports, and why */
static void snat_refuse_block(struct snat_search *s, long err)
{
	snat_count_drop(s->source, SNAT_RULE_DROP_NO_BLOCK);
	if (err == -EDQUOT) {
		snat_count(s->ipvs, SNAT_CTR_LIMIT_BLOCKS);
		snat_complain(s->ipvs, s->inside, "too many blocks of ports");
	} else {
		snat_count(s->ipvs, SNAT_CTR_NO_BLOCK);
		snat_complain(s->ipvs, s->inside, "no free block of ports");
	}
	snat_memo_put(s->ipvs->snat, s->ipvs->snat->refused, s->inside);
}

/* Count a packet of a flow that has been refused a moment ago */
static void snat_refuse_again(const struct snat_search *s)
{
	const struct snat_pool *pool = s->source->pool;
	bool blocks = pool && pool->spec.block_size;

	snat_count(s->ipvs, blocks ? SNAT_CTR_NO_BLOCK : SNAT_CTR_EXHAUSTED);
	snat_count_drop(s->source, blocks ? SNAT_RULE_DROP_NO_BLOCK :
					    SNAT_RULE_DROP_NO_PORT);
}

/* A port of a block that the host has, of so many */
static struct ip_vs_conn *snat_try_held(struct snat_search *s, u32 *held)
{
	struct ip_vs_conn *cp = NULL;
	struct snat_block *block;

	for (*held = 0; !cp; ++*held) {
		block = snat_block_held(s->ipvs, s->source->pool,
					s->inside->laddr, *held);
		if (!block)
			break;
		cp = snat_try_block(s, block, false);
	}
	return cp;
}

/* A port of a block that the host has, or of one more */
static struct ip_vs_conn *snat_try_blocks(struct snat_search *s, u32 place)
{
	const struct snat_pool *pool = s->source->pool;
	__be32 inside = s->inside->laddr;
	struct snat_block *block = NULL;
	struct ip_vs_conn *cp;
	int tries = 0;
	u32 held;

	do {
		cp = snat_try_held(s, &held);
		if (cp)
			break;
		block = snat_block_take(s->ipvs, pool, inside, place, held);
		if (!IS_ERR(block))
			cp = snat_try_block(s, block, true);
	} while (!cp && (!IS_ERR(block) || block == ERR_PTR(-EAGAIN)) &&
		 ++tries < SNAT_BLOCK_TAKES);

	if (!cp && snat_looks_for_over(s))
		cp = snat_try_held(s, &held);
	if (!cp)
		snat_refuse_block(s, IS_ERR(block) ? PTR_ERR(block) : -ENOSPC);
	if (!IS_ERR(cp))
		return cp;
	snat_count(s->ipvs, SNAT_CTR_DROP_OTHER);
	return NULL;
}

static u32 snat_port_range(const struct ip_vs_snat *snat,
			   const struct snat_pool *pool)
{
	if (pool && snat_pool_ports(pool))
		return snat_pool_ports(pool);
	return READ_ONCE(snat->set.port_range);
}

/* Nobody has to hear of a zone without addresses, it's there to drop packets */
static void snat_no_pool(struct netns_ipvs *ipvs,
			 const struct snat_source *source,
			 const struct snat_tuple *inside)
{
	snat_count(ipvs, SNAT_CTR_DROP_NO_POOL);
	snat_count_drop(source, SNAT_RULE_DROP_EMPTY);
	if (!source->pool || source->pool->num_addrs)
		snat_complain(ipvs, inside, "no usable pool address");
}

/**
 * snat_conn_create - make a connection for a flow
 * @ipvs:	the network namespace
 * @source:	where the connection gets its address from
 * @skb:	the packet that starts the flow
 * @inside:	the flow
 * @ifindex:	the device by which it leaves
 *
 * Return: the connection with a reference, NULL if there is none to be had; the
 * packet has to be dropped then, and that is counted.
 */
struct ip_vs_conn *snat_conn_create(struct netns_ipvs *ipvs,
				    const struct snat_source *source,
				    struct sk_buff *skb,
				    const struct snat_tuple *inside,
				    int ifindex)
{
	const struct snat_pool *pool = source->pool;
	struct snat_search s = {
		.ipvs		= ipvs,
		.source		= source,
		.skb		= skb,
		.inside		= inside,
		.ifindex	= ifindex,
		.range		= snat_port_range(ipvs->snat, pool),
	};
	struct ip_vs_dest *first;
	struct ip_vs_conn *cp;
	u32 place = 0;

	if (unlikely(snat_memo_has(ipvs->snat, ipvs->snat->refused, inside,
				   SNAT_REFUSED))) {
		snat_refuse_again(&s);
		return NULL;
	}
	first = snat_first_dest(ipvs, source, skb, inside, &place);
	if (!first) {
		snat_no_pool(ipvs, source, inside);
		return NULL;
	}
	s.host = snat_conn_admit(ipvs, inside, pool ? pool->spec.host_conns : 0);
	if (!s.host) {
		snat_count_drop(source, SNAT_RULE_DROP_LIMIT);
		return NULL;
	}

	cp = pool && pool->spec.block_size ? snat_try_blocks(&s, place) :
					     snat_try_pool(&s, first, place);
	if (!cp) {
		snat_conn_dismiss(ipvs->snat, s.host);
		return NULL;
	}
	/* Without a host, it's the connection of another CPU */
	if (s.host) {
		if (pool && pool->spec.flags & IPVS_SNAT_POOL_F_PAIRED)
			snat_pair(ipvs->snat, pool, inside->laddr, cp->dest);
		snat_count(ipvs, SNAT_CTR_CREATED);
		snat_account_conn(cp);
	}
	return cp;
}
