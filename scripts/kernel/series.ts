/**
 * The patch series as git commits. The commits are made on an index of their own,
 * so that a patch that does not fit leaves the work tree as it was; only then the
 * work tree moves, and git touches just the files that differ, which keeps
 * incremental builds incremental.
 */

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { shorten } from '../base/excerpt.ts'
import { listFiles } from '../base/files.ts'
import { git, type Git } from '../base/git.ts'
import { capture, type CaptureOptions } from '../base/run.ts'
import { isKernel, type Context } from '../build/context.ts'
import { SOURCE_DATE_EPOCH } from '../release.ts'
import { preparedFamily } from './family.ts'

/** Tag of the source as it was published. */
export const PRISTINE = 'pristine'
/** Tag of what engine and series are applied to: the pristine source with what today's tools need of it. */
export const BASE = 'base'
/** Branch that carries the engine and the hooks. */
export const BRANCH = 'lvs-snat'
/** Ref of what the `patch` command last made of the committed series; the branch may be ahead of it. */
export const APPLIED = 'refs/lvs-snat/applied'

/** Who commits is not who wrote: the same series gives the same commit names on every machine. */
const COMMITTER = { GIT_COMMITTER_NAME: 'lvs-snat', GIT_COMMITTER_EMAIL: 'lvs-snat@localhost' }

export const seriesFolder = (context: Context): string => join(context.paths.root, 'patches', context.tree.series ?? preparedFamily(context).series)
/** The engine's files that are the same for every kernel. */
export const engineFolder = (context: Context): string => join(context.paths.root, 'patches', 'engine')
/** The engine's files that hide what differs between kernels. */
const compatFolder = (context: Context): string => join(context.paths.root, 'patches', 'compat', preparedFamily(context).compat)
/** Folders whose files the tree gets as they are, before the patches: the engine, in a kernel. */
export const engineFolders = (context: Context): string[] => (isKernel(context) ? [engineFolder(context), compatFolder(context)] : [])
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
 * @returns paths of the tree's patches, in order
 * @throws Failure of kind `patch` if the series names a file that is not there
 */
export const seriesPatches = (context: Context): string[] => readSeries(seriesFolder(context))

/**
 * @param folder with patches and their `series`
 * @returns paths of the patches, in order
 * @throws Failure of kind `patch` if the series names a file that is not there
 */
export function readSeries(folder: string): string[] {
  return parseSeries(readFileSync(join(folder, 'series'), 'utf8')).map((name) => {
    const path = join(folder, name)
    if (existsSync(path)) return path
    throw new Failure('patch', `The series ${join(folder, 'series')} names ${name}, which does not exist.`)
  })
}

/** @returns the subject of a patch in git-format-patch(1) form, which may go over several lines */
export const subjectOf = (patch: string): string =>
  (/^Subject: (?:\[PATCH[^\]]*\] )?(.*(?:\n[ \t].*)*)$/m.exec(patch)?.[1] ?? '').replace(/\n[ \t]+/g, ' ')

/** @returns the engine's files by their names in the tree, with the paths they come from and are saved to */
export function engineFiles(context: Context): Map<string, string> {
  const files = engineFolders(context).flatMap((folder) => listFiles(folder).map((name) => [name, join(folder, name)] as const))
  return new Map(files.filter(([name]) => name !== ENGINE_MESSAGE))
}

/** @returns git on the prepared tree; user configuration that would change commits or files is switched off */
export function treeGit(context: Context, environment: Record<string, string> = {}): Git {
  const env = { ...treeEnvironment(context), ...environment }
  return git(context.paths.tree, { config: TREE_CONFIG, env, hint: `If the prepared tree is damaged: ${goal(context, 'discard')} brings it back, without the edits in it.` })
}

/** @returns the command line of a command for the context's tree */
export const goal = (context: Context, command: string): string => `make ${command}${isKernel(context) ? '' : ` TREE=${context.tree.name}`}`

const TREE_CONFIG = ['core.autocrlf=false', 'core.fileMode=true', 'commit.gpgSign=false', 'core.quotePath=false']

