// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * IPVS: source NAT for connections that inside hosts open to the outside.
 *
 * Such a connection is an ordinary NAT connection seen from the other end: the
 * client is the remote host, the virtual address is the pool address with the
 * allocated port, and the real server is the inside host. Tools, timers,
 * flushing and counters see it as that. What differs is how it comes into being
 * (a packet in FORWARD that matches a rule), and how it is found: by the full
 * tuple of either direction, in the two tables of this file.
 *
 * The rule is a service on 0.0.0.0:0, its -m destinations are the pool. For
 * ICMP echo, that has no services, the one for UDP counts, or else the one for
 * TCP. The persistence timeout, that ipvsadm demands for port 0, isn't used: the
 * scheduler alone picks the pool address of every new connection.
 */

#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/icmp.h>
#include <linux/inetdevice.h>
#include <linux/ip.h>
#include <linux/netfilter_ipv4.h>
#include <linux/percpu.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/sysctl.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <linux/vmalloc.h>

#include <net/icmp.h>
#include <net/ip_vs.h>
#include <net/ip_vs_snat.h>

#include "ip_vs_snat_compat.h"

/* Bounds on the work for one new connection */
#define SNAT_PORT_TRIES		128	/* per pool address */
#define SNAT_ADDR_TRIES		4

/* Devices that a pool can lead out by; more than any gateway has uplinks */
#define SNAT_SCOPE_DEVS		16

#define SNAT_LOCKS		64	/* a power of 2 */

enum snat_counter {
	SNAT_CTR_CREATED,
	SNAT_CTR_PORT_CONFLICTS,
	SNAT_CTR_NEXT_ADDRESS,
	SNAT_CTR_EXHAUSTED,
	SNAT_CTR_DROP_NO_CONN,
	SNAT_CTR_DROP_NO_POOL,
	SNAT_CTR_DROP_POOL_GONE,
	SNAT_CTR_DROP_OTHER,
	SNAT_CTR_OUT_OF_SCOPE,
	SNAT_CTR_REAL_SERVER,
	SNAT_CTR_ICMP_ERRORS_OUT,
	SNAT_CTR_ICMP_ERRORS_IN,
	SNAT_CTR_MAX,
};

struct snat_counters {
	unsigned long	value[SNAT_CTR_MAX];
};

/* Which services have a pool */
enum snat_svc {
	SNAT_SVC_TCP,
	SNAT_SVC_UDP,
	SNAT_SVC_MAX,
};

/* The devices by which the traffic of a service leaves for the outside. It's
 * valid as long as neither the routes nor the pools have changed.
 */
struct snat_scope {
	struct rcu_head	rcu_head;
	int		route_gen;
	int		pool_gen;
	int		num;
	int		ifindex[SNAT_SCOPE_DEVS];
};

/* State of a network namespace */
struct ip_vs_snat {
	struct snat_counters __percpu *counters;
	struct ip_vs_snat_proto	tcp;
	bool			has_tcp;
	bool			has_udp;
	int			tcp_timeouts[IP_VS_TCP_S_LAST + 1];
	int			udp_timeout;
	int			icmp_timeout;
	u32			port_range;	/* first << 16 | last */

	spinlock_t		scope_lock;	/* protects updates of scope */
	struct snat_scope __rcu	*scope[SNAT_SVC_MAX];
#ifdef CONFIG_SYSCTL
	struct ctl_table_header	*sysctl_hdr;
	struct ctl_table	*sysctl_tbl;
#endif
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

static struct ip_vs_snat_key snat_key __read_mostly;

/* Connections by their outside tuple, and by their inside tuple. They have as
 * many buckets as the connection table has.
 */
static struct hlist_head *snat_in_tab __read_mostly;
static struct hlist_head *snat_out_tab __read_mostly;

static struct {
	spinlock_t lock;	/* protects buckets of both tables */
} ____cacheline_aligned_in_smp snat_locks[SNAT_LOCKS];

static inline void snat_count(struct netns_ipvs *ipvs, enum snat_counter which)
{
	this_cpu_inc(ipvs->snat->counters->value[which]);
}

/* Tables */

static u32 snat_hash(struct netns_ipvs *ipvs, const struct snat_tuple *t)
{
	return ip_vs_snat_table_hash(&snat_key, ipvs, t->protocol,
				     t->raddr, t->rport, t->laddr, t->lport) &
	       (ip_vs_conn_tab_size - 1);
}

static spinlock_t *snat_lock(u32 hash)
{
	return &snat_locks[hash & (SNAT_LOCKS - 1)].lock;
}

static void snat_tuple_of_conn(struct snat_tuple *t,
			       const struct ip_vs_conn *cp, bool inside)
{
	t->protocol = cp->protocol;
	t->raddr = cp->caddr.ip;
	t->rport = cp->cport;
	t->laddr = inside ? cp->daddr.ip : cp->vaddr.ip;
	t->lport = inside ? cp->dport : cp->vport;
}

static inline bool snat_out_match(const struct ip_vs_conn *cp,
				  const struct netns_ipvs *ipvs,
				  const struct snat_tuple *t)
{
	return cp->dport == t->lport && cp->cport == t->rport &&
	       cp->daddr.ip == t->laddr && cp->caddr.ip == t->raddr &&
	       cp->protocol == t->protocol && ip_vs_snat_ipvs(cp) == ipvs;
}

static inline bool snat_in_match(const struct ip_vs_conn *cp,
				 const struct netns_ipvs *ipvs,
				 const struct snat_tuple *t)
{
	return cp->vport == t->lport && cp->cport == t->rport &&
	       cp->vaddr.ip == t->laddr && cp->caddr.ip == t->raddr &&
	       cp->protocol == t->protocol && ip_vs_snat_ipvs(cp) == ipvs;
}

/* Called under RCU lock, as all lookups are. Takes a reference. */
static struct ip_vs_conn *snat_out_get(struct netns_ipvs *ipvs,
				       const struct snat_tuple *t)
{
	struct ip_vs_conn *cp;

	hlist_for_each_entry_rcu(cp, &snat_out_tab[snat_hash(ipvs, t)],
				 snat_out) {
		if (snat_out_match(cp, ipvs, t) && __ip_vs_conn_get(cp))
			return cp;
	}
	return NULL;
}

static struct ip_vs_conn *snat_in_get(struct netns_ipvs *ipvs,
				      const struct snat_tuple *t)
{
	struct ip_vs_conn *cp;

	hlist_for_each_entry_rcu(cp, &snat_in_tab[snat_hash(ipvs, t)],
				 snat_in) {
		if (snat_in_match(cp, ipvs, t) && __ip_vs_conn_get(cp))
			return cp;
	}
	return NULL;
}

static bool snat_in_taken(struct netns_ipvs *ipvs, const struct snat_tuple *t,
			  u32 hash)
{
	struct ip_vs_conn *cp;

	hlist_for_each_entry_rcu(cp, &snat_in_tab[hash], snat_in) {
		if (snat_in_match(cp, ipvs, t))
			return true;
	}
	return false;
}

/* Claim the outside tuple of a connection */
static bool snat_in_insert(struct ip_vs_conn *cp)
{
	struct netns_ipvs *ipvs = ip_vs_snat_ipvs(cp);
	struct snat_tuple t;
	bool taken;
	u32 hash;

	snat_tuple_of_conn(&t, cp, false);
	hash = snat_hash(ipvs, &t);

	spin_lock_bh(snat_lock(hash));
	taken = snat_in_taken(ipvs, &t, hash);
	if (!taken)
		hlist_add_head_rcu(&cp->snat_in, &snat_in_tab[hash]);
	spin_unlock_bh(snat_lock(hash));
	return !taken;
}

/* Claim the inside tuple of a connection. If another CPU was faster with the
 * same flow, get the connection that it has made.
 */
static struct ip_vs_conn *snat_out_insert(struct ip_vs_conn *cp)
{
	struct netns_ipvs *ipvs = ip_vs_snat_ipvs(cp);
	struct ip_vs_conn *other;
	struct snat_tuple t;
	u32 hash;

	snat_tuple_of_conn(&t, cp, true);
	hash = snat_hash(ipvs, &t);

