// SPDX-License-Identifier: GPL-2.0-only
/** Everything that is said to the user while work goes on: on stderr, so that stdout stays for results. */

const PLAIN_INTERVAL_MS = 10_000
const TTY_INTERVAL_MS = 100

const tty = process.stderr.isTTY
const colour = tty && process.env['NO_COLOR'] === undefined

const paint = (code: number) => (text: string) => (colour ? `\u001B[${code}m${text}\u001B[0m` : text)
export const bold = paint(1)
export const red = paint(31)
export const green = paint(32)
export const yellow = paint(33)
export const dim = paint(2)

let lastProgress = 0
let progressShown = false

function clearProgress(): void {
  if (progressShown) process.stderr.write('\r\u001B[K')
  progressShown = false
}

/** The toolchain's own tests look at results, not at the talk on the way. */
const silent = process.env['LVS_SNAT_LOG'] === 'off'

function line(text: string): void {
  if (silent) return
  clearProgress()
  process.stderr.write(`${text}\n`)
}

export const log = {
  /** Announces a step of the build. */
  step(name: string, text: string): void {
    lastProgress = Date.now()
    line(`${bold(`[${name}]`)} ${text}`)
  },
  info(text: string): void {
    line(`  ${text}`)
  },
  warn(text: string): void {
    line(`${yellow('warning:')} ${text}`)
  },
  error(text: string): void {
    line(`${red('error:')} ${text}`)
  },
  /**
   * How far long work has come. On a terminal one line is rewritten; elsewhere a
   * plain line appears every ten seconds.
   */
  progress(text: string): void {
    const now = Date.now()
    if (now - lastProgress < (tty ? TTY_INTERVAL_MS : PLAIN_INTERVAL_MS)) return
    lastProgress = now
    if (!tty) return line(`  ${text}`)
    const width = (process.stderr.columns || 80) - 4
    process.stderr.write(`\r\u001B[K  ${dim(text.slice(0, width))}`)
    progressShown = true
  },
}
