// SPDX-License-Identifier: GPL-2.0-only
import type { Command } from '../command.ts'
import { writeBaseline } from '../lab/bench.ts'

const command: Command = {
  summary: 'make the results of make bench those that later ones are compared with',
  anyKernel: true,
  help: `Writes test/bench/baseline-VARIANT.json from dist/VARIANT/bench: the instructions per packet of every figure in every round, with the
commit and how they were measured. It is to be committed; make bench says at its end what is slower or faster than that commit, and
  make bench-compare A=test/bench/baseline-lts.json B=dist/lts/bench
fails where it is slower. Measure with REPEAT=5 or so, all parts, and without uncommitted changes: "with changes" is kept too.`,
  async run(context) {
    process.stdout.write(`${writeBaseline(context)}\n`)
  },
}
export default command
