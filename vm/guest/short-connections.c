// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whole connections of TCP, one after the other: opened, a small request, a small answer, closed by who has opened them.
 *
 *	short-connections serve ADDRESS PORT COUNT PEER	is in the background as soon as it listens, and
 *		prints: served COUNT OTHERS, when it has had all; OTHERS came from another address than PEER
 *	short-connections connect SOURCE FIRST ADDRESS PORT COUNT	each from a port of its own, FIRST and those after it;
 *		prints: connected COUNT TIME, in nanoseconds
 *
 * A connection is over, at both ends, before the next one begins: so what is in the time is the same for each, and the last one
 * is all in it. Ports are not left to the kernel, which looks the longer for one the more are taken.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_BYTES 100
#define ANSWER_BYTES 500
/* Nobody waits longer for packets that do not come */
#define LIMIT_S 60

static int fail(const char *what)
{
	fprintf(stderr, "short-connections: %s: %s\n", what, strerror(errno));
	return 1;
}

/* Calls end with EINTR */
static void limit(int signal)
{
	(void)signal;
}

static int equal(const struct sockaddr_in *address, const char *text)
{
	return address->sin_addr.s_addr == inet_addr(text);
}

static struct sockaddr_in address_of(const char *address, const char *port)
{
	struct sockaddr_in result = {
		.sin_family = AF_INET,
		.sin_port = htons(atoi(port)),
		.sin_addr.s_addr = inet_addr(address),
	};

	return result;
}

/* Until the other end has closed */
static int answer(int tcp)
{
	char request[REQUEST_BYTES];
	static const char bytes[ANSWER_BYTES];

	return recv(tcp, request, sizeof(request), MSG_WAITALL) != sizeof(request) ||
	       send(tcp, bytes, sizeof(bytes), 0) != sizeof(bytes) ||
	       recv(tcp, request, 1, 0) != 0 || close(tcp);
}

static int serve_from(int listening, unsigned long count, const char *peer)
{
	unsigned long served = 0, others = 0;
	struct sockaddr_in from;
	int failed = 0;

	while (served + others < count && !failed) {
		socklen_t length = sizeof(from);
		int tcp = accept(listening, (struct sockaddr *)&from, &length);

		failed = tcp < 0 || answer(tcp);
		if (!failed && equal(&from, peer))
			served++;
		else if (!failed)
			others++;
	}
	if (failed)
		fail("serving");
	printf("served %lu %lu\n", served, others);
	return failed;
}

static int serve(const struct sockaddr_in *self, unsigned long count, const char *peer)
{
	const int yes = 1;
	int listening = socket(AF_INET, SOCK_STREAM, 0);

	if (listening < 0 || setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) ||
	    bind(listening, (const struct sockaddr *)self, sizeof(*self)) || listen(listening, 1))
		return fail("listening");
	switch (fork()) {
	case -1:
		return fail("fork");
	case 0:
		/* A child inherits no alarm */
		alarm(LIMIT_S);
		return serve_from(listening, count, peer);
	default:
		return 0;
	}
}

static int ask(const struct sockaddr_in *self, const struct sockaddr_in *server)
{
	static const char request[REQUEST_BYTES];
	char bytes[ANSWER_BYTES];
	int tcp = socket(AF_INET, SOCK_STREAM, 0);

	return tcp < 0 || bind(tcp, (const struct sockaddr *)self, sizeof(*self)) ||
	       connect(tcp, (const struct sockaddr *)server, sizeof(*server)) ||
	       send(tcp, request, sizeof(request), 0) != sizeof(request) ||
	       recv(tcp, bytes, sizeof(bytes), MSG_WAITALL) != sizeof(bytes) ||
	       shutdown(tcp, SHUT_WR) || recv(tcp, bytes, 1, 0) != 0 || close(tcp);
}

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int connect_all(struct sockaddr_in self, const struct sockaddr_in *server, unsigned long count)
{
	const unsigned short first = ntohs(self.sin_port);
	const long long begin = now();
	unsigned long done = 0;
	long long took;
	int failed;

	alarm(LIMIT_S);
	while (done < count && !ask(&self, server)) {
		done++;
		self.sin_port = htons(first + done);
	}
	took = now() - begin;
	failed = done < count ? fail("a connection") : 0;
	printf("connected %lu %lld\n", done, took);
	return failed;
}

int main(int argc, char **argv)
{
	const struct sigaction interrupting = { .sa_handler = limit };
	struct sockaddr_in one, other;

	sigaction(SIGALRM, &interrupting, NULL);
	if (argc == 6 && !strcmp(argv[1], "serve")) {
		one = address_of(argv[2], argv[3]);
		return serve(&one, strtoul(argv[4], NULL, 10), argv[5]);
	}
	if (argc == 7 && !strcmp(argv[1], "connect")) {
		one = address_of(argv[2], argv[3]);
		other = address_of(argv[4], argv[5]);
		return connect_all(one, &other, strtoul(argv[6], NULL, 10));
	}
	fprintf(stderr, "usage: short-connections serve ADDRESS PORT COUNT PEER | connect SOURCE FIRST ADDRESS PORT COUNT\n");
	return 2;
}
