// SPDX-License-Identifier: GPL-2.0-only
/**
 * What full-packages.test.ts runs in a mount namespace of its own, where the folder for temporary files is a small
 * disk: `MOMENTS` as JSON. Fills it, or another one for dist, in the middle of builds, and prints what came of each.
 */

import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { Failure } from '../../scripts/base/errors.ts'
import { asFailure } from '../../scripts/base/files.ts'
import { build, createPackaged, forget, mixedParts, type Packaged, standIn } from './packaged-fixture.ts'

/** When a disk becomes full: a program is called with certain words, as a pattern of the shell's. */
export interface Moment {
  program: string
  words: string
  /** What it has done until then, in lines of shell; `real` calls it. */
  done?: string
  /** What it does then, if not what it is for. */
  then?: string
  /** Which disk, unless it is that of everything else. */
  disk?: 'dist'
  /** A tool that is to be made anew for it. */
  missing?: string
}

/** What came of it. */
export interface Outcome {
  kind?: string
  message?: string
  hint?: string
  /** Paths of what is neither of the build before nor of this one. */
  mixed: string[]
  /** Whether the next run, with space again, has made what one makes that has always had it. */
  same: boolean
}

const CONTENTS = ['one', 'other'] as const

const filler = ({ root }: Packaged, disk: Moment['disk']): string => join(disk === 'dist' ? join(root, 'dist') : dirname(root), 'filler')

/** @returns folder of a program that stands before another one of its name, and fills a disk at certain words */
const fillingProgram = (small: Packaged, { program, words, done = '', then, disk }: Moment): string => standIn(join(dirname(small.root), 'filling'), program, words, `  ${done}
  cat /dev/zero >${filler(small, disk)} 2>/dev/null
  ${then ?? (done === '' ? '' : 'exit 0')}`)

/** Builds until the disk is full. @returns what is thrown then, as a user is told it */
async function meet(small: Packaged, moment: Moment, content: string): Promise<unknown> {
  const path = process.env['PATH']
  process.env['PATH'] = `${fillingProgram(small, moment)}:${path}`
  try {
    return await build(small, content)
  } catch (error) {
    return asFailure(error)
  } finally {
    process.env['PATH'] = path
  }
}

// Its folder goes with the disk.
const small = createPackaged({ teardown: () => undefined })
mkdirSync(join(small.root, 'dist'))
execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', join(small.root, 'dist')])
process.env['PATH'] = `${small.bin}:${process.env['PATH']}`
const wanted = [await build(small, CONTENTS[0]), await build(small, CONTENTS[1])] as const
const c = small.context()
for (const [index, moment] of (JSON.parse(process.argv[2] ?? '[]') as Moment[]).entries()) {
  const content = CONTENTS[index % 2] ?? CONTENTS[0]
  forget(c, moment.missing === undefined ? [] : [join(c.paths.tools, moment.missing), join(c.paths.results, moment.missing)])
  const failure = await meet(small, moment, content)
  const mixed = mixedParts(c, ...wanted)
  rmSync(filler(small, moment.disk))
  const told = failure instanceof Failure ? { kind: failure.kind, message: failure.message, hint: failure.details.hint ?? '' } : { message: String(failure) }
  const same = isDeepStrictEqual(await build(small, content), wanted[index % 2])
  process.stdout.write(`${JSON.stringify({ ...told, mixed, same } satisfies Outcome)}\n`)
}
