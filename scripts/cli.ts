// SPDX-License-Identifier: GPL-2.0-only
/** The command line: which command, which variables, and how a failure is reported. */

import { existsSync, readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import semver from 'semver'
import packageJson from '../package.json' with { type: 'json' }
import { EXIT, Failure } from './base/errors.ts'
import { asFailure } from './base/files.ts'
import { log } from './base/log.ts'
import { ROOT } from './base/root.ts'
import { killChildren } from './base/run.ts'
import { originalStack } from './base/stack.ts'
import { createContext, goal, isKernel, isSet, PREFIX, VARIABLES, type Context, type Variable, type Variables } from './build/context.ts'
import { plan, type Step } from './build/step.ts'
import type { Command } from './command.ts'
import { unusedSources } from './steps/fetch.ts'

const COMMANDS = join(ROOT, 'scripts/commands')

/** @returns the names of all commands, which are the names of their files */
export const commandNames = (): string[] => readdirSync(COMMANDS).filter((file) => file.endsWith('.ts')).map((file) => basename(file, '.ts')).sort()

/** @throws Failure of kind `usage` if there is no such command */
export async function loadCommand(name: string): Promise<Command> {
  if (!/^[a-z][a-z0-9-]*$/.test(name) || !existsSync(join(COMMANDS, `${name}.ts`))) {
    throw new Failure('usage', `Unknown command "${name}".`, { hint: 'make help lists the commands.' })
  }
  const module = (await import(`./commands/${name}.ts`)) as { default: Command }
  return module.default
}

/** What the log looks at itself, see log.ts. */
const NO_VARIABLE = 'LOG'

/**
 * Takes the variables from the environment, where each has {@link PREFIX} before its name, then from the command line.
 *
 * @throws Failure of kind `usage` for an unknown name
 */
export function parseVariables(words: readonly string[], environment: NodeJS.ProcessEnv): Variables {
  const variables: Variables = {}
  for (const [name, value] of Object.entries(environment)) {
    if (name.startsWith(PREFIX) && name !== `${PREFIX}${NO_VARIABLE}`) variables[known(name.slice(PREFIX.length))] = value ?? ''
  }
  for (const word of words) {
    const [, name = '', value = ''] = /^([^=]*)=(.*)$/s.exec(word) ?? [word, word]
    if (!word.includes('=')) throw new Failure('usage', `Unknown argument "${word}".`, { hint: VARIABLES_HINT })
    variables[known(name)] = value
  }
  return variables
}

const VARIABLES_HINT = `Variables: ${Object.keys(VARIABLES).join(', ')}; make help explains them.`

function known(name: string): Variable {
  if (Object.hasOwn(VARIABLES, name)) return name as Variable
  throw new Failure('usage', `Unknown variable "${name}".`, { hint: VARIABLES_HINT })
}

/** @throws Failure of kind `environment` if this Node is too old */
function requireNode(): void {
  if (semver.satisfies(process.version, packageJson.engines.node)) return
  throw new Failure('environment', `Node ${process.version} is too old; ${packageJson.engines.node} is needed.`)
}

/**
 * Runs `COMMAND [--help] [NAME=VALUE...]`.
 *
 * @throws Failure of the command's, or of kind `usage`
 */
export async function runCommand(words: readonly string[]): Promise<void> {
  requireNode()
  const [name = 'help', ...rest] = words.filter((word) => word !== '--help')
  const command = await loadCommand(name)
  if (words.includes('--help')) {
    process.stdout.write(`${name}: ${command.summary}\n\n${command.help.trim()}\n`)
    return
  }
  const context = createContext(parseVariables(rest, process.env))
  if (!command.anyTree && !isKernel(context)) throw new Failure('usage', `make ${name} knows no TREE=${context.tree.name}.`, { hint: 'TREE is for prep, patch, save, discard and clean.' })
  if (!command.anyKernel && context.stock) throw new Failure('usage', `make ${name} knows no KERNEL=stock: ${context.stock.distribution} has built that.`, { hint: `KERNEL=stock is for ${(await stockCommands()).join(', ')}.` })
  setLevel(context)
  warnOfUnused(context, name, command)
  if (isSet(context.variables, 'DRYRUN')) await sayPlan(context, name, command)
  else await command.run(context)
}

/** @returns names of the commands that mean something for a kernel as its distribution has it */
async function stockCommands(): Promise<string[]> {
  const commands = await Promise.all(commandNames().map(async (name) => ({ name, command: await loadCommand(name) })))
  return commands.filter(({ command }) => command.anyKernel).map(({ name }) => name)
}

function setLevel({ variables }: Context): void {
  const [verbose, quiet] = [isSet(variables, 'V'), isSet(variables, 'Q')]
  if (verbose && quiet) throw new Failure('usage', 'V=1 and Q=1 are the opposite of each other.')
  log.setLevel(verbose ? 'verbose' : quiet ? 'quiet' : 'normal')
}

const stepOf = (context: Context, { step }: Command): Step | undefined => (typeof step === 'function' ? step(context) : step)

/** Several targets may share the variable, so it is no error. */
function warnOfUnused(context: Context, name: string, command: Command): void {
  const step = stepOf(context, command)
  const unused = step ? unusedSources(context, step) : []
  if (unused.length > 0) log.warn(`SOURCE= names ${unused.join(', ')}, of which ${goal(context, name)} takes nothing.`)
}

async function sayPlan(context: Context, name: string, command: Command): Promise<void> {
  const step = stepOf(context, command)
  if (!step) throw new Failure('usage', `make ${name} builds nothing that DRYRUN=1 could tell of.`)
  for (const { step: called, why } of await plan(context, step)) process.stdout.write(`${called.padEnd(18)} ${why ?? 'up to date'}\n`)
}

/** Ends what nobody waits for: a full disk met while a packet is recorded, or a defect. */
export function endBy(thrown: unknown): never {
  killChildren()
  process.exit(report(thrown))
}

/** Says what went wrong, on stderr; a stack trace only for a defect of this tool. */
export function report(thrown: unknown): number {
  const error = asFailure(thrown)
  if (!(error instanceof Failure)) {
    log.error(`a defect of this tool: ${error instanceof Error ? originalStack(error.stack ?? error.message) : String(error)}`)
    return EXIT.internal
  }
  log.error(error.message)
  const { excerpt, hint, log: path } = error.details
  for (const line of excerpt ?? []) process.stderr.write(`  | ${line}\n`)
  for (const line of hint?.split('\n') ?? []) process.stderr.write(`  ${line}\n`)
  if (path) process.stderr.write(`  Complete log: ${path}\n`)
  return error.exitCode
}
