// SPDX-License-Identifier: GPL-2.0-or-later
/* IP Virtual Server: who had which address and ports of SNAT, for those who keep a log
 *
 * Nothing is done here for packets of a connection, only when it begins and ends, and
 * of pools with blocks not even then. Nobody is waited for: who doesn't read fast
 * enough loses events, and sees by their numbers how many.
 */

#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/ktime.h>
#include <linux/sched.h>

#include "ip_vs_snat_config.h"

/* More than any of them needs */
#define SNAT_EVENT_BYTES	320

/* Is the family there that events are sent by? */
static bool snat_events_on;

/* What an event is about: one of them */
struct snat_event {
	const struct snat_block	*block;
	struct ip_vs_conn	*conn;
};

/* Under block_lock */
static int snat_put_block(struct sk_buff *skb, const struct snat_block *block)
{
	const struct snat_member *m = block->blocks->member;

	if (nla_put_string(skb, IPVS_SNAT_BLOCK_POOL, m->pool) ||
	    nla_put_be32(skb, IPVS_SNAT_BLOCK_INSIDE, block->inside) ||
	    nla_put_be32(skb, IPVS_SNAT_BLOCK_ADDR, m->dest.addr.ip) ||
	    nla_put_u16(skb, IPVS_SNAT_BLOCK_PORT_MIN,
			snat_block_first(block)) ||
	    nla_put_u16(skb, IPVS_SNAT_BLOCK_PORT_MAX, snat_block_last(block)) ||
	    nla_put_u32(skb, IPVS_SNAT_BLOCK_CONNS,
			atomic_read(&block->conns)) ||
	    nla_put_u32(skb, IPVS_SNAT_BLOCK_AGE,
			(jiffies - block->since) / HZ))
		return -EMSGSIZE;
	return 0;
}

/* Events */

