// SPDX-License-Identifier: GPL-2.0-only
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { capture } from '../../scripts/base/run.ts'
import { createContext } from '../../scripts/build/context.ts'

const context = createContext({})

let folder = ''
test.before(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvs-snat-scriptlets-'))
})
test.after.always(() => rmSync(folder, { recursive: true, force: true }))

/** The body of a scriptlet, with macros expanded by rpm. */
async function scriptlet(spec: string, section: string, file = spec): Promise<string> {
  const path = join(context.paths.root, 'specs', spec, `${file}.spec`)
  const { stdout } = await capture(['rpmspec', '--parse', path])
  const [, body = ''] = new RegExp(`^%${section}(?: -n \\S+)?\\n([\\s\\S]*?)(?=^%(?:post|preun|postun|posttrans|files)\\b)`, 'm').exec(stdout) ?? []
  if (body === '') throw new Error(`${spec}.spec has no %${section}`)
  return body
}

/**
 * Runs a scriptlet on a host that has only the given tools, which write down how they
 * were called; a name with "!" in front fails.
 */
async function run(body: string, tools: string[], argument = '1', root = ''): Promise<{ exitCode: number; calls: string[]; stderr: string }> {
  const host = mkdtempSync(join(folder, 'host-'))
  const calls = join(host, 'calls')
  mkdirSync(join(host, 'bin'))
  for (const tool of ['rm', 'cat', 'basename', 'dirname']) symlinkSync(`/bin/${tool}`, join(host, 'bin', tool))
  for (const tool of tools) {
    const path = join(host, 'bin', tool.replace('!', ''))
    writeFileSync(path, `#!/bin/sh\necho "$(basename "$0") $*" >> ${calls}\n${READS_INPUT.has(tool) ? `cat >> ${calls}\n` : ''}exit ${tool.startsWith('!') ? 1 : 0}\n`.replace('$(basename "$0")', '${0##*/}'))
    chmodSync(path, 0o755)
  }
  const { exitCode, stderr } = await capture(['/bin/sh', '-c', body, 'scriptlet', argument], {
    // Without SHLVL bash takes itself for a remote shell, and reads its user's .bashrc.
    env: { PATH: join(host, 'bin'), SHLVL: '1', ROOT: root },
    anyExit: true,
  })
  return { exitCode, stderr, calls: existsSync(calls) ? readFileSync(calls, 'utf8').trim().split('\n') : [] }
}

/** Tools that are told by their standard input what to work on; it is written down too. */
const READS_INPUT = new Set(['weak-modules'])

const kver = '6.1.192-1.snat1.x86_64'

test('kernel: kernel-install arranges the boot where it exists', async (t) => {
  const { exitCode, calls } = await run(await scriptlet('kernel', 'posttrans'), ['depmod', 'kernel-install', 'dracut', 'grubby'])
  t.is(exitCode, 0)
  t.deepEqual(calls, [`depmod -a ${kver}`, `kernel-install add ${kver} /boot/vmlinuz-${kver}`])
})

test('kernel: new-kernel-pkg does on EL6 and EL7, and not on EL8 with boot entries', async (t) => {
  const body = await scriptlet('kernel', 'posttrans')
  const old = await run(body, ['new-kernel-pkg', 'kernel-install'])
  t.true(old.calls.every((call) => call.startsWith('new-kernel-pkg ')), old.calls.join())
  t.is(old.calls.length, 2)
  const later = await run(body, ['new-kernel-pkg', 'kernel-install', 'grub2-switch-to-blscfg'])
  t.deepEqual(later.calls, [`kernel-install add ${kver} /boot/vmlinuz-${kver}`])
})

test('kernel: without either, dracut and grubby are used, as far as they exist', async (t) => {
  const body = await scriptlet('kernel', 'posttrans')
  const { calls } = await run(body, ['dracut', 'grubby'])
  t.is(calls[0], `dracut --force /boot/initramfs-${kver}.img ${kver}`)
  t.regex(calls[1] ?? '', /^grubby --add-kernel=/)
  t.deepEqual(await run(body, []), { exitCode: 0, calls: [], stderr: '' })
})

test('kernel: a tool that fails is told, and does not fail the transaction', async (t) => {
  const body = await scriptlet('kernel', 'posttrans')
  for (const tool of ['!kernel-install', '!new-kernel-pkg', '!depmod', '!dracut', '!grubby']) {
    const { exitCode, stderr } = await run(body, [tool])
    t.is(exitCode, 0, tool)
    t.regex(stderr, /^kernel: .* (failed|has no boot entry)/, tool)
  }
})

