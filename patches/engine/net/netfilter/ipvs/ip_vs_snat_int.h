/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IP Virtual Server: what the files of the SNAT engine share.
 *
 * An SNAT connection is an ordinary NAT connection seen from the other end: the
 * client is the remote host, the virtual address is the pool address with the
 * allocated port, and the real server is the inside host. Tools, flushing and
 * counters see it as that. What differs is how it comes into being (a packet
 * in FORWARD that matches the rule), and how it is found: by the full tuple of
 * either direction, in two tables of its own.
 *
 * ip_vs_snat_conn.c	connections, and their limits
 * ip_vs_snat_tab.c	their tables
 * ip_vs_snat_wheel.c	their end
 * ip_vs_snat_pool.c	pool addresses
 * ip_vs_snat_port.c	their ports
 * ip_vs_snat_block.c	blocks of ports that a host has for itself
 * ip_vs_snat_event.c	who had which, for those who keep a log
 * ip_vs_snat_rule.c	who goes out
 * ip_vs_snat_packet.c	hooks, and translation of packets
 * ip_vs_snat_fast.c	a short way for packets
 * ip_vs_snat_icmp.c	ICMP errors
 * ip_vs_snat_tcp.c	states of TCP
 * ip_vs_snat_ctl.c	settings, counters, setting up
 */

#ifndef _IP_VS_SNAT_INT_H
#define _IP_VS_SNAT_INT_H

#include <linux/icmp.h>
#include <linux/ip.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/ratelimit.h>
#include <linux/skbuff.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <linux/workqueue.h>

#include <net/ip_vs.h>
#include <net/ip_vs_snat.h>

/* What the route of a packet depends on, as far as we ask for it */
struct ip_vs_snat_route_key {
	__be32	daddr;
	__be32	saddr;
	int	iif;			/* 0: of this host's own */
	u32	mark;
	__be16	sport;
	__be16	dport;
	u8	protocol;
	u8	tos;
};

#include "ip_vs_snat_compat.h"

/* Devices that a pool can lead out by; more than any gateway has uplinks */
#define SNAT_SCOPE_DEVS		16

#define SNAT_LOCKS		64	/* a power of 2 */
#define SNAT_SHARES		16	/* a power of 2 */
#define SNAT_WHEEL_LEVELS	2
#define SNAT_WHEEL_SLOTS	64	/* a power of 2 */

#define SNAT_ADDR_BITS		12
#define SNAT_HOT_SWEEP		(10 * HZ)	/* maps of no use stay that long */
#define SNAT_HOT_BITS		8

enum snat_counter {
	SNAT_CTR_CREATED,
	SNAT_CTR_PORT_CONFLICTS,
	SNAT_CTR_NEXT_ADDRESS,
	SNAT_CTR_EXHAUSTED,
	SNAT_CTR_BLOCKS_TAKEN,
	SNAT_CTR_NO_BLOCK,
	SNAT_CTR_LIMIT_BLOCKS,
	SNAT_CTR_LIMIT_CONNS,
	SNAT_CTR_LIMIT_HOST,
	SNAT_CTR_EARLY_DROP,
	SNAT_CTR_YIELD_OWN,
	SNAT_CTR_YIELD_SERVICE,
	SNAT_CTR_RST_IGNORED,
	SNAT_CTR_DROP_NO_CONN,
	SNAT_CTR_DROP_NO_POOL,
	SNAT_CTR_DROP_RULE,
	SNAT_CTR_DROP_NO_WAY,
	SNAT_CTR_DROP_POOL_GONE,
	SNAT_CTR_DROP_UNSOLICITED,
	SNAT_CTR_DROP_ICMP_ERROR,
	SNAT_CTR_DROP_OTHER,
	SNAT_CTR_OUT_OF_SCOPE,
	SNAT_CTR_LATE_REPLY,
	SNAT_CTR_ICMP_ERRORS_OUT,
	SNAT_CTR_ICMP_ERRORS_IN,
	SNAT_CTR_FAST_OUT,
	SNAT_CTR_FAST_IN,
	SNAT_CTR_GROWN,
	SNAT_CTR_MAX,
};

