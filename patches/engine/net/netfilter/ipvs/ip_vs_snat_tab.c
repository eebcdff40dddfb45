// SPDX-License-Identifier: GPL-2.0-or-later
/* IP Virtual Server: tables of SNAT connections
 *
 * Each connection is in two: by what its packets look like on the inside, and on the
 * outside. They grow with what is in them. Meanwhile there are two tables, the second one
 * being the next of the first: what is new goes there, and what is old is moved there,
 * bucket by bucket. Who looks for something looks in the first one before the second, and
 * so finds what is moved in this moment.
 *
 * The lock of a bucket is chosen by bits of the hash that are the same in all tables. Who
 * goes through all connections does so in steps: between them the tables may grow, and
 * tabs_lock is held by nobody for long.
 */

#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/log2.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include <linux/ip_vs_snat.h>

#include "ip_vs_snat_int.h"

#define SNAT_MIN_TAB_BITS	8
#define SNAT_FIRST_TAB_BITS	14
#define SNAT_MAX_TAB_BITS	24
#define SNAT_MAX_FIXED_BITS	22
/* So much larger, as a power of 2, is the next one */
#define SNAT_TAB_STEP		2
/* Without memory for that, it's tried again after this time */
#define SNAT_TAB_RETRY		(10 * HZ)
/* Connections that are moved to it while others wait for a lock */
#define SNAT_MOVES_AT_ONCE	64
/* Buckets of a step through all connections, which lie side by side: a power of 2, as many
 * as share a cache line
 */
#define SNAT_STEP		8

static int snat_tab_bits __read_mostly;
module_param_named(snat_tab_bits, snat_tab_bits, int, 0444);
MODULE_PARM_DESC(snat_tab_bits,
		 "Size of the tables of SNAT, as a power of 2 (0: they grow)");

static bool snat_tab_fixed(struct netns_ipvs *ipvs)
{
	return snat_tab_bits && ip_vs_snat_trusted(ipvs);
}

/**
 * snat_default_tab_bits - the size of tables that don't grow, as a power of 2
 * @ipvs:	the network namespace
 *
 * At most two connections are in a bucket, on average.
 */
int snat_default_tab_bits(struct netns_ipvs *ipvs)
{
	int conns = max(snat_default_max_conns(ipvs),
			READ_ONCE(ipvs->snat->set.max_conns));
	int bits = snat_tab_fixed(ipvs) ? snat_tab_bits : ilog2(conns);

	return clamp(bits, SNAT_MIN_TAB_BITS, SNAT_MAX_FIXED_BITS);
}

static void snat_tab_free(struct snat_tab *tab)
{
	if (!tab)
		return;
	ip_vs_snat_big_free(tab->bucket);
	kfree(tab);
}

static struct snat_tab *snat_tab_new(unsigned int bits)
{
	struct snat_tab *tab = kzalloc(sizeof(*tab), GFP_KERNEL_ACCOUNT);

	if (!tab)
		return NULL;
	tab->mask = (1U << bits) - 1;
	tab->bucket = snat_tab_alloc(bits);
	if (tab->bucket)
		return tab;
	kfree(tab);
	return NULL;
}

static spinlock_t *snat_tab_lock(struct ip_vs_snat *snat, u32 hash)
{
	return &snat->locks[hash & (SNAT_LOCKS - 1)].lock;
}

static u32 snat_tab_hash(const struct ip_vs_snat *snat,
			 const struct snat_tuple *t, enum snat_dir dir)
{
	return dir == SNAT_DIR_OUT ? snat_out_hash(snat, t) :
				     snat_in_hash(snat, t);
}

/* Where a new one belongs, under the lock of its hash: who moves what is old takes that
 * after the next table can be seen.
 */
static void snat_tab_add(struct ip_vs_snat *snat, struct ip_vs_conn *cp,
			 u32 hash, enum snat_dir dir)
{
	struct snat_tab *tab = snat_tab_first(snat, dir), *next;

	while ((next = rcu_dereference(tab->next)))
		tab = next;
	hlist_add_head_rcu(snat_conn_node(cp, dir), snat_tab_bucket(tab, hash));
}

/* These are called with softirqs off */

/**
 * snat_in_insert - claim the outside tuple of a connection
 * @snat:	the network namespace
 * @cp:		the connection
 * @t:		the tuple
 * @hash:	its hash
 *
 * Return: whether it was free.
 */
