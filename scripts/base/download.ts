// SPDX-License-Identifier: GPL-2.0-only
/** Downloads by curl: it resumes, retries, and knows proxies and certificates. */

import { existsSync, renameSync, statSync } from 'node:fs'
import { DISK_FULL_HINT, Failure } from './errors.ts'
import { log } from './log.ts'
import { capture } from './run.ts'

const PROGRESS_MS = 1_000

/**
 * Downloads a file, continuing one that was begun earlier.
 *
 * @param urls the same file at several places, tried in order
 * @param path where it grows as `path.part` and finally is
 * @param hint what else the user can do when no place has it
 * @returns the URL that it came from
 * @throws Failure of kind `source` when no place has it, `environment` when it cannot be written
 */
export async function download(urls: readonly string[], path: string, hint: string): Promise<string> {
  const complaints: string[] = []
  for (const url of urls) {
    const complaint = await downloadFrom(url, path)
    if (complaint === undefined) return url
    complaints.push(`${url}: ${complaint}`)
  }
  throw new Failure('source', `Could not download ${urls[0]}.`, {
    hint: `Check the network and the proxy settings (https_proxy); the download continues where it stopped.\n${hint}`,
    excerpt: complaints,
  })
}

/** curl's exit code when it is its own disk that is in the way, on which no other mirror helps (curl(1)). */
const WRITE_ERROR = 23

/** @returns what curl complained of, or undefined when the file is there */
async function downloadFrom(url: string, path: string): Promise<string | undefined> {
  const part = `${path}.part`
  log.info(url)
  const timer = setInterval(() => {
    if (existsSync(part)) log.progress(`${url}: ${megabytes(statSync(part).size)}`)
  }, PROGRESS_MS)
  try {
    const curl = ['curl', '--fail', '--location', '--proto-redir', '=https', '--silent', '--show-error', '--continue-at', '-', '--retry', '4']
    const timeouts = ['--connect-timeout', '20', '--speed-limit', '1000', '--speed-time', '30']
    const { exitCode, stderr } = await capture([...curl, ...timeouts, '--output', part, url], { anyExit: true })
    if (exitCode === WRITE_ERROR) throw new Failure('environment', `${part} cannot be written: ${lastComplaint(stderr)}.`, { hint: DISK_FULL_HINT })
    if (exitCode !== 0) return lastComplaint(stderr) || `curl exited with ${exitCode}`
    renameSync(part, path)
    return undefined
  } finally {
    clearInterval(timer)
  }
}

/** @returns what curl complained of at its last try; it says a line for each */
export const lastComplaint = (stderr: string): string => (stderr.trim().split('\n').at(-1) ?? '').replace(/^curl: /, '')

export const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`
