// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sends the netlink messages on standard input to netfilter, as one batch, and waits until
 * the kernel has acknowledged each that asks for it. Fails with the kernel's first error.
 *
 * It takes the place of nft(8), of which the virtual machines need a handful of fixed rules:
 * nft would need three more sources, two of them libraries that nothing else here uses, to be
 * fetched and linked with musl. vm/bench/nftables.ts writes the messages.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define BUFFER_BYTES 65536
/* The kernel loads modules meanwhile. */
#define ANSWER_LIMIT_S 60

static char buffer[BUFFER_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));

static int fail(const char *what)
{
	fprintf(stderr, "netlink-batch: %s: %s\n", what, strerror(errno));
	return 1;
}

static int count_acknowledged(int length)
{
	struct nlmsghdr *message = (struct nlmsghdr *)buffer;
	int count = 0;

	for (; NLMSG_OK(message, length); message = NLMSG_NEXT(message, length))
		if (message->nlmsg_flags & NLM_F_ACK)
			count++;
	return count;
}

/* Returns how many acknowledgements came, or -1 with errno. */
static int receive(int netlink)
{
	struct nlmsghdr *message = (struct nlmsghdr *)buffer;
	int length = recv(netlink, buffer, sizeof(buffer), 0);
	int count = 0;

	if (length < 0)
		return -1;
	for (; NLMSG_OK(message, length); message = NLMSG_NEXT(message, length)) {
		struct nlmsgerr *error = NLMSG_DATA(message);

		if (message->nlmsg_type != NLMSG_ERROR)
			continue;
		if (error->error) {
			errno = -error->error;
			return -1;
		}
		count++;
	}
	return count;
}

int main(void)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct timeval limit = { .tv_sec = ANSWER_LIMIT_S };
	int netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
	int length = 0, awaited, got;

	if (netlink < 0 || setsockopt(netlink, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)))
		return fail("netfilter's netlink");
	while ((got = read(STDIN_FILENO, buffer + length, sizeof(buffer) - length)) > 0)
		length += got;
	awaited = count_acknowledged(length);
	if (sendto(netlink, buffer, length, 0, (struct sockaddr *)&kernel, sizeof(kernel)) != length)
		return fail("sending");
	for (; awaited > 0; awaited -= got) {
		got = receive(netlink);
		if (got < 0)
			return fail("the kernel's answer");
	}
	return 0;
}
