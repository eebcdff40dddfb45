// SPDX-License-Identifier: GPL-2.0-or-later
/* IP Virtual Server: settings and counters of SNAT, setting up */

#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/sysctl.h>

#include "ip_vs_snat_config.h"

/* /proc/net/ip_vs_snat, /proc/net/ip_vs_snat_pool */

#ifdef CONFIG_PROC_FS
static const char *const snat_counter_names[SNAT_CTR_MAX] = {
	[SNAT_CTR_CREATED]		= "created",
	[SNAT_CTR_PORT_CONFLICTS]	= "port_conflicts",
	[SNAT_CTR_NEXT_ADDRESS]		= "next_address",
	[SNAT_CTR_EXHAUSTED]		= "exhausted",
	[SNAT_CTR_BLOCKS_TAKEN]		= "blocks_taken",
	[SNAT_CTR_NO_BLOCK]		= "no_block",
	[SNAT_CTR_LIMIT_BLOCKS]		= "limit_blocks",
	[SNAT_CTR_LIMIT_CONNS]		= "limit_conns",
	[SNAT_CTR_LIMIT_HOST]		= "limit_host",
	[SNAT_CTR_EARLY_DROP]		= "early_drop",
	[SNAT_CTR_YIELD_OWN]		= "yield_own",
	[SNAT_CTR_YIELD_SERVICE]	= "yield_service",
	[SNAT_CTR_RST_IGNORED]		= "rst_ignored",
	[SNAT_CTR_DROP_NO_CONN]		= "drop_no_conn",
	[SNAT_CTR_DROP_NO_POOL]		= "drop_no_pool",
	[SNAT_CTR_DROP_RULE]		= "drop_rule",
	[SNAT_CTR_DROP_NO_WAY]		= "drop_no_way",
	[SNAT_CTR_DROP_POOL_GONE]	= "drop_pool_gone",
	[SNAT_CTR_DROP_UNSOLICITED]	= "drop_unsolicited",
	[SNAT_CTR_DROP_ICMP_ERROR]	= "drop_icmp_error",
	[SNAT_CTR_DROP_OTHER]		= "drop_other",
	[SNAT_CTR_OUT_OF_SCOPE]		= "out_of_scope",
	[SNAT_CTR_LATE_REPLY]		= "late_reply",
	[SNAT_CTR_ICMP_ERRORS_OUT]	= "icmp_errors_out",
	[SNAT_CTR_ICMP_ERRORS_IN]	= "icmp_errors_in",
	[SNAT_CTR_FAST_OUT]		= "fast_out",
	[SNAT_CTR_FAST_IN]		= "fast_in",
	[SNAT_CTR_GROWN]		= "grown",
};

static int snat_counters_show(struct seq_file *seq, void *v)
{
	struct netns_ipvs *ipvs = ip_vs_snat_seq_ipvs(seq);
	int i, cpu;

	seq_printf(seq, "conns %d\n", atomic_read(&ipvs->snat->conns));
	seq_printf(seq, "unanswered %d\n",
		   atomic_read(&ipvs->snat->unanswered));
	seq_printf(seq, "port_maps %d\n", atomic_read(&ipvs->snat->num_hot));
	for (i = 0; i < SNAT_CTR_MAX; i++) {
		unsigned long sum = 0;

		for_each_possible_cpu(cpu)
			sum += per_cpu_ptr(ipvs->snat->counters, cpu)->value[i];
		seq_printf(seq, "%s %lu\n", snat_counter_names[i], sum);
	}
	return 0;
}

static void snat_pool_show_service(struct seq_file *seq,
				   struct netns_ipvs *ipvs, u16 protocol)
{
	struct ip_vs_service *svc = ip_vs_snat_service_get(ipvs, protocol);
	struct ip_vs_dest *dest;
	unsigned int left;

	if (!svc)
		return;
	left = READ_ONCE(svc->num_dests);
	list_for_each_entry_rcu(dest, &svc->destinations, n_list) {
		/* See snat_scope_fill() */
		if (!left--)
			break;
		if (!ip_vs_snat_dest_is_pool(dest))
			continue;
		seq_printf(seq, "%s %pI4 %d %d %d %u %u\n",
			   ip_vs_proto_name(protocol), &dest->addr.ip,
			   atomic_read(&dest->weight),
			   atomic_read(&dest->activeconns),
			   ip_vs_dest_inactconns(dest),
			   atomic_read(&dest->snat_conflicts),
			   atomic_read(&dest->snat_exhausted));
	}
	ip_vs_snat_service_put(svc);
}