/* Directions of packets */
enum snat_dir {
	SNAT_DIR_OUT,
	SNAT_DIR_IN,
	SNAT_DIRS,
};

struct snat_config;
struct ip_vs_snat_rule;
struct snat_pool;
struct snat_block;

/* Where a new connection gets its address from: a service, or a pool by a rule */
struct snat_source {
	struct ip_vs_service	*svc;
	struct ip_vs_snat_rule	*rule;
	struct snat_pool	*pool;
};

struct snat_counters {
	unsigned long	value[SNAT_CTR_MAX];
};

/* Which services have a pool, and rules have pools */
enum snat_svc {
	SNAT_SVC_TCP,
	SNAT_SVC_UDP,
	SNAT_SVC_RULES,
	SNAT_SVC_MAX,
};

/* The devices by which the traffic of a service, or of all rules, leaves for the
 * outside. It's valid as long as neither the routes nor the pools have changed.
 */
struct snat_scope {
	struct rcu_head	rcu_head;
	int		route_gen;
	int		pool_gen;
	struct netns_ipvs *ipvs;
	unsigned long	filled;
	bool		by_default;		/* some of its addresses don't tell */
	bool		is_private;		/* some of them are */
	int		told;			/* how often a device was, again too */
	int		room;
	int		num;
	int		ifindex[2 * SNAT_SCOPE_DEVS];	/* and the cards below */
	int		num_routed;
	int		routed[SNAT_SCOPE_DEVS];	/* by the default route */
};

/* A pool address. It's known as long as a destination has it, and that is as long
 * as it has connections.
 */
struct ip_vs_snat_addr {
	struct rcu_head		rcu_head;
	struct hlist_node	node;
	struct ip_vs_snat	*snat;
	__be32			addr;
	int			users;		/* destinations with it */
	int			active;		/* those that are in a pool */
	struct hlist_head	members;	/* of pools of rules */
	u32			local;		/* see snat_addr_is_local() */
	struct list_head	blocks;		/* of ports, see snat_blocks */
	atomic_t		num_blocks;	/* with those that are made ready */
};

/* What can be lost to make room, in this order */
enum snat_spare {
	SNAT_SPARE_IDLE,	/* nobody has answered, or it has ended */
	SNAT_SPARE_CLOSED,	/* the inside host has closed its side, or left */
	SNAT_SPARE_KINDS,	/* no spare one */
};

/* An inside host that has connections, protected by the lock of its bucket */
struct ip_vs_snat_host {
	struct hlist_node	node;
	__be32			addr;
	unsigned int		conns;
	struct list_head	spares[SNAT_SPARE_KINDS];	/* oldest first */
	struct snat_pairing	*pairings;	/* with members of pools */
};

/* What was seen a moment ago, by a hash of its tuple. A newer entry may take the
 * place of an older one, so nothing may depend on finding it.
 */
struct snat_memo {
	unsigned int	bits;
	u64		slot[];			/* hash << 32 | jiffies */
};

/* A share of all connections: those that there is little to lose with, oldest first, and
 * all by their time, see ip_vs_snat_wheel.c. There are several only to have several
 * locks: they get connections in turn, and are emptied in turn.
 */
struct snat_share {
	spinlock_t		lock;		/* protects all of it */
	unsigned int		num;		/* connections that are filed */
	unsigned long		now;		/* next tick, in jiffies */
	struct list_head	spares[SNAT_SPARE_KINDS];
	struct list_head	due;		/* out of the slots */
	struct list_head	slot[SNAT_WHEEL_LEVELS][SNAT_WHEEL_SLOTS];
} ____cacheline_aligned_in_smp;

struct snat_lock {
	spinlock_t	lock;		/* protects every 64th bucket */
} ____cacheline_aligned_in_smp;

/* Connections by a hash of their tuples on one side. While a table grows there is a next
 * one, see ip_vs_snat_tab.c.
 */
struct snat_tab {
	struct hlist_head	*bucket;
	u32			mask;
	struct snat_tab __rcu	*next;
};

