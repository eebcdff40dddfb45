// SPDX-License-Identifier: GPL-2.0-only
/** What a failed assertion was about: the words of the test, which Node's message leaves out. */

import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { ROOT } from '../../../scripts/base/root.ts'

/** Longer values are cut in the first line; Node's own message behind it shows how they differ. */
const SHOWN = 120

/** How a comparison reads that does not hold. */
const READS: Readonly<Record<string, (what: string, actual: string, expected: string) => string>> = {
  strictEqual: (what, actual, expected) => `${what} is ${actual}, expected ${expected}`,
  deepStrictEqual: (what, actual, expected) => `${what} is ${actual}, expected ${expected}`,
  notStrictEqual: (what, actual) => `${what} is ${actual}, expected anything else`,
  match: (what, actual, expected) => `${what} is ${actual}, expected a match of ${expected}`,
  doesNotMatch: (what, actual, expected) => `${what} is ${actual}, expected no match of ${expected}`,
  '==': (what, actual) => `${what} is ${actual}`,
}

/**
 * @param stack the error's, with the places of the test's own files
 * @param root of the checkout, where the test's words are
 * @returns the message, whose first line says what was compared ("sent.ip?.ttl is 64, expected 63"), if the assertion does
 *   not say so itself
 */
export function messageOfAssertion(error: Error, stack: string, root = ROOT): string {
  if (!(error instanceof assert.AssertionError)) return error.message
  const reads = READS[error.operator]
  const what = assertedWords(stack, root)
  if (!reads || what === undefined) return error.message
  const line = reads(what, short(error.actual), short(error.expected))
  const [first, ...rest] = error.message.trimEnd().split('\n')
  if (!error.generatedMessage) return [`${first}: ${line}`, ...rest].join('\n')
  return error.operator === 'deepStrictEqual' ? `${line}\n${error.message}` : line
}

function short(value: unknown): string {
  const text = inspect(value, { breakLength: Infinity })
  return text.length <= SHOWN ? text : `${text.slice(0, SHOWN)}...`
}

/** @returns the first argument of the assertion that a stack leads to */
function assertedWords(stack: string, root: string): string | undefined {
  const [, file, line] = /((?:test\/e2e|vm)\/[\w./-]+\.ts):(\d+)/.exec(stack.slice(stack.indexOf('\n    at '))) ?? []
  if (file === undefined || !existsSync(join(root, file))) return undefined
  const text = readFileSync(join(root, file), 'utf8').split('\n').slice(Number(line) - 1).join('\n')
  const call = /^[^\n]*?assert(?:\.\w+)?\(\s*/.exec(text)
  return call ? firstArgument(text.slice(call[0].length)) : undefined
}

const CLOSING: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' }

/** @param text begins behind the parenthesis that opens a call */
function firstArgument(text: string): string {
  const open: string[] = []
  let at = 0
  for (const [token] of text.matchAll(/'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`(?:\\.|[^`\\])*`|[\s\S]/g)) {
    if (open.length === 0 && (token === ',' || token === ')')) break
    if (token in CLOSING) open.push(CLOSING[token] ?? '')
    else if (token === open.at(-1)) open.pop()
    at += token.length
  }
  return text.slice(0, at).replace(/\s+/g, ' ').trim()
}