	spin_lock_bh(snat_lock(hash));
	other = snat_out_get(ipvs, &t);
	if (!other)
		hlist_add_head_rcu(&cp->snat_out, &snat_out_tab[hash]);
	spin_unlock_bh(snat_lock(hash));
	return other;
}

static void snat_in_unlink(struct ip_vs_conn *cp)
{
	struct snat_tuple t;
	u32 hash;

	snat_tuple_of_conn(&t, cp, false);
	hash = snat_hash(ip_vs_snat_ipvs(cp), &t);

	spin_lock_bh(snat_lock(hash));
	hlist_del_init_rcu(&cp->snat_in);
	spin_unlock_bh(snat_lock(hash));
}

static void snat_out_unlink(struct ip_vs_conn *cp)
{
	struct snat_tuple t;
	u32 hash;

	snat_tuple_of_conn(&t, cp, true);
	hash = snat_hash(ip_vs_snat_ipvs(cp), &t);

	spin_lock_bh(snat_lock(hash));
	hlist_del_init_rcu(&cp->snat_out);
	spin_unlock_bh(snat_lock(hash));
}

/**
 * ip_vs_snat_conn_hashkey - hash of an SNAT connection for the connection table
 * @cp:		the connection
 *
 * The stock hash has only the remote address and port in it. The connections
 * of all inside hosts to one server must not end up in one bucket.
 *
 * Return: the hash, of 32 bits.
 */
u32 ip_vs_snat_conn_hashkey(const struct ip_vs_conn *cp)
{
	struct snat_tuple t;

	snat_tuple_of_conn(&t, cp, false);
	return snat_hash(ip_vs_snat_ipvs(cp), &t);
}

/* Connections */

static int snat_xmit(IP_VS_SNAT_XMIT_PARAMS);

/**
 * ip_vs_snat_conn_init - set up what is special in a new SNAT connection
 * @cp:		the connection, that nobody else sees yet
 */
void ip_vs_snat_conn_init(struct ip_vs_conn *cp)
{
	INIT_HLIST_NODE(&cp->snat_in);
	INIT_HLIST_NODE(&cp->snat_out);

	/* Whatever the destination says, this connection is translated: its
	 * flags are about requests for the pool address.
	 */
	cp->flags &= ~(IP_VS_CONN_F_FWD_MASK | IP_VS_CONN_F_NOOUTPUT |
		       IP_VS_CONN_F_ONE_PACKET);
	cp->packet_xmit = snat_xmit;

	atomic_inc(&ip_vs_snat_ipvs(cp)->snat_conns);
}

/**
 * __ip_vs_snat_conn_release - forget an SNAT connection
 * @cp:		the connection, that nobody has a reference to
 */
void __ip_vs_snat_conn_release(struct ip_vs_conn *cp)
{
	snat_out_unlink(cp);
	snat_in_unlink(cp);
	atomic_dec(&ip_vs_snat_ipvs(cp)->snat_conns);
}

/* Put back a connection that carried a packet. Moving the timer is the dearest
 * part of that, so don't do it for every packet of a burst.
 */
static void snat_conn_put(struct ip_vs_conn *cp)
{
	unsigned long expires = jiffies + cp->timeout;

	if (!timer_pending(&cp->timer) || expires - cp->timer.expires >= HZ / 8)
		mod_timer(&cp->timer, expires);
	__ip_vs_conn_put(cp);
}

/* Let a connection go now; its flow gets a new one with the next packet */
static void snat_conn_retire(struct ip_vs_conn *cp)
{
	snat_out_unlink(cp);
	cp->timeout = 0;
	ip_vs_conn_expire_now(cp);
	__ip_vs_conn_put(cp);
}

static void snat_account(struct ip_vs_conn *cp, unsigned int len, bool out)
{
	struct ip_vs_dest *dest = cp->dest;
	struct ip_vs_service *svc;

	if (!ip_vs_snat_dest_available(dest))
		return;

	ip_vs_snat_stats_packet(&dest->stats, len, out);
	svc = rcu_dereference(dest->svc);
	if (svc)
		ip_vs_snat_stats_packet(&svc->stats, len, out);
	ip_vs_snat_stats_packet(ip_vs_snat_tot_stats(ip_vs_snat_ipvs(cp)),
				len, out);
}

static void snat_account_conn(struct ip_vs_conn *cp)
{
	struct ip_vs_service *svc;

	ip_vs_snat_stats_conn(&cp->dest->stats);
	svc = rcu_dereference(cp->dest->svc);
	if (svc)
		ip_vs_snat_stats_conn(&svc->stats);
	ip_vs_snat_stats_conn(ip_vs_snat_tot_stats(ip_vs_snat_ipvs(cp)));
}

/* The flags that make a TCP connection change its state */
static __be32 snat_tcp_flags(const struct tcphdr *th)
{
	return tcp_flag_word(th) & (TCP_FLAG_SYN | TCP_FLAG_ACK |
				    TCP_FLAG_RST | TCP_FLAG_FIN);
}

/* Follow the connection with a packet that has been translated */
static void snat_set_state(struct ip_vs_conn *cp, struct sk_buff *skb,
			   unsigned int thoff, bool out)
{
	struct ip_vs_snat *snat = ip_vs_snat_ipvs(cp)->snat;
	int *established = &snat->tcp_timeouts[IP_VS_TCP_S_ESTABLISHED];
	int dir = out ? IP_VS_DIR_OUTPUT : IP_VS_DIR_INPUT;
	const struct tcphdr *th;

	switch (cp->protocol) {
	case IPPROTO_TCP:
		th = (const struct tcphdr *)(skb->data + thoff);
		if (likely(cp->state == IP_VS_TCP_S_ESTABLISHED &&
			   snat_tcp_flags(th) == TCP_FLAG_ACK)) {
			cp->timeout = READ_ONCE(*established);
			break;
		}
		ip_vs_snat_tcp_transition(&snat->tcp, cp, dir, skb, thoff);
		break;
	case IPPROTO_UDP:
		cp->timeout = READ_ONCE(snat->udp_timeout);
		break;
	default:
		cp->timeout = READ_ONCE(snat->icmp_timeout);
		break;
	}
}

/* Has the connection ended, so that a SYN starts another one? */
static bool snat_tcp_ended(const struct ip_vs_conn *cp)
{
	return cp->state == IP_VS_TCP_S_TIME_WAIT ||
	       cp->state == IP_VS_TCP_S_CLOSE;
}

static bool snat_is_syn(const struct sk_buff *skb, unsigned int thoff)
{
	struct tcphdr _th, *th;

	th = skb_header_pointer(skb, thoff, sizeof(_th), &_th);
	return th && snat_tcp_flags(th) == TCP_FLAG_SYN;
}

enum snat_usable {
	SNAT_USE,		/* connection is fine */
	SNAT_DROP,		/* its pool address was taken away */
	SNAT_RETIRED,		/* it's gone, go on as if there was none */
};

/* May the packet go on with this connection? Keeps the reference for SNAT_USE
 * only. As in all of IPVS, the connections of a deleted address stand still
 * until it's added again, or are given up if expire_nodest_conn is set.
 */
static enum snat_usable snat_conn_check(struct ip_vs_conn *cp,
					struct sk_buff *skb,
					unsigned int thoff, bool out)
{
	struct ip_vs_dest *dest = cp->dest;
	struct netns_ipvs *ipvs = ip_vs_snat_ipvs(cp);
	bool gone = !ip_vs_snat_dest_available(dest);
	bool restart = false;

	if (likely(!gone && atomic_read(&dest->weight)))
		return SNAT_USE;

	/* A new connection that happens to have the ports of an old one must
	 * not use an address that is closed to new connections.
	 */
	if (out && cp->protocol == IPPROTO_TCP && snat_is_syn(skb, thoff))
		restart = gone || snat_tcp_ended(cp);

	if (restart || (gone && sysctl_expire_nodest_conn(ipvs))) {
		snat_conn_retire(cp);
		return SNAT_RETIRED;
	}
	if (!gone)
		return SNAT_USE;

	snat_count(ipvs, SNAT_CTR_DROP_POOL_GONE);
	__ip_vs_conn_put(cp);
	return SNAT_DROP;
}

/* Packets */

/* The tuple of a packet, false if it has none that could be translated. In the
 * ICMP header, only requests go out, and only replies come in.
 */
static bool snat_tuple_of_packet(struct snat_tuple *t,
				 const struct sk_buff *skb,
				 const struct ip_vs_iphdr *iph, bool out)
{
	t->protocol = iph->protocol;
	t->laddr = out ? iph->saddr.ip : iph->daddr.ip;
	t->raddr = out ? iph->daddr.ip : iph->saddr.ip;

	switch (iph->protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP: {
		__be16 _ports[2], *ports;

		ports = skb_header_pointer(skb, iph->len, sizeof(_ports),
					   _ports);
		if (!ports)
			return false;
		t->lport = out ? ports[0] : ports[1];
		t->rport = out ? ports[1] : ports[0];
		return true;
	}
	case IPPROTO_ICMP: {
		struct icmphdr _ic, *ic;

		ic = skb_header_pointer(skb, iph->len, sizeof(_ic), &_ic);
		if (!ic || ic->type != (out ? ICMP_ECHO : ICMP_ECHOREPLY))
			return false;
		t->lport = ic->un.echo.id;
		t->rport = 0;
		return true;
	}
	default:
		return false;
	}
}

/* What the new address and port of a packet mean for its checksum */
static void snat_update_sum(struct sk_buff *skb, __sum16 *sum,
			    __be32 from, __be32 to,
			    __be16 from_port, __be16 to_port)
{
	__wsum diff;

	if (unlikely(skb->ip_summed == CHECKSUM_PARTIAL)) {
		/* It's only the sum of the pseudo header yet */
		inet_proto_csum_replace4(sum, skb, from, to, true);
		return;
	}
	diff = csum_add(csum_sub((__force __wsum)to, (__force __wsum)from),
			csum_sub((__force __wsum)to_port,
				 (__force __wsum)from_port));
	*sum = csum_fold(csum_add(~csum_unfold(*sum), diff));
}

/* Replace the local address and port of a packet: the source of one that goes
 * out, the destination of one that comes in. What was summed by a device must
 * be forgotten by now.
 */
static bool snat_mangle(struct sk_buff *skb, const struct ip_vs_conn *cp,
			unsigned int thoff, bool out)
{
	__be32 from = out ? cp->daddr.ip : cp->vaddr.ip;
	__be32 to = out ? cp->vaddr.ip : cp->daddr.ip;
	__be16 from_port = out ? cp->dport : cp->vport;
	__be16 to_port = out ? cp->vport : cp->dport;
	struct iphdr *iph;

	switch (cp->protocol) {
	case IPPROTO_TCP: {
		struct tcphdr *th;

		if (skb_ensure_writable(skb, thoff + sizeof(*th)))
			return false;
		th = (struct tcphdr *)(skb->data + thoff);
		snat_update_sum(skb, &th->check, from, to, from_port, to_port);
		*(out ? &th->source : &th->dest) = to_port;
		break;
	}
	case IPPROTO_UDP: {
		struct udphdr *uh;

		if (skb_ensure_writable(skb, thoff + sizeof(*uh)))
			return false;
		uh = (struct udphdr *)(skb->data + thoff);
		if (uh->check || skb->ip_summed == CHECKSUM_PARTIAL) {
			snat_update_sum(skb, &uh->check, from, to,
					from_port, to_port);
			if (!uh->check)
				uh->check = CSUM_MANGLED_0;
		}
		*(out ? &uh->source : &uh->dest) = to_port;
		break;
	}
	default: {
		struct icmphdr *ic;

		if (skb_ensure_writable(skb, thoff + sizeof(*ic)))
			return false;
		ic = (struct icmphdr *)(skb->data + thoff);
		csum_replace2(&ic->checksum, from_port, to_port);
		ic->un.echo.id = to_port;
		break;
	}
	}

	iph = ip_hdr(skb);
	csum_replace4(&iph->check, from, to);
	*(out ? &iph->saddr : &iph->daddr) = to;
	return true;
}

/* Hand conntrack its part, and keep the rest of IPVS off the packet */
static void snat_finish(struct sk_buff *skb, struct ip_vs_conn *cp, bool out)
{
	skb->ipvs_property = 1;
	ip_vs_snat_conntrack(skb, cp, out);

	/* The length of the pieces was checked, now they may be restored */
	ip_vs_snat_keep_fragments(skb);
}

/* A packet from an inside host, in FORWARD. Gives up the reference. */
static unsigned int snat_send_out(struct sk_buff *skb, struct ip_vs_conn *cp,
				  struct ip_vs_iphdr *iph)
{
	if (!snat_mangle(skb, cp, iph->len, true)) {
		snat_count(ip_vs_snat_ipvs(cp), SNAT_CTR_DROP_OTHER);
		snat_conn_put(cp);
		return NF_DROP;
	}
	IP_VS_DBG(11, "SNAT: out %s %pI4:%u->%pI4:%u as %pI4:%u\n",
		  ip_vs_proto_name(cp->protocol),
		  &cp->daddr.ip, ntohs(cp->dport),
		  &cp->caddr.ip, ntohs(cp->cport),
		  &cp->vaddr.ip, ntohs(cp->vport));

