// SPDX-License-Identifier: GPL-2.0-only
import { followCapture } from '../../vm/capture.ts'
import { Door, stateFile } from '../../vm/control.ts'
import { LINKS, type Link } from '../../vm/topology.ts'
import { Failure } from '../base/errors.ts'
import { untilInterrupted } from '../base/run.ts'
import type { Command } from '../command.ts'

const command: Command = {
  summary: 'follow the packets on a link of the running virtual machine',
  anyKernel: true,
  help: `Prints the packets on LINK (${LINKS.join(', ')}; default outside) of the gateway that
"make vm" runs, a line each, from the first one on, until Ctrl-C. V=1 shows their bytes as well.
FILTER= chooses some, WRITE= writes them to a file too:
  make vm-capture LINK=inside FILTER='tcp.port == 80 and ip.src == 192.168.1.2' WRITE=/tmp/web.pcapng`,
  async run(context) {
    const { LINK, FILTER, WRITE, V } = context.variables
    const link = LINK || 'outside'
    if (!(LINKS as readonly string[]).includes(link)) {
      throw new Failure('usage', `There is no link "${link}".`, { hint: `LINK is one of: ${LINKS.join(', ')}` })
    }
    const door = await Door.open(stateFile(context.paths.work, context.variant))
    const capture = await followCapture(door.state.pcaps[link as Link], {
      ...(FILTER ? { filter: FILTER } : {}),
      ...(WRITE ? { write: WRITE } : {}),
      bytes: V === '1',
    })
    door.onClose(() => capture.stop())
    try {
      await untilInterrupted(capture.ended, () => capture.stop())
    } finally {
      capture.stop()
      door.close()
    }
  },
}
export default command
