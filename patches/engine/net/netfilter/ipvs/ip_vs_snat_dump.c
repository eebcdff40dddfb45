// SPDX-License-Identifier: GPL-2.0-or-later
/* IP Virtual Server: what netlink tells about rules, pools and connections of SNAT */

#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/sched.h>

#include "ip_vs_snat_config.h"

/* Changes that are told one by one, when they are made at once */
#define SNAT_MAX_NEWS		4096
/* Steps of a dump of connections, until others have their turn */
#define SNAT_STEPS_AT_ONCE	128

/* More than any of them needs */
#define SNAT_NEWS_BYTES		512

/* What has been counted about a rule, a member, or several members */
struct snat_sums {
	struct ip_vs_kstats	packets;
	u64			drops[SNAT_RULE_DROP_MAX];
	u64			active;
	u64			inactive;
	u64			conflicts;
	u64			exhausted;
};

static void snat_sum_rule(struct snat_sums *sums, struct snat_tally *tally)
{
	int i;

	memset(sums, 0, sizeof(*sums));
	ip_vs_snat_stats_read(&tally->stats, &sums->packets);
	for (i = 0; i < SNAT_RULE_DROP_MAX; i++)
		sums->drops[i] = atomic_long_read(&tally->drops[i]);
}

static void snat_sum_add_member(struct snat_sums *sums, struct snat_member *m)
{
	struct ip_vs_kstats one;

	ip_vs_snat_stats_read(&m->dest.stats, &one);
	sums->packets.conns += one.conns;
	sums->packets.inpkts += one.inpkts;
	sums->packets.outpkts += one.outpkts;
	sums->packets.inbytes += one.inbytes;
	sums->packets.outbytes += one.outbytes;
	sums->active += atomic_read(&m->dest.activeconns);
	sums->inactive += ip_vs_dest_inactconns(&m->dest);
	sums->conflicts += (u32)atomic_read(&m->dest.snat_conflicts);
	sums->exhausted += (u32)atomic_read(&m->dest.snat_exhausted);
}

/* Each sum is of all processors */
#define SNAT_SUMS_AT_ONCE	256

/* Of the members from low to before high */
static void snat_sum_members(struct snat_sums *sums,
			     const struct snat_pool *pool, u32 low, u32 high)
{
	memset(sums, 0, sizeof(*sums));
	for (; low < high; low++) {
		snat_sum_add_member(sums, pool->members[low]);
		if (low % SNAT_SUMS_AT_ONCE == 0)
			cond_resched();
	}
}

/* Attributes */

static int snat_put_sums(struct sk_buff *skb, int attr,
			 const struct snat_sums *sums)
{
	const struct {
		int	attr;
		u64	value;
	} all[] = {
		{ IPVS_SNAT_STATS_CONNS, sums->packets.conns },
		{ IPVS_SNAT_STATS_PKTS_OUT, sums->packets.outpkts },
		{ IPVS_SNAT_STATS_BYTES_OUT, sums->packets.outbytes },
		{ IPVS_SNAT_STATS_PKTS_IN, sums->packets.inpkts },
		{ IPVS_SNAT_STATS_BYTES_IN, sums->packets.inbytes },
		{ IPVS_SNAT_STATS_DROP_NO_PORT,
		  sums->drops[SNAT_RULE_DROP_NO_PORT] },
		{ IPVS_SNAT_STATS_DROP_LIMIT,
		  sums->drops[SNAT_RULE_DROP_LIMIT] },
		{ IPVS_SNAT_STATS_DROP_EMPTY,
		  sums->drops[SNAT_RULE_DROP_EMPTY] },
		{ IPVS_SNAT_STATS_DROP_NO_BLOCK,
		  sums->drops[SNAT_RULE_DROP_NO_BLOCK] },
		{ IPVS_SNAT_STATS_ACTIVE, sums->active },
		{ IPVS_SNAT_STATS_INACTIVE, sums->inactive },
		{ IPVS_SNAT_STATS_PORT_CONFLICTS, sums->conflicts },
		{ IPVS_SNAT_STATS_EXHAUSTED, sums->exhausted },
	};
	struct nlattr *nest = nla_nest_start(skb, attr);
	int i;

	if (!nest)
		return -EMSGSIZE;
	for (i = 0; i < ARRAY_SIZE(all); i++) {
		if (ip_vs_snat_put_u64(skb, all[i].attr, all[i].value,
				       IPVS_SNAT_STATS_PAD))
			return -EMSGSIZE;
	}
	nla_nest_end(skb, nest);
	return 0;
}

