// SPDX-License-Identifier: GPL-2.0-only
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { SOURCES } from '../sources.ts'
import { bringVerified, step } from '../steps/fetch.ts'

const command: Command = {
  summary: 'fetch the kernel and the tools into the store, verified',
  help: `Takes each source from the distribution's archive by apt (no root needed), or
from upstream where apt has none, and stores it under its SHA-256.

A local file can be given for any source:
  make fetch SOURCE=linux-6.12=/path/linux-6.12.118.tar.xz
Sources: ${SOURCES.map((source) => source.name).join(', ')}

A kernel of el6 comes from the CentOS archive as a source package, signed by CentOS 6, or from a
file, signed by CentOS 6 or Red Hat; the keys are in specs/keys. What nobody of them has signed is
refused unless you vouch for it by its digest:
  make fetch TARGET=el6 KERNEL=2.6.32-279.22.1.el6
  make fetch TARGET=el6 SRPM=/path/kernel-2.6.32-279.23.1.el6.src.rpm
  make fetch TARGET=el6 SRPM=/path/kernel-2.6.32-279.el6.src.rpm SRPM_SHA256=DIGEST
Once it is in the store, the other commands need neither.

Nothing is fetched twice. To follow the distribution to a newer version:
  make distclean purge && make fetch`,
  step,
  async run(context) {
    const { facts } = await bring(context, step)
    for (const name of Object.keys(facts)) {
      const stored = await bringVerified(context, name)
      process.stdout.write(`${stored.name} ${stored.version} ${stored.sha256} ${stored.from}\n`)
    }
  },
}
export default command
