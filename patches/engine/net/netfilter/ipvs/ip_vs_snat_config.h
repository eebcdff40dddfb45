/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IP Virtual Server: rules and pools of SNAT, as they are configured.
 *
 * All that is in force at a moment is one struct snat_config. It never changes: who
 * changes something makes another one from a draft, of which all rules and pools
 * that stay the same are shared, and puts it in the place of the old one. Packets
 * see the one or the other.
 *
 * What has counters outlives that: the members of a pool, that connections are bound
 * to as to the destination of a service, and the tally of a rule.
 *
 * ip_vs_snat_config.c	what is in force
 * ip_vs_snat_draft.c	changes
 * ip_vs_snat_nl.c	requests by netlink
 * ip_vs_snat_parse.c	what they say
 * ip_vs_snat_dump.c	answers and notifications
 * ip_vs_snat_event.c	who had which port, while it goes on
 */

#ifndef _IP_VS_SNAT_CONFIG_H
#define _IP_VS_SNAT_CONFIG_H

#include <linux/if.h>
#include <linux/ip_vs_snat.h>

#include "ip_vs_snat_int.h"

/* Multicast groups */
enum snat_nl_group {
	SNAT_NL_CONFIG,
	SNAT_NL_EVENTS,
	SNAT_NL_GROUPS,
};

#include "ip_vs_snat_config_compat.h"

/* In a namespace */
#define SNAT_MAX_RULES		16384
#define SNAT_MAX_POOLS		16384
#define SNAT_MAX_ADDRS		65536	/* of all pools */
/* A packet looks for the routes of all of them once those have changed: less for who may
 * not keep this host busy
 */
#define SNAT_FEW_POOLS		64
#define SNAT_FEW_ADDRS		256
#define SNAT_FEW_DESTS		(2 * SNAT_FEW_ADDRS)	/* with those of services */
#define SNAT_MAX_BLOCKS		524288	/* of all pools, some 64 bytes each */

#define SNAT_MIN_BLOCK_SIZE	128
#define SNAT_MAX_BLOCK_SIZE	16384
#define SNAT_MAX_HOST_BLOCKS	64	/* all of them are looked at */
#define SNAT_DEF_HOST_BLOCKS	8

/* As tools have it for the servers of a service */
#define SNAT_MAX_WEIGHT		65535

/* What an operator says about a rule. Addresses and ports in host order. */
struct snat_rule_spec {
	u32	id;
	u32	priority;
	u32	src;
	u32	dst;
	u8	src_len;
	u8	dst_len;
	u8	protocol;
	u16	dport_min;
	u16	dport_max;
	u32	mark;
	u32	mark_mask;
	u32	action;
	u32	flags;
	__be32	gw;
	__be32	new_gw;
	char	iif[IFNAMSIZ];
	char	oif[IFNAMSIZ];
	char	pool[IPVS_SNAT_NAME_MAX];
};

enum snat_rule_drop {
	SNAT_RULE_DROP_NO_PORT,
	SNAT_RULE_DROP_LIMIT,
	SNAT_RULE_DROP_EMPTY,
	SNAT_RULE_DROP_NO_BLOCK,
	SNAT_RULE_DROP_MAX,
};

/* What a rule has done, whatever was changed in it meanwhile */
struct snat_tally {
	atomic_t		refcnt;
	struct ip_vs_stats	stats;
	atomic_long_t		drops[SNAT_RULE_DROP_MAX];
};

struct ip_vs_snat_rule {
	struct rcu_head		rcu_head;
	atomic_t		refcnt;
	u64			age;		/* order of insertion */
	struct snat_rule_spec	spec;
	struct snat_tally	*tally;
	struct ip_vs_snat_way	way;		/* to the new gateway */
};

struct snat_pool_spec {
	char	name[IPVS_SNAT_NAME_MAX];
	u32	algo;
	u32	host_conns;
	u32	flags;
	u32	host_blocks;
	u16	port_min;
	u16	port_max;
	u16	block_size;
};

/* Addresses in host order */
struct snat_range {
	u32	min;
	u32	max;
	u32	weight;
};

/* An address of a pool. For connections, it's the destination of a service, but
 * there is no service. It's there as long as a pool or a connection has it, and a
 * pool that gets the address again gets the same member.
 */
struct snat_member {
	struct rcu_head		rcu_head;
	struct hlist_node	node;		/* of the address */
	atomic_t		refcnt;
	u32			gen;		/* last change of the pool */
	u32			port_range;	/* of the pool, 0 if it has none */
	bool			log;		/* tell of its connections */
	struct snat_blocks __rcu *blocks;
	struct snat_blocks	*next_blocks;	/* once it's in force */
	struct ip_vs_dest	dest;
	char			pool[IPVS_SNAT_NAME_MAX];
};

