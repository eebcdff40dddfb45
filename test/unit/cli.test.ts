// SPDX-License-Identifier: GPL-2.0-only
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import test from 'ava'
import { Failure } from '../../scripts/base/errors.ts'
import { asFailure } from '../../scripts/base/files.ts'
import { ROOT } from '../../scripts/base/root.ts'
import { createContext } from '../../scripts/build/context.ts'
import { withBuildLock } from '../../scripts/build/lock.ts'
import { describe, missing, setUp } from '../../scripts/build/setup.ts'
import { bring, type Step } from '../../scripts/build/step.ts'
import { commandNames, loadCommand, parseVariables, runCommand } from '../../scripts/cli.ts'
import { createFixture, fails } from './fixture.ts'

const main = (...words: string[]) =>
  spawnSync('node', ['--import', 'tsx', 'scripts/main.ts', ...words], { cwd: ROOT, encoding: 'utf8', env: { ...process.env, LVS_SNAT_LOG: '' } })

test('every command explains itself', async (t) => {
  for (const name of commandNames()) {
    const command = await loadCommand(name)
    t.true(command.summary.length > 10 && command.help.trim().length > 40, name)
  }
})

test('a mistake of the user has its exit code and no stack trace', (t) => {
  const { status, stderr } = main('frobnicate')
  t.is(status, 2, stderr)
  t.regex(stderr, /^error: Unknown command "frobnicate"\.\n/)
  t.notRegex(stderr, /\n\s+at /)
})

test('mistakes of the user are told as such', async (t) => {
  for (const [words, message] of [
    [['help', 'COLOUR=red'], /Unknown variable "COLOUR"/],
    [['help', 'lts'], /Unknown argument "lts"/],
    [['status', 'TARGET=el6', 'CONFIG=constructor'], /CONFIG="constructor" is no configuration of TARGET=el6/],
    [['help', 'TARGET=el9'], /Unknown target "el9"/],
    [['help', 'JOBS=many'], /JOBS="many" is not a number/],
    [['help', 'REPEAT=0'], /REPEAT="0" is not a number/],
    [['help', 'FUZZ=many'], /FUZZ="many" is not a number/],
    [['help', 'EVENTS=1e6'], /EVENTS="1e6" is not a number/],
    [['help', 'HOURS=0'], /HOURS="0" is not a number of hours above 0/],
    [['help', 'HOURS=1h'], /HOURS="1h" is not a number of hours/],
    [['help', 'HOURS=1000'], /HOURS="1000" is not a number of hours above 0 and below 1000/],
    [['help', 'SEED=x'], /SEED="x" is not a number/],
    [['help', 'DEBUG=maybe'], /DEBUG="maybe" is not understood/],
    [['kernel', 'KERNEL=stock'], /make kernel knows no KERNEL=stock: Debian 13 has built that/],
    [['help', 'DEBUG=1', 'SANITIZE=1'], /DEBUG=1 and SANITIZE=1 are different kernels/],
    [['help', 'DEBUG=1', 'SANITIZE=kcsan'], /DEBUG=1 and SANITIZE=kcsan are different kernels/],
    [['help', 'SANITIZE=kasan'], /SANITIZE="kasan" is not understood\.[^]*SANITIZE is one of: 0, 1, kcsan/],
    [['help', 'KERNEL=stock', 'SANITIZE=kcsan'], /SANITIZE=kcsan means nothing for it/],
    [['help', 'SANITIZE=kcsan', 'TARGET=el6'], /SANITIZE=kcsan is not available for TARGET=el6: 2\.6\.32 has no KCSAN/],
    [['help', 'SANITIZE=1', 'TARGET=el6'], /SANITIZE=1 is not available for TARGET=el6: 2\.6\.32 has no KASAN/],
  ] as const) {
    const failure = await fails(t, 'usage', () => runCommand(words))
    t.regex(`${failure.message}\n${failure.details.hint ?? ''}`, message)
  }
})

const make = (words: readonly string[], environment: NodeJS.ProcessEnv = {}) =>
  spawnSync('make', words, { cwd: ROOT, encoding: 'utf8', env: { ...process.env, LVS_SNAT_LOG: '', ...environment } })

