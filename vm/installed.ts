// SPDX-License-Identifier: GPL-2.0-only
/** A gateway that is installed on a disk: booted from it as often as need be, on links whose hosts and records outlast each boot. */

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { QemuPort, Segment } from './ethernet/index.ts'
import { Host } from './host/index.ts'
import { type Packet, parseFrame, tcp, udp } from './packet/index.ts'
import type { Accelerator, MachineArguments } from './qemu/arguments.ts'
import { Machine } from './qemu/machine.ts'
import { A, GATEWAY, HOSTS, LINKS, type Link, S } from './topology.ts'

export interface InstalledOptions {
  /** Files of whole disks, the one to boot from first. */
  disks: readonly string[]
  accelerator: Accelerator
  /** Folder of the sockets; short. */
  sockets: string
  /** Folder of pcaps, consoles and kernel logs. */
  results: string
}

/** A distribution boots in a minute without KVM, and in ten on a computer that does much else. */
const BOOT_LIMIT_MS = 600_000
const END_LIMIT_MS = 300_000
/** Only what fails ever takes that long. */
const PATIENCE = 4
const MEMORY_MEGABYTES = 1024
/** How often an inside host tries to reach the outside while it is watched what leaves. */
const OFFER_MS = 100
const FIRST_PORT = 20_000

export class InstalledGateway {
  readonly links: Readonly<Record<Link, Segment>>
  /** An inside host, and the router outside with all that is beyond. */
  readonly a: Host
  readonly net: Host
  private readonly options: InstalledOptions
  private readonly ports: readonly QemuPort[]
  private current: Machine | undefined
  private offered = 0

  private constructor(options: InstalledOptions, links: Record<Link, Segment>, ports: readonly QemuPort[]) {
    this.options = options
    this.links = links
    this.ports = ports
    const host = (name: 'a' | 'net'): Host => {
      const { link, ...plan } = HOSTS[name]
      return new Host(links[link], { name, ...plan, gateway: GATEWAY[link].mac, patience: 2 * PATIENCE })
    }
    this.a = host('a')
    this.net = host('net')
  }

  /** Lays the links; nothing boots yet. */
  static async open(options: InstalledOptions): Promise<InstalledGateway> {
    mkdirSync(options.results, { recursive: true })
    const links = {} as Record<Link, Segment>
    const ports: QemuPort[] = []
    try {
      for (const link of LINKS) {
        links[link] = new Segment(link, join(options.results, `${link}.pcap`))
        ports.push(await QemuPort.listen(`gateway ${link}`, join(options.sockets, `gw.${link}`), links[link]))
      }
    } catch (error) {
      for (const port of ports) port.close()
      for (const link of Object.values(links)) link.close()
      throw error
    }
    return new InstalledGateway(options, links, ports)
  }

  /** @throws Error when it is switched off */
  get machine(): Machine {
    if (this.current) return this.current
    throw new Error('the gateway is switched off')
  }

  /** Whether it runs. */
  get isOn(): boolean {
    return this.current !== undefined
  }

  /**
   * Switches the gateway on, and waits until all that belongs to its boot has come up, or has failed.
   *
   * @param name of this boot, in the names of its logs
   * @param image what to boot instead of what the boot loader on the disk does
   * @returns what systemd calls the state: `running`, or `degraded` where a unit has failed
   */
  async boot(name: string, image?: MachineArguments['image']): Promise<string> {
    const { disks, accelerator, sockets, results } = this.options
    this.current = await Machine.start({
      name, disks, accelerator, sockets, logs: results,
      ...(image ? { image, append: ['root=LABEL=root', 'ro'] } : {}),
      memoryMegabytes: MEMORY_MEGABYTES,
      bootLimit: BOOT_LIMIT_MS,
      patience: PATIENCE,
      cards: LINKS.map((link, index) => ({ mac: GATEWAY[link].mac, name: link, socket: this.ports[index]?.path ?? '' })),
    })
    const { output } = await this.current.run('systemctl is-system-running --wait', BOOT_LIMIT_MS)
    return output.trim()
  }

  /** Runs a shell script that must succeed. @param limit milliseconds @returns what it printed */
  async sh(script: string, limit = 60_000): Promise<string> {
    return this.machine.sh(script, limit)
  }

  /** Shuts it down as an administrator does. */
  async shutDown(): Promise<void> {
    await this.machine.end('systemctl reboot', END_LIMIT_MS)
    this.current = undefined
  }

  /** Lets an inside host open connections to the outside, again and again, until {@link Watch.end}; what leaves is watched. */
  watch(): Watch {
    const left: Packet[] = []
    const stop = this.links.outside.listen((frame) => {
      const packet = parseFrame(frame)
      if (packet.eth?.src === GATEWAY.outside.mac && packet.ip?.dst === S) left.push(packet)
    })
    this.net.service = (packet) => packet.ip?.dst === S
    const timer = setInterval(() => {
      const port = FIRST_PORT + (this.offered++ % 40_000)
      this.a.send([udp(`${A}:${port} > ${S}:53`, 'question'), tcp(`${A}:${port} > ${S}:80`, 'S', { seq: port })])
    }, OFFER_MS)
    return {
      left,
      end: () => {
        clearInterval(timer)
        stop()
        this.net.service = undefined
      },
    }
  }

  /** Switches it off, and takes the links down. */
  async close(): Promise<void> {
    await this.current?.stop()
    this.current = undefined
    for (const port of this.ports) port.close()
    for (const link of LINKS) this.links[link].close()
  }
}

export interface Watch {
  /** What has left towards the server outside, oldest first. */
  readonly left: readonly Packet[]
  end: () => void
}

/** @returns those that left with the address of an inside host */
export const privateOnes = (packets: readonly Packet[]): Packet[] => packets.filter(({ ip }) => ip?.src.startsWith('192.168.'))
