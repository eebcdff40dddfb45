// SPDX-License-Identifier: GPL-2.0-only
/** The package for DKMS, and how it tells a kernel whose IPVS it knows. */

import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
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
  put('bin/rpm', `#!/bin/sh\n[ "$*" = "--query --changelog --file ${realpathSync(root)}/headers/Makefile" ] || exit 1\ncat <<'EOF'\n${rpm}\nEOF\n`)
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
  t.deepEqual(machine(t, { version: '6.12.0', kernel: EL, rpm: '* Thu Apr 10 2025 A <a@example.org> [6.12.0-55.9.1.el10_0]\n- net: fix something' }), { out: '6.12', why: '' })
})

for (const [why, kernel, sentence] of [
  ['is of another line', { version: '7.0.1' }, 'there are sources only for Linux 6.12 and 6.1'],
  ['has another header', { version: '6.12.7', header: '/* another */\n' }, 'its include/net/ip_vs.h is another one than that of 6.12.7, of which the sources here are'],
  ['has no changelog', { version: '6.12.9' }, 'its changelog does not tell what changed since 6.12.7, of which the sources here are'],
  ['has a changelog that begins later', { version: '6.12.9', changelog: 'linux (6.12.9-1) trixie\n' }, 'its changelog does not tell what changed since 6.12.7, of which the sources here are'],
  ['changes IPVS', { version: '6.12.9', changelog: `linux (6.12.9-1) trixie\n\n    - ipvs: fix it (CVE-1)\n\n${KNOWN}` },
    'it changes IPVS of 6.12.7, of which the sources here are (ipvs: fix it (CVE-1)); install a newer ipvs-snat-dkms'],
  ['is of EL and tells of no changes', { version: '6.12.0', kernel: EL }, 'its package kernel-devel does not tell what was changed in it'],
  ['is of EL and has another IPVS', { version: '6.12.0', kernel: EL, rpm: '- net: x\n- ipvs: fix it (A Person) [RHEL-1]' }, 'RHEL has changed its IPVS (ipvs: fix it (A Person) [RHEL-1])'],
] as const) {
  test(`a kernel that ${why} keeps its own modules, and one sentence says so`, (t) => {
    t.deepEqual(machine(t, kernel), { out: '', why: `ipvs-snat: Linux ${'kernel' in kernel ? kernel.kernel : KERNEL} keeps its own IPVS, without SNAT, because ${sentence}.` })
  })
}

