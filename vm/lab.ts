// SPDX-License-Identifier: GPL-2.0-only
/** The lab: one gateway in a virtual machine, its three links, and the scripted hosts on them. */

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Failure } from '../scripts/base/errors.ts'
import { QemuPort, Segment } from './ethernet/index.ts'
import type { Image } from './guest/image.ts'
import { Host } from './host/index.ts'
import { echo, matches, parseFrame, type Packet } from './packet/index.ts'
import type { Accelerator } from './qemu/arguments.ts'
import { Machine } from './qemu/machine.ts'
import { A, B, C, GATEWAY, HOSTS, LINKS, type Link, REAL_HOSTS, type RealHost, ROUTER, ROUTER6 } from './topology.ts'

export interface LabOptions {
  image: Image
  accelerator: Accelerator
  /** Folder of the sockets; short. */
  sockets: string
  /** Folder of pcaps, consoles and kernel logs. */
  results: string
  /** Put into the names of files and sockets, when a run needs more than one lab. */
  suffix?: string
  interactive?: boolean
  append?: readonly string[]
  memoryMegabytes?: number
  bootLimit?: number
  /** How many times longer than usual everything may take. */
  patience?: number
  /** Whether the processors of an emulated gateway run at once. */
  parallel?: boolean
  /** What the gateway runs before each test, once its modules are loaded. */
  begin?: string
}

/** Two, so that what may run at the same time in the kernel does. */
const GATEWAY_CPUS = 2
const SETTLE_ID = 0xfeed

export class Lab {
  readonly gateway: Machine
  readonly links: Readonly<Record<Link, Segment>>
  readonly a: Host
  readonly b: Host
  readonly c: Host
  /** The router outside, and with it everything that is beyond. */
  readonly net: Host
  private readonly options: LabOptions
  private readonly ports: QemuPort[]
  private readonly machines = new Map<RealHost, Promise<Machine>>()
  private readonly transmitted: { link: Link; packet: Packet }[] = []
  private pings = 0

  private constructor(options: LabOptions, gateway: Machine, links: Record<Link, Segment>, ports: QemuPort[]) {
    this.options = options
    this.gateway = gateway
    this.links = links
    this.ports = ports
    const host = (name: keyof typeof HOSTS): Host => {
      const { link, ...plan } = HOSTS[name]
      return new Host(links[link], { name, ...plan, gateway: GATEWAY[link].mac, patience: this.patience })
    }
    this.a = host('a')
    this.b = host('b')
    this.c = host('c')
    this.net = host('net')
    gateway.lost.catch((error: unknown) => {
      for (const scripted of this.hosts) scripted.abandon(error as Failure)
    })
    for (const link of LINKS) links[link].listen((frame) => this.note(link, frame))
  }

  /** How many times longer than usual everything may take. */
  get patience(): number {
    return this.options.patience ?? 1
  }

  /** Boots the gateway and gives it its addresses. @throws Failure of kind `lostVm` when it does not boot */
  static async start(options: LabOptions): Promise<Lab> {
    mkdirSync(options.results, { recursive: true })
    const suffix = options.suffix ?? ''
    const links = {} as Record<Link, Segment>
    const ports: QemuPort[] = []
    let gateway: Machine | undefined
    try {
      for (const link of LINKS) {
        links[link] = new Segment(link, join(options.results, `${link}${suffix}.pcap`))
        ports.push(await QemuPort.listen(`gateway ${link}`, join(options.sockets, `gw${suffix}.${link}`), links[link]))
      }
      gateway = await Machine.start({
        ...options,
        name: `gateway${suffix}`,
        cpus: GATEWAY_CPUS,
        logs: options.results,
        cards: LINKS.map((link, index) => ({ mac: GATEWAY[link].mac, name: link, socket: ports[index]?.path ?? '' })),
      })
      const lab = new Lab(options, gateway, links, ports)
      await gateway.sh(nameCards(LINKS.map((link) => [GATEWAY[link].mac, link])))
      await gateway.sh(GATEWAY_SETUP)
      await gateway.sh(GATEWAY_START)
      await gateway.sh(options.begin ?? '')
      await gateway.sh(LINKS.map(carrier).join('\n'))
      await lab.settle()
      return lab
    } catch (error) {
      await gateway?.stop()
      for (const port of ports) port.close()
      for (const link of Object.values(links)) link.close()
      throw error
    }
  }

