// SPDX-License-Identifier: GPL-2.0-only
import { comparisonLines, compare, originLine } from '../../vm/bench/compare.ts'
import { readKnown } from '../../vm/bench/stored.ts'
import { Failure } from '../base/errors.ts'
import type { Variables } from '../build/context.ts'
import type { Command } from '../command.ts'

function given(variables: Variables, name: 'A' | 'B'): string {
  const path = variables[name]
  if (path) return path
  throw new Failure('usage', `make bench-compare needs ${name}=.`, { hint: 'For example: make bench-compare A=earlier/results.json B=dist/lts/bench' })
}

const command: Command = {
  summary: 'what has changed from one run of make bench to another',
  anyKernel: true,
  help: `A= and B= are files of results (results.json of make bench, or a baseline), or folders with one; A is what was before:
  make bench-compare A=earlier/bench B=dist/lts/bench
A figure has changed if its medians differ by more than noise: by more than the repeats of either run differ among each other,
and than 0.1 %, by which boots differ; where either run has measured it once, by more than 0.3 % as well.

Runs of different kernels (variants) are refused; different releases of one kernel are compared, and told.
Exit codes: 9 B is slower in some figure; 7 it is not, but packets of a figure that A has no longer arrive; 2 a file cannot be compared.`,
  async run({ variables }) {
    const [before, after] = [readKnown(given(variables, 'A')), readKnown(given(variables, 'B'))]
    const found = compare(before, after)
    const lines = [`A: ${originLine(before)}`, `B: ${originLine(after)}`, ...comparisonLines(before, after, found)]
    process.stdout.write(lines.map((line) => `${line}\n`).join(''))
    if (found.slower.length > 0) throw new Failure('slower', `B is slower than A beyond noise in ${found.slower.length} figures.`)
    if (found.refused.length > 0) throw new Failure('test', `B has ${found.refused.length} figures that mean nothing any more.`)
  },
}
export default command
