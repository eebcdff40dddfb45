// SPDX-License-Identifier: GPL-2.0-only
/** The gateway that random actions happen to: what is always there, what is sent beside them, and whether it did right. */

import assert from 'node:assert/strict'
import type { Host } from '../../../vm/host/index.ts'
import { replyTo } from '../../../vm/host/services.ts'
import type { Lab } from '../../../vm/lab.ts'
import { echo, matches, type Packet, tcp, udp } from '../../../vm/packet/index.ts'
import { A, B, C, CLIENT, POOL, S, S2, VIP } from '../../../vm/topology.ts'
import { counters, natCommands, snatCommands } from '../lib/configure.ts'
import { LISTENS, tally } from '../lib/events.ts'
import { assertNothingPrivateLeft, during, until } from '../lib/traffic.ts'
import type { Dice } from './dice.ts'

/** All that is inside; some of it is covered whatever rules come and go. */
const INSIDE = '192.168.0.0/16'
/** Addresses of what is always there; the others are for pools that come and go. */
const [P0 = '', P1 = '', ...SPARE] = POOL
export { SPARE }
export const SERVERS = [S, S2] as const
export const VIP_PORT = 80
export const REAL_PORT = 8080

/** Behind all rules that come and go. */
const LAST = 4_000_000_000

/** What covers all of the inside at any time, each way to say it. */
const COVERS: readonly { name: string; commands: string }[] = [
  { name: 'a rule', commands: `ipvsadm --add-pool cover -z ${P0}-${P1} && ipvsadm --add-rule --priority ${LAST} -F ${INSIDE} --pool cover` },
  { name: 'a rule with blocks of ports', commands: `ipvsadm --add-pool cover --block-size 128 --max-blocks 8 -z ${P0}-${P1} && ipvsadm --add-rule --priority ${LAST} -F ${INSIDE} --pool cover` },
  { name: 'a rule whose connections are told of', commands: `ipvsadm --add-pool cover --log-conns -z ${P0}-${P1} && ipvsadm --add-rule --priority ${LAST} -F ${INSIDE} --pool cover` },
  { name: 'a zone', commands: `ipvsadm -K --zone ${INSIDE}; ipvsadm -U --zone ${INSIDE} -z ${P0}-${P1}` },
  { name: 'the services 0.0.0.0:0', commands: snatCommands({ pool: [P0, P1], device: 'none' }) },
]

/** Why a packet of the inside did not leave, as /proc/net/ip_vs_snat has it. */
const REASONS = ['exhausted', 'no_block', 'limit_blocks', 'limit_conns', 'limit_host', 'drop_no_conn', 'drop_no_pool', 'drop_rule', 'drop_no_way', 'drop_pool_gone', 'drop_other'] as const

const MONITOR_END = '[ ! -e /tmp/monitor.pid ] || { kill -CONT $(cat /tmp/monitor.pid); kill $(cat /tmp/monitor.pid); rm -f /tmp/monitor.pid; }'
/** The longest that IPVS waits for a TCP connection that has ended, and a bit more. */
const BALANCED_S = 150
/** In it what there is of a gateway's answer has come, or something has hung. */
const STALL_MS = 5_000
/** Rounds of what is sent beside an action go round so many ports. */
const PORTS_BESIDE = 400
/** Between bursts of that: what the gateway forwards takes time from the action. */
const PAUSE_MS = 50

/** What a shell says of a program that a signal has ended; ipvsadm itself ends with 255, too. */
const wasKilled = (status: number): boolean => status > 128 && status < 255

export class World {
  /** How often new flows were translated and answered, and refused with a reason. */
  readonly flows = { answered: 0, refused: 0 }
  private settings: string | undefined
  private cover: (typeof COVERS)[number] | undefined
  private watching = false
  private port = 0

  constructor(
    readonly lab: Lab,
    private readonly patience: number,
  ) {}

  get hosts(): readonly { host: Host; address: string }[] {
    const { a, b, c } = this.lab
    return [{ host: a, address: A }, { host: b, address: B }, { host: c, address: C }]
  }

