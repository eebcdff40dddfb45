// SPDX-License-Identifier: GPL-2.0-only
/** The files of results and of baselines: what they say of where they come from, and how they are read by those who compare. */

import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Failure } from '../../scripts/base/errors.ts'
import { type Figure, figuresOf, type Measurement, nameOf, type Quantity, type Results } from './results.ts'

export const RESULTS_FILE = 'results.json'
/** Raised when fields change their meaning, and when what is sent changes, so that a figure is no longer about the same. */
export const SCHEMA = 1

/** Where figures come from. */
export interface Origin {
  /** Which kernel, ours or a distribution's, in which configuration: `lts`, `lts-stock`. */
  variant: string
  /** Its release, as `uname -r` says it. */
  kernel: string
  /** Of this project; null where it is not known. */
  commit: string | null
  /** Whether what was measured is not what the commit says. */
  dirty: boolean
  /** Which modules: those that are packaged, or edits of them. */
  tested: string
  /** When it began, in ISO 8601. */
  date: string
  /** What is counted, and how. */
  method: string
  qemu: string
  /** How often everything was to be measured. */
  rounds: number
}

/** The computer that it ran on, which has no part in what is counted. */
export interface Host {
  processor: string
  processors: number
  system: string
}

export interface Stored extends Origin, Results {
  format: typeof FORMATS.results
  schema: number
  host: Host
  /** Whether the run came to its end. */
  complete: boolean
}

/** What of results is kept in the repository: instructions of each round, by the name of the figure. */
export interface Baseline extends Origin {
  format: typeof FORMATS.baseline
  schema: number
  figures: Record<string, number[]>
}

const FORMATS = { results: 'lvs-snat bench', baseline: 'lvs-snat bench baseline' } as const

/** What files have in common for those who compare them. */
export interface Known {
  file: string
  origin: Origin
  complete: boolean
  figures: Map<string, Pick<Figure, 'values' | 'refused'>>
}

export const toStored = (origin: Origin, host: Host, results: Results, complete: boolean): Stored =>
  ({ format: FORMATS.results, schema: SCHEMA, complete, ...origin, host, ...results })

const DIGITS = 10

/** @returns text of a file for the repository: a line a figure, without those that were refused */
export function baselineText(stored: Stored): string {
  const figures = figuresOf(stored.measurements).filter(({ refused }) => refused === undefined)
  const rounded = (values: readonly number[]): number[] => values.map((value) => Math.round(value * DIGITS) / DIGITS)
  const lines = figures.map((figure) => `    ${JSON.stringify(nameOf(figure))}: ${JSON.stringify(rounded(figure.values))}`)
  const head = JSON.stringify({ format: FORMATS.baseline, schema: SCHEMA, ...originOf(stored), figures: {} }, null, 2)
  return `${head.replace(/\{\}\n\}$/, () => `{\n${lines.join(',\n')}\n  }\n}`)}\n`
}

/**
 * @param path of a file of results, or of a folder that has one
 * @throws Failure of kind `usage` if it is none, or one that cannot be read here
 */
export function readStored(path: string): Stored {
  const { file, found } = parsed(path)
  requireFormat(file, found, [FORMATS.results])
  return asStored(file, found)
}

/**
 * @param path of a file of results, of a folder that has one, or of a baseline
 * @throws Failure of kind `usage` if it is none, or one that cannot be read here
 */
export function readKnown(path: string): Known {
  const { file, found } = parsed(path)
  requireFormat(file, found, Object.values(FORMATS))
  if (found['format'] === FORMATS.baseline) {
    const baseline = asBaseline(file, found)
    return { file, origin: originOf(baseline), complete: true, figures: new Map(Object.entries(baseline.figures).map(([name, values]) => [name, { values }])) }
  }
  return knownOf(file, asStored(file, found))
}

/** @param file that these results are in, or will be */
export const knownOf = (file: string, stored: Stored): Known => ({
  file, origin: originOf(stored), complete: stored.complete, figures: new Map(figuresOf(stored.measurements).map((figure) => [nameOf(figure), figure])),
})

type Fields = Record<string, unknown>

const HINT = 'make bench writes dist/VARIANT/bench.'

