// SPDX-License-Identifier: GPL-2.0-only
/** A checkout with a fake kernel of a few files, so that the toolchain's own tests take seconds. */

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { Failure, type FailureKind } from '../../scripts/base/errors.ts'
import { ROOT } from '../../scripts/base/root.ts'
import { createContext, type Context, type Variables } from '../../scripts/build/context.ts'
import { runCommand } from '../../scripts/cli.ts'
import { SOURCES } from '../../scripts/sources.ts'

export interface Fixture {
  root: string
  cache: string
  kernel: string
  /** Makes a context of this checkout, with every source given as a local file. */
  context: (variables?: Variables) => Context
  /** Writes a file of the checkout. */
  write: (name: string, content: string) => string
}

const HOOK_FILE = 'net/netfilter/ipvs/ip_vs_core.c'

/** Twelve numbered lines, so that a hunk has context on both sides. */
export const coreFile = (change: (line: string) => string = (line) => line): string =>
  Array.from({ length: 12 }, (_, index) => change(`int line_${index + 1};`)).join('\n') + '\n'

/**
 * The fake kernel's Makefile knows the goals that the toolchain calls. A file
 * `FAIL` in the tree breaks the compilation, lib.c is really compiled; CONFIG_VANISHED never survives.
 */
const MAKEFILE = `VERSION = 6
PATCHLEVEL = 12
SUBLEVEL = 3
EXTRAVERSION =
# bzImage and modules have one recipe, which must not run twice at once.
.NOTPARALLEL:
x86_64_defconfig:
	@printf 'CONFIG_NET=y\\n' > $(O)/.config
olddefconfig:
	@sed -i '/CONFIG_VANISHED/d' $(O)/.config
ifdef M
modules:
	@if [ -e FAIL ]; then exit 1; fi
	@echo "  CC [M]  $(M)/ip_vs.ko"; cp ${HOOK_FILE} $(O)/$(M)/ip_vs.ko
else
bzImage modules:
	@mkdir -p $(O)/arch/x86/boot $(O)/net/netfilter/ipvs $(O)/include/config
	@echo $(VERSION).$(PATCHLEVEL).$(SUBLEVEL)$(LOCALVERSION) > $(O)/include/config/kernel.release
	@if [ -e FAIL ]; then echo "foo.c:3:1: error: expected ';'"; exit 1; fi
	@[ -e $(O)/lib.o ] || $(CC) -c -o $(O)/lib.o lib.c
	@echo "  CC      $@"; cat ${HOOK_FILE} > $(O)/arch/x86/boot/bzImage
	@cp ${HOOK_FILE} $(O)/net/netfilter/ipvs/ip_vs.ko
	@echo net/netfilter/ipvs/ip_vs.ko > $(O)/modules.order
endif
prepare:
net/netfilter/ipvs/: .force
	@mkdir -p $(O)/$@ && $(CC) -Wall -c -o $(O)/$@ip_vs_core.o ${HOOK_FILE}
.force:
`

const MERGE_CONFIG = `#!/bin/sh
# merge_config.sh -m -O FOLDER BASE FRAGMENT...
out=$3; shift 3
grep -hE '^(# )?CONFIG_' "$@" > $out/merged && mv $out/merged $out/.config
`

/** checkpatch.pl complains of blanks at the end of a line. */
const CHECKPATCH = `for my $path (grep { /\\.patch$/ } @ARGV) {
  open(my $patch, '<', $path) or die;
  while (<$patch>) { if (/^\\+.* $/) { print "ERROR:TRAILING_WHITESPACE: $path: $.\\n"; $errors++ } }
}
exit($errors ? 1 : 0);
`

export const ENGINE_MESSAGE = `ipvs: add an SNAT engine

It translates.

Signed-off-by: A Writer <a.writer@example.org>
`

/** A patch in git format-patch form that changes one numbered line of the fake core file. */
export function hookPatch(line: number, subject = 'ipvs: call the engine'): string {
  const context = (at: number) => ` int line_${at};\n`
  return `From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: A Writer <a.writer@example.org>
Date: Sun, 22 Nov 2026 12:00:00 +0000
Subject: [PATCH] ${subject}

Because.

Signed-off-by: A Writer <a.writer@example.org>
---
diff --git a/${HOOK_FILE} b/${HOOK_FILE}
--- a/${HOOK_FILE}
+++ b/${HOOK_FILE}
@@ -${line - 2},5 +${line - 2},5 @@
${context(line - 2)}${context(line - 1)}-int line_${line};
+int hooked_${line};
${context(line + 1)}${context(line + 2)}`
}

/** Makes a checkout with the fake kernel as a tarball; both are removed when the test ends. */
export function createFixture(t: Pick<ExecutionContext, 'teardown'>): Fixture {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-test-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const root = join(folder, 'checkout')
  const cache = join(folder, 'cache')
  const write = (name: string, content: string) => writeBelow(root, name, content)
  write('patches/engine/commit-message', ENGINE_MESSAGE)
  write('patches/engine/net/netfilter/ipvs/ip_vs_snat.c', 'int snat;\n')
  write('patches/compat/6/net/netfilter/ipvs/ip_vs_snat_compat.h', '/* 6 */\n')
  write('patches/compat/6.12/net/netfilter/ipvs/ip_vs_snat_line.h', '/* 6.12 */\n')
  write('patches/lts-6.12/series', '# hooks\n0001-ipvs-call-the-engine.patch\n')
  write('patches/lts-6.12/0001-ipvs-call-the-engine.patch', hookPatch(5))
  write('specs/kernel/lts/10-base.config', 'CONFIG_IP_VS=m\n# CONFIG_SOUND is not set\n')
  write('specs/kernel/lts/debug.config', 'CONFIG_IP_VS_DEBUG=y\n')
  write('specs/kernel/lts-6.1/objects.config', 'CONFIG_NFT_OBJREF=m\n')
  const kernel = kernelTarball(folder)
  const other = tarball(folder, 'tool-1.0.tar.gz', { README: 'a tool\n' })
  const sources = SOURCES.filter(({ upstream }) => upstream).map(({ name }) => `${name}=${name === 'linux-6.12' ? kernel : other}`).join(',')
  const context = (variables: Variables = {}) =>
    createContext({ CACHE: cache, SETUP: 'no', JOBS: '2', SOURCE: sources, ...variables }, root)
  return { root, cache, kernel, context, write }
}

