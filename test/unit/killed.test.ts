// SPDX-License-Identifier: GPL-2.0-only
/** kill -9 of a build and of the program that it runs, as containers end: the same command goes on from there. */

import { execFileSync, spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { ROOT } from '../../scripts/base/root.ts'
import type { Context } from '../../scripts/build/context.ts'
import { bring } from '../../scripts/build/step.ts'
import { step as kernel } from '../../scripts/steps/kernel.ts'
import { step as patch } from '../../scripts/steps/patch.ts'
import { createFixture, fails, hookPatch, read, type Fixture } from './fixture.ts'

interface Death {
  /** Name of the step, and of its module. */
  step: string
  program: 'git' | 'make' | 'tar' | 'xz'
  /** Words that the program is called with, as a pattern of the shell's. */
  words: string
  /** What it has done until then, in lines of shell; `real` calls it. */
  done?: string
}

/** Locks that git makes before it changes something, and removes unless it is killed. */
const DEATHS: readonly Death[] = [
  { step: 'fetch', program: 'xz', words: '*--test*' },
  { step: 'prep', program: 'tar', words: '*--extract*', done: 'real "$@"' },
  { step: 'prep', program: 'git', words: '*add --all*', done: 'real "$@"; : >"$GIT_DIR/index.lock"' },
  { step: 'prep', program: 'git', words: '*checkout --quiet --detach*', done: 'real "$@"; rm -r net; : >.git/index.lock' },
  { step: 'patch', program: 'git', words: '*read-tree*', done: ': >"$GIT_INDEX_FILE.lock"' },
  // It has written a file, the beginning of another and a new one, and not yet the index.
  {
    step: 'patch', program: 'git', words: '*checkout --quiet -B lvs-snat*',
    done: `: >.git/index.lock; : >.git/HEAD.lock; for commit; do :; done; core=net/netfilter/ipvs/ip_vs_core.c
real show "$commit:$core" >$core; real show "$commit:net/netfilter/ipvs/ip_vs_snat.c" | head -c 5 >net/netfilter/ipvs/ip_vs_snat.c`,
  },
  { step: 'patch', program: 'git', words: '*tag --force base*', done: ': >.git/refs/tags/base.lock' },
  { step: 'config', program: 'make', words: '*x86_64_defconfig*', done: 'real "$@"' },
  { step: 'kernel', program: 'make', words: '*bzImage*', done: 'real "$@"; : >"${0%/*}/../../checkout/compiled"' },
]

/** @returns a folder with a program that dies at certain words, together with what has called it */
function dyingProgram({ root }: Fixture, { program, words, done = '' }: Death): string {
  const folder = join(dirname(root), 'bin', program)
  mkdirSync(folder, { recursive: true })
  const real = execFileSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8' }).trim()
  writeFileSync(join(folder, program), `#!/bin/bash
real() { ${real} "$@"; }
case " $* " in ${words.replaceAll(' ', '\\ ')})
  ${done}
  kill -9 $PPID $$ ;;
esac
exec ${real} "$@"
`)
  chmodSync(join(folder, program), 0o755)
  return folder
}

/** Runs a step in a process of its own. @returns the signal that it has died of */
async function die(fixture: Fixture, context: Context, death: Death): Promise<string | null> {
  const script = join(dirname(fixture.root), 'build.mts')
  const [contexts, steps, step] = ['build/context', 'build/step', `steps/${death.step}`].map((name) => join(ROOT, 'scripts', `${name}.ts`))
  writeFileSync(script, `import { createContext } from '${contexts}'
import { bring } from '${steps}'
import { step } from '${step}'
await bring(createContext(JSON.parse(process.argv[2]), process.argv[3]), step)
`)
  const child = spawn('node', ['--import', join(ROOT, 'node_modules/tsx/dist/esm/index.mjs'), script, JSON.stringify(context.variables), fixture.root], {
    stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, PATH: `${dyingProgram(fixture, death)}:${process.env['PATH']}` },
  })
  return new Promise((resolve) => child.once('exit', (_, signal) => resolve(signal)))
}

/** What a build has made, by names and contents. */
function made({ paths }: Context): string[] {
  const git = (...words: string[]): string => execFileSync('git', words, { cwd: paths.tree, encoding: 'utf8' })
  return [
    git('rev-parse', 'HEAD', 'pristine', 'base', 'refs/lvs-snat/applied'), git('symbolic-ref', 'HEAD'), git('status', '--porcelain'),
    read(paths.build, '.config'), read(paths.build, 'arch/x86/boot/bzImage'), read(paths.build, 'modules.order'),
  ]
}

/** @returns paths of what is there only while something is made */
const remains = ({ paths }: Context): string[] =>
  [paths.work, join(paths.cache, 'pristine'), join(paths.store, 'incoming')].flatMap((folder) =>
    readdirSync(folder).filter((name) => /\.new-|\.lock$|^apt-|^moving$|-index$/.test(name)).map((name) => join(folder, name)))

let whole: Promise<string[]> | undefined

/** What a build makes that nobody has killed; made once. */
const wholeOf = (t: ExecutionContext): Promise<string[]> => (whole ??= build(createFixture(t).context()))

async function build(context: Context): Promise<string[]> {
  await bring(context, kernel)
  return made(context)
}

for (const death of DEATHS) {
  // One after the other: each is a build of its own, and a busy host would not see any of them end for minutes.
  test.serial(`${death.step} that dies in ${death.program} ${death.words} is made by the next run as if nothing had been`, async (t) => {
    const fixture = createFixture(t)
    const c = fixture.context()
    t.is(await die(fixture, c, death), 'SIGKILL')
    t.deepEqual(await build(c), await wholeOf(t))
    t.deepEqual(remains(c), [])
  })
}

test('what a move that died has not written is an edit, and stays', async (t) => {
  const fixture = createFixture(t)
  const c = fixture.context()
  const death = DEATHS.find(({ words }) => words.includes('-B lvs-snat'))
  t.is(death && (await die(fixture, c, death)), 'SIGKILL')
  const edited = join(c.paths.tree, 'net/netfilter/ipvs/ip_vs_core.c')
  writeFileSync(edited, 'mine\n')
  const failure = await fails(t, 'patch', () => bring(c, patch))
  t.true(failure.details.excerpt?.includes('net/netfilter/ipvs/ip_vs_core.c'))
  t.is(read(edited), 'mine\n')
})

test('locks of a git that is at work in the prepared tree stay', async (t) => {
  const { context, write } = createFixture(t)
  const c = context()
  await bring(c, patch)
  const lock = join(c.paths.tree, '.git/index.lock')
  // As that of `git commit`, whose editor waits for the message.
  const editor = spawn('git', ['-c', 'alias.wait=!cat', 'wait'], { cwd: c.paths.tree, stdio: ['pipe', 'ignore', 'inherit'] })
  t.teardown(() => editor.kill())
  await new Promise((resolve) => editor.once('spawn', resolve))
  writeFileSync(lock, '')
  write('patches/lts-6.12/0001-ipvs-call-the-engine.patch', hookPatch(7))
  await fails(t, 'environment', () => bring(c, patch))
  t.true(existsSync(lock))
  editor.stdin.end()
  await new Promise((resolve) => editor.once('exit', resolve))
  await bring(c, patch)
  t.true(read(c.paths.tree, 'net/netfilter/ipvs/ip_vs_core.c').includes('int hooked_7;'))
})
