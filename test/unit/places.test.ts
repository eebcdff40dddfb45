// SPDX-License-Identifier: GPL-2.0-only
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { Failure } from '../../scripts/base/errors.ts'
import { asFailure } from '../../scripts/base/files.ts'
import { ROOT } from '../../scripts/base/root.ts'
import { capture } from '../../scripts/base/run.ts'
import { createContext } from '../../scripts/build/context.ts'
import { placeProblems } from '../../scripts/build/places.ts'
import { bring } from '../../scripts/build/step.ts'
import doctor from '../../scripts/commands/doctor.ts'
import modules from '../../scripts/commands/modules.ts'
import { step as patch } from '../../scripts/steps/patch.ts'
import { createFixture, fails } from './fixture.ts'

for (const character of [' ', ':', "'", '"', '%', '$', '=', ',', '#', '\\', '\n', '*']) {
  test(`a path with ${JSON.stringify(character)} in it is refused before anything is built`, async (t) => {
    const { root, context } = createFixture(t)
    const c = context({ CACHE: join(root, `a${character}b`) })
    const failure = await fails(t, 'environment', () => bring(c, patch))
    t.is(failure.details.excerpt?.length, 1)
    t.true(failure.details.excerpt?.[0]?.includes(`has ${JSON.stringify(character)} in it`))
  })
}

test('ordinary paths are fine, letters of all languages among them', (t) => {
  const { root } = createFixture(t)
  t.deepEqual(placeProblems(createContext({ CACHE: join(root, 'Käse-1.0+x_y@z~') }, root)), [])
})

test('doctor tells all that is wrong at once, and ends', (t) => {
  const { status, stderr, signal } = spawnSync('node', ['--import', 'tsx', 'scripts/main.ts', 'doctor', 'CACHE=/proc/a b'], { cwd: ROOT, encoding: 'utf8', timeout: 60_000, env: { ...process.env, LVS_SNAT_LOG: '', PATH: `${process.env['PATH']}` } })
  t.is(signal, null)
  t.is(status, 3, stderr)
  t.regex(stderr, /has " " in it/)
  t.regex(stderr, /\/proc\/a b, cannot be written to \(ENOENT\)/)
})

for (const [command, cache] of [['purge', '/proc/x'], ['clean', '/proc/x'], ['purge', '/etc/passwd'], ['clean', '/etc/passwd'], ['doctor', '/etc/passwd']] as const) {
  test(`${command} ends where there can be no cache: ${cache}`, (t) => {
    const { status, stderr, signal } = spawnSync('node', ['--import', 'tsx', 'scripts/main.ts', command, `CACHE=${cache}`], { cwd: ROOT, encoding: 'utf8', timeout: 60_000, killSignal: 'SIGKILL', env: { ...process.env, LVS_SNAT_LOG: '' } })
    t.is(signal, null)
    t.is(status, 3, stderr)
  })
}

test.serial('doctor tells of missing packages and of folders together', async (t) => {
  const path = process.env['PATH']
  process.env['PATH'] = '/nowhere'
  t.teardown(() => (process.env['PATH'] = path))
  const failure = await fails(t, 'environment', () => doctor.run(createContext({ CACHE: '/proc/a b' })))
  t.true(failure.details.excerpt?.some((line) => /cannot be written to/.test(line)))
  t.true(failure.details.excerpt?.some((line) => /^git /.test(line)))
})

test('what cannot be written in the checkout is not blamed on the cache', (t) => {
  const told = (path: string): string => (asFailure(Object.assign(new Error('x'), { code: 'EROFS', path })) as Failure).details.hint ?? ''
  t.notRegex(told(join(ROOT, 'dist/lts/x')), /CACHE=/)
  t.regex(told('/elsewhere/x'), /CACHE=/)
})

test('what programs say is read in one language', async (t) => {
  const { root } = createFixture(t)
  const { stdout } = await capture(['sh', '-c', 'echo $LC_ALL'], { cwd: root, env: { ...process.env, LC_ALL: 'de_DE.UTF-8', LANG: 'de_DE.UTF-8' } })
  t.is(stdout, 'C\n')
})

test("the compiler's warnings are told when modules are built", (t) => {
  const { root, context } = createFixture(t)
  const bin = join(root, 'bin')
  mkdirSync(bin)
  writeFileSync(join(bin, 'make'), '#!/bin/sh\ncase " $* " in *" M="*) echo "ip_vs.c:3:1: warning: unused variable";; esac\nexec /usr/bin/make "$@"\n')
  chmodSync(join(bin, 'make'), 0o755)
  t.true(modules.summary.length > 0)
  const script = `import { createContext } from '${join(ROOT, 'scripts/build/context.ts')}'
import modules from '${join(ROOT, 'scripts/commands/modules.ts')}'
await modules.run(createContext(JSON.parse(process.argv[2]), process.argv[3]))
`
  writeFileSync(join(root, 'run.mts'), script)
  const { stderr } = spawnSync('node', ['--import', join(ROOT, 'node_modules/tsx/dist/esm/index.mjs'), join(root, 'run.mts'), JSON.stringify(context().variables), root], {
    encoding: 'utf8', env: { ...process.env, LVS_SNAT_LOG: '', PATH: `${bin}:${process.env['PATH']}` },
  })
  t.regex(stderr, /warning: ip_vs\.c:3:1: warning: unused variable/)
})
