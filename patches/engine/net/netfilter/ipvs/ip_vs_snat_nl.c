// SPDX-License-Identifier: GPL-2.0-or-later
/* IP Virtual Server: requests to change rules and pools of SNAT, by netlink */

#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/module.h>
#include <linux/slab.h>

#include "ip_vs_snat_config.h"

/* Changes that are being made at the same time, in a namespace */
#define SNAT_MAX_DRAFTS		16

/* Changes */

static int snat_do_new_pool(struct netns_ipvs *ipvs, struct snat_draft *draft,
			    struct genl_info *info)
{
	struct snat_pool_spec spec;
	int ret = snat_parse_pool(info, &spec);

	if (!ret)
		ret = snat_draft_add_pool(draft, &spec, ip_vs_snat_extack(info));
	if (!ret)
		snat_news_pool(ipvs, draft, info, &spec);
	return ret;
}

static int snat_do_set_pool(struct netns_ipvs *ipvs, struct snat_draft *draft,
			    struct genl_info *info)
{
	struct snat_pool_spec spec;
	int ret = snat_parse_pool(info, &spec);

	if (!ret)
		ret = snat_draft_set_pool(draft, &spec, ip_vs_snat_extack(info));
	if (!ret)
		snat_news_pool(ipvs, draft, info, &spec);
	return ret;
}

static int snat_do_del_pool(struct netns_ipvs *ipvs, struct snat_draft *draft,
			    struct genl_info *info)
{
	struct snat_pool_spec spec;
	int ret = snat_parse_pool(info, &spec);

	if (!ret)
		ret = snat_draft_del_pool(draft, spec.name,
					  ip_vs_snat_extack(info));
	if (!ret)
		snat_news_pool(ipvs, draft, info, &spec);
	return ret;
}

typedef int snat_range_fn(struct snat_draft *draft, const char *name,
			  const struct snat_range *range,
			  struct netlink_ext_ack *extack);

static int snat_do_range(struct netns_ipvs *ipvs, struct snat_draft *draft,
			 struct genl_info *info, snat_range_fn *fn)
{
	char pool[IPVS_SNAT_NAME_MAX];
	struct snat_range range;
	int ret = snat_parse_member(info, pool, &range);

	if (!ret)
		ret = fn(draft, pool, &range, ip_vs_snat_extack(info));
	if (!ret)
		snat_news_member(ipvs, draft, info, pool, &range);
	return ret;
}

static int snat_do_new_member(struct netns_ipvs *ipvs,
			      struct snat_draft *draft, struct genl_info *info)
{
	return snat_do_range(ipvs, draft, info, snat_draft_add_range);
}

static int snat_do_set_member(struct netns_ipvs *ipvs,
			      struct snat_draft *draft, struct genl_info *info)
{
	return snat_do_range(ipvs, draft, info, snat_draft_set_range);
}

static int snat_do_del_member(struct netns_ipvs *ipvs,
			      struct snat_draft *draft, struct genl_info *info)
{
	return snat_do_range(ipvs, draft, info, snat_draft_del_range);
}

static int snat_do_new_rule(struct netns_ipvs *ipvs, struct snat_draft *draft,
			    struct genl_info *info)
{
	struct snat_rule_spec spec;
	int ret = snat_parse_rule(info, &spec);

	if (!ret)
		ret = snat_draft_add_rule(draft, ipvs->snat, &spec,
					  ip_vs_snat_extack(info));
	if (!ret)
		snat_news_rule(ipvs, draft, info, &spec);
	return ret;
}

static int snat_do_set_rule(struct netns_ipvs *ipvs, struct snat_draft *draft,
			    struct genl_info *info)
{
	struct snat_rule_spec spec;
	int ret = snat_parse_rule(info, &spec);

	if (!ret)
		ret = snat_draft_set_rule(draft, &spec, ip_vs_snat_extack(info));
	if (!ret)
		snat_news_rule(ipvs, draft, info, &spec);
	return ret;
}

