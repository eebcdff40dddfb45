// SPDX-License-Identifier: GPL-2.0-only
import { basename, join } from 'node:path'
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { publish, removeOthers } from '../package/publish.ts'
import { dkmsPackage, dkmsRpms, step as dkms } from '../steps/dkms.ts'
import { kmodPackages, step, WHITELIST } from '../steps/kmod.ts'
import { requireSrpm } from '../steps/srpm.ts'

const command: Command = {
  summary: 'the IPVS modules alone, for the stock kernel: for DKMS (Debian, EL10), or kmod-ipvs-snat (RHEL 6)',
  anyKernel: true,
  help: `Of lts and lts-6.1: writes ipvs-snat-dkms_VERSION_all.deb, for the kernels of Debian 12 and 13, and the same as an RPM, for
those of EL10, into the folder DKMS. It holds the sources of IPVS of both with the series in them; DKMS compiles those of a kernel when it is installed, and refuses one whose
IPVS is another. The README.md in it tells of updates and Secure Boot. make e2e KERNEL=stock tests it.

Of el6: writes ipvs-snat-kmod-VERSION.src.rpm, which an EL6 host with the kernel-devel package of its stock kernel
builds: rpmbuild --rebuild FILE. It holds the stock files of IPVS and the series as patches.

With CONFIG=rhel the binary package is made here as well, if the kernel that was compiled
has the same symbol checksums as RHEL's whitelist (${WHITELIST}); otherwise it says why not.
It installs below /lib/modules/VERSION/extra/ipvs-snat, requires the checksums of all symbols that
it uses, and is linked into other kernels by weak-modules.
Into dist/VARIANT; prints the paths.`,
  step: ({ target }) => (target.stock ? dkms : step),
  async run(context) {
    if (context.target.stock) {
      await bring(context, dkms)
      const folders = { DEBS: [dkmsPackage(context)], DKMS: dkmsRpms(context) }
      for (const [name, paths] of Object.entries(folders)) {
        const folder = join(context.paths.dist, name)
        for (const path of paths) await deliver(folder, path)
        removeOthers(folder, paths)
      }
      return
    }
    requireSrpm(context)
    await bring(context, step)
    for (const path of kmodPackages(context)) {
      await deliver(join(context.paths.dist, ...(path.endsWith('.src.rpm') ? ['SRPMS'] : ['RPMS', 'x86_64'])), path)
    }
  },
}
export default command

async function deliver(folder: string, path: string): Promise<void> {
  await publish([path], folder)
  process.stdout.write(`${join(folder, basename(path))}\n`)
}
