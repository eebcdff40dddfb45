// SPDX-License-Identifier: GPL-2.0-or-later
/* IP Virtual Server: rules and pools of SNAT that are in force */

#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/mutex.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include "ip_vs_snat_config.h"

#define SNAT_MEMBERS_AT_ONCE	1024

/* Rules */

static struct snat_tally *snat_tally_new(void)
{
	struct snat_tally *tally = kzalloc(sizeof(*tally), GFP_KERNEL_ACCOUNT);

	if (!tally)
		return NULL;
	if (ip_vs_snat_stats_init(&tally->stats)) {
		kfree(tally);
		return NULL;
	}
	atomic_set(&tally->refcnt, 1);
	return tally;
}

static void snat_tally_put(struct snat_tally *tally)
{
	if (!atomic_dec_and_test(&tally->refcnt))
		return;
	ip_vs_snat_stats_exit(&tally->stats);
	kfree(tally);
}

/**
 * snat_rule_new - make a rule
 * @spec:	what it says
 * @old:	the one that it replaces, or NULL
 *
 * Return: the rule with a reference, or NULL if there is no memory.
 */
struct ip_vs_snat_rule *snat_rule_new(const struct snat_rule_spec *spec,
				      const struct ip_vs_snat_rule *old)
{
	struct ip_vs_snat_rule *rule = kzalloc(sizeof(*rule), GFP_KERNEL_ACCOUNT);

	if (!rule)
		return NULL;
	if (spec->new_gw && ip_vs_snat_way_init(&rule->way))
		goto err_way;
	if (old) {
		rule->tally = old->tally;
		rule->age = old->age;
		atomic_inc(&rule->tally->refcnt);
	} else {
		rule->tally = snat_tally_new();
		if (!rule->tally)
			goto err_tally;
	}
	rule->spec = *spec;
	atomic_set(&rule->refcnt, 1);
	return rule;

err_tally:
	if (spec->new_gw)
		ip_vs_snat_way_exit(&rule->way);
err_way:
	kfree(rule);
	return NULL;
}

static void snat_rule_free(struct rcu_head *head)
{
	struct ip_vs_snat_rule *rule = container_of(head, struct ip_vs_snat_rule,
						    rcu_head);

	if (rule->spec.new_gw)
		ip_vs_snat_way_exit(&rule->way);
	snat_tally_put(rule->tally);
	kfree(rule);
}

/**
 * snat_rule_put - let a rule go
 * @rule:	the rule; a packet may count for it whose connection ends at this moment
 */
void snat_rule_put(struct ip_vs_snat_rule *rule)
{
	if (atomic_dec_and_test(&rule->refcnt))
		call_rcu(&rule->rcu_head, snat_rule_free);
}

static int snat_cmp(u64 a, u64 b)
{
	return a < b ? -1 : a > b;
}

/**
 * snat_rule_cmp - compare two rules by their order
 * @a:		a rule
 * @b:		another one
 *
 * Networks of the same length are the same or have nothing in common, so it makes no
 * difference for packets that they are sorted.
 *
 * Return: a negative number if @a comes first, a positive one if @b does.
 */
int snat_rule_cmp(const struct ip_vs_snat_rule *a, const struct ip_vs_snat_rule *b)
{
	return snat_cmp(a->spec.priority, b->spec.priority) ? :
	       snat_cmp(b->spec.src_len, a->spec.src_len) ? :
	       snat_cmp(a->spec.src, b->spec.src) ? :
	       snat_cmp(b->spec.dst_len, a->spec.dst_len) ? :
	       snat_cmp(a->spec.dst, b->spec.dst) ? :
	       snat_cmp(a->age, b->age);
}

static enum snat_ports snat_rule_ports(const struct snat_rule_spec *spec)
{
	if (!spec->dport_max)
		return SNAT_PORTS_ALL;
	return spec->dport_min == spec->dport_max ? SNAT_PORTS_ONE :
						    SNAT_PORTS_RANGE;
}

/**
 * snat_match_init - say how packets look for a rule
 * @match:	set to that
 * @rule:	the rule
 * @pool:	its pool, if it has one
 */
