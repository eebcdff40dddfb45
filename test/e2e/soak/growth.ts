// SPDX-License-Identifier: GPL-2.0-only
/** What becomes more and more, though everything was taken back each time before it was looked at. */

/** Bytes of each thing that is watched, by its name. */
export type Sizes = ReadonlyMap<string, number>

/** The first part of a run fills caches. */
const WARM_UP = 0.25
/** Fewer samples than these say nothing. */
const LEAST = 6
const PARTS = 3
/** What a slab cache may have more, whatever it has: some slabs of each processor. */
const SLAB_SLACK = 128 << 10
const SLAB_SHARE = 0.1
/** The same of all memory together. */
const MEMORY_SLACK = 12 << 20
/** Caches whose objects the kernel keeps until there are enough to make it worth while: what each process leaves of its stack's mapping. */
const KEPT = new Set(['vmap_area'])
export const MEMORY = 'memory in use'

/**
 * @param text of /proc/meminfo and then /proc/slabinfo
 * @returns memory in use, and what objects of each slab cache take
 */
export function sizesOf(text: string): Sizes {
  const kilobytes = (name: string): number => Number(new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(text)?.[1])
  const sizes = new Map([[MEMORY, (kilobytes('MemTotal') - kilobytes('MemAvailable')) << 10]])
  for (const [, name = '', active, , size] of text.matchAll(/^(\S+) +(\d+) +(\d+) +(\d+) +\d+ +\d+ : tunables/gm)) {
    if (!KEPT.has(name)) sizes.set(`slab ${name}`, Number(active) * Number(size))
  }
  return sizes
}

/** What was measured in the course of a run. */
export class Growth {
  private readonly series = new Map<string, number[]>()

  add(sizes: Sizes): void {
    for (const [name, size] of sizes) this.series.set(name, [...(this.series.get(name) ?? []), size])
  }

  /** @returns a sentence about each thing that has grown beyond noise */
  found(): string[] {
    return [...this.series].flatMap(([name, sizes]) => {
      const [from, to] = grown(sizes, name === MEMORY ? { bytes: MEMORY_SLACK, share: 0 } : { bytes: SLAB_SLACK, share: SLAB_SHARE }) ?? []
      return from === undefined || to === undefined ? [] : [`${name}: at most ${from} bytes at first, at least ${to} at last, of ${sizes.length} times`]
    })
  }

  /** All that was measured, for who looks into it. */
  toJSON(): Record<string, number[]> {
    return Object.fromEntries(this.series)
  }
}

/**
 * Noise goes up and down; what leaks has more each time. So the least of the last third is compared with the most of the first.
 *
 * @returns these two, if it has grown by more than the slack
 */
export function grown(sizes: readonly number[], slack: { bytes: number; share: number }): [from: number, to: number] | undefined {
  const settled = sizes.slice(Math.ceil(sizes.length * WARM_UP))
  if (settled.length < LEAST) return undefined
  const part = Math.floor(settled.length / PARTS)
  const [from, to] = [Math.max(...settled.slice(0, part)), Math.min(...settled.slice(-part))]
  return to - from > slack.bytes + from * slack.share ? [from, to] : undefined
}