test('DKMS reads which modules to make of which folder, and of an unknown kernel that it is none of its', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-test-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const conf = join(folder, 'dkms.conf')
  const read = (answer: string, headers = '', dkmsVersion = '3.2.2'): string => {
    writeFileSync(join(folder, 'family'), `echo ${answer}\n`)
    writeFileSync(conf, readFileSync(join(ROOT, 'specs/dkms/dkms.conf'), 'utf8').replace(/"\/usr\/src\/[^"]*\/family"/, `"${folder}/family"`))
    const show = 'echo "$AUTOINSTALL|$BUILD_EXCLUSIVE_KERNEL|${#BUILT_MODULE_NAME[@]}|${BUILT_MODULE_LOCATION[0]}${BUILT_MODULE_NAME[0]}|${BUILT_MODULE_LOCATION[1]}${BUILT_MODULE_NAME[1]}"'
    return execFileSync('bash', ['-c', `dkms() { echo dkms-${dkmsVersion}; }; kernel_source_dir=${headers}; . ${conf}; ${show}`], { encoding: 'utf8' }).trim()
  }
  t.is(read('6.12'), 'yes||18|6.12/net/netfilter/xt_ipvs|6.12/net/netfilter/ipvs/ip_vs')
  t.is(read(''), 'yes|^$|18|/net/netfilter/xt_ipvs|/net/netfilter/ipvs/ip_vs')
  mkdirSync(join(folder, 'include/config'), { recursive: true })
  writeFileSync(join(folder, 'include/config/auto.conf'), 'CONFIG_IP_VS=m\nCONFIG_IP_VS_RR=m\nCONFIG_IP_VS_PROTO_TCP=y\n')
  // Its own hook calls DKMS 3.0, which would let the installation of a kernel fail.
  t.regex(read('6.12', '', '3.0.10'), /^\|\|18\|/)
  t.is(read('6.1', folder), 'yes||2|6.1/net/netfilter/ipvs/ip_vs|6.1/net/netfilter/ipvs/ip_vs_rr')
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

/** What Debian's script does, and dkms for three kernels: 1.0 fails at first, 2.0 is refused. */
const POSTINSTS = [
  { what: 'builds for all kernels', common: 0, broken: '', status: 0, calls: ['common ipvs-snat 1 /usr/share/ipvs-snat  0.9, all: yes'] },
  { what: 'builds for the kernels behind one that was not built', common: 10, broken: '', status: 0, calls: ['common ipvs-snat 1 /usr/share/ipvs-snat  0.9, all: yes', '1.0', '2.0', '3.0'] },
  { what: 'fails when one still is not', common: 10, broken: '1.0', status: 1, calls: ['common ipvs-snat 1 /usr/share/ipvs-snat  0.9, all: yes', '1.0', '2.0', '3.0'] },
]
for (const { what, common, broken, status, calls } of POSTINSTS) {
  test(`an installation ${what}`, (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-test-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    for (const name of ['bin', 'usr/lib/dkms', ...['1.0', '2.0', '3.0'].map((kernel) => `lib/modules/${kernel}/build/include`), 'lib/modules/4.0']) mkdirSync(join(folder, name), { recursive: true })
    writeFileSync(join(folder, 'usr/lib/dkms/common.postinst'), `echo "common $*, all: $autoinstall_all_kernels" >>${folder}/calls; exit ${common}\n`)
    writeFileSync(join(folder, 'bin/dkms'), `#!/bin/sh\necho "$7" >>${folder}/calls\ncase $7 in 2.0) exit 77 ;; '${broken}') exit 10 ;; esac\n`, { mode: 0o755 })
    const postinst = readFileSync(join(ROOT, 'specs/dkms/postinst'), 'utf8').replaceAll('@version@', '1')
    writeFileSync(join(folder, 'postinst'), postinst.replaceAll('/usr/lib/dkms', `${folder}/usr/lib/dkms`).replaceAll('/lib/modules', `${folder}/lib/modules`))
    const run = spawnSync('sh', [join(folder, 'postinst'), 'configure', '0.9'], { env: { PATH: `${folder}/bin:${process.env['PATH']}` } })
    t.is(run.status, status)
    t.deepEqual(readFileSync(join(folder, 'calls'), 'utf8').trim().split('\n'), calls)
  })
}

test('the package holds the IPVS of every line that a distribution has, with the series in it, and is the same each time', async (t) => {
  const { root, context } = createBothLines(t)
  const c = context()
  await bring(c, dkms)
  const deb = dkmsPackage(c)
  t.true(deb.endsWith('/ipvs-snat-dkms_6.12.3+6.1.7-1.snat1_all.deb'), deb)
  await t.notThrowsAsync(() => verifyPackage(deb))
  const first = readFileSync(deb)
  const unpacked = join(root, 'unpacked')
  execFileSync('dpkg-deb', ['--raw-extract', deb, unpacked])
  const source = join(unpacked, 'usr/src/ipvs-snat-6.12.3+6.1.7-1.snat1')
  t.true(readFileSync(join(source, '6.1/net/netfilter/ipvs/ip_vs_core.c'), 'utf8').includes('hooked_10'))
  // Without a version of its own DKMS takes a module for that of the kernel.
  t.is(readFileSync(join(source, '6.1/net/netfilter/xt_ipvs.c'), 'utf8'), 'MODULE_LICENSE("GPL");\nMODULE_VERSION("6.12.3+6.1.7-1.snat1");\n')
  t.true(readFileSync(join(source, '6.12/net/netfilter/ipvs/ip_vs_core.c'), 'utf8').includes('hooked_5'))
  t.is(readFileSync(join(source, '6.12/net/netfilter/ipvs/ip_vs_snat_line.h'), 'utf8'), '/* 6.12 */\n')
  t.regex(readFileSync(join(source, 'families'), 'utf8'), /^6\.12 6\.12\.3 6\.12\.3-1 [0-9a-f]{64}\n6\.1 6\.1\.7 6\.1\.7-1 [0-9a-f]{64}\n$/)
  t.regex(readFileSync(join(unpacked, 'DEBIAN/postinst'), 'utf8'), /ipvs-snat '6\.12\.3\+6\.1\.7-1\.snat1'/)
  // Else an update would ask an administrator who has changed it.
  t.is(readFileSync(join(unpacked, 'etc/kernel/postinst.d/ipvs-snat'), 'utf8'), readFileSync(join(ROOT, 'specs/dkms/kernel-hook'), 'utf8'))
  const rpms = dkmsRpms(c)
  const firstRpms = rpms.map((path) => readFileSync(path))
  rmSync(deb)
  await bring(c, dkms)
  t.deepEqual(readFileSync(deb), first)
  rpms.forEach((path, index) => t.true(firstRpms[index]?.equals(readFileSync(path)), path))

  const [binary = ''] = rpms
  t.true(binary.endsWith('/ipvs-snat-dkms-6.12.3+6.1.7-1.snat1.noarch.rpm'), binary)
  const query = (...words: string[]): string[] => execFileSync('rpm', ['--query', '--package', '--nosignature', ...words, binary], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim().split('\n')
  t.deepEqual(query('--queryformat', '%{NAME} %{VERSION} %{RELEASE} %{ARCH} %{LICENSE}'), ['ipvs-snat-dkms 6.12.3+6.1.7 1.snat1 noarch GPL-2.0-only'])
  t.deepEqual([...new Set(query('--requires'))].filter((name) => !name.startsWith('rpmlib(')), ['/bin/sh', 'dkms >= 3.1'])
  t.true(query('--scripts').includes('dkms remove -m ipvs-snat -v 6.12.3+6.1.7-1.snat1 --all || :'))
  const fromRpm = join(root, 'from-rpm')
  mkdirSync(fromRpm)
  execFileSync('sh', ['-c', 'rpm2cpio "$0" | cpio --extract --make-directories --quiet', binary], { cwd: fromRpm, stdio: 'ignore' })
  const name = 'usr/src/ipvs-snat-6.12.3+6.1.7-1.snat1'
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
  t.regex(words, /apt-get --option Dpkg::Use-Pty=0 install --yes .*ipvs-snat-dkms_6\.12\.3\+6\.1\.7-1\.snat1_all\.deb\n/)
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
