// SPDX-License-Identifier: GPL-2.0-only
/** What KCSAN has told of the kernel itself: it fails no test, and is not hidden either. */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ForeignRace } from '../../test/e2e/lib/klog.ts'
import { log } from '../base/log.ts'

/** Those of unknown origin come first: their other side may be IPVS. */
const PARTS = [
  { heading: 'One side is not known, and may be IPVS', unknownOrigin: true },
  { heading: 'Both sides are known, and neither is in IPVS', unknownOrigin: false },
] as const

/** @param results folder that gets a file with how often each was told of, and a whole report of each */
export function tellRaces(races: readonly ForeignRace[], results: string): void {
  if (races.length === 0) return
  const path = join(results, 'races.txt')
  const parts = PARTS.map(({ heading, unknownOrigin }) => ({ heading, of: races.filter((race) => race.unknownOrigin === unknownOrigin) })).filter(({ of }) => of.length > 0)
  const counts = parts.map(({ heading, of }) => `${heading}:\n${of.map(({ times, title }) => `${times} ${title}\n`).join('')}`)
  const reports = parts.flatMap(({ of }) => of.map(({ report }) => `${report.join('\n')}\n`))
  writeFileSync(path, [...counts, ...reports].join('\n'))
  log.info(`KCSAN has told ${races.reduce((sum, { times }) => sum + times, 0)} times of ${races.length} data races without IPVS: ${path}`)
}
