// SPDX-License-Identifier: GPL-2.0-only
/** What went into dist, in metadata.json, once everything else is there. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { writeIfChanged } from '../base/files.ts'
import type { Context } from '../build/context.ts'
import { readStamp, type Json, type Step } from '../build/step.ts'
import { toolVersions } from '../build/toolversions.ts'
import { step as config } from './config.ts'
import { step as exportStep } from './export.ts'
import { sourceFile, step as fetch } from './fetch.ts'
import { kernelRelease, step as kernel } from './kernel.ts'
import { step as kmod } from './kmod.ts'
import { step as patch } from './patch.ts'
import { step as prep } from './prep.ts'
import { step as repo } from './repo.ts'
import { step as rpm } from './rpm.ts'
import { step as srpm } from './srpm.ts'
import { TOOL_STEPS } from './tools.ts'

const PHASES: readonly Step[] = [fetch, prep, patch, config, kernel, ...TOOL_STEPS, srpm, kmod, rpm, exportStep, repo]

export const step: Step = {
  name: 'all',
  scope: 'variant',
  needs: [exportStep, repo],
  code: ['steps/all.ts'],
  inputs: (context) => ({ command: reproduction(context) }),
  outputs: (context) => [metadataFile(context)],
  async run(context) {
    writeIfChanged(metadataFile(context), `${JSON.stringify(await metadata(context), null, 2)}\n`)
    return {}
  },
}

const metadataFile = (context: Context): string => join(context.paths.dist, 'metadata.json')

/** The command that makes the same packages again. */
function reproduction(context: Context): string {
  const { target, srpm, config, flavour } = context
  const choices = [...(srpm ? [`KERNEL=${srpm.kernel}`] : []), ...(Object.keys(target.configs).length > 1 ? [`CONFIG=${config}`] : [])]
  return ['make', `TARGET=${target.name}`, ...choices, ...(flavour ? [`${flavour.variable}=1`] : [])].join(' ')
}

/** What went into dist, how long each phase took when it last ran, and how to do it again. */
async function metadata(context: Context): Promise<Json> {
  const names = Object.keys(readStamp(context, fetch)?.facts ?? {})
  const phases = PHASES.filter(({ applies }) => applies?.(context) ?? true).map((phase): [string, Json] => {
    const stamp = readStamp(context, phase)
    return [phase.name, { seconds: stamp?.seconds ?? null, inputs: stamp?.inputs ?? null, facts: stamp?.facts ?? null }]
  })
  return {
    target: context.target.name,
    flavour: context.flavour?.name ?? null,
    kernelRelease: kernelRelease(context),
    command: reproduction(context),
    sources: names.map((name) => {
      const { path: _path, size: _size, ...stored } = sourceFile(context, name)
      return { ...stored, name }
    }),
    tools: await toolVersions(),
    host: readFileSync('/proc/version', 'utf8').trim(),
    phases: Object.fromEntries(phases),
  }
}
