// SPDX-License-Identifier: GPL-2.0-only
/** Entry point: `main.ts COMMAND [--help] [NAME=VALUE...]`; the Makefile calls it for every target. */

import { EXIT } from './base/errors.ts'
import { log } from './base/log.ts'
import { interruption, killChildren, stopChildren } from './base/run.ts'
import { endBy, report, runCommand } from './cli.ts'

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (interruption()) {
      killChildren()
      process.exit(EXIT.interrupted)
    }
    log.warn(`${signal}: stopping, please wait a moment`)
    stopChildren(signal)
  })
}
process.on('uncaughtException', endBy)
// A closed pipe (make fetch | head) is no defect.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
})

runCommand(process.argv.slice(2)).then(
  () => {
    process.exitCode = interruption() ? EXIT.interrupted : (process.exitCode ?? 0)
  },
  (error: unknown) => {
    process.exitCode = interruption() ? EXIT.interrupted : report(error)
    if (interruption()) log.error('Interrupted. What was finished is kept; the same command continues.')
  },
)
