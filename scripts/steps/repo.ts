// SPDX-License-Identifier: GPL-2.0-only
/** dist as a package repository, with digests of all that is in it. */

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { asideOf, checksums, clearAsides, listFiles, replaceFolder, sha256File, writeIfChanged } from '../base/files.ts'
import { log } from '../base/log.ts'
import { runLogged } from '../base/run.ts'
import type { Context } from '../build/context.ts'
import { type Facts, type Step } from '../build/step.ts'
import { signedFiles } from '../package/sign.ts'
import { SOURCE_DATE_EPOCH } from '../release.ts'
import { debPackages } from './debs.ts'
import { dkmsPackages } from './dkms.ts'
import { isExportedPatch, step as exportStep } from './export.ts'
import { kmodPackages } from './kmod.ts'
import { step as rpm } from './rpm.ts'
import { injectedSrpms } from './srpm.ts'

/** The folders whose packages are in the repository: no copies for other purposes, and not what a run that was killed has left. */
const PACKAGES = ['RPMS', 'SRPMS']
/** The folders of dist that the checksums cover, besides the exported patch. */
const COVERED = [...PACKAGES, 'repodata']

export const step: Step = {
  name: 'repo',
  scope: 'variant',
  needs: [rpm, exportStep],
  code: ['steps/repo.ts'],
  inputs: () => ({ options: [...OPTIONS] }),
  outputs: (context) => [join(context.paths.dist, 'repodata', 'repomd.xml'), sumsFile(context)],
  async run(context) {
    await createRepository(context)
    return writeSums(context)
  },
}

/**
 * No time of this run and no database whose bytes depend on the library's version; gzip,
 * which yum of EL6 reads too. The files' own times were set when they were published.
 */
const OPTIONS = [
  '--quiet',
  '--revision',
  String(SOURCE_DATE_EPOCH),
  '--set-timestamp-to-revision',
  '--no-database',
  '--general-compress-type=gz',
  '--checksum=sha256',
  '--workers=1',
]

/**
 * @param folder the repository: dist, or the signed copy of it
 * @param folders whose packages are in it
 */
export async function createRepository({ paths }: Context, folder = paths.dist, folders: readonly string[] = PACKAGES): Promise<void> {
  const aside = asideOf(join(folder, 'repodata'))
  mkdirSync(aside)
  try {
    const list = join(aside, 'packages')
    writeFileSync(list, folders.flatMap((name) => listFiles(join(folder, name)).map((path) => `${name}/${path}\n`)).join(''))
    await runLogged(['createrepo_c', ...OPTIONS, '--pkglist', list, '--outputdir', aside, folder], {
      log: join(paths.logs, 'createrepo.log'),
      // Of a full disk it says "file operation error".
      into: folder,
      doing: 'making the RPM repository',
    })
    replaceFolder(join(aside, 'repodata'), join(folder, 'repodata'))
  } finally {
    rmSync(aside, { recursive: true, force: true })
  }
}

/** The signed copy, which only make repo SIGN= makes. */
export const signedFolder = ({ paths }: Context): string => join(paths.dist, 'signed')

export const sumsFile = (context: Context): string => join(context.paths.dist, 'SHA256SUMS')

/** @returns names of the files in dist that the checksums cover */
export function coveredFiles({ paths: { dist } }: Context): string[] {
  const patches = readdirSync(dist).filter(isExportedPatch)
  return [...COVERED.flatMap((folder) => listFiles(join(dist, folder)).map((name) => `${folder}/${name}`)), ...patches].sort()
}

/**
 * What gets a signature is what SHA256SUMS says, or what commands that add to dist have made last.
 *
 * @throws Failure of kind `build` that names the packages of which neither is true
 */
export async function requireMade(context: Context): Promise<void> {
  const { dist } = context.paths
  const listed = new Set(readFileSync(sumsFile(context), 'utf8').split('\n'))
  const added = new Set(await Promise.all([...dkmsPackages(context), ...debPackages(context), ...kmodPackages(context), ...injectedSrpms(context)].map(sha256File)))
  const sums = (await checksums(dist, signedFiles(dist))).split('\n').filter(Boolean)
  const foreign = sums.filter((line) => !listed.has(line) && !added.has(line.slice(0, 64)))
  if (foreign.length === 0) return
  throw new Failure('build', `${dist} has packages that are not as they were made here; nothing was signed.`, {
    excerpt: foreign.map((line) => line.slice(66)),
    hint: `Remove them; make kmod, make deb and make srpm make theirs again, and so does make repo the others: rm -r ${join(dist, 'RPMS')}`,
  })
}

/** Writes dist's SHA256SUMS, which `sha256sum --check` reads. */
async function writeSums(context: Context): Promise<Facts> {
  const names = coveredFiles(context)
  const changed = writeIfChanged(sumsFile(context), await checksums(context.paths.dist, names))
  clearAsides(sumsFile(context))
  log.info(`${names.length} files in ${sumsFile(context)}`)
  if (changed && existsSync(signedFolder(context))) log.warn(`${signedFolder(context)} is of earlier packages; make repo SIGN=KEY makes it anew.`)
  return { files: names.length }
}
