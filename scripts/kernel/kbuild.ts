// SPDX-License-Identifier: GPL-2.0-only
/** How the kernel's own build is called: one place for the arguments that decide its result. */

import { shellLine } from '../base/quote.ts'
import type { Context } from '../build/context.ts'
import { inheritedEnvironment } from '../build/environment.ts'
import { readStamp } from '../build/step.ts'
import { BUILD_HOST, BUILDID, SOURCE_DATE_EPOCH } from '../release.ts'
import { RECOGNISED_BY } from './family.ts'
import { compilerOptions } from './toolchain.ts'

/** @returns the `Release:` of the kernel's packages: of a distribution's kernel its own, or its revision, with our build ID, which sorts above it */
export const kernelPackageRelease = (context: Context): string => `${sourceRevision(context)}${BUILDID}`

/** @returns what a distribution counts behind the version of a kernel: "279.el6"; 1 of what is none's */
export function sourceRevision(context: Context): string {
  if (context.srpm) return context.srpm.kernel.replace(/^[^-]*-/, '')
  const revision = readStamp(context, RECOGNISED_BY)?.facts['revision']
  return typeof revision === 'string' ? revision : '1'
}

/** @returns what `make kernelrelease` adds to the version, so that `uname -r` is the package's VERSION-RELEASE.ARCH */
export function localVersion(context: Context): string {
  return `-${kernelPackageRelease(context)}.x86_64${context.flavour?.release ?? ''}`
}

/**
 * The variables that make a build reproducible
 * (Documentation/kbuild/reproducible-builds.rst); specs/kernel/kernel.spec sets the same.
 */
export function kbuildEnvironment(): NodeJS.ProcessEnv {
  return {
    ...inheritedEnvironment(),
    LC_ALL: 'C',
    KBUILD_BUILD_USER: 'lvs-snat',
    KBUILD_BUILD_HOST: BUILD_HOST,
    KBUILD_BUILD_VERSION: '1',
    // 2.6.32 writes the time of the configuration into autoconf.h, which every file includes: ccache would never hit.
    KCONFIG_NOTIMESTAMP: '1',
    KBUILD_BUILD_TIMESTAMP: new Date(SOURCE_DATE_EPOCH * 1000).toUTCString(),
    SOURCE_DATE_EPOCH: String(SOURCE_DATE_EPOCH),
  }
}

/**
 * Variables of ccache(1) that let checkouts in different folders share their
 * results. In depend mode no file is preprocessed twice, and the compiler is called
 * with the same paths as without ccache, so that the objects are the same to the bit.
 * What ccache costs when it has no answer is mostly the hashing of headers, which it can
 * remember by inode, and compression.
 */
export function ccacheEnvironment(context: Context, statsLog: string): NodeJS.ProcessEnv {
  return {
    CCACHE_DIR: context.paths.ccache,
    CCACHE_BASEDIR: context.paths.work,
    CCACHE_NOHASHDIR: '1',
    CCACHE_DEPEND: '1',
    CCACHE_INODECACHE: '1',
    CCACHE_NOCOMPRESS: '1',
    CCACHE_SLOPPINESS: 'time_macros',
    CCACHE_MAXSIZE: '10G',
    CCACHE_STATSLOG: statsLog,
  }
}

/** @returns the compiler as the kernel's make is given it, with the options that it needs for this kernel */
export async function compiler(context: Context): Promise<string> {
  return ['CC=ccache', 'gcc', ...(await compilerOptions(context))].join(' ')
}

/** @returns the command line of a kernel make in the prepared tree */
export async function kbuild(context: Context, ...goals: string[]): Promise<string[]> {
  const { tree, build } = context.paths
  const version = `${context.target.releaseVariable}=${localVersion(context)}`
  return ['make', '-C', tree, `O=${build}`, `-j${context.jobs}`, await compiler(context), version, ...goals]
}

/** @returns {@link kbuild} without goals, for a shell and as a macro of rpm's */
export async function kbuildCommand(context: Context): Promise<string> {
  return shellLine(await kbuild(context)).replaceAll('%', '%%')
}