void snat_match_init(struct snat_match *match, struct ip_vs_snat_rule *rule,
		     struct snat_pool *pool)
{
	const struct snat_rule_spec *spec = &rule->spec;

	match->nets = snat_nets(spec->src, spec->dst);
	match->order = (u64)spec->priority << 12 |
		       (32 - spec->src_len) << 6 | (32 - spec->dst_len);
	match->ports = snat_rule_ports(spec);
	match->service = 0;
	match->last = 0;
	if (match->ports != SNAT_PORTS_ALL) {
		match->service = snat_service(spec->protocol, spec->dport_min);
		match->last = snat_service(spec->protocol, spec->dport_max);
	}
	match->reach = match->last;
	match->protocol = spec->protocol;
	match->src_len = spec->src_len;
	match->dst_len = spec->dst_len;
	match->rule = rule;
	match->pool = pool;
}

static int snat_match_cmp_group(const struct snat_match *a,
				const struct snat_match *b)
{
	return snat_cmp(a->src_len, b->src_len) ? :
	       snat_cmp(a->dst_len, b->dst_len) ? :
	       snat_cmp(a->ports, b->ports);
}

static int snat_match_cmp_place(const struct snat_match *a,
				const struct snat_match *b)
{
	return snat_match_cmp_group(a, b) ? : snat_cmp(a->nets, b->nets) ? :
	       snat_cmp(a->service, b->service) ? :
	       snat_cmp(a->order, b->order);
}

/**
 * snat_match_same_place - have two rules the same networks, first service and priority?
 * @a:		how packets look for the one
 * @b:		and for the other
 */
bool snat_match_same_place(const struct snat_match *a,
			   const struct snat_match *b)
{
	return !snat_match_cmp_place(a, b);
}

/**
 * snat_match_cmp - compare two rules by what packets look for
 * @a:		how packets look for the one
 * @b:		and for the other
 *
 * Those of a group stand together, among them those with the same networks, in the
 * order of their first service, and those that have the same one in their own order.
 *
 * Return: a negative number if @a comes first, a positive one if @b does.
 */
int snat_match_cmp(const struct snat_match *a, const struct snat_match *b)
{
	return snat_match_cmp_place(a, b) ? : snat_cmp(a->rule->age, b->rule->age);
}

/* Members */

static void snat_member_free(struct rcu_head *head)
{
	struct snat_member *m = container_of(head, struct snat_member,
					     rcu_head);

	ip_vs_snat_stats_exit(&m->dest.stats);
	kfree(m);
}

/**
 * snat_member_put - let a member of a pool go
 * @m:		the member; a connection may still be about to be unbound from it
 */
void snat_member_put(struct snat_member *m)
{
	struct ip_vs_snat *snat = m->dest.snat_addr->snat;
	bool last;

	if (atomic_add_unless(&m->refcnt, -1, 1))
		return;
	/* Who finds it by its address must not get one that goes */
	spin_lock_bh(&snat->scope_lock);
	last = atomic_dec_and_test(&m->refcnt);
	if (last)
		hlist_del_rcu(&m->node);
	spin_unlock_bh(&snat->scope_lock);
	if (!last)
		return;
	snat_member_close(snat, m);
	ip_vs_snat_dest_free(&m->dest);
	call_rcu(&m->rcu_head, snat_member_free);
}

static struct snat_member *snat_member_find(struct ip_vs_snat *snat,
					    const char *pool, __be32 addr)
{
	struct snat_member *m, *found = NULL;
	struct ip_vs_snat_addr *a;

	spin_lock_bh(&snat->scope_lock);
	a = snat_addr_find(snat, addr);
	if (!a)
		goto unlock;
	ip_vs_snat_hlist_for_each(m, &a->members, node) {
		if (!strcmp(m->pool, pool)) {
			atomic_inc(&m->refcnt);
			found = m;
			break;
		}
	}
unlock:
	spin_unlock_bh(&snat->scope_lock);
	return found;
}

