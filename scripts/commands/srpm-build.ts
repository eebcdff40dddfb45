// SPDX-License-Identifier: GPL-2.0-only
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { asideOf, replaceFolder } from '../base/files.ts'
import { log } from '../base/log.ts'
import { runLogged } from '../base/run.ts'
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { findBuilder, HOST, requireBuilder } from '../package/builders.ts'
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
    await requireBuilder(builder)
    await bring(context, srpm)
    const results = join(context.paths.dist, 'production')
    const aside = asideOf(results)
    mkdirSync(aside, { recursive: true })
    try {
      log.step('srpm-build', `${basename(injectedSrpm(context))} by ${builder.name}`)
      await runLogged(builder.command(HOST, injectedSrpm(context), aside), {
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
      for (const name of packages) process.stdout.write(`${join(results, name)}\n`)
    } finally {
      rmSync(aside, { recursive: true, force: true })
    }
  },
}
export default command
