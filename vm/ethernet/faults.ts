// SPDX-License-Identifier: GPL-2.0-only
/** What a wire can do to frames on purpose. Each fault counts frames instead of throwing dice: a test repeats exactly. */

import { matches, parseFrame } from '../packet/index.ts'

/**
 * @param frame what a station sends
 * @param forward hands a frame on, now or later
 * @returns whether the fault took care of the frame; if not, the next fault or the wire does
 */
export type Fault = (frame: Buffer, forward: (frame: Buffer) => void) => boolean

const meant = (pattern: string, frame: Buffer): boolean => matches(pattern, parseFrame(frame))

/** Loses the first `count` frames that `pattern` describes. */
export function drop(pattern: string, count = 1): Fault {
  let left = count
  return (frame) => left > 0 && meant(pattern, frame) && left-- > 0
}

/** Loses everything. */
export const cut = (): Fault => () => true

/** Hands every meant frame on `milliseconds` later. */
export function delay(pattern: string, milliseconds: number): Fault {
  return (frame, forward) => {
    if (!meant(pattern, frame)) return false
    setTimeout(() => forward(frame), milliseconds)
    return true
  }
}

/** Sends the first `count` meant frames twice. */
export function duplicate(pattern: string, count = 1): Fault {
  let left = count
  return (frame, forward) => {
    if (left === 0 || !meant(pattern, frame)) return false
    left--
    forward(frame)
    forward(frame)
    return true
  }
}

/** Swaps each pair of meant frames: the first of a pair waits for the second. */
export function reorder(pattern: string): Fault {
  let held: Buffer | undefined
  return (frame, forward) => {
    if (!meant(pattern, frame)) return false
    if (held === undefined) {
      held = frame
      return true
    }
    forward(frame)
    forward(held)
    held = undefined
    return true
  }
}

/** Flips all bits of one byte in the first `count` meant frames. @param offset of the byte from the frame's start */
export function corrupt(pattern: string, offset: number, count = 1): Fault {
  let left = count
  return (frame, forward) => {
    if (left === 0 || !meant(pattern, frame)) return false
    left--
    const damaged = Buffer.from(frame)
    damaged[offset] = (damaged[offset] ?? 0) ^ 0xff
    forward(damaged)
    return true
  }
}
