// SPDX-License-Identifier: GPL-2.0-only
import { join } from 'node:path'
import test from 'ava'
import { createContext } from '../../scripts/build/context.ts'
import { versionIn } from '../../scripts/base/version.ts'
import { compilerOptions, toolchainPatches } from '../../scripts/kernel/toolchain.ts'
import { createFixture, fails } from './fixture.ts'

for (const [output, version] of [
  ['12.2.0\n', '12.2.0'],
  ['4.4.7\n', '4.4.7'],
  ['13\n', '13.0.0'],
  ['GNU ld (GNU Binutils for Debian) 2.40\nCopyright (C) 2023\n', '2.40.0'],
  ['GNU ld version 2.20.51.0.2-5.34.el6 20100205\n', '2.20.51'],
  ['GNU ld (GNU Binutils; openSUSE Leap 15.5) 2.41.0.20230908-150100.7.46\n', '2.41.0'],
  ['GNU Make 4.3\nBuilt for x86_64-pc-linux-gnu\n', '4.3.0'],
] as const) {
  test(`a tool that says "${output.split('\n')[0]}" is of version ${version}`, (t) => {
    t.is(versionIn(output)?.version, version)
  })
}

test('a patch of the toolchain series is taken if a tool is of its version or newer', async (t) => {
  const { context, root, write } = createFixture(t)
  const patches: Record<string, string> = { 'a.patch': 'always', 'b.patch': 'gcc 4.6', 'c.patch': 'make 999', 'd.patch': 'perl 5.0.1' }
  write('patches/el6-toolchain/series', `${Object.keys(patches).join('\n')}\n`)
  for (const [name, since] of Object.entries(patches)) write(`patches/el6-toolchain/${name}`, `Needed-since: ${since}\n`)
  const taken = await toolchainPatches(context({ TARGET: 'el6', SOURCE: '' }))
  t.deepEqual(taken, ['a', 'b', 'd'].map((name) => join(root, 'patches/el6-toolchain', `${name}.patch`)))
})

test('a patch that does not tell who needs it is refused', async (t) => {
  const { context, write } = createFixture(t)
  write('patches/el6-toolchain/series', 'a.patch\n')
  write('patches/el6-toolchain/a.patch', 'Subject: x\n')
  const failure = await fails(t, 'patch', () => toolchainPatches(context({ TARGET: 'el6', SOURCE: '' })))
  t.regex(failure.message, /a\.patch does not tell which tool needs it/)
})

test('a kernel that knows its tools needs nothing', async (t) => {
  t.deepEqual(await toolchainPatches(createContext({})), [])
  t.deepEqual(await compilerOptions(createContext({})), [])
  t.true((await compilerOptions(createContext({ TARGET: 'el6' }))).includes('-std=gnu89'))
})
