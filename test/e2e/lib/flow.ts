// SPDX-License-Identifier: GPL-2.0-only
/** A flow of each kind, for what has to hold whatever the kind is. */

import assert from 'node:assert/strict'
import type { Lab } from '../../../vm/lab.ts'
import { echo, type Packet, tcp, udp } from '../../../vm/packet/index.ts'
import { A, B, POOL, S } from '../../../vm/topology.ts'
import { ping } from './traffic.ts'

export const KINDS = ['tcp', 'udp', 'echo'] as const
export type Kind = (typeof KINDS)[number]

/** How the inside sends it, how it is seen outside, and what answers it. */
export interface Flow {
  kind: Kind
  inside: string
  outside: string
  /** Its first packet, as the inside host sends it, and as the outside saw it. */
  question: Buffer
  sent: Packet
  /** @returns the answer, as the outside sends it */
  answer: (options?: AnswerOptions) => Buffer
  /** The summary of that answer as the inside sees it, and as the outside sent it. */
  answerInside: string
  answerOutside: string
}

export interface AnswerOptions {
  ttl?: number
  data?: Buffer
}

const [P0 = ''] = POOL

/**
 * Opens one flow from host `b`, whose ports and id are taken by `a`, so that both address and port are translated.
 *
 * @param pool address that it has to leave with
 */
export async function openFlow(lab: Lab, kind: Kind, pool = P0): Promise<Flow> {
  return kind === 'echo' ? openEcho(lab, pool) : openPorts(lab, kind, pool)
}

async function openEcho(lab: Lab, pool: string): Promise<Flow> {
  await ping(lab.a, `${A} > ${S}`, 7070, lab.net, pool)
  const question = echo(`${B} > ${S}`, 'request', { echoId: 7070 })
  lab.b.send(question)
  const sent = await lab.net.expect(`icmp ${pool} > ${S} echo-request id=*`)
  const id = sent.icmp?.id ?? 0
  assert.notEqual(id, 7070)
  return {
    kind: 'echo', question, sent,
    inside: `icmp ${B} > ${S} echo-request id=7070`, outside: `icmp ${pool} > ${S} echo-request id=${id}`,
    answer: (options) => echo(`${S} > ${pool}`, 'reply', { ...options, echoId: id }),
    answerInside: `icmp ${S} > ${B} echo-reply id=7070`, answerOutside: `icmp ${S} > ${pool} echo-reply id=${id}`,
  }
}

async function openPorts(lab: Lab, kind: 'tcp' | 'udp', pool: string): Promise<Flow> {
  const flags = kind === 'tcp' ? ' S' : ''
  const first = (route: string): Buffer => (kind === 'tcp' ? tcp(route, 'S', { seq: 7 }) : udp(route, 'q'))
  lab.a.send(first(`${A}:7000 > ${S}:80`))
  await lab.net.expect(`${kind} ${pool}:7000 > ${S}:80${flags}`)
  const question = first(`${B}:7000 > ${S}:80`)
  lab.b.send(question)
  const sent = await lab.net.expect(`${kind} ${pool}:* > ${S}:80${flags}`)
  const port = (sent.tcp ?? sent.udp)?.sport ?? 0
  assert.notEqual(port, 7000)
  const back = `${S}:80 > ${pool}:${port}`
  return {
    kind, question, sent,
    inside: `${kind} ${B}:7000 > ${S}:80`, outside: `${kind} ${pool}:${port} > ${S}:80`,
    answer: (options) => (kind === 'tcp' ? tcp(back, 'SA', { ...options, seq: 1, ack: 8 }) : udp(back, options?.data ?? 'a', options)),
    answerInside: `${kind} ${S}:80 > ${B}:7000`, answerOutside: `${kind} ${back}`,
  }
}

/** The pattern of a packet by a flow's line: of TCP with whatever flags, of which a quote may have none. */
export const anyFlags = (line: string): string => (line.startsWith('tcp') ? `${line} *` : line)

/** The pattern of a packet that an ICMP error quotes. */
export const quoted = (line: string): string => `[${anyFlags(line)}]`
