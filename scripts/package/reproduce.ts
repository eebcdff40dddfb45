// SPDX-License-Identifier: GPL-2.0-only
/** Rebuilding what is published. */

import { rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { sha256File } from '../base/files.ts'
import { log } from '../base/log.ts'
import type { Context } from '../build/context.ts'
import { rebuildPackage } from './rpm.ts'

/**
 * Rebuilds one source package elsewhere and compares.
 *
 * @param published SHA-256 of the packages in dist, by file name
 * @returns a line for each package that came out differently
 */
export async function rebuildAndCompare(context: Context, source: string, published: ReadonlyMap<string, string>): Promise<string[]> {
  const name = basename(source, '.src.rpm')
  const topdir = join(context.paths.work, 'reproduce', name)
  log.step('reproduce', `${basename(source)} by rpmbuild --rebuild`)
  const built = await rebuildPackage(context, source, {
    topdir,
    afresh: true,
    log: join(context.paths.logs, `reproduce-${name}.log`),
    onLine: log.counter(),
  })
  const different: string[] = []
  for (const path of built) {
    const file = basename(path)
    const digest = await sha256File(path)
    const same = published.get(file) === digest
    process.stdout.write(`${same ? 'same     ' : 'DIFFERENT'} ${digest}  ${file}\n`)
    if (!same) different.push(`${file}: ${published.get(file) ?? 'not in dist'} in dist, ${digest} now; kept in ${topdir}`)
  }
  if (built.length === 0) different.push(`${basename(source)} gave no packages`)
  if (different.length === 0) rmSync(topdir, { recursive: true, force: true })
  return different
}
