// SPDX-License-Identifier: GPL-2.0-only
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import test, { type ExecutionContext } from 'ava'
import { Door, serveControl } from '../../vm/control.ts'
import type { Lab } from '../../vm/lab.ts'
import { LINKS } from '../../vm/topology.ts'

/** A door into a lab whose gateway answers every script with itself. */
async function openLab(t: ExecutionContext): Promise<{ state: string; socket: string; close: () => void }> {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-door-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const gateway = { run: (script: string) => Promise.resolve({ status: 0, output: script }), klog: { lines: ['<6>IPVS: one'], listen: () => () => undefined } }
  const links = Object.fromEntries(LINKS.map((link) => [link, { pcap: { path: link } }]))
  const state = join(folder, 'state.json')
  const close = await serveControl({ gateway, links } as unknown as Lab, folder, state, '6.1')
  t.teardown(close)
  return { state, socket: join(folder, 'control'), close }
}

test('a line that is no request is answered, and ends nothing', async (t) => {
  const { state, socket } = await openLab(t)
  const client = connect(socket)
  t.teardown(() => client.destroy())
  const replies = createInterface({ input: client })[Symbol.asyncIterator]()
  client.write('no JSON\n')
  t.regex((await replies.next()).value as string, /^\{"error":"Unexpected token/)
  const door = await Door.open(state)
  t.deepEqual(await door.run('echo'), { status: 0, output: 'echo' })
  door.close()
})

test('who follows the log is told when the lab is closed', async (t) => {
  const { state, close } = await openLab(t)
  const door = await Door.open(state)
  const lines: string[] = []
  const followed = (async () => {
    for await (const line of door.klog()) {
      lines.push(line)
      close()
    }
  })()
  await followed
  t.deepEqual(lines, ['<6>IPVS: one'])
})
