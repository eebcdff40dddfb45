// SPDX-License-Identifier: GPL-2.0-only
/** What modules import, as the compiler reads it: apart, because few tests ask, and it takes longer to load than most of them. */

import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import ts from 'typescript'

/** @returns paths of the project's modules that a module imports, types too */
export function imports(path: string): string[] {
  const { importedFiles } = ts.preProcessFile(readFileSync(path, 'utf8'), true, true)
  return importedFiles.filter(({ fileName }) => fileName.startsWith('.')).map(({ fileName }) => resolve(dirname(path), fileName))
}
