// SPDX-License-Identifier: GPL-2.0-only
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { choose, label, suite, test as e2e } from '../e2e/lib/suite.ts'
import { SUITES } from '../e2e/index.ts'
import { Door, stateFile } from '../../vm/control.ts'
import { Segment } from '../../vm/ethernet/index.ts'
import { answerEverything, Connection, Host, replyTo } from '../../vm/host/index.ts'
import { parseDatagram, summary, tcp, udp } from '../../vm/packet/index.ts'
import { qemuArguments } from '../../vm/qemu/arguments.ts'
import { crashOf } from '../../vm/qemu/machine.ts'
import { tail } from '../../vm/qemu/process.ts'
import { withRuntimeFolder } from '../../vm/runtime.ts'

const MAC_A = '02:00:00:00:00:0a'
const MAC_B = '02:00:00:00:00:0b'

function twoHosts(t: { teardown: (end: () => void) => void }): { a: Host; b: Host; segment: Segment } {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-unit-'))
  const segment = new Segment('test', join(folder, 'test.pcap'))
  t.teardown(() => {
    segment.close()
    rmSync(folder, { recursive: true })
  })
  const a = new Host(segment, { name: 'a', mac: MAC_A, addresses: ['10.0.0.1'], gateway: MAC_B })
  const b = new Host(segment, { name: 'b', mac: MAC_B, addresses: ['10.0.0.2'], gateway: MAC_A })
  return { a, b, segment }
}

test('a scripted connection goes from handshake to end', async (t) => {
  const { a, b } = twoHosts(t)
  const route = '10.0.0.1:40000 > 10.0.0.2:80'
  const connection = await Connection.open({ client: a, sent: route, server: b, seen: '*:* > 10.0.0.2:80' })
  t.is(connection.seen, route)
  await connection.request('hello')
  await connection.respond(Buffer.alloc(1000, 7))
  await connection.finish()
  t.is(a.inbox.length + b.inbox.length, 0)
})

test('a host says what it received instead of what it waited for', async (t) => {
  const { a, b } = twoHosts(t)
  a.send(udp('10.0.0.1:1 > 10.0.0.2:2', 'x'))
  const error = await t.throwsAsync(b.expect('udp 10.0.0.1:1 > 10.0.0.2:3', 20))
  t.regex(error.message, /b waited 0.02 s for: udp 10.0.0.1:1 > 10.0.0.2:3;.*\n.*\n +udp 10.0.0.1:1 > 10.0.0.2:2/)
  t.is(error.message.split('\n')[0], 'b waited 0.02 s for: udp 10.0.0.1:1 > 10.0.0.2:3; it came with destination port 2 instead of 3')
  t.throws(() => b.refuse('udp **'), { message: /b received: udp 10.0.0.1:1 > 10.0.0.2:2 \(frame 1 of test.pcap\)/ })
})

test('waiting ends at once when the machine is lost', async (t) => {
  const { a } = twoHosts(t)
  const waiting = a.expect('udp **')
  a.abandon(new Error('the gateway is gone'))
  await t.throwsAsync(waiting, { message: 'the gateway is gone' })
  await t.throwsAsync(a.expect('udp **'), { message: 'the gateway is gone' })
})

test('hosts that serve answer pings, UDP and TCP', async (t) => {
  const { a, b } = twoHosts(t)
  answerEverything(b)
  a.send(tcp('10.0.0.1:9 > 10.0.0.2:80', 'S', { seq: 1 }))
  const answer = await a.expect('tcp 10.0.0.2:80 > 10.0.0.1:9 SA')
  t.is(answer.tcp?.ack, 2)
  const echoed = replyTo(parseDatagram(udp('10.0.0.1:9 > 10.0.0.2:80', 'data')))
  t.is(echoed && summary(parseDatagram(echoed)), 'udp 10.0.0.2:80 > 10.0.0.1:9')
  t.is(replyTo(parseDatagram(tcp('10.0.0.1:9 > 10.0.0.2:80', 'R'))), undefined)
})

test('ONLY chooses tests by any of its words', (t) => {
  const nothing = async () => undefined
  const suites = [suite('nat', [e2e('TCP works', 'x', nothing), e2e('UDP works', 'x', nothing)]), suite('icmp', [e2e('ping', 'x', nothing)])]
  const names = (only: string | undefined) => choose(suites, only).flatMap((of) => of.tests.map((one) => label(of, one)))
  t.is(names(undefined).length, 3)
  t.deepEqual(names('udp, PING'), ['nat: UDP works', 'icmp: ping'])
  t.deepEqual(names('nat:'), ['nat: TCP works', 'nat: UDP works'])
  t.deepEqual(names('nothing like it'), [])
})

test('every end-to-end test has a name of its own and says what it proves', (t) => {
  const all = SUITES.flatMap((of) => of.tests.map((one) => ({ name: label(of, one), proves: one.proves })))
  t.is(new Set(all.map(({ name }) => name)).size, all.length)
  for (const { name, proves } of all) t.regex(proves, /issue \d|defect \d|\.md|step \d+|FACTS/, name)
  for (const defect of [1, 2, 3, 4, 5, 6, 7, 13, 14]) t.true(all.some(({ proves }) => new RegExp(`defect ${defect}\\b`).test(proves)), `defect ${defect}`)
})

