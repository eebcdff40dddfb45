/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/* IP Virtual Server: configuration of source NAT by generic netlink.
 *
 * Addresses and network masks are in network byte order, as NLA_BE32; all other
 * numbers are in the byte order of the host. Numbers that count are NLA_U64.
 * Attributes that a request doesn't have stand for 0 unless something else is
 * said. Unknown attributes are refused.
 */

#ifndef _UAPI_LINUX_IP_VS_SNAT_H
#define _UAPI_LINUX_IP_VS_SNAT_H

#define IPVS_SNAT_GENL_NAME	"IPVS_SNAT"
#define IPVS_SNAT_GENL_VERSION	1

/* Multicast group: each change is told, as the command with what has been set. An
 * IPVS_SNAT_CMD_COMMIT ends the messages of one change. If it comes alone, there was
 * too much to tell.
 */
#define IPVS_SNAT_MCGRP_CONFIG	"config"

/* Multicast group: IPVS_SNAT_CMD_EVENT, for each block of ports that a host gets and
 * gives back, and for each connection of pools with IPVS_SNAT_POOL_F_LOG
 */
#define IPVS_SNAT_MCGRP_EVENTS	"events"

/* With the NUL. Of letters, digits, and . _ / : - */
#define IPVS_SNAT_NAME_MAX	32
/* Interfaces: IFNAMSIZ */
#define IPVS_SNAT_IFNAME_MAX	16

#define IPVS_SNAT_PRIORITY_DEFAULT	1000

/* Commands. All of them need CAP_NET_ADMIN in the user namespace of the network
 * namespace.
 *
 * What a socket sends from BEGIN to COMMIT takes effect at once with COMMIT, or not
 * at all. Each message is checked when it comes; once one is refused, COMMIT fails
 * with ECANCELED. What generic netlink itself does not let through, such as an unknown
 * attribute, is not noticed here: who gets an error for it has to send ABORT. COMMIT
 * fails with EAGAIN if someone else has changed something since BEGIN: read again and
 * start anew. Closing the socket, or ABORT, forgets all. A message outside of BEGIN
 * and COMMIT is a change of its own.
 *
 * Errors: EEXIST, ENOENT (object, or the pool of a rule), EBUSY (a rule needs the
 * pool; or BEGIN with too many open), EINVAL, ERANGE, ENOSPC (too many rules, pools,
 * or addresses), ENOMEM.
 */
enum {
	IPVS_SNAT_CMD_UNSPEC,

	IPVS_SNAT_CMD_BEGIN,
	IPVS_SNAT_CMD_COMMIT,
	IPVS_SNAT_CMD_ABORT,
	IPVS_SNAT_CMD_FLUSH,		/* rules, pools and their members */

	/* IPVS_SNAT_ATTR_POOL. SET replaces all settings, members stay. DEL takes
	 * the members along.
	 */
	IPVS_SNAT_CMD_NEW_POOL,
	IPVS_SNAT_CMD_SET_POOL,
	IPVS_SNAT_CMD_DEL_POOL,
	IPVS_SNAT_CMD_GET_POOL,		/* dump, or of one NAME */

	/* IPVS_SNAT_ATTR_MEMBER. NEW refuses addresses that the pool has. SET
	 * changes the weight of addresses, DEL takes them away: of any part of what
	 * was added, as long as all of them are there.
	 */
	IPVS_SNAT_CMD_NEW_MEMBER,
	IPVS_SNAT_CMD_SET_MEMBER,
	IPVS_SNAT_CMD_DEL_MEMBER,
	IPVS_SNAT_CMD_GET_MEMBER,	/* dump of ranges, of all or one POOL */
	IPVS_SNAT_CMD_GET_ADDR,		/* dump of addresses (MIN == MAX) */

	/* IPVS_SNAT_ATTR_RULE. SET replaces the rule with this ID. */
	IPVS_SNAT_CMD_NEW_RULE,
	IPVS_SNAT_CMD_SET_RULE,
	IPVS_SNAT_CMD_DEL_RULE,		/* by ID */
	IPVS_SNAT_CMD_GET_RULE,		/* dump in the order of matching, or one ID */

	/* IPVS_SNAT_ATTR_CONN. DEL ends connections, and answers with the same
	 * command and IPVS_SNAT_ATTR_COUNT. Both take what a connection has to match:
	 * nothing but INSIDE, POOL and RULE, and all of what is given. DEL needs one
	 * of them.
	 */
	IPVS_SNAT_CMD_GET_CONN,		/* dump */
	IPVS_SNAT_CMD_DEL_CONN,

	/* Set all counters of rules and addresses to zero, of ATTR_RULE's ID or
	 * ATTR_POOL's NAME if there is one
	 */
	IPVS_SNAT_CMD_ZERO,

