// SPDX-License-Identifier: GPL-2.0-only
/** A release: what dist has of all targets, in one folder, with what tells of it. */

import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { asideOf, checksums, clearAsides, listFiles, replaceFolder, sha256File } from '../base/files.ts'
import { log } from '../base/log.ts'
import { capture } from '../base/run.ts'
import { type Context, contextFor, RELEASES, type Variable } from '../build/context.ts'
import { bring, type Facts, type Step } from '../build/step.ts'
import { requireVersion, type Version } from '../build/tag.ts'
import { toolVersions } from '../build/toolversions.ts'
import { publish } from '../package/publish.ts'
import { copyFiles, KEY_FILE, setTime, signFile, signPackages, writeKey } from '../package/sign.ts'
import { fetchedSources, step as all } from '../steps/all.ts'
import { debPackages, debSourceFiles, fetchDebs, step as debs } from '../steps/debs.ts'
import { DKMS_TARGETS, dkmsPackage, dkmsRpms, step as dkms } from '../steps/dkms.ts'
import { isWithoutPatches, step as fetch } from '../steps/fetch.ts'
import { coveredFiles, createRepository, sumsFile } from '../steps/repo.ts'
import { TARGETS } from '../targets.ts'
import { describeRelease } from './facts.ts'

/** The folder of the packages that are for the kernels of several targets. */
const DKMS = 'dkms'
/** The folder of a signed copy, in that of a target. */
const SIGNED = 'signed'
const SUMS = 'SHA256SUMS'
/** The folder of packages of Debian, in that of a target. */
const DEB_FOLDER = 'DEBS'
/** And that of their source packages. */
const DSC_FOLDER = 'DSCS'
/** What WITHOUT= calls those of the tools. */
const DEBS = 'deb'

/** What a release is not made otherwise for. */
const ABOUT_ONE: readonly Variable[] = ['TARGET', 'KERNEL', 'CONFIG', 'SRPM', 'SRPM_SHA256']

/**
 * @returns the targets that are released, in the order of their table
 * @throws Failure of kind `usage` for WITHOUT= that names others, or all, and for what is about one target
 */
export function releasedContexts(context: Context): Context[] {
  const { variables, flavour } = context
  const given = [...ABOUT_ONE.filter((name) => variables[name]), ...(flavour ? [flavour.variable] : [])]
  if (given.length > 0) throw new Failure('usage', `A release has every target as it is: ${given.join(' and ')} mean nothing for it.`, { hint: 'WITHOUT= names targets that are left out; make fetch brings the source of one.' })
  const without = leftOut(context)
  const unknown = without.find((name) => name !== DEBS && !TARGETS.some((target) => target.name === name))
  if (unknown !== undefined) throw new Failure('usage', `WITHOUT= names "${unknown}", which is no target.`, { hint: `Targets: ${TARGETS.map(({ name }) => name).join(', ')}; and ${DEBS}, what make deb makes` })
  const released = TARGETS.filter(({ name }) => !without.includes(name))
  if (released.length === 0) throw new Failure('usage', 'WITHOUT= names all targets: there is nothing left to release.')
  return released.map(({ name }) => contextFor(context, name))
}

const leftOut = ({ variables }: Context): string[] => (variables.WITHOUT ?? '').split(',').filter(Boolean)

/** @returns those of some targets for whose Debian there are packages of the tools */
const debContexts = (context: Context, contexts: readonly Context[]): Context[] => (leftOut(context).includes(DEBS) ? [] : contexts.filter(({ target }) => target.stock))

/** The package for DKMS holds the sources of all lines that it is for. */
const hasDkms = (context: Context): boolean => DKMS_TARGETS.every((name) => !leftOut(context).includes(name))

/** Of each target what is left out with it, for messages. */
export const saysLeftOut = (context: Context): string[] => [
  ...leftOut(context).map((name) => (name === DEBS ? 'ipvsadm and keepalived for Debian' : `TARGET=${name}`)),
  ...(hasDkms(context) ? [] : [`the package for DKMS, which is for ${DKMS_TARGETS.join(' and ')}`]),
]

/**
 * Brings the sources of all targets, before anything is built of one.
 *
 * @throws Failure of kind `source` that names all targets whose sources there are not, or libraries without the patches that they should have
 */
