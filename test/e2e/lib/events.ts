// SPDX-License-Identifier: GPL-2.0-only
/** What `ipvsadm --monitor` prints. */

const SEQ = /(?:seq |"seq": )(\d+)/
export const LOST = /(?:lost (\d+) events|"lost", "events": (\d+))/
/** What it says first, when it has begun to listen. */
export const LISTENS = 'blocks-held'

/** @returns how many events there were, by their numbers, and how many of them were lost */
export function tally(lines: readonly string[]): { seen: number; lost: number; span: number } {
  const numbers = lines.flatMap((line) => SEQ.exec(line)?.[1] ?? []).map(Number)
  const lost = lines.reduce((sum, line) => sum + Number(LOST.exec(line)?.slice(1).find(Boolean) ?? 0), 0)
  return { seen: numbers.length, lost, span: (numbers.at(-1) ?? 0) - (numbers[0] ?? 0) + 1 }
}
