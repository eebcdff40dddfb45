// SPDX-License-Identifier: GPL-2.0-only
/** A disk that is full: a small file system of its own, where this host lets its users mount one. */

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { asFailure } from '../../scripts/base/files.ts'
import { Failure } from '../../scripts/base/errors.ts'
import { ROOT } from '../../scripts/base/root.ts'
import { createFixture } from './fixture.ts'

const ALONE = process.getuid?.() === 0 ? ['--mount'] : ['--user', '--map-root-user', '--mount']
const unshare = (script: string, words: readonly string[], env: NodeJS.ProcessEnv = {}) =>
  spawnSync('unshare', [...ALONE, 'sh', '-c', script, 'sh', ...words], { cwd: ROOT, encoding: 'utf8', env: { ...process.env, ...env } })
const mayMount = unshare('mount -t tmpfs tmpfs /mnt', []).status === 0

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

test('of a copy, the file is named that could not be written', (t) => {
  const failure = asFailure(Object.assign(new Error('x'), { code: 'ENOSPC', path: '/from', dest: '/to' }))
  t.true(failure instanceof Failure && failure.message.includes('/to') && !failure.message.includes('/from'))
})
