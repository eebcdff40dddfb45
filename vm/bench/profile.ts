// SPDX-License-Identifier: GPL-2.0-only
/**
 * Where the instructions of a packet are, by the functions of the kernel: a plugin of QEMU counts them. Those of pktgen, which sends, and
 * of the rule that counts at the other end are among them; what a translation costs is the difference to plain forwarding.
 */

import { type End, type Flows, otherEnd, rateOf, sendingAtOnce } from './network.ts'
import type { Kind } from './results.ts'
import { type Bench, homeward, lost, numbersAfter, outward, type Run, withWay } from './runs.ts'
import { byFunction, symbolsOf, windowsIn } from './symbols.ts'
import type { Way } from './ways.ts'

/** Unit of the figures, by which a table of them is made. */
export const PROFILE_UNIT = 'instructions per packet'
/** Of the hundreds of functions that run in between, so few that it does not matter to which median they go. Larger ones are all kept, as a report folds after its medians. */
const HARDLY_ANY = 0.05
export const REST = 'all others'

/** @returns what a figure is of: instructions of a function */
const whatOf = (kind: Kind, name: string): string => `${kind}: ${name}`
/** @returns which packets and which function it is of */
export const kindOf = (what: string): string => what.replace(/:.*/, '')
export const functionOf = (what: string): string => what.slice(kindOf(what).length + 2)

const LIMIT_MS = 3_600_000

/** @returns a script for a run, in a window of the plugin's */
function script({ stream, seen }: Run): string {
  const end: End = otherEnd(stream.from)
  return ['echo begin', `at ${end} expecting ${seen.join(' ')}`, 'fresh-slabs', sendingAtOnce([stream], stream.from), `at ${end} arrived`].join('\n')
}

/** @param flows of each run: they are new, known from then on, and then answered */
export async function profile(bench: Bench, way: Way, flows: Flows): Promise<void> {
  const checksum = bench.checksums[0] ?? false
  const count = flows.ports[1] * flows.remotes
  const out = outward(way, checksum, flows, count)
  const back = homeward(way, checksum, flows, count)
  // The second packet of a direction may be what a short way is learnt from.
  const runs: readonly (readonly [Kind | undefined, Run])[] = [
    ['new', out], [undefined, out], ['out', out], ...(bench.replies ? [[undefined, back], [undefined, back], ['back', back]] as const : []),
  ]
  await withWay(bench, way, async () => {
    const output = await bench.sh(['set -e', ...runs.map(([, run]) => script(run)), 'echo symbols', 'cat /proc/kallsyms'].join('\n'), LIMIT_MS)
    const [told = '', symbolsText = ''] = output.split(/^symbols\n/m)
    const symbols = symbolsOf(symbolsText)
    const texts = told.split(/^begin\n/m).slice(1)
    const windows = windowsIn(bench.told()).slice(-runs.length)
    for (const [index, [kind]] of runs.entries()) {
      const [text, window] = [texts[index], windows[index]]
      if (text === undefined || window === undefined) throw new Error('nothing was measured')
      if (kind === undefined) continue
      const { sent } = rateOf(text)
      const [arrived = NaN] = numbersAfter('arrived', text)
      const refused = lost({ sent, arrived })
      const functions = byFunction(window.map(([address = '', instructions]) => [BigInt(`0x${address}`), Number(instructions)]), symbols)
        .map(([name, instructions]) => [name, instructions / sent] as const)
      const rest = functions.filter(([, each]) => each < HARDLY_ANY).reduce((sum, [, each]) => sum + each, 0)
      const rows = [...functions.filter(([, each]) => each >= HARDLY_ANY), [REST, rest] as const]
      bench.addQuantities(rows.map(([name, value]) => ({
        way: way.name, what: whatOf(kind, name), flows: count, unit: PROFILE_UNIT, value, ...(refused === undefined ? {} : { refused }),
      })), `${way.name}, ${kind}: ${rows.reduce((sum, [, each]) => sum + each, 0).toFixed(0)} ${PROFILE_UNIT}, of ${rows.length - 1} functions`)
    }
  })
}
