// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exchanges messages with a generic netlink family, for tests of what no tool would send:
 *
 *     genl-exchange FAMILY          sends each line of standard input, and prints the answers
 *     genl-exchange FAMILY GROUP    goes into the background and prints what is told to the group
 *
 * A line is a command and flags of the netlink header beside NLM_F_REQUEST, as numbers, and the attributes in
 * hexadecimal digits. All lines come from one socket, each after the answer to the one before:
 *
 *     msg COMMAND ATTRIBUTES        a message, in the same form
 *     ack ERROR OFFSET TEXT         the end, with 0 or a positive errno, and what the kernel says about it: the
 *                                   offset of the attribute in the message or -1, and the text
 *     done ERROR INTERRUPTED        the end of a dump, INTERRUPTED is 1 if it is not consistent
 */
#include <errno.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_BYTES 65536
#define LINE_BYTES 131072

/* Newer than the headers of some kernels that this has to run on. */
#define OPTION_CAP_ACK 10
#define OPTION_EXT_ACK 11
#define FLAG_CAPPED 0x100
#define FLAG_ACK_TLVS 0x200
#define FLAG_INTERRUPTED 0x10
#define EXTACK_MESSAGE 1
#define EXTACK_OFFSET 2

static char out[BUFFER_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
static char in[BUFFER_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
static char line[LINE_BYTES];
static int netlink;
static unsigned int sequence;
static int interrupted;

static void die(const char *what)
{
	fprintf(stderr, "genl-exchange: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct nlattr *attribute(struct nlattr *first, int length, int type)
{
	while (length >= NLA_HDRLEN && first->nla_len >= NLA_HDRLEN && first->nla_len <= length) {
		if ((first->nla_type & NLA_TYPE_MASK) == type)
			return first;
		length -= NLA_ALIGN(first->nla_len);
		first = (struct nlattr *)((char *)first + NLA_ALIGN(first->nla_len));
	}
	return NULL;
}

static void *data(struct nlattr *attr)
{
	return (char *)attr + NLA_HDRLEN;
}

static void transmit(int type, int command, int flags, int length)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct nlmsghdr *header = (struct nlmsghdr *)out;
	struct genlmsghdr *general = NLMSG_DATA(header);

	header->nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN) + length;
	header->nlmsg_type = type;
	header->nlmsg_flags = NLM_F_REQUEST | flags;
	header->nlmsg_seq = ++sequence;
	header->nlmsg_pid = 0;
	general->cmd = command;
	general->version = 1;
	general->reserved = 0;
	if (sendto(netlink, out, header->nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		die("sending");
}

static void print_message(struct nlmsghdr *message)
{
	struct genlmsghdr *general = NLMSG_DATA(message);
	unsigned char *byte = (unsigned char *)general + GENL_HDRLEN;
	unsigned char *end = (unsigned char *)message + message->nlmsg_len;

	printf("msg %d ", general->cmd);
	for (; byte < end; byte++)
		printf("%02x", *byte);
	printf("\n");
}

static void print_ack(struct nlmsghdr *message)
{
	struct nlmsgerr *error = NLMSG_DATA(message);
	struct nlattr *text = NULL, *offset = NULL;

	if (message->nlmsg_flags & FLAG_ACK_TLVS) {
		int quoted = message->nlmsg_flags & FLAG_CAPPED ? 0 : error->msg.nlmsg_len - NLMSG_HDRLEN;
		char *first = (char *)(error + 1) + NLMSG_ALIGN(quoted);
		int length = (char *)message + message->nlmsg_len - first;

		text = attribute((struct nlattr *)first, length, EXTACK_MESSAGE);
		offset = attribute((struct nlattr *)first, length, EXTACK_OFFSET);
	}
	printf("ack %d %d %s\n", -error->error, offset ? *(int *)data(offset) : -1, text ? (char *)data(text) : "");
}

/* Returns whether it was the end of the answer. */
static int print_answer(struct nlmsghdr *message)
{
	switch (message->nlmsg_type) {
	case NLMSG_ERROR:
		print_ack(message);
		return 1;
	case NLMSG_DONE:
		printf("done %d %d\n", -*(int *)NLMSG_DATA(message), interrupted);
		return 1;
	default:
		print_message(message);
		return 0;
	}
}

static void print_answers(void)
{
	int ended = 0;

	interrupted = 0;
	while (!ended) {
		struct nlmsghdr *message = (struct nlmsghdr *)in;
		int length = recv(netlink, in, sizeof(in), 0);

		if (length < 0)
			die("receiving");
		for (; NLMSG_OK(message, length); message = NLMSG_NEXT(message, length)) {
			if (message->nlmsg_flags & FLAG_INTERRUPTED)
				interrupted = 1;
			if (message->nlmsg_seq == sequence)
				ended |= print_answer(message);
		}
	}
	fflush(stdout);
}

/* Returns the identifier of the family, and that of its group. */
static int resolve(const char *family, const char *group, int *group_id)
{
	struct nlattr *name = (struct nlattr *)((char *)NLMSG_DATA((struct nlmsghdr *)out) + GENL_HDRLEN);
	struct nlmsghdr *answer = (struct nlmsghdr *)in;
	struct nlattr *first, *id, *groups, *one;
	int length, left;

	name->nla_type = CTRL_ATTR_FAMILY_NAME;
	name->nla_len = NLA_HDRLEN + strlen(family) + 1;
	strcpy(data(name), family);
	transmit(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 0, NLA_ALIGN(name->nla_len));
	length = recv(netlink, in, sizeof(in), 0);
	if (length < 0 || !NLMSG_OK(answer, length))
		die("receiving");
	if (answer->nlmsg_type == NLMSG_ERROR) {
		errno = -((struct nlmsgerr *)NLMSG_DATA(answer))->error;
		die(family);
	}
	first = (struct nlattr *)((char *)NLMSG_DATA(answer) + GENL_HDRLEN);
	length = answer->nlmsg_len - NLMSG_LENGTH(GENL_HDRLEN);
	id = attribute(first, length, CTRL_ATTR_FAMILY_ID);
	groups = attribute(first, length, CTRL_ATTR_MCAST_GROUPS);
	if (group && groups) {
		one = data(groups);
		for (left = groups->nla_len - NLA_HDRLEN; left >= NLA_HDRLEN; left -= NLA_ALIGN(one->nla_len),
		     one = (struct nlattr *)((char *)one + NLA_ALIGN(one->nla_len))) {
			struct nlattr *called = attribute(data(one), one->nla_len - NLA_HDRLEN, CTRL_ATTR_MCAST_GRP_NAME);
			struct nlattr *number = attribute(data(one), one->nla_len - NLA_HDRLEN, CTRL_ATTR_MCAST_GRP_ID);

			if (called && number && !strcmp(data(called), group))
				*group_id = *(unsigned int *)data(number);
		}
	}
	if (!id)
		die("no identifier");
	return *(unsigned short *)data(id);
}

static int hex_digit(int c)
{
	return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

static void exchange(int family)
{
	while (fgets(line, sizeof(line), stdin)) {
		char *to = (char *)NLMSG_DATA((struct nlmsghdr *)out) + GENL_HDRLEN, *from;
		int command = strtol(line, &from, 0);
		int flags = strtol(from, &from, 0);
		unsigned int length = 0;

		from += strspn(from, " ");
		while (from[0] > ' ' && from[1] > ' ' && length < BUFFER_BYTES - NLMSG_LENGTH(GENL_HDRLEN)) {
			to[length++] = hex_digit(from[0]) << 4 | hex_digit(from[1]);
			from += 2;
		}
		transmit(family, command, (flags & NLM_F_DUMP) == NLM_F_DUMP ? flags : flags | NLM_F_ACK, length);
		print_answers();
	}
}

static void listen_to(int group)
{
	if (setsockopt(netlink, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)))
		die("joining the group");
	if (daemon(1, 1))
		die("going into the background");
	for (;;) {
		struct nlmsghdr *message = (struct nlmsghdr *)in;
		int length = recv(netlink, in, sizeof(in), 0);

		for (; length > 0 && NLMSG_OK(message, length); message = NLMSG_NEXT(message, length))
			print_message(message);
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	int on = 1, group = 0, family;

	if (argc < 2)
		return 2;
	netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC);
	if (netlink < 0)
		die("generic netlink");
	/* 2.6.32 has neither. */
	setsockopt(netlink, SOL_NETLINK, OPTION_EXT_ACK, &on, sizeof(on));
	setsockopt(netlink, SOL_NETLINK, OPTION_CAP_ACK, &on, sizeof(on));
	family = resolve(argv[1], argc > 2 ? argv[2] : NULL, &group);
	if (argc > 2)
		listen_to(group);
	exchange(family);
	return 0;
}
