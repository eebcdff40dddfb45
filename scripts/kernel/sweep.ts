// SPDX-License-Identifier: GPL-2.0-only
/** What checkouts that were deleted, and runs that were killed, have left. */

import { existsSync, readdirSync, rmSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { Failure } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { checkoutFolders, sweepTemporary, withNothingRunning, type CheckoutFolder } from '../build/checkouts.ts'
import { createContext, type Context } from '../build/context.ts'
import { requireSaved } from './series.ts'

/** A checkout that was deleted a moment ago may be on its way to another place. */
const KEPT_MS = 7 * 24 * 3600 * 1000

/**
 * Removes from the cache what belongs to checkouts that are gone for a week, and old folders of killed runs from /tmp. What has
 * edits that were not saved, or is in use, stays, as does that of a checkout whose disk may only not be mounted.
 */
export async function sweep(context: Context, now = Date.now()): Promise<void> {
  sweepTemporary()
  for (const folder of checkoutFolders(context)) {
    if (isGone(folder) && now - statSync(folder.path).mtimeMs > KEPT_MS) await remove(context, folder)
  }
}

function isGone({ root }: CheckoutFolder): boolean {
  if (root === undefined || existsSync(root)) return false
  // An empty folder may be the place of a disk.
  const parent = dirname(root)
  return existsSync(parent) && readdirSync(parent).length > 0
}

async function remove(context: Context, { path, root, contexts }: CheckoutFolder): Promise<void> {
  try {
    await withNothingRunning(createContext({ CACHE: context.paths.cache }, root), contexts, async () => {
      for (const each of contexts.filter(({ paths }) => existsSync(paths.tree))) await requireSaved(each, 'it is not removed')
      rmSync(path, { recursive: true, force: true })
      log.info(`removed ${path}, of a checkout that is gone: ${root}`)
    })
  } catch (error) {
    if (!(error instanceof Failure) || error.kind === 'interrupted') throw error
    log.warn(`${path} is of a checkout that is gone, ${root}, and stays: ${error.message}`)
  }
}
