// SPDX-License-Identifier: GPL-2.0-only
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { Failure } from '../../scripts/base/errors.ts'
import { ROOT } from '../../scripts/base/root.ts'
import { capture } from '../../scripts/base/run.ts'
import { windowsIn } from '../../vm/bench/symbols.ts'
import { compiling, INTERFACES, interfaceOf } from '../../vm/qemu/plugin.ts'

test('a plugin is compiled for the interface that QEMU has, whatever the order of versions as texts is', (t) => {
  const told = (version: string): string => `QEMU emulator version ${version}`
  const versions = ['7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)', '8.2.2', '9.0.0', '9.1.0', '9.2.4', '10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)', '10.2.0', '11.0.1', '11.1.2', '12.0.0']
  t.deepEqual(versions.map((version) => interfaceOf(told(version))), [1, 1, 2, 3, 3, 3, 3, 6, 7, 7])
  for (const wrong of [told('7.1.0'), 'no version']) {
    const failure = t.throws(() => interfaceOf(wrong), { instanceOf: Failure })
    t.is(failure.kind, 'environment')
    t.regex(failure.details.hint ?? '', /QEMU 7\.2\.0 or later/)
  }
})

/**
 * What loads a plugin as QEMU does that has its version of the interface: it translates a block of two instructions of the kernel, one of three at the
 * same place, and blocks with the marks, and executes them. All code is translated anew after a reset. Declarations are QEMU's own, of qemu-plugin.h
 * of 7.2, 10.2 and 11.1.
 */
const LOADER = String.raw`
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define BLOCKS 4
#define INSTRUCTIONS 3
typedef void (*executed)(unsigned int, void *);
typedef void (*accessed)(unsigned int, uint32_t, uint64_t, void *);
struct insn { const char *bytes; size_t size; uint64_t address; executed execute; accessed access; void *data, *access_data; };
struct tb { size_t count; struct insn insn[INSTRUCTIONS]; executed execute; void *data; };

static struct tb blocks[BLOCKS];
static bool anew;
#if PLUGIN_API < 7
static void (*translate)(uint64_t, struct tb *);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*f)(uint64_t, struct tb *)) { translate = id == 77 ? f : 0; }
void qemu_plugin_reset(uint64_t id, void (*f)(uint64_t)) { translate = 0; anew = true; f(id); }
#define TRANSLATE(block) translate(77, block)
#else
static void (*translate)(struct tb *, void *);
static void *given;
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*f)(struct tb *, void *), void *data) { translate = id == 77 ? f : 0; given = data; }
void qemu_plugin_reset(uint64_t id, void (*f)(void *), void *data) { (void)id; translate = 0; anew = true; f(data); }
#define TRANSLATE(block) translate(block, given)
#endif
#if PLUGIN_API < 3
const void *qemu_plugin_insn_data(const struct insn *i) { return i->bytes; }
#else
size_t qemu_plugin_insn_data(const struct insn *i, void *to, size_t size) { size_t all = size < i->size ? size : i->size; memcpy(to, i->bytes, all); return all; }
#endif
void qemu_plugin_register_vcpu_tb_exec_cb(struct tb *b, executed f, int flags, void *data) { (void)flags; b->execute = f; b->data = data; }
void qemu_plugin_register_vcpu_insn_exec_cb(struct insn *i, executed f, int flags, void *data) { (void)flags; i->execute = f; i->data = data; }
void qemu_plugin_register_vcpu_mem_cb(struct insn *i, accessed f, int flags, int which, void *data) { (void)flags; (void)which; i->access = f; i->access_data = data; }
size_t qemu_plugin_tb_n_insns(const struct tb *b) { return b->count; }
uint64_t qemu_plugin_tb_vaddr(const struct tb *b) { return b->insn[0].address; }
struct insn *qemu_plugin_tb_get_insn(struct tb *b, size_t i) { return &b->insn[i]; }
size_t qemu_plugin_insn_size(const struct insn *i) { return i->size; }
uint64_t qemu_plugin_insn_vaddr(const struct insn *i) { return i->address; }
bool qemu_plugin_mem_is_store(uint32_t info) { return info == 1; }

static void translate_all(void)
{
	size_t b, i;

	for (b = 0; b < BLOCKS; b++) {
		for (i = 0; i < INSTRUCTIONS; i++)
			blocks[b].insn[i] = (struct insn){ "\x90", 1, 0xffffffff81000000 + i, 0, 0, 0, 0 };
		blocks[b].count = 1;
		blocks[b].execute = 0;
	}
	blocks[0].count = 2;
	blocks[1].count = 3;
	blocks[2].insn[0] = (struct insn){ "\x0f\x1f\x84\x00\x42\x57\x41\x53", 8, 0x401000, 0, 0, 0, 0 };
	blocks[3].insn[0] = (struct insn){ "\x0f\x1f\x84\x00\x45\x57\x41\x53", 8, 0x402000, 0, 0, 0, 0 };
	for (b = 0; b < BLOCKS; b++)
		TRANSLATE(&blocks[b]);
}

/* Each instruction of the kernel reads what is its own, and writes to a line that is not */
static void execute(size_t b, unsigned int processor)
{
	size_t i;

	if (blocks[b].execute)
		blocks[b].execute(processor, blocks[b].data);
	for (i = 0; i < blocks[b].count; i++) {
		struct insn *insn = &blocks[b].insn[i];

		if (insn->execute)
			insn->execute(processor, insn->data);
		if (!insn->access)
			continue;
		insn->access(processor, 0, 0xffff888000001000 + 0x1000 * processor, insn->access_data);
		insn->access(processor, 1, 0xffff888000004010, insn->access_data);
	}
	if (anew) {
		anew = false;
		translate_all();
	}
}

int main(int argc, char **argv)
{
	void *plugin = argc == 3 ? dlopen(argv[1], RTLD_NOW) : NULL;
	const int *version = plugin ? dlsym(plugin, "qemu_plugin_version") : NULL;
	int (*install)(uint64_t, const void *, int, char **) = plugin ? dlsym(plugin, "qemu_plugin_install") : NULL;
	static const int course[] = { 0, 2, 0, 3, 0, 2, 0, 0, 1, 3, 1 };
	size_t i;

	if (!version || *version != PLUGIN_API || !install || install(77, NULL, 1, argv + 2)) {
		fprintf(stderr, "%s\n", version ? "refused" : dlerror());
		return 1;
	}
	translate_all();
	for (i = 0; i < sizeof(course) / sizeof(*course); i++)
		execute(course[i], i & 1);
	return 0;
}
`

