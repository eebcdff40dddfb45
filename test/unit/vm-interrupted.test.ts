// SPDX-License-Identifier: GPL-2.0-only
/** Ctrl-C while several labs are at work: nothing is left behind, and the results say so. */

import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { ROOT } from '../../scripts/base/root.ts'
import { createFixture, read } from './fixture.ts'

/** As QEMU in so far as it says its version; `begun` says that it has begun. */
const QEMU = `#!${process.execPath}
const fs = require('node:fs')
const net = require('node:net')
if (process.argv.includes('--version')) {
  console.log('QEMU emulator version 7.2.0')
  process.exit()
}
const path = (of) => process.argv.map((word) => new RegExp('^' + of + ',path=([^,]*)').exec(word)?.[1]).find(Boolean)
const connect = () => ['agent', 'tell', 'data', 'klog'].map((name) => net.connect(path('socket,id=lab-' + name)).on('error', () => undefined))
const begun = () => fs.writeFileSync(process.env.BEGUN + '/' + process.pid, '')
setInterval(() => undefined, 1000)
`

const WAYS: Readonly<Record<string, string>> = {
  'while machines wait for an answer': `connect()[0].write('ready 0 0\\n', begun)`,
  'while machines start': 'begun()',
  'while machines boot': 'connect()[0].on("connect", begun)',
  'of machines that do not obey': `process.on('SIGTERM', () => undefined); connect()[0].write('ready 0 0\\n', begun)`,
}

/** Runs two suites in two labs, as `make e2e LABS=2` does. */
const SCRIPT = `import { createContext } from '${ROOT}/scripts/build/context.ts'
import { interruption, stopChildren } from '${ROOT}/scripts/base/run.ts'
import { runIn } from '${ROOT}/scripts/lab/e2e.ts'
import { suite, test } from '${ROOT}/test/e2e/lib/suite.ts'
process.on('SIGINT', () => stopChildren('SIGINT'))
const suites = ['one', 'two', 'three'].map((name) => suite(name, [test('first', 'x', async () => undefined), test('second', 'x', async () => undefined)]))
const guest = { image: { kernel: '/none', initrd: '/none', release: '1' }, accelerator: 'tcg', lacks: {} }
await runIn(createContext(JSON.parse(process.argv[2]), process.argv[3]), suites, guest).catch((error) => console.error(error.message))
process.exitCode = interruption() ? 130 : 1
`

const isRunning = (pid: string): boolean => existsSync(`/proc/${pid}`)

/** @returns the folder of sockets, that of a file for each machine, and a child that runs the tests */
function run(t: ExecutionContext, way: string) {
  const { context, root } = createFixture(t)
  const folder = mkdtempSync(join(tmpdir(), 'lvs-i'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const [bin, begun, sockets] = ['bin', 'begun', 's'].map((name) => join(folder, name)) as [string, string, string]
  for (const each of [bin, begun, sockets]) mkdirSync(each)
  writeFileSync(join(bin, 'qemu-system-x86_64'), `${QEMU}${WAYS[way]}\n`, { mode: 0o755 })
  writeFileSync(join(bin, 'tshark'), '#!/bin/sh\necho TShark 4.0.17\n', { mode: 0o755 })
  const script = join(folder, 'run.mts')
  writeFileSync(script, SCRIPT)
  const c = context({ LABS: '2' })
  const child = spawn('node', ['--import', join(ROOT, 'node_modules/tsx/dist/esm/index.mjs'), script, JSON.stringify(c.variables), root], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, PATH: `${bin}${delimiter}${process.env['PATH']}`, XDG_RUNTIME_DIR: sockets, TMPDIR: sockets, BEGUN: begun },
  })
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
  return { child, ended, begun, sockets, junit: join(c.paths.dist, 'test/junit.xml'), said: () => said }
}

for (const way of Object.keys(WAYS)) {
  test.serial(`an interrupt ${way} leaves nothing behind, and results of tests that were not run`, async (t) => {
    const { child, ended, begun, sockets, junit, said } = run(t, way)
    while (readdirSync(begun).length < 2 && child.exitCode === null) await sleep(50)
    child.kill('SIGINT')
    t.is(await ended, 130, said())
    t.is(said(), 'Interrupted by SIGINT.\n')
    t.deepEqual(readdirSync(begun).filter(isRunning), [])
    t.deepEqual(readdirSync(sockets).filter((name) => name.startsWith('lvs-snat')), [])
    t.is(readFileSync(junit, 'utf8').match(/<error message="not run: Interrupted by SIGINT/g)?.length, 6, read(junit))
  })
}
