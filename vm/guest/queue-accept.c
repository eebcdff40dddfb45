// SPDX-License-Identifier: GPL-2.0-only
/*
 * Accepts every packet that comes to netfilter queues, as the simplest of firewalls in user space would:
 *
 *     queue-accept FIRST LAST
 *
 * goes into the background once it is bound to the queues FIRST to LAST, so that whoever has started it
 * can send packets there. Ends with a message and status 1 when the kernel refuses.
 *
 * It is for the virtual machines of the lab, 2.6.32 among them, which asks for a binding to the protocol family.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define COPIED 0xffff

struct request {
	struct nlmsghdr header;
	struct nfgenmsg general;
	char attributes[64];
};

static int netlink;

static void fail(const char *doing)
{
	perror(doing);
	exit(1);
}

static void start(struct request *request, int type, int flags, int family, int queue)
{
	memset(request, 0, sizeof(*request));
	request->header.nlmsg_len = NLMSG_LENGTH(sizeof(request->general));
	request->header.nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | type;
	request->header.nlmsg_flags = NLM_F_REQUEST | flags;
	request->general.nfgen_family = family;
	request->general.version = NFNETLINK_V0;
	request->general.res_id = htons(queue);
}

static void add(struct request *request, int type, const void *value, int length)
{
	struct nlattr *attribute = (void *)((char *)request + NLMSG_ALIGN(request->header.nlmsg_len));

	attribute->nla_type = type;
	attribute->nla_len = NLA_HDRLEN + length;
	memcpy((char *)attribute + NLA_HDRLEN, value, length);
	request->header.nlmsg_len = NLMSG_ALIGN(request->header.nlmsg_len) + NLA_ALIGN(attribute->nla_len);
}

static void deliver(struct request *request)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

	if (sendto(netlink, request, request->header.nlmsg_len, 0, (void *)&kernel, sizeof(kernel)) < 0)
		fail("sending to netfilter");
}

static void configure(struct request *request, const char *doing)
{
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char quoted[256];
	} answer;

	deliver(request);
	if (recv(netlink, &answer, sizeof(answer), 0) < 0)
		fail(doing);
	errno = -answer.error.error;
	if (answer.header.nlmsg_type != NLMSG_ERROR || errno)
		fail(doing);
}

static void command(int which, int family, int queue, const char *doing)
{
	struct nfqnl_msg_config_cmd body = { .command = which, .pf = htons(PF_INET) };
	struct request request;

	start(&request, NFQNL_MSG_CONFIG, NLM_F_ACK, family, queue);
	add(&request, NFQA_CFG_CMD, &body, sizeof(body));
	configure(&request, doing);
}

/* The whole packet is asked for, as who looks into it would: that makes the kernel complete its checksum. */
static void listen_to(int queue)
{
	struct nfqnl_msg_config_params body = { .copy_range = htonl(COPIED), .copy_mode = NFQNL_COPY_PACKET };
	struct request request;

	command(NFQNL_CFG_CMD_BIND, AF_UNSPEC, queue, "binding to the queue");
	start(&request, NFQNL_MSG_CONFIG, NLM_F_ACK, AF_UNSPEC, queue);
	add(&request, NFQA_CFG_PARAMS, &body, sizeof(body));
	configure(&request, "asking for whole packets");
}

static void accept_packet(struct nlmsghdr *message)
{
	struct nfgenmsg *general = NLMSG_DATA(message);
	struct nlattr *attribute = (void *)((char *)general + NLMSG_ALIGN(sizeof(*general)));
	struct nfqnl_msg_packet_hdr *packet = (void *)((char *)attribute + NLA_HDRLEN);
	struct nfqnl_msg_verdict_hdr verdict = { .verdict = htonl(NF_ACCEPT) };
	struct request request;

	/* The kernel puts the packet's header first. */
	if ((attribute->nla_type & NLA_TYPE_MASK) != NFQA_PACKET_HDR)
		return;
	verdict.id = packet->packet_id;
	start(&request, NFQNL_MSG_VERDICT, 0, AF_UNSPEC, ntohs(general->res_id));
	add(&request, NFQA_VERDICT_HDR, &verdict, sizeof(verdict));
	deliver(&request);
}

int main(int argc, char **argv)
{
	static char buffer[COPIED + 4096] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *message;
	int length, queue;

	if (argc != 3) {
		fprintf(stderr, "usage: queue-accept FIRST LAST\n");
		return 2;
	}
	netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
	if (netlink < 0)
		fail("opening a socket to netfilter");
	command(NFQNL_CFG_CMD_PF_BIND, AF_INET, 0, "binding to IPv4");
	for (queue = atoi(argv[1]); queue <= atoi(argv[2]); queue++)
		listen_to(queue);
	if (daemon(0, 0))
		fail("going into the background");
	for (;;) {
		length = recv(netlink, buffer, sizeof(buffer), 0);
		for (message = (void *)buffer; length > 0 && NLMSG_OK(message, (unsigned int)length); message = NLMSG_NEXT(message, length))
			if (message->nlmsg_type == (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET))
				accept_packet(message);
	}
}
