// SPDX-License-Identifier: GPL-2.0-or-later
/* IP Virtual Server: a short way through the gateway for packets of NAT connections
 *
 * A packet of a flow that is under way goes from the device that it came in by straight
 * to its neighbour, as the one before it went: past PRE_ROUTING, routing, FORWARD or
 * LOCAL_IN, and POST_ROUTING. Who wants that has to say so, because rules in these places
 * don't see it any more. Those of tc and of nftables at the ingress of the device still do.
 *
 * This goes for connections of inside hosts, and for those of services whose forwarding
 * method is masquerading, which are the same but for who has opened them: either way a
 * packet from inside has its source replaced, and one from outside its destination.
 *
 * Each direction learns its way from a packet that has gone through all of the gateway,
 * at the end of POST_ROUTING: what no rule lets pass has no short way. It's known for as
 * many seconds as the setting says, then a packet has to go through all of it again. So
 * whatever changes, a rule, a filter of source addresses, or who decides about routes,
 * counts for flows that are under way after that time; routes, addresses, devices and
 * IPsec policies count at once, by the generation of routes, and so does the neighbour,
 * which is looked up for each packet.
 *
 * All that is unusual about a packet or its connection makes the packet go on as it would
 * have without this: nothing is answered, refused or fragmented here, and no connection
 * changes its state.
 *
 * Connections are used without a reference, under RCU: a packet of an established flow
 * writes to nothing that another processor uses, if both directions come to the same one.
 */

#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/if_vlan.h>
#include <linux/netdevice.h>
#include <linux/netfilter_ipv4.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <net/arp.h>
#include <net/inet_ecn.h>
#include <net/neighbour.h>

#include "ip_vs_snat_config.h"

/* What a hop takes from the sum of an IP header */
#define SNAT_HOP	((__force u16)htons(0x0100))

/* Whose packet passes, see ip_vs_snat_note() */
DEFINE_PER_CPU(struct ip_vs_snat_note, ip_vs_snat_noted);

/* Where the packets of a direction come in, and where they go */
struct snat_way {
	struct rtable	*rt;		/* with a reference */
	int		iif;		/* 0 if nothing is known */
	u32		learnt;		/* when, in jiffies; only this one changes */
	u16		mtu;
	u16		ip_change;	/* of the header's sum */
	u16		change;		/* of the sum of UDP and TCP */
	u8		dscp;
};

/* Of a connection. Who learns something else puts a copy in the place of it. */
struct ip_vs_snat_ways {
	struct rcu_head	rcu_head;
	struct snat_way	way[SNAT_DIRS];
};

static u8 snat_dscp(const struct iphdr *iph)
{
	return iph->tos & ~INET_ECN_MASK;
}

static inline bool snat_fast_offloaded(const struct sk_buff *skb)
{
#ifdef CONFIG_NET_SWITCHDEV
	return skb->offload_l3_fwd_mark;
#else
	return false;
#endif
}

/* Neither connection tracking, a mark, IPsec, a bridge nor a switch has to do with a
 * packet
 */
static inline bool snat_fast_plain(struct sk_buff *skb)
{
	return !skb->mark && !skb_nfct(skb) && !skb_has_extensions(skb) &&
	       !snat_fast_offloaded(skb);
}

/* Ways */

static inline bool snat_way_known(const struct ip_vs_snat *snat,
				  const struct snat_way *way)
{
	return (u32)jiffies - READ_ONCE(way->learnt) <
	       (u32)READ_ONCE(snat->set.fastpath);
}

/* Routes that are used from here on are no older than the last change of one */
static inline bool snat_way_current(const struct net *net,
				    const struct snat_way *way)
{
	return way->rt->rt_genid == rt_genid_ipv4(net) &&
	       way->rt->dst.obsolete == DST_OBSOLETE_FORCE_CHK;
}

static bool snat_way_same(const struct snat_way *a, const struct snat_way *b)
{
	return a->rt == b->rt && a->iif == b->iif && a->mtu == b->mtu &&
	       a->dscp == b->dscp;
}

/* Packets that a user program has let pass (NFQUEUE) go on in its context. It wants to
 * see the others as well.
 */
static bool snat_was_held(void)
{
	return !in_serving_softirq() && !ip_vs_snat_in_kernel_task();
}

/* Requests for services are the only packets that don't come by FORWARD */
static bool snat_was_forwarded(const struct sk_buff *skb)
{
	return IPCB(skb)->flags & IPSKB_FORWARDED;
}

/* Has a rule given the packet another priority than its class of service has? */
static bool snat_was_classified(const struct sk_buff *skb,
				const struct net *net)
{
	if (!snat_was_forwarded(skb) ||
	    !READ_ONCE(net->ipv4.sysctl_ip_fwd_update_priority))
		return skb->priority;
	return skb->priority != rt_tos2priority(ip_hdr(skb)->tos);
}

/* Could the packets of a flow go on as this one does, which leaves now? */
static bool snat_way_init(struct snat_way *way, struct sk_buff *skb,
			  const struct nf_hook_state *state)
{
	struct rtable *rt = skb_rtable(skb);

	if (!snat_fast_plain(skb) || skb->sk || !in_softirq() ||
	    snat_was_held() || snat_was_classified(skb, state->net) ||
	    ip_vs_snat_has_policy(state->net) ||
	    IPCB(skb)->flags & IPSKB_DOREDIRECT)
		return false;
	if (rt->rt_type != RTN_UNICAST || rt->rt_gw_family == AF_INET6 ||
	    rt->dst.dev != state->out || rt->dst.lwtstate ||
	    ip_vs_snat_has_xfrm(skb))
		return false;

	way->rt = rt;
	way->iif = IPCB(skb)->iif;
	way->mtu = min_t(u32, ip_dst_mtu_maybe_forward(&rt->dst,
						       snat_was_forwarded(skb)),
			 U16_MAX);
	way->learnt = jiffies;
	way->dscp = snat_dscp(ip_hdr(skb));
	return way->iif;
}