	/* IPVS_SNAT_ATTR_BLOCK: dump of the blocks of ports that are in use. It takes
	 * IPVS_SNAT_ATTR_CONN's INSIDE and POOL.
	 */
	IPVS_SNAT_CMD_GET_BLOCK,

	/* From the kernel only: IPVS_SNAT_ATTR_EVENT, and ATTR_BLOCK or ATTR_CONN */
	IPVS_SNAT_CMD_EVENT,

	__IPVS_SNAT_CMD_MAX,
};

#define IPVS_SNAT_CMD_MAX	(__IPVS_SNAT_CMD_MAX - 1)

/* Attributes of messages */
enum {
	IPVS_SNAT_ATTR_UNSPEC,
	IPVS_SNAT_ATTR_POOL,		/* nested IPVS_SNAT_POOL_* */
	IPVS_SNAT_ATTR_MEMBER,		/* nested IPVS_SNAT_MEMBER_* */
	IPVS_SNAT_ATTR_RULE,		/* nested IPVS_SNAT_RULE_* */
	IPVS_SNAT_ATTR_CONN,		/* nested IPVS_SNAT_CONN_* */
	IPVS_SNAT_ATTR_COUNT,		/* u32 */
	IPVS_SNAT_ATTR_BLOCK,		/* nested IPVS_SNAT_BLOCK_* */
	IPVS_SNAT_ATTR_EVENT,		/* nested IPVS_SNAT_EVENT_* */
	__IPVS_SNAT_ATTR_MAX,
};

#define IPVS_SNAT_ATTR_MAX	(__IPVS_SNAT_ATTR_MAX - 1)

/* How a pool chooses an address for a new connection */
enum {
	IPVS_SNAT_ALGO_RR,		/* one after the other */
	IPVS_SNAT_ALGO_SH,		/* by source address */
	IPVS_SNAT_ALGO_SDH,		/* by source and destination address */
	IPVS_SNAT_ALGO_RANDOM,
	IPVS_SNAT_ALGO_WLC,		/* least connections for its weight */
	__IPVS_SNAT_ALGO_MAX,
};

#define IPVS_SNAT_ALGO_MAX	(__IPVS_SNAT_ALGO_MAX - 1)

/* An inside host that has connections gets the address that it had last, whatever
 * the algorithm
 */
#define IPVS_SNAT_POOL_F_PAIRED	0x1

/* Each connection is told as an event when it begins and when it ends */
#define IPVS_SNAT_POOL_F_LOG	0x2

enum {
	IPVS_SNAT_POOL_UNSPEC,
	IPVS_SNAT_POOL_NAME,		/* NUL string */
	IPVS_SNAT_POOL_ALGO,		/* u32 */
	IPVS_SNAT_POOL_PORT_MIN,	/* u16, 0: as net.ipv4.vs.snat_port_range */
	IPVS_SNAT_POOL_PORT_MAX,	/* u16 */
	IPVS_SNAT_POOL_HOST_CONNS,	/* u32, a host gets no more here once it
					 * has as many, by whatever pools;
					 * 0: net.ipv4.vs.snat_max_conns_per_host
					 */
	IPVS_SNAT_POOL_FLAGS,		/* u32, IPVS_SNAT_POOL_F_* */
	/* From the kernel only */
	IPVS_SNAT_POOL_ADDRS,		/* u32, addresses, with those that drain */
	IPVS_SNAT_POOL_STATS,		/* nested IPVS_SNAT_STATS_*, of all addresses */
	IPVS_SNAT_POOL_PAD,
	/* A host gets ports in blocks of as many, which nobody else gets meanwhile:
	 * a power of 2 from 128 to 16384, 0: no blocks. Without PORT_MIN, they are
	 * of 1024 to 65535.
	 */
	IPVS_SNAT_POOL_BLOCK_SIZE,	/* u16 */
	IPVS_SNAT_POOL_HOST_BLOCKS,	/* u32, how many a host gets, at most 64;
					 * 8 if it's not there
					 */
	/* From the kernel only */
	IPVS_SNAT_POOL_BLOCKS,		/* u32, of all addresses */
	IPVS_SNAT_POOL_BLOCKS_USED,	/* u32 */
	__IPVS_SNAT_POOL_MAX,
};

#define IPVS_SNAT_POOL_MAX	(__IPVS_SNAT_POOL_MAX - 1)

