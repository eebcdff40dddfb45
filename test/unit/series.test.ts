// SPDX-License-Identifier: GPL-2.0-only
import { execFileSync } from 'node:child_process'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Failure } from '../../scripts/base/errors.ts'
import clean from '../../scripts/commands/clean.ts'
import distclean from '../../scripts/commands/distclean.ts'
import exportCommand from '../../scripts/commands/export.ts'
import { exportedPatch } from '../../scripts/steps/export.ts'
import { coveredFiles } from '../../scripts/steps/repo.ts'
import discard from '../../scripts/commands/discard.ts'
import { step as fetch } from '../../scripts/steps/fetch.ts'
import { step as patch } from '../../scripts/steps/patch.ts'
import { step as prep } from '../../scripts/steps/prep.ts'
import save from '../../scripts/commands/save.ts'
import { runCommand } from '../../scripts/cli.ts'
import { goal, preparedTrees, type Context, type Variables } from '../../scripts/build/context.ts'
import { hunkAt } from '../../scripts/kernel/commits.ts'
import { parseSeries, readSeries, requireSaved } from '../../scripts/kernel/series.ts'
import { bring, plan, readStamp } from '../../scripts/build/step.ts'
import { coreFile, createFixture, fails, hookPatch, kernelTarball, read, tarball } from './fixture.ts'

const CORE = 'net/netfilter/ipvs/ip_vs_core.c'
const ENGINE = 'net/netfilter/ipvs/ip_vs_snat.c'

const git = (context: Context, ...words: string[]): string =>
  execFileSync('git', ['-c', 'user.name=Dev', '-c', 'user.email=dev@example.org', ...words], {
    cwd: context.paths.tree,
    encoding: 'utf8',
  })

test('a series file may have comments and blank lines', (t) => {
  t.deepEqual(parseSeries('# one\n\n0001-a.patch\n0002-b.patch # why\n'), ['0001-a.patch', '0002-b.patch'])
})

test('engine and hooks become commits on the pristine source', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  await bring(c, patch)
  t.is(git(c, 'log', '--format=%s|%an', 'pristine..HEAD'), 'ipvs: call the engine|A Writer\nipvs: add an SNAT engine|A Writer\n')
  t.is(read(c.paths.tree, ENGINE), 'int snat;\n')
  t.true(read(c.paths.tree, CORE).includes('int hooked_5;'))
  t.is(git(c, 'status', '--porcelain'), '')
})

test('applying a changed series touches only the files that differ', async (t) => {
  const { context, write } = createFixture(t)
  const c = context()
  await bring(c, patch)
  const untouched = join(c.paths.tree, CORE)
  utimesSync(untouched, 1, 1)
  write(`patches/engine/${ENGINE}`, 'int snat_2;\n')
  await bring(c, patch)
  t.is(read(c.paths.tree, ENGINE), 'int snat_2;\n')
  t.is(statSync(untouched).mtimeMs, 1000)
})

test('a patch that does not fit names file, hunk and kernel version, and changes nothing', async (t) => {
  const { context, write } = createFixture(t)
  const c = context()
  await bring(c, patch)
  const before = git(c, 'rev-parse', 'HEAD')
  write('patches/lts-6.12/0001-ipvs-call-the-engine.patch', hookPatch(5).replace(' int line_4;', ' int other;'))
  const failure = await fails(t, 'patch', () => bring(c, patch))
  t.regex(failure.message, /0001-ipvs-call-the-engine\.patch does not fit Linux 6\.12\.3/)
  t.deepEqual(failure.details.excerpt, [`${CORE}: hunk 1 @@ -3,5 +3,5 @@`])
  t.is(git(c, 'rev-parse', 'HEAD'), before)
  t.is(git(c, 'status', '--porcelain'), '')
})

test('a patch that the source carries already is told apart', async (t) => {
  const { context, root } = createFixture(t)
  const kernel = kernelTarball(root, '6.12.8', coreFile((line) => line.replace('line_5', 'hooked_5')))
  const failure = await fails(t, 'patch', () => bring(context({ SOURCE: sourceWith(context(), kernel) }), patch))
  t.regex(failure.message, /is already applied in Linux 6\.12\.8/)
})

