// SPDX-License-Identifier: GPL-2.0-only
import { SUITES } from '../../test/e2e/index.ts'
import { setUp } from '../build/setup.ts'
import type { Command } from '../command.ts'
import { describe, runE2e } from '../lab/e2e.ts'
import { testedStep } from '../lab/guest.ts'

const command: Command = {
  summary: 'end-to-end tests in virtual machines, on packets seen on the wire',
  anyKernel: true,
  help: `Boots a gateway assembled from the packages in dist (which are built first if need
be), puts scripted hosts on its links, and runs the tests of test/e2e. ONLY= chooses
tests by words of their names, for example
  make e2e ONLY=nat:,fragments
Suites: ${SUITES.map((suite) => suite.name).join(', ')}.
Tests that cannot apply to the target's kernel are listed as N/A with the reason.
REPEAT=50 runs them as often, says which failed how often, and fails if one did; only
recordings of runs with failures stay, in test/run-NUMBER.
SANITIZE=1 runs them on a kernel with KASAN, lockdep and kmemleak, and looks for leaked
memory after each suite; it takes its time. SANITIZE=kcsan runs them on one with KCSAN, whose processors run at once without
KVM, too. A data race fails the test if one of its sides is in IPVS; others are counted in races.txt.
KERNEL=stock runs them on the distribution's own kernel (Debian 13's of lts, Debian 12's of TARGET=lts-6.1), into
which apt has installed the package of make kmod; it needs mmdebstrap. It stays as it was installed: make clean KERNEL=stock
brings the kernel that the archive has by now.
FASTPATH=1 runs them with net.ipv4.vs.snat_fastpath on; those about rules that see each packet do not apply then.
Results are in dist/VARIANT/test: junit.xml, a pcap of each link, consoles, kernel logs;
those of the run before in test.previous. Tests that were not run count as errors there.
QUICK=1 tries edits of net/netfilter/ipvs without packaging them: only the modules are compiled, and
stand in for those of the packages in dist. Its results are in dist/VARIANT/test.quick, marked dirty.
"make list" lists the tests. Exit codes: 7 a test failed, 8 a virtual machine was lost.`,
  step: testedStep,
  async run(context) {
    await setUp(context)
    process.stdout.write(`${describe(await runE2e(context))}\n`)
  },
}
export default command