	snat_account(cp, skb->len, true);
	snat_set_state(cp, skb, iph->len, true);
	snat_finish(skb, cp, true);
	snat_conn_put(cp);
	return NF_ACCEPT;
}

/* Find the way to the inside host, and see that the packet may take it. What
 * is wrong with it is reported to the sender, while it still is its packet.
 */
static struct dst_entry *snat_route_in(struct sk_buff *skb,
				       struct ip_vs_conn *cp, bool forward)
{
	struct netns_ipvs *ipvs = ip_vs_snat_ipvs(cp);
	struct dst_entry *dst;

	dst = ip_vs_snat_route_to(ipvs, skb, cp->daddr.ip);
	if (!dst)
		return NULL;
	if (ip_vs_snat_route_is_local(dst))
		goto fail;

	/* ip_forward() has seen to the TTL of a forwarded packet */
	if (!forward && ip_hdr(skb)->ttl <= 1) {
		IP_INC_STATS(ipvs->net, IPSTATS_MIB_INHDRERRORS);
		icmp_send(skb, ICMP_TIME_EXCEEDED, ICMP_EXC_TTL, 0);
		goto fail;
	}
	if (ip_hdr(skb)->frag_off & htons(IP_DF) &&
	    ip_vs_snat_exceeds_mtu(skb, dst_mtu(dst))) {
		IP_VS_DBG(1, "SNAT: frag needed for %pI4\n",
			  &ip_hdr(skb)->saddr);
		icmp_send(skb, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED,
			  htonl(dst_mtu(dst)));
		goto fail;
	}
	return dst;

fail:
	dst_release(dst);
	return NULL;
}

/* Put a translated packet on the way to the inside host. In FORWARD it's
 * there already, and only turns off to another device.
 */
static unsigned int snat_send_in(struct sk_buff *skb, struct ip_vs_conn *cp,
				 struct dst_entry *dst, bool forward)
{
	skb_dst_drop(skb);
	skb_dst_set(skb, dst);
	if (skb_cow(skb, LL_RESERVED_SPACE(dst->dev)))
		return NF_DROP;

	snat_finish(skb, cp, false);
	if (forward)
		return NF_ACCEPT;