const sourceWith = (context: Context, kernel: string): string =>
  (context.variables.SOURCE ?? '').replace(/linux-6\.12=[^,]*/, `linux-6.12=${kernel}`)

test('a series that names a missing patch says so', async (t) => {
  const { context, write } = createFixture(t)
  write('patches/lts-6.12/series', '0009-lost.patch\n')
  const failure = await fails(t, 'patch', () => bring(context(), patch))
  t.regex(failure.message, /0009-lost\.patch, which does not exist/)
})

test('a source that was imported by other code is imported anew, and trees that stand on it lose nothing', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  await bring(c, prep)
  const tip = git(c, 'rev-parse', 'pristine')
  const [name = ''] = readdirSync(join(c.paths.cache, 'pristine'))
  const pristine = join(c.paths.cache, 'pristine', name)
  const inPristine = (...words: string[]) => execFileSync('git', ['-c', 'user.name=a', '-c', 'user.email=a', ...words], { cwd: pristine, encoding: 'utf8' }).trim()
  // As older code might have imported it.
  const other = inPristine('commit-tree', '-m', 'other', 'pristine^{tree}')
  inPristine('tag', '--force', 'pristine', other)
  writeFileSync(join(pristine, 'lvs-snat-recipe'), 'older')
  rmSync(c.paths.stamps.target, { recursive: true })
  await bring(c, prep)
  t.is(`${inPristine('rev-parse', 'pristine')}\n`, tip)
  t.is(inPristine('cat-file', '-t', other), 'commit')
  t.is(git(c, 'status', '--porcelain'), '')
})

test('a kernel of another line is refused', async (t) => {
  const { context, root } = createFixture(t)
  const kernel = kernelTarball(root, '5.10.1')
  const failure = await fails(t, 'source', () => bring(context({ SOURCE: sourceWith(context(), kernel) }), patch))
  t.regex(failure.message, /is 5\.10\.1, but Linux 6\.12 is wanted/)
})

test('edits in the prepared tree are never overwritten', async (t) => {
  const { context, write, root } = createFixture(t)
  const c = context()
  await bring(c, patch)
  writeFileSync(join(c.paths.tree, CORE), 'mine\n')
  write(`patches/engine/${ENGINE}`, 'int snat_2;\n')
  const failure = await fails(t, 'patch', () => bring(c, patch))
  t.deepEqual(failure.details.excerpt, [CORE])
  const other = context({ SOURCE: sourceWith(c, kernelTarball(root, '6.12.9')) })
  await fails(t, 'patch', () => bring(other, patch))
  t.is(read(c.paths.tree, CORE), 'mine\n')
  await discard.run(c)
  await bring(c, patch)
  t.is(read(c.paths.tree, ENGINE), 'int snat_2;\n')
})

test('a hunk is found by its line in the right file', (t) => {
  const text = `${hookPatch(5)}${hookPatch(9).replaceAll(CORE, 'other.c')}`
  t.deepEqual(hunkAt(text, 'other.c', 7), { number: 1, header: '@@ -7,5 +7,5 @@' })
})

test('dist has the patch of the kernel that there is, and checksums vouch for no other', async (t) => {
  const { context, root, write } = createFixture(t)
  await exportCommand.run(context())
  write('dist/lts/mine.patch', 'an experiment\n')
  const later = context({ SOURCE: sourceWith(context(), kernelTarball(root, '6.12.4')) })
  await exportCommand.run(later)
  t.deepEqual(coveredFiles(later), ['lvs-snat-6.12.4.patch'])
  t.is(read(root, 'dist/lts/mine.patch'), 'an experiment\n')
})

test('the exported patch applies with patch -p1 and yields the same tree', async (t) => {
  const { context, root } = createFixture(t)
  const c = context()
  await exportCommand.run(c)
  const pristine = mkdtempSync(join(tmpdir(), 'lvs-snat-test-'))
  t.teardown(() => execFileSync('rm', ['-r', pristine]))
  execFileSync('tar', ['-xf', join(root, '..', 'linux-6.12.3.tar.xz'), '--strip-components=1', '-C', pristine])
  execFileSync('patch', ['-p1', '-s', '-i', exportedPatch(c)], { cwd: pristine })
  for (const name of [CORE, ENGINE]) t.is(read(pristine, name), read(c.paths.tree, name))
})