enum {
	IPVS_SNAT_MEMBER_UNSPEC,
	IPVS_SNAT_MEMBER_POOL,		/* NUL string, its name */
	IPVS_SNAT_MEMBER_ADDR_MIN,	/* be32 */
	IPVS_SNAT_MEMBER_ADDR_MAX,	/* be32, ADDR_MIN if it's not there */
	IPVS_SNAT_MEMBER_WEIGHT,	/* u32, 1 if it's not there; 0: no new
					 * connections
					 */
	/* From the kernel only */
	IPVS_SNAT_MEMBER_STATS,		/* nested IPVS_SNAT_STATS_* */
	IPVS_SNAT_MEMBER_PAD,
	__IPVS_SNAT_MEMBER_MAX,
};

#define IPVS_SNAT_MEMBER_MAX	(__IPVS_SNAT_MEMBER_MAX - 1)

enum {
	IPVS_SNAT_ACTION_SNAT,		/* translate to an address of POOL */
	IPVS_SNAT_ACTION_ACCEPT,	/* let it pass as it is */
	IPVS_SNAT_ACTION_DROP,
	__IPVS_SNAT_ACTION_MAX,
};

#define IPVS_SNAT_ACTION_MAX	(__IPVS_SNAT_ACTION_MAX - 1)

/* Made as a zone: a rule by source, with a pool of its own. Only for those who list
 * rules, the kernel treats it like any other.
 */
#define IPVS_SNAT_RULE_F_ZONE	0x1

/* A rule is about packets that belong to no connection yet and that go out. The
 * first rule counts that matches: by PRIORITY, the longest SRC_LEN, the longest
 * DST_LEN, the oldest. No match: as if there was no SNAT, or the service on
 * 0.0.0.0:0 if there is one.
 *
 * A packet goes out if it leaves by a device where the addresses of any pool are,
 * or would be, or that any rule names as OIF; a rule with an OIF, GW or DST_LEN of
 * its own says by itself what goes out. It must not come in by such a device;
 * again, a rule with an IIF says by itself where inside is.
 */
enum {
	IPVS_SNAT_RULE_UNSPEC,
	IPVS_SNAT_RULE_ID,		/* u32, > 0; NEW: chosen if it's not there */
	IPVS_SNAT_RULE_PRIORITY,	/* u32, IPVS_SNAT_PRIORITY_DEFAULT if it's
					 * not there; smaller ones come first
					 */
	IPVS_SNAT_RULE_SRC,		/* be32, no bits beyond SRC_LEN */
	IPVS_SNAT_RULE_SRC_LEN,		/* u8 */
	IPVS_SNAT_RULE_DST,		/* be32, no bits beyond DST_LEN */
	IPVS_SNAT_RULE_DST_LEN,		/* u8 */
	IPVS_SNAT_RULE_PROTO,		/* u8: TCP, UDP, ICMP (echo), 0: all three;
					 * a rule that drops is about all of ICMP,
					 * and with 0 about all protocols
					 */
	IPVS_SNAT_RULE_DPORT_MIN,	/* u16, for TCP and UDP */
	IPVS_SNAT_RULE_DPORT_MAX,	/* u16, DPORT_MIN if it's not there */
	IPVS_SNAT_RULE_IIF,		/* NUL string, it need not exist yet */
	IPVS_SNAT_RULE_OIF,		/* NUL string, it need not exist yet */
	IPVS_SNAT_RULE_GW,		/* be32, next hop of the packet's route */
	IPVS_SNAT_RULE_MARK,		/* u32 */
	IPVS_SNAT_RULE_MARK_MASK,	/* u32, 0xffffffff if it's not there and
					 * MARK is
					 */
	IPVS_SNAT_RULE_ACTION,		/* u32 */
	IPVS_SNAT_RULE_POOL,		/* NUL string, for IPVS_SNAT_ACTION_SNAT */
	IPVS_SNAT_RULE_NEW_GW,		/* be32, for IPVS_SNAT_ACTION_SNAT: send by
					 * this neighbour
					 */
	IPVS_SNAT_RULE_FLAGS,		/* u32, IPVS_SNAT_RULE_F_* */
	/* From the kernel only */
	IPVS_SNAT_RULE_STATS,		/* nested IPVS_SNAT_STATS_* */
	IPVS_SNAT_RULE_PAD,
	__IPVS_SNAT_RULE_MAX,
};

#define IPVS_SNAT_RULE_MAX	(__IPVS_SNAT_RULE_MAX - 1)

/* From the kernel only, all of them u64. Of a rule that accepts or drops, PKTS_OUT and
 * BYTES_OUT are what it has accepted or dropped.
 */