/* Of a pool with blocks, and how many if it's in force */
static int snat_put_blocks(struct sk_buff *skb,
			   const struct snat_pool_spec *spec,
			   const struct snat_pool *pool)
{
	u32 i, num = 0, used = 0;

	if (nla_put_u16(skb, IPVS_SNAT_POOL_BLOCK_SIZE, spec->block_size) ||
	    nla_put_u32(skb, IPVS_SNAT_POOL_HOST_BLOCKS, spec->host_blocks))
		return -EMSGSIZE;
	if (!pool)
		return 0;
	for (i = 0; i < pool->num_addrs; i++) {
		snat_member_count_blocks(pool->members[i], &num, &used);
		if (i % SNAT_SUMS_AT_ONCE == 0)
			cond_resched();
	}
	return nla_put_u32(skb, IPVS_SNAT_POOL_BLOCKS, num) ? :
	       nla_put_u32(skb, IPVS_SNAT_POOL_BLOCKS_USED, used);
}

static int snat_put_pool(struct sk_buff *skb, const struct snat_pool_spec *spec,
			 const struct snat_pool *pool)
{
	struct snat_sums sums;

	if (nla_put_string(skb, IPVS_SNAT_POOL_NAME, spec->name) ||
	    nla_put_u32(skb, IPVS_SNAT_POOL_ALGO, spec->algo) ||
	    nla_put_u16(skb, IPVS_SNAT_POOL_PORT_MIN, spec->port_min) ||
	    nla_put_u16(skb, IPVS_SNAT_POOL_PORT_MAX, spec->port_max) ||
	    nla_put_u32(skb, IPVS_SNAT_POOL_HOST_CONNS, spec->host_conns) ||
	    nla_put_u32(skb, IPVS_SNAT_POOL_FLAGS, spec->flags) ||
	    (spec->block_size && snat_put_blocks(skb, spec, pool)))
		return -EMSGSIZE;
	if (!pool)
		return 0;
	snat_sum_members(&sums, pool, 0, pool->num_addrs);
	return nla_put_u32(skb, IPVS_SNAT_POOL_ADDRS, pool->num_addrs) ? :
	       snat_put_sums(skb, IPVS_SNAT_POOL_STATS, &sums);
}

static int snat_put_member(struct sk_buff *skb, const char *pool,
			   const struct snat_range *range,
			   const struct snat_sums *sums)
{
	if (nla_put_string(skb, IPVS_SNAT_MEMBER_POOL, pool) ||
	    nla_put_be32(skb, IPVS_SNAT_MEMBER_ADDR_MIN, htonl(range->min)) ||
	    nla_put_be32(skb, IPVS_SNAT_MEMBER_ADDR_MAX, htonl(range->max)) ||
	    nla_put_u32(skb, IPVS_SNAT_MEMBER_WEIGHT, range->weight))
		return -EMSGSIZE;
	return sums ? snat_put_sums(skb, IPVS_SNAT_MEMBER_STATS, sums) : 0;
}

/* What a rule does not ask about isn't there */

static int snat_put_rule_where(struct sk_buff *skb,
			       const struct snat_rule_spec *spec)
{
	if (nla_put_be32(skb, IPVS_SNAT_RULE_SRC, htonl(spec->src)) ||
	    nla_put_u8(skb, IPVS_SNAT_RULE_SRC_LEN, spec->src_len) ||
	    nla_put_be32(skb, IPVS_SNAT_RULE_DST, htonl(spec->dst)) ||
	    nla_put_u8(skb, IPVS_SNAT_RULE_DST_LEN, spec->dst_len) ||
	    (*spec->iif && nla_put_string(skb, IPVS_SNAT_RULE_IIF, spec->iif)) ||
	    (*spec->oif && nla_put_string(skb, IPVS_SNAT_RULE_OIF, spec->oif)) ||
	    (spec->gw && nla_put_be32(skb, IPVS_SNAT_RULE_GW, spec->gw)))
		return -EMSGSIZE;
	return 0;
}

static int snat_put_rule_what(struct sk_buff *skb,
			      const struct snat_rule_spec *spec)
{
	if (nla_put_u8(skb, IPVS_SNAT_RULE_PROTO, spec->protocol))
		return -EMSGSIZE;
	if (spec->dport_max &&
	    (nla_put_u16(skb, IPVS_SNAT_RULE_DPORT_MIN, spec->dport_min) ||
	     nla_put_u16(skb, IPVS_SNAT_RULE_DPORT_MAX, spec->dport_max)))
		return -EMSGSIZE;
	if (spec->mark_mask &&
	    (nla_put_u32(skb, IPVS_SNAT_RULE_MARK, spec->mark) ||
	     nla_put_u32(skb, IPVS_SNAT_RULE_MARK_MASK, spec->mark_mask)))
		return -EMSGSIZE;
	return 0;
}

