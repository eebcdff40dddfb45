// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sends random messages to the netlink family of SNAT (linux/ip_vs_snat.h):
 *
 *     snat-fuzz SEED COUNT
 *
 * Most of them are nearly right, so that they get far: objects of a few names and addresses, so that they exist, are in
 * use or overlap. Others have attributes of a wrong type, length or nesting, are cut off, or have bytes changed. They
 * come from several sockets, which are closed in the middle of changes and dumps. The same seed sends the same messages.
 *
 * Before that, a user without privileges asks for each command, and has to be refused. Prints how many messages had
 * which answer. Ends with status 1 when something is wrong with that, and leaves no rule, pool or connection behind.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAMILY "IPVS_SNAT"
#define SOCKETS 6
#define BUFFER_BYTES 4096
#define COMMANDS 21
#define COMMAND_FLUSH 4
#define COMMAND_DEL_CONN 19
#define NESTED 0x8000
#define ERRORS 200
#define NOBODY 65534

enum kind { NONE, U8, U16, U32, ADDRESS, NAME, DEVICE, BLOCK_SIZE, KERNELS };

/* Attributes of each object by number, as linux/ip_vs_snat.h has them. KERNELS are those that only the kernel may send. */
static const unsigned char pool[] = { NONE, NAME, U32, U16, U16, U32, U32, KERNELS, KERNELS, KERNELS, BLOCK_SIZE, U32 };
static const unsigned char member[] = { NONE, NAME, ADDRESS, ADDRESS, U32, KERNELS, KERNELS };
static const unsigned char rule[] = { NONE, U32, U32, ADDRESS, U8, ADDRESS, U8, U8, U16, U16, DEVICE, DEVICE, ADDRESS, U32, U32,
				      U32, NAME, ADDRESS, U32, KERNELS, KERNELS };
static const unsigned char conn[] = { NONE, U8, ADDRESS, U16, ADDRESS, U16, ADDRESS, U16, NAME, U32, U32, NAME, U8 };

static const struct object {
	const unsigned char *kinds;
	int count;
} objects[] = {
	{ NULL, 0 }, { pool, sizeof(pool) }, { member, sizeof(member) }, { rule, sizeof(rule) }, { conn, sizeof(conn) },
};

/* The object that each command is about; BEGIN, COMMIT, ABORT and FLUSH have none. */
static const unsigned char object_of[COMMANDS + 1] = { 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 3, 4 };

