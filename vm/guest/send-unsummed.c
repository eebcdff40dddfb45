// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sends a frame of which one checksum is left to who sends it on, as hosts behind veth and virtual machines do:
 *
 *     send-unsummed DEVICE START OFFSET <FRAME
 *
 * The sum is that of all bytes from START on, and belongs OFFSET bytes behind START; what is there is part of it. The
 * kernel that gets the frame has it as CHECKSUM_PARTIAL. Ends with a message and status 1 when the kernel refuses.
 *
 * It is for the virtual machines of the lab; 2.6.32 refuses.
 */

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAME_BYTES 2048
#define NEEDS_CSUM 1

/* struct virtio_net_hdr of linux/virtio_net.h */
struct message {
	uint8_t flags;
	uint8_t gso_type;
	uint16_t hdr_len;
	uint16_t gso_size;
	uint16_t csum_start;
	uint16_t csum_offset;
	unsigned char frame[FRAME_BYTES];
} __attribute__((packed));

static void fail(const char *doing)
{
	perror(doing);
	exit(1);
}

int main(int argc, char **argv)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP) };
	struct message message = { .flags = NEEDS_CSUM };
	int packet, on = 1;
	ssize_t length;

	if (argc != 4)
		return 2;
	to.sll_ifindex = if_nametoindex(argv[1]);
	if (!to.sll_ifindex)
		fail(argv[1]);
	message.csum_start = atoi(argv[2]);
	message.csum_offset = atoi(argv[3]);
	length = read(0, message.frame, sizeof(message.frame));
	if (length <= 0)
		fail("reading the frame");
	packet = socket(AF_PACKET, SOCK_RAW, 0);
	if (packet < 0 || setsockopt(packet, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) || bind(packet, (struct sockaddr *)&to, sizeof(to)))
		fail("packet socket");
	if (write(packet, &message, sizeof(message) - FRAME_BYTES + length) < 0)
		fail("sending");
	return 0;
}
