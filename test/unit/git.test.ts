// SPDX-License-Identifier: GPL-2.0-only
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Git } from '../../scripts/base/git.ts'
import { createFixture, fails, read } from './fixture.ts'

const IDENTITY = ['-c', 'user.name=A', '-c', 'user.email=a@localhost']

function repository(t: ExecutionContext): { root: string; git: Git } {
  const { root, write } = createFixture(t)
  write('repository/a', 'one\n')
  write('repository/folder/b c', 'two\n')
  const folder = join(root, 'repository')
  for (const words of [['init', '--quiet'], ['add', '.'], [...IDENTITY, 'commit', '--quiet', '--message', 'first']]) execFileSync('git', words, { cwd: folder })
  return { root, git: new Git(folder) }
}

test('an answer is whole, though git has ended before all of it has arrived', async (t) => {
  const { root, write } = createFixture(t)
  const bin = join(root, 'bin')
  mkdirSync(bin)
  writeFileSync(join(bin, 'git'), '#!/bin/sh\n(sleep 0.5; echo late) &\necho early\n', { mode: 0o755 })
  write('repository/x', '')
  const git = new Git(join(root, 'repository'), { env: { PATH: `${bin}:${process.env['PATH']}` } })
  t.deepEqual(await git.lines('rev-parse', 'HEAD'), ['early', 'late'])
})

test('files of a commit come out as they are, and no others', async (t) => {
  const { root, git } = repository(t)
  t.deepEqual(await git.files('HEAD', ['.']), ['a', 'folder/b c'])
  const out = join(root, 'out')
  await git.unpack('HEAD', ['folder'], out)
  t.deepEqual(readdirSync(out), ['folder'])
  t.is(read(out, 'folder', 'b c'), 'two\n')
  t.deepEqual(readdirSync(root).filter((name) => name.startsWith('out.tar')), [])
  await fails(t, 'environment', () => git.unpack('HEAD', ['none'], out))
})

test('git that fails is a trouble of the host, a question may have no for its answer', async (t) => {
  const { git } = repository(t)
  const failure = await fails(t, 'environment', () => git.line('rev-parse', 'none'))
  t.true(failure.details.excerpt?.some((line) => line.includes('none')))
  await fails(t, 'environment', () => git.run('checkout', 'none'))
  t.false(await git.holds('merge-base', '--is-ancestor', 'HEAD', 'none'))
  t.true(await git.holds('merge-base', '--is-ancestor', 'HEAD', 'HEAD'))
})
