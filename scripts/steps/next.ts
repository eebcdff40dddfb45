// SPDX-License-Identifier: GPL-2.0-only
/** Packages for trying out an installation, which are not published: a later release of a tool, and what stands for the distribution's. */

import { appendFileSync, copyFileSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { listFiles, sha256File } from '../base/files.ts'
import { log } from '../base/log.ts'
import { capture } from '../base/run.ts'
import type { Context } from '../build/context.ts'
import type { Facts, Step } from '../build/step.ts'
import { buildBinaryPackages, setGlobals } from '../package/rpm.ts'
import { step as tools, toolPackages } from './tools.ts'

const NAME = 'ipvsadm'
/** Files that are configuration once they are installed: the later release brings others, as later releases do. */
const CONFIGURATION = ['ipvsadm.rules', 'ipvsadm-config']
const UNPACK = 'rpm2cpio "$1" | cpio --extract --quiet --no-absolute-filenames'

export const step: Step = {
  name: 'next',
  scope: 'target',
  needs: [],
  after: [tools],
  code: ['steps/next.ts', 'package/rpm.ts'],
  inputs: async (context) => sha256File(sourcePackage(context)),
  outputs: (context) => [nextFolder(context)],
  async run(context): Promise<Facts> {
    const { next, base } = await buildNext(context, sourcePackage(context), nextFolder(context))
    return { packages: [basename(next), basename(base)] }
  },
}

const nextFolder = (context: Context): string => join(context.paths.work, 'next')

/** Paths of the packages. */
export interface NextPackages {
  /** The later release. */
  next: string
  /** Tells rpm on a distribution without packages of its own what that has. */
  base: string
}

/** @returns what the step has made */
export const nextPackages = (context: Context): NextPackages => packagesIn(nextFolder(context))

const sourcePackage = (context: Context): string => toolPackages(context)[NAME]?.find((path) => path.endsWith('.src.rpm')) ?? 'none'

/**
 * Makes the packages.
 *
 * @param source source package of this release
 * @param folder for the packages alone
 */
export async function buildNext(context: Context, source: string, folder: string): Promise<NextPackages> {
  const work = `${folder}.work`
  const unpacked = join(work, 'unpacked')
  rmSync(work, { recursive: true, force: true })
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(unpacked, { recursive: true })
  await capture(['sh', '-e', '-c', UNPACK, 'sh', source], { cwd: unpacked })
  for (const name of CONFIGURATION) appendFileSync(join(unpacked, name), '\n# The next release has this line.\n')
  const spec = laterSpec(readFileSync(join(unpacked, `${NAME}.spec`), 'utf8'))
  log.step('next', `a later release of ${NAME}, to upgrade to`)
  const built = await buildBinaryPackages(context, {
    name: NAME,
    spec,
    sources: listFiles(unpacked).filter((name) => !name.endsWith('.spec')).map((name) => ({ name, path: join(unpacked, name) })),
    topdir: join(work, 'rpmbuild'),
    log: join(context.paths.logs, `next-${NAME}.log`),
    onLine: log.counter(),
  })
  const base = await buildBinaryPackages(context, { name: BASE, spec: BASE_SPEC, sources: [], topdir: join(work, BASE), log: join(context.paths.logs, `next-${BASE}.log`) })
  mkdirSync(folder, { recursive: true })
  for (const path of [...built, ...base]) copyFileSync(path, join(folder, basename(path)))
  rmSync(work, { recursive: true, force: true })
  return packagesIn(folder)
}

const BASE = 'debian-base'
/** On EL the shell is in a package. What the packages ask for besides would not be found. */
const BASE_SPEC = `Name: ${BASE}
Version: 1
Release: 1
Summary: What Debian has that packages ask for
License: GPL-2.0-only
BuildArch: noarch
Provides: /bin/sh

%description
Debian's packages are not in the database of its rpm.

%files
`

/** @returns the spec with a release that is later than the one that it has */
export function laterSpec(spec: string): string {
  const release = /^%global tool_release +(\S+)/m.exec(spec)?.[1]
  if (release === undefined) throw new Failure('internal', `The spec of ${NAME} has no release.`)
  return setGlobals(spec, { tool_release: `${release}.1` })
}

function packagesIn(folder: string): NextPackages {
  const find = (name: string): string => {
    const file = listFiles(folder).find((each) => each.startsWith(`${name}-`))
    if (file === undefined) throw new Failure('internal', `${folder} has no package of ${name}.`)
    return join(folder, file)
  }
  return { next: find(NAME), base: find(BASE) }
}
