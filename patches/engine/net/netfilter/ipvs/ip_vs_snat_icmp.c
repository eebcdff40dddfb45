// SPDX-License-Identifier: GPL-2.0-or-later
/* IP Virtual Server: ICMP errors about packets of SNAT connections */

#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/netfilter_ipv4.h>

#include "ip_vs_snat_int.h"

/* An ICMP error, and the start of the packet that it is about */
struct snat_icmp {
	struct snat_tuple	t;
	unsigned int		icmp_off;
	unsigned int		ip_off;		/* of the quoted packet */
	unsigned int		th_off;
};

/**
 * snat_is_icmp_error - is a packet an ICMP error?
 * @skb:	the packet
 * @thoff:	offset of its transport header
 */
bool snat_is_icmp_error(const struct sk_buff *skb, unsigned int thoff)
{
	struct icmphdr _ic, *ic;

	if (ip_hdr(skb)->protocol != IPPROTO_ICMP)
		return false;
	ic = skb_header_pointer(skb, thoff, sizeof(_ic), &_ic);
	if (!ic)
		return false;

	switch (ic->type) {
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
			    unsigned int thoff, bool out)
{
	struct iphdr _cih, *cih;

	err->icmp_off = thoff;
	err->ip_off = thoff + sizeof(struct icmphdr);

	cih = skb_header_pointer(skb, err->ip_off, sizeof(_cih), &_cih);
	if (!cih || cih->version != 4 || cih->ihl < 5)
		return false;
	/* Only the first fragment has ports, and errors go to the sender */
	if (cih->frag_off & htons(IP_OFFSET) ||
	    cih->saddr != ip_hdr(skb)->daddr)
		return false;
	err->th_off = err->ip_off + cih->ihl * 4;
	return snat_tuple_of_packet(&err->t, skb, err->th_off, cih, !out);
}

/**
 * snat_icmp_about - what an ICMP error from inside is about
 * @skb:	the packet
 * @thoff:	offset of its ICMP header
 * @t:		set to the flow, as the inside host sees it
 *
 * Return: whether it tells.
 */
bool snat_icmp_about(const struct sk_buff *skb, unsigned int thoff,
		     struct snat_tuple *t)
{
	struct snat_icmp err;

	if (!snat_icmp_parse(&err, skb, thoff, true))
		return false;
	*t = err.t;
	return true;
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

/* Where the quoted packet has its local port and its checksum */
struct snat_icmp_layout {
	unsigned int	sum_off;
	unsigned int	port_off;
	bool		pseudo;		/* does the sum include addresses? */
};

static void snat_icmp_layout(struct snat_icmp_layout *l, u8 protocol, bool out)
{
	switch (protocol) {
	case IPPROTO_TCP:
		l->sum_off = offsetof(struct tcphdr, check);
		l->port_off = out ? offsetof(struct tcphdr, dest) :
				    offsetof(struct tcphdr, source);
		l->pseudo = true;
		break;
	case IPPROTO_UDP:
		l->sum_off = offsetof(struct udphdr, check);
		l->port_off = out ? offsetof(struct udphdr, dest) :
				    offsetof(struct udphdr, source);
		l->pseudo = true;
		break;
	default:
		l->sum_off = offsetof(struct icmphdr, checksum);
		l->port_off = offsetof(struct icmphdr, un.echo.id);
		l->pseudo = false;
		break;
	}
}

/* Translate the quoted packet as if it had been quoted before the gateway saw
 * it. Its transport checksum is adjusted as well, if the quote is long enough.
 */
static bool snat_icmp_mangle_quote(struct sk_buff *skb,
				   const struct ip_vs_conn *cp,
				   const struct snat_icmp *err, bool out)
{
	__be32 from = out ? cp->daddr.ip : cp->vaddr.ip;
	__be32 to = out ? cp->vaddr.ip : cp->daddr.ip;
	__be16 from_port = out ? cp->dport : cp->vport;
	__be16 to_port = out ? cp->vport : cp->dport;
	struct snat_icmp_layout l;
	struct icmphdr *ic;
	unsigned int need;
	struct iphdr *cih;
	__sum16 sum;
	u8 *th;

	snat_icmp_layout(&l, cp->protocol, out);
	need = max(l.sum_off, l.port_off) + sizeof(sum);
	if (err->th_off + need > skb->len) {
		l.sum_off = 0;
		need = l.port_off + sizeof(__be16);
	}
	if (skb_ensure_writable(skb, err->th_off + need))
		return false;

	ic = (struct icmphdr *)(skb->data + err->icmp_off);
	cih = (struct iphdr *)(skb->data + err->ip_off);
	th = skb->data + err->th_off;
	skb->ip_summed = CHECKSUM_NONE;

	if (l.sum_off) {
		__sum16 *field = (__sum16 *)(th + l.sum_off);

		sum = *field;
		if (sum || cp->protocol != IPPROTO_UDP) {
			if (l.pseudo)
				csum_replace4(&sum, from, to);
			csum_replace2(&sum, from_port, to_port);
			if (!sum && cp->protocol == IPPROTO_UDP)
				sum = CSUM_MANGLED_0;
			snat_icmp_put_sum(ic, field, sum);
		}
	}
	snat_icmp_put16(ic, (__be16 *)(th + l.port_off), to_port);

	sum = cih->check;
	csum_replace4(&sum, from, to);
	snat_icmp_put_sum(ic, &cih->check, sum);
	csum_replace4(&ic->checksum, from, to);
	*(out ? &cih->daddr : &cih->saddr) = to;
	return true;
}

/* Replace the source of an error that goes out, the destination of one that comes
 * in. One that goes out may also come from a router on the way to the host.
 */
static void snat_icmp_mangle_header(struct sk_buff *skb,
				    const struct ip_vs_conn *cp, bool out)
{
	struct iphdr *iph = ip_hdr(skb);
	__be32 *field = out ? &iph->saddr : &iph->daddr;
	__be32 to = out ? cp->vaddr.ip : cp->daddr.ip;

	csum_replace4(&iph->check, *field, to);
	*field = to;
}

/* The connection that an error is about, with a reference. Nothing goes out by a
 * pool address that was taken away: -> NULL, and @gone.
 */
static struct ip_vs_conn *snat_icmp_conn(struct netns_ipvs *ipvs,
					 const struct sk_buff *skb,
					 unsigned int thoff,
					 struct snat_icmp *err, bool out,
					 bool *gone)
{
	struct ip_vs_conn *cp;

	*gone = false;
	if (!snat_icmp_parse(err, skb, thoff, out))
		return NULL;
	cp = out ? snat_out_get(ipvs->snat, &err->t) :
		   snat_in_get(ipvs->snat, &err->t);
	if (!cp || likely(ip_vs_snat_dest_available(cp->dest)))
		return cp;

	__ip_vs_conn_put(cp);
	snat_count(ipvs, SNAT_CTR_DROP_POOL_GONE);
	*gone = true;
	return NULL;
}

/**
 * snat_icmp_error - translate a forwarded ICMP error about a packet of a connection
 * @ipvs:	the network namespace
 * @skb:	the packet
 * @thoff:	offset of its ICMP header
 * @out:	does it come from inside?
 * @verdict:	what becomes of the packet, if it was ours
 *
 * It does not count as a sign of life.
 *
 * Return: whether it is about a connection.
 */
bool snat_icmp_error(struct netns_ipvs *ipvs, struct sk_buff *skb,
		     unsigned int thoff, bool out, unsigned int *verdict)
{
	struct ip_vs_conn *cp;
	struct snat_icmp err;
	bool gone;

	cp = snat_icmp_conn(ipvs, skb, thoff, &err, out, &gone);
	if (!cp) {
		if (gone)
			*verdict = NF_DROP;
		return gone;
	}
	/* Don't make a damaged one look whole (RFC 5508, REQ-3) */
	if (csum_fold(skb_checksum(skb, thoff, skb->len - thoff, 0)) ||
	    !snat_icmp_mangle_quote(skb, cp, &err, out)) {
		snat_count(ipvs, SNAT_CTR_DROP_OTHER);
		*verdict = NF_DROP;
		goto put;
	}
	snat_icmp_mangle_header(skb, cp, out);
	if (unlikely(out && cp->snat.redirected && !snat_redirect(skb, cp))) {
		snat_count(ipvs, SNAT_CTR_DROP_NO_WAY);
		*verdict = NF_DROP;
		goto put;
	}
	IP_VS_DBG(11, "SNAT: ICMP error %s %pI4->%pI4\n", out ? "out" : "in",
		  &ip_hdr(skb)->saddr, &ip_hdr(skb)->daddr);

	snat_account(cp, skb->len, out);
	snat_count(ipvs, out ? SNAT_CTR_ICMP_ERRORS_OUT :
			       SNAT_CTR_ICMP_ERRORS_IN);
	snat_finish(skb, out);
	*verdict = NF_ACCEPT;
put:
	__ip_vs_conn_put(cp);
	return true;
}

/**
 * snat_icmp_own_error - see to an ICMP error of the gateway itself
 * @ipvs:	the network namespace
 * @skb:	the packet, in LOCAL_OUT
 * @thoff:	offset of its ICMP header
 *
 * If it is about a reply, the remote host has to find the pool address in it. If
 * it is about a packet that was translated already, it's addressed to the pool and
 * has to go on to the inside host.
 *
 * Return: the verdict on the packet.
 */
unsigned int snat_icmp_own_error(struct netns_ipvs *ipvs, struct sk_buff *skb,
				 unsigned int thoff)
{
	bool out = !snat_addr_find(ipvs->snat, ip_hdr(skb)->daddr);
	unsigned int verdict = NF_DROP;
	struct ip_vs_conn *cp;
	struct snat_icmp err;
	bool gone;

	cp = snat_icmp_conn(ipvs, skb, thoff, &err, out, &gone);
	if (!cp)
		return gone ? NF_DROP : NF_ACCEPT;
	if (!snat_icmp_mangle_quote(skb, cp, &err, out))
		goto put;
	if (!out) {
		snat_icmp_mangle_header(skb, cp, false);
		if (ip_vs_snat_reroute(ipvs, skb))
			goto put;
	}
	snat_count(ipvs, out ? SNAT_CTR_ICMP_ERRORS_OUT :
			       SNAT_CTR_ICMP_ERRORS_IN);
	skb->ipvs_property = 1;
	verdict = NF_ACCEPT;
put:
	__ip_vs_conn_put(cp);
	return verdict;
}
