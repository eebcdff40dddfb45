// SPDX-License-Identifier: GPL-2.0-only
/**
 * Sources from the distribution's archive, by apt, without root: apt gets its own
 * state folder and a copy of the host's source list with `deb-src` enabled, and
 * verifies every file by its own signature chain (apt-secure(8)).
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { megabytes } from '../base/download.ts'
import { Failure } from '../base/errors.ts'
import { listFiles } from '../base/files.ts'
import { log } from '../base/log.ts'
import { capture } from '../base/run.ts'
import type { AptSource } from '../sources.ts'

const SOURCE_LISTS = '/etc/apt'
const PROGRESS_MS = 1_000

/** A file that apt delivered and vouches for. */
export interface AptFile {
  path: string
  filename: string
  /** Upstream version of the package. */
  version: string
  /** "package 1.2-3": what it was taken from. */
  from: string
}

/** Makes both kinds of entries of every entry; see sources.list(5) for the two formats. */
export function withSourceEntries(file: string, content: string): string {
  if (file.endsWith('.sources')) return content.replace(/^Types:.*$/gim, 'Types: deb deb-src')
  return content.replace(/^deb(?:-src)?\s+(.*)$/gm, (_line, rest: string) => `deb ${rest}\ndeb-src ${rest}`)
}

export class Apt {
  readonly #folder: string
  #updated = false

  /** @param folder for apt's state; can be kept between runs */
  constructor(folder: string) {
    this.#folder = folder
  }

  /** @returns whether this host has apt with a source list */
  static async available(): Promise<boolean> {
    if (!existsSync(SOURCE_LISTS)) return false
    return (await capture(['apt-get', '--version'], { anyExit: true })).exitCode === 0
  }

  /**
   * Fetches the file of a source that the archive has now.
   *
   * @param hint what else the user can do when apt fails
   * @returns the file in `folder`, or undefined when the archive has no such package
   * @throws Failure of kind `source` when the archive has it but it could not be fetched
   */
  async fetch(source: AptSource, folder: string, hint: string): Promise<AptFile | undefined> {
    await this.#update(hint)
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
    if (!(await this.#known(source))) return undefined
    const verb = source.kind === 'binary' ? ['download'] : ['source', '--download-only', '--tar-only']
    await this.#withProgress(source.package, folder, () => this.#apt([...verb, source.package], folder, hint))
    return source.kind === 'binary' ? this.#unpack(source, folder) : this.#pick(source, folder)
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
    const version = /_([^_]+)\.orig\.tar/.exec(basename(path))?.[1] ?? 'unknown'
    return { path, filename: basename(path), version: upstreamPart(version), from: `source package ${source.package} ${version}` }
  }

  #only(folder: string, pattern: RegExp, source: AptSource): string {
    const name = readdirSync(folder).find((candidate) => pattern.test(candidate))
    if (name) return join(folder, name)
    throw new Failure('source', `apt delivered no ${pattern} of ${source.package}.`)
  }

  async #withProgress(name: string, folder: string, work: () => Promise<void>): Promise<void> {
    const timer = setInterval(() => log.progress(`apt: ${name}: ${megabytes(folderSize(folder))}`), PROGRESS_MS)
    try {
      await work()
    } finally {
      clearInterval(timer)
    }
  }

  async #update(hint: string): Promise<void> {
    if (this.#updated) return
    this.#writeSourceList()
    log.info("apt: reading the distribution's package lists (in a folder of our own, without root)")
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
    const main = join(SOURCE_LISTS, 'sources.list')
    const extra = join(SOURCE_LISTS, 'sources.list.d')
    const files = existsSync(extra) ? readdirSync(extra).map((name) => join(extra, name)) : []
    for (const file of [main, ...files]) {
      if (!/\.(list|sources)$/.test(file) || !existsSync(file) || !statSync(file).isFile()) continue
      writeFileSync(join(parts, basename(file)), withSourceEntries(file, readFileSync(file, 'utf8')))
    }
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
    }
    return Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`])
  }
}

/** "1.19+dfsg-2" or "1:2.2.7-1" without epoch, Debian revision and repacking suffix (deb-version(7)). */
export function upstreamPart(version: string): string {
  return version
    .trim()
    .replace(/^\d+:/, '')
    .replace(/-[^-]*$/, '')
    .replace(/[+~](dfsg|ds|repack).*$/, '')
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
