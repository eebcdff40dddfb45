// SPDX-License-Identifier: GPL-2.0-only
/**
 * Makes the series into commits. They are made on an index of their own, so that a patch
 * that does not fit leaves the work tree as it was; only then the work tree moves, and git
 * touches just the files that differ, which keeps incremental builds incremental.
 */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Failure } from '../base/errors.ts'
import type { Git } from '../base/git.ts'
import { failure, type Captured } from '../base/run.ts'
import type { Context } from '../build/context.ts'
import { SOURCE_DATE_EPOCH } from '../release.ts'
import { ENGINE_MESSAGE, engineFiles, engineFolder, engineFolders, PRISTINE, seriesPatches, treeGit } from './series.ts'

/** Who commits is not who wrote: the same series gives the same commit names on every machine. */
const COMMITTER = { GIT_COMMITTER_NAME: 'lvs-snat', GIT_COMMITTER_EMAIL: 'lvs-snat@localhost' }

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
  const row = await Row.begin(context, what)
  try {
    for (const patch of toolchain) await row.addPatch(patch)
    const base = row.last
    if (engineFolders(context).length > 0) await row.addEngine()
    for (const patch of seriesPatches(context)) await row.addPatch(patch)
    return { base, applied: row.last }
  } finally {
    row.end()
  }
}

const applyToIndex = (git: Git, patch: string, ...options: string[]): Promise<Captured> =>
  git.call(['apply', '--cached', '--whitespace=nowarn', ...options, patch], { anyExit: true })

/**
 * @param patch its path
 * @param commit on the prepared tree, with one parent
 * @param paths git pathspecs of what counts
 * @returns whether the patch makes the commit of the commit's parent, as the series is applied
 */
export async function makesCommit(context: Context, patch: string, commit: string, paths: readonly string[]): Promise<boolean> {
  const index = join(context.paths.work, 'commit-index')
  removeIndex(index)
  const git = treeGit(context, { GIT_INDEX_FILE: index })
  try {
    await git.run('read-tree', `${commit}^`)
    if ((await applyToIndex(git, patch)).exitCode !== 0) return false
    return await git.holds('diff', '--cached', '--quiet', commit, '--', ...paths)
  } finally {
    removeIndex(index)
  }
}

/** With the lock that a git which was killed has left of it. */
function removeIndex(index: string): void {
  for (const path of [index, `${index}.lock`]) rmSync(path, { force: true })
}

/** A row of commits that grows on an index of its own. */
class Row {
  /** Name of the last commit. */
  last: string
  readonly #context: Context
  readonly #what: string
  readonly #git: Git

  private constructor(context: Context, what: string, git: Git, pristine: string) {
    this.#context = context
    this.#what = what
    this.#git = git
    this.last = pristine
  }

  static async begin(context: Context, what: string): Promise<Row> {
    removeIndex(indexFile(context))
    const git = treeGit(context, { GIT_INDEX_FILE: indexFile(context) })
    await git.run('read-tree', PRISTINE)
    return new Row(context, what, git, await git.line('rev-parse', `${PRISTINE}^{commit}`))
  }

  end(): void {
    removeIndex(indexFile(this.#context))
  }

  async addEngine(): Promise<void> {
    for (const [name, path] of engineFiles(this.#context)) {
      const blob = await this.#git.line('hash-object', '-w', path)
      await this.#git.run('update-index', '--add', '--cacheinfo', `100644,${blob},${name}`)
    }
    const message = readFileSync(join(engineFolder(this.#context), ENGINE_MESSAGE), 'utf8')
    const [, author = '', email = ''] = /^Signed-off-by: (.*) <(.*)>$/m.exec(message) ?? []
    await this.#commit({ message, author, email, date: `${SOURCE_DATE_EPOCH} +0000` })
  }

  /** @param patch its path */
  async addPatch(patch: string): Promise<void> {
    const { exitCode, stderr } = await applyToIndex(this.#git, patch)
    if (exitCode !== 0) {
      const reversible = (await applyToIndex(this.#git, patch, '--reverse', '--check')).exitCode === 0
      const found = misfit(patch, stderr, this.#what, reversible)
      throw failure(found.kind, found.message, { ...found.details, excerpt: found.details.excerpt ?? [] }, this.#context.paths.work)
    }
    await this.#commit(await parseMail(this.#context, readFileSync(patch, 'utf8')))
  }

  async #commit({ message, author, email, date }: Commit): Promise<void> {
    const tree = await this.#git.line('write-tree')
    const file = join(this.#context.paths.work, 'series-message')
    writeFileSync(file, message)
    const git = treeGit(this.#context, {
      GIT_AUTHOR_NAME: author,
      GIT_AUTHOR_EMAIL: email,
      GIT_AUTHOR_DATE: date,
      GIT_COMMITTER_DATE: date,
      ...COMMITTER,
    })
    this.last = await git.line('commit-tree', tree, '-p', this.last, '-F', file)
    rmSync(file)
  }
}

const indexFile = (context: Context): string => join(context.paths.work, 'series-index')

/** Explains a patch that does not fit, from what git said of it. */
function misfit(patch: string, complaint: string, what: string, reversible: boolean): Failure {
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
    hint: 'Nothing was changed. Rebase the series on this version (docs/series.md), or build the version it fits.',
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

/** Reads author, date and message of a patch as git am does, by git mailinfo(1). */
async function parseMail(context: Context, mail: string): Promise<Commit> {
  const scratch = join(context.paths.work, 'mail')
  mkdirSync(scratch, { recursive: true })
  const body = join(scratch, 'message')
  const { stdout } = await treeGit(context).call(['mailinfo', '--encoding=UTF-8', body, join(scratch, 'patch')], { input: mail, kind: 'patch' })
  const field = (name: string): string => new RegExp(`^${name}: (.*)$`, 'm').exec(stdout)?.[1] ?? ''
  const message = `${field('Subject')}\n\n${readFileSync(body, 'utf8')}`
  rmSync(scratch, { recursive: true })
  return { message, author: field('Author'), email: field('Email'), date: field('Date') }
}