enum {
	IPVS_SNAT_STATS_UNSPEC,
	IPVS_SNAT_STATS_CONNS,		/* since the beginning */
	IPVS_SNAT_STATS_PKTS_OUT,
	IPVS_SNAT_STATS_BYTES_OUT,
	IPVS_SNAT_STATS_PKTS_IN,
	IPVS_SNAT_STATS_BYTES_IN,
	/* Of a rule: packets dropped */
	IPVS_SNAT_STATS_DROP_NO_PORT,	/* no free port in the pool */
	IPVS_SNAT_STATS_DROP_LIMIT,	/* of the inside host, or of all */
	IPVS_SNAT_STATS_DROP_EMPTY,	/* no address in the pool */
	/* Of addresses */
	IPVS_SNAT_STATS_ACTIVE,		/* established connections now */
	IPVS_SNAT_STATS_INACTIVE,	/* other connections now */
	IPVS_SNAT_STATS_PORT_CONFLICTS,	/* ports found in use */
	IPVS_SNAT_STATS_EXHAUSTED,	/* times that no port was free */
	IPVS_SNAT_STATS_PAD,
	/* Of a rule: packets dropped */
	IPVS_SNAT_STATS_DROP_NO_BLOCK,	/* no block of ports for the host */
	__IPVS_SNAT_STATS_MAX,
};

#define IPVS_SNAT_STATS_MAX	(__IPVS_SNAT_STATS_MAX - 1)

enum {
	IPVS_SNAT_CONN_UNSPEC,
	IPVS_SNAT_CONN_PROTO,		/* u8 */
	IPVS_SNAT_CONN_INSIDE,		/* be32 */
	IPVS_SNAT_CONN_INSIDE_PORT,	/* be16, the identifier of an echo */
	IPVS_SNAT_CONN_ADDR,		/* be32, of the pool */
	IPVS_SNAT_CONN_PORT,		/* be16 */
	IPVS_SNAT_CONN_REMOTE,		/* be32 */
	IPVS_SNAT_CONN_REMOTE_PORT,	/* be16, 0 of an echo */
	IPVS_SNAT_CONN_STATE,		/* NUL string */
	IPVS_SNAT_CONN_EXPIRES,		/* u32, seconds */
	IPVS_SNAT_CONN_RULE,		/* u32, ID; none if it has no rule */
	IPVS_SNAT_CONN_POOL,		/* NUL string; none if it has no rule */
	IPVS_SNAT_CONN_INSIDE_LEN,	/* u8, of INSIDE in a filter; 32 if it's not
					 * there
					 */
	__IPVS_SNAT_CONN_MAX,
};

#define IPVS_SNAT_CONN_MAX	(__IPVS_SNAT_CONN_MAX - 1)

/* A block of ports, of all protocols. From the kernel only. */
enum {
	IPVS_SNAT_BLOCK_UNSPEC,
	IPVS_SNAT_BLOCK_POOL,		/* NUL string */
	IPVS_SNAT_BLOCK_INSIDE,		/* be32, the host that has it */
	IPVS_SNAT_BLOCK_ADDR,		/* be32, of the pool */
	IPVS_SNAT_BLOCK_PORT_MIN,	/* u16 */
	IPVS_SNAT_BLOCK_PORT_MAX,	/* u16 */
	IPVS_SNAT_BLOCK_CONNS,		/* u32, connections now */
	IPVS_SNAT_BLOCK_AGE,		/* u32, seconds since it was taken */
	__IPVS_SNAT_BLOCK_MAX,
};

#define IPVS_SNAT_BLOCK_MAX	(__IPVS_SNAT_BLOCK_MAX - 1)

/* Kinds of events */
enum {
	IPVS_SNAT_EVENT_UNSPEC_KIND,
	IPVS_SNAT_EVENT_BLOCK_TAKEN,
	IPVS_SNAT_EVENT_BLOCK_FREED,
	IPVS_SNAT_EVENT_CONN_NEW,
	IPVS_SNAT_EVENT_CONN_END,
	__IPVS_SNAT_EVENT_KINDS,
};

#define IPVS_SNAT_EVENT_KIND_MAX	(__IPVS_SNAT_EVENT_KINDS - 1)

/* From the kernel only. Events of a namespace are numbered without a gap, whether
 * somebody listens or not: who misses numbers has lost as many events.
 */
enum {
	IPVS_SNAT_EVENT_UNSPEC,
	IPVS_SNAT_EVENT_KIND,		/* u32 */
	IPVS_SNAT_EVENT_SEQ,		/* u64, 1 is the first one */
	IPVS_SNAT_EVENT_TIME,		/* u64, nanoseconds since 1970 */
	IPVS_SNAT_EVENT_PAD,
	__IPVS_SNAT_EVENT_MAX,
};

#define IPVS_SNAT_EVENT_MAX	(__IPVS_SNAT_EVENT_MAX - 1)

#endif /* _UAPI_LINUX_IP_VS_SNAT_H */
