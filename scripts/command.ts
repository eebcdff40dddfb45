// SPDX-License-Identifier: GPL-2.0-only
/** The shape of a command: one file in `scripts/commands`, named as the user types it. */

import type { Context } from './build/context.ts'
import type { Step } from './build/step.ts'

export interface Command {
  /** One line for `make help`. */
  summary: string
  /** What `--help` prints below the summary: what it reads, what it writes, an example. */
  help: string
  /** Whether it is about the tree that TREE= names; else it is about the kernel, and refuses another. */
  anyTree?: true
  /** Whether it means something for a kernel as its distribution has it (KERNEL=stock); else it refuses that. */
  anyKernel?: true
  /** What it brings up to date before it does its own work: what DRYRUN=1 tells of. */
  step?: Step | ((context: Context) => Step)
  run: (context: Context) => Promise<void>
}