static int snat_pool_show(struct seq_file *seq, void *v)
{
	struct netns_ipvs *ipvs = ip_vs_snat_seq_ipvs(seq);

	seq_puts(seq, "Prot Address Weight Active Inactive Conflicts Exhausted\n");
	rcu_read_lock_bh();
	snat_pool_show_service(seq, ipvs, IPPROTO_TCP);
	snat_pool_show_service(seq, ipvs, IPPROTO_UDP);
	rcu_read_unlock_bh();
	return 0;
}

static int __net_init snat_proc_init(struct netns_ipvs *ipvs)
{
	if (!ip_vs_snat_proc_create(ipvs, "ip_vs_snat", snat_counters_show))
		return -ENOMEM;
	if (!ip_vs_snat_proc_create(ipvs, "ip_vs_snat_pool", snat_pool_show)) {
		remove_proc_entry("ip_vs_snat", ipvs->net->proc_net);
		return -ENOMEM;
	}
	return 0;
}

static void __net_exit snat_proc_cleanup(struct netns_ipvs *ipvs)
{
	remove_proc_entry("ip_vs_snat_pool", ipvs->net->proc_net);
	remove_proc_entry("ip_vs_snat", ipvs->net->proc_net);
}
#else
static int __net_init snat_proc_init(struct netns_ipvs *ipvs) { return 0; }
static void __net_exit snat_proc_cleanup(struct netns_ipvs *ipvs) { }
#endif

/* Settings */

#ifdef CONFIG_SYSCTL
static int snat_do_port_range(ip_vs_snat_ctl_table *table, int write,
			      ip_vs_snat_sysctl_buf buffer, size_t *lenp,
			      loff_t *ppos)
{
	u32 range = READ_ONCE(*(u32 *)table->data);
	int ports[2] = { range >> 16, range & 0xffff };
	int min = 1, max = 0xffff, ret;
	struct ctl_table tmp = {
		.data		= ports,
		.maxlen		= sizeof(ports),
		.mode		= table->mode,
		.extra1		= &min,
		.extra2		= &max,
	};

	ret = proc_dointvec_minmax(&tmp, write, buffer, lenp, ppos);
	if (!write || ret)
		return ret;
	if (ports[0] > ports[1])
		return -EINVAL;
	WRITE_ONCE(*(u32 *)table->data, (u32)ports[0] << 16 | ports[1]);
	snat_hot_flush(table->extra1);
	return 0;
}

static int snat_do_seconds(ip_vs_snat_ctl_table *table, int write,
			   ip_vs_snat_sysctl_buf buffer, size_t *lenp,
			   loff_t *ppos, int min)
{
	int secs = READ_ONCE(*(int *)table->data) / HZ;
	int max = INT_MAX / HZ, ret;
	struct ctl_table tmp = {
		.data		= &secs,
		.maxlen		= sizeof(secs),
		.mode		= table->mode,
		.extra1		= &min,
		.extra2		= &max,
	};

	ret = proc_dointvec_minmax(&tmp, write, buffer, lenp, ppos);
	if (write && !ret)
		WRITE_ONCE(*(int *)table->data, secs * HZ);
	return ret;
}

static int snat_do_timeout(ip_vs_snat_ctl_table *table, int write,
			   ip_vs_snat_sysctl_buf buffer, size_t *lenp,
			   loff_t *ppos)
{
	return snat_do_seconds(table, write, buffer, lenp, ppos, 1);
}

static int snat_do_rest(ip_vs_snat_ctl_table *table, int write,
			ip_vs_snat_sysctl_buf buffer, size_t *lenp,
			loff_t *ppos)
{
	return snat_do_seconds(table, write, buffer, lenp, ppos, 0);
}

#ifdef IP_VS_SNAT_FASTPATH
static int snat_do_fastpath(ip_vs_snat_ctl_table *table, int write,
			    ip_vs_snat_sysctl_buf buffer, size_t *lenp,
			    loff_t *ppos)
{
	int ret = snat_do_seconds(table, write, buffer, lenp, ppos, 0);

	return write && !ret ? snat_fast_update(table->extra1) : ret;
}
#endif

static int snat_int_min = 1;
static int snat_int_zero;
static int snat_int_one = 1;

/* What a setting is, and where it has its value */
struct snat_var {
	const char	*name;
	proc_handler	*handler;
	size_t		offset;
	int		*min;
	int		*max;
};