static u16 snat_change(__wsum diff)
{
	return ~(__force u16)csum_fold(diff);
}

/* What the translation of a packet, and its hop, change in sums (RFC 1624) is the same
 * for all packets.
 */
static void snat_way_add_changes(struct snat_way *way,
				 const struct ip_vs_conn *cp, bool out)
{
	__be32 from = out ? cp->daddr.ip : cp->vaddr.ip;
	__be32 to = out ? cp->vaddr.ip : cp->daddr.ip;
	__be16 from_port = out ? cp->dport : cp->vport;
	__be16 to_port = out ? cp->vport : cp->dport;
	__wsum diff = csum_sub((__force __wsum)to, (__force __wsum)from);

	way->ip_change = snat_change(csum_sub(diff, (__force __wsum)SNAT_HOP));
	way->change = snat_change(csum_add(diff,
					   csum_sub((__force __wsum)to_port,
						    (__force __wsum)from_port)));
}

static struct ip_vs_snat_ways *snat_ways_copy(const struct ip_vs_snat_ways *old,
					      enum snat_dir dir,
					      const struct snat_way *way)
{
	struct ip_vs_snat_ways *ways = kmalloc(sizeof(*ways), GFP_ATOMIC);

	if (!ways)
		return NULL;
	if (!dst_hold_safe(&way->rt->dst)) {
		kfree(ways);
		return NULL;
	}
	if (old)
		memcpy(ways->way, old->way, sizeof(ways->way));
	else
		memset(ways->way, 0, sizeof(ways->way));
	ways->way[dir] = *way;
	return ways;
}

static void snat_way_put(const struct snat_way *way)
{
	if (way->rt)
		dst_release(&way->rt->dst);
}

/* Flows that come in by two devices, or with two classes of service, are not to learn
 * one way after the other: what is known and still holds stays.
 */
static bool snat_way_holds(const struct ip_vs_snat *snat,
			   const struct snat_way *known,
			   const struct snat_way *way, const struct net *net)
{
	return snat_way_known(snat, known) && snat_way_current(net, known) &&
	       (known->rt != way->rt || known->mtu <= way->mtu);
}

/* Returns whether the connection has ways now, with which it has to be forgotten */
static bool snat_ways_learn(struct ip_vs_conn *cp, enum snat_dir dir,
			    const struct snat_way *way, const struct net *net)
{
	const struct ip_vs_snat *snat = ip_vs_snat_ipvs(cp)->snat;
	struct ip_vs_snat_ways *old, *ways = NULL;
	struct snat_way *known;

	spin_lock(&cp->lock);
	old = rcu_dereference_protected(cp->snat.ways,
					lockdep_is_held(&cp->lock));
	known = old && old->way[dir].iif ? &old->way[dir] : NULL;
	if (known && snat_way_same(known, way))
		WRITE_ONCE(known->learnt, way->learnt);
	else if (!known || !snat_way_holds(snat, known, way, net))
		ways = snat_ways_copy(old, dir, way);
	if (ways)
		rcu_assign_pointer(cp->snat.ways, ways);
	spin_unlock(&cp->lock);

	if (ways && old) {
		snat_way_put(&old->way[dir]);
		kfree_rcu(old, rcu_head);
	}
	return old || ways;
}

/* Connections of services that have learnt a way, by what their packets look like when
 * they come. Those of SNAT are in tables anyway.
 */

static void snat_svc_tuple(struct snat_tuple *t, const struct ip_vs_conn *cp,
			   enum snat_dir dir)
{
	t->protocol = cp->protocol;
	if (dir == SNAT_DIR_OUT) {
		t->laddr = cp->daddr.ip;
		t->lport = cp->dport;
		t->raddr = cp->caddr.ip;
		t->rport = cp->cport;
	} else {
		t->laddr = cp->caddr.ip;
		t->lport = cp->cport;
		t->raddr = cp->vaddr.ip;
		t->rport = cp->vport;
	}
}

static __always_inline u32 snat_svc_bucket(const struct ip_vs_snat *snat,
					   const struct snat_tuple *t)
{
	return snat_out_hash(snat, t) & snat->svc_mask;
}

static bool snat_request_match(const struct ip_vs_conn *cp,
			       const struct snat_tuple *t)
{
	return cp->cport == t->lport && cp->vport == t->rport &&
	       cp->caddr.ip == t->laddr && cp->vaddr.ip == t->raddr &&
	       cp->protocol == t->protocol;
}

static spinlock_t *snat_svc_lock(struct ip_vs_snat *snat, u32 bucket)
{
	return &snat->svc_locks[bucket & (SNAT_LOCKS - 1)].lock;
}

static void snat_svc_link(struct ip_vs_snat *snat, struct ip_vs_conn *cp,
			  enum snat_dir dir)
{
	struct hlist_node *node = snat_conn_node(cp, dir);
	struct snat_tuple t;
	u32 bucket;

	snat_svc_tuple(&t, cp, dir);
	bucket = snat_svc_bucket(snat, &t);
	spin_lock(snat_svc_lock(snat, bucket));
	if (hlist_unhashed(node)) {
		hlist_add_head_rcu(node, &snat->svc_tab[dir][bucket]);
		atomic_inc(&snat->svc_linked);
	}
	spin_unlock(snat_svc_lock(snat, bucket));
}

