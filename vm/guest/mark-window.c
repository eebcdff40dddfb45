// SPDX-License-Identifier: GPL-2.0-only
/*
 * Begins or ends a window of what a plugin of QEMU watches (vm/qemu/plugin.h): by an instruction that does nothing, with a number
 * that no compiler puts into one.
 */
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "begin")) {
		__asm__ volatile(".byte 0x0f, 0x1f, 0x84, 0x00, 0x42, 0x57, 0x41, 0x53");
		return 0;
	}
	if (argc == 2 && !strcmp(argv[1], "end")) {
		__asm__ volatile(".byte 0x0f, 0x1f, 0x84, 0x00, 0x45, 0x57, 0x41, 0x53");
		return 0;
	}
	fprintf(stderr, "usage: mark-window begin|end\n");
	return 2;
}
