// SPDX-License-Identifier: GPL-2.0-or-later
/* IP Virtual Server: SNAT connections, and their limits */

#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/random.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include <linux/ip_vs_snat.h>

#include "ip_vs_snat_int.h"

/* A connection needs about 400 bytes; this is one for each of so many bytes */
#define SNAT_BYTES_PER_CONN		8192
#define SNAT_MIN_CONNS			16384
/* In namespaces of users that are no administrators of this host */
#define SNAT_USER_CONNS			4096
#define SNAT_MIN_HOST_BITS		8
/* A refusal is remembered for a moment only */
#define SNAT_REFUSED_BITS		13

/**
 * ip_vs_snat_conn_hashkey - hash of an SNAT connection for the connection table
 * @cp:		the connection
 *
 * The stock hash has only the remote address and port in it. The connections
 * of all inside hosts to one server must not end up in one bucket. Everybody can
 * read the list of connections, whose order must not tell the keys of our tables.
 *
 * Return: the hash, of 32 bits.
 */
u32 ip_vs_snat_conn_hashkey(const struct ip_vs_conn *cp)
{
	return jhash_3words((__force u32)cp->caddr.ip,
			    (__force u32)cp->vaddr.ip,
			    (__force u32)cp->cport << 16 |
			    (__force u32)cp->vport,
			    ip_vs_snat_ipvs(cp)->snat->conn_key);
}

/* Inside hosts */

static spinlock_t *snat_host_lock(struct ip_vs_snat *snat, u32 hash)
{
	return &snat->host_locks[hash & (SNAT_LOCKS - 1)].lock;
}

/* Called under the lock of the bucket, as what follows */
static struct ip_vs_snat_host *snat_host_get(struct ip_vs_snat *snat,
					     __be32 addr, u32 hash)
{
	struct ip_vs_snat_host *host;
	int kind;

	ip_vs_snat_hlist_for_each(host, &snat->host_tab[hash], node) {
		if (host->addr == addr)
			return host;
	}
	host = kmalloc(sizeof(*host), GFP_ATOMIC);
	if (host) {
		host->addr = addr;
		host->conns = 0;
		host->pairings = NULL;
		for (kind = 0; kind < SNAT_SPARE_KINDS; kind++)
			INIT_LIST_HEAD(&host->spares[kind]);
		hlist_add_head(&host->node, &snat->host_tab[hash]);
	}
	return host;
}

/**
 * snat_host_lock_of - what protects an inside host
 * @snat:	the network namespace
 * @addr:	address of the host
 */
spinlock_t *snat_host_lock_of(struct ip_vs_snat *snat, __be32 addr)
{
	return snat_host_lock(snat, snat_host_hash(snat, addr));
}

/**
 * snat_host_find - find an inside host, under its lock
 * @snat:	the network namespace
 * @addr:	address of the host
 *
 * Return: the host or NULL if it has no connections.
 */
struct ip_vs_snat_host *snat_host_find(struct ip_vs_snat *snat, __be32 addr)
{
	struct ip_vs_snat_host *host;

	ip_vs_snat_hlist_for_each(host,
				  &snat->host_tab[snat_host_hash(snat, addr)],
				  node) {
		if (host->addr == addr)
			return host;
	}
	return NULL;
}

static void snat_host_put(struct ip_vs_snat_host *host)
{
	if (host->conns)
		return;
	hlist_del(&host->node);
	snat_host_unpair(host);
	kfree(host);
}

/* The oldest connection that there is little to lose with, with a reference */
static struct ip_vs_conn *snat_host_victim(struct ip_vs_snat_host *host)
{
	struct ip_vs_conn *cp;
	int kind;

	for (kind = 0; kind < SNAT_SPARE_KINDS; kind++) {
		list_for_each_entry(cp, &host->spares[kind], snat.host_spare) {
			if (__ip_vs_conn_get(cp))
				return cp;
		}
	}
	return NULL;
}

/* What is lost with a connection? One that was retired is on no list any more. */
static enum snat_spare snat_conn_spare(const struct ip_vs_conn *cp)
{
	if (hlist_unhashed_lockless(&cp->snat_in))
		return SNAT_SPARE_KINDS;
	if (snat_conn_unanswered(cp))
		return SNAT_SPARE_IDLE;
	if (cp->protocol != IPPROTO_TCP)
		return snat_conn_left(cp) ? SNAT_SPARE_CLOSED :
					    SNAT_SPARE_KINDS;
	if (snat_tcp_ended(cp))
		return SNAT_SPARE_IDLE;
	return snat_tcp_closed(cp) ? SNAT_SPARE_CLOSED : SNAT_SPARE_KINDS;
}