bool snat_in_insert(struct ip_vs_snat *snat, struct ip_vs_conn *cp,
		    const struct snat_tuple *t, u32 hash)
{
	bool taken;

	spin_lock(snat_tab_lock(snat, hash));
	taken = snat_in_taken(snat, t, hash);
	if (!taken) {
		snat_tab_add(snat, cp, hash, SNAT_DIR_IN);
		/* In the order in which they have the tuple */
		snat_conn_tell(cp, IPVS_SNAT_EVENT_CONN_NEW);
	}
	spin_unlock(snat_tab_lock(snat, hash));

	if (!taken)
		snat_hot_port_taken(snat, t);
	return !taken;
}

/**
 * snat_out_insert - claim the inside tuple of a connection
 * @snat:	the network namespace
 * @cp:		the connection
 * @t:		the tuple
 *
 * Return: NULL; or if another CPU was faster with the same flow, the connection that it
 * has made, with a reference.
 */
struct ip_vs_conn *snat_out_insert(struct ip_vs_snat *snat,
				   struct ip_vs_conn *cp,
				   const struct snat_tuple *t)
{
	u32 hash = snat_out_hash(snat, t);
	struct ip_vs_conn *other;

	spin_lock(snat_tab_lock(snat, hash));
	other = snat_out_get_hashed(snat, t, hash);
	if (!other)
		snat_tab_add(snat, cp, hash, SNAT_DIR_OUT);
	spin_unlock(snat_tab_lock(snat, hash));
	return other;
}

/**
 * snat_in_unlink - let the outside tuple of a connection go
 * @snat:	the network namespace
 * @cp:		the connection
 *
 * Return: whether it had it, which is so for one caller.
 */
bool snat_in_unlink(struct ip_vs_snat *snat, struct ip_vs_conn *cp)
{
	struct snat_tuple t;
	bool linked;
	u32 hash;

	snat_tuple_of_conn(&t, cp, false);
	hash = snat_in_hash(snat, &t);

	spin_lock(snat_tab_lock(snat, hash));
	linked = !hlist_unhashed(&cp->snat_in);
	if (linked) {
		snat_conn_tell(cp, IPVS_SNAT_EVENT_CONN_END);
		hlist_del_init_rcu(&cp->snat_in);
	}
	spin_unlock(snat_tab_lock(snat, hash));

	if (linked)
		snat_hot_port_free(snat, &t);
	return linked;
}

/**
 * snat_out_unlink - let the inside tuple of a connection go
 * @snat:	the network namespace
 * @cp:		the connection
 */
void snat_out_unlink(struct ip_vs_snat *snat, struct ip_vs_conn *cp)
{
	struct snat_tuple t;
	u32 hash;

	snat_tuple_of_conn(&t, cp, true);
	hash = snat_out_hash(snat, &t);

	spin_lock(snat_tab_lock(snat, hash));
	if (!hlist_unhashed(&cp->snat_out))
		hlist_del_init_rcu(&cp->snat_out);
	spin_unlock(snat_tab_lock(snat, hash));
}

/* Growing */

static struct hlist_node *snat_last_node(const struct hlist_head *bucket)
{
	struct hlist_node *node = bucket->first;

	while (node && node->next)
		node = node->next;
	return node;
}

/* Move the last one of a bucket. Who stands on it goes on in a bucket of the next table,
 * which is of no use to him but has an end.
 */
static void snat_tab_move(struct ip_vs_snat *snat, struct hlist_node *node,
			  struct snat_tab *next, enum snat_dir dir)
{
	struct hlist_node **before = node->pprev;
	struct snat_tuple t;

	snat_tuple_of_conn(&t, snat_conn_of_node(node, dir),
			   dir == SNAT_DIR_OUT);
	hlist_add_head_rcu(node, snat_tab_bucket(next, snat_tab_hash(snat, &t,
								     dir)));
	/* Who doesn't find it here any more finds it there, see snat_tab_next() */
	smp_wmb();
	WRITE_ONCE(*before, NULL);
}

static struct snat_tab *snat_tab_locked(struct ip_vs_snat *snat,
					enum snat_dir dir)
{
	return rcu_dereference_protected(snat->tab[dir],
					 lockdep_is_held(&snat->tabs_lock));
}

/* Those of some buckets that have a lock in common: packets wait for it, so it's let go
 * now and then
 */
static void snat_tab_move_stripe(struct ip_vs_snat *snat, struct snat_tab *tab,
				 struct snat_tab *next, u32 first, u32 end,
				 enum snat_dir dir)
{
	spinlock_t *lock = snat_tab_lock(snat, first);
	struct hlist_node *node;
	u32 i, moved = 0;

