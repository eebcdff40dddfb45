import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { shorten } from '../base/excerpt.ts'
import { writeIfChanged } from '../base/files.ts'
import { log } from '../base/log.ts'
import { capture } from '../base/run.ts'
import type { Context } from '../build/context.ts'
import { withBuildLock } from '../build/lock.ts'
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { BASE, engineFiles, engineFolder, engineFolders, goal, seriesFolder, treeGit, treeState } from '../kernel/series.ts'
import { step as patch } from '../steps/patch.ts'

/** What belongs to the engine even if it is new. */
const ENGINE_FILE = /(^|\/)ip_vs_snat[^/]*\.[ch]$/

/**
 * git format-patch without everything that differs between two machines or two
 * runs of the same series, so that an unchanged patch stays the same file.
 */
const FORMAT = ['--no-signature', '--zero-commit', '--no-numbered', '--no-stat', '--no-base', '--abbrev=12', '--quiet']

const command: Command = {
  summary: 'save the edits of the prepared tree into patches/',
  anyTree: true,
  help: `Engine files are copied back as they are in the prepared tree, committed or not.
Hooks are saved from the commits on top of the engine's, one patch a commit, so
commit your edits of them first, in the prepared tree:
  git commit --fixup=COMMIT FILES && git rebase --interactive --autosquash ${BASE}
or as a new commit, which becomes a new patch; of a tool (TREE=ipvsadm) every edit is
saved so. Patches that did not change stay
the same to the byte; one that is a link to that of another family becomes a file
of its own when it changes.`,
  async run(context) {
    await withBuildLock(context, async () => {
      await requireCommitted(context)
      saveEngine(context, await enginePaths(context))
      await saveHooks(context)
    })
    await bring(context, patch)
  },
}
export default command

async function enginePaths(context: Context): Promise<string[]> {
  if (engineFolders(context).length === 0) return []
  const { uncommitted } = await treeState(context)
  const committed = (await treeGit(context).raw('diff', '--name-only', BASE, 'HEAD')).split('\n').filter(Boolean)
  const known = engineFiles(context).keys()
  const fresh = [...committed, ...uncommitted].filter((name) => ENGINE_FILE.test(name))
  return [...new Set([...known, ...fresh])]
}

async function requireCommitted(context: Context): Promise<void> {
  if (!existsSync(join(context.paths.tree, '.git'))) {
    throw new Failure('usage', 'There is no prepared tree to save from.', { hint: `${goal(context, 'patch')} prepares it.` })
  }
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

/** Commits below the engine are not saved from here: they are not part of what the series says. */
async function requireBase(context: Context): Promise<void> {
  const { exitCode } = await capture(['git', 'merge-base', '--is-ancestor', BASE, 'HEAD'], { cwd: context.paths.tree, anyExit: true })
  if (exitCode === 0) return
  throw new Failure('patch', `The commits below the tag "${BASE}" were changed, and those are not saved.`, {
    hint: `Edit patches/${context.target.toolchain?.series ?? ''} itself, or put the series back on it: git rebase --onto ${BASE}`,
  })
}

/** A commit by `git commit --fixup` belongs to a patch that is there; git-rebase(1) knows these names. */
async function requireSquashed(context: Context): Promise<void> {
  const commits = (await treeGit(context).raw('log', '--format=%h %s', `${BASE}..HEAD`)).split('\n')
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

async function saveHooks(context: Context): Promise<void> {
  const scratch = join(context.paths.work, 'save')
  rmSync(scratch, { recursive: true, force: true })
  mkdirSync(scratch, { recursive: true })
  const exclude = [...engineFiles(context).keys()].map((name) => `:(exclude)${name}`)
  await capture(['git', 'format-patch', ...FORMAT, '--output-directory', scratch, BASE, '--', '.', ...exclude], {
    cwd: context.paths.tree,
    kind: 'patch',
  })
  const names = readdirSync(scratch).sort()
  const folder = seriesFolder(context)
  for (const name of names) if (writeIfChanged(join(folder, name), readFileSync(join(scratch, name)))) log.info(`saved ${name}`)
  for (const name of readdirSync(folder)) {
    if (!name.endsWith('.patch') || names.includes(name)) continue
    rmSync(join(folder, name))
    log.info(`removed ${name}`)
  }
  saveSeriesFile(join(folder, 'series'), names)
  rmSync(scratch, { recursive: true })
}

/** Keeps the comments at the top of the series file. */
function saveSeriesFile(path: string, names: readonly string[]): void {
  const comments = readFileSync(path, 'utf8').split('\n').filter((line) => line.startsWith('#'))
  writeIfChanged(path, `${[...comments, ...names].join('\n')}\n`)
}
