// SPDX-License-Identifier: GPL-2.0-only
/** What a package has to be before it gets into a folder that others read. */

import { copyFileSync, mkdirSync, renameSync, rmSync, utimesSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { asideOf, listFiles, sha256File } from '../base/files.ts'
import { capture } from '../base/run.ts'
import { SOURCE_DATE_EPOCH } from '../release.ts'

/**
 * Features of rpm that version 4.8.0, EL6's, knows: what `rpm --showrc` lists there. A
 * package that requires another is refused by it.
 */
const EL6_FEATURES = [
  'BuiltinLuaScripts',
  'CompressedFileNames',
  'ConcurrentAccess',
  'ExplicitPackageProvide',
  'FileCaps',
  'FileDigests',
  'HeaderLoadSortsTags',
  'PartialHardlinkSets',
  'PayloadFilesHavePrefix',
  'PayloadIsBzip2',
  'PayloadIsLzma',
  'PayloadIsXz',
  'ScriptletInterpreterArgs',
  'VersionedDependencies',
]

/** @returns of an RPM's requirements, the features that EL6's rpm does not know */
export function el6Problems(requirements: readonly string[]): string[] {
  return requirements
    .map((requirement) => requirement.trim())
    .filter((requirement) => requirement.startsWith('rpmlib('))
    .filter((requirement) => !EL6_FEATURES.includes(/^rpmlib\((\w+)\)/.exec(requirement)?.[1] ?? ''))
}

/** How packages of Debian are looked through, and RPMs, and what is said of one that is whole. */
const DEB = { name: /\.deb\b/, by: ['dpkg-deb', '--contents'], whole: /\n$/ }
const RPM = { by: ['rpm', '--checksig', '--nosignature'], whole: /: digests OK\s*$/ }

/**
 * Checks a package's own digests of header and payload, or what it is compressed by.
 *
 * @throws Failure of kind `build` for a file that is damaged, cut off or no package
 */
export async function verifyPackage(path: string): Promise<void> {
  const { by, whole } = DEB.name.test(basename(path)) ? DEB : RPM
  const { exitCode, stdout, stderr } = await capture([...by, path], { anyExit: true })
  if (exitCode === 0 && whole.test(stdout)) return
  throw new Failure('build', `${path} is damaged: ${by[0]} does not accept it.`, {
    excerpt: `${stdout}${stderr}`.trim().split('\n'),
    hint: 'Nothing was published. Remove the file and run the same command again.',
  })
}

/**
 * @returns the features of rpm that a package asks for
 * @throws Failure of kind `build` when EL6's rpm could not install the package
 */
export async function requireEl6(path: string): Promise<string[]> {
  const { stdout } = await capture(['rpm', '--query', '--package', '--nosignature', '--requires', path])
  const problems = el6Problems(stdout.split('\n'))
  if (problems.length > 0) throw new Failure('build', `${basename(path)} needs a newer rpm than EL6 has.`, { excerpt: problems })
  return [...stdout.matchAll(/^rpmlib\((\w+)\)/gm)].map(([, feature = '']) => feature)
}

/** A package in a folder that others read. */
export interface Published {
  file: string
  sha256: string
}

/**
 * Copies packages into a new folder, with a fixed time of modification, verified
 * after the copy; the caller puts the folder where it belongs.
 *
 * @returns file names and SHA-256, sorted
 */
export async function publish(packages: readonly string[], folder: string): Promise<Published[]> {
  mkdirSync(folder, { recursive: true })
  const published: Published[] = []
  for (const path of [...packages].sort((a, b) => (basename(a) < basename(b) ? -1 : 1))) {
    const target = join(folder, basename(path))
    const aside = asideOf(target)
    copyFileSync(path, aside)
    utimesSync(aside, SOURCE_DATE_EPOCH, SOURCE_DATE_EPOCH)
    await verifyPackage(aside)
    renameSync(aside, target)
    published.push({ file: basename(path), sha256: await sha256File(target) })
  }
  return published
}

/** @returns what a file is of, as packages of Debian (NAME_VERSION) and RPMs (NAME-VERSION) are named */
const nameOf = (file: string): string => file.replace(/[_-]\d.*$/, '')

/**
 * Removes other versions of packages: who installs `NAME_*.deb` would get the last one by its name.
 *
 * @param kept paths of files, that have their names in the folder too
 */
export function removeOthers(folder: string, kept: readonly string[]): void {
  const names = kept.map((path) => basename(path))
  for (const file of listFiles(folder).filter((name) => !names.includes(name) && names.some((other) => nameOf(other) === nameOf(name)))) rmSync(join(folder, file))
}