	ip_decrease_ttl(ip_hdr(skb));
	/* Early demux may have found a socket of the pool address */
	skb_orphan(skb);
	ip_vs_snat_output(ip_vs_snat_ipvs(cp), skb);
	return NF_STOLEN;
}

/* A packet from the remote host. Keeps the reference. */
static unsigned int snat_reply(struct sk_buff *skb, struct ip_vs_conn *cp,
			       unsigned int thoff, bool forward)
{
	struct dst_entry *dst = snat_route_in(skb, cp, forward);
	unsigned int ret;

	if (!dst)
		goto drop;

	/* The sum of the whole packet is of no use with another destination */
	skb_forward_csum(skb);
	if (!snat_mangle(skb, cp, thoff, false)) {
		dst_release(dst);
		goto drop;
	}
	IP_VS_DBG(11, "SNAT: in %s %pI4:%u->%pI4:%u to %pI4:%u\n",
		  ip_vs_proto_name(cp->protocol),
		  &cp->caddr.ip, ntohs(cp->cport),
		  &cp->vaddr.ip, ntohs(cp->vport),
		  &cp->daddr.ip, ntohs(cp->dport));

	snat_account(cp, skb->len, false);
	snat_set_state(cp, skb, thoff, false);
	atomic_inc(&cp->in_pkts);

	ret = snat_send_in(skb, cp, dst, forward);
	if (likely(ret != NF_DROP))
		return ret;

drop:
	snat_count(ip_vs_snat_ipvs(cp), SNAT_CTR_DROP_OTHER);
	return NF_DROP;
}

/* Packet transmitter of a connection, in LOCAL_IN. The engine finds its
 * connections itself, before the rest of IPVS looks for them. This is here
 * because a connection needs a transmitter that does the right thing, whoever
 * calls it.
 */
static int snat_xmit(IP_VS_SNAT_XMIT_PARAMS)
{
	if (snat_reply(skb, cp, ip_hdrlen(skb), false) == NF_DROP)
		kfree_skb(skb);
	return NF_STOLEN;
}

/* ICMP errors */

/* An ICMP error, and the start of the packet that it is about */
struct snat_icmp {
	struct snat_tuple	t;
	unsigned int		icmp_off;
	unsigned int		ip_off;		/* of the quoted packet */
	unsigned int		th_off;
};

static bool snat_icmp_is_error(u8 type)
{
	switch (type) {
	case ICMP_DEST_UNREACH:
	case ICMP_SOURCE_QUENCH:
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAMETERPROB:
		return true;
	default:
		return false;
	}
}

/* The tuple of the packet that an ICMP error is about. An error that goes out
 * is about a packet that came in, so local and remote are the other way round.
 */
static bool snat_icmp_parse(struct snat_icmp *err, const struct sk_buff *skb,
			    const struct ip_vs_iphdr *iph, bool out)
{
	struct iphdr _cih, *cih;
	struct ip_vs_iphdr ciph;

	err->icmp_off = iph->len;
	err->ip_off = iph->len + sizeof(struct icmphdr);

	cih = skb_header_pointer(skb, err->ip_off, sizeof(_cih), &_cih);
	if (!cih || cih->version != 4 || cih->ihl < 5)
		return false;
	/* Only the first fragment has ports, and errors go to the sender */
	if (cih->frag_off & htons(IP_OFFSET) || cih->saddr != iph->daddr.ip)
		return false;
	err->th_off = err->ip_off + cih->ihl * 4;

	ciph.len = err->th_off;
	ciph.protocol = cih->protocol;
	ciph.saddr.ip = cih->saddr;
	ciph.daddr.ip = cih->daddr;
	return snat_tuple_of_packet(&err->t, skb, &ciph, !out);
}

/* Replace something in a quoted packet, and keep the ICMP checksum right */
static void snat_icmp_put16(struct icmphdr *ic, __be16 *field, __be16 to)
{
	csum_replace2(&ic->checksum, *field, to);
	*field = to;
}

static void snat_icmp_put_sum(struct icmphdr *ic, __sum16 *field, __sum16 to)
{
	csum_replace2(&ic->checksum, (__force __be16)*field,
		      (__force __be16)to);
	*field = to;
}

/* Translate the quoted packet as if it had been quoted before the gateway saw
 * it. Its transport checksum is adjusted as well, if the quote is long enough.
 */
static bool snat_icmp_mangle(struct sk_buff *skb, const struct ip_vs_conn *cp,
			     const struct snat_icmp *err, bool out)
{
	__be32 from = out ? cp->daddr.ip : cp->vaddr.ip;
	__be32 to = out ? cp->vaddr.ip : cp->daddr.ip;
	__be16 from_port = out ? cp->dport : cp->vport;
	__be16 to_port = out ? cp->vport : cp->dport;
	unsigned int sum_off, port_off, need;
	bool pseudo = true;
	struct iphdr *iph, *cih;
	struct icmphdr *ic;
	__sum16 sum;
	u8 *th;

	switch (cp->protocol) {
	case IPPROTO_TCP:
		sum_off = offsetof(struct tcphdr, check);
		port_off = out ? offsetof(struct tcphdr, dest) :
				 offsetof(struct tcphdr, source);
		break;
	case IPPROTO_UDP:
		sum_off = offsetof(struct udphdr, check);
		port_off = out ? offsetof(struct udphdr, dest) :
				 offsetof(struct udphdr, source);
		break;
	default:
		sum_off = offsetof(struct icmphdr, checksum);
		port_off = offsetof(struct icmphdr, un.echo.id);
		pseudo = false;
		break;
	}

	need = max(sum_off, port_off) + sizeof(sum);
	if (err->th_off + need > skb->len) {
		sum_off = 0;
		need = port_off + sizeof(__be16);
	}
	if (skb_ensure_writable(skb, err->th_off + need))
		return false;

	iph = ip_hdr(skb);
	ic = (struct icmphdr *)(skb->data + err->icmp_off);
	cih = (struct iphdr *)(skb->data + err->ip_off);
	th = skb->data + err->th_off;
	skb->ip_summed = CHECKSUM_NONE;

	if (sum_off) {
		__sum16 *field = (__sum16 *)(th + sum_off);

		sum = *field;
		if (sum || cp->protocol != IPPROTO_UDP) {
			if (pseudo)
				csum_replace4(&sum, from, to);
			csum_replace2(&sum, from_port, to_port);
			if (!sum && cp->protocol == IPPROTO_UDP)
				sum = CSUM_MANGLED_0;
			snat_icmp_put_sum(ic, field, sum);
		}
	}
	snat_icmp_put16(ic, (__be16 *)(th + port_off), to_port);

	sum = cih->check;
	csum_replace4(&sum, from, to);
	snat_icmp_put_sum(ic, &cih->check, sum);
	csum_replace4(&ic->checksum, from, to);
	if (out) {
		cih->daddr = to;
		/* It may also come from a router on the way to the host */
		csum_replace4(&iph->check, iph->saddr, to);
		iph->saddr = to;
	} else {
		cih->saddr = to;
		csum_replace4(&iph->check, iph->daddr, to);
		iph->daddr = to;
	}
	return true;
}

/* An error about a packet of a connection. Keeps the reference, and does not
 * count as sign of life.
 */
static unsigned int snat_icmp_error(struct sk_buff *skb, struct ip_vs_conn *cp,
				    const struct snat_icmp *err, bool out,
				    bool forward)
{
	struct dst_entry *dst = NULL;
	unsigned int ret;

	if (!out) {
		dst = snat_route_in(skb, cp, forward);
		if (!dst)
			goto drop;
	}
	if (!snat_icmp_mangle(skb, cp, err, out)) {
		dst_release(dst);
		goto drop;
	}
	IP_VS_DBG(11, "SNAT: ICMP error %s %pI4->%pI4\n", out ? "out" : "in",
		  &ip_hdr(skb)->saddr, &ip_hdr(skb)->daddr);

	snat_account(cp, skb->len, out);
	if (out) {
		snat_finish(skb, cp, true);
		ret = NF_ACCEPT;
	} else {
		ret = snat_send_in(skb, cp, dst, forward);
		if (unlikely(ret == NF_DROP))
			goto drop;
	}
	snat_count(ip_vs_snat_ipvs(cp), out ? SNAT_CTR_ICMP_ERRORS_OUT :
					      SNAT_CTR_ICMP_ERRORS_IN);
	return ret;

drop:
	snat_count(ip_vs_snat_ipvs(cp), SNAT_CTR_DROP_OTHER);
	return NF_DROP;
}

static bool snat_known_icmp_error(struct netns_ipvs *ipvs, struct sk_buff *skb,
				  struct ip_vs_iphdr *iph, bool forward,
				  unsigned int *verdict)
{
	struct ip_vs_conn *cp = NULL;
	struct snat_icmp err;
	bool out = false;

	if (forward && snat_icmp_parse(&err, skb, iph, true)) {
		cp = snat_out_get(ipvs, &err.t);
		out = cp;
	}
	if (!cp && snat_icmp_parse(&err, skb, iph, false))
		cp = snat_in_get(ipvs, &err.t);
	if (!cp)
		return false;

	if (ip_vs_snat_dest_available(cp->dest)) {
		*verdict = snat_icmp_error(skb, cp, &err, out, forward);
	} else {
		snat_count(ipvs, SNAT_CTR_DROP_POOL_GONE);
		*verdict = NF_DROP;
	}
	__ip_vs_conn_put(cp);
	return true;
}

/* Is it an ICMP error? The other ICMP messages that matter have a tuple. */
static bool snat_is_icmp_error(const struct sk_buff *skb,
			       const struct ip_vs_iphdr *iph)
{
	struct icmphdr _ic, *ic;

	if (iph->protocol != IPPROTO_ICMP)
		return false;
	ic = skb_header_pointer(skb, iph->len, sizeof(_ic), &_ic);
	return ic && snat_icmp_is_error(ic->type);
}

static bool snat_known(struct netns_ipvs *ipvs, struct sk_buff *skb,
		       struct ip_vs_iphdr *iph, unsigned int hook,
		       unsigned int *verdict)
{
	bool forward = hook == NF_INET_FORWARD;
	struct ip_vs_conn *cp;
	struct snat_tuple t;
	enum snat_usable use;

	/* Never touch what this host sends itself */
	if (!forward && (hook != NF_INET_LOCAL_IN ||
			 skb->pkt_type != PACKET_HOST))
		return false;
	if (iph->protocol != IPPROTO_TCP && iph->protocol != IPPROTO_UDP &&
	    iph->protocol != IPPROTO_ICMP)
		return false;

	if (unlikely(ip_is_fragment(ip_hdr(skb)))) {
		if (ip_vs_snat_defrag(ipvs, skb)) {
			*verdict = NF_STOLEN;
			return true;
		}
		ip_vs_fill_iph_skb(AF_INET, skb, false, iph);
	}

	if (unlikely(snat_is_icmp_error(skb, iph)))
		return snat_known_icmp_error(ipvs, skb, iph, forward, verdict);

	if (forward && snat_tuple_of_packet(&t, skb, iph, true)) {
		cp = snat_out_get(ipvs, &t);
		if (cp) {
			use = snat_conn_check(cp, skb, iph->len, true);
			if (likely(use == SNAT_USE))
				*verdict = snat_send_out(skb, cp, iph);
			else
				*verdict = NF_DROP;
			return use != SNAT_RETIRED;
		}
	}

	if (!snat_tuple_of_packet(&t, skb, iph, false))
		return false;
	cp = snat_in_get(ipvs, &t);
	if (!cp)
		return false;
	use = snat_conn_check(cp, skb, iph->len, false);
	if (likely(use == SNAT_USE)) {
		*verdict = snat_reply(skb, cp, iph->len, forward);
		snat_conn_put(cp);
	} else {
		*verdict = NF_DROP;
	}
	return true;
}

/**
 * __ip_vs_snat_known - handle a packet of an existing SNAT connection
 * @ipvs:	the network namespace
 * @skb:	the packet
 * @iph:	its IP header, is updated if the packet is reassembled
 * @hook:	FORWARD, for both directions, or LOCAL_IN, where replies to a local
 *		pool address arrive
 * @verdict:	what becomes of the packet, if it was ours
 *
 * Return: whether it belongs to a connection.
 */
bool __ip_vs_snat_known(struct netns_ipvs *ipvs, struct sk_buff *skb,
			struct ip_vs_iphdr *iph, unsigned int hook,
			unsigned int *verdict)
{
	bool known;

	/* They are on when a user program has let the packet pass (NFQUEUE) */
	local_bh_disable();
	known = snat_known(ipvs, skb, iph, hook, verdict);
	local_bh_enable();
	return known;
}

/* Scope: which traffic leaves for the outside */

/* The caller has to put it back, and must not look for other services until then */
static struct ip_vs_service *snat_find_service(struct netns_ipvs *ipvs,
					       u8 protocol, enum snat_svc *which)
{
	struct ip_vs_service *svc;

	if (protocol != IPPROTO_TCP) {
		svc = ip_vs_snat_service_get(ipvs, IPPROTO_UDP);
		*which = SNAT_SVC_UDP;
		if (svc || protocol == IPPROTO_UDP)
			return svc;
	}
	*which = SNAT_SVC_TCP;
	return ip_vs_snat_service_get(ipvs, IPPROTO_TCP);
}

/* No packet leaves by a loopback or dummy device: pool addresses are put there
 * in order to be on none in particular.
 */
static bool snat_dev_is_virtual(const struct net_device *dev)
{
	return dev->flags & IFF_LOOPBACK ||
	       (dev->flags & (IFF_NOARP | IFF_POINTOPOINT)) == IFF_NOARP;
}

static void snat_scope_add(void *data, struct net_device *dev)
{
	struct snat_scope *scope = data;
	int i;

	if (snat_dev_is_virtual(dev))
		return;
	for (i = 0; i < scope->num; i++) {
		if (scope->ifindex[i] == dev->ifindex)
			return;
	}
	if (scope->num < SNAT_SCOPE_DEVS)
		scope->ifindex[scope->num++] = dev->ifindex;
}

/* Stock tools say nothing of inside and outside, so the pool has to: outside is
 * where its addresses are, or would be. If it doesn't tell, outside is where the
 * default route leads to.
 */
static void snat_scope_fill(struct snat_scope *scope, struct netns_ipvs *ipvs,
			    struct ip_vs_service *svc,
			    const struct snat_scope *old)
{
	unsigned int left = READ_ONCE(svc->num_dests);
	struct ip_vs_dest *dest;
	bool empty = true;

	list_for_each_entry_rcu(dest, &svc->destinations, n_list) {
		/* One that has moved to another service's list would lead us
		 * round and round in there
		 */
		if (!left--)
			break;
		if (!ip_vs_snat_dest_is_pool(dest))
			continue;
		empty = false;
		if (!ip_vs_snat_for_addr_dev(ipvs, dest->addr.ip,
					     snat_scope_add, scope))
			ip_vs_snat_for_route_devs(ipvs, dest->addr.ip,
						  snat_scope_add, scope);
	}

	/* A pool that was emptied must not let private addresses out */
	if (empty && old && old->num) {
		scope->num = old->num;
		memcpy(scope->ifindex, old->ifindex, sizeof(scope->ifindex));
	}
	if (!scope->num)
		ip_vs_snat_for_route_devs(ipvs, 0, snat_scope_add, scope);
	if (!scope->num)
		IP_VS_ERR_RL("SNAT: no outside device, neither by pool nor by default route\n");
}

static bool snat_scope_current(const struct snat_scope *scope,
			       struct netns_ipvs *ipvs)
{
	return scope && scope->route_gen == ip_vs_snat_route_gen(ipvs) &&
	       scope->pool_gen == atomic_read(&ipvs->snat_pool_gen);
}

static struct snat_scope *snat_scope_update(struct netns_ipvs *ipvs,
					    struct ip_vs_service *svc,
					    enum snat_svc which)
{
	struct ip_vs_snat *snat = ipvs->snat;
	struct snat_scope *scope, *old;

