// SPDX-License-Identifier: GPL-2.0-only
import { readdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import test from 'ava'
import { ROOT } from '../../scripts/base/root.ts'
import { bring, type Step } from '../../scripts/build/step.ts'
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
