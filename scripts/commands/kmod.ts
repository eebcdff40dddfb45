// SPDX-License-Identifier: GPL-2.0-only
import { basename, join } from 'node:path'
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { publish } from '../package/publish.ts'
import { kmodPackages, step, WHITELIST } from '../steps/kmod.ts'
import { requireSrpm } from '../steps/srpm.ts'

const command: Command = {
  summary: 'RHEL 6: the IPVS modules alone, for the stock kernel (kmod-ipvs-snat)',
  help: `Writes ipvs-snat-kmod-VERSION.src.rpm, which an EL6 host with the kernel-devel package of its stock kernel
builds: rpmbuild --rebuild FILE. It holds the stock files of IPVS and the series as patches.

With CONFIG=rhel the binary package is made here as well, if the kernel that was compiled
has the same symbol checksums as RHEL's whitelist (${WHITELIST}); otherwise it says why not.
It installs below /lib/modules/VERSION/extra/ipvs-snat, requires the checksums of all symbols that
it uses, and is linked into other kernels by weak-modules.
Into dist/VARIANT; prints the paths.`,
  step,
  async run(context) {
    requireSrpm(context)
    await bring(context, step)
    for (const path of kmodPackages(context)) {
      const folder = join(context.paths.dist, ...(path.endsWith('.src.rpm') ? ['SRPMS'] : ['RPMS', 'x86_64']))
      await publish([path], folder)
      process.stdout.write(`${join(folder, basename(path))}\n`)
    }
  },
}
export default command
