// SPDX-License-Identifier: GPL-2.0-only
/** Runs of the benchmark, and the folder of their results. */

import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { cpus, release, type } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { chartsOf } from '../../vm/bench/charts.ts'
import { comparisonLines, compare } from '../../vm/bench/compare.ts'
import { reportOf, svgFile } from '../../vm/bench/markdown.ts'
import { agree, chooseParts, measure, memoryOf, methodOf, type Part, partNames, pluginOf } from '../../vm/bench/measure.ts'
import { svgOf } from '../../vm/bench/plot.ts'
import { refusals, textLines } from '../../vm/bench/report.ts'
import type { Results } from '../../vm/bench/results.ts'
import { baselineText, commitOf, type Host, knownOf, type Origin, readKnown, readStored, RESULTS_FILE, type Stored, toStored } from '../../vm/bench/stored.ts'
import { qemuVersion } from '../../vm/qemu/accelerator.ts'
import { Failure } from '../base/errors.ts'
import { makeFolder, replaceFolder, writeIfChanged } from '../base/files.ts'
import { log } from '../base/log.ts'
import { withRun } from '../build/checkouts.ts'
import type { Context } from '../build/context.ts'
import { setUp } from '../build/setup.ts'
import { bringGuest, type Guest, testedRevision } from './guest.ts'
import { withInstructionClock } from './instructions.ts'
import { withPlugin } from './watched.ts'

export interface Benchmark {
  guest: Guest
  /** What is counted, and how, for those who read or compare the figures. */
  method: string
  /** Measures, and calls `keep` after each part with all that there is until then. */
  measuring: (keep: (results: Results) => void) => Promise<Results>
  /** Called with every line of what was found. */
  print: (line: string) => void
}

const folderOf = ({ paths }: Context): string => join(paths.dist, 'bench')

/** @throws Failure of kind `usage` when ONLY chooses none */
export function chosenParts({ variables }: Context): Part[] {
  const parts = chooseParts(variables.ONLY)
  if (parts.length > 0 && !agree(parts)) {
    throw new Failure('usage', `ONLY=${variables.ONLY} chooses parts that need different machines.`, { hint: 'Those of "scale", "four million", "two processors" and "profile" are measured in runs of their own.' })
  }
  if (parts.length > 0) return parts
  throw new Failure('usage', `No part of the benchmark has a name with "${variables.ONLY}" in it.`, { hint: `Parts: ${partNames().join(', ')}` })
}

/**
 * Runs the parts of the benchmark that ONLY chooses, as often as REPEAT says, and writes dist/VARIANT/bench.
 *
 * @throws Failure of kind `usage` when ONLY chooses none, `test` when figures mean nothing, `environment` when it runs already
 */
export async function runBench(context: Context): Promise<void> {
  const parts = chosenParts(context)
  await setUp(context)
  await withRun(context, 'bench', async () => {
    const guest = await bringGuest(context)
    await benchIn(context, {
      guest,
      method: methodOf(parts),
      measuring: (keep) => {
        const course = { rounds: context.repeat, progress: (line: string) => log.info(line), keep }
        const plugin = pluginOf(parts)
        if (plugin !== undefined) return withPlugin(context, guest, 'bench', plugin, (machine, told) => measure(machine, parts, { ...course, told }))
        return withInstructionClock(context, guest, 'bench', (machine) => measure(machine, parts, course), memoryOf(parts))
      },
      print: (line) => process.stdout.write(`${line}\n`),
    })
  })
}

/**
 * Writes what is measured aside, after each part, so that what is known of a run that ends before its end is kept. The
 * results of the run before stay until this one's are there.
 */
