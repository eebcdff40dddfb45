// SPDX-License-Identifier: GPL-2.0-only
/** What went into dist, in metadata.json, once everything else is there. */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { checksums, clearAsides, listFiles, writeIfChanged } from '../base/files.ts'
import type { Context } from '../build/context.ts'
import { builtRevision } from '../build/revision.ts'
import { readStamp, type Json, type Step } from '../build/step.ts'
import { toolVersions } from '../build/toolversions.ts'
import type { Stored } from '../source/store.ts'
import { flavourWords } from '../targets.ts'
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
  inputs: async (context) => ({ command: reproduction(context), revision: await builtRevision(context) }),
  outputs: (context) => [metadataFile(context)],
  async run(context) {
    writeIfChanged(metadataFile(context), `${JSON.stringify(await metadata(context), null, 2)}\n`)
    clearAsides(metadataFile(context))
    await writeEvidence(context)
    return {}
  },
}

const metadataFile = (context: Context): string => join(context.paths.dist, 'metadata.json')

/** Digests of what dist holds besides packages: how they were made, and what their tests have shown. */
const EVIDENCE = 'EVIDENCE.SHA256SUMS'

/** Writes the manifest, anew after each of its files. */
export async function writeEvidence({ paths: { dist } }: Context): Promise<void> {
  const names = ['metadata.json', ...['test', 'test-install', 'selftests'].flatMap((folder) => listFiles(join(dist, folder)).map((name) => `${folder}/${name}`))].filter((name) => existsSync(join(dist, name)))
  writeIfChanged(join(dist, EVIDENCE), await checksums(dist, names))
}

/** @returns the command that makes the same packages again */
export function reproduction(context: Context): string {
  const { target, srpm, config, flavour } = context
  const choices = [...(srpm ? [`KERNEL=${srpm.kernel}`] : []), ...(Object.keys(target.configs).length > 1 ? [`CONFIG=${config}`] : [])]
  return ['make', `TARGET=${target.name}`, ...choices, ...(flavour ? [flavourWords(flavour)] : [])].join(' ')
}

/** @returns the sources that were fetched for it */
export const fetchedSources = (context: Context): Stored[] =>
  Object.keys(readStamp(context, fetch)?.facts ?? {}).map((name) => {
    const { path: _path, ...stored } = sourceFile(context, name)
    return { ...stored, name }
  })

/** What went into dist, how long each phase took when it last ran, and how to do it again. */
async function metadata(context: Context): Promise<Json> {
  const phases = PHASES.filter(({ applies }) => applies?.(context) ?? true).map((phase): [string, Json] => {
    const stamp = readStamp(context, phase)
    return [phase.name, { seconds: stamp?.seconds ?? null, inputs: stamp?.inputs ?? null, facts: stamp?.facts ?? null }]
  })
  return {
    target: context.target.name,
    flavour: context.flavour?.name ?? null,
    kernelRelease: kernelRelease(context),
    command: reproduction(context),
    ...(await builtRevision(context)),
    sources: fetchedSources(context).map(({ size: _size, ...stored }) => stored),
    tools: await toolVersions(),
    host: readFileSync('/proc/version', 'utf8').trim(),
    phases: Object.fromEntries(phases),
  }
}
