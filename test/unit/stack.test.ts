// SPDX-License-Identifier: GPL-2.0-only
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import test from 'ava'
import { build } from 'esbuild'
import { originalStack } from '../../scripts/base/stack.ts'
import { createFixture } from './fixture.ts'

test('a stack of the one file that runs leads to the files that it was made of', async (t) => {
  const { root, write } = createFixture(t)
  write('src/deep/thrower.ts', 'interface Gone { a: string }\n\nexport const thrower = (value: Gone): never => {\n  throw new Error(`what: ${value.a}`)\n}\n')
  const main = write('src/main.ts', "import { thrower } from './deep/thrower.ts'\ntry { thrower({ a: 'x' }) } catch (error) { console.log((error as Error).stack) }\n")
  const out = join(root, 'out/main.mjs')
  await build({ entryPoints: [main], outfile: out, bundle: true, format: 'esm', sourcemap: true, sourcesContent: false, banner: { js: '// a line more' } })
  const { stdout } = spawnSync('node', [out], { encoding: 'utf8' })
  const lines = originalStack(stdout, out).split('\n')
  t.is(lines[0], 'Error: what: x')
  t.regex(lines[1] ?? '', new RegExp(`${root}/src/deep/thrower\\.ts:4:9\\)?$`))
  t.regex(lines[2] ?? '', new RegExp(`${root}/src/main\\.ts:2:7\\)?$`))
  t.is(originalStack(stdout, join(root, 'another.mjs')), stdout, 'a file without a map, and files of others, are left as they are')
})
