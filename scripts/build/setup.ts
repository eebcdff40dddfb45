// SPDX-License-Identifier: GPL-2.0-only
/** Finds what the host lacks, and installs it. */

import { accessSync, constants, existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { capture, runLogged } from '../base/run.ts'
import { REQUIREMENTS, type Requirement } from '../packages.ts'
import type { Context } from './context.ts'

/** Administrators' commands such as depmod are not on every user's PATH. */
const SYSTEM_PATH = ['/usr/local/sbin', '/usr/sbin', '/sbin']

type Manager = 'apt' | 'dnf'

const INSTALL: Record<Manager, readonly string[][]> = {
  apt: [
    ['apt-get', 'update'],
    ['env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', 'install', '--yes', '--no-install-recommends'],
  ],
  dnf: [['dnf', 'install', '--assumeyes', '--setopt=install_weak_deps=False']],
}

/** @returns what the host lacks of {@link REQUIREMENTS} */
export function missing(requirements: readonly Requirement[] = REQUIREMENTS, path = process.env['PATH'] ?? ''): Requirement[] {
  return requirements.filter(({ needs }) => (needs.startsWith('/') ? !existsSync(needs) : !isCommand(needs, path)))
}

function isCommand(name: string, path: string): boolean {
  return [...path.split(delimiter), ...SYSTEM_PATH].some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/** @returns a line for each missing thing: what, its package, and why it is needed */
export function describe(lacking: readonly Requirement[], manager: Manager): string[] {
  return lacking.map((requirement) => `${requirement[manager].padEnd(24)} ${requirement.why}`)
}

/** @returns the package manager of this host */
export function packageManager(path = process.env['PATH'] ?? ''): Manager {
  return isCommand('apt-get', path) || !isCommand('dnf', path) ? 'apt' : 'dnf'
}

/**
 * Installs what is missing, after saying which and why.
 *
 * @param further what is needed besides {@link REQUIREMENTS}
 * @throws Failure of kind `environment` when it may not (`SETUP=no`, no root) or cannot
 */
export async function setUp(context: Context, further: readonly Requirement[] = []): Promise<void> {
  const needed = [...REQUIREMENTS, ...further]
  const lacking = missing(needed)
  if (lacking.length === 0) return
  const manager = packageManager()
  const excerpt = describe(lacking, manager)
  const packages = [...new Set(lacking.map((requirement) => requirement[manager]))]
  const commands = INSTALL[manager].map((words, index, all) => (index === all.length - 1 ? [...words, ...packages] : words))
  const byHand = commands.map((words) => words.join(' ')).join(' && ')
  if (!context.setup) {
    throw new Failure('environment', 'Some packages are missing.', { excerpt, hint: `Install them: ${byHand}` })
  }
  log.step('setup', `installing packages with ${manager}:`)
  for (const line of excerpt) log.info(line)
  const root = await becomeRoot(byHand)
  for (const words of commands) {
    await runLogged([...root, ...words], {
      doing: `installing packages with ${manager}`,
      log: join(context.paths.cache, 'setup.log'),
      kind: 'environment',
      hint: `Install them by hand: ${byHand}`,
      onLine: (line) => log.progress(line),
    })
  }
  requireComplete(needed, manager)
}

function requireComplete(needed: readonly Requirement[], manager: Manager): void {
  const still = missing(needed)
  if (still.length === 0) return
  throw new Failure('environment', 'Some of what is needed is still missing after the installation.', {
    excerpt: still.map(({ needs }) => needs).concat(describe(still, manager)),
  })
}

/** @returns the words that go before a command that needs root */
async function becomeRoot(byHand: string): Promise<string[]> {
  if (process.getuid?.() === 0) return []
  const { exitCode } = await capture(['sudo', '--non-interactive', 'true'], { anyExit: true })
  if (exitCode === 0) return ['sudo', '--non-interactive']
  throw new Failure('environment', 'Packages are missing, and installing them needs root.', {
    hint: `As root: ${byHand}\nOr run sudo -v first, so that sudo does not have to ask.`,
  })
}