/* The member of a pool with an address, perhaps one that only connections have left */
static struct snat_member *snat_member_get(struct netns_ipvs *ipvs,
					   const char *pool, __be32 addr)
{
	struct snat_member *m = snat_member_find(ipvs->snat, pool, addr);

	if (m)
		return m;
	m = kzalloc(sizeof(*m), GFP_KERNEL_ACCOUNT);
	if (!m)
		return NULL;
	if (ip_vs_snat_dest_setup(&m->dest, addr))
		goto err_setup;
	if (ip_vs_snat_dest_init(ipvs, &m->dest))
		goto err_init;
	strscpy(m->pool, pool, sizeof(m->pool));
	atomic_set(&m->refcnt, 1);
	spin_lock_bh(&ipvs->snat->scope_lock);
	hlist_add_head_rcu(&m->node, &m->dest.snat_addr->members);
	spin_unlock_bh(&ipvs->snat->scope_lock);
	return m;

err_init:
	ip_vs_snat_stats_exit(&m->dest.stats);
err_setup:
	kfree(m);
	return NULL;
}

/**
 * snat_conn_bind_rule - a connection is made by a rule
 * @cp:		the connection, that nobody else sees yet; its destination is a member
 *		of the pool
 * @rule:	the rule
 */
void snat_conn_bind_rule(struct ip_vs_conn *cp, struct ip_vs_snat_rule *rule)
{
	atomic_inc(&rule->refcnt);
	cp->snat.rule = rule;
	cp->snat.redirected = rule->spec.new_gw;
	atomic_inc(&snat_member_of_dest(cp->dest)->refcnt);
}

/**
 * snat_conn_unbind_rule - the opposite of snat_conn_bind_rule()
 * @cp:		the connection, with or without a rule
 */
void snat_conn_unbind_rule(struct ip_vs_conn *cp)
{
	if (!cp->snat.rule)
		return;
	snat_member_put(snat_member_of_dest(cp->dest));
	snat_rule_put(cp->snat.rule);
	cp->snat.rule = NULL;
}

/* Pools */

/**
 * snat_pool_new - make a pool that nobody uses yet
 * @spec:	its settings
 * @old:	the one that it replaces and that it gets its ranges from, or NULL
 *
 * Return: the pool with a reference, or NULL if there is no memory.
 */
struct snat_pool *snat_pool_new(const struct snat_pool_spec *spec,
				const struct snat_pool *old)
{
	struct snat_pool *pool = kzalloc(sizeof(*pool), GFP_KERNEL_ACCOUNT);

	if (!pool)
		return NULL;
	atomic_set(&pool->refcnt, 1);
	pool->spec = *spec;
	if (!old)
		return pool;

	atomic_set(&pool->turn, atomic_read(&old->turn));
	pool->num_addrs = old->num_addrs;
	if (!old->num_ranges)
		return pool;
	pool->ranges = ip_vs_snat_big_alloc(old->num_ranges *
					    sizeof(*pool->ranges));
	if (!pool->ranges) {
		kfree(pool);
		return NULL;
	}
	memcpy(pool->ranges, old->ranges,
	       old->num_ranges * sizeof(*pool->ranges));
	pool->num_ranges = old->num_ranges;
	pool->room = old->num_ranges;
	return pool;
}

/**
 * snat_pool_put - let a pool go
 * @pool:	the pool; what was in force needs no time, as who sees it has it by a
 *		configuration
 */
void snat_pool_put(struct snat_pool *pool)
{
	u32 i;

	if (!atomic_dec_and_test(&pool->refcnt))
		return;
	for (i = 0; pool->members && i < pool->num_addrs; i++) {
		if (pool->members[i])
			snat_member_put(pool->members[i]);
		if (i % SNAT_MEMBERS_AT_ONCE == 0)
			cond_resched();
	}
	ip_vs_snat_big_free(pool->members);
	ip_vs_snat_big_free(pool->usable);
	ip_vs_snat_big_free(pool->ranges);
	kfree(pool);
}

