// SPDX-License-Identifier: GPL-2.0-only
/** The fake kernel's checkout with specs and tools of a few lines, so that real packages and a repository come out of it in seconds. */

import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { ExecutionContext } from 'ava'
import { digestTree, listFiles } from '../../scripts/base/files.ts'
import { ROOT } from '../../scripts/base/root.ts'
import type { Context } from '../../scripts/build/context.ts'
import { bring } from '../../scripts/build/step.ts'
import { REPRODUCIBLE } from '../../scripts/package/rpm.ts'
import { SOURCES } from '../../scripts/sources.ts'
import { step as repo } from '../../scripts/steps/repo.ts'
import { guestTools } from '../../scripts/steps/tools.ts'
import { createFixture, kernelTarball, read, tarball, type Fixture } from './fixture.ts'

/** Each makes one file, by a make of its own, and has the lines that the toolchain fills in. */
const spec = (head: string, filled: readonly string[], content: string, changes: string): string => `${
  Object.entries({ ...REPRODUCIBLE, _binary_payload: 'w1.gzdio', debug_package: '%{nil}', __os_install_post: '%{nil}', ...Object.fromEntries(filled.map((name) => [name, 'x'])) })
    .map(([name, value]) => `%global ${name} ${value}\n`).join('')}${head}
Summary: Fixture
License: MIT
ExclusiveArch: x86_64
# @patches@
# @provides@
%description
Fixture.
%build
printf 'data:\\n\\techo ${content} >data\\n' | make -f -
%install
install -D -m 0644 data %{buildroot}/usr/share/%{name}/data
%files
/usr/share/%{name}
%changelog
* Sun Nov 22 2026 Nobody <nobody@localhost> - 1-1
${changes}
`

const toolSpec = (name: string, content: string): string =>
  spec(`Name: ${name}\nVersion: %{tool_version}\nRelease: %{tool_release}\nSource0: %{tool_source}`,
    ['tool_version', 'tool_source', 'popt_source', 'popt_patches', 'openssl_source', 'openssl_patches', 'libnl_source', 'libnl_patches', 'tool_release', 'build_host'], content, '- @changes@')

const kernelSpec = (content: string): string =>
  spec('Name: kernel\nVersion: %{kernel_version}\nRelease: %{kernel_release}\nSource0: %{kernel_source}',
    ['kernel_version', 'kernel_release', 'kernel_local', 'kernel_stock', 'kernel_variant', 'kernel_source', 'kernel_patches', 'build_host', 'build_timestamp', 'build_epoch'], content, '- First')

/** One source for all tools and libraries: what is made of it is the same program by the name that is asked for. */
const TOOL: Readonly<Record<string, string>> = {
  'main.c': 'int main(void) { return 0; }\n',
  configure: "#!/bin/sh\nPACKAGE_VERSION='1.0'\n",
  Makefile: `all: ethtool iptables/xtables-legacy-multi
ethtool iptables/xtables-legacy-multi ipvsadm busybox: main.c
	$(CC) -o $@ main.c
defconfig oldconfig:
	touch .config
lib/libnl-3.la lib/libnl-genl-3.la:
`,
  'src/Makefile': 'libpopt.la:\n',
  'src/popt.h': '',
  'src/.libs/libpopt.a': '',
  'libipvs/Makefile': 'libipvs.a:\n',
  'include/netlink/netlink.h': '',
  'lib/.libs/libnl-3.a': '',
  'lib/.libs/libnl-genl-3.a': '',
  'iptables/README': '',
}

/** What finds nothing, in a moment. */
const RPMLINT = '#!/bin/sh\necho " $(($# - 2)) packages and 0 specfiles checked; 0 errors"\n'

export interface Packaged extends Fixture {
  /** Folder of programs that stand before others of their names. */
  bin: string
  /** Decides what is in the packages, and in one of the guest's own programs. */
  setContent: (content: string) => void
}