/* An inside host has connections from this member of a pool that pairs */
struct snat_pairing {
	struct snat_pairing	*next;
	struct snat_member	*member;
};

struct snat_pool {
	atomic_t		refcnt;
	atomic_t		turn;		/* of the next connection */
	u32			gen;		/* last change that left it in force */
	struct snat_pool_spec	spec;
	u32			num_addrs;
	u32			num_ranges;
	u32			room;		/* for ranges */
	struct snat_range	*ranges;	/* sorted, they don't overlap */
	/* From the moment on that it's in force */
	struct snat_member	**members;	/* sorted by address */
	struct snat_member	**usable;	/* those with a weight */
	u32			num_usable;
};

/* How many ports a rule is about */
enum snat_ports {
	SNAT_PORTS_ONE,
	SNAT_PORTS_RANGE,
	SNAT_PORTS_ALL,
};

/* A rule as packets look for it. A service is a protocol and a port, 0 for rules about
 * all ports.
 */
struct snat_match {
	u64			nets;		/* source and destination */
	u64			order;		/* see snat_match_precedes() */
	u32			service;	/* the first one */
	u32			last;		/* service */
	u32			reach;		/* the last one of all up to here */
	u8			ports;		/* enum snat_ports */
	u8			protocol;
	u8			src_len;
	u8			dst_len;
	struct ip_vs_snat_rule	*rule;
	struct snat_pool	*pool;
};

/* Those of the same masks and kind of ports, from begin to before end */
struct snat_group {
	u64			mask;
	enum snat_ports		ports;
	u32			begin;
	u32			end;
};

struct snat_config {
	struct rcu_head		rcu_head;
	struct ip_vs_snat	*snat;		/* from its end on */
	struct snat_config	*next;
	u32			num_rules;
	u32			num_pools;
	u32			num_oifs;
	u32			num_groups;
	struct snat_pool	**pools;	/* sorted by name */
	struct ip_vs_snat_rule	**rules;	/* in their order */
	struct ip_vs_snat_rule	**by_id;	/* sorted by ID */
	struct snat_match	*matches;	/* see snat_match_cmp() */
	struct snat_group	*groups;
	const char		**oifs;		/* of all rules that translate, sorted */
};

/* A change that is being made */
struct snat_draft {
	struct list_head	list;
	struct sk_buff_head	news;		/* for who listens */
	u32			portid;		/* of the socket */
	u32			gen;		/* of what it was made from */
	bool			failed;		/* a message was refused */
	bool			abandoned;	/* the socket is closed */
	bool			untold;		/* too much for the news */
	bool			few;		/* may there be of all */
	u32			num_addrs;
	u32			num_rules;
	u32			num_pools;
	u32			rules_room;
	u32			pools_room;
	struct ip_vs_snat_rule	**rules;	/* in their order */
	struct ip_vs_snat_rule	**by_id;	/* sorted by ID */
	struct snat_match	*matches;
	struct snat_pool	**pools;	/* sorted by name */
};

/* Are there rules or pools? */
static inline bool snat_has_config(const struct ip_vs_snat *snat)
{
	return rcu_access_pointer(snat->config);
}

static inline struct snat_config *
snat_config_locked(const struct ip_vs_snat *snat)
{
	return rcu_dereference_protected(snat->config,
					 lockdep_is_held(&snat->config_lock));
}

static inline u32 snat_mask(u8 len)
{
	return len ? ~0U << (32 - len) : 0;
}

/* A source and a destination */
static inline u64 snat_nets(u32 src, u32 dst)
{
	return (u64)src << 32 | dst;
}

static inline u32 snat_service(u8 protocol, u16 port)
{
	return (u32)protocol << 16 | port;
}

/* Does the one of two matching rules decide, and not the other one? */
static inline bool snat_match_precedes(const struct snat_match *a,
				       const struct snat_match *b)
{
	return a->order < b->order ||
	       (a->order == b->order && a->rule->age < b->rule->age);
}

/* The pool's own ports, as first << 16 | last, or 0 */
static inline u32 snat_pool_ports(const struct snat_pool *pool)
{
	return (u32)pool->spec.port_min << 16 | pool->spec.port_max;
}

/* The member of a pool that a connection with a rule is bound to */
static inline struct snat_member *snat_member_of_dest(struct ip_vs_dest *dest)
{
	return container_of(dest, struct snat_member, dest);
}

