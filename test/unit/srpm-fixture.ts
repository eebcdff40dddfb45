// SPDX-License-Identifier: GPL-2.0-only
/** Source packages of a fake kernel, built here by rpmbuild, and keys to sign them with. */

import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Context } from '../../scripts/build/context.ts'
import type { SrpmSource } from '../../scripts/sources.ts'
import { tarball } from './fixture.ts'

const VERSION = '2.6.32'

/** The goals of a 2.6.32 kernel's make that the toolchain calls. */
const MAKEFILE = `VERSION = 2
PATCHLEVEL = 6
SUBLEVEL = 32
EXTRAVERSION =
loose_nonint_oldconfig:
	@sed -i '/CONFIG_VANISHED/d' $(O)/.config
bzImage modules:
	@mkdir -p $(O)/arch/x86/boot
	@echo "2.6.32$(EXTRAVERSION) by $(CC)" > $(O)/arch/x86/boot/bzImage
	@echo net/netfilter/ipvs/ip_vs.ko > $(O)/modules.order
`

/** Ten numbered lines, which are more than the spec takes for an empty patch. */
const CORE = Array.from({ length: 12 }, (_, index) => `int line_${index + 1};\n`).join('')

/** A patch of ten lines that changes line 6 of the core file. */
export const TEN_LINES = `a patch without names of files before these
--- a/net/netfilter/ipvs/ip_vs_core.c
+++ b/net/netfilter/ipvs/ip_vs_core.c
@@ -4,5 +4,5 @@
 int line_4;
 int line_5;
-int line_6;
+int patched_6;
 int line_7;
 int line_8;
`

/** The same without its first line: nine lines. */
export const NINE_LINES = TEN_LINES.slice(TEN_LINES.indexOf('---'))

/** Says in the words of this file what %prep of a RHEL 6 kernel does. */
const spec = (kernel: string): string => `
Name: kernel
Version: ${VERSION}
Release: ${kernel.slice(VERSION.length + 1)}
Summary: a fake
License: none
%define tree linux-${kernel}
Source0: %{tree}.tar.bz2
Source1: merge.pl
Source2: Makefile.config
Source3: config-generic
Source4: config-generic-rhel
Patch1: fix.patch.bz2
Patch999999: linux-kernel-test.patch
%description
A fake.
%prep
%if 0%{?fuzzy}
  patch_command='patch -p1 -s'
%else
  patch_command='patch -p1 -F1 -s'
%endif
ApplyPatch()
{
  case "$1" in
  *.bz2) bunzip2 < "$RPM_SOURCE_DIR/$1" | $patch_command ;;
  *) $patch_command < "$RPM_SOURCE_DIR/$1" ;;
  esac
}
ApplyOptionalPatch()
{
  local C=$(wc -l < $RPM_SOURCE_DIR/$1)
  if [ "$C" -gt 9 ]; then
    ApplyPatch $1
  fi
}
%setup -q -n kernel-${kernel} -c
cd %{tree}
ApplyPatch fix.patch.bz2
ApplyOptionalPatch linux-kernel-test.patch
%build
`

const MERGE = `open(A, $ARGV[0]); open(B, $ARGV[1]); print grep { /CONFIG_/ } <A>; print <B>;`

const MAKEFILE_CONFIG = `kernel-$(VERSION)-x86_64.config: config-generic config-generic-rhel Makefile
	perl merge.pl config-generic-rhel config-generic > $@
`

const FIX = `--- a/fixed.c
+++ b/fixed.c
@@ -1 +1 @@
-int broken;
+int fixed;
`

export interface SrpmOptions {
  kernel?: string
  /** Content of linux-kernel-test.patch. */
  testPatch?: string
  /** Changes the spec. */
  edit?: (spec: string) => string
}

/**
 * @param folder for the package and what it is made of
 * @returns path of the package
 */
export function makeSrpm(folder: string, options: SrpmOptions = {}): string {
  const { kernel = '2.6.32-279.el6', testPatch = '', edit = (text: string) => text } = options
  const sources = join(folder, `srpm-${kernel}`)
  mkdirSync(sources, { recursive: true })
  tarball(sources, `linux-${kernel}.tar.bz2`, { Makefile: MAKEFILE, 'net/Kconfig': 'config NET\n', 'fixed.c': 'int broken;\n', 'net/netfilter/ipvs/ip_vs_core.c': CORE })
  const files: Record<string, string> = {
    'kernel.spec': edit(spec(kernel)),
    'merge.pl': MERGE,
    'Makefile.config': MAKEFILE_CONFIG,
    'config-generic': 'CONFIG_IP_VS=m\n',
    'config-generic-rhel': 'CONFIG_RHEL=y\n',
    'fix.patch': FIX,
    'linux-kernel-test.patch': testPatch,
  }
  for (const [name, content] of Object.entries(files)) writeFileSync(join(sources, name), content)
  execFileSync('bzip2', ['--force', join(sources, 'fix.patch')])
  rpmbuild(sources, '-bs', join(sources, 'kernel.spec'))
  return join(sources, `kernel-${kernel}.src.rpm`)
}