static void snat_list_update(struct list_head *entry, struct list_head *lists,
			     enum snat_spare kind)
{
	if (kind < SNAT_SPARE_KINDS)
		list_move_tail(entry, &lists[kind]);
	else
		list_del_init(entry);
}

/* Each list is brought up to date under its lock, so the last one who changes the
 * connection sees to it, and the host is there as long as the connection is known.
 */
static void snat_conn_update_host(struct ip_vs_conn *cp)
{
	struct ip_vs_snat *snat = ip_vs_snat_ipvs(cp)->snat;
	u32 hash = snat_host_hash(snat, cp->daddr.ip);

	spin_lock(snat_host_lock(snat, hash));
	snat_list_update(&cp->snat.host_spare, cp->snat.host->spares,
			 snat_conn_spare(cp));
	spin_unlock(snat_host_lock(snat, hash));
}

static void snat_conn_update_share(struct ip_vs_conn *cp,
				   struct snat_share *share)
{
	snat_list_update(&cp->snat.spare, share->spares, snat_conn_spare(cp));
}

/**
 * snat_conn_update_spare - note whether there is little to lose with a connection
 * @cp:		the connection, that has changed
 */
void snat_conn_update_spare(struct ip_vs_conn *cp)
{
	struct snat_share *share = snat_share_of(cp);

	snat_conn_update_host(cp);
	spin_lock(&share->lock);
	snat_conn_update_share(cp, share);
	spin_unlock(&share->lock);
}

/**
 * snat_conn_answered - the remote host has answered
 * @cp:		the connection
 */
void snat_conn_answered(struct ip_vs_conn *cp)
{
	struct ip_vs_snat *snat = ip_vs_snat_ipvs(cp)->snat;
	bool first;

	spin_lock(&cp->lock);
	first = cp->snat.unanswered;
	WRITE_ONCE(cp->snat.unanswered, false);
	spin_unlock(&cp->lock);
	if (first) {
		atomic_dec(&snat->unanswered);
		snat_conn_update_spare(cp);
	}
}

/* Note whether the inside host has been silent. Returns whether it has left, or has come
 * back.
 */
static bool snat_conn_note(struct ip_vs_conn *cp, bool silent)
{
	bool left, before;

	spin_lock(&cp->lock);
	before = snat_conn_left(cp);
	left = silent && snat_conn_quiet(cp);
	WRITE_ONCE(cp->snat.tcp_fin_seen, silent);
	WRITE_ONCE(cp->snat.tcp_fin, left);
	spin_unlock(&cp->lock);
	return left != before;
}

/**
 * snat_conn_heard - the inside host has sent something, after it was quiet
 * @cp:		the connection, not of TCP
 */
void snat_conn_heard(struct ip_vs_conn *cp)
{
	if (snat_conn_note(cp, false))
		snat_conn_update_spare(cp);
}

/**
 * snat_conn_look - note whether the inside host has sent something since the last time
 * @cp:		the connection, that is not filed
 *
 * The remote host, too, keeps a connection by what it sends. If the inside host has left,
 * that must not keep others, or its own new ones, out for ever.
 */
void snat_conn_look(struct ip_vs_conn *cp)
{
	if (cp->protocol == IPPROTO_TCP || snat_conn_unanswered(cp))
		return;
	local_bh_disable();
	if (snat_conn_note(cp, true))
		snat_conn_update_spare(cp);
	local_bh_enable();
}

/* Limits */

/* The oldest one of a list of spare connections, with a reference */
static struct ip_vs_conn *snat_share_oldest(struct snat_share *share,
					    enum snat_spare kind)
{
	struct ip_vs_conn *cp, *found = NULL;

	if (list_empty(&share->spares[kind]))
		return NULL;
	spin_lock(&share->lock);
	list_for_each_entry(cp, &share->spares[kind], snat.spare) {
		if (!__ip_vs_conn_get(cp))
			continue;
		list_del_init(&cp->snat.spare);
		found = cp;
		break;
	}
	spin_unlock(&share->lock);
	return found;
}

