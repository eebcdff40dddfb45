// SPDX-License-Identifier: GPL-2.0-only
/** Compares the compiler's warnings of two builds. */

/**
 * @param touched names of the files that were changed between the builds, relative to the source
 * @returns the warnings of `after` that `before` does not have, wherever in its file a warning has moved to; a header
 *   that was not changed repeats its warnings in every file that includes it, so theirs are not counted
 */
export function newWarnings(before: readonly string[], after: readonly string[], touched: readonly string[] = []): string[] {
  const left = new Map<string, number>()
  for (const line of before.filter(isWarning)) left.set(place(line), (left.get(place(line)) ?? 0) + 1)
  return after.filter(isWarning).filter((line) => {
    const count = left.get(place(line)) ?? 0
    if (count > 0 && isHeader(line) && !touched.some((name) => place(line).includes(name))) return false
    left.set(place(line), count - 1)
    return count <= 0
  })
}

/** @returns whether a line of a build log is a warning or an error of the compiler's */
export const isWarning = (line: string): boolean => /: (warning|error):/.test(line)

const isHeader = (line: string): boolean => /^\S*\.h:/.test(line)

/** A warning without its line and column, and without the folder that the build calls its source by. */
const place = (line: string): string => line.replace(/:\d+(:\d+)?:/, ':').replace(/^\S*?\/(?=(arch|include|net)\/)/, '')
