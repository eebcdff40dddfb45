/** What the gateway lists of its connections. */

import type { Lab } from '../../../vm/lab.ts'

export interface Listed {
  protocol: string
  /** Until it is forgotten. */
  seconds: number
  state: string
  /** `ADDRESS:PORT` of the remote, of the pool, and of the inside host. */
  remote: string
  pool: string
  inside: string
}

const LINE = /^(\w+) +(\d+):(\d\d) +(\w+) +([\d.]+:\d+) +([\d.]+:\d+) +([\d.]+:\d+)/gm

/** @returns what `ipvsadm -lnc` says */
export async function connections(lab: Lab): Promise<Listed[]> {
  const text = await lab.gateway.sh('ipvsadm -lnc')
  return [...text.matchAll(LINE)].map(([, protocol = '', minutes, seconds, state = '', remote = '', pool = '', inside = '']) => ({
    protocol, seconds: Number(minutes) * 60 + Number(seconds), state, remote, pool, inside,
  }))
}

/**
 * @param inside `ADDRESS:PORT` of the inside host
 * @returns its only connection
 * @throws Error with all connections when it has none, or several
 */
export async function connectionOf(lab: Lab, inside: string): Promise<Listed> {
  const all = await connections(lab)
  const [found, ...more] = all.filter((connection) => connection.inside === inside)
  if (found && more.length === 0) return found
  throw new Error(`${more.length + (found ? 1 : 0)} connections of ${inside} among:\n${all.map((one) => JSON.stringify(one)).join('\n')}`)
}
