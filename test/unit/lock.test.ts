// SPDX-License-Identifier: GPL-2.0-only
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { ROOT } from '../../scripts/base/root.ts'
import { checkoutLock, withBuildLock, withLock, withSharedThing } from '../../scripts/build/lock.ts'
import dashboard from '../../scripts/commands/dashboard.ts'
import reproduce from '../../scripts/commands/reproduce.ts'
import srpmBuild from '../../scripts/commands/srpm-build.ts'
import { createFixture, fails } from './fixture.ts'

const until = async (met: () => boolean): Promise<void> => {
  while (!met()) await new Promise((resolve) => setTimeout(resolve, 20))
}

const isRunning = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/**
 * Another process with the lock of a file, in which it runs a shell script whose PID is
 * in the file `child` of the folder.
 */
async function otherProcess(t: ExecutionContext, folder: string, path: string, script: string): Promise<ChildProcess> {
  const file = join(folder, 'other.mts')
  const [lock, run] = ['build/lock', 'base/run'].map((name) => join(ROOT, 'scripts', `${name}.ts`))
  writeFileSync(file, `import { withLock } from '${lock}'
import { capture } from '${run}'
await withLock(process.argv[2], 'try', () => capture(['sh', '-c', process.argv[3]], { cwd: '${folder}', anyExit: true }))
`)
  const other = spawn('node', ['--import', join(ROOT, 'node_modules/tsx/dist/esm/index.mjs'), file, path, `echo $$ >child.new; mv child.new child; ${script}`], { stdio: 'inherit' })
  t.teardown(() => other.kill('SIGKILL'))
  await until(() => existsSync(join(folder, 'child')) || other.exitCode !== null)
  return other
}

const childOf = (folder: string): number => Number(readFileSync(join(folder, 'child'), 'utf8'))

test('a second build of the same checkout is refused, and told who builds', async (t) => {
  const c = createFixture(t).context()
  await withBuildLock(c, async () => {
    const failure = await fails(t, 'environment', () => withBuildLock(c, async () => undefined))
    t.regex(failure.message, new RegExp(`^Another build of this checkout is running \\(process ${process.pid} on `))
  })
  t.is(await withBuildLock(c, async () => 'ran'), 'ran')
})

test('work that fails lets go of its lock', async (t) => {
  const path = join(createFixture(t).root, 'lock')
  await t.throwsAsync(withLock(path, 'try', () => Promise.reject(new Error('no'))), { message: 'no' })
  t.is(await withLock(path, 'try', async () => 'ran'), 'ran')
})

test('a file that an older version or a crash left behind is no lock', async (t) => {
  const c = createFixture(t).context()
  await withBuildLock(c, async () => undefined)
  writeFileSync(checkoutLock(c, 'build'), `${process.pid}\n`)
  t.is(await withBuildLock(c, async () => 'ran'), 'ran')
})

test('of many who want it at once, one has it at a time', async (t) => {
  const c = createFixture(t).context()
  let inside = 0
  const most = await Promise.all(
    Array.from({ length: 8 }, () =>
      withSharedThing(c, 'thing', 'work', async () => {
        const now = ++inside
        await new Promise((resolve) => setTimeout(resolve, 5))
        inside--
        return now
      }),
    ),
  )
  t.deepEqual(most, Array(8).fill(1))
})

test('those who share a lock keep out who wants it alone', async (t) => {
  const path = join(createFixture(t).root, 'lock')
  const share = <T>(work: () => Promise<T>) => withLock(path, 'use', work, { shared: true })
  await share(() => share(async () => {
    await fails(t, 'environment', () => withLock(path, 'use', async () => undefined))
  }))
  t.is(await withLock(path, 'use', async () => 'ran'), 'ran')
})

test('a program dies with the process that runs it, and the lock is free', async (t) => {
  const { root } = createFixture(t)
  const path = join(root, 'lock')
  const other = await otherProcess(t, root, path, 'exec sleep 600')
  await fails(t, 'environment', () => withLock(path, 'try', async () => undefined))
  other.kill('SIGKILL')
  await until(() => !isRunning(childOf(root)))
  t.is(await withLock(path, 'try', async () => 'ran', { wait: true }), 'ran')
})

test('a program that outlives the process that runs it keeps the lock', async (t) => {
  const { root } = createFixture(t)
  const path = join(root, 'lock')
  const other = await otherProcess(t, root, path, "trap '' TERM; until [ -e end ]; do sleep 0.1; done")
  other.kill('SIGKILL')
  await new Promise((resolve) => other.once('exit', resolve))
  const failure = await fails(t, 'environment', () => withLock(path, 'try', async () => undefined))
  t.true(failure.details.excerpt?.includes(`held by process ${childOf(root)}, sh`), failure.details.excerpt?.join())
  writeFileSync(join(root, 'end'), '')
  t.is(await withLock(path, 'try', async () => 'ran', { wait: true }), 'ran')
})

test('nobody else can take a lock, for which it is enough to read its file', async (t) => {
  const c = createFixture(t).context()
  await withBuildLock(c, async () => {
    for (const name of readdirSync(c.paths.locks)) t.is(statSync(join(c.paths.locks, name)).mode & 0o777, 0o600, name)
  })
})

test('of what takes an hour there is one at a time, and it says who is at it', async (t) => {
  const { context } = createFixture(t)
  for (const [command, name, variables] of [[dashboard, 'dashboard-lts', {}], [reproduce, 'reproduce-lts', {}], [srpmBuild, 'srpm-build-el6', { TARGET: 'el6', BUILDER: 'mock' }]] as const) {
    const c = context(variables)
    await withLock(checkoutLock(c, name), 'try', async () => {
      t.regex((await fails(t, 'environment', () => command.run(c))).message, new RegExp(`^Another \\w.* of this checkout is running \\(process ${process.pid} `))
    })
  }
})
