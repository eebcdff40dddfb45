// SPDX-License-Identifier: GPL-2.0-only
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import type { Socket } from 'node:net'
import test from 'ava'
import { ROOT } from '../../scripts/base/root.ts'
import { Agent } from '../../vm/guest/agent.ts'
import { cpio, FILE, FOLDER, LINK } from '../../vm/guest/cpio.ts'
import { assemble, pruneOthers } from '../../vm/guest/image.ts'
import { closure } from '../../vm/guest/modules.ts'

const DEP = [
  'kernel/net/netfilter/ipvs/ip_vs.ko: kernel/net/netfilter/nf_conntrack.ko kernel/lib/libcrc32c.ko',
  'kernel/net/netfilter/ipvs/ip_vs_rr.ko: kernel/net/netfilter/ipvs/ip_vs.ko',
  'kernel/net/netfilter/nf_conntrack.ko: kernel/lib/libcrc32c.ko',
  'kernel/lib/libcrc32c.ko:',
  'kernel/drivers/net/e1000e/e1000e.ko:',
  'kernel/drivers/gpu/big-one.ko:',
].join('\n')

test('modules come with what they need, before them, and nothing else comes along', (t) => {
  const set = closure(DEP, ['ip_vs_*', 'e1000e', 'built_in'])
  t.deepEqual(set.paths.map((path) => path.split('/').pop()), ['libcrc32c.ko', 'nf_conntrack.ko', 'ip_vs.ko', 'ip_vs_rr.ko', 'e1000e.ko'])
  t.false(set.dep.includes('big'))
})

test('cpio reads the archive back', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-unit-'))
  const archive = cpio([
    { path: 'etc', mode: FOLDER | 0o755 },
    { path: 'etc/odd', mode: FILE | 0o640, data: Buffer.from('12345') },
    { path: 'etc/link', mode: LINK | 0o777, data: Buffer.from('odd') },
  ])
  const listing = execFileSync('cpio', ['-itv', '--quiet'], { input: archive, encoding: 'utf8' })
  t.regex(listing, /drwxr-xr-x .* etc\n-rw-r----- .* 5 .* etc\/odd\nlrwxrwxrwx .* etc\/link -> odd\n/)
  rmSync(folder, { recursive: true })
})

test('an image is named by its content, and a missing part is named', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-unit-'))
  const modules = join(folder, '6.1.0-test')
  mkdirSync(modules)
  for (const name of ['kernel', 'busybox', 'tool']) writeFileSync(join(folder, name), name)
  writeFileSync(join(modules, 'modules.dep'), '')
  const parts = { kernel: join(folder, 'kernel'), modules, busybox: join(folder, 'busybox'), files: new Map([['/opt/lab/tool', join(folder, 'tool')]]) }
  const image = assemble(parts, join(folder, 'images'))
  t.is(image.release, '6.1.0-test')
  t.is(assemble(parts, join(folder, 'images')).initrd, image.initrd)
  const names = execFileSync('cpio', ['-it', '--quiet'], { input: readFileSync(image.initrd), encoding: 'utf8' }).split('\n')
  for (const name of ['init', 'bin/busybox', 'opt', 'opt/lab', 'opt/lab/tool', 'lib/modules/6.1.0-test/modules.dep']) t.true(names.includes(name), name)
  t.not(assemble({ ...parts, files: new Map() }, join(folder, 'images')).initrd, image.initrd)
  t.throws(() => assemble({ ...parts, busybox: join(folder, 'none') }, folder), { message: /none, which does not exist/ })
  rmSync(folder, { recursive: true })
})

test('modules that were just compiled stand in for those of the packages', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-unit-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const name = 'kernel/net/netfilter/ipvs/ip_vs.ko'
  const modules = join(folder, '6.1.0-test')
  mkdirSync(join(modules, 'kernel/net/netfilter/ipvs'), { recursive: true })
  for (const [path, text] of [['kernel', 'k'], ['busybox', 'b'], ['new.ko', 'edited'], [`6.1.0-test/${name}`, 'packaged'], ['6.1.0-test/modules.dep', `${name}:\n`]] as const) writeFileSync(join(folder, path), text)
  const parts = { kernel: join(folder, 'kernel'), modules, busybox: join(folder, 'busybox'), files: new Map<string, string>() }
  const content = (image: { initrd: string }) => execFileSync('cpio', ['-i', '--quiet', '--to-stdout', `lib/modules/6.1.0-test/${name}`], { input: readFileSync(image.initrd), encoding: 'utf8' })
  t.is(content(assemble(parts, join(folder, 'images'))), 'packaged')
  t.is(content(assemble({ ...parts, instead: new Map([[name, join(folder, 'new.ko')]]) }, join(folder, 'images'))), 'edited')
})

