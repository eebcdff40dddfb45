// SPDX-License-Identifier: GPL-2.0-only
/** Marks in the kernel's log: where something begins and ends. */

import { randomUUID } from 'node:crypto'
import { Failure } from '../../../scripts/base/errors.ts'
import type { Machine } from '../../../vm/qemu/machine.ts'

/** The kernel log comes over a port of its own, a moment after it was written. */
const KLOG_WAIT_MS = 2_000
const KLOG_TRIES = 5

/**
 * Writes a line into the guest's kernel log, again if it does not come back: 2.6.32 can
 * forget to wake who reads the log, until the next line (wake_up_klogd() in its
 * kernel/printk.c may note that on a processor that it just left, and whose tick has stopped).
 *
 * @throws Failure when no line comes back
 */
export async function mark(lab: { gateway: Pick<Machine, 'sh' | 'klog'> }, text: string): Promise<void> {
  const word = `lab: ${randomUUID().slice(0, 8)} ${text.slice(0, 100)}`
  const from = lab.gateway.klog.lines.length
  for (let tries = 0; tries < KLOG_TRIES; tries++) {
    await lab.gateway.sh(`echo '${word.replaceAll("'", '')}' >/dev/kmsg`)
    const index = await lab.gateway.klog.find(word.slice(0, 13), from, KLOG_WAIT_MS)
    if (index !== undefined) return
  }
  throw new Failure('test', 'The kernel log could not be scanned: it does not arrive.')
}
