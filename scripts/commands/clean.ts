import { existsSync, rmSync } from 'node:fs'
import type { Command } from '../lib/command.ts'
import { withBuildLock } from '../lib/lock.ts'
import { log } from '../lib/log.ts'
import { requireSaved } from '../lib/series.ts'

const command: Command = {
  summary: "remove this checkout's build results of one target",
  help: `Removes the prepared tree, the output folders and dist of TARGET, release and debug.
Downloads and ccache stay, so that the next build is quick. A prepared tree with
edits that were not saved is not removed.`,
  async run(context) {
    const { tree, work, root } = context.paths
    await withBuildLock(context, async () => {
      if (existsSync(tree)) await requireSaved(context, 'it is not removed')
      for (const path of [work, `${root}/dist/${context.target.name}`, `${root}/dist/${context.target.name}-debug`]) {
        rmSync(path, { recursive: true, force: true })
        log.info(`removed ${path}`)
      }
    })
  },
}
export default command
