// SPDX-License-Identifier: GPL-2.0-only
/** The kernel's own packet filter and NAT on the gateway, and what its rules have seen. */

import type { Lab } from '../../../vm/lab.ts'

/** @param rules arguments of iptables, a line of them for each call */
export async function iptables(lab: Lab, rules: readonly string[]): Promise<void> {
  await lab.gateway.sh(`set -e\n${rules.map((rule) => `iptables ${rule}`).join('\n')}`)
}

/** @param chain `FORWARD`, `-t mangle PREROUTING` @returns the packets that each of its rules has matched, in order */
export async function matched(lab: Lab, chain: string): Promise<number[]> {
  const words = chain.split(' ')
  const text = await lab.gateway.sh(`iptables ${words.slice(0, -1).join(' ')} -vnxL ${words.at(-1)}`)
  return [...text.matchAll(/^ *(\d+) +\d+ /gm)].map((line) => Number(line[1]))
}

/** What stateful firewalls of gateways look like: the inside may open connections, the outside only answers. */
export const STATEFUL: readonly string[] = [
  '-P FORWARD DROP',
  '-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT',
  '-A FORWARD -i inside -m conntrack --ctstate NEW -j ACCEPT',
]

/** The lab itself pings the gateway: see `Lab.settle`. */
export const CLOSED_GATEWAY: readonly string[] = [
  '-P INPUT DROP',
  '-A INPUT -p icmp --icmp-type echo-request -j ACCEPT',
]
