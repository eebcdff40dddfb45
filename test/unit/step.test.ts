// SPDX-License-Identifier: GPL-2.0-only
import { execFileSync } from 'node:child_process'
import { cpSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import test from 'ava'
import { ROOT } from '../../scripts/base/root.ts'
import { builtRevision, revision } from '../../scripts/build/revision.ts'
import { bring, requireUpToDate, type Step } from '../../scripts/build/step.ts'
import { createFixture, fails } from './fixture.ts'
import { imports } from './imports.ts'

test('a step whose recipe was changed runs again, and what needs it does too', async (t) => {
  const { context, write } = createFixture(t)
  const recipe = write('recipe.ts', 'one\n')
  const ran: string[] = []
  const step = (name: string, code: string[], needs: Step[] = []): Step => ({
    name, code, needs, scope: 'variant', inputs: () => null, outputs: () => [],
    run: async () => (ran.push(name), {}),
  })
  const first = step('first', [relative(join(ROOT, 'scripts'), recipe)])
  const second = step('second', [], [first])
  await bring(context(), second)
  await bring(context(), second)
  t.deepEqual(ran, ['first', 'second'])
  write('recipe.ts', 'two\n')
  await bring(context(), second)
  t.deepEqual(ran, ['first', 'second', 'first', 'second'])
})

test('every step names its own module and those that exist, and imports what it names', async (t) => {
  const scripts = join(ROOT, 'scripts')
  const names = readdirSync(join(scripts, 'steps'))
  for (const name of names) {
    const { step, TOOL_STEPS = [] } = (await import(`../../scripts/steps/${name}`)) as { step: Step; TOOL_STEPS?: readonly Step[] }
    for (const { name: called, code } of [step, ...TOOL_STEPS]) {
      t.true(code.includes(`steps/${name}`), called)
      // What it calls by way of another of its modules counts as well.
      const imported = new Set(code.flatMap((module) => imports(join(scripts, module))))
      for (const module of code) t.true(module === `steps/${name}` || imported.has(join(scripts, module)), `${called}: ${module}`)
    }
  }
  t.true(names.length > 12)
})

test('what a step needs of the host is asked for before it, and by goals that do without it is not', async (t) => {
  const { context } = createFixture(t)
  const step = (name: string, more: Partial<Step> = {}): Step => ({
    name, code: [], needs: [], scope: 'variant', inputs: () => null, outputs: () => [], run: async () => ({}), ...more,
  })
  const first = step('first')
  const second = step('second', { needs: [first], host: [{ needs: 'no-such-tool', apt: 'tool-deb', dnf: 'tool-rpm', why: 'makes it' }] })
  const failure = await fails(t, 'environment', () => bring(context(), step('third', { after: [second] })))
  t.regex(failure.message, /packages are missing/)
  t.regex(failure.details.excerpt?.join('\n') ?? '', /^tool-(deb|rpm) +makes it$/m)
  await bring(context(), first)
  t.pass()
})

test('what a step is made by is the code that runs, though a pull has brought other code meanwhile', async (t) => {
  const { root } = createFixture(t)
  for (const name of ['scripts', 'package.json']) cpSync(join(ROOT, name), join(root, name), { recursive: true })
  for (const name of ['vm', 'node_modules']) symlinkSync(join(ROOT, name), join(root, name))
  const { codeDigest } = (await import(join(root, 'scripts/build/step.ts'))) as { codeDigest: (modules: readonly string[]) => string }
  const before = codeDigest(['steps/patch.ts'])
  writeFileSync(join(root, 'scripts/steps/patch.ts'), 'pulled\n')
  t.is(codeDigest(['steps/patch.ts']), before)
})

test('what is made while another commit is checked out is of the first one, with changes', async (t) => {
  const { context, root } = createFixture(t)
  const c = context()
  const git = (...words: string[]): string => execFileSync('git', ['-c', 'user.name=N', '-c', 'user.email=n@example.org', ...words], { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  git('init')
  git('add', '.')
  git('commit', '--message=one')
  const step = (run: Step['run']): Step => ({ name: 'long', code: [], needs: [], scope: 'variant', inputs: () => git('rev-parse', 'HEAD'), outputs: () => [], run })
  await bring(c, step(async () => ({})))
  const first = { commit: git('rev-parse', 'HEAD'), dirty: false }
  t.deepEqual(await builtRevision(c), first)
  git('commit', '--allow-empty', '--message=two')
  await bring(c, step(async () => {
    t.deepEqual(await builtRevision(c), await revision(c))
    git('commit', '--allow-empty', '--message=three')
    return {}
  }))
  t.deepEqual(await builtRevision(c), { commit: git('rev-parse', 'HEAD~1'), dirty: true })
  await bring(c, step(async () => ({})))
  t.deepEqual(await builtRevision(c), { commit: git('rev-parse', 'HEAD'), dirty: false })
})

const asRoot = process.getuid?.() === 0 ? test : test.skip

asRoot('root in a container, whose checkout is somebody else\'s, builds of its commit', async (t) => {
  const { context, root } = createFixture(t)
  execFileSync('git', ['init'], { cwd: root, stdio: 'ignore' })
  execFileSync('chown', ['-R', '65534', root])
  t.deepEqual(await revision(context()), { commit: null, dirty: true })
})

test('what was made of something that was there for a while is not taken for made of what is there', async (t) => {
  const { context } = createFixture(t)
  let input = 'one'
  const step = (name: string, more: Partial<Step> = {}): Step => ({
    name, code: [], needs: [], scope: 'variant', inputs: () => null, outputs: () => [], run: async () => ({}), ...more,
  })
  const first = step('first', { run: async () => ((input = 'other'), {}) })
  const second = step('second', { needs: [first], inputs: () => input, run: async () => ((input = 'one'), {}) })
  const last = step('third', { needs: [second] })
  await bring(context(), last)
  const failure = await fails(t, 'usage', () => requireUpToDate(context(), last))
  t.deepEqual(failure.details.excerpt, ['second: changed: inputs', 'third: comes after second'])
  await bring(context(), last)
  await t.notThrowsAsync(() => requireUpToDate(context(), last))
})
