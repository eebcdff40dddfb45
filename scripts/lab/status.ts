// SPDX-License-Identifier: GPL-2.0-only
/** What of a checkout is up to date, edited or locked. */

import { existsSync } from 'node:fs'
import { Failure } from '../base/errors.ts'
import { createContext, preparedContexts, type Context } from '../build/context.ts'
import { locksHeld } from '../build/lock.ts'
import { revision } from '../build/revision.ts'
import { plan } from '../build/step.ts'
import { treeState } from '../kernel/series.ts'
import { step as all } from '../steps/all.ts'
import { FLAVOURS } from '../targets.ts'

export interface Status {
  /** Names of the variants that are told of. */
  variants: string[]
  lines: string[]
}

/** @returns of the variant that the context is of, and of each that something was built of, what would be done and what is edited */
export async function describeCheckout(context: Context): Promise<Status> {
  const { commit, dirty } = await revision(context)
  const contexts = builtVariants(context)
  const lines = [row('commit', `${commit ?? 'none'}${dirty ? ', with changes that are not committed' : ''}`), ...locksHeld(context).map((line) => row('running', line))]
  for (const each of contexts) lines.push(...(await stepLines(each)), ...(await editLines(each)))
  return { variants: contexts.map(({ variant }) => variant), lines }
}

const row = (name: string, text: string): string => `${name.padEnd(18)} ${text}`

/** The variant that was asked for, and those of which there is something in dist or in the cache. */
function builtVariants(context: Context): Context[] {
  // Files that were brought by the user decide what is stale as well.
  const { SOURCE = '' } = context.variables
  const contexts = preparedContexts(context).flatMap((kernel) => Object.keys(kernel.target.configs).flatMap((CONFIG) =>
    [undefined, ...FLAVOURS].flatMap((flavour) => {
      const variables = { SOURCE, TARGET: kernel.target.name, CONFIG, ...(kernel.srpm ? { KERNEL: kernel.srpm.kernel } : {}) }
      if (flavour && 'lacking' in kernel.target.flavours[flavour.name]) return []
      return [createContext({ ...variables, CACHE: context.paths.cache, ...(flavour ? { [flavour.variable]: flavour.value } : {}) }, context.paths.root)]
    })))
  const others = contexts.filter(({ variant, paths }) => variant !== context.variant && (existsSync(paths.dist) || existsSync(paths.stamps.variant)))
  return [context, ...others]
}

/** The steps that would run, or why that cannot be told. */
async function stepLines(context: Context): Promise<string[]> {
  const stale = await unlessFailure(async () => (await plan(context, all)).flatMap(({ step, why }) => (why === undefined ? [] : [`${step}: ${why}`])))
  const [first = 'up to date', ...others] = stale
  return [row(context.variant, first), ...others.map((line) => row('', line))]
}

async function editLines(context: Context): Promise<string[]> {
  if (!existsSync(context.paths.tree)) return []
  const edits = await unlessFailure(async () => {
    const { committed, uncommitted } = await treeState(context)
    return [...(committed ? [`commits in ${context.paths.tree} that the series does not have`] : []), ...uncommitted].map((name) => `edited: ${name}`)
  })
  return edits.map((line) => row('', line))
}

/** A tree that is damaged, or a file that is not there any more, is something to tell of too. */
async function unlessFailure(work: () => Promise<string[]>): Promise<string[]> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof Failure) return [error.message]
    throw error
  }
}
