// SPDX-License-Identifier: GPL-2.0-only
import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Door, stateFile } from '../../vm/control.ts'
import { Failure } from '../base/errors.ts'
import { log } from '../base/log.ts'
import type { Command } from '../command.ts'
import { kernelRelease } from '../steps/kernel.ts'
import { ipvsModules } from '../steps/modules.ts'

/** The services are saved as ipvsadm prints them, and set up again; connections are lost, as on a gateway. */
const RELOAD = `
set -e
ipvsadm -S -n >/tmp/services
ipvsadm -C
for round in 1 2; do
  for module in $(awk '/^ip_vs/ { print $1 }' /proc/modules); do rmmod $module 2>/dev/null || true; done
done
if grep '^ip_vs ' /proc/modules; then echo 'ip_vs is still in use'; exit 1; fi
modprobe ip_vs
ipvsadm -R </tmp/services
ipvsadm -l -n`

const command: Command = {
  summary: 'put rebuilt IPVS modules into the running virtual machine and reload them',
  help: `For the daily loop, after "make modules": copies the modules of net/netfilter/ipvs from the
build folder into the gateway that "make vm" runs, unloads the old ones, loads the new ones, and
sets the services up again.`,
  async run(context) {
    const door = await Door.open(stateFile(context.paths.work, context.variant))
    try {
      const release = kernelRelease(context)
      if (door.state.release !== release) {
        throw new Failure('usage', `The virtual machine runs ${door.state.release}, the modules are for ${release}.`, { hint: 'Leave it, then: make vm' })
      }
      for (const path of ipvsModules(context)) {
        log.progress(basename(path))
        const file = `/lib/modules/${release}/kernel/${path}`
        const { status } = await door.run(`[ -e ${file} ]`)
        if (status === 0) await door.put(file, readFileSync(join(context.paths.build, path)))
      }
      process.stdout.write(await door.sh(RELOAD, 'reloading the modules'))
    } finally {
      door.close()
    }
  },
}
export default command
