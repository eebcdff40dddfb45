// SPDX-License-Identifier: GPL-2.0-only
import { existsSync, readFileSync, statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { sha256File } from '../../scripts/base/files.ts'
import { bring } from '../../scripts/build/step.ts'
import fetchCommand from '../../scripts/commands/fetch.ts'
import { Store } from '../../scripts/source/store.ts'
import { bringVerified, sourceFile, step as fetch } from '../../scripts/steps/fetch.ts'
import { step as prep } from '../../scripts/steps/prep.ts'
import { createFixture, fails } from './fixture.ts'

/** Changes a byte, and neither size nor time. */
function tamper(path: string): void {
  const { atime, mtime } = statSync(path)
  const content = readFileSync(path)
  content.writeUInt8(content.readUInt8(content.length - 1) ^ 1, content.length - 1)
  writeFileSync(path, content)
  utimesSync(path, atime, mtime)
}

for (const [what, damage] of [['truncated', (path: string) => truncateSync(path, 5)], ['tampered with', tamper]] as const) {
  test(`a stored file that was ${what} is fetched again before it is used`, async (t) => {
    const c = createFixture(t).context()
    await bring(c, fetch)
    const { path, sha256 } = sourceFile(c, 'linux-6.12')
    damage(path)
    await bring(c, prep)
    t.is(await sha256File(path), sha256)
    damage(sourceFile(c, 'popt').path)
    t.is(await sha256File((await bringVerified(c, 'popt')).path), sourceFile(c, 'popt').sha256)
    damage(path)
    await fetchCommand.run(c)
    t.is(await sha256File(path), sha256)
  })
}

test('a damaged file that is another one by now is not taken for it', async (t) => {
  const { context, kernel } = createFixture(t)
  const c = context()
  await bring(c, fetch)
  tamper(sourceFile(c, 'popt').path)
  const other = context({ SOURCE: `popt=${kernel}` })
  const failure = await fails(t, 'source', () => bringVerified(other, 'popt'))
  t.regex(failure.message, /damaged.*another one by now/)
})

test('an index that is empty or no JSON is none', (t) => {
  const store = new Store(join(createFixture(t).cache, 'store'))
  const index = (content: string): void => writeFileSync(join(createFixtureIndex(store), 'a.json'), content)
  for (const content of ['', '{', 'null', '{}', '[]']) {
    index(content)
    t.is(store.find('a'), undefined, content)
  }
})

const createFixtureIndex = (store: Store): string => {
  const folder = join(store.path(''), 'index')
  if (!existsSync(folder)) throw new Error(folder)
  return folder
}
