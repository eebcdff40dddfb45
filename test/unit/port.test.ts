// SPDX-License-Identifier: GPL-2.0-only
/** docs/series.md, sections 2 and 3, followed on the fake kernel. */

import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { bring } from '../../scripts/build/step.ts'
import save from '../../scripts/commands/save.ts'
import { step as patch } from '../../scripts/steps/patch.ts'
import { coreFile, createFixture, fails, hookPatch, kernelTarball, read } from './fixture.ts'

const CORE = 'net/netfilter/ipvs/ip_vs_core.c'
const IDENTITY = { GIT_COMMITTER_NAME: 'A Porter', GIT_COMMITTER_EMAIL: 'a.porter@example.org' }

test('a series is brought to another kernel as docs/series.md says', async (t) => {
  const { root, context, write } = createFixture(t)
  const [fits, misfits] = ['0001-ipvs-call-the-engine.patch', '0002-ipvs-call-it-once-more.patch'] as const
  write(`patches/lts-6.12/${misfits}`, hookPatch(10, 'ipvs: call it once more'))
  write('patches/lts-6.12/series', `# hooks\n${fits}\n${misfits}\n`)
  const originals = join(root, 'originals')
  mkdirSync(originals)
  for (const name of [fits, misfits]) copyFileSync(join(root, 'patches/lts-6.12', name), join(originals, name))
  const kernel = kernelTarball(root, '6.12.8', coreFile((line) => line.replace('line_11', 'another_11')))
  const c = context({ SOURCE: context().variables.SOURCE?.replace(/linux-6\.12=[^,]*/, `linux-6.12=${kernel}`) ?? '' })

  const failure = await fails(t, 'patch', () => bring(c, patch))
  t.true(failure.message.startsWith(join(root, 'patches/lts-6.12', misfits)))
  t.deepEqual(failure.details.excerpt, [`${CORE}: hunk 1 @@ -8,5 +8,5 @@`])

  write('patches/lts-6.12/series', `# hooks\n${fits}\n# ${misfits}\n`)
  await bring(c, patch)
  const git = (...words: string[]) => spawnSync('git', words, { cwd: c.paths.tree, encoding: 'utf8', env: { ...process.env, ...IDENTITY } })
  t.not(git('am', '--reject', join(originals, misfits)).status, 0)
  t.true(existsSync(join(c.paths.tree, `${CORE}.rej`)))
  writeFileSync(join(c.paths.tree, CORE), read(c.paths.tree, CORE).replace('int line_10;', 'int hooked_10;'))
  rmSync(join(c.paths.tree, `${CORE}.rej`))
  git('add', '--update')
  t.is(git('am', '--continue').status, 0)

  await save.run(c)
  t.is(read(root, 'patches/lts-6.12/series'), `# hooks\n${fits}\n${misfits}\n`)
  t.true(read(root, 'patches/lts-6.12', misfits).includes(' int another_11;'))
  t.true(read(root, 'patches/lts-6.12', fits).includes('hooked_5'))
  t.is(git('status', '--porcelain').stdout, '')
})