test('kernel lines share the engine and a part of its compatibility header, and each saves what is its own', async (t) => {
  const { context, root, write } = createFixture(t)
  const compat = 'net/netfilter/ipvs'
  write('patches/lts-6.1/series', '0001-ipvs-call-the-engine.patch\n')
  write('patches/lts-6.1/0001-ipvs-call-the-engine.patch', hookPatch(10))
  write(`patches/compat/6.1/${compat}/ip_vs_snat_line.h`, '/* 6.1 */\n')
  const SOURCE = (context().variables.SOURCE ?? '').replace(/linux-6\.1=[^,]*/, `linux-6.1=${kernelTarball(root, '6.1.7')}`)
  const c = context({ TARGET: 'lts-6.1', SOURCE })
  await bring(c, patch)
  t.is(read(c.paths.tree, compat, 'ip_vs_snat_compat.h'), '/* 6 */\n')
  t.is(read(c.paths.tree, compat, 'ip_vs_snat_line.h'), '/* 6.1 */\n')
  t.true(read(c.paths.tree, CORE).includes('int hooked_10;'))
  for (const name of ['compat', 'line']) writeFileSync(join(c.paths.tree, compat, `ip_vs_snat_${name}.h`), `/* edited ${name} */\n`)
  await save.run(c)
  t.is(read(root, 'patches/compat/6', compat, 'ip_vs_snat_compat.h'), '/* edited compat */\n')
  t.is(read(root, 'patches/compat/6.1', compat, 'ip_vs_snat_line.h'), '/* edited line */\n')
  t.is(read(root, 'patches/compat/6.12', compat, 'ip_vs_snat_line.h'), '/* 6.12 */\n')
})

test('saving an unchanged series changes nothing', async (t) => {
  const { context, root } = createFixture(t)
  const c = context()
  await bring(c, patch)
  await save.run(c)
  const first = readFileSync(join(root, 'patches/lts-6.12/0001-ipvs-call-the-engine.patch'))
  await save.run(c)
  t.deepEqual(readFileSync(join(root, 'patches/lts-6.12/0001-ipvs-call-the-engine.patch')), first)
})

test('a patch that is a link to that of another series stays one until it differs, and is read as a patch', async (t) => {
  const { context, root } = createFixture(t)
  const c = context()
  await bring(c, patch)
  await save.run(c)
  const own = join(root, 'patches/lts-6.12/0001-ipvs-call-the-engine.patch')
  const shared = join(root, 'patches/other/0001-ipvs-call-the-engine.patch')
  mkdirSync(join(root, 'patches/other'))
  renameSync(own, shared)
  symlinkSync('../other/0001-ipvs-call-the-engine.patch', own)
  const before = readFileSync(shared)
  await bring(c, patch)
  await save.run(c)
  t.true(lstatSync(own).isSymbolicLink())

  writeFileSync(shared, before.toString().replace(/^@@ -\d+,(\d+) \+\d+,(\d+) @@.*$/m, '@@ -13,$1 +13,$2 @@ int elsewhere;').replace(/^index \w+\.\.\w+/m, 'index 0123456789ab..ba9876543210'))
  const elsewhere = readFileSync(shared)
  t.notDeepEqual(elsewhere, before)
  await save.run(c)
  t.true(lstatSync(own).isSymbolicLink(), 'the lines are elsewhere in what the other is made for')
  t.deepEqual(readFileSync(shared), elsewhere)

  writeFileSync(join(c.paths.tree, CORE), read(c.paths.tree, CORE).replace('hooked_5', 'hooked_five'))
  git(c, 'commit', '--quiet', '--amend', '--no-edit', '--', CORE)
  await save.run(c)
  t.false(lstatSync(own).isSymbolicLink())
  t.true(readFileSync(own, 'utf8').includes('hooked_five'))
  t.deepEqual(readFileSync(shared), elsewhere)
})

