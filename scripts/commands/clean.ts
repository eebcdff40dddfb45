// SPDX-License-Identifier: GPL-2.0-only
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { log } from '../base/log.ts'
import { withNothingRunning } from '../build/checkouts.ts'
import { type Context, variants } from '../build/context.ts'
import type { Command } from '../command.ts'
import { requireSaved } from '../kernel/series.ts'
import { sweep } from '../kernel/sweep.ts'
import { guestFolder } from '../lab/guest.ts'
import { diskFolder } from '../steps/disk.ts'
import { stockFolder } from '../steps/stock.ts'

const command: Command = {
  summary: "remove this checkout's build results of one kernel",
  anyTree: true,
  anyKernel: true,
  help: `Removes the prepared tree, the output folders and dist of TARGET and KERNEL, all variants, or
those of a tool (TREE=ipvsadm). With KERNEL=stock only what was made of the distribution, which is as
old as its installation here: the next run brings the kernel that the archive has by then.
Downloads and ccache stay, so that the next build is quick. A prepared tree with
edits that were not saved is not removed, nor is anything while a build, a test run
or a virtual machine of that kernel is running.`,
  async run(context) {
    const { tree, work, root } = context.paths
    await withNothingRunning(context, [context], async () => {
      if (!context.stock && existsSync(tree)) await requireSaved(context, 'it is not removed')
      for (const path of context.stock ? ofStock(context) : [work, ...variants(context).map((name) => join(root, 'dist', name))]) {
        rmSync(path, { recursive: true, force: true })
        log.info(`removed ${path}`)
      }
    })
    await sweep(context)
  },
}
export default command

const ofStock = (context: Context): string[] => [stockFolder(context), diskFolder(context), guestFolder(context), context.paths.dist]
