// SPDX-License-Identifier: GPL-2.0-or-later
/* IP Virtual Server: rules and pools of SNAT that are in force */

#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/mutex.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "ip_vs_snat_config.h"

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

/**
 * snat_rule_put - let a rule go
 * @rule:	the rule; what was in force needs no time, as who sees it has it by a
 *		configuration or by a connection
 */
void snat_rule_put(struct ip_vs_snat_rule *rule)
{
	if (!atomic_dec_and_test(&rule->refcnt))
		return;
	if (rule->spec.new_gw)
		ip_vs_snat_way_exit(&rule->way);
	snat_tally_put(rule->tally);
	kfree(rule);
}

static int snat_cmp(u64 a, u64 b)
{
	return a < b ? -1 : a > b;
}

/**
 * snat_rule_cmp_nets - compare two rules by their order, but for their age
 * @a:		a rule
 * @b:		another one
 *
 * Networks of the same length are the same or have nothing in common, so it makes no
 * difference for packets that they are sorted.
 *
 * Return: a negative number if @a comes first, a positive one if @b does.
 */
int snat_rule_cmp_nets(const struct ip_vs_snat_rule *a, const struct ip_vs_snat_rule *b)
{
	return snat_cmp(a->spec.priority, b->spec.priority) ? :
	       snat_cmp(b->spec.src_len, a->spec.src_len) ? :
	       snat_cmp(a->spec.src, b->spec.src) ? :
	       snat_cmp(b->spec.dst_len, a->spec.dst_len) ? :
	       snat_cmp(a->spec.dst, b->spec.dst);
}

/**
 * snat_rule_cmp - compare two rules by their order
 * @a:		a rule
 * @b:		another one
 *
 * Return: as snat_rule_cmp_nets(), but never 0 for two of them
 */
int snat_rule_cmp(const struct ip_vs_snat_rule *a, const struct ip_vs_snat_rule *b)
{
	return snat_rule_cmp_nets(a, b) ? : snat_cmp(a->age, b->age);
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
		hlist_del(&m->node);
	spin_unlock_bh(&snat->scope_lock);
	if (!last)
		return;
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
	hlist_add_head(&m->node, &m->dest.snat_addr->members);
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
			if (range->weight)
				pool->usable[pool->num_usable++] = m;
			/* The last one of all addresses */
			if (addr == range->max)
				break;
		}
		cond_resched();
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
		atomic_set(&m->dest.weight, range->weight);
		ip_vs_snat_dest_set_available(&m->dest, true);
		ip_vs_snat_dest_changed(ipvs, &m->dest, true);
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
		snat_rule_put(config->rules[i].rule);
	for (i = 0; i < config->num_pools; i++)
		snat_pool_put(config->pools[i]);
	ip_vs_snat_big_free(config->pools);
	ip_vs_snat_big_free(config->by_id);
	ip_vs_snat_big_free(config->oifs);
	ip_vs_snat_big_free(config);
}

static void snat_config_free_all(struct work_struct *work)
{
	struct ip_vs_snat *snat = container_of(work, struct ip_vs_snat,
					       garbage_work);
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
	schedule_work(&snat->garbage_work);
}

static struct snat_config *snat_config_alloc(const struct snat_draft *draft)
{
	struct snat_config *config;

	config = ip_vs_snat_big_alloc(sizeof(*config) + draft->num_rules *
				      sizeof(config->rules[0]));
	if (!config)
		return NULL;
	config->pools = ip_vs_snat_big_alloc((draft->num_pools + 1) *
					     sizeof(*config->pools));
	config->by_id = ip_vs_snat_big_alloc((draft->num_rules + 1) *
					     sizeof(*config->by_id));
	config->oifs = ip_vs_snat_big_alloc((draft->num_rules + 1) *
					    sizeof(*config->oifs));
	if (config->pools && config->by_id && config->oifs)
		return config;
	snat_config_put_all(config);
	return NULL;
}

/* Devices that lead out because rules say so, each of them once */
static void snat_config_add_oif(struct snat_config *config, const char *oif)
{
	u32 i;

	if (!*oif)
		return;
	for (i = 0; i < config->num_oifs; i++) {
		if (!strcmp(config->oifs[i], oif))
			return;
	}
	config->oifs[config->num_oifs++] = oif;
}