/** What a checkout can have below patches/ that nothing is read of, and how it comes there. */
const STRANGE: readonly { what: string; make: (path: string, root: string) => unknown }[] = [
  { what: 'a link to a file of somebody\'s', make: (path, root) => symlinkSync(join(root, '../secret'), path) },
  { what: 'a link to a device that has no end', make: (path) => symlinkSync('/dev/zero', path) },
  { what: 'a link to nothing', make: (path) => symlinkSync('nothing', path) },
  { what: 'a FIFO', make: (path) => execFileSync('mkfifo', [path]) },
  { what: 'a link by way of another', make: (path, root) => (symlinkSync(join(root, '..'), join(root, 'patches/away')), symlinkSync(join(root, 'patches/away/secret'), path)) },
]
for (const name of ['patches/engine/net/netfilter/ipvs/ip_vs_snat_notes.h', 'patches/compat/6.12/notes.h', 'patches/lts-6.12/0001-ipvs-call-the-engine.patch', 'patches/lts-6.12/series', 'patches/lts-6.12/notes']) {
  test(`nothing that is no file is read in place of ${name}`, async (t) => {
    const { context, root } = createFixture(t)
    writeFileSync(join(root, '../secret'), 'PRIVATE\n')
    const path = join(root, name)
    await bring(context(), prep)
    for (const { what, make } of STRANGE) {
      rmSync(path, { force: true })
      make(path, root)
      for (const work of [() => plan(context(), patch), () => bring(context(), patch)]) {
        const { message } = await fails(t, 'patch', work)
        t.true(message.startsWith(`${path} is neither a file nor a link to one `), `${what}: ${message}`)
      }
    }
  })
}

test('a series that names what is in no folder of patches is refused', (t) => {
  const { root, write } = createFixture(t)
  write('patches/lts-6.12/series', '../../../secret\n')
  writeFileSync(join(root, '../secret'), 'PRIVATE\n')
  t.throws(() => readSeries(join(root, 'patches/lts-6.12')), { instanceOf: Failure, message: /secret is neither a file nor a link/ })
})

/** A file with the same block three times, and a patch that adds a line to the first. */
const BLOCKS = 'static int f(void)\n{\n\tint err = 0;\n\n\terr = start();\n\tif (err)\n\t\treturn err;\n\n\treturn 0;\n}\n\n'.repeat(3)
const ADDS_TO_FIRST = hookPatch(5, 'call it').replaceAll(CORE, 'check.c')
  .replace(/^@@[^]*/m, '@@ -3,6 +3,7 @@\n \tint err = 0;\n \n \terr = start();\n+\thook();\n \tif (err)\n \t\treturn err;\n \n')

test('a linked patch is left only as long as it gives what the commit has, whose lines may be the same elsewhere', async (t) => {
  const { context, root, write } = createFixture(t)
  const name = '0001-call-it.patch'
  write('patches/keepalived-2.3/series', `${name}\n`)
  const own = write(`patches/keepalived-2.3/${name}`, ADDS_TO_FIRST)
  const source = tarball(join(root, '..'), 'keepalived_2.3.3.orig.tar.gz', { 'check.c': BLOCKS })
  const SOURCE = (context().variables.SOURCE ?? '').replace(/(keepalived[^=,]*)=[^,]*/g, `$1=${source}`)
  const c = context({ SOURCE, TREE: 'keepalived' })
  await bring(c, patch)
  await save.run(c)
  const shared = write(`patches/keepalived/${name}`, read(own).replace('@@ -3,', '@@ -4,').replace(/^(@@.*) \+3,/m, '$1 +4,'))
  const before = read(shared)
  rmSync(own)
  symlinkSync(`../keepalived/${name}`, own)
  await save.run(c)
  t.true(lstatSync(own).isSymbolicLink(), 'in what the other is made for it is a line further down')

  const lines = read(c.paths.tree, 'check.c').split('\n')
  const [hook = ''] = lines.splice(lines.indexOf('\thook();'), 1)
  lines.splice(lines.lastIndexOf('\tif (err)'), 0, hook)
  const moved = lines.join('\n')
  writeFileSync(join(c.paths.tree, 'check.c'), moved)
  git(c, 'commit', '--quiet', '--amend', '--no-edit', '--all')
  await save.run(c)
  t.false(lstatSync(own).isSymbolicLink())
  t.is(read(shared), before)
  t.is(read(c.paths.tree, 'check.c'), moved)
  await t.notThrowsAsync(requireSaved(c, 'it is not removed'))
})