/** A tree that has lost its .git is not taken for a part of a repository that the cache happens to be in. */
const treeEnvironment = ({ paths }: Context): Record<string, string> => ({
  PATH: process.env['PATH'] ?? '',
  HOME: process.env['HOME'] ?? '/',
  LC_ALL: 'C',
  GIT_CEILING_DIRECTORIES: dirname(paths.tree),
})

/** Runs git where it changes the work tree, or its branch. */
export async function changeTree(context: Context, words: readonly string[], options: Pick<CaptureOptions, 'anyExit'> = {}): Promise<void> {
  const config = TREE_CONFIG.flatMap((setting) => ['-c', setting])
  await capture(['git', ...config, ...words], { ...options, cwd: context.paths.tree, env: treeEnvironment(context), kind: 'environment' })
}

/** @returns names of the files that engine and series change or add */
export const touchedFiles = (context: Context): Promise<string[]> => treeGit(context).lines('diff', '--name-only', BASE, APPLIED)

interface Commit {
  message: string
  author: string
  email: string
  date: string
}

/**
 * Makes the commits of engine and series on top of the pristine source, beside the work tree.
 *
 * @param toolchain patches that come before the engine
 * @param what the source is, for messages: "Linux 6.1.5"
 * @returns the names of the commits that engine and series begin and end with
 * @throws Failure of kind `patch` that tells the patch, file and hunk that does not fit
 */
export async function commitSeries(context: Context, toolchain: readonly string[], what: string): Promise<{ base: string; applied: string }> {
  const index = join(context.paths.work, 'series-index')
  const git = treeGit(context, { GIT_INDEX_FILE: index })
  try {
    await git.raw('read-tree', PRISTINE)
    let parent = (await git.raw('rev-parse', `${PRISTINE}^{commit}`)).trim()
    for (const patch of toolchain) parent = await commitPatch(context, git, index, parent, patch, what)
    const base = parent
    if (engineFolders(context).length > 0) parent = await commitEngine(context, git, index, parent)
    for (const patch of seriesPatches(context)) parent = await commitPatch(context, git, index, parent, patch, what)
    return { base, applied: parent }
  } finally {
    rmSync(index, { force: true })
  }
}

async function commitEngine(context: Context, git: Git, index: string, parent: string): Promise<string> {
  for (const [name, path] of engineFiles(context)) {
    const blob = (await git.raw('hash-object', '-w', path)).trim()
    await git.raw('update-index', '--add', '--cacheinfo', `100644,${blob},${name}`)
  }
  const message = readFileSync(join(engineFolder(context), ENGINE_MESSAGE), 'utf8')
  const [, author = '', email = ''] = /^Signed-off-by: (.*) <(.*)>$/m.exec(message) ?? []
  return commitIndex(context, git, index, parent, { message, author, email, date: `${SOURCE_DATE_EPOCH} +0000` })
}

async function commitPatch(
  context: Context,
  git: Git,
  index: string,
  parent: string,
  patch: string,
  what: string,
): Promise<string> {
  const environment = { ...process.env, GIT_INDEX_FILE: index }
  const apply = (...options: string[]) =>
    capture(['git', 'apply', '--cached', '--whitespace=nowarn', ...options, patch], {
      cwd: context.paths.tree,
      env: environment,
      anyExit: true,
    })
  const { exitCode, stderr } = await apply()
  if (exitCode !== 0) {
    const reversible = (await apply('--reverse', '--check')).exitCode === 0
    throw misfit(patch, stderr, what, reversible)
  }
  return commitIndex(context, git, index, parent, await parseMail(context, readFileSync(patch, 'utf8')))
}

