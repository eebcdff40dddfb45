// SPDX-License-Identifier: GPL-2.0-or-later
/* IP Virtual Server: states of TCP connections of SNAT
 *
 * These are the states of RFC 6146, 3.5.2, by their names in IPVS. One FIN doesn't
 * make a connection any shorter, two do, and so does a RST, which is not the end
 * if a packet comes after it (RFC 7857, 2.1 and 2.2).
 *
 * The gateway doesn't follow windows. It only has to know whether somebody who
 * can't see the connection has made a segment up: such a segment is forwarded, as
 * the host can tell as well, but ends no connection.
 */

#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <net/tcp.h>

#include "ip_vs_snat_int.h"

/* A segment from outside that follows what is known counts if it ends within so many
 * bytes of what the inside host has acknowledged.
 */
#define SNAT_TCP_WINDOW		(1024 * 1024)

/**
 * snat_tcp_ended - has a TCP connection ended, so that a SYN starts another one?
 * @cp:		the connection
 */
bool snat_tcp_ended(const struct ip_vs_conn *cp)
{
	return cp->state == IP_VS_TCP_S_TIME_WAIT ||
	       cp->state == IP_VS_TCP_S_CLOSE;
}

/**
 * snat_tcp_closed - has the inside host closed a TCP connection, or has it ended?
 * @cp:		the connection
 *
 * A server that never closes its side must not keep it for hours, if there is no room
 * for others.
 */
bool snat_tcp_closed(const struct ip_vs_conn *cp)
{
	return cp->state == IP_VS_TCP_S_FIN_WAIT || snat_tcp_ended(cp);
}

/* What a side has sent, up to the end of it */
static u32 snat_tcp_sent(const struct ip_vs_conn *cp, enum snat_dir dir)
{
	return READ_ONCE(cp->snat.tcp_end[dir]);
}

/* What a side has acknowledged */
static u32 snat_tcp_acked(const struct ip_vs_conn *cp, enum snat_dir dir)
{
	return READ_ONCE(cp->snat.tcp_ack[dir]);
}

/**
 * snat_tcp_over - is nothing missing of a TCP connection that has ended?
 * @cp:		the connection
 *
 * The inside host repeats its FIN, and what was before, until the remote has
 * acknowledged it.
 */
bool snat_tcp_over(const struct ip_vs_conn *cp)
{
	return cp->state == IP_VS_TCP_S_CLOSE ||
	       (cp->state == IP_VS_TCP_S_TIME_WAIT &&
		!before(snat_tcp_acked(cp, SNAT_DIR_IN),
			snat_tcp_sent(cp, SNAT_DIR_OUT)));
}

/* Note how far each side has got. The inside host is believed: what it has
 * acknowledged was sent, even if it was too far ahead to count then. A segment from
 * outside has to follow what is known already: who wants a RST to fit needs as much
 * luck as to put data in, not just any number. Two CPUs may do that at the same time,
 * what one of them misses comes with the next segment.
 */
static void snat_tcp_progress(struct ip_vs_conn *cp, const struct tcphdr *th,
			      enum snat_dir dir, u32 end)
{
	u32 ack = ntohl(th->ack_seq), sent = snat_tcp_sent(cp, dir);

	if (after(end, sent) &&
	    (dir == SNAT_DIR_OUT ||
	     (!after(ntohl(th->seq), sent) &&
	      !after(end, snat_tcp_acked(cp, !dir) + SNAT_TCP_WINDOW))))
		WRITE_ONCE(cp->snat.tcp_end[dir], end);
	if (!th->ack || !after(ack, snat_tcp_acked(cp, dir)))
		return;
	sent = snat_tcp_sent(cp, !dir);
	if (dir == SNAT_DIR_OUT && after(ack, sent)) {
		WRITE_ONCE(cp->snat.tcp_end[SNAT_DIR_IN], ack);
		sent = ack;
	}
	if (!after(ack, sent))
		WRITE_ONCE(cp->snat.tcp_ack[dir], ack);
}

/* The first segment of a side, or the same again. A SYN may have data, and lose them
 * when it's repeated (RFC 7413).
 */
static void snat_tcp_start(struct ip_vs_conn *cp, enum snat_dir dir, u32 seq,
			   u32 end)
{
	if (snat_tcp_acked(cp, !dir) == seq && !after(end, snat_tcp_sent(cp, dir)))
		return;
	WRITE_ONCE(cp->snat.tcp_end[dir], end);
	WRITE_ONCE(cp->snat.tcp_ack[!dir], seq);
}

/* Does a segment acknowledge the SYN of the other side? */
static bool snat_tcp_acks_syn(const struct ip_vs_conn *cp,
			      const struct tcphdr *th, enum snat_dir dir)
{
	u32 ack = ntohl(th->ack_seq);

	return th->ack && after(ack, snat_tcp_acked(cp, dir)) &&
	       !after(ack, snat_tcp_sent(cp, !dir));
}