static int snat_put_rule(struct sk_buff *skb, const struct snat_rule_spec *spec,
			 struct snat_tally *tally)
{
	struct snat_sums sums;

	if (nla_put_u32(skb, IPVS_SNAT_RULE_ID, spec->id) ||
	    nla_put_u32(skb, IPVS_SNAT_RULE_PRIORITY, spec->priority) ||
	    snat_put_rule_where(skb, spec) || snat_put_rule_what(skb, spec) ||
	    nla_put_u32(skb, IPVS_SNAT_RULE_ACTION, spec->action) ||
	    (*spec->pool &&
	     nla_put_string(skb, IPVS_SNAT_RULE_POOL, spec->pool)) ||
	    (spec->new_gw &&
	     nla_put_be32(skb, IPVS_SNAT_RULE_NEW_GW, spec->new_gw)) ||
	    nla_put_u32(skb, IPVS_SNAT_RULE_FLAGS, spec->flags))
		return -EMSGSIZE;
	if (!tally)
		return 0;
	snat_sum_rule(&sums, tally);
	return snat_put_sums(skb, IPVS_SNAT_RULE_STATS, &sums);
}

static u32 snat_conn_expires(const struct ip_vs_conn *cp)
{
	long left = READ_ONCE(cp->timer.expires) - jiffies;

	return left > 0 ? left / HZ : 0;
}

/* What a message says about a connection */
int snat_put_conn(struct sk_buff *skb, struct ip_vs_conn *cp)
{
	const struct ip_vs_snat_rule *rule = cp->snat.rule;

	if (nla_put_u8(skb, IPVS_SNAT_CONN_PROTO, cp->protocol) ||
	    nla_put_be32(skb, IPVS_SNAT_CONN_INSIDE, cp->daddr.ip) ||
	    nla_put_be16(skb, IPVS_SNAT_CONN_INSIDE_PORT, cp->dport) ||
	    nla_put_be32(skb, IPVS_SNAT_CONN_ADDR, cp->vaddr.ip) ||
	    nla_put_be16(skb, IPVS_SNAT_CONN_PORT, cp->vport) ||
	    nla_put_be32(skb, IPVS_SNAT_CONN_REMOTE, cp->caddr.ip) ||
	    nla_put_be16(skb, IPVS_SNAT_CONN_REMOTE_PORT, cp->cport) ||
	    nla_put_string(skb, IPVS_SNAT_CONN_STATE,
			   ip_vs_snat_state_name(cp)) ||
	    nla_put_u32(skb, IPVS_SNAT_CONN_EXPIRES, snat_conn_expires(cp)))
		return -EMSGSIZE;
	if (rule &&
	    (nla_put_u32(skb, IPVS_SNAT_CONN_RULE, rule->spec.id) ||
	     nla_put_string(skb, IPVS_SNAT_CONN_POOL,
			    snat_member_of_dest(cp->dest)->pool)))
		return -EMSGSIZE;
	return 0;
}

/* Messages */

/* Begin a message with an object in it. Returns NULL if there is no room. */
void *snat_msg_begin(struct sk_buff *skb, const struct snat_msg *msg, int attr,
		     struct nlattr **nest)
{
	void *hdr = genlmsg_put(skb, msg->portid, msg->seq, &snat_nl_family,
				msg->flags, msg->cmd);

	if (!hdr)
		return NULL;
	*nest = nla_nest_start(skb, attr);
	if (*nest)
		return hdr;
	genlmsg_cancel(skb, hdr);
	return NULL;
}

int snat_msg_end(struct sk_buff *skb, void *hdr, struct nlattr *nest, int ret)
{
	if (ret) {
		genlmsg_cancel(skb, hdr);
		return ret;
	}
	nla_nest_end(skb, nest);
	genlmsg_end(skb, hdr);
	return 0;
}

void snat_dump_msg(struct snat_msg *msg, struct netlink_callback *cb, u8 cmd)
{
	msg->portid = ip_vs_snat_cb_portid(cb);
	msg->seq = cb->nlh->nlmsg_seq;
	msg->flags = NLM_F_MULTI;
	msg->cmd = cmd;
}

/* News */

/* A message for those who listen, with the command that was given. Returns NULL if
 * nobody does.
 */
