// SPDX-License-Identifier: GPL-2.0-only
/** Chance that can be had again: the same seed and number give the same draws, whatever was drawn for other numbers. */

import { createHash } from 'node:crypto'

const WORD_BYTES = 4
const WORD = 2 ** 32

export class Dice {
  private readonly name: string
  private drawn = 0

  /** @param number of the action that it is for */
  constructor(seed: number, number: number) {
    this.name = `${seed} ${number}`
  }

  /** @returns a whole number from 0 to `limit` - 1 */
  below(limit: number): number {
    const word = createHash('sha256').update(`${this.name} ${this.drawn++}`).digest().subarray(0, WORD_BYTES).readUInt32BE()
    return Math.floor((word / WORD) * limit)
  }

  /** @returns a whole number from `first` to `last` */
  between(first: number, last: number): number {
    return first + this.below(last - first + 1)
  }

  /** @returns true once in so many times */
  oneIn(times: number): boolean {
    return this.below(times) === 0
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T
  }

  /** @returns one of a table whose lines say how often they come */
  weighted<T extends { weight: number }>(from: readonly T[]): T {
    let left = this.below(from.reduce((sum, { weight }) => sum + weight, 0))
    return from.find(({ weight }) => (left -= weight) < 0) as T
  }
}
