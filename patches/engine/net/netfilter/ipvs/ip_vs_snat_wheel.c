// SPDX-License-Identifier: GPL-2.0-or-later
/* IP Virtual Server: when SNAT connections end
 *
 * They have no timers: many that end at once would do so in one softirq, and everybody
 * would wait for it. Instead they are filed by their time in a timing wheel (Varghese and
 * Lauck, 1987), that a worker looks at a few times a second. Packets only note the new
 * time; the worker sees it when it meets the connection, and files it anew.
 *
 * A connection is ended by who has taken it from the wheel, or has never filed it. If
 * somebody has a reference then, it goes back there.
 */

#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/list.h>
#include <linux/log2.h>

#include "ip_vs_snat_int.h"

/* A quarter of a second or so, in jiffies, as a power of 2 */
#define SNAT_TICK_BITS		(ilog2(HZ) - 1)
#define SNAT_TICK		BIT(SNAT_TICK_BITS)
#define SNAT_SLOT_BITS		ilog2(SNAT_WHEEL_SLOTS)
/* One turn of the first level, which is one slot of the second */
#define SNAT_TURN		(SNAT_TICK << SNAT_SLOT_BITS)
/* So many of a share are looked at in one go, and after this time, in jiffies, others: RCU
 * hurries, and keeps others waiting, when ten thousand wait to be freed
 */
#define SNAT_AT_ONCE		128
#define SNAT_PAUSE		max(HZ / 250, 1)

static struct list_head *snat_slot(struct snat_share *share, int level,
				   unsigned long time)
{
	return &share->slot[level][time >> (SNAT_TICK_BITS +
					    level * SNAT_SLOT_BITS) &
				   (SNAT_WHEEL_SLOTS - 1)];
}

/* Where the worker looks at a time that is to come, or before it if that is a long way off */
static struct list_head *snat_slot_for(struct snat_share *share,
				       unsigned long time)
{
	unsigned long ahead = time - share->now;

	if (ahead < SNAT_TURN)
		return snat_slot(share, 0, time);
	ahead = min(ahead, SNAT_TURN * (SNAT_WHEEL_SLOTS - 1));
	return snat_slot(share, 1, share->now + ahead);
}

/* Does it have to end? Not by its time if somebody wants it to. */
static bool snat_conn_due(const struct ip_vs_conn *cp)
{
	return cp->snat.unwanted || hlist_unhashed_lockless(&cp->snat_in) ||
	       time_before_eq(READ_ONCE(cp->timer.expires), jiffies);
}

/**
 * snat_wheel_file - have a connection looked at when its time has come
 * @cp:		the connection, that is not filed
 * @share:	its share, locked
 */
void snat_wheel_file(struct ip_vs_conn *cp, struct snat_share *share)
{
	struct ip_vs_snat *snat = ip_vs_snat_ipvs(cp)->snat;

	/* The worker doesn't come while there are none */
	if (!share->num++) {
		share->now = jiffies & ~(SNAT_TICK - 1);
		ip_vs_snat_queue(&snat->wheel_work, SNAT_TICK);
	}
	list_add_tail(&cp->snat.filed,
		      snat_slot_for(share, snat_conn_due(cp) ? share->now :
				    READ_ONCE(cp->timer.expires)));
}

static bool snat_wheel_take(struct ip_vs_conn *cp, struct snat_share *share)
{
	if (list_empty(&cp->snat.filed))
		return false;
	list_del_init(&cp->snat.filed);
	share->num--;
	return true;
}

/**
 * snat_conn_refile - the time of a connection comes earlier than it did
 * @cp:		the connection
 */
void snat_conn_refile(struct ip_vs_conn *cp)
{
	struct snat_share *share = snat_share_of(cp);

	spin_lock_bh(&share->lock);
	if (snat_wheel_take(cp, share))
		snat_wheel_file(cp, share);
	spin_unlock_bh(&share->lock);
}

/**
 * snat_conn_end - end a connection
 * @cp:		the connection, that is not filed
 *
 * If somebody has a reference, the worker tries again.
 */
void snat_conn_end(struct ip_vs_conn *cp)
{
	struct snat_share *share = snat_share_of(cp);
	bool ended;

	/* What its rule has of the pool stays until all of it is ended */
	rcu_read_lock();
	ended = ip_vs_snat_conn_end(cp);
	rcu_read_unlock();
	if (ended)
		return;
	spin_lock_bh(&share->lock);
	snat_wheel_file(cp, share);
	spin_unlock_bh(&share->lock);
}

/**
 * snat_conn_end_filed - end a connection, if nobody else is about to
 * @cp:		the connection
 */
void snat_conn_end_filed(struct ip_vs_conn *cp)
{
	struct snat_share *share = snat_share_of(cp);
	bool taken;

	spin_lock_bh(&share->lock);
	taken = snat_wheel_take(cp, share);
	spin_unlock_bh(&share->lock);
	if (taken)
		snat_conn_end(cp);
}

/**
 * ip_vs_snat_conn_drop - have a connection ended soon, however recently it was used
 * @cp:		the connection
 *
 * It's the worker that does it, because those who drop one drop many. Until then it carries
 * packets, if it can be found.
 */