static int snat_do_del_rule(struct netns_ipvs *ipvs, struct snat_draft *draft,
			    struct genl_info *info)
{
	struct snat_rule_spec spec;
	int ret = snat_parse_rule_id(info, &spec.id);

	if (!ret)
		ret = snat_draft_del_rule(draft, &spec, ip_vs_snat_extack(info));
	if (!ret)
		snat_news_rule(ipvs, draft, info, &spec);
	return ret;
}

static int snat_do_flush(struct netns_ipvs *ipvs, struct snat_draft *draft,
			 struct genl_info *info)
{
	snat_draft_flush(draft);
	snat_news_flush(ipvs, draft, info);
	return 0;
}

/* Transactions */

/* The change that a socket has begun, under config_lock */
static struct snat_draft *snat_draft_of(struct ip_vs_snat *snat, u32 portid)
{
	struct snat_draft *draft;

	list_for_each_entry(draft, &snat->drafts, list) {
		if (draft->portid == portid && !draft->abandoned)
			return draft;
	}
	return NULL;
}

static int snat_commit(struct netns_ipvs *ipvs, struct snat_draft *draft,
		       struct genl_info *info)
{
	int ret = snat_config_commit(ipvs, draft);

	if (ret == -EAGAIN)
		NL_SET_ERR_MSG(ip_vs_snat_extack(info),
			       "someone else has changed something meanwhile");
	if (ret == -ENOSPC)
		NL_SET_ERR_MSG(ip_vs_snat_extack(info),
			       "too many blocks of ports");
	if (!ret)
		snat_news_publish(ipvs, draft, info);
	return ret;
}

typedef int snat_change_fn(struct netns_ipvs *ipvs, struct snat_draft *draft,
			   struct genl_info *info);

/* Indexed by command */
static snat_change_fn *const snat_changes[IPVS_SNAT_CMD_MAX + 1] = {
	[IPVS_SNAT_CMD_FLUSH]		= snat_do_flush,
	[IPVS_SNAT_CMD_NEW_POOL]	= snat_do_new_pool,
	[IPVS_SNAT_CMD_SET_POOL]	= snat_do_set_pool,
	[IPVS_SNAT_CMD_DEL_POOL]	= snat_do_del_pool,
	[IPVS_SNAT_CMD_NEW_MEMBER]	= snat_do_new_member,
	[IPVS_SNAT_CMD_SET_MEMBER]	= snat_do_set_member,
	[IPVS_SNAT_CMD_DEL_MEMBER]	= snat_do_del_member,
	[IPVS_SNAT_CMD_NEW_RULE]	= snat_do_new_rule,
	[IPVS_SNAT_CMD_SET_RULE]	= snat_do_set_rule,
	[IPVS_SNAT_CMD_DEL_RULE]	= snat_do_del_rule,
};

static int snat_nl_change(struct sk_buff *skb, struct genl_info *info)
{
	struct netns_ipvs *ipvs = ip_vs_snat_genl_ipvs(info);
	struct ip_vs_snat *snat = ipvs->snat;
	u32 portid = ip_vs_snat_portid(info);
	struct snat_draft *draft, *own = NULL;
	int ret = -ENOMEM;

	mutex_lock(&snat->config_lock);
	draft = snat_draft_of(snat, portid);
	if (!draft) {
		own = snat_draft_new(ipvs, portid);
		draft = own;
	}
	if (!draft)
		goto unlock;
	ret = snat_changes[info->genlhdr->cmd](ipvs, draft, info);
	if (own) {
		if (!ret)
			ret = snat_commit(ipvs, draft, info);
		snat_draft_free(draft);
	} else if (ret) {
		draft->failed = true;
	}
unlock:
	mutex_unlock(&snat->config_lock);
	return ret;
}

