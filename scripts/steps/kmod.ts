// SPDX-License-Identifier: GPL-2.0-only
/** The modules of IPVS alone, packaged for the stock kernel of RHEL 6. */

import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { digestTree, listFiles } from '../base/files.ts'
import { log } from '../base/log.ts'
import type { Context } from '../build/context.ts'
import { type Facts, type Json, type Step } from '../build/step.ts'
import { compareAbi, parseSymvers, type AbiComparison } from '../kernel/kabi.ts'
import { kbuildCommand } from '../kernel/kbuild.ts'
import { BASE, requireSaved, touchedFiles, treeGit } from '../kernel/series.ts'
import { exportSeries } from '../package/rpm-kernel.ts'
import { lint } from '../package/lint.ts'
import { publish, requireEl6, verifyPackage } from '../package/publish.ts'
import { buildPackages, buildSourcePackage, setGlobals, type PackageBuild, type PackageSource } from '../package/rpm.ts'
import { BUILD_HOST, SOURCE_DATE_EPOCH } from '../release.ts'
import { sourceFile } from './fetch.ts'
import { step as kernel } from './kernel.ts'
import { srpmFolder } from './prep.ts'
import { buildid, injects, srpmName, symbols } from './srpm.ts'

const NAME = 'ipvs-snat-kmod'
const IPVS = 'net/netfilter/ipvs'
/** RHEL's promise for the architecture, in the SRPM. */
export const WHITELIST = 'Module.kabi_x86_64'

export const step: Step = {
  name: 'kmod',
  scope: 'variant',
  needs: [kernel],
  code: ['steps/kmod.ts', 'kernel/kabi.ts', 'kernel/kbuild.ts', 'package/lint.ts', 'package/publish.ts', 'package/rpm.ts', 'package/rpm-kernel.ts'],
  applies: injects,
  inputs: (context) => ({
    files: Object.values(digestTree(specFolder(context), join(context.paths.root, 'specs', 'rpmlint.toml'))),
    stock: sourceFile(context, context.source).sha256,
    symbols: [...symbols(context)].flat(),
    buildid: buildid(context),
    epoch: SOURCE_DATE_EPOCH,
  }),
  outputs: (context) => [builtFolder(context)],
  async run(context) {
    await requireSaved(context, 'the kmod cannot be packaged')
    const top = join(context.paths.work, `kmod-${context.variant}`)
    try {
      return await build(context, top)
    } finally {
      rmSync(top, { recursive: true, force: true })
    }
  },
}

const specFolder = (context: Context): string => join(context.paths.root, 'specs', 'kmod')

/** Where the packages stand besides dist, for `make rpm`, which makes dist anew. */
const builtFolder = (context: Context): string => join(context.paths.work, `kmod-packages-${context.variant}`)

/** @returns paths of the packages that were made: the source package, and the binary one if this build has the stock kernel's symbols */
export const kmodPackages = (context: Context): string[] => listFiles(builtFolder(context)).map((name) => join(builtFolder(context), name))

async function build(context: Context, top: string): Promise<Facts> {
  rmSync(top, { recursive: true, force: true })
  mkdirSync(top, { recursive: true })
  const { version, release } = srpmName(context)
  log.step('kmod', `${IPVS} for the stock kernel ${version}-${release}`)
  const patches = await exportSeries(context, join(top, 'series'))
  const tarball = await stockTarball(context, top, `ipvs-${version}-${release}.tar.xz`)
  const job: PackageBuild = {
    name: NAME,
    spec: kmodSpec(context, { version, release, tarball: tarball.name, patches: patches.map(({ name }) => name) }),
    sources: [tarball, { name: 'find-ksyms', path: join(specFolder(context), 'find-ksyms'), executable: true }, ...patches],
    topdir: join(top, 'rpmbuild'),
    defines: { kernel_make: await kbuildCommand(context) },
    log: join(context.paths.logs, 'kmod.log'),
  }
  const abi = await stockAbi(context)
  const packages = fits(abi) ? await buildPackages(context, job) : [await buildSourcePackage(context, job)]
  sayAbi(abi)
  for (const path of packages) {
    await verifyPackage(path)
    await requireEl6(path)
  }
  log.info(`rpmlint, kmod: ${await lint(context, 'kmod', packages)}`)
  rmSync(builtFolder(context), { recursive: true, force: true })
  const published = await publish(packages, builtFolder(context))
  return { packages: published as unknown as Json, whitelist: { ...abi, different: abi.different.length } }
}

/** The stock files of IPVS and of whatever else the series touches. */
async function stockTarball(context: Context, top: string, name: string): Promise<PackageSource> {
  const git = treeGit(context)
  const files = await git.files(BASE, [IPVS, ...(await touchedFiles(context))])
  const path = join(top, name)
  await git.run('-c', 'tar.tar.xz.command=xz --threads=1', 'archive', `--output=${path}`, BASE, '--', ...files)
  return { name, path }
}

interface KmodFacts {
  version: string
  release: string
  tarball: string
  patches: readonly string[]
}

function kmodSpec(context: Context, { version, release, tarball, patches }: KmodFacts): string {
  const set = [...symbols(context)].filter(([, value]) => value === 'y').map(([symbol]) => symbol)
  const spec = setGlobals(readFileSync(join(specFolder(context), `${NAME}.spec`), 'utf8'), {
    kernel_version: version,
    kernel_build: release,
    kmod_buildid: buildid(context),
    kmod_source: tarball,
    kmod_patches: patches.join(' '),
    kmod_symbols: set.join(' '),
    build_host: BUILD_HOST,
  })
  const lines = patches.map((patch, index) => `${`Patch${index + 1}:`.padEnd(15)} ${patch}`)
  return spec.replace('# @patches@', lines.join('\n'))
}

/** Compares what was compiled with the symbols that RHEL promises of the stock kernel. */
async function stockAbi(context: Context): Promise<AbiComparison> {
  const symvers = join(context.paths.build, 'Module.symvers')
  const built = parseSymvers(existsSync(symvers) ? readFileSync(symvers, 'utf8') : '')
  return compareAbi(built, parseSymvers(readFileSync(join(srpmFolder(context), WHITELIST), 'utf8')))
}

/** A configuration that leaves out symbols has other structures too. */
const fits = ({ same, different, missing }: AbiComparison): boolean => same > 0 && different.length === 0 && missing === 0

function sayAbi(abi: AbiComparison): void {
  const { same, different, missing } = abi
  log.info(`${WHITELIST}: ${same} symbols are as in the stock kernel, ${different.length} are not, ${missing} are not there`)
  if (fits(abi)) return
  log.warn('no binary package: modules of this configuration do not fit the stock kernel; CONFIG=rhel is its own')
  for (const line of different.slice(0, 5)) log.info(line)
}
