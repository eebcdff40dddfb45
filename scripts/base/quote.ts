// SPDX-License-Identifier: GPL-2.0-only
/** Words for a shell, for the few places where only a shell's text will do. */

/** @returns the word as a POSIX shell takes it for one; no backslash is added, which a macro of rpm's would swallow */
export const quote = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`)

/** @returns the words as one line that a shell takes */
export const shellLine = (words: readonly string[]): string => words.map(quote).join(' ')
