// SPDX-License-Identifier: GPL-2.0-only
/**
 * The network of the lab:
 *
 *     a .2  b .3                                        net .254 (the Internet: every address beyond)
 *       |    |                                            |
 *     inside 192.168.1.0/24 -- .1 gateway .1 -- outside 203.0.113.0/24
 *                              .1 |
 *     inside2 192.168.2.0/24 -----+-- c .2
 *
 * The documentation ranges of RFC 5737 stand for the Internet: 198.51.100.0/24 and 192.0.2.0/24 lie behind `net`.
 */

export const LINKS = ['inside', 'outside', 'inside2'] as const
export type Link = (typeof LINKS)[number]

export interface GatewayCard {
  mac: string
  address: string
  address6: string
  /** Whether the card segments what it sends, and checks and computes checksums; else the kernel does. */
  offloads: boolean
}

/** The gateway's side of each link. */
export const GATEWAY: Readonly<Record<Link, GatewayCard>> = {
  inside: { mac: '02:00:00:00:01:01', address: '192.168.1.1', address6: 'fd00:1::1', offloads: false },
  outside: { mac: '02:00:00:00:02:01', address: '203.0.113.1', address6: 'fd00:2::1', offloads: true },
  inside2: { mac: '02:00:00:00:03:01', address: '192.168.2.1', address6: 'fd00:3::1', offloads: true },
}

export interface HostPlan {
  link: Link
  mac: string
  addresses: string[]
}

/** Addresses of hosts `a`, `b`, `c`, and of the router `net`. */
export const A = '192.168.1.2'
export const B = '192.168.1.3'
export const C = '192.168.2.2'
export const ROUTER = '203.0.113.254'
export const ROUTER6 = 'fd00:2::fe'
/** Servers somewhere in the Internet. */
export const S = '198.51.100.7'
export const S2 = '192.0.2.9'
/** Clients somewhere in the Internet. */
export const CLIENT = '198.51.100.200'
/** The address of the balanced service. */
export const VIP = '203.0.113.80'
/** Up to eight addresses to translate to. */
export const POOL = Array.from({ length: 8 }, (_, index) => `203.0.113.${10 + index}`) as readonly string[]

export const HOSTS: Readonly<Record<'a' | 'b' | 'c' | 'net', HostPlan>> = {
  a: { link: 'inside', mac: '02:00:00:00:01:02', addresses: [A, 'fd00:1::2'] },
  b: { link: 'inside', mac: '02:00:00:00:01:03', addresses: [B] },
  c: { link: 'inside2', mac: '02:00:00:00:03:02', addresses: [C] },
  net: { link: 'outside', mac: '02:00:00:00:02:fe', addresses: [ROUTER, ROUTER6] },
}

/** Further machines with a real TCP stack: a host inside, and one outside that is itself a neighbour of the gateway. */
export const REAL_HOSTS = {
  real: { link: 'inside', mac: '02:00:00:00:01:0a', address: '192.168.1.10', gateway: '192.168.1.1' },
  server: { link: 'outside', mac: '02:00:00:00:02:64', address: '203.0.113.100', gateway: '203.0.113.1' },
} as const

export type RealHost = keyof typeof REAL_HOSTS
