// SPDX-License-Identifier: GPL-2.0-or-later
/* IP Virtual Server: what netlink messages say about rules and pools of SNAT */

#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/ctype.h>
#include <linux/log2.h>

#include "ip_vs_snat_config.h"

#define SNAT_NAME		{ .type = NLA_NUL_STRING,		\
				  .len = IPVS_SNAT_NAME_MAX - 1 }
#define SNAT_IFNAME		{ .type = NLA_NUL_STRING,		\
				  .len = IPVS_SNAT_IFNAME_MAX - 1 }

const struct nla_policy snat_nl_policy[IPVS_SNAT_ATTR_MAX + 1] = {
	[IPVS_SNAT_ATTR_POOL]		= { .type = NLA_NESTED },
	[IPVS_SNAT_ATTR_MEMBER]		= { .type = NLA_NESTED },
	[IPVS_SNAT_ATTR_RULE]		= { .type = NLA_NESTED },
	[IPVS_SNAT_ATTR_CONN]		= { .type = NLA_NESTED },
};

static const struct nla_policy snat_pool_policy[IPVS_SNAT_POOL_MAX + 1] = {
	[IPVS_SNAT_POOL_NAME]		= SNAT_NAME,
	[IPVS_SNAT_POOL_ALGO]		= { .type = NLA_U32 },
	[IPVS_SNAT_POOL_PORT_MIN]	= { .type = NLA_U16 },
	[IPVS_SNAT_POOL_PORT_MAX]	= { .type = NLA_U16 },
	[IPVS_SNAT_POOL_HOST_CONNS]	= { .type = NLA_U32 },
	[IPVS_SNAT_POOL_FLAGS]		= { .type = NLA_U32 },
	[IPVS_SNAT_POOL_BLOCK_SIZE]	= { .type = NLA_U16 },
	[IPVS_SNAT_POOL_HOST_BLOCKS]	= { .type = NLA_U32 },
};

static const struct nla_policy snat_member_policy[IPVS_SNAT_MEMBER_MAX + 1] = {
	[IPVS_SNAT_MEMBER_POOL]		= SNAT_NAME,
	[IPVS_SNAT_MEMBER_ADDR_MIN]		= { .type = NLA_U32 },
	[IPVS_SNAT_MEMBER_ADDR_MAX]		= { .type = NLA_U32 },
	[IPVS_SNAT_MEMBER_WEIGHT]	= { .type = NLA_U32 },
};

static const struct nla_policy snat_rule_policy[IPVS_SNAT_RULE_MAX + 1] = {
	[IPVS_SNAT_RULE_ID]		= { .type = NLA_U32 },
	[IPVS_SNAT_RULE_PRIORITY]	= { .type = NLA_U32 },
	[IPVS_SNAT_RULE_SRC]		= { .type = NLA_U32 },
	[IPVS_SNAT_RULE_SRC_LEN]	= { .type = NLA_U8 },
	[IPVS_SNAT_RULE_DST]		= { .type = NLA_U32 },
	[IPVS_SNAT_RULE_DST_LEN]	= { .type = NLA_U8 },
	[IPVS_SNAT_RULE_PROTO]		= { .type = NLA_U8 },
	[IPVS_SNAT_RULE_DPORT_MIN]	= { .type = NLA_U16 },
	[IPVS_SNAT_RULE_DPORT_MAX]	= { .type = NLA_U16 },
	[IPVS_SNAT_RULE_IIF]		= SNAT_IFNAME,
	[IPVS_SNAT_RULE_OIF]		= SNAT_IFNAME,
	[IPVS_SNAT_RULE_GW]		= { .type = NLA_U32 },
	[IPVS_SNAT_RULE_MARK]		= { .type = NLA_U32 },
	[IPVS_SNAT_RULE_MARK_MASK]	= { .type = NLA_U32 },
	[IPVS_SNAT_RULE_ACTION]		= { .type = NLA_U32 },
	[IPVS_SNAT_RULE_POOL]		= SNAT_NAME,
	[IPVS_SNAT_RULE_NEW_GW]		= { .type = NLA_U32 },
	[IPVS_SNAT_RULE_FLAGS]		= { .type = NLA_U32 },
};

