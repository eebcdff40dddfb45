// SPDX-License-Identifier: GPL-2.0-only
/** A gateway with hosts that answer: for a person at its console, or for one script. */

import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { serveControl, stateFile } from '../../vm/control.ts'
import { bringCommands, GUIDE, makeInteractive } from '../../vm/interactive.ts'
import { Lab } from '../../vm/lab.ts'
import { withRuntimeFolder } from '../../vm/runtime.ts'
import { Failure } from '../base/errors.ts'
import { log } from '../base/log.ts'
import type { Context } from '../build/context.ts'
import { bringGuest } from './guest.ts'

/** Gives the console to the user, until the gateway is switched off. */
export async function attend(context: Context): Promise<void> {
  const guest = await bringGuest(context)
  log.step('vm', `the gateway's console follows${GUIDE}`)
  await withLab(context, guest, true, async (lab, sockets) => {
    const close = await serveControl(lab, sockets, stateFile(context.paths.work, context.variant), guest.image.release)
    try {
      // The console leaves the terminal in raw mode, where a line needs its carriage return.
      await makeInteractive(lab, (line) => process.stderr.write(`${line}\r\n`))
      await lab.gateway.ended
      const { lostBy } = lab.gateway
      if (lostBy?.message.includes('crashed')) throw lostBy
    } finally {
      close()
    }
  })
}

/** The longest time that a timer can have, 24 days: a script takes as long as it takes. */
const ENDLESS_MS = 2 ** 31 - 1

/**
 * Runs a script in the gateway, with files brought before and taken afterwards.
 *
 * @returns its exit status; what it printed has gone to stdout
 */
export async function runScript(context: Context, script: string): Promise<number> {
  const [put, get] = [pairs(context, 'PUT'), pairs(context, 'GET')]
  const contents = put.map(([here, there]) => [there, contentOf(here)] as const)
  for (const [, here] of get) requireFolder(here)
  const guest = await bringGuest(context)
  return withLab(context, guest, false, async (lab) => {
    await bringCommands(lab, (line) => log.info(line))
    for (const [there, content] of contents) await lab.gateway.put(there, content)
    const { status, output } = await lab.gateway.run(script, ENDLESS_MS / (context.flavour?.lab?.patience ?? 1))
    process.stdout.write(output)
    for (const [there, here] of get) writeFileSync(here, await lab.gateway.get(there))
    return status
  })
}

function contentOf(path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (cause) {
    throw new Failure('usage', `PUT= names ${path}, which cannot be read (${(cause as NodeJS.ErrnoException).code}).`, { cause })
  }
}

/** Before the script runs, whose result would be lost. */
function requireFolder(path: string): void {
  if (existsSync(dirname(path)) && !existsSync(join(path, '.'))) return
  throw new Failure('usage', `GET= names ${path}, where no file can be.`)
}

async function withLab<T>(context: Context, guest: Awaited<ReturnType<typeof bringGuest>>, interactive: boolean, work: (lab: Lab, sockets: string) => Promise<T>): Promise<T> {
  const results = join(context.paths.work, `vm-${context.variant}`)
  rmSync(results, { recursive: true, force: true })
  const result = await withRuntimeFolder(async (sockets) => {
    const lab = await Lab.start({ ...guest, ...context.flavour?.lab, sockets, results, interactive })
    try {
      return await work(lab, sockets)
    } finally {
      await lab.stop()
    }
  })
  log.info(`Recorded: ${results}`)
  return result
}

/** Parses `FROM=TO,FROM=TO`. @throws Failure of kind `usage` */
function pairs(context: Context, name: 'PUT' | 'GET'): [from: string, to: string][] {
  return (context.variables[name] ?? '').split(',').filter(Boolean).map((item) => {
    const [from = '', to = ''] = item.split('=')
    if (from && to) return [from, to]
    throw new Failure('usage', `${name}= has "${item}", which is not FROM=TO.`)
  })
}
