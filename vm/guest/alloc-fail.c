// SPDX-License-Identifier: GPL-2.0-only
/*
 * Has the kernel do things while one allocation of memory fails, the NTH of them
 * (Documentation/fault-injection/fault-injection.rst):
 *
 *     alloc-fail feed NTH FILE COMMAND...   of COMMAND, from when it reads its standard input, which is FILE
 *     alloc-fail tun DEVICE                 of each line "NTH DATAGRAM" of standard input, while the datagram, in
 *                                           hexadecimal digits, goes through the gateway from this device on
 *     alloc-fail unshare                    of each line "NTH", while a network namespace is made
 *
 * NTH counts what a task asks for, in this order; 0 is for none of it. The kernel counts nothing for softirqs, but a
 * datagram that is written to a tun device goes all its way as a part of that system call.
 *
 * feed prints "left N" behind what COMMAND prints, and ends with its status, or with 128 and the number of the signal that
 * has ended it. The others print "NTH left N ERRNO" for each line. N is 0 when an allocation has failed; else it is by
 * how many there were too few.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define DATAGRAM_BYTES 2048
#define LINE_BYTES (3 * DATAGRAM_BYTES)
#define POLL_US 1000

static char line[LINE_BYTES];

static void die(const char *what)
{
	fprintf(stderr, "alloc-fail: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Opened before it is asked for: that takes memory, too. */
static int open_nth(pid_t pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/fail-nth", pid);
	fd = open(path, O_RDWR);
	if (fd < 0)
		die(path);
	return fd;
}

static void set_nth(int fd, int nth)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%d", nth);

	if (pwrite(fd, text, length, 0) != length)
		die("fail-nth");
}

static int left_of(int fd)
{
	char text[16] = "";

	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		die("fail-nth");
	return atoi(text);
}

/* Whether a process waits for its standard input, by read or readv. */
static int reads(pid_t pid)
{
	char path[64], text[64] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		die(path);
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	return !strncmp(text, "0 0x0 ", 6) || !strncmp(text, "19 0x0 ", 7);
}

static int ended(pid_t pid, int flags, siginfo_t *info)
{
	info->si_pid = 0;
	if (waitid(P_PID, pid, info, WEXITED | WNOWAIT | flags))
		die("waiting");
	return info->si_pid == pid;
}

static int feed(int nth, const char *path, char **command)
{
	int ends[2], file = open(path, O_RDONLY), length, fd;
	siginfo_t info;
	pid_t child;

	if (file < 0 || pipe(ends))
		die(path);
	signal(SIGPIPE, SIG_IGN);
	child = fork();
	if (child < 0)
		die("fork");
	if (!child) {
		signal(SIGPIPE, SIG_DFL);
		dup2(ends[0], 0);
		close(ends[0]);
		close(ends[1]);
		close(file);
		execvp(command[0], command);
		die(command[0]);
	}
	close(ends[0]);
	fd = open_nth(child);
	while (!reads(child) && !ended(child, WNOHANG, &info))
		usleep(POLL_US);
	set_nth(fd, nth);
	while ((length = read(file, line, sizeof(line))) > 0) {
		if (write(ends[1], line, length) != length)
			break;
	}
	close(ends[1]);
	ended(child, 0, &info);
	printf("left %d\n", left_of(fd));
	return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

static int hex_digit(int c)
{
	return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

static int open_tun(const char *device)
{
	struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	int tun = open("/dev/net/tun", O_RDWR);

	strncpy(request.ifr_name, device, IFNAMSIZ - 1);
	/* It stays, so that it can be given an address between two calls. */
	if (tun < 0 || ioctl(tun, TUNSETIFF, &request) || ioctl(tun, TUNSETPERSIST, 1))
		die(device);
	return tun;
}

static void send_datagrams(int tun)
{
	static unsigned char datagram[DATAGRAM_BYTES];
	int fd = open_nth(getpid());

	while (fgets(line, sizeof(line), stdin)) {
		char *from;
		int nth = strtol(line, &from, 0), length = 0, error, left;

		from += strspn(from, " ");
		for (; from[0] > ' ' && from[1] > ' ' && length < DATAGRAM_BYTES; from += 2)
			datagram[length++] = hex_digit(from[0]) << 4 | hex_digit(from[1]);
		set_nth(fd, nth);
		error = write(tun, datagram, length) == length ? 0 : errno;
		left = left_of(fd);
		set_nth(fd, 0);
		printf("%d left %d %d\n", nth, left, error);
	}
}

static void make_namespaces(void)
{
	while (fgets(line, sizeof(line), stdin)) {
		int nth = atoi(line), fd, error, left;
		pid_t child;

		fflush(stdout);
		child = fork();
		if (child < 0)
			die("fork");
		if (child) {
			waitpid(child, NULL, 0);
			continue;
		}
		fd = open_nth(getpid());
		set_nth(fd, nth);
		error = unshare(CLONE_NEWNET) ? errno : 0;
		left = left_of(fd);
		set_nth(fd, 0);
		printf("%d left %d %d\n", nth, left, error);
		fflush(stdout);
		_exit(0);
	}
}

int main(int argc, char **argv)
{
	if (argc > 4 && !strcmp(argv[1], "feed"))
		return feed(atoi(argv[2]), argv[3], argv + 4);
	if (argc > 2 && !strcmp(argv[1], "tun")) {
		send_datagrams(open_tun(argv[2]));
		return 0;
	}
	if (argc > 1 && !strcmp(argv[1], "unshare")) {
		make_namespaces();
		return 0;
	}
	fprintf(stderr, "alloc-fail: feed NTH FILE COMMAND..., tun DEVICE, or unshare\n");
	return 2;
}