static const struct nla_policy snat_conn_policy[IPVS_SNAT_CONN_MAX + 1] = {
	[IPVS_SNAT_CONN_INSIDE]		= { .type = NLA_U32 },
	[IPVS_SNAT_CONN_INSIDE_LEN]	= { .type = NLA_U8 },
	[IPVS_SNAT_CONN_POOL]		= SNAT_NAME,
	[IPVS_SNAT_CONN_RULE]		= { .type = NLA_U32 },
};

/* Values */

static u8 snat_get_u8(const struct nlattr *attr, u8 none)
{
	return attr ? nla_get_u8(attr) : none;
}

static u16 snat_get_u16(const struct nlattr *attr, u16 none)
{
	return attr ? nla_get_u16(attr) : none;
}

static u32 snat_get_u32(const struct nlattr *attr, u32 none)
{
	return attr ? nla_get_u32(attr) : none;
}

static __be32 snat_get_be32(const struct nlattr *attr)
{
	return attr ? nla_get_be32(attr) : 0;
}

/* Say what is wrong with an attribute, or which one isn't there */
#define snat_refuse(extack, attr, err, msg)				\
({									\
	NL_SET_ERR_MSG_ATTR(extack, attr, msg);				\
	err;								\
})

static int snat_parse(struct nlattr **tb, int max, struct genl_info *info,
		      int attr, const struct nla_policy *policy)
{
	struct netlink_ext_ack *extack = ip_vs_snat_extack(info);

	if (!info->attrs[attr]) {
		NL_SET_ERR_MSG(extack, "the message lacks its object");
		return -EINVAL;
	}
	return ip_vs_snat_parse_nested(tb, max, info->attrs[attr], policy,
				       extack);
}

static int snat_parse_name(char *name, const struct nlattr *attr,
			   struct netlink_ext_ack *extack)
{
	const char *c;

	if (!attr) {
		NL_SET_ERR_MSG(extack, "the name of the pool is not there");
		return -EINVAL;
	}
	ip_vs_snat_nla_string(name, attr, IPVS_SNAT_NAME_MAX);
	for (c = name; *c; c++) {
		if (!isascii(*c) || (!isalnum(*c) && !strchr("._/:-", *c)))
			return snat_refuse(extack, attr, -EINVAL,
					   "no such character in names");
	}
	if (!*name)
		return snat_refuse(extack, attr, -EINVAL, "the name is empty");
	return 0;
}

static int snat_parse_ifname(char *name, const struct nlattr *attr,
			     struct netlink_ext_ack *extack)
{
	if (!attr)
		return 0;
	ip_vs_snat_nla_string(name, attr, IFNAMSIZ);
	/* Tools say "any" for each of them */
	if (!dev_valid_name(name) || !strcmp(name, "any"))
		return snat_refuse(extack, attr, -EINVAL,
				   "no name of an interface");
	return 0;
}

static int snat_parse_net(u32 *net, u8 *len, const struct nlattr *net_attr,
			  const struct nlattr *len_attr,
			  struct netlink_ext_ack *extack)
{
	*net = ntohl(snat_get_be32(net_attr));
	*len = snat_get_u8(len_attr, 0);
	if (*len > 32)
		return snat_refuse(extack, len_attr, -ERANGE,
				   "a mask has 0 to 32 bits");
	if (*net & ~snat_mask(*len))
		return snat_refuse(extack, net_attr, -EINVAL,
				   "the network has bits beyond its mask");
	return 0;
}

static int snat_parse_neighbour(__be32 *addr, const struct nlattr *attr,
				struct netlink_ext_ack *extack)
{
	*addr = snat_get_be32(attr);
	if (attr && (!*addr || ipv4_is_multicast(*addr) ||
		     ipv4_is_lbcast(*addr) || ipv4_is_loopback(*addr)))
		return snat_refuse(extack, attr, -EINVAL,
				   "no address of a gateway");
	return 0;
}

/* Pools */

static int snat_parse_blocks(struct snat_pool_spec *spec, struct nlattr **tb,
			     struct netlink_ext_ack *extack)
{
	const struct nlattr *limit = tb[IPVS_SNAT_POOL_HOST_BLOCKS];
	const struct nlattr *size = tb[IPVS_SNAT_POOL_BLOCK_SIZE];

