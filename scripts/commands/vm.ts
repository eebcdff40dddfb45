// SPDX-License-Identifier: GPL-2.0-only
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { serveControl, stateFile } from '../../vm/control.ts'
import { GUIDE, makeInteractive } from '../../vm/interactive.ts'
import { Lab } from '../../vm/lab.ts'
import { withRuntimeFolder } from '../../vm/runtime.ts'
import { log } from '../base/log.ts'
import type { Context } from '../build/context.ts'
import { checkoutLock, withLock } from '../build/lock.ts'
import { setUp } from '../build/setup.ts'
import type { Command } from '../command.ts'
import { bringGuest } from '../lab/guest.ts'

const command: Command = {
  summary: 'boot the gateway with scripted hosts around it, console on this terminal',
  help: `Boots a virtual machine assembled from the packages in dist (which are built first if
need be), with an inside and an outside network whose hosts are scripted and answer.
${GUIDE}
In the gateway, lab-example configures LVS NAT and SNAT, and lab-traffic start makes
traffic. The links are recorded in the target's working folder while it runs.`,
  async run(context) {
    await setUp(context)
    const state = stateFile(context.paths.work, context.variant)
    await withLock(checkoutLock(context, `vm-${context.variant}`), `virtual machine of ${context.variant}`, () => run(context, state), {
      hint: 'Leave it first, or use another checkout.',
    })
  },
}
export default command

async function run(context: Context, state: string): Promise<void> {
  const guest = await bringGuest(context)
  const results = join(context.paths.work, `vm-${context.variant}`)
  rmSync(results, { recursive: true, force: true })
  log.step('vm', `the gateway's console follows${GUIDE}`)
  await withRuntimeFolder(async (sockets) => {
    const lab = await Lab.start({ ...guest, ...context.flavour?.lab, sockets, results, interactive: true })
    const close = await serveControl(lab, sockets, state, guest.image.release)
    try {
      // The console leaves the terminal in raw mode, where a line needs its carriage return.
      await makeInteractive(lab, (line) => process.stderr.write(`${line}\r\n`))
      await lab.gateway.ended
      const { lostBy } = lab.gateway
      if (lostBy?.message.includes('crashed')) throw lostBy
    } finally {
      close()
      await lab.stop()
    }
  })
  log.info(`Recorded: ${results}`)
}
