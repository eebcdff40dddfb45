// SPDX-License-Identifier: GPL-2.0-only
import { Door, stateFile } from '../../vm/control.ts'
import { Failure } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { untilInterrupted } from '../base/run.ts'
import type { Command } from '../command.ts'

const DEBUG_LEVEL = '/proc/sys/net/ipv4/vs/debug_level'
/** Every line reaches the console too, as "echo 8 > /proc/sys/kernel/printk" has it in the walk-through. */
const PRINTK_LEVEL = 8
const DEFAULT_LEVEL = '12'

const command: Command = {
  summary: 'set the IPVS debug level of the running virtual machine and follow its log',
  anyKernel: true,
  help: `Sets net.ipv4.vs.debug_level to LEVEL (default ${DEFAULT_LEVEL}) and the console's log level to
${PRINTK_LEVEL} in the gateway that "make vm" runs, then prints the kernel log's lines of IPVS as they
come, until Ctrl-C. The debug level exists only in kernels built with DEBUG=1:
  make vm DEBUG=1               (in one terminal)
  make vm-log DEBUG=1 LEVEL=12  (in another)`,
  async run(context) {
    const level = context.variables.LEVEL || DEFAULT_LEVEL
    if (!/^\d{1,2}$/.test(level)) throw new Failure('usage', `LEVEL="${level}" is not a debug level.`, { hint: 'LEVEL=0 to LEVEL=12' })
    const door = await Door.open(stateFile(context.paths.work, context.variant))
    try {
      const { status } = await door.run(`echo ${PRINTK_LEVEL} >/proc/sys/kernel/printk; [ -e ${DEBUG_LEVEL} ] && echo ${level} >${DEBUG_LEVEL}`)
      if (status === 0) log.info(`debug level ${level}; Ctrl-C ends this`)
      else log.warn('this kernel has no IPVS debug level (make vm DEBUG=1 has); following what it logs anyway')
      await untilInterrupted(print(door), () => door.close())
    } finally {
      door.close()
    }
  },
}
export default command

async function print(door: Door): Promise<void> {
  for await (const line of door.klog()) {
    if (line.includes('IPVS') || line.includes('ip_vs')) process.stdout.write(`${line.replace(/^<\d+>/, '')}\n`)
  }
}