export async function requireSources(context: Context): Promise<void> {
  const contexts = releasedContexts(context)
  const wanted = [
    ...contexts.map((each) => ({ of: each, step: fetch, name: each.target.name, left: each.target.name })),
    ...debContexts(context, contexts).map((each) => ({ of: each, step: fetchDebs, name: `${DEBS} of ${each.target.name}`, left: DEBS })),
  ]
  const lacking: { name: string; left: string; error: Failure }[] = []
  for (const { of, step, name, left } of wanted) {
    try {
      await bring(of, step)
    } catch (error) {
      if (!(error instanceof Failure) || error.kind !== 'source') throw error
      lacking.push({ name, left, error })
    }
  }
  if (lacking.length === 0) return requirePatches(contexts)
  const names = [...new Set(lacking.map(({ left }) => left))].join(',')
  throw new Failure('source', `Nothing is released: there are no sources for ${names}.`, {
    excerpt: lacking.map(({ name, error }) => `${name}: ${error.message}`),
    hint: [`Bring them by make fetch TARGET=NAME (make fetch-help), or say that it is to be without: WITHOUT=${names}`, ...lacking.map(({ error }) => error.details.hint ?? '')].filter(Boolean).join('\n'),
  })
}

/** A build does without what a mirror does not have yet, and says so; what is published is for others. */
function requirePatches(contexts: readonly Context[]): void {
  const names = [...new Set(contexts.flatMap(fetchedSources).filter(isWithoutPatches).map(({ name }) => name))]
  if (names.length === 0) return
  throw new Failure('source', `Nothing is released: ${names.join(' and ')} came without the security patches of the distribution, whose archive does not have them.`, {
    hint: `make distclean purge && make fetch asks for them again.\nTo release it as upstream has it, bring the file and name it: ${names.map((name) => `SOURCE=${name}=PATH`).join(', ')}`,
  })
}

/** @returns the folder of the release that VERSION= names */
export const releaseFolder = ({ paths, variables }: Context): string => join(paths.root, 'dist', RELEASES, variables.VERSION ?? '')

/** @returns the step that makes the release of the context's variables */
export function releaseStep(context: Context): Step {
  const contexts = releasedContexts(context)
  return {
    name: 'release',
    scope: 'checkout',
    needs: [],
    after: [
      ...contexts.map(({ target }) => stepOf(all, target.name)),
      ...(hasDkms(context) ? [dkms] : []),
      ...debContexts(context, contexts).map(({ target }) => stepOf(debs, target.name)),
    ],
    code: ['collect/release.ts', 'collect/facts.ts', 'package/describe.ts', 'package/provenance.ts', 'package/publish.ts', 'package/sbom.ts', 'package/sign.ts'],
    inputs: async () => ({
      version: await requireVersion(context),
      targets: Object.fromEntries(await Promise.all(contexts.map(async (each) => [each.target.name, await sha256File(sumsFile(each))] as const))),
      dkms: hasDkms(context) ? await Promise.all([dkmsPackage(context), ...dkmsRpms(context)].map(sha256File)) : null,
      debs: await Promise.all(debContexts(context, contexts).flatMap(debPackages).map(sha256File)),
      tools: await toolVersions(),
    }),
    outputs: () => [join(releaseFolder(context), SUMS)],
    run: () => collect(context, contexts),
  }
}

/** @returns the step as it is brought for a target */
const stepOf = (step: Step, target: string): Step => ({ ...step, context: (given) => contextFor(given, target) })

/** The folder is complete, and was looked through, before it gets its name. */
async function collect(context: Context, contexts: readonly Context[]): Promise<Facts> {
  const folder = releaseFolder(context)
  const version = await requireVersion(context)
  log.step('release', `${version.version} of ${contexts.map(({ target }) => target.name).join(', ')}`)
  mkdirSync(dirname(folder), { recursive: true })
  const aside = asideOf(folder)
  mkdirSync(aside)
  try {
    for (const each of contexts) await collectTarget(each, join(aside, each.variant))
    for (const each of debContexts(context, contexts)) await collectDebs(each, join(aside, each.variant))
    if (hasDkms(context)) await collectDkms(context, join(aside, DKMS))
    writeFileSync(join(aside, 'CHANGELOG.md'), `# lvs-snat ${version.version}\n\n${version.changes}\n`)
    await writeFacts(context, contexts, version, aside)
    const files = listFiles(aside)
    writeFileSync(join(aside, SUMS), await checksums(aside, files))
    for (const name of listFiles(aside)) setTime(join(aside, name))
    await verifyRelease(aside)
    replaceFolder(aside, folder)
    log.info(`${files.length} files in ${folder}`)
    return { files: files.length }
  } finally {
    rmSync(aside, { recursive: true, force: true })
  }
}

/** Of a target: packages, repository and patch, and the checksums that they have in dist. */
async function collectTarget(context: Context, folder: string): Promise<void> {
  const names = coveredFiles(context)
  copyFiles(context.paths.dist, folder, names)
  const sums = await checksums(folder, names)
  if (sums !== readFileSync(sumsFile(context), 'utf8')) {
    throw new Failure('build', `${context.paths.dist} is not what its SHA256SUMS says.`, { hint: `Remove it; the same command makes it again: rm -r ${context.paths.dist}` })
  }
  writeFileSync(join(folder, SUMS), sums)
}