  get hosts(): readonly Host[] {
    return [this.a, this.b, this.c, this.net]
  }

  /** Undoes everything a test may have done, the kernel's connections included: the modules are loaded anew. */
  async reset(): Promise<void> {
    for (const link of LINKS) this.links[link].heal()
    await this.gateway.sh(GATEWAY_RESET)
    await this.gateway.sh(GATEWAY_START)
    await this.gateway.sh(this.options.begin ?? '')
    await this.settle()
    this.forget()
  }

  /** Forgets what was sent and what has come, and what the hosts do by themselves. */
  forget(): void {
    for (const host of this.hosts) host.reset()
    this.transmitted.length = 0
  }

  /**
   * Returns when everything that was sent before has gone through the gateway and has
   * arrived: the gateway answers a ping on a link only after the frames before it, and
   * its answer follows what it forwarded before to the same host. The gateway knows every
   * host's MAC address then; 2.6.32 asks for one by a timer, and keeps three packets meanwhile.
   */
  async settle(): Promise<void> {
    for (let round = 0; round < 2; round++) {
      await this.ping(this.a, A, GATEWAY.inside.address)
      await this.ping(this.b, B, GATEWAY.inside.address)
      await this.ping(this.c, C, GATEWAY.inside2.address)
      await this.ping(this.net, ROUTER, GATEWAY.outside.address)
    }
  }

  /** Returns when the gateway has dealt with what both sides have sent, for which it has to answer both: keeps traffic at the pace it can bear. */
  async breathe(): Promise<void> {
    await Promise.all([this.ping(this.a, A, GATEWAY.inside.address), this.ping(this.net, ROUTER, GATEWAY.outside.address)])
  }

  private async ping(host: Host, from: string, to: string): Promise<void> {
    const seq = ++this.pings & 0xffff
    const { taken } = host
    host.send(echo(`${from} > ${to}`, 'request', { echoId: SETTLE_ID, seq }))
    for (;;) {
      const reply = await host.expect(`icmp ${to} > ${from} echo-reply id=${SETTLE_ID}`)
      if (reply.icmp?.seq !== seq) continue
      // No test is about this one.
      host.taken = taken
      return
    }
  }

  /** @returns what the gateway has sent on a link since the test began, ARP aside, as far as `pattern` describes it */
  sent(link: Link, pattern?: string): Packet[] {
    const packets = this.transmitted.filter((entry) => entry.link === link).map(({ packet }) => packet)
    return pattern === undefined ? packets : packets.filter((packet) => matches(pattern, packet))
  }

  private note(link: Link, frame: Buffer): void {
    const packet = parseFrame(frame)
    if (packet.eth?.src === GATEWAY[link].mac && !packet.arp) this.transmitted.push({ link, packet })
  }

  /** @returns a machine with a real TCP stack, booted when it is first asked for */
  async realHost(name: RealHost): Promise<Machine> {
    const known = this.machines.get(name)
    if (known) return known
    const starting = this.startRealHost(name)
    this.machines.set(name, starting)
    return starting
  }

  private async startRealHost(name: RealHost): Promise<Machine> {
    const { link, mac, address, gateway } = REAL_HOSTS[name]
    const suffix = this.options.suffix ?? ''
    const port = await QemuPort.listen(name, join(this.options.sockets, `${name}${suffix}.net`), this.links[link])
    this.ports.push(port)
    const { interactive: _interactive, ...options } = this.options
    const machine = await Machine.start({
      ...options,
      name: `${name}${suffix}`,
      logs: options.results,
      cards: [{ name: 'lan', mac, socket: port.path }],
    })
    await machine.sh(nameCards([[mac, 'lan']]))
    await machine.sh(`ip link set lan up && ip addr add ${address}/24 dev lan && ip route add default via ${gateway}\n${carrier('lan')}`)
    return machine
  }

