// SPDX-License-Identifier: GPL-2.0-only
/** The SRPM of RHEL's kernel with the series in it. */

import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, delimiter, join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { digestTree, listFiles } from '../base/files.ts'
import { log } from '../base/log.ts'
import { quote } from '../base/quote.ts'
import { capture, runLogged } from '../base/run.ts'
import type { Context } from '../build/context.ts'
import { digest, type Facts, type Step } from '../build/step.ts'
import { lostSymbols, parseFragment } from '../kernel/kconfig.ts'
import { APPLIED, requireSaved, touchedFiles, treeGit } from '../kernel/series.ts'
import { injectSpec, setConfig } from '../package/inject.ts'
import { exportSeries } from '../package/rpm-kernel.ts'
import { publish, requireEl6, verifyPackage } from '../package/publish.ts'
import { buildSourcePackage, defineArguments, locationMacros, REPRODUCIBLE, rpmEnvironment, type PackageSource } from '../package/rpm.ts'
import { BUILDID, PACKAGER, SOURCE_DATE_EPOCH } from '../release.ts'
import { sourceFile } from './fetch.ts'
import { step as patch } from './patch.ts'
import { srpmFolder } from './prep.ts'

/** The file of the SRPM that the symbols go into: where it has a value, it goes before `config-generic`. */
const CONFIG = 'config-generic-rhel'

export const step: Step = {
  name: 'srpm',
  scope: 'variant',
  needs: [patch],
  code: ['steps/srpm.ts', 'package/inject.ts', 'package/publish.ts', 'package/rpm.ts', 'package/rpm-kernel.ts'],
  applies: injects,
  inputs: (context) => ({
    stock: sourceFile(context, context.source).sha256,
    spec: digest(injectedSpec(context, [])),
    symbols: [...symbols(context)].flat(),
    release: [BUILDID, SOURCE_DATE_EPOCH, PACKAGER],
  }),
  outputs: (context) => [injectedFolder(context)],
  async run(context) {
    await requireSaved(context, 'the SRPM cannot be made of them')
    const top = join(context.paths.work, `srpm-${context.variant}`)
    try {
      return await inject(context, top)
    } finally {
      rmSync(top, { recursive: true, force: true })
    }
  },
}

/** Where the result stands besides dist, for `make rpm`, which makes dist anew. */
const injectedFolder = (context: Context): string => join(context.paths.work, `injected-${context.variant}`)

/** @returns paths of what was made: one SRPM, none for a target whose kernel is not from one */
export const injectedSrpms = (context: Context): string[] => listFiles(injectedFolder(context)).map((name) => join(injectedFolder(context), name))

/** @returns path of the SRPM that was made */
export function injectedSrpm(context: Context): string {
  const [path] = injectedSrpms(context)
  if (path === undefined) throw new Failure('internal', 'The SRPM was asked for before it was made.')
  return path
}

/** @returns whether the target's kernel comes from an SRPM that the series is put into */
export function injects(context: Context): boolean {
  return context.target.injects !== undefined
}

/** @throws Failure of kind `usage` for a target whose kernel is not from an SRPM */
export function requireSrpm(context: Context): void {
  if (injects(context)) return
  throw new Failure('usage', `The kernel of TARGET=${context.target.name} does not come from an SRPM.`, {
    hint: 'Its own SRPM, which builds on every host, is made by make rpm.',
  })
}

/** What the series adds to the configuration, from the fragments that its kernel is configured with here. */
export function symbols(context: Context): Map<string, string> {
  const { folder = '', fragments = [] } = context.target.injects ?? {}
  const names = [...fragments, ...(context.flavour?.fragments ?? [])]
  const texts = names.map((name) => readFileSync(join(context.paths.root, 'specs', 'kernel', folder, name), 'utf8'))
  return new Map(texts.flatMap(parseFragment))
}

