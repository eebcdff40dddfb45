// SPDX-License-Identifier: GPL-2.0-only
import { EXIT } from '../base/errors.ts'
import { VARIABLES } from '../build/context.ts'
import { FARM_VARIABLES } from '../build/farm.ts'
import { commandNames, loadCommand } from '../cli.ts'
import type { Command } from '../command.ts'
import { TARGETS } from '../targets.ts'

const command: Command = {
  summary: 'list the commands, the variables and the exit codes',
  help: 'Commands, variables, targets and exit codes; make COMMAND-help explains one command.',
  async run() {
    const names = commandNames()
    const commands = await Promise.all(names.map(async (name) => [name, (await loadCommand(name)).summary] as const))
    const rows = (entries: readonly (readonly [string, string])[]) =>
      entries.map(([name, text]) => `  ${name.padEnd(13)} ${text}`).join('\n')
    process.stdout.write(`make [COMMAND] [NAME=VALUE...]; without a command: make all

Commands (make COMMAND-help explains one):
${rows(commands)}

Variables (in the environment with LVS_SNAT_ before the name: LVS_SNAT_TARGET=el6):
${rows(Object.entries(VARIABLES))}

Variables of ccache and distcc (from the environment, as they are; make doctor tries what they name):
${rows(Object.entries(FARM_VARIABLES))}

Targets:
${rows(TARGETS.map((target) => [target.name, target.summary] as const))}

Exit codes of scripts/main.ts (make itself turns each into 2 and prints it as "Error N"):
${rows(Object.entries(EXIT).map(([kind, code]) => [String(code), kind] as const))}
`)
  },
}
export default command