test('which commands know the kernel of a distribution is said by themselves', (t) => {
  t.regex(main('kernel', 'KERNEL=stock').stderr, /KERNEL=stock is for bench, bench-baseline, bench-compare, clean, dashboard, e2e, install-test, kmod, list, selftests, soak, status, vm, vm-capture, vm-log\./)
})

test('make passes variables on and refuses unknown ones', (t) => {
  t.regex(make(['help', 'JOBS=3']).stdout, /Exit codes/)
  const { status, stderr } = make(['help', 'COLOUR=red'])
  t.regex(stderr, /Unknown variable "COLOUR"/)
  t.is(status, 2)
  t.regex(make(['kernel-help']).stdout, /^kernel: /m)
})

for (const value of ['a;echo ran>&2', "o'brien", 'two  words', '"', '$(shell echo ran >&2)', '$$(echo ran >&2)', '`echo ran >&2`', 'a\nb', 'a|b&c<d>e*?[x]\\', '#x', '-n', 'ä', 'a ', '%']) {
  test(`a value reaches the program as it was typed: ${JSON.stringify(value)}`, (t) => {
    const { status, stderr } = make(['help', `TARGET=${value}`])
    t.is(status, 2, stderr)
    t.true(stderr.includes(`Unknown target "${value}".`), stderr)
    t.notRegex(stderr, /^ran$/m)
  })
}

test('what is not a command reaches no shell', (t) => {
  const { status, stderr } = make(['x;echo ran>&2;-help'])
  t.is(status, 2)
  t.notRegex(stderr, /^ran$/m)
})

test("a developer's own variables change nothing, those that say LVS_SNAT_ count, and make's own go before them", (t) => {
  const generic = { TARGET: 'el9', DEBUG: '*', CONFIG: 'none', JOBS: 'many', SETUP: 'maybe', MAIN: 'none', NPM_DONE: 'none', COMMANDS: 'none' }
  t.is(make(['help'], generic).status, 0)
  t.is(make(['discard', 'CACHE=/nowhere'], generic).stderr.split('\n')[0], 'error: There is no prepared tree.')
  t.regex(make(['help'], { LVS_SNAT_TARGET: 'el9' }).stderr, /Unknown target "el9"/)
  t.is(make(['help', 'TARGET=lts'], { LVS_SNAT_TARGET: 'el9' }).status, 0)
  t.regex(make(['help'], { LVS_SNAT_TARGTE: 'el6' }).stderr, /Unknown variable "TARGTE"/)
})

test('what make runs needs no guess by Node whether it is a module, which 18 does not make', (t) => {
  const guesses = process.allowedNodeEnvironmentFlags.has('--experimental-detect-module')
  const env = { ...process.env, NODE_OPTIONS: guesses ? '--no-experimental-detect-module' : '' }
  const { stdout, stderr } = spawnSync('make', ['help'], { cwd: ROOT, encoding: 'utf8', env })
  t.regex(stdout, /Exit codes/, stderr)
})