test('a machine\'s command line has its wires, its ports and no way to reboot', (t) => {
  const args = qemuArguments({
    name: 'gw', image: { kernel: '/k', initrd: '/i' }, accelerator: 'tcg', memoryMegabytes: 128, cpus: 2,
    cards: [{ name: 'inside', mac: MAC_A, socket: '/run/a,b' }], ports: { 'lab.agent': '/run/agent' },
    console: '/c', interactive: false, append: ['extra'], instructionClock: false, parallel: false,
  })
  const line = args.join(' ')
  t.true(line.includes('-no-reboot'))
  t.true(line.includes('-netdev stream,id=inside,server=off,addr.type=unix,addr.path=/run/a,,b'))
  t.true(line.includes(`-device e1000e,netdev=inside,mac=${MAC_A},romfile=`))
  t.true(line.includes('-device virtserialport,chardev=lab-agent,name=lab.agent'))
  t.regex(args[args.indexOf('-append') + 1] ?? '', /panic=1 .*extra$/)
  t.true(line.includes('-accel tcg,thread=single '), 'a thread for each processor makes QEMU 7.2 hang in patched code')
  t.false(line.includes('icount'))
  t.false(line.includes('virtio-net'), 'it loses interrupts when TCG leaves out the barriers of its driver')
  t.true(line.includes('-device virtio-serial-pci,event_idx=off '), 'it has no need of barriers then')
})

test('a machine boots from its disk, or an image with the disk beside it', (t) => {
  const machine = {
    name: 'gw', accelerator: 'tcg', memoryMegabytes: 128, cpus: 1, cards: [], ports: {}, console: '/c', interactive: false,
    append: ['root=LABEL=root'], instructionClock: false, parallel: false, disks: ['/d,1', '/d2'],
  } as const
  const line = qemuArguments(machine).join(' ')
  t.true(line.includes('-drive if=none,id=disk0,format=raw,cache=unsafe,file=/d,,1 -device ide-hd,drive=disk0,bus=ahci.0,bootindex=1 '))
  t.true(line.includes('bootindex=2'))
  t.regex(qemuArguments({ ...machine, cpus: 2, parallel: true }).join(' '), /-accel tcg,thread=multi .*-smp 2 /)
  t.regex(qemuArguments({ ...machine, accelerator: 'kvm', parallel: true }).join(' '), /-accel kvm /)
  t.false(/-kernel|-append/.test(line), 'what is booted is GRUB\'s business')
  t.regex(qemuArguments({ ...machine, image: { kernel: '/k', initrd: '/i' } }).join(' '), /-kernel \/k -initrd \/i -append .*panic=1 .*root=LABEL=root/)
})

test('a crash is told by its first words, on 6.1 as on 2.6.32', (t) => {
  t.is(crashOf(['[ 9.1] SysRq : Trigger a crash', '[ 9.2] BUG: unable to handle kernel NULL pointer dereference at (null)', '[ 9.3] Oops: 0002 [#1] SMP']), 'BUG: unable to handle kernel NULL pointer dereference at (null)')
  t.is(crashOf(['[ 9.2] BUG: unable to handle page fault for address: ffffffffffffffd8', 'Call Trace:']), 'BUG: unable to handle page fault for address: ffffffffffffffd8')
  t.is(crashOf(['[ 9.2] Kernel panic - not syncing: Fatal exception in interrupt']), 'Kernel panic - not syncing: Fatal exception in interrupt')
  t.is(crashOf(['Power down.']), undefined)
})

test('the end of a console is shown without what only terminals understand', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-unit-'))
  writeFileSync(join(folder, 'console'), '\u001Bc\u001B[?7l\u001B[2JSeaBIOS\r\none\r\ntwo\r\n')
  t.deepEqual(tail(join(folder, 'console'), 2), ['one', 'two'])
  t.deepEqual(tail(join(folder, 'none')), [])
  rmSync(folder, { recursive: true })
})

test('the folder of sockets is private, short, and gone afterwards', async (t) => {
  let seen = ''
  await t.throwsAsync(
    withRuntimeFolder(async (folder) => {
      seen = folder
      t.is(statSync(folder).mode & 0o777, 0o700)
      t.true(folder.length < 80)
      throw new Error('whatever happens')
    }),
    { message: 'whatever happens' },
  )
  t.false(existsSync(seen))
})

test('a command for a machine that does not run says so', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-unit-'))
  await t.throwsAsync(Door.open(stateFile(folder, 'lts')), { message: 'No virtual machine is running.' })
  writeFileSync(stateFile(folder, 'lts'), JSON.stringify({ socket: join(folder, 'nobody'), release: 'r', pcaps: {} }))
  await t.throwsAsync(Door.open(stateFile(folder, 'lts')), { message: 'No virtual machine is running.' })
  writeFileSync(stateFile(folder, 'lts'), 'damaged')
  await t.throwsAsync(Door.open(stateFile(folder, 'lts')), { message: 'No virtual machine is running.' })
  rmSync(folder, { recursive: true })
})
