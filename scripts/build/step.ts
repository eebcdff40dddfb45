// SPDX-License-Identifier: GPL-2.0-only
/**
 * Steps of the build. A step runs when its inputs changed since it last succeeded,
 * or when an output is missing, and is a no-op otherwise.
 */

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { log } from '../base/log.ts'
import { ROOT } from '../base/root.ts'
import { requireUninterrupted } from '../base/run.ts'
import { noteOwner } from './checkouts.ts'
import type { Context, Scope } from './context.ts'
import { withBuildLock } from './lock.ts'
import { requirePlaces } from './places.ts'
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
  await setUp(context)
  return withBuildLock(context, () => {
    noteOwner(context)
    return bringOnce(context, step, new Map())
  })
}

async function bringOnce(given: Context, step: Step, done: Map<string, Stamp>): Promise<Stamp> {
  const context = step.context?.(given) ?? given
  const before = done.get(stampPath(context, step))
  if (before) return before
  for (const earlier of step.after ?? []) await bringOnce(context, earlier, done)
  const needed: Json = {}
  for (const need of step.needs.filter(({ applies }) => applies?.(context) ?? true)) needed[need.name] = (await bringOnce(context, need, done)).key
  const inputs = await step.inputs(context)
  const key = digest({ inputs, needed, code: codeDigest(step.code) })
  const stamp = readStamp(context, step)
  const current = stamp?.key === key && step.outputs(context, inputs).every((path) => existsSync(path))
  const result = current ? stamp : await runStep(context, step, key, inputs)
  done.set(stampPath(context, step), result)
  return result
}

async function runStep(context: Context, step: Step, key: string, inputs: Json): Promise<Stamp> {
  const path = stampPath(context, step)
  rmSync(path, { force: true })
  const start = process.hrtime.bigint()
  const facts = await step.run(context)
  requireUninterrupted()
  const seconds = Number((process.hrtime.bigint() - start) / 1_000_000n) / 1000
  const stamp: Stamp = { key, inputs, seconds, facts }
  mkdirSync(context.paths.stamps[step.scope], { recursive: true })
  writeFileSync(`${path}.new`, JSON.stringify(stamp, null, 2))
  renameSync(`${path}.new`, path)
  log.step(step.name, `done in ${seconds.toFixed(1)} s`)
  return stamp
}

/** @returns digest of modules below `scripts/`, from which what is running was made */
export function codeDigest(modules: readonly string[]): string {
  const files = modules.map((name) => readFileSync(join(ROOT, 'scripts', name), 'utf8'))
  return digest(files)
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
