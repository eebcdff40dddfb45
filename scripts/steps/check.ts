// SPDX-License-Identifier: GPL-2.0-only
/** Checks of the series: its style, that every patch builds by itself, and that no promised symbol changes. */

import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { asideOf } from '../base/files.ts'
import { Git, removeStaleLocks } from '../base/git.ts'
import { log } from '../base/log.ts'
import { capture, runLogged } from '../base/run.ts'
import type { Context } from '../build/context.ts'
import type { Json, Step } from '../build/step.ts'
import { promisedVersions } from '../kernel/kabi.ts'
import { ccacheEnvironment, compiler, kbuildEnvironment } from '../kernel/kbuild.ts'
import { APPLIED, BASE, touchedFiles, treeGit } from '../kernel/series.ts'
import { newWarnings } from '../kernel/warnings.ts'
import { step as config } from './config.ts'
import { bringSource } from './fetch.ts'
import { srpmFolder } from './prep.ts'

/** What the series touches, as a goal of the kernel's make. */
export const CHECKED = 'net/netfilter/ipvs/'

export const step: Step = {
  name: 'check',
  scope: 'variant',
  needs: [config],
  sources: ({ target }) => (target.check.checkpatch === undefined ? [] : [target.check.checkpatch]),
  code: ['steps/check.ts', 'kernel/kabi.ts', 'kernel/kbuild.ts', 'kernel/warnings.ts'],
  inputs: (context) => ({ ...context.target.check, steps: ['checkpatch --strict', 'each patch builds', 'symbol versions'] }) as unknown as Json,
  outputs: () => [],
  async run(context) {
    const style = await checkStyle(context)
    const { commits, versions } = await buildEachPatch(context)
    return { ...style, commits, versions }
  },
}

/** What checkpatch.pl reads, in the kernel's folder of it. */
const CHECKPATCH_FILES = ['scripts/checkpatch.pl', 'scripts/spelling.txt', 'scripts/const_structs.checkpatch']

/** @returns the words that run checkpatch.pl: this kernel's own, or that of the kernel that the target names */
async function checkpatch(context: Context): Promise<string[]> {
  const { checkpatch: other } = context.target.check
  if (other === undefined) return ['perl', 'scripts/checkpatch.pl']
  const tarball = await bringSource(context, other)
  const folder = join(context.paths.work, `checkpatch-${basename(tarball).slice(0, 12)}`)
  if (!existsSync(join(folder, 'checkpatch.pl'))) {
    const aside = asideOf(folder)
    mkdirSync(aside, { recursive: true })
    const members = CHECKPATCH_FILES.map((name) => `*/${name}`)
    await capture(['tar', '--extract', '--no-same-owner', '--file', tarball, '--directory', aside, '--strip-components=2', '--wildcards', ...members])
    renameSync(aside, folder)
  }
  return ['perl', join(folder, 'checkpatch.pl'), '--no-tree']
}

/**
 * Runs checkpatch.pl on every patch.
 *
 * @throws Failure of kind `test` with what it complained of
 */
async function checkStyle(context: Context): Promise<{ patches: number }> {
  const folder = join(context.paths.work, 'checkpatch')
  rmSync(folder, { recursive: true, force: true })
  await treeGit(context).run('format-patch', '--quiet', '--output-directory', folder, `${BASE}..${APPLIED}`)
  const patches = readdirSync(folder).sort().map((name) => join(folder, name))
  log.step('check', `checkpatch.pl --strict on ${patches.length} patches`)
  const ignored = context.target.check.ignore.flatMap((type) => ['--ignore', type])
  await runLogged([...(await checkpatch(context)), '--strict', '--quiet', '--show-types', ...ignored, ...patches], {
    cwd: context.paths.tree,
    doing: 'checkpatch.pl --strict',
    log: join(context.paths.logs, 'checkpatch.log'),
    kind: 'test',
  })
  return { patches: patches.length }
}

/**
 * Compiles the touched folder at every commit, with warnings, in a tree of its own: what a commit does not change,
 * and sees no changed header, is as it was at the commit before it.
 *
 * @returns how many commits were built, and the checksums that stayed as they were
 * @throws Failure of kind `build` for one that does not build, of kind `test` for new warnings or another checksum
 */