/** Their checksums come behind those that the target has in dist. */
async function collectDebs(context: Context, folder: string): Promise<void> {
  const published = await publish(debPackages(context), join(folder, DEB_FOLDER))
  for (const path of debSourceFiles(context)) copyFiles(dirname(path), join(folder, DSC_FOLDER), [basename(path)])
  const names = [...published.map(({ file }) => join(DEB_FOLDER, file)), ...listFiles(join(folder, DSC_FOLDER)).map((file) => join(DSC_FOLDER, file))]
  appendFileSync(join(folder, SUMS), await checksums(folder, names))
}

async function collectDkms(context: Context, folder: string): Promise<void> {
  const [binary = '', source = ''] = dkmsRpms(context)
  await publish([dkmsPackage(context)], join(folder, DEB_FOLDER))
  await publish([binary], join(folder, 'RPMS', 'noarch'))
  await publish([source], join(folder, 'SRPMS'))
  await createRepository(context, folder)
}

/** What tells of the files that are there: a list, the bill of materials, and how they were made. */
async function writeFacts(context: Context, contexts: readonly Context[], version: Version, folder: string): Promise<void> {
  const lines = DKMS_TARGETS.filter(() => hasDkms(context)).map((name) => contextFor(context, name))
  const packaged = debContexts(context, contexts)
  const facts = await describeRelease({ context, contexts, dkms: { contexts: lines, folder: join(folder, DKMS) }, debs: packaged, version, folder, without: leftOut(context) })
  const write = (name: string, content: unknown): void => writeFileSync(join(folder, name), `${JSON.stringify(content, null, 2)}\n`)
  write('manifest.json', facts.manifest)
  write(`lvs-snat-${version.version}.spdx.json`, facts.sbom)
  // The statement is about all files but itself and their checksums.
  const files = listFiles(folder)
  const digests = new Map(await Promise.all(files.map(async (name) => [name, await sha256File(join(folder, name))] as const)))
  write(`lvs-snat-${version.version}.intoto.json`, await facts.statement(digests))
}

/**
 * Looks through a release as its users do.
 *
 * @throws Failure of kind `build` when a file is missing, is another, or is not told of
 */
export async function verifyRelease(folder: string): Promise<void> {
  const { exitCode, stdout, stderr } = await capture(['sha256sum', '--check', '--strict', '--quiet', SUMS], { cwd: folder, anyExit: true })
  const told = new Set(readFileSync(join(folder, SUMS), 'utf8').split('\n').map((line) => line.slice(66)))
  const packaged = new Set([...told].map((name) => name.split('/')[0] ?? ''))
  const untold = listFiles(folder).filter((name) => !told.has(name) && !isSignature(name, packaged))
  if (exitCode === 0 && untold.length === 0) return
  throw new Failure('build', `${folder} is not what its ${SUMS} says.`, { excerpt: [...`${stdout}${stderr}`.split('\n').filter(Boolean), ...untold.map((name) => `${name}: not told of`)] })
}

/** Signatures differ each time, and vouch for themselves. */
function isSignature(name: string, packaged: ReadonlySet<string>): boolean {
  const [folder = '', copy] = name.split('/')
  return [SUMS, `${SUMS}.asc`, KEY_FILE].includes(name) || (copy === SIGNED && packaged.has(folder))
}

const packagedFolders = (context: Context): string[] =>
  [...releasedContexts(context).map(({ variant }) => variant), DKMS].map((name) => join(releaseFolder(context), name)).filter((path) => existsSync(path))

/** Removes signatures of an earlier run, and what one that was killed has left of them. */
export function clearSignatures(context: Context): void {
  const folder = releaseFolder(context)
  for (const path of [...packagedFolders(context).map((each) => join(each, SIGNED)), join(folder, `${SUMS}.asc`), join(folder, KEY_FILE)]) {
    clearAsides(path)
    rmSync(path, { recursive: true, force: true })
  }
}

/**
 * Adds what the key vouches for: signed copies of the packages with their repositories, and a signature of the checksums.
 *
 * @param signer what `requireKey` has returned
 */
export async function signRelease(context: Context, signer: string): Promise<void> {
  const folder = releaseFolder(context)
  for (const path of packagedFolders(context)) await signPackages(path, join(path, SIGNED), signer, (where, folders) => createRepository(context, where, folders))
  await signFile(join(folder, SUMS), signer)
  await writeKey(folder, signer)
}
