// SPDX-License-Identifier: GPL-2.0-or-later
/* IP Virtual Server: blocks of ports of SNAT, each for one inside host (RFC 7422)
 *
 * Who had an address and port can be told from one line a block instead of one a
 * connection. So a port is given out only in a block that its host has, for whatever
 * protocol and remote host; a host takes another block when its own have no port left
 * for a remote host, and gives it back with the last connection.
 *
 * A block that was given back rests: it is the last one that another host gets, and
 * none gets it for a while, as packets for the old one may still be under way and clocks
 * of those who ask are never quite right. Meanwhile it counts for the host that had
 * it, and that one gets it again first: taking and giving back gets a host no more
 * blocks than it may have.
 *
 * Those that join a block of their host, and leave it to others, take no lock.
 */

#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/rculist.h>
#include <linux/slab.h>

#include "ip_vs_snat_config.h"

/* Bounds on the work for one block: pools that have blocks of one address, with those
 * whose blocks were others before; addresses that are looked at; and blocks, theirs and
 * those that have the same ports.
 */
#define SNAT_ADDR_BLOCKS	64
#define SNAT_BLOCK_LOOKS	64
#define SNAT_BLOCK_STEPS	8192

/* How long an address is left alone of which no free block could be given */
#define SNAT_BLOCK_VAIN		(HZ / 4)

static struct hlist_head *snat_block_bucket(const struct ip_vs_snat *snat,
					    __be32 inside)
{
	return &snat->block_tab[snat_host_hash(snat, inside)];
}

/* May another host have a block that is not in use? */
static bool snat_block_rested(const struct ip_vs_snat *snat,
			      const struct snat_block *block)
{
	return !block->inside ||
	       time_after_eq(jiffies, block->since +
			     READ_ONCE(snat->set.block_rest));
}

/* Members and their blocks */

/**
 * snat_pool_num_blocks - blocks of each address of a pool
 * @spec:	the settings of the pool
 */
u32 snat_pool_num_blocks(const struct snat_pool_spec *spec)
{
	if (!spec->block_size)
		return 0;
	return (spec->port_max - spec->port_min + 1) / spec->block_size;
}

static bool snat_blocks_fit(const struct snat_blocks *blocks,
			    const struct snat_pool_spec *spec)
{
	if (!blocks || !spec->block_size)
		return !blocks && !spec->block_size;
	return blocks->size == spec->block_size &&
	       blocks->first == spec->port_min &&
	       blocks->num == snat_pool_num_blocks(spec);
}

static struct snat_blocks *snat_blocks_new(struct snat_member *m,
					   const struct snat_pool_spec *spec)
{
	struct ip_vs_snat_addr *a = m->dest.snat_addr;
	u32 i, num = snat_pool_num_blocks(spec);
	struct snat_blocks *blocks = NULL;

	if (atomic_inc_return(&a->num_blocks) <= SNAT_ADDR_BLOCKS)
		blocks = kzalloc(sizeof(*blocks) + num * sizeof(blocks->block[0]),
				 GFP_KERNEL_ACCOUNT);
	if (!blocks) {
		atomic_dec(&a->num_blocks);
		return NULL;
	}
	blocks->member = m;
	blocks->refcnt = 1;
	blocks->first = spec->port_min;
	blocks->size = spec->block_size;
	blocks->num = num;
	INIT_LIST_HEAD(&blocks->free);
	for (i = 0; i < num; i++) {
		struct snat_block *block = &blocks->block[i];

		block->blocks = blocks;
		INIT_HLIST_NODE(&block->node);
		list_add_tail(&block->free, &blocks->free);
	}
	return blocks;
}

/* Under block_lock. Once nobody has them, they are retired. */
static void snat_blocks_put(struct snat_blocks *blocks)
{
	if (--blocks->refcnt)
		return;
	list_del_rcu(&blocks->list);
	atomic_dec(&blocks->member->dest.snat_addr->num_blocks);
	kfree_rcu(blocks, rcu_head);
}

/* Let no host have these any more, once it has given them back */
static void snat_blocks_retire(struct ip_vs_snat *snat,
			       struct snat_blocks *blocks)
{
	struct snat_block *block;

	spin_lock_bh(&snat->block_lock);
	WRITE_ONCE(blocks->retired, true);
	list_for_each_entry(block, &blocks->free, free) {
		if (!hlist_unhashed(&block->node))
			hlist_del_init_rcu(&block->node);
	}
	snat_blocks_put(blocks);
	spin_unlock_bh(&snat->block_lock);
}

/* May hosts get some of these? */
static bool snat_blocks_given(const struct snat_blocks *blocks)
{
	return !READ_ONCE(blocks->retired) &&
	       ip_vs_snat_dest_available(&blocks->member->dest);
}