/* Under the lock of its bucket */
static void snat_svc_del(struct ip_vs_snat *snat, struct ip_vs_conn *cp,
			 enum snat_dir dir)
{
	struct hlist_node *node = snat_conn_node(cp, dir);

	if (hlist_unhashed(node))
		return;
	hlist_del_init_rcu(node);
	atomic_dec(&snat->svc_linked);
}

/* Nobody links it any more, because nobody has a reference to it */
static void snat_svc_unlink(struct ip_vs_snat *snat, struct ip_vs_conn *cp)
{
	struct snat_tuple t;
	enum snat_dir dir;
	u32 bucket;

	for (dir = 0; dir < SNAT_DIRS; dir++) {
		snat_svc_tuple(&t, cp, dir);
		bucket = snat_svc_bucket(snat, &t);
		spin_lock_bh(snat_svc_lock(snat, bucket));
		snat_svc_del(snat, cp, dir);
		spin_unlock_bh(snat_svc_lock(snat, bucket));
	}
}

static bool snat_svc_match(const struct ip_vs_conn *cp,
			   const struct snat_tuple *t, enum snat_dir dir)
{
	return dir == SNAT_DIR_OUT ? snat_out_match(cp, t) :
				     snat_request_match(cp, t);
}

static void snat_svc_yield(struct ip_vs_snat *snat, const struct ip_vs_conn *cp,
			   enum snat_dir dir)
{
	struct hlist_node *node, *next;
	struct ip_vs_conn *old;
	struct snat_tuple t;
	u32 bucket;

	snat_svc_tuple(&t, cp, dir);
	bucket = snat_svc_bucket(snat, &t);
	spin_lock_bh(snat_svc_lock(snat, bucket));
	for (node = snat->svc_tab[dir][bucket].first; node; node = next) {
		next = node->next;
		old = snat_conn_of_node(node, dir);
		if (old != cp && snat_svc_match(old, &t, dir))
			snat_svc_del(snat, old, dir);
	}
	spin_unlock_bh(snat_svc_lock(snat, bucket));
}

/**
 * snat_fast_yield - a new connection of a service wins against older ones
 * @snat:	state of its network namespace
 * @cp:		the connection, already hashed
 *
 * Two can look alike on one side: those of one client with two services that have the same
 * server, or with one that has got another server. Packets are for the one that was made
 * last, which has not learnt a way yet.
 */
void snat_fast_yield(struct ip_vs_snat *snat, const struct ip_vs_conn *cp)
{
	enum snat_dir dir;

	if (!atomic_read(&snat->svc_linked))
		return;
	for (dir = 0; dir < SNAT_DIRS; dir++)
		snat_svc_yield(snat, cp, dir);
}

/* How long a connection of a service lives that is under way */
static const int *snat_svc_timeout(const struct ip_vs_conn *cp)
{
	const struct ip_vs_snat *snat = ip_vs_snat_ipvs(cp)->snat;

	return READ_ONCE(snat->svc_timeout[cp->protocol == IPPROTO_UDP]);
}

/* It's asked for when there are connections, as protocols are set up after SNAT */
static bool snat_svc_find_timeout(const struct ip_vs_conn *cp)
{
	struct netns_ipvs *ipvs = ip_vs_snat_ipvs(cp);
	struct ip_vs_proto_data *pd;
	bool udp = cp->protocol == IPPROTO_UDP;

	if (likely(snat_svc_timeout(cp)))
		return true;
	pd = ip_vs_proto_data_get(ipvs, cp->protocol);
	if (pd)
		WRITE_ONCE(ipvs->snat->svc_timeout[udp],
			   &pd->timeout_table[udp ? IP_VS_UDP_S_NORMAL :
						    IP_VS_TCP_S_ESTABLISHED]);
	return pd;
}

/* Is there nothing about a connection of a service that each packet has to be looked at
 * for?
 */
static bool snat_svc_plain(const struct ip_vs_conn *cp)
{
	return cp->dest && cp->daf == AF_INET && !cp->app &&
	       snat_svc_find_timeout(cp) &&
	       IP_VS_FWD_METHOD(cp) == IP_VS_CONN_F_MASQ &&
	       !(cp->flags & (IP_VS_CONN_F_NO_CPORT | IP_VS_CONN_F_TEMPLATE |
			      IP_VS_CONN_F_ONE_PACKET | IP_VS_CONN_F_NFCT |
			      IP_VS_CONN_F_NOOUTPUT | IP_VS_CONN_F_SEQ_MASK));
}

/* The connection of a service that a packet belongs to, which leaves now. What it looks
 * like is not enough: a request has lost its virtual address, and so may be one of several
 * connections, with services that have the same server. Nor may the route be newer than
 * that by which the packet was taken for a request, or for one to forward.
 */
static struct ip_vs_conn *snat_svc_get(struct netns_ipvs *ipvs,
				       const struct sk_buff *skb, bool out)
{
	const struct ip_vs_conn *noted = this_cpu_read(ip_vs_snat_noted.cp);
	const struct iphdr *iph = ip_hdr(skb);
	union nf_inet_addr saddr = { .ip = iph->saddr };
	union nf_inet_addr daddr = { .ip = iph->daddr };
	struct ip_vs_conn_param p;
	struct ip_vs_conn *cp;
	struct snat_tuple t;

	if (!noted)
		return NULL;
	this_cpu_write(ip_vs_snat_noted.cp, NULL);
	if (this_cpu_read(ip_vs_snat_noted.genid) != skb_rtable(skb)->rt_genid ||
	    !snat_tuple_of_packet(&t, skb, ip_hdrlen(skb), iph, true))
		return NULL;
	/* The client comes first in both, but in what comes from a server */
	ip_vs_conn_fill_param(ipvs, AF_INET, t.protocol, &daddr, t.rport,
			      &saddr, t.lport, &p);
	cp = out ? ip_vs_conn_in_get(&p) : ip_vs_conn_out_get(&p);
	if (cp && (cp != noted || !snat_svc_plain(cp))) {
		__ip_vs_conn_put(cp);
		return NULL;
	}
	return cp;
}