/* Settings, times in jiffies */
struct snat_settings {
	int	tcp_timeout;
	int	tcp_transitory_timeout;
	int	udp_timeout;
	int	udp_unanswered_timeout;
	int	icmp_timeout;
	int	max_conns;
	int	max_conns_per_host;
	int	one_armed;
	int	fastpath;			/* how long a way is known, 0: off */
	int	block_rest;			/* until another host gets a block */
	u32	port_range;			/* first << 16 | last */
};

/* State of a network namespace */
struct ip_vs_snat {
	/* Read by every packet, hardly ever written */
	struct snat_tab __rcu	*tab[SNAT_DIRS];	/* by inside tuple, and outside */
	u32			hash_key[4];		/* of their hashes */
	u64			key_fold;	/* odd */
	u32			conn_key;	/* see ip_vs_snat_conn_hashkey() */
	struct hlist_head	*addr_tab;
	struct snat_counters __percpu *counters;
	struct snat_settings	set;
	struct snat_scope __rcu	*scope[SNAT_SVC_MAX];
	struct snat_config __rcu *config;	/* of rules, if there is any */

#ifdef IP_VS_SNAT_FASTPATH
	/* Connections of services with short ways */
	struct hlist_head	*svc_tab[SNAT_DIRS];
	u32			svc_mask;	/* of both tables */
	const int		*svc_timeout[2];	/* of TCP and UDP */
	atomic_t		svc_linked;	/* nodes in them */
#endif

	/* Forgotten connections: UDP of services, TCP of their servers' own */
	struct snat_memo	*late;
	struct snat_memo	*refused;	/* flows that found no port */
	struct hlist_head	*host_tab;
	unsigned int		host_bits;
	struct hlist_head	*block_tab;	/* by inside host */
	struct hlist_head	*hot_tab;
	struct snat_share	*shares;

#ifdef CONFIG_SYSCTL
	struct ctl_table_header	*sysctl_hdr;
	struct ctl_table	*sysctl_tbl;
#endif

	/* Written by every new connection */
	atomic_t		conns ____cacheline_aligned_in_smp;
	int			grow_at;	/* so many, the tables have to grow */
	atomic_t		unanswered;
	atomic_t		num_hot;	/* maps of ports, with those being made */
	atomic_t		next_share;	/* for a new connection */
	atomic_t		oldest_share;	/* to take one from */

	struct delayed_work	wheel_work;

	struct mutex		tabs_lock;	/* for a step through a table */
	struct mutex		grow_lock;	/* protects tab_bits */
	int			tab_bits;
	struct delayed_work	grow_work;

	struct nf_hook_ops	hook;
#ifdef IP_VS_SNAT_FASTPATH
	struct mutex		fast_lock;	/* protects all of these */
	bool			fast_hooked;
	bool			fast_ended;
	struct nf_hook_ops	learn_hook;
	struct notifier_block	fast_notifier;
	struct list_head	fast_devs;	/* under RTNL */
	struct snat_lock	svc_locks[SNAT_LOCKS];	/* buckets of svc_tab */
#endif

	/* Written when something is configured */
	struct mutex		config_lock;	/* protects all of these */
	u32			config_gen;
	u32			last_id;	/* of rules */
	u64			last_age;
	struct list_head	drafts;		/* and by scope_lock */
	struct work_struct	drafts_work;
	struct delayed_work	garbage_work;
	struct snat_config	*garbage;	/* protected by scope_lock */

	atomic_t		pool_gen ____cacheline_aligned_in_smp;
	spinlock_t		scope_lock;	/* updates of scope, addr_tab */
	unsigned int		num_dests;	/* of services and pools, under that */
	spinlock_t		hot_lock;	/* protects updates of hot_tab */
	unsigned long		hot_swept;	/* when there was no room, in jiffies */
	spinlock_t		block_lock;	/* who has which block */
	spinlock_t		event_lock;	/* order of events */
	u64			event_seq;	/* of the last one */

	struct snat_lock	locks[SNAT_LOCKS];	/* buckets of tab[] */
	struct snat_lock	host_locks[SNAT_LOCKS];
};

