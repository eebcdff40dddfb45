// SPDX-License-Identifier: GPL-2.0-or-later
/* IP Virtual Server: packets of SNAT, where they are met and how they are translated
 *
 * Packets from inside hosts are translated in FORWARD, when it's known by which
 * device they leave; replies in PRE_ROUTING, after reassembly and before
 * connection tracking, so that all else, from the route to the firewall, sees the
 * inside host from then on. Connection tracking sees it on both ways, as if there
 * was no translation.
 */

#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/netfilter_ipv4.h>

#include "ip_vs_snat_config.h"

static __always_inline bool
__snat_tuple_of_packet(struct snat_tuple *t, const struct sk_buff *skb,
		       unsigned int thoff, const struct iphdr *iph, bool out)
{
	t->protocol = iph->protocol;
	t->laddr = out ? iph->saddr : iph->daddr;
	t->raddr = out ? iph->daddr : iph->saddr;

	switch (iph->protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP: {
		__be16 _ports[2], *ports;

		ports = skb_header_pointer(skb, thoff, sizeof(_ports), _ports);
		if (!ports)
			return false;
		t->lport = out ? ports[0] : ports[1];
		t->rport = out ? ports[1] : ports[0];
		return true;
	}
	case IPPROTO_ICMP: {
		struct icmphdr _ic, *ic;

		ic = skb_header_pointer(skb, thoff, sizeof(_ic), &_ic);
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

/**
 * snat_tuple_of_packet - get the tuple of a packet
 * @t:		the tuple
 * @skb:	the packet
 * @thoff:	offset of its transport header
 * @iph:	its IP header, or that of a packet that it quotes
 * @out:	does it come from the inside host?
 *
 * Return: false if it has none that could be translated. In the ICMP header, only
 * requests go out, and only replies come in.
 */
bool snat_tuple_of_packet(struct snat_tuple *t, const struct sk_buff *skb,
			  unsigned int thoff, const struct iphdr *iph,
			  bool out)
{
	return __snat_tuple_of_packet(t, skb, thoff, iph, out);
}

/* What the new address and port of a packet mean for its checksum */
static void snat_update_sum(struct sk_buff *skb, unsigned int thoff, __sum16 *sum,
			    __be32 from, __be32 to,
			    __be16 from_port, __be16 to_port)
{
	__wsum diff;

	if (unlikely(ip_vs_snat_sum_is_partial(skb, thoff))) {
		/* It's only the sum of the pseudo header yet */
		inet_proto_csum_replace4(sum, skb, from, to, true);
		return;
	}
	diff = csum_add(csum_sub((__force __wsum)to, (__force __wsum)from),
			csum_sub((__force __wsum)to_port,
				 (__force __wsum)from_port));
	*sum = csum_fold(csum_add(~csum_unfold(*sum), diff));
}

static inline bool snat_writable(struct sk_buff *skb, unsigned int len)
{
	return (likely(!skb_cloned(skb)) && likely(len <= skb_headlen(skb))) ||
	       !skb_ensure_writable(skb, len);
}

/**
 * snat_mangle - replace the local address and port of a packet
 * @skb:	the packet; what was summed by a device must be forgotten by now
 * @cp:		its connection
 * @thoff:	offset of its transport header
 * @out:	does it come from the inside host?
 *
 * These are the source of one that goes out, the destination of one that comes in.
 *
 * Return: false if it can't be written to.
 */
bool snat_mangle(struct sk_buff *skb, const struct ip_vs_conn *cp,
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

		if (!snat_writable(skb, thoff + sizeof(*th)))
			return false;
		th = (struct tcphdr *)(skb->data + thoff);
		snat_update_sum(skb, thoff, &th->check, from, to,
				from_port, to_port);
		*(out ? &th->source : &th->dest) = to_port;
		break;
	}
	case IPPROTO_UDP: {
		struct udphdr *uh;

		if (!snat_writable(skb, thoff + sizeof(*uh)))
			return false;
		uh = (struct udphdr *)(skb->data + thoff);
		if (uh->check) {
			snat_update_sum(skb, thoff, &uh->check, from, to,
					from_port, to_port);
			if (!uh->check)
				uh->check = CSUM_MANGLED_0;
		}
		*(out ? &uh->source : &uh->dest) = to_port;
		break;
	}
	default: {
		struct icmphdr *ic;

		if (!snat_writable(skb, thoff + sizeof(*ic)))
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

/**
 * snat_account - count a packet of a connection
 * @cp:		the connection
 * @len:	length of the packet
 * @out:	does it come from the inside host?
 */
void snat_account(struct ip_vs_conn *cp, unsigned int len, bool out)
{
	if (ip_vs_snat_dest_available(cp->dest))
		snat_account_packet(ip_vs_snat_ipvs(cp), cp, len, out);
}

/* Follow the connection with a packet that has been translated */
static inline void snat_set_state(struct ip_vs_conn *cp, struct sk_buff *skb,
				  unsigned int thoff, bool out)
{
	const struct snat_settings *set = &ip_vs_snat_ipvs(cp)->snat->set;

	if (cp->protocol == IPPROTO_TCP) {
		snat_tcp_packet(cp, skb, thoff, out);
		return;
	}
	if (unlikely(!out && snat_conn_unanswered(cp)))
		snat_conn_answered(cp);
	if (unlikely(out && snat_conn_quiet(cp)))
		snat_conn_heard(cp);
	if (cp->protocol != IPPROTO_UDP)
		cp->timeout = READ_ONCE(set->icmp_timeout);
	else if (unlikely(snat_conn_unanswered(cp)))
		cp->timeout = READ_ONCE(set->udp_unanswered_timeout);
	else
		cp->timeout = READ_ONCE(set->udp_timeout);
}

enum snat_usable {
	SNAT_USE,		/* connection is fine */
	SNAT_DROP,		/* its pool address was taken away */
	SNAT_RETIRED,		/* it's gone, go on as if there was none */
};

static inline bool snat_dest_open(const struct ip_vs_conn *cp)
{
	return likely(ip_vs_snat_dest_available(cp->dest) &&
		      atomic_read(&cp->dest->weight));
}

/* May a reply go on with this connection? Keeps the reference if it may. As in all
 * of IPVS, the connections of a deleted address stand still until it's added again.
 */
static bool snat_check_in(struct ip_vs_conn *cp)
{
	if (likely(ip_vs_snat_dest_available(cp->dest)))
		return true;
	snat_count(ip_vs_snat_ipvs(cp), SNAT_CTR_DROP_POOL_GONE);
	__ip_vs_conn_put(cp);
	return false;
}

/* May a packet of an inside host go on with a connection whose address takes no
 * others? Keeps the reference for SNAT_USE only. With expire_nodest_conn, those of a
 * deleted address are given up, but not if the host went on with its private one.
 */
static noinline enum snat_usable
snat_check_closed(struct ip_vs_conn *cp, struct sk_buff *skb,
		  unsigned int thoff, const struct snat_tuple *t,
		  const struct net_device *in, const struct net_device *out)
{
	struct netns_ipvs *ipvs = ip_vs_snat_ipvs(cp);
	bool gone = !ip_vs_snat_dest_available(cp->dest);
	bool restart = false;

	/* A new connection that happens to have the ports of an old one must
	 * not use an address that is closed to new connections.
	 */
	if (cp->protocol == IPPROTO_TCP && snat_is_syn(skb, thoff))
		restart = gone || snat_tcp_ended(cp);

	if ((restart || (gone && sysctl_expire_nodest_conn(ipvs))) &&
	    snat_is_decided(ipvs, skb, t, in, out)) {
		snat_conn_retire(cp);
		return SNAT_RETIRED;
	}
	if (!gone)
		return SNAT_USE;

	snat_count(ipvs, SNAT_CTR_DROP_POOL_GONE);
	__ip_vs_conn_put(cp);
	return SNAT_DROP;
}

/**
 * snat_redirect - send a packet by the gateway that the rule of its connection names
 * @skb:	the packet
 * @cp:		the connection, that is redirected
 *
 * Return: whether it has a way to go.
 */
noinline bool snat_redirect(struct sk_buff *skb,
				   const struct ip_vs_conn *cp)
{
	struct ip_vs_snat_rule *rule = cp->snat.rule;

	return ip_vs_snat_redirect(ip_vs_snat_ipvs(cp), skb, rule->spec.new_gw,
				   &rule->way);
}

/* Translate a packet from an inside host. Gives up the reference. */
static unsigned int snat_send_out(struct sk_buff *skb, struct ip_vs_conn *cp,
				  unsigned int thoff)
{
	unsigned int verdict = NF_DROP;

	if (unlikely(!snat_mangle(skb, cp, thoff, true))) {
		snat_count(ip_vs_snat_ipvs(cp), SNAT_CTR_DROP_OTHER);
		goto put;
	}
	if (unlikely(cp->snat.redirected && !snat_redirect(skb, cp))) {
		snat_count(ip_vs_snat_ipvs(cp), SNAT_CTR_DROP_NO_WAY);
		goto put;
	}
	IP_VS_DBG(11, "SNAT: out %s %pI4:%u->%pI4:%u as %pI4:%u\n",
		  ip_vs_proto_name(cp->protocol),
		  &cp->daddr.ip, ntohs(cp->dport),
		  &cp->caddr.ip, ntohs(cp->cport),
		  &cp->vaddr.ip, ntohs(cp->vport));

	snat_account(cp, skb->len, true);
	snat_set_state(cp, skb, thoff, true);
	snat_finish(skb, true);
	verdict = NF_ACCEPT;
put:
	snat_conn_used(cp);
	__ip_vs_conn_put(cp);
	return verdict;
}

/* Translate a packet from the remote host. Gives up the reference. */
static unsigned int snat_send_in(struct sk_buff *skb, struct ip_vs_conn *cp,
				 unsigned int thoff)
{
	unsigned int verdict = NF_DROP;

	/* The sum of the whole packet is of no use with another destination */
	skb_forward_csum(skb);
	if (unlikely(!snat_mangle(skb, cp, thoff, false))) {
		snat_count(ip_vs_snat_ipvs(cp), SNAT_CTR_DROP_OTHER);
		goto put;
	}
	IP_VS_DBG(11, "SNAT: in %s %pI4:%u->%pI4:%u to %pI4:%u\n",
		  ip_vs_proto_name(cp->protocol),
		  &cp->caddr.ip, ntohs(cp->cport),
		  &cp->vaddr.ip, ntohs(cp->vport),
		  &cp->daddr.ip, ntohs(cp->dport));

	snat_account(cp, skb->len, false);
	snat_set_state(cp, skb, thoff, false);
	/* Memory shortage spares who has received more than a few packets */
	if (atomic_read(&cp->in_pkts) <= 8)
		atomic_inc(&cp->in_pkts);
	snat_finish(skb, false);
	verdict = NF_ACCEPT;
put:
	snat_conn_used(cp);
	__ip_vs_conn_put(cp);
	return verdict;
}

static bool snat_has_protocol(u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP ||
	       protocol == IPPROTO_ICMP;
}

/* Reassemble a datagram. Returns false if it was not the last piece. */
static bool snat_whole(struct netns_ipvs *ipvs, struct sk_buff *skb, bool out)
{
	return likely(!ip_is_fragment(ip_hdr(skb))) ||
	       !ip_vs_snat_defrag(ipvs, skb, out);
}

/* Hooks. They may be called with softirqs on: when a user program has let a packet
 * pass (NFQUEUE), or the gateway itself sends. Returns whether they were on.
 */
static inline bool snat_bh_disable(void)
{
	if (likely(in_softirq()))
		return false;
	local_bh_disable();
	return true;
}

/* Does a client connect to a program of this host, that has begun to listen since the
 * flow got its port?
 */
static noinline bool snat_has_listener(struct netns_ipvs *ipvs,
				       const struct sk_buff *skb,
				       unsigned int thoff,
				       const struct snat_tuple *t)
{
	return snat_is_syn(skb, thoff) &&
	       ip_vs_snat_addr_is_local(ipvs, t->laddr) &&
	       ip_vs_snat_has_socket(ipvs, t->protocol, t->raddr, t->rport,
				     t->laddr, t->lport,
				     ip_vs_snat_iif(skb, skb->dev));
}

/* Not inlined, because most packets that come to PRE_ROUTING go on at once */
static noinline unsigned int snat_packet_in(struct netns_ipvs *ipvs,
					    struct sk_buff *skb)
{
	unsigned int thoff, verdict;
	struct ip_vs_conn *cp;
	struct snat_tuple t;

	if (!snat_has_protocol(ip_hdr(skb)->protocol))
		return NF_ACCEPT;
	if (!snat_whole(ipvs, skb, false))
		return NF_STOLEN;

	thoff = ip_hdrlen(skb);
	if (unlikely(snat_is_icmp_error(skb, thoff))) {
		if (snat_icmp_error(ipvs, skb, thoff, false, &verdict))
			return verdict;
		return NF_ACCEPT;
	}
	if (!__snat_tuple_of_packet(&t, skb, thoff, ip_hdr(skb), false))
		return NF_ACCEPT;
	cp = snat_in_get(ipvs->snat, &t);
	if (!cp)
		return NF_ACCEPT;
	/* Of what is not TCP, the state is none */
	if (unlikely(cp->state > IP_VS_TCP_S_ESTABLISHED) &&
	    snat_has_listener(ipvs, skb, thoff, &t)) {
		snat_conn_retire(cp);
		snat_count(ipvs, SNAT_CTR_YIELD_OWN);
		return NF_ACCEPT;
	}

	return snat_check_in(cp) ? snat_send_in(skb, cp, thoff) : NF_DROP;
}

/* PRE_ROUTING: packets to a pool address, which are replies or unsolicited. What the
 * gateway sends to itself is its own affair. All other packets pay for the table only.
 */
static inline unsigned int snat_pre_routing(const struct hlist_head *addr_tab,
					    struct netns_ipvs *ipvs,
					    struct sk_buff *skb,
					    const struct net_device *in)
{
	unsigned int verdict;
	bool bh;

	if (likely(!snat_addr_find_in(addr_tab, ip_hdr(skb)->daddr)))
		return NF_ACCEPT;
	if (skb->pkt_type != PACKET_HOST || in->flags & IFF_LOOPBACK)
		return NF_ACCEPT;

	bh = snat_bh_disable();
	verdict = snat_packet_in(ipvs, skb);
	if (unlikely(bh))
		local_bh_enable();
	return verdict;
}

static noinline bool snat_is_unsolicited(struct netns_ipvs *ipvs,
					 struct sk_buff *skb,
					 const struct net_device *in)
{
	unsigned int thoff = ip_hdrlen(skb);
	struct snat_tuple t;

	return snat_is_syn(skb, thoff) &&
	       snat_tuple_of_packet(&t, skb, thoff, ip_hdr(skb), false) &&
	       snat_gives_port(ipvs->snat, t.laddr, ntohs(t.lport)) &&
	       !ip_vs_snat_has_socket(ipvs, t.protocol, t.raddr, t.rport,
				      t.laddr, t.lport,
				      ip_vs_snat_iif(skb, in));
}

/**
 * __ip_vs_snat_local_in - packets to this host
 * @ipvs:	the network namespace
 * @skb:	a packet in LOCAL_IN, that services have not taken
 * @in:		the device that it came in by
 *
 * Who sends a SYN to a pool address, where nobody listens, may be opening a connection
 * at the same time as an inside host. It must not get a RST (RFC 5382, REQ-4).
 *
 * Return: a verdict.
 */
unsigned int __ip_vs_snat_local_in(struct netns_ipvs *ipvs,
				   struct sk_buff *skb,
				   const struct net_device *in)
{
	struct ip_vs_snat_addr *addr;

	/* A socket was chosen for it already (TPROXY) */
	if (likely(ip_hdr(skb)->protocol != IPPROTO_TCP) || skb->sk)
		return NF_ACCEPT;
	addr = snat_addr_find(ipvs->snat, ip_hdr(skb)->daddr);
	if (likely(!addr) || !READ_ONCE(addr->active) ||
	    in->flags & IFF_LOOPBACK || !snat_is_unsolicited(ipvs, skb, in))
		return NF_ACCEPT;

	snat_count(ipvs, SNAT_CTR_DROP_UNSOLICITED);
	return NF_DROP;
}

/* Somebody outside may say that he's inside. It's asked for when a flow comes in by
 * another device than before.
 */
static bool snat_forged(struct netns_ipvs *ipvs, struct ip_vs_conn *cp,
			const struct sk_buff *skb, const struct net_device *in,
			const struct net_device *out)
{
	int iif = ip_vs_snat_iif(skb, in);

	if (likely(READ_ONCE(cp->snat.iif) == iif))
		return false;
	if (snat_from_outside(ipvs, skb, in, out))
		return true;
	WRITE_ONCE(cp->snat.iif, iif);
	return false;
}

static bool snat_packet_out(struct netns_ipvs *ipvs, struct sk_buff *skb,
			    const struct net_device *in,
			    const struct net_device *out,
			    unsigned int *verdict)
{
	struct ip_vs_conn *cp;
	struct snat_tuple t;
	unsigned int thoff;

	if (!snat_whole(ipvs, skb, true)) {
		*verdict = NF_STOLEN;
		return true;
	}
	thoff = ip_hdrlen(skb);
	if (unlikely(snat_is_icmp_error(skb, thoff)))
		return !snat_from_outside(ipvs, skb, in, out) &&
		       snat_icmp_error(ipvs, skb, thoff, true, verdict);
	if (!__snat_tuple_of_packet(&t, skb, thoff, ip_hdr(skb), true))
		return false;
	cp = snat_out_get(ipvs->snat, &t);
	if (!cp)
		return false;
	if (unlikely(snat_forged(ipvs, cp, skb, in, out))) {
		snat_count(ipvs, SNAT_CTR_DROP_UNSOLICITED);
		__ip_vs_conn_put(cp);
		*verdict = NF_DROP;
		return true;
	}

	switch (snat_dest_open(cp) ? SNAT_USE :
		snat_check_closed(cp, skb, thoff, &t, in, out)) {
	case SNAT_USE:
		*verdict = snat_send_out(skb, cp, thoff);
		return true;
	case SNAT_RETIRED:
		return false;
	default:
		*verdict = NF_DROP;
		return true;
	}
}

/**
 * __ip_vs_snat_forward_known - packets from inside hosts that belong to a connection
 * @ipvs:	the network namespace
 * @skb:	a packet in FORWARD, that services have not seen yet
 * @in:		the device that it came in by
 * @out:	the device that it leaves by
 *
 * Return: a verdict; what was translated is marked as IPVS does it.
 */
unsigned int __ip_vs_snat_forward_known(struct netns_ipvs *ipvs,
					struct sk_buff *skb,
					const struct net_device *in,
					const struct net_device *out)
{
	unsigned int verdict = NF_ACCEPT;
	bool bh;

	if (!snat_has_protocol(ip_hdr(skb)->protocol))
		return NF_ACCEPT;

	bh = snat_bh_disable();
	snat_packet_out(ipvs, skb, in, out, &verdict);
	if (unlikely(bh))
		local_bh_enable();
	return verdict;
}

/* Does a packet end before the ports, or the identifier of an echo? */
static bool snat_is_runt(const struct sk_buff *skb, unsigned int thoff)
{
	return snat_has_protocol(ip_hdr(skb)->protocol) &&
	       skb->len < thoff + sizeof(struct icmphdr);
}

static noinline unsigned int snat_new(struct netns_ipvs *ipvs,
				      struct sk_buff *skb,
				      const struct net_device *in,
				      const struct net_device *out)
{
	unsigned int thoff = ip_hdrlen(skb);
	const struct snat_tuple *about;
	struct snat_source source = { };
	struct ip_vs_conn *cp = NULL;
	struct ip_vs_snat_addr *addr;
	enum snat_action action;
	struct snat_tuple t;

	if (snat_is_icmp_error(skb, thoff)) {
		about = snat_icmp_about(skb, thoff, &t) ? &t : NULL;
		action = snat_match_lost(ipvs, skb, about, in, out,
					 SNAT_CTR_DROP_ICMP_ERROR);
		return action == SNAT_ACT_PASS ? NF_ACCEPT : NF_DROP;
	}
	if (!snat_tuple_of_packet(&t, skb, thoff, ip_hdr(skb), true)) {
		action = snat_is_runt(skb, thoff) ?
			 snat_match_lost(ipvs, skb, NULL, in, out,
					 SNAT_CTR_DROP_OTHER) :
			 snat_match_other(ipvs, skb, in, out);
		return action == SNAT_ACT_PASS ? NF_ACCEPT : NF_DROP;
	}
	action = snat_match(ipvs, skb, thoff, &t, in, out, &source);
	/* An inside host that says it has a pool address would get its own replies
	 * sent to the outside again
	 */
	if (action == SNAT_ACT_TRANSLATE) {
		addr = snat_addr_find(ipvs->snat, t.laddr);
		if (unlikely(addr && READ_ONCE(addr->active))) {
			snat_count(ipvs, SNAT_CTR_DROP_UNSOLICITED);
			action = SNAT_ACT_DROP;
		}
	}
	if (action == SNAT_ACT_TRANSLATE)
		cp = snat_conn_create(ipvs, &source, skb, &t, out->ifindex);
	snat_source_put(&source);

	if (action == SNAT_ACT_PASS)
		return NF_ACCEPT;
	if (!cp)
		return NF_DROP;
	WRITE_ONCE(cp->snat.iif, ip_vs_snat_iif(skb, in));
	IP_VS_DBG(6, "SNAT: new %s %pI4:%u->%pI4:%u as %pI4:%u\n",
		  ip_vs_proto_name(cp->protocol),
		  &cp->daddr.ip, ntohs(cp->dport),
		  &cp->caddr.ip, ntohs(cp->cport),
		  &cp->vaddr.ip, ntohs(cp->vport));
	return snat_send_out(skb, cp, thoff);
}

/**
 * __ip_vs_snat_forward_new - packets that belong to no connection at all
 * @ipvs:	the network namespace
 * @skb:	a packet in FORWARD, that services have not taken
 * @in:		the device that it came in by
 * @out:	the device that it leaves by
 *
 * Packets to a pool address have nowhere to go: the router that they come from would
 * send them back.
 *
 * Return: a verdict.
 */
unsigned int __ip_vs_snat_forward_new(struct netns_ipvs *ipvs,
				      struct sk_buff *skb,
				      const struct net_device *in,
				      const struct net_device *out)
{
	struct ip_vs_snat_addr *addr;
	unsigned int verdict;
	bool bh;

	if (!atomic_read(&ipvs->nullsvc_counter) &&
	    !snat_has_config(ipvs->snat))
		return NF_ACCEPT;

	addr = snat_addr_find(ipvs->snat, ip_hdr(skb)->daddr);
	if (unlikely(addr && READ_ONCE(addr->active))) {
		snat_count(ipvs, SNAT_CTR_DROP_UNSOLICITED);
		return NF_DROP;
	}
	/* Rules may drop what cannot be translated */
	if (!snat_has_protocol(ip_hdr(skb)->protocol) &&
	    !snat_has_config(ipvs->snat))
		return NF_ACCEPT;

	bh = snat_bh_disable();
	verdict = snat_new(ipvs, skb, in, out);
	if (unlikely(bh))
		local_bh_enable();
	return verdict;
}

/* The gateway sends what has the outside tuple of a connection, from a socket that
 * was not there when the connection got its port. The answer is the gateway's.
 */
static void snat_yield_to_host(struct netns_ipvs *ipvs, struct sk_buff *skb,
			       unsigned int thoff)
{
	struct ip_vs_conn *cp;
	struct snat_tuple t;

	if (!snat_addr_find(ipvs->snat, ip_hdr(skb)->saddr) ||
	    !snat_tuple_of_packet(&t, skb, thoff, ip_hdr(skb), true))
		return;
	cp = snat_in_get(ipvs->snat, &t);
	if (cp) {
		snat_conn_retire(cp);
		snat_count(ipvs, SNAT_CTR_YIELD_OWN);
	}
}

/* A firewall that rejects a reply sends a RST in the name of the inside host */
static bool snat_reject(struct netns_ipvs *ipvs, struct sk_buff *skb,
			unsigned int thoff)
{
	struct tcphdr _th, *th;
	struct ip_vs_conn *cp;
	struct snat_tuple t;

	if (ip_hdr(skb)->protocol != IPPROTO_TCP)
		return true;
	th = skb_header_pointer(skb, thoff, sizeof(_th), &_th);
	if (likely(!th || !th->rst) ||
	    !snat_tuple_of_packet(&t, skb, thoff, ip_hdr(skb), true))
		return true;
	cp = snat_out_get(ipvs->snat, &t);
	if (!cp)
		return true;
	if (!ip_vs_snat_dest_available(cp->dest)) {
		__ip_vs_conn_put(cp);
		return false;
	}
	return snat_send_out(skb, cp, thoff) == NF_ACCEPT;
}

/* An inside host on the device by which its packets leave is told to send them to the
 * next router itself (that is done before they are translated)
 */
static bool snat_misleads(struct netns_ipvs *ipvs, const struct sk_buff *skb,
			  unsigned int thoff)
{
	const struct iphdr *about;
	struct icmphdr _ic, *ic;
	struct iphdr _about;

	if (ip_hdr(skb)->protocol != IPPROTO_ICMP)
		return false;
	ic = skb_header_pointer(skb, thoff, sizeof(_ic), &_ic);
	if (likely(!ic || ic->type != ICMP_REDIRECT))
		return false;
	about = skb_header_pointer(skb, thoff + sizeof(*ic), sizeof(_about),
				   &_about);
	return about && snat_leads_past(ipvs, about, ic->un.gateway,
					skb_dst(skb)->dev);
}

static noinline unsigned int snat_own_packet(struct netns_ipvs *ipvs,
					     struct sk_buff *skb)
{
	unsigned int thoff = ip_hdrlen(skb);

	if (unlikely(snat_is_icmp_error(skb, thoff)))
		return snat_icmp_own_error(ipvs, skb, thoff);
	if (unlikely(snat_misleads(ipvs, skb, thoff)))
		return NF_DROP;
	snat_yield_to_host(ipvs, skb, thoff);
	return snat_reject(ipvs, skb, thoff) ? NF_ACCEPT : NF_DROP;
}

/**
 * __ip_vs_snat_local_out - packets that the gateway itself sends
 * @ipvs:	the network namespace
 * @skb:	a packet in LOCAL_OUT, that services have not taken
 *
 * They are left alone, except for what they say about translated packets.
 *
 * Return: a verdict.
 */
unsigned int __ip_vs_snat_local_out(struct netns_ipvs *ipvs,
				    struct sk_buff *skb)
{
	unsigned int verdict;
	bool bh;

	if (skb->len < sizeof(struct iphdr) ||
	    !snat_has_protocol(ip_hdr(skb)->protocol) ||
	    ip_is_fragment(ip_hdr(skb)))
		return NF_ACCEPT;

	bh = snat_bh_disable();
	verdict = snat_own_packet(ipvs, skb);
	if (unlikely(bh))
		local_bh_enable();
	return verdict;
}

IP_VS_SNAT_PRE_ROUTING(snat_pre_routing)

/**
 * snat_hook_register - let replies come to the engine
 * @ipvs:	the network namespace, all else is ready
 *
 * Return: 0 or a negative error.
 */
int snat_hook_register(struct netns_ipvs *ipvs)
{
	struct nf_hook_ops *ops = &ipvs->snat->hook;

	ops->hook = snat_pre_routing_hook;
	ops->pf = NFPROTO_IPV4;
	ops->hooknum = NF_INET_PRE_ROUTING;
	/* After reassembly and rules on raw packets */
	ops->priority = NF_IP_PRI_CONNTRACK - 1;
	return ip_vs_snat_register_hook(ipvs, ops, ipvs->snat->addr_tab);
}

/**
 * snat_hook_unregister - the opposite of snat_hook_register()
 * @ipvs:	the network namespace
 */
void snat_hook_unregister(struct netns_ipvs *ipvs)
{
	ip_vs_snat_unregister_hook(ipvs, &ipvs->snat->hook);
}
