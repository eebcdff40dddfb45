// SPDX-License-Identifier: GPL-2.0-only
/** What holds for the files of the project as a whole. */

import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test from 'ava'
import { ROOT } from '../../scripts/base/root.ts'
import { commandNames } from '../../scripts/cli.ts'

/** A clone's files, or those of a copy without git. */
function projectFiles(): string[] {
  const listed = execFileSync('find', ['.', '-path', './node_modules', '-prune', '-o', '-path', './dist', '-prune', '-o', '-path', './.git', '-prune', '-o', '-path', './.cache', '-prune', '-o', '-type', 'f', '-print'], { cwd: ROOT, encoding: 'utf8' })
  return listed.split('\n').filter(Boolean).map((name) => name.slice('./'.length))
}

test('every source file says which licence it has', (t) => {
  const files = projectFiles().filter((name) => /^(scripts|vm|test)\/.*\.(ts|c)$/.test(name) || ['Makefile', '.ci/run', 'vm/guest/init'].includes(name))
  t.true(files.length > 200)
  t.deepEqual(files.filter((name) => !readFileSync(join(ROOT, name), 'utf8').split('\n').slice(0, 2).some((line) => line.endsWith(' SPDX-License-Identifier: GPL-2.0-only'))), [])
})

test('the lock of npm\'s packages names no registry', (t) => {
  const lock = readFileSync(join(ROOT, 'package-lock.json'), 'utf8')
  t.notRegex(lock, /"resolved"|registry\./)
})

/** [text](path#heading) of Markdown. */
const LINK = /\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g

/** What the forges call a document's headings in links: lower case, without punctuation, blanks as hyphens. */
function headings(document: string): string[] {
  return [...readFileSync(document, 'utf8').matchAll(/^#+ (.*)$/gm)].map(([, text = '']) => text.toLowerCase().replaceAll(/[^\w -]/g, '').replaceAll(' ', '-'))
}

test('the documents lead to files and headings that there are', (t) => {
  const documents = projectFiles().filter((name) => name.endsWith('.md'))
  const broken = documents.flatMap((name) =>
    [...readFileSync(join(ROOT, name), 'utf8').matchAll(LINK)].filter(([, path = '', heading]) => {
      const file = path === '' ? join(ROOT, name) : join(ROOT, dirname(name), path)
      return !existsSync(file) || (heading !== undefined && !headings(file).includes(heading))
    }).map(([link]) => `${name}: ${link}`))
  t.deepEqual(broken, [])
})

/** Commands, scripts and folders that a document names in code: `scripts/base`, `patches/lts-6.12/series`. */
const NAMED = /`((?:scripts|vm|test|patches|specs|docs)\/[\w./-]*[\w-])`/g

test('the documents name files that there are', (t) => {
  const documents = projectFiles().filter((name) => name.endsWith('.md') && name !== 'CHANGELOG.md')
  const missing = documents.flatMap((name) =>
    [...readFileSync(join(ROOT, name), 'utf8').matchAll(NAMED)].map(([, path = '']) => path).filter((path) => !existsSync(join(ROOT, path))).map((path) => `${name}: ${path}`))
  t.deepEqual(missing, [])
})

test('what CI runs are commands that there are', (t) => {
  const text = (name: string): string => readFileSync(join(ROOT, name), 'utf8')
  const called = (source: string): string[] => [...source.matchAll(/^ *- (?:run: )?make ?([\w-]*)$/gm)].map(([, goal = '']) => goal || 'all')
  const slow = (source: string): string[] => [...(/ (?:goal|GOAL):\n((?: +- .*\n)+)/m.exec(source)?.[1] ?? '').matchAll(/- (.+)/g)].map(([, goal = '']) => goal)
  t.deepEqual(called(text('.github/workflows/build.yml')), ['all', 'test'])
  t.deepEqual(called(text('.gitlab-ci.yml')), ['all', 'test'])
  const nightly = slow(text('.github/workflows/nightly.yml'))
  t.true(nightly.includes('install-test'))
  t.deepEqual(slow(text('.gitlab-ci.yml')), nightly)
  // actions/cache only warns of a path that leads up, and then keeps nothing.
  for (const name of ['build', 'nightly']) t.notRegex(text(`.github/workflows/${name}.yml`), /\.\.\//)
  for (const goal of nightly) t.true(commandNames().includes(goal.split(' ')[0] ?? ''), goal)
})
