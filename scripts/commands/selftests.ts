// SPDX-License-Identifier: GPL-2.0-only
import { setUp } from '../build/setup.ts'
import type { Command } from '../command.ts'
import { SELFTESTS } from '../lab/selftest-scripts.ts'
import { describe, runSelftests, selftestsStep } from '../lab/selftests.ts'

const command: Command = {
  summary: "the kernel's own tests of IPVS and netfilter, in a virtual machine",
  anyKernel: true,
  help: `Runs scripts of the kernel's own tools/testing/selftests on the kernel and ipvsadm of the packages in dist (which are built first
if need be), each in a machine of its own with the programs of a Debian (by mmdebstrap) in memory. As they are, and all
but the first "beside SNAT": with a service and a zone of IPVS in each network namespace, whose hooks see every packet.
${SELFTESTS.map(({ scripts, beside, why }) => `- ${scripts.join(' or ')}${beside ? ' beside SNAT' : ''}: ${why}`).join('\n')}
A script that passes has said so, and of nothing that it has failed; what it says of parts that were skipped is told beside it. One that
skips itself, as it lacks something, has failed. Afterwards its daemons, its network namespaces
and IPVS have to go; a complaint of the kernel until then is a failure, with SANITIZE=1 leaked memory too. Without KVM the
machine's clock counts its instructions, so that no script is too slow for its own limits.
ONLY= chooses some by words of their names, for example
  make selftests ONLY=ipvs.sh
KERNEL=stock, SANITIZE=1, SANITIZE=kcsan, DEBUG=1 and QUICK=1 are as in make e2e. Results are in dist/VARIANT/selftests (of QUICK=1 in
selftests.quick): junit.xml, and of each what it said, console and kernel log; those of the run before in selftests.previous.
Exit codes: 7 a test failed, 8 a virtual machine was lost.`,
  step: selftestsStep,
  async run(context) {
    await setUp(context)
    process.stdout.write(`${describe(await runSelftests(context))}\n`)
  },
}
export default command
