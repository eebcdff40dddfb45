// SPDX-License-Identifier: GPL-2.0-only
/** Whether a build can work in the folders that the user has chosen. */

import { accessSync, constants } from 'node:fs'
import { Failure } from '../base/errors.ts'
import { makeFolder } from '../base/files.ts'
import type { Context } from './context.ts'

/**
 * The kernel's Makefile refuses blanks and colons in a path; its rules, rpm's macros and
 * configure scripts take quotes, "%", "$", "=", "," and others for theirs, some after minutes.
 */
const PLAIN = /^[\p{L}\p{N}@+._/~-]*$/u

/** @returns what is wrong with the folders of checkout and cache, a line each */
export function placeProblems({ paths }: Context): string[] {
  const places = [['checkout', paths.root], ['cache', paths.cache]] as const
  const odd = places.filter(([, path]) => !PLAIN.test(path)).map(([what, path]) => {
    const characters = [...new Set([...path].filter((character) => !PLAIN.test(character)))].map((character) => JSON.stringify(character))
    return `The path of the ${what}, ${path}, has ${characters.join(', ')} in it, with which kernels and packages cannot be built.`
  })
  return [...odd, ...places.flatMap(([what, path]) => unwritable(what, path))]
}

/** @throws Failure of kind `environment` that tells all that is wrong with the folders */
export function requirePlaces(context: Context): void {
  const problems = placeProblems(context)
  if (problems.length === 0) return
  throw new Failure('environment', 'A build cannot work in these folders.', { excerpt: problems, hint: PLACES_HINT })
}

export const PLACES_HINT = 'Choose another folder for the cache by CACHE=, or clone into another one.'

function unwritable(what: string, path: string): string[] {
  try {
    makeFolder(path)
    // A file of that name has no "." in it.
    accessSync(`${path}/.`, constants.W_OK)
    return []
  } catch (error) {
    return [`The folder of the ${what}, ${path}, cannot be written to (${(error as NodeJS.ErrnoException).code}).`]
  }
}
