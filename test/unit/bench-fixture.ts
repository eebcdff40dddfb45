// SPDX-License-Identifier: GPL-2.0-only
/** Results of a benchmark as a run would have them, with figures that are made up. */

import type { Measurement, Results, Subject } from '../../vm/bench/results.ts'
import { type Host, type Origin, type Stored, toStored } from '../../vm/bench/stored.ts'

export const FLOW_COUNTS = [1, 1_000, 20_000, 100_000] as const

export const ORIGIN: Origin = {
  variant: 'lts', kernel: '6.1.192-1.snat1.x86_64', commit: '0123456789abcdef0123456789abcdef01234567', dirty: false, tested: 'packages in dist',
  date: '2026-11-28T12:00:00.000Z', method: 'guest instructions', qemu: 'QEMU emulator version 7.2.0', rounds: 1,
}

export const HOST: Host = { processor: 'A Processor', processors: 2, system: 'Linux 6.1' }

/** @param instructions of each round @returns a measurement of each round, whose packets have all arrived */
export const rounds = (subject: Partial<Subject> & { way: string }, ...instructions: number[]): Measurement[] =>
  instructions.map((count, index) => ({ kind: 'out', checksum: true, flows: 1, ...subject, round: index + 1, instructions: count, sent: 10, arrived: 10 }))

export const results = (...measurements: Measurement[]): Results => ({ measurements, loads: [], quantities: [], inapplicable: [] })

export const stored = (measurements: readonly Measurement[], origin: Partial<Origin> = {}, complete = true): Stored =>
  toStored({ ...ORIGIN, ...origin }, HOST, results(...measurements), complete)