/* The connection that a translated packet belongs to, whose local end is that of the
 * other side by now
 */
static struct ip_vs_conn *snat_learner(struct netns_ipvs *ipvs,
				       const struct sk_buff *skb, bool *out)
{
	const struct iphdr *iph = ip_hdr(skb);
	struct ip_vs_conn *cp = NULL;
	struct snat_tuple t;

	if (ip_vs_snat_enabled(ipvs) && snat_was_forwarded(skb)) {
		*out = snat_addr_find(ipvs->snat, iph->saddr);
		if (!snat_tuple_of_packet(&t, skb, ip_hdrlen(skb), iph, *out))
			return NULL;
		cp = *out ? snat_in_get(ipvs->snat, &t) :
			    snat_out_get(ipvs->snat, &t);
	}
	if (cp)
		return cp;
	*out = snat_was_forwarded(skb);
	return snat_svc_get(ipvs, skb, *out);
}

/* A question and its answer need no short way, and so many have no more packets */
static bool snat_learns(struct ip_vs_conn *cp, enum snat_dir dir)
{
	u8 seen = READ_ONCE(cp->snat.seen);

	if (cp->protocol == IPPROTO_TCP)
		return cp->state == IP_VS_TCP_S_ESTABLISHED;
	if (seen & BIT(dir))
		return true;
	WRITE_ONCE(cp->snat.seen, seen | BIT(dir));
	return false;
}

static noinline void snat_learn(struct netns_ipvs *ipvs, struct sk_buff *skb,
				const struct nf_hook_state *state)
{
	const struct iphdr *iph = ip_hdr(skb);
	struct ip_vs_conn *cp;
	struct snat_way way;
	enum snat_dir dir;
	bool out;

	if ((iph->protocol != IPPROTO_TCP && iph->protocol != IPPROTO_UDP) ||
	    !snat_way_init(&way, skb, state))
		return;
	cp = snat_learner(ipvs, skb, &out);
	if (!cp)
		return;
	dir = out ? SNAT_DIR_OUT : SNAT_DIR_IN;
	snat_way_add_changes(&way, cp, out);
	if (snat_learns(cp, dir) &&
	    snat_ways_learn(cp, dir, &way, state->net) && !ip_vs_snat_conn(cp))
		snat_svc_link(ipvs->snat, cp, dir);
	__ip_vs_conn_put(cp);
}

/* POST_ROUTING, after all others: packets that IPVS has dealt with. Copies of them that
 * somebody wants to see (TEE) go elsewhere.
 */
static unsigned int snat_learn_hook(void *priv, struct sk_buff *skb,
				    const struct nf_hook_state *state)
{
	if (skb->ipvs_property && !ip_vs_snat_is_duplicate())
		snat_learn(priv, skb, state);
	return NF_ACCEPT;
}

/**
 * snat_fast_forget - a connection ends that may have learnt a way
 * @cp:		the connection, that nobody has a reference to
 */
void snat_fast_forget(struct ip_vs_conn *cp)
{
	struct ip_vs_snat_ways *ways;
	int dir;

	ways = rcu_dereference_protected(cp->snat.ways, 1);
	if (!ways)
		return;
	if (!ip_vs_snat_conn(cp))
		snat_svc_unlink(ip_vs_snat_ipvs(cp)->snat, cp);
	RCU_INIT_POINTER(cp->snat.ways, NULL);
	for (dir = 0; dir < SNAT_DIRS; dir++)
		snat_way_put(&ways->way[dir]);
	kfree_rcu(ways, rcu_head);
}

/* Packets */

static __always_inline struct ip_vs_conn *
snat_fast_find_out(const struct ip_vs_snat *snat, const struct snat_tuple *t)
{
	struct snat_tab *tab = snat_tab_first(snat, SNAT_DIR_OUT);
	u32 hash = snat_out_hash(snat, t);
	struct ip_vs_conn *cp;

	for (; tab; tab = snat_tab_next(tab)) {
		hlist_for_each_entry_rcu(cp, snat_tab_bucket(tab, hash),
					 snat_out) {
			if (snat_out_match(cp, t))
				return cp;
		}
	}
	return NULL;
}

static __always_inline struct ip_vs_conn *
snat_fast_find_in(const struct ip_vs_snat *snat, const struct snat_tuple *t)
{
	struct snat_tab *tab = snat_tab_first(snat, SNAT_DIR_IN);
	u32 hash = snat_in_hash(snat, t);
	struct ip_vs_conn *cp;

	for (; tab; tab = snat_tab_next(tab)) {
		hlist_for_each_entry_rcu(cp, snat_tab_bucket(tab, hash),
					 snat_in) {
			if (snat_in_match(cp, t))
				return cp;
		}
	}
	return NULL;
}

/* Somebody else may have a reference to a packet, and then it stays as it is */
static __always_inline bool snat_fast_pull(struct sk_buff *skb, unsigned int len)
{
	return likely(len <= skb_headlen(skb)) ||
	       (!skb_shared(skb) && pskb_may_pull(skb, len));
}

