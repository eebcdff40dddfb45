// SPDX-License-Identifier: GPL-2.0-only
/** Kernel configuration fragments (Documentation/kbuild/kconfig-language.rst). */

/** @returns symbol and value of every line that sets or unsets one; "n" stands for "is not set" */
export function parseFragment(content: string): [symbol: string, value: string][] {
  return content.split('\n').flatMap((line): [string, string][] => {
    const [, symbol, value] = /^(CONFIG_\w+)=(.*)$/.exec(line) ?? []
    if (symbol !== undefined && value !== undefined) return [[symbol, value]]
    const unset = /^# (CONFIG_\w+) is not set$/.exec(line)?.[1]
    return unset === undefined ? [] : [[unset, 'n']]
  })
}

/**
 * @param requested symbols with the values they should have
 * @param config the resulting `.config`
 * @returns a line for each symbol that has another value
 */
export function lostSymbols(requested: ReadonlyMap<string, string>, config: string): string[] {
  const actual = new Map(parseFragment(config))
  return [...requested]
    .filter(([symbol, value]) => (actual.get(symbol) ?? 'n') !== value)
    .map(([symbol, value]) => `${symbol}: ${value} was asked for, ${actual.get(symbol) ?? 'n'} came out`)
}
