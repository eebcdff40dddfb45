// SPDX-License-Identifier: GPL-2.0-only
/** kill -9 of what makes tools, packages and repository: what was there stays, and the same command makes what nobody would have killed. */

import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test from 'ava'
import { ROOT } from '../../scripts/base/root.ts'
import type { Context, Paths } from '../../scripts/build/context.ts'
import { build, createPackaged, forget, mixedParts, type Made, type Packaged, standIn } from './packaged-fixture.ts'

/** When both die: a program that is called with certain words, as a pattern of the shell's, or node that is to rename something. */
type Moment = { /** What has to be made anew for it. */ missing?: (paths: Paths) => string[] } & (
  /** What the program has done until then, in lines of shell; `real` calls it. */
  | { program: string; words: string; done?: string }
  /** Path that is to be, as a regular expression; `gone` if what was there has its old name no longer. */
  | { rename: string; gone?: boolean }
)

const guestTool = (name: string) => ({ tools, results }: Paths): string[] => [join(tools, name), join(results, name)]

const MOMENTS: readonly Moment[] = [
  { program: 'make', words: '*busybox*', done: 'real "$@"', missing: guestTool('busybox') },
  { program: 'make', words: '*-all-static*', done: ': >ethtool', missing: guestTool('iptables') },
  { program: 'make', words: '*-C libipvs*', missing: guestTool('ipvsadm-stock') },
  { rename: '/results/mark-window/[0-9a-f]{64}$' },
  { rename: '/tools/mark-window$', gone: true },
  { program: 'rpmbuild', words: '*-bs*ipvsadm.spec*', done: 'real "$@"' },
  { program: 'make', words: '*-f -*', done: ': >data' },
  { program: 'rpmbuild', words: '*--rebuild*keepalived*', done: 'real "$@"' },
  { program: 'rpm', words: '*--checksig*/results/ipvsadm/*' },
  { program: 'git', words: '*format-patch*', done: 'real "$@"' },
  { program: 'rpmbuild', words: '*-bs*kernel.spec*' },
  { program: 'rpmbuild', words: '*--rebuild*kernel*', done: 'real "$@"' },
  { program: 'rpmlint', words: '*keepalived*' },
  { program: 'rpm', words: '*--checksig*/dist/lts/RPMS.new-*' },
  { rename: '/dist/lts/RPMS$', gone: true },
  { rename: '/dist/lts/SRPMS$', gone: true },
  { rename: '/rpm.json$' },
  { program: 'patch', words: '*--fuzz=0*', missing: ({ dist }) => [join(dist, 'lvs-snat-6.12.3.patch')] },
  { program: 'createrepo_c', words: '*--pkglist*', done: 'real "$@"' },
  { rename: '/dist/lts/repodata$', gone: true },
  { rename: '/dist/lts/SHA256SUMS$' },
  { rename: '/repo.json$' },
]

/** What a build is called with that dies: this process is killed before it renames something to a path like the last argument. */
const SCRIPT = `import fs, { writeFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { createContext } from '${join(ROOT, 'scripts/build/context.ts')}'
import { bring } from '${join(ROOT, 'scripts/build/step.ts')}'
import { step } from '${join(ROOT, 'scripts/steps/repo.ts')}'
const [variables, root, pid, last] = process.argv.slice(2)
const { renameSync } = fs
fs.renameSync = (from, to) => {
  if (last && new RegExp(last).test(to)) process.kill(process.pid, 'SIGKILL')
  renameSync(from, to)
}
syncBuiltinESMExports()
writeFileSync(pid, String(process.pid))
await bring(createContext(JSON.parse(variables), root), step)
`

/** @returns folder of a program that stands before another one of its name, and ends it and node at certain words */
const dyingProgram = (folder: string, { program, words, done = '' }: { program: string; words: string; done?: string }): string => standIn(join(folder, 'dying'), program, words, `  ${done}
  kill -9 $(cat ${join(folder, 'pid')}) $$`)

/** Builds in a process of its own. @returns the signal that it has died of */
async function die({ root }: Packaged, context: Context, moment: Moment): Promise<string | null> {
  const folder = dirname(root)
  const script = join(folder, 'build.mts')
  writeFileSync(script, SCRIPT)
  const path = 'program' in moment ? `${dyingProgram(folder, moment)}:${process.env['PATH']}` : process.env['PATH']
  const words = [JSON.stringify(context.variables), root, join(folder, 'pid'), ...('rename' in moment ? [moment.rename] : [])]
  const child = spawn('node', ['--import', join(ROOT, 'node_modules/tsx/dist/esm/index.mjs'), script, ...words], { stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, PATH: path } })
  return new Promise((resolve) => child.once('exit', (_, signal) => resolve(signal)))
}

const ends: (() => void | Promise<void>)[] = []
const killed = createPackaged({ teardown: (end) => ends.push(end) })
const whole = createPackaged({ teardown: (end) => ends.push(end) }, killed)
process.env['PATH'] = `${killed.bin}:${process.env['PATH']}`
test.after.always(async () => {
  for (const end of ends) await end()
})

/** What is built of each of two contents in turn, where nobody kills. */
const CONTENTS = ['one', 'other'] as const
const wanted: Made[] = []

for (const content of CONTENTS) {
  test.serial(`where nobody kills, there comes something to compare with: ${content}`, async (t) => {
    t.is(wanted.push(await build(whole, content)), CONTENTS.indexOf(content) + 1)
  })
  test.serial(`another checkout makes the same: ${content}`, async (t) => {
    t.deepEqual(await build(killed, content), wanted.at(-1))
  })
}

for (const [index, moment] of MOMENTS.entries()) {
  const called = 'program' in moment ? `${moment.program} ${moment.words}${moment.done === undefined ? '' : ', which is done,'}` : `a rename to ${moment.rename}`
  test.serial(`what dies in ${called} has lost nothing, and is made by the next run as if nothing had been`, async (t) => {
    // In turn, from the second on, which is there.
    const [content, before, next] = index % 2 === 0 ? [CONTENTS[0], wanted[1], wanted[0]] : [CONTENTS[1], wanted[0], wanted[1]]
    const c = killed.context()
    forget(c, moment.missing?.(c.paths))
    killed.setContent(content)
    t.is(await die(killed, c, moment), 'SIGKILL')
    const isGone = (part: string): boolean => 'rename' in moment && moment.gone === true && new RegExp(moment.rename).test(part)
    t.deepEqual(mixedParts(c, before, next).filter((part) => !isGone(part)), [])
    t.deepEqual(await build(killed, content), next)
  })
}