test('saving brings back engine edits and new commits, and the result applies', async (t) => {
  const { context, root } = createFixture(t)
  const c = context()
  await bring(c, patch)
  await save.run(c)
  const before = read(root, 'patches/lts-6.12/0001-ipvs-call-the-engine.patch')
  writeFileSync(join(c.paths.tree, ENGINE), 'int better;\n')
  writeFileSync(join(c.paths.tree, CORE), read(c.paths.tree, CORE).replace('line_9', 'hooked_9'))
  await fails(t, 'patch', () => save.run(c))
  git(c, 'commit', '--quiet', '-m', 'ipvs: hook line 9', '--', CORE)
  await save.run(c)
  t.is(read(root, 'patches/engine', ENGINE), 'int better;\n')
  t.is(read(root, 'patches/lts-6.12/0001-ipvs-call-the-engine.patch'), before)
  t.is(read(root, 'patches/lts-6.12/series'), '# hooks\n0001-ipvs-call-the-engine.patch\n0002-ipvs-hook-line-9.patch\n')
  t.is(git(c, 'status', '--porcelain'), '')
  t.true(existsSync(join(root, 'patches/lts-6.12/0002-ipvs-hook-line-9.patch')))
})

test('a commit that is meant for another is not saved as a patch of its own', async (t) => {
  const { context, root } = createFixture(t)
  const c = context()
  await bring(c, patch)
  await save.run(c)
  const before = read(root, 'patches/lts-6.12/0001-ipvs-call-the-engine.patch')
  writeFileSync(join(c.paths.tree, CORE), read(c.paths.tree, CORE).replace('line_9', 'hooked_9'))
  git(c, 'commit', '--quiet', '--fixup=HEAD', '--', CORE)
  const failure = await fails(t, 'patch', () => save.run(c))
  t.regex(failure.details.excerpt?.join('\n') ?? '', /^[0-9a-f]+ fixup! ipvs: call the engine$/)
  t.is(read(root, 'patches/lts-6.12/0001-ipvs-call-the-engine.patch'), before)
  git(c, '-c', 'sequence.editor=:', 'rebase', '--quiet', '--interactive', '--autosquash', 'base')
  await save.run(c)
  t.regex(read(root, 'patches/lts-6.12/0001-ipvs-call-the-engine.patch'), /\+.*hooked_9/)
  t.is(read(root, 'patches/lts-6.12/series'), '# hooks\n0001-ipvs-call-the-engine.patch\n')
})

test('commits that do not stand on what the series stands on are not saved', async (t) => {
  const { context, root } = createFixture(t)
  const c = context()
  await bring(c, patch)
  const before = read(root, 'patches/lts-6.12/series')
  writeFileSync(join(c.paths.tree, ENGINE), 'int better;\n')
  git(c, 'checkout', '--quiet', '--orphan', 'rewritten')
  git(c, 'commit', '--quiet', '--all', '-m', 'ipvs: everything anew')
  const failure = await fails(t, 'patch', () => save.run(c))
  t.regex(failure.message, /below the tag "base"/)
  t.is(read(root, 'patches/lts-6.12/series'), before)
  t.not(read(root, 'patches/engine', ENGINE), 'int better;\n')
})

const TOOL_PATCH = '0001-ipvsadm-know-SNAT.patch'

/** A checkout with a series of one patch for ipvsadm, whose source is a file of twelve lines. */
function withTool(t: ExecutionContext): { root: string; tool: (variables?: Variables) => Context; kernel: Context } {
  const { context, root, write } = createFixture(t)
  const source = tarball(join(root, '..'), 'ipvsadm_1.31.orig.tar.gz', { 'ipvsadm.c': coreFile() })
  const SOURCE = (context().variables.SOURCE ?? '').replace(/ipvsadm=[^,]*/, `ipvsadm=${source}`)
  write('patches/ipvsadm/series', `# in its own style\n${TOOL_PATCH}\n`)
  write(`patches/ipvsadm/${TOOL_PATCH}`, hookPatch(5, 'ipvsadm: know SNAT').replaceAll(CORE, 'ipvsadm.c'))
  return { root, tool: (variables = {}) => context({ SOURCE, TREE: 'ipvsadm', ...variables }), kernel: context({ SOURCE }) }
}

