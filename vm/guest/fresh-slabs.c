// SPDX-License-Identifier: GPL-2.0-only
/*
 * Makes the kernel allocate many packet buffers at once and free them again.
 *
 * pktgen keeps a packet while the gateway forwards a copy of it: two buffers at a time. Where the
 * last two free ones lie in two slabs, SLUB takes its slow path for every packet from then on, some 240
 * instructions, and does so until other memory is asked for. After this program the processor's slab is
 * one that has many free.
 *
 * The buffers are those of netlink messages to itself, because those of unix sockets are accounted
 * to a cgroup, and are of other slabs.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define SOCKETS 4
/* Buffers have 512 bytes, 1 KiB or 2 KiB, struct skb_shared_info and headroom among them. */
static const size_t sizes[] = { 64, 400, 1200 };

static int fill(size_t size)
{
	char bytes[1200] = { 0 };
	struct sockaddr_nl self = { .nl_family = AF_NETLINK };
	socklen_t length = sizeof(self);
	int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (netlink < 0 || bind(netlink, (struct sockaddr *)&self, length) ||
	    getsockname(netlink, (struct sockaddr *)&self, &length))
		return -1;
	while (sendto(netlink, bytes, size, 0, (struct sockaddr *)&self, length) == (ssize_t)size)
		;
	return errno == EAGAIN ? 0 : -1;
}

int main(void)
{
	size_t i;

	for (i = 0; i < SOCKETS * sizeof(sizes) / sizeof(*sizes); i++) {
		if (fill(sizes[i / SOCKETS])) {
			fprintf(stderr, "fresh-slabs: %s\n", strerror(errno));
			return 1;
		}
	}
	return 0;
}
