// SPDX-License-Identifier: GPL-2.0-only
/**
 * Half an hour of a gateway with something to see on its dashboard, in the network of the benchmark: inside hosts come, a device
 * asks for what is forbidden, a guest floods until its addresses have no port left, and an address is taken out of service.
 */

import { FAR, type Flows, FUNCTIONS, INSIDE, INSIDE2, REMOTE, sending, SETUP, type Stream } from '../bench/network.ts'
import type { Machine } from '../qemu/machine.ts'

/** Between samples, as `ipvsadm-metrics.timer` takes them. */
export const SAMPLE_S = 15
const SAMPLES = 120
/** The clock follows the instructions and not the wall, so a limit must be generous. */
const LIMIT_MS = 1_800_000

/** By the hash of the one host that uses them all its flows have the second address. */
const OFFICE = ['203.0.113.10', '203.0.113.11'] as const
const GUESTS = '203.0.113.12'
const FORBIDDEN = '198.51.100.9'

const CONFIGURATION = `
modprobe ip_vs
for address in ${[...OFFICE, GUESTS].join(' ')}; do ip addr add $address/32 dev ${FAR} 2>/dev/null; done
set -e
ipvsadm --add-pool office -O sh ${OFFICE.map((address) => `-z ${address}`).join(' ')}
ipvsadm --add-pool guests -O rr -z ${GUESTS} --ports 20000-21999
ipvsadm --add-rule --id 10 --priority 10 -T ${FORBIDDEN}/32 --drop
ipvsadm --add-rule --id 20 --priority 20 -F ${INSIDE}/32 --pool office
ipvsadm --add-rule --id 30 --priority 30 -F ${INSIDE2}/32 --pool guests`

/** What one host does, from one sample to another, at each sample between. */
interface Doing {
  from: number
  to: number
  does: (sample: number) => string
}

/** Packets of flows from an inside host; the next sample has others. */
function goesOut(source: string, flows: number, sample: number, packets = flows): string {
  const ports: Flows['ports'] = [10_000 + (sample % 50) * 1000, flows]
  return sending({ from: 'inside', source, destination: REMOTE, varies: 'source', ports, remotes: 1, checksum: true, packets })
}

/** What the remote sends to both addresses of a pool, of which one has the flows, and the other nothing to do with it. */
function isAnswered(flows: number, sample: number): string {
  const stream: Omit<Stream, 'destination'> = {
    from: 'remote', source: REMOTE, varies: 'destination', ports: [10_000 + (sample % 50) * 1000, flows], remotes: 1, checksum: true, packets: flows * 3,
  }
  return OFFICE.map((destination) => sending({ ...stream, destination })).join('\n')
}

const forbidden = (): string =>
  sending({ from: 'inside', source: INSIDE, destination: FORBIDDEN, varies: 'source', ports: [9000, 10], remotes: 1, checksum: true, packets: 60 })

const weight = (value: number): string => `ipvsadm --edit-address --pool office -z ${OFFICE[1]} -w ${value}`

const DAY: readonly Doing[] = [
  { from: 0, to: SAMPLES, does: (sample) => goesOut(INSIDE, 40 + sample, sample, 4 * (40 + sample)) },
  { from: 0, to: SAMPLES, does: (sample) => isAnswered(40 + sample, sample) },
  { from: 0, to: SAMPLES, does: (sample) => goesOut(INSIDE2, 25, sample) },
  { from: 20, to: 32, does: forbidden },
  { from: 44, to: 62, does: (sample) => goesOut(INSIDE2, 1200, sample) },
  { from: 80, to: 81, does: () => weight(0) },
  { from: 100, to: 101, does: () => weight(1) },
]

/** @returns a shell script that prints the time behind an @, and the metrics, of each sample */
export function scenario(): string {
  const steps = Array.from({ length: SAMPLES }, (_, sample) => [
    ...DAY.filter(({ from, to }) => sample >= from && sample < to).map(({ does }) => `( ${does(sample)}\n) >/dev/null`),
    'echo "@$(date +%s)"', 'ipvsadm --metrics', `sleep ${SAMPLE_S}`,
  ])
  return `. /tmp/functions\n${CONFIGURATION}\n${steps.flat().join('\n')}\n`
}

/**
 * Has the scenario happen in a machine whose clock counts instructions, and so does not wait while nothing happens.
 *
 * @returns what it printed
 */
export async function record(machine: Machine): Promise<string> {
  await machine.put('/tmp/functions', Buffer.from(FUNCTIONS))
  await machine.sh(SETUP, LIMIT_MS)
  await machine.put('/tmp/scenario', Buffer.from(scenario()))
  await machine.sh('sh /tmp/scenario >/tmp/metrics 2>/tmp/errors || { cat /tmp/errors; exit 1; }', LIMIT_MS)
  return (await machine.get('/tmp/metrics')).toString()
}