test('make runs the sources as they are, after each change', (t) => {
  const { root } = createFixture(t)
  const copy = join(root, 'checkout')
  const modules = join(copy, 'node_modules')
  mkdirSync(modules, { recursive: true })
  for (const name of ['Makefile', 'package.json', 'package-lock.json', 'scripts', 'vm', 'test/e2e']) cpSync(join(ROOT, name), join(copy, name), { recursive: true, preserveTimestamps: true })
  const installed = readdirSync(join(ROOT, 'node_modules')).filter((name) => name !== '.lvs-snat')
  for (const name of installed) symlinkSync(join(ROOT, 'node_modules', name), join(modules, name))
  const make = (goal: string) => spawnSync('make', [goal, 'SETUP=no'], { cwd: copy, encoding: 'utf8', env: { ...process.env, LVS_SNAT_LOG: '', LC_ALL: 'C' } })

  const greet = join(copy, 'scripts/commands/greet.ts')
  t.regex(make('greet').stderr, /No rule to make target/)
  writeFileSync(greet, "export default { summary: 'greets', help: '', run: async () => console.log('good morning') }\n")
  t.is(make('greet').stdout, 'good morning\n')
  writeFileSync(greet, "export default { summary: 'greets', help: '', run: async () => console.log('good night') }\n")
  t.is(make('greet').stdout, 'good night\n')
  writeFileSync(`${greet}.orig`, 'what a merge has left')
  t.regex(make('help').stdout, /\n {2}greet /)
  writeFileSync(greet, "export default { summary: 'greets', help: '', run: async () => console.log('good old times') }\n")
  utimesSync(greet, 0, 0)
  t.is(make('greet').stdout, 'good old times\n')
  writeFileSync(greet, 'export default {')
  t.regex(make('greet').stderr, /Expected identifier[^]*greet\.ts:1:16/)
  rmSync(`${greet}.orig`)
  rmSync(greet)
  symlinkSync('someone@somewhere', join(copy, 'scripts/.#main.ts'))
  const help = make('help')
  t.regex(help.stdout, /\n {2}kernel /, help.stderr)
  t.notRegex(help.stdout, /greet/)
  rmSync(join(copy, 'scripts/base/root.ts'))
  t.regex(make('help').stderr, /Could not resolve "[./\w]*root\.ts"/)
})

/** Stands for npm: it says what npm says, and does not end before another make has come to it, or waits for it. */
const NPM = `#!/bin/sh
echo npm >>came
echo 'added 290 packages in 21s'
until [ "$(sort came | uniq --repeated)" ]; do sleep 0.05; done
mkdir -p node_modules
ln -sfn ${ROOT}/node_modules/.bin node_modules/.bin
touch node_modules/.package-lock.json
`

test('of two makes one installs the npm packages, and neither says so where its result is read', async (t) => {
  const { root, write } = createFixture(t)
  const copy = join(root, 'checkout')
  for (const name of ['vm', 'test/e2e']) mkdirSync(join(copy, name), { recursive: true })
  for (const name of ['Makefile', 'package.json', 'package-lock.json']) cpSync(join(ROOT, name), join(copy, name))
  write('checkout/scripts/commands/greet.ts', '')
  write('checkout/scripts/main.ts', "console.log('good morning')\n")
  chmodSync(write('bin/npm', NPM), 0o755)
  chmodSync(write('bin/flock', '#!/bin/sh\necho flock >>came\nexec /usr/bin/flock "$@"\n'), 0o755)
  const make = async () => {
    const child = spawn('make', ['greet'], { cwd: copy, env: { ...process.env, PATH: `${root}/bin:${process.env['PATH']}`, LVS_SNAT_SETUP: '' }, stdio: ['ignore', 'pipe', 'pipe'] })
    const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)])
    return { stdout, stderr }
  }
  const made = await Promise.all([make(), make()])
  t.deepEqual(made.map(({ stdout }) => stdout), ['good morning\n', 'good morning\n'], made.map(({ stderr }) => stderr).join('\n'))
  t.deepEqual(readFileSync(join(copy, 'came'), 'utf8').match(/npm/g), ['npm'])
  t.regex(made.map(({ stderr }) => stderr).join(''), /added 290 packages/)
})

test('variables come from the environment, then from the command line', (t) => {
  t.deepEqual(parseVariables(['JOBS=4', 'SOURCE=a=b c'], { LVS_SNAT_JOBS: '2', LVS_SNAT_DEBUG: '1', TARGET: 'x', LVS_SNAT_LOG: 'off' }), {
    JOBS: '4',
    DEBUG: '1',
    SOURCE: 'a=b c',
  })
})

test('a variant has a folder of its own in dist', (t) => {
  t.true(createContext({ DEBUG: '1' }).paths.dist.endsWith('/dist/lts-debug'))
  t.true(createContext({ SANITIZE: '1' }).paths.dist.endsWith('/dist/lts-sanitize'))
  t.true(createContext({ SANITIZE: 'kcsan' }).paths.dist.endsWith('/dist/lts-kcsan'))
  t.true(createContext({ SANITIZE: '0' }).paths.dist.endsWith('/dist/lts'))
  t.true(createContext({}).paths.dist.endsWith('/dist/lts'))
})