test('kernel: removal undoes it by the same tool', async (t) => {
  const body = await scriptlet('kernel', 'preun')
  t.deepEqual((await run(body, ['kernel-install'], '0')).calls, [`kernel-install remove ${kver} /boot/vmlinuz-${kver}`])
  t.deepEqual((await run(body, ['new-kernel-pkg'], '0')).calls, [`new-kernel-pkg --rminitrd --rmmoddep --remove ${kver}`])
  t.is((await run(body, ['!kernel-install'], '0')).exitCode, 0)
})

/** What is disabled when a package goes. */
const UNITS = { ipvsadm: 'ipvsadm.service ipvsadm-metrics.timer ipvsadm-snatlog.service', keepalived: 'keepalived.service' } as const

/** SysV scripts, in the order in which they are stopped when a package goes. */
const SCRIPTS = { ipvsadm: ['ipvsadm-snatlog', 'ipvsadm'], keepalived: ['keepalived'] } as const

for (const name of ['ipvsadm', 'keepalived'] as const) {
  test(`${name}: the first installation registers the service with systemd or SysV`, async (t) => {
    const body = await scriptlet(name, 'post')
    t.deepEqual((await run(body, ['systemctl', 'chkconfig'])).calls, ['systemctl daemon-reload', `systemctl preset ${name}.service`])
    t.deepEqual((await run(body, ['chkconfig'])).calls, SCRIPTS[name].map((script) => `chkconfig --add ${script}`).reverse())
    t.deepEqual(await run(body, []), { exitCode: 0, calls: [], stderr: '' })
  })

  test(`${name}: an upgrade keeps what the administrator enabled`, async (t) => {
    t.deepEqual((await run(await scriptlet(name, 'post'), ['systemctl'], '2')).calls, ['systemctl daemon-reload'])
    t.deepEqual((await run(await scriptlet(name, 'preun'), ['systemctl', 'chkconfig'], '1')).calls, [])
  })

  test(`${name}: removal stops and unregisters it`, async (t) => {
    const body = await scriptlet(name, 'preun')
    t.deepEqual((await run(body, ['systemctl'], '0')).calls, [`systemctl --no-reload disable --now ${UNITS[name]}`])
    t.deepEqual((await run(body, ['service', 'chkconfig'], '0')).calls, SCRIPTS[name].flatMap((script) => [`service ${script} stop`, `chkconfig --del ${script}`]))
    t.is((await run(body, ['!systemctl'], '0')).exitCode, 0)
  })
}

test('an upgrade restarts a running keepalived and leaves the table of ipvsadm alone', async (t) => {
  const keepalived = await scriptlet('keepalived', 'postun')
  t.true((await run(keepalived, ['systemctl'], '1')).calls.includes('systemctl try-restart keepalived.service'))
  t.deepEqual((await run(keepalived, ['service'], '1')).calls, ['service keepalived condrestart'])
  t.deepEqual((await run(await scriptlet('ipvsadm', 'postun'), ['systemctl'], '1')).calls, ['systemctl daemon-reload'])
})

const EXTRA = '/lib/modules/2.6.32-279.el6.x86_64/extra/ipvs-snat'

/** A host with the modules of the kmod, or without them, and the kernel that they are for. */
function kmodHost(modules: string[]): string {
  const root = mkdtempSync(join(folder, 'root-'))
  for (const name of ['boot', 'var/run', EXTRA]) mkdirSync(join(root, name), { recursive: true })
  writeFileSync(join(root, 'boot', 'System.map-2.6.32-279.el6.x86_64'), '')
  for (const name of modules) writeFileSync(join(root, EXTRA, name), '')
  return root
}

/** A scriptlet with the files of the host's ROOT in place of this one's. */
const onRoot = (body: string): string => body.replaceAll(/(?<= )\/(?=lib\/|boot\/|var\/)/g, '$ROOT/')

const kmodScriptlet = async (section: string): Promise<string> => onRoot(await scriptlet('kmod', section, 'ipvs-snat-kmod'))

