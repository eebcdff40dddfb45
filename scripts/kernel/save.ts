// SPDX-License-Identifier: GPL-2.0-only
/** Edits of the prepared tree, written back into `patches/`. */

import { existsSync, lstatSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { shorten } from '../base/excerpt.ts'
import { writeIfChanged } from '../base/files.ts'
import { log } from '../base/log.ts'
import { type Context, goal } from '../build/context.ts'
import { makesCommit } from './commits.ts'
import { BASE, engineFiles, engineFolder, engineFolders, isPatchFile, patchesFolder, seriesFolder, treeGit, treeState } from './series.ts'

/** What belongs to the engine even if it is new. */
const ENGINE_FILE = /(^|\/)ip_vs_snat[^/]*\.[ch]$/

/**
 * git format-patch without everything that differs between two machines or two
 * runs of the same series, so that an unchanged patch stays the same file.
 */
const FORMAT = ['--no-signature', '--zero-commit', '--no-numbered', '--no-stat', '--no-base', '--abbrev=12', '--quiet']

/**
 * Writes engine and hooks of the prepared tree into `patches/`.
 *
 * @throws Failure of kind `patch` for edits of which it is not known to which patch they belong, `usage` without a tree
 */
export async function save(context: Context): Promise<void> {
  requirePrepared(context)
  const folder = requireSeries(context)
  await requireCommitted(context)
  saveEngine(context, await enginePaths(context))
  await saveHooks(context, folder)
}

async function enginePaths(context: Context): Promise<string[]> {
  if (engineFolders(context).length === 0) return []
  const { uncommitted } = await treeState(context)
  const committed = await treeGit(context).lines('diff', '--name-only', BASE, 'HEAD')
  const known = engineFiles(context).keys()
  const fresh = [...committed, ...uncommitted].filter((name) => ENGINE_FILE.test(name))
  return [...new Set([...known, ...fresh])]
}

function requirePrepared(context: Context): void {
  if (existsSync(join(context.paths.tree, '.git'))) return
  throw new Failure('usage', 'There is no prepared tree to save from.', { hint: `${goal(context, 'patch')} prepares it.` })
}

async function requireCommitted(context: Context): Promise<void> {
  await requireBase(context)
  await requireSquashed(context)
  const engine = await enginePaths(context)
  const { uncommitted } = await treeState(context)
  const hooks = uncommitted.filter((name) => !engine.includes(name))
  if (hooks.length === 0) return
  throw new Failure('patch', 'Edits are not committed, so it is not known which patch they belong to.', {
    excerpt: shorten(hooks),
    hint: `In ${context.paths.tree}:\n  git commit --fixup=COMMIT FILES && git rebase --interactive --autosquash ${BASE}`,
  })
}

/** What stands on another version has none of the series, which would be lost. */
function requireSeries(context: Context): string {
  const folder = seriesFolder(context)
  if (folder !== undefined) return folder
  throw new Failure('patch', `No series is made for this version of ${context.tree.title}, so nothing is saved.`, {
    hint: `Let scripts/trees.ts know the version, then ${goal(context, 'patch')} says what does not fit.`,
  })
}

/** Commits below the engine are not saved from here: they are not part of what the series says. */
async function requireBase(context: Context): Promise<void> {
  if (await treeGit(context).holds('merge-base', '--is-ancestor', BASE, 'HEAD')) return
  throw new Failure('patch', `The commits below the tag "${BASE}" were changed, and those are not saved.`, {
    hint: `Edit patches/${context.target.toolchain?.series ?? ''} itself, or put the series back on it: git rebase --onto ${BASE}`,
  })
}

/** A commit by `git commit --fixup` belongs to a patch that is there; git-rebase(1) knows these names. */
async function requireSquashed(context: Context): Promise<void> {
  const commits = await treeGit(context).lines('log', '--format=%h %s', `${BASE}..HEAD`)
  const loose = commits.filter((commit) => /^\S+ (fixup|squash|amend)! /.test(commit))
  if (loose.length === 0) return
  throw new Failure('patch', 'Commits that are meant for others are not joined with them yet.', {
    excerpt: loose,
    hint: `In ${context.paths.tree}:\n  git rebase --interactive --autosquash ${BASE}`,
  })
}

function saveEngine(context: Context, names: readonly string[]): void {
  const known = engineFiles(context)
  for (const name of names) {
    const from = join(context.paths.tree, name)
    const to = known.get(name) ?? join(engineFolder(context), name)
    if (!existsSync(from)) {
      rmSync(to)
      log.info(`removed ${name}`)
      continue
    }
    mkdirSync(dirname(to), { recursive: true })
    if (writeIfChanged(to, readFileSync(from))) log.info(`saved ${name}`)
  }
}

async function saveHooks(context: Context, folder: string): Promise<void> {
  const scratch = join(context.paths.work, 'save')
  rmSync(scratch, { recursive: true, force: true })
  mkdirSync(scratch, { recursive: true })
  const paths = ['.', ...[...engineFiles(context).keys()].map((name) => `:(exclude)${name}`)]
  const git = treeGit(context)
  await git.run('format-patch', ...FORMAT, '--output-directory', scratch, BASE, '--', ...paths)
  const names = readdirSync(scratch).sort()
  // The commits that git-format-patch(1) has taken, in its order.
  const commits = await git.lines('rev-list', '--reverse', '--no-merges', `${BASE}..HEAD`, '--', ...paths)
  for (const [index, name] of names.entries()) {
    const path = join(folder, name)
    const patch = readFileSync(join(scratch, name))
    if (await isLinkToSame(context, path, patch, commits[index] ?? '', paths)) continue
    if (writeIfChanged(path, patch)) log.info(`saved ${name}`)
  }
  for (const name of readdirSync(folder)) {
    if (!name.endsWith('.patch') || names.includes(name)) continue
    rmSync(join(folder, name))
    log.info(`removed ${name}`)
  }
  saveSeriesFile(join(folder, 'series'), names)
  rmSync(scratch, { recursive: true })
}

/**
 * A patch that is a link to that of another series stays one as long as both say the same: where the lines are, and
 * what the files were before, differs between what the two are made for. Where the same lines are several times, that
 * decides which of them are meant.
 */
async function isLinkToSame(context: Context, path: string, patch: Buffer, commit: string, paths: readonly string[]): Promise<boolean> {
  const linked = lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false
  if (!linked || !isPatchFile(path, patchesFolder(context)) || withoutPlaces(readFileSync(path, 'utf8')) !== withoutPlaces(patch.toString())) return false
  return makesCommit(context, path, commit, paths)
}

/** @returns a patch without the names of blobs, line numbers and the lines of functions that git puts behind them */
const withoutPlaces = (patch: string): string =>
  patch.replace(/^index [0-9a-f]+\.\.[0-9a-f]+/gm, 'index').replace(/^@@ -\d+(,\d+)? \+\d+(,\d+)? @@.*$/gm, '@@ $1 $2')

/** Keeps the comments at the top of the series file, but for those that kept a patch out that is in now. */
function saveSeriesFile(path: string, names: readonly string[]): void {
  const comments = readFileSync(path, 'utf8').split('\n').filter((line) => line.startsWith('#') && !names.some((name) => line.includes(name)))
  writeIfChanged(path, `${[...comments, ...names].join('\n')}\n`)
}