static int snat_begin(struct netns_ipvs *ipvs, u32 portid)
{
	struct ip_vs_snat *snat = ipvs->snat;
	struct snat_draft *draft;
	int num = 0;

	if (snat_draft_of(snat, portid))
		return -EBUSY;
	list_for_each_entry(draft, &snat->drafts, list)
		num++;
	if (num >= SNAT_MAX_DRAFTS)
		return -EBUSY;
	draft = snat_draft_new(ipvs, portid);
	if (!draft)
		return -ENOMEM;
	spin_lock_bh(&snat->scope_lock);
	list_add(&draft->list, &snat->drafts);
	spin_unlock_bh(&snat->scope_lock);
	return 0;
}

/* End a change that was begun, under config_lock */
static void snat_end(struct ip_vs_snat *snat, struct snat_draft *draft)
{
	spin_lock_bh(&snat->scope_lock);
	list_del_init(&draft->list);
	spin_unlock_bh(&snat->scope_lock);
	snat_draft_free(draft);
}

static int snat_nl_begin(struct sk_buff *skb, struct genl_info *info)
{
	struct netns_ipvs *ipvs = ip_vs_snat_genl_ipvs(info);
	struct ip_vs_snat *snat = ipvs->snat;
	int ret;

	mutex_lock(&snat->config_lock);
	ret = snat_begin(ipvs, ip_vs_snat_portid(info));
	mutex_unlock(&snat->config_lock);
	return ret;
}

/* COMMIT or ABORT */
static int snat_nl_end(struct sk_buff *skb, struct genl_info *info)
{
	struct netns_ipvs *ipvs = ip_vs_snat_genl_ipvs(info);
	struct ip_vs_snat *snat = ipvs->snat;
	struct snat_draft *draft;
	int ret = 0;

	mutex_lock(&snat->config_lock);
	draft = snat_draft_of(snat, ip_vs_snat_portid(info));
	if (!draft) {
		ret = -EINVAL;
		NL_SET_ERR_MSG(ip_vs_snat_extack(info), "nothing was begun");
		goto unlock;
	}
	if (info->genlhdr->cmd == IPVS_SNAT_CMD_COMMIT)
		ret = draft->failed ? -ECANCELED :
				      snat_commit(ipvs, draft, info);
	snat_end(snat, draft);
unlock:
	mutex_unlock(&snat->config_lock);
	return ret;
}

/* Forget what closed sockets have begun. Their end may be told where nobody may
 * sleep.
 */
static void snat_forget_drafts(struct work_struct *work)
{
	struct ip_vs_snat *snat = container_of(work, struct ip_vs_snat,
					       drafts_work);
	struct snat_draft *draft, *next;

	mutex_lock(&snat->config_lock);
	list_for_each_entry_safe(draft, next, &snat->drafts, list) {
		if (draft->abandoned)
			snat_end(snat, draft);
	}
	mutex_unlock(&snat->config_lock);
}

static int snat_nl_notify(struct notifier_block *nb, unsigned long state,
			  void *data)
{
	const struct netlink_notify *notify = data;
	struct snat_draft *draft;
	struct ip_vs_snat *snat;

	if (state != NETLINK_URELEASE || notify->protocol != NETLINK_GENERIC)
		return NOTIFY_DONE;
	snat = ip_vs_snat_notify_snat(notify);
	if (!snat)
		return NOTIFY_DONE;
	spin_lock_bh(&snat->scope_lock);
	list_for_each_entry(draft, &snat->drafts, list) {
		if (draft->portid != ip_vs_snat_notify_portid(notify))
			continue;
		draft->abandoned = true;
		schedule_work(&snat->drafts_work);
	}
	spin_unlock_bh(&snat->scope_lock);
	return NOTIFY_DONE;
}

static struct notifier_block snat_nl_notifier = {
	.notifier_call = snat_nl_notify,
};

/**
 * snat_nl_init - get ready for changes
 * @snat:	the network namespace
 */
void snat_nl_init(struct ip_vs_snat *snat)
{
	INIT_LIST_HEAD(&snat->drafts);
	INIT_WORK(&snat->drafts_work, snat_forget_drafts);
}

/**
 * snat_nl_cleanup - forget changes that were begun
 * @snat:	the network namespace, it has no sockets any more
 */
