// SPDX-License-Identifier: GPL-2.0-only
/** Versions, as programs and file names tell them; they are ordered by semver. */

import semver from 'semver'

/**
 * @param output of a program that was asked for its version
 * @returns the first number of its first line that is not in parentheses, where distributions name themselves
 */
export function versionIn(output: string): semver.SemVer | null {
  const [line = ''] = output.split('\n')
  return semver.coerce(/\d+(\.\d+)*/.exec(line.replace(/\([^)]*\)/g, ''))?.[0])
}

/** @returns the version in the name of an upstream file, such as `openssl_3.0.22.orig.tar.gz` or `popt-1.19.tar.gz` */
export const versionOfFile = (filename: string): string | undefined => /[-_]v?(\d+(?:\.\d+)+)/.exec(filename)?.[1]

/**
 * @param makefile the kernel's top Makefile
 * @returns VERSION.PATCHLEVEL.SUBLEVEL with EXTRAVERSION
 */
export function kernelVersion(makefile: string): string {
  const value = (name: string): string => new RegExp(`^${name} *= *(.*)$`, 'm').exec(makefile)?.[1]?.trim() ?? ''
  return `${value('VERSION')}.${value('PATCHLEVEL')}.${value('SUBLEVEL')}${value('EXTRAVERSION')}`
}
