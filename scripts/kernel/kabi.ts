// SPDX-License-Identifier: GPL-2.0-only
/** Checksums of a kernel's exported symbols (genksyms), and whether a build has those of the stock kernel. */

/** Symbol and its CRC, as "0x4660b4b4". */
export type SymbolVersions = ReadonlyMap<string, string>

/**
 * Reads Module.symvers of a kernel's build, or Module.kabi_ARCH of RHEL's SRPM: lines of
 * CRC, symbol, where it is, and how it is exported (Documentation/kbuild/modules.txt).
 */
export function parseSymvers(text: string): SymbolVersions {
  const fields = text.split('\n').map((line) => line.trim().split(/\s+/))
  return new Map(fields.flatMap(([crc = '', symbol = '']) => (/^0x[0-9a-f]{8}$/.test(crc) ? [[symbol, crc] as const] : [])))
}

/** @returns of RHEL's Module.kabi_ARCH, the symbols that modules below a folder export */
export function promisedVersions(text: string, folder: string): SymbolVersions {
  return parseSymvers(text.split('\n').filter((line) => (line.trim().split(/\s+/)[2] ?? '').startsWith(folder)).join('\n'))
}

export interface AbiComparison {
  /** Symbols of the whitelist that the build exports, with the same CRC. */
  same: number
  /** Symbols with another CRC, a line each. */
  different: string[]
  /** How many the build does not export, as a smaller configuration doesn't. */
  missing: number
}

/**
 * @param built what a build exports
 * @param whitelist the symbols that RHEL promises not to change
 */
export function compareAbi(built: SymbolVersions, whitelist: SymbolVersions): AbiComparison {
  const rows = [...whitelist].map(([symbol, crc]) => ({ symbol, crc, now: built.get(symbol) }))
  const different = rows.filter(({ now, crc }) => now !== undefined && now !== crc)
  const missing = rows.filter(({ now }) => now === undefined).length
  return {
    same: rows.length - different.length - missing,
    different: different.map(({ symbol, crc, now }) => `${symbol}: ${crc} in the stock kernel, ${now} here`),
    missing,
  }
}
