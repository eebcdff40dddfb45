// SPDX-License-Identifier: GPL-2.0-only
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { checkoutFolders, type CheckoutFolder } from '../build/checkouts.ts'
import type { Context } from '../build/context.ts'
import { cacheLock, withLock } from '../build/lock.ts'
import type { Command } from '../command.ts'
import { requireSaved } from '../kernel/series.ts'

/** What checkouts share in the cache. */
const SHARED = ['store', 'results', 'pristine', 'apt', 'accelerator.json'] as const

/**
 * A prepared tree has the objects of its pristine source in the cache, and is worth nothing without them.
 *
 * @throws Failure of kind `usage` that names the checkouts whose trees those are
 */
function requireUnused(folders: readonly CheckoutFolder[]): void {
  const used = folders.filter(({ root }) => root === undefined || existsSync(root))
  if (used.length === 0) return
  throw new Failure('usage', `${used.length} checkouts use this cache; nothing was removed.`, {
    excerpt: used.map(({ path, root }) => (root === undefined ? `${path}, of an unknown checkout` : `${root}, with ${path}`)),
    hint: 'First, in each of them: make distclean. Of a checkout that is not known, remove the folder if there is nothing in it to keep.',
  })
}

async function remove(context: Context, folders: readonly CheckoutFolder[]): Promise<void> {
  for (const { contexts } of folders) {
    for (const each of contexts.filter(({ paths }) => existsSync(paths.tree))) await requireSaved(each, 'nothing was removed')
  }
  const shared = SHARED.map((name) => join(context.paths.cache, name)).filter((path) => existsSync(path))
  for (const { path, root } of folders) log.info(`${path}, of ${root}, which is gone`)
  for (const path of shared) log.info(path)
  for (const path of [...folders.map(({ path }) => path), ...shared]) rmSync(path, { recursive: true, force: true })
}

const command: Command = {
  summary: 'remove what checkouts share: downloads, pristine sources, built tools',
  help: `For one checkout or the last one: "make distclean purge" leaves of the cache only ccache, which
has a limit of its own. The next build fetches everything anew, and so follows the
distribution to newer versions.

Nothing is removed while another checkout has prepared trees in this cache, which need it, or
while any build runs; they are named. Folders of checkouts that were deleted are removed as
well, unless there are edits in them that were not saved.`,
  async run(context) {
    await withLock(cacheLock(context), 'build with this cache', async () => {
      const folders = checkoutFolders(context)
      requireUnused(folders)
      log.step('purge', 'removing')
      await remove(context, folders)
    })
  },
}
export default command
