// SPDX-License-Identifier: GPL-2.0-only
/*
 * One end of a stream of TCP:
 *
 *	bulk-stream listen|connect ADDRESS PORT send FILE|receive
 *
 * It costs as little as it can, so that of what is counted much is the gateway's, and the kernel gets all of the file that it
 * can take at once: a program that writes pieces decides by that how large packets are, and so how many the gateway has.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE (16 << 20)

static int fail(const char *what)
{
	fprintf(stderr, "bulk-stream: %s: %s\n", what, strerror(errno));
	return 1;
}

static int listening(const struct sockaddr_in *address)
{
	const int yes = 1;
	int tcp = socket(AF_INET, SOCK_STREAM, 0);

	if (tcp < 0 || setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) ||
	    bind(tcp, (const struct sockaddr *)address, sizeof(*address)) || listen(tcp, 1))
		return -1;
	return accept(tcp, NULL, NULL);
}

static int connected(const struct sockaddr_in *address)
{
	int tcp = socket(AF_INET, SOCK_STREAM, 0);

	if (tcp < 0 || connect(tcp, (const struct sockaddr *)address, sizeof(*address)))
		return -1;
	return tcp;
}

/* Until the other end has had all of it */
static int send_file(int tcp, const char *path)
{
	int file = open(path, O_RDONLY);
	ssize_t sent;
	char byte;

	if (file < 0)
		return fail(path);
	while ((sent = sendfile(tcp, file, NULL, PIECE)) > 0)
		;
	if (sent < 0 || shutdown(tcp, SHUT_WR) || recv(tcp, &byte, 1, 0) != 0)
		return fail("sending");
	return 0;
}

/* Without a copy of it */
static int receive(int tcp)
{
	ssize_t received;

	while ((received = recv(tcp, NULL, PIECE, MSG_TRUNC)) > 0)
		;
	return received < 0 ? fail("receiving") : 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	int tcp;

	if (argc < 5 || !inet_aton(argv[2], &address.sin_addr)) {
		fprintf(stderr, "usage: bulk-stream listen|connect ADDRESS PORT send FILE|receive\n");
		return 2;
	}
	address.sin_port = htons(atoi(argv[3]));
	tcp = strcmp(argv[1], "listen") ? connected(&address) : listening(&address);
	if (tcp < 0)
		return fail("a connection");
	return argc == 6 ? send_file(tcp, argv[5]) : receive(tcp);
}
