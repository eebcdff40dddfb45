// SPDX-License-Identifier: GPL-2.0-only
/** Source packages of Debian with a series of ours behind Debian's own (format "3.0 (quilt)", dpkg-source(1)). */

import { appendFileSync, chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { callersEnvironment } from '../base/environment.ts'
import { Failure } from '../base/errors.ts'
import { listFiles } from '../base/files.ts'
import { capture, type Captured } from '../base/run.ts'
import { subjectOf } from '../kernel/series.ts'
import { BUILDID, PACKAGER, SOURCE_DATE_EPOCH } from '../release.ts'

/** A source package, and what is to become of it. */
export interface SourceToPatch {
  /** Path of the archive of all its files. */
  archive: string
  /** Paths of the patches, in order. */
  patches: readonly string[]
  /** It grows whenever the same version comes with other patches. */
  build: number
  suite: string
  packaging: Packaging
}

/** What becomes of Debian's packaging. Names are of files in its folder `debian`. */
export interface Packaging {
  /** Files that it does not have. */
  files?: Readonly<Record<string, string>>
  /** Files in place of its own, where it has them. */
  instead?: Readonly<Record<string, string>>
  /** Lines behind those of its files. */
  added?: Readonly<Record<string, string>>
  /** What comes in place of all that matches, in files of its own. */
  replaced?: Readonly<Record<string, readonly (readonly [all: RegExp, text: string])[]>>
  /** Options of debhelper's commands (debhelper(7)), none of which its rules name. */
  options?: Readonly<Record<string, string>>
  /** What none of its files says then, whatever they are called. */
  never?: RegExp
}

export interface PatchedSource {
  /** Paths of all files that the source package consists of; that which names the others comes first. */
  files: string[]
  version: string
}

/** Where the patches are, in debian/patches. */
const SERIES = 'snat'
const QUILT = '3.0 (quilt)'

/**
 * Makes a source package of one of Debian's: our patches behind its own, an entry in its changelog, and the packaging that they need.
 *
 * @param folder for it, and for what it takes
 * @throws Failure of kind `source` for what is no such package, or packaged otherwise, `patch` for a patch that does not fit
 */
export async function patchSource(source: SourceToPatch, folder: string): Promise<PatchedSource> {
  const unpacked = join(folder, 'source')
  mkdirSync(folder, { recursive: true })
  await capture(['tar', '--extract', '--no-same-owner', '--file', source.archive, '--directory', folder], { kind: 'source' })
  await extract(folder, unpacked)
  const { name, version } = newest(readFileSync(join(unpacked, 'debian/changelog'), 'utf8'))
  addPatches(unpacked, source.patches)
  requireFitting(await dpkgSource(folder, '--before-build', unpacked), `${name} ${version}`)
  changePackaging(join(unpacked, 'debian'), source.packaging)
  const ours = debVersion(version, source.build)
  addEntry(join(unpacked, 'debian/changelog'), entry({ name, version: ours, suite: source.suite, patches: source.patches }))
  // Now no patch may need another context than it has any more.
  requireFitting(await dpkgSource(folder, '--build', unpacked), `${name} ${version}`)
  const description = join(folder, `${name}_${withoutEpoch(ours)}.dsc`)
  return { files: [description, ...filesOf(readFileSync(description, 'utf8')).map((file) => join(folder, file))], version: ours }
}

/**
 * Behind every build of Debian's of the same source (1.31-1+b1) and before each next one of it, be that for an update of a
 * stable release (1.31-1+deb12u1) or a revision (1.31-2), whose mends nobody is to miss: deb-version(7) sorts digits before letters.
 *
 * @returns the version of Debian's source package with our build behind it
 */
export const debVersion = (version: string, build: number): string => `${version}+b${BUILDID.slice(1)}.${build}`

/** @returns the version as file names have it */
export const withoutEpoch = (version: string): string => version.replace(/^\d+:/, '')

const dpkgSource = (folder: string, ...words: string[]): Promise<Captured> =>
  capture(['dpkg-source', ...words], { cwd: folder, anyExit: true, env: { ...callersEnvironment(), SOURCE_DATE_EPOCH: String(SOURCE_DATE_EPOCH) } })

/** @throws Failure of kind `source` unless it is one whole source package, with patches that quilt knows */
async function extract(folder: string, unpacked: string): Promise<void> {
  const [description, ...others] = listFiles(folder).filter((file) => file.endsWith('.dsc'))
  if (description === undefined || others.length > 0) throw new Failure('source', 'The archive holds not just one source package of Debian.', { hint: 'All files of one, as apt-get source --download-only leaves them, belong into it, and no folder.' })
  // Who signed it does not count: apt, or the user, has vouched for it.
  const { exitCode, stdout, stderr } = await dpkgSource(folder, '--extract', description, unpacked)
  if (exitCode !== 0) throw new Failure('source', `dpkg-source does not accept ${description}.`, { excerpt: lastLines(`${stdout}${stderr}`) })
  const format = join(unpacked, 'debian/source/format')
  if (existsSync(format) && readFileSync(format, 'utf8').trim() === QUILT) return
  throw new Failure('source', `${description} has no series of patches: its format is not ${QUILT}.`)
}

/** @returns source package and version of a changelog's first entry (deb-changelog(5)) */
function newest(changelog: string): { name: string; version: string } {
  const [, name, version] = /^(\S+) \(([^)\s]+)\)/.exec(changelog) ?? []
  if (name === undefined || version === undefined) throw new Failure('source', 'The changelog of the source package begins with no version.')
  return { name, version }
}

