// SPDX-License-Identifier: GPL-2.0-only
import { basename } from 'node:path'
import { Failure } from '../base/errors.ts'
import { sha256File } from '../base/files.ts'
import { log } from '../base/log.ts'
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { rebuildAndCompare } from '../package/reproduce.ts'
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
    await bring(context, rpm)
    const packages = distPackages(context)
    const published = new Map<string, string>()
    for (const path of packages) published.set(basename(path), await sha256File(path))
    const different: string[] = []
    const foreign = new Set([...injectedSrpms(context), ...kmodPackages(context)].map((path) => basename(path)))
    const sources = packages.filter((path) => path.endsWith('.src.rpm'))
    for (const path of sources.filter((source) => foreign.has(basename(source)))) {
      log.warn(`not rebuilt, because it needs the compiler and kernel-devel of an EL6 host: ${basename(path)}`)
    }
    for (const source of sources.filter((path) => !foreign.has(basename(path)))) {
      different.push(...(await rebuildAndCompare(context, source, published)))
    }
    if (different.length === 0) return
    throw new Failure('build', `${different.length} packages are not reproducible.`, { excerpt: different })
  },
}
export default command
