// SPDX-License-Identifier: GPL-2.0-only
/** Finds the lines of a build log that explain a failure. */

import { closeSync, fstatSync, openSync, readSync } from 'node:fs'

/** Only the end of a log is searched: a parallel make stops soon after the first error. */
const SEARCHED_BYTES = 1 << 20
const MAX_LINES = 20
const CONTEXT = 2

/** How compilers, linkers, make, patch, rpmbuild and the kernel's own scripts announce an error. */
const ERROR_LINE = /\berror:|\bERROR:|\bError \d+|undefined reference|No space left on device|No such file|not found|FAILED|\bfatal:|Bad exit status|cannot /

/**
 * @param path a log file
 * @returns the first error lines with a little context, or the last lines when nothing looks like an error
 */
export function excerpt(path: string): string[] {
  return pickErrors(readTail(path, SEARCHED_BYTES).split('\n'))
}

/** The part of {@link excerpt} that knows lines, not files. */
export function pickErrors(lines: readonly string[]): string[] {
  const first = lines.findIndex((line) => ERROR_LINE.test(line))
  if (first < 0) return lines.filter((line) => line.trim() !== '').slice(-MAX_LINES)
  const picked: string[] = []
  let last = -1
  for (const [index, line] of lines.entries()) {
    if (!ERROR_LINE.test(line)) continue
    for (let at = Math.max(index - CONTEXT, last + 1); at <= index; at++) picked.push(lines[at] ?? '')
    last = index
    if (picked.length >= MAX_LINES) break
  }
  return picked.slice(0, MAX_LINES)
}

/** @returns the lines, of many only the first and how many more there are */
export function shorten(lines: readonly string[]): string[] {
  if (lines.length <= MAX_LINES) return [...lines]
  return [...lines.slice(0, MAX_LINES - 1), `... and ${lines.length - MAX_LINES + 1} more`]
}

/** @returns the last bytes of a file, as text */
export function readTail(path: string, bytes: number): string {
  const fd = openSync(path, 'r')
  try {
    const { size } = fstatSync(fd)
    const buffer = Buffer.alloc(Math.min(size, bytes))
    readSync(fd, buffer, 0, buffer.length, size - buffer.length)
    return buffer.toString('utf8')
  } finally {
    closeSync(fd)
  }
}
