import { existsSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import test from 'ava'
import { commandNames } from '../../scripts/lib/cli.ts'
import { ROOT } from '../../scripts/lib/root.ts'
import { bring, type Step } from '../../scripts/lib/step.ts'
import { TOOL_STEPS } from '../../scripts/commands/tools.ts'
import { createFixture } from './fixture.ts'

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
  let count = 0
  for (const name of commandNames()) {
    const { step } = (await import(`../../scripts/commands/${name}.ts`)) as { step?: Step }
    for (const one of step ? [step, ...(name === 'tools' ? TOOL_STEPS : [])] : []) {
      count++
      t.true(one.code.includes(`commands/${name}.ts`), one.name)
      const imported = readFileSync(join(ROOT, 'scripts/commands', `${name}.ts`), 'utf8')
      for (const module of one.code) {
        t.true(existsSync(join(ROOT, 'scripts', module)), module)
        const from = module.startsWith('lib/') ? `../${module}` : module.replace('commands/', './')
        // What it calls by way of another of its modules counts as well.
        const all = [imported, ...one.code.map((each) => readFileSync(join(ROOT, 'scripts', each), 'utf8'))].join('\n')
        t.true(module === `commands/${name}.ts` || all.includes(`'${from}'`) || all.includes(`'${from.replace('../lib/', './')}'`), `${one.name}: ${module}`)
      }
    }
  }
  t.true(count > 12)
})