/* A flow as one side of the gateway sees it. The local end is the inside host
 * on the inside, and the pool address on the outside. The identifier of an ICMP
 * echo is its local port, and there is no remote one.
 */
struct snat_tuple {
	u8	protocol;
	__be32	laddr;
	__be32	raddr;
	__be16	lport;
	__be16	rport;
};

/* What a new connection is to have */
struct snat_claim {
	const struct snat_tuple	*inside;
	const struct snat_tuple	*outside;
	u32			outside_hash;
	struct ip_vs_snat_host	*host;
};

/* Places that have nothing to do with each other, from a random start (xorshift64) */
static inline u32 snat_next_place(u64 *state, u32 num)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return reciprocal_scale((u32)(*state >> 32), num);
}

static inline void snat_count(struct netns_ipvs *ipvs, enum snat_counter which)
{
	this_cpu_inc(ipvs->snat->counters->value[which]);
}

static inline void snat_count_add(struct netns_ipvs *ipvs,
				  enum snat_counter which, unsigned long num)
{
	this_cpu_add(ipvs->snat->counters->value[which], num);
}

/* NH, the universal hash of UMAC (RFC 4418, 5.2), of four words, and multiply-shift
 * to fold it: with secret keys, nobody can choose tuples that share a bucket.
 */
static inline u32 snat_hash(const struct ip_vs_snat *snat,
			    const struct snat_tuple *t, __be16 lport)
{
	u32 ports = (u32)(__force u16)t->rport << 16 | (__force u16)lport;
	u64 hash = (u64)((__force u32)t->raddr + snat->hash_key[0]) *
		   (u32)(ports + snat->hash_key[1]);

	hash += (u64)((__force u32)t->laddr + snat->hash_key[2]) *
		(u32)(t->protocol + snat->hash_key[3]);
	return hash * snat->key_fold >> 32;
}

static inline u32 snat_out_hash(const struct ip_vs_snat *snat,
				const struct snat_tuple *t)
{
	return snat_hash(snat, t, t->lport);
}

/* Bucket of an inside host */
static inline u32 snat_host_hash(const struct ip_vs_snat *snat, __be32 addr)
{
	return (u32)((__force u32)addr * snat->key_fold >> 32) >>
	       (32 - snat->host_bits);
}

/* The outside tuples of one pool address and one remote port lie side by side, in
 * the order of their local ports: who looks for a free one goes from bucket to
 * bucket, and their chains are as even as can be.
 */
static inline u32 snat_in_hash(const struct ip_vs_snat *snat,
			       const struct snat_tuple *t)
{
	return snat_hash(snat, t, 0) + ntohs(t->lport);
}

static inline bool snat_out_match(const struct ip_vs_conn *cp,
				  const struct snat_tuple *t)
{
	return cp->dport == t->lport && cp->cport == t->rport &&
	       cp->daddr.ip == t->laddr && cp->caddr.ip == t->raddr &&
	       cp->protocol == t->protocol;
}

static inline bool snat_in_match(const struct ip_vs_conn *cp,
				 const struct snat_tuple *t)
{
	return cp->vport == t->lport && cp->cport == t->rport &&
	       cp->vaddr.ip == t->laddr && cp->caddr.ip == t->raddr &&
	       cp->protocol == t->protocol;
}

static inline void snat_tuple_of_conn(struct snat_tuple *t,
				      const struct ip_vs_conn *cp, bool inside)
{
	t->protocol = cp->protocol;
	t->raddr = cp->caddr.ip;
	t->rport = cp->cport;
	t->laddr = inside ? cp->daddr.ip : cp->vaddr.ip;
	t->lport = inside ? cp->dport : cp->vport;
}

static inline struct hlist_node *snat_conn_node(struct ip_vs_conn *cp,
						enum snat_dir dir)
{
	return dir == SNAT_DIR_OUT ? &cp->snat_out : &cp->snat_in;
}

