// SPDX-License-Identifier: GPL-2.0-only
import { basename } from 'node:path'
import { Failure } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { withRun } from '../build/checkouts.ts'
import type { Context } from '../build/context.ts'
import { withBuildLock } from '../build/lock.ts'
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { keepPackages, type Kept, rebuildKept } from '../package/reproduce.ts'
import { kmodPackages } from '../steps/kmod.ts'
import { distPackages, step as rpm } from '../steps/rpm.ts'
import { injectedSrpms } from '../steps/srpm.ts'

const command: Command = {
  summary: 'rebuild every SRPM of dist and compare the packages bit by bit',
  help: `Each source package is rebuilt in a folder of its own, without what "make kernel" has
compiled and what ccache remembers, and the digests of the packages are compared with those in dist. It takes
as long as a first build. Exits other than 0 if a package differs.`,
  step: rpm,
  async run(context) {
    const different = await withRun(context, 'reproduce', async () => {
      await bring(context, rpm)
      return rebuildKept(context, await withBuildLock(context, () => keep(context)))
    })
    if (different.length === 0) return
    throw new Failure('build', `${different.length} packages are not reproducible.`, { excerpt: different })
  },
}
export default command

async function keep(context: Context): Promise<Kept> {
  const packages = distPackages(context)
  const foreign = new Set([...injectedSrpms(context), ...kmodPackages(context)].map((path) => basename(path)))
  const sources = packages.filter((path) => path.endsWith('.src.rpm'))
  for (const path of sources.filter((source) => foreign.has(basename(source)))) {
    log.warn(`not rebuilt, because it needs the compiler and kernel-devel of an EL6 host: ${basename(path)}`)
  }
  return keepPackages(context, packages, sources.filter((path) => !foreign.has(basename(path))))
}