  /** @returns a port that no flow since the last reckoning has had */
  nextPort(): number {
    return 20_000 + (this.port++ % 20_000)
  }

  /** Once after the lab's start. */
  async begin(dice: Dice): Promise<void> {
    await this.lab.gateway.sh(`set -e\n${POOL.map((address) => `ip addr add ${address}/32 dev outside`).join('\n')}`)
    // What a tool was called for the first time is not growth.
    this.settings = await this.lab.gateway.sh('cd /proc/sys/net/ipv4/vs && for name in snat_* expire_nodest_conn; do echo "echo \'$(cat $name)\' >/proc/sys/net/ipv4/vs/$name"; done')
    await this.setUp(dice)
  }

  /** Sets up what covers the inside. @returns what that is */
  async setUp(dice: Dice): Promise<string> {
    this.cover = dice.pick(COVERS)
    await this.setUpAgain()
    return this.cover.name
  }

  private async setUpAgain(): Promise<void> {
    await this.lab.gateway.sh(`set -e\n${this.cover?.commands}\n${natCommands({ port: VIP_PORT, servers: [`${A}:${REAL_PORT}`] })}`)
  }

  /** Takes back all that was set up and every connection, while nothing is sent; settings are as at the beginning. */
  async takeBack(): Promise<void> {
    await this.lab.gateway.sh(`
      set -e
      # Balanced connections go with their servers then, if the kernel has that; else by their timeouts.
      echo 1 >/proc/sys/net/ipv4/vs/expire_nodest_conn
      ipvsadm -C
      ipvsadm --snat-conns -F 0.0.0.0/0 --kill`)
    await until('no connection of SNAT is left', async () => (await counters(this.lab))['conns'] === 0)
    await this.lab.gateway.sh(`
      for second in $(seq ${BALANCED_S}); do
        [ $(wc -l </proc/net/ip_vs_conn) -gt 1 ] || exit 0
        sleep 1
      done
      echo 'balanced connections are left:'
      cat /proc/net/ip_vs_conn
      exit 1`, 2 * BALANCED_S * 1000)
    await this.lab.gateway.sh(this.settings ?? '')
    assert.equal(await this.lab.gateway.sh('ipvsadm -S -n'), '', 'what is left of the configuration')
    assert.equal((await counters(this.lab))['unanswered'], 0, 'unanswered connections')
    assert.deepEqual(JSON.parse(await this.lab.gateway.sh('ipvsadm --snat-blocks --json')), { version: 1, blocks: [] }, 'blocks of ports')
  }

  /** Does what lets go of everything, while nothing is sent, and sets up what covers the inside. */
  async anew(work: () => Promise<unknown>): Promise<void> {
    await work()
    await this.lab.gateway.sh('ipvsadm -C && ipvsadm --snat-conns -F 0.0.0.0/0 --kill')
    await this.setUpAgain()
  }

  /** Does something, half of the times while all kinds of packets go both ways. */
  async beside<T>(dice: Dice, work: () => Promise<T>): Promise<T> {
    // Drawn before anything happens: how many rounds there are is no matter of the seed.
    const [alone, from] = [dice.oneIn(2), dice.below(PORTS_BESIDE)]
    if (alone) return work()
    const { lab } = this
    lab.net.service = (packet) => {
      const reply = replyTo(packet)
      if (reply) lab.net.send(reply)
      return true
    }
    for (const { host } of this.hosts) host.service = () => true
    try {
      return await during(lab, (round) => this.send(from + round), work, PAUSE_MS)
    } finally {
      await this.quiet()
    }
  }

  private send(round: number): void {
    const { lab } = this
    const port = 10_000 + (round % PORTS_BESIDE)
    lab.a.send([
      tcp(`${A}:${port} > ${S}:80`, 'S', { seq: 1 }),
      tcp(`${A}:${port} > ${S}:80`, 'A', { seq: 2, ack: 2 }),
      udp(`${A}:9 > ${S2}:53`, 'the same flow every time'),
      udp(`192.168.1.${50 + (port % 100)}:${port} > ${S}:53`, 'a host that only sends'),
      echo(`${A} > ${S}`, 'request', { echoId: port }),
    ])
    lab.b.send([udp(`${B}:${port} > ${S}:53`, 'q'), tcp(`${B}:${port} > ${S2}:80`, round % 2 ? 'S' : 'FA', { seq: 3 })])
    lab.c.send(udp(`${C}:${port} > ${A}:53`, 'inside to inside'))
    lab.net.send([tcp(`${CLIENT}:${port} > ${VIP}:${VIP_PORT}`, 'S'), udp(`${CLIENT}:53 > ${P0}:${port}`, 'nobody has asked')])
  }

