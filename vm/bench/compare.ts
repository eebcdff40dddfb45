// SPDX-License-Identifier: GPL-2.0-only
/** What has changed from one run of the benchmark to another, beyond noise. */

import { Failure } from '../../scripts/base/errors.ts'
import { percent } from './report.ts'
import { countOf, spreadOf, summaryOf } from './results.ts'
import { commitOf, type Known } from './stored.ts'

/** What counts as noise of a figure that was measured once. */
const TOLERANCE = 0.003
/** What one boot differs by from another, which the rounds of one do not show. */
const BETWEEN_BOOTS = 0.001

export interface Change {
  name: string
  before: number
  after: number
  /** How much more it is, as a part of what it was; less than 0 if it is less. */
  part: number
  /** Up to what part a difference would be none. */
  noise: number
}

export interface Comparison {
  /** Beyond noise, the largest first. */
  slower: Change[]
  faster: Change[]
  same: Change[]
  /** Figures that meant something before, and do not any more, with the reason. */
  refused: { name: string; reason: string }[]
  /** Names of figures that only one of both has. */
  onlyBefore: string[]
  onlyAfter: string[]
}

/** @throws Failure of kind `usage` if figures of the two are not about the same */
export function compare(before: Known, after: Known): Comparison {
  requireComparable(before, after)
  const changes = [...before.figures].flatMap(([name, { values, refused }]): Change[] => {
    const other = after.figures.get(name)
    return other === undefined || refused !== undefined || other.refused !== undefined ? [] : [changeOf(name, values, other.values)]
  })
  if (changes.length === 0) {
    throw new Failure('usage', `${before.file} and ${after.file} have no figure in common that means something in both.`, { hint: 'ONLY= chooses parts; compare runs of the same ones.' })
  }
  const sorted = [...changes].sort((one, other) => Math.abs(other.part) - Math.abs(one.part))
  return {
    slower: sorted.filter(({ part, noise }) => part > noise),
    faster: sorted.filter(({ part, noise }) => part < -noise),
    same: sorted.filter(({ part, noise }) => Math.abs(part) <= noise),
    refused: [...after.figures].flatMap(([name, { refused }]) => (refused !== undefined && before.figures.get(name)?.refused === undefined && before.figures.has(name) ? [{ name, reason: refused }] : [])),
    onlyBefore: [...before.figures.keys()].filter((name) => !after.figures.has(name)),
    onlyAfter: [...after.figures.keys()].filter((name) => !before.figures.has(name)),
  }
}

function changeOf(name: string, before: readonly number[], after: readonly number[]): Change {
  const [old, now] = [summaryOf(before), summaryOf(after)]
  const once = before.length === 1 || after.length === 1
  const noise = Math.max(spreadOf(old), spreadOf(now), once ? TOLERANCE : BETWEEN_BOOTS)
  return { name, before: old.median, after: now.median, part: now.median / old.median - 1, noise }
}

/** What has to be the same, and what is said of it if it is not. */
const SAME = [
  { field: 'variant', what: 'of different kernels' },
  { field: 'method', what: 'not measured in the same way' },
] as const

function requireComparable(before: Known, after: Known): void {
  for (const { field, what } of SAME) {
    const [old, now] = [before.origin[field], after.origin[field]]
    if (old !== now) throw new Failure('usage', `${before.file} and ${after.file} are ${what}: ${old}, ${now}.`, { hint: 'What changes from one to the other would not be what a commit has changed.' })
  }
}

/** @returns a line for each thing that is not the same, and may be why figures differ */
const differences = (before: Known, after: Known): string[] =>
  (['kernel', 'qemu', 'tested'] as const).filter((field) => before.origin[field] !== after.origin[field]).map((field) => `not the same: ${before.origin[field]}, then ${after.origin[field]}`)

/** @returns a line about where figures come from */
export function originLine({ file, origin, complete }: Known): string {
  const unfinished = complete ? '' : ', not finished'
  return `${file}: ${origin.variant}, ${origin.kernel}, ${commitOf(origin)}, ${countOf(origin.rounds, 'round')}, ${origin.date}${unfinished}`
}

const changeLine = (word: string, reference: string, { name, before, after, part, noise }: Change): string =>
  `${word} by ${percent(Math.abs(part))}${reference && ` than ${reference}`}: ${name}: ${before.toFixed(0)} instructions, then ${after.toFixed(0)} (noise ${percent(noise)})`

function sameLine(reference: string, same: readonly Change[]): string {
  const noise = summaryOf(same.map((change) => change.noise))
  const range = noise.low === noise.high ? percent(noise.low) : `${percent(noise.low)} to ${percent(noise.high)}`
  return `the same${reference && ` as ${reference}`} within noise (${range}): ${countOf(same.length, 'figure')}`
}

/** @param reference what `before` is called @returns lines for people */
export function comparisonLines(before: Known, after: Known, found: Comparison, reference = ''): string[] {
  const only = (names: readonly string[], file: string): string[] => (names.length === 0 ? [] : [`only in ${file}: ${countOf(names.length, 'figure')}, such as ${names[0]}`])
  return [
    ...differences(before, after),
    ...found.slower.map((change) => changeLine('slower', reference, change)),
    ...found.faster.map((change) => changeLine('faster', reference, change)),
    ...(found.same.length > 0 ? [sameLine(reference, found.same)] : []),
    ...found.refused.map(({ name, reason }) => `refused now: ${name}: ${reason}`),
    ...only(found.onlyBefore, before.file), ...only(found.onlyAfter, after.file),
  ]
}
