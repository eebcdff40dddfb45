// SPDX-License-Identifier: GPL-2.0-only
import { readdirSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import test from 'ava'
import { ROOT } from '../../scripts/base/root.ts'
import { imports } from './imports.ts'

const DATA = ['scripts/targets.ts', 'scripts/trees.ts', 'scripts/sources.ts', 'scripts/packages.ts', 'scripts/release.ts', 'scripts/families.json', 'scripts/sources.lock.json']

/** What each folder imports besides itself. docs/architecture.md says what each is for. */
const FLOORS: Readonly<Record<string, readonly string[]>> = {
  'scripts/base': [],
  'vm': ['scripts/base'],
  'scripts/build': ['scripts/base', ...DATA],
  'scripts/source': ['scripts/base', 'scripts/build', ...DATA],
  'scripts/kernel': ['scripts/base', 'scripts/build', ...DATA],
  'scripts/package': ['scripts/base', 'scripts/build', 'scripts/source', 'scripts/kernel', ...DATA],
  'scripts/steps': ['scripts/base', 'vm', 'scripts/build', 'scripts/source', 'scripts/kernel', 'scripts/package', ...DATA],
  'scripts/collect': ['scripts/base', 'scripts/build', 'scripts/source', 'scripts/package', 'scripts/steps', ...DATA],
  'test/e2e': ['scripts/base', 'scripts/targets.ts', 'vm'],
  'scripts/lab': ['scripts/base', 'scripts/build', 'scripts/kernel', 'scripts/steps', 'vm', 'test/e2e', ...DATA],
  'scripts/commands': ['scripts', 'vm', 'test/e2e'],
}

const modules = (folder: string): string[] =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts')).map((name) => join(ROOT, folder, name))

const isBelow = (path: string, place: string): boolean => path === place || path.startsWith(`${place}/`)

for (const [folder, below] of Object.entries(FLOORS)) {
  test(`${folder} imports only from the floors below it`, (t) => {
    for (const path of modules(folder)) {
      for (const imported of imports(path)) {
        const name = relative(ROOT, imported)
        t.true([folder, ...below].some((place) => isBelow(name, place)), `${relative(ROOT, path)} imports ${name}`)
      }
    }
    t.true(modules(folder).length > 0)
  })
}

test('every folder of scripts has its floor', (t) => {
  const folders = modules('scripts').map((path) => relative(ROOT, dirname(path))).filter((folder) => folder !== 'scripts')
  t.deepEqual([...new Set(folders)].filter((folder) => !(folder in FLOORS)), [])
})

test('no module imports itself by way of others', (t) => {
  const finished = new Set<string>()
  const visit = (path: string, way: readonly string[]): void => {
    t.false(way.includes(path), [...way, path].map((each) => relative(ROOT, each)).join(' > '))
    if (finished.has(path) || way.includes(path) || !path.endsWith('.ts')) return
    for (const imported of imports(path)) visit(imported, [...way, path])
    finished.add(path)
  }
  for (const path of [...modules('scripts'), ...modules('vm'), ...modules('test/e2e')]) visit(path, [])
})
