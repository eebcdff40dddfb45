// SPDX-License-Identifier: GPL-2.0-only
/** A scripted host: answers ARP and neighbour discovery, sends what it is told, and waits for the packets it is told to expect. */

import assert from 'node:assert/strict'
import { basename } from 'node:path'
import type { Segment, Station } from '../ethernet/index.ts'
import { arp, differences, ETHERTYPE, ethernet, ip6Bytes, matches, neighbourAdvertisement, parseFrame, type Packet, summary } from '../packet/index.ts'

/** Long enough for an emulated machine on a busy computer; only a failing test ever waits that long. */
export const PATIENCE_MS = 12_000
const SHOWN = 12
const BROADCAST = 'ff:ff:ff:ff:ff:ff'

export interface HostOptions {
  name: string
  mac: string
  /** IPv4 and IPv6 addresses it answers for. */
  addresses: string[]
  /** Where everything it sends goes first. */
  gateway: string
  /** How many times longer than usual it waits. */
  patience?: number
}

interface Waiter {
  pattern: string
  resolve: (packet: Packet) => void
  reject: (error: Error) => void
}

export class Host implements Station {
  readonly name: string
  readonly mac: string
  readonly segment: Segment
  /** Packets that came and that nobody has expected yet, oldest first. */
  readonly inbox: Packet[] = []
  /** The packet that was taken last, for whoever has to tell what a failed assertion was about. */
  taken: Packet | undefined
  /** While set, the host is down: it neither answers ARP nor takes packets. */
  down = false
  /** Called with every packet that nobody waits for; what it returns `true` for does not reach the inbox. */
  service: ((packet: Packet) => boolean) | undefined
  private readonly addresses: Set<string>
  private readonly gateway: string
  private readonly patience: number
  private readonly waiters = new Set<Waiter>()
  private failure: Error | undefined

  constructor(segment: Segment, options: HostOptions) {
    this.segment = segment
    this.name = options.name
    this.mac = options.mac
    this.gateway = options.gateway
    this.patience = options.patience ?? 1
    this.addresses = new Set(options.addresses)
    segment.attach(this)
  }

  /** Sends IP datagrams to the gateway, back to back. @param to MAC address, where it is not the gateway's */
  send(datagrams: Buffer | readonly Buffer[], to = this.gateway): void {
    for (const datagram of Buffer.isBuffer(datagrams) ? [datagrams] : datagrams) {
      const type = (datagram[0] ?? 0) >> 4 === 6 ? ETHERTYPE.ip6 : ETHERTYPE.ip
      this.segment.transmit(this, ethernet(this.mac, to, type, datagram))
    }
  }

  /** Sends a frame of any type. */
  sendFrame(type: number, body: Buffer, to = this.gateway): void {
    this.segment.transmit(this, ethernet(this.mac, to, type, body))
  }

  /**
   * Takes the oldest packet that `pattern` describes out of the inbox, waiting for it if need be.
   *
   * @param pattern see `matches` in packet/parse.ts
   * @param usual milliseconds to wait, on a machine of usual speed
   * @throws AssertionError that lists what came instead
   */
  async expect(pattern: string, usual = PATIENCE_MS): Promise<Packet> {
    const within = usual * this.patience
    const at = this.inbox.findIndex((packet) => matches(pattern, packet))
    if (at >= 0) return (this.taken = this.inbox.splice(at, 1)[0] as Packet)
    if (this.failure) throw this.failure
    return new Promise((resolve, reject) => {
      const finish = () => {
        clearTimeout(timer)
        this.waiters.delete(waiter)
      }
      const waiter: Waiter = {
        pattern,
        resolve: (packet) => {
          finish()
          this.taken = packet
          resolve(packet)
        },
        reject: (error) => {
          finish()
          reject(error)
        },
      }
      const timer = setTimeout(() => waiter.reject(this.missing(pattern, within)), within)
      this.waiters.add(waiter)
    })
  }

  /** Asserts that no packet in the inbox is described by `pattern`; call it once the wires have settled. */
  refuse(pattern: string): void {
    const packet = this.inbox.find((candidate) => matches(pattern, candidate))
    if (packet) throw new assert.AssertionError({ message: `${this.name} received: ${this.describe(packet)}\n  though nothing should match: ${pattern}` })
  }

  /** Makes every pending and later wait fail, because the machine on the wire is gone. */
  abandon(error: Error | undefined): void {
    this.failure = error
    if (error) for (const waiter of [...this.waiters]) waiter.reject(error)
  }

  /** Forgets what has come, and every service. */
  reset(): void {
    this.inbox.length = 0
    this.taken = undefined
    this.service = undefined
    this.down = false
  }

  deliver(frame: Buffer, number: number): void {
    if (this.down) return
    const packet = { ...parseFrame(frame), frame: number }
    const mine = packet.eth?.dst === this.mac
    if (packet.arp) return this.answerArp(packet.arp)
    if (packet.ip6 && this.answerSolicitation(packet)) return
    if (!mine || !(packet.ip || packet.ip6)) return
    for (const waiter of this.waiters) if (matches(waiter.pattern, packet)) return waiter.resolve(packet)
    if (this.service?.(packet)) return
    this.inbox.push(packet)
  }

  private answerArp(question: NonNullable<Packet['arp']>): void {
    if (question.operation !== 1 || !this.addresses.has(question.target)) return
    const body = arp(2, { mac: this.mac, ip: question.target }, { mac: question.senderMac, ip: question.sender })
    this.sendFrame(ETHERTYPE.arp, body, question.senderMac)
  }

  private answerSolicitation(packet: Packet): boolean {
    if (packet.ip6?.next !== 58 || packet.data[0] !== 135 || packet.data.length < 24) return false
    const target = packet.data.subarray(8, 24)
    const mine = [...this.addresses].some((address) => address.includes(':') && ip6Bytes(address).equals(target))
    if (!mine) return true
    const answer = neighbourAdvertisement(target, ip6Bytes(packet.ip6.src), this.mac)
    this.sendFrame(ETHERTYPE.ip6, answer, packet.eth?.src ?? BROADCAST)
    return true
  }

  /** @returns a packet's line, and where it is recorded */
  describe(packet: Packet): string {
    return `${summary(packet)} (frame ${packet.frame} of ${basename(this.segment.pcap.path)})`
  }

  private missing(pattern: string, within: number): Error {
    const came = this.inbox.slice(-SHOWN).map((packet) => `    ${this.describe(packet)}`)
    const list = came.length === 0 ? '    nothing' : came.join('\n')
    return new assert.AssertionError({ message: `${this.name} waited ${within / 1000} s for: ${pattern}${this.nearest(pattern)}\n  and received:\n${list}` })
  }

  /** @returns in what the packet differs that is most like the one that was waited for */
  private nearest(pattern: string): string {
    const others = this.inbox.map((packet) => differences(pattern, packet)).filter((fields) => fields !== undefined)
    const [least] = others.sort((a, b) => a.length - b.length)
    return least === undefined ? '' : `; it came with ${least.join(', ')}`
  }
}