/* Headers of a fixed size, which are made linear. Nobody has looked at them before. */
static __always_inline bool snat_fast_usual(struct sk_buff *skb)
{
	const struct iphdr *iph;

	if (unlikely(!snat_fast_pull(skb, sizeof(*iph) + sizeof(struct udphdr))))
		return false;
	iph = ip_hdr(skb);
	if (unlikely(*(const u8 *)iph != 0x45 || iph->ttl <= 1 ||
		     ip_is_fragment(iph)))
		return false;
	if (iph->protocol == IPPROTO_UDP)
		return true;
	return iph->protocol == IPPROTO_TCP &&
	       snat_fast_pull(skb, sizeof(*iph) + sizeof(struct tcphdr));
}

static __always_inline void snat_fast_tuple(struct snat_tuple *t,
					    const struct iphdr *iph, bool out)
{
	const __be16 *ports = (const __be16 *)(iph + 1);

	t->protocol = iph->protocol;
	t->laddr = out ? iph->saddr : iph->daddr;
	t->raddr = out ? iph->daddr : iph->saddr;
	t->lport = out ? ports[0] : ports[1];
	t->rport = out ? ports[1] : ports[0];
}

/* Is the header right, and the packet as long as it says? As ip_rcv() does it. */
static __always_inline bool snat_fast_whole(struct sk_buff *skb)
{
	const struct iphdr *iph = ip_hdr(skb);
	u32 len = ip_vs_snat_totlen(skb);

	if (unlikely(ip_fast_csum(iph, sizeof(*iph) / 4) || skb->len < len ||
		     len < sizeof(*iph) + (iph->protocol == IPPROTO_TCP ?
					   sizeof(struct tcphdr) :
					   sizeof(struct udphdr))))
		return false;
	return likely(skb->len == len) ||
	       (!skb_shared(skb) && !pskb_trim_rcsum(skb, len));
}

static noinline bool snat_fast_fits_gso(const struct sk_buff *skb, u32 mtu)
{
	return !skb_warn_if_lro(skb) &&
	       (skb->len <= mtu ||
		/* The segments' header is where the device has put that mark */
		(skb_is_gso(skb) &&
		 skb_transport_offset(skb) == sizeof(struct iphdr) &&
		 skb_gso_validate_network_len(skb, mtu)));
}

/* Does a packet leave as it came, in one piece or in segments that it was merged from? */
static __always_inline bool snat_fast_fits(const struct sk_buff *skb, u32 mtu)
{
	return likely(skb->len <= mtu && !skb_is_nonlinear(skb)) ||
	       snat_fast_fits_gso(skb, mtu);
}

/* Follow a connection that goes on as it was. What changes it goes the other way. */
static __always_inline bool snat_fast_follow(const struct snat_settings *set,
					     struct ip_vs_conn *cp,
					     const struct sk_buff *skb, bool out)
{
	bool unanswered;
	int timeout;

	if (cp->protocol == IPPROTO_TCP)
		return snat_tcp_data(cp, skb, sizeof(struct iphdr), out);
	unanswered = snat_conn_unanswered(cp);
	if (!out && unlikely(unanswered))
		return false;
	if (out && unlikely(snat_conn_quiet(cp)))
		snat_conn_heard(cp);
	timeout = unanswered ? READ_ONCE(set->udp_unanswered_timeout) :
			       READ_ONCE(set->udp_timeout);
	if (unlikely(cp->timeout != timeout))
		cp->timeout = timeout;
	return true;
}

/* Count a request of which no backup server is told, see ip_vs_sync_conn(). Those that it
 * is told of, about the connection or what controls it, go the whole way.
 */
static noinline bool snat_svc_count_unsynced(struct netns_ipvs *ipvs,
					     struct ip_vs_conn *cp)
{
	int before = atomic_read(&cp->in_pkts), pkts = before + 1;
	int period = sysctl_sync_period(ipvs);

	if (sysctl_sync_refresh_period(ipvs) > 0 || READ_ONCE(cp->control))
		return false;
	if (period > 0)
		pkts %= period;
	return pkts != sysctl_sync_threshold(ipvs) &&
	       atomic_cmpxchg(&cp->in_pkts, before, before + 1) == before;
}

/* The first packets are counted, or all if a backup server is told of some */
static __always_inline bool snat_svc_count(struct netns_ipvs *ipvs,
					   struct ip_vs_conn *cp)
{
	if (unlikely(ipvs->sync_state & IP_VS_STATE_MASTER))
		return snat_svc_count_unsynced(ipvs, cp);
	if (unlikely(atomic_read(&cp->in_pkts) <= 8))
		atomic_inc(&cp->in_pkts);
	return true;
}

/* The same for connections of services: nothing but their time changes with a packet.
 * One whose time has come is left alone, because somebody may have set it so, to have
 * another one in its place. The caller gives no packet back after that.
 */
static __always_inline bool snat_svc_follow(struct netns_ipvs *ipvs,
					    struct ip_vs_conn *cp,
					    const struct sk_buff *skb, bool out)
{
	const struct tcphdr *th = (const struct tcphdr *)(ip_hdr(skb) + 1);

	if (unlikely(time_after_eq(jiffies, READ_ONCE(cp->timer.expires))))
		return false;
	if (cp->protocol == IPPROTO_TCP &&
	    unlikely(cp->state != IP_VS_TCP_S_ESTABLISHED ||
		     snat_tcp_flags(th) != TCP_FLAG_ACK))
		return false;
	return out || (!sysctl_backup_only(ipvs) && snat_svc_count(ipvs, cp));
}

/* The same as ip_vs_conn_put(), for who has no reference: but the timer is moved once a
 * second, or sixteen times until its end. That is finer than it can tell long times.
 */
