import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { measure, table } from '../../vm/bench.ts'
import { Machine } from '../../vm/qemu/machine.ts'
import { withRuntimeFolder } from '../../vm/runtime.ts'
import type { Command } from '../lib/command.ts'
import { bringGuest } from '../lib/guest.ts'
import { log } from '../lib/log.ts'
import { setUp } from '../lib/setup.ts'

const command: Command = {
  summary: 'measure what a forwarded packet costs, in instructions',
  help: `Boots one virtual machine whose clock counts instructions, sends UDP from pktgen
through the gateway, and prints instructions per packet for plain forwarding, IPVS
SNAT and iptables SNAT at 1, 100, 1,000 and 20,000 flows to one remote address and
port. The last column is the cost at 20,000 flows over that at 100.
It counts instructions, not cache misses; compare within one run. Nothing is asserted.`,
  async run(context) {
    await setUp(context)
    const { image } = await bringGuest(context)
    const logs = join(context.paths.logs, 'bench')
    mkdirSync(logs, { recursive: true })
    await withRuntimeFolder(async (sockets) => {
      log.step('bench', 'booting (the instruction clock is slow)')
      const machine = await Machine.start({
        name: 'bench', image, accelerator: 'tcg', cards: [], sockets, logs, instructionClock: true, memoryMegabytes: 512,
        bootLimit: 300_000,
      })
      try {
        const results = await measure(machine, ({ way, flows, instructions }) => {
          log.info(`${way}, ${flows} flows: ${instructions.toFixed(0)} instructions per packet`)
        })
        for (const line of table(results)) process.stdout.write(`${line}\n`)
      } finally {
        await machine.stop()
      }
    })
  },
}
export default command
