// SPDX-License-Identifier: GPL-2.0-only
/** The package for DKMS, and how it tells a kernel whose IPVS it knows. */

import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import test, { type ExecutionContext } from 'ava'
import { listFiles } from '../../scripts/base/files.ts'
import { ROOT } from '../../scripts/base/root.ts'
import { bring } from '../../scripts/build/step.ts'
import { verifyPackage } from '../../scripts/package/publish.ts'
import clean from '../../scripts/commands/clean.ts'
import { dkmsPackage, dkmsRpms, step as dkms } from '../../scripts/steps/dkms.ts'
import { step as stock, stockFolder } from '../../scripts/steps/stock.ts'
import { createBothLines, createFixture, fails } from './fixture.ts'

const KERNEL = '6.12.9+deb13-amd64'
const HEADER = '/* IPVS */\n'

interface Machine {
  version: string
  header?: string
  /** As Debian has it. */
  changelog?: string
  kernel?: string
  /** The changelog that rpm tells of the headers. */
  rpm?: string
}

/** A package with the IPVS of 6.12.7-2, and a machine with headers of one kernel. */
function machine(t: ExecutionContext, { version, header = HEADER, changelog, kernel = KERNEL, rpm = '' }: Machine): { out: string; why: string } {
  const root = mkdtempSync(join(tmpdir(), 'lvs-snat-test-'))
  t.teardown(() => rmSync(root, { recursive: true, force: true }))
  const put = (name: string, content: string | Buffer): void => {
    mkdirSync(dirname(join(root, name)), { recursive: true })
    writeFileSync(join(root, name), content)
  }
  const [major, patchlevel, sublevel] = version.split('.')
  const macros = Object.entries({ MAJOR: major, PATCHLEVEL: patchlevel, SUBLEVEL: sublevel }).map(([name, value]) => `#define LINUX_VERSION_${name} ${value}\n`)
  put('headers/include/generated/uapi/linux/version.h', macros.join(''))
  put(`lib/modules/${kernel}/source/include/net/ip_vs.h`, header)
  if (changelog !== undefined) put(`usr/share/doc/linux-headers-${kernel}/changelog.Debian.gz`, gzipSync(changelog))
  put('package/families', `6.12 6.12.7 6.12.7-2 ${createHash('sha256').update(HEADER).digest('hex')}\n6.1 6.1.9 6.1.9-1 0\n`)
  put('bin/rpm', `#!/bin/sh\n[ "$*" = "--query --changelog --file ${realpathSync(root)}/headers/Makefile" ] && ${rpm !== ''} || exit 1\ncat <<'EOF'\n${rpm}\nEOF\n`)
  chmodSync(join(root, 'bin/rpm'), 0o755)
  copyFileSync(join(ROOT, 'specs/dkms/family'), join(root, 'package/family'))
  const { stdout, stderr, status } = spawnSync('sh', [join(root, 'package/family'), kernel, join(root, 'headers'), root], { encoding: 'utf8', env: { PATH: `${join(root, 'bin')}:/usr/bin:/bin` } })
  t.is(status, 0, stderr)
  return { out: stdout.trim(), why: stderr.trim() }
}

const EL = '6.12.0-55.9.1.el10_0.x86_64'
const KNOWN = 'linux (6.12.7-2) trixie; urgency=medium\n\n    - ipvs: known already\n'

test('a kernel is known by its line, its header, and a changelog without changes of IPVS since', (t) => {
  t.deepEqual(machine(t, { version: '6.12.7' }), { out: '6.12', why: '' })
  t.deepEqual(machine(t, { version: '6.12.3' }), { out: '6.12', why: '' })
  const changelog = `linux (6.12.9-1) trixie; urgency=high\n\n    - ipv6: fix something\n\n${KNOWN}`
  t.deepEqual(machine(t, { version: '6.12.9', changelog }), { out: '6.12', why: '' })
  t.deepEqual(machine(t, { version: '6.12.7', changelog: KNOWN.replace('7-2', '7-1') }), { out: '6.12', why: '' }, 'of the revision before')
  t.deepEqual(machine(t, { version: '6.12.0', kernel: EL, rpm: '* Thu Apr 10 2025 A <a@example.org> [6.12.0-55.9.1.el10_0]\n- net: fix something' }), { out: '6.12', why: '' })
})

