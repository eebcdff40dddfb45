/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the plugins of QEMU in this folder have in common. Each watches windows: vm/guest/mark-window.c has the instructions that begin
 * and end them, and at the end of a window the plugin appends to the file that its argument `out` says.
 *
 * The declarations are those of qemu-plugin.h, of which Debian has no package. QEMU refuses a plugin of a version that is too old for it or too
 * new, and functions change from one to another: PLUGIN_API says which version is compiled for (vm/qemu/plugin.ts).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef PLUGIN_API
#error "PLUGIN_API is to be the version of the interface of plugins that this QEMU has"
#endif

#define EXPORT __attribute__((visibility("default")))
#define KERNEL 0xffff800000000000ULL
/* nopl NUMBER(%rax,%rax,1), as vm/guest/mark-window.c has it */
#define MARK_BYTES 8
#define MARK_BEGIN "\x0f\x1f\x84\x00\x42\x57\x41\x53"
#define MARK_END "\x0f\x1f\x84\x00\x45\x57\x41\x53"

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { NO_REGISTERS };
enum { READ = 1, WRITE, READ_AND_WRITE };

void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned int, void *), int, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, void (*)(unsigned int, uint32_t, uint64_t, void *), int, int, void *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned int, void *), int, void *);
bool qemu_plugin_mem_is_store(uint32_t);

EXPORT int qemu_plugin_version = PLUGIN_API;

/* Each plugin has one: it is called with every block that is translated */
static void on_translation(struct qemu_plugin_tb *block);

#if PLUGIN_API < 7
void qemu_plugin_reset(plugin_id, void (*)(plugin_id));
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));

static inline void translated(plugin_id id, struct qemu_plugin_tb *block)
{
	(void)id;
	on_translation(block);
}

static inline void watch_translations(plugin_id id)
{
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
}

/* Forgets all code, so that it is translated anew */
static inline void translate_anew(plugin_id id)
{
	qemu_plugin_reset(id, watch_translations);
}
#else
void qemu_plugin_reset(plugin_id, void (*)(void *), void *);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(struct qemu_plugin_tb *, void *), void *);

static inline void translated(struct qemu_plugin_tb *block, void *data)
{
	(void)data;
	on_translation(block);
}

static inline void watch_translations(plugin_id id)
{
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated, NULL);
}

static inline void was_reset(void *id)
{
	watch_translations((plugin_id)id);
}

static inline void translate_anew(plugin_id id)
{
	qemu_plugin_reset(id, was_reset, (void *)id);
}
#endif

/* Copies the MARK_BYTES bytes of an instruction that is as long */
#if PLUGIN_API < 3
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);

static inline void copy_instruction(char *to, const struct qemu_plugin_insn *instruction)
{
	memcpy(to, qemu_plugin_insn_data(instruction), MARK_BYTES);
}
#else
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *, size_t);

static inline void copy_instruction(char *to, const struct qemu_plugin_insn *instruction)
{
	qemu_plugin_insn_data(instruction, to, MARK_BYTES);
}
#endif

/* Calls these when a program of the machine begins or ends a window, if the block has an instruction that does */
static inline void watch_marks(struct qemu_plugin_tb *block, void (*begin)(unsigned int, void *), void (*end)(unsigned int, void *))
{
	size_t count = qemu_plugin_tb_n_insns(block), i;

	for (i = 0; i < count; i++) {
		struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
		char bytes[MARK_BYTES];

		if (qemu_plugin_insn_vaddr(instruction) >= KERNEL || qemu_plugin_insn_size(instruction) != MARK_BYTES)
			continue;
		copy_instruction(bytes, instruction);
		if (!memcmp(bytes, MARK_BEGIN, MARK_BYTES))
			qemu_plugin_register_vcpu_insn_exec_cb(instruction, begin, NO_REGISTERS, NULL);
		else if (!memcmp(bytes, MARK_END, MARK_BYTES))
			qemu_plugin_register_vcpu_insn_exec_cb(instruction, end, NO_REGISTERS, NULL);
	}
}

/* Where `out` says */
static inline const char *out_of(int argc, char **argv)
{
	return argc == 1 && !strncmp(argv[0], "out=", 4) ? strdup(argv[0] + 4) : "/dev/stdout";
}

/* Begins what is told of a window. The caller closes it. */
static inline FILE *window_to(const char *path)
{
	FILE *out = fopen(path, "a");

	if (!out) {
		perror(path);
		exit(1);
	}
	fprintf(out, "window\n");
	return out;
}
