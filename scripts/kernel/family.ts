// SPDX-License-Identifier: GPL-2.0-only
/** Which family of IPVS sources a kernel belongs to, told by the digests of its files. */

import { createHash } from 'node:crypto'
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { type Context, goal } from '../build/context.ts'
import { readStamp } from '../build/step.ts'
import type { Family, Target } from '../targets.ts'

/** Where the sources of IPVS are, folders and files. */
export const IPVS_SOURCES = ['net/netfilter/ipvs', 'include/net/ip_vs.h', 'include/linux/ip_vs.h'] as const

/** The step that recognises the family and remembers its name. */
export const RECOGNISED_BY = { name: 'prep', scope: 'target' } as const

/** @returns SHA-256 of every source file of IPVS below a kernel tree */
export function ipvsDigests(tree: string): Record<string, string> {
  const names = IPVS_SOURCES.flatMap((name) => {
    const path = join(tree, name)
    if (!existsSync(path)) return []
    return statSync(path).isDirectory() ? readdirSync(path).map((file) => `${name}/${file}`) : [name]
  })
  const digests = names.sort().map((name) => [name, createHash('sha256').update(readFileSync(join(tree, name))).digest('hex')] as const)
  return Object.fromEntries(digests)
}

/**
 * @param tree a pristine kernel tree
 * @returns the family that its IPVS sources belong to
 * @throws Failure of kind `source` that names the families there are, and how the tree differs from the nearest
 */
export function recognise(target: Target, tree: string): Family {
  const digests = ipvsDigests(tree)
  const candidates = target.families.map((family) => ({ family, differing: differences(family, digests) }))
  const match = candidates.find(({ differing }) => differing.length === 0)
  if (match) return match.family
  const [nearest] = candidates.sort((a, b) => a.differing.length - b.differing.length)
  throw new Failure('source', 'The IPVS sources of this kernel are of a family that there is no series for. Nothing was built.', {
    excerpt: [
      'Kernels that fit:',
      ...target.families.map((family) => `  ${family.kernels}`),
      ...(nearest ? [`This one differs from ${nearest.family.name} in:`, ...nearest.differing.map((name) => `  ${name}`)] : []),
    ],
    hint: 'Take one of the kernels that fit, or port the series: a folder in patches/, an entry in scripts/targets.ts.',
  })
}

function differences(family: Family, digests: Readonly<Record<string, string>>): string[] {
  const { files } = family
  if (files === undefined) return []
  const names = new Set([...Object.keys(files), ...Object.keys(digests)])
  return [...names].filter((name) => files[name] !== digests[name]).sort()
}

/**
 * @returns the family of the prepared kernel
 * @throws Failure of kind `usage` before there is one
 */
export function preparedFamily(context: Context): Family {
  const name = readStamp(context, RECOGNISED_BY)?.facts['family']
  const family = context.target.families.find((candidate) => candidate.name === name)
  if (family) return family
  throw new Failure('usage', 'There is no prepared tree.', { hint: `${goal(context, 'patch')} prepares it.` })
}
