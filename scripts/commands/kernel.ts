// SPDX-License-Identifier: GPL-2.0-only
import { log } from '../base/log.ts'
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { step } from '../steps/kernel.ts'

const command: Command = {
  summary: 'compile the kernel, incrementally, with ccache',
  help: `Builds bzImage and all modules of the prepared tree, with your edits in it, in an
output folder (make O=build) that git does not see. Prints the path of the bzImage.

After an edit below net/netfilter/ipvs, "make modules" is quicker.`,
  step,
  async run(context) {
    const { facts } = await bring(context, step)
    const [compilations, hits, remote] = ['compilations', 'ccacheHits', 'remoteHits'].map((name) => Number(facts[name] ?? 0))
    log.info(`${compilations} compilations at the last build, ${hits} answered by ccache, ${remote} of them from a storage elsewhere`)
    process.stdout.write(`${step.outputs(context)[0]}\n`)
  },
}
export default command
