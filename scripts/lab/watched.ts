// SPDX-License-Identifier: GPL-2.0-only
/** A machine that a plugin of QEMU watches. */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Plugin } from '../../vm/bench/measure.ts'
import { PROCESSORS } from '../../vm/bench/processors.ts'
import { qemuVersion } from '../../vm/qemu/accelerator.ts'
import { Machine, type MachineOptions } from '../../vm/qemu/machine.ts'
import { compiling, interfaceOf } from '../../vm/qemu/plugin.ts'
import { withRuntimeFolder } from '../../vm/runtime.ts'
import { log } from '../base/log.ts'
import { capture } from '../base/run.ts'
import type { Context } from '../build/context.ts'
import type { Guest } from './guest.ts'

/** Once it is watched, whatever it does takes a hundred times as long. */
const BOOT_LIMIT_MS = 300_000

const MACHINES: Readonly<Record<Plugin, Pick<MachineOptions, 'cpus' | 'instructionClock'>>> = {
  'shared-writes': { cpus: PROCESSORS },
  profile: { cpus: 1, instructionClock: true },
}

/**
 * Boots a machine without network cards, and stops it at the end.
 *
 * @param name of the command, of the machine, and of the folder of its logs
 * @param work is also given what reads all that the plugin has written until then
 * @throws Failure of kind `lostVm` when it does not boot, or QEMU takes no plugins; `environment` without a C compiler, or for a QEMU that says no version
 */
export function withPlugin<T>(context: Context, { image }: Guest, name: string, plugin: Plugin, work: (machine: Machine, told: () => string) => Promise<T>): Promise<T> {
  return withRuntimeFolder(async (folder) => {
    const built = { file: join(folder, `${plugin}.so`), out: join(folder, plugin) }
    const source = join(context.paths.root, `vm/qemu/${plugin}.c`)
    await capture(compiling(interfaceOf(await qemuVersion()), source, built.file), { kind: 'environment' })
    log.step(name, `booting a machine that ${plugin}.c watches`)
    const machine = await Machine.start({
      name, image, accelerator: 'tcg', cards: [], sockets: folder, logs: join(context.paths.logs, name), memoryMegabytes: 1024,
      plugin: built, bootLimit: BOOT_LIMIT_MS, ...MACHINES[plugin],
    })
    try {
      return await work(machine, () => (existsSync(built.out) ? readFileSync(built.out, 'utf8') : ''))
    } finally {
      await machine.stop()
    }
  })
}