/* Count a packet of a connection whose destination is there */
static __always_inline void
snat_account_packet(struct netns_ipvs *ipvs, const struct ip_vs_conn *cp,
		    unsigned int len, bool out)
{
	struct ip_vs_dest *dest = cp->dest;
	struct ip_vs_snat_rule *rule;
	struct ip_vs_service *svc;

	ip_vs_snat_stats_packet(&dest->stats, len, out);
	svc = rcu_dereference(dest->svc);
	if (svc) {
		ip_vs_snat_stats_packet(&svc->stats, len, out);
	} else {
		rule = READ_ONCE(cp->snat.rule);
		if (rule)
			ip_vs_snat_stats_packet(&rule->tally->stats, len, out);
	}
	ip_vs_snat_stats_packet(ip_vs_snat_tot_stats(ipvs), len, out);
}

/* A block of ports, of all protocols */
struct snat_block {
	struct hlist_node	node;		/* of its host, in use or later */
	struct list_head	free;		/* if it's not in use */
	struct snat_blocks	*blocks;
	__be32			inside;		/* the host, 0: there was none yet */
	atomic_t		conns;		/* with those that look for a port */
	unsigned long		since;		/* in use or not, in jiffies */
};

/* All blocks of a member of a pool. There are others for it once the pool has other
 * blocks; those that are in use are used up.
 */
struct snat_blocks {
	struct rcu_head		rcu_head;
	struct snat_member	*member;
	struct list_head	list;		/* of all with the address */
	struct list_head	free;		/* least recently used first */
	u32			refcnt;		/* of the member, and blocks in use */
	u32			used;
	u32			first;		/* port */
	u32			size;
	u32			num;
	unsigned long		vain;		/* when none could be had, or 0 */
	bool			retired;
	struct snat_block	block[];
};

static inline u32 snat_block_first(const struct snat_block *block)
{
	const struct snat_blocks *blocks = block->blocks;

	return blocks->first + (block - blocks->block) * blocks->size;
}

static inline u32 snat_block_last(const struct snat_block *block)
{
	return snat_block_first(block) + block->blocks->size - 1;
}

/* The pool address of a block */
static inline struct ip_vs_dest *snat_block_dest(const struct snat_block *block)
{
	return &block->blocks->member->dest;
}

/* ip_vs_snat_block.c */
u32 snat_pool_num_blocks(const struct snat_pool_spec *spec);
void snat_member_discard(struct snat_member *m);
int snat_member_prepare(struct snat_member *m,
			const struct snat_pool_spec *spec);
void snat_member_open(struct ip_vs_snat *snat, struct snat_member *m,
		      const struct snat_pool_spec *spec);
void snat_member_close(struct ip_vs_snat *snat, struct snat_member *m);
void snat_member_count_blocks(const struct snat_member *m, u32 *num, u32 *used);
bool snat_port_in_blocks(const struct ip_vs_dest *dest, u32 port);
struct snat_block *snat_block_held(struct netns_ipvs *ipvs,
				   const struct snat_pool *pool, __be32 inside,
				   u32 skip);
struct snat_block *snat_block_take(struct netns_ipvs *ipvs,
				   const struct snat_pool *pool, __be32 inside,
				   u32 place, u32 held);

/* ip_vs_snat_pool.c */
bool snat_pool_find(const struct snat_pool *pool, const struct snat_member *m,
		    u32 *place);

/* ip_vs_snat_config.c */
struct ip_vs_snat_rule *snat_rule_new(const struct snat_rule_spec *spec,
				      const struct ip_vs_snat_rule *old);
void snat_rule_put(struct ip_vs_snat_rule *rule);
struct snat_pool *snat_pool_new(const struct snat_pool_spec *spec,
				const struct snat_pool *old);
void snat_pool_put(struct snat_pool *pool);
int snat_rule_cmp(const struct ip_vs_snat_rule *a, const struct ip_vs_snat_rule *b);
void snat_match_init(struct snat_match *match, struct ip_vs_snat_rule *rule,
		     struct snat_pool *pool);
bool snat_match_same_place(const struct snat_match *a,
			   const struct snat_match *b);
int snat_match_cmp(const struct snat_match *a, const struct snat_match *b);
void snat_member_put(struct snat_member *m);
int snat_config_commit(struct netns_ipvs *ipvs, struct snat_draft *draft);

/* ip_vs_snat_draft.c */
struct snat_draft *snat_draft_new(struct netns_ipvs *ipvs, u32 portid);
void snat_draft_free(struct snat_draft *draft);
void snat_draft_flush(struct snat_draft *draft);
int snat_draft_add_pool(struct snat_draft *draft,
			const struct snat_pool_spec *spec,
			struct netlink_ext_ack *extack);
int snat_draft_set_pool(struct snat_draft *draft,
			const struct snat_pool_spec *spec,
			struct netlink_ext_ack *extack);
int snat_draft_del_pool(struct snat_draft *draft, const char *name,
			struct netlink_ext_ack *extack);
