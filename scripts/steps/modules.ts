// SPDX-License-Identifier: GPL-2.0-only
/** The modules of IPVS, compiled by themselves. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { shorten } from '../base/excerpt.ts'
import { log } from '../base/log.ts'
import { goal, type Context } from '../build/context.ts'
import { bring, digest, plan, readStamp, type Step } from '../build/step.ts'
import { preparedFamily } from '../kernel/family.ts'
import { treeContent } from '../kernel/series.ts'
import { isWarning } from '../kernel/warnings.ts'
import { compiledMarkers, kernelRelease, make, step as kernel } from './kernel.ts'
import { step as patch } from './patch.ts'

export const MODULES_FOLDER = 'net/netfilter/ipvs'

export const step: Step = {
  name: 'modules',
  scope: 'variant',
  needs: [],
  code: ['steps/kernel.ts', 'steps/modules.ts', 'kernel/kbuild.ts'],
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
    const facts = await make(context, 'modules', `M=${MODULES_FOLDER}`, ...(context.target.modulesArguments ?? []), 'modules')
    const warnings = readFileSync(join(context.paths.logs, 'modules.log'), 'utf8').split('\n').filter(isWarning)
    for (const line of shorten(warnings)) log.warn(line)
    return facts
  },
}

/** Compiles the modules of the prepared tree as it is, edited or not; the kernel first, if it never was. */
export async function bringModules(context: Context): Promise<void> {
  if (!readStamp(context, kernel)) await bring(context, kernel)
  // Not of a tree that was another target's when it was prepared.
  preparedFamily(context)
  const other = await saysOtherSeries(context)
  if (other !== undefined) log.warn(other)
  await bring(context, step)
}

/** @returns a warning if `patches/` has changed since the tree was prepared, which is the user's to edit and is not prepared anew unasked */
export async function saysOtherSeries(context: Context): Promise<string | undefined> {
  const why = (await plan(context, patch)).find(({ step: name }) => name === patch.name)?.why
  return why === undefined ? undefined : `the modules are made of the prepared tree as it is, and patch has not run since (${why}); first: ${goal(context, patch.name)}`
}

/** @returns the modules of the folder, relative to the kernel's output folder, as kbuild lists them in modules.order */
export function ipvsModules(context: Context): string[] {
  // In 2.6.32 the names have the folder in front that they are installed in.
  const order = readFileSync(join(context.paths.build, 'modules.order'), 'utf8').split('\n').map((name) => name.replace(/^kernel\//, ''))
  return order.filter((name) => name.startsWith(`${MODULES_FOLDER}/`)).map((name) => name.replace(/\.o$/, '.ko'))
}