static inline struct ip_vs_conn *snat_conn_of_node(struct hlist_node *node,
						   enum snat_dir dir)
{
	return dir == SNAT_DIR_OUT ?
	       hlist_entry(node, struct ip_vs_conn, snat_out) :
	       hlist_entry(node, struct ip_vs_conn, snat_in);
}

/* The tables in which a connection may be, one after the other, under RCU lock */

static inline struct snat_tab *snat_tab_first(const struct ip_vs_snat *snat,
					      enum snat_dir dir)
{
	return rcu_dereference(snat->tab[dir]);
}

static inline struct snat_tab *snat_tab_next(const struct snat_tab *tab)
{
	/* What was moved is in the next one before it's out of this one */
	smp_rmb();
	return rcu_dereference(tab->next);
}

static inline struct hlist_head *snat_tab_bucket(struct snat_tab *tab, u32 hash)
{
	return &tab->bucket[hash & tab->mask];
}

/* Lookups are done under RCU lock, and take a reference */

static inline struct ip_vs_conn *
snat_out_get_hashed(const struct ip_vs_snat *snat, const struct snat_tuple *t,
		    u32 hash)
{
	struct snat_tab *tab = snat_tab_first(snat, SNAT_DIR_OUT);
	struct ip_vs_conn *cp;

	for (; tab; tab = snat_tab_next(tab)) {
		hlist_for_each_entry_rcu(cp, snat_tab_bucket(tab, hash),
					 snat_out) {
			if (snat_out_match(cp, t) && __ip_vs_conn_get(cp))
				return cp;
		}
	}
	return NULL;
}

static inline struct ip_vs_conn *snat_out_get(const struct ip_vs_snat *snat,
					      const struct snat_tuple *t)
{
	return snat_out_get_hashed(snat, t, snat_out_hash(snat, t));
}

static inline struct ip_vs_conn *snat_in_get(const struct ip_vs_snat *snat,
					     const struct snat_tuple *t)
{
	u32 hash = snat_in_hash(snat, t);
	struct snat_tab *tab = snat_tab_first(snat, SNAT_DIR_IN);
	struct ip_vs_conn *cp;

	for (; tab; tab = snat_tab_next(tab)) {
		hlist_for_each_entry_rcu(cp, snat_tab_bucket(tab, hash),
					 snat_in) {
			if (snat_in_match(cp, t) && __ip_vs_conn_get(cp))
				return cp;
		}
	}
	return NULL;
}

/* Is the outside tuple with this hash in use? */
static inline bool snat_in_taken(const struct ip_vs_snat *snat,
				 const struct snat_tuple *t, u32 hash)
{
	struct snat_tab *tab = snat_tab_first(snat, SNAT_DIR_IN);
	struct ip_vs_conn *cp;

	for (; tab; tab = snat_tab_next(tab)) {
		hlist_for_each_entry_rcu(cp, snat_tab_bucket(tab, hash),
					 snat_in) {
			if (snat_in_match(cp, t))
				return true;
		}
	}
	return false;
}

/* The pool address, or what is left of one as long as it has connections */
static inline struct ip_vs_snat_addr *
snat_addr_find_in(const struct hlist_head *tab, __be32 addr)
{
	struct ip_vs_snat_addr *a;

	hlist_for_each_entry_rcu(a, &tab[hash_32((__force u32)addr,
						 SNAT_ADDR_BITS)], node) {
		if (a->addr == addr)
			return a;
	}
	return NULL;
}

static inline struct ip_vs_snat_addr *
snat_addr_find(const struct ip_vs_snat *snat, __be32 addr)
{
	return snat_addr_find_in(snat->addr_tab, addr);
}

static inline struct snat_share *snat_share_of(const struct ip_vs_conn *cp)
{
	return &ip_vs_snat_ipvs(cp)->snat->shares[cp->snat.share];
}

/* Nobody has answered yet: there is nothing to lose */
static inline bool snat_conn_unanswered(const struct ip_vs_conn *cp)
{
	return READ_ONCE(cp->snat.unanswered);
}

/* What the worker has noted of a connection without states: that it has looked, and the
 * inside host has sent nothing since; and that this was so when it looked once more. These
 * have the place of what is known of a FIN from outside.
 */