	spec->block_size = snat_get_u16(size, 0);
	if (!spec->block_size)
		return limit ? snat_refuse(extack, limit, -EINVAL,
					   "there are no blocks") : 0;
	if (!is_power_of_2(spec->block_size) ||
	    spec->block_size < SNAT_MIN_BLOCK_SIZE ||
	    spec->block_size > SNAT_MAX_BLOCK_SIZE)
		return snat_refuse(extack, size, -ERANGE,
				   "a block is a power of 2 from 128 to 16384");
	if (!spec->port_min) {
		spec->port_min = 1024;
		spec->port_max = 65535;
	}
	if (!snat_pool_num_blocks(spec))
		return snat_refuse(extack, size, -EINVAL,
				   "the ports are less than a block");
	spec->host_blocks = snat_get_u32(limit, SNAT_DEF_HOST_BLOCKS);
	if (!spec->host_blocks || spec->host_blocks > SNAT_MAX_HOST_BLOCKS)
		return snat_refuse(extack, limit, -ERANGE,
				   "a host gets 1 to 64 blocks");
	return 0;
}

/**
 * snat_parse_pool - what a message says about a pool
 * @info:	the message
 * @spec:	set to it
 *
 * Return: 0 or a negative error, as for all that follows.
 */
int snat_parse_pool(struct genl_info *info, struct snat_pool_spec *spec)
{
	struct netlink_ext_ack *extack = ip_vs_snat_extack(info);
	struct nlattr *tb[IPVS_SNAT_POOL_MAX + 1];
	int ret;

	memset(spec, 0, sizeof(*spec));
	ret = snat_parse(tb, IPVS_SNAT_POOL_MAX, info, IPVS_SNAT_ATTR_POOL,
			 snat_pool_policy);
	if (!ret)
		ret = snat_parse_name(spec->name, tb[IPVS_SNAT_POOL_NAME],
				      extack);
	if (ret)
		return ret;
	spec->algo = snat_get_u32(tb[IPVS_SNAT_POOL_ALGO], IPVS_SNAT_ALGO_RR);
	if (spec->algo > IPVS_SNAT_ALGO_MAX)
		return snat_refuse(extack, tb[IPVS_SNAT_POOL_ALGO], -EINVAL,
				   "no such algorithm");
	spec->port_min = snat_get_u16(tb[IPVS_SNAT_POOL_PORT_MIN], 0);
	spec->port_max = snat_get_u16(tb[IPVS_SNAT_POOL_PORT_MAX], 0);
	if (!spec->port_min != !spec->port_max ||
	    spec->port_min > spec->port_max)
		return snat_refuse(extack, tb[IPVS_SNAT_POOL_PORT_MIN] ? :
				   tb[IPVS_SNAT_POOL_PORT_MAX], -EINVAL,
				   "no range of ports");
	spec->host_conns = snat_get_u32(tb[IPVS_SNAT_POOL_HOST_CONNS], 0);
	spec->flags = snat_get_u32(tb[IPVS_SNAT_POOL_FLAGS], 0);
	if (spec->flags & ~(IPVS_SNAT_POOL_F_PAIRED | IPVS_SNAT_POOL_F_LOG))
		return snat_refuse(extack, tb[IPVS_SNAT_POOL_FLAGS], -EINVAL,
				   "unknown flags");
	return snat_parse_blocks(spec, tb, extack);
}

/* Members */

/* Addresses that are no host's cannot be a source */
static bool snat_range_valid(const struct snat_range *range)
{
	return range->min <= range->max && range->min >= 0x01000000 &&
	       range->max < 0xe0000000 &&
	       (range->max < 0x7f000000 || range->min > 0x7fffffff);
}

/* What a message says about addresses of a pool */
int snat_parse_member(struct genl_info *info, char *pool,
		      struct snat_range *range)
{
	struct netlink_ext_ack *extack = ip_vs_snat_extack(info);
	struct nlattr *tb[IPVS_SNAT_MEMBER_MAX + 1];
	int ret;