/** Makes a checkout of which packages can be built, of its own sources or of another one's, so that both build the same. */
export function createPackaged(t: Pick<ExecutionContext, 'teardown'>, other?: Packaged): Packaged {
  const fixture = createFixture(t)
  const { root, write } = fixture
  const folder = dirname(root)
  for (const name of ['musl.sh', 'musl.COPYRIGHT', 'GPL-2.0.txt']) write(`specs/static/${name}`, read(ROOT, 'specs/static', name))
  write('specs/rpmlint.toml', '')
  write('specs/busybox/busybox.config', 'CONFIG_STATIC=y\n')
  write('patches/ipvsadm/series', '')
  const SOURCE = other?.context().variables.SOURCE ?? sourcesOf(kernelTarball(folder), tarball(folder, 'tool-1.0.tar.gz', TOOL))
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  writeFileSync(join(bin, 'rpmlint'), RPMLINT, { mode: 0o755 })
  for (const path of guestTools(fixture.context()).keys()) write(`vm/guest/${basename(path)}.c`, TOOL['main.c'] ?? '')
  const setContent = (content: string): void => {
    write('specs/kernel/kernel.spec', kernelSpec(content))
    for (const name of ['ipvsadm', 'keepalived']) write(`specs/${name}/${name}.spec`, toolSpec(name, content))
    write('vm/guest/mark-window.c', `const char *volatile content = "${content}";\nint main(void) { return *content == 0; }\n`)
  }
  setContent('first')
  return { ...fixture, bin, setContent, context: (variables) => fixture.context({ SOURCE, ...variables }) }
}

const sourcesOf = (kernel: string, tool: string): string => SOURCES.filter(({ upstream }) => upstream).map(({ name }) => `${name}=${name === 'linux-6.12' ? kernel : tool}`).join(',')

/** A line for each file of a folder, or for a file, with its digest. */
const contents = (path: string): string[] => (existsSync(path) ? Object.entries(digestTree(path)).map(([name, digest]) => `${digest} ${name.slice(path.length)}`) : [])

/** Tools whose content changes. */
const TOOLS = ['ipvsadm', 'keepalived', 'mark-window']
/** What others read, each of which is one build's as a whole. */
const partsOf = ({ paths }: Context): string[] => [
  ...['RPMS', 'SRPMS', 'repodata', 'SHA256SUMS'].map((name) => join(paths.dist, name)),
  ...TOOLS.map((name) => join(paths.tools, name)),
]

/** @returns names of what is there, without the shared results, of which there may be earlier ones */
const names = ({ paths: { work, tools, dist, results } }: Context): string[] => [
  ...[work, tools, dist].flatMap((folder) => readdirSync(folder)).sort(),
  ...listFiles(results).filter((name) => name.includes('.new-')),
]

/** What has come of a build. */
export interface Made {
  parts: string[][]
  names: string[]
}

const made = (context: Context): Made => ({ parts: partsOf(context).map(contents), names: names(context) })

/** @returns paths of what is neither of one build nor of the other */
export const mixedParts = (context: Context, ...builds: readonly (Made | undefined)[]): string[] =>
  partsOf(context).filter((path, at) => !builds.some((each) => isDeepStrictEqual(each?.parts[at], contents(path))))

/** Removes the shared results of what has changing content, so that it is made and not taken, and what else is to be made. */
export function forget({ paths }: Context, more: readonly string[] = []): void {
  for (const path of [...TOOLS.map((name) => join(paths.results, name)), ...more]) rmSync(path, { recursive: true, force: true })
}

/** @returns folder of a program that stands before another one of its name, and at certain words, a pattern of the shell's, does what `body` says, in which `real` calls it */
export function standIn(folder: string, program: string, words: string, body: string): string {
  const bin = join(folder, program)
  const real = execFileSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8' }).trim()
  mkdirSync(bin, { recursive: true })
  writeFileSync(join(bin, program), `#!/bin/bash
real() { ${real} "$@"; }
case " $* " in ${words.replaceAll(' ', '\\ ')})
${body} ;;
esac
exec ${real} "$@"
`, { mode: 0o755 })
  return bin
}

/** A build that goes to its end. */
export async function build({ context, setContent }: Packaged, content: string): Promise<Made> {
  setContent(content)
  // What a process that was killed has started may be at its end.
  const c = context({ WAIT: '1' })
  await bring(c, repo)
  return made(c)
}