static struct snat_blocks *snat_member_blocks(const struct snat_member *m)
{
	return rcu_dereference_protected(m->blocks, 1);
}

/**
 * snat_member_discard - what was got ready for a member is not needed
 * @m:		the member, under config_lock, or its last user's
 */
void snat_member_discard(struct snat_member *m)
{
	if (!m->next_blocks)
		return;
	atomic_dec(&m->dest.snat_addr->num_blocks);
	kfree(m->next_blocks);
	m->next_blocks = NULL;
}

/**
 * snat_member_prepare - get blocks ready for a member of a pool
 * @m:		the member, under config_lock
 * @spec:	the settings that the pool is going to have
 *
 * Return: 0 or a negative error.
 */
int snat_member_prepare(struct snat_member *m,
			const struct snat_pool_spec *spec)
{
	snat_member_discard(m);
	if (!spec->block_size || snat_blocks_fit(snat_member_blocks(m), spec))
		return 0;
	m->next_blocks = snat_blocks_new(m, spec);
	return m->next_blocks ? 0 : -ENOMEM;
}

/**
 * snat_member_open - let a member have what was got ready for it
 * @snat:	the network namespace
 * @m:		the member, under config_lock
 * @spec:	the settings of its pool
 */
void snat_member_open(struct ip_vs_snat *snat, struct snat_member *m,
		      const struct snat_pool_spec *spec)
{
	struct snat_blocks *old = snat_member_blocks(m), *blocks;

	WRITE_ONCE(m->log, spec->flags & IPVS_SNAT_POOL_F_LOG);
	if (snat_blocks_fit(old, spec))
		return;
	blocks = m->next_blocks;
	m->next_blocks = NULL;
	if (blocks) {
		spin_lock_bh(&snat->block_lock);
		list_add_rcu(&blocks->list, &m->dest.snat_addr->blocks);
		spin_unlock_bh(&snat->block_lock);
	}
	rcu_assign_pointer(m->blocks, blocks);
	if (old)
		snat_blocks_retire(snat, old);
}

/**
 * snat_member_close - a member goes, after its last connection
 * @snat:	the network namespace
 * @m:		the member
 */
void snat_member_close(struct ip_vs_snat *snat, struct snat_member *m)
{
	snat_member_discard(m);
	if (snat_member_blocks(m))
		snat_blocks_retire(snat, snat_member_blocks(m));
}

/**
 * snat_member_count_blocks - add up blocks
 * @m:		a member of a pool
 * @num:	how many there are
 * @used:	how many are in use
 */
void snat_member_count_blocks(const struct snat_member *m, u32 *num, u32 *used)
{
	const struct snat_blocks *blocks;

	rcu_read_lock();
	blocks = rcu_dereference(m->blocks);
	if (blocks) {
		*num += blocks->num;
		*used += READ_ONCE(blocks->used);
	}
	rcu_read_unlock();
}

/**
 * snat_port_in_blocks - is a port one that only blocks give out?
 * @dest:	a pool address, of a service or of a pool
 * @port:	the port
 *
 * Return: whether a pool with blocks has the same address, and its blocks the port; of
 * those that are no longer given, whether a host has the block still.
 */
bool snat_port_in_blocks(const struct ip_vs_dest *dest, u32 port)
{
	const struct snat_blocks *blocks;
	u32 i;

	if (!dest->snat_addr)
		return false;
	list_for_each_entry_rcu(blocks, &dest->snat_addr->blocks, list) {
		if (port < blocks->first)
			continue;
		i = (port - blocks->first) / blocks->size;
		if (i < blocks->num &&
		    (snat_blocks_given(blocks) ||
		     atomic_read(&blocks->block[i].conns)))
			return true;
	}
	return false;
}

/* Has another host some of the ports of a block in one of these? */
static bool snat_blocks_clash(const struct ip_vs_snat *snat,
			      const struct snat_blocks *blocks,
			      const struct snat_block *with, __be32 inside,
			      u32 *steps)
{
	u32 first = snat_block_first(with), last = snat_block_last(with);
	u32 i = first > blocks->first ? (first - blocks->first) / blocks->size : 0;

	for (; i < blocks->num; i++) {
		const struct snat_block *block = &blocks->block[i];

		if (snat_block_first(block) > last)
			break;
		++*steps;
		if (block->inside != inside &&
		    (atomic_read(&block->conns) ||
		     !snat_block_rested(snat, block)))
			return true;
	}
	return false;
}

/* Has another host some of the ports of a block, by another pool with its address, or
 * since before the blocks of its pool were changed? Under block_lock. What had to be
 * looked at is added to the steps.
 */
static bool snat_block_clashes(const struct ip_vs_snat *snat,
			       const struct snat_block *block, __be32 inside,
			       u32 *steps)
{
	const struct ip_vs_dest *dest = snat_block_dest(block);
	const struct snat_blocks *blocks;

	list_for_each_entry(blocks, &dest->snat_addr->blocks, list) {
		if (blocks != block->blocks &&
		    snat_blocks_clash(snat, blocks, block, inside, steps))
			return true;
	}
	return false;
}

