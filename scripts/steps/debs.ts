// SPDX-License-Identifier: GPL-2.0-only
/** Packages of ipvsadm and keepalived for Debian, as Debian packages them itself, with our series in them. */

import { mkdirSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { listFiles, sha256File } from '../base/files.ts'
import { log } from '../base/log.ts'
import { quote } from '../base/quote.ts'
import type { Context } from '../build/context.ts'
import type { Facts, Json, Step } from '../build/step.ts'
import { patchesFolder, readSeries, seriesOf } from '../kernel/series.ts'
import { packagingOf } from '../package/deb-packaging.ts'
import { patchSource, withoutEpoch } from '../package/deb.ts'
import { publish } from '../package/publish.ts'
import { copyFiles } from '../package/sign.ts'
import { DEBIAN_REQUIREMENTS, DEB_REQUIREMENTS } from '../packages.ts'
import { BUILDID, PACKAGER, SOURCE_DATE_EPOCH } from '../release.ts'
import { upstreamPart, WHOLE_SOURCE } from '../source/apt.ts'
import type { Stored } from '../source/store.ts'
import { debianSource } from '../sources.ts'
import { TREES } from '../trees.ts'
import { debianOf } from './disk.ts'
import { bringVerified, fetchStep, sourceFile } from './fetch.ts'
import { aptHook, installDebian } from './stock.ts'
import { PACKAGED, type PackagedTool } from './tools.ts'

const sourceName = (context: Context, { name }: PackagedTool): string => debianSource(name, debianOf(context).suite)

/** The source packages of the target's Debian. */
export const fetchDebs: Step = fetchStep('fetch-debs', (context) => PACKAGED.map((tool) => sourceName(context, tool)))

const DEB_STEPS = PACKAGED.map(debStep)

export const step: Step = {
  name: 'deb',
  scope: 'target',
  needs: DEB_STEPS,
  code: ['steps/debs.ts'],
  inputs: () => null,
  outputs: () => [],
  run: async () => ({}),
}

/** @returns the folder of a tool's packages, and nothing else */
const debFolder = ({ paths }: Context, { name }: PackagedTool): string => join(paths.work, 'debs', name)

/** @returns paths of the packages that were made last, if any were */
export const debPackages = (context: Context): string[] =>
  PACKAGED.flatMap((tool) => listFiles(debFolder(context, tool)).map((name) => join(debFolder(context, tool), name)))

/** @returns the folder of the source package that a tool's was built from */
const madeFolder = ({ paths }: Context, { name }: PackagedTool): string => join(paths.work, 'deb-sources', name)

/** @returns paths of all files of the source packages that they were built from: what has the licence of the tools is published with its source */
export const debSourceFiles = (context: Context): string[] =>
  PACKAGED.flatMap((tool) => listFiles(madeFolder(context, tool)).map((name) => join(madeFolder(context, tool), name)))

/** @returns the source packages that they were made of, by the name of the package */
export const debSources = (context: Context): Record<string, Stored> =>
  Object.fromEntries(PACKAGED.map((tool) => [tool.name, sourceFile(context, sourceName(context, tool), fetchDebs)]))

/** What builds a package in a Debian with all that it takes, below {@link PLACE}. */
const PLACE = '/build'
const BUILD = `cd ${PLACE}
dpkg-source --extract "$1" source
cd source
dpkg-buildpackage --build=binary --no-sign
mkdir ../debs
mv ../*.deb ../debs`
/** No packages of debugging symbols. */
const OPTIONS = ['noautodbgsym']

/** One step a tool, so that a change in one does not build the other again. */
function debStep(tool: PackagedTool): Step {
  return {
    name: `deb-${tool.name}`,
    scope: 'target',
    needs: [],
    after: [fetchDebs],
    host: [...DEBIAN_REQUIREMENTS, ...DEB_REQUIREMENTS],
    code: ['steps/debs.ts', 'steps/stock.ts', 'package/deb.ts', 'package/deb-packaging.ts', 'package/publish.ts', 'package/sign.ts'],
    inputs: async (context) => ({
      ...debianOf(context),
      source: sourceFile(context, sourceName(context, tool), fetchDebs).sha256,
      patches: await Promise.all(debPatches(context, tool).map(sha256File)),
      packaging: { ...packagingOf(context.paths.root, tool.name), replaced: null, never: null } as Json,
      release: [tool.build, BUILDID, PACKAGER, SOURCE_DATE_EPOCH],
    }),
    outputs: (context) => [debFolder(context, tool), madeFolder(context, tool)],
    run: (context) => build(context, tool),
  }
}

/**
 * @returns paths of the patches that are made for the version which Debian has
 * @throws Failure of kind `patch` if there are none: the package would be Debian's own
 */
function debPatches(context: Context, tool: PackagedTool): string[] {
  const { filename } = sourceFile(context, sourceName(context, tool), fetchDebs)
  const version = upstreamPart(filename.replace(WHOLE_SOURCE, '').replace(/^[^_]*_/, ''))
  const tree = TREES.find(({ name }) => name === tool.name)
  const series = tree && seriesOf(tree, version)
  if (series) return readSeries(join(patchesFolder(context), series.folder))
  throw new Failure('patch', `No series is made for ${tool.name} ${version}, which ${debianOf(context).distribution} has.`)
}

async function build(context: Context, tool: PackagedTool): Promise<Facts> {
  const { distribution, suite } = debianOf(context)
  const folder = debFolder(context, tool)
  const work = `${folder}.work`
  for (const path of [work, folder, madeFolder(context, tool)]) rmSync(path, { recursive: true, force: true })
  try {
    const { path } = await bringVerified(context, sourceName(context, tool), fetchDebs)
    const { files, version } = await patchSource({ archive: path, patches: debPatches(context, tool), build: tool.build, suite, packaging: packagingOf(context.paths.root, tool.name) }, join(work, 'patched'))
    log.step('deb', `${tool.name} ${version} for ${distribution}`)
    await compile(context, { name: `deb-${tool.name}`, suite, files, folder: work })
    const built = join(work, PLACE, 'debs')
    const packages = listFiles(built).map((name) => join(built, name))
    requirePackage(packages, tool, version)
    copyFiles(join(work, 'patched'), madeFolder(context, tool), files.map((file) => basename(file)))
    const published = await publish(packages, folder)
    return { version, packages: published as unknown as Json }
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

interface Compilation {
  name: string
  suite: string
  /** Of the source package. */
  files: readonly string[]
  /** Where its packages come to be. */
  folder: string
}

async function compile(context: Context, { name, suite, files, folder }: Compilation): Promise<void> {
  const description = basename(files[0] ?? '')
  // Nothing of this host's, and of who builds here, is to decide what comes out.
  const environment = ['PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL=C.UTF-8', 'HOME=/nonexistent', `DEB_BUILD_OPTIONS=${[...OPTIONS, `parallel=${context.jobs}`].join(' ')}`]
  const hooks = [
    `mkdir "$1${PLACE}"`,
    `copy-in ${files.map(quote).join(' ')} ${PLACE}`,
    aptHook('build-dep', join(PLACE, description)),
    `chroot "$1" ${['env', '-i', ...environment, 'sh', '-e', '-c', BUILD, 'sh', description].map(quote).join(' ')}`,
  ]
  mkdirSync(folder, { recursive: true })
  await installDebian(context, { name, suite, packages: ['build-essential'], hooks, kept: [`.${PLACE}/debs`], folder, doing: `building ${name}` })
}

/** @throws Failure of kind `build` unless the one package of the tool came out */
function requirePackage(packages: readonly string[], tool: PackagedTool, version: string): void {
  const wanted = `${tool.name}_${withoutEpoch(version)}_amd64.deb`
  if (packages.length === 1 && basename(packages[0] ?? '') === wanted) return
  throw new Failure('build', `Of ${tool.name} came ${packages.map((path) => basename(path)).join(', ') || 'nothing'}, and not ${wanted}.`)
}