/** Makes a checkout with both kernel lines of distributions, and what the package for DKMS is made of. */
export function createBothLines(t: ExecutionContext): Fixture {
  const fixture = createFixture(t)
  const { root, write } = fixture
  for (const name of readdirSync(join(ROOT, 'specs/dkms'))) write(`specs/dkms/${name}`, read(ROOT, 'specs/dkms', name))
  for (const name of ['specs/static/GPL-2.0.txt', 'specs/rpmlint.toml']) write(name, read(ROOT, name))
  write('patches/lts-6.1/series', '0001-ipvs-call-the-engine.patch\n')
  write('patches/lts-6.1/0001-ipvs-call-the-engine.patch', hookPatch(10))
  write('patches/compat/6.1/net/netfilter/ipvs/ip_vs_snat_line.h', '/* 6.1 */\n')
  const SOURCE = (fixture.context().variables.SOURCE ?? '').replace(/linux-6\.1=[^,]*/, `linux-6.1=${kernelTarball(dirname(root), '6.1.7')}`)
  return { ...fixture, context: (variables) => fixture.context({ SOURCE, ...variables }) }
}

/** @returns the path of a fake kernel's tarball */
export function kernelTarball(folder: string, version = '6.12.3', core = coreFile()): string {
  const sublevel = version.split('.')
  const makefile = MAKEFILE.replace('VERSION = 6', `VERSION = ${sublevel[0]}`)
    .replace('PATCHLEVEL = 12', `PATCHLEVEL = ${sublevel[1]}`)
    .replace('SUBLEVEL = 3', `SUBLEVEL = ${sublevel[2]}`)
  return tarball(folder, `linux-${version}.tar.xz`, {
    Makefile: makefile,
    'scripts/kconfig/merge_config.sh': MERGE_CONFIG,
    [HOOK_FILE]: core,
    'include/net/ip_vs.h': '/* IPVS */\n',
    'net/netfilter/xt_ipvs.c': 'MODULE_LICENSE("GPL");\n',
    'net/Kconfig': 'config NET\n',
    'lib.c': 'int lib;\n',
    'scripts/checkpatch.pl': CHECKPATCH,
  })
}

/** @returns the path of a tarball that holds the files below one top folder */
export function tarball(folder: string, name: string, files: Record<string, string>): string {
  const top = name.replace(/\.tar\.\w+$/, '')
  for (const [path, content] of Object.entries(files)) writeBelow(join(folder, top), path, content)
  execFileSync('chmod', ['-R', 'a+rx', join(folder, top)])
  execFileSync('tar', ['--auto-compress', '--create', '--file', join(folder, name), '--directory', folder, top])
  return join(folder, name)
}

function writeBelow(folder: string, name: string, content: string): string {
  const path = join(folder, name)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, content)
  return path
}

/** A keyring of the test's own, and gpg on it; its tests are serial. */
export function createKeyring(t: ExecutionContext): { folder: string; gpg: (...words: string[]) => string } {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-sign-'))
  const home = join(folder, 'gpg')
  const before = process.env['GNUPGHOME']
  process.env['GNUPGHOME'] = home
  t.teardown(() => {
    spawnSync('gpgconf', ['--kill', 'all'])
    if (before === undefined) delete process.env['GNUPGHOME']
    else process.env['GNUPGHOME'] = before
    rmSync(folder, { recursive: true, force: true })
  })
  mkdirSync(home, { mode: 0o700 })
  return { folder, gpg: (...words) => execFileSync('gpg', ['--batch', '--quiet', '--passphrase', '', ...words], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }) }
}

/** @returns the first fingerprint that gpg lists */
export const fingerprint = (listed: string): string => /^fpr:+([0-9A-F]{40}):/m.exec(listed)?.[1] ?? ''

/** Expects a failure of a kind, and returns it for a look at its message. */
export async function fails(t: ExecutionContext, kind: FailureKind, work: () => Promise<unknown>): Promise<Failure> {
  const error = await t.throwsAsync(work, { instanceOf: Failure })
  t.is(error.kind, kind, error.stack)
  return error
}

export const read = (...path: string[]): string => readFileSync(join(...path), 'utf8')

/** Runs a command and takes what it prints as its result. One at a time in a process: its tests are serial. */
export async function printed(words: readonly string[], variables: Variables = {}): Promise<string> {
  const write = process.stdout.write.bind(process.stdout)
  let text = ''
  process.stdout.write = (chunk: string) => ((text += chunk), true)
  try {
    await runCommand([...words, ...Object.entries(variables).map(([name, value]) => `${name}=${value}`)])
    return text
  } finally {
    process.stdout.write = write
  }
}
