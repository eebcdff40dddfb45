// SPDX-License-Identifier: GPL-2.0-only
/** The pristine source as a git work tree. */

import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { asideOf, clearAsides, replaceFolder, writeIfChanged } from '../base/files.ts'
import { Git } from '../base/git.ts'
import { log } from '../base/log.ts'
import { requireUninterrupted, runLogged } from '../base/run.ts'
import { kernelVersion } from '../base/version.ts'
import { isKernel, OUTPUT, type Context } from '../build/context.ts'
import { withSharedThing } from '../build/lock.ts'
import { codeDigest, readStamp, type Facts, type Json, type Step } from '../build/step.ts'
import { IPVS_SOURCES, RECOGNISED_BY, recognise } from '../kernel/family.ts'
import { PRISTINE, requireSaved } from '../kernel/series.ts'
import { upstreamVersion } from '../package/rpm.ts'
import { prepareTree, unpackSrpm } from '../source/srpm.ts'
import type { Family } from '../targets.ts'
import type { Stored } from '../source/store.ts'
import { bringVerified, sourceFile, step as fetch } from './fetch.ts'

/** The modules that make the pristine source of a tarball or source package. */
const CODE = ['steps/prep.ts', 'kernel/family.ts', 'source/srpm.ts']

export const step: Step = {
  ...RECOGNISED_BY,
  needs: [],
  code: CODE,
  after: [fetch],
  inputs: (context) => ({ source: sourceFile(context, context.source).sha256, ...(isKernel(context) ? { families: context.target.families as unknown as Json } : {}) }),
  outputs: (context) => [join(context.paths.tree, '.git'), pristineOf(context), ...(context.srpm ? [srpmFolder(context)] : [])],
  async run(context): Promise<Facts> {
    const pristine = pristineOf(context)
    await withSharedThing(context, `pristine-${basename(pristine)}`, 'import of this source', async () => {
      if (!isImported(context, pristine)) await importSource(context, pristine)
      writeIfChanged(recipeOf(pristine), codeDigest(CODE))
    })
    const family = isKernel(context) ? await recogniseCommitted(context, pristine) : undefined
    await checkOut(context, pristine)
    if (!family) return { version: upstreamVersion(sourceFile(context, context.source).filename) }
    return { version: kernelVersion(readFileSync(join(context.paths.tree, 'Makefile'), 'utf8')), revision: revisionOf(sourceFile(context, context.source)), family: family.name }
  },
}

/** @returns the distribution's revision of a source: its security updates may change only that; 1 of what nobody has revised */
export const revisionOf = ({ origin, from }: Pick<Stored, 'origin' | 'from'>): string => (origin === 'apt' ? /-([\w.+~]+)$/.exec(from)?.[1] : undefined) ?? '1'

/** @returns what the prepared source is known as: "6.1.192", or "2.6.32-279.el6" */
export const sourceVersion = (context: Context): string => context.srpm?.kernel ?? preparedVersion(context)

/** @returns the version of the prepared source, such as "6.1.192" */
export function preparedVersion(context: Context): string {
  const version = readStamp(context, step)?.facts['version']
  if (typeof version !== 'string') throw new Failure('internal', 'The version was asked for before prep.')
  return version
}

/** The pristine source as a bare git repository, one for all checkouts, named by the tarball's digest. */
function pristineOf(context: Context): string {
  return join(context.paths.cache, 'pristine', `${sourceFile(context, context.source).sha256}.git`)
}

/** The file that tells by which code a pristine source was imported; of an older version there is none. */
const recipeOf = (pristine: string): string => join(pristine, 'lvs-snat-recipe')

function isImported(context: Context, pristine: string): boolean {
  if (!existsSync(pristine) || (context.srpm && !existsSync(srpmFolder(context)))) return false
  return !existsSync(recipeOf(pristine)) || readFileSync(recipeOf(pristine), 'utf8') === codeDigest(CODE)
}

/** @throws Failure of kind `source` when the tree is not of the target's line */
function requireLine(context: Context, folder: string): void {
  const makefile = join(folder, 'Makefile')
  const version = existsSync(makefile) ? kernelVersion(readFileSync(makefile, 'utf8')) : 'no kernel'
  if (`${version}.`.startsWith(`${context.target.line}.`)) return
  throw new Failure('source', `The source of ${context.target.name} is ${version}, but Linux ${context.target.line} is wanted.`, {
    hint: `The series is made for Linux ${context.target.line}; give another file with SOURCE=${context.source}=PATH.`,
  })
}