for (const [why, kernel, sentence] of [
  ['is of another line', { version: '7.0.1' }, 'there are sources only for Linux 6.12 and 6.1'],
  ['has another header', { version: '6.12.7', header: '/* another */\n' }, 'its include/net/ip_vs.h is another one than that of 6.12.7, of which the sources here are'],
  ['has no changelog', { version: '6.12.9' }, 'its changelog does not tell what changed since 6.12.7, of which the sources here are'],
  ['has a changelog that begins later', { version: '6.12.9', changelog: 'linux (6.12.9-1) trixie\n' }, 'its changelog does not tell what changed since 6.12.7, of which the sources here are'],
  ['changes IPVS', { version: '6.12.9', changelog: `linux (6.12.9-1) trixie\n\n    - ipvs: fix it (CVE-1)\n\n${KNOWN}` },
    'it changes IPVS of 6.12.7, of which the sources here are (ipvs: fix it (CVE-1)); install a newer ipvs-snat-dkms'],
  ['is of EL and tells of no changes', { version: '6.12.0', kernel: EL }, 'the package of its headers does not tell what was changed in it'],
  ['is of EL and has another IPVS', { version: '6.12.0', kernel: EL, rpm: '- net: x\n- ipvs: fix it (A Person) [RHEL-1]' }, 'its distribution has changed its IPVS (ipvs: fix it (A Person) [RHEL-1])'],
  ['is of another distribution with RPMs and has another IPVS', { version: '6.12.0', kernel: '6.12.0-160000.5-default', rpm: '- ipvs: fix it' }, 'its distribution has changed its IPVS (ipvs: fix it)'],
  ['changes IPVS in a later revision', { version: '6.12.7', changelog: `linux (6.12.7-3) trixie-security\n\n  * ipvs: fix it (CVE-1)\n\n${KNOWN}` },
    'it changes IPVS of 6.12.7, of which the sources here are (ipvs: fix it (CVE-1)); install a newer ipvs-snat-dkms'],
] as const) {
  test(`a kernel that ${why} keeps its own modules, and one sentence says so`, (t) => {
    t.deepEqual(machine(t, kernel), { out: '', why: `ipvs-snat: Linux ${'kernel' in kernel ? kernel.kernel : KERNEL} keeps its own IPVS, without SNAT, because ${sentence}.` })
  })
}

test('DKMS reads which modules to make of which folder, and of an unknown kernel that it is none of its', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-test-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const conf = join(folder, 'dkms.conf')
  const [unpacked, kept] = ['src/ipvs-snat-@version@', 'dkms/ipvs-snat/@version@/source'].map((name) => join(folder, name)) as [string, string]
  const read = (answer: string, headers = '', dkmsVersion = '3.2.2', sources = unpacked): string => {
    mkdirSync(sources, { recursive: true })
    writeFileSync(join(sources, 'family'), `echo ${answer}\n`)
    writeFileSync(conf, readFileSync(join(ROOT, 'specs/dkms/dkms.conf'), 'utf8').replaceAll('/usr/src', `${folder}/src`))
    const show = 'echo "$AUTOINSTALL|$BUILD_EXCLUSIVE_KERNEL|${#BUILT_MODULE_NAME[@]}|${BUILT_MODULE_LOCATION[0]}${BUILT_MODULE_NAME[0]}|${BUILT_MODULE_LOCATION[1]}${BUILT_MODULE_NAME[1]}"'
    return execFileSync('bash', ['-c', `dkms() { echo dkms-${dkmsVersion}; }; dkms_tree=${folder}/dkms; kernel_source_dir=${headers}; . ${conf}; ${show}`], { encoding: 'utf8' }).trim()
  }
  t.is(read('6.12'), 'yes||18|6.12/net/netfilter/xt_ipvs|6.12/net/netfilter/ipvs/ip_vs')
  t.is(read(''), 'yes|^$|18|/net/netfilter/xt_ipvs|/net/netfilter/ipvs/ip_vs')
  mkdirSync(join(folder, 'include/config'), { recursive: true })
  writeFileSync(join(folder, 'include/config/auto.conf'), 'CONFIG_IP_VS=m\nCONFIG_IP_VS_RR=m\nCONFIG_IP_VS_PROTO_TCP=y\n')
  // Its own hook calls DKMS 3.0, which would let the installation of a kernel fail.
  t.regex(read('6.12', '', '3.0.10'), /^\|\|18\|/)
  t.is(read('6.1', folder), 'yes||2|6.1/net/netfilter/ipvs/ip_vs|6.1/net/netfilter/ipvs/ip_vs_rr')
  // Of a version that is only kept for kernels that have it.
  rmSync(unpacked, { recursive: true })
  t.regex(read('6.12', '', '3.2.2', kept), /^\|\|18\|6\.12/)
  t.true(readFileSync(conf, 'utf8').includes('\nNO_WEAK_MODULES="yes"\n'))
})