/* Blocks of hosts */

/* A block of the host, of an address of the pool that gives new connections? */
static bool snat_block_is_of(const struct snat_block *block,
			     const struct snat_pool *pool, __be32 inside,
			     u32 *place)
{
	return READ_ONCE(block->inside) == inside &&
	       !READ_ONCE(block->blocks->retired) &&
	       snat_pool_find(pool, block->blocks->member, place);
}

/**
 * snat_block_held - a block that an inside host has
 * @ipvs:	the network namespace, under RCU lock
 * @pool:	a pool with blocks
 * @inside:	the host
 * @skip:	how many of them not to look at
 *
 * Return: the block, for snat_block_put(), or NULL if there are no more.
 */
struct snat_block *snat_block_held(struct netns_ipvs *ipvs,
				   const struct snat_pool *pool, __be32 inside,
				   u32 skip)
{
	struct snat_block *block;
	u32 place, seen = 0;

	hlist_for_each_entry_rcu(block, snat_block_bucket(ipvs->snat, inside),
				 node) {
		if (!snat_block_is_of(block, pool, inside, &place) ||
		    !atomic_read(&block->conns) || seen++ < skip ||
		    !atomic_inc_not_zero(&block->conns))
			continue;
		/* Another host may have got it in this moment */
		if (likely(snat_block_is_of(block, pool, inside, &place)))
			return block;
		snat_block_put(ipvs, block);
	}
	return NULL;
}

/* Under block_lock, as what follows. The block is free. */
static void snat_block_give(struct netns_ipvs *ipvs, struct snat_block *block,
			    __be32 inside)
{
	if (block->inside != inside || hlist_unhashed(&block->node)) {
		if (!hlist_unhashed(&block->node))
			hlist_del_init_rcu(&block->node);
		WRITE_ONCE(block->inside, inside);
		hlist_add_head_rcu(&block->node,
				   snat_block_bucket(ipvs->snat, inside));
	}
	list_del(&block->free);
	block->since = jiffies;
	block->blocks->used++;
	block->blocks->refcnt++;
	snat_count(ipvs, SNAT_CTR_BLOCKS_TAKEN);
	/* Before connections of other CPUs, which can join as soon as there is one */
	snat_event_block(ipvs, block, IPVS_SNAT_EVENT_BLOCK_TAKEN);
	/* Who can count up sees whose it is */
	smp_wmb();
	atomic_set(&block->conns, 1);
}

/* Can no connection of TCP and UDP have any of its ports? */
static bool snat_block_reserved(struct netns_ipvs *ipvs,
				const struct snat_block *block, u32 *steps)
{
	const unsigned long *reserved = ip_vs_snat_reserved_ports(ipvs);
	u32 first = snat_block_first(block), end = snat_block_last(block) + 1;

	if (!reserved || find_next_zero_bit(reserved, end, first) < end)
		return false;
	*steps += block->blocks->size / BITS_PER_LONG;
	return true;
}

static bool snat_block_usable(struct netns_ipvs *ipvs,
			      const struct snat_block *block, __be32 inside,
			      u32 *steps)
{
	++*steps;
	return snat_block_rested(ipvs->snat, block) &&
	       !snat_block_reserved(ipvs, block, steps) &&
	       !snat_block_clashes(ipvs->snat, block, inside, steps);
}

/* A free block of an address. Those that can't be had now go to the end, so that the next
 * search doesn't begin with them.
 */
static struct snat_block *snat_blocks_pick(struct netns_ipvs *ipvs,
					   struct snat_blocks *blocks,
					   __be32 inside, u32 *steps)
{
	u32 left = blocks->num - blocks->used;
	struct snat_block *block;

	for (; left; left--) {
		if (*steps >= SNAT_BLOCK_STEPS)
			return NULL;
		block = list_first_entry(&blocks->free, struct snat_block, free);
		list_move_tail(&block->free, &blocks->free);
		if (snat_block_usable(ipvs, block, inside, steps))
			return block;
	}
	blocks->vain = jiffies | 1;
	return NULL;
}

/* A block that is free for any host: of an address, one that has rested long */
static struct snat_block *snat_block_find_free(struct netns_ipvs *ipvs,
					       const struct snat_pool *pool,
					       __be32 inside, u32 place,
					       u32 *steps)
{
	u32 looks = min_t(u32, pool->num_usable, SNAT_BLOCK_LOOKS);
	struct snat_block *block = NULL;
	struct snat_blocks *blocks;

	for (; looks-- && !block; place = (place + 1) % pool->num_usable) {
		blocks = rcu_dereference(pool->usable[place]->blocks);
		if (blocks && !blocks->retired &&
		    !(blocks->vain &&
		      time_before(jiffies, blocks->vain + SNAT_BLOCK_VAIN)))
			block = snat_blocks_pick(ipvs, blocks, inside, steps);
	}
	return block;
}

