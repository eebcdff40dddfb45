// SPDX-License-Identifier: GPL-2.0-only
/** A TCP connection between two scripted hosts, with what lies between them free to rewrite addresses and ports. */

import assert from 'node:assert/strict'
import { tcp, type TcpOptions } from '../packet/index.ts'
import type { Host } from './host.ts'

/** Of the SYN of every client. */
export const CLIENT_SEQ = 1_000_000
const SERVER_SEQ = 5_000_000

/** Both routes are `SOURCE:PORT > DESTINATION:PORT`, as packets of the client carry it. */
export interface Path {
  client: Host
  /** What the client sends. */
  sent: string
  server: Host
  /** What the server is to see; `*` where it cannot be known before. */
  seen: string
}

const turn = (route: string): string => route.split(' > ').reverse().join(' > ')

export class Connection {
  private readonly path: Path
  private clientSeq = CLIENT_SEQ
  private serverSeq = SERVER_SEQ

  private constructor(path: Path) {
    this.path = path
  }

  /** What the server saw as the client's packets, with the ports that were used. */
  get seen(): string {
    return this.path.seen
  }

  /** What the client sends its packets by. */
  get sent(): string {
    return this.path.sent
  }

  /** The sequence numbers that each side sends next. */
  get next(): { client: number; server: number } {
    return { client: this.clientSeq, server: this.serverSeq }
  }

  /** Performs the three-way handshake. @throws AssertionError when a packet does not arrive as described */
  static async open(path: Path, options: TcpOptions = {}): Promise<Connection> {
    path.client.send(tcp(path.sent, 'S', { seq: CLIENT_SEQ, ...options }))
    const syn = await path.server.expect(`tcp ${path.seen} S`)
    const seen = `${syn.ip?.src}:${syn.tcp?.sport} > ${syn.ip?.dst}:${syn.tcp?.dport}`
    const connection = new Connection({ ...path, seen })
    assert.equal(syn.tcp?.seq, CLIENT_SEQ, 'sequence number of the SYN')
    await connection.fromServer('SA', '')
    connection.serverSeq++
    connection.clientSeq++
    await connection.fromClient('A', '')
    return connection
  }

  /** The client sends `data`, and the server receives exactly that. */
  async request(data: string | Buffer): Promise<void> {
    await this.fromClient('PA', data)
    this.clientSeq += Buffer.from(data).length
    await this.fromServer('A', '')
  }

  /** The server sends `data`, and the client receives exactly that. */
  async respond(data: string | Buffer): Promise<void> {
    await this.fromServer('PA', data)
    this.serverSeq += Buffer.from(data).length
    await this.fromClient('A', '')
  }

  /** Closes from the client's side first, with all four packets. */
  async finish(): Promise<void> {
    await this.finishClient()
    await this.finishServer()
  }

  /** The client sends its FIN, and the server acknowledges it. */
  async finishClient(): Promise<void> {
    await this.fromClient('FA', '')
    this.clientSeq++
    await this.fromServer('A', '')
  }

  /** The server sends its FIN, and the client acknowledges it. */
  async finishServer(): Promise<void> {
    await this.fromServer('FA', '')
    this.serverSeq++
    await this.fromClient('A', '')
  }

  /** Aborts from the given side. */
  async abort(by: 'client' | 'server'): Promise<void> {
    await (by === 'client' ? this.fromClient('R', '') : this.fromServer('R', ''))
  }

  /** Sends one packet from the client and waits for it at the server. */
  async fromClient(flags: string, data: string | Buffer): Promise<void> {
    const { client, server, sent, seen } = this.path
    client.send(this.clientPacket(flags, data, sent))
    await this.check(server, `tcp ${seen} ${order(flags)}`, this.clientSeq, data)
  }

  /** Sends one packet from the server and waits for it at the client. */
  async fromServer(flags: string, data: string | Buffer): Promise<void> {
    const { client, server, sent, seen } = this.path
    const ack = flags.includes('S') ? this.clientSeq + 1 : this.clientSeq
    server.send(tcp(turn(seen), flags, { seq: this.serverSeq, ack, data }))
    await this.check(client, `tcp ${turn(sent)} ${order(flags)}`, this.serverSeq, data)
  }

  private clientPacket(flags: string, data: string | Buffer, route: string): Buffer {
    return tcp(route, flags, { seq: this.clientSeq, ack: this.serverSeq, data })
  }

  private async check(at: Host, pattern: string, seq: number, data: string | Buffer): Promise<void> {
    const packet = await at.expect(pattern)
    assert.equal(packet.tcp?.seq, seq, `sequence number of ${pattern}`)
    assert.deepEqual(packet.data.toString('latin1'), Buffer.from(data).toString('latin1'), `data of ${pattern}`)
  }
}

/** Flags in the order in which packet summaries show them. */
const order = (flags: string): string => [...'SFRPAUEC'].filter((flag) => flags.includes(flag)).join('')
