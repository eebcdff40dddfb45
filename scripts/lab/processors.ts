// SPDX-License-Identifier: GPL-2.0-only
/** A machine of two processors, of which a plugin of QEMU tells what they have in common. */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PROCESSORS } from '../../vm/bench/processors.ts'
import { Machine } from '../../vm/qemu/machine.ts'
import { withRuntimeFolder } from '../../vm/runtime.ts'
import { log } from '../base/log.ts'
import { capture } from '../base/run.ts'
import type { Context } from '../build/context.ts'
import type { Guest } from './guest.ts'

/** Once they are watched, whatever they do takes a hundred times as long. */
const BOOT_LIMIT_MS = 300_000

/**
 * Boots a machine without network cards, and stops it at the end.
 *
 * @param name of the command, of the machine, and of the folder of its logs
 * @param work is also given what reads all that the plugin has written until then
 * @throws Failure of kind `lostVm` when it does not boot, or QEMU takes no plugins; `environment` without a C compiler
 */
export function withWatchedProcessors<T>(context: Context, { image }: Guest, name: string, work: (machine: Machine, sharedWrites: () => string) => Promise<T>): Promise<T> {
  return withRuntimeFolder(async (folder) => {
    const plugin = { file: join(folder, 'shared-writes.so'), out: join(folder, 'shared-writes') }
    const source = join(context.paths.root, 'vm/qemu/shared-writes.c')
    await capture(['gcc', '-O2', '-Wall', '-shared', '-fPIC', '-fvisibility=hidden', '-o', plugin.file, source], { kind: 'environment' })
    log.step(name, 'booting two processors')
    const machine = await Machine.start({
      name, image, accelerator: 'tcg', cards: [], sockets: folder, logs: join(context.paths.logs, name), cpus: PROCESSORS, memoryMegabytes: 1024,
      plugin, bootLimit: BOOT_LIMIT_MS,
    })
    try {
      return await work(machine, () => (existsSync(plugin.out) ? readFileSync(plugin.out, 'utf8') : ''))
    } finally {
      await machine.stop()
    }
  })
}