/* Give up a connection that there is little to lose with: an old one, so that who
 * fills the table harms himself before those who wait for an answer.
 */
static bool snat_early_drop(struct netns_ipvs *ipvs)
{
	struct ip_vs_snat *snat = ipvs->snat;
	u32 turn = atomic_inc_return(&snat->oldest_share);
	struct ip_vs_conn *cp;
	int i;

	for (i = 0; i < SNAT_SPARE_KINDS * SNAT_SHARES; i++) {
		cp = snat_share_oldest(&snat->shares[(turn + i) % SNAT_SHARES],
				       i / SNAT_SHARES);
		if (!cp)
			continue;
		snat_conn_retire(cp);
		snat_count(ipvs, SNAT_CTR_EARLY_DROP);
		return true;
	}
	return false;
}

/* Count one more connection of the host, at the expense of an older one if need
 * be. Returns the host, or NULL and the reason.
 */
static struct ip_vs_snat_host *snat_host_admit(struct netns_ipvs *ipvs,
					       __be32 addr, unsigned int limit,
					       enum snat_counter *why)
{
	struct ip_vs_snat *snat = ipvs->snat;
	u32 hash = snat_host_hash(snat, addr);
	struct ip_vs_conn *victim = NULL;
	struct ip_vs_snat_host *host;

	spin_lock(snat_host_lock(snat, hash));
	host = snat_host_get(snat, addr, hash);
	if (!host) {
		*why = SNAT_CTR_DROP_OTHER;
		goto unlock;
	}
	if (limit && host->conns >= limit) {
		victim = snat_host_victim(host);
		if (!victim) {
			*why = SNAT_CTR_LIMIT_HOST;
			snat_host_put(host);
			host = NULL;
			goto unlock;
		}
	}
	host->conns++;

unlock:
	spin_unlock(snat_host_lock(snat, hash));
	if (victim) {
		snat_conn_retire(victim);
		snat_count(ipvs, SNAT_CTR_EARLY_DROP);
	}
	return host;
}

static void snat_host_leave(struct ip_vs_snat *snat,
			    struct ip_vs_snat_host *host)
{
	u32 hash = snat_host_hash(snat, host->addr);

	spin_lock(snat_host_lock(snat, hash));
	host->conns--;
	snat_host_put(host);
	spin_unlock(snat_host_lock(snat, hash));
}

/**
 * snat_conn_admit - may an inside host have one more connection?
 * @ipvs:	the network namespace
 * @inside:	the flow
 * @host_conns:	the most connections that the host may have, 0 for the setting
 *
 * If so, it's counted already: the caller has to insert the connection, or to
 * call snat_conn_dismiss(). At a limit, the oldest connection goes that nobody has
 * answered or that its inside host has closed or left: of the host, or of all hosts. What
 * is established is never given up.
 *
 * Return: the host, or NULL if the flow has to be refused, and that is counted.
 */
struct ip_vs_snat_host *snat_conn_admit(struct netns_ipvs *ipvs,
					const struct snat_tuple *inside,
					unsigned int host_conns)
{
	struct ip_vs_snat *snat = ipvs->snat;
	enum snat_counter why = SNAT_CTR_LIMIT_CONNS;
	struct ip_vs_snat_host *host;
	int conns;

	host = snat_host_admit(ipvs, inside->laddr, host_conns ? :
			       READ_ONCE(snat->set.max_conns_per_host), &why);
	if (!host)
		goto refuse;
	conns = atomic_inc_return(&snat->conns);
	if (unlikely(conns > READ_ONCE(snat->grow_at)))
		ip_vs_snat_queue(&snat->grow_work, 0);
	if (likely(conns <= READ_ONCE(snat->set.max_conns)))
		return host;
	if (snat_early_drop(ipvs))
		return host;

	snat_conn_dismiss(snat, host);
refuse:
	snat_count(ipvs, why);
	if (why == SNAT_CTR_LIMIT_CONNS)
		snat_complain(ipvs, inside, "table full");
	else if (why == SNAT_CTR_LIMIT_HOST)
		snat_complain(ipvs, inside, "too many connections");
	return NULL;
}

/**
 * snat_conn_dismiss - take back what snat_conn_admit() has counted
 * @snat:	the network namespace
 * @host:	the inside host
 */
