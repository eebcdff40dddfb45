// SPDX-License-Identifier: GPL-2.0-only
/**
 * Steps of the build. A step runs when its inputs changed since it last succeeded,
 * or when an output is missing, and is a no-op otherwise.
 */

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { listFiles } from '../base/files.ts'
import { log } from '../base/log.ts'
import { ROOT } from '../base/root.ts'
import { requireUninterrupted } from '../base/run.ts'
import type { Requirement } from '../packages.ts'
import { noteOwner } from './checkouts.ts'
import { isKernel, type Context, type Scope } from './context.ts'
import { bringFarm } from './farm.ts'
import { withBuildLock } from './lock.ts'
import { requirePlaces } from './places.ts'
import { noteRevision } from './revision.ts'
import { setUp } from './setup.ts'

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json }

/** What a step reports about its run; it ends up in metadata.json. */
export type Facts = { [key: string]: Json }

export interface Step {
  /** The name of the command that runs it. */
  readonly name: string
  readonly scope: Scope
  /** Steps that come first, and whose change makes this one run again. */
  readonly needs: readonly Step[]
  /** Steps that come first, of whose results `inputs` names what counts. */
  readonly after?: readonly Step[]
  /** In whose context it is brought, if not in that of the step which needs it: a tool's source has its own. */
  readonly context?: (context: Context) => Context
  /** Whether there is such a step for this target; else those that need it do without. */
  readonly applies?: (context: Context) => boolean
  /** Names in `scripts/sources.ts` of what it fetches, which SOURCE= can have instead. */
  readonly sources?: (context: Context) => readonly string[]
  /** What it needs of the host that not all of the build needs. */
  readonly host?: readonly Requirement[]
  /** The modules that make the result, below `scripts/`: a change of them is one of the result. */
  readonly code: readonly string[]
  /** Everything else that decides the result, apart from the results of `needs`. */
  inputs: (context: Context) => Promise<Json> | Json
  /** Paths that exist after a successful run; with `inputs`, also those that exist only after a run with these. */
  outputs: (context: Context, inputs?: Json) => string[]
  run: (context: Context) => Promise<Facts>
}

/** What a step's stamp is found by. */
export type StepName = Pick<Step, 'name' | 'scope'>

/** What is remembered of a step's last successful run. */
export interface Stamp {
  key: string
  inputs: Json
  /** Keys of the steps that it needs, and digest of its code; of an older version there are none. */
  needed?: { [step: string]: Json }
  code?: string
  seconds: number
  facts: Facts
}

/**
 * Brings a step and all that it needs up to date, one build at a time in a checkout.
 * What the host lacks is installed first.
 *
 * @returns the stamp of the step's last successful run, whether that was now or earlier
 * @throws Failure from the step that failed; its stamp is gone then, so that it runs again
 */
export async function bring(context: Context, step: Step): Promise<Stamp> {
  requirePlaces(context)
  await setUp(context, [...hostOf(context, step)])
  return withBuildLock(context, async () => {
    noteOwner(context)
    const stamp = await upToDate(context, step)
    if (stamp) return stamp
    await noteRevision(context)
    return bringOnce(context, step, new Map())
  })
}

/**
 * Most runs have nothing to do: what each step asks of git and of compilers is asked at the same time.
 *
 * @returns the step's stamp, if it and all that it needs would be left as they are
 */
async function upToDate(given: Context, last: Step): Promise<Stamp | undefined> {
  const found = await Promise.all(withEarlier(given, last).map(({ context, step }) => standing(context, step)))
  return found.includes(undefined) ? undefined : found[0]
}

/** @returns a step's stamp, if the step would be left as it is when those that it needs are */
async function standing(context: Context, step: Step): Promise<Stamp | undefined> {
  try {
    const { why, stamp } = await judge(context, step, neededKeys(context, step))
    return why === undefined ? stamp : undefined
  } catch (error) {
    // Before its needs have run, a step may not even know its inputs; if something is wrong, it is said in its turn.
    if (error instanceof Failure && error.kind === 'interrupted') throw error
    return undefined
  }
}