static int snat_put_event(struct sk_buff *skb, u32 kind, u64 seq)
{
	struct nlattr *nest = nla_nest_start(skb, IPVS_SNAT_ATTR_EVENT);

	if (!nest || nla_put_u32(skb, IPVS_SNAT_EVENT_KIND, kind) ||
	    ip_vs_snat_put_u64(skb, IPVS_SNAT_EVENT_SEQ, seq,
			       IPVS_SNAT_EVENT_PAD) ||
	    ip_vs_snat_put_u64(skb, IPVS_SNAT_EVENT_TIME,
			       ktime_to_ns(ktime_get_real()),
			       IPVS_SNAT_EVENT_PAD))
		return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

static struct sk_buff *snat_event_msg(const struct snat_event *event, u32 kind,
				      u64 seq)
{
	struct snat_msg msg = { .cmd = IPVS_SNAT_CMD_EVENT };
	struct sk_buff *skb = nlmsg_new(SNAT_EVENT_BYTES, GFP_ATOMIC);
	struct nlattr *nest;
	void *hdr;
	int ret;

	if (!skb)
		return NULL;
	hdr = snat_msg_begin(skb, &msg, event->block ? IPVS_SNAT_ATTR_BLOCK :
						       IPVS_SNAT_ATTR_CONN, &nest);
	if (!hdr)
		goto err;
	ret = event->block ? snat_put_block(skb, event->block) :
			     snat_put_conn(skb, event->conn);
	if (ret)
		goto err;
	nla_nest_end(skb, nest);
	if (snat_put_event(skb, kind, seq))
		goto err;
	genlmsg_end(skb, hdr);
	return skb;

err:
	kfree_skb(skb);
	return NULL;
}

/* Tell who listens, in the order of the numbers. One that cannot be told, or that
 * nobody hears, has a number as well.
 */
static void snat_tell(struct netns_ipvs *ipvs, const struct snat_event *event,
		      u32 kind)
{
	struct ip_vs_snat *snat = ipvs->snat;
	struct sk_buff *skb;

	rcu_read_lock();
	spin_lock_bh(&snat->event_lock);
	snat->event_seq++;
	if (!READ_ONCE(snat_events_on) ||
	    !ip_vs_snat_has_listeners(ipvs, &snat_nl_family, SNAT_NL_EVENTS))
		goto unlock;
	skb = snat_event_msg(event, kind, snat->event_seq);
	if (skb)
		ip_vs_snat_genl_multicast(ipvs, &snat_nl_family, skb,
					  SNAT_NL_EVENTS, GFP_ATOMIC);
unlock:
	spin_unlock_bh(&snat->event_lock);
	rcu_read_unlock();
}

/**
 * snat_event_block - a host has got a block of ports, or has given it back
 * @ipvs:	the network namespace
 * @block:	the block, under block_lock, so that its events come in their order
 * @kind:	what has happened
 */
void snat_event_block(struct netns_ipvs *ipvs, const struct snat_block *block,
		      u32 kind)
{
	struct snat_event event = { .block = block };

	snat_tell(ipvs, &event, kind);
}

/**
 * snat_conn_tell - a connection begins or ends
 * @cp:		the connection
 * @kind:	what has happened
 */
void snat_conn_tell(struct ip_vs_conn *cp, u32 kind)
{
	struct snat_event event = { .conn = cp };

	if (cp->snat.rule && READ_ONCE(snat_member_of_dest(cp->dest)->log))
		snat_tell(ip_vs_snat_ipvs(cp), &event, kind);
}

/**
 * snat_event_switch - the family is there, or is about to go
 * @on:		which of them
 */
void snat_event_switch(bool on)
{
	WRITE_ONCE(snat_events_on, on);
	if (!on)
		synchronize_rcu();
}

/* Blocks in use */

static bool snat_block_wanted(const struct snat_block *block,
			      const struct snat_conn_filter *filter)
{
	return atomic_read(&block->conns) &&
	       (ntohl(block->inside) & filter->mask) == filter->inside &&
	       (!*filter->pool ||
		!strcmp(block->blocks->member->pool, filter->pool));
}

static int snat_dump_block(struct sk_buff *skb, struct netlink_callback *cb,
			   const struct snat_block *block)
{
	struct nlattr *nest;
	struct snat_msg msg;
	void *hdr;

	snat_dump_msg(&msg, cb, IPVS_SNAT_CMD_GET_BLOCK);
	hdr = snat_msg_begin(skb, &msg, IPVS_SNAT_ATTR_BLOCK, &nest);
	if (!hdr)
		return -EMSGSIZE;
	return snat_msg_end(skb, hdr, nest, snat_put_block(skb, block));
}

/* args[0] is the bucket, args[1] what was told of it: nothing, unless it is longer than a
 * message. Else what leaves it between two messages would hide others.
 */
static int snat_dump_block_bucket(struct ip_vs_snat *snat, struct sk_buff *skb,
				  struct netlink_callback *cb,
				  const struct snat_conn_filter *filter)
{
	unsigned int before = skb->len;
	struct snat_block *block;
	long num = 0;
	int ret = 0;

	spin_lock_bh(&snat->block_lock);
	ip_vs_snat_hlist_for_each(block, &snat->block_tab[cb->args[0]], node) {
		if (num++ < cb->args[1] || !snat_block_wanted(block, filter))
			continue;
		ret = snat_dump_block(skb, cb, block);
		if (ret)
			break;
	}
	spin_unlock_bh(&snat->block_lock);
	if (ret)
		snat_dump_cut(skb, cb, before, num - 1);
	return ret;
}

/**
 * snat_dump_blocks - answer with the blocks in use
 * @skb:	the answer
 * @cb:		where it is
 *
 * Return: the length of the answer, or a negative error.
 */
int snat_dump_blocks(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct netns_ipvs *ipvs = ip_vs_snat_skb_ipvs(skb);
	struct snat_conn_filter filter;
	int ret = snat_dump_conn_filter(cb, &filter);

	if (ret)
		return ret;
	/* Blocks are not of rules */
	if (filter.rule)
		return -EINVAL;
	if (!ip_vs_snat_enabled(ipvs))
		return 0;
	for (; cb->args[0] < 1 << ipvs->snat->host_bits; cb->args[0]++) {
		if (snat_dump_block_bucket(ipvs->snat, skb, cb, &filter))
			break;
		cb->args[1] = 0;
		if (cb->args[0] % SNAT_BUCKETS_AT_ONCE == 0)
			cond_resched();
	}
	return skb->len;
}
