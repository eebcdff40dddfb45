// SPDX-License-Identifier: GPL-2.0-only
import test, { type ExecutionContext } from 'ava'
import { createContext } from '../../scripts/build/context.ts'
import { ACTIONS } from '../e2e/soak/actions.ts'
import { Dice } from '../e2e/soak/dice.ts'
import { Growth, grown, MEMORY, sizesOf } from '../e2e/soak/growth.ts'
import type { Lab } from '../../vm/lab.ts'
import { actionAt, alarm } from '../e2e/soak/run.ts'
import { World } from '../e2e/soak/world.ts'

const draws = (seed: number, number: number): number[] => {
  const dice = new Dice(seed, number)
  return Array.from({ length: 50 }, () => dice.below(1000))
}

const names = (seed: number, count: number): string[] => Array.from({ length: count }, (_, index) => actionAt(seed, index + 1).action.name)

test('the same seed takes the same actions, and another one others', (t) => {
  t.deepEqual(names(7, 200), names(7, 200))
  t.notDeepEqual(names(7, 200), names(8, 200))
})

test('what an action draws is its own, whatever the ones before it have drawn', (t) => {
  const { dice } = actionAt(7, 100)
  const first = dice.below(1_000_000)
  actionAt(7, 99).dice.below(5)
  t.is(actionAt(7, 100).dice.below(1_000_000), first)
  t.deepEqual(draws(1, 2), draws(1, 2))
  t.notDeepEqual(draws(1, 2), draws(2, 1))
  t.notDeepEqual(draws(1, 23), draws(12, 3))
})

test('every action comes, about as often as its weight says', (t) => {
  const total = ACTIONS.reduce((sum, { weight }) => sum + weight, 0)
  const count = 200 * total
  const chosen = names(1, count)
  for (const { name, weight } of ACTIONS) {
    const often = chosen.filter((one) => one === name).length
    t.true(often > 100 * weight && often < 300 * weight, `${name}: ${often} of ${count}`)
  }
  t.is(new Set(ACTIONS.map(({ name }) => name)).size, ACTIONS.length)
})

test('dice stay within what is asked of them, and come to all of it', (t) => {
  const dice = new Dice(3, 4)
  const seen = Array.from({ length: 500 }, () => dice.between(3, 6))
  t.deepEqual([...new Set(seen)].sort(), [3, 4, 5, 6])
  t.is(dice.below(1), 0)
  t.is(dice.pick(['only']), 'only')
  t.true(dice.oneIn(1))
})

test('sizes are those of /proc/meminfo and /proc/slabinfo', (t) => {
  const sizes = sizesOf([
    'MemTotal:         498816 kB', 'MemFree:          400000 kB', 'MemAvailable:     450000 kB', 'slabinfo - version: 2.1',
    '# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>',
    'ip_vs_conn            12     32    256   16    1 : tunables    0    0    0 : slabdata      2      2      0',
    'vmap_area             7     64     64   64    1 : tunables    0    0    0 : slabdata      1      1      0',
    'kmalloc-1k           100    128   1024   16    4 : tunables    0    0    0 : slabdata      8      8      0',
  ].join('\n'))
  t.deepEqual([...sizes], [[MEMORY, 48816 << 10], ['slab ip_vs_conn', 3072], ['slab kmalloc-1k', 102400]])
})

const SLACK = { bytes: 100, share: 0.1 }
const run = (size: (index: number) => number): number[] => Array.from({ length: 24 }, (_, index) => size(index))

test('what has more each time has grown; noise, a first rise and one peak have not', (t) => {
  t.deepEqual(grown(run((index) => 1000 + 50 * index), SLACK), [1550, 1900])
  t.is(grown(run((index) => 1000 + 700 * (index % 2)), SLACK), undefined)
  t.is(grown(run((index) => Math.min(1000 * index, 5000)), SLACK), undefined)
  t.is(grown(run((index) => (index > 20 && index < 23 ? 9000 : 1000)), SLACK), undefined)
  t.is(grown(run((index) => 1000 + index), SLACK), undefined)
})

test('a run that is too short for a verdict has none', (t) => {
  t.is(grown([1, 1000, 2000, 3000, 4000, 5000], SLACK), undefined)
})

test('a run tells what of it has grown', (t) => {
  const growth = new Growth()
  for (let index = 0; index < 24; index++) growth.add(new Map([[MEMORY, 100 << 20], ['slab kmalloc-96', index * (64 << 10)], ['slab dentry', 5 << 20]]))
  t.deepEqual(growth.found().length, 1)
  t.regex(growth.found()[0] ?? '', /^slab kmalloc-96: at most \d+ bytes at first, at least \d+ at last, of 24 times$/)
  t.is((JSON.parse(JSON.stringify(growth)) as Record<string, number[]>)['slab dentry']?.length, 24)
})

test('HOURS takes decimals, SEED a number; without them it is an hour, and chance', (t) => {
  t.is(createContext({ HOURS: '0.05' }).hours, 0.05)
  t.is(createContext({ HOURS: '24', SEED: '7' }).seed, 7)
  t.is(createContext({}).hours, 1)
  t.is(createContext({}).seed, undefined)
})

/** Sets the clock of the host ahead. */
function jump(t: ExecutionContext, hours: number): void {
  const real = Date.now
  Date.now = () => real() + hours * 3_600_000
  t.teardown(() => void (Date.now = real))
}

test.serial('a clock that is set ends no soak before its hours are over, and is no stall of the gateway', async (t) => {
  const isOver = alarm(8)
  const world = new World({ settle: async () => jump(t, 9) } as unknown as Lab, 1)
  await t.notThrowsAsync(() => world.answers())
  t.false(isOver())
  t.true(alarm(0)())
})