static uint64_t state;
static int sockets[SOCKETS];
static int family;
static unsigned long answers[ERRORS];
static unsigned char buffer[BUFFER_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
static unsigned char answer[65536] __attribute__((aligned(NLMSG_ALIGNTO)));

static void die(const char *what)
{
	fprintf(stderr, "snat-fuzz: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* xorshift64* */
static uint32_t chance(uint32_t below)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (uint32_t)((state * 2685821657736338717ull) >> 32) % below;
}

static int open_socket(void)
{
	int netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC), bytes = 1 << 20;

	if (netlink < 0 || fcntl(netlink, F_SETFL, O_NONBLOCK))
		die("generic netlink");
	setsockopt(netlink, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	return netlink;
}

static void put(unsigned char **at, const void *bytes, int length)
{
	memcpy(*at, bytes, length);
	*at += length;
	while ((*at - buffer) % NLMSG_ALIGNTO)
		*(*at)++ = 0;
}

static int size_of(int kind)
{
	return kind == U8 ? 1 : kind == U16 || kind == BLOCK_SIZE ? 2 : 4;
}

static uint32_t number(int kind)
{
	static const uint32_t special[] = { 0, 1, 31, 32, 33, 127, 128, 255, 1000, 1024, 65535, 0x7fffffff, 0xffffffff };

	if (kind == ADDRESS) {
		/* 10.0.0.0/27, so that ranges overlap, and now and then something else */
		if (chance(20))
			return htonl(0x0a000000 + chance(32));
		return chance(2) ? state : special[chance(sizeof(special) / sizeof(*special))];
	}
	if (kind == BLOCK_SIZE && chance(8))
		return chance(3) ? 128 << chance(8) : 0;
	return chance(3) ? chance(8) : special[chance(sizeof(special) / sizeof(*special))];
}

static void put_attribute(unsigned char **at, int type, int kind)
{
	struct nlattr header = { .nla_type = type, .nla_len = NLA_HDRLEN };
	unsigned char *start = *at;
	char text[64];
	uint32_t value;
	int length;

	put(at, &header, sizeof(header));
	if (!chance(60))
		kind = NONE + chance(KERNELS + 1);
	switch (kind) {
	case NAME:
		length = chance(50) ? 2 : (int)chance(sizeof(text));
		memset(text, chance(40) ? 'a' + (int)chance(6) : (int)chance(256), sizeof(text));
		if (chance(40) && length)
			text[length - 1] = 0;
		put(at, text, length);
		break;
	case DEVICE:
		length = snprintf(text, sizeof(text), "eth%u", chance(12)) + 1;
		put(at, text, length);
		break;
	case NONE:
	case KERNELS:
		length = chance(40);
		memset(text, chance(256), sizeof(text));
		put(at, text, length);
		break;
	default:
		length = chance(80) ? size_of(kind) : (int)chance(9);
		value = number(kind);
		memset(text, 0, sizeof(text));
		memcpy(text, &value, sizeof(value));
		put(at, text, length);
	}
	((struct nlattr *)start)->nla_len = NLA_HDRLEN + (chance(100) ? length : (int)chance(300));
}

static void put_object(unsigned char **at, int which)
{
	const struct object *object = &objects[which];
	struct nlattr header = { .nla_type = which | (chance(60) ? NESTED : 0) };
	unsigned char *start = *at;
	int type;

	put(at, &header, sizeof(header));
	for (type = 1; type < object->count && *at - buffer < BUFFER_BYTES - 512; type++) {
		/* What names the object is nearly always there, what only the kernel may send nearly never. */
		if (object->kinds[type] == KERNELS ? !chance(40) : chance(type == 1 ? 20 : 3))
			put_attribute(at, type, object->kinds[type]);
	}
	if (!chance(80))
		put_attribute(at, chance(64), NONE);
	((struct nlattr *)start)->nla_len = chance(150) ? *at - start : chance(600);
}

/* Returns the length of a message in the buffer. */
static int make_message(int command, int flags)
{
	struct nlmsghdr *header = (struct nlmsghdr *)buffer;
	struct genlmsghdr *general = NLMSG_DATA(header);
	unsigned char *at = (unsigned char *)general + GENL_HDRLEN;
	int length, changes;

	memset(buffer, 0, BUFFER_BYTES);
	header->nlmsg_type = family;
	header->nlmsg_flags = NLM_F_REQUEST | flags;
	header->nlmsg_seq = state;
	general->cmd = command;
	general->version = 1;
	if (object_of[command <= COMMANDS ? command : 0] && chance(30))
		put_object(&at, object_of[command]);
	if (!chance(40))
		put_object(&at, 1 + chance(4));
	length = at - buffer;
	header->nlmsg_len = length;
	for (changes = chance(40) ? 0 : 1 + chance(8); changes; changes--)
		buffer[NLMSG_HDRLEN + chance(length - NLMSG_HDRLEN)] = chance(256);
	if (!chance(60))
		header->nlmsg_len = length = NLMSG_HDRLEN + chance(length - NLMSG_HDRLEN + 1);
	return length;
}

static void transmit(int netlink, int length)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

	if (sendto(netlink, buffer, length, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0 && errno != ENOBUFS && errno != EAGAIN)
		die("sending");
}

static void note(int error)
{
	if (-error >= 0 && -error < ERRORS)
		answers[-error]++;
}

/* Takes what there is, or only the first of it, so that a dump stays where it is. */
static void receive(int netlink, int all)
{
	int length;

	while ((length = recv(netlink, answer, sizeof(answer), 0)) > 0) {
		struct nlmsghdr *message = (struct nlmsghdr *)answer;

		for (; NLMSG_OK(message, length); message = NLMSG_NEXT(message, length)) {
			if (message->nlmsg_type == NLMSG_ERROR)
				note(((struct nlmsgerr *)NLMSG_DATA(message))->error);
			if (message->nlmsg_type == NLMSG_DONE)
				note(*(int *)NLMSG_DATA(message));
		}
		if (!all)
			break;
	}
}

static int resolve(int netlink)
{
	struct nlmsghdr *header = (struct nlmsghdr *)buffer, *got = (struct nlmsghdr *)answer;
	struct genlmsghdr *general = NLMSG_DATA(header);
	struct nlattr *name = (struct nlattr *)((char *)general + GENL_HDRLEN), *attr;
	int left;

	header->nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN) + NLA_HDRLEN + NLA_ALIGN(sizeof(FAMILY));
	header->nlmsg_type = GENL_ID_CTRL;
	header->nlmsg_flags = NLM_F_REQUEST;
	general->cmd = CTRL_CMD_GETFAMILY;
	general->version = 1;
	name->nla_type = CTRL_ATTR_FAMILY_NAME;
	name->nla_len = NLA_HDRLEN + sizeof(FAMILY);
	strcpy((char *)name + NLA_HDRLEN, FAMILY);
	transmit(netlink, header->nlmsg_len);
	if (recv(netlink, answer, sizeof(answer), 0) < 0 || got->nlmsg_type == NLMSG_ERROR)
		die(FAMILY);
	attr = (struct nlattr *)((char *)NLMSG_DATA(got) + GENL_HDRLEN);
	left = got->nlmsg_len - NLMSG_LENGTH(GENL_HDRLEN);
	while (left >= NLA_HDRLEN && attr->nla_type != CTRL_ATTR_FAMILY_ID) {
		left -= NLA_ALIGN(attr->nla_len);
		attr = (struct nlattr *)((char *)attr + NLA_ALIGN(attr->nla_len));
	}
	return *(unsigned short *)((char *)attr + NLA_HDRLEN);
}

static int is_dump(int command)
{
	return command == 8 || command == 12 || command == 13 || command == 17 || command == 18 || command == 21;
}

/* Every command has to be refused; nothing is random here. */
static int refused_all(void)
{
	int status, command, netlink;
	pid_t child = fork();

	if (child) {
		waitpid(child, &status, 0);
		return WIFEXITED(status) && !WEXITSTATUS(status);
	}
	netlink = open_socket();
	if (setgid(NOBODY) || setuid(NOBODY))
		_exit(1);
	for (command = 1; command <= COMMANDS; command++) {
		memset(answers, 0, sizeof(answers));
		state = 1 + command;
		make_message(command, is_dump(command) ? NLM_F_DUMP : NLM_F_ACK);
		((struct nlmsghdr *)buffer)->nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN);
		((struct genlmsghdr *)NLMSG_DATA((struct nlmsghdr *)buffer))->cmd = command;
		transmit(netlink, NLMSG_LENGTH(GENL_HDRLEN));
		receive(netlink, 1);
		if (answers[EPERM] != 1)
			_exit(1);
	}
	_exit(0);
}

