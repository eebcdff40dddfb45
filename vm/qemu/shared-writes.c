// SPDX-License-Identifier: GPL-2.0-only
/*
 * A plugin of QEMU that tells which lines of the kernel's memory were used by more than one processor, who wrote to them,
 * and how often. What a processor writes to such a line is not in the caches of the others any more: it is what processors
 * hold each other up with, and is counted here because emulated processors, which take turns, are not held up.
 *
 * Windows are those of plugin.h. The first one only has the plugin begin to watch, as a machine that is watched is very slow. At the end of another it tells
 *
 *	window
 *	WRITER LINE WRITES0 WRITES1 USES0 USES1		in hexadecimal, then decimal: an instruction that wrote, and a line
 */
#include "plugin.h"

#define PROCESSORS 2
#define LINE_BITS 6

/* Tables of lines, and of writers to lines. They are larger than what is used of them in a window. */

#define TABLE_BITS 20
#define TABLE_SIZE (1U << TABLE_BITS)

struct entry {
	uint64_t line;
	uint64_t writer;	/* 0: all of the line's uses */
	uint32_t count[PROCESSORS];
};

static struct entry *table;
static uint32_t used;

static plugin_id self;
static bool watching;
static bool within;
static const char *path;

static struct entry *find(uint64_t line, uint64_t writer)
{
	uint64_t hash = (line * 0x9e3779b97f4a7c15ULL) ^ (writer * 0xc2b2ae3d27d4eb4fULL);
	uint32_t place = hash >> (64 - TABLE_BITS);

	while (table[place].line && (table[place].line != line || table[place].writer != writer))
		place = (place + 1) & (TABLE_SIZE - 1);
	if (!table[place].line) {
		if (++used > TABLE_SIZE / 4 * 3) {
			fprintf(stderr, "shared-writes: more lines than there is room for\n");
			exit(1);
		}
		table[place].line = line;
		table[place].writer = writer;
	}
	return &table[place];
}

static void on_memory(unsigned int processor, uint32_t info, uint64_t address, void *writer)
{
	uint64_t line = address >> LINE_BITS;

	if (!within || address < KERNEL || processor >= PROCESSORS)
		return;
	find(line, 0)->count[processor]++;
	if (qemu_plugin_mem_is_store(info))
		find(line, (uint64_t)writer)->count[processor]++;
}

static void on_begin(unsigned int processor, void *data)
{
	(void)processor;
	(void)data;
	if (!watching) {
		watching = true;
		translate_anew(self);
		return;
	}
	memset(table, 0, TABLE_SIZE * sizeof(*table));
	used = 0;
	within = true;
}

static void on_end(unsigned int processor, void *data)
{
	FILE *out;
	uint32_t i;

	(void)processor;
	(void)data;
	if (!within)
		return;
	within = false;
	out = window_to(path);
	for (i = 0; i < TABLE_SIZE; i++) {
		const struct entry *entry = &table[i];
		const struct entry *uses = entry->writer ? find(entry->line, 0) : NULL;

		if (uses && uses->count[0] && uses->count[1])
			fprintf(out, "%llx %llx %u %u %u %u\n", (unsigned long long)entry->writer, (unsigned long long)entry->line << LINE_BITS,
				entry->count[0], entry->count[1], uses->count[0], uses->count[1]);
	}
	fclose(out);
}

static void on_translation(struct qemu_plugin_tb *block)
{
	size_t count = qemu_plugin_tb_n_insns(block), i;

	watch_marks(block, on_begin, on_end);
	if (!watching)
		return;
	for (i = 0; i < count; i++) {
		struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
		uint64_t place = qemu_plugin_insn_vaddr(instruction);

		if (place >= KERNEL)
			qemu_plugin_register_vcpu_mem_cb(instruction, on_memory, NO_REGISTERS, READ_AND_WRITE, (void *)place);
	}
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
	(void)info;
	path = out_of(argc, argv);
	table = calloc(TABLE_SIZE, sizeof(*table));
	if (!table)
		return 1;
	self = id;
	watch_translations(id);
	return 0;
}
