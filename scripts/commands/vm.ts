// SPDX-License-Identifier: GPL-2.0-only
import { GUIDE } from '../../vm/interactive.ts'
import { checkoutLock, withLock } from '../build/lock.ts'
import { setUp } from '../build/setup.ts'
import type { Command } from '../command.ts'
import { testedStep } from '../lab/guest.ts'
import { attend, runScript } from '../lab/session.ts'

const command: Command = {
  summary: 'boot the gateway with scripted hosts around it, console on this terminal',
  anyKernel: true,
  help: `Boots a virtual machine assembled from the packages in dist (which are built first if
need be), with an inside and an outside network whose hosts are scripted and answer.
${GUIDE}
In the gateway, lab-example configures LVS NAT and SNAT, and lab-traffic start makes
traffic. The links are recorded in the target's working folder while it runs.

With RUN= a script is run instead, as root, by busybox; make prints its status as "Error N":
  make -s vm RUN='uname -r; ipvsadm -ln'
  make vm RUN='lab-example; lab-traffic start; sleep 9; ipvsadm --snat-conns -n'
  make vm PUT=rules.txt=/tmp/rules RUN='ipvsadm -R </tmp/rules' GET=/proc/net/ip_vs_snat=counters.txt
QUICK=1 takes the modules of the prepared tree as it is.`,
  step: testedStep,
  async run(context) {
    await setUp(context)
    const { RUN } = context.variables
    await withLock(checkoutLock(context, `vm-${context.variant}`), `virtual machine of ${context.variant}`, async () => {
      if (RUN) process.exitCode = await runScript(context, RUN)
      else await attend(context)
    }, { wait: context.wait, hint: 'Leave it first, or use another checkout.' })
  },
}
export default command
