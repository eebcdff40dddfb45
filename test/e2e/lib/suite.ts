// SPDX-License-Identifier: GPL-2.0-only
/** How an end-to-end test is written down. */

import type { Feature, Target } from '../../../scripts/targets.ts'
import type { Lab } from '../../../vm/lab.ts'

export interface TestCase {
  name: string
  /** The requirement that the test proves, in the words of whoever demands it. */
  proves: string
  run: (lab: Lab) => Promise<void>
  /** Seconds it may take; default {@link DEFAULT_LIMIT_S}. */
  limit: number
  /** What it needs of the kernel that not every kernel has; default nothing. */
  needs: readonly Feature[]
}

export interface Suite {
  name: string
  tests: readonly TestCase[]
}

const DEFAULT_LIMIT_S = 60

/** @param name what is true when the test passes */
export function test(name: string, proves: string, run: TestCase['run'], options: Partial<Pick<TestCase, 'limit' | 'needs'>> = {}): TestCase {
  return { name, proves, run, limit: DEFAULT_LIMIT_S, needs: [], ...options }
}

/** @returns why the test does not apply to a kernel that lacks these features; nothing when it does */
export function inapplicable(one: TestCase, lacks: Target['lacks']): string | undefined {
  const reasons = one.needs.flatMap((feature) => lacks[feature] ?? [])
  return reasons.length === 0 ? undefined : reasons.join('; ')
}

export const suite = (name: string, tests: readonly TestCase[]): Suite => ({ name, tests })

/** @returns the name by which a test is reported and chosen */
export const label = (of: Suite, one: TestCase): string => `${of.name}: ${one.name}`

/**
 * @param only words separated by commas; a test is chosen when its label contains one of them, whatever the case
 * @returns the suites with the chosen tests, without empty ones; all of them when `only` is not given
 */
export function choose(suites: readonly Suite[], only: string | undefined): Suite[] {
  const words = (only ?? '').toLowerCase().split(',').map((word) => word.trim()).filter(Boolean)
  if (words.length === 0) return [...suites]
  return suites
    .map((of) => suite(of.name, of.tests.filter((one) => words.some((word) => label(of, one).toLowerCase().includes(word)))))
    .filter((of) => of.tests.length > 0)
}
