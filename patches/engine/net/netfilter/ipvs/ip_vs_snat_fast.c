// SPDX-License-Identifier: GPL-2.0-or-later
/* IP Virtual Server: a short way through the gateway for packets of SNAT connections
 *
 * A packet of a flow that is under way goes from the device that it came in by straight
 * to its neighbour, as the one before it went: past PRE_ROUTING, routing, FORWARD and
 * POST_ROUTING. Who wants that has to say so, because rules in these places don't see it
 * any more. Those of tc and of nftables at the ingress of the device still do.
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
	return !in_serving_softirq() && !(current->flags & PF_KTHREAD);
}

/* Could the packets of a flow go on as this one does, which leaves now? */
static bool snat_way_init(struct snat_way *way, struct sk_buff *skb,
			  const struct nf_hook_state *state)
{
	struct rtable *rt = skb_rtable(skb);

	if (!snat_fast_plain(skb) || skb->sk || !in_softirq() ||
	    snat_was_held() ||
	    ip_vs_snat_has_policy(state->net) ||
	    (IPCB(skb)->flags & (IPSKB_FORWARDED | IPSKB_DOREDIRECT)) !=
	    IPSKB_FORWARDED)
		return false;
	if (rt->rt_type != RTN_UNICAST || rt->rt_gw_family == AF_INET6 ||
	    rt->dst.dev != state->out || rt->dst.lwtstate ||
	    ip_vs_snat_has_xfrm(skb))
		return false;

	way->rt = rt;
	way->iif = IPCB(skb)->iif;
	way->mtu = min_t(u32, ip_dst_mtu_maybe_forward(&rt->dst, true), U16_MAX);
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
static void snat_ways_learn(struct ip_vs_conn *cp, enum snat_dir dir,
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
	else if (!known || !snat_way_known(snat, known) ||
		 !snat_way_current(net, known))
		ways = snat_ways_copy(old, dir, way);
	if (ways)
		rcu_assign_pointer(cp->snat.ways, ways);
	spin_unlock(&cp->lock);

	if (ways && old) {
		snat_way_put(&old->way[dir]);
		kfree_rcu(old, rcu_head);
	}
}

/* A question and its answer need no short way, and so many have no more packets */
static bool snat_learns(struct ip_vs_conn *cp, enum snat_dir dir)
{
	u8 seen = cp->snat.seen;

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
	struct snat_tuple t;
	struct snat_way way;
	enum snat_dir dir;
	bool out;

	if ((iph->protocol != IPPROTO_TCP && iph->protocol != IPPROTO_UDP) ||
	    !snat_way_init(&way, skb, state))
		return;
	/* It has been translated: the local end is that of the other side */
	out = snat_addr_find(ipvs->snat, iph->saddr);
	if (!snat_tuple_of_packet(&t, skb, ip_hdrlen(skb), iph, out))
		return;
	cp = out ? snat_in_get(ipvs->snat, &t) : snat_out_get(ipvs->snat, &t);
	if (!cp)
		return;
	dir = out ? SNAT_DIR_OUT : SNAT_DIR_IN;
	snat_way_add_changes(&way, cp, out);
	if (snat_learns(cp, dir))
		snat_ways_learn(cp, dir, &way, state->net);
	__ip_vs_conn_put(cp);
}

/* POST_ROUTING, after all others: packets that IPVS has dealt with. Copies of them that
 * somebody wants to see (TEE) go elsewhere.
 */
static unsigned int snat_learn_hook(void *priv, struct sk_buff *skb,
				    const struct nf_hook_state *state)
{
	if (skb->ipvs_property && ip_vs_snat_enabled(priv) &&
	    !ip_vs_snat_is_duplicate())
		snat_learn(priv, skb, state);
	return NF_ACCEPT;
}

/**
 * snat_fast_forget - a connection ends
 * @cp:		the connection, that nobody has a reference to
 */
void snat_fast_forget(struct ip_vs_conn *cp)
{
	struct ip_vs_snat_ways *ways;
	int dir;

	ways = rcu_dereference_protected(cp->snat.ways, 1);
	if (!ways)
		return;
	RCU_INIT_POINTER(cp->snat.ways, NULL);
	for (dir = 0; dir < SNAT_DIRS; dir++)
		snat_way_put(&ways->way[dir]);
	kfree_rcu(ways, rcu_head);
}

/* Packets */

static __always_inline struct ip_vs_conn *
snat_fast_find(const struct ip_vs_snat *snat, const struct snat_tuple *t,
	       bool out)
{
	struct ip_vs_conn *cp;

	if (out) {
		hlist_for_each_entry_rcu(cp, &snat->out_tab[snat_out_hash(snat, t) &
							    snat->mask],
					 snat_out) {
			if (snat_out_match(cp, t))
				return cp;
		}
	} else {
		hlist_for_each_entry_rcu(cp, &snat->in_tab[snat_in_hash(snat, t) &
							   snat->mask],
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
	u32 len = ntohs(iph->tot_len);

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
	timeout = unanswered ? READ_ONCE(set->udp_unanswered_timeout) :
			       READ_ONCE(set->udp_timeout);
	if (unlikely(cp->timeout != timeout))
		cp->timeout = timeout;
	return true;
}

/* The same as snat_conn_put(), for who has no reference */
static __always_inline void snat_fast_used(struct ip_vs_conn *cp)
{
	unsigned long now = jiffies, timeout = cp->timeout;

	if (unlikely(now + timeout - cp->timer.expires > timeout >> 4)) {
		if (__ip_vs_conn_get(cp))
			snat_conn_put(cp);
	} else if (cp->snat.used != now) {
		cp->snat.used = now;
	}
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

/* What ip_rcv(), ip_forward() and those after them do with a packet */
static __always_inline void snat_fast_xmit(struct sk_buff *skb,
					   struct rtable *rt,
					   struct neighbour *neigh,
					   struct net *net, unsigned int received)
{
	ip_vs_snat_count_forwarded(net, skb, received);
	memset(IPCB(skb), 0, sizeof(*IPCB(skb)));
	IPCB(skb)->flags = IPSKB_FORWARDED;
	if (READ_ONCE(net->ipv4.sysctl_ip_fwd_update_priority))
		skb->priority = rt_tos2priority(ip_hdr(skb)->tos);
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

static __always_inline unsigned int
snat_fast_packet(struct netns_ipvs *ipvs, struct sk_buff *skb, struct net *net,
		 bool out)
{
	const struct ip_vs_snat *snat = ipvs->snat;
	enum snat_dir dir = out ? SNAT_DIR_OUT : SNAT_DIR_IN;
	const struct ip_vs_snat_ways *ways;
	const struct snat_way *way;
	struct net_device *dev;
	struct neighbour *neigh;
	struct ip_vs_conn *cp;
	/* With what fills a short frame */
	unsigned int received = skb->len;
	struct snat_tuple t;
	struct rtable *rt;
	__be32 nexthop;

	snat_fast_tuple(&t, ip_hdr(skb), out);
	cp = snat_fast_find(snat, &t, out);
	if (!cp)
		return NF_ACCEPT;
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
	if (unlikely(!ip_vs_snat_dest_available(cp->dest) ||
		     (out && !atomic_read(&cp->dest->weight))))
		return NF_ACCEPT;

	rt = way->rt;
	dev = rt->dst.dev;
	nexthop = rt_nexthop(rt, out ? t.raddr : cp->daddr.ip);
	neigh = __ipv4_neigh_lookup_noref(dev, (__force u32)nexthop);
	if (unlikely(!neigh || !(READ_ONCE(neigh->nud_state) & NUD_VALID)))
		return NF_ACCEPT;
	if (!snat_fast_follow(&snat->set, cp, skb, out))
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
	if (!out && atomic_read(&cp->in_pkts) <= 8)
		atomic_inc(&cp->in_pkts);
	snat_fast_used(cp);
	snat_fast_xmit(skb, rt, neigh, net, received);
	return NF_STOLEN;
}

/* Ingress of a device: packets of connections whose way is known. Those that are tagged
 * (VLAN), or for a socket that was chosen already, are no packets of this device.
 */
static unsigned int snat_fast_hook(void *priv, struct sk_buff *skb,
				   const struct nf_hook_state *state)
{
	struct netns_ipvs *ipvs = priv;

	if (skb->protocol != htons(ETH_P_IP) || skb->pkt_type != PACKET_HOST)
		return NF_ACCEPT;
	if (unlikely(!ip_vs_snat_enabled(ipvs) || skb_vlan_tag_present(skb) ||
		     skb_sk_is_prefetched(skb) || !snat_fast_plain(skb)))
		return NF_ACCEPT;
	if (!snat_fast_usual(skb))
		return NF_ACCEPT;
	if (snat_addr_find(ipvs->snat, ip_hdr(skb)->daddr))
		return snat_fast_packet(ipvs, skb, state->net, false);
	return snat_fast_packet(ipvs, skb, state->net, true);
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

static int snat_fast_begin(struct netns_ipvs *ipvs)
{
	struct ip_vs_snat *snat = ipvs->snat;
	int ret;

	if (!IS_ENABLED(CONFIG_NETFILTER_INGRESS))
		return -EOPNOTSUPP;
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
	mutex_init(&snat->fast_lock);
	INIT_LIST_HEAD(&snat->fast_devs);
	snat->fast_notifier.notifier_call = snat_fast_dev_event;
	snat->learn_hook.hook = snat_learn_hook;
	snat->learn_hook.pf = NFPROTO_IPV4;
	snat->learn_hook.hooknum = NF_INET_POST_ROUTING;
	snat->learn_hook.priority = NF_IP_PRI_LAST;
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