/* Get the members of a pool that is going to be in force */
static int snat_pool_fill(struct netns_ipvs *ipvs, struct snat_pool *pool)
{
	u32 i, addr, num = 0;

	if (!pool->num_addrs || pool->members)
		return 0;
	pool->members = ip_vs_snat_big_alloc(pool->num_addrs *
					     sizeof(*pool->members));
	pool->usable = ip_vs_snat_big_alloc(pool->num_addrs *
					    sizeof(*pool->usable));
	if (!pool->members || !pool->usable)
		return -ENOMEM;

	for (i = 0; i < pool->num_ranges; i++) {
		const struct snat_range *range = &pool->ranges[i];

		for (addr = range->min; addr - range->min <=
		     range->max - range->min; addr++) {
			struct snat_member *m;

			m = snat_member_get(ipvs, pool->spec.name,
					    htonl(addr));
			if (!m)
				return -ENOMEM;
			pool->members[num++] = m;
			if (snat_member_prepare(m, &pool->spec))
				return -ENOMEM;
			if (range->weight)
				pool->usable[pool->num_usable++] = m;
			if (num % SNAT_MEMBERS_AT_ONCE == 0)
				cond_resched();
			/* The last one of all addresses */
			if (addr == range->max)
				break;
		}
	}
	return 0;
}

/* Let connections of a pool begin and go on */
static void snat_pool_open(struct netns_ipvs *ipvs,
			   const struct snat_pool *pool)
{
	const struct snat_range *range = pool->ranges;
	u32 i;

	for (i = 0; i < pool->num_addrs; i++) {
		struct snat_member *m = pool->members[i];

		while (ntohl(m->dest.addr.ip) > range->max)
			range++;
		m->gen = ipvs->snat->config_gen;
		WRITE_ONCE(m->port_range, snat_pool_ports(pool));
		snat_member_open(ipvs->snat, m, &pool->spec);
		atomic_set(&m->dest.weight, range->weight);
		ip_vs_snat_dest_set_available(&m->dest, true);
		ip_vs_snat_dest_changed(ipvs, &m->dest, true);
		if (i % SNAT_MEMBERS_AT_ONCE == 0)
			cond_resched();
	}
}

/* Let those stand still whose member is no longer in the pool */
static bool snat_pool_close(struct netns_ipvs *ipvs,
			    const struct snat_pool *pool)
{
	bool closed = false;
	u32 i;

	for (i = 0; i < pool->num_addrs; i++) {
		struct snat_member *m = pool->members[i];

		if (i % SNAT_MEMBERS_AT_ONCE == 0)
			cond_resched();
		if (m->gen == ipvs->snat->config_gen)
			continue;
		atomic_set(&m->dest.weight, 0);
		ip_vs_snat_dest_set_available(&m->dest, false);
		ip_vs_snat_dest_changed(ipvs, &m->dest, false);
		closed = true;
	}
	return closed;
}

/* Configurations */

static void snat_config_put_all(struct snat_config *config)
{
	u32 i;

	for (i = 0; i < config->num_rules; i++)
		snat_rule_put(config->rules[i]);
	for (i = 0; i < config->num_pools; i++)
		snat_pool_put(config->pools[i]);
	ip_vs_snat_big_free(config->rules);
	ip_vs_snat_big_free(config->by_id);
	ip_vs_snat_big_free(config->matches);
	ip_vs_snat_big_free(config->pools);
	ip_vs_snat_big_free(config->groups);
	ip_vs_snat_big_free(config->oifs);
	kfree(config);
}

static void snat_config_free_all(struct work_struct *work)
{
	struct ip_vs_snat *snat = container_of(work, struct ip_vs_snat,
					       garbage_work.work);
	struct snat_config *config, *next;

	spin_lock_bh(&snat->scope_lock);
	config = snat->garbage;
	snat->garbage = NULL;
	spin_unlock_bh(&snat->scope_lock);

	for (; config; config = next) {
		next = config->next;
		snat_config_put_all(config);
	}
}

/* There may be much to free, and not all of it can be freed in a softirq */
static void snat_config_rcu(struct rcu_head *head)
{
	struct snat_config *config = container_of(head, struct snat_config,
						  rcu_head);
	struct ip_vs_snat *snat = config->snat;

	spin_lock_bh(&snat->scope_lock);
	config->next = snat->garbage;
	snat->garbage = config;
	spin_unlock_bh(&snat->scope_lock);
	ip_vs_snat_queue(&snat->garbage_work, 0);
}

