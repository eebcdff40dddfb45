// SPDX-License-Identifier: GPL-2.0-only
/** Configures the gateway, as an operator would type it, and reads what it says about itself. */

import assert from 'node:assert/strict'
import type { Lab } from '../../../vm/lab.ts'
import { VIP } from '../../../vm/topology.ts'

export type Transport = 'tcp' | 'udp'

const option = (protocol: Transport): string => (protocol === 'tcp' ? '-t' : '-u')

export interface SnatOptions {
  pool: readonly string[]
  /** Default: both. */
  protocols?: readonly Transport[]
  /** Default: rr. */
  scheduler?: string
  /** Device that gets the pool addresses; `none`: they are only routed to the gateway. Default: outside. */
  device?: string
}

/** @returns the commands of step 18 of the walk-through, for both protocols */
export function snatCommands(options: SnatOptions): string {
  const device = options.device ?? 'outside'
  const addresses = device === 'none' ? [] : options.pool.map((address) => `ip addr add ${address}/32 dev ${device}`)
  const services = (options.protocols ?? ['tcp', 'udp']).flatMap((protocol) => [
    `ipvsadm -A ${option(protocol)} 0.0.0.0:0 -s ${options.scheduler ?? 'rr'} -p 10`,
    ...options.pool.map((address) => `ipvsadm -a ${option(protocol)} 0.0.0.0:0 -r ${address}:0 -m`),
  ])
  return [...addresses, ...services].join('\n')
}

/** Sets up SNAT with stock ipvsadm. */
export async function snat(lab: Lab, options: SnatOptions): Promise<void> {
  await lab.gateway.sh(`set -e\n${snatCommands(options)}`)
}

export interface NatOptions {
  protocol?: Transport
  port?: number
  /** `ADDRESS:PORT` of each real server. */
  servers: readonly string[]
  scheduler?: string
  /** Further options of the service: `-p 360`. */
  more?: string
  /** How packets are forwarded: -m, -g. */
  forwarding?: string
}

/** @returns the commands of an ordinary balanced service at {@link VIP} */
export function natCommands(options: NatOptions): string {
  const service = `${option(options.protocol ?? 'tcp')} ${VIP}:${options.port ?? 80}`
  return [
    `ip addr show dev outside | grep -qF ${VIP}/ || ip addr add ${VIP}/32 dev outside`,
    `ipvsadm -A ${service} -s ${options.scheduler ?? 'rr'} ${options.more ?? ''}`,
    ...options.servers.map((server) => `ipvsadm -a ${service} -r ${server} ${options.forwarding ?? '-m'}`),
  ].join('\n')
}

/** Sets up LVS NAT. */
export async function nat(lab: Lab, options: NatOptions): Promise<void> {
  await lab.gateway.sh(`set -e\n${natCommands(options)}`)
}

/** @returns the SNAT counters of the gateway, by name */
export async function counters(lab: Lab): Promise<Record<string, number>> {
  const text = await lab.gateway.sh('cat /proc/net/ip_vs_snat')
  return Object.fromEntries(text.trim().split('\n').map((line) => [line.split(/\s+/)[0] ?? '', Number(line.split(/\s+/)[1])]))
}

export async function counter(lab: Lab, name: string): Promise<number> {
  const value = (await counters(lab))[name]
  if (value === undefined) throw new Error(`/proc/net/ip_vs_snat has no counter ${name}`)
  return value
}

/** A line of `ipvsadm -lnc`. The endpoints are `ADDRESS:PORT`. */
export interface Listed {
  protocol: string
  /** Seconds until it is forgotten. */
  expires: number
  state: string
  source: string
  virtual: string
  destination: string
}

/** @returns the connections of the gateway, of SNAT and balanced ones */
export async function connections(lab: Lab): Promise<Listed[]> {
  const text = await lab.gateway.sh('ipvsadm -lnc')
  return [...text.matchAll(/^(\S+) +(\d+):(\d\d) +(\S+) +(\S+) +(\S+) +(\S+)/gm)].map(
    ([, protocol = '', minutes, seconds, state = '', source = '', virtual = '', destination = '']) =>
      ({ protocol, expires: Number(minutes) * 60 + Number(seconds), state, source, virtual, destination }),
  )
}

/**
 * @param destination `ADDRESS:PORT` of the inside host
 * @throws AssertionError unless there is exactly one connection of it
 */
export async function connectionOf(lab: Lab, destination: string): Promise<Listed> {
  const all = (await connections(lab)).filter((one) => one.destination === destination)
  assert.equal(all.length, 1, `connections of ${destination}`)
  return all[0] as Listed
}

/** Sets net.ipv4.vs.NAME. */
export async function vsSysctl(lab: Lab, name: string, value: string): Promise<void> {
  await lab.gateway.sh(`echo '${value}' >/proc/sys/net/ipv4/vs/${name}`)
}

/** Does `work` between two scripts in the gateway: for what {@link Lab.reset} does not undo. The second one runs whatever happens. */
export async function between(lab: Lab, setUp: string, takeDown: string, work: () => Promise<void>): Promise<void> {
  try {
    await lab.gateway.sh(`set -e\n${setUp}`)
    await work()
  } catch (error) {
    // What it cannot undo was not done.
    await lab.gateway.run(takeDown)
    throw error
  }
  await lab.gateway.sh(takeDown)
}
