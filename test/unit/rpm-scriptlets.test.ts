import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { createContext } from '../../scripts/lib/context.ts'
import { capture } from '../../scripts/lib/run.ts'

const context = createContext({})

let folder = ''
test.before(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvs-snat-scriptlets-'))
})
test.after.always(() => rmSync(folder, { recursive: true, force: true }))

/** The body of a scriptlet, with macros expanded by rpm. */
async function scriptlet(spec: string, section: string): Promise<string> {
  const path = join(context.paths.root, 'specs', spec, `${spec}.spec`)
  const { stdout } = await capture(['rpmspec', '--parse', path])
  const [, body = ''] = new RegExp(`^%${section}\\n([\\s\\S]*?)(?=^%(?:post|preun|postun|posttrans|files)\\b)`, 'm').exec(stdout) ?? []
  if (body === '') throw new Error(`${spec}.spec has no %${section}`)
  return body
}

/**
 * Runs a scriptlet on a host that has only the given tools, which write down how they
 * were called; a name with "!" in front fails.
 */
async function run(body: string, tools: string[], argument = '1'): Promise<{ exitCode: number; calls: string[]; stderr: string }> {
  const host = mkdtempSync(join(folder, 'host-'))
  const calls = join(host, 'calls')
  mkdirSync(join(host, 'bin'))
  symlinkSync('/bin/rm', join(host, 'bin', 'rm'))
  for (const tool of tools) {
    const path = join(host, 'bin', tool.replace('!', ''))
    writeFileSync(path, `#!/bin/sh\necho "$(basename "$0") $*" >> ${calls}\nexit ${tool.startsWith('!') ? 1 : 0}\n`.replace('$(basename "$0")', '${0##*/}'))
    chmodSync(path, 0o755)
  }
  const { exitCode, stderr } = await capture(['/bin/sh', '-c', body, 'scriptlet', argument], {
    // Without SHLVL bash takes itself for a remote shell, and reads its user's .bashrc.
    env: { PATH: join(host, 'bin'), SHLVL: '1' },
    anyExit: true,
  })
  return { exitCode, stderr, calls: existsSync(calls) ? readFileSync(calls, 'utf8').trim().split('\n') : [] }
}

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

for (const name of ['ipvsadm', 'keepalived']) {
  test(`${name}: the first installation registers the service with systemd or SysV`, async (t) => {
    const body = await scriptlet(name, 'post')
    t.deepEqual((await run(body, ['systemctl', 'chkconfig'])).calls, ['systemctl daemon-reload', `systemctl preset ${name}.service`])
    t.deepEqual((await run(body, ['chkconfig'])).calls, [`chkconfig --add ${name}`])
    t.deepEqual(await run(body, []), { exitCode: 0, calls: [], stderr: '' })
  })

  test(`${name}: an upgrade keeps what the administrator enabled`, async (t) => {
    t.deepEqual((await run(await scriptlet(name, 'post'), ['systemctl'], '2')).calls, ['systemctl daemon-reload'])
    t.deepEqual((await run(await scriptlet(name, 'preun'), ['systemctl', 'chkconfig'], '1')).calls, [])
  })

  test(`${name}: removal stops and unregisters it`, async (t) => {
    const body = await scriptlet(name, 'preun')
    t.deepEqual((await run(body, ['systemctl'], '0')).calls, [`systemctl --no-reload disable --now ${name}.service`])
    t.deepEqual((await run(body, ['service', 'chkconfig'], '0')).calls, [`service ${name} stop`, `chkconfig --del ${name}`])
    t.is((await run(body, ['!systemctl'], '0')).exitCode, 0)
  })
}

test('an upgrade restarts a running keepalived and leaves the table of ipvsadm alone', async (t) => {
  const keepalived = await scriptlet('keepalived', 'postun')
  t.true((await run(keepalived, ['systemctl'], '1')).calls.includes('systemctl try-restart keepalived.service'))
  t.deepEqual((await run(keepalived, ['service'], '1')).calls, ['service keepalived condrestart'])
  t.deepEqual((await run(await scriptlet('ipvsadm', 'postun'), ['systemctl'], '1')).calls, ['systemctl daemon-reload'])
})