	spin_lock_bh(&snat->scope_lock);
	old = rcu_dereference_protected(snat->scope[which],
					lockdep_is_held(&snat->scope_lock));
	scope = old;
	if (snat_scope_current(old, ipvs))
		goto unlock;

	scope = kzalloc(sizeof(*scope), GFP_ATOMIC);
	if (!scope) {
		/* The old one is better than none */
		scope = old;
		goto unlock;
	}
	scope->route_gen = ip_vs_snat_route_gen(ipvs);
	scope->pool_gen = atomic_read(&ipvs->snat_pool_gen);
	/* Note which state it is before looking at it */
	smp_rmb();
	snat_scope_fill(scope, ipvs, svc, old);
	rcu_assign_pointer(snat->scope[which], scope);
	if (old)
		kfree_rcu(old, rcu_head);

unlock:
	spin_unlock_bh(&snat->scope_lock);
	return scope;
}

/* Does the packet leave for the outside? */
static bool snat_leaves(struct netns_ipvs *ipvs, struct ip_vs_service *svc,
			enum snat_svc which, const struct sk_buff *skb,
			const struct net_device *in,
			const struct net_device *out)
{
	struct snat_scope *scope = rcu_dereference(ipvs->snat->scope[which]);
	int i;

	if (unlikely(!snat_scope_current(scope, ipvs)))
		scope = snat_scope_update(ipvs, svc, which);
	if (!scope)
		return false;

	for (i = 0; i < scope->num; i++) {
		if (scope->ifindex[i] != out->ifindex)
			continue;
		/* With one device for all, outside starts at the next router */
		return in != out || ip_vs_snat_via_router(skb);
	}
	return false;
}

/* Is the source a service, or one of its real servers? Then the packet is a
 * late reply of a connection that IPVS has forgotten.
 */
static bool snat_from_server(struct netns_ipvs *ipvs,
			     const struct snat_tuple *t)
{
	const union nf_inet_addr addr = { .ip = t->laddr };

	if (t->protocol == IPPROTO_ICMP)
		return false;
	return ip_vs_has_real_service(ipvs, AF_INET, t->protocol, &addr,
				      t->lport) ||
	       ip_vs_snat_has_service(ipvs, t->protocol, t->laddr, t->lport);
}

/* Pool addresses and ports */

static bool snat_dest_usable(struct ip_vs_dest *dest)
{
	return ip_vs_snat_dest_is_pool(dest) && atomic_read(&dest->weight) > 0 &&
	       !(dest->flags & IP_VS_DEST_F_OVERLOAD);
}

/* The next usable pool address of the service, perhaps the same one again. Some
 * addresses may be on their way out of the list, so don't count on coming back
 * to the start of it.
 */
static struct ip_vs_dest *snat_next_dest(struct ip_vs_service *svc,
					 struct ip_vs_dest *dest)
{
	struct list_head *pos = &dest->n_list;
	unsigned int i;

