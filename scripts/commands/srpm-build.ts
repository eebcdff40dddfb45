// SPDX-License-Identifier: GPL-2.0-only
import { copyFileSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { asideOf, replaceFolder } from '../base/files.ts'
import { log } from '../base/log.ts'
import { runLogged } from '../base/run.ts'
import { withRun } from '../build/checkouts.ts'
import type { Context } from '../build/context.ts'
import { withBuildLock } from '../build/lock.ts'
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { type Builder, findBuilder, HOST, requireBuilder } from '../package/builders.ts'
import { requireEl6, verifyPackage } from '../package/publish.ts'
import { injectedSrpm, requireSrpm, step as srpm } from '../steps/srpm.ts'

const command: Command = {
  summary: "RHEL 6: build the SRPM with EL6's own compiler, in mock or podman (BUILDER=)",
  help: `For production: takes the SRPM that "make srpm" makes and builds the kernel's packages of it
in an environment of EL6, with its gcc 4.4, its kABI check and its signed modules:
  make srpm-build TARGET=el6 BUILDER=mock       by mock's configuration centos-6-x86_64
  make srpm-build TARGET=el6 BUILDER=podman     in a container centos:6
Before anything is built it checks that the host can: the builder, its configuration or image,
vsyscall, the network; and tells all that is missing (exit code 3). It takes an hour or more.

The packages go to dist/VARIANT/production, apart from those of "make rpm", which have the
same names and are compiled here. Prints their paths.`,
  step: srpm,
  async run(context) {
    requireSrpm(context)
    const builder = findBuilder(context.variables.BUILDER)
    for (const path of await withRun(context, 'srpm-build', () => build(context, builder))) process.stdout.write(`${path}\n`)
  },
}
export default command

/** @returns paths of the packages */
async function build(context: Context, builder: Builder): Promise<string[]> {
  await requireBuilder(builder)
  await bring(context, srpm)
  const results = join(context.paths.dist, 'production')
  const [aside, folder] = [asideOf(results), join(context.paths.work, `srpm-build-${context.variant}`)]
  mkdirSync(aside, { recursive: true })
  try {
    const source = await withBuildLock(context, async () => copyOf(injectedSrpm(context), folder))
    log.step('srpm-build', `${basename(source)} by ${builder.name}`)
    await runLogged(builder.command(HOST, source, aside), {
      log: join(context.paths.logs, `srpm-build-${builder.name}.log`),
      doing: `building the SRPM by ${builder.name}`,
      onLine: log.counter(),
    })
    const packages = readdirSync(aside).filter((name) => name.endsWith('.rpm') && !name.endsWith('.src.rpm'))
    if (packages.length === 0) throw new Failure('build', `${builder.name} succeeded, but left no packages.`)
    for (const name of packages) {
      await verifyPackage(join(aside, name))
      await requireEl6(join(aside, name))
    }
    replaceFolder(aside, results)
    return packages.map((name) => join(results, name))
  } finally {
    for (const path of [aside, folder]) rmSync(path, { recursive: true, force: true })
  }
}

/** An hour is long enough for the SRPM to be made anew beside it. */
function copyOf(source: string, folder: string): string {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const path = join(folder, basename(source))
  copyFileSync(source, path)
  return path
}