test("a tool's series is applied beside the kernel's, and saved by the same commands", async (t) => {
  const { root, tool, kernel } = withTool(t)
  const c = tool()
  await bring(kernel, patch)
  await bring(c, patch)
  t.is(git(c, 'log', '--format=%s|%an', 'pristine..HEAD'), 'ipvsadm: know SNAT|A Writer\n')
  t.true(read(c.paths.tree, 'ipvsadm.c').includes('int hooked_5;'))
  await save.run(c)
  const before = read(root, 'patches/ipvsadm', TOOL_PATCH)
  writeFileSync(join(c.paths.tree, 'ip_vs_snat.h'), 'int snat;\n')
  writeFileSync(join(c.paths.tree, 'ipvsadm.o'), 'built')
  const failure = await fails(t, 'patch', () => save.run(c))
  t.deepEqual(failure.details.excerpt, ['ip_vs_snat.h'], 'a new file is seen wherever it is, what a build leaves is not')
  git(c, 'add', 'ip_vs_snat.h')
  git(c, 'commit', '--quiet', '-m', 'ipvsadm: list rules')
  await save.run(c)
  t.is(read(root, 'patches/ipvsadm', TOOL_PATCH), before)
  t.is(read(root, 'patches/ipvsadm/series'), `# in its own style\n${TOOL_PATCH}\n0002-ipvsadm-list-rules.patch\n`)
  t.false(existsSync(join(root, 'patches/engine/ip_vs_snat.h')))
  t.is(git(kernel, 'log', '--format=%s', 'pristine..HEAD'), 'ipvs: call the engine\nipvs: add an SNAT engine\n')
})

/** A checkout whose keepalived is of a version, with a series of one patch in each of both folders, which tell their folders. */
function withKeepalived(t: ExecutionContext): { root: string; keepalived: (version: string, variables?: Variables) => Context } {
  const { context, root, write } = createFixture(t)
  for (const folder of ['keepalived', 'keepalived-2.3']) {
    write(`patches/${folder}/series`, `${TOOL_PATCH}\n`)
    write(`patches/${folder}/${TOOL_PATCH}`, hookPatch(5, `of patches/${folder}`).replaceAll(CORE, 'check.c'))
  }
  const keepalived = (version: string, variables: Variables = {}): Context => {
    const source = tarball(join(root, '..'), `keepalived_${version}.orig.tar.gz`, { 'check.c': `${coreFile()}/* ${version} */\n` })
    const SOURCE = (context().variables.SOURCE ?? '').replace(/(keepalived[^=,]*)=[^,]*/g, `$1=${source}`)
    return context({ SOURCE, TREE: 'keepalived', ...variables })
  }
  return { root, keepalived }
}

test('a version of a tool that no series is made for stays as it is, and the series too', async (t) => {
  const { root, keepalived } = withKeepalived(t)
  const c = keepalived('2.2.8')
  await bring(c, patch)
  t.is(git(c, 'log', '--format=%s', 'pristine..HEAD'), '')
  const failure = await fails(t, 'patch', () => save.run(c))
  t.regex(failure.message, /No series is made for this version of keepalived/)
  t.true(existsSync(join(root, 'patches/keepalived', TOOL_PATCH)))
})

test('a tool has the series that is made for its version, wherever it comes from', async (t) => {
  const { root, keepalived } = withKeepalived(t)
  for (const [version, folder] of [['2.2.7', 'keepalived'], ['2.3.3', 'keepalived-2.3'], ['2.3.4', 'keepalived-2.3']] as const) {
    const c = keepalived(version)
    await bring(c, patch)
    t.is(git(c, 'log', '--format=%s', 'pristine..HEAD'), `of patches/${folder}\n`, version)
  }
  const c = keepalived('2.3.3')
  await bring(c, patch)
  const other = read(root, 'patches/keepalived', TOOL_PATCH)
  git(c, 'commit', '--quiet', '--amend', '--message', 'anew')
  await save.run(c)
  t.is(read(root, 'patches/keepalived-2.3/series'), '0001-anew.patch\n')
  t.is(read(root, 'patches/keepalived', TOOL_PATCH), other)
})

