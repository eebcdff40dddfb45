import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from '../lib/command.ts'
import { preparedContexts } from '../lib/context.ts'
import { withBuildLock } from '../lib/lock.ts'
import { log } from '../lib/log.ts'
import { requireSaved } from '../lib/series.ts'

const command: Command = {
  summary: 'remove all build results of this checkout, and the downloads',
  help: `Removes everything of this checkout, for every target, and the downloads and built
tools, which other checkouts share and would fetch and build again. ccache stays: it
has its own limit.
A prepared tree with edits that were not saved is not removed.`,
  async run(context) {
    const { checkout, store, results, cache, root } = context.paths
    await withBuildLock(context, async () => {
      for (const each of preparedContexts(context)) {
        if (existsSync(each.paths.tree)) await requireSaved(each, 'it is not removed')
      }
      for (const path of [checkout, join(root, 'dist'), store, results, join(cache, 'pristine'), join(cache, 'apt')]) {
        rmSync(path, { recursive: true, force: true })
        log.info(`removed ${path}`)
      }
    })
  },
}
export default command