test('kmod: its modules are offered to the other kernels', async (t) => {
  const root = kmodHost(['ip_vs.ko', 'ip_vs_rr.ko'])
  const { exitCode, calls } = await run(await kmodScriptlet('post'), ['depmod', 'weak-modules'], '1', root)
  t.is(exitCode, 0)
  t.deepEqual(calls, [
    `depmod -aeF ${root}/boot/System.map-2.6.32-279.el6.x86_64 2.6.32-279.el6.x86_64`,
    'weak-modules --add-modules',
    `${root}${EXTRA}/ip_vs.ko`,
    `${root}${EXTRA}/ip_vs_rr.ko`,
  ])
})

test('kmod: a removal takes back the modules that are gone, an upgrade for the same kernel none', async (t) => {
  const root = kmodHost(['ip_vs.ko', 'ip_vs_rr.ko'])
  await run(await kmodScriptlet('preun'), [], '0', root)
  const postun = await kmodScriptlet('postun')
  const upgraded = await run(postun, ['depmod', 'weak-modules'], '1', root)
  t.deepEqual(upgraded.calls.map((call) => call.split(' ')[0]), ['depmod'])
  await run(await kmodScriptlet('preun'), [], '0', root)
  for (const name of ['ip_vs.ko', 'ip_vs_rr.ko']) rmSync(join(root, EXTRA, name))
  const removed = await run(postun, ['depmod', 'weak-modules'], '0', root)
  t.deepEqual(removed.calls.slice(1), ['weak-modules --remove-modules', `${root}${EXTRA}/ip_vs.ko`, `${root}${EXTRA}/ip_vs_rr.ko`])
  t.false(existsSync(join(root, 'var/run/kmod-ipvs-snat-2.6.32-279.el6.x86_64.removed')))
})

test('kmod: a host without the tools, and tools that fail, do not fail the transaction', async (t) => {
  for (const section of ['post', 'preun', 'postun']) {
    for (const tools of [[], ['!depmod', '!weak-modules']]) {
      const { exitCode } = await run(await kmodScriptlet(section), tools, '0', kmodHost(['ip_vs.ko']))
      t.is(exitCode, 0, `${section} ${tools.join()}`)
    }
  }
})

test('kmod: what its modules need of the kernel and give to others', async (t) => {
  const host = mkdtempSync(join(folder, 'ksyms-'))
  // nm prints the values of a 64-bit object with 16 digits; a CRC has 8, leading zeros among them.
  const nm = '0000000000000010 T ip_vs_new\n000000004660b4b4 A __crc_register_ip_vs_scheduler\n000000000000beef A __crc_ip_vs_new\n'
  const modversions = '0x25421969\\t__alloc_skb\\n0x4660b4b4\\tregister_ip_vs_scheduler\\n'
  for (const [tool, output] of [['nm', nm.replaceAll('\n', '\\n')], ['modprobe', modversions]]) {
    writeFileSync(join(host, tool ?? ''), `#!/bin/sh\nprintf '${output}'\n`, { mode: 0o755 })
  }
  const script = join(context.paths.root, 'specs', 'kmod', 'find-ksyms')
  const find = async (what: string, input: string): Promise<string> =>
    (await capture(['sh', script, what], { input, env: { PATH: `${host}:${process.env['PATH']}` } })).stdout
  t.is(await find('provides', '/lib/ip_vs.ko\n/etc/depmod.d/x.conf\n'), 'ksym(ip_vs_new) = 0x0000beef\nksym(register_ip_vs_scheduler) = 0x4660b4b4\n')
  t.is(await find('requires', '/lib/ip_vs.ko\n/lib/ip_vs_rr.ko\n'), 'kernel(__alloc_skb) = 0x25421969\n')
  t.is(await find('requires', '/etc/depmod.d/x.conf\n'), '')
})

/** What a scriptlet of the package for DKMS has its script do. */
async function dkmsCalls(section: string, argument: string): Promise<string[]> {
  const { exitCode, calls } = await run(await scriptlet('dkms', section, 'ipvs-snat-dkms'), ['!sh'], argument)
  if (exitCode !== 0) throw new Error(`%${section} has failed`)
  return calls.map((call) => call.replace('sh /usr/src/ipvs-snat-6.12.95+6.1.192-1.snat1/versions ', ''))
}

test('ipvs-snat-dkms: the files of the version before are kept as long as they are there, and no failure is that of the transaction', async (t) => {
  for (const count of ['1', '2']) t.deepEqual([await dkmsCalls('post', count), await dkmsCalls('posttrans', count)], [['keep'], ['install']])
  t.deepEqual([await dkmsCalls('preun', '1'), await dkmsCalls('preun', '0')], [[], ['remove']])
})