/* A RST fits if it comes right after what the other side has acknowledged, or what
 * this side has sent; the answer to a SYN if it acknowledges that.
 */
static bool snat_tcp_rst_fits(const struct ip_vs_conn *cp,
			      const struct tcphdr *th, enum snat_dir dir,
			      u32 seq)
{
	if (dir == SNAT_DIR_IN && cp->state == IP_VS_TCP_S_SYN_SENT)
		return snat_tcp_acks_syn(cp, th, dir);
	return seq == snat_tcp_acked(cp, !dir) || seq == snat_tcp_sent(cp, dir);
}

static u16 snat_tcp_syn(struct ip_vs_conn *cp, const struct tcphdr *th,
			enum snat_dir dir, u32 seq, u32 end)
{
	u16 state = cp->state;

	if (dir == SNAT_DIR_OUT && !th->ack) {
		if (state != IP_VS_TCP_S_NONE &&
		    state != IP_VS_TCP_S_SYN_SENT && !snat_tcp_ended(cp))
			return state;
		snat_tcp_start(cp, dir, seq, end);
		WRITE_ONCE(cp->snat.tcp_fin_seen, false);
		return IP_VS_TCP_S_SYN_SENT;
	}
	/* Both sides may open at the same time */
	if (dir == SNAT_DIR_OUT)
		return state == IP_VS_TCP_S_SYN_RECV &&
		       snat_tcp_acks_syn(cp, th, dir) ?
			       IP_VS_TCP_S_ESTABLISHED : state;

	if (state != IP_VS_TCP_S_SYN_SENT && state != IP_VS_TCP_S_SYN_RECV)
		return state;
	if (!th->ack) {
		snat_tcp_start(cp, dir, seq, end);
		return IP_VS_TCP_S_SYN_RECV;
	}
	if (!snat_tcp_acks_syn(cp, th, dir))
		return state;
	snat_tcp_start(cp, dir, seq, end);
	WRITE_ONCE(cp->snat.tcp_ack[dir], ntohl(th->ack_seq));
	return IP_VS_TCP_S_ESTABLISHED;
}

/* Does a segment of the inside host acknowledge a FIN from outside? */
static bool snat_tcp_acks_fin(const struct ip_vs_conn *cp,
			      const struct tcphdr *th)
{
	/* With the number of the one that was seen */
	return smp_load_acquire(&cp->snat.tcp_fin_seen) && th->ack &&
	       ntohl(th->ack_seq) == READ_ONCE(cp->snat.tcp_fin);
}

/* A FIN of the inside host counts at once, one from outside when the inside host has
 * acknowledged it: then nobody else has made it up.
 */
static u16 snat_tcp_fin(struct ip_vs_conn *cp, const struct tcphdr *th,
			enum snat_dir dir, u16 state, u32 end)
{
	if (dir == SNAT_DIR_IN) {
		if (th->fin && (state == IP_VS_TCP_S_ESTABLISHED ||
				state == IP_VS_TCP_S_FIN_WAIT)) {
			WRITE_ONCE(cp->snat.tcp_fin, end);
			/* Who sees that sees the number as well */
			smp_store_release(&cp->snat.tcp_fin_seen, true);
		}
		return state;
	}

	if (snat_tcp_acks_fin(cp, th)) {
		WRITE_ONCE(cp->snat.tcp_fin_seen, false);
		if (state == IP_VS_TCP_S_ESTABLISHED)
			state = IP_VS_TCP_S_CLOSE_WAIT;
		else if (state == IP_VS_TCP_S_FIN_WAIT)
			state = IP_VS_TCP_S_TIME_WAIT;
	}
	if (th->fin && state == IP_VS_TCP_S_ESTABLISHED)
		state = IP_VS_TCP_S_FIN_WAIT;
	else if (th->fin && state == IP_VS_TCP_S_CLOSE_WAIT)
		state = IP_VS_TCP_S_TIME_WAIT;
	return state;
}

static u16 snat_tcp_next_state(struct ip_vs_conn *cp, const struct tcphdr *th,
			       enum snat_dir dir, u32 end)
{
	u32 seq = ntohl(th->seq);
	u16 state = cp->state;

	if (th->rst) {
		if (snat_tcp_rst_fits(cp, th, dir, seq))
			return IP_VS_TCP_S_CLOSE;
		snat_count(ip_vs_snat_ipvs(cp), SNAT_CTR_RST_IGNORED);
		return state;
	}
	if (th->syn)
		return snat_tcp_syn(cp, th, dir, seq, end);

	/* What answers a SYN that answers a SYN */
	if (state == IP_VS_TCP_S_SYN_RECV && dir == SNAT_DIR_OUT &&
	    snat_tcp_acks_syn(cp, th, dir))
		state = IP_VS_TCP_S_ESTABLISHED;
	/* The RST was none. The inside host knows, the outside may only want to keep
	 * the connection.
	 */
	if (state == IP_VS_TCP_S_CLOSE && dir == SNAT_DIR_OUT &&
	    !snat_conn_unanswered(cp))
		state = IP_VS_TCP_S_ESTABLISHED;
	if (state != IP_VS_TCP_S_SYN_SENT)
		snat_tcp_progress(cp, th, dir, end);
	return snat_tcp_fin(cp, th, dir, state, end);
}