const neededKeys = (context: Context, step: Step): { [step: string]: Json } =>
  Object.fromEntries(needsOf(context, step).map((need) => [need.name, readStamp(need.context?.(context) ?? context, need)?.key ?? '']))

async function bringOnce(given: Context, step: Step, done: Map<string, Stamp>): Promise<Stamp> {
  const context = step.context?.(given) ?? given
  const before = done.get(stampPath(context, step))
  if (before) return before
  for (const earlier of step.after ?? []) await bringOnce(context, earlier, done)
  const needed: { [step: string]: Json } = {}
  for (const need of needsOf(context, step)) needed[need.name] = (await bringOnce(context, need, done)).key
  const { why, stamp, recipe } = await judge(context, step, needed)
  if (why !== undefined) log.detail(`${step.name}: ${why}`)
  const result = why === undefined && stamp ? stamp : await runStep(context, step, recipe)
  done.set(stampPath(context, step), result)
  return result
}

/** What decides a step's result, and the digest of it. */
type Recipe = Required<Pick<Stamp, 'key' | 'inputs' | 'needed' | 'code'>>

interface Judgement {
  recipe: Recipe
  /** Of the last successful run. */
  stamp: Stamp | undefined
  /** Why the step has to run, if it has. */
  why: string | undefined
}

/** @returns a step and all that come before it, each once and with the context that it is brought in */
function withEarlier(given: Context, step: Step, found = new Map<string, { context: Context; step: Step }>()): { context: Context; step: Step }[] {
  const context = step.context?.(given) ?? given
  const path = stampPath(context, step)
  if (!found.has(path)) {
    found.set(path, { context, step })
    for (const earlier of [...(step.after ?? []), ...needsOf(context, step)]) withEarlier(context, earlier, found)
  }
  return [...found.values()]
}

/** @returns names of the sources that a step takes, and all that come before it */
export const sourcesOf = (given: Context, last: Step): Set<string> => new Set(withEarlier(given, last).flatMap(({ context, step }) => step.sources?.(context) ?? []))

/** @returns what a step and all that come before it need of the host that not all of the build needs */
const hostOf = (given: Context, last: Step): Set<Requirement> => new Set(withEarlier(given, last).flatMap(({ step }) => step.host ?? []))

const needsOf = (context: Context, step: Step): Step[] => step.needs.filter(({ applies }) => applies?.(context) ?? true)

/** @param needed keys of the steps that it needs, which are up to date */
async function judge(context: Context, step: Step, needed: { [step: string]: Json }): Promise<Judgement> {
  const inputs = await step.inputs(context)
  const code = codeDigest(step.code)
  const recipe = { key: digest({ inputs, needed, code }), inputs, needed, code }
  const stamp = readStamp(context, step)
  return { recipe, stamp, why: reasonToRun(recipe, stamp, step.outputs(context, inputs)) }
}

function reasonToRun(recipe: Recipe, stamp: Stamp | undefined, outputs: readonly string[]): string | undefined {
  if (!stamp) return 'it has not succeeded yet'
  if (stamp.key !== recipe.key) return whatChanged(stamp, recipe)
  const missing = outputs.find((path) => !existsSync(path))
  return missing === undefined ? undefined : `${missing} is missing`
}

function whatChanged(stamp: Stamp, recipe: Recipe): string {
  const names = (value: Json | undefined): [string, Json][] =>
    value !== null && typeof value === 'object' && !Array.isArray(value) ? Object.entries(value) : [['inputs', value ?? null]]
  const differing = (before: Json | undefined, now: Json): string[] => {
    const known = new Map(names(before))
    return names(now).flatMap(([name, value]) => (known.has(name) && digest(known.get(name) ?? null) === digest(value) ? [] : [name]))
  }
  const changes = [
    ...differing(stamp.inputs, recipe.inputs),
    ...differing(stamp.needed ?? {}, recipe.needed).map((name) => `the result of ${name}`),
    ...(stamp.code === recipe.code ? [] : ['the code of the step']),
  ]
  return `changed: ${changes.join(', ')}`
}

