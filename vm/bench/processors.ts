// SPDX-License-Identifier: GPL-2.0-only
/**
 * What two processors that forward at once have in common. Under emulation they take turns, and none waits for the other, so
 * that nothing is told by how fast they are; and QEMU before 8.1 cannot count the instructions of two of them as time (the first
 * one takes all of it). What is counted are the writes to lines of memory that the other one uses as well. Without any, nothing but the
 * memory's bandwidth keeps two from forwarding twice as much as one.
 *
 * Of what is in common while they only send, to nowhere, nothing is counted: that is pktgen, and the kernel's housekeeping.
 */

import { type End, INSIDE, NOWHERE, otherEnd, REMOTE, REMOTES, sendingAtOnce, type Stream } from './network.ts'
import { type Bench, numbersAfter, withWay } from './runs.ts'
import { byFunction, symbolsOf, windowsIn } from './symbols.ts'
import type { Way } from './ways.ts'

export const PROCESSORS = 2
/** So few that what two of them have in common is used often. */
const PORTS = 4
const FIRST_PORT = 10_000
const PACKETS = 10_000
/** As long as the others take, or longer. */
const PACKETS_TO_NOWHERE = 60_000
/**
 * What each processor has not used, and a function has not written, once in two packets is housekeeping as well: timers, such as that of
 * IPVS' estimator, and programs that run in between.
 */
const OFTEN = 0.5

const LIMIT_MS = 3_600_000

const DIRECTIONS = ['out', 'back'] as const
type Direction = (typeof DIRECTIONS)[number]

/** @returns flows of a processor that no other one has */
function streamOf(way: Way, direction: Direction, processor: number, packets: number, checksum: boolean): Stream {
  const flows = { ports: [FIRST_PORT + processor * PORTS, PORTS], remotes: 1, checksum, packets } as const
  if (direction === 'out') return { from: 'inside', source: INSIDE, destination: REMOTE, varies: 'source', ...flows }
  return { from: 'remote', source: REMOTE, destination: way.outside, varies: 'destination', ...flows }
}

const fromOf = (direction: Direction): End => (direction === 'out' ? 'inside' : 'remote')

function script(way: Way, direction: Direction, packets: number, checksum: boolean): string {
  const from = fromOf(direction)
  const seen = direction === 'out' ? [way.outside, REMOTES] : [REMOTES, INSIDE]
  const streams = Array.from({ length: PROCESSORS }, (_, processor) => streamOf(way, direction, processor, packets, checksum))
  return ['echo begin', `at ${otherEnd(from)} expecting ${seen.join(' ')}`, sendingAtOnce(streams, from), `at ${otherEnd(from)} arrived`].join('\n')
}

function nowhere(way: Way, checksum: boolean): string {
  const streams = Array.from({ length: PROCESSORS }, (_, processor) => streamOf(way, 'out', processor, PACKETS_TO_NOWHERE, checksum))
  return sendingAtOnce(streams, 'inside', NOWHERE)
}

/** All that sent at once. */
interface Together {
  sent: number
  arrived: number
}

/** @returns what each run has printed, in order */
export function togetherOf(output: string): Together[] {
  return output.split(/^begin\n/m).slice(1).map((text) => {
    const sent = [...text.matchAll(/OK: \d+\(.*[un]sec, (\d+) /g)].reduce((sum, [, packets]) => sum + Number(packets), 0)
    const [arrived = NaN] = numbersAfter('arrived', text)
    if (sent === 0 || Number.isNaN(arrived)) throw new Error(`a run did not say all that it should: ${text}`)
    return { sent, arrived }
  })
}

/** A place in the kernel that has written to a line of memory that both processors use. */
interface Writer {
  address: bigint
  line: string
  writes: number
  /** By the processor that has used the line less often. */
  uses: number
}

/** @param text what vm/qemu/shared-writes.c writes @returns of each window, who wrote to what both processors use */
export function windowsOf(text: string): Writer[][] {
  return windowsIn(text).map((rows) => rows.map(([address = '', line = '', ...numbers]) => {
    const [first = NaN, second = NaN, ...uses] = numbers.map(Number)
    return { address: BigInt(`0x${address}`), line, writes: first + second, uses: Math.min(...uses) }
  }))
}

/** Each processor sends packets of its own flows, which are known by then, through the same devices. */
export async function share(bench: Bench, way: Way): Promise<void> {
  const checksum = bench.checksums[0] ?? false
  await withWay(bench, way, async () => {
    const run = (direction: Direction, packets: number) => script(way, direction, packets, checksum)
    // The first one only has the plugin begin to watch.
    const known = DIRECTIONS.flatMap((direction) => [run(direction, PORTS), run(direction, PORTS)])
    const output = await bench.sh([
      'set -e', 'chrt -f -p 50 $(pidof ksoftirqd/1) >/dev/null', `at inside 'modprobe dummy; ip link add ${NOWHERE} type dummy; ip link set ${NOWHERE} up'`,
      ...known, nowhere(way, checksum), ...DIRECTIONS.map((direction) => run(direction, PACKETS)), `at inside ip link del ${NOWHERE}`,
      'echo symbols', 'cat /proc/kallsyms',
    ].join('\n'), LIMIT_MS)
    const [told = '', symbolsText = ''] = output.split(/^symbols\n/m)
    const symbols = symbolsOf(symbolsText)
    const all = togetherOf(told).slice(known.length)
    const [housekeeping = [], ...windows] = windowsOf(bench.told()).slice(-1 - DIRECTIONS.length)
    const common = new Set(housekeeping.map(({ line }) => line))
    for (const [index, direction] of DIRECTIONS.entries()) {
      const [one, window] = [all[index], windows[index]]
      if (!one || !window) throw new Error('nothing was measured')
      const refused = one.sent === one.arrived ? undefined : `${one.arrived} of ${one.sent} arrived translated`
      const add = (what: string, value: number) =>
        bench.addQuantity({ way: way.name, what: `${direction}: ${what}`, flows: PROCESSORS * PORTS, unit: 'per packet', value, ...(refused === undefined ? {} : { refused }) })
      const counted = window.filter(({ line, uses }) => !common.has(line) && uses >= PACKETS * OFTEN)
      const writers = byFunction(counted.map(({ address, writes }) => [address, writes]), symbols).map(([name, writes]) => [name, writes / one.sent] as const)
      const sum = (some: typeof writers): number => some.reduce((all, [, writes]) => all + writes, 0)
      const [each, rare] = [true, false].map((often) => writers.filter(([, writes]) => (writes >= OFTEN) === often)) as [typeof writers, typeof writers]
      add('writes to what the other processor uses', sum(each))
      for (const [name, writes] of each) add(`of these, ${name}`, writes)
      add('writes there of functions that do not with every other packet', sum(rare))
    }
  })
}
