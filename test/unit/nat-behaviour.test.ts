// SPDX-License-Identifier: GPL-2.0-only
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { ROOT } from '../../scripts/base/root.ts'
import { SUITES } from '../e2e/index.ts'
import { label } from '../e2e/lib/suite.ts'

const LABELS = new Set(SUITES.flatMap((suite) => suite.tests.map((one) => label(suite, one))))
const STATUSES = ['met', 'by setting', 'not met', 'does not apply']
/** Sections with a table, and what the numbers of their requirements are made of. */
const EXPECTED = new Map<string, string[]>([
  ['RFC 4787', numbers(14)], ['RFC 5382', numbers(10)], ['RFC 5508', numbers(11)],
  ['RFC 7857', ['2', '2.1', '2.2', '3', '4', '5', '6', '7', '7.1', '8', '9', '10', '11', '12']], ['RFC 6056', ['3.2', '3.3', '4']],
  ['RFC 6888', numbers(15)],
])

interface Row {
  section: string
  requirement: string
  status: string
  tests: string[]
}

function numbers(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `REQ-${index + 1}`)
}

/** @returns the rows of the document's tables, with what their code spans name as tests */
function rows(): Row[] {
  let section = ''
  return readFileSync(join(ROOT, 'docs/nat-behaviour.md'), 'utf8').split('\n').flatMap((line) => {
    section = /^## (RFC \d+)/.exec(line)?.[1] ?? section
    const [, requirement = '', , status = '', evidence = ''] = line.split('|').map((cell) => cell.trim())
    if (!line.startsWith('|') || requirement === '' || requirement.startsWith('-')) return []
    const spans = [...evidence.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '')
    return [{ section, requirement, status, tests: spans.filter((span) => span.includes(': ')) }]
  })
}

test('every test that the table of NAT behaviour names exists', (t) => {
  const named = rows().flatMap((row) => row.tests)
  t.true(named.length > 50)
  t.deepEqual(named.filter((name) => !LABELS.has(name)), [])
})

test('every requirement has a row and a status, and what is met names a test', (t) => {
  for (const [section, expected] of EXPECTED) {
    const own = rows().filter((row) => row.section === section)
    const covered = own.flatMap((row) => row.requirement.split(', ').map((word) => word.replace(/(REQ-\d+)[A-Da-d]/, '$1')))
    t.deepEqual(expected.filter((requirement) => !covered.includes(requirement)), [], section)
    for (const { requirement, status, tests } of own) {
      t.true(STATUSES.includes(status), `${section} ${requirement}: ${status}`)
      if (status === 'met' || status === 'by setting') t.true(tests.length > 0, `${section} ${requirement} is ${status} by no test`)
    }
  }
})
