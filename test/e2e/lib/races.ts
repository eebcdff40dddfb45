// SPDX-License-Identifier: GPL-2.0-only
/** Asks a kernel with KCSAN whether it watches for data races (Documentation/dev-tools/kcsan.rst). */

import { writeFileSync } from 'node:fs'
import type { Machine } from '../../../vm/qemu/machine.ts'
import { requireRaceWatch } from './klog.ts'
import { mark } from './mark.ts'

const COUNTERS = `
[ -e /sys/kernel/debug/kcsan ] || mount -t debugfs none /sys/kernel/debug
cat /sys/kernel/debug/kcsan`

/** @throws Failure of kind `environment` when a machine that has booted would tell of no race */
export async function requireWatched(gateway: Pick<Machine, 'sh' | 'klog'>): Promise<void> {
  await mark({ gateway }, 'the boot is over')
  requireRaceWatch(gateway.klog.lines)
}

/** Keeps how many accesses were watched and races found, also of those that are not told of. @param path file to write */
export async function keepCounters(gateway: Pick<Machine, 'sh'>, path: string): Promise<void> {
  writeFileSync(path, await gateway.sh(COUNTERS))
}
