// SPDX-License-Identifier: GPL-2.0-only
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
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

/** As one whose guest never ends a command but the first, of which it answers before it has told all that it does. */
const TELLING_QEMU = `${SILENT_QEMU}
let times = 0
teller.on('data', () => {
  times++
  say('lab: what runs and waits, the last one that was started first:')
  say('lab: 77 ipvsadm -R : hangs, ' + times)
  if (times > 1) say('lab: that is all')
  else agent.write('1 0 4\\nlate', () => say('lab: that is all'))
})
`

/** As one whose guest answers late, and whose kernel panics at the next command. */
const PANICKING_QEMU = `${TELLING_QEMU}
agent.on('data', () => {
  if (times === 0) return
  say('Kernel panic - not syncing: a test')
  process.exit()
})
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

/** Runs commands that take longer than half a second, and ends the machine. @returns why the last of them failed */
const lossOf = (t: ExecutionContext, program: string, last: string, commands: number): Promise<Failure> => withQemu(t, program, async (options) => {
  const machine = await Machine.start(options)
  try {
    for (let command = 1; command < commands; command++) {
      t.is((await machine.run('slow', 500)).output, 'late')
      // The rest of this telling would be taken for that of the next.
      while (!readFileSync(machine.console, 'utf8').includes('that is all')) await sleep(20)
    }
    return await t.throwsAsync(machine.run(last, 500), { instanceOf: Failure })
  } finally {
    await machine.stop()
  }
})

test.serial('a machine that dies while it boots is reported, and leaves no socket that keeps the command from ending', async (t) => {
  const error = await withQemu(t, DYING_QEMU, (options) => t.throwsAsync(Machine.start(options), { instanceOf: Failure }))
  t.is(error.kind, 'lostVm')
})

test.serial('a machine that does not answer tells what it does instead, this time', async (t) => {
  const { kind, message, details } = await lossOf(t, TELLING_QEMU, 'ipvsadm -R', 2)
  t.is(kind, 'lostVm')
  t.regex(message, /The virtual machine m did not answer to: ipvsadm -R within 0.5 s/)
  t.deepEqual(details.excerpt?.slice(1), ['lab: 77 ipvsadm -R : hangs, 2', 'lab: that is all'])
})

test.serial('a machine that does not even tell what it does is reported with the end of its console', async (t) => {
  t.deepEqual((await lossOf(t, SILENT_QEMU, 'ipvsadm -R', 1)).details.excerpt, ['the boot'])
})

test.serial('a machine that crashes after a late answer is reported with its crash', async (t) => {
  const failure = await lossOf(t, PANICKING_QEMU, 'panic', 2)
  t.regex(failure.message, /crashed: Kernel panic - not syncing: a test/)
  t.is(failure.details.excerpt?.at(-1), 'Kernel panic - not syncing: a test')
})
