// SPDX-License-Identifier: GPL-2.0-only
/** The C library that is linked into the packaged tools. */

import { dirname, join } from 'node:path'
import { sha256File } from '../base/files.ts'
import { capture } from '../base/run.ts'

/** The library as this host has it. */
export interface Musl {
  version: string
  filename: string
  sha256: string
}

/** @returns what musl-gcc links programs with: gcc's own -print-file-name does not know the wrapper's folders */
export async function findMusl(): Promise<Musl> {
  const { stdout } = await capture(['musl-gcc', '-static', '-x', 'c', '-', '-Wl,--trace', '-o', '/dev/null'], { kind: 'environment', input: 'int main(void) { return 0; }\n' })
  const path = /^\(?(\S*\/libc\.a)\b/m.exec(stdout)?.[1] ?? ''
  // It is the loader as well, and complains that it was not told what to load.
  const { stderr } = await capture([join(dirname(path), 'libc.so')], { anyExit: true })
  return { version: /^Version (\S+)/m.exec(stderr)?.[1] ?? 'unknown', filename: 'libc.a', sha256: await sha256File(path) }
}