static struct sk_buff *snat_news_begin(struct netns_ipvs *ipvs,
				       struct genl_info *info, u8 cmd,
				       int attr, void **hdr,
				       struct nlattr **nest)
{
	struct snat_msg msg = {
		.portid	= ip_vs_snat_portid(info),
		.seq	= info->snd_seq,
		.cmd	= cmd,
	};
	struct sk_buff *skb;

	if (!ip_vs_snat_has_listeners(ipvs, &snat_nl_family, SNAT_NL_CONFIG) &&
	    !(info->nlhdr->nlmsg_flags & NLM_F_ECHO))
		return NULL;
	skb = nlmsg_new(SNAT_NEWS_BYTES, GFP_KERNEL_ACCOUNT);
	if (!skb)
		return NULL;
	*hdr = snat_msg_begin(skb, &msg, attr, nest);
	if (*hdr)
		return skb;
	kfree_skb(skb);
	return NULL;
}

/* Who listens reads all of it again if there is too much to tell */
static void snat_news_add(struct snat_draft *draft, struct sk_buff *skb)
{
	if (skb_queue_len(&draft->news) < SNAT_MAX_NEWS && !draft->untold) {
		__skb_queue_tail(&draft->news, skb);
		return;
	}
	draft->untold = true;
	skb_queue_purge(&draft->news);
	kfree_skb(skb);
}

static void snat_news_end(struct snat_draft *draft, struct sk_buff *skb,
			  void *hdr, struct nlattr *nest, int ret)
{
	if (snat_msg_end(skb, hdr, nest, ret))
		kfree_skb(skb);
	else
		snat_news_add(draft, skb);
}

void snat_news_pool(struct netns_ipvs *ipvs, struct snat_draft *draft,
		    struct genl_info *info, const struct snat_pool_spec *spec)
{
	struct nlattr *nest;
	struct sk_buff *skb;
	void *hdr;

	skb = snat_news_begin(ipvs, info, info->genlhdr->cmd,
			      IPVS_SNAT_ATTR_POOL, &hdr, &nest);
	if (skb)
		snat_news_end(draft, skb, hdr, nest,
			      snat_put_pool(skb, spec, NULL));
}

void snat_news_member(struct netns_ipvs *ipvs, struct snat_draft *draft,
		      struct genl_info *info, const char *pool,
		      const struct snat_range *range)
{
	struct nlattr *nest;
	struct sk_buff *skb;
	void *hdr;

	skb = snat_news_begin(ipvs, info, info->genlhdr->cmd,
			      IPVS_SNAT_ATTR_MEMBER, &hdr, &nest);
	if (skb)
		snat_news_end(draft, skb, hdr, nest,
			      snat_put_member(skb, pool, range, NULL));
}

void snat_news_rule(struct netns_ipvs *ipvs, struct snat_draft *draft,
		    struct genl_info *info, const struct snat_rule_spec *spec)
{
	struct nlattr *nest;
	struct sk_buff *skb;
	void *hdr;

	skb = snat_news_begin(ipvs, info, info->genlhdr->cmd,
			      IPVS_SNAT_ATTR_RULE, &hdr, &nest);
	if (skb)
		snat_news_end(draft, skb, hdr, nest,
			      snat_put_rule(skb, spec, NULL));
}

/* A message without an object */
static struct sk_buff *snat_news_plain(struct netns_ipvs *ipvs,
				       struct genl_info *info, u8 cmd)
{
	struct sk_buff *skb;
	void *hdr;

	if (!ip_vs_snat_has_listeners(ipvs, &snat_nl_family, SNAT_NL_CONFIG))
		return NULL;
	skb = nlmsg_new(NLMSG_DEFAULT_SIZE, GFP_KERNEL);
	if (!skb)
		return NULL;
	hdr = genlmsg_put(skb, ip_vs_snat_portid(info), info->snd_seq,
			  &snat_nl_family, 0, cmd);
	if (!hdr) {
		kfree_skb(skb);
		return NULL;
	}
	genlmsg_end(skb, hdr);
	return skb;
}

void snat_news_flush(struct netns_ipvs *ipvs, struct snat_draft *draft,
		     struct genl_info *info)
{
	struct sk_buff *skb = snat_news_plain(ipvs, info, IPVS_SNAT_CMD_FLUSH);

	if (skb)
		snat_news_add(draft, skb);
}

/**
 * snat_news_publish - tell who listens of a change that is in force
 * @ipvs:	the network namespace
 * @draft:	the change
 * @info:	the message that has ended it; if it asks for an echo, it gets what it
 *		has changed itself
 */
void snat_news_publish(struct netns_ipvs *ipvs, struct snat_draft *draft,
		       struct genl_info *info)
{
	struct sk_buff *skb, *echo;