	ret = snat_parse(tb, IPVS_SNAT_MEMBER_MAX, info, IPVS_SNAT_ATTR_MEMBER,
			 snat_member_policy);
	if (!ret)
		ret = snat_parse_name(pool, tb[IPVS_SNAT_MEMBER_POOL], extack);
	if (ret)
		return ret;
	range->min = ntohl(snat_get_be32(tb[IPVS_SNAT_MEMBER_ADDR_MIN]));
	range->max = tb[IPVS_SNAT_MEMBER_ADDR_MAX] ?
		     ntohl(nla_get_be32(tb[IPVS_SNAT_MEMBER_ADDR_MAX])) : range->min;
	if (!snat_range_valid(range))
		return snat_refuse(extack, tb[IPVS_SNAT_MEMBER_ADDR_MIN], -EINVAL,
				   "no range of addresses of hosts");
	range->weight = snat_get_u32(tb[IPVS_SNAT_MEMBER_WEIGHT], 1);
	if (range->weight > SNAT_MAX_WEIGHT)
		return snat_refuse(extack, tb[IPVS_SNAT_MEMBER_WEIGHT], -ERANGE,
				   "the weight is too large");
	return 0;
}

/* Rules */

static int snat_parse_ports(struct snat_rule_spec *spec, struct nlattr **tb,
			    struct netlink_ext_ack *extack)
{
	const struct nlattr *attr = tb[IPVS_SNAT_RULE_DPORT_MIN] ? :
				    tb[IPVS_SNAT_RULE_DPORT_MAX];

	spec->dport_min = snat_get_u16(tb[IPVS_SNAT_RULE_DPORT_MIN], 0);
	spec->dport_max = snat_get_u16(tb[IPVS_SNAT_RULE_DPORT_MAX],
				       spec->dport_min);
	if (!attr)
		return 0;
	if (spec->protocol != IPPROTO_TCP && spec->protocol != IPPROTO_UDP)
		return snat_refuse(extack, attr, -EINVAL,
				   "ports need TCP or UDP as the protocol");
	if (!spec->dport_min || spec->dport_min > spec->dport_max)
		return snat_refuse(extack, attr, -EINVAL, "no range of ports");
	return 0;
}

static int snat_parse_what(struct snat_rule_spec *spec, struct nlattr **tb,
			   struct netlink_ext_ack *extack)
{
	int ret;

	spec->protocol = snat_get_u8(tb[IPVS_SNAT_RULE_PROTO], 0);
	switch (spec->protocol) {
	case 0:
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_ICMP:
		break;
	default:
		return snat_refuse(extack, tb[IPVS_SNAT_RULE_PROTO], -EINVAL,
				   "the protocol is TCP, UDP, ICMP, or 0");
	}
	ret = snat_parse_ports(spec, tb, extack);
	if (ret)
		return ret;
	spec->mark = snat_get_u32(tb[IPVS_SNAT_RULE_MARK], 0);
	spec->mark_mask = snat_get_u32(tb[IPVS_SNAT_RULE_MARK_MASK],
				       tb[IPVS_SNAT_RULE_MARK] ? ~0U : 0);
	if (spec->mark & ~spec->mark_mask)
		return snat_refuse(extack, tb[IPVS_SNAT_RULE_MARK], -EINVAL,
				   "the mark has bits beyond its mask");
	return 0;
}

static int snat_parse_where(struct snat_rule_spec *spec, struct nlattr **tb,
			    struct netlink_ext_ack *extack)
{
	int ret;

	ret = snat_parse_net(&spec->src, &spec->src_len,
			     tb[IPVS_SNAT_RULE_SRC], tb[IPVS_SNAT_RULE_SRC_LEN],
			     extack);
	if (!ret)
		ret = snat_parse_net(&spec->dst, &spec->dst_len,
				     tb[IPVS_SNAT_RULE_DST],
				     tb[IPVS_SNAT_RULE_DST_LEN], extack);
	if (!ret)
		ret = snat_parse_ifname(spec->iif, tb[IPVS_SNAT_RULE_IIF],
					extack);
	if (!ret)
		ret = snat_parse_ifname(spec->oif, tb[IPVS_SNAT_RULE_OIF],
					extack);
	if (!ret)
		ret = snat_parse_neighbour(&spec->gw, tb[IPVS_SNAT_RULE_GW],
					   extack);
	return ret;
}

