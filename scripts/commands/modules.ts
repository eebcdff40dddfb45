import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from '../lib/command.ts'
import type { Context } from '../lib/context.ts'
import { shorten } from '../lib/excerpt.ts'
import { log } from '../lib/log.ts'
import { treeContent } from '../lib/series.ts'
import { bring, digest, readStamp, type Step } from '../lib/step.ts'
import { isWarning } from '../lib/warnings.ts'
import { compiledMarkers, kernelRelease, make, step as kernel } from './kernel.ts'

const MODULES_FOLDER = 'net/netfilter/ipvs'

export const step: Step = {
  name: 'modules',
  scope: 'variant',
  needs: [],
  code: ['commands/kernel.ts', 'commands/modules.ts', 'lib/kbuild.ts'],
  inputs: async (context) => ({
    kernel: readStamp(context, kernel)?.key ?? '',
    tree: digest(await treeContent(context)),
  }),
  outputs: (context, inputs) => [
    ...ipvsModules(context).map((name) => join(context.paths.build, name)),
    ...compiledMarkers(context, inputs),
  ],
  async run(context) {
    log.step('modules', `${MODULES_FOLDER} of Linux ${kernelRelease(context)}`)
    // Not by the modules' names: then modpost forgets the symbols of all other modules.
    const facts = await make(context, 'modules', `M=${MODULES_FOLDER}`, 'modules')
    const warnings = readFileSync(join(context.paths.logs, 'modules.log'), 'utf8').split('\n').filter(isWarning)
    for (const line of shorten(warnings)) log.warn(line)
    return facts
  },
}

/** @returns the modules of the folder, relative to the kernel's output folder, as kbuild lists them in modules.order */
export function ipvsModules(context: Context): string[] {
  // In 2.6.32 the names have the folder in front that they are installed in.
  const order = readFileSync(join(context.paths.build, 'modules.order'), 'utf8').split('\n').map((name) => name.replace(/^kernel\//, ''))
  return order.filter((name) => name.startsWith(`${MODULES_FOLDER}/`)).map((name) => name.replace(/\.o$/, '.ko'))
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
    for (const path of step.outputs(context)) process.stdout.write(`${path}\n`)
  },
}
export default command