	while ((skb = __skb_dequeue(&draft->news))) {
		if (info->nlhdr->nlmsg_flags & NLM_F_ECHO) {
			echo = skb_clone(skb, GFP_KERNEL);
			if (echo)
				genlmsg_reply(echo, info);
		}
		ip_vs_snat_genl_multicast(ipvs, &snat_nl_family, skb,
					  SNAT_NL_CONFIG, GFP_KERNEL);
	}
	skb = snat_news_plain(ipvs, info, IPVS_SNAT_CMD_COMMIT);
	if (skb)
		ip_vs_snat_genl_multicast(ipvs, &snat_nl_family, skb,
					  SNAT_NL_CONFIG, GFP_KERNEL);
}

/* Dumps. What was told already is in cb->args: which pool or rule comes next, and
 * which of its ranges or addresses.
 */

struct snat_dump {
	struct ip_vs_snat	*snat;
	struct snat_config	*config;
	struct snat_msg		msg;
	struct netlink_callback	*cb;
	char			pool[IPVS_SNAT_NAME_MAX];	/* or "" */
	u32			rule;				/* or 0 */
};

/* Under config_lock */
static int snat_dump_begin(struct snat_dump *dump, struct sk_buff *skb,
			   struct netlink_callback *cb, u8 cmd)
{
	struct nlattr *tb[IPVS_SNAT_ATTR_MAX + 1], **attrs;
	int ret;

	dump->cb = cb;
	dump->config = snat_config_locked(dump->snat);
	snat_dump_msg(&dump->msg, cb, cmd);
	attrs = ip_vs_snat_dump_attrs(cb, tb, IPVS_SNAT_ATTR_MAX,
				      snat_nl_policy);
	if (IS_ERR(attrs))
		return PTR_ERR(attrs);
	ret = snat_parse_pool_filter(dump->pool, attrs,
				     ip_vs_snat_cb_extack(cb));
	if (!ret)
		ret = snat_parse_rule_filter(&dump->rule, attrs,
					     ip_vs_snat_cb_extack(cb));
	ip_vs_snat_dump_gen(cb, dump->snat->config_gen);
	return ret;
}

typedef int snat_dump_fn(struct snat_dump *dump, struct sk_buff *skb);

static int snat_dump(struct sk_buff *skb, struct netlink_callback *cb, u8 cmd,
		     snat_dump_fn *fn)
{
	struct snat_dump dump = {
		.snat	= ip_vs_snat_skb_ipvs(skb)->snat,
	};
	int ret;

	mutex_lock(&dump.snat->config_lock);
	ret = snat_dump_begin(&dump, skb, cb, cmd);
	if (!ret && dump.config)
		ret = fn(&dump, skb);
	mutex_unlock(&dump.snat->config_lock);
	/* No room for more is no error */
	return ret && ret != -EMSGSIZE ? ret : skb->len;
}

static bool snat_dump_wants_pool(const struct snat_dump *dump,
				 const struct snat_pool *pool)
{
	return !*dump->pool || !strcmp(dump->pool, pool->spec.name);
}

static void *snat_dump_msg_begin(struct snat_dump *dump, struct sk_buff *skb,
				 int attr, struct nlattr **nest)
{
	void *hdr = snat_msg_begin(skb, &dump->msg, attr, nest);

	if (hdr)
		ip_vs_snat_dump_check(dump->cb, hdr);
	return hdr;
}

static int __snat_dump_pools(struct snat_dump *dump, struct sk_buff *skb)
{
	long *i = &dump->cb->args[0];

	for (; *i < dump->config->num_pools; ++*i) {
		const struct snat_pool *pool = dump->config->pools[*i];
		struct nlattr *nest;
		void *hdr;
		int ret;

		if (!snat_dump_wants_pool(dump, pool))
			continue;
		hdr = snat_dump_msg_begin(dump, skb, IPVS_SNAT_ATTR_POOL,
					  &nest);
		if (!hdr)
			return -EMSGSIZE;
		ret = snat_put_pool(skb, &pool->spec, pool);
		ret = snat_msg_end(skb, hdr, nest, ret);
		if (ret)
			return ret;
	}
	return 0;
}

static int snat_dump_member(struct snat_dump *dump, struct sk_buff *skb,
			    const struct snat_pool *pool,
			    const struct snat_range *range,
			    const struct snat_sums *sums)
{
	struct nlattr *nest;
	void *hdr;

	hdr = snat_dump_msg_begin(dump, skb, IPVS_SNAT_ATTR_MEMBER, &nest);
	if (!hdr)
		return -EMSGSIZE;
	return snat_msg_end(skb, hdr, nest,
			    snat_put_member(skb, pool->spec.name, range, sums));
}

