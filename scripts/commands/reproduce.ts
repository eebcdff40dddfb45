import { mkdirSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { sha256File } from '../base/files.ts'
import { log } from '../base/log.ts'
import type { Context } from '../build/context.ts'
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { rebuildPackage } from '../package/rpm.ts'
import { kmodPackages } from '../steps/kmod.ts'
import { distPackages, step as rpm } from '../steps/rpm.ts'
import { injectedSrpms } from '../steps/srpm.ts'

/**
 * Rebuilds one source package elsewhere and compares.
 *
 * @returns a line for each package that came out differently
 */
async function compare(context: Context, source: string, published: ReadonlyMap<string, string>): Promise<string[]> {
  const name = basename(source, '.src.rpm')
  const topdir = join(context.paths.work, 'reproduce', name)
  log.step('reproduce', `${basename(source)} by rpmbuild --rebuild`)
  let lines = 0
  const built = await rebuildPackage(context, source, {
    topdir,
    log: join(context.paths.logs, `reproduce-${name}.log`),
    onLine: (line) => log.progress(`${++lines} ${line.trim()}`),
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

const command: Command = {
  summary: 'rebuild every SRPM of dist and compare the packages bit by bit',
  help: `Each source package is rebuilt in a folder of its own, without what "make kernel" has
compiled, and the digests of the packages are compared with those in dist. It takes
as long as a fresh build; ccache helps. Exits other than 0 if a package differs.`,
  async run(context) {
    await bring(context, rpm)
    const packages = distPackages(context)
    const published = new Map<string, string>()
    for (const path of packages) published.set(basename(path), await sha256File(path))
    mkdirSync(join(context.paths.work, 'reproduce'), { recursive: true })
    const different: string[] = []
    const foreign = new Set([...injectedSrpms(context), ...kmodPackages(context)].map((path) => basename(path)))
    const sources = packages.filter((path) => path.endsWith('.src.rpm'))
    for (const path of sources.filter((source) => foreign.has(basename(source)))) {
      log.warn(`not rebuilt, because it needs the compiler and kernel-devel of an EL6 host: ${basename(path)}`)
    }
    for (const source of sources.filter((path) => !foreign.has(basename(path)))) {
      different.push(...(await compare(context, source, published)))
    }
    if (different.length === 0) return
    throw new Failure('build', `${different.length} packages are not reproducible.`, { excerpt: different })
  },
}
export default command
