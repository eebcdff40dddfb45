// SPDX-License-Identifier: GPL-2.0-only
/** A disk that is full: a small file system of its own, where this host lets its users mount one. */

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { download } from '../../scripts/base/download.ts'
import { asFailure } from '../../scripts/base/files.ts'
import { Failure } from '../../scripts/base/errors.ts'
import { ROOT } from '../../scripts/base/root.ts'
import { bring } from '../../scripts/build/step.ts'
import { step as patch } from '../../scripts/steps/patch.ts'
import { createFixture, fails } from './fixture.ts'
import { ALONE, mayMount } from './small-disk.ts'

const unshare = (script: string, words: readonly string[], env: NodeJS.ProcessEnv = {}) =>
  spawnSync('unshare', [...ALONE, 'sh', '-c', script, 'sh', ...words], { cwd: ROOT, encoding: 'utf8', env: { ...process.env, ...env } })

const TRY = `
mount -t tmpfs -o "size=$2" tmpfs "$1"
node --import tsx scripts/main.ts prep; echo "full: $?"
mount -o remount,size=100m "$1"
node --import tsx scripts/main.ts prep; echo "then: $?"
`
for (const size of ['12k', '100k', '240k']) {
  (mayMount ? test : test.skip)(`a cache on a disk of ${size} is told to be full, and the same command goes on when it no longer is`, (t) => {
    const { root, context } = createFixture(t)
    const folder = join(root, 'small')
    mkdirSync(folder)
    const { stdout, stderr } = unshare(TRY, [folder, size], {
      LVS_SNAT_CACHE: join(folder, 'cache'), LVS_SNAT_SOURCE: context().variables.SOURCE, LVS_SNAT_SETUP: 'no', LVS_SNAT_LOG: '',
    })
    t.regex(stdout, /^full: 3$/m, stderr)
    t.regex(stderr, /error: No space left on the disk/)
    t.regex(stderr, /Free some space, or set CACHE=/)
    t.regex(stdout, /^then: 0$/m, stderr)
    t.false(existsSync(join(folder, 'cache')))
  })
}

for (const [what, code] of [
  ['a recording', "setTimeout(() => writeSync(openSync('/dev/full', 'w'), 'x'), 1)"],
  ['a log', "createWriteStream('/dev/full').end('x')"],
] as const) {
  test(`a full disk that ${what} meets while nobody waits for it is told as any other`, (t) => {
    const script = `import { createWriteStream, openSync, writeSync } from 'node:fs'; import { endBy } from '${ROOT}/scripts/cli.ts'; process.on('uncaughtException', endBy); ${code}`
    const { status, stderr } = spawnSync('node', ['--import', 'tsx', '--input-type=module', '--eval', script], { cwd: ROOT, encoding: 'utf8', env: { ...process.env, LVS_SNAT_LOG: '' } })
    t.is(status, 3, stderr)
    t.regex(stderr, /^error: No space left on the disk/)
  })
}

test('a download that cannot be written is no trouble of the network', async (t) => {
  const { root, write } = createFixture(t)
  symlinkSync('/dev/full', join(root, 'got.part'))
  const failure = await fails(t, 'environment', () => download([`file://${write('served', 'x'.repeat(1 << 20))}`, 'https://example.invalid/'], join(root, 'got'), 'hint'))
  t.regex(failure.message, /got\.part cannot be written: /)
})

test.serial('a patch that a full disk stops is not told to misfit', async (t) => {
  const { root, context } = createFixture(t)
  const [bin, path] = [join(root, 'bin'), process.env['PATH']]
  mkdirSync(bin)
  writeFileSync(join(bin, 'git'), `#!/bin/sh
PATH=\${PATH#*:}
case " $* " in *' apply --cached '*) echo 'fatal: unable to write new index file: No space left on device' >&2; exit 128; esac
exec git "$@"
`, { mode: 0o755 })
  process.env['PATH'] = `${bin}:${path}`
  t.teardown(() => (process.env['PATH'] = path))
  t.regex((await fails(t, 'environment', () => bring(context(), patch))).message, /^No space left on the disk: .*0001-ipvs-call-the-engine\.patch/)
})

test('of a copy, the file is named that could not be written', (t) => {
  const failure = asFailure(Object.assign(new Error('x'), { code: 'ENOSPC', path: '/from', dest: '/to' }))
  t.true(failure instanceof Failure && failure.message.includes('/to') && !failure.message.includes('/from'))
})
