// SPDX-License-Identifier: GPL-2.0-only
/** What the plugins of QEMU tell, by the functions of the kernel that it is about. */

/** @param text what a plugin has written (vm/qemu/plugin.h) @returns the rows of each window, in words */
export const windowsIn = (text: string): string[][][] =>
  text.split(/^window\n/m).slice(1).map((window) => window.split('\n').filter(Boolean).map((row) => row.split(' ')))

/** Functions of a kernel by where they begin, in order. */
export type Symbols = readonly (readonly [address: bigint, name: string])[]

/** @param text of /proc/kallsyms */
export const symbolsOf = (text: string): Symbols =>
  text.split('\n').flatMap((line): [bigint, string][] => {
    const [address = '', , name = '', module = ''] = line.split(/\s+/)
    return name === '' ? [] : [[BigInt(`0x${address}`), `${name}${module && ` ${module}`}`]]
  }).sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0))

/** @returns the function that an address is in */
export function functionAt(symbols: Symbols, address: bigint): string {
  let [low, high] = [0, symbols.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((symbols[middle]?.[0] ?? 0n) <= address) low = middle + 1
    else high = middle
  }
  return symbols[low - 1]?.[1] ?? 'unknown'
}

/** @param counts how many of something there are at addresses @returns how many each function has, most first */
export function byFunction(counts: readonly (readonly [address: bigint, count: number])[], symbols: Symbols): [name: string, count: number][] {
  const sums = new Map<string, number>()
  for (const [address, count] of counts) {
    const name = functionAt(symbols, address)
    sums.set(name, (sums.get(name) ?? 0) + count)
  }
  return [...sums].sort(([, one], [, other]) => other - one)
}
