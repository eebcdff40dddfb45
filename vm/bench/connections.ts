// SPDX-License-Identifier: GPL-2.0-only
/**
 * What a short TCP connection costs, from its SYN to the last acknowledgement: sockets at both ends, one connection after the other, each
 * from another port. What the gateway does when it forgets a connection is not in it: that comes minutes later.
 */

import { INSIDE, NOW, passedOf, ROUTER } from './network.ts'
import { type Bench, increase, lost, WENT, withHosts } from './runs.ts'
import type { Way } from './ways.ts'

/** Of one run, and how many ports it takes. */
export const CONNECTIONS = 1_000
const SERVER_PORT = 80
/** Two runs, none of which has a port that the other one's connections wait in (TIME_WAIT), in the inside host or in the gateway. */
const FIRST_PORTS = [20_000, 20_000 + CONNECTIONS] as const
/**
 * The inside host closes first, so its connections wait: 60 s of the guest's clock, which jumps, and up to 2 s more, as timers that are
 * so far away are that coarse (kernel/time/timer.c). Tables of the gateway go with its modules.
 */
const TIME_WAIT = 'sleep 64'

/** @param seen source that they have at the remote @returns a script that opens and closes them, and prints what {@link conversationsOf} reads */
const conversations = (firstPort: number, seen: string): string => `
set -e
rm -f /tmp/served
at remote 'short-connections serve ${ROUTER} ${SERVER_PORT} ${CONNECTIONS} ${seen} >/tmp/served'
${NOW}
${WENT}
before=$(now)
at inside short-connections connect ${INSIDE} ${firstPort} ${ROUTER} ${SERVER_PORT} ${CONNECTIONS} || true
echo took $before $(now)
${WENT}
until [ -s /tmp/served ]; do usleep 100000; done
cat /tmp/served`

interface Conversations {
  /** Instructions for each connection, of both its ends as well. */
  instructions: number
  /** Those that were to be, and those that were answered and had the address that they should have. */
  sent: number
  arrived: number
  /** Packets of each connection, both ways, and how many of them did not go all the way through the kernel's own forwarding and its hooks. */
  packets: number
  short: number
  /** Nanoseconds in which somebody waited for a timer. */
  idle: number
  /** Why that means nothing, if it does. */
  refused?: string
}

/** @param text what {@link conversations} has printed */
export function conversationsOf(text: string): Conversations {
  const passed = passedOf(text)
  const [, done, time] = (/^connected (\d+) (\d+)$/m.exec(text) ?? []).map(Number)
  const [, arrived, others] = (/^served (\d+) (\d+)$/m.exec(text) ?? []).map(Number)
  const [forwarded, shortened] = [increase('forwarded', text), increase('short', text)]
  if (passed === undefined || done === undefined || time === undefined || arrived === undefined || others === undefined || !Number.isFinite(forwarded + shortened)) {
    throw new Error(`connections did not say all that they should: ${text}`)
  }
  const packets = passed.outward + passed.homeward
  const sent = CONNECTIONS
  const [, reason] = /^short-connections: (.*)$/m.exec(text) ?? []
  const missing = lost({ sent, arrived })
  const refused = others > 0 ? `${others} of ${done} had another source` : missing && [missing, reason].filter(Boolean).join(': ')
  return {
    instructions: (time - passed.idle) / CONNECTIONS, sent, arrived, packets: packets / CONNECTIONS, short: (packets - forwarded + shortened) / CONNECTIONS, idle: passed.idle,
    ...(refused === undefined ? {} : { refused }),
  }
}

export async function connect(bench: Bench, way: Way): Promise<void> {
  if (!bench.replies) return
  await withHosts(bench, way, async () => {
    await bench.sh(TIME_WAIT)
    const [first, second] = FIRST_PORTS
    // The first ones also pay for neighbours that are not known yet, and for memory that comes from elsewhere.
    await bench.sh(conversations(first, way.outside))
    const { packets, short, idle, refused, ...count } = conversationsOf(await bench.sh(conversations(second, way.outside)))
    bench.addCount({ way: way.name, kind: 'connection', checksum: true, flows: CONNECTIONS }, count, refused)
    const add = (what: string, unit: string, value: number) => bench.addQuantity({ way: way.name, what: `connections: ${what}`, flows: CONNECTIONS, unit, value })
    add('packets', 'per connection', packets)
    add('packets that went a short way', 'per connection', short)
    add('nothing to do', 'milliseconds', idle / 1_000_000)
  })
}
