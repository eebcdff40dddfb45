// SPDX-License-Identifier: GPL-2.0-only
/** The folder of sockets of a running lab. */

import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Failure } from '../scripts/base/errors.ts'
import { temporaryPlaces } from '../scripts/base/files.ts'

/** sockaddr_un has 108 bytes for a path and the NUL after it; the longest name in the folder is that of a fourth lab's gateway which two were lost before. */
const MAX_FOLDER_BYTES = 107 - '/gateway-lab4-3.agent'.length
/** As those of other folders that sweepTemporary() knows. */
const PREFIX = 'lvs-snat-vm-'

/**
 * Makes a folder that only this user can enter, short enough for unix sockets.
 *
 * @throws Failure of kind `environment` when every place is too deep
 */
export function createRuntimeFolder(): string {
  for (const place of temporaryPlaces()) {
    if (Buffer.byteLength(join(place, `${PREFIX}XXXXXX`)) > MAX_FOLDER_BYTES) continue
    try {
      const folder = mkdtempSync(join(place, PREFIX))
      chmodSync(folder, 0o700)
      return folder
    } catch {
      // Not ours to write to; the next place is.
    }
  }
  throw new Failure('environment', 'There is no folder for the sockets of virtual machines.', { hint: 'Set TMPDIR to a short path.' })
}

/** Runs `work` with a folder of sockets, and takes the folder away afterwards, whatever happened. */
export async function withRuntimeFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = createRuntimeFolder()
  // A second Ctrl-C or a defect ends the process without its finally blocks.
  const remove = () => rmSync(folder, { recursive: true, force: true })
  process.once('exit', remove)
  try {
    return await work(folder)
  } finally {
    process.removeListener('exit', remove)
    remove()
  }
}