for (const [version, calls] of [['3.0.10', 'install -m ipvs-snat -v 1 -k 6.9.0\n'], ['3.2.2', '']] as const) {
  test(`a kernel that DKMS ${version} does not build for is installed all the same`, (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-test-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    for (const name of ['bin', 'usr/src/ipvs-snat-1', 'lib/modules/6.9.0/build/include']) mkdirSync(join(folder, name), { recursive: true })
    writeFileSync(join(folder, 'bin/dkms'), `#!/bin/sh\n[ "$1" = --version ] && { echo dkms-${version}; exit; }\necho "$@" >>${folder}/calls\nexit 77\n`, { mode: 0o755 })
    writeFileSync(join(folder, 'calls'), '')
    writeFileSync(join(folder, 'usr/src/ipvs-snat-1/dkms.conf'), '')
    const hook = readFileSync(join(ROOT, 'specs/dkms/kernel-hook'), 'utf8')
    writeFileSync(join(folder, 'hook'), hook.replaceAll('/usr/src', `${folder}/usr/src`).replaceAll('/lib/modules', `${folder}/lib/modules`))
    const { status } = spawnSync('sh', [join(folder, 'hook'), '6.9.0'], { env: { PATH: `${folder}/bin:${process.env['PATH']}` } })
    t.is(status, 0)
    t.is(readFileSync(join(folder, 'calls'), 'utf8'), calls)
  })
}

/** A host with DKMS, which has of each kernel the version whose modules are installed: each is made, refused, or fails as it is told to. */
interface DkmsHost {
  /** Runs the script of a version's package. */
  versions: (version: string, word: 'keep' | 'install' | 'remove', answers?: Readonly<Record<string, 'refused' | 'fails' | 'fails to install'>>) => { status: number | null; stderr: string }
  /** dpkg or rpm puts a version's files there, or takes them away. */
  unpack: (version: string) => void
  erase: (version: string) => void
  /** Which version each kernel has. */
  installed: () => Record<string, string>
  kept: () => string[]
  folder: string
}

