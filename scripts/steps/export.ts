// SPDX-License-Identifier: GPL-2.0-only
/** The series as one patch that applies to the pristine source. */

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { asideOf, clearAsides } from '../base/files.ts'
import { log } from '../base/log.ts'
import { capture } from '../base/run.ts'
import type { Context } from '../build/context.ts'
import { type Step } from '../build/step.ts'
import { APPLIED, BASE, PRISTINE, touchedFiles, treeGit } from '../kernel/series.ts'
import { step as patch } from './patch.ts'
import { sourceVersion } from './prep.ts'

export const step: Step = {
  name: 'export',
  scope: 'variant',
  needs: [patch],
  code: ['steps/export.ts'],
  inputs: (context) => ({ version: sourceVersion(context) }),
  outputs: (context) => [exportedPatch(context)],
  async run(context) {
    const path = exportedPatch(context)
    mkdirSync(dirname(path), { recursive: true })
    const content = await treeGit(context).text('diff', '--no-color', '--no-ext-diff', '--no-renames', '--full-index', BASE, APPLIED)
    const aside = asideOf(path)
    try {
      writeFileSync(aside, content)
      const files = await verify(context, aside)
      renameSync(aside, path)
      // Of the kernel before, which is none of this target's any more.
      for (const name of readdirSync(dirname(path)).filter(isExportedPatch)) if (name !== basename(path)) rmSync(join(dirname(path), name))
      log.step('export', `${path}: ${files} files`)
      return { files }
    } finally {
      clearAsides(path)
    }
  },
}

/** @returns the path of the self-contained patch in dist */
export const exportedPatch = (context: Context): string =>
  join(context.paths.dist, `lvs-snat-${sourceVersion(context)}.patch`)

/** @returns whether a file of dist is a patch that this step makes, of whatever kernel */
export const isExportedPatch = (name: string): boolean => name.startsWith('lvs-snat-') && name.endsWith('.patch')

/**
 * Applies the patch to a copy of the pristine files as a user would, and compares
 * the result with the prepared tree.
 *
 * @returns how many files it touches
 * @throws Failure of kind `patch`
 */
async function verify(context: Context, path: string): Promise<number> {
  const git = treeGit(context)
  const touched = await touchedFiles(context)
  const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-export-'))
  try {
    await git.unpack(PRISTINE, await git.files(PRISTINE, touched), folder)
    await capture(['patch', '--strip=1', '--fuzz=0', '--silent', '--directory', folder, '--input', path], { kind: 'patch' })
    for (const name of touched) {
      if (readFileSync(join(folder, name), 'utf8') === (await git.text('show', `${APPLIED}:${name}`))) continue
      throw new Failure('patch', `The exported patch does not yield the same ${name} as the series.`)
    }
    return touched.length
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