test('a target can take a tool from elsewhere, into a tree of its own', async (t) => {
  const { keepalived } = withKeepalived(t)
  const old = keepalived('2.2.7', { TARGET: 'lts-6.1' })
  const recent = keepalived('2.3.3')
  t.deepEqual([old, recent].map(({ source, name }) => [source, name]), [['keepalived', 'keepalived'], ['keepalived-2.3', 'keepalived-2.3']])
  await bring(old, patch)
  await bring(recent, patch)
  t.is(git(recent, 'log', '--format=%s', 'pristine..HEAD'), 'of patches/keepalived-2.3\n')
  t.true(read(old.paths.tree, 'check.c').includes('2.2.7'))
  t.deepEqual(preparedTrees(old).map(({ paths }) => paths.tree).sort(), [old, recent].map(({ paths }) => paths.tree).sort())
  const names = (c: Context): string[] => Object.keys(readStamp(c, fetch)?.facts ?? {}).filter((name) => name.startsWith('keepalived'))
  t.deepEqual([names(old), names(recent)], [['keepalived'], ['keepalived-2.3']])
})

test("a tool's series is the same for every kernel, and a patch that does not fit tells the tool's version", async (t) => {
  const { root, tool } = withTool(t)
  const el6 = tool({ TARGET: 'el6', KERNEL: '2.6.32-358.el6', DEBUG: '1' })
  t.is(el6.paths.tree, tool().paths.tree)
  await bring(el6, patch)
  const stamp = readFileSync(join(el6.paths.stamps.target, 'patch.json'))
  await bring(tool(), patch)
  t.deepEqual(readFileSync(join(el6.paths.stamps.target, 'patch.json')), stamp)
  writeFileSync(join(root, 'patches/ipvsadm', TOOL_PATCH), hookPatch(5).replaceAll(CORE, 'ipvsadm.c').replace(' int line_4;', ' int other;'))
  const failure = await fails(t, 'patch', () => bring(tool(), patch))
  t.regex(failure.message, /0001-ipvsadm-know-SNAT\.patch does not fit ipvsadm 1\.31/)
})

test("edits of a tool's source are never overwritten or removed, and the hint names its tree", async (t) => {
  const { tool, kernel } = withTool(t)
  const c = tool()
  await bring(c, patch)
  writeFileSync(join(c.paths.tree, 'ipvsadm.c'), 'mine\n')
  for (const command of [clean, distclean]) {
    const failure = await fails(t, 'patch', () => command.run(command === clean ? c : kernel))
    t.regex(failure.details.hint ?? '', /make save TREE=ipvsadm.*make discard TREE=ipvsadm/)
  }
  t.is(read(c.paths.tree, 'ipvsadm.c'), 'mine\n')
  await discard.run(c)
  t.true(read(c.paths.tree, 'ipvsadm.c').includes('int hooked_5;'))
  await clean.run(c)
  t.false(existsSync(c.paths.work))
})

test('a hint names the target and the kernel too, without which it would be about another tree', async (t) => {
  const { keepalived } = withKeepalived(t)
  const c = keepalived('2.3.3', { TARGET: 'lts-6.1' })
  await bring(c, patch)
  writeFileSync(join(c.paths.tree, 'check.c'), 'mine\n')
  const failure = await fails(t, 'patch', () => clean.run(c))
  t.regex(failure.details.hint ?? '', /make save TREE=keepalived TARGET=lts-6\.1\. .*make discard TREE=keepalived TARGET=lts-6\.1\./)
  const { context } = createFixture(t)
  t.deepEqual([{}, { TARGET: 'el6' }, { TARGET: 'el6', KERNEL: '2.6.32-358.el6' }, { TREE: 'ipvsadm', CONFIG: 'gateway' }].map((variables) => goal(context(variables), 'save')),
    ['make save', 'make save TARGET=el6', 'make save TARGET=el6 KERNEL=2.6.32-358.el6', 'make save TREE=ipvsadm'])
})

test('a command that is about kernels refuses the tree of a tool, and there are no others', async (t) => {
  const failure = await fails(t, 'usage', () => runCommand(['export', 'TREE=ipvsadm']))
  t.regex(failure.message, /make export knows no TREE=ipvsadm/)
  const unknown = await fails(t, 'usage', () => runCommand(['patch', 'TREE=busybox']))
  t.regex(unknown.details.hint ?? '', /kernel, ipvsadm/)
})