static int snat_parse_action(struct snat_rule_spec *spec, struct nlattr **tb,
			     struct netlink_ext_ack *extack)
{
	spec->action = snat_get_u32(tb[IPVS_SNAT_RULE_ACTION],
				    IPVS_SNAT_ACTION_SNAT);
	if (spec->action > IPVS_SNAT_ACTION_MAX)
		return snat_refuse(extack, tb[IPVS_SNAT_RULE_ACTION], -EINVAL,
				   "no such action");
	if (spec->action == IPVS_SNAT_ACTION_SNAT) {
		int ret = snat_parse_neighbour(&spec->new_gw,
					       tb[IPVS_SNAT_RULE_NEW_GW],
					       extack);

		return ret ? : snat_parse_name(spec->pool,
					       tb[IPVS_SNAT_RULE_POOL], extack);
	}
	if (tb[IPVS_SNAT_RULE_POOL] || tb[IPVS_SNAT_RULE_NEW_GW])
		return snat_refuse(extack, tb[IPVS_SNAT_RULE_POOL] ? :
				   tb[IPVS_SNAT_RULE_NEW_GW], -EINVAL,
				   "only for rules that translate");
	return 0;
}

/* A zone is its source network */
static bool snat_is_zone(const struct snat_rule_spec *spec)
{
	return spec->action == IPVS_SNAT_ACTION_SNAT && !spec->dst_len &&
	       !spec->protocol && !spec->mark_mask && !spec->gw &&
	       !spec->new_gw && !*spec->iif && !*spec->oif;
}

/* What a message says about a rule */
int snat_parse_rule(struct genl_info *info, struct snat_rule_spec *spec)
{
	struct netlink_ext_ack *extack = ip_vs_snat_extack(info);
	struct nlattr *tb[IPVS_SNAT_RULE_MAX + 1];
	int ret;

	memset(spec, 0, sizeof(*spec));
	ret = snat_parse(tb, IPVS_SNAT_RULE_MAX, info, IPVS_SNAT_ATTR_RULE,
			 snat_rule_policy);
	if (ret)
		return ret;
	spec->id = snat_get_u32(tb[IPVS_SNAT_RULE_ID], 0);
	spec->priority = snat_get_u32(tb[IPVS_SNAT_RULE_PRIORITY],
				      IPVS_SNAT_PRIORITY_DEFAULT);
	spec->flags = snat_get_u32(tb[IPVS_SNAT_RULE_FLAGS], 0);
	if (spec->flags & ~IPVS_SNAT_RULE_F_ZONE)
		return snat_refuse(extack, tb[IPVS_SNAT_RULE_FLAGS], -EINVAL,
				   "unknown flags");
	ret = snat_parse_where(spec, tb, extack);
	if (!ret)
		ret = snat_parse_what(spec, tb, extack);
	if (!ret)
		ret = snat_parse_action(spec, tb, extack);
	if (!ret && spec->flags & IPVS_SNAT_RULE_F_ZONE && !snat_is_zone(spec))
		return snat_refuse(extack, tb[IPVS_SNAT_RULE_FLAGS], -EINVAL,
				   "a zone asks for the source only");
	return ret;
}

/* Which rule a message is about */
int snat_parse_rule_id(struct genl_info *info, u32 *id)
{
	struct nlattr *tb[IPVS_SNAT_RULE_MAX + 1];
	int ret;

	ret = snat_parse(tb, IPVS_SNAT_RULE_MAX, info, IPVS_SNAT_ATTR_RULE,
			 snat_rule_policy);
	if (!ret)
		*id = snat_get_u32(tb[IPVS_SNAT_RULE_ID], 0);
	return ret;
}

/* Filters */

/**
 * snat_parse_conn_filter - what connections have to match
 * @filter:	set
 * @attr:	IPVS_SNAT_ATTR_CONN or NULL
 * @extack:	says what is wrong
 *
 * Return: 0 or a negative error.
 */
