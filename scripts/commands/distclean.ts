// SPDX-License-Identifier: GPL-2.0-only
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { log } from '../base/log.ts'
import { withNothingRunning } from '../build/checkouts.ts'
import { preparedTrees, RELEASES } from '../build/context.ts'
import type { Command } from '../command.ts'
import { requireSaved } from '../kernel/series.ts'
import { sweep } from '../kernel/sweep.ts'

/** @returns what is removed of dist: all of it, unless there are releases */
function resultsIn(dist: string): string[] {
  if (!existsSync(join(dist, RELEASES))) return [dist]
  return readdirSync(dist).filter((name) => name !== RELEASES).map((name) => join(dist, name))
}

const command: Command = {
  summary: 'remove all build results of this checkout',
  help: `Removes everything of this checkout, for every target, and nothing that other checkouts
share with it: downloads, pristine sources and built tools stay, see make purge.
Releases stay as well (dist/release): they could not be made again once a distribution has newer sources.
A prepared tree with edits that were not saved is not removed, nor is anything while a
build, a test run or a virtual machine of this checkout is running.`,
  async run(context) {
    const { checkout, root } = context.paths
    const kernels = preparedTrees(context)
    await withNothingRunning(context, kernels, async () => {
      for (const each of kernels) {
        if (existsSync(each.paths.tree)) await requireSaved(each, 'it is not removed')
      }
      for (const path of [checkout, ...resultsIn(join(root, 'dist'))]) {
        rmSync(path, { recursive: true, force: true })
        log.info(`removed ${path}`)
      }
    })
    await sweep(context)
  },
}
export default command