/** What would be done with a step. */
export interface Plan {
  step: string
  /** Why it would run; absent of one that is up to date. */
  why?: string
}

/**
 * Tells what {@link bring} would do, and does nothing.
 *
 * @returns all steps in the order in which they come. Behind one that would run, others that have their
 *   results from it run as well, if those come out otherwise.
 */
export async function plan(given: Context, step: Step, done = new Map<string, Plan>()): Promise<Plan[]> {
  const context = step.context?.(given) ?? given
  const path = stampPath(context, step)
  if (done.has(path)) return [...done.values()]
  const called = isKernel(context) ? step.name : `${step.name} of ${context.tree.name}`
  const earlier = [...(step.after ?? []), ...needsOf(context, step)]
  for (const each of earlier) await plan(context, each, done)
  const ran = earlier.map((each) => done.get(stampPath(each.context?.(context) ?? context, each))).find((each) => each?.why !== undefined)
  if (ran) {
    done.set(path, { step: called, why: readStamp(context, step) ? `comes after ${ran.step}` : 'it has not succeeded yet' })
    return [...done.values()]
  }
  const { why } = await judge(context, step, neededKeys(context, step))
  done.set(path, { step: called, ...(why === undefined ? {} : { why }) })
  return [...done.values()]
}

/** @throws Failure of kind `usage` where something was made of what is not there any more, such as a commit that was checked out for a while */
export async function requireUpToDate(context: Context, last: Step): Promise<void> {
  const stale = (await plan(context, last)).filter(({ why }) => why !== undefined)
  if (stale.length === 0) return
  throw new Failure('usage', 'The checkout was changed meanwhile.', {
    excerpt: stale.map(({ step, why }) => `${step}: ${why}`), hint: 'The same command makes anew what was made of something else.',
  })
}

async function runStep(context: Context, step: Step, recipe: Recipe): Promise<Stamp> {
  const path = stampPath(context, step)
  rmSync(path, { force: true })
  await bringFarm()
  const start = process.hrtime.bigint()
  const facts = await step.run(context)
  requireUninterrupted()
  const seconds = Number((process.hrtime.bigint() - start) / 1_000_000n) / 1000
  const stamp: Stamp = { ...recipe, seconds, facts }
  mkdirSync(context.paths.stamps[step.scope], { recursive: true })
  writeFileSync(`${path}.new`, JSON.stringify(stamp, null, 2))
  renameSync(`${path}.new`, path)
  log.step(step.name, `done in ${seconds.toFixed(1)} s`)
  return stamp
}

/** The modules as they were when this process began, which is made of them: a git pull changes them while it runs. */
const MODULES: ReadonlyMap<string, string> = new Map(
  ['scripts', 'vm'].flatMap((folder) => listFiles(join(ROOT, folder)).map((name) => join(ROOT, folder, name)))
    // An editor's lock is a link that leads nowhere.
    .filter((path) => path.endsWith('.ts') && existsSync(path))
    .map((path) => [path, readFileSync(path, 'utf8')]),
)

/** @returns digest of modules below `scripts/`, from which what is running was made */
export function codeDigest(modules: readonly string[]): string {
  const paths = modules.map((name) => join(ROOT, 'scripts', name))
  return digest(paths.map((path) => MODULES.get(path) ?? readFileSync(path, 'utf8')))
}

/** @returns the stamp of the step's last successful run, if there is one */
export function readStamp(context: Context, step: StepName): Stamp | undefined {
  const path = stampPath(context, step)
  if (!existsSync(path)) return undefined
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Stamp
  } catch {
    return undefined
  }
}

const stampPath = (context: Context, step: StepName): string => join(context.paths.stamps[step.scope], `${step.name}.json`)

/** @returns SHA-256 of a value's JSON form, in hexadecimal */
export function digest(value: Json): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex')
}