static __always_inline void snat_svc_used(struct ip_vs_conn *cp)
{
	unsigned long timeout = READ_ONCE(*snat_svc_timeout(cp));
	unsigned long slack = min_t(unsigned long, HZ, timeout >> 4);

	if (likely(cp->timeout == timeout &&
		   jiffies + timeout - READ_ONCE(cp->timer.expires) <= slack) ||
	    !__ip_vs_conn_get(cp))
		return;
	spin_lock(&cp->lock);
	if (cp->protocol != IPPROTO_TCP || cp->state == IP_VS_TCP_S_ESTABLISHED)
		cp->timeout = timeout;
	spin_unlock(&cp->lock);
	ip_vs_conn_put(cp);
}

static __always_inline u16 snat_fold(u32 value)
{
	return value + (value >> 16);
}

static __always_inline __sum16 snat_changed_sum(__sum16 sum, u16 change)
{
	return (__force __sum16)~snat_fold((u16)~(__force u16)sum + change);
}

/* The sum of a packet that may only be that of the addresses yet */
static __always_inline __sum16 snat_fast_sum(const struct sk_buff *skb,
					     __sum16 sum,
					     const struct snat_way *way)
{
	u32 value;

	if (likely(!ip_vs_snat_sum_is_partial(skb, sizeof(struct iphdr))))
		return snat_changed_sum(sum, way->change);
	value = (__force u16)sum + way->ip_change + SNAT_HOP;
	return (__force __sum16)snat_fold((value & 0xffff) + (value >> 16));
}

/* Translate a packet that may be written to, and count its hop */
static __always_inline void snat_fast_mangle(struct sk_buff *skb,
					     const struct ip_vs_conn *cp,
					     const struct snat_way *way, bool out)
{
	struct iphdr *iph = ip_hdr(skb);
	__be16 *ports = (__be16 *)(iph + 1);

	if (iph->protocol == IPPROTO_TCP) {
		struct tcphdr *th = (struct tcphdr *)ports;

		th->check = snat_fast_sum(skb, th->check, way);
	} else {
		struct udphdr *uh = (struct udphdr *)ports;

		if (uh->check)
			uh->check = snat_fast_sum(skb, uh->check, way) ? :
				    CSUM_MANGLED_0;
	}
	iph->check = snat_changed_sum(iph->check, way->ip_change);
	iph->ttl--;
	if (out) {
		ports[0] = cp->vport;
		iph->saddr = cp->vaddr.ip;
	} else {
		ports[1] = cp->dport;
		iph->daddr = cp->daddr.ip;
	}
}

/* The packet, or a copy if somebody else has it as well, to write to and with room for
 * the header of the device; NULL if there is no memory.
 */
static __always_inline struct sk_buff *
snat_fast_writable(struct sk_buff *skb, const struct net_device *dev)
{
	unsigned int room = LL_RESERVED_SPACE(dev);
	struct sk_buff *copy;

	if (likely(!skb_shared(skb)))
		return skb_cow(skb, room) ? NULL : skb;
	copy = pskb_copy(skb, GFP_ATOMIC);
	if (!copy || skb_cow(copy, room)) {
		kfree_skb(copy);
		return NULL;
	}
	consume_skb(skb);
	return copy;
}

/* What ip_rcv(), and ip_forward() or ip_vs_nat_xmit(), and those after them do with a
 * packet
 */
static __always_inline void snat_fast_xmit(struct sk_buff *skb,
					   struct rtable *rt,
					   struct neighbour *neigh,
					   struct net *net, unsigned int received,
					   bool forwarded)
{
	ip_vs_snat_count_passed(net, skb, received, forwarded);
	memset(IPCB(skb), 0, sizeof(*IPCB(skb)));
	if (forwarded) {
		IPCB(skb)->flags = IPSKB_FORWARDED;
		if (READ_ONCE(net->ipv4.sysctl_ip_fwd_update_priority))
			skb->priority = rt_tos2priority(ip_hdr(skb)->tos);
	}
	skb_orphan(skb);
	skb_reset_redirect(skb);
	skb_clear_tstamp(skb);
	skb_dst_drop(skb);
	/* Others would have it taken away at once */
	if (unlikely(!(rt->dst.dev->priv_flags & IFF_XMIT_DST_RELEASE)))
		skb_dst_set_noref(skb, &rt->dst);
	skb->dev = rt->dst.dev;
	skb->ipvs_property = 1;
	neigh_output(neigh, skb, false);
}

/* Have a packet go as the one before it went */
static __always_inline unsigned int
snat_fast_send(struct netns_ipvs *ipvs, struct sk_buff *skb, struct net *net,
	       struct ip_vs_conn *cp, bool out, bool svc)
{
	const struct ip_vs_snat *snat = ipvs->snat;
	enum snat_dir dir = out ? SNAT_DIR_OUT : SNAT_DIR_IN;
	const struct ip_vs_snat_ways *ways;
	const struct snat_way *way;
	struct net_device *dev;
	struct neighbour *neigh;
	/* With what fills a short frame */
	unsigned int received = skb->len;
	struct rtable *rt;
	__be32 nexthop;

	ways = rcu_dereference(cp->snat.ways);
	if (!ways)
		return NF_ACCEPT;
	way = &ways->way[dir];
	if (unlikely(way->iif != skb->skb_iif ||
		     way->dscp != snat_dscp(ip_hdr(skb)) ||
		     !snat_way_known(snat, way) ||
		     !snat_way_current(net, way) || !snat_fast_whole(skb) ||
		     !snat_fast_fits(skb, way->mtu)))
		return NF_ACCEPT;
	if (unlikely(!ip_vs_snat_dest_available(cp->dest)))
		return NF_ACCEPT;