test('a full disk and missing rights are told plainly', (t) => {
  for (const [code, message] of [['ENOSPC', /No space left/], ['EACCES', /Not allowed to write/]] as const) {
    const failure = asFailure(Object.assign(new Error(code), { code, path: '/x' }))
    t.true(failure instanceof Failure && failure.kind === 'environment')
    t.regex((failure as Failure).message, message)
  }
})

test('what the host lacks is found by command or file, and described', (t) => {
  const requirements = [
    { needs: 'sh', apt: 'dash', dnf: 'bash', why: 'is there' },
    { needs: 'no-such-tool', apt: 'tool-deb', dnf: 'tool-rpm', why: 'is missed' },
    { needs: '/no/such/header.h', apt: 'lib-dev', dnf: 'lib-devel', why: 'is missed too' },
  ]
  const lacking = missing(requirements)
  t.deepEqual(lacking.map(({ needs }) => needs), ['no-such-tool', '/no/such/header.h'])
  t.regex(describe(lacking, 'dnf')[0] ?? '', /^tool-rpm +is missed$/)
})

test.serial('SETUP=no reports what is missing and installs nothing', async (t) => {
  const path = process.env['PATH']
  process.env['PATH'] = '/nowhere'
  t.teardown(() => (process.env['PATH'] = path))
  const failure = await fails(t, 'environment', () => setUp(createContext({ SETUP: 'no' })))
  t.regex(failure.message, /packages are missing/)
  t.regex(failure.details.hint ?? '', /apt-get install/)
})

const countingStep = (runs: { count: number }, input: () => string, fail = false): Step => ({
  name: 'counted',
  scope: 'variant',
  needs: [],
  code: [],
  inputs: () => input(),
  outputs: (context) => [join(context.paths.work, 'out')],
  async run(context) {
    runs.count++
    if (fail) throw new Failure('build', 'broken')
    mkdirSync(context.paths.work, { recursive: true })
    writeFileSync(join(context.paths.work, 'out'), '')
    return { runs: runs.count }
  },
})

test('a step runs when its inputs changed or an output is gone, and not otherwise', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  const runs = { count: 0 }
  let input = 'a'
  const step = countingStep(runs, () => input)
  await bring(c, step)
  await bring(c, step)
  t.is(runs.count, 1)
  input = 'b'
  await bring(c, step)
  t.is(runs.count, 2)
  spawnSync('rm', [join(c.paths.work, 'out')])
  await bring(c, step)
  t.is(runs.count, 3)
})

test('a step that failed runs again', async (t) => {
  const { context } = createFixture(t)
  const runs = { count: 0 }
  for (const expected of [1, 2]) {
    await fails(t, 'build', () => bring(context(), countingStep(runs, () => 'a', true)))
    t.is(runs.count, expected)
  }
})

test('an interrupt takes the children along and leaves no lock', async (t) => {
  const { context, root } = createFixture(t)
  const c = context()
  const pidFile = join(root, 'pid')
  const bin = join(root, 'bin')
  mkdirSync(bin)
  writeFileSync(join(bin, 'xz'), `#!/bin/sh\necho $$ > ${pidFile}\nexec sleep 60\n`)
  chmodSync(join(bin, 'xz'), 0o755)
  const child = spawn('node', ['--import', 'tsx', 'scripts/main.ts', 'fetch'], {
    cwd: ROOT,
    env: { ...process.env, PATH: `${bin}:${process.env['PATH']}`, LVS_SNAT_CACHE: c.paths.cache, LVS_SNAT_SOURCE: c.variables.SOURCE, LVS_SNAT_SETUP: 'no', LVS_SNAT_LOG: '' },
  })
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  while (!existsSync(pidFile) || readFileSync(pidFile).length === 0) await new Promise((resolve) => setTimeout(resolve, 50))
  child.kill('SIGINT')
  const code = await new Promise((resolve) => child.on('exit', resolve))
  t.is(code, 130, said)
  t.regex(said, /Interrupted/)
  t.throws(() => process.kill(Number(readFileSync(pidFile)), 0), { code: 'ESRCH' })
  t.is(await withBuildLock(c, async () => 'free'), 'free')
})