static int snat_tcp_timeout(const struct ip_vs_conn *cp, u16 state)
{
	const struct snat_settings *set = &ip_vs_snat_ipvs(cp)->snat->set;

	switch (state) {
	case IP_VS_TCP_S_ESTABLISHED:
	case IP_VS_TCP_S_FIN_WAIT:
	case IP_VS_TCP_S_CLOSE_WAIT:
		return READ_ONCE(set->tcp_timeout);
	default:
		return READ_ONCE(set->tcp_transitory_timeout);
	}
}

/* The destination counts active and other connections, for its scheduler */
static void snat_tcp_set_state(struct ip_vs_conn *cp, u16 state)
{
	bool active = state == IP_VS_TCP_S_ESTABLISHED;

	if (active && cp->flags & IP_VS_CONN_F_INACTIVE) {
		ip_vs_snat_dest_activity(cp->dest, 1);
		cp->flags &= ~IP_VS_CONN_F_INACTIVE;
	} else if (!active && !(cp->flags & IP_VS_CONN_F_INACTIVE)) {
		ip_vs_snat_dest_activity(cp->dest, -1);
		cp->flags |= IP_VS_CONN_F_INACTIVE;
	}
	IP_VS_DBG(8, "SNAT: TCP %pI4:%u->%pI4:%u state %u->%u\n",
		  &cp->daddr.ip, ntohs(cp->dport),
		  &cp->caddr.ip, ntohs(cp->cport), cp->state, state);
	cp->state = state;
}

static u32 snat_tcp_end(const struct sk_buff *skb, unsigned int thoff,
			const struct tcphdr *th)
{
	return ntohl(th->seq) + skb->len - thoff - th->doff * 4 + th->syn +
	       th->fin;
}

/**
 * snat_tcp_data - follow a TCP connection with a packet that doesn't change its state
 * @cp:		the connection
 * @skb:	the packet
 * @thoff:	offset of its TCP header, which is linear
 * @out:	does it come from the inside host?
 *
 * Return: whether it's such a packet; else nothing was done.
 */
bool snat_tcp_data(struct ip_vs_conn *cp, const struct sk_buff *skb,
		   unsigned int thoff, bool out)
{
	const struct tcphdr *th = (const struct tcphdr *)(skb->data + thoff);
	unsigned long timeout;

	if (unlikely(cp->state != IP_VS_TCP_S_ESTABLISHED ||
		     snat_tcp_flags(th) != TCP_FLAG_ACK ||
		     (out && snat_tcp_acks_fin(cp, th))))
		return false;
	snat_tcp_progress(cp, th, out ? SNAT_DIR_OUT : SNAT_DIR_IN,
			  snat_tcp_end(skb, thoff, th));
	timeout = snat_tcp_timeout(cp, IP_VS_TCP_S_ESTABLISHED);
	if (unlikely(cp->timeout != timeout)) {
		spin_lock(&cp->lock);
		/* It may have been reset meanwhile */
		if (cp->state == IP_VS_TCP_S_ESTABLISHED)
			cp->timeout = timeout;
		spin_unlock(&cp->lock);
	}
	return true;
}

/**
 * snat_tcp_packet - follow a TCP connection with one of its packets
 * @cp:		the connection
 * @skb:	the packet
 * @thoff:	offset of its TCP header, which is linear
 * @out:	does it come from the inside host?
 */
void snat_tcp_packet(struct ip_vs_conn *cp, const struct sk_buff *skb,
		     unsigned int thoff, bool out)
{
	const struct tcphdr *th = (const struct tcphdr *)(skb->data + thoff);
	enum snat_dir dir = out ? SNAT_DIR_OUT : SNAT_DIR_IN;
	u16 old, state;
	bool ended, closed;

	if (likely(snat_tcp_data(cp, skb, thoff, out)))
		return;

	spin_lock(&cp->lock);
	old = cp->state;
	ended = snat_tcp_ended(cp);
	closed = snat_tcp_closed(cp);
	state = snat_tcp_next_state(cp, th, dir, snat_tcp_end(skb, thoff, th));
	if (state != old)
		snat_tcp_set_state(cp, state);
	/* One that is made up doesn't even keep the connection alive */
	if (state != old || !th->rst)
		cp->timeout = snat_tcp_timeout(cp, state);
	spin_unlock(&cp->lock);

	if (state == IP_VS_TCP_S_ESTABLISHED && snat_conn_unanswered(cp))
		snat_conn_answered(cp);
	else if (ended != snat_tcp_ended(cp) || closed != snat_tcp_closed(cp))
		snat_conn_update_spare(cp);
}