/** By the blocks that are executed between the marks: once the first one, then twice that and once the longer one. */
const TOLD: Readonly<Record<string, string[][][]>> = {
  profile: [[['ffffffff81000000', '2']], [['ffffffff81000000', '7']]],
  'shared-writes': [[
    ['ffffffff81000000', 'ffff888000004000', '2', '1', '5', '2'], ['ffffffff81000001', 'ffff888000004000', '2', '1', '5', '2'], ['ffffffff81000002', 'ffff888000004000', '1', '0', '5', '2'],
  ]],
}

for (const version of Object.values(INTERFACES)) {
  for (const [plugin, windows] of Object.entries(TOLD)) {
    test(`${plugin}.c of version ${version} of the interface is taken, finds the marks, and tells of each window`, async (t) => {
      const folder = mkdtempSync(join(tmpdir(), 'plugin-'))
      t.teardown(() => rmSync(folder, { recursive: true }))
      const [loader, built, out] = [join(folder, 'loader'), join(folder, 'plugin.so'), join(folder, 'out')]
      await capture([...compiling(version, join(ROOT, `vm/qemu/${plugin}.c`), built), '-Werror'])
      writeFileSync(`${loader}.c`, LOADER)
      await capture(['gcc', '-O1', '-Wall', '-Werror', '-rdynamic', `-DPLUGIN_API=${version}`, '-o', loader, `${loader}.c`, '-ldl'])
      await capture([loader, built, `out=${out}`])
      const told = windowsIn(readFileSync(out, 'utf8'))
      t.deepEqual(told.map((rows) => rows.sort()), windows)
    })
  }
}
