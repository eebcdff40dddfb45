// SPDX-License-Identifier: GPL-2.0-only
/** What two runs of the benchmark say of each other. */

import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { ROOT } from '../../scripts/base/root.ts'
import { compare, comparisonLines, type Comparison } from '../../vm/bench/compare.ts'
import type { Measurement } from '../../vm/bench/results.ts'
import { type Known, knownOf, type Origin, type Stored } from '../../vm/bench/stored.ts'
import { rounds, stored } from './bench-fixture.ts'
import { fails } from './fixture.ts'

const known = (name: string, measurements: readonly Measurement[], origin: Partial<Origin> = {}): Known => knownOf(name, stored(measurements, origin))

const compared = (before: readonly Measurement[], after: readonly Measurement[]): Comparison => compare(known('a', before), known('b', after))
const waysOf = (changes: readonly { name: string }[]): string[] => changes.map(({ name }) => name.replace(/,.*/, ''))

test('what was measured once has changed if it differs by more than 0.3 %', (t) => {
  const before = ['little less', 'less', 'little more', 'more', 'much more'].flatMap((way) => rounds({ way }, 10_000))
  const after = [9_972, 9_969, 10_029, 10_031, 10_300].flatMap((count, index) => rounds({ way: before[index]?.way ?? '' }, count))
  const { slower, faster, same } = compared(before, after)
  t.deepEqual(waysOf(slower), ['much more', 'more'])
  t.deepEqual(waysOf(faster), ['less'])
  t.deepEqual(waysOf(same), ['little more', 'little less'])
  t.like(slower[0], { before: 10_000, after: 10_300, noise: 0.003 })
})

test('what was measured several times has changed if it differs by more than its repeats do, and than boots do', (t) => {
  const before = [...rounds({ way: 'steady' }, 10_000, 10_000, 10_001), ...rounds({ way: 'noisy' }, 10_000, 9_900, 10_100), ...rounds({ way: 'boots' }, 10_000, 10_000, 10_000)]
  const after = [...rounds({ way: 'steady' }, 10_020, 10_021, 10_020), ...rounds({ way: 'noisy' }, 10_150, 10_151, 10_152), ...rounds({ way: 'boots' }, 10_008, 10_008, 10_008)]
  const { slower, same } = compared(before, after)
  t.deepEqual(waysOf(slower), ['steady'])
  t.deepEqual(waysOf(same), ['noisy', 'boots'])
  t.is(same[0]?.noise, 0.02)
  t.is(same[1]?.noise, 0.001)
  // The noise of the other counts as well, and what one of them has measured once may differ as much as that.
  t.deepEqual(waysOf(compared(after, before).faster), ['steady'])
  t.deepEqual(compared(before, rounds({ way: 'steady' }, 10_020)).slower, [])
})

test('figures are the same ones only if all that they are about is', (t) => {
  const subject = { way: 'IPVS SNAT', kind: 'new', flows: 200 } as const
  const before = [...rounds({ ...subject, occupancy: 50 }, 1), ...rounds({ ...subject, occupancy: 90 }, 2), ...rounds({ ...subject, checksum: false, occupancy: 90 }, 3)]
  const { onlyBefore, onlyAfter, same } = compared(before, [...rounds({ ...subject, occupancy: 50 }, 1), ...rounds({ ...subject, flows: 1, occupancy: 90 }, 2)])
  t.is(same.length, 1)
  t.deepEqual(onlyBefore, ['IPVS SNAT, new, 200 flows, with checksum, 90 % taken', 'IPVS SNAT, new, 200 flows, without checksum, 90 % taken'])
  t.deepEqual(onlyAfter, ['IPVS SNAT, new, 1 flow, with checksum, 90 % taken'])
})

const refused = (measurements: readonly Measurement[]): Measurement[] => measurements.map((one) => ({ ...one, refused: '9 of 10 arrived translated' }))

test('a figure that means nothing is neither slower nor faster, and told of if it did before', (t) => {
  const [plain, snat, iptables] = [rounds({ way: 'plain forwarding' }, 6000), rounds({ way: 'IPVS SNAT' }, 6500), rounds({ way: 'iptables SNAT' }, 8000)]
  const found = compared([...plain, ...snat, ...refused(iptables)], [...plain, ...refused(rounds({ way: 'IPVS SNAT' }, 9000)), ...refused(iptables)])
  t.deepEqual([found.slower.length, found.faster.length, found.same.length], [0, 0, 1])
  t.deepEqual(waysOf(found.refused), ['IPVS SNAT'])
})