/* args[1] is the range, args[2] its first member */
static int snat_dump_pool_ranges(struct snat_dump *dump, struct sk_buff *skb,
				 const struct snat_pool *pool)
{
	long *i = &dump->cb->args[1], *first = &dump->cb->args[2];

	for (; *i < pool->num_ranges; ++*i) {
		const struct snat_range *range = &pool->ranges[*i];
		u32 end = *first + (range->max - range->min) + 1;
		struct snat_sums sums;
		int ret;

		if (end > pool->num_addrs)
			break;
		snat_sum_members(&sums, pool, *first, end);
		ret = snat_dump_member(dump, skb, pool, range, &sums);
		if (ret)
			return ret;
		*first = end;
	}
	return 0;
}

/* args[1] is the member */
static int snat_dump_pool_addrs(struct snat_dump *dump, struct sk_buff *skb,
				const struct snat_pool *pool)
{
	long *i = &dump->cb->args[1];

	for (; *i < pool->num_addrs; ++*i) {
		struct snat_member *m = pool->members[*i];
		struct snat_range range = { };
		struct snat_sums sums;
		int ret;

		range.min = ntohl(m->dest.addr.ip);
		range.max = range.min;
		range.weight = atomic_read(&m->dest.weight);
		snat_sum_members(&sums, pool, *i, *i + 1);
		ret = snat_dump_member(dump, skb, pool, &range, &sums);
		if (ret)
			return ret;
	}
	return 0;
}

static int snat_dump_each_pool(struct snat_dump *dump, struct sk_buff *skb,
			       int (*fn)(struct snat_dump *dump,
					 struct sk_buff *skb,
					 const struct snat_pool *pool))
{
	long *args = dump->cb->args;

	for (; args[0] < dump->config->num_pools; args[0]++) {
		const struct snat_pool *pool = dump->config->pools[args[0]];
		int ret;

		if (!snat_dump_wants_pool(dump, pool))
			continue;
		ret = fn(dump, skb, pool);
		if (ret)
			return ret;
		args[1] = 0;
		args[2] = 0;
	}
	return 0;
}

static int __snat_dump_ranges(struct snat_dump *dump, struct sk_buff *skb)
{
	return snat_dump_each_pool(dump, skb, snat_dump_pool_ranges);
}

static int __snat_dump_addrs(struct snat_dump *dump, struct sk_buff *skb)
{
	return snat_dump_each_pool(dump, skb, snat_dump_pool_addrs);
}

static int __snat_dump_rules(struct snat_dump *dump, struct sk_buff *skb)
{
	long *i = &dump->cb->args[0];

	for (; *i < dump->config->num_rules; ++*i) {
		const struct ip_vs_snat_rule *rule;
		struct nlattr *nest;
		void *hdr;
		int ret;

		rule = dump->config->rules[*i];
		if (dump->rule && dump->rule != rule->spec.id)
			continue;
		hdr = snat_dump_msg_begin(dump, skb, IPVS_SNAT_ATTR_RULE,
					  &nest);
		if (!hdr)
			return -EMSGSIZE;
		ret = snat_put_rule(skb, &rule->spec, rule->tally);
		ret = snat_msg_end(skb, hdr, nest, ret);
		if (ret)
			return ret;
	}
	return 0;
}

int snat_dump_pools(struct sk_buff *skb, struct netlink_callback *cb)
{
	return snat_dump(skb, cb, IPVS_SNAT_CMD_NEW_POOL, __snat_dump_pools);
}

int snat_dump_ranges(struct sk_buff *skb, struct netlink_callback *cb)
{
	return snat_dump(skb, cb, IPVS_SNAT_CMD_NEW_MEMBER, __snat_dump_ranges);
}

int snat_dump_addrs(struct sk_buff *skb, struct netlink_callback *cb)
{
	return snat_dump(skb, cb, IPVS_SNAT_CMD_NEW_MEMBER, __snat_dump_addrs);
}

int snat_dump_rules(struct sk_buff *skb, struct netlink_callback *cb)
{
	return snat_dump(skb, cb, IPVS_SNAT_CMD_NEW_RULE, __snat_dump_rules);
}

/* Connections */

/* The caller has a reference to the connection */
static bool snat_conn_wanted(struct ip_vs_conn *cp,
			     const struct snat_conn_filter *filter)
{
	const struct ip_vs_snat_rule *rule = cp->snat.rule;

	if ((ntohl(cp->daddr.ip) & filter->mask) != filter->inside)
		return false;
	if (filter->rule && (!rule || rule->spec.id != filter->rule))
		return false;
	return !*filter->pool ||
	       (rule && !strcmp(snat_member_of_dest(cp->dest)->pool,
				filter->pool));
}