#define SNAT_VAR(_name, _field, _handler, _min, _max)			\
	{								\
		.name = _name,						\
		.handler = _handler,					\
		.offset = offsetof(struct snat_settings, _field),	\
		.min = _min,						\
		.max = _max,						\
	}

static const struct snat_var snat_vars[] = {
	SNAT_VAR("snat_port_range", port_range, snat_do_port_range, NULL, NULL),
	SNAT_VAR("snat_tcp_timeout", tcp_timeout, snat_do_timeout, NULL, NULL),
	SNAT_VAR("snat_tcp_transitory_timeout", tcp_transitory_timeout,
		 snat_do_timeout, NULL, NULL),
	SNAT_VAR("snat_udp_timeout", udp_timeout, snat_do_timeout, NULL, NULL),
	SNAT_VAR("snat_udp_unanswered_timeout", udp_unanswered_timeout,
		 snat_do_timeout, NULL, NULL),
	SNAT_VAR("snat_icmp_timeout", icmp_timeout, snat_do_timeout, NULL, NULL),
	SNAT_VAR("snat_max_conns", max_conns, proc_dointvec_minmax,
		 &snat_int_min, NULL),
	SNAT_VAR("snat_max_conns_per_host", max_conns_per_host,
		 proc_dointvec_minmax, &snat_int_zero, NULL),
	SNAT_VAR("snat_block_rest", block_rest, snat_do_rest, NULL, NULL),
	SNAT_VAR("snat_one_armed", one_armed, proc_dointvec_minmax,
		 &snat_int_zero, &snat_int_one),
#ifdef IP_VS_SNAT_FASTPATH
	SNAT_VAR("snat_fastpath", fastpath, snat_do_fastpath, NULL, NULL),
#endif
};

static int __net_init snat_sysctl_init(struct netns_ipvs *ipvs)
{
	struct ip_vs_snat *snat = ipvs->snat;
	struct ctl_table *tbl;
	int i;

	/* One more ends the table */
	tbl = kcalloc(ARRAY_SIZE(snat_vars) + 1, sizeof(*tbl), GFP_KERNEL);
	if (!tbl)
		return -ENOMEM;

	for (i = 0; i < ARRAY_SIZE(snat_vars); i++) {
		const struct snat_var *var = &snat_vars[i];

		tbl[i].procname = var->name;
		tbl[i].data = (char *)&snat->set + var->offset;
		tbl[i].maxlen = sizeof(int);
		tbl[i].mode = 0644;
		tbl[i].proc_handler = var->handler;
		tbl[i].extra1 = var->min;
		tbl[i].extra2 = var->max;
		/* What depends on the ports is found by this */
		if (var->handler == snat_do_port_range)
			tbl[i].extra1 = snat;
#ifdef IP_VS_SNAT_FASTPATH
		if (var->handler == snat_do_fastpath)
			tbl[i].extra1 = ipvs;
#endif
	}

	snat->sysctl_hdr = ip_vs_snat_register_sysctl(ipvs, tbl, i);
	if (!snat->sysctl_hdr) {
		kfree(tbl);
		return -ENOMEM;
	}
	snat->sysctl_tbl = tbl;
	return 0;
}

static void __net_exit snat_sysctl_cleanup(struct netns_ipvs *ipvs)
{
	unregister_sysctl_table(ipvs->snat->sysctl_hdr);
	kfree(ipvs->snat->sysctl_tbl);
}
#else
static int __net_init snat_sysctl_init(struct netns_ipvs *ipvs) { return 0; }
static void __net_exit snat_sysctl_cleanup(struct netns_ipvs *ipvs) { }
#endif

static void snat_settings_init(struct netns_ipvs *ipvs,
			       struct snat_settings *set)
{
	set->tcp_timeout = (2 * 60 + 4) * 60 * HZ;
	set->tcp_transitory_timeout = 4 * 60 * HZ;
	set->udp_timeout = 5 * 60 * HZ;
	set->udp_unanswered_timeout = 30 * HZ;
	set->icmp_timeout = 60 * HZ;
	set->max_conns = snat_default_max_conns(ipvs);
	set->max_conns_per_host = set->max_conns / 4;
	set->block_rest = 2 * 60 * HZ;
	set->port_range = 1024 << 16 | 65535;
}

/**
 * ip_vs_snat_net_init - set up the engine in a network namespace
 * @ipvs:	the namespace
 *
 * What takes memory comes when it's needed.
 *
 * Return: 0 or a negative error.
 */
