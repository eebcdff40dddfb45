// SPDX-License-Identifier: GPL-2.0-only
/*
 * A plugin of QEMU that counts the instructions of the kernel by where they are. At the end of a window (plugin.h) it tells
 *
 *	window
 *	PLACE INSTRUCTIONS	in hexadecimal, then decimal: a block of code, and how many instructions of it were executed
 *
 * A block is counted when it begins, with all its instructions: those behind one that faults, where it is left, were not executed.
 */
#include "plugin.h"

#define TABLE_BITS 20
#define TABLE_SIZE (1U << TABLE_BITS)

/* Of a place, blocks of several lengths may be translated; they are counted together */
struct place {
	uint64_t address;
	uint64_t instructions;
};

/* As many as a block has, for each that was translated: they are never freed, as QEMU may go on executing it */
struct block {
	struct place *place;
	uint64_t instructions;
};

static struct place *table;
static uint32_t used;
static bool within;
static const char *path;

static struct place *find(uint64_t address)
{
	uint32_t i = (address * 0x9e3779b97f4a7c15ULL) >> (64 - TABLE_BITS);

	while (table[i].address && table[i].address != address)
		i = (i + 1) & (TABLE_SIZE - 1);
	if (!table[i].address && ++used > TABLE_SIZE / 4 * 3) {
		fprintf(stderr, "profile: more code than there is room for\n");
		exit(1);
	}
	table[i].address = address;
	return &table[i];
}

static void on_block(unsigned int processor, void *data)
{
	struct block *block = data;

	(void)processor;
	if (within)
		block->place->instructions += block->instructions;
}

static void on_begin(unsigned int processor, void *data)
{
	uint32_t i;

	(void)processor;
	(void)data;
	for (i = 0; i < TABLE_SIZE; i++)
		table[i].instructions = 0;
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
		if (table[i].instructions)
			fprintf(out, "%llx %llu\n", (unsigned long long)table[i].address, (unsigned long long)table[i].instructions);
	}
	fclose(out);
}

static void on_translation(struct qemu_plugin_tb *translation)
{
	uint64_t address = qemu_plugin_tb_vaddr(translation);
	struct block *block;

	if (address < KERNEL) {
		watch_marks(translation, on_begin, on_end);
		return;
	}
	block = malloc(sizeof(*block));
	if (!block)
		exit(1);
	block->place = find(address);
	block->instructions = qemu_plugin_tb_n_insns(translation);
	qemu_plugin_register_vcpu_tb_exec_cb(translation, on_block, NO_REGISTERS, block);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
	(void)info;
	path = out_of(argc, argv);
	table = calloc(TABLE_SIZE, sizeof(*table));
	if (!table)
		return 1;
	watch_translations(id);
	return 0;
}