	for (i = 0; i <= svc->num_dests + 1; i++) {
		pos = rcu_dereference(list_next_rcu(pos));
		if (pos == &svc->destinations)
			continue;
		dest = list_entry(pos, struct ip_vs_dest, n_list);
		if (snat_dest_usable(dest))
			return dest;
	}
	return NULL;
}

static struct ip_vs_dest *snat_schedule(struct ip_vs_service *svc,
					struct sk_buff *skb,
					struct ip_vs_iphdr *iph)
{
	struct ip_vs_dest *dest = ip_vs_snat_schedule(svc, skb, iph);

	/* A destination of another forwarding method may be among them */
	if (dest && !snat_dest_usable(dest))
		dest = snat_next_dest(svc, dest);
	return dest;
}

/* Can the pool address and port of this outside tuple be used? The caller claims
 * it later, so it's no harm if the answer is out of date by then.
 */
static bool snat_port_free(struct netns_ipvs *ipvs, const struct snat_tuple *t,
			   bool local, int ifindex)
{
	if (snat_in_taken(ipvs, t, snat_hash(ipvs, t)))
		return false;
	if (t->protocol == IPPROTO_ICMP)
		return true;

	if (ip_vs_snat_port_reserved(ipvs, t->lport) ||
	    ip_vs_snat_has_service(ipvs, t->protocol, t->laddr, t->lport))
		return false;
	if (local &&
	    ip_vs_snat_has_socket(ipvs, t->protocol, t->raddr, t->rport,
				  t->laddr, t->lport, ifindex))
		return false;

	/* Perhaps the address is a virtual one as well */
	return !ip_vs_snat_has_conn(ipvs, t->protocol, t->raddr, t->rport,
				    t->laddr, t->lport);
}

/* Drop a connection that was made in vain */
static void snat_conn_discard(struct ip_vs_conn *cp)
{
	cp->timeout = 0;
	ip_vs_conn_put(cp);
}

/* Try one port of a pool address: the connection, NULL if the port is taken, or
 * an error if all other ports would fail too.
 */
static struct ip_vs_conn *snat_try_port(struct netns_ipvs *ipvs,
					struct ip_vs_dest *dest,
					const struct snat_tuple *inside,
					__be16 port, bool local, int ifindex)
{
	struct snat_tuple outside = *inside;
	struct ip_vs_conn *cp, *other;

	outside.laddr = dest->addr.ip;
	outside.lport = port;
	if (!snat_port_free(ipvs, &outside, local, ifindex))
		goto conflict;

	cp = ip_vs_snat_conn_new(ipvs, dest, inside->protocol,
				 inside->raddr, inside->rport, port,
				 inside->laddr, inside->lport);
	if (!cp)
		return ERR_PTR(-ENOMEM);
	if (!snat_in_insert(cp)) {
		snat_conn_discard(cp);
		goto conflict;
	}
	other = snat_out_insert(cp);
	if (unlikely(other)) {
		snat_conn_discard(cp);
		return other;
	}

	snat_count(ipvs, SNAT_CTR_CREATED);
	snat_account_conn(cp);
	return cp;

conflict:
	snat_count(ipvs, SNAT_CTR_PORT_CONFLICTS);
	atomic_inc(&dest->snat_conflicts);
	return NULL;
}

/* Find a port of a pool address: the port of the inside host if possible, else
 * start at a secret place and go on in steps. The step is so small that no port is
 * visited twice.
 */
static struct ip_vs_conn *snat_try_dest(struct netns_ipvs *ipvs,
					struct ip_vs_dest *dest,
					const struct snat_tuple *inside,
					int ifindex)
{
	u32 range = READ_ONCE(ipvs->snat->port_range);
	u32 first = range >> 16, last = range & 0xffff;
	u32 num = last - first + 1, tries = num, step = 1, off, i;
	u32 wanted = ntohs(inside->lport);
	struct ip_vs_conn *cp;
	bool local;
	u64 hash;

	local = ip_vs_snat_addr_is_local(ipvs, dest->addr.ip);
	if (wanted >= first && wanted <= last) {
		cp = snat_try_port(ipvs, dest, inside, inside->lport, local,
				   ifindex);
		if (cp)
			return cp;
	}

	hash = ip_vs_snat_port_hash(&snat_key, inside->protocol,
				    inside->raddr, inside->rport,
				    inside->laddr, inside->lport,
				    dest->addr.ip);
	off = (u32)hash % num;
	if (num > SNAT_PORT_TRIES) {
		tries = SNAT_PORT_TRIES;
		step = (u32)(hash >> 32) % (num / SNAT_PORT_TRIES) | 1;
	}

	for (i = 0; i < tries; i++) {
		u32 port = first + off;

		off += step;
		if (off >= num)
			off -= num;
		if (port == wanted)
			continue;
		cp = snat_try_port(ipvs, dest, inside, htons(port), local,
				   ifindex);
		if (cp)
			return cp;
	}

	atomic_inc(&dest->snat_exhausted);
	return NULL;
}

static void snat_complain(const struct snat_tuple *inside, const char *what)
{
	IP_VS_ERR_RL("SNAT: %s for %s %pI4:%u -> %pI4:%u\n", what,
		     ip_vs_proto_name(inside->protocol),
		     &inside->laddr, ntohs(inside->lport),
		     &inside->raddr, ntohs(inside->rport));
}

/* Make a connection for a flow, NULL if that can't be done; the packet has to
 * be dropped then.
 */
static struct ip_vs_conn *snat_conn_create(struct netns_ipvs *ipvs,
					   struct ip_vs_service *svc,
					   struct sk_buff *skb,
					   struct ip_vs_iphdr *iph,
					   const struct snat_tuple *inside,
					   int ifindex)
{
	struct ip_vs_dest *first, *dest;
	struct ip_vs_conn *cp;
	int tries = 0;

	first = snat_schedule(svc, skb, iph);
	if (!first) {
		snat_count(ipvs, SNAT_CTR_DROP_NO_POOL);
		snat_complain(inside, "no usable pool address");
		return NULL;
	}

	dest = first;
	do {
		cp = snat_try_dest(ipvs, dest, inside, ifindex);
		if (IS_ERR(cp)) {
			snat_count(ipvs, SNAT_CTR_DROP_OTHER);
			return NULL;
		}
		if (cp) {
			if (tries)
				snat_count(ipvs, SNAT_CTR_NEXT_ADDRESS);
			return cp;
		}
		dest = snat_next_dest(svc, dest);
	} while (++tries < SNAT_ADDR_TRIES && dest && dest != first);

	snat_count(ipvs, SNAT_CTR_EXHAUSTED);
	snat_complain(inside, "no free port");
	return NULL;
}

/* Rules */

enum snat_action {
	SNAT_ACT_PASS,		/* not ours, leave it alone */
	SNAT_ACT_DROP,
	SNAT_ACT_TRANSLATE,	/* with an address of the service */
};

/* Decide on a packet without a connection. This is the rule of the last resort,
 * for stock tools; rules of other kinds would be asked before it.
 */
static enum snat_action snat_match(struct netns_ipvs *ipvs,
				   struct ip_vs_service *svc,
				   enum snat_svc which,
				   struct sk_buff *skb,
				   const struct ip_vs_iphdr *iph,
				   const struct snat_tuple *t,
				   const struct net_device *in,
				   const struct net_device *out)
{
	if (ipv4_is_multicast(t->raddr) || ipv4_is_lbcast(t->raddr) ||
	    !snat_leaves(ipvs, svc, which, skb, in, out)) {
		snat_count(ipvs, SNAT_CTR_OUT_OF_SCOPE);
		return SNAT_ACT_PASS;
	}
	if (snat_from_server(ipvs, t)) {
		snat_count(ipvs, SNAT_CTR_REAL_SERVER);
		return SNAT_ACT_PASS;
	}

	/* In the middle of a connection that we don't know, perhaps since a
	 * reboot: it can't go on, and its address must not get out.
	 */
	if (t->protocol == IPPROTO_TCP && !snat_is_syn(skb, iph->len)) {
		snat_count(ipvs, SNAT_CTR_DROP_NO_CONN);
		return SNAT_ACT_DROP;
	}
	return SNAT_ACT_TRANSLATE;
}

static bool snat_protocol_ready(const struct ip_vs_snat *snat, u8 protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
		return snat->has_tcp;
	case IPPROTO_UDP:
		return snat->has_udp;
	case IPPROTO_ICMP:
		return true;
	default:
		return false;
	}
}

