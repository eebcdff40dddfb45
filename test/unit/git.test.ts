// SPDX-License-Identifier: GPL-2.0-only
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Git } from '../../scripts/base/git.ts'
import { bring } from '../../scripts/build/step.ts'
import { save } from '../../scripts/kernel/save.ts'
import { step as exported } from '../../scripts/steps/export.ts'
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

test.serial('neither the user\'s configuration nor a git that calls this tool reaches what belongs to it', async (t) => {
  const { context, write, root } = createFixture(t)
  const c = context()
  const refuse = '#!/bin/sh\nexit 1\n'
  for (const hook of ['pre-commit', 'post-checkout', 'reference-transaction']) chmodSync(write(`hooks/${hook}`, refuse), 0o755)
  const settings = ['[commit]\n gpgSign = true', '[tag]\n gpgSign = true', '[gpg]\n program = false', `[core]\n hooksPath = ${root}/hooks\n autocrlf = true`, '[diff]\n noprefix = true\n external = false']
  const hostile = {
    GIT_CONFIG_GLOBAL: write('gitconfig', settings.join('\n')), GIT_INDEX_FILE: write('index', 'of the commit that is being made'),
    GIT_DIR: join(root, 'elsewhere/.git'), GIT_EXTERNAL_DIFF: 'false', XDG_CONFIG_HOME: dirname(dirname(write('config/git/attributes', '* text eol=crlf\n'))),
  }
  const before = Object.fromEntries(Object.keys(hostile).map((name) => [name, process.env[name]]))
  Object.assign(process.env, hostile)
  t.teardown(() => {
    for (const [name, value] of Object.entries(before)) {
      if (value === undefined) Reflect.deleteProperty(process.env, name)
      else process.env[name] = value
    }
  })
  await bring(c, exported)
  t.is(read(root, 'index'), 'of the commit that is being made')
  t.false(existsSync(join(root, 'elsewhere')))
  t.notRegex(read(c.paths.tree, 'net/netfilter/ipvs/ip_vs_core.c'), /\r/)
  await save(c)
  t.regex(read(c.paths.root, 'patches/lts-6.12/0001-ipvs-call-the-engine.patch'), /^--- a\//m)
})
