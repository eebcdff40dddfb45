// SPDX-License-Identifier: GPL-2.0-only
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { distPackages, step } from '../steps/rpm.ts'

const command: Command = {
  summary: 'build the RPMs of kernel, ipvsadm and keepalived, and their SRPMs',
  help: `Packages what "make kernel" and "make tools" have built into dist/VARIANT/RPMS and
SRPMS. Each SRPM gives the same packages by itself, with rpmbuild --rebuild, mock or
Koji; "make reproduce" proves it here. rpmlint's exceptions are in specs/rpmlint.toml.
With TARGET=el6 the kernel's SRPM is RHEL's own with the series in it ("make srpm"), and the
packages of "make kmod" are there as well. No package needs a newer rpm than EL6's 4.8.

Edits in the prepared tree that are not in the series are refused: first "make save".
Prints the paths of the packages.`,
  step,
  async run(context) {
    await bring(context, step)
    for (const path of distPackages(context)) process.stdout.write(`${path}\n`)
  },
}
export default command
