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

/** How much is said: warnings and errors; what is being done; the commands too, and all that they say. */
export type Level = 'quiet' | 'normal' | 'verbose'
let level: Level = 'normal'

/** The toolchain's own tests look at results, not at the talk on the way. */
const silent = process.env['LVS_SNAT_LOG'] === 'off'

function line(text: string): void {
  if (silent) return
  clearProgress()
  process.stderr.write(`${text}\n`)
}

const talk = (text: string): void => {
  if (level !== 'quiet') line(text)
}

export const log = {
  setLevel(wanted: Level): void {
    level = wanted
  },
  /** Announces a step of the build. */
  step(name: string, text: string): void {
    lastProgress = Date.now()
    talk(`${bold(`[${name}]`)} ${text}`)
  },
  info(text: string): void {
    talk(`  ${text}`)
  },
  /** What is said only when everything is to be. */
  detail(text: string): void {
    if (level === 'verbose') line(dim(text))
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
    if (level !== 'normal') return
    const now = Date.now()
    if (now - lastProgress < (tty ? TTY_INTERVAL_MS : PLAIN_INTERVAL_MS)) return
    lastProgress = now
    if (!tty) return line(`  ${text}`)
    const width = (process.stderr.columns || 80) - 4
    process.stderr.write(`\r\u001B[K  ${dim(text.slice(0, width))}`)
    progressShown = true
  },
  /**
   * Counts lines of long work.
   *
   * @param expected about how many there will be, if that is known
   * @returns takes a line, and shows how far the work has come
   */
  counter(expected?: number): (line: string) => void {
    const start = Date.now()
    let count = 0
    return (text) => log.progress(`${describeProgress(++count, Date.now() - start, expected)} ${text.trim()}`)
  },
}

/** Before so much is done, nothing can be told of what is left. */
const TOLD_FROM = 0.02

/**
 * @param milliseconds since the work began
 * @returns "1200 of about 4185, 4 min left"
 */
export function describeProgress(count: number, milliseconds: number, expected?: number): string {
  if (expected === undefined || count > expected) return String(count)
  const done = count / expected
  const left = (milliseconds / 1000 / done) * (1 - done)
  const time = left < 90 ? `${Math.ceil(left)} s` : `${Math.round(left / 60)} min`
  return `${count} of about ${expected}${done < TOLD_FROM ? '' : `, ${time} left`}`
}