static inline bool snat_conn_quiet(const struct ip_vs_conn *cp)
{
	return READ_ONCE(cp->snat.tcp_fin_seen);
}

static inline bool snat_conn_left(const struct ip_vs_conn *cp)
{
	return READ_ONCE(cp->snat.tcp_fin);
}

/* The flags that make a TCP connection change its state */
static inline __be32 snat_tcp_flags(const struct tcphdr *th)
{
	return tcp_flag_word(th) & (TCP_FLAG_SYN | TCP_FLAG_ACK |
				    TCP_FLAG_RST | TCP_FLAG_FIN);
}

static inline bool snat_is_syn(const struct sk_buff *skb, unsigned int thoff)
{
	struct tcphdr _th, *th;

	th = skb_header_pointer(skb, thoff, sizeof(_th), &_th);
	return th && snat_tcp_flags(th) == TCP_FLAG_SYN;
}

/* ip_vs_snat_wheel.c */
void snat_wheel_file(struct ip_vs_conn *cp, struct snat_share *share);
void snat_conn_refile(struct ip_vs_conn *cp);
void snat_conn_end(struct ip_vs_conn *cp);
void snat_conn_end_filed(struct ip_vs_conn *cp);
void snat_wheel_prepare(struct ip_vs_snat *snat);
int snat_wheel_init(struct ip_vs_snat *snat);
void snat_wheel_cleanup(struct ip_vs_snat *snat);

/* A connection has carried a packet: its time begins anew. Its timer is never armed, but
 * has the time, as those of other connections, for all who show it.
 */
static inline void snat_conn_used(struct ip_vs_conn *cp)
{
	unsigned long expires = jiffies + cp->timeout;
	unsigned long before = READ_ONCE(cp->timer.expires);

	if (expires == before)
		return;
	WRITE_ONCE(cp->timer.expires, expires);
	/* If it comes later than it did, the worker finds out */
	if (unlikely(time_before(expires, before)))
		snat_conn_refile(cp);
}

/* ip_vs_snat_conn.c */
void snat_conn_retire(struct ip_vs_conn *cp);
void snat_conn_kill(struct ip_vs_conn *cp);
void snat_conn_answered(struct ip_vs_conn *cp);
void snat_conn_heard(struct ip_vs_conn *cp);
void snat_conn_look(struct ip_vs_conn *cp);
void snat_conn_update_spare(struct ip_vs_conn *cp);
struct ip_vs_snat_host *snat_conn_admit(struct netns_ipvs *ipvs,
					const struct snat_tuple *inside,
					unsigned int host_conns);
void snat_conn_dismiss(struct ip_vs_snat *snat, struct ip_vs_snat_host *host);
struct ip_vs_conn *snat_conn_insert(struct ip_vs_conn *cp,
				    const struct snat_claim *claim,
				    bool *taken);
spinlock_t *snat_host_lock_of(struct ip_vs_snat *snat, __be32 addr);
struct ip_vs_snat_host *snat_host_find(struct ip_vs_snat *snat, __be32 addr);
void snat_memo_put(struct ip_vs_snat *snat, struct snat_memo *memo,
		   const struct snat_tuple *t);
bool snat_memo_has(struct ip_vs_snat *snat, const struct snat_memo *memo,
		   const struct snat_tuple *t, unsigned long age);
int snat_default_max_conns(struct netns_ipvs *ipvs);
struct hlist_head *snat_tab_alloc(unsigned int bits);
void snat_hash_init(struct ip_vs_snat *snat);
int snat_conn_init_net(struct netns_ipvs *ipvs);
void snat_conn_cleanup_net(struct ip_vs_snat *snat);

/* ip_vs_snat_tab.c */
#define SNAT_BUCKETS_AT_ONCE	1024	/* until others have their turn */

int snat_default_tab_bits(struct netns_ipvs *ipvs);
bool snat_in_insert(struct ip_vs_snat *snat, struct ip_vs_conn *cp,
		    const struct snat_tuple *t, u32 hash);
struct ip_vs_conn *snat_out_insert(struct ip_vs_snat *snat,
				   struct ip_vs_conn *cp,
				   const struct snat_tuple *t);