function addPatches(unpacked: string, patches: readonly string[]): void {
  const folder = join(unpacked, 'debian/patches')
  const series = join(folder, 'series')
  mkdirSync(join(folder, SERIES), { recursive: true })
  const before = existsSync(series) ? readFileSync(series, 'utf8') : ''
  for (const path of patches) copyFileSync(path, join(folder, SERIES, basename(path)))
  const names = patches.map((path) => `${SERIES}/${basename(path)}\n`)
  appendFileSync(series, `${before === '' || before.endsWith('\n') ? '' : '\n'}${names.join('')}`)
}

/** @throws Failure of kind `source` where Debian packages otherwise */
function changePackaging(folder: string, { files = {}, instead = {}, added = {}, replaced = {}, options = {}, never }: Packaging): void {
  for (const [file, content] of Object.entries(files)) {
    if (existsSync(join(folder, file))) throw otherwise(`has a ${file} of its own`)
    writeProgram(join(folder, file), content)
  }
  for (const [file, content] of Object.entries(instead)) if (existsSync(join(folder, file))) writeProgram(join(folder, file), content)
  for (const [file, text] of Object.entries(added)) addLines(folder, file, text)
  for (const [file, changes] of Object.entries(replaced)) for (const change of changes) replace(folder, file, change)
  for (const [command, words] of Object.entries(options)) {
    if (readPackaging(folder, 'rules').includes(command)) throw otherwise(`calls ${command} itself, which is to have ${words}`)
    addLines(folder, 'rules', `\noverride_${command}:\n\t${command} ${words}`)
  }
  // Of folders and of what it has said of itself nothing becomes a program.
  const [wrong] = listFiles(folder).filter((file) => !/\/|^(changelog|NEWS)$/.test(file) && never?.test(readPackaging(folder, file)))
  if (wrong !== undefined) throw otherwise(`says ${never} in ${wrong}`)
}

const otherwise = (what: string): Failure => new Failure('source', `The packaging of the source package is another than ours is made for: it ${what}.`)

function readPackaging(folder: string, file: string): string {
  if (!existsSync(join(folder, file))) throw otherwise(`has no ${file}`)
  return readFileSync(join(folder, file), 'utf8')
}

/** Who calls it says by its first line whether it is one. */
function writeProgram(path: string, content: string): void {
  writeFileSync(path, content)
  chmodSync(path, content.startsWith('#!') ? 0o755 : 0o644)
}

function addLines(folder: string, file: string, text: string): void {
  const before = readPackaging(folder, file)
  appendFileSync(join(folder, file), `${before === '' || before.endsWith('\n') ? '' : '\n'}${text}\n`)
}

function replace(folder: string, file: string, [all, text]: readonly [RegExp, string]): void {
  const before = readPackaging(folder, file)
  const after = before.replace(all, () => text)
  if (after === before) throw otherwise(`has no ${all} in ${file}`)
  writeFileSync(join(folder, file), after)
}

/** @throws Failure of kind `patch` that names the patch which does not fit, or `build` if it is not for one */
function requireFitting({ exitCode, stdout, stderr }: Captured, what: string): void {
  if (exitCode === 0) return
  const said = `${stdout}${stderr}`
  const name = /\bpatch '([^']+)' is correctly applied/.exec(said)?.[1]
  if (name === undefined) throw new Failure('build', `dpkg-source makes no source package of ${what}.`, { excerpt: lastLines(said) })
  throw new Failure('patch', `${name.replace(`${SERIES}/`, '')} does not fit ${what} of Debian, behind Debian's own patches.`, { excerpt: lastLines(said) })
}

const lastLines = (text: string): string[] => text.trim().split('\n').slice(-15)

interface Entry {
  name: string
  version: string
  suite: string
  patches: readonly string[]
}

function entry({ name, version, suite, patches }: Entry): string {
  const changes = patches.map((path) => `    - ${subjectOf(readFileSync(path, 'utf8'))}\n`)
  const date = new Date(SOURCE_DATE_EPOCH * 1000).toUTCString().replace('GMT', '+0000')
  return `${name} (${version}) ${suite}; urgency=medium\n\n  * With SNAT in IPVS:\n${changes.join('')}\n -- ${PACKAGER}  ${date}\n\n`
}

const addEntry = (changelog: string, text: string): void => writeFileSync(changelog, `${text}${readFileSync(changelog, 'utf8')}`)

/** @returns names of the files that a description names */
const filesOf = (description: string): string[] =>
  (/^Checksums-Sha256:[ \t]*\n((?: .*\n?)*)/m.exec(description)?.[1] ?? '').split('\n').flatMap((line) => line.trim().split(/\s+/)[2] ?? [])
