// SPDX-License-Identifier: GPL-2.0-only
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { busyboxFile, guestTools, step, toolPackages } from '../steps/tools.ts'

const command: Command = {
  summary: 'build ipvsadm, keepalived and the tools of the lab, static with musl',
  help: `ipvsadm and keepalived become RPMs that run on EL6 to EL10: one program each,
with the libraries they need compiled in, ipvsadm with the patches in patches/ipvsadm. busybox, iptables, ethtool, alloc-fail, bulk-stream, fresh-slabs,
mark-window, netlink-batch, queue-accept, send-unsummed, short-connections, steady-stream and an unpatched ipvsadm are for the virtual machines and are not packaged. Prints the paths of what was built.

Needs musl-gcc and the kernel's headers. They are built once for all targets (but
keepalived, of which lts takes that of Debian 13) and all checkouts of this cache:
what was built before from the same sources, by the same compiler, is taken from there.`,
  step,
  async run(context) {
    await bring(context, step)
    for (const path of [busyboxFile(context), ...guestTools(context).values(), ...Object.values(toolPackages(context)).flat()]) process.stdout.write(`${path}\n`)
  },
}
export default command