/** Recognises the family of a source that was imported earlier, of which the tree may carry edits. */
async function recogniseCommitted(context: Context, pristine: string): Promise<Family> {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-family-'))
  try {
    const git = new Git(pristine)
    const source = join(folder, 'source')
    await git.unpack(PRISTINE, await git.files(PRISTINE, IPVS_SOURCES), source)
    return recognise(context.target, source)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function importSource(context: Context, pristine: string): Promise<void> {
  const source = await bringVerified(context, context.source)
  // A kernel's files each, which nobody else would ever remove.
  clearAsides(pristine)
  const aside = asideOf(pristine)
  const folder = `${aside}.tree`
  const unpacked = `${aside}.srpm`
  mkdirSync(folder, { recursive: true })
  try {
    log.step('prep', `unpacking ${source.filename} ${source.version}`)
    if (context.srpm) await unpackPackage(context, source.path, unpacked, folder)
    else await unpackTarball(context, source.path, folder)
    if (isKernel(context)) {
      requireLine(context, folder)
      recognise(context.target, folder)
    }
    await commitPristine(folder, aside)
    if (context.srpm) replaceFolder(unpacked, srpmFolder(context))
    await addPristine(aside, pristine)
  } finally {
    // Not all at once: a Ctrl-C would not be heard while the files of a kernel are removed.
    for (const path of [folder, unpacked, aside]) await rm(path, { recursive: true, force: true })
  }
}

/** Other checkouts' trees have their objects in the repository: what is imported anew is added to it, and nothing cleared away. */
async function addPristine(from: string, pristine: string): Promise<void> {
  if (existsSync(pristine)) await new Git(pristine, { config: ['gc.auto=0', 'maintenance.auto=false'] }).run('fetch', '--quiet', '--force', from, `refs/tags/${PRISTINE}:refs/tags/${PRISTINE}`)
  else renameSync(from, pristine)
}

async function unpackTarball(context: Context, tarball: string, folder: string): Promise<void> {
  await runLogged(['tar', '--extract', '--no-same-owner', '--strip-components=1', '--file', tarball, '--directory', folder], {
    doing: `unpacking ${basename(tarball)}`,
    log: join(context.paths.logs, 'unpack.log'),
    kind: 'source',
  })
}

/** Keeps the unpacked source package: the configuration is made from its files, and it is packaged again with the series in it. */
async function unpackPackage(context: Context, srpm: string, unpacked: string, folder: string): Promise<void> {
  await unpackSrpm(srpm, unpacked, join(context.paths.logs, 'unpack-srpm.log'))
  const applied = await prepareTree(unpacked, folder, context.paths.logs)
  log.info(`its own patches: ${applied.join(', ') || 'none'}`)
}

/** @returns the folder with all files of the kernel's source package, of a target that is built from one */
export const srpmFolder = (context: Context): string => pristineOf(context).replace(/\.git$/, '.srpm')

async function commitPristine(folder: string, repository: string): Promise<void> {
  log.info('importing it into git')
  const identity = { NAME: 'pristine', EMAIL: 'pristine@localhost', DATE: '2000-01-01T00:00:00Z' }
  const roles = Object.entries(identity).flatMap(([key, value]) => [[`GIT_AUTHOR_${key}`, value], [`GIT_COMMITTER_${key}`, value]] as const)
  const env = { GIT_DIR: repository, GIT_WORK_TREE: folder, ...Object.fromEntries(roles) }
  // The objects are thrown away together with the repository, so speed goes before size and durability.
  const git = new Git(folder, { env, config: ['core.looseCompression=0', 'core.fsync=none', 'core.autocrlf=false', 'gc.auto=0'] })
  await new Git(folder).run('init', '--quiet', '--bare', repository)
  await git.run('add', '--all', '--force', '.')
  await git.run('commit', '--quiet', '--message', 'pristine')
  await git.run('tag', PRISTINE)
}

/** Makes the work tree, unless it is there and of this pristine source; moves it to a new one otherwise. */
async function checkOut(context: Context, pristine: string): Promise<void> {
  const { tree } = context.paths
  if (existsSync(tree)) {
    if ((await pristineCommit(tree)) === (await pristineCommit(pristine))) return
    await requireSaved(context, 'it cannot be replaced by another source')
  }
  rmSync(tree, { recursive: true, force: true })
  mkdirSync(context.paths.work, { recursive: true })
  log.step('prep', `checking out ${tree}`)
  clearAsides(tree)
  const aside = asideOf(tree)
  try {
    await new Git(context.paths.work).run('clone', '--quiet', '--shared', '--no-checkout', pristine, aside)
    mkdirSync(join(aside, '.git/info'), { recursive: true })
    writeFileSync(join(aside, '.git/info/exclude'), [`/${OUTPUT}*/`, ...context.tree.ignored, ''].join('\n'))
    await new Git(aside).run('checkout', '--quiet', '--detach', PRISTINE)
    requireUninterrupted()
    renameSync(aside, tree)
  } finally {
    rmSync(aside, { recursive: true, force: true })
  }
}

const pristineCommit = async (repository: string): Promise<string> => new Git(repository).line('rev-parse', `${PRISTINE}^{commit}`)