	spin_lock_bh(lock);
	for (i = first; i < end; i += SNAT_LOCKS) {
		while ((node = snat_last_node(&tab->bucket[i]))) {
			snat_tab_move(snat, node, next, dir);
			if (++moved % SNAT_MOVES_AT_ONCE)
				continue;
			spin_unlock_bh(lock);
			spin_lock_bh(lock);
		}
	}
	spin_unlock_bh(lock);
}

/* Some buckets at once. Who goes through the connections, and so waits for us, need not
 * wait for all.
 */
static void snat_tab_move_some(struct ip_vs_snat *snat, struct snat_tab *tab,
			       struct snat_tab *next, u32 first,
			       enum snat_dir dir)
{
	u32 end = min(first + SNAT_BUCKETS_AT_ONCE, tab->mask + 1), i;

	/* Bucket and lock are chosen by the same bits */
	BUILD_BUG_ON(SNAT_BUCKETS_AT_ONCE % SNAT_LOCKS);

	mutex_lock(&snat->tabs_lock);
	for (i = first; i < first + SNAT_LOCKS; i++)
		snat_tab_move_stripe(snat, tab, next, i, end, dir);
	mutex_unlock(&snat->tabs_lock);
	cond_resched();
}

static void snat_tab_replace(struct ip_vs_snat *snat, struct snat_tab *next,
			     enum snat_dir dir)
{
	/* Only this one, of whom there is one at a time, changes it */
	struct snat_tab *tab = rcu_dereference_protected(snat->tab[dir], 1);
	u32 i;

	mutex_lock(&snat->tabs_lock);
	rcu_assign_pointer(tab->next, next);
	mutex_unlock(&snat->tabs_lock);
	for (i = 0; i <= tab->mask; i += SNAT_BUCKETS_AT_ONCE)
		snat_tab_move_some(snat, tab, next, i, dir);
	mutex_lock(&snat->tabs_lock);
	rcu_assign_pointer(snat->tab[dir], next);
	mutex_unlock(&snat->tabs_lock);
	synchronize_rcu();
	snat_tab_free(tab);
}

/* Both tables are of one size. Returns false if there is no memory. */
static bool snat_tabs_resize(struct ip_vs_snat *snat, int bits)
{
	struct snat_tab *out = snat_tab_new(bits), *in = snat_tab_new(bits);

	if (!out || !in) {
		snat_tab_free(out);
		snat_tab_free(in);
		return false;
	}
	snat_tab_replace(snat, out, SNAT_DIR_OUT);
	snat_tab_replace(snat, in, SNAT_DIR_IN);
	this_cpu_inc(snat->counters->value[SNAT_CTR_GROWN]);
	return true;
}

/* So many connections may come before the tables grow */
static int snat_tabs_room(int bits)
{
	return bits < SNAT_MAX_TAB_BITS ? 1 << bits : INT_MAX;
}

static void snat_tabs_grow(struct work_struct *work)
{
	struct ip_vs_snat *snat = container_of(to_delayed_work(work),
					       struct ip_vs_snat, grow_work);
	int bits, room;

	/* Who has it looks once more */
	if (!mutex_trylock(&snat->grow_lock))
		return;
	bits = snat->tab_bits;
	room = snat_tabs_room(bits);
	/* Nobody who comes meanwhile has to ask for the same */
	WRITE_ONCE(snat->grow_at, INT_MAX);
	while (atomic_read(&snat->conns) > room) {
		bits = min(bits + SNAT_TAB_STEP, SNAT_MAX_TAB_BITS);
		if (!snat_tabs_resize(snat, bits)) {
			IP_VS_ERR_RL("SNAT: no memory for larger tables\n");
			ip_vs_snat_queue(&snat->grow_work, SNAT_TAB_RETRY);
			goto unlock;
		}
		snat->tab_bits = bits;
		room = snat_tabs_room(bits);
	}
	WRITE_ONCE(snat->grow_at, room);
unlock:
	mutex_unlock(&snat->grow_lock);
}

/* Going through all connections */

/**
 * snat_tabs_hold - have the tables stay as they are, for some steps
 * @snat:	the network namespace, that was ready once
 * @dir:	which of them, by the packets whose tuples it's for
 *
 * Return: the table, and it may have a next one, until snat_tabs_release().
 */
struct snat_tab *snat_tabs_hold(struct ip_vs_snat *snat, enum snat_dir dir)
{
	mutex_lock(&snat->tabs_lock);
	return snat_tab_locked(snat, dir);
}

/**
 * snat_tabs_release - the tables may grow again
 * @snat:	the network namespace
 */
void snat_tabs_release(struct ip_vs_snat *snat)
{
	mutex_unlock(&snat->tabs_lock);
}

