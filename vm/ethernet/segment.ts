// SPDX-License-Identifier: GPL-2.0-only
/** A stretch of Ethernet: every frame a station sends reaches all others, and is recorded as it was sent. */

import type { Fault } from './faults.ts'
import { PcapWriter } from './pcap.ts'

/** A network card's side of the wire. */
export interface Station {
  readonly name: string
  /** @param number of the frame in the segment's pcap, of one that was doubled or held back too */
  deliver(frame: Buffer, number: number): void
}

export class Segment {
  readonly name: string
  readonly pcap: PcapWriter
  private readonly stations = new Set<Station>()
  private readonly faults: Fault[] = []
  private readonly listeners = new Set<(frame: Buffer) => void>()

  constructor(name: string, pcapPath: string) {
    this.name = name
    this.pcap = new PcapWriter(pcapPath)
  }

  attach(station: Station): void {
    this.stations.add(station)
  }

  detach(station: Station): void {
    this.stations.delete(station)
  }

  /** Calls `listener` with every frame that is sent from now on. @returns ends it */
  listen(listener: (frame: Buffer) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** Adds a fault, which sees frames after the faults added before it. */
  inject(fault: Fault): void {
    this.faults.push(fault)
  }

  /** Makes the wire whole again. */
  heal(): void {
    this.faults.length = 0
  }

  /** @param from the sending station, which does not hear itself */
  transmit(from: Station, frame: Buffer): void {
    this.pcap.write(frame)
    for (const listener of this.listeners) listener(frame)
    this.pass(from, frame, 0, this.pcap.frames)
  }

  private pass(from: Station, frame: Buffer, index: number, number: number): void {
    const fault = this.faults[index]
    if (fault?.(frame, (later) => this.pass(from, later, index + 1, number))) return
    if (fault) return this.pass(from, frame, index + 1, number)
    for (const station of this.stations) if (station !== from) station.deliver(frame, number)
  }

  close(): void {
    this.stations.clear()
    this.pcap.close()
  }
}
