// SPDX-License-Identifier: GPL-2.0-only
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs, { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { createServer } from 'node:net'
import { basename, dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { writeIfChanged } from '../../scripts/base/files.ts'
import { ROOT } from '../../scripts/base/root.ts'
import { noteOwner, sweepTemporary } from '../../scripts/build/checkouts.ts'
import { createContext, type Context } from '../../scripts/build/context.ts'
import { checkoutLock, withBuildLock, withLock } from '../../scripts/build/lock.ts'
import { bring } from '../../scripts/build/step.ts'
import clean from '../../scripts/commands/clean.ts'
import discard from '../../scripts/commands/discard.ts'
import distclean from '../../scripts/commands/distclean.ts'
import modules from '../../scripts/commands/modules.ts'
import purge from '../../scripts/commands/purge.ts'
import { step as patch } from '../../scripts/steps/patch.ts'
import { step as prep } from '../../scripts/steps/prep.ts'
import { sweep } from '../../scripts/kernel/sweep.ts'
import { createBothLines, createFixture, fails, read, type Fixture } from './fixture.ts'

const CORE = 'net/netfilter/ipvs/ip_vs_core.c'

/** Two checkouts with one cache, both with a prepared tree. */
async function twoCheckouts(t: ExecutionContext): Promise<{ one: Context; other: Context; fixture: Fixture }> {
  const fixture = createFixture(t)
  const one = fixture.context()
  const root = join(dirname(fixture.root), 'other')
  execFileSync('cp', ['-a', fixture.root, root])
  const other = createContext(one.variables, root)
  for (const context of [one, other]) await bring(context, patch)
  return { one, other, fixture }
}

const git = (context: Context, ...words: string[]): string => execFileSync('git', words, { cwd: context.paths.tree, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })

test('distclean takes nothing from another checkout, which purge names and leaves alone', async (t) => {
  const { one, other } = await twoCheckouts(t)
  writeFileSync(join(other.paths.tree, CORE), 'mine\n')
  const released = join(one.paths.root, 'dist/release/1.0.0/SHA256SUMS.asc')
  mkdirSync(dirname(released), { recursive: true })
  writeFileSync(released, 'signed')
  mkdirSync(join(one.paths.root, 'dist/lts'), { recursive: true })
  await distclean.run(one)
  t.false(existsSync(one.paths.checkout))
  t.deepEqual(readdirSync(join(one.paths.root, 'dist')), ['release'])
  t.is(readFileSync(released, 'utf8'), 'signed')
  const failure = await fails(t, 'usage', () => purge.run(one))
  t.deepEqual(failure.details.excerpt, [`${other.paths.root}, with ${other.paths.checkout}`])
  git(other, 'fsck', '--connectivity-only')
  t.is(git(other, 'diff', '--name-only'), `${CORE}\n`)
  t.is(read(other.paths.tree, CORE), 'mine\n')
  await fails(t, 'patch', () => distclean.run(other))
  await discard.run(other)
  await distclean.run(other)
  await withBuildLock(other, () => fails(t, 'environment', () => purge.run(one)))
  await purge.run(one)
  t.deepEqual(readdirSync(one.paths.cache).sort(), ['checkouts', 'locks'])
  await t.notThrowsAsync(() => bring(one, patch))
})

test('purge takes the folder of a checkout that is gone, unless there are edits in it', async (t) => {
  const { one, other } = await twoCheckouts(t)
  await distclean.run(one)
  rmSync(other.paths.root, { recursive: true })
  const before = read(other.paths.tree, CORE)
  writeFileSync(join(other.paths.tree, CORE), 'mine\n')
  const failure = await fails(t, 'patch', () => purge.run(one))
  t.true(failure.details.hint?.includes(other.paths.tree))
  t.true(existsSync(one.paths.store))
  writeFileSync(join(other.paths.tree, CORE), before)
  await purge.run(one)
  t.false(existsSync(other.paths.checkout))
})

test('clean and distclean leave whatever runs its files', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  await bring(c, patch)
  for (const name of ['vm-lts', 'e2e-lts-debug', 'selftests-lts', 'soak-lts', 'srpm-build-lts', 'e2e-lts-stock']) {
    await withLock(checkoutLock(c, name), 'thing', async () => {
      for (const command of [clean, distclean]) await fails(t, 'environment', () => command.run(c))
    })
  }
  t.true(existsSync(c.paths.tree))
  await clean.run(c)
  t.false(existsSync(c.paths.work))
})

test('discard waits for no build to be over', async (t) => {
  const c = createFixture(t).context()
  await bring(c, patch)
  await withBuildLock(c, () => fails(t, 'environment', () => discard.run(c)))
})

/** What an interrupted command, a disk or a user can leave of a prepared tree. */
const STATES: readonly { state: string; damage: (context: Context) => void }[] = [
  { state: 'files are missing', damage: ({ paths }) => rmSync(join(paths.tree, 'net'), { recursive: true }) },
  { state: 'git was killed', damage: ({ paths }) => writeFileSync(join(paths.tree, '.git/index.lock'), '') },
  { state: 'there is no index', damage: ({ paths }) => rmSync(join(paths.tree, '.git/index')) },
  { state: 'there is no HEAD', damage: ({ paths }) => rmSync(join(paths.tree, '.git/HEAD')) },
  { state: 'there is no .git', damage: ({ paths }) => rmSync(join(paths.tree, '.git'), { recursive: true }) },
  { state: 'the pristine source is gone', damage: ({ paths }) => rmSync(join(paths.cache, 'pristine'), { recursive: true }) },
  { state: 'it is empty', damage: ({ paths }) => (rmSync(paths.tree, { recursive: true }), mkdirSync(paths.tree)) },
  { state: 'a merge has stopped', damage: ({ paths }) => writeFileSync(join(paths.tree, '.git/MERGE_HEAD'), execFileSync('git', ['rev-parse', 'base'], { cwd: paths.tree })) },
]
for (const { state, damage } of STATES) {
  test(`discard brings the prepared tree back when ${state}, and then clean works`, async (t) => {
    const { context, cache } = createFixture(t)
    // A repository around the cache, such as one of dot files, is none of ours.
    execFileSync('git', ['init', '--quiet', dirname(cache)])
    writeFileSync(join(dirname(cache), 'untracked'), 'mine')
    const c = context()
    await bring(c, patch)
    damage(c)
    await discard.run(c)
    await bring(c, patch)
    t.is(git(c, 'status', '--porcelain'), '')
    t.true(read(c.paths.tree, CORE).includes('hooked_5'))
    await clean.run(c)
    t.false(existsSync(c.paths.work))
    t.is(read(dirname(cache), 'untracked'), 'mine')
  })
}

test('discard brings back the pristine source when the series was not applied yet', async (t) => {
  const c = createFixture(t).context()
  await bring(c, prep)
  rmSync(join(c.paths.tree, 'net'), { recursive: true })
  await discard.run(c)
  t.is(git(c, 'status', '--porcelain'), '')
  await t.notThrowsAsync(() => bring(c, patch))
})

test('many edited files are not all listed', async (t) => {
  const c = createFixture(t).context()
  await bring(c, patch)
  for (let index = 0; index < 100; index++) writeFileSync(join(c.paths.tree, 'net', `new-${index}.c`), '')
  const { details } = await fails(t, 'patch', () => clean.run(c))
  t.is(details.excerpt?.length, 20)
  t.is(details.excerpt?.at(-1), '... and 81 more')
})

test('what a checkout has in the cache that is gone for a week is swept, unless there are edits in it', async (t) => {
  const { one, other } = await twoCheckouts(t)
  const week = 8 * 24 * 3600 * 1000
  rmSync(other.paths.root, { recursive: true })
  await sweep(one)
  t.true(existsSync(other.paths.checkout))
  const before = read(other.paths.tree, CORE)
  writeFileSync(join(other.paths.tree, CORE), 'mine\n')
  await sweep(one, Date.now() + week)
  t.true(existsSync(other.paths.checkout))
  writeFileSync(join(other.paths.tree, CORE), before)
  await withBuildLock(other, () => sweep(one, Date.now() + week))
  t.true(existsSync(other.paths.checkout))
  await sweep(one, Date.now() + week)
  t.false(existsSync(other.paths.checkout))
  t.true(existsSync(one.paths.checkout))
})

test('a checkout whose disk is not mounted is not gone', async (t) => {
  const fixture = createFixture(t)
  const one = fixture.context()
  const disk = join(dirname(fixture.root), 'disk')
  const other = createContext(one.variables, join(disk, 'checkout'))
  noteOwner(other)
  mkdirSync(disk)
  const week = 8 * 24 * 3600 * 1000
  await sweep(one, Date.now() + week)
  t.true(existsSync(other.paths.checkout))
  writeFileSync(join(disk, 'mounted'), '')
  await sweep(one, Date.now() + week)
  t.false(existsSync(other.paths.checkout))
})

test('a folder whose checkout a crash has made unknown is neither swept nor purged', async (t) => {
  const { context, cache } = createFixture(t)
  const c = context()
  const folder = join(cache, 'checkouts/mine-12345678')
  mkdirSync(folder, { recursive: true })
  for (const left of ['', '\0\0\0\0']) {
    writeFileSync(join(folder, 'root'), left)
    utimesSync(folder, 1, 1)
    await sweep(c)
    t.deepEqual((await fails(t, 'usage', () => purge.run(c))).details.excerpt, [`${folder}, of an unknown checkout`])
    t.true(existsSync(folder))
  }
})

test('a file gets its name when its content is on the disk', (t) => {
  const { root } = createFixture(t)
  const path = join(root, 'file')
  const { fsyncSync } = fs
  const synced: string[] = []
  fs.fsyncSync = (fd) => {
    synced.push(readFileSync(`/proc/self/fd/${fd}`, 'utf8'))
    t.false(existsSync(path))
    fsyncSync(fd)
  }
  syncBuiltinESMExports()
  try {
    t.true(writeIfChanged(path, 'content'))
  } finally {
    fs.fsyncSync = fsyncSync
    syncBuiltinESMExports()
  }
  t.deepEqual(synced, ['content'])
})

test('what killed runs have left in /tmp goes after a day, and nothing of others or of what runs', async (t) => {
  const { root } = createFixture(t)
  const tmp = join(root, 'tmp')
  const kept = ['lvs-config', 'lvs-notes', 'lvs-snat', 'lvs-snat-vm-d4E5f6', 'lvs-snat-vm-g7H8i9', 'other']
  for (const name of ['lvs-snat-gpg-a1B2c3', 'lvs-snat-vm-a1B2c3', ...kept]) mkdirSync(join(tmp, name), { recursive: true })
  const server = createServer().listen(join(tmp, 'lvs-snat-vm-g7H8i9/gw.inside'))
  t.teardown(() => server.close())
  await once(server, 'listening')
  for (const name of readdirSync(tmp)) if (name !== 'lvs-snat-vm-d4E5f6') utimesSync(join(tmp, name), 1, 1)
  const runtime = join(root, 'runtime')
  mkdirSync(join(runtime, 'lvs-snat-vm-a1B2c3'), { recursive: true })
  utimesSync(join(runtime, 'lvs-snat-vm-a1B2c3'), 1, 1)
  sweepTemporary([runtime, tmp])
  t.deepEqual(readdirSync(runtime), [])
  t.deepEqual(readdirSync(tmp).sort(), kept)
})

test('an interrupted prep leaves no tree that counts as finished', async (t) => {
  const { context, root } = createFixture(t)
  const c = context()
  const bin = join(root, 'bin')
  mkdirSync(bin)
  const real = execFileSync('sh', ['-c', 'command -v git'], { encoding: 'utf8' }).trim()
  // The checkout of the tree, which takes a while on a kernel, waits for its interrupt, and ends well in spite of it.
  writeFileSync(join(bin, 'git'), `#!/bin/sh
case " $* " in *' checkout --quiet --detach '*)
  ${real} "$@"; rm -r net; echo >${root}/reached; trap 'exit 0' TERM INT; while :; do sleep 0.1; done
esac
exec ${real} "$@"
`)
  chmodSync(join(bin, 'git'), 0o755)
  const child = spawn('node', ['--import', 'tsx', 'scripts/main.ts', 'prep'], {
    cwd: ROOT,
    env: { ...process.env, PATH: `${bin}:${process.env['PATH']}`, LVS_SNAT_CACHE: c.paths.cache, LVS_SNAT_SOURCE: c.variables.SOURCE, LVS_SNAT_SETUP: 'no' },
  })
  while (!existsSync(join(root, 'reached')) && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 50))
  child.kill('SIGINT')
  t.is(await new Promise((resolve) => child.on('exit', resolve)), 130)
  const [folder] = readdirSync(join(c.paths.cache, 'checkouts'))
  t.deepEqual(readdirSync(join(c.paths.cache, 'checkouts', folder ?? '', 'lts')).filter((name) => name.startsWith('linux')), [])
})