/** Runs rpmbuild with everything in one folder. A spec hides by `fixture` what newer rpms refuse. */
export function rpmbuild(folder: string, ...words: string[]): void {
  const places = ['_sourcedir', '_srcrpmdir', '_topdir', '_builddir', '_dbpath'].flatMap((name) => ['--define', `${name} ${folder}`])
  execFileSync('rpmbuild', [...places, '--define', 'dist %{nil}', '--define', 'fixture 1', '--nodeps', '--target', 'x86_64', ...words], { stdio: 'pipe' })
}

/** A key as those who verify know it. */
export interface PublicKey {
  fingerprint: string
  /** Path of the public key. */
  file: string
}

/** @returns where the checkout of a context has a key that {@link signedBy} has put there */
export const keyPath = ({ paths }: Context, { fingerprint }: PublicKey): string => join(paths.root, 'specs/keys', fingerprint)

/**
 * The context's source package with other keys pinned, which are put into its checkout.
 *
 * @param publisher who signs what is published
 * @param others who vouch too for what is brought
 */
export function signedBy(context: Context, publisher: PublicKey, ...others: readonly PublicKey[]): SrpmSource {
  const { srpm } = context
  if (srpm === undefined) throw new Error('The target has no source package.')
  const pin = (key: PublicKey, owner: string) => {
    mkdirSync(dirname(keyPath(context, key)), { recursive: true })
    copyFileSync(key.file, keyPath(context, key))
    return { keyFingerprint: key.fingerprint, keyOwner: owner, keyFile: `specs/keys/${key.fingerprint}` }
  }
  const signer = pin(publisher, 'publisher')
  return { ...srpm, urls: [], publisher: signer, signers: [signer, ...others.map((key, index) => pin(key, `other ${index + 1}`))] }
}

export interface TestKey extends PublicKey {
  /** Signs a package, instead of whoever has signed it before. */
  sign: (srpm: string) => void
}

/**
 * Makes a key that carries another one as its subkey. Whoever has the other's public key
 * can: a subkey that does not sign is bound by the primary's signature alone. GnuPG only
 * does it with the secret key at hand, so the test lends it.
 *
 * @param folder that both keys were made in, the owner's first
 * @returns path of a file with the owner's public key
 */
export function adoptKey(folder: string, owner: string, adopted: string): string {
  const [home, other] = [owner, adopted].map((name) => join(folder, `gpg-${name}`)) as [string, string]
  const gpg = (at: string, words: readonly string[], input = ''): string =>
    execFileSync('gpg', ['--homedir', at, '--batch', '--quiet', '--pinentry-mode', 'loopback', '--passphrase', '', ...words], { encoding: 'utf8', input, stdio: ['pipe', 'pipe', 'ignore'] })
  const field = (listing: string, record: string, index: number): string => listing.split('\n').find((line) => line.startsWith(`${record}:`))?.split(':')[index] ?? ''
  const listing = gpg(other, ['--with-colons', '--with-keygrip', '--list-keys'])
  const grip = field(listing, 'grp', 9)
  copyFileSync(join(other, 'private-keys-v1.d', `${grip}.key`), join(home, 'private-keys-v1.d', `${grip}.key`))
  // 13: an existing key; the flags that are on are switched off, but for encryption; no end; a fingerprint has the time in it.
  const answers = ['addkey', '13', grip, 's', 'q', '0', 'save', ''].join('\n')
  const words = ['--no-batch', '--expert', '--no-tty', '--faked-system-time', `${field(listing, 'pub', 5)}!`, '--command-fd', '0']
  gpg(home, [...words, '--edit-key', field(gpg(home, ['--with-colons', '--list-keys']), 'fpr', 9)], answers)
  execFileSync('gpgconf', ['--homedir', home, '--kill', 'all'])
  const file = join(home, 'adopted.asc')
  writeFileSync(file, gpg(home, ['--armor', '--export']))
  return file
}

/** Makes a key in a GnuPG home of its own. */
export function makeKey(folder: string, name: string): TestKey {
  const home = join(folder, `gpg-${name}`)
  mkdirSync(home, { recursive: true, mode: 0o700 })
  const gpg = (...words: string[]): string =>
    execFileSync('gpg', ['--homedir', home, '--batch', '--quiet', '--passphrase', '', ...words], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  gpg('--quick-generate-key', `${name}@example.org`, 'rsa2048', 'sign')
  const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(gpg('--with-colons', '--list-keys'))?.[1] ?? ''
  const file = join(home, 'key.asc')
  writeFileSync(file, gpg('--armor', '--export'))
  const sign = (srpm: string): void => {
    const program = execFileSync('sh', ['-c', 'command -v gpg'], { encoding: 'utf8' }).trim()
    execFileSync('rpmsign', ['--define', `__gpg ${program}`, '--define', `_gpg_path ${home}`, '--define', `_gpg_name ${fingerprint}`, '--resign', srpm], { stdio: 'pipe' })
    execFileSync('gpgconf', ['--homedir', home, '--kill', 'all'])
  }
  return { fingerprint, file, sign }
}