async function buildEachPatch(context: Context): Promise<{ commits: number; versions: Record<string, string> }> {
  const git = treeGit(context)
  const commits = await git.lines('rev-list', '--reverse', `${BASE}..${APPLIED}`)
  const tree = await checkTree(context)
  // What an earlier run compiled has told its warnings then.
  rmSync(join(outputOf(context), CHECKED), { recursive: true, force: true })
  const before = await warningsAt(context, tree, BASE, 'the pristine source')
  const stock = await exportedVersions(context)
  const touched = await touchedFiles(context)
  for (const [index, commit] of commits.entries()) {
    const subject = await git.line('log', '-1', '--format=%s', commit)
    const fresh = newWarnings(before, await warningsAt(context, tree, commit, `patch ${index}, "${subject}"`), touched)
    if (fresh.length === 0) continue
    throw new Failure('test', `"${subject}" brings new warnings of gcc or sparse.`, { excerpt: fresh, log: logOf(context) })
  }
  return { commits: commits.length, versions: requireVersions(context, stock, await exportedVersions(context)) }
}

/** @returns the checksums of the symbols that the folder exports, which genksyms leaves in its objects */
async function exportedVersions(context: Context): Promise<Map<string, string>> {
  const folder = join(outputOf(context), CHECKED)
  const objects = readdirSync(folder).filter((name) => name.endsWith('.o')).map((name) => join(folder, name))
  const { stdout } = await capture(['nm', ...objects])
  const lines = [...stdout.matchAll(/^0*([0-9a-f]{8}) A __crc_(\w+)$/gm)]
  return new Map(lines.map(([, crc = '', symbol = '']) => [symbol, `0x${crc}`]))
}

/**
 * Modules of others rely on the symbols that the distribution promises to keep.
 *
 * @param stock checksums without the series, in the same configuration
 * @param now checksums with it
 * @returns those of the promised symbols
 * @throws Failure of kind `test` when one differs or is not found
 */
function requireVersions(context: Context, stock: ReadonlyMap<string, string>, now: ReadonlyMap<string, string>): Record<string, string> {
  const { kabi } = context.target.check
  if (kabi === undefined) return {}
  const promised = promisedVersions(readFileSync(join(srpmFolder(context), kabi), 'utf8'), CHECKED)
  const changed = [...promised.keys()].filter((symbol) => stock.get(symbol) === undefined || stock.get(symbol) !== now.get(symbol))
  if (changed.length > 0 || promised.size === 0) {
    throw new Failure('test', 'The series changes checksums of symbols that the distribution promises to keep.', {
      excerpt: promised.size === 0 ? [`${kabi} promises no symbol of ${CHECKED}`] : changed.map((symbol) => `${symbol}: ${stock.get(symbol)} without the series, ${now.get(symbol)} with it`),
      hint: 'Put new members of structures behind #ifndef __GENKSYMS__, as the distribution does itself.',
    })
  }
  for (const [symbol, crc] of promised) {
    const kept = now.get(symbol) === crc ? `as in ${kabi}` : `as without the series; ${crc} in ${kabi}, of the whole configuration`
    log.info(`${symbol} ${now.get(symbol)}: ${kept}`)
  }
  return Object.fromEntries([...promised.keys()].map((symbol) => [symbol, now.get(symbol) ?? '']))
}

const logOf = (context: Context): string => join(context.paths.logs, 'check.log')

/** A second work tree, so that checking disturbs neither the prepared tree nor its incremental build. */
async function checkTree(context: Context): Promise<string> {
  const tree = join(context.paths.work, 'check-tree')
  removeStaleLocks(context.paths.tree)
  if (!existsSync(join(tree, '.git'))) {
    // An interrupted run may have left the beginning of one.
    rmSync(tree, { recursive: true, force: true })
    await treeGit(context).run('worktree', 'prune')
    await treeGit(context).run('worktree', 'add', '--quiet', '--force', '--detach', tree, BASE)
  }
  return tree
}

const outputOf = (context: Context): string => join(context.paths.work, `check-build-${basename(context.paths.build)}`)

async function warningsAt(context: Context, tree: string, commit: string, what: string): Promise<string[]> {
  const output = outputOf(context)
  log.info(`building ${what}`)
  await new Git(tree).run('checkout', '--quiet', '--force', '--detach', commit)
  mkdirSync(output, { recursive: true })
  copyFileSync(join(context.paths.build, '.config'), join(output, '.config'))
  const options = {
    env: { ...kbuildEnvironment(), ...ccacheEnvironment(context, join(context.paths.logs, 'check.ccache')) },
    log: logOf(context),
    doing: `building ${what}`,
    onLine: (line: string) => log.progress(line.trim()),
  }
  const make = ['make', '-C', tree, `O=${output}`, `-j${context.jobs}`, await compiler(context)]
  await runLogged([...make, context.target.settleConfig], options)
  await runLogged([...make, 'prepare'], options)
  await runLogged([...make, ...context.target.check.warnings, CHECKED], options)
  return readFileSync(options.log, 'utf8').split('\n')
}