void snat_nl_cleanup(struct ip_vs_snat *snat)
{
	struct snat_draft *draft, *next;

	cancel_work_sync(&snat->drafts_work);
	list_for_each_entry_safe(draft, next, &snat->drafts, list)
		snat_end(snat, draft);
}

/* The family */

#define SNAT_NL_CHANGE(cmd)	IP_VS_SNAT_GENL_OP(cmd, snat_nl_change, NULL)

static ip_vs_snat_genl_ops snat_nl_ops[] = {
	IP_VS_SNAT_GENL_OP(IPVS_SNAT_CMD_BEGIN, snat_nl_begin, NULL),
	IP_VS_SNAT_GENL_OP(IPVS_SNAT_CMD_COMMIT, snat_nl_end, NULL),
	IP_VS_SNAT_GENL_OP(IPVS_SNAT_CMD_ABORT, snat_nl_end, NULL),
	SNAT_NL_CHANGE(IPVS_SNAT_CMD_FLUSH),
	SNAT_NL_CHANGE(IPVS_SNAT_CMD_NEW_POOL),
	SNAT_NL_CHANGE(IPVS_SNAT_CMD_SET_POOL),
	SNAT_NL_CHANGE(IPVS_SNAT_CMD_DEL_POOL),
	SNAT_NL_CHANGE(IPVS_SNAT_CMD_NEW_MEMBER),
	SNAT_NL_CHANGE(IPVS_SNAT_CMD_SET_MEMBER),
	SNAT_NL_CHANGE(IPVS_SNAT_CMD_DEL_MEMBER),
	SNAT_NL_CHANGE(IPVS_SNAT_CMD_NEW_RULE),
	SNAT_NL_CHANGE(IPVS_SNAT_CMD_SET_RULE),
	SNAT_NL_CHANGE(IPVS_SNAT_CMD_DEL_RULE),
	IP_VS_SNAT_GENL_OP(IPVS_SNAT_CMD_GET_POOL, NULL, snat_dump_pools),
	IP_VS_SNAT_GENL_OP(IPVS_SNAT_CMD_GET_MEMBER, NULL, snat_dump_ranges),
	IP_VS_SNAT_GENL_OP(IPVS_SNAT_CMD_GET_ADDR, NULL, snat_dump_addrs),
	IP_VS_SNAT_GENL_OP(IPVS_SNAT_CMD_GET_RULE, NULL, snat_dump_rules),
	IP_VS_SNAT_GENL_OP(IPVS_SNAT_CMD_GET_CONN, NULL, snat_dump_conns),
	IP_VS_SNAT_GENL_OP(IPVS_SNAT_CMD_DEL_CONN, snat_nl_del_conns, NULL),
	IP_VS_SNAT_GENL_OP(IPVS_SNAT_CMD_ZERO, snat_nl_zero, NULL),
	IP_VS_SNAT_GENL_OP(IPVS_SNAT_CMD_GET_BLOCK, NULL, snat_dump_blocks),
};

IP_VS_SNAT_GENL_FAMILY;

/**
 * ip_vs_snat_register_nl - let requests come
 *
 * Return: 0 or a negative error.
 */
int __init ip_vs_snat_register_nl(void)
{
	int ret = netlink_register_notifier(&snat_nl_notifier);

	if (ret)
		return ret;
	ret = ip_vs_snat_genl_register(&snat_nl_family, snat_nl_ops,
				       ARRAY_SIZE(snat_nl_ops));
	if (ret)
		netlink_unregister_notifier(&snat_nl_notifier);
	else
		snat_event_switch(true);
	return ret;
}

/**
 * ip_vs_snat_unregister_nl - the opposite of ip_vs_snat_register_nl()
 */
void ip_vs_snat_unregister_nl(void)
{
	snat_event_switch(false);
	genl_unregister_family(&snat_nl_family);
	netlink_unregister_notifier(&snat_nl_notifier);
}

MODULE_ALIAS_GENL_FAMILY(IPVS_SNAT_GENL_NAME);
