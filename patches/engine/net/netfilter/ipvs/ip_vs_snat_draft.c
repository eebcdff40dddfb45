// SPDX-License-Identifier: GPL-2.0-or-later
/* IP Virtual Server: changes of rules and pools of SNAT
 *
 * A draft begins as a list of the rules and pools that are in force. Those are shared
 * and never changed: each change puts another one in the place of one of them. Each
 * is checked at once, so what is there at the end fits together.
 */

#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/random.h>
#include <linux/slab.h>

#include "ip_vs_snat_config.h"

/* Arrays that grow */

/* Make room for one more entry in an array of num. Returns the array, perhaps at
 * another place, or NULL.
 */
static void *snat_grow(void *array, u32 num, u32 *room, size_t size)
{
	void *bigger;

	if (num < *room)
		return array;
	bigger = ip_vs_snat_big_alloc((*room * 2 + 8) * size);
	if (!bigger)
		return NULL;
	if (num)
		memcpy(bigger, array, num * size);
	ip_vs_snat_big_free(array);
	*room = *room * 2 + 8;
	return bigger;
}

/* Pools */

/* Where a pool with this name is or would be */
static u32 snat_draft_pool_pos(const struct snat_draft *draft,
			       const char *name)
{
	u32 low = 0, high = draft->num_pools;

	while (low < high) {
		u32 mid = low + (high - low) / 2;

		if (strcmp(draft->pools[mid]->spec.name, name) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct snat_pool **snat_draft_pool(const struct snat_draft *draft,
					  const char *name)
{
	u32 pos = snat_draft_pool_pos(draft, name);

	return pos < draft->num_pools &&
	       !strcmp(draft->pools[pos]->spec.name, name) ?
	       &draft->pools[pos] : NULL;
}

/* A pool that nobody else has, in the place of one that may be in force */
static struct snat_pool *snat_draft_own_pool(struct snat_draft *draft,
					     struct snat_pool **slot,
					     const struct snat_pool_spec *spec)
{
	struct snat_pool *old = *slot, *pool;
	u32 i;

	if (atomic_read(&old->refcnt) == 1 && !old->members) {
		old->spec = *spec;
		return old;
	}
	pool = snat_pool_new(spec, old);
	if (!pool)
		return NULL;
	for (i = 0; i < draft->num_rules; i++) {
		if (draft->matches[i].pool == old)
			draft->matches[i].pool = pool;
	}
	snat_pool_put(old);
	*slot = pool;
	return pool;
}

/**
 * snat_draft_add_pool - add a pool without members
 * @draft:	the draft
 * @spec:	the settings of the pool
 * @extack:	says what is wrong
 *
 * Return: 0 or a negative error, as for all that follows.
 */
int snat_draft_add_pool(struct snat_draft *draft,
			const struct snat_pool_spec *spec,
			struct netlink_ext_ack *extack)
{
	u32 pos = snat_draft_pool_pos(draft, spec->name);
	struct snat_pool **pools, *pool;

	if (snat_draft_pool(draft, spec->name)) {
		NL_SET_ERR_MSG(extack, "there is a pool of this name");
		return -EEXIST;
	}
	if (draft->num_pools >= (draft->few ? SNAT_FEW_POOLS : SNAT_MAX_POOLS)) {
		NL_SET_ERR_MSG(extack, "too many pools");
		return -ENOSPC;
	}
	pools = snat_grow(draft->pools, draft->num_pools, &draft->pools_room,
			  sizeof(*pools));
	if (!pools)
		return -ENOMEM;
	draft->pools = pools;
	pool = snat_pool_new(spec, NULL);
	if (!pool)
		return -ENOMEM;
	memmove(&pools[pos + 1], &pools[pos],
		(draft->num_pools - pos) * sizeof(*pools));
	pools[pos] = pool;
	draft->num_pools++;
	return 0;
}

static struct snat_pool **snat_draft_find_pool(struct snat_draft *draft,
					       const char *name,
					       struct netlink_ext_ack *extack)
{
	struct snat_pool **slot = snat_draft_pool(draft, name);

	if (!slot)
		NL_SET_ERR_MSG(extack, "there is no pool of this name");
	return slot;
}

/* Change the settings of a pool, its members stay */
int snat_draft_set_pool(struct snat_draft *draft,
			const struct snat_pool_spec *spec,
			struct netlink_ext_ack *extack)
{
	struct snat_pool **slot = snat_draft_find_pool(draft, spec->name,
						       extack);

	if (!slot)
		return -ENOENT;
	return snat_draft_own_pool(draft, slot, spec) ? 0 : -ENOMEM;
}

/* Take a pool away, and its members */
int snat_draft_del_pool(struct snat_draft *draft, const char *name,
			struct netlink_ext_ack *extack)
{
	struct snat_pool **slot = snat_draft_find_pool(draft, name, extack);
	u32 i;

	if (!slot)
		return -ENOENT;
	for (i = 0; i < draft->num_rules; i++) {
		if (draft->matches[i].pool == *slot) {
			NL_SET_ERR_MSG(extack, "a rule needs the pool");
			return -EBUSY;
		}
	}
	draft->num_addrs -= (*slot)->num_addrs;
	snat_pool_put(*slot);
	draft->num_pools--;
	memmove(slot, slot + 1,
		(&draft->pools[draft->num_pools] - slot) * sizeof(*slot));
	return 0;
}

/* Ranges of a pool */

/* The first range that ends at an address or after it */
static u32 snat_range_pos(const struct snat_pool *pool, u32 addr)
{
	u32 low = 0, high = pool->num_ranges;

	while (low < high) {
		u32 mid = low + (high - low) / 2;

		if (pool->ranges[mid].max < addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int snat_range_insert(struct snat_pool *pool, u32 pos,
			     const struct snat_range *range)
{
	struct snat_range *ranges;

	ranges = snat_grow(pool->ranges, pool->num_ranges, &pool->room,
			   sizeof(*ranges));
	if (!ranges)
		return -ENOMEM;
	pool->ranges = ranges;
	memmove(&ranges[pos + 1], &ranges[pos],
		(pool->num_ranges - pos) * sizeof(*ranges));
	ranges[pos] = *range;
	pool->num_ranges++;
	return 0;
}

/* See to it that no range has an address and the one before it */
static int snat_range_split(struct snat_pool *pool, u32 addr)
{
	u32 pos = snat_range_pos(pool, addr);
	struct snat_range head;
	int ret;

	if (pos == pool->num_ranges || pool->ranges[pos].min >= addr)
		return 0;
	head = pool->ranges[pos];
	head.max = addr - 1;
	ret = snat_range_insert(pool, pos, &head);
	if (!ret)
		pool->ranges[pos + 1].min = addr;
	return ret;
}

/* Does a pool have all addresses from one to another? */
static bool snat_range_covered(const struct snat_pool *pool, u32 min, u32 max)
{
	u32 pos = snat_range_pos(pool, min);

	for (; pos < pool->num_ranges && pool->ranges[pos].min <= min; pos++) {
		if (pool->ranges[pos].max >= max)
			return true;
		min = pool->ranges[pos].max + 1;
	}
	return false;
}

/* Add addresses to a pool */
int snat_draft_add_range(struct snat_draft *draft, const char *name,
			 const struct snat_range *range,
			 struct netlink_ext_ack *extack)
{
	struct snat_pool **slot = snat_draft_find_pool(draft, name, extack);
	u32 most = draft->few ? SNAT_FEW_ADDRS : SNAT_MAX_ADDRS;
	struct snat_pool *pool;
	u32 pos;
	int ret;

	if (!slot)
		return -ENOENT;
	pos = snat_range_pos(*slot, range->min);
	if (pos < (*slot)->num_ranges &&
	    (*slot)->ranges[pos].min <= range->max) {
		NL_SET_ERR_MSG(extack, "the pool has this address");
		return -EEXIST;
	}
	if (range->max - range->min >= most - draft->num_addrs) {
		NL_SET_ERR_MSG(extack, "too many addresses");
		return -ENOSPC;
	}
	pool = snat_draft_own_pool(draft, slot, &(*slot)->spec);
	if (!pool)
		return -ENOMEM;
	ret = snat_range_insert(pool, pos, range);
	if (ret)
		return ret;
	pool->num_addrs += range->max - range->min + 1;
	draft->num_addrs += range->max - range->min + 1;
	return 0;
}

/* The pool, with ranges that begin and end where the given one does */
static int snat_draft_cut_range(struct snat_draft *draft, const char *name,
				const struct snat_range *range,
				struct snat_pool **pool,
				struct netlink_ext_ack *extack)
{
	struct snat_pool **slot = snat_draft_find_pool(draft, name, extack);
	int ret;

	if (!slot)
		return -ENOENT;
	if (!snat_range_covered(*slot, range->min, range->max)) {
		NL_SET_ERR_MSG(extack, "the pool does not have this address");
		return -ENOENT;
	}
	*pool = snat_draft_own_pool(draft, slot, &(*slot)->spec);
	if (!*pool)
		return -ENOMEM;
	ret = snat_range_split(*pool, range->min);
	if (!ret && range->max != ~0U)
		ret = snat_range_split(*pool, range->max + 1);
	return ret;
}

/* Change the weight of addresses */
int snat_draft_set_range(struct snat_draft *draft, const char *name,
			 const struct snat_range *range,
			 struct netlink_ext_ack *extack)
{
	struct snat_pool *pool;
	u32 pos;
	int ret;

	ret = snat_draft_cut_range(draft, name, range, &pool, extack);
	if (ret)
		return ret;
	for (pos = snat_range_pos(pool, range->min);
	     pos < pool->num_ranges && pool->ranges[pos].max <= range->max;
	     pos++)
		pool->ranges[pos].weight = range->weight;
	return 0;
}

/* Take addresses away */
int snat_draft_del_range(struct snat_draft *draft, const char *name,
			 const struct snat_range *range,
			 struct netlink_ext_ack *extack)
{
	struct snat_pool *pool;
	u32 pos, end;
	int ret;

	ret = snat_draft_cut_range(draft, name, range, &pool, extack);
	if (ret)
		return ret;
	pos = snat_range_pos(pool, range->min);
	end = pos;
	while (end < pool->num_ranges && pool->ranges[end].max <= range->max)
		end++;
	memmove(&pool->ranges[pos], &pool->ranges[end],
		(pool->num_ranges - end) * sizeof(*pool->ranges));
	pool->num_ranges -= end - pos;
	pool->num_addrs -= range->max - range->min + 1;
	draft->num_addrs -= range->max - range->min + 1;
	return 0;
}

/* Rules */

/* Where among the rules sorted by ID one with this ID is or would be */
static u32 snat_draft_id_pos(const struct snat_draft *draft, u32 id)
{
	u32 low = 0, high = draft->num_rules;

	while (low < high) {
		u32 mid = low + (high - low) / 2;

		if (draft->by_id[mid]->spec.id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct ip_vs_snat_rule *snat_draft_rule(const struct snat_draft *draft,
					       u32 id)
{
	u32 pos = snat_draft_id_pos(draft, id);

	return pos < draft->num_rules && draft->by_id[pos]->spec.id == id ?
	       draft->by_id[pos] : NULL;
}

/* Would the second of two rules never be asked? */
static bool snat_rule_same(const struct snat_rule_spec *a,
			   const struct snat_rule_spec *b)
{
	return a->priority == b->priority && a->src == b->src &&
	       a->src_len == b->src_len && a->dst == b->dst &&
	       a->dst_len == b->dst_len && a->protocol == b->protocol &&
	       a->dport_min == b->dport_min && a->dport_max == b->dport_max &&
	       a->mark == b->mark && a->mark_mask == b->mark_mask &&
	       a->gw == b->gw && !strcmp(a->iif, b->iif) &&
	       !strcmp(a->oif, b->oif);
}

/* Where a rule is or would be */
static u32 snat_draft_rule_pos(const struct snat_draft *draft,
			       const struct ip_vs_snat_rule *rule)
{
	u32 low = 0, high = draft->num_rules;

	while (low < high) {
		u32 mid = low + (high - low) / 2;

		if (snat_rule_cmp(draft->rules[mid], rule) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static u32 snat_draft_match_pos(const struct snat_draft *draft,
				const struct snat_match *match)
{
	u32 low = 0, high = draft->num_rules;

	while (low < high) {
		u32 mid = low + (high - low) / 2;

		if (snat_match_cmp(&draft->matches[mid], match) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Is there such a rule? It would stand near the place of this one. */
static bool snat_draft_has_same(const struct snat_draft *draft,
				const struct snat_match *match)
{
	const struct snat_match *all = draft->matches;
	u32 i = snat_draft_match_pos(draft, match);

	while (i && snat_match_same_place(&all[i - 1], match))
		i--;
	for (; i < draft->num_rules && snat_match_same_place(&all[i], match); i++) {
		if (snat_rule_same(&all[i].rule->spec, &match->rule->spec))
			return true;
	}
	return false;
}

/* Room for one more in each array that rules are in */
static int snat_draft_rules_room(struct snat_draft *draft)
{
	u32 room[2] = { draft->rules_room, draft->rules_room };
	void *array;

	array = snat_grow(draft->by_id, draft->num_rules, &room[0],
			  sizeof(*draft->by_id));
	if (!array)
		return -ENOMEM;
	draft->by_id = array;
	array = snat_grow(draft->matches, draft->num_rules, &room[1],
			  sizeof(*draft->matches));
	if (!array)
		return -ENOMEM;
	draft->matches = array;
	array = snat_grow(draft->rules, draft->num_rules, &draft->rules_room,
			  sizeof(*draft->rules));
	if (!array)
		return -ENOMEM;
	draft->rules = array;
	return 0;
}

/* Move what is in an array of num from a place on, and return that place */
static void *snat_make_gap(void *array, u32 num, u32 pos, size_t size)
{
	void *gap = array + pos * size;

	memmove(gap + size, gap, (num - pos) * size);
	return gap;
}

static void snat_close_gap(void *array, u32 num, u32 pos, size_t size)
{
	void *gap = array + pos * size;

	memmove(gap, gap + size, (num - pos - 1) * size);
}

/* There has to be room for it */
static void snat_draft_insert_rule(struct snat_draft *draft,
				   const struct snat_match *match)
{
	struct ip_vs_snat_rule *rule = match->rule, **ref;
	u32 num = draft->num_rules;
	struct snat_match *slot;

	ref = snat_make_gap(draft->rules, num, snat_draft_rule_pos(draft, rule),
			    sizeof(*draft->rules));
	*ref = rule;
	ref = snat_make_gap(draft->by_id, num,
			    snat_draft_id_pos(draft, rule->spec.id),
			    sizeof(*draft->by_id));
	*ref = rule;
	slot = snat_make_gap(draft->matches, num,
			     snat_draft_match_pos(draft, match),
			     sizeof(*draft->matches));
	*slot = *match;
	draft->num_rules++;
}

/* Returns its match */
static struct snat_match snat_draft_remove_rule(struct snat_draft *draft,
						struct ip_vs_snat_rule *rule)
{
	u32 num = draft->num_rules, pos;
	struct snat_match match;

	snat_close_gap(draft->rules, num, snat_draft_rule_pos(draft, rule),
		       sizeof(*draft->rules));
	snat_close_gap(draft->by_id, num,
		       snat_draft_id_pos(draft, rule->spec.id),
		       sizeof(*draft->by_id));
	snat_match_init(&match, rule, NULL);
	pos = snat_draft_match_pos(draft, &match);
	match = draft->matches[pos];
	snat_close_gap(draft->matches, num, pos, sizeof(*draft->matches));
	draft->num_rules--;
	return match;
}

/* The pool that a rule needs, if it needs one */
static int snat_draft_pool_of(const struct snat_draft *draft,
			      const struct snat_rule_spec *spec,
			      struct snat_pool **pool,
			      struct netlink_ext_ack *extack)
{
	struct snat_pool **slot;

	*pool = NULL;
	if (spec->action != IPVS_SNAT_ACTION_SNAT)
		return 0;
	slot = snat_draft_pool(draft, spec->pool);
	if (!slot) {
		NL_SET_ERR_MSG(extack, "there is no pool of this name");
		return -ENOENT;
	}
	*pool = *slot;
	return 0;
}

/* Add a rule. If it has no ID, it gets one. */
int snat_draft_add_rule(struct snat_draft *draft, struct ip_vs_snat *snat,
			struct snat_rule_spec *spec,
			struct netlink_ext_ack *extack)
{
	struct ip_vs_snat_rule *rule;
	struct snat_match match;
	struct snat_pool *pool;
	int ret;

	if (draft->num_rules >= SNAT_MAX_RULES) {
		NL_SET_ERR_MSG(extack, "too many rules");
		return -ENOSPC;
	}
	if (spec->id && snat_draft_rule(draft, spec->id)) {
		NL_SET_ERR_MSG(extack, "there is a rule of this ID");
		return -EEXIST;
	}
	ret = snat_draft_pool_of(draft, spec, &pool, extack);
	if (!ret)
		ret = snat_draft_rules_room(draft);
	if (ret)
		return ret;
	while (!spec->id || snat_draft_rule(draft, spec->id))
		spec->id = ++snat->last_id;

	rule = snat_rule_new(spec, NULL);
	if (!rule)
		return -ENOMEM;
	rule->age = ++snat->last_age;
	snat_match_init(&match, rule, pool);
	if (snat_draft_has_same(draft, &match)) {
		NL_SET_ERR_MSG(extack, "there is such a rule");
		snat_rule_put(rule);
		return -EEXIST;
	}
	snat_draft_insert_rule(draft, &match);
	return 0;
}

/* Replace a rule by another one of the same ID */
int snat_draft_set_rule(struct snat_draft *draft,
			const struct snat_rule_spec *spec,
			struct netlink_ext_ack *extack)
{
	struct ip_vs_snat_rule *old = snat_draft_rule(draft, spec->id), *rule;
	struct snat_match match, old_match;
	struct snat_pool *pool;
	int ret;

	if (!old) {
		NL_SET_ERR_MSG(extack, "there is no rule of this ID");
		return -ENOENT;
	}
	ret = snat_draft_pool_of(draft, spec, &pool, extack);
	if (ret)
		return ret;
	rule = snat_rule_new(spec, old);
	if (!rule)
		return -ENOMEM;
	snat_match_init(&match, rule, pool);
	old_match = snat_draft_remove_rule(draft, old);
	if (snat_draft_has_same(draft, &match)) {
		NL_SET_ERR_MSG(extack, "there is such a rule");
		snat_draft_insert_rule(draft, &old_match);
		snat_rule_put(rule);
		return -EEXIST;
	}
	snat_draft_insert_rule(draft, &match);
	snat_rule_put(old);
	return 0;
}

/* Take the rule with an ID away, and say what it was */
int snat_draft_del_rule(struct snat_draft *draft, struct snat_rule_spec *spec,
			struct netlink_ext_ack *extack)
{
	struct ip_vs_snat_rule *rule = snat_draft_rule(draft, spec->id);

	if (!rule) {
		NL_SET_ERR_MSG(extack, "there is no rule of this ID");
		return -ENOENT;
	}
	*spec = rule->spec;
	snat_draft_remove_rule(draft, rule);
	snat_rule_put(rule);
	return 0;
}

/* Drafts */

static int snat_draft_copy(struct snat_draft *draft,
			   const struct snat_config *config)
{
	u32 i;

	draft->rules_room = config->num_rules;
	draft->rules = ip_vs_snat_big_alloc((config->num_rules + 1) *
					    sizeof(*draft->rules));
	draft->by_id = ip_vs_snat_big_alloc((config->num_rules + 1) *
					    sizeof(*draft->by_id));
	draft->matches = ip_vs_snat_big_alloc((config->num_rules + 1) *
					      sizeof(*draft->matches));
	draft->pools_room = config->num_pools;
	draft->pools = ip_vs_snat_big_alloc((config->num_pools + 1) *
					    sizeof(*draft->pools));
	if (!draft->rules || !draft->by_id || !draft->matches || !draft->pools)
		return -ENOMEM;
	for (i = 0; i < config->num_rules; i++) {
		draft->rules[i] = config->rules[i];
		atomic_inc(&draft->rules[i]->refcnt);
	}
	draft->num_rules = config->num_rules;
	if (config->num_rules) {
		memcpy(draft->by_id, config->by_id,
		       config->num_rules * sizeof(*draft->by_id));
		memcpy(draft->matches, config->matches,
		       config->num_rules * sizeof(*draft->matches));
	}
	for (i = 0; i < config->num_pools; i++) {
		draft->pools[i] = config->pools[i];
		atomic_inc(&draft->pools[i]->refcnt);
		draft->num_addrs += draft->pools[i]->num_addrs;
	}
	draft->num_pools = config->num_pools;
	return 0;
}

/**
 * snat_draft_new - begin a change
 * @ipvs:	the network namespace, under config_lock
 * @portid:	the socket that asks for it
 *
 * Return: the draft, or NULL if there is no memory.
 */
struct snat_draft *snat_draft_new(struct netns_ipvs *ipvs, u32 portid)
{
	struct ip_vs_snat *snat = ipvs->snat;
	struct snat_config *config = snat_config_locked(snat);
	struct snat_draft *draft = kzalloc(sizeof(*draft), GFP_KERNEL_ACCOUNT);

	if (!draft)
		return NULL;
	INIT_LIST_HEAD(&draft->list);
	skb_queue_head_init(&draft->news);
	draft->portid = portid;
	draft->gen = snat->config_gen;
	draft->few = !ip_vs_snat_trusted(ipvs);
	if (config && snat_draft_copy(draft, config)) {
		snat_draft_free(draft);
		return NULL;
	}
	return draft;
}

/**
 * snat_draft_flush - take all rules and pools away
 * @draft:	the draft
 */
void snat_draft_flush(struct snat_draft *draft)
{
	while (draft->num_rules)
		snat_rule_put(draft->rules[--draft->num_rules]);
	while (draft->num_pools)
		snat_pool_put(draft->pools[--draft->num_pools]);
	draft->num_addrs = 0;
}

/**
 * snat_draft_free - end a change, in force or not
 * @draft:	the draft
 */
void snat_draft_free(struct snat_draft *draft)
{
	skb_queue_purge(&draft->news);
	snat_draft_flush(draft);
	ip_vs_snat_big_free(draft->rules);
	ip_vs_snat_big_free(draft->by_id);
	ip_vs_snat_big_free(draft->matches);
	ip_vs_snat_big_free(draft->pools);
	kfree(draft);
}
