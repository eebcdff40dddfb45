// SPDX-License-Identifier: GPL-2.0-only
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Failure } from '../../scripts/base/errors.ts'
import { Machine, type MachineOptions } from '../../vm/qemu/machine.ts'

/** What every QEMU of these tests does: it tells its version, and takes its sockets. */
const ANY_QEMU = `#!${process.execPath}
const fs = require('node:fs')
const net = require('node:net')
if (process.argv.includes('--version')) {
  console.log('QEMU emulator version 7.2.0')
  process.exit()
}
const path = (of) => process.argv.map((word) => new RegExp('^' + of + ',path=([^,]*)').exec(word)?.[1]).find(Boolean)
const port = (name) => net.connect(path('socket,id=lab-' + name))
const [agent, teller] = ['agent', 'tell', 'data', 'klog'].map(port)
const say = (line) => fs.appendFileSync(path('file,id=console'), line + '\\r\\n')
`

/** As one that crashes while it boots. */
const DYING_QEMU = `${ANY_QEMU}
setTimeout(() => process.kill(process.pid, 'SIGSEGV'), 300)
`

/** As one whose guest never ends a command. */
const SILENT_QEMU = `${ANY_QEMU}
say('the boot')
agent.write('ready 0 0\\n')
`

/** As one whose guest never ends a command but the first, and tells where it hangs. */
const TELLING_QEMU = `${SILENT_QEMU}
let times = 0
teller.on('data', () => {
  times++
  for (const line of ['lab: what runs and waits, the last one that was started first:', 'lab: 77 ipvsadm -R : hangs, ' + times, 'lab: that is all']) say(line)
  if (times === 1) setTimeout(() => agent.write('1 0 4\\nlate'), 100)
})
`

/** As one whose guest answers late, and whose kernel panics then. */
const PANICKING_QEMU = `${TELLING_QEMU}
teller.on('data', () => setTimeout(() => {
  say('Kernel panic - not syncing: a test')
  process.exit()
}, 1000))
`

/** Runs something with a QEMU of its own. @returns what it returns */
async function withQemu<T>(t: ExecutionContext, program: string, work: (options: MachineOptions) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-test-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const sockets = mkdtempSync(join(folder, 's'))
  writeFileSync(join(folder, 'qemu-system-x86_64'), program, { mode: 0o755 })
  const path = process.env['PATH']
  process.env['PATH'] = `${folder}${delimiter}${path}`
  try {
    const image = { kernel: '/none', initrd: '/none', release: '1' }
    const result = await work({ name: 'm', image, accelerator: 'tcg', sockets, logs: join(folder, 'logs'), cards: [] })
    t.deepEqual(readdirSync(sockets), [])
    return result
  } finally {
    process.env['PATH'] = path
  }
}

/** Runs commands that take longer than half a second. @returns why the last of them failed */
const lossOf = (t: ExecutionContext, program: string, commands: number): Promise<Failure> => withQemu(t, program, async (options) => {
  const machine = await Machine.start(options)
  for (let command = 1; command < commands; command++) t.is((await machine.run('ipvsadm -R', 500)).output, 'late')
  const failure = await t.throwsAsync(machine.run('ipvsadm -R', 500), { instanceOf: Failure })
  await machine.stop()
  return failure
})

test.serial('a machine that dies while it boots is reported, and leaves no socket that keeps the command from ending', async (t) => {
  const error = await withQemu(t, DYING_QEMU, (options) => t.throwsAsync(Machine.start(options), { instanceOf: Failure }))
  t.is(error.kind, 'lostVm')
})

test.serial('a machine that does not answer tells what it does instead, this time', async (t) => {
  const { kind, message, details } = await lossOf(t, TELLING_QEMU, 2)
  t.is(kind, 'lostVm')
  t.regex(message, /The virtual machine m did not answer to: ipvsadm -R within 0.5 s/)
  t.deepEqual(details.excerpt?.slice(1), ['lab: 77 ipvsadm -R : hangs, 2', 'lab: that is all'])
})

test.serial('a machine that does not even tell what it does is reported with the end of its console', async (t) => {
  t.deepEqual((await lossOf(t, SILENT_QEMU, 1)).details.excerpt, ['the boot'])
})

test.serial('a machine that crashes after a late answer is reported with its crash', async (t) => {
  const failure = await withQemu(t, PANICKING_QEMU, async (options) => {
    const machine = await Machine.start(options)
    await machine.run('slow', 500)
    const lost = await t.throwsAsync(machine.lost, { instanceOf: Failure })
    await machine.stop()
    return lost
  })
  t.regex(failure.message, /crashed: Kernel panic - not syncing: a test/)
  t.is(failure.details.excerpt?.at(-1), 'Kernel panic - not syncing: a test')
})
