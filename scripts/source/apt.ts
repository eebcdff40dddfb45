// SPDX-License-Identifier: GPL-2.0-only
/**
 * Sources from the distribution's archive, by apt, without root: apt gets its own
 * state folder and a copy of the host's source list with `deb-src` enabled, or a list of another
 * release of Debian, and verifies every file by its own signature chain (apt-secure(8)).
 */

import { copyFileSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { megabytes } from '../base/download.ts'
import { Failure } from '../base/errors.ts'
import { listFiles } from '../base/files.ts'
import { log } from '../base/log.ts'
import { capture } from '../base/run.ts'
import type { AptSource } from '../sources.ts'
import type { SourcePackage } from './store.ts'

const SOURCE_LISTS = '/etc/apt'
/** Who signs Debian's releases; the package debian-archive-keyring has it, on Ubuntu too. */
const DEBIAN_KEYS = '/usr/share/keyrings/debian-archive-keyring.gpg'
const PROGRESS_MS = 1_000

/** What fetches each kind of source. */
const VERBS: Readonly<Record<AptSource['kind'], readonly string[]>> = {
  binary: ['download'],
  source: ['source', '--download-only', '--tar-only'],
  whole: ['source', '--download-only'],
}

/** What the name of an archive of a whole source package ends with, behind NAME_VERSION. */
export const WHOLE_SOURCE = '.source.tar.xz'

/** What apt says of a file that an archive on a server, or in a folder, does not have. */
const NOT_THERE = /\b404 |File not found/

/** A file that apt delivered and vouches for. */
export interface AptFile {
  path: string
  filename: string
  /** Upstream version of the package; of a whole source package the version that it has. */
  version: string
  /** "package 1.2-3": what it was taken from. */
  from: string
  /** The distribution's patches, if they are wanted; null where the archive names some and does not have them. */
  patches?: { path: string; filename: string } | null
  /** What it is with the patches. */
  package?: SourcePackage
}

/** What an entry says that is to be taken without a good signature. */
const UNSIGNED = {
  list: /^\s*deb(-src)?\s+\[[^\]]*\b(trusted|allow-insecure|allow-weak|allow-downgrade-to-insecure)=(?!no\b)/i,
  sources: /^(Trusted|Allow-Insecure|Allow-Weak|Allow-Downgrade-To-Insecure):(?!\s*no\s*$)/im,
}

/**
 * Makes both kinds of entries of every entry that wants a signature: it vouches for what is fetched.
 * See sources.list(5) for the two formats.
 */
export function withSourceEntries(file: string, content: string): string {
  if (file.endsWith('.sources')) {
    const stanzas = content.split(/\n(?:[ \t]*\n)+/).filter((stanza) => !UNSIGNED.sources.test(stanza))
    return stanzas.join('\n\n').replace(/^Types:.*$/gim, 'Types: deb deb-src')
  }
  const lines = content.split('\n').filter((line) => !UNSIGNED.list.test(line))
  return lines.join('\n').replace(/^deb(?:-src)?\s+(.*)$/gm, (_line, rest: string) => `deb ${rest}\ndeb-src ${rest}`)
}

/** Names of Debian's releases; a list of this host about one of them tells where the archive is. */
const RELEASE = /^(oldstable|stable|testing|unstable|sid|bullseye|bookworm|trixie|forky|duke)$/

/** Debian's archives: which suites of a release each has, and which of an entry tell of it. */
const ARCHIVES = [
  { suites: (suite: string) => [suite, `${suite}-updates`], tells: (suite: string) => RELEASE.test(suite) },
  { suites: (suite: string) => [`${suite}-security`], tells: (suite: string) => suite.endsWith('-security') && RELEASE.test(suite.replace('-security', '')) },
] as const

/** What an entry of a source list says (sources.list(5)). */
interface Entry {
  uri: string
  suites: readonly string[]
  components: readonly string[]
  /** Whose keys vouch for it, if not all that the host trusts. */
  signedBy: string
}

const words = (text = ''): string[] => text.trim().split(/\s+/)

function entriesOf(list: string): Entry[] {
  if (!/^URIs:/im.test(list)) {
    return [...list.matchAll(/^[ \t]*deb(?:-src)?[ \t]+(?:\[([^\]\n]*)\][ \t]*)?(\S+)[ \t]+(\S+)[ \t]*([^#\n]*)/gm)].map(([, options = '', uri = '', suite = '', components]) => (
      { uri, suites: [suite], components: words(components), signedBy: /signed-by=(\S+)/i.exec(options)?.[1] ?? '' }))
  }
  const stanzas = list.replace(/^#.*\n?/gm, '').split(/\n(?:[ \t]*\n)+/)
  return stanzas.flatMap((stanza) => {
    const field = (name: string): string => new RegExp(`^${name}:((?:.*\\n[ \\t])*.*)`, 'im').exec(stanza)?.[1]?.trim() ?? ''
    if (/^no$/i.test(field('Enabled'))) return []
    return words(field('URIs')).map((uri) => ({ uri, suites: words(field('Suites')), components: words(field('Components')), signedBy: field('Signed-By') }))
  })
}

/** A list of mirrors (apt-transport-mirror(1)), which official images for clouds have. */
const MIRRORS = /^mirror\+file:\/*(?=\/)/

/** @returns the first address that can be had by HTTP: the entry's own, or of its list of mirrors */
function addressOf({ uri }: Entry): string | undefined {
  const text = MIRRORS.test(uri) && existsSync(uri.replace(MIRRORS, '')) ? readFileSync(uri.replace(MIRRORS, ''), 'utf8') : uri
  return /^https?:\/\/\S+/m.exec(text)?.[0].replace(/\/$/, '')
}

/**
 * Makes a source list of a release of Debian, at the addresses that the host has of Debian's archives.
 *
 * @param lists the host's own lists
 * @returns it in the form of a `.sources` file; empty where the host has no such address
 */
export function suiteEntries(lists: readonly string[], suite: string): string {
  const known = lists.flatMap(entriesOf).filter(({ components, signedBy }) => components.includes('main') && (signedBy === '' || signedBy.includes('debian-archive')))
  return ARCHIVES.flatMap(({ suites, tells }) => {
    const uri = known.filter((entry) => entry.suites.some(tells)).map(addressOf).find((address) => address !== undefined)
    return uri === undefined ? [] : [`Types: deb deb-src\nURIs: ${uri}\nSuites: ${suites(suite).join(' ')}\nComponents: main\nSigned-By: ${DEBIAN_KEYS}\n`]
  }).join('\n')
}

/** @returns {@link suiteEntries} of this host */
export const suiteList = (suite: string): string => suiteEntries(hostLists().map((file) => readFileSync(file, 'utf8')), suite)

export class Apt {
  readonly #folder: string
  readonly #suite: string | undefined
  readonly #lists: readonly string[]
  #updated = false

  /**
   * @param folder for apt's state; can be kept between runs
   * @param suite the release of Debian, if not the host's own
   * @param lists paths of the source lists
   */
  constructor(folder: string, suite?: string, lists = hostLists()) {
    this.#folder = folder
    this.#suite = suite
    this.#lists = lists
  }

  /** @returns whether this host has apt with a source list, and the keys that it takes */
  async available(): Promise<boolean> {
    if (!existsSync(SOURCE_LISTS)) return false
    if (this.#suite !== undefined && (!existsSync(DEBIAN_KEYS) || suiteList(this.#suite) === '')) return false
    return (await capture(['apt-get', '--version'], { anyExit: true })).exitCode === 0
  }

  /**
   * Fetches the file of a source that the archive has now.
   *
   * @param hint what else the user can do when apt fails
   * @returns the file in `folder`, or undefined when the archive has no such package
   * @throws Failure of kind `source` when the archive has it but it could not be fetched, or what came is not of one version
   */
  async fetch(source: AptSource, folder: string, hint: string): Promise<AptFile | undefined> {
    await this.#update(hint)
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
    if (!(await this.#known(source))) return undefined
    return this.#withProgress(source.package, folder, () => this.#take(source, folder, hint))
  }

  async #take(source: AptSource, folder: string, hint: string): Promise<AptFile> {
    if (source.patches !== undefined && (await this.#takePackage(source, folder, hint))) return this.#withPatches(source, source.patches, folder, hint)
    await this.#apt([...VERBS[source.kind], source.package], folder, hint)
    if (source.kind === 'whole') return this.#pack(source, folder)
    if (source.kind === 'binary') return this.#unpack(source, folder)
    const file = this.#pick(source, folder)
    return source.patches === undefined ? file : { ...file, from: `${file.from} without the distribution's patches, which the archive does not have`, patches: null }
  }

  /** @returns whether the archive has all files of the source package that it names: a mirror may be behind its lists */
  async #takePackage({ package: name }: AptSource, folder: string, hint: string): Promise<boolean> {
    try {
      await this.#apt(['source', '--download-only', name], folder, hint)
      return true
    } catch (error) {
      if (error instanceof Failure && error.details.excerpt?.some((line) => NOT_THERE.test(line))) return false
      throw error
    }
  }

  #withPatches(source: AptSource, pattern: RegExp, folder: string, hint: string): AptFile {
    const { package: name } = source
    const file = this.#pick(source, folder)
    const path = this.#only(folder, pattern, source)
    makePlain(path)
    const version = /^Version: (\S+)$/m.exec(readFileSync(this.#only(folder, /\.dsc$/, source), 'utf8'))?.[1] ?? 'unknown'
    requireVersion(name, version, file.filename, basename(path), hint)
    return {
      ...file,
      from: `source package ${name} ${version}`,
      patches: { path, filename: basename(path) },
      package: { distribution: this.#suite === undefined ? hostDistribution() : 'debian', name, version },
    }
  }

  async #known(source: AptSource): Promise<boolean> {
    const verb = source.kind === 'binary' ? 'show' : 'showsrc'
    const { stdout } = await capture(['apt-cache', ...this.#options(), verb, source.package], { anyExit: true })
    return stdout.includes(`Package: ${source.package}\n`)
  }

  async #unpack(source: AptSource, folder: string): Promise<AptFile> {
    const deb = this.#only(folder, /\.deb$/, source)
    const { stdout: version } = await capture(['dpkg-deb', '--field', deb, 'Version'], { kind: 'source' })
    const unpacked = join(folder, 'unpacked')
    await capture(['dpkg-deb', '--extract', deb, unpacked], { kind: 'source' })
    rmSync(deb)
    const member = listFiles(unpacked).find((name) => source.file.test(name))
    if (member === undefined) throw new Failure('source', `${basename(deb)} has no file that looks like ${source.file}.`)
    return { path: join(unpacked, member), filename: basename(member), version: upstreamPart(version), from: `${source.package} ${version.trim()}` }
  }

  #pick(source: AptSource, folder: string): AptFile {
    const path = this.#only(folder, source.file, source)
    makePlain(path)
    const version = /_([^_]+)\.orig\.tar/.exec(basename(path))?.[1] ?? 'unknown'
    return { path, filename: basename(path), version: upstreamPart(version), from: `source package ${source.package} ${version}` }
  }

  /** One file of all of them, the same each time. */
  async #pack(source: AptSource, folder: string): Promise<AptFile> {
    const description = this.#only(folder, source.file, source)
    const version = /^Version: *(\S+)/m.exec(readFileSync(description, 'utf8'))?.[1] ?? 'unknown'
    const filename = `${basename(description).replace(source.file, '')}${WHOLE_SOURCE}`
    const files = listFiles(folder)
    const path = join(folder, filename)
    await capture([
      ...['tar', '--create', '--dereference', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '--mode=u=rw,go=r'],
      ...['--use-compress-program=xz --threads=1', '--file', path, '--directory', folder, ...files],
    ], { kind: 'source' })
    return { path, filename, version, from: `source package ${source.package} ${version}` }
  }

  #only(folder: string, pattern: RegExp, source: AptSource): string {
    const name = readdirSync(folder).find((candidate) => pattern.test(candidate))
    if (name) return join(folder, name)
    throw new Failure('source', `apt delivered no ${pattern} of ${source.package}.`)
  }

  async #withProgress<T>(name: string, folder: string, work: () => Promise<T>): Promise<T> {
    const timer = setInterval(() => log.progress(`apt: ${name}: ${megabytes(folderSize(folder))}`), PROGRESS_MS)
    try {
      return await work()
    } finally {
      clearInterval(timer)
    }
  }

  async #update(hint: string): Promise<void> {
    if (this.#updated) return
    this.#writeSourceList()
    log.info(`apt: reading the package lists of ${this.#suite ?? 'the distribution'} (in a folder of our own, without root)`)
    await this.#apt(['update'], this.#folder, hint)
    this.#updated = true
  }

  async #apt(argv: readonly string[], cwd: string, hint: string): Promise<void> {
    const { exitCode, stderr } = await capture(['apt-get', '--quiet', ...this.#options(), ...argv], { cwd, anyExit: true })
    if (exitCode === 0) return
    throw new Failure('source', `apt-get ${argv.join(' ')} failed.`, {
      hint: `Check the network and /etc/apt.\n${hint}`,
      excerpt: stderr.trim().split('\n').slice(-8),
    })
  }

  #writeSourceList(): void {
    const parts = join(this.#folder, 'sources.list.d')
    rmSync(parts, { recursive: true, force: true })
    for (const folder of [parts, join(this.#folder, 'lists/partial'), join(this.#folder, 'archives/partial')]) {
      mkdirSync(folder, { recursive: true })
    }
    if (this.#suite !== undefined) {
      writeFileSync(join(parts, 'suite.sources'), suiteList(this.#suite))
      return
    }
    for (const file of this.#lists) writeFileSync(join(parts, basename(file)), withSourceEntries(file, readFileSync(file, 'utf8')))
  }

  #options(): string[] {
    const settings = {
      'Dir::Etc::SourceList': '/dev/null',
      'Dir::Etc::SourceParts': join(this.#folder, 'sources.list.d'),
      'Dir::State::Lists': join(this.#folder, 'lists'),
      'Dir::Cache': this.#folder,
      'Dir::Cache::Archives': join(this.#folder, 'archives'),
      'APT::Sandbox::User': '',
      'Acquire::Retries': '3',
      'Acquire::Languages': 'none',
      // Whatever the host allows: an archive without a good signature vouches for nothing.
      'APT::Get::AllowUnauthenticated': 'false',
      'Acquire::AllowInsecureRepositories': 'false',
      'Acquire::AllowWeakRepositories': 'false',
      'Acquire::AllowDowngradeToInsecureRepositories': 'false',
    }
    return Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`])
  }
}

/**
 * Wants names as dpkg-source(1) makes them of one version, the format "3.0 (quilt)".
 *
 * @throws Failure of kind `source` for what is of another
 */
function requireVersion(name: string, version: string, tarball: string, patches: string, hint: string): void {
  const full = version.replace(/^\d+:/, '')
  const odd = tarball.startsWith(`${name}_${full.replace(/-[^-]*$/, '')}.orig.`) ? patches : tarball
  if (odd === patches && patches.startsWith(`${name}_${full}.debian.`)) return
  throw new Failure('source', `apt delivered ${odd}, which is not of ${name} ${version}.`, { hint: `The archive may be changing: try again later.\n${hint}` })
}

/** @returns whose archives the host takes packages from, by its ID in os-release(5) */
const hostDistribution = (): string => /^ID="?([\w.-]+)"?$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'debian'

/** @returns paths of the host's source lists */
function hostLists(): string[] {
  const extra = join(SOURCE_LISTS, 'sources.list.d')
  const files = [join(SOURCE_LISTS, 'sources.list'), ...(existsSync(extra) ? readdirSync(extra).map((name) => join(extra, name)) : [])]
  return files.filter((file) => /\.(list|sources)$/.test(file) && existsSync(file) && statSync(file).isFile())
}

/** "1.19+dfsg-2" or "1:2.2.7-1" without epoch, Debian revision and repacking suffix (deb-version(7)). */
export function upstreamPart(version: string): string {
  return version
    .trim()
    .replace(/^\d+:/, '')
    .replace(/-[^-]*$/, '')
    .replace(/[+~](dfsg|ds|repack).*$/, '')
}

/** Of an archive in a folder (`file:`), such as a disc's, apt leaves a link to what the archive has, which others may change or take away. */
function makePlain(path: string): void {
  if (!lstatSync(path).isSymbolicLink()) return
  const from = realpathSync(path)
  rmSync(path)
  copyFileSync(from, path)
}

function folderSize(folder: string): number {
  let size = 0
  for (const name of readdirSync(folder)) {
    const stat = statSync(join(folder, name), { throwIfNoEntry: false })
    if (stat?.isFile()) size += stat.size
    else if (stat?.isDirectory()) size += folderSize(join(folder, name))
  }
  return size
}
