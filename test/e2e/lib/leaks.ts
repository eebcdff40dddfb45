// SPDX-License-Identifier: GPL-2.0-only
/** Asks a kernel with kmemleak for memory that nothing points to any more (Documentation/dev-tools/kmemleak.rst). */

import assert from 'node:assert/strict'
import type { Machine } from '../../../vm/qemu/machine.ts'
import { test } from './suite.ts'

const KMEMLEAK = '/sys/kernel/debug/kmemleak'
const SCAN_LIMIT_MS = 120_000
const SHOWN = 5

/** Every command fails when kmemleak is not there or has given up, so that no scan is taken for a clean one. */
const MOUNT = `
set -e
[ -e ${KMEMLEAK} ] || mount -t debugfs none /sys/kernel/debug`

/**
 * Memory counts as leaked when it is older than five seconds and two scans have found
 * neither a pointer to it nor a change in it.
 */
const SCAN = `${MOUNT}
sleep 6
echo scan >${KMEMLEAK}
echo scan >${KMEMLEAK}
cat ${KMEMLEAK}
echo clear >${KMEMLEAK}`

/** What has a machine whose kernel can be asked. */
interface Watched {
  gateway: Pick<Machine, 'sh'>
}

/** @returns what kmemleak says of each piece of memory that has leaked since it was asked last */
async function findLeaks(lab: Watched): Promise<string[]> {
  const reports = await lab.gateway.sh(SCAN, SCAN_LIMIT_MS)
  return reports.split(/^(?=unreferenced object )/m).filter(Boolean)
}

/** What the boot has left is not the tests'. */
export async function forgetLeaks(lab: Watched): Promise<void> {
  await findLeaks(lab)
}

/** @throws Error when memory has leaked since the last time */
export async function requireNoLeaks(lab: Watched): Promise<void> {
  const leaks = await findLeaks(lab)
  assert.equal(leaks.length, 0, `${leaks.length} leaks\n${leaks.slice(0, SHOWN).join('\n')}`)
}

/** Comes after the last test of a suite, whose modules are unloaded then. */
export const NO_LEAKS = test('no memory has leaked', 'issue 10: the suite passes under kmemleak', requireNoLeaks, { limit: SCAN_LIMIT_MS / 1000 })