/**
 * Behind the release of the stock kernel, above which it sorts. Of IPVS for debugging,
 * because ".debug" is what RHEL calls its own debug kernel.
 */
export const buildid = (context: Context): string => `${BUILDID}${context.flavour ? `.ipvs${context.flavour.name}` : ''}`

async function inject(context: Context, top: string): Promise<Facts> {
  rmSync(top, { recursive: true, force: true })
  const stock = srpmFolder(context)
  const { version, release } = srpmName(context)
  const patches = await exportSeries(context, join(top, 'series'))
  log.step('srpm', `${patches.length} patches into kernel-${version}-${release}`)
  const spec = injectedSpec(context, patches)
  const config = join(top, CONFIG)
  writeFileSync(config, setConfig(readFileSync(join(stock, CONFIG), 'utf8'), symbols(context)))
  const sources = [...stockSources(stock), { name: CONFIG, path: config }, ...patches]
  const built = await buildSourcePackage(context, { name: 'kernel', spec, sources, topdir: join(top, 'source'), sourceDefines: REPRODUCIBLE })
  await verifyPackage(built)
  await requireEl6(built)
  await requireRelease(built, `${version}-${release}${buildid(context)}`)
  const compared = await prepare(context, built, join(top, 'prep'))
  rmSync(injectedFolder(context), { recursive: true, force: true })
  const [published] = await publish([built], injectedFolder(context))
  return { ...published, patches: patches.length, compared }
}

/** @param patches the files of the series, in order */
function injectedSpec(context: Context, patches: readonly PackageSource[]): string {
  const { version, release } = srpmName(context)
  return injectSpec(readFileSync(join(srpmFolder(context), 'kernel.spec'), 'utf8'), {
    buildid: buildid(context),
    dist: release.replace(/^[\d.]*\d/, ''),
    patches: patches.map(({ name, path }) => ({ file: name, subject: subjectOf(readFileSync(path, 'utf8')) })),
    time: SOURCE_DATE_EPOCH,
    release: `${version}-${release}${buildid(context)}`,
    packager: PACKAGER,
  })
}

/** @returns version and release of the stock kernel */
export function srpmName(context: Context): { version: string; release: string } {
  const [, version = '', release = ''] = /^([^-]*)-(.*)$/.exec(context.srpm?.kernel ?? '') ?? []
  return { version, release }
}

async function nameOf(path: string): Promise<{ version: string; release: string }> {
  const { stdout } = await capture(['rpm', '--query', '--package', '--nosignature', '--queryformat', '%{VERSION} %{RELEASE}', path])
  const [version = '', release = ''] = stdout.split(' ')
  return { version, release }
}

/** @throws Failure of kind `build` when the spec names its kernel otherwise than the packages are called */
async function requireRelease(path: string, wanted: string): Promise<void> {
  const { version, release } = await nameOf(path)
  if (`${version}-${release}` === wanted) return
  throw new Failure('build', `The spec makes kernel-${version}-${release}, but ${wanted} was expected.`)
}

const subjectOf = (mail: string): string => (/^Subject: (?:\[PATCH\] )?(.*(?:\n .*)*)/m.exec(mail)?.[1] ?? '').replaceAll('\n', '')

function stockSources(folder: string): PackageSource[] {
  const names = readdirSync(folder).filter((name) => name !== 'kernel.spec' && name !== CONFIG)
  return names.map((name) => ({ name, path: join(folder, name), executable: (statSync(join(folder, name)).mode & 0o100) !== 0 }))
}

/**
 * Runs the SRPM's own %prep, and compares what it prepares with our tree.
 *
 * @returns how many files were compared
 * @throws Failure of kind `build` when %prep fails, or of kind `patch` when a file or a symbol of the configuration differs
 */
