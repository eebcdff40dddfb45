import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from '../lib/command.ts'
import { log } from '../lib/log.ts'
import { treeContent } from '../lib/series.ts'
import { bring, digest, readStamp, type Step } from '../lib/step.ts'
import { kernelRelease, make, step as kernel } from './kernel.ts'

export const MODULES_FOLDER = 'net/netfilter/ipvs'

export const step: Step = {
  name: 'modules',
  scope: 'variant',
  needs: [],
  inputs: async (context) => ({
    kernel: readStamp(context, kernel)?.key ?? '',
    tree: digest(await treeContent(context)),
  }),
  outputs: (context) => [join(context.paths.build, MODULES_FOLDER, 'ip_vs.ko')],
  async run(context) {
    log.step('modules', `${MODULES_FOLDER} of Linux ${kernelRelease(context)}`)
    return make(context, 'modules', `${MODULES_FOLDER}/`)
  },
}

const command: Command = {
  summary: `rebuild only the modules of ${MODULES_FOLDER}`,
  help: `For the daily loop: edit the prepared tree ("make patch" prints where it is), then
  make modules && make vm-reload
The kernel is built first if it never was; after that, only the IPVS modules are.
Prints the paths of the modules.`,
  async run(context) {
    if (!readStamp(context, kernel)) await bring(context, kernel)
    await bring(context, step)
    const folder = join(context.paths.build, MODULES_FOLDER)
    for (const name of readdirSync(folder).filter((file) => file.endsWith('.ko'))) process.stdout.write(`${join(folder, name)}\n`)
  },
}
export default command