	rt = way->rt;
	/* Requests are sent, not forwarded, and so follow what was learnt of the path */
	if (svc && !out && unlikely(rt->rt_pmtu && rt->rt_pmtu < way->mtu))
		return NF_ACCEPT;
	dev = rt->dst.dev;
	nexthop = rt_nexthop(rt, out ? cp->caddr.ip : cp->daddr.ip);
	neigh = __ipv4_neigh_lookup_noref(dev, (__force u32)nexthop);
	if (unlikely(!neigh || !(READ_ONCE(neigh->nud_state) & NUD_VALID)))
		return NF_ACCEPT;
	if (svc ? !snat_svc_follow(ipvs, cp, skb, out) :
		  !snat_fast_follow(&snat->set, cp, skb, out))
		return NF_ACCEPT;

	/* From here on it's ours */
	skb = snat_fast_writable(skb, dev);
	if (unlikely(!skb)) {
		snat_count(ipvs, SNAT_CTR_DROP_OTHER);
		return NF_DROP;
	}
	skb_set_transport_header(skb, sizeof(struct iphdr));
	skb_forward_csum(skb);
	snat_fast_mangle(skb, cp, way, out);
	snat_account_packet(ipvs, cp, skb->len, out);
	snat_count(ipvs, out ? SNAT_CTR_FAST_OUT : SNAT_CTR_FAST_IN);
	if (!out && !svc && atomic_read(&cp->in_pkts) <= 8)
		atomic_inc(&cp->in_pkts);
	if (svc)
		snat_svc_used(cp);
	else
		snat_conn_used(cp);
	snat_fast_xmit(skb, rt, neigh, net, received, out || !svc);
	return NF_STOLEN;
}

/* A packet of an inside host's connection */
static __always_inline unsigned int
snat_fast_packet(struct netns_ipvs *ipvs, struct sk_buff *skb, struct net *net,
		 bool out)
{
	struct ip_vs_conn *cp;
	struct snat_tuple t;

	snat_fast_tuple(&t, ip_hdr(skb), out);
	cp = out ? snat_fast_find_out(ipvs->snat, &t) :
		   snat_fast_find_in(ipvs->snat, &t);
	return cp ? snat_fast_send(ipvs, skb, net, cp, out, false) : NF_ACCEPT;
}

/* A reply of a server, or a request of a client */
static noinline unsigned int snat_fast_service(struct netns_ipvs *ipvs,
					       struct sk_buff *skb,
					       struct net *net)
{
	const struct ip_vs_snat *snat = ipvs->snat;
	struct ip_vs_conn *cp;
	struct snat_tuple t;
	u32 bucket;

	snat_fast_tuple(&t, ip_hdr(skb), true);
	bucket = snat_svc_bucket(snat, &t);
	hlist_for_each_entry_rcu(cp, &snat->svc_tab[SNAT_DIR_OUT][bucket],
				 snat_out) {
		if (snat_out_match(cp, &t))
			return snat_fast_send(ipvs, skb, net, cp, true, true);
	}
	hlist_for_each_entry_rcu(cp, &snat->svc_tab[SNAT_DIR_IN][bucket],
				 snat_in) {
		if (snat_request_match(cp, &t))
			return snat_fast_send(ipvs, skb, net, cp, false, true);
	}
	return NF_ACCEPT;
}

/* Ingress of a device: packets of connections whose way is known. Those that are tagged
 * (VLAN), or for a socket that was chosen already, are no packets of this device.
 */
static unsigned int snat_fast_hook(void *priv, struct sk_buff *skb,
				   const struct nf_hook_state *state)
{
	struct netns_ipvs *ipvs = priv;
	unsigned int verdict;

	if (skb->protocol != htons(ETH_P_IP) || skb->pkt_type != PACKET_HOST)
		return NF_ACCEPT;
	if (unlikely(skb_vlan_tag_present(skb) || skb_sk_is_prefetched(skb) ||
		     skb->ipvs_property || !snat_fast_plain(skb)))
		return NF_ACCEPT;
	if (!snat_fast_usual(skb))
		return NF_ACCEPT;
	if (likely(ip_vs_snat_enabled(ipvs))) {
		if (snat_addr_find(ipvs->snat, ip_hdr(skb)->daddr))
			verdict = snat_fast_packet(ipvs, skb, state->net, false);
		else
			verdict = snat_fast_packet(ipvs, skb, state->net, true);
		if (verdict != NF_ACCEPT)
			return verdict;
	}
	return atomic_read(&ipvs->snat->svc_linked) ?
	       snat_fast_service(ipvs, skb, state->net) : NF_ACCEPT;
}

/* Devices. Whatever comes, goes, or is moved to another namespace has the hook as long as
 * it's in this one.
 */

struct snat_fast_dev {
	struct rcu_head		rcu_head;
	struct list_head	list;		/* under RTNL */
	struct nf_hook_ops	ops;
};

static void snat_fast_add_dev(struct ip_vs_snat *snat, struct net_device *dev)
{
	struct net *net = dev_net(dev);
	struct snat_fast_dev *fast;

	if (dev->flags & IFF_LOOPBACK)
		return;
	fast = kzalloc(sizeof(*fast), GFP_KERNEL);
	if (!fast)
		return;
	fast->ops.hook = snat_fast_hook;
	fast->ops.pf = NFPROTO_NETDEV;
	fast->ops.hooknum = NF_NETDEV_INGRESS;
	/* After all others */
	fast->ops.priority = INT_MAX;
	fast->ops.dev = dev;
	fast->ops.priv = net_ipvs(net);
	if (nf_register_net_hook(net, &fast->ops))
		kfree(fast);
	else
		list_add(&fast->list, &snat->fast_devs);
}

