// SPDX-License-Identifier: GPL-2.0-only
import { Failure } from '../base/errors.ts'
import { setUp } from '../build/setup.ts'
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { bringGuest } from '../lab/guest.ts'
import { installedPackages, installSteps, runInstall } from '../lab/install.ts'
import { STAGES } from '../lab/install-stages.ts'
import { flavourWords } from '../targets.ts'

const WHOSE = { kernel: ' (our kernel)', dkms: ' (KERNEL=stock)' } as const

const command: Command = {
  summary: 'install the packages in a system that boots from its disk; upgrade, remove',
  anyKernel: true,
  help: `Makes a disk with Debian (by mmdebstrap), boots it in a virtual machine, puts GRUB onto it, and installs the packages in dist
(which are built first if need be) while it runs. It boots from the disk from then on, with hosts on its links that watch each packet:
${STAGES.map(({ name, only }) => `- ${name}${only ? WHOSE[only] : ''}`).join('\n')}
A stage that fails ends the run; later ones count as errors.

KERNEL=stock keeps Debian's kernel: apt has installed the package of make kmod in the system before it boots for the first time, because
DKMS would compile for an hour in a machine without KVM.

Debian stands in for EL, of which there is no system to be had here: its rpm runs the packages' scriptlets
beside a real systemd, initramfs-tools and GRUB. What is Debian's and not EL's: kernel-install gets a plugin that calls Debian's hooks where
EL has dracut's and GRUB's own, and a package that provides /bin/sh stands for the distribution's. No dnf, no SELinux.
It upgrades ipvsadm, and neither keepalived nor a kernel, which would have to be built once more.

Results are in dist/VARIANT/test-install: junit.xml, console and kernel log of each boot, a pcap of each link; those of
the run before in test-install.previous. It needs 6 GB of disk. Exit codes: 7 a stage failed.`,
  step: installSteps,
  async run(context) {
    if (context.flavour) throw new Failure('usage', `make install-test is about what is released: ${flavourWords(context.flavour)} means nothing for it.`)
    await setUp(context)
    await bring(context, installSteps(context))
    const { accelerator, image } = await bringGuest(context)
    const release = context.stock ? {} : { release: image.release }
    const passed = await runInstall(context, { accelerator, ...release, packages: installedPackages(context) })
    process.stdout.write(`${passed} stages passed\n`)
  },
}
export default command
