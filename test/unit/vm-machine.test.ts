// SPDX-License-Identifier: GPL-2.0-only
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import test from 'ava'
import { Failure } from '../../scripts/base/errors.ts'
import { Machine } from '../../vm/qemu/machine.ts'

/** A QEMU that takes its sockets and dies, as one that crashes while it boots. */
const DYING_QEMU = `#!${process.execPath}
const net = require('node:net')
if (process.argv.includes('--version')) {
  console.log('QEMU emulator version 7.2.0')
} else {
  for (const word of process.argv) {
    const path = /^socket,.*path=([^,]*)/.exec(word)
    if (path) net.connect(path[1])
  }
  setTimeout(() => process.kill(process.pid, 'SIGSEGV'), 300)
}
`

test('a machine that dies while it boots is reported, and leaves no socket that keeps the command from ending', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-test-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const sockets = mkdtempSync(join(folder, 's'))
  writeFileSync(join(folder, 'qemu-system-x86_64'), DYING_QEMU, { mode: 0o755 })
  const path = process.env['PATH']
  process.env['PATH'] = `${folder}${delimiter}${path}`
  try {
    const image = { kernel: '/none', initrd: '/none', release: '1' }
    const start = Machine.start({ name: 'm', image, accelerator: 'tcg', sockets, logs: join(folder, 'logs'), cards: [] })
    const error = await t.throwsAsync(start, { instanceOf: Failure })
    t.is((error).kind, 'lostVm')
    t.deepEqual(readdirSync(sockets), [])
  } finally {
    process.env['PATH'] = path
  }
})
