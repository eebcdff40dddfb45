// SPDX-License-Identifier: GPL-2.0-only
/** How many packets have gone the short way (net.ipv4.vs.snat_fastpath), and what needs that there is one. */

import assert from 'node:assert/strict'
import type { Lab } from '../../../vm/lab.ts'
import { counters } from './configure.ts'
import { test, type TestCase } from './suite.ts'
import { ask, type Exchange } from './traffic.ts'

/** Packets from inside, and those from outside. */
export interface Taken {
  out: number
  in: number
}

export const NONE: Taken = { out: 0, in: 0 }
export const ONE: Taken = { out: 1, in: 1 }
/** Longer than any test takes, whatever the host does meanwhile. */
export const LONG_S = 3600

/** @returns how many packets have gone the short way while `work` ran */
export async function taken(lab: Lab, work: () => Promise<unknown>): Promise<Taken> {
  const count = async (): Promise<Taken> => {
    const all = await counters(lab)
    return { out: all['fast_out'] ?? NaN, in: all['fast_in'] ?? NaN }
  }
  const before = await count()
  await work()
  const after = await count()
  return { out: after.out - before.out, in: after.in - before.in }
}

/** Exchanges packets of a UDP flow until both directions have a short way, if they get one. */
export async function learn(flow: Exchange): Promise<void> {
  for (let round = 0; round < 2; round++) await ask(flow)
}

export const assertFast = async (lab: Lab, flow: Exchange): Promise<void> => assert.deepEqual(await taken(lab, () => ask(flow)), ONE, 'the short way')
export const assertSlow = async (lab: Lab, flow: Exchange): Promise<void> => assert.deepEqual(await taken(lab, () => ask(flow)), NONE, 'the whole way')

/** @returns all counters of IPv4 */
async function ipCounters(lab: Lab): Promise<Map<string, number>> {
  const lines = (await lab.gateway.sh(`grep -hE '^Ip(Ext)?:' /proc/net/snmp /proc/net/netstat`)).trim().split('\n').map((line) => line.split(' '))
  return new Map(lines.flatMap((names, at) => (at % 2 === 1 ? [] : names.slice(1).map((name, index): [string, number] => [`${names[0]}${name}`, Number(lines[at + 1]?.[index + 1])]))))
}

/** @returns what the counters of IPv4 say of what happens while `work` runs, without those that stay */
export async function countedOf(lab: Lab, work: () => Promise<void>): Promise<Record<string, number>> {
  const before = await ipCounters(lab)
  await work()
  return Object.fromEntries([...(await ipCounters(lab))].map(([name, value]): [string, number] => [name, value - (before.get(name) ?? 0)]).filter(([, value]) => value !== 0))
}

export const fast = (name: string, proves: string, run: TestCase['run'], options: Partial<TestCase> = {}): TestCase =>
  test(name, proves, run, { ...options, needs: ['fastpath', ...(options.needs ?? [])] })