static void snat_fast_del_dev(struct ip_vs_snat *snat, struct net_device *dev)
{
	struct snat_fast_dev *fast;

	list_for_each_entry(fast, &snat->fast_devs, list) {
		if (fast->ops.dev != dev)
			continue;
		nf_unregister_net_hook(dev_net(dev), &fast->ops);
		list_del(&fast->list);
		kfree_rcu(fast, rcu_head);
		return;
	}
}

/* A device without a hook has no short way, which is no reason to refuse it */
static int snat_fast_dev_event(struct notifier_block *nb, unsigned long event,
			       void *ptr)
{
	struct ip_vs_snat *snat = container_of(nb, struct ip_vs_snat,
					       fast_notifier);
	struct net_device *dev = netdev_notifier_info_to_dev(ptr);

	if (event == NETDEV_REGISTER)
		snat_fast_add_dev(snat, dev);
	else if (event == NETDEV_UNREGISTER)
		snat_fast_del_dev(snat, dev);
	return NOTIFY_DONE;
}

/* Setting up. The notifier is told of all devices that there are, when it's registered
 * and when it's unregistered.
 */

/* The tables of services stay as long as there may be connections in them */
static int snat_svc_tab_alloc(struct netns_ipvs *ipvs)
{
	struct ip_vs_snat *snat = ipvs->snat;
	int bits = snat_default_tab_bits(ipvs);
	struct hlist_head *tab;

	if (snat->svc_tab[SNAT_DIR_OUT])
		return 0;
	tab = snat_tab_alloc(bits + 1);
	if (!tab)
		return -ENOMEM;
	snat->svc_mask = (1U << bits) - 1;
	snat->svc_tab[SNAT_DIR_OUT] = tab;
	snat->svc_tab[SNAT_DIR_IN] = tab + snat->svc_mask + 1;
	return 0;
}

static int snat_fast_begin(struct netns_ipvs *ipvs)
{
	struct ip_vs_snat *snat = ipvs->snat;
	int ret;

	if (!IS_ENABLED(CONFIG_NETFILTER_INGRESS))
		return -EOPNOTSUPP;
	ret = snat_svc_tab_alloc(ipvs);
	if (ret)
		return ret;
	snat->learn_hook.priv = ipvs;
	ret = nf_register_net_hook(ipvs->net, &snat->learn_hook);
	if (ret)
		return ret;
	ret = register_netdevice_notifier_net(ipvs->net, &snat->fast_notifier);
	if (ret)
		nf_unregister_net_hook(ipvs->net, &snat->learn_hook);
	return ret;
}

static void snat_fast_end(struct netns_ipvs *ipvs)
{
	struct ip_vs_snat *snat = ipvs->snat;

	unregister_netdevice_notifier_net(ipvs->net, &snat->fast_notifier);
	nf_unregister_net_hook(ipvs->net, &snat->learn_hook);
}

/**
 * snat_fast_init - prepare for short ways
 * @snat:	state of a network namespace
 */
void snat_fast_init(struct ip_vs_snat *snat)
{
	int i;

	for (i = 0; i < SNAT_LOCKS; i++)
		spin_lock_init(&snat->svc_locks[i].lock);
	mutex_init(&snat->fast_lock);
	INIT_LIST_HEAD(&snat->fast_devs);
	snat->fast_notifier.notifier_call = snat_fast_dev_event;
	snat->learn_hook.hook = snat_learn_hook;
	snat->learn_hook.pf = NFPROTO_IPV4;
	snat->learn_hook.hooknum = NF_INET_POST_ROUTING;
	snat->learn_hook.priority = NF_IP_PRI_LAST;
}

/**
 * snat_fast_cleanup - the opposite of snat_fast_init()
 * @snat:	state of a network namespace, it has no connections any more
 */
void snat_fast_cleanup(struct ip_vs_snat *snat)
{
	ip_vs_snat_big_free(snat->svc_tab[SNAT_DIR_OUT]);
}

/**
 * snat_fast_update - begin or end to use short ways, as the setting says
 * @ipvs:	the network namespace
 *
 * This takes RTNL, under which the locks of the configuration are taken: it must not be
 * called under one of them.
 *
 * Return: 0 or a negative error.
 */
int snat_fast_update(struct netns_ipvs *ipvs)
{
	struct ip_vs_snat *snat = ipvs->snat;
	bool wanted;
	int ret = 0;

	mutex_lock(&snat->fast_lock);
	wanted = READ_ONCE(snat->set.fastpath) && !snat->fast_ended;
	if (wanted && !snat->fast_hooked) {
		ret = snat_fast_begin(ipvs);
		snat->fast_hooked = !ret;
		if (ret)
			WRITE_ONCE(snat->set.fastpath, 0);
	} else if (!wanted && snat->fast_hooked) {
		snat_fast_end(ipvs);
		snat->fast_hooked = false;
	}
	mutex_unlock(&snat->fast_lock);
	return ret;
}

/**
 * snat_fast_stop - use no short ways any more, whatever somebody sets from now on
 * @ipvs:	the network namespace, it's about to end
 */
void snat_fast_stop(struct netns_ipvs *ipvs)
{
	struct ip_vs_snat *snat = ipvs->snat;

	mutex_lock(&snat->fast_lock);
	snat->fast_ended = true;
	mutex_unlock(&snat->fast_lock);
	snat_fast_update(ipvs);
}