static struct snat_pool *snat_config_pool(const struct snat_config *config,
					  const char *name)
{
	u32 low = 0, high = config->num_pools;

	while (low < high) {
		u32 mid = low + (high - low) / 2;
		int order = strcmp(name, config->pools[mid]->spec.name);

		if (!order)
			return config->pools[mid];
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

/* Does the next rule belong to the same group? */
static bool snat_same_src_len(const struct snat_rule_spec *a,
			      const struct snat_rule_spec *b)
{
	return a->priority == b->priority && a->src_len == b->src_len;
}

static bool snat_same_src(const struct snat_rule_spec *a,
			  const struct snat_rule_spec *b)
{
	return snat_same_src_len(a, b) && a->src == b->src;
}

static bool snat_same_dst_len(const struct snat_rule_spec *a,
			      const struct snat_rule_spec *b)
{
	return snat_same_src(a, b) && a->dst_len == b->dst_len;
}

/* Where groups end, from the last rule to the first */
static void snat_config_group(struct snat_config *config)
{
	u32 i = config->num_rules;

	while (i--) {
		struct snat_match *match = &config->rules[i], *next = match + 1;
		const struct snat_rule_spec *spec = &match->rule->spec;

		match->src_len_end = i + 1;
		match->src_end = i + 1;
		match->dst_len_end = i + 1;
		if (match->src_len_end == config->num_rules)
			continue;
		if (snat_same_src_len(spec, &next->rule->spec))
			match->src_len_end = next->src_len_end;
		if (snat_same_src(spec, &next->rule->spec))
			match->src_end = next->src_end;
		if (snat_same_dst_len(spec, &next->rule->spec))
			match->dst_len_end = next->dst_len_end;
	}
}

static void snat_config_add_rule(struct snat_config *config,
				 struct ip_vs_snat_rule *rule)
{
	struct snat_match *match = &config->rules[config->num_rules++];
	const struct snat_rule_spec *spec = &rule->spec;

	atomic_inc(&rule->refcnt);
	match->rule = rule;
	match->src = spec->src;
	match->src_mask = snat_mask(spec->src_len);
	match->dst = spec->dst;
	match->dst_mask = snat_mask(spec->dst_len);
	if (spec->action != IPVS_SNAT_ACTION_SNAT)
		return;
	match->pool = snat_config_pool(config, spec->pool);
	snat_config_add_oif(config, spec->oif);
}

static struct snat_config *snat_config_build(struct netns_ipvs *ipvs,
					     const struct snat_draft *draft)
{
	struct snat_config *config = snat_config_alloc(draft);
	u32 i;

	if (!config)
		return NULL;
	for (i = 0; i < draft->num_pools; i++) {
		atomic_inc(&draft->pools[i]->refcnt);
		config->pools[config->num_pools++] = draft->pools[i];
		if (snat_pool_fill(ipvs, draft->pools[i]))
			goto err;
	}
	for (i = 0; i < draft->num_rules; i++)
		snat_config_add_rule(config, draft->rules[i]);
	if (draft->num_rules)
		memcpy(config->by_id, draft->by_id,
		       draft->num_rules * sizeof(*config->by_id));
	snat_config_group(config);
	return config;

err:
	snat_config_put_all(config);
	return NULL;
}

static bool snat_config_has(const struct snat_config *config,
			    const struct snat_pool *pool)
{
	return config && snat_config_pool(config, pool->spec.name) == pool;
}

/* Pools that are the same in both are left alone */
static void snat_config_open(struct netns_ipvs *ipvs,
			     const struct snat_config *old,
			     const struct snat_config *config)
{
	u32 i;

	for (i = 0; config && i < config->num_pools; i++) {
		if (!snat_config_has(old, config->pools[i]))
			snat_pool_open(ipvs, config->pools[i]);
	}
}

static bool snat_config_close(struct netns_ipvs *ipvs,
			      const struct snat_config *old,
			      const struct snat_config *config)
{
	bool closed = false;
	u32 i;

	for (i = 0; old && i < old->num_pools; i++) {
		if (!snat_config_has(config, old->pools[i]) &&
		    snat_pool_close(ipvs, old->pools[i]))
			closed = true;
	}
	return closed;
}

/* Put a configuration in the place of the old one, under config_lock */
static void snat_config_swap(struct netns_ipvs *ipvs,
			     struct snat_config *config)
{
	struct ip_vs_snat *snat = ipvs->snat;
	struct snat_config *old = snat_config_locked(snat);
	bool closed;

	snat->config_gen++;
	snat_config_open(ipvs, old, config);
	rcu_assign_pointer(snat->config, config);
	closed = snat_config_close(ipvs, old, config);
	/* Rules say what is outside as well as pools do */
	smp_wmb();
	atomic_inc(&snat->pool_gen);
	if (closed)
		ip_vs_snat_expire_nodest(ipvs);
	if (old) {
		old->snat = snat;
		call_rcu(&old->rcu_head, snat_config_rcu);
	}
}

/**
 * snat_config_commit - let a draft be in force
 * @ipvs:	the network namespace, under config_lock
 * @draft:	the draft, that stays the caller's
 *
 * Return: 0, -EAGAIN if something else was changed since the draft was begun, or
 * another negative error; then nothing has changed.
 */
int snat_config_commit(struct netns_ipvs *ipvs, struct snat_draft *draft)
{
	struct ip_vs_snat *snat = ipvs->snat;
	struct snat_config *config = NULL;
	int ret;

	if (draft->gen != snat->config_gen)
		return -EAGAIN;
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
	INIT_WORK(&snat->garbage_work, snat_config_free_all);
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
		flush_work(&snat->garbage_work);
	}
}