export async function benchIn(context: Context, { guest, method, measuring, print }: Benchmark): Promise<void> {
  const origin = await originOf(context, guest, method)
  const folder = folderOf(context)
  const aside = new Aside(`${folder}.unfinished`, (results, complete) => toStored(origin, thisHost(), results, complete))
  try {
    const results = await measuring((known) => aside.write(known, false))
    const stored = aside.write(results, true)
    const comparison = againstBaseline(context, stored)
    for (const line of [...textLines(results), ...comparison]) print(line)
    await writeReport(aside.folder, stored, comparison)
    replaceFolder(aside.folder, folder)
    log.info(`results are in ${folder}`)
    requireMeaning(results)
  } catch (error) {
    if (aside.isThere) log.warn(`what was measured is in ${aside.folder}`)
    throw error
  }
}

/** Writes what people read of results into their folder: plots, and a report that shows them. */
async function writeReport(folder: string, stored: Stored, comparison: readonly string[]): Promise<void> {
  const charts = chartsOf(stored, `${stored.kernel}, ${commitOf(stored)}`)
  for (const chart of charts) writeIfChanged(join(folder, svgFile(chart)), await svgOf(chart))
  writeIfChanged(join(folder, 'report.md'), reportOf(stored, charts, comparison))
}

/** @returns path of what is compared with at the end of each run */
const baselineFile = ({ paths }: Context, variant: string): string => join(paths.root, 'test/bench', `baseline-${variant}.json`)

/** @returns lines about what is slower or faster than the baseline in the repository, or why nothing is said of that */
function againstBaseline(context: Context, stored: Stored): string[] {
  const path = baselineFile(context, stored.variant)
  const name = relative(context.paths.root, path)
  if (!existsSync(path)) return [`no baseline to compare with: there is no ${name} (make bench-baseline writes it)`]
  try {
    const [before, after] = [readKnown(path), knownOf('this run', stored)]
    return comparisonLines({ ...before, file: name }, after, compare(before, after), commitOf(before.origin))
  } catch (error) {
    // An hour of measuring has not failed because of what it would be compared with.
    if (error instanceof Failure) return [`not compared with the baseline: ${error.message}`]
    throw error
  }
}

/**
 * Makes the last results the baseline.
 *
 * @returns its path
 * @throws Failure of kind `usage` when there are none, or some of them mean nothing
 */
export function writeBaseline(context: Context): string {
  const folder = folderOf(context)
  const stored = readStored(folder)
  const refused = refusals(stored)
  if (refused.length > 0) throw new Failure('usage', `${folder} has figures that mean nothing: a baseline would not have them.`, { excerpt: refused })
  const path = baselineFile(context, stored.variant)
  makeFolder(dirname(path))
  writeIfChanged(path, baselineText(stored))
  return path
}

/** What becomes of results while they are not complete. */
class Aside {
  private begun = false

  constructor(
    readonly folder: string,
    private readonly stored: (results: Results, complete: boolean) => Stored,
  ) {}

  /** Whether this run has left something there. */
  get isThere(): boolean {
    return this.begun && existsSync(this.folder)
  }

  write(results: Results, complete: boolean): Stored {
    // What another run has left there is kept until there is something of this one.
    if (!this.begun) rmSync(this.folder, { recursive: true, force: true })
    this.begun = true
    mkdirSync(this.folder, { recursive: true })
    const stored = this.stored(results, complete)
    writeIfChanged(join(this.folder, RESULTS_FILE), `${JSON.stringify(stored, null, 2)}\n`)
    return stored
  }
}

async function originOf(context: Context, { image }: Guest, method: string): Promise<Origin> {
  return {
    variant: context.variant,
    kernel: image.release,
    ...(await testedRevision(context)),
    date: new Date().toISOString(),
    method,
    qemu: await qemuVersion(),
    rounds: context.repeat,
  }
}

function thisHost(): Host {
  const processors = cpus()
  return { processor: processors[0]?.model.trim() ?? 'unknown', processors: processors.length, system: `${type()} ${release()}` }
}

function requireMeaning(results: Results): void {
  const refused = refusals(results).length
  if (refused > 0) throw new Failure('test', `${refused} figures mean nothing: their packets did not go the way that was to be measured.`)
}
