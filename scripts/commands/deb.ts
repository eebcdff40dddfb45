// SPDX-License-Identifier: GPL-2.0-only
import { basename, dirname, join } from 'node:path'
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { publish, removeOthers } from '../package/publish.ts'
import { copyFiles } from '../package/sign.ts'
import { debPackages, debSourceFiles, step } from '../steps/debs.ts'

const command: Command = {
  summary: 'ipvsadm and keepalived for Debian 13 (Debian 12 with TARGET=lts-6.1), as Debian packages them, with SNAT',
  help: `Takes Debian's own source packages of the release whose kernel the target is, by apt, puts our series behind Debian's
patches, and builds them by dpkg-buildpackage in a Debian of that release, which mmdebstrap makes with what they take.
Configuration files, services and scripts are Debian's. A patch that does not fit is named.

Their version is Debian's with +bsnat1.N behind it: apt takes them in the place of Debian's, and a later revision of
Debian's, which may mend something, in theirs. Of Debian's kernel make kmod makes the modules that belong to it.
Into dist/VARIANT/DEBS, and the source packages with the series into DSCS; prints the paths of the former. A source package can be brought, all its files in an archive of this name:
  make deb SOURCE=ipvsadm-trixie=/path/ipvsadm_1.31-5.source.tar.xz`,
  step,
  async run(context) {
    await bring(context, step)
    const folder = join(context.paths.dist, 'DEBS')
    const sources = join(context.paths.dist, 'DSCS')
    for (const path of debPackages(context)) {
      await publish([path], folder)
      process.stdout.write(`${join(folder, basename(path))}\n`)
    }
    for (const path of debSourceFiles(context)) copyFiles(dirname(path), sources, [basename(path)])
    removeOthers(folder, debPackages(context))
    removeOthers(sources, debSourceFiles(context))
  },
}
export default command
