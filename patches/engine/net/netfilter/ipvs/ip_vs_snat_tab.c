// SPDX-License-Identifier: GPL-2.0-or-later
/* IP Virtual Server: tables of SNAT connections
 *
 * Each connection is in two: by what its packets look like on the inside, and on the
 * outside. They grow with what is in them. Meanwhile there are two tables, the second one
 * being the next of the first: what is new goes there, and what is old is moved there,
 * bucket by bucket. Who looks for something looks in the first one before the second, and
 * so finds what is moved in this moment.
 *
 * The lock of a bucket is chosen by bits of the hash that are the same in all tables.
 */

#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/log2.h>
#include <linux/module.h>
#include <linux/sched.h>

#include <linux/ip_vs_snat.h>

#include "ip_vs_snat_int.h"

#define SNAT_MIN_TAB_BITS	8
#define SNAT_FIRST_TAB_BITS	12
#define SNAT_MAX_TAB_BITS	24
/* So much larger, as a power of 2, is the next one */
#define SNAT_TAB_STEP		2

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

	return clamp(bits, SNAT_MIN_TAB_BITS, SNAT_MAX_TAB_BITS);
}

static struct snat_tab *snat_tab_new(unsigned int bits)
{
	struct snat_tab *tab;

	tab = ip_vs_snat_big_alloc(sizeof(*tab) +
				   (sizeof(tab->bucket[0]) << bits));
	if (tab)
		tab->mask = (1U << bits) - 1;
	return tab;
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

/**
 * snat_in_insert - claim the outside tuple of a connection
 * @snat:	the network namespace
 * @cp:		the connection
 *
 * Return: whether it was free.
 */
bool snat_in_insert(struct ip_vs_snat *snat, struct ip_vs_conn *cp)
{
	struct snat_tuple t;
	bool taken;
	u32 hash;

	snat_tuple_of_conn(&t, cp, false);
	hash = snat_in_hash(snat, &t);

	spin_lock_bh(snat_tab_lock(snat, hash));
	taken = snat_in_taken(snat, &t, hash);
	if (!taken) {
		snat_tab_add(snat, cp, hash, SNAT_DIR_IN);
		/* In the order in which they have the tuple */
		snat_conn_tell(cp, IPVS_SNAT_EVENT_CONN_NEW);
	}
	spin_unlock_bh(snat_tab_lock(snat, hash));

	if (!taken)
		snat_hot_port_taken(snat, &t);
	return !taken;
}

/**
 * snat_out_insert - claim the inside tuple of a connection
 * @snat:	the network namespace
 * @cp:		the connection
 *
 * Return: NULL; or if another CPU was faster with the same flow, the connection that it
 * has made, with a reference.
 */
struct ip_vs_conn *snat_out_insert(struct ip_vs_snat *snat,
				   struct ip_vs_conn *cp)
{
	struct ip_vs_conn *other;
	struct snat_tuple t;
	u32 hash;

	snat_tuple_of_conn(&t, cp, true);
	hash = snat_out_hash(snat, &t);

	spin_lock_bh(snat_tab_lock(snat, hash));
	other = snat_out_get(snat, &t);
	if (!other)
		snat_tab_add(snat, cp, hash, SNAT_DIR_OUT);
	spin_unlock_bh(snat_tab_lock(snat, hash));
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

	spin_lock_bh(snat_tab_lock(snat, hash));
	linked = !hlist_unhashed(&cp->snat_in);
	if (linked) {
		snat_conn_tell(cp, IPVS_SNAT_EVENT_CONN_END);
		hlist_del_init_rcu(&cp->snat_in);
	}
	spin_unlock_bh(snat_tab_lock(snat, hash));

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

	spin_lock_bh(snat_tab_lock(snat, hash));
	if (!hlist_unhashed(&cp->snat_out))
		hlist_del_init_rcu(&cp->snat_out);
	spin_unlock_bh(snat_tab_lock(snat, hash));
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

static void snat_tab_move_all(struct ip_vs_snat *snat, struct snat_tab *tab,
			      struct snat_tab *next, enum snat_dir dir)
{
	struct hlist_node *node;
	u32 i;

