// SPDX-License-Identifier: GPL-2.0-only
/** Building RPM packages. Where a package is built leaves no trace in it. */

import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { basename, delimiter, join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { isPlainName } from '../base/files.ts'
import { capture, runLogged } from '../base/run.ts'
import { versionOfFile } from '../base/version.ts'
import type { Context } from '../build/context.ts'
import { inheritedEnvironment } from '../build/environment.ts'
import { BUILD_HOST, SOURCE_DATE_EPOCH } from '../release.ts'
import { verifyPackage } from './publish.ts'

/** A file that goes into a source package. */
export interface PackageSource {
  /** Its name there, as the spec's Source line has it. */
  name: string
  path: string
  /** Whether the spec calls it as a program. */
  executable?: boolean
}

export interface SourceBuild {
  /** Name of the spec file without `.spec`. */
  name: string
  /** The spec's text, with its %global lines filled in. */
  spec: string
  sources: readonly PackageSource[]
  /** Folder for rpmbuild; what is in it is thrown away. */
  topdir: string
  /** Macros besides those that decide where and how fast; for a spec that is not ours, {@link REPRODUCIBLE}. */
  sourceDefines?: Readonly<Record<string, string>>
}

export interface PackageBuild extends SourceBuild {
  /** Macros for building the binary packages, besides those that decide where and how fast. */
  defines?: Readonly<Record<string, string>>
  /** Path of the log of building the binary packages. */
  log: string
  onLine?: (line: string) => void
}

/** Folders with compiler names that are ccache, on Debian and on Fedora. */
const CCACHE_FOLDERS = ['/usr/lib/ccache', '/usr/lib64/ccache']

/**
 * Fills in the `%global NAME VALUE` lines at the top of a spec.
 *
 * @throws Failure of kind `internal` for a name that the spec does not define
 */
export function setGlobals(spec: string, values: Readonly<Record<string, string>>): string {
  let filled = spec
  for (const [name, value] of Object.entries(values)) {
    const line = new RegExp(`^(%global ${name} +).*$`, 'm')
    if (!line.test(filled)) throw new Failure('internal', `The spec has no line "%global ${name}".`)
    filled = filled.replace(line, (_all, start: string) => `${start}${value}`)
  }
  return filled
}

/**
 * Puts lines where the spec has a marker.
 *
 * @throws Failure of kind `internal` for a marker that it does not have
 */
export function fillLines(spec: string, marker: string, lines: readonly string[]): string {
  if (!spec.includes(marker)) throw new Failure('internal', `The spec has no line "${marker}".`)
  return spec.replace(marker, () => lines.join('\n'))
}

/** @throws Failure of kind `patch` for the name of a patch that could not stand in a spec */
export function requirePatchNames(names: readonly string[]): void {
  const odd = names.find((name) => !isPlainName(name))
  if (odd !== undefined) throw new Failure('patch', `The patch file name ${JSON.stringify(odd)} cannot stand in a spec.`)
}

/**
 * @param filename of an upstream tarball, such as `openssl_3.0.22.orig.tar.gz` or `popt-1.19.tar.gz`
 * @throws Failure of kind `source` when the name tells no version
 */
export function upstreamVersion(filename: string): string {
  const version = versionOfFile(filename)
  if (version === undefined) {
    throw new Failure('source', `The name ${filename} does not tell which version it is.`, {
      hint: 'Give the file the name that its project published it under, such as keepalived-2.2.8.tar.gz.',
    })
  }
  return version
}

/** @returns `--define` arguments */
export function defineArguments(values: Readonly<Record<string, string>>): string[] {
  return Object.entries(values).flatMap(([name, value]) => ['--define', `${name} ${value}`])
}

/**
 * What decides where and how fast rpmbuild works, and nothing else. Its own settings
 * for reproducible packages are in the specs, where `rpmbuild --rebuild` finds them.
 *
 * @param topdir rpmbuild's folder
 * @param jobs parallel compile jobs
 */
export function locationMacros(topdir: string, jobs: number): Record<string, string> {
  return {
    _topdir: topdir,
    _tmppath: join(topdir, 'tmp'),
    // Whether the host has packages of its own makes no difference.
    _dbpath: join(topdir, 'db'),
    _smp_mflags: `-j${jobs}`,
  }
}

/** The environment of rpmbuild: ccache by the names of compilers, no settings of the user's. */
export function rpmEnvironment(context: Context, topdir: string): NodeJS.ProcessEnv {
  const inherited = inheritedEnvironment()
  const path = [...CCACHE_FOLDERS.filter((folder) => existsSync(folder)), inherited['PATH'] ?? '', '/usr/sbin', '/sbin']
  return {
    ...inherited,
    PATH: path.join(delimiter),
    HOME: topdir,
    LC_ALL: 'C',
    TZ: 'UTC',
    CCACHE_DIR: context.paths.ccache,
    // No CCACHE_BASEDIR: the relative paths it makes change what __FILE__ says in the kernel.
    CCACHE_NOHASHDIR: '1',
    CCACHE_SLOPPINESS: 'time_macros',
    CCACHE_MAXSIZE: '10G',
  }
}

/** What our specs say themselves, for specs that are not ours: EL6 reads it, and it is the same wherever it is made. */
export const REPRODUCIBLE: Readonly<Record<string, string>> = {
  _buildhost: BUILD_HOST,
  source_date_epoch_from_changelog: '1',
  use_source_date_epoch_as_buildtime: '1',
  clamp_mtime_to_source_date_epoch: '1',
  _rpmformat: '4',
  _source_payload: 'w1.gzdio',
  _source_filedigest_algorithm: '8',
  _srcdefattr: '(-,root,root)',
}

/** Lays out rpmbuild's folder, empty but for the spec and its sources. */
function layOut(build: SourceBuild): void {
  rmSync(build.topdir, { recursive: true, force: true })
  for (const name of ['SOURCES', 'SPECS', 'tmp', 'db']) mkdirSync(join(build.topdir, name), { recursive: true })
  const spec = join(build.topdir, 'SPECS', `${build.name}.spec`)
  writeFileSync(spec, build.spec, { mode: 0o644 })
  const files = [spec]
  for (const source of build.sources) {
    const path = join(build.topdir, 'SOURCES', source.name)
    copyFileSync(source.path, path)
    chmodSync(path, source.executable ? 0o755 : 0o644)
    files.push(path)
  }
  // A source package carries the times of its files.
  for (const path of files) utimesSync(path, SOURCE_DATE_EPOCH, SOURCE_DATE_EPOCH)
}

/**
 * Builds a source package, and from that its binary packages, which therefore are
 * what `rpmbuild --rebuild` gives: rpmbuild writes other tags into packages that it
 * builds from a spec.
 *
 * @returns paths of the packages, the source package first
 * @throws Failure of kind `build`
 */
export async function buildPackages(context: Context, build: PackageBuild): Promise<string[]> {
  const source = await buildSourcePackage(context, build)
  const binary = await rebuildPackage(context, source, {
    topdir: join(build.topdir, 'rebuild'),
    log: build.log,
    ...(build.defines ? { defines: build.defines } : {}),
    ...(build.onLine ? { onLine: build.onLine } : {}),
  })
  const packages = [source, ...binary]
  for (const path of packages) await verifyPackage(path)
  return packages
}

/**
 * Builds a source package alone. It also carries the spec as rpm parsed it, paths
 * expanded. So all paths are relative to the folder that rpmbuild runs in, and the
 * number of jobs is left out.
 *
 * @returns its path
 * @throws Failure of kind `build`
 */
export async function buildSourcePackage(context: Context, build: SourceBuild): Promise<string> {
  layOut(build)
  const location = defineArguments({ ...locationMacros('.', 1), _smp_mflags: '%{nil}', ...build.sourceDefines })
  await capture(['rpmbuild', '-bs', '--nodeps', '--target', 'x86_64', ...location, join('SPECS', `${build.name}.spec`)], {
    cwd: build.topdir,
    env: rpmEnvironment(context, build.topdir),
  })
  const [source] = rpmsIn(join(build.topdir, 'SRPMS'))
  if (source === undefined) throw new Failure('internal', `rpmbuild made no source package of ${build.name}.`)
  return source
}

/** How binary packages are built. */
export interface Rebuild {
  /** Folder for rpmbuild; what is in it is thrown away. */
  topdir: string
  log: string
  defines?: Readonly<Record<string, string>>
  /** Whether nothing counts that was compiled before: ccache's answers may be what is to be found out about. */
  afresh?: boolean
  onLine?: (line: string) => void
}

/**
 * Builds binary packages from a source package, as anyone would who got it.
 *
 * @returns their paths
 * @throws Failure of kind `build`
 */
export async function rebuildPackage(context: Context, source: string, rebuild: Rebuild): Promise<string[]> {
  rmSync(rebuild.topdir, { recursive: true, force: true })
  for (const name of ['tmp', 'db']) mkdirSync(join(rebuild.topdir, name), { recursive: true })
  return runRpmbuild(context, '--rebuild', source, rebuild)
}

/**
 * Builds binary packages of what is compiled already, for a spec whose source package is
 * not published.
 *
 * @returns their paths
 * @throws Failure of kind `build`
 */
export async function buildBinaryPackages(context: Context, build: PackageBuild): Promise<string[]> {
  layOut(build)
  const packages = await runRpmbuild(context, '-bb', join(build.topdir, 'SPECS', `${build.name}.spec`), build)
  for (const path of packages) await verifyPackage(path)
  return packages
}

async function runRpmbuild(context: Context, mode: string, file: string, build: Rebuild): Promise<string[]> {
  const { topdir, log, defines = {}, afresh = false, onLine } = build
  const macros = defineArguments({ ...locationMacros(topdir, context.jobs), ...defines })
  await runLogged(['rpmbuild', mode, '--nodeps', '--target', 'x86_64', ...macros, file], {
    env: { ...rpmEnvironment(context, topdir), ...(afresh ? { CCACHE_RECACHE: '1' } : {}) },
    log,
    doing: `building ${basename(file)}`,
    ...(onLine ? { onLine } : {}),
  })
  return ['noarch', 'x86_64'].flatMap((architecture) => rpmsIn(join(topdir, 'RPMS', architecture)))
}

function rpmsIn(folder: string): string[] {
  if (!existsSync(folder)) return []
  const names = readdirSync(folder).filter((name) => name.endsWith('.rpm'))
  return names.sort().map((name) => join(folder, name))
}