/* What a host has already of a pool */
struct snat_holding {
	u32			held;
	u32			kept;		/* resting ones that nobody else gets */
	u32			place;		/* of the address of one of them */
	u32			steps;
	struct snat_block	*resting;	/* that it can have */
};

static void snat_block_look(const struct ip_vs_snat *snat,
			    const struct snat_pool *pool, __be32 inside,
			    struct snat_holding *has)
{
	struct snat_block *block;
	bool rested;
	u32 place;

	ip_vs_snat_hlist_for_each(block, snat_block_bucket(snat, inside), node) {
		if (!snat_block_is_of(block, pool, inside, &place))
			continue;
		if (atomic_read(&block->conns)) {
			has->held++;
			has->place = place;
			continue;
		}
		rested = snat_block_rested(snat, block);
		has->kept += !rested;
		if ((!has->resting || !rested) &&
		    !snat_block_clashes(snat, block, inside, &has->steps))
			has->resting = block;
	}
}

/**
 * snat_block_take - one more block for an inside host
 * @ipvs:	the network namespace, under RCU lock
 * @pool:	a pool with blocks
 * @inside:	the host
 * @place:	of the address in the pool to begin with, if the host has none
 * @held:	how many blocks it has, all of which are full
 *
 * Return: the block, for snat_block_put(), or an error: -EAGAIN if the host has got
 * more blocks meanwhile, -EDQUOT if it may not have more, -ENOSPC if there is none.
 */
struct snat_block *snat_block_take(struct netns_ipvs *ipvs,
				   const struct snat_pool *pool, __be32 inside,
				   u32 place, u32 held)
{
	struct snat_holding has = { .place = place };
	struct ip_vs_snat *snat = ipvs->snat;
	struct snat_block *block;

	if (held >= pool->spec.host_blocks)
		return ERR_PTR(-EDQUOT);

	spin_lock_bh(&snat->block_lock);
	snat_block_look(snat, pool, inside, &has);
	if (has.held > held) {
		block = ERR_PTR(-EAGAIN);
		goto unlock;
	}
	block = has.resting;
	if (!block) {
		block = ERR_PTR(-EDQUOT);
		if (has.held + has.kept >= pool->spec.host_blocks)
			goto unlock;
		block = snat_block_find_free(ipvs, pool, inside, has.place,
					     &has.steps);
	}
	if (block)
		snat_block_give(ipvs, block, inside);
	else
		block = ERR_PTR(-ENOSPC);
unlock:
	spin_unlock_bh(&snat->block_lock);
	return block;
}

/* Nobody uses a block any more, under block_lock */
static void snat_block_return(struct netns_ipvs *ipvs, struct snat_block *block)
{
	struct ip_vs_snat_addr *a = snat_block_dest(block)->snat_addr;
	struct snat_blocks *blocks = block->blocks, *other;

	snat_event_block(ipvs, block, IPVS_SNAT_EVENT_BLOCK_FREED);
	list_for_each_entry(other, &a->blocks, list)
		other->vain = 0;
	block->since = jiffies;
	list_add_tail(&block->free, &blocks->free);
	if (blocks->retired)
		hlist_del_init_rcu(&block->node);
	blocks->used--;
	snat_blocks_put(blocks);
}

/**
 * snat_block_put - a connection has let its port go, or has found none
 * @ipvs:	the network namespace
 * @block:	its block
 */
void snat_block_put(struct netns_ipvs *ipvs, struct snat_block *block)
{
	struct ip_vs_snat *snat = ipvs->snat;

	local_bh_disable();
	if (atomic_dec_and_lock(&block->conns, &snat->block_lock)) {
		snat_block_return(ipvs, block);
		spin_unlock(&snat->block_lock);
	}
	local_bh_enable();
}

/**
 * snat_block_give_up - a host has found no port in a block that it has just taken
 * @ipvs:	the network namespace, under RCU lock
 * @block:	the block
 *
 * All of its ports belong to others. It's not kept for the host, which would get it
 * again and again.
 */
void snat_block_give_up(struct netns_ipvs *ipvs, struct snat_block *block)
{
	struct ip_vs_snat *snat = ipvs->snat;

	local_bh_disable();
	if (atomic_dec_and_lock(&block->conns, &snat->block_lock)) {
		snat_block_return(ipvs, block);
		if (!hlist_unhashed(&block->node))
			hlist_del_init_rcu(&block->node);
		WRITE_ONCE(block->inside, 0);
		spin_unlock(&snat->block_lock);
	}
	local_bh_enable();
}