function parsed(path: string): { file: string; found: Fields } {
  if (!existsSync(path)) throw new Failure('usage', `There is no ${path}.`, { hint: HINT })
  const file = statSync(path).isDirectory() ? join(path, RESULTS_FILE) : path
  if (!existsSync(file)) throw new Failure('usage', `The folder ${path} has no ${RESULTS_FILE}.`, { hint: HINT })
  try {
    const found: unknown = JSON.parse(readFileSync(file, 'utf8'))
    if (isObject(found)) return { file, found }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
  }
  throw new Failure('usage', `${file} is not from make bench: it is no object in JSON.`, { hint: HINT })
}

function requireFormat(file: string, { format, schema }: Fields, formats: readonly string[]): void {
  if (!formats.includes(format as string)) {
    throw new Failure('usage', `${file} is not from make bench${typeof format === 'string' ? `: it is a file of "${format}"` : ', or from one that did not say so yet'}.`, { hint: HINT })
  }
  if (schema !== SCHEMA) throw new Failure('usage', `${file} has schema ${JSON.stringify(schema)}; what is read here is schema ${SCHEMA}.`, { hint: 'Measure again with one and the same version of this project.' })
}

type Check = (value: unknown) => boolean

const isObject = (value: unknown): value is Fields => typeof value === 'object' && value !== null && !Array.isArray(value)
const isText: Check = (value) => typeof value === 'string'
const isFlag: Check = (value) => typeof value === 'boolean'
const isNumber: Check = (value) => typeof value === 'number' && Number.isFinite(value) && value >= 0
const isAbove0: Check = (value) => isNumber(value) && value !== 0
const optional = (check: Check): Check => (value) => value === undefined || check(value)
const listOf = (check: Check): Check => (value) => Array.isArray(value) && value.every(check)
const fields = (checks: Readonly<Record<string, Check>>): Check => (value) => isObject(value) && Object.entries(checks).every(([name, check]) => check(value[name]))

const ORIGIN: Readonly<Record<keyof Origin, Check>> = {
  variant: isText, kernel: isText, commit: (value) => value === null || isText(value), dirty: isFlag, tested: isText, date: isText,
  method: isText, qemu: isText, rounds: isAbove0,
}

const MEASUREMENT: Readonly<Record<keyof Measurement, Check>> = {
  way: isText, kind: isText, checksum: isFlag, flows: isNumber, occupancy: optional(isNumber), rules: optional(fields({ count: isNumber, shape: isText })),
  filled: optional(isNumber),
  round: isAbove0, instructions: isAbove0, sent: isNumber, arrived: isNumber, refused: optional(isText),
}

const QUANTITY: Readonly<Record<keyof Quantity, Check>> = {
  way: isText, what: isText, flows: isNumber, unit: isText, round: isAbove0, value: isNumber, refused: optional(isText),
}

const STORED: Readonly<Record<string, Check>> = {
  ...ORIGIN,
  complete: isFlag,
  host: fields({ processor: isText, processors: isNumber, system: isText }),
  measurements: listOf(fields(MEASUREMENT)),
  loads: listOf(fields({ how: isText, round: isAbove0, seconds: isNumber })),
  quantities: optional(listOf(fields(QUANTITY))),
  inapplicable: listOf(fields({ what: isText, reason: isText })),
}

const BASELINE: Readonly<Record<string, Check>> = {
  ...ORIGIN,
  figures: (value) => isObject(value) && Object.values(value).every((values) => listOf(isAbove0)(values) && (values as unknown[]).length > 0),
}

function requireFields(file: string, found: Fields, checks: Readonly<Record<string, Check>>): void {
  const wrong = Object.entries(checks).filter(([name, check]) => !check(found[name])).map(([name]) => name)
  if (wrong.length > 0) throw new Failure('usage', `${file} is damaged: ${wrong.join(', ')}.`, { hint: HINT })
}

function asStored(file: string, found: Fields): Stored {
  requireFields(file, found, STORED)
  // Those of earlier commits have none.
  return { quantities: [], ...found } as unknown as Stored
}

function asBaseline(file: string, found: Fields): Baseline {
  requireFields(file, found, BASELINE)
  return found as unknown as Baseline
}

const originOf = (all: Origin): Origin => {
  const { variant, kernel, commit, dirty, tested, date, method, qemu, rounds } = all
  return { variant, kernel, commit, dirty, tested, date, method, qemu, rounds }
}

/** @returns which commit, in words */
export const commitOf = ({ commit, dirty }: Pick<Origin, 'commit' | 'dirty'>): string =>
  commit === null ? 'an unknown commit' : `commit ${commit.slice(0, 12)}${dirty ? ' with changes' : ''}`