/**
 * snat_dump_cut - a bucket does not fit into what is left of a message
 * @skb:	the message
 * @cb:		where the dump is; args[1] is what was told of the bucket
 * @before:	length of the message before the bucket
 * @told:	what of the bucket is in it
 *
 * The next message begins with the bucket, as what leaves it meanwhile would hide others
 * from a dump that goes on in its middle. There is no other way for one that is longer
 * than a message, of which some may be told twice or not at all if the table changes.
 */
void snat_dump_cut(struct sk_buff *skb, struct netlink_callback *cb,
		   unsigned int before, long told)
{
	if (before)
		nlmsg_trim(skb, skb->data + before);
	else
		cb->args[1] = told;
}

static int snat_dump_conn(struct sk_buff *skb, const struct snat_msg *msg,
			  struct ip_vs_conn *cp,
			  const struct snat_conn_filter *filter)
{
	struct nlattr *nest;
	int ret = 0;
	void *hdr;

	if (!__ip_vs_conn_get(cp))
		return 0;
	if (snat_conn_wanted(cp, filter)) {
		hdr = snat_msg_begin(skb, msg, IPVS_SNAT_ATTR_CONN, &nest);
		ret = hdr ? snat_msg_end(skb, hdr, nest,
					 snat_put_conn(skb, cp)) :
			    -EMSGSIZE;
	}
	__ip_vs_conn_put(cp);
	return ret;
}

/* args[0] is the step, args[1] what was told of it, see snat_dump_cut() */
static int snat_dump_step(struct snat_tab *tab, struct sk_buff *skb,
			  struct netlink_callback *cb,
			  const struct snat_conn_filter *filter)
{
	unsigned int before = skb->len;
	struct hlist_head *bucket;
	struct ip_vs_conn *cp;
	struct snat_msg msg;
	long num = 0;
	u32 nth = 0;
	int ret = 0;

	snat_dump_msg(&msg, cb, IPVS_SNAT_CMD_GET_CONN);
	rcu_read_lock();
	while (!ret && (bucket = snat_tabs_bucket(tab, cb->args[0], nth++))) {
		hlist_for_each_entry_rcu(cp, bucket, snat_out) {
			if (num++ < cb->args[1])
				continue;
			ret = snat_dump_conn(skb, &msg, cp, filter);
			if (ret)
				break;
		}
	}
	rcu_read_unlock();
	if (ret)
		snat_dump_cut(skb, cb, before, num - 1);
	return ret;
}

/* Some steps, until the message is full. Returns whether it is. */
static bool snat_dump_steps(struct snat_tab *tab, struct sk_buff *skb,
			    struct netlink_callback *cb,
			    const struct snat_conn_filter *filter)
{
	int i;

	for (i = 0; i < SNAT_STEPS_AT_ONCE && !cb->args[2]; i++) {
		if (snat_dump_step(tab, skb, cb, filter))
			return true;
		cb->args[1] = 0;
		cb->args[0] = snat_tabs_step(tab, cb->args[0]);
		cb->args[2] = !cb->args[0];
	}
	return false;
}

/* Which connections, or blocks of ports, a dump is about */
int snat_dump_conn_filter(struct netlink_callback *cb,
			  struct snat_conn_filter *filter)
{
	struct nlattr *tb[IPVS_SNAT_ATTR_MAX + 1], **attrs;

	attrs = ip_vs_snat_dump_attrs(cb, tb, IPVS_SNAT_ATTR_MAX,
				      snat_nl_policy);
	if (IS_ERR(attrs))
		return PTR_ERR(attrs);
	return snat_parse_conn_filter(filter, attrs ?
				      attrs[IPVS_SNAT_ATTR_CONN] : NULL,
				      ip_vs_snat_cb_extack(cb));
}

int snat_dump_conns(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct netns_ipvs *ipvs = ip_vs_snat_skb_ipvs(skb);
	struct snat_conn_filter filter;
	struct snat_tab *tab;
	int ret = snat_dump_conn_filter(cb, &filter);
	bool full;

	if (ret)
		return ret;
	if (!ip_vs_snat_enabled(ipvs))
		return 0;
	/* args[2]: that was all */
	do {
		tab = snat_tabs_hold(ipvs->snat, SNAT_DIR_OUT);
		full = snat_dump_steps(tab, skb, cb, &filter);
		snat_tabs_release(ipvs->snat);
		cond_resched();
	} while (!full && !cb->args[2]);
	return skb->len;
}

