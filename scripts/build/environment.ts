// SPDX-License-Identifier: GPL-2.0-only
/** What programs that this tool calls inherit from its caller. */

import { PREFIX, VARIABLES } from './context.ts'
import { isOfFarm, sharedEnvironment } from './farm.ts'

/** What a make tells the makes below it. */
const MAKE = ['MAKEFLAGS', 'MFLAGS', 'MAKELEVEL', 'MAKEOVERRIDES']

/**
 * Builds of others take variables of these names for theirs: with DEBUG=1,
 * tools/lib/subcmd/Makefile of Linux compiles objtool with -O0.
 *
 * @returns the caller's environment without the names of this tool's variables and those of the make that called it,
 *   and of those of ccache and distcc only what is shared between machines
 */
export function inheritedEnvironment(): NodeJS.ProcessEnv {
  const own = new Set([...Object.keys(VARIABLES), ...MAKE])
  const others = Object.entries(process.env).filter(([name]) => !own.has(name) && !name.startsWith(PREFIX) && !isOfFarm(name))
  return { ...Object.fromEntries(others), ...sharedEnvironment() }
}