static unsigned int snat_new(struct netns_ipvs *ipvs, struct sk_buff *skb,
			     struct ip_vs_iphdr *iph,
			     const struct net_device *in,
			     const struct net_device *out)
{
	struct ip_vs_conn *cp = NULL;
	struct ip_vs_service *svc;
	enum snat_action action;
	struct snat_tuple t;
	enum snat_svc which;

	if (!snat_protocol_ready(ipvs->snat, iph->protocol) ||
	    !snat_tuple_of_packet(&t, skb, iph, true))
		return NF_ACCEPT;

	svc = snat_find_service(ipvs, t.protocol, &which);
	if (!svc)
		return NF_ACCEPT;
	action = snat_match(ipvs, svc, which, skb, iph, &t, in, out);
	if (action == SNAT_ACT_TRANSLATE)
		cp = snat_conn_create(ipvs, svc, skb, iph, &t, out->ifindex);
	ip_vs_snat_service_put(svc);

	if (action == SNAT_ACT_PASS)
		return NF_ACCEPT;
	if (!cp) {
		IP_VS_DBG(7, "SNAT: no connection for %s %pI4:%u->%pI4:%u\n",
			  ip_vs_proto_name(t.protocol),
			  &t.laddr, ntohs(t.lport), &t.raddr, ntohs(t.rport));
		return NF_DROP;
	}
	IP_VS_DBG(6, "SNAT: new %s %pI4:%u->%pI4:%u as %pI4:%u\n",
		  ip_vs_proto_name(cp->protocol),
		  &cp->daddr.ip, ntohs(cp->dport),
		  &cp->caddr.ip, ntohs(cp->cport),
		  &cp->vaddr.ip, ntohs(cp->vport));
	return snat_send_out(skb, cp, iph);
}

/**
 * __ip_vs_snat_new - handle a forwarded packet that belongs to no connection
 * @ipvs:	the network namespace
 * @skb:	the packet, not a fragment
 * @iph:	its IP header
 * @in:		the device that it came in by
 * @out:	the device that it leaves by
 *
 * Return: the verdict on the packet.
 */
unsigned int __ip_vs_snat_new(struct netns_ipvs *ipvs, struct sk_buff *skb,
			      struct ip_vs_iphdr *iph,
			      const struct net_device *in,
			      const struct net_device *out)
{
	unsigned int verdict;

	local_bh_disable();
	verdict = snat_new(ipvs, skb, iph, in, out);
	local_bh_enable();
	return verdict;
}

/* /proc/net/ip_vs_snat, /proc/net/ip_vs_snat_pool */

#ifdef CONFIG_PROC_FS
static const char *const snat_counter_names[SNAT_CTR_MAX] = {
	[SNAT_CTR_CREATED]		= "created",
	[SNAT_CTR_PORT_CONFLICTS]	= "port_conflicts",
	[SNAT_CTR_NEXT_ADDRESS]		= "next_address",
	[SNAT_CTR_EXHAUSTED]		= "exhausted",
	[SNAT_CTR_DROP_NO_CONN]		= "drop_no_conn",
	[SNAT_CTR_DROP_NO_POOL]		= "drop_no_pool",
	[SNAT_CTR_DROP_POOL_GONE]	= "drop_pool_gone",
	[SNAT_CTR_DROP_OTHER]		= "drop_other",
	[SNAT_CTR_OUT_OF_SCOPE]		= "out_of_scope",
	[SNAT_CTR_REAL_SERVER]		= "real_server",
	[SNAT_CTR_ICMP_ERRORS_OUT]	= "icmp_errors_out",
	[SNAT_CTR_ICMP_ERRORS_IN]	= "icmp_errors_in",
};

static int snat_counters_show(struct seq_file *seq, void *v)
{
	struct netns_ipvs *ipvs = ip_vs_snat_seq_ipvs(seq);
	int i, cpu;

	seq_printf(seq, "conns %d\n", atomic_read(&ipvs->snat_conns));
	for (i = 0; i < SNAT_CTR_MAX; i++) {
		unsigned long sum = 0;

		for_each_possible_cpu(cpu)
			sum += per_cpu_ptr(ipvs->snat->counters, cpu)->value[i];
		seq_printf(seq, "%s %lu\n", snat_counter_names[i], sum);
	}
	return 0;
}

static void snat_pool_show_service(struct seq_file *seq,
				   struct netns_ipvs *ipvs, u16 protocol)
{
	struct ip_vs_service *svc = ip_vs_snat_service_get(ipvs, protocol);
	struct ip_vs_dest *dest;
	unsigned int left;

	if (!svc)
		return;
	left = READ_ONCE(svc->num_dests);
	list_for_each_entry_rcu(dest, &svc->destinations, n_list) {
		/* See snat_scope_fill() */
		if (!left--)
			break;
		if (!ip_vs_snat_dest_is_pool(dest))
			continue;
		seq_printf(seq, "%s %pI4 %d %d %d %u %u\n",
			   ip_vs_proto_name(protocol), &dest->addr.ip,
			   atomic_read(&dest->weight),
			   atomic_read(&dest->activeconns),
			   ip_vs_dest_inactconns(dest),
			   atomic_read(&dest->snat_conflicts),
			   atomic_read(&dest->snat_exhausted));
	}
	ip_vs_snat_service_put(svc);
}

static int snat_pool_show(struct seq_file *seq, void *v)
{
	struct netns_ipvs *ipvs = ip_vs_snat_seq_ipvs(seq);

	seq_puts(seq, "Prot Address Weight Active Inactive Conflicts Exhausted\n");
	rcu_read_lock_bh();
	snat_pool_show_service(seq, ipvs, IPPROTO_TCP);
	snat_pool_show_service(seq, ipvs, IPPROTO_UDP);
	rcu_read_unlock_bh();
	return 0;
}

static int __net_init snat_proc_init(struct netns_ipvs *ipvs)
{
	if (!ip_vs_snat_proc_create(ipvs, "ip_vs_snat", snat_counters_show))
		return -ENOMEM;
	if (!ip_vs_snat_proc_create(ipvs, "ip_vs_snat_pool", snat_pool_show)) {
		remove_proc_entry("ip_vs_snat", ipvs->net->proc_net);
		return -ENOMEM;
	}
	return 0;
}