async function prepare(context: Context, source: string, top: string): Promise<number> {
  for (const name of ['tmp', 'db']) mkdirSync(join(top, name), { recursive: true })
  const gpg = mkdtempSync(join(tmpdir(), 'lvs-snat-gpg-'))
  const environment = rpmEnvironment(context, top)
  log.info(`${basename(source)}: %prep, as an EL6 host runs it`)
  try {
    await runLogged(['rpmbuild', '-rp', '--nodeps', '--target', 'x86_64', ...defineArguments(locationMacros(top, context.jobs)), source], {
      env: { ...environment, PATH: [olderGpg(gpg), environment['PATH']].join(delimiter) },
      log: join(context.paths.logs, 'srpm-prep.log'),
      doing: '%prep of the SRPM',
    })
    const tree = preparedTree(top)
    requireConfig(context, tree)
    return await compare(context, tree, join(top, 'wanted'))
  } finally {
    await capture(['gpgconf', '--homedir', join(gpg, 'home'), '--kill', 'gpg-agent'], { anyExit: true, cleanup: true })
    rmSync(gpg, { recursive: true, force: true })
  }
}

/**
 * %prep makes a key for signing modules in the tree, by "gpg --homedir .". gpg 1 of EL6
 * asks for no passphrase there; gpg 2 asks its user, and has sockets in that folder, whose
 * path must not be longer than 107 bytes (unix(7)): it gets a link.
 *
 * @param folder with a short path, where "home" becomes that link
 * @returns the folder, for the PATH
 */
function olderGpg(folder: string): string {
  const script = `#!/bin/sh
PATH=\${PATH#*:}
test "$1" = --homedir && shift 2
ln -sfn "$PWD" ${quote(join(folder, 'home'))}
exec gpg --homedir ${quote(join(folder, 'home'))} --pinentry-mode loopback --passphrase '' "$@"
`
  writeFileSync(join(folder, 'gpg'), script, { mode: 0o755 })
  return folder
}

/**
 * The folder that %prep makes: kernel-VERSION/linux-VERSION.x86_64, beside the pristine
 * "vanilla", in BUILD; with rpm 4.20 and later in a folder of the package's in there.
 */
function preparedTree(top: string): string {
  const build = join(top, 'BUILD')
  const outer = foldersIn(build)
  const trees = [...outer, ...outer.flatMap(foldersIn)].flatMap(foldersIn)
  return trees.find((path) => /^linux-.*\.x86_64$/.test(basename(path))) ?? build
}

const foldersIn = (folder: string): string[] =>
  readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name))

/** @throws Failure of kind `build` when a symbol of the series got lost among the SRPM's configuration files */
function requireConfig(context: Context, tree: string): void {
  const name = 'kernel-2.6.32-x86_64.config'
  const lost = lostSymbols(symbols(context), readFileSync(join(tree, 'configs', name), 'utf8'))
  if (lost.length === 0) return
  throw new Failure('build', `${lost.length} symbols are otherwise in ${name}, which %prep makes, than in ${CONFIG}.`, { excerpt: lost })
}

/** The folder that must be the same as a whole; of others, the files that the series touches. */
const IPVS = 'net/netfilter/ipvs'

async function compare(context: Context, tree: string, wanted: string): Promise<number> {
  const touched = await touchedFiles(context)
  await treeGit(context).unpack(APPLIED, [IPVS, ...touched], wanted)
  const names = new Set([...touched, ...listFiles(join(wanted, IPVS)).map((name) => `${IPVS}/${name}`), ...sources(tree)])
  const different = [...names].filter((name) => digestOf(tree, name) !== digestOf(wanted, name))
  if (different.length === 0) return names.size
  throw new Failure('patch', "%prep of the SRPM does not make the same files as the series on this target's tree.", { excerpt: different })
}

const sources = (tree: string): string[] => listFiles(join(tree, IPVS)).map((name) => `${IPVS}/${name}`)

const digestOf = (folder: string, name: string): string | undefined =>
  existsSync(join(folder, name)) ? digestTree(join(folder, name))[join(folder, name)] : undefined