bool snat_in_unlink(struct ip_vs_snat *snat, struct ip_vs_conn *cp);
void snat_out_unlink(struct ip_vs_snat *snat, struct ip_vs_conn *cp);
struct snat_tab *snat_tabs_hold(struct ip_vs_snat *snat, enum snat_dir dir);
void snat_tabs_release(struct ip_vs_snat *snat);
struct hlist_head *snat_tabs_bucket(struct snat_tab *tab, u32 step, u32 nth);
u32 snat_tabs_step(const struct snat_tab *tab, u32 step);
void snat_tabs_walk(struct ip_vs_snat *snat, enum snat_dir dir,
		    void (*fn)(struct hlist_head *bucket, void *data),
		    void *data);
void snat_tabs_prepare(struct ip_vs_snat *snat);
int snat_tabs_init(struct netns_ipvs *ipvs);
void snat_tabs_cleanup(struct ip_vs_snat *snat);

/* ip_vs_snat_pool.c */
struct ip_vs_dest *snat_first_dest(struct netns_ipvs *ipvs,
				   const struct snat_source *source,
				   struct sk_buff *skb,
				   const struct snat_tuple *inside, u32 *place);
struct ip_vs_dest *snat_next_dest(const struct snat_source *source,
				  struct ip_vs_dest *dest, u32 *place);

bool snat_gives_port(const struct ip_vs_snat *snat, __be32 addr, u16 port);
void snat_pair(struct ip_vs_snat *snat, const struct snat_pool *pool,
	       __be32 inside, struct ip_vs_dest *dest);
void snat_host_unpair(struct ip_vs_snat_host *host);

/* ip_vs_snat_port.c */
struct ip_vs_conn *snat_conn_create(struct netns_ipvs *ipvs,
				    const struct snat_source *source,
				    struct sk_buff *skb,
				    const struct snat_tuple *inside,
				    int ifindex);
void snat_hot_port_taken(struct ip_vs_snat *snat, const struct snat_tuple *t);
void snat_hot_port_free(struct ip_vs_snat *snat, const struct snat_tuple *t);
void snat_hot_flush(struct ip_vs_snat *snat);
void __snat_complain(const struct snat_tuple *inside, const char *what);

/* Log that a flow was refused. Each reason has a rate limit of its own, so that one
 * does not hide the other. Who is no administrator of this host does not write its log.
 */
#define snat_complain(ipvs, inside, what)				\
do {									\
	static DEFINE_RATELIMIT_STATE(_rs, DEFAULT_RATELIMIT_INTERVAL,	\
				      DEFAULT_RATELIMIT_BURST);		\
									\
	if (ip_vs_snat_trusted(ipvs) && __ratelimit(&_rs))		\
		__snat_complain(inside, what);				\
} while (0)

/* ip_vs_snat_block.c */
void snat_block_put(struct netns_ipvs *ipvs, struct snat_block *block);
void snat_block_give_up(struct netns_ipvs *ipvs, struct snat_block *block);

/* ip_vs_snat_event.c */
void snat_conn_tell(struct ip_vs_conn *cp, u32 kind);

/* ip_vs_snat_rule.c */
enum snat_action {
	SNAT_ACT_PASS,		/* not ours, leave it alone */
	SNAT_ACT_DROP,
	SNAT_ACT_TRANSLATE,	/* with an address of the source */
};

bool snat_from_server(struct netns_ipvs *ipvs, const struct snat_tuple *t);
bool snat_is_decided(struct netns_ipvs *ipvs, const struct sk_buff *skb,
		     const struct snat_tuple *t, const struct net_device *in,
		     const struct net_device *out);
bool snat_leads_past(struct netns_ipvs *ipvs, const struct iphdr *about,
		     __be32 router, const struct net_device *dev);
bool snat_from_outside(struct netns_ipvs *ipvs, const struct sk_buff *skb,
		       const struct net_device *in,
		       const struct net_device *out);