void snat_conn_dismiss(struct ip_vs_snat *snat, struct ip_vs_snat_host *host)
{
	atomic_dec(&snat->conns);
	snat_host_leave(snat, host);
}

/* Connections */

static int snat_xmit(IP_VS_SNAT_XMIT_PARAMS)
{
	kfree_skb(skb);
	return NF_STOLEN;
}

static int snat_first_timeout(const struct snat_settings *set, u8 protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
		return READ_ONCE(set->tcp_transitory_timeout);
	case IPPROTO_UDP:
		return READ_ONCE(set->udp_unanswered_timeout);
	default:
		return READ_ONCE(set->icmp_timeout);
	}
}

/**
 * ip_vs_snat_conn_init - set up what is special in a new SNAT connection
 * @cp:		the connection, that nobody else sees yet
 */
void ip_vs_snat_conn_init(struct ip_vs_conn *cp)
{
	struct ip_vs_snat *snat = ip_vs_snat_ipvs(cp)->snat;

	INIT_HLIST_NODE(&cp->snat_in);
	INIT_HLIST_NODE(&cp->snat_out);
	memset(&cp->snat, 0, sizeof(cp->snat));
	INIT_LIST_HEAD(&cp->snat.host_spare);
	INIT_LIST_HEAD(&cp->snat.spare);
	INIT_LIST_HEAD(&cp->snat.filed);
	cp->snat.share = (u32)atomic_inc_return(&snat->next_share) % SNAT_SHARES;
	cp->timeout = snat_first_timeout(&snat->set, cp->protocol);
	cp->timer.expires = jiffies + cp->timeout;

	/* Whatever the destination says, this connection is translated: its
	 * flags are about requests for the pool address.
	 */
	cp->flags &= ~(IP_VS_CONN_F_FWD_MASK | IP_VS_CONN_F_NOOUTPUT |
		       IP_VS_CONN_F_ONE_PACKET);

	/* The engine finds its packets before the rest of IPVS looks for them, so
	 * nobody calls this.
	 */
	cp->packet_xmit = snat_xmit;
}

/* What a real server sends by a TCP connection that it has opened itself looks like a
 * reply of its service when the connection isn't known any more, so remember.
 */
static void snat_conn_remember(struct ip_vs_conn *cp)
{
	struct netns_ipvs *ipvs = ip_vs_snat_ipvs(cp);
	struct snat_tuple t;

	if (cp->protocol != IPPROTO_TCP)
		return;
	snat_tuple_of_conn(&t, cp, true);
	rcu_read_lock();
	if (snat_from_server(ipvs, &t))
		snat_memo_put(ipvs->snat, ipvs->snat->late, &t);
	rcu_read_unlock();
}

/* Take a connection out of the tables. Whoever finds it there does that, once. Softirqs
 * are off, as for all that changes who has which connection.
 */
static void snat_conn_forget(struct ip_vs_conn *cp)
{
	struct ip_vs_snat *snat = ip_vs_snat_ipvs(cp)->snat;
	struct ip_vs_snat_host *host = cp->snat.host;
	bool unanswered;

	if (!hlist_unhashed_lockless(&cp->snat_out))
		snat_conn_remember(cp);
	snat_out_unlink(snat, cp);
	if (!snat_in_unlink(snat, cp))
		return;

	if (cp->snat.block)
		snat_block_put(ip_vs_snat_ipvs(cp), cp->snat.block);
	snat_conn_update_spare(cp);
	spin_lock(&cp->lock);
	unanswered = cp->snat.unanswered;
	WRITE_ONCE(cp->snat.unanswered, false);
	spin_unlock(&cp->lock);
	if (unanswered)
		atomic_dec(&snat->unanswered);
	snat_conn_dismiss(snat, host);
}

/**
 * ip_vs_snat_conn_release - forget an SNAT connection
 * @cp:		the connection, that nobody has a reference to
 */
void ip_vs_snat_conn_release(struct ip_vs_conn *cp)
{
	local_bh_disable();
	snat_conn_forget(cp);
	local_bh_enable();
	snat_fast_forget(cp);
	snat_conn_unbind_rule(cp);
}

/**
 * snat_conn_insert - let packets find a new connection
 * @cp:		the connection
 * @claim:	what it's to have
 * @taken:	set if the outside tuple is in use; only then the caller still has to
 *		do something about the host
 *
 * It has its block of ports from now on, if that has one.
 *
 * Return: the connection; or another one of the same flow, with a reference, if
 * another CPU was faster; or NULL if the outside tuple is in use. @cp has its
 * reference in all cases.
 */
