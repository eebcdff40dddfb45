// SPDX-License-Identifier: GPL-2.0-only
import { withRun } from '../build/checkouts.ts'
import type { Command } from '../command.ts'
import { drawDashboard } from '../lab/dashboard.ts'
import { testedStep } from '../lab/guest.ts'

const command: Command = {
  summary: 'the picture of the Grafana dashboard in docs, from a run of the lab',
  anyKernel: true,
  help: `Boots one virtual machine whose clock does not wait while nothing happens, and has half an hour of a gateway happen
in it: inside hosts, a guest that floods, an address that is taken out of service. What ipvsadm --metrics says every
15 seconds is checked by promtool, goes into a Prometheus on the loopback, and the queries of docs/grafana-snat.json are
asked of it. docs/grafana-snat.svg is drawn of the answers; a panel on which there is nothing fails the command.
Prints the path.`,
  step: testedStep,
  async run(context) {
    process.stdout.write(`${await withRun(context, 'dashboard', () => drawDashboard(context))}\n`)
  },
}
export default command
