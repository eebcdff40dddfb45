// SPDX-License-Identifier: GPL-2.0-only
/** A single machine whose clock counts instructions, so that what it does takes the same time on every host. */

import { join } from 'node:path'
import { Machine } from '../../vm/qemu/machine.ts'
import { withRuntimeFolder } from '../../vm/runtime.ts'
import { log } from '../base/log.ts'
import type { Context } from '../build/context.ts'
import type { Guest } from './guest.ts'

const MEMORY_MEGABYTES = 1024
/** The instruction clock is slow. */
const BOOT_LIMIT_MS = 300_000

/**
 * Boots a machine without network cards, and stops it at the end.
 *
 * @param name of the command, of the machine, and of the folder of its logs
 * @returns what the work returns
 * @throws Failure of kind `lostVm` when it does not boot
 */
export function withInstructionClock<T>(context: Context, { image }: Guest, name: string, work: (machine: Machine) => Promise<T>, memoryMegabytes = MEMORY_MEGABYTES): Promise<T> {
  return withRuntimeFolder(async (sockets) => {
    log.step(name, 'booting (the instruction clock is slow)')
    const machine = await Machine.start({
      name, image, accelerator: 'tcg', cards: [], sockets, logs: join(context.paths.logs, name), instructionClock: true,
      memoryMegabytes, bootLimit: BOOT_LIMIT_MS,
    })
    try {
      return await work(machine)
    } finally {
      await machine.stop()
    }
  })
}
