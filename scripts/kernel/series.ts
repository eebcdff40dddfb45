// SPDX-License-Identifier: GPL-2.0-only
/** The patch series: its files in the checkout, and the prepared tree, in which it is a row of commits. */

import { existsSync, lstatSync, readFileSync, realpathSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { Failure } from '../base/errors.ts'
import { shorten } from '../base/excerpt.ts'
import { listFiles } from '../base/files.ts'
import { Git } from '../base/git.ts'
import { kernelVersion } from '../base/version.ts'
import { goal, isKernel, type Context } from '../build/context.ts'
import { readStamp } from '../build/step.ts'
import { TARGETS } from '../targets.ts'
import type { ToolSeries, Tree } from '../trees.ts'
import { preparedFamily, RECOGNISED_BY } from './family.ts'

/** Tag of the source as it was published. */
export const PRISTINE = 'pristine'
/** Tag of what engine and series are applied to: the pristine source with what today's tools need of it. */
export const BASE = 'base'
/** Branch that carries the engine and the hooks. */
export const BRANCH = 'lvs-snat'
/** Ref of what the `patch` command last made of the committed series; the branch may be ahead of it. */
export const APPLIED = 'refs/lvs-snat/applied'

/**
 * @param patches folder that it is below
 * @returns whether a path is a file, or a link to one, as series share patches. Of anything else nothing is read: it may
 *   have no end, or lead to what is nobody's business.
 */
export function isPatchFile(path: string, patches: string): boolean {
  try {
    const file = realpathSync(path)
    return file.startsWith(`${realpathSync(patches)}${sep}`) && lstatSync(file).isFile()
  } catch {
    // A link to nothing, or to itself.
    return false
  }
}

/** @returns the path @throws Failure of kind `patch` unless {@link isPatchFile} */
function requirePatchFile(path: string, patches: string): string {
  if (isPatchFile(path, patches)) return path
  throw new Failure('patch', `${path} is neither a file nor a link to one below ${patches}, so it is not read.`, { hint: 'Remove it, or put the file that is meant in its place.' })
}

/** The folder of series, engine, and what hides kernels from the engine. */
export const patchesFolder = ({ paths }: Context): string => join(paths.root, 'patches')

/**
 * @param folder below {@link patchesFolder}
 * @returns paths of all files in it
 * @throws Failure of kind `patch` for what is none, such as a link that leads elsewhere, a FIFO or a device
 */
export const patchFiles = (context: Context, folder: string): string[] => listFiles(folder).map((name) => requirePatchFile(join(folder, name), patchesFolder(context)))

/** @returns the folder of the series that is made for the prepared source, or undefined of a tool's version that none is made for */
export function seriesFolder(context: Context): string | undefined {
  const name = isKernel(context) ? preparedFamily(context).series : toolSeries(context)?.folder
  return name === undefined ? undefined : join(patchesFolder(context), name)
}

function toolSeries(context: Context): ToolSeries | undefined {
  const version = readStamp(context, RECOGNISED_BY)?.facts['version']
  return seriesOf(context.tree, typeof version === 'string' ? version : '')
}

/** @returns the series that is made for a version of a tool, if there is one */
export const seriesOf = ({ series }: Tree, version: string): ToolSeries | undefined => series?.find(({ versions }) => versions?.test(version) ?? true)

/** The engine's files that are the same for every kernel. */
export const engineFolder = (context: Context): string => join(patchesFolder(context), 'engine')
/** The engine's files that hide what differs between kernels. */
const compatFolders = (context: Context): string[] => preparedFamily(context).compat.map((name) => join(patchesFolder(context), 'compat', name))
/** Folders whose files the tree gets as they are, before the patches: the engine, in a kernel. */
export const engineFolders = (context: Context): string[] => (isKernel(context) ? [engineFolder(context), ...compatFolders(context)] : [])
/** The engine commit's message stands beside the engine's files; its author is who signed it off. */
export const ENGINE_MESSAGE = 'commit-message'

/** @returns the names in a quilt series file, without comments and blank lines (quilt(1)) */
export function parseSeries(content: string): string[] {
  return content
    .split('\n')
    .map((line) => line.replace(/(^|\s)#.*/, '').trim())
    .filter(Boolean)
}

/**
 * @returns paths of the tree's patches, in order; none of a version that no series is made for
 * @throws Failure of kind `patch` if the series names a file that is not there
 */
export function seriesPatches(context: Context): string[] {
  const folder = seriesFolder(context)
  return folder === undefined ? [] : readSeries(folder)
}

/**
 * @param folder with patches and their `series`, beside those of other series
 * @returns paths of the patches, in order
 * @throws Failure of kind `patch` if the series names a file that is not there, or what is none
 */
export function readSeries(folder: string): string[] {
  return parseSeries(readFileSync(requirePatchFile(join(folder, 'series'), dirname(folder)), 'utf8')).map((name) => {
    const path = join(folder, name)
    if (existsSync(path)) return requirePatchFile(path, dirname(folder))
    throw new Failure('patch', `The series ${join(folder, 'series')} names ${name}, which does not exist.`)
  })
}

/** @returns the subject of a patch in git-format-patch(1) form, which may go over several lines */
export const subjectOf = (patch: string): string =>
  (/^Subject: (?:\[PATCH[^\]]*\] )?(.*(?:\n[ \t].*)*)$/m.exec(patch)?.[1] ?? '').replace(/\n[ \t]+/g, ' ')

/**
 * @returns the engine's files by their names in the tree, with the paths they come from and are saved to
 * @throws Failure of kind `patch` for what is no file
 */
export function engineFiles(context: Context): Map<string, string> {
  const files = engineFolders(context).flatMap((folder) => patchFiles(context, folder).map((path) => [relative(folder, path), path] as const))
  return new Map(files.filter(([name]) => name !== ENGINE_MESSAGE))
}

/** @returns git on the prepared tree; configuration of the tree's own that would change commits or files is switched off */
export function treeGit(context: Context, environment: Record<string, string> = {}): Git {
  // A tree that has lost its .git is not taken for a part of a repository that the cache happens to be in.
  const env = { GIT_CEILING_DIRECTORIES: dirname(context.paths.tree), ...environment }
  return new Git(context.paths.tree, { config: TREE_CONFIG, env, hint: `If the prepared tree is damaged: ${goal(context, 'discard')} brings it back, without the edits in it.` })
}

const TREE_CONFIG = ['core.autocrlf=false', 'core.fileMode=true', 'commit.gpgSign=false', 'core.quotePath=false']

/** @returns names of the files that engine and series change or add */
export const touchedFiles = (context: Context): Promise<string[]> => treeGit(context).lines('diff', '--name-only', BASE, APPLIED)

/** How the prepared tree stands to what the series made of it. */
export interface TreeState {
  /** Commits that the user made on top or instead. */
  committed: boolean
  /** Files with changes that are not committed, tracked or new, among the folders where the series may have some. */
  uncommitted: string[]
}

/** @returns what the user changed in the prepared tree since the series was applied */
export async function treeState(context: Context): Promise<TreeState> {
  const git = treeGit(context)
  const [head, applied, changed, created] = await Promise.all([
    git.line('rev-parse', 'HEAD'), appliedCommit(context), git.lines('diff', '--name-only', 'HEAD'), createdFiles(context),
  ])
  const made = applied ?? (await git.line('rev-parse', `${PRISTINE}^{commit}`))
  return { committed: head !== made, uncommitted: [...changed, ...created] }
}

/** @returns name of the commit that the `patch` command made last, if it has */
export const appliedCommit = async (context: Context): Promise<string | undefined> =>
  (await treeGit(context).line('for-each-ref', '--format=%(objectname)', APPLIED)) || undefined

const createdFiles = (context: Context): Promise<string[]> =>
  treeGit(context).lines('ls-files', '--others', '--exclude-standard', '--', ...context.tree.newFiles)

/** @returns what decides the result of a build of the prepared tree: its commit and what is changed on top */
export async function treeContent(context: Context): Promise<string> {
  const git = treeGit(context)
  const [tree, changes, created] = await Promise.all([git.line('rev-parse', 'HEAD^{tree}'), git.text('diff', 'HEAD'), createdFiles(context)])
  const contents = created.map((name) => readFileSync(join(context.paths.tree, name), 'utf8'))
  return [tree, changes, ...created, ...contents].join('\n')
}

/**
 * Refuses to go on when the prepared tree has edits that are not in the series.
 *
 * @param doing what cannot be done then, for the message
 * @throws Failure of kind `patch`
 */
export async function requireSaved(context: Context, doing: string): Promise<void> {
  const { committed, uncommitted } = await treeState(context)
  if (!committed && uncommitted.length === 0) return
  throw new Failure('patch', `The prepared tree has edits that are not in the series, so ${doing}.`, {
    excerpt: shorten([...(committed ? ['commits that the series does not have'] : []), ...uncommitted]),
    hint: `They are in ${context.paths.tree}\n${waysOut(context)}`,
  })
}

/** What can be done with edits of the prepared tree, which may be from when targets had other names. */
function waysOut(context: Context): string {
  const makefile = isKernel(context) ? join(context.paths.tree, 'Makefile') : ''
  const version = existsSync(makefile) ? kernelVersion(readFileSync(makefile, 'utf8')) : context.target.line
  const owner = TARGETS.find(({ line }) => `${version}.`.startsWith(`${line}.`))
  if (!context.former && (!owner || owner.name === context.target.name)) return `Keep them: ${goal(context, 'save')}. Throw them away: ${goal(context, 'discard')}.`
  const where = owner ? `the tree that make patch TARGET=${owner.name} prints` : 'another tree'
  return `That is Linux ${version}, and no tree of ${context.name} any more. Keep them: commit them there, git format-patch ${APPLIED}.., and git am in ${where}. Throw them away: rm -r ${context.paths.work}`
}