/* The kernel can be asked for it, whatever is there. */
static void clean_up(void)
{
	struct nlattr *nest = (struct nlattr *)(buffer + NLMSG_LENGTH(GENL_HDRLEN)), *inside = nest + 1, *length = inside + 2;
	int netlink = open_socket();

	memset(buffer, 0, sizeof(buffer));
	state = 1;
	((struct nlmsghdr *)buffer)->nlmsg_type = family;
	((struct nlmsghdr *)buffer)->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	((struct nlmsghdr *)buffer)->nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN);
	((struct genlmsghdr *)NLMSG_DATA((struct nlmsghdr *)buffer))->cmd = COMMAND_FLUSH;
	((struct genlmsghdr *)NLMSG_DATA((struct nlmsghdr *)buffer))->version = 1;
	transmit(netlink, NLMSG_LENGTH(GENL_HDRLEN));

	nest->nla_type = 4 | NESTED;
	nest->nla_len = 5 * NLA_HDRLEN;
	inside->nla_type = 2;
	inside->nla_len = NLA_HDRLEN + 4;
	length->nla_type = 12;
	length->nla_len = NLA_HDRLEN + 1;
	((struct nlmsghdr *)buffer)->nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN) + nest->nla_len;
	((struct genlmsghdr *)NLMSG_DATA((struct nlmsghdr *)buffer))->cmd = COMMAND_DEL_CONN;
	transmit(netlink, NLMSG_LENGTH(GENL_HDRLEN) + nest->nla_len);
	memset(answers, 0, sizeof(answers));
	receive(netlink, 1);
	if (answers[0] != 2)
		die("cleaning up");
	close(netlink);
}

int main(int argc, char **argv)
{
	unsigned long count, sent;
	uint64_t seed;
	int i;

	if (argc < 3)
		return 2;
	seed = strtoull(argv[1], NULL, 0);
	count = strtoul(argv[2], NULL, 0);
	for (i = 0; i < SOCKETS; i++)
		sockets[i] = open_socket();
	family = resolve(sockets[0]);
	if (!refused_all()) {
		fprintf(stderr, "snat-fuzz: a user without privileges was not refused\n");
		return 1;
	}

	memset(answers, 0, sizeof(answers));
	state = (seed + 1) * 0x9e3779b97f4a7c15ull;
	for (sent = 0; sent < count; sent++) {
		int which = chance(SOCKETS), command, dump;

		/* Two of them change one thing at a time, the others begin and end now and then. */
		do {
			command = chance(200) ? 1 + (int)chance(COMMANDS) : (int)chance(256);
		} while ((which < 2 && command < 4) || (command == COMMAND_FLUSH && chance(20)));
		dump = is_dump(command) ? (int)chance(30) : !chance(100);
		transmit(sockets[which], make_message(command, dump ? NLM_F_DUMP : NLM_F_ACK));
		receive(sockets[which], chance(dump ? 2 : 50));
		if (!chance(500)) {
			close(sockets[which]);
			sockets[which] = open_socket();
		}
	}
	for (i = 0; i < SOCKETS; i++) {
		receive(sockets[i], 1);
		close(sockets[i]);
	}
	for (i = 0; i < ERRORS; i++) {
		if (answers[i])
			printf("%s %lu\n", i ? strerror(i) : "done", answers[i]);
	}
	clean_up();
	return 0;
}
