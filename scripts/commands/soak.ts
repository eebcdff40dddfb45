// SPDX-License-Identifier: GPL-2.0-only
import { ACTIONS } from '../../test/e2e/soak/actions.ts'
import { setUp } from '../build/setup.ts'
import type { Command } from '../command.ts'
import { testedStep } from '../lab/guest.ts'
import { runSoak } from '../lab/soak.ts'

const command: Command = {
  summary: 'random traffic and changes of the configuration for hours, in a virtual machine',
  anyKernel: true,
  help: `Boots the gateway of make e2e, and takes one random action after the other for as long as
HOURS= says (default 1, decimals as in HOURS=0.05):
${ACTIONS.map(({ name }) => name).join(', ')};
half of those that change something while packets go both ways.
What leaves has to be translated, and what does not leave counted. After every so many actions everything is taken
back: then nothing may be left (connections, blocks of ports, configuration), memory and slab caches must not
have grown in the course of the run, the gateway has to answer in time, and the checksums of all that it
has sent are verified. The kernel log is looked at after each action; with SANITIZE=1 leaked memory
is looked for at the end.
SEED= chooses the actions; without, chance does, and the seed is told. The same SEED takes the same ones, but how
many packets go beside them is a matter of time. What fails is told with seed, number of the action, and the last ones.
  make soak HOURS=8 SANITIZE=1
KERNEL=stock, SANITIZE=1, DEBUG=1 and QUICK=1 are as in make e2e. Results are in dist/VARIANT/soak: actions.log, growth.json, the
kernel log, a pcap of each link since the last reckoning and one from there to the one before; those of the run
before in soak.previous.
Exit codes: 7 the gateway did wrong, 8 a virtual machine was lost.`,
  step: testedStep,
  async run(context) {
    await setUp(context)
    const { actions, reckonings, flows } = await runSoak(context)
    process.stdout.write(`${actions} actions and ${reckonings} reckonings: ${flows.answered} flows answered, ${flows.refused} refused, nothing wrong\n`)
  },
}
export default command
