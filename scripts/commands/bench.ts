// SPDX-License-Identifier: GPL-2.0-only
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { chooseParts, measure, partNames } from '../../vm/bench/measure.ts'
import { textLines } from '../../vm/bench/report.ts'
import { Machine } from '../../vm/qemu/machine.ts'
import { withRuntimeFolder } from '../../vm/runtime.ts'
import { Failure } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { setUp } from '../build/setup.ts'
import type { Command } from '../command.ts'
import { bringGuest, testedStep } from '../lab/guest.ts'

const command: Command = {
  summary: 'measure what a forwarded packet costs, in instructions',
  anyKernel: true,
  help: `Boots one virtual machine whose clock counts instructions, and sends 60-byte UDP by pktgen
through the gateway, with and without checksum, to one remote address and port, in 1, 1,000, 20,000 and 100,000
flows: from inside, back (replies), and each packet a new flow. The same for plain forwarding, IPVS
SNAT, iptables, nftables, nftables with a flowtable; LVS NAT alone and beside SNAT; and new
flows while 0, 50, 90, 95 and 99 % of the ports are taken, in one block.

What was sent is counted at the other end, where it has to arrive translated; a figure of
packets that did not is refused, and fails the command. ONLY= chooses parts by words of
their names: ${partNames().join('; ')}.

REPEAT=5 measures all parts five times in that boot, one after the other and not each five times in a row; every
repeat is kept, and the tables have the median and the spread.

Instructions are counted, not cache misses; compare within one run. The tables are printed, and
all figures are in dist/VARIANT/bench/results.json.
KERNEL=stock measures on the distribution's own kernel, whose configuration is not the debug one of TARGET's.`,
  step: testedStep,
  async run(context) {
    const parts = chooseParts(context.variables.ONLY)
    if (parts.length === 0) {
      throw new Failure('usage', `No part of the benchmark has a name with "${context.variables.ONLY}" in it.`, { hint: `Parts: ${partNames().join(', ')}` })
    }
    await setUp(context)
    const { image } = await bringGuest(context)
    const logs = join(context.paths.logs, 'bench')
    const folder = join(context.paths.dist, 'bench')
    mkdirSync(logs, { recursive: true })
    rmSync(folder, { recursive: true, force: true })
    const results = await withRuntimeFolder(async (sockets) => {
      log.step('bench', 'booting (the instruction clock is slow)')
      const machine = await Machine.start({
        name: 'bench', image, accelerator: 'tcg', cards: [], sockets, logs, instructionClock: true, memoryMegabytes: 1024,
        bootLimit: 300_000,
      })
      try {
        return await measure(machine, parts, { rounds: context.repeat, progress: (line) => log.info(line), keep: () => undefined })
      } finally {
        await machine.stop()
      }
    })
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'results.json'), `${JSON.stringify({ kernel: image.release, ...results }, null, 2)}\n`)
    for (const line of textLines(results)) process.stdout.write(`${line}\n`)
    const refused = results.measurements.filter((one) => one.refused !== undefined).length
    if (refused > 0) throw new Failure('test', `${refused} figures mean nothing: their packets did not go the way that was to be measured.`)
  },
}
export default command