test('runs that are not about the same cannot be compared', async (t) => {
  const one = rounds({ way: 'IPVS SNAT' }, 6500)
  const failing = async (before: Known, after: Known, message: RegExp) => t.regex((await fails(t, 'usage', async () => compare(before, after))).message, message)
  await failing(known('a', one), known('b', one, { variant: 'el6' }), /^a and b are of different kernels: lts, el6\.$/)
  await failing(known('a', one), known('b', one, { method: 'packets per second' }), /not measured in the same way: guest instructions, packets per second/)
  await failing(known('a', one), known('b', rounds({ way: 'iptables SNAT' }, 8000)), /no figure in common/)
  await failing(known('a', one), known('b', refused(one)), /no figure in common that means something/)
})

test('lines say how much, of what, and what else is not the same', (t) => {
  const before = known('a', [...rounds({ way: 'IPVS SNAT' }, 6500), ...rounds({ way: 'iptables SNAT' }, 8000), ...rounds({ way: 'gone' }, 1)])
  const after = known('b', [...rounds({ way: 'IPVS SNAT' }, 6695), ...rounds({ way: 'iptables SNAT' }, 8001)], { kernel: '6.1.193', qemu: 'QEMU emulator version 9' })
  t.deepEqual(comparisonLines(before, after, compare(before, after), 'commit 1'), [
    'not the same: 6.1.192-1.snat1.x86_64, then 6.1.193',
    'not the same: QEMU emulator version 7.2.0, then QEMU emulator version 9',
    'slower by 3.0 % than commit 1: IPVS SNAT, out, 1 flow, with checksum: 6500 instructions, then 6695 (noise 0.3 %)',
    'the same as commit 1 within noise (0.3 %): 1 figure',
    'only in a: 1 figure, such as gone, out, 1 flow, with checksum',
  ])
})

/** @returns a folder with a folder of results for each, by name */
function folders(t: ExecutionContext, all: Readonly<Record<string, Stored>>): string {
  const root = mkdtempSync(join(tmpdir(), 'lvs-snat-test-'))
  t.teardown(() => rmSync(root, { recursive: true, force: true }))
  for (const [name, content] of Object.entries(all)) {
    mkdirSync(join(root, name))
    writeFileSync(join(root, name, 'results.json'), JSON.stringify(content))
  }
  return root
}

test('the command takes files and folders, and its exit code says whether B is slower', (t) => {
  const root = folders(t, {
    old: stored(rounds({ way: 'IPVS SNAT' }, 6500)),
    slow: stored(rounds({ way: 'IPVS SNAT' }, 6695), { commit: null, dirty: true }, false),
    lost: stored([...refused(rounds({ way: 'IPVS SNAT' }, 6500)), ...rounds({ way: 'plain forwarding' }, 6000)]),
    both: stored([...rounds({ way: 'IPVS SNAT' }, 6500), ...rounds({ way: 'plain forwarding' }, 6000)]),
  })
  const run = (...words: string[]) => spawnSync('node', ['--import', 'tsx', 'scripts/main.ts', 'bench-compare', ...words], { cwd: ROOT, encoding: 'utf8', env: { ...process.env, LVS_SNAT_LOG: '' } })
  const slower = run(`A=${root}/old`, `B=${root}/slow/results.json`)
  t.is(slower.status, 9, slower.stderr)
  t.regex(slower.stdout, /^A: .*old\/results\.json: lts, 6\.1\.192-1\.snat1\.x86_64, commit 0123456789ab, 1 round, 2026-11-28T12:00:00\.000Z$/m)
  t.regex(slower.stdout, /^B: .*, an unknown commit, 1 round, .*, not finished$/m)
  t.regex(slower.stdout, /^slower by 3\.0 %: IPVS SNAT/m)
  t.regex(slower.stderr, /B is slower than A beyond noise in 1 figures/)
  const faster = run(`A=${root}/slow`, `B=${root}/old`)
  t.is(faster.status, 0, faster.stderr)
  t.regex(faster.stdout, /^faster by 2\.9 %/m)
  t.is(run(`A=${root}/both`, `B=${root}/lost`).status, 7)
  const missing = run(`A=${root}/old`)
  t.is(missing.status, 2)
  t.regex(missing.stderr, /needs B=/)
})
