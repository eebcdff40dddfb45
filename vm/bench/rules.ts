// SPDX-License-Identifier: GPL-2.0-only
/** Sets of rules, of which only the last one matches what is sent, and how they are loaded. */

import { INSIDE, POOL, REMOTE, REMOTE_PORT } from './network.ts'

export const RULE_COUNTS = [1, 1_000] as const
export const [, MANY_RULES] = RULE_COUNTS

/** What rules differ by. The index of the last rule is 0, and all others are not about the packets that are sent. */
interface Shape {
  name: string
  options: (index: number) => string
}

const numbered = (net: string, index: number): string => `${net}.${index >> 8}.${index & 255}`

const source = (index: number): string => `--from ${index === 0 ? INSIDE : numbered('10.1', index)}/32`

export const SHAPES: readonly Shape[] = [
  { name: 'sources', options: source },
  { name: 'priorities', options: (index) => `${source(index)} --priority ${MANY_RULES - index + 1}` },
  { name: 'destinations', options: (index) => `--from 192.168.0.0/16 --to ${index === 0 ? REMOTE : numbered('10.2', index)}/32` },
  { name: 'ports', options: (index) => `--from 192.168.0.0/16 --proto udp --dport ${REMOTE_PORT + index} --priority ${MANY_RULES - index + 1}` },
  { name: 'ranges of ports', options: (index) => `--from 192.168.0.0/16 --proto udp --dport ${REMOTE_PORT + index}-${REMOTE_PORT + index + 1} --priority ${MANY_RULES - index + 1}` },
]

const POOL_LINE = `--add-pool out -z ${POOL}`

/** @returns lines of a file for `ipvsadm -R`, each of which is a command as well */
const lines = (shape: Shape, count: number): string[] => [
  POOL_LINE,
  ...Array.from({ length: count }, (_, at) => `--add-rule ${shape.options(count - 1 - at)} --pool out`),
]

export const rulesFile = (shape: Shape, count: number): string => `/tmp/rules-${shape.name.replaceAll(' ', '-')}-${count}`
const COMMANDS_FILE = '/tmp/rules-commands'

/** Files that the scripts below and {@link rulesFile} name. */
export function rulesFiles(): Record<string, Buffer> {
  const text = (all: readonly string[]): Buffer => Buffer.from(all.map((line) => `${line}\n`).join(''))
  const sets = SHAPES.flatMap((shape) => RULE_COUNTS.map((count) => [rulesFile(shape, count), text(lines(shape, count))] as const))
  const [shape] = SHAPES
  return { ...Object.fromEntries(sets), ...(shape ? { [COMMANDS_FILE]: text(lines(shape, MANY_RULES).map((line) => `ipvsadm ${line}`)) } : {}) }
}

/** Ways to load {@link MANY_RULES} rules; what only starts as many processes says what of it is not the rules'. */
export const LOADS: readonly { name: string; script: string }[] = [
  { name: 'one ipvsadm -R', script: `ipvsadm -R <${SHAPES[0] ? rulesFile(SHAPES[0], MANY_RULES) : ''}` },
  { name: 'an ipvsadm for each rule', script: `sh -e ${COMMANDS_FILE}` },
  { name: 'as many ipvsadm --version', script: `for round in $(seq ${MANY_RULES}); do ipvsadm --version; done >/dev/null` },
]

/** @returns a script that prints how long another one takes, by the clock that counts instructions */
export const timed = (script: string): string => `
set -e
now() { cut -d ' ' -f 1 /proc/uptime; }
before=$(now)
${script}
echo $before $(now) | awk '{ print "seconds " $2 - $1 }'`

/** @param output of {@link timed} @returns seconds of the guest */
export function secondsOf(output: string): number {
  const seconds = Number(/^seconds (\S+)$/m.exec(output)?.[1])
  if (Number.isFinite(seconds)) return seconds
  throw new Error(`a script did not say how long it took: ${output}`)
}
