import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { Command } from '../lib/command.ts'
import type { Context } from '../lib/context.ts'
import { Failure } from '../lib/errors.ts'
import { ccacheEnvironment, compiler, kbuildEnvironment } from '../lib/kbuild.ts'
import { log } from '../lib/log.ts'
import { capture, runLogged } from '../lib/run.ts'
import { APPLIED, BASE, treeGit } from '../lib/series.ts'
import { bring, type Step } from '../lib/step.ts'
import { newWarnings } from '../lib/warnings.ts'
import { step as config } from './config.ts'

/** What the series touches, as a goal of the kernel's make. */
const CHECKED = 'net/netfilter/ipvs/'

/** A patch that adds files should touch MAINTAINERS; here one of the series does so for all of them. */
const IGNORED = ['--ignore', 'FILE_PATH_CHANGES']

export const step: Step = {
  name: 'check',
  scope: 'variant',
  needs: [config],
  inputs: () => ({ checks: ['checkpatch --strict', 'C=2', 'W=1', 'each patch builds'] }),
  outputs: () => [],
  async run(context) {
    const style = await checkStyle(context)
    const commits = await buildEachPatch(context)
    return { ...style, commits }
  },
}

/**
 * Runs the kernel's own checkpatch.pl on every patch.
 *
 * @throws Failure of kind `test` with what it complained of
 */
async function checkStyle(context: Context): Promise<{ patches: number }> {
  const folder = join(context.paths.work, 'checkpatch')
  rmSync(folder, { recursive: true, force: true })
  await treeGit(context).raw('format-patch', '--quiet', '--output-directory', folder, `${BASE}..${APPLIED}`)
  const patches = readdirSync(folder).sort().map((name) => join(folder, name))
  log.step('check', `checkpatch.pl --strict on ${patches.length} patches`)
  await runLogged(['perl', 'scripts/checkpatch.pl', '--strict', '--quiet', '--show-types', ...IGNORED, ...patches], {
    cwd: context.paths.tree,
    doing: 'checkpatch.pl --strict',
    log: join(context.paths.logs, 'checkpatch.log'),
    kind: 'test',
  })
  return { patches: patches.length }
}

/**
 * Compiles the touched folder at every commit, with sparse and W=1, in a tree of its own.
 *
 * @returns how many commits were built
 * @throws Failure of kind `build` for one that does not build, of kind `test` for new warnings
 */
async function buildEachPatch(context: Context): Promise<number> {
  const git = treeGit(context)
  const commits = (await git.raw('rev-list', '--reverse', `${BASE}..${APPLIED}`)).trim().split('\n')
  const tree = await checkTree(context)
  const before = await warningsAt(context, tree, BASE, 'the pristine source')
  for (const [index, commit] of commits.entries()) {
    const subject = (await git.raw('log', '-1', '--format=%s', commit)).trim()
    const fresh = newWarnings(before, await warningsAt(context, tree, commit, `patch ${index}, "${subject}"`))
    if (fresh.length === 0) continue
    throw new Failure('test', `"${subject}" brings new warnings of gcc W=1 or sparse.`, { excerpt: fresh, log: logOf(context) })
  }
  return commits.length
}

const logOf = (context: Context): string => join(context.paths.logs, 'check.log')

/** A second work tree, so that checking disturbs neither the prepared tree nor its incremental build. */
async function checkTree(context: Context): Promise<string> {
  const tree = join(context.paths.work, 'check-tree')
  if (!existsSync(join(tree, '.git'))) {
    await treeGit(context).raw('worktree', 'prune')
    await treeGit(context).raw('worktree', 'add', '--quiet', '--force', '--detach', tree, BASE)
  }
  return tree
}

async function warningsAt(context: Context, tree: string, commit: string, what: string): Promise<string[]> {
  const output = join(context.paths.work, `check-build-${basename(context.paths.build)}`)
  log.info(`building ${what}`)
  await capture(['git', 'checkout', '--quiet', '--force', '--detach', commit], { cwd: tree })
  mkdirSync(output, { recursive: true })
  copyFileSync(join(context.paths.build, '.config'), join(output, '.config'))
  const options = {
    env: { ...kbuildEnvironment(), ...ccacheEnvironment(context, join(context.paths.logs, 'check.ccache')) },
    log: logOf(context),
    doing: `building ${what}`,
    onLine: (line: string) => log.progress(line.trim()),
  }
  const make = ['make', '-C', tree, `O=${output}`, `-j${context.jobs}`, await compiler(context)]
  await runLogged([...make, 'olddefconfig', 'prepare'], options)
  rmSync(join(output, CHECKED), { recursive: true, force: true })
  await runLogged([...make, 'C=2', 'CF=-D__CHECK_ENDIAN__', 'W=1', CHECKED], options)
  return readFileSync(options.log, 'utf8').split('\n')
}

const command: Command = {
  summary: 'checkpatch, sparse and W=1 on the series; every patch builds on its own',
  help: `Runs the kernel's checkpatch.pl --strict on every patch, and compiles ${CHECKED}
at every commit of the series with sparse and W=1: no commit may fail to build or
bring a warning that the pristine source does not have.`,
  async run(context) {
    const { facts } = await bring(context, step)
    process.stdout.write(`${facts['patches']} patches: checkpatch clean, each builds, no new warnings\n`)
  },
}
export default command