struct ip_vs_conn *snat_conn_insert(struct ip_vs_conn *cp,
				    const struct snat_claim *claim, bool *taken)
{
	struct ip_vs_snat *snat = ip_vs_snat_ipvs(cp)->snat;
	struct snat_share *share = snat_share_of(cp);
	struct ip_vs_conn *other;

	cp->snat.host = claim->host;
	/* Nobody has answered yet. It's counted before somebody can. */
	cp->snat.unanswered = true;
	atomic_inc(&snat->unanswered);
	*taken = !snat_in_insert(snat, cp, claim->outside, claim->outside_hash);
	if (*taken) {
		atomic_dec(&snat->unanswered);
		return NULL;
	}
	other = snat_out_insert(snat, cp, claim->inside);
	if (unlikely(other)) {
		/* Packets from outside may have found it meanwhile */
		snat_conn_forget(cp);
		return other;
	}
	snat_conn_update_host(cp);
	spin_lock(&share->lock);
	snat_conn_update_share(cp, share);
	snat_wheel_file(cp, share);
	spin_unlock(&share->lock);
	return cp;
}

/**
 * snat_conn_retire - let a connection go now
 * @cp:		the connection, its reference is given up
 *
 * Called under RCU lock, with softirqs off. Its flow gets a new one with the next packet.
 */
void snat_conn_retire(struct ip_vs_conn *cp)
{
	snat_conn_forget(cp);
	__ip_vs_conn_put(cp);
	snat_conn_end_filed(cp);
}

/**
 * snat_conn_kill - let one of many connections go now
 * @cp:		the connection, its reference is given up
 *
 * The same, but its memory is freed when there is time for that.
 */
void snat_conn_kill(struct ip_vs_conn *cp)
{
	snat_conn_forget(cp);
	__ip_vs_conn_put(cp);
	ip_vs_snat_conn_drop(cp);
}

/**
 * ip_vs_snat_conn_shed_first - give up this connection when memory is short?
 * @cp:		an SNAT connection
 *
 * Return: whether there is little to lose with it.
 */
bool ip_vs_snat_conn_shed_first(const struct ip_vs_conn *cp)
{
	return snat_conn_spare(cp) == SNAT_SPARE_IDLE;
}

/**
 * ip_vs_snat_conn_shed_rest - may others be given up when memory is short?
 * @ipvs:	the network namespace
 *
 * Return: whether there is no SNAT connection left that has to go before them.
 */
bool ip_vs_snat_conn_shed_rest(struct netns_ipvs *ipvs)
{
	return !atomic_read(&ipvs->snat->unanswered);
}

/* Connections of services */

static void snat_tuple_of_server(struct snat_tuple *t,
				 const struct ip_vs_conn *cp)
{
	t->protocol = cp->protocol;
	t->laddr = cp->daddr.ip;
	t->lport = cp->dport;
	t->raddr = cp->caddr.ip;
	t->rport = cp->cport;
}

/**
 * __ip_vs_snat_service_conn_new - a service has got a connection
 * @ipvs:	the network namespace
 * @cp:		the connection, already hashed
 *
 * The server may have sent something to the same client from the same port before,
 * which got an SNAT connection. Its packets are replies from now on.
 */
void __ip_vs_snat_service_conn_new(struct netns_ipvs *ipvs,
				   const struct ip_vs_conn *cp)
{
	struct ip_vs_conn *mine;
	struct snat_tuple t;

	if (IP_VS_FWD_METHOD(cp) != IP_VS_CONN_F_MASQ ||
	    cp->flags & IP_VS_CONN_F_TEMPLATE)
		return;

	snat_fast_yield(ipvs->snat, cp);
	if (!ip_vs_snat_enabled(ipvs))
		return;
	snat_tuple_of_server(&t, cp);
	/* It's forgotten when its packet has gone, a reply may come before that */
	if (cp->flags & IP_VS_CONN_F_ONE_PACKET)
		snat_memo_put(ipvs->snat, ipvs->snat->late, &t);
	rcu_read_lock();
	mine = snat_out_get(ipvs->snat, &t);
	if (mine) {
		local_bh_disable();
		snat_conn_retire(mine);
		snat_count(ipvs, SNAT_CTR_YIELD_SERVICE);
		local_bh_enable();
	}
	rcu_read_unlock();
}