  /** Switches everything off. */
  async stop(): Promise<void> {
    const started = await Promise.allSettled(this.machines.values())
    const real = started.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
    await Promise.all([this.gateway, ...real].map((machine) => machine.stop()))
    for (const port of this.ports) port.close()
    for (const link of LINKS) this.links[link].close()
  }
}

/** Names interfaces by their MAC addresses: the kernel's names depend on which driver came first. */
function nameCards(cards: readonly (readonly [string, string])[]): string {
  return cards
    .map(([mac, name]) => `
      for folder in /sys/class/net/*; do
        if [ "$(cat $folder/address)" = ${mac} ]; then
          ip link set "\${folder##*/}" down
          ip link set "\${folder##*/}" name ${name}
        fi
      done
      test -d /sys/class/net/${name}`)
    .join('\n')
}

/** Waits for the carrier of a card: without it the card loses what comes. */
const carrier = (card: string): string => `
tries=0
until [ "$(cat /sys/class/net/${card}/carrier)" = 1 ]; do
  tries=$((tries + 1))
  [ $tries -lt 200 ] || exit 1
  usleep 50000
done`

/** @returns a script that changes a link's MTU: for that an e1000e is started anew, and has no carrier for a while */
export const setMtu = (link: Link, bytes: number): string => `ip link set ${link} mtu ${bytes}${carrier(link)}`

const each = (script: (link: Link) => string): string => LINKS.map(script).join('\n')

/** Once after the boot. Links stay up from then on: e1000e takes two seconds to find its carrier. */
const GATEWAY_SETUP = `
set -e
echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
for file in /proc/sys/net/ipv6/conf/*/router_solicitations; do echo 0 >$file; done
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
${each((link) => `
echo 0 >/proc/sys/net/ipv6/conf/${link}/accept_dad
${GATEWAY[link].offloads ? '' : `ethtool -K ${link} rx off tx off`}
ip link set ${link} up`)}
`

/** What a test finds, whatever the test before has done. */
const GATEWAY_START = `
set -e
for file in /proc/sys/net/ipv4/conf/*/rp_filter /proc/sys/net/ipv4/conf/*/send_redirects; do echo 0 >$file; done
echo 1 >/proc/sys/net/ipv4/ip_forward
# The tests send more ICMP errors than a gateway should answer in a second.
echo 0 >/proc/sys/net/ipv4/icmp_ratelimit
${each((link) => `ip addr add ${GATEWAY[link].address}/24 dev ${link}`)}
ip route add default via ${ROUTER}
# A device that went down has lost these.
${each((link) => `ip -6 addr show dev ${link} | grep -q ' ${GATEWAY[link].address6}/' || ip -6 addr add ${GATEWAY[link].address6}/64 dev ${link}`)}
# RHEL 6 lists one that is unreachable.
ip -6 route show default | grep -q ' via ' || ip -6 route add default via ${ROUTER6}
modprobe ip_vs
`

const GATEWAY_RESET = `
ipvsadm -C
# A table is held by its rules; without them it can be unloaded, and with it go its policies.
for table in $(cat /proc/net/ip_tables_names 2>/dev/null); do iptables -t $table -F; done
# A module can be held for a moment more, by a network namespace that is being taken down.
for round in $(seq 30); do
  for module in $(awk '/^(ip_vs|iptable_|ipt_|nf_nat|nf_conntrack|xt_)/ { print $1 }' /proc/modules); do
    rmmod $module 2>/dev/null
  done
  grep -qE '^(ip_vs|nf_conntrack) ' /proc/modules || break
  [ $round -lt 3 ] || usleep 100000
done
if grep -q '^ip_vs ' /proc/modules; then
  echo 'the ip_vs module cannot be unloaded:'
  grep ip_vs /proc/modules
  exit 1
fi
# Pool addresses; its own has another scope.
ip -4 addr flush dev lo scope global
${each((link) => `
ip -4 addr flush dev ${link}
ip neigh flush dev ${link}
${setMtu(link, 1500)}`)}
true
`
