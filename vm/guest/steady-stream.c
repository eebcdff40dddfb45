// SPDX-License-Identifier: GPL-2.0-only
/*
 * A stream of packets at a steady rate, and the longest time for which none of them came: how long something in between has
 * kept packets from passing.
 *
 *	steady-stream pace DEVICE	has what leaves by a device wait for its turn
 *	steady-stream send SOURCE DESTINATION FILE	sends until there is such a file
 *	steady-stream receive	prints: stream RECEIVED LOST LATE LONGEST, when the last one has come; LONGEST in nanoseconds
 *
 * A program that sends each packet when it is time would measure how long the kernel keeps programs from running. So packets
 * are ahead of their time in a queue (netem) that a timer's interrupt empties, as a network card's would, and the kernel
 * notes the time when they arrive.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define INTERVAL_NS 200000LL
/* With the headers of UDP, IP and Ethernet */
#define FRAME_BYTES 100
#define HEADER_BYTES 42
#define PORT 5999
/* A second of packets is in the queue */
#define AHEAD 5000
#define TOP_UP_NS 100000000L
#define RECEIVE_BYTES (64 << 20)
#define SECOND_NS 1000000000LL

struct packet {
	uint64_t number;
	uint64_t late;
	uint8_t last;
	char rest[FRAME_BYTES - HEADER_BYTES - 17];
} __attribute__((packed));

static int fail(const char *what)
{
	fprintf(stderr, "steady-stream: %s: %s\n", what, strerror(errno));
	return 1;
}

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * SECOND_NS + time.tv_nsec;
}

/* Queueing */

struct request {
	struct nlmsghdr header;
	struct tcmsg message;
	char attributes[256];
};

static struct rtattr *append(struct request *request, int type, const void *data, int length)
{
	struct rtattr *attribute = (struct rtattr *)((char *)request + NLMSG_ALIGN(request->header.nlmsg_len));

	attribute->rta_type = type;
	attribute->rta_len = RTA_LENGTH(length);
	if (length)
		memcpy(RTA_DATA(attribute), data, length);
	request->header.nlmsg_len = NLMSG_ALIGN(request->header.nlmsg_len) + RTA_ALIGN(attribute->rta_len);
	return attribute;
}

static int pace(const char *device)
{
	const struct tc_netem_qopt options = { .limit = 2 * AHEAD };
	const struct tc_netem_rate rate = { .rate = FRAME_BYTES * SECOND_NS / INTERVAL_NS };
	struct request request = {
		.header = {
			.nlmsg_len = NLMSG_LENGTH(sizeof(struct tcmsg)),
			.nlmsg_type = RTM_NEWQDISC,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
		},
		.message = { .tcm_ifindex = if_nametoindex(device), .tcm_parent = TC_H_ROOT },
	};
	struct { struct nlmsghdr header; struct nlmsgerr error; char rest[512]; } answer;
	int netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	struct rtattr *nested;

	if (netlink < 0 || !request.message.tcm_ifindex)
		return fail(device);
	append(&request, TCA_KIND, "netem", sizeof("netem"));
	nested = append(&request, TCA_OPTIONS, &options, sizeof(options));
	append(&request, TCA_NETEM_RATE, &rate, sizeof(rate));
	nested->rta_len = (char *)&request + request.header.nlmsg_len - (char *)nested;
	if (send(netlink, &request, request.header.nlmsg_len, 0) < 0 || recv(netlink, &answer, sizeof(answer), 0) < 0)
		return fail("netlink");
	errno = -answer.error.error;
	return errno ? fail("netem") : 0;
}

/* Sending */

static int send_until(const char *source, const char *destination, const char *file)
{
	struct sockaddr_in from = { .sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = inet_addr(source) };
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = inet_addr(destination) };
	const struct timespec pause = { .tv_nsec = TOP_UP_NS };
	struct packet packet = { 0 };
	int udp = socket(AF_INET, SOCK_DGRAM, 0);
	long long begin, passed;

	if (udp < 0 || bind(udp, (struct sockaddr *)&from, sizeof(from)) || connect(udp, (struct sockaddr *)&to, sizeof(to)))
		return fail("a socket");
	begin = now();
	while (!packet.last) {
		packet.last = !access(file, F_OK);
		passed = (now() - begin) / INTERVAL_NS;
		/* The queue was empty: nothing has kept packets from passing but this program */
		if (passed > (long long)packet.number)
			packet.late++;
		do {
			if (send(udp, &packet, sizeof(packet), 0) != sizeof(packet))
				return fail("sending");
			packet.number++;
		} while (!packet.last && (long long)packet.number < passed + AHEAD);
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* Receiving */

static long long time_of(struct msghdr *message)
{
	struct cmsghdr *control = CMSG_FIRSTHDR(message);
	struct timespec time;

	if (!control || control->cmsg_type != SO_TIMESTAMPNS)
		return 0;
	memcpy(&time, CMSG_DATA(control), sizeof(time));
	return time.tv_sec * SECOND_NS + time.tv_nsec;
}

static int receive(void)
{
	struct sockaddr_in self = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	long long time, before = 0, longest = INTERVAL_NS;
	const int yes = 1, bytes = RECEIVE_BYTES;
	int udp = socket(AF_INET, SOCK_DGRAM, 0);
	struct packet packet = { 0 };
	uint64_t received = 0;
	char control[64];

	if (udp < 0 || bind(udp, (struct sockaddr *)&self, sizeof(self)) ||
	    setsockopt(udp, SOL_SOCKET, SO_TIMESTAMPNS, &yes, sizeof(yes)) ||
	    setsockopt(udp, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)))
		return fail("a socket");
	while (!packet.last) {
		struct iovec data = { .iov_base = &packet, .iov_len = sizeof(packet) };
		struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };

		if (recvmsg(udp, &message, 0) != sizeof(packet))
			return fail("receiving");
		time = time_of(&message);
		if (before && time - before > longest)
			longest = time - before;
		before = time;
		received++;
	}
	printf("stream %llu %llu %llu %lld\n", (unsigned long long)received, (unsigned long long)(packet.number + 1 - received),
	       (unsigned long long)packet.late, longest);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "pace"))
		return pace(argv[2]);
	if (argc == 5 && !strcmp(argv[1], "send"))
		return send_until(argv[2], argv[3], argv[4]);
	if (argc == 2 && !strcmp(argv[1], "receive"))
		return receive();
	fprintf(stderr, "usage: steady-stream pace DEVICE | send SOURCE DESTINATION FILE | receive\n");
	return 2;
}