enum snat_action snat_match(struct netns_ipvs *ipvs, struct sk_buff *skb,
			    unsigned int thoff, const struct snat_tuple *t,
			    const struct net_device *in,
			    const struct net_device *out,
			    struct snat_source *source);
enum snat_action snat_match_lost(struct netns_ipvs *ipvs, struct sk_buff *skb,
				 const struct snat_tuple *about,
				 const struct net_device *in,
				 const struct net_device *out,
				 enum snat_counter which);
enum snat_action snat_match_other(struct netns_ipvs *ipvs, struct sk_buff *skb,
				  const struct net_device *in,
				  const struct net_device *out);
void snat_source_put(struct snat_source *source);

/* ip_vs_snat_ctl.c */
int snat_enable(struct netns_ipvs *ipvs);

/* ip_vs_snat_config.c */
void snat_config_init(struct ip_vs_snat *snat);
void snat_config_cleanup(struct netns_ipvs *ipvs);
void snat_conn_bind_rule(struct ip_vs_conn *cp, struct ip_vs_snat_rule *rule);
void snat_conn_unbind_rule(struct ip_vs_conn *cp);

/* ip_vs_snat_fast.c */
#ifdef IP_VS_SNAT_FASTPATH
void snat_fast_init(struct ip_vs_snat *snat);
int snat_fast_update(struct netns_ipvs *ipvs);
void snat_fast_stop(struct netns_ipvs *ipvs);
void snat_fast_forget(struct ip_vs_conn *cp);
void snat_fast_yield(struct ip_vs_snat *snat, const struct ip_vs_conn *cp);
void snat_fast_cleanup(struct ip_vs_snat *snat);
#else
static inline void snat_fast_init(struct ip_vs_snat *snat) { }
static inline void snat_fast_cleanup(struct ip_vs_snat *snat) { }
static inline void snat_fast_stop(struct netns_ipvs *ipvs) { }
static inline void snat_fast_forget(struct ip_vs_conn *cp) { }
static inline void snat_fast_yield(struct ip_vs_snat *snat,
				   const struct ip_vs_conn *cp)
{
}
#endif

/* ip_vs_snat_packet.c */
bool snat_tuple_of_packet(struct snat_tuple *t, const struct sk_buff *skb,
			  unsigned int thoff, const struct iphdr *iph,
			  bool out);
bool snat_mangle(struct sk_buff *skb, const struct ip_vs_conn *cp,
		 unsigned int thoff, bool out);
void snat_account(struct ip_vs_conn *cp, unsigned int len, bool out);
bool snat_redirect(struct sk_buff *skb, const struct ip_vs_conn *cp);

/* The last thing to do with a translated packet */
static inline void snat_finish(struct sk_buff *skb, bool out)
{
	/* Keep the rest of IPVS off the packet */
	skb->ipvs_property = 1;
	ip_vs_snat_ct_bind(skb, out);
}

int snat_hook_register(struct netns_ipvs *ipvs);
void snat_hook_unregister(struct netns_ipvs *ipvs);

/* ip_vs_snat_icmp.c */
bool snat_is_icmp_error(const struct sk_buff *skb, unsigned int thoff);
bool snat_icmp_about(const struct sk_buff *skb, unsigned int thoff,
		     struct snat_tuple *t);
bool snat_icmp_error(struct netns_ipvs *ipvs, struct sk_buff *skb,
		     unsigned int thoff, bool out, unsigned int *verdict);
unsigned int snat_icmp_own_error(struct netns_ipvs *ipvs, struct sk_buff *skb,
				 unsigned int thoff);

/* ip_vs_snat_tcp.c */
bool snat_tcp_ended(const struct ip_vs_conn *cp);
bool snat_tcp_over(const struct ip_vs_conn *cp);
bool snat_tcp_closed(const struct ip_vs_conn *cp);
bool snat_tcp_data(struct ip_vs_conn *cp, const struct sk_buff *skb,
		   unsigned int thoff, bool out);
void snat_tcp_packet(struct ip_vs_conn *cp, const struct sk_buff *skb,
		     unsigned int thoff, bool out);

#endif /* _IP_VS_SNAT_INT_H */
