// SPDX-License-Identifier: GPL-2.0-only
/** The static tools of several targets in one checkout. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import test from 'ava'
import type { Context } from '../../scripts/build/context.ts'
import { bring, plan, type Step } from '../../scripts/build/step.ts'
import { TOOL_STEPS, toolPackages } from '../../scripts/steps/tools.ts'
import { sourceFile } from '../../scripts/steps/fetch.ts'
import { createBothLines, read, tarball } from './fixture.ts'

/** What a tool's step makes in a moment: a package that tells of which source it is. */
function packaged(name: string): Step {
  const step = TOOL_STEPS.find((each) => each.name === `tool-${name}`)
  if (!step) throw new Error(`no tool ${name}`)
  const run = async (context: Context) => {
    const [folder = ''] = step.outputs(context)
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, `${name}.rpm`), sourceFile(context, context.target.tools?.[name] ?? name).filename)
    return {}
  }
  return { ...step, after: (step.after ?? []).filter((earlier) => earlier.name === 'fetch'), run }
}

test('targets that are built in turn keep their own keepalived, and nothing of the other is built again', async (t) => {
  const { context, root } = createBothLines(t)
  const recent = tarball(root, 'recent-2.0.tar.gz', { README: 'the recent one\n' })
  const SOURCE = (context().variables.SOURCE ?? '').replace(/keepalived-2\.3=[^,]*/, `keepalived-2.3=${recent}`)
  const [lts, earlier] = ['lts', 'lts-6.1'].map((TARGET) => context({ TARGET, SOURCE })) as [Context, Context]
  const step = { ...packaged('keepalived'), inputs: (c: Context) => sourceFile(c, c.target.tools?.['keepalived'] ?? 'keepalived').sha256 }
  const packages = (c: Context) => (toolPackages(c)['keepalived'] ?? []).map((path) => [basename(path), read(path)])
  await bring(lts, step)
  t.deepEqual(packages(lts), [['keepalived.rpm', 'recent-2.0.tar.gz']])
  // What a lab of the first takes while the other is built, after which the lock is free.
  await bring(earlier, step)
  t.deepEqual(packages(lts), [['keepalived.rpm', 'recent-2.0.tar.gz']])
  t.deepEqual(packages(earlier), [['keepalived.rpm', 'tool-1.0.tar.gz']])
  for (const each of [lts, earlier]) t.deepEqual((await plan(each, step)).filter(({ why }) => why !== undefined), [])
})