int __net_init ip_vs_snat_net_init(struct netns_ipvs *ipvs)
{
	struct ip_vs_snat *snat;

	snat = kzalloc(sizeof(*snat), GFP_KERNEL);
	if (!snat)
		return -ENOMEM;
	snat->counters = alloc_percpu(struct snat_counters);
	if (!snat->counters)
		goto err_counters;
	snat_settings_init(ipvs, &snat->set);
	spin_lock_init(&snat->scope_lock);
	spin_lock_init(&snat->hot_lock);
	snat->hot_swept = jiffies - SNAT_HOT_SWEEP;
	spin_lock_init(&snat->block_lock);
	spin_lock_init(&snat->event_lock);
	snat_config_init(snat);
	snat_hash_init(snat);
	snat_tabs_prepare(snat);
	snat_wheel_prepare(snat);
	snat_fast_init(snat);
	snat_nl_init(snat);

	ipvs->snat = snat;
	if (snat_proc_init(ipvs))
		goto err_proc;
	if (snat_sysctl_init(ipvs))
		goto err_sysctl;
	return 0;

err_sysctl:
	snat_proc_cleanup(ipvs);
err_proc:
	ipvs->snat = NULL;
	free_percpu(snat->counters);
err_counters:
	kfree(snat);
	return -ENOMEM;
}

/**
 * snat_enable - let packets come
 * @ipvs:	the network namespace, under config_lock
 *
 * The tables and hooks that are made now stay until the end, because packets of
 * connections must be met as long as there are any. Tables do so even if the hooks fail:
 * who has seen the namespace ready for a moment may be going through them.
 *
 * Return: 0 or a negative error.
 */
int snat_enable(struct netns_ipvs *ipvs)
{
	int ret = 0;

	if (ip_vs_snat_enabled(ipvs))
		return 0;
	if (!ipvs->snat->addr_tab)
		ret = snat_conn_init_net(ipvs);
	if (ret)
		return ret;
	ip_vs_snat_sum_traffic(ipvs);
	/* Who sees that has to see the tables as well, and hooks stay once it's
	 * seen
	 */
	smp_store_release(&ipvs->snat_enabled, true);
	ret = snat_hook_register(ipvs);
	if (ret)
		WRITE_ONCE(ipvs->snat_enabled, false);
	return ret;
}

/**
 * __ip_vs_snat_service_prepare - a service with a pool is going to be added
 * @ipvs:	the network namespace
 *
 * Return: 0 or a negative error.
 */
int __ip_vs_snat_service_prepare(struct netns_ipvs *ipvs)
{
	struct ip_vs_snat *snat = ipvs->snat;
	int ret;

	mutex_lock(&snat->config_lock);
	ret = snat_enable(ipvs);
	mutex_unlock(&snat->config_lock);
	return ret;
}

/**
 * ip_vs_snat_net_disable - let no more packets come
 * @ipvs:	the network namespace, it's about to end
 */
void __net_exit ip_vs_snat_net_disable(struct netns_ipvs *ipvs)
{
	struct ip_vs_snat *snat = ipvs->snat;

	snat_fast_stop(ipvs);
	mutex_lock(&snat->config_lock);
	if (ip_vs_snat_enabled(ipvs)) {
		snat_hook_unregister(ipvs);
		WRITE_ONCE(ipvs->snat_enabled, false);
	}
	mutex_unlock(&snat->config_lock);
}

/**
 * ip_vs_snat_net_cleanup - the opposite of ip_vs_snat_net_init()
 * @ipvs:	the namespace, it has no hooks, connections and destinations any
 *		more
 */
void __net_exit ip_vs_snat_net_cleanup(struct netns_ipvs *ipvs)
{
	struct ip_vs_snat *snat = ipvs->snat;
	int i;

	snat_sysctl_cleanup(ipvs);
	/* Somebody may have set it although the namespace was never ready */
	snat_fast_stop(ipvs);
	snat_proc_cleanup(ipvs);
	snat_nl_cleanup(snat);
	snat_config_cleanup(ipvs);
	snat_hot_flush(snat);
	for (i = 0; i < SNAT_SVC_MAX; i++)
		kfree(rcu_dereference_protected(snat->scope[i], 1));
	snat_conn_cleanup_net(snat);
	snat_fast_cleanup(snat);
	free_percpu(snat->counters);
	kfree(snat);
	ipvs->snat = NULL;
}
