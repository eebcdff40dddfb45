// SPDX-License-Identifier: GPL-2.0-only
/** The packages in dist. */

import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { asideOf, digestTree, listFiles, replaceFolder } from '../base/files.ts'
import { log } from '../base/log.ts'
import type { Context } from '../build/context.ts'
import { readStamp, type Facts, type Json, type Step } from '../build/step.ts'
import { parseSymvers } from '../kernel/kabi.ts'
import { kbuildCommand, kernelPackageRelease } from '../kernel/kbuild.ts'
import { requireSaved } from '../kernel/series.ts'
import { exportSeries, kernelPackage, kernelSpec, readKernelSpec } from '../package/rpm-kernel.ts'
import { lint } from '../package/lint.ts'
import { publish, requireEl6 } from '../package/publish.ts'
import { buildBinaryPackages, buildPackages, type PackageBuild } from '../package/rpm.ts'
import { SOURCE_DATE_EPOCH } from '../release.ts'
import { bringVerified } from './fetch.ts'
import { kernelRelease, step as kernel } from './kernel.ts'
import { kmodPackages, step as kmod } from './kmod.ts'
import { preparedVersion } from './prep.ts'
import { injectedSrpms, injects, srpmName, step as srpm } from './srpm.ts'
import { step as tools, toolPackages } from './tools.ts'

export const step: Step = {
  name: 'rpm',
  scope: 'variant',
  needs: [kernel, tools, srpm, kmod],
  code: ['steps/rpm.ts', 'kernel/kabi.ts', 'kernel/kbuild.ts', 'package/lint.ts', 'package/publish.ts', 'package/rpm.ts', 'package/rpm-kernel.ts'],
  inputs: (context) => ({
    files: Object.values(digestTree(join(specs(context), 'kernel', 'kernel.spec'), join(specs(context), 'rpmlint.toml'))),
    epoch: SOURCE_DATE_EPOCH,
  }),
  outputs: publishedPackages,
  async run(context) {
    await requireSaved(context, 'the kernel cannot be packaged')
    const packages = { kernel: await kernelPackages(context), ...toolPackages(context) }
    for (const [name, group] of Object.entries(packages)) log.info(`rpmlint, ${name}: ${await lint(context, name, group)}`)
    const all = [...Object.values(packages).flat(), ...injectedSrpms(context), ...kmodPackages(context)]
    const features = await requireAllEl6(all)
    const facts = await publishAll(context, all)
    rmSync(topdirOf(context), { recursive: true, force: true })
    return { ...facts, features }
  },
}

/** @returns dist's folders of binary and of source packages */
const packageFolders = (context: Context): string[] => [
  join(context.paths.dist, 'RPMS', 'x86_64'),
  join(context.paths.dist, 'SRPMS'),
]

/** @returns paths of the packages in dist */
export function distPackages(context: Context): string[] {
  return packageFolders(context).flatMap((folder) => listFiles(folder).filter((name) => name.endsWith('.rpm')).map((name) => join(folder, name)))
}

/** What {@link publishAll} reports: the packages that it has put into dist. */
type Published = { packages: { file: string }[] }

/** @returns paths of what the last successful run has published, whether or not it is still there */
function publishedPackages(context: Context): string[] {
  const [binaries = '', sources = ''] = packageFolders(context)
  const { packages } = (readStamp(context, step)?.facts ?? { packages: [] }) as Published
  return packages.map(({ file }) => join(file.endsWith('.src.rpm') ? sources : binaries, file))
}

const specs = (context: Context): string => join(context.paths.root, 'specs')
const topdirOf = (context: Context): string => join(context.paths.work, `rpmbuild-${context.variant}`)

/**
 * Packages what `make kernel` has compiled, and the source package that gives the same by
 * itself; where the series is in the distribution's own source package, that one is it.
 */
async function kernelPackages(context: Context): Promise<string[]> {
  requireRelease(context)
  const tarball = await bringVerified(context, context.source)
  log.step('rpm', `kernel ${kernelRelease(context)}`)
  const patches = await exportSeries(context, join(context.paths.work, `series-${context.variant}`))
  const version = preparedVersion(context)
  const build: PackageBuild = {
    name: kernelPackage(context),
    spec: kernelSpec(context, readKernelSpec(context, version), {
      ...{ version, release: kernelPackageRelease(context), tarball: tarball.filename, patches: patches.map(({ name }) => name) },
      ...(injects(context) ? { stock: srpmName(context).release, provides: symbolVersions(context) } : {}),
    }),
    sources: [{ name: 'kernel.config', path: join(context.paths.build, '.config') }, ...patches],
    topdir: topdirOf(context),
    defines: { kernel_tree: context.paths.tree, kernel_output: context.paths.build, kernel_make: await kbuildCommand(context) },
    log: join(context.paths.logs, 'rpm-kernel.log'),
    onLine: log.counter(),
  }
  if (injects(context)) return buildBinaryPackages(context, build)
  return buildPackages(context, { ...build, sources: [{ name: tarball.filename, path: tarball.path }, ...build.sources] })
}

/** What EL6's kernels provide, so that a kmod finds out before it is installed whether it fits. */
function symbolVersions(context: Context): string[] {
  const symvers = parseSymvers(readFileSync(join(context.paths.build, 'Module.symvers'), 'utf8'))
  return [...symvers].map(([symbol, crc]) => `kernel(${symbol}) = ${crc}`).sort()
}

/**
 * The packages' names and scriptlets rely on what the kernel calls itself.
 *
 * @throws Failure of kind `build` when that is something else than VERSION-RELEASE.ARCH
 */
function requireRelease(context: Context): void {
  const actual = readFileSync(join(context.paths.build, 'include/config/kernel.release'), 'utf8').trim()
  if (actual === kernelRelease(context)) return
  throw new Failure('build', `The kernel calls itself ${actual}, but would be packaged as ${kernelRelease(context)}.`, {
    hint: `The line "# CONFIG_LOCALVERSION_AUTO is not set" has to be in specs/kernel/${context.configs[0]}: without it the commit of the tree is added.`,
  })
}

/**
 * @returns of each package the features of rpm that it asks for
 * @throws Failure of kind `build` when rpm 4.8 of EL6 does not know one of them
 */
async function requireAllEl6(packages: readonly string[]): Promise<Record<string, string[]>> {
  const features: Record<string, string[]> = {}
  for (const path of packages) features[basename(path)] = await requireEl6(path)
  const all = new Set(Object.values(features).flat())
  log.info(`features of rpm, all known to rpm 4.8 of EL6: ${[...all].sort().join(', ')}`)
  return features
}

/** Both folders are complete before either is replaced. */
async function publishAll(context: Context, packages: readonly string[]): Promise<Facts> {
  mkdirSync(context.paths.dist, { recursive: true })
  const rpms = asideOf(join(context.paths.dist, 'RPMS'))
  const srpms = asideOf(join(context.paths.dist, 'SRPMS'))
  const isSource = (path: string): boolean => path.endsWith('.src.rpm')
  try {
    const binary = await publish(packages.filter((path) => !isSource(path)), join(rpms, 'x86_64'))
    const source = await publish(packages.filter(isSource), srpms)
    replaceFolder(rpms, join(context.paths.dist, 'RPMS'))
    replaceFolder(srpms, join(context.paths.dist, 'SRPMS'))
    log.info(`${packages.length} packages in ${context.paths.dist}`)
    return { packages: [...binary, ...source] as unknown as Json }
  } finally {
    rmSync(rpms, { recursive: true, force: true })
    rmSync(srpms, { recursive: true, force: true })
  }
}