  /** Ends what answers by itself, and waits until the wires are quiet. */
  async quiet(): Promise<void> {
    const { lab } = this
    await lab.settle()
    for (const host of lab.hosts) host.service = undefined
    await lab.settle()
    for (const host of lab.hosts) host.inbox.length = 0
  }

  /** Asserts that nothing has left untranslated, and forgets what was sent. Call it when the wires have settled. */
  judge(): void {
    assertNothingPrivateLeft(this.lab)
    this.lab.forget()
  }

  /** Asserts that the gateway answers on all its links, in time. */
  async answers(): Promise<void> {
    const start = performance.now()
    await this.lab.settle()
    const took = Math.round(performance.now() - start)
    assert.ok(took < STALL_MS * this.patience, `the gateway took ${took} ms to answer on its links`)
  }

  /**
   * Sends the first packet of a flow.
   *
   * @param pattern how the outside sees it, where it can be
   * @returns the packet as it has left; nothing if it was refused, for which there has to be a reason
   */
  async leaves(host: Host, first: Buffer | readonly Buffer[], pattern: string): Promise<Packet | undefined> {
    const { lab } = this
    const before = await this.reasons()
    host.send(first)
    await lab.settle()
    const left = lab.net.inbox.find((packet) => matches(pattern, packet))
    if (left) {
      assert.ok(POOL.includes(left.ip?.src ?? ''), `it leaves with an address of a pool: ${lab.net.describe(left)}`)
      return left
    }
    this.flows.refused++
    assert.ok((await this.reasons()) > before, `what did not leave is counted: ${pattern}`)
    return undefined
  }

  private async reasons(): Promise<number> {
    const all = await counters(this.lab)
    return REASONS.reduce((sum, name) => sum + (all[name] ?? 0), 0)
  }

  /**
   * Runs a command of an operator, which the gateway may refuse in words.
   *
   * @returns what came of it
   */
  async command(script: string): Promise<string> {
    const { status, output } = await this.lab.gateway.run(script)
    assert.ok(!wasKilled(status), `status ${status} of ${script}\n${output}`)
    if (status === 0) return script
    assert.match(output, /[a-z]{2,} [a-z]{2,}/i, `it says why it refuses: ${script}`)
    assert.doesNotMatch(output, /unknown error|bad address|cannot allocate|memory allocation/i, `it says in words why it refuses: ${script}`)
    return `${script}: refused, ${output.trim().split('\n')[0]}`
  }

  /** Begins to watch what is told of blocks and connections, or ends it and asserts that nothing was lost in silence. */
  async watch(options: string): Promise<string> {
    if (this.watching) return this.endWatch()
    this.watching = true
    await this.lab.gateway.sh(`ipvsadm --monitor ${options} </dev/null >/tmp/events 2>&1 & echo $! >/tmp/monitor.pid`)
    await until('the monitor listens', async () => (await this.lab.gateway.sh('cat /tmp/events')).includes(LISTENS))
    return `begins ${options}`
  }

  async endWatch(): Promise<string> {
    if (!this.watching) return 'not on'
    this.watching = false
    const output = await this.lab.gateway.sh(`${MONITOR_END}; cat /tmp/events; rm -f /tmp/events`)
    const lines = output.trim().split('\n')
    const { seen, lost, span } = tally(lines.slice(lines.findIndex((line) => line.includes(LISTENS)) + 1))
    if (seen > 0) assert.ok(seen + lost >= span, `of ${span} events ${seen} were told, and of ${lost} that they are lost`)
    return `${seen} events, ${lost} lost`
  }
}
