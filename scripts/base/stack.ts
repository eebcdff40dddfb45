// SPDX-License-Identifier: GPL-2.0-only
/** Where an error was thrown, in the files that people edit; Node's own way to it costs every run a twentieth of a second. */

import { existsSync, readFileSync } from 'node:fs'
import { SourceMap, type SourceMapPayload, type SourceMapping } from 'node:module'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** What is running: the one file that the Makefile makes of all modules, or this module. */
const RUNNING = fileURLToPath(import.meta.url)

/**
 * @param stack of an error
 * @param running path of the file that was made of others, with their map beside it
 * @returns it, with the places of the files that it was made of
 */
export function originalStack(stack: string, running = RUNNING): string {
  const path = `${running}.map`
  if (!existsSync(path)) return stack
  const map = new SourceMap(JSON.parse(readFileSync(path, 'utf8')) as SourceMapPayload)
  return stack.replace(/(?:file:\/\/)?(\/[^\s():]*):(\d+):(\d+)/g, (place, file: string, line: string, column: string) => {
    if (file !== running) return place
    const { originalSource, originalLine = 0, originalColumn = 0 } = map.findEntry(Number(line) - 1, Number(column) - 1) as Partial<SourceMapping>
    return originalSource === undefined ? place : `${resolve(dirname(running), originalSource)}:${originalLine + 1}:${originalColumn + 1}`
  })
}