test('modules that a distribution has compressed are plain in the image, and found there', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-unit-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const modules = join(folder, '6.12.0-test')
  mkdirSync(join(modules, 'updates/dkms'), { recursive: true })
  for (const [path, text] of [['kernel', 'k'], ['busybox', 'b'], ['6.12.0-test/updates/dkms/ip_vs.ko', 'a module'], ['6.12.0-test/modules.dep', 'updates/dkms/ip_vs.ko.xz:\n']] as const) writeFileSync(join(folder, path), text)
  execFileSync('xz', [join(modules, 'updates/dkms/ip_vs.ko')])
  const { initrd } = assemble({ kernel: join(folder, 'kernel'), modules, busybox: join(folder, 'busybox'), files: new Map() }, join(folder, 'images'))
  const content = (name: string) => execFileSync('cpio', ['-i', '--quiet', '--to-stdout', `lib/modules/6.12.0-test/${name}`], { input: readFileSync(initrd), encoding: 'utf8' })
  t.is(content('updates/dkms/ip_vs.ko'), 'a module')
  t.is(content('modules.dep'), 'updates/dkms/ip_vs.ko:\n')
})

test('the agent matches answers with questions, in whatever pieces they come', async (t) => {
  const written: string[] = []
  const stream = () => new Duplex({ read: () => undefined, write: (chunk: Buffer, _, done) => (written.push(chunk.toString()), done()) }) as unknown as Socket
  const socket = stream()
  const agent = new Agent(socket, stream())
  const one = agent.run('echo hello')
  const two = agent.run('false')
  socket.emit('data', Buffer.from('ready 0 0\n1 0 6\nhel'))
  socket.emit('data', Buffer.from('lo\n2 1 0\n'))
  await agent.ready
  t.deepEqual(await one, { status: 0, output: 'hello\n' })
  t.deepEqual(await two, { status: 1, output: '' })
  t.is(written[0], `run 1 ${Buffer.from('echo hello').toString('base64')}\n`)
  const never = agent.run('sleep 1000')
  agent.abandon(new Error('gone'))
  await t.throwsAsync(never, { message: 'gone' })
})

test('images that nobody has used for a day go, younger ones stay', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-unit-'))
  for (const name of ['used', 'young', 'old']) writeFileSync(join(folder, name), name)
  utimesSync(join(folder, 'old'), 1000, 1000)
  utimesSync(join(folder, 'used'), 1000, 1000)
  pruneOthers(join(folder, 'used'))
  t.deepEqual(['used', 'young', 'old'].map((name) => existsSync(join(folder, name))), [true, true, false])
  rmSync(folder, { recursive: true })
})

test('an image stays for as long as a process is there that has taken it, whatever the clock says', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-unit-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const [image, root, other] = ['image', 'root', 'other'].map((name) => join(folder, name)) as [string, string, string]
  for (const path of [image, other]) writeFileSync(path, path)
  mkdirSync(join(root, 'boot'), { recursive: true })
  for (const path of [image, root]) pruneOthers(path)
  // Of a process that is gone, nothing is kept.
  execFileSync('node', ['--import', 'tsx', '--eval', `import(${JSON.stringify(join(ROOT, 'vm/guest/image.ts'))}).then(({ pruneOthers }) => pruneOthers(${JSON.stringify(other)}))`], { cwd: ROOT })
  const [next, later] = [join(folder, 'next'), Date.now() + 25 * 3600 * 1000]
  writeFileSync(next, next)
  pruneOthers(next, later)
  t.deepEqual([image, root, other, next].map((path) => existsSync(path)), [true, true, false, true])
})

test('what the guest does is told by its processes, the last one first, and by its kernel before that', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-unit-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  for (const [pid, words, wchan] of [['1', 'sh\0/init\0', 'do_wait'], ['2', '', 'kthreadd'], ['103', 'ipvsadm\0-R\0', 'netlink_recvmsg']] as const) {
    mkdirSync(join(folder, pid))
    for (const [name, text] of [['cmdline', words], ['wchan', wchan], ['syscall', '47 0x3\n']] as const) writeFileSync(join(folder, pid, name), text)
  }
  const said = execFileSync('sh', ['-c', '. "$1"; proc=$2; echo | tell', 'sh', join(ROOT, 'vm/guest/agent'), folder], { encoding: 'utf8' })
  t.deepEqual(said.split('\n').slice(1, 4).map((line) => line.trim()), [
    'lab: 103 ipvsadm -R : netlink_recvmsg 47 0x3', 'lab: 1 sh /init : do_wait 47 0x3', 'lab: that is all',
  ])
  t.is(readFileSync(join(folder, 'sysrq-trigger'), 'utf8'), 'l\n')
})
