// SPDX-License-Identifier: GPL-2.0-only
/** Downloads by curl: it resumes, retries, and knows proxies and certificates. */

import { existsSync, renameSync, rmSync, statSync } from 'node:fs'
import { DISK_FULL_HINT, Failure } from './errors.ts'
import { log } from './log.ts'
import { capture } from './run.ts'

const PROGRESS_MS = 1_000

/** Three times the largest source. */
const LONGEST = 500e6

/** What is known of a file before it is there. */
export interface Expected {
  /** Throws a Failure of kind `source` for another file; the next place is tried then. */
  check?: (path: string) => Promise<unknown>
  /** Bytes; what is longer is another file. */
  longest?: number
  /** How long a small file may take at a place. */
  seconds?: number
}

/**
 * Downloads a file, continuing one that was begun earlier.
 *
 * @param urls the same file at several places, tried in order
 * @param path where it grows as `path.part` and finally is
 * @param hint what else the user can do when no place has it
 * @returns the URL that it came from
 * @throws Failure of kind `source` when no place has it, or the only one has another, `environment` when it cannot be written
 */
export async function download(urls: readonly string[], path: string, hint: string, expected: Expected = {}): Promise<string> {
  const complaints: string[] = []
  for (const url of urls) {
    const complaint = await downloadFrom(url, path, expected)
    if (complaint === undefined) return url
    if (complaint instanceof Failure && urls.length === 1) throw complaint
    complaints.push(`${url}: ${complaint instanceof Failure ? complaint.message : complaint}`)
  }
  throw new Failure('source', `Could not download ${urls[0]}.`, {
    hint: `Check the network and the proxy settings (https_proxy); the download continues where it stopped.\n${hint}`,
    excerpt: complaints,
  })
}

/** @returns what is wrong with the place or with what came from it, or undefined when the file is there */
async function downloadFrom(url: string, path: string, expected: Expected): Promise<string | Failure | undefined> {
  const part = `${path}.part`
  const begun = existsSync(part)
  const complaint = (await grow(url, part, expected)) ?? (await refused(part, expected))
  if (complaint === undefined) renameSync(part, path)
  // Another place may have begun it, with another file, or this one cannot continue.
  else if (begun && !existsSync(part)) return downloadFrom(url, path, expected)
  return complaint
}

/** curl's exit code when it is its own disk that is in the way, on which no other mirror helps (curl(1)). */
const WRITE_ERROR = 23
/** That of a file that its server says to be longer than it may be. */
const TOO_LONG = 63
/** Those of a place that cannot continue a file, or whose file is longer than what is there. */
const CANNOT_CONTINUE = [33, 36]

/** @returns what curl complained of, or undefined when it has all that the place has; a beginning of no use is removed */
async function grow(url: string, part: string, { longest = LONGEST, seconds }: Expected): Promise<string | undefined> {
  const size = (): number => statSync(part, { throwIfNoEntry: false })?.size ?? 0
  log.info(url)
  const timer = setInterval(() => {
    if (existsSync(part)) log.progress(`${url}: ${megabytes(size())}`)
  }, PROGRESS_MS)
  try {
    const curl = ['curl', '--fail', '--location', '--proto-redir', '=https', '--silent', '--show-error', '--continue-at', '-', '--retry', '4']
    const timeouts = ['--connect-timeout', '20', '--speed-limit', '1000', '--speed-time', '30', ...(seconds ? ['--max-time', String(seconds), '--retry-max-time', String(seconds)] : [])]
    const { exitCode, stderr } = await capture([...limited(longest), ...curl, ...timeouts, '--max-filesize', String(longest), '--output', part, url], { anyExit: true })
    const tooLong = exitCode === TOO_LONG || size() >= longest
    if (tooLong || CANNOT_CONTINUE.includes(exitCode)) rmSync(part, { force: true })
    if (tooLong) return `it is longer than ${megabytes(longest)}`
    if (exitCode === WRITE_ERROR) throw new Failure('environment', `${part} cannot be written: ${lastComplaint(stderr)}.`, { hint: DISK_FULL_HINT })
    return exitCode === 0 ? undefined : lastComplaint(stderr) || `curl exited with ${exitCode}`
  } finally {
    clearInterval(timer)
  }
}

/** Before 8.4, curl itself refuses only what a server tells the length of. A shell counts in blocks of 512 bytes. */
const limited = (bytes: number): string[] => ['sh', '-c', 'ulimit -c 0 && ulimit -f "$1" && shift && exec "$@"', 'sh', String(Math.ceil(bytes / 512))]

/** @returns why what came is another file, which is removed */
async function refused(path: string, { check }: Expected): Promise<Failure | undefined> {
  try {
    await check?.(path)
    return undefined
  } catch (error) {
    if (!(error instanceof Failure) || error.kind !== 'source') throw error
    rmSync(path)
    return error
  }
}

/** @returns what curl complained of at its last try; it says a line for each */
export const lastComplaint = (stderr: string): string => (stderr.trim().split('\n').at(-1) ?? '').replace(/^curl: /, '')

export const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`