/** Explains a patch that does not fit, from what git said of it. */
export function misfit(patch: string, complaint: string, what: string, reversible: boolean): Failure {
  if (reversible) {
    return new Failure('patch', `${patch} is already applied in ${what}.`, {
      hint: 'The source carries this change already: take the patch out of the series file.',
    })
  }
  const places = [...complaint.matchAll(/^error: patch failed: (.*):(\d+)$/gm)].map(([, file = '', line = '']) => {
    const hunk = hunkAt(readFileSync(patch, 'utf8'), file, Number(line))
    return `${file}: hunk ${hunk.number} ${hunk.header}`
  })
  return new Failure('patch', `${patch} does not fit ${what}.`, {
    excerpt: places.length > 0 ? places : complaint.trim().split('\n'),
    hint: 'Nothing was changed. Rebase the series on this version (README, "Developing the series"), or build the version it fits.',
  })
}

/** @returns which hunk of a file's part of the patch begins at a line of the old file */
export function hunkAt(patch: string, file: string, line: number): { number: number; header: string } {
  let current = ''
  let number = 0
  for (const text of patch.split('\n')) {
    if (text.startsWith('diff --git ')) number = 0
    if (text.startsWith('--- a/')) current = text.slice('--- a/'.length)
    const start = /^@@ -(\d+)/.exec(text)?.[1]
    if (start === undefined || current !== file) continue
    number++
    if (Number(start) === line) return { number, header: text }
  }
  return { number, header: `near line ${line}` }
}

async function commitIndex(context: Context, git: Git, index: string, parent: string, commit: Commit): Promise<string> {
  const tree = (await git.raw('write-tree')).trim()
  const environment = {
    GIT_INDEX_FILE: index,
    GIT_AUTHOR_NAME: commit.author,
    GIT_AUTHOR_EMAIL: commit.email,
    GIT_AUTHOR_DATE: commit.date,
    GIT_COMMITTER_DATE: commit.date,
    ...COMMITTER,
  }
  const message = join(context.paths.work, 'series-message')
  writeFileSync(message, commit.message)
  const name = await treeGit(context, environment).raw('commit-tree', tree, '-p', parent, '-F', message)
  rmSync(message)
  return name.trim()
}

/** Reads author, date and message of a patch as git am does, by git mailinfo(1). */
async function parseMail(context: Context, mail: string): Promise<Commit> {
  const scratch = join(context.paths.work, 'mail')
  mkdirSync(scratch, { recursive: true })
  const body = join(scratch, 'message')
  const { stdout } = await capture(['git', 'mailinfo', '--encoding=UTF-8', body, join(scratch, 'patch')], { input: mail, kind: 'patch' })
  const field = (name: string): string => new RegExp(`^${name}: (.*)$`, 'm').exec(stdout)?.[1] ?? ''
  const message = `${field('Subject')}\n\n${readFileSync(body, 'utf8')}`
  rmSync(scratch, { recursive: true })
  return { message, author: field('Author'), email: field('Email'), date: field('Date') }
}

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
  const head = await git.raw('rev-parse', 'HEAD')
  const applied = await git.raw('for-each-ref', '--format=%(objectname)', APPLIED)
  const changed = await git.raw('diff', '--name-only', 'HEAD')
  const created = await git.raw('ls-files', '--others', '--exclude-standard', '--', ...context.tree.newFiles)
  const made = applied || (await git.raw('rev-parse', `${PRISTINE}^{commit}`))
  return { committed: head.trim() !== made.trim(), uncommitted: `${changed}${created}`.split('\n').filter(Boolean) }
}

/** @returns what decides the result of a build of the prepared tree: its commit and what is changed on top */
export async function treeContent(context: Context): Promise<string> {
  const git = treeGit(context)
  const [tree, changes, created] = await Promise.all([
    git.raw('rev-parse', 'HEAD^{tree}'),
    git.raw('diff', 'HEAD'),
    git.raw('ls-files', '--others', '--exclude-standard', '--', ...context.tree.newFiles),
  ])
  const contents = created.split('\n').filter(Boolean).map((name) => readFileSync(join(context.paths.tree, name), 'utf8'))
  return [tree, changes, created, ...contents].join('\n')
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
    hint: `They are in ${context.paths.tree}\nKeep them: ${goal(context, 'save')}. Throw them away: ${goal(context, 'discard')}.`,
  })
}