static void __net_exit snat_proc_cleanup(struct netns_ipvs *ipvs)
{
	remove_proc_entry("ip_vs_snat_pool", ipvs->net->proc_net);
	remove_proc_entry("ip_vs_snat", ipvs->net->proc_net);
}
#else
static int __net_init snat_proc_init(struct netns_ipvs *ipvs) { return 0; }
static void __net_exit snat_proc_cleanup(struct netns_ipvs *ipvs) { }
#endif

/* Settings */

#ifdef CONFIG_SYSCTL
static int snat_do_port_range(struct ctl_table *table, int write,
			      ip_vs_snat_sysctl_buf buffer, size_t *lenp,
			      loff_t *ppos)
{
	u32 range = READ_ONCE(*(u32 *)table->data);
	int ports[2] = { range >> 16, range & 0xffff };
	int min = 1, max = 0xffff, ret;
	struct ctl_table tmp = {
		.data		= ports,
		.maxlen		= sizeof(ports),
		.mode		= table->mode,
		.extra1		= &min,
		.extra2		= &max,
	};

	ret = proc_dointvec_minmax(&tmp, write, buffer, lenp, ppos);
	if (!write || ret)
		return ret;
	if (ports[0] > ports[1])
		return -EINVAL;
	WRITE_ONCE(*(u32 *)table->data, (u32)ports[0] << 16 | ports[1]);
	return 0;
}

static int snat_do_timeout(struct ctl_table *table, int write,
			   ip_vs_snat_sysctl_buf buffer, size_t *lenp,
			   loff_t *ppos)
{
	int secs = READ_ONCE(*(int *)table->data) / HZ;
	int min = 1, max = INT_MAX / HZ, ret;
	struct ctl_table tmp = {
		.data		= &secs,
		.maxlen		= sizeof(secs),
		.mode		= table->mode,
		.extra1		= &min,
		.extra2		= &max,
	};

	ret = proc_dointvec_minmax(&tmp, write, buffer, lenp, ppos);
	if (write && !ret)
		WRITE_ONCE(*(int *)table->data, secs * HZ);
	return ret;
}

static const struct ctl_table snat_vars[] = {
	{
		.procname	= "snat_port_range",
		.mode		= 0644,
		.proc_handler	= snat_do_port_range,
	},
	{
		.procname	= "snat_tcp_timeout",
		.mode		= 0644,
		.proc_handler	= snat_do_timeout,
	},
	{
		.procname	= "snat_udp_timeout",
		.mode		= 0644,
		.proc_handler	= snat_do_timeout,
	},
	{
		.procname	= "snat_icmp_timeout",
		.mode		= 0644,
		.proc_handler	= snat_do_timeout,
	},
	{ }
};

static int __net_init snat_sysctl_init(struct netns_ipvs *ipvs)
{
	struct ip_vs_snat *snat = ipvs->snat;
	struct ctl_table *tbl;
	int idx = 0;

	tbl = kmemdup(snat_vars, sizeof(snat_vars), GFP_KERNEL);
	if (!tbl)
		return -ENOMEM;

	tbl[idx++].data = &snat->port_range;
	tbl[idx++].data = &snat->tcp_timeouts[IP_VS_TCP_S_ESTABLISHED];
	tbl[idx++].data = &snat->udp_timeout;
	tbl[idx++].data = &snat->icmp_timeout;

	snat->sysctl_hdr = ip_vs_snat_register_sysctl(ipvs, tbl);
	if (!snat->sysctl_hdr) {
		kfree(tbl);
		return -ENOMEM;
	}
	snat->sysctl_tbl = tbl;
	return 0;
}

static void __net_exit snat_sysctl_cleanup(struct netns_ipvs *ipvs)
{
	unregister_sysctl_table(ipvs->snat->sysctl_hdr);
	kfree(ipvs->snat->sysctl_tbl);
}
#else
static int __net_init snat_sysctl_init(struct netns_ipvs *ipvs) { return 0; }
static void __net_exit snat_sysctl_cleanup(struct netns_ipvs *ipvs) { }
#endif

static const int snat_tcp_timeouts[IP_VS_TCP_S_LAST + 1] = {
	[IP_VS_TCP_S_NONE]		=	2 * HZ,
	[IP_VS_TCP_S_ESTABLISHED]	=	2 * 60 * 60 * HZ,
	[IP_VS_TCP_S_SYN_SENT]		=	2 * 60 * HZ,
	[IP_VS_TCP_S_SYN_RECV]		=	60 * HZ,
	[IP_VS_TCP_S_FIN_WAIT]		=	2 * 60 * HZ,
	[IP_VS_TCP_S_TIME_WAIT]		=	2 * 60 * HZ,
	[IP_VS_TCP_S_CLOSE]		=	10 * HZ,
	[IP_VS_TCP_S_CLOSE_WAIT]	=	60 * HZ,
	[IP_VS_TCP_S_LAST_ACK]		=	30 * HZ,
	[IP_VS_TCP_S_LISTEN]		=	2 * 60 * HZ,
	[IP_VS_TCP_S_SYNACK]		=	2 * 60 * HZ,
	[IP_VS_TCP_S_LAST]		=	2 * HZ,
};

/**
 * ip_vs_snat_net_init - set up the engine in a network namespace
 * @ipvs:	the namespace, its protocols have been set up
 *
 * Return: 0 or a negative error.
 */
int __net_init ip_vs_snat_net_init(struct netns_ipvs *ipvs)
{
	struct ip_vs_snat *snat;

	snat = kzalloc(sizeof(*snat), GFP_KERNEL);
	if (!snat)
		return -ENOMEM;
	snat->counters = alloc_percpu(struct snat_counters);
	if (!snat->counters)
		goto err_counters;

	spin_lock_init(&snat->scope_lock);
	snat->port_range = 1024 << 16 | 65535;
	memcpy(snat->tcp_timeouts, snat_tcp_timeouts,
	       sizeof(snat->tcp_timeouts));
	snat->udp_timeout = 5 * 60 * HZ;
	snat->icmp_timeout = 60 * HZ;
	snat->has_tcp = ip_vs_snat_tcp_init(ipvs, &snat->tcp,
					    snat->tcp_timeouts);
	snat->has_udp = ip_vs_snat_has_protocol(ipvs, IPPROTO_UDP);

	ipvs->snat = snat;
	if (snat_proc_init(ipvs))
		goto err_proc;
	if (snat_sysctl_init(ipvs))
		goto err_sysctl;
	return 0;

err_sysctl:
	snat_proc_cleanup(ipvs);
err_proc:
	ipvs->snat = NULL;
	free_percpu(snat->counters);
err_counters:
	kfree(snat);
	return -ENOMEM;
}

/**
 * ip_vs_snat_net_cleanup - the opposite of ip_vs_snat_net_init()
 * @ipvs:	the namespace, it has no hooks and no connections any more
 */
void __net_exit ip_vs_snat_net_cleanup(struct netns_ipvs *ipvs)
{
	struct ip_vs_snat *snat = ipvs->snat;
	int i;

	snat_sysctl_cleanup(ipvs);
	snat_proc_cleanup(ipvs);
	for (i = 0; i < SNAT_SVC_MAX; i++)
		kfree(rcu_dereference_protected(snat->scope[i], 1));
	free_percpu(snat->counters);
	kfree(snat);
	ipvs->snat = NULL;
}

/**
 * ip_vs_snat_init - set up the tables
 *
 * To be called when the size of the connection table is known.
 *
 * Return: 0 or a negative error.
 */
int __init ip_vs_snat_init(void)
{
	int i;

	snat_in_tab = vzalloc(array_size(ip_vs_conn_tab_size,
					 sizeof(*snat_in_tab)));
	snat_out_tab = vzalloc(array_size(ip_vs_conn_tab_size,
					  sizeof(*snat_out_tab)));
	if (!snat_in_tab || !snat_out_tab) {
		ip_vs_snat_cleanup();
		return -ENOMEM;
	}
	for (i = 0; i < SNAT_LOCKS; i++)
		spin_lock_init(&snat_locks[i].lock);
	ip_vs_snat_key_init(&snat_key);
	return 0;
}

/**
 * ip_vs_snat_cleanup - free the tables
 *
 * To be called when the last connection is gone.
 */
void ip_vs_snat_cleanup(void)
{
	vfree(snat_in_tab);
	vfree(snat_out_tab);
	snat_in_tab = NULL;
	snat_out_tab = NULL;
}