/** As dkms of 3.0 and 3.2 do it, but for compiling; VERSION/KERNEL is in "answers" if it is not to succeed. It needs the source of what it is to do something with. */
const FAKE_DKMS = `#!/bin/sh
word=$1; shift
while [ $# -gt 0 ]; do case $1 in -m) shift ;; -v) v=$2; shift ;; -k) k=$2; shift ;; --all) k='*' ;; esac; shift; done
cd ROOT/var/lib/dkms/ipvs-snat || exit 9
[ "$word" = status ] || [ "$word" = add ] || [ -e "$v/source/dkms.conf" ] || { echo "no source of $v" >&2; exit 4; }
answer=$(sed -n "s|^$v/$k ||p" ROOT/answers)
case $word in
status)
  for source in */source; do
    [ -e "$source" ] || [ -L "$source" ] || continue
    [ -e "$source/dkms.conf" ] || { echo "broken: $source" >&2; exit 4; }
    version=\${source%/source} some=
    for built in "$version"/kernel-\${k:-*}; do
      kernel=\${built#*/kernel-} state=built
      [ -e "$built" ] && [ -e "ROOT/lib/modules/$kernel" ] || continue
      some=yes
      [ "$(cat "ROOT/lib/modules/$kernel/version" 2>/dev/null)" != "$version" ] || state=installed
      echo "ipvs-snat/$version, $kernel, x86_64: $state"
    done
    [ -n "$some" ] || echo "ipvs-snat/$version: added"
  done ;;
add) mkdir -p "$v" && ln -s "ROOT/usr/src/ipvs-snat-$v" "$v/source" ;;
build) case $answer in refused) exit 77 ;; fails) exit 10 ;; esac; : >"$v/kernel-$k" ;;
install) [ "$answer" != 'fails to install' ] || exit 6; : >"$v/kernel-$k"; echo "$v" >"ROOT/lib/modules/$k/version" ;;
uninstall | remove)
  for file in ROOT/lib/modules/$k/version; do [ "$(cat "$file" 2>/dev/null)" != "$v" ] || rm "$file"; done
  [ "$word" = uninstall ] || { for built in "$v"/kernel-$k; do [ ! -e "ROOT/lib/modules/\${built#*/kernel-}" ] || rm -f "$built"; done; ls "$v" | grep -q kernel- || rm -r "$v"; } ;;
esac
`