/**
 * __ip_vs_snat_service_conn_forget - a connection of a service with a short way ends
 * @cp:		the connection, that nobody has a reference to
 */
void __ip_vs_snat_service_conn_forget(struct ip_vs_conn *cp)
{
	snat_fast_forget(cp);
}

/**
 * __ip_vs_snat_service_conn_gone - a UDP connection of a service has expired
 * @ipvs:	the network namespace
 * @cp:		the connection
 *
 * A reply that comes after that has nothing to show that it's one, so remember.
 */
void __ip_vs_snat_service_conn_gone(struct netns_ipvs *ipvs,
				    const struct ip_vs_conn *cp)
{
	struct snat_tuple t;

	if (IP_VS_FWD_METHOD(cp) != IP_VS_CONN_F_MASQ ||
	    cp->flags & IP_VS_CONN_F_TEMPLATE)
		return;
	snat_tuple_of_server(&t, cp);
	snat_memo_put(ipvs->snat, ipvs->snat->late, &t);
}

/* What a service has that was added */
struct snat_yield {
	struct netns_ipvs	*ipvs;
	u16			protocol;
	__be32			addr;
	__be16			port;
};

static void snat_yield_bucket(struct hlist_head *bucket, void *data)
{
	const struct snat_yield *to = data;
	struct ip_vs_conn *cp;

	rcu_read_lock();
	hlist_for_each_entry_rcu(cp, bucket, snat_in) {
		if (cp->vaddr.ip != to->addr || cp->protocol != to->protocol ||
		    (to->port && cp->vport != to->port) || !__ip_vs_conn_get(cp))
			continue;
		local_bh_disable();
		snat_conn_kill(cp);
		snat_count(to->ipvs, SNAT_CTR_YIELD_SERVICE);
		local_bh_enable();
	}
	rcu_read_unlock();
}

/**
 * __ip_vs_snat_service_added - a service has been added
 * @ipvs:	the network namespace
 * @protocol:	its protocol
 * @addr:	its address
 * @port:	its port, 0 for all
 *
 * If SNAT connections have its address and port, they let it go: packets of a
 * client that happen to have their tuple are for the service.
 */
void __ip_vs_snat_service_added(struct netns_ipvs *ipvs, u16 protocol,
				__be32 addr, __be16 port)
{
	struct snat_yield to = { ipvs, protocol, addr, port };
	bool found;

	/* Nobody has an address that is in no pool, and there may be millions. A
	 * connection of a pool that gets it now sees the service.
	 */
	smp_mb();
	rcu_read_lock();
	found = snat_addr_find(ipvs->snat, addr);
	rcu_read_unlock();
	if (!found)
		return;
	snat_tabs_walk(ipvs->snat, SNAT_DIR_IN, snat_yield_bucket, &to);
}

/* Memory of a moment */

static u64 *snat_memo_slot(struct ip_vs_snat *snat, struct snat_memo *memo,
			   const struct snat_tuple *t, u32 *hash)
{
	*hash = snat_out_hash(snat, t);
	return &memo->slot[*hash >> (32 - memo->bits)];
}

/* Two tuples with the same hash would be taken for each other, so keep another hash
 * than the one that finds the slot.
 */
static u32 snat_memo_key(struct ip_vs_snat *snat, const struct snat_tuple *t)
{
	return jhash_3words((__force u32)t->laddr, (__force u32)t->raddr,
			    (__force u32)t->lport << 16 | (__force u32)t->rport,
			    snat->hash_key[0] ^ t->protocol);
}

/**
 * snat_memo_put - remember a flow for a while
 * @snat:	the network namespace
 * @memo:	where
 * @t:		the flow
 */
void snat_memo_put(struct ip_vs_snat *snat, struct snat_memo *memo,
		   const struct snat_tuple *t)
{
	u32 hash;
	u64 *slot = snat_memo_slot(snat, memo, t, &hash);

	WRITE_ONCE(*slot, (u64)snat_memo_key(snat, t) << 32 | (u32)jiffies);
}

/**
 * snat_memo_has - was a flow remembered a short time ago?
 * @snat:	the network namespace
 * @memo:	where
 * @t:		the flow
 * @age:	how old the memory may be, in jiffies
 */