/**
 * snat_tabs_bucket - a bucket of a step through all connections
 * @tab:	what is held
 * @step:	0, or what snat_tabs_step() has returned
 * @nth:	which bucket of the step, from 0 on
 *
 * While a table grows, a step is about some buckets and those of the next table that they
 * are moved to: whatever is moved between steps, all that is there the whole time is met
 * once.
 *
 * Return: the bucket or NULL if there are no more.
 */
struct hlist_head *snat_tabs_bucket(struct snat_tab *tab, u32 step, u32 nth)
{
	struct snat_tab *next = rcu_dereference_protected(tab->next, 1);
	u32 i = step + nth % SNAT_STEP;

	if (nth < SNAT_STEP)
		return &tab->bucket[i];
	i += (nth / SNAT_STEP - 1) * (tab->mask + 1);
	return next && i <= next->mask ? &next->bucket[i] : NULL;
}

/**
 * snat_tabs_step - the next step through all connections
 * @tab:	what is held
 * @step:	the step before
 *
 * Counts from the highest bit downwards: buckets that were passed become buckets that were
 * passed, if the table grows.
 *
 * Return: the step, or 0 if that was the last one.
 */
u32 snat_tabs_step(const struct snat_tab *tab, u32 step)
{
	u32 bit = (tab->mask + 1) >> 1;

	while (step & bit) {
		step ^= bit;
		bit >>= 1;
	}
	return bit < SNAT_STEP ? 0 : step | bit;
}

/**
 * snat_tabs_walk - go through all connections
 * @snat:	the network namespace, that was ready once
 * @dir:	by the tables of which packets
 * @fn:		called with each bucket
 * @data:	for that
 *
 * Who is moved meanwhile is met all the same, those that come may not be.
 */
void snat_tabs_walk(struct ip_vs_snat *snat, enum snat_dir dir,
		    void (*fn)(struct hlist_head *bucket, void *data),
		    void *data)
{
	u32 step = 0, nth, done;
	struct hlist_head *bucket;
	struct snat_tab *tab;

	do {
		tab = snat_tabs_hold(snat, dir);
		done = 0;
		do {
			for (nth = 0; (bucket = snat_tabs_bucket(tab, step, nth));
			     nth++)
				fn(bucket, data);
			step = snat_tabs_step(tab, step);
			done += nth;
		} while (step && done < SNAT_BUCKETS_AT_ONCE);
		snat_tabs_release(snat);
		cond_resched();
	} while (step);
}

/* Setting up */

/**
 * snat_tabs_prepare - prepare for tables
 * @snat:	state of a network namespace
 */
void snat_tabs_prepare(struct ip_vs_snat *snat)
{
	int i;

	for (i = 0; i < SNAT_LOCKS; i++)
		spin_lock_init(&snat->locks[i].lock);
	mutex_init(&snat->tabs_lock);
	mutex_init(&snat->grow_lock);
	INIT_DELAYED_WORK(&snat->grow_work, snat_tabs_grow);
}

/**
 * snat_tabs_init - set up the tables of a network namespace
 * @ipvs:	the namespace
 *
 * Return: 0 or a negative error, after which snat_tabs_cleanup() is to be called, too.
 */
int snat_tabs_init(struct netns_ipvs *ipvs)
{
	struct ip_vs_snat *snat = ipvs->snat;
	int bits = snat_default_tab_bits(ipvs);
	struct snat_tab *tab;
	enum snat_dir dir;

	if (snat_tab_fixed(ipvs) || !ip_vs_snat_trusted(ipvs)) {
		snat->grow_at = INT_MAX;
	} else {
		bits = min(bits, SNAT_FIRST_TAB_BITS);
		snat->grow_at = snat_tabs_room(bits);
	}
	snat->tab_bits = bits;
	for (dir = 0; dir < SNAT_DIRS; dir++) {
		tab = snat_tab_new(bits);
		if (!tab)
			return -ENOMEM;
		rcu_assign_pointer(snat->tab[dir], tab);
	}
	return 0;
}

/**
 * snat_tabs_cleanup - the opposite of snat_tabs_init()
 * @snat:	the network namespace, it has no connections any more, or was never ready
 */
void snat_tabs_cleanup(struct ip_vs_snat *snat)
{
	enum snat_dir dir;

	cancel_delayed_work_sync(&snat->grow_work);
	for (dir = 0; dir < SNAT_DIRS; dir++) {
		snat_tab_free(rcu_dereference_protected(snat->tab[dir], 1));
		rcu_assign_pointer(snat->tab[dir], NULL);
	}
}