static u32 snat_draft_count_groups(const struct snat_draft *draft)
{
	u32 i, num = 0;

	for (i = 0; i < draft->num_rules; i++) {
		if (!i || snat_match_cmp_group(&draft->matches[i - 1],
					       &draft->matches[i]))
			num++;
	}
	return num;
}

static struct snat_config *snat_config_alloc(const struct snat_draft *draft)
{
	struct snat_config *config = kzalloc(sizeof(*config),
					     GFP_KERNEL_ACCOUNT);

	if (!config)
		return NULL;
	config->groups = ip_vs_snat_big_alloc((snat_draft_count_groups(draft) + 1) *
					      sizeof(*config->groups));
	config->oifs = ip_vs_snat_big_alloc((draft->num_rules + 1) *
					    sizeof(*config->oifs));
	if (config->groups && config->oifs)
		return config;
	snat_config_put_all(config);
	return NULL;
}

static int snat_cmp_oif(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Devices that lead out because rules say so, sorted, each of them once */
static void snat_config_add_oifs(struct snat_config *config)
{
	u32 i, num = 0;

	for (i = 0; i < config->num_rules; i++) {
		const struct snat_match *match = &config->matches[i];

		if (match->pool && *match->rule->spec.oif)
			config->oifs[num++] = match->rule->spec.oif;
	}
	sort(config->oifs, num, sizeof(*config->oifs), snat_cmp_oif, NULL);
	for (i = 0; i < num; i++) {
		if (!i || strcmp(config->oifs[config->num_oifs - 1],
				 config->oifs[i]))
			config->oifs[config->num_oifs++] = config->oifs[i];
	}
}

static void snat_config_add_groups(struct snat_config *config)
{
	struct snat_group *group = NULL;
	u32 i;

	for (i = 0; i < config->num_rules; i++) {
		struct snat_match *match = &config->matches[i];

		match->reach = match->last;
		if (!i || snat_match_cmp_group(match - 1, match)) {
			group = &config->groups[config->num_groups++];
			group->mask = snat_nets(snat_mask(match->src_len),
						snat_mask(match->dst_len));
			group->ports = match->ports;
			group->begin = i;
		} else if (match[-1].nets == match->nets) {
			match->reach = max(match->reach, match[-1].reach);
		}
		group->end = i + 1;
	}
}

/* What a draft has is the configuration's from now on */
static void snat_config_take(struct snat_config *config,
			     struct snat_draft *draft)
{
	config->num_rules = draft->num_rules;
	config->num_pools = draft->num_pools;
	config->rules = draft->rules;
	config->by_id = draft->by_id;
	config->matches = draft->matches;
	config->pools = draft->pools;
	draft->num_rules = 0;
	draft->num_pools = 0;
	draft->rules = NULL;
	draft->by_id = NULL;
	draft->matches = NULL;
	draft->pools = NULL;
}

/* What was got ready for members that are in force as well is not needed */
static void snat_draft_discard(const struct snat_draft *draft)
{
	u32 i, j;

	for (i = 0; i < draft->num_pools; i++) {
		const struct snat_pool *pool = draft->pools[i];

		for (j = 0; pool->members && j < pool->num_addrs; j++) {
			if (pool->members[j])
				snat_member_discard(pool->members[j]);
		}
	}
}

static struct snat_config *snat_config_build(struct netns_ipvs *ipvs,
					     struct snat_draft *draft)
{
	struct snat_config *config = snat_config_alloc(draft);
	u32 i;

	if (!config)
		return NULL;
	for (i = 0; i < draft->num_pools; i++) {
		if (snat_pool_fill(ipvs, draft->pools[i])) {
			snat_draft_discard(draft);
			snat_config_put_all(config);
			return NULL;
		}
	}
	snat_config_take(config, draft);
	snat_config_add_groups(config);
	snat_config_add_oifs(config);
	return config;
}

static bool snat_draft_fits(const struct snat_draft *draft)
{
	u64 blocks = 0;
	u32 i;

	for (i = 0; i < draft->num_pools; i++)
		blocks += (u64)draft->pools[i]->num_addrs *
			  snat_pool_num_blocks(&draft->pools[i]->spec);
	return blocks <= SNAT_MAX_BLOCKS;
}

/* Pools that are the same as before are left alone. Returns whether there are others. */
static bool snat_config_open(struct netns_ipvs *ipvs,
			     const struct snat_config *config)
{
	bool opened = false;
	u32 i;

	for (i = 0; config && i < config->num_pools; i++) {
		struct snat_pool *pool = config->pools[i];
		bool fresh = !pool->gen;

		pool->gen = ipvs->snat->config_gen;
		if (fresh)
			snat_pool_open(ipvs, pool);
		opened |= fresh;
	}
	return opened;
}

static bool snat_config_close(struct netns_ipvs *ipvs,
			      const struct snat_config *old)
{
	bool closed = false;
	u32 i;

	for (i = 0; old && i < old->num_pools; i++) {
		if (old->pools[i]->gen != ipvs->snat->config_gen &&
		    snat_pool_close(ipvs, old->pools[i]))
			closed = true;
	}
	return closed;
}

/* Put a configuration in the place of the old one, under config_lock. Returns whether
 * there is something of the old one that connections may still have.
 */
static void snat_config_swap(struct netns_ipvs *ipvs,
			     struct snat_config *config)
{
	struct ip_vs_snat *snat = ipvs->snat;
	struct snat_config *old = snat_config_locked(snat);
	bool opened, closed;

	snat->config_gen++;
	opened = snat_config_open(ipvs, config);
	rcu_assign_pointer(snat->config, config);
	closed = snat_config_close(ipvs, old);
	/* Who sees the new generation has to see the pools as well */
	smp_wmb();
	if (opened || closed)
		atomic_inc(&snat->pool_gen);
	if (old) {
		old->snat = snat;
		call_rcu(&old->rcu_head, snat_config_rcu);
	}
}

/**
 * snat_config_commit - let a draft be in force
 * @ipvs:	the network namespace, under config_lock
 * @draft:	the draft, of which nothing is left but its end
 *
 * Return: 0, -EAGAIN if something else was changed since the draft was begun, -ENOSPC
 * if there are too many blocks of ports, or another negative error; then nothing has
 * changed.
 */
int snat_config_commit(struct netns_ipvs *ipvs, struct snat_draft *draft)
{
	struct ip_vs_snat *snat = ipvs->snat;
	struct snat_config *config = NULL;
	int ret;

	if (draft->gen != snat->config_gen)
		return -EAGAIN;
	/* Who has nothing to do with SNAT may flush as well */
	if (!draft->num_rules && !draft->num_pools && !snat_has_config(snat))
		return 0;
	if (!snat_draft_fits(draft))
		return -ENOSPC;
	ret = snat_enable(ipvs);
	if (ret)
		return ret;
	if (draft->num_rules || draft->num_pools) {
		config = snat_config_build(ipvs, draft);
		if (!config)
			return -ENOMEM;
	}
	snat_config_swap(ipvs, config);
	return 0;
}

/**
 * snat_config_init - get ready
 * @snat:	the network namespace
 */
void snat_config_init(struct ip_vs_snat *snat)
{
	mutex_init(&snat->config_lock);
	INIT_DELAYED_WORK(&snat->garbage_work, snat_config_free_all);
}

/**
 * snat_config_cleanup - forget all
 * @ipvs:	the network namespace, it has no hooks and connections any more
 */
void snat_config_cleanup(struct netns_ipvs *ipvs)
{
	struct ip_vs_snat *snat = ipvs->snat;

	mutex_lock(&snat->config_lock);
	if (snat_has_config(snat))
		snat_config_swap(ipvs, NULL);
	mutex_unlock(&snat->config_lock);
	if (snat->config_gen) {
		rcu_barrier();
		flush_work(&snat->garbage_work.work);
	}
}
