// SPDX-License-Identifier: GPL-2.0-only
/** The kernel's packages: what fills in specs/kernel/kernel.spec. */

import { mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Failure } from '../base/errors.ts'
import type { Context } from '../build/context.ts'
import { kbuildEnvironment, localVersion } from '../kernel/kbuild.ts'
import { APPLIED, BASE, treeGit } from '../kernel/series.ts'
import { BUILD_HOST, SOURCE_DATE_EPOCH } from '../release.ts'
import { fillLines, requirePatchNames, setGlobals, type PackageSource } from './rpm.ts'

const PATCHES = '# @patches@'
const PROVIDES = '# @provides@'

/** Says nothing of where and by which git it was made, so that the same commits give the same files. */
const FORMAT_PATCH = ['format-patch', '--quiet', '--no-signature', '--zero-commit', '--no-stat', '--no-renames', '--full-index', '--no-ext-diff', '--no-color', '--subject-prefix=PATCH', '--no-numbered']

/** The variant that the names of the packages carry; none for the normal one. */
export const kernelVariant = (context: Context): string => context.flavour?.name ?? ''

/** The name of the package, which the file name of its spec has to be as well (rpmlint, invalid-spec-name). */
export const kernelPackage = (context: Context): string => ['kernel', kernelVariant(context)].filter(Boolean).join('-')

/**
 * Writes the engine and each patch of the series as a file, in order.
 *
 * @param folder where to; what is in it is thrown away
 * @throws Failure of kind `patch` when a name could not stand in a spec
 */
export async function exportSeries(context: Context, folder: string): Promise<PackageSource[]> {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  await treeGit(context).run(...FORMAT_PATCH, '--output-directory', folder, `${BASE}..${APPLIED}`)
  const names = readdirSync(folder).sort()
  requirePatchNames(names)
  return names.map((name) => ({ name, path: join(folder, name) }))
}

/** What the kernel's spec is filled in with. */
export interface KernelPackage {
  /** VERSION.PATCHLEVEL.SUBLEVEL. */
  version: string
  /** The packages' release. */
  release: string
  /** The release of the distribution's kernel that it is made from, if it is. */
  stock?: string
  /** Name of the kernel's source. */
  tarball: string
  /** File names, in order. */
  patches: readonly string[]
  /** What the package provides besides its name, such as "kernel(SYMBOL) = CRC". */
  provides?: readonly string[]
}

/** @param spec text of specs/kernel/kernel.spec */
export function kernelSpec(context: Context, spec: string, kernel: KernelPackage): string {
  const environment = kbuildEnvironment()
  const filled = setGlobals(spec, {
    kernel_version: kernel.version,
    kernel_release: kernel.release,
    kernel_local: localVersion(context),
    kernel_stock: kernel.stock ?? '%{nil}',
    kernel_variant: kernelVariant(context) || '%{nil}',
    kernel_source: kernel.tarball,
    kernel_patches: String(kernel.patches.length),
    build_host: BUILD_HOST,
    build_timestamp: environment['KBUILD_BUILD_TIMESTAMP'] ?? '',
    build_epoch: String(SOURCE_DATE_EPOCH),
  })
  const patches = kernel.patches.map((name, index) => `${`Patch${index + 1}:`.padEnd(15)} ${name}`)
  const provides = (kernel.provides ?? []).map((provided) => `${'Provides:'.padEnd(15)} ${provided}`)
  return fillLines(fillLines(filled, PATCHES, patches), PROVIDES, provides)
}

/** @returns the spec with a version that cannot be an RPM's refused */
export function readKernelSpec(context: Context, version: string): string {
  if (!/^\d+(\.\d+)+$/.test(version)) {
    throw new Failure('source', `The kernel version "${version}" cannot be an RPM's version.`, {
      hint: 'EXTRAVERSION in the kernel source has to be empty.',
    })
  }
  return readFileSync(join(context.paths.root, 'specs', 'kernel', 'kernel.spec'), 'utf8')
}