/* Which connections have to go, and how many there were */
struct snat_kill {
	const struct snat_conn_filter	*filter;
	u32				num;
};

static void snat_kill_bucket(struct hlist_head *bucket, void *data)
{
	struct snat_kill *kill = data;
	struct ip_vs_conn *cp;

	rcu_read_lock();
	hlist_for_each_entry_rcu(cp, bucket, snat_out) {
		if (!__ip_vs_conn_get(cp))
			continue;
		if (!snat_conn_wanted(cp, kill->filter)) {
			__ip_vs_conn_put(cp);
			continue;
		}
		local_bh_disable();
		snat_conn_kill(cp);
		local_bh_enable();
		kill->num++;
	}
	rcu_read_unlock();
}

static int snat_reply_count(struct genl_info *info, u32 num)
{
	struct sk_buff *skb = nlmsg_new(NLMSG_DEFAULT_SIZE, GFP_KERNEL);
	void *hdr;

	if (!skb)
		return -ENOMEM;
	hdr = genlmsg_put(skb, ip_vs_snat_portid(info), info->snd_seq,
			  &snat_nl_family, 0, info->genlhdr->cmd);
	if (!hdr || nla_put_u32(skb, IPVS_SNAT_ATTR_COUNT, num)) {
		kfree_skb(skb);
		return -EMSGSIZE;
	}
	genlmsg_end(skb, hdr);
	return genlmsg_reply(skb, info);
}

int snat_nl_del_conns(struct sk_buff *skb, struct genl_info *info)
{
	struct netns_ipvs *ipvs = ip_vs_snat_genl_ipvs(info);
	struct snat_conn_filter filter;
	struct snat_kill kill = { &filter };
	int ret;

	ret = snat_parse_conn_filter(&filter, info->attrs[IPVS_SNAT_ATTR_CONN],
				     ip_vs_snat_extack(info));
	if (ret)
		return ret;
	if (!info->attrs[IPVS_SNAT_ATTR_CONN] || filter.any) {
		NL_SET_ERR_MSG(ip_vs_snat_extack(info),
			       "which connections is not said");
		return -EINVAL;
	}
	if (ip_vs_snat_enabled(ipvs))
		snat_tabs_walk(ipvs->snat, SNAT_DIR_OUT, snat_kill_bucket,
			       &kill);
	return snat_reply_count(info, kill.num);
}

/* Counters */

static void snat_zero_rule(struct snat_tally *tally)
{
	int i;

	ip_vs_snat_stats_zero(&tally->stats);
	for (i = 0; i < SNAT_RULE_DROP_MAX; i++)
		atomic_long_set(&tally->drops[i], 0);
}

static void snat_zero_pool(const struct snat_pool *pool)
{
	u32 i;

	for (i = 0; i < pool->num_addrs; i++) {
		struct ip_vs_dest *dest = &pool->members[i]->dest;

		ip_vs_snat_stats_zero(&dest->stats);
		atomic_set(&dest->snat_conflicts, 0);
		atomic_set(&dest->snat_exhausted, 0);
		if (i % SNAT_SUMS_AT_ONCE == 0)
			cond_resched();
	}
}

static int snat_zero(struct snat_config *config, const char *pool, u32 id)
{
	bool all = !*pool && !id, found = all;
	u32 i;

	for (i = 0; i < config->num_rules; i++) {
		struct ip_vs_snat_rule *rule = config->rules[i];

		if (all || rule->spec.id == id) {
			snat_zero_rule(rule->tally);
			found = true;
		}
	}
	for (i = 0; i < config->num_pools; i++) {
		if (all || !strcmp(config->pools[i]->spec.name, pool)) {
			snat_zero_pool(config->pools[i]);
			found = true;
		}
	}
	return found ? 0 : -ENOENT;
}

int snat_nl_zero(struct sk_buff *skb, struct genl_info *info)
{
	struct ip_vs_snat *snat = ip_vs_snat_genl_ipvs(info)->snat;
	struct netlink_ext_ack *extack = ip_vs_snat_extack(info);
	char pool[IPVS_SNAT_NAME_MAX];
	int ret;
	u32 id;

	ret = snat_parse_pool_filter(pool, info->attrs, extack);
	if (!ret)
		ret = snat_parse_rule_filter(&id, info->attrs, extack);
	if (ret)
		return ret;
	mutex_lock(&snat->config_lock);
	if (snat_config_locked(snat))
		ret = snat_zero(snat_config_locked(snat), pool, id);
	else
		ret = *pool || id ? -ENOENT : 0;
	mutex_unlock(&snat->config_lock);
	return ret;
}
