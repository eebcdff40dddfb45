// SPDX-License-Identifier: GPL-2.0-only
import { existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { Failure } from '../../scripts/base/errors.ts'
import type { Context } from '../../scripts/build/context.ts'
import { bringResult, type Result } from '../../scripts/build/results.ts'
import { createFixture, read } from './fixture.ts'

/** A result of one file, and how often it was made. */
function countedResult(key = 'key', content = 'result\n'): Result & { made: () => number } {
  let made = 0
  return {
    name: 'tool',
    key,
    async make(folder) {
      made++
      mkdirSync(join(folder, 'bin'))
      writeFileSync(join(folder, 'bin', 'tool'), content)
    },
    made: () => made,
  }
}

const folderOf = (context: Context, checkout: string): string => join(context.paths.cache, checkout, 'tool')
const shelfOf = (context: Context): string => join(context.paths.results, 'tool')

test('what one checkout has made, another takes', async (t) => {
  const context = createFixture(t).context()
  const result = countedResult()
  t.true(await bringResult(context, result, folderOf(context, 'one')))
  t.false(await bringResult(context, result, folderOf(context, 'two')))
  t.is(result.made(), 1)
  t.is(read(folderOf(context, 'two'), 'bin/tool'), 'result\n')
})

test('another key is another result, and replaces all of the folder', async (t) => {
  const context = createFixture(t).context()
  await bringResult(context, countedResult(), folderOf(context, 'one'))
  writeFileSync(join(folderOf(context, 'one'), 'stale'), '')
  t.true(await bringResult(context, countedResult('other', 'other\n'), folderOf(context, 'one')))
  t.is(read(folderOf(context, 'one'), 'bin/tool'), 'other\n')
  t.false(existsSync(join(folderOf(context, 'one'), 'stale')))
})

test('a result that was damaged, cut short or grew in the cache is made anew', async (t) => {
  const context = createFixture(t).context()
  const result = countedResult()
  await bringResult(context, result, folderOf(context, 'one'))
  const files = join(shelfOf(context), 'key', 'files')
  for (const damage of ['bin/tool', 'bin/more', '../digests.json']) {
    writeFileSync(join(files, damage), 'resulT\n')
    t.true(await bringResult(context, result, folderOf(context, 'one')), damage)
    t.is(read(folderOf(context, 'one'), 'bin/tool'), 'result\n')
  }
})

test('a result that cannot be made leaves nothing in the cache, and the checkout as it was', async (t) => {
  const context = createFixture(t).context()
  await bringResult(context, countedResult(), folderOf(context, 'one'))
  const broken: Result = {
    name: 'tool',
    key: 'broken',
    async make(folder) {
      writeFileSync(join(folder, 'half'), '')
      throw new Failure('build', 'It does not compile.')
    },
  }
  await t.throwsAsync(bringResult(context, broken, folderOf(context, 'one')), { instanceOf: Failure })
  t.deepEqual(readdirSync(shelfOf(context)), ['key'])
  t.is(read(folderOf(context, 'one'), 'bin/tool'), 'result\n')
})

test('of many results, those that were used last stay', async (t) => {
  const context = createFixture(t).context()
  for (let day = 1; day <= 6; day++) {
    await bringResult(context, countedResult(`key-${day}`), folderOf(context, 'one'))
    utimesSync(join(shelfOf(context), `key-${day}`), day * 86_400, day * 86_400)
    // The first one stays in use.
    await bringResult(context, countedResult('key-1'), folderOf(context, 'two'))
  }
  t.deepEqual(readdirSync(shelfOf(context)).sort(), ['key-1', 'key-3', 'key-4', 'key-5', 'key-6'])
})

test('a result stays that is made after others were while the clock was ahead, which count as used now', async (t) => {
  const context = createFixture(t).context()
  const bringKey = (key: string): Promise<boolean> => bringResult(context, countedResult(key), folderOf(context, 'one'))
  const ahead = Date.now() / 1000 + 365 * 86_400
  for (let day = 1; day <= 5; day++) {
    await bringKey(`ahead-${day}`)
    utimesSync(join(shelfOf(context), `ahead-${day}`), ahead, ahead)
  }
  for (let day = 1; day <= 6; day++) {
    t.true(await bringKey(`key-${day}`))
    t.true(existsSync(join(shelfOf(context), `key-${day}`)))
  }
  t.deepEqual(readdirSync(shelfOf(context)).sort(), ['key-2', 'key-3', 'key-4', 'key-5', 'key-6'])
})

test('what processes that were killed have left is removed, and pushes no result out', async (t) => {
  const context = createFixture(t).context()
  for (const key of ['one', 'two']) await bringResult(context, countedResult(key), folderOf(context, 'one'))
  for (let pid = 1; pid <= 5; pid++) mkdirSync(join(shelfOf(context), `two.new-${pid}-abcdef`, 'files'), { recursive: true })
  await bringResult(context, countedResult('two'), folderOf(context, 'one'))
  t.deepEqual(readdirSync(shelfOf(context)).sort(), ['one', 'two'])
})