void ip_vs_snat_conn_drop(struct ip_vs_conn *cp)
{
	struct snat_share *share = snat_share_of(cp);

	if (READ_ONCE(cp->snat.unwanted))
		return;
	spin_lock_bh(&share->lock);
	WRITE_ONCE(cp->snat.unwanted, true);
	if (!list_empty(&cp->snat.filed)) {
		if (list_empty(&share->due))
			ip_vs_snat_requeue(&ip_vs_snat_ipvs(cp)->snat->wheel_work,
					   0);
		list_move_tail(&cp->snat.filed, &share->due);
	}
	spin_unlock_bh(&share->lock);
}

static void snat_wheel_turn(struct snat_share *share)
{
	while (time_before_eq(share->now + SNAT_TICK, jiffies)) {
		list_splice_tail_init(snat_slot(share, 0, share->now),
				      &share->due);
		share->now += SNAT_TICK;
		if (!(share->now & (SNAT_TURN - 1)))
			list_splice_tail_init(snat_slot(share, 1, share->now),
					      &share->due);
	}
}

/* Of two packets at once, the one that has seen a longer time may have been the last */
static void snat_conn_trim(struct ip_vs_conn *cp)
{
	unsigned long latest = jiffies + cp->timeout;

	if (unlikely(time_after(READ_ONCE(cp->timer.expires), latest)))
		WRITE_ONCE(cp->timer.expires, latest);
}

/* Look at some of those whose time may have come. Nobody waits for more than one of them.
 * Returns after how many jiffies it's time to look again, 0 if there are no connections.
 */
static unsigned long snat_share_look(struct snat_share *share)
{
	int left = SNAT_AT_ONCE;
	struct ip_vs_conn *cp;
	unsigned long delay;

	spin_lock_bh(&share->lock);
	/* Without connections it stands still, perhaps since the host was booted */
	if (share->num)
		snat_wheel_turn(share);
	while (left-- && !list_empty(&share->due)) {
		cp = list_first_entry(&share->due, struct ip_vs_conn,
				      snat.filed);
		snat_wheel_take(cp, share);
		if (snat_conn_due(cp)) {
			spin_unlock_bh(&share->lock);
			snat_conn_end(cp);
		} else {
			spin_unlock_bh(&share->lock);
			snat_conn_look(cp);
			spin_lock_bh(&share->lock);
			snat_conn_trim(cp);
			snat_wheel_file(cp, share);
			spin_unlock_bh(&share->lock);
		}
		cond_resched();
		spin_lock_bh(&share->lock);
	}
	delay = !list_empty(&share->due) ? SNAT_PAUSE :
		share->num ? SNAT_TICK : 0;
	spin_unlock_bh(&share->lock);
	return delay;
}

static void snat_wheel_look(struct work_struct *work)
{
	struct ip_vs_snat *snat = container_of(to_delayed_work(work),
					       struct ip_vs_snat, wheel_work);
	unsigned long delay = 0, next;
	int i;

	for (i = 0; i < SNAT_SHARES; i++) {
		next = snat_share_look(&snat->shares[i]);
		if (next && (!delay || next < delay))
			delay = next;
	}
	if (delay == SNAT_PAUSE)
		ip_vs_snat_requeue(&snat->wheel_work, delay);
	else if (delay)
		ip_vs_snat_queue(&snat->wheel_work, delay);
}

/* Setting up */

/**
 * snat_wheel_prepare - prepare for shares of connections
 * @snat:	state of a network namespace
 */
void snat_wheel_prepare(struct ip_vs_snat *snat)
{
	INIT_DELAYED_WORK(&snat->wheel_work, snat_wheel_look);
}

/**
 * snat_wheel_init - set up the shares of connections of a network namespace
 * @snat:	the namespace
 *
 * Return: 0 or a negative error.
 */
int snat_wheel_init(struct ip_vs_snat *snat)
{
	struct snat_share *share;
	int i, kind, level, slot;

	snat->shares = ip_vs_snat_big_alloc(SNAT_SHARES * sizeof(*share));
	if (!snat->shares)
		return -ENOMEM;
	for (i = 0; i < SNAT_SHARES; i++) {
		share = &snat->shares[i];
		spin_lock_init(&share->lock);
		for (kind = 0; kind < SNAT_SPARE_KINDS; kind++)
			INIT_LIST_HEAD(&share->spares[kind]);
		for (level = 0; level < SNAT_WHEEL_LEVELS; level++)
			for (slot = 0; slot < SNAT_WHEEL_SLOTS; slot++)
				INIT_LIST_HEAD(&share->slot[level][slot]);
		INIT_LIST_HEAD(&share->due);
	}
	return 0;
}

/**
 * snat_wheel_cleanup - the opposite of snat_wheel_init()
 * @snat:	the network namespace, it has no connections any more, or was never ready
 */
void snat_wheel_cleanup(struct ip_vs_snat *snat)
{
	cancel_delayed_work_sync(&snat->wheel_work);
	ip_vs_snat_big_free(snat->shares);
	snat->shares = NULL;
}
