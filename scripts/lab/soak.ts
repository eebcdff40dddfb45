// SPDX-License-Identifier: GPL-2.0-only
/** Soaks, and the folder of their results. */

import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { soak, type SoakReport } from '../../test/e2e/soak/run.ts'
import { withRuntimeFolder } from '../../vm/runtime.ts'
import { log } from '../base/log.ts'
import { withRun } from '../build/checkouts.ts'
import type { Context } from '../build/context.ts'
import { bringGuest, type Guest } from './guest.ts'
import { tellRaces } from './races.ts'

/** The largest that SEED= may be. */
const SEEDS = 2 ** 31 - 1

/**
 * Has a gateway of the packages in dist go through random actions for as many hours as HOURS says.
 *
 * @throws Failure of kind `test` when something is wrong with it, `lostVm` when it is gone, `environment` when a soak of this checkout runs already
 */
export async function runSoak(context: Context): Promise<SoakReport> {
  return withRun(context, 'soak', async () => soakIn(context, await bringGuest(context)))
}

async function soakIn(context: Context, guest: Guest): Promise<SoakReport> {
  const results = newResults(context)
  const { hours, seed = 1 + Math.floor(Math.random() * SEEDS) } = context
  log.step('soak', `${hours} hours, SEED=${seed}`)
  const report = await withRuntimeFolder((sockets) =>
    soak({ ...guest, ...context.flavour?.lab, seed, hours, sockets, results, print: (line) => log.info(line), races: (races) => tellRaces(races, results) }))
  log.info(`tshark has verified the checksums of ${report.verifiedFrames} packets; results are in ${results}`)
  return report
}

/** Makes an empty folder; what the run before has left is put aside. */
function newResults({ paths }: Context): string {
  const results = join(paths.dist, 'soak')
  if (existsSync(results)) {
    rmSync(`${results}.previous`, { recursive: true, force: true })
    renameSync(results, `${results}.previous`)
  }
  mkdirSync(results, { recursive: true })
  return results
}