bool snat_memo_has(struct ip_vs_snat *snat, const struct snat_memo *memo,
		   const struct snat_tuple *t, unsigned long age)
{
	u32 hash;
	u64 *slot = snat_memo_slot(snat, (struct snat_memo *)memo, t, &hash);
	u64 value = READ_ONCE(*slot);

	/* Most are old, or were never used */
	return unlikely((u32)jiffies - (u32)value <= age) &&
	       value >> 32 == snat_memo_key(snat, t);
}

/* Setting up */

/**
 * snat_tab_alloc - make an empty table
 * @bits:	its size, as a power of 2
 *
 * Return: the table, for ip_vs_snat_big_free(), or NULL.
 */
struct hlist_head *snat_tab_alloc(unsigned int bits)
{
	return ip_vs_snat_big_alloc(sizeof(struct hlist_head) << bits);
}

static struct snat_memo *snat_memo_alloc(unsigned int bits)
{
	struct snat_memo *memo;

	memo = ip_vs_snat_big_alloc(sizeof(*memo) + (sizeof(u64) << bits));
	if (memo)
		memo->bits = bits;
	return memo;
}

/**
 * snat_default_max_conns - the number of connections that memory is enough for
 * @ipvs:	the network namespace
 */
int snat_default_max_conns(struct netns_ipvs *ipvs)
{
	u64 bytes = (u64)ip_vs_snat_total_pages() << PAGE_SHIFT;

	if (!ip_vs_snat_trusted(ipvs))
		return SNAT_USER_CONNS;
	do_div(bytes, SNAT_BYTES_PER_CONN);
	return clamp_t(u64, bytes, SNAT_MIN_CONNS, INT_MAX / 2);
}

/**
 * snat_hash_init - choose the keys of a network namespace's hashes
 * @snat:	the namespace
 */
void snat_hash_init(struct ip_vs_snat *snat)
{
	get_random_bytes(snat->hash_key, sizeof(snat->hash_key));
	get_random_bytes(&snat->key_fold, sizeof(snat->key_fold));
	snat->key_fold |= 1;
	get_random_bytes(&snat->conn_key, sizeof(snat->conn_key));
}

/**
 * snat_conn_init_net - set up the tables of a network namespace
 * @ipvs:	the namespace, it has its settings
 *
 * Return: 0 or a negative error.
 */
int snat_conn_init_net(struct netns_ipvs *ipvs)
{
	struct ip_vs_snat *snat = ipvs->snat;
	int bits = snat_default_tab_bits(ipvs);
	int i;

	for (i = 0; i < SNAT_LOCKS; i++)
		spin_lock_init(&snat->host_locks[i].lock);
	snat->host_bits = clamp(bits - 2, SNAT_MIN_HOST_BITS, 16);
	snat->addr_tab = snat_tab_alloc(SNAT_ADDR_BITS);
	snat->host_tab = snat_tab_alloc(snat->host_bits);
	snat->block_tab = snat_tab_alloc(snat->host_bits);
	snat->hot_tab = snat_tab_alloc(SNAT_HOT_BITS);
	snat->late = snat_memo_alloc(bits);
	snat->refused = snat_memo_alloc(SNAT_REFUSED_BITS);
	if (!snat_tabs_init(ipvs) && !snat_wheel_init(snat) && snat->addr_tab &&
	    snat->host_tab && snat->block_tab && snat->hot_tab && snat->late &&
	    snat->refused)
		return 0;

	snat_conn_cleanup_net(snat);
	return -ENOMEM;
}

/**
 * snat_conn_cleanup_net - free the tables of a network namespace
 * @snat:	the namespace, it has no connections any more
 */
void snat_conn_cleanup_net(struct ip_vs_snat *snat)
{
	snat_tabs_cleanup(snat);
	snat_wheel_cleanup(snat);
	ip_vs_snat_big_free(snat->addr_tab);
	ip_vs_snat_big_free(snat->host_tab);
	ip_vs_snat_big_free(snat->block_tab);
	ip_vs_snat_big_free(snat->hot_tab);
	ip_vs_snat_big_free(snat->late);
	ip_vs_snat_big_free(snat->refused);
	snat->addr_tab = NULL;
	snat->host_tab = NULL;
	snat->block_tab = NULL;
	snat->hot_tab = NULL;
	snat->late = NULL;
	snat->refused = NULL;
}