	for (i = 0; i <= tab->mask; i++) {
		spin_lock_bh(snat_tab_lock(snat, i));
		while ((node = snat_last_node(&tab->bucket[i])))
			snat_tab_move(snat, node, next, dir);
		spin_unlock_bh(snat_tab_lock(snat, i));
		if (i % SNAT_BUCKETS_AT_ONCE == 0)
			cond_resched();
	}
}

static struct snat_tab *snat_tab_locked(struct ip_vs_snat *snat,
					enum snat_dir dir)
{
	return rcu_dereference_protected(snat->tab[dir],
					 lockdep_is_held(&snat->tabs_lock));
}

/* Connections are told to have the tables grow when there are more of them than that */
static void snat_tabs_grow_at(struct ip_vs_snat *snat, unsigned int bits)
{
	WRITE_ONCE(snat->grow_at, bits < SNAT_MAX_TAB_BITS ? 1 << bits :
							     INT_MAX);
}

/* Both tables are of one size, so that who goes through one goes through all */
static bool snat_tabs_resize(struct ip_vs_snat *snat, unsigned int bits)
{
	struct snat_tab *old[SNAT_DIRS], *new[SNAT_DIRS];
	enum snat_dir dir;

	for (dir = 0; dir < SNAT_DIRS; dir++) {
		old[dir] = snat_tab_locked(snat, dir);
		new[dir] = snat_tab_new(bits);
	}
	if (!new[SNAT_DIR_OUT] || !new[SNAT_DIR_IN]) {
		for (dir = 0; dir < SNAT_DIRS; dir++)
			ip_vs_snat_big_free(new[dir]);
		return false;
	}

	for (dir = 0; dir < SNAT_DIRS; dir++) {
		rcu_assign_pointer(old[dir]->next, new[dir]);
		snat_tab_move_all(snat, old[dir], new[dir], dir);
		rcu_assign_pointer(snat->tab[dir], new[dir]);
	}
	synchronize_rcu();
	for (dir = 0; dir < SNAT_DIRS; dir++)
		ip_vs_snat_big_free(old[dir]);
	this_cpu_inc(snat->counters->value[SNAT_CTR_GROWN]);
	return true;
}

static void snat_tabs_grow(struct work_struct *work)
{
	struct ip_vs_snat *snat = container_of(work, struct ip_vs_snat,
					       grow_work);
	int conns = atomic_read(&snat->conns);
	int bits;

	mutex_lock(&snat->tabs_lock);
	if (conns > READ_ONCE(snat->grow_at)) {
		bits = ilog2(snat_tab_locked(snat, SNAT_DIR_OUT)->mask + 1);
		/* Nobody who comes meanwhile has to ask for the same */
		WRITE_ONCE(snat->grow_at, INT_MAX);
		bits = min(bits + SNAT_TAB_STEP, SNAT_MAX_TAB_BITS);
		if (snat_tabs_resize(snat, bits))
			snat_tabs_grow_at(snat, bits);
		else	/* there was no memory, so not at once again */
			WRITE_ONCE(snat->grow_at, conns + conns / 8);
	}
	mutex_unlock(&snat->tabs_lock);
}

/* Going through all connections. While somebody does that, the tables don't grow. */

/**
 * snat_tabs_hold - have the tables stay as they are
 * @snat:	the network namespace
 * @dir:	which of them, by the packets whose tuples it's for
 *
 * Return: the table, until snat_tabs_release().
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
	INIT_WORK(&snat->grow_work, snat_tabs_grow);
}

/**
 * snat_tabs_init - set up the tables of a network namespace
 * @ipvs:	the namespace
 *
 * Return: 0 or a negative error.
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
		snat_tabs_grow_at(snat, bits);
	}
	for (dir = 0; dir < SNAT_DIRS; dir++) {
		tab = snat_tab_new(bits);
		if (!tab)
			return -ENOMEM;
		RCU_INIT_POINTER(snat->tab[dir], tab);
	}
	return 0;
}

/**
 * snat_tabs_cleanup - the opposite of snat_tabs_init()
 * @snat:	the network namespace, it has no connections any more
 */
void snat_tabs_cleanup(struct ip_vs_snat *snat)
{
	enum snat_dir dir;

	cancel_work_sync(&snat->grow_work);
	for (dir = 0; dir < SNAT_DIRS; dir++) {
		ip_vs_snat_big_free(rcu_dereference_protected(snat->tab[dir], 1));
		RCU_INIT_POINTER(snat->tab[dir], NULL);
	}
}