int snat_parse_conn_filter(struct snat_conn_filter *filter,
			   const struct nlattr *attr,
			   struct netlink_ext_ack *extack)
{
	struct nlattr *tb[IPVS_SNAT_CONN_MAX + 1];
	int ret;
	u8 len;

	memset(filter, 0, sizeof(*filter));
	if (!attr)
		return 0;
	ret = ip_vs_snat_parse_nested(tb, IPVS_SNAT_CONN_MAX, attr,
				      snat_conn_policy, extack);
	if (ret)
		return ret;
	len = snat_get_u8(tb[IPVS_SNAT_CONN_INSIDE_LEN],
			  tb[IPVS_SNAT_CONN_INSIDE] ? 32 : 0);
	if (len > 32)
		return snat_refuse(extack, tb[IPVS_SNAT_CONN_INSIDE_LEN],
				   -ERANGE, "a mask has 0 to 32 bits");
	filter->mask = snat_mask(len);
	filter->inside = ntohl(snat_get_be32(tb[IPVS_SNAT_CONN_INSIDE])) &
			 filter->mask;
	filter->rule = snat_get_u32(tb[IPVS_SNAT_CONN_RULE], 0);
	if (tb[IPVS_SNAT_CONN_RULE] && !filter->rule)
		return snat_refuse(extack, tb[IPVS_SNAT_CONN_RULE], -EINVAL,
				   "no rule has ID 0");
	filter->any = !tb[IPVS_SNAT_CONN_INSIDE] && !tb[IPVS_SNAT_CONN_RULE] &&
		      !tb[IPVS_SNAT_CONN_POOL];
	if (tb[IPVS_SNAT_CONN_POOL])
		ret = snat_parse_name(filter->pool, tb[IPVS_SNAT_CONN_POOL],
				      extack);
	return ret;
}

/**
 * snat_parse_pool_filter - the pool that is asked for
 * @name:	set to its name, or to an empty one for all
 * @attrs:	of the message
 * @extack:	says what is wrong
 *
 * Return: 0 or a negative error.
 */
int snat_parse_pool_filter(char *name, struct nlattr **attrs,
			   struct netlink_ext_ack *extack)
{
	struct nlattr *member[IPVS_SNAT_MEMBER_MAX + 1];
	struct nlattr *pool[IPVS_SNAT_POOL_MAX + 1];
	struct nlattr *attr = NULL;
	int ret = 0;

	*name = '\0';
	if (attrs && attrs[IPVS_SNAT_ATTR_MEMBER]) {
		ret = ip_vs_snat_parse_nested(member, IPVS_SNAT_MEMBER_MAX,
					      attrs[IPVS_SNAT_ATTR_MEMBER],
					      snat_member_policy, extack);
		attr = ret ? NULL : member[IPVS_SNAT_MEMBER_POOL];
	} else if (attrs && attrs[IPVS_SNAT_ATTR_POOL]) {
		ret = ip_vs_snat_parse_nested(pool, IPVS_SNAT_POOL_MAX,
					      attrs[IPVS_SNAT_ATTR_POOL],
					      snat_pool_policy, extack);
		attr = ret ? NULL : pool[IPVS_SNAT_POOL_NAME];
	}
	return attr ? snat_parse_name(name, attr, extack) : ret;
}

/**
 * snat_parse_rule_filter - the rule that is asked for
 * @id:		set to its ID, or to 0 for all
 * @attrs:	of the message
 * @extack:	says what is wrong
 *
 * Return: 0 or a negative error.
 */
int snat_parse_rule_filter(u32 *id, struct nlattr **attrs,
			   struct netlink_ext_ack *extack)
{
	struct nlattr *tb[IPVS_SNAT_RULE_MAX + 1];
	int ret;

	*id = 0;
	if (!attrs || !attrs[IPVS_SNAT_ATTR_RULE])
		return 0;
	ret = ip_vs_snat_parse_nested(tb, IPVS_SNAT_RULE_MAX,
				      attrs[IPVS_SNAT_ATTR_RULE],
				      snat_rule_policy, extack);
	if (!ret)
		*id = snat_get_u32(tb[IPVS_SNAT_RULE_ID], 0);
	return ret;
}