test('a tree that was prepared when its target had another name is not removed with edits, nor taken for what has that name now', async (t) => {
  const { context } = createBothLines(t)
  const [now, earlier] = [context(), context({ TARGET: 'lts-6.1' })]
  const edit = (folder: string): void => writeFileSync(join(folder, 'linux/net/netfilter/ipvs/ip_vs_snat.c'), 'int a_day_of_work;\n')
  // What is lts by now was lts-6.12, and what is lts-6.1 was lts.
  await bring(now, patch)
  const former = join(dirname(now.paths.work), 'lts-6.12')
  renameSync(now.paths.work, former)
  await modules.run(earlier)
  renameSync(earlier.paths.work, now.paths.work)
  renameSync(join(now.paths.work, basename(earlier.paths.stamps.variant)), now.paths.stamps.variant)

  edit(former)
  const kept = await fails(t, 'patch', () => distclean.run(now))
  t.regex(kept.details.hint ?? '', /That is Linux 6\.12\.3, and no tree of lts-6\.12 any more\..* in the tree that make patch TARGET=lts prints\..* rm -r .*\/lts-6\.12$/)
  rmSync(former, { recursive: true })

  t.regex((await fails(t, 'usage', () => modules.run(now))).message, /^There is no prepared tree/)
  edit(now.paths.work)
  for (const command of [{ run: () => bring(now, patch) }, clean, distclean]) {
    const failure = await fails(t, 'patch', () => command.run(now))
    t.regex(failure.details.hint ?? '', /That is Linux 6\.1\.7, and no tree of lts any more\..* git am in the tree that make patch TARGET=lts-6\.1 prints/)
  }
  rmSync(now.paths.work, { recursive: true })
  await distclean.run(now)
  t.false(existsSync(now.paths.checkout))
})