int snat_draft_add_range(struct snat_draft *draft, const char *name,
			 const struct snat_range *range,
			 struct netlink_ext_ack *extack);
int snat_draft_set_range(struct snat_draft *draft, const char *name,
			 const struct snat_range *range,
			 struct netlink_ext_ack *extack);
int snat_draft_del_range(struct snat_draft *draft, const char *name,
			 const struct snat_range *range,
			 struct netlink_ext_ack *extack);
int snat_draft_add_rule(struct snat_draft *draft, struct ip_vs_snat *snat,
			struct snat_rule_spec *spec,
			struct netlink_ext_ack *extack);
int snat_draft_set_rule(struct snat_draft *draft,
			const struct snat_rule_spec *spec,
			struct netlink_ext_ack *extack);
int snat_draft_del_rule(struct snat_draft *draft, struct snat_rule_spec *spec,
			struct netlink_ext_ack *extack);

/* What connections are asked for */
struct snat_conn_filter {
	bool	any;			/* all of them */
	u32	inside;			/* in host order */
	u32	mask;
	u32	rule;			/* 0: of all and of none */
	char	pool[IPVS_SNAT_NAME_MAX];
};

/* ip_vs_snat_parse.c */
extern const struct nla_policy snat_nl_policy[IPVS_SNAT_ATTR_MAX + 1];

int snat_parse_pool(struct genl_info *info, struct snat_pool_spec *spec);
int snat_parse_member(struct genl_info *info, char *pool,
		      struct snat_range *range);
int snat_parse_rule(struct genl_info *info, struct snat_rule_spec *spec);
int snat_parse_rule_id(struct genl_info *info, u32 *id);
int snat_parse_conn_filter(struct snat_conn_filter *filter,
			   const struct nlattr *attr,
			   struct netlink_ext_ack *extack);
int snat_parse_pool_filter(char *name, struct nlattr **attrs,
			   struct netlink_ext_ack *extack);
int snat_parse_rule_filter(u32 *id, struct nlattr **attrs,
			   struct netlink_ext_ack *extack);

/* ip_vs_snat_nl.c */
extern struct genl_family snat_nl_family;

void snat_nl_init(struct ip_vs_snat *snat);
void snat_nl_cleanup(struct ip_vs_snat *snat);

/* Who a message is for, and what it is */
struct snat_msg {
	u32	portid;
	u32	seq;
	int	flags;
	u8	cmd;
};

/* ip_vs_snat_event.c */
void snat_event_switch(bool on);
void snat_event_block(struct netns_ipvs *ipvs, const struct snat_block *block,
		      u32 kind);
int snat_dump_blocks(struct sk_buff *skb, struct netlink_callback *cb);

/* ip_vs_snat_dump.c */
int snat_put_conn(struct sk_buff *skb, struct ip_vs_conn *cp);
void *snat_msg_begin(struct sk_buff *skb, const struct snat_msg *msg, int attr,
		     struct nlattr **nest);
int snat_msg_end(struct sk_buff *skb, void *hdr, struct nlattr *nest, int ret);
void snat_dump_msg(struct snat_msg *msg, struct netlink_callback *cb, u8 cmd);
void snat_dump_cut(struct sk_buff *skb, struct netlink_callback *cb,
		   unsigned int before, long told);
int snat_dump_conn_filter(struct netlink_callback *cb,
			  struct snat_conn_filter *filter);
void snat_news_flush(struct netns_ipvs *ipvs, struct snat_draft *draft,
		     struct genl_info *info);
void snat_news_pool(struct netns_ipvs *ipvs, struct snat_draft *draft,
		    struct genl_info *info, const struct snat_pool_spec *spec);
void snat_news_member(struct netns_ipvs *ipvs, struct snat_draft *draft,
		      struct genl_info *info, const char *pool,
		      const struct snat_range *range);
void snat_news_rule(struct netns_ipvs *ipvs, struct snat_draft *draft,
		    struct genl_info *info, const struct snat_rule_spec *spec);
void snat_news_publish(struct netns_ipvs *ipvs, struct snat_draft *draft,
		       struct genl_info *info);
int snat_dump_pools(struct sk_buff *skb, struct netlink_callback *cb);
int snat_dump_ranges(struct sk_buff *skb, struct netlink_callback *cb);
int snat_dump_addrs(struct sk_buff *skb, struct netlink_callback *cb);
int snat_dump_rules(struct sk_buff *skb, struct netlink_callback *cb);
int snat_dump_conns(struct sk_buff *skb, struct netlink_callback *cb);
int snat_nl_del_conns(struct sk_buff *skb, struct genl_info *info);
int snat_nl_zero(struct sk_buff *skb, struct genl_info *info);

#endif /* _IP_VS_SNAT_CONFIG_H */
