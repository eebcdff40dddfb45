// SPDX-License-Identifier: GPL-2.0-only
import { basename, join } from 'node:path'
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { publish } from '../package/publish.ts'
import { injectedSrpm, requireSrpm, step } from '../steps/srpm.ts'

const command: Command = {
  summary: "RHEL 6: its own kernel SRPM with the series in it, for EL6's compiler",
  help: `Puts engine and series into the kernel.spec of the SRPM that was fetched: buildid, a Patch and
an ApplyPatch line each, the symbols of the configuration, the firmware of the stock kernel as
prerequisite. The SRPM's own %prep is run, and what it prepares compared with our tree.

Writes dist/VARIANT/SRPMS/kernel-VERSION.src.rpm and prints its path. An EL6 host, mock or
Koji builds it; the kernel alone:
  rpmbuild --rebuild --with baseonly --without debuginfo --without doc --without perf FILE
make srpm-build does that in mock or podman. DEBUG=1 adds IPVS debugging.`,
  step,
  async run(context) {
    requireSrpm(context)
    await bring(context, step)
    const folder = join(context.paths.dist, 'SRPMS')
    await publish([injectedSrpm(context)], folder)
    process.stdout.write(`${join(folder, basename(injectedSrpm(context)))}\n`)
  },
}
export default command
