// SPDX-License-Identifier: GPL-2.0-only
/** Disks that become full while tools, packages and repository are made: what was there stays, and it is told what to do. */

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import test from 'ava'
import { DISK_FULL_HINT } from '../../scripts/base/errors.ts'
import { ROOT } from '../../scripts/base/root.ts'
import type { Moment, Outcome } from './full-packages.ts'
import { ALONE, mayMount } from './small-disk.ts'

const MOMENTS: readonly Moment[] = [
  { program: 'make', words: '*busybox*', missing: 'busybox' },
  { program: 'make', words: '*-all-static*', missing: 'iptables' },
  { program: 'rpmbuild', words: '*-bs*ipvsadm.spec*' },
  { program: 'make', words: '*-f -*' },
  { program: 'rpmbuild', words: '*--rebuild*keepalived*' },
  { program: 'rpm', words: '*--checksig*/results/ipvsadm/*', done: 'real "$@"' },
  { program: 'git', words: '*format-patch*' },
  { program: 'rpmbuild', words: '*--rebuild*kernel*' },
  { program: 'rpmlint', words: '*keepalived*', then: 'echo "(none): E: fatal error while reading x.rpm: [Errno 28] No space left on device" >&2; exit 3' },
  { program: 'rpm', words: '*--checksig*/dist/lts/RPMS.new-*', done: 'real "$@"', disk: 'dist' },
  { program: 'createrepo_c', words: '*--pkglist*', disk: 'dist' },
]

const SCRIPT = `
mount -t tmpfs -o size=150m tmpfs "$1"
TMPDIR=$1 exec node --import tsx test/unit/full-packages.ts "$2"
`

/** Lines of the outcomes, in order, as they come: one process tries all, for the first build takes most of the time. */
function tryAll(): AsyncIterator<string> {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-test-'))
  test.after.always(() => rmSync(folder, { recursive: true }))
  const child = spawn('unshare', [...ALONE, 'sh', '-e', '-c', SCRIPT, 'sh', folder, JSON.stringify(MOMENTS)], { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] })
  test.after.always(() => void child.kill())
  return createInterface({ input: child.stdout })[Symbol.asyncIterator]()
}
const outcomes = mayMount ? tryAll() : undefined

for (const { program, words, done, disk } of MOMENTS) {
  const called = `${program} ${words}${done === undefined ? '' : ', which is done,'}`
  ;(outcomes ? test.serial : test.skip)(`a disk ${disk === undefined ? '' : `of ${disk} `}that ${called} finds full is told to be, nothing is lost, and the same command goes on when it no longer is`, async (t) => {
    const { value } = (await outcomes?.next()) as { value: string }
    const { kind, message, hint, mixed, same } = JSON.parse(value) as Outcome
    t.is(kind, 'environment', message)
    t.regex(message ?? '', /^No space left on the disk/)
    t.is(hint, DISK_FULL_HINT)
    t.deepEqual(mixed, [])
    t.true(same)
  })
}