function dkmsHost(t: ExecutionContext, kernels: readonly string[]): DkmsHost {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-test-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  for (const name of ['bin', 'usr/src', 'var/lib/dkms/ipvs-snat', 'lib/modules/without-headers/kernel', 'lib/modules/gone', ...kernels.map((kernel) => `lib/modules/${kernel}/build/include`)]) mkdirSync(join(folder, name), { recursive: true })
  writeFileSync(join(folder, 'bin/dkms'), FAKE_DKMS.replaceAll('ROOT', folder), { mode: 0o755 })
  const source = (version: string): string => join(folder, 'usr/src', `ipvs-snat-${version}`)
  return {
    folder,
    unpack(version) {
      mkdirSync(source(version))
      writeFileSync(join(source(version), 'dkms.conf'), version)
      const script = readFileSync(join(ROOT, 'specs/dkms/versions'), 'utf8').replaceAll('@version@', version)
      writeFileSync(join(source(version), 'versions'), script.replaceAll(/(?<=[ ="])\/(?=usr|var|lib|etc)/g, `${folder}/`))
    },
    erase: (version) => rmSync(source(version), { recursive: true }),
    versions(version, word, answers = {}) {
      writeFileSync(join(folder, 'answers'), Object.entries(answers).map((words) => `${words.join(' ')}\n`).join(''))
      return spawnSync('sh', [join(source(version), 'versions'), word], { encoding: 'utf8', env: { PATH: `${folder}/bin:${process.env['PATH']}` } })
    },
    installed: () => Object.fromEntries(kernels.flatMap((kernel) => {
      const file = join(folder, 'lib/modules', kernel, 'version')
      return existsSync(file) ? [[kernel, readFileSync(file, 'utf8').trim()]] : []
    })),
    kept: () => (existsSync(join(folder, 'var/lib/ipvs-snat')) ? readdirSync(join(folder, 'var/lib/ipvs-snat')) : []),
  }
}

/** What dpkg and rpm do: files of before are there when the first script is called, and gone when the last one is. */
function upgrade(host: DkmsHost, from: string, to: string, answers: Parameters<DkmsHost['versions']>[2]): ReturnType<DkmsHost['versions']> {
  const { status, stderr } = host.versions(from, 'keep')
  if (status !== 0) return { status, stderr }
  host.unpack(to)
  host.erase(from)
  return host.versions(to, 'install', answers)
}

test('an installation builds for all kernels with headers, behind one that fails too, and tells of that', (t) => {
  const host = dkmsHost(t, ['1', '2', '3'])
  host.unpack('a')
  const { status, stderr } = host.versions('a', 'install', { 'a/1': 'fails', 'a/2': 'refused' })
  t.is(status, 1)
  t.deepEqual(stderr.match(/^.*headers.*$/gm), ['ipvs-snat: Linux without-headers keeps the IPVS that it has, and its own has no SNAT: its headers are not installed.'])
  t.deepEqual(host.installed(), { 3: 'a' })
  t.is(host.versions('a', 'install', { 'a/2': 'refused' }).status, 0)
  t.deepEqual(host.installed(), { 1: 'a', 3: 'a' })
  t.is(host.versions('a', 'remove').status, 0)
  t.deepEqual(host.installed(), {})
})

test('an upgrade takes no modules from a kernel that it has none for, and those go with the kernel', (t) => {
  const host = dkmsHost(t, ['1', '2', '3', '4'])
  host.unpack('b')
  host.versions('b', 'install', { 'b/4': 'refused' })
  const { status, stderr } = upgrade(host, 'b', 'c', { 'c/1': 'refused', 'c/2': 'fails', 'c/3': 'fails to install' })
  t.is(status, 1)
  t.deepEqual(host.installed(), { 1: 'b', 2: 'b', 3: 'b', 4: 'c' })
  t.true(stderr.includes('ipvs-snat: Linux 1 keeps the modules of version b.'), stderr)
  t.deepEqual(host.kept(), ['b'])
  // Once more, as dpkg --configure does it; and two versions on.
  t.is(host.versions('c', 'install', { 'c/1': 'refused' }).status, 0)
  t.deepEqual(host.installed(), { 1: 'b', 2: 'c', 3: 'c', 4: 'c' })
  t.is(upgrade(host, 'c', 'd', { 'd/1': 'refused', 'd/2': 'refused' }).status, 0)
  t.deepEqual(host.installed(), { 1: 'b', 2: 'c', 3: 'd', 4: 'd' })
  t.deepEqual(host.kept(), ['b', 'c'])
  rmSync(join(host.folder, 'lib/modules/1'), { recursive: true })
  t.is(host.versions('d', 'install', { 'd/2': 'refused' }).status, 0)
  t.deepEqual(host.kept(), ['c'])
  t.is(host.versions('d', 'remove').status, 0)
  t.deepEqual([host.installed(), host.kept(), readdirSync(join(host.folder, 'var/lib/dkms/ipvs-snat'))], [{}, [], []])
})

test('who goes back to a version of before has its modules, and an upgrade that is broken off changes nothing', (t) => {
  const host = dkmsHost(t, ['1', '2'])
  host.unpack('c')
  host.versions('c', 'install')
  t.is(upgrade(host, 'c', 'b', { 'b/2': 'refused' }).status, 0)
  t.deepEqual([host.installed(), host.kept()], [{ 1: 'b', 2: 'c' }, ['c']])
  host.versions('b', 'keep')
  t.is(host.versions('b', 'install', { 'b/2': 'refused' }).status, 0)
  t.deepEqual([host.installed(), host.kept()], [{ 1: 'b', 2: 'c' }, ['c']])
  t.is(upgrade(host, 'b', 'c', {}).status, 0)
  t.deepEqual([host.installed(), host.kept()], [{ 1: 'c', 2: 'c' }, []])
})

test('where the firmware does not know the key of the modules, no IPVS can be loaded, and that is said', (t) => {
  const host = dkmsHost(t, ['1'])
  host.unpack('a')
  const mokutil = (state: string, key: string): void => writeFileSync(join(host.folder, 'bin/mokutil'), `#!/bin/sh\ncase $1 in --sb-state) echo SecureBoot ${state} ;; --test-key) echo "$2 ${key}" ;; esac\n`, { mode: 0o755 })
  writeFileSync(join(host.folder, 'var/lib/dkms/mok.pub'), '')
  for (const [state, key, said] of [['enabled', 'is not enrolled', true], ['enabled', 'is already enrolled', false], ['disabled', 'is not enrolled', false]] as const) {
    mokutil(state, key)
    const { status, stderr } = host.versions('a', 'install')
    t.is(status, 0)
    t.is(stderr.includes('NO IPVS CAN BE LOADED'), said, `${state}, ${key}: ${stderr}`)
  }
})

test('the package holds the IPVS of every line that a distribution has, with the series in it, and is the same each time', async (t) => {
  const { root, context } = createBothLines(t)
  const c = context()
  await bring(c, dkms)
  const deb = dkmsPackage(c)
  t.true(deb.endsWith('/ipvs-snat-dkms_6.12.3+6.1.7-1.1.snat1_all.deb'), deb)
  await t.notThrowsAsync(() => verifyPackage(deb))
  const first = readFileSync(deb)
  const unpacked = join(root, 'unpacked')
  execFileSync('dpkg-deb', ['--raw-extract', deb, unpacked])
  const source = join(unpacked, 'usr/src/ipvs-snat-6.12.3+6.1.7-1.1.snat1')
  t.true(readFileSync(join(source, '6.1/net/netfilter/ipvs/ip_vs_core.c'), 'utf8').includes('hooked_10'))
  // Without a version of its own DKMS takes a module for that of the kernel.
  t.is(readFileSync(join(source, '6.1/net/netfilter/xt_ipvs.c'), 'utf8'), 'MODULE_LICENSE("GPL");\nMODULE_VERSION("6.12.3+6.1.7-1.1.snat1");\n')
  t.true(readFileSync(join(source, '6.12/net/netfilter/ipvs/ip_vs_core.c'), 'utf8').includes('hooked_5'))
  t.is(readFileSync(join(source, '6.12/net/netfilter/ipvs/ip_vs_snat_line.h'), 'utf8'), '/* 6.12 */\n')
  t.regex(readFileSync(join(source, 'families'), 'utf8'), /^6\.12 6\.12\.3 6\.12\.3-1 [0-9a-f]{64}\n6\.1 6\.1\.7 6\.1\.7-1 [0-9a-f]{64}\n$/)
  t.regex(readFileSync(join(unpacked, 'DEBIAN/postinst'), 'utf8'), /ipvs-snat-6\.12\.3\+6\.1\.7-1\.1\.snat1\/versions' install/)
  // Else an update would ask an administrator who has changed it.
  t.is(readFileSync(join(unpacked, 'etc/kernel/postinst.d/ipvs-snat'), 'utf8'), readFileSync(join(ROOT, 'specs/dkms/kernel-hook'), 'utf8'))
  const rpms = dkmsRpms(c)
  const firstRpms = rpms.map((path) => readFileSync(path))
  rmSync(deb)
  await bring(c, dkms)
  t.deepEqual(readFileSync(deb), first)
  rpms.forEach((path, index) => t.true(firstRpms[index]?.equals(readFileSync(path)), path))

  const [binary = ''] = rpms
  t.true(binary.endsWith('/ipvs-snat-dkms-6.12.3+6.1.7-1.1.snat1.noarch.rpm'), binary)
  const query = (...words: string[]): string[] => execFileSync('rpm', ['--query', '--package', '--nosignature', ...words, binary], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim().split('\n')
  t.deepEqual(query('--queryformat', '%{NAME} %{VERSION} %{RELEASE} %{ARCH} %{LICENSE}'), ['ipvs-snat-dkms 6.12.3+6.1.7 1.1.snat1 noarch GPL-2.0-only'])
  t.deepEqual([...new Set(query('--requires'))].filter((name) => !name.startsWith('rpmlib(')), ['/bin/sh', 'dkms >= 3.1.5'])
  for (const word of ['keep', 'install', 'remove']) t.true(query('--scripts').includes(`sh /usr/src/ipvs-snat-6.12.3+6.1.7-1.1.snat1/versions ${word} || :`))
  const fromRpm = join(root, 'from-rpm')
  mkdirSync(fromRpm)
  execFileSync('sh', ['-c', 'rpm2cpio "$0" | cpio --extract --make-directories --quiet', binary], { cwd: fromRpm, stdio: 'ignore' })
  const name = 'usr/src/ipvs-snat-6.12.3+6.1.7-1.1.snat1'
  t.deepEqual(listFiles(join(fromRpm, name)), listFiles(source))
  for (const file of listFiles(source)) t.is(readFileSync(join(fromRpm, name, file), 'utf8'), readFileSync(join(source, file), 'utf8'), file)
  t.deepEqual(listFiles(fromRpm).filter((file) => !file.startsWith(name)), ['usr/share/doc/ipvs-snat-dkms/README.md', 'usr/share/licenses/ipvs-snat-dkms/COPYING'])

  writeFileSync(deb, first.subarray(0, first.length - 100))
  await fails(t, 'build', () => verifyPackage(deb))
})

test.serial('a distribution is installed with its own kernel and the package, and has to come out with modules of it', async (t) => {
  const { root, context } = createBothLines(t)
  const c = context({ TARGET: 'lts', KERNEL: 'stock' })
  const path = process.env['PATH']
  t.teardown(() => (process.env['PATH'] = path))
  process.env['PATH'] = `${join(root, 'bin')}:${path}`
  mkdirSync(join(root, 'bin'))
  const install = (...files: string[]): void => {
    const lines = ['#!/bin/sh', `cd ${root}; for word in "$@"; do echo "$word"; done >words; ls /proc/$$/fd >descriptors; rm -rf system`, ...files.map((name) => `mkdir -p "$(dirname system/${name})"; echo x >system/${name}`), 'tar -C system -cf - .']
    writeFileSync(join(root, 'bin/mmdebstrap'), `${lines.join('\n')}\n`, { mode: 0o755 })
  }
  const kernel = ['boot/vmlinuz-6.12.3+deb', 'usr/lib/modules/6.12.3+deb/modules.dep', 'var/lib/dkms/mok.pub', 'usr/bin/gcc']
  install(...kernel)
  t.is((await fails(t, 'build', () => bring(c, stock))).message, 'DKMS has compiled no modules for this kernel.')
  install(...kernel, 'usr/lib/modules/6.12.3+deb/updates/dkms/ip_vs.ko')
  t.is((await bring(c, stock)).facts['kernel'], '6.12.3+deb')
  t.true(existsSync(join(stockFolder(c), 'usr/lib/modules/6.12.3+deb/updates/dkms/ip_vs.ko')))
  t.false(existsSync(join(stockFolder(c), 'usr/bin')))
  const words = readFileSync(join(root, 'words'), 'utf8')
  t.true(words.includes(`--customize-hook=copy-in ${dkmsPackage(c)} /tmp\n`), words)
  t.regex(words, /apt-get --option Dpkg::Use-Pty=0 install --yes .*ipvs-snat-dkms_6\.12\.3\+6\.1\.7-1\.1\.snat1_all\.deb\n/)
  t.regex(words, /\ntrixie\n-\n.*stock\.sources\n$/)
  // 10 is the script that it is itself, read by dash.
  t.deepEqual(readFileSync(join(root, 'descriptors'), 'utf8').split('\n').filter((fd) => Number(fd) > 2 && Number(fd) < 10), [], 'locks')
  // What the archive has by now comes after this, and what was prepared stays.
  await clean.run(c)
  t.false(existsSync(stockFolder(c)))
  t.true(existsSync(c.paths.tree))
})

test('a stock kernel is only for what tests it, and for lines that have one', (t) => {
  const { context } = createFixture(t)
  const c = context({ TARGET: 'lts', KERNEL: 'stock' })
  t.is(c.variant, 'lts-stock')
  t.is(c.stock?.distribution, 'Debian 13')
  t.throws(() => context({ TARGET: 'el6', KERNEL: 'stock' }), { message: 'KERNEL=stock means nothing for TARGET=el6.' })
  t.throws(() => context({ KERNEL: 'stock', DEBUG: '1' }), { message: /DEBUG=1 means nothing for it/ })
})
