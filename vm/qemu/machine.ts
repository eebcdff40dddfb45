// SPDX-License-Identifier: GPL-2.0-only
/** A virtual machine of the lab, from its start to its end. */

import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { mkdirSync, rmSync, statSync } from 'node:fs'
import { Failure } from '../../scripts/base/errors.ts'
import { log } from '../../scripts/base/log.ts'
import { quote, shellLine } from '../../scripts/base/quote.ts'
import { interruption } from '../../scripts/base/run.ts'
import { Agent, type Outcome } from '../guest/agent.ts'
import { type Accelerator, type Card, type MachineArguments, qemuArguments } from './arguments.ts'
import { KernelLog } from './klog.ts'
import { type Exit, QEMU, type QemuProcess, startQemu, tail } from './process.ts'

export interface MachineOptions extends Pick<MachineArguments, 'image' | 'disks' | 'plugin'> {
  name: string
  accelerator: Accelerator
  memoryMegabytes?: number
  cpus?: number
  cards: readonly Card[]
  /** Folder of the machine's sockets; short, because a socket's path has at most 107 bytes. */
  sockets: string
  /** Folder of the console, the kernel log and QEMU's own messages. */
  logs: string
  interactive?: boolean
  append?: readonly string[]
  instructionClock?: boolean
  parallel?: boolean
  /** Milliseconds that a boot may take. */
  bootLimit?: number
  /** How many times longer than usual everything may take. */
  patience?: number
}

/** A boot takes six seconds without KVM; a computer that does much else at the same time is given time. */
const BOOT_LIMIT_MS = 120_000
/** A command that takes longer has hung, or the machine has. */
const RUN_LIMIT_MS = 45_000
const WATCH_MS = 250
/** What is left of a machine's life after its panic was seen, should it not end by itself. */
const PANIC_GRACE_MS = 3_000
const STOP_LIMIT_MS = 4_000
/** In which a guest that does not answer tells what it does instead. */
const TELL_LIMIT_MS = 5_000
const TOLD = 'lab: what runs and waits'
const TOLD_ALL = 'lab: that is all'
const TOLD_LINES = 200
const EXCERPT_LINES = 25
const PANIC = /Kernel panic - not syncing: .*|(?:U|BUG: u)nable to handle .*|Oops: \d+.*/

export class Machine {
  readonly name: string
  readonly console: string
  readonly klog: KernelLog
  /** Rejects when the machine is lost; never resolves. */
  readonly lost: Promise<never>
  private readonly agent: Agent
  private readonly teller: Socket
  private readonly patience: number
  private readonly qemu: QemuProcess
  private readonly servers: readonly Server[]
  private readonly sockets: Socket[]
  private failure: Failure | undefined
  private stopping = false
  private fail: (failure: Failure) => void = () => undefined
  /** Ends of what waits for an answer of the guest. */
  private readonly waiting = new Set<(failure: Failure) => void>()

  private constructor(options: MachineOptions, console: string, qemu: QemuProcess, servers: Server[], sockets: Socket[]) {
    this.name = options.name
    this.console = console
    this.patience = options.patience ?? 1
    this.qemu = qemu
    this.servers = servers
    this.sockets = sockets
    const [command, data, klog, teller] = sockets as [Socket, Socket, Socket, Socket]
    this.agent = new Agent(command, data)
    this.teller = teller.on('error', () => undefined)
    this.klog = new KernelLog(klog, join(options.logs, `${options.name}.klog`))
    this.lost = new Promise((_, reject) => (this.fail = reject))
    this.lost.catch(() => undefined)
    void qemu.exited.then((exit) => this.onExit(exit))
    this.watchForPanic()
  }

  /**
   * Starts a machine and waits until its guest takes commands.
   *
   * @throws Failure of kind `lostVm` with the console's tail when it does not boot
   */
  static async start(options: MachineOptions): Promise<Machine> {
    mkdirSync(options.logs, { recursive: true })
    const console = join(options.logs, `${options.name}.console`)
    rmSync(console, { force: true })
    const listeners = await Promise.all(
      ['lab.agent', 'lab.data', 'lab.klog', 'lab.tell'].map((name) => listen(name, join(options.sockets, `${options.name}.${name.slice(4)}`))),
    )
    const args = qemuArguments({
      memoryMegabytes: 256,
      cpus: 1,
      interactive: false,
      append: [],
      instructionClock: false,
      parallel: false,
      ...options,
      console,
      ports: Object.fromEntries(listeners.map(({ name, path }) => [name, path])),
    })
    log.info(shellLine([QEMU, ...args]))
    const servers = listeners.map(({ server }) => server)
    const messages = join(options.logs, `${options.name}.qemu`)
    const qemu = await startQemu(args, messages, options.interactive)
    const sockets = await Promise.race([Promise.all(listeners.map(({ connected }) => connected)), qemu.exited])
    if (!Array.isArray(sockets)) {
      for (const server of servers) server.close()
      throw new Failure('lostVm', `QEMU did not start the machine ${options.name}.`, { excerpt: tail(messages), log: messages })
    }
    const machine = new Machine(options, console, qemu, servers, sockets)
    try {
      await machine.booted(options.bootLimit ?? BOOT_LIMIT_MS)
      return machine
    } catch (error) {
      await machine.stop()
      throw error
    }
  }

  private async booted(limit: number): Promise<void> {
    const start = Date.now()
    await this.within(this.agent.ready, limit, 'did not boot')
    log.info(`${this.name} booted in ${((Date.now() - start) / 1000).toFixed(1)} s`)
  }

  /**
   * Runs a shell script in the guest.
   *
   * @param limit milliseconds
   * @throws Failure of kind `lostVm` when no answer comes in time
   */
  async run(script: string, limit = RUN_LIMIT_MS): Promise<Outcome> {
    if (this.failure) throw this.failure
    const first = script.trim().split('\n')[0] ?? ''
    return this.within(this.agent.run(script), limit, `did not answer to: ${first}`)
  }

  /**
   * Like {@link run}, for scripts that must succeed.
   *
   * @returns what the script printed
   * @throws Error with the script and its output when its status is not 0
   */
  async sh(script: string, limit = RUN_LIMIT_MS): Promise<string> {
    const { status, output } = await this.run(script, limit)
    if (status !== 0) throw new Error(`${this.name}: status ${status} of: ${script.trim()}\n${output}`)
    return output
  }

  /**
   * Lets the guest end by itself, as `systemctl reboot` makes it: the machine has no way to reboot but another start.
   *
   * @param limit milliseconds
   * @throws Failure of kind `lostVm` when it has not ended by then
   */
  async end(script: string, limit: number): Promise<void> {
    this.stopping = true
    this.agent.run(script).catch(() => undefined)
    await this.within(this.qemu.exited, limit, `did not end after: ${script}`)
    await this.stop()
  }

  /** Writes a file in the guest. */
  async put(path: string, content: Buffer): Promise<void> {
    const { status, output } = await this.within(this.agent.put(path, content), RUN_LIMIT_MS, `did not take the file ${path}`)
    if (status !== 0) throw new Error(`${this.name}: ${path} was not written: ${output}`)
  }

  /** Reads a file of the guest. */
  async get(path: string): Promise<Buffer> {
    return Buffer.from(await this.sh(`base64 ${quote(path)}`), 'base64')
  }

  /** Resolves when the machine has ended by itself or by {@link stop}. */
  get ended(): Promise<Exit> {
    return this.qemu.exited
  }

  /** Why the machine is lost, if it is. */
  get lostBy(): Failure | undefined {
    return this.failure
  }

  /** Switches the machine off, by force if it does not obey. */
  async stop(): Promise<void> {
    this.stopping = true
    // The guest switches itself off when the lab hangs up.
    for (const socket of this.sockets) socket.destroy()
    for (const server of this.servers) server.close()
    const timer = setTimeout(() => this.qemu.kill(), STOP_LIMIT_MS)
    await this.qemu.exited
    clearTimeout(timer)
  }

  private async within<T>(promise: Promise<T>, usual: number, what: string): Promise<T> {
    const limit = usual * this.patience
    const done = new AbortController()
    // Not this.lost itself: it would keep every answer of a run of hours, as whoever waits for it is kept until it comes.
    let give: (failure: Failure) => void = () => undefined
    const lost = new Promise<never>((_, reject) => (give = reject))
    this.waiting.add(give)
    if (this.failure) give(this.failure)
    const late = async (): Promise<never> => {
      await sleep(limit, undefined, done)
      const from = await this.tell(done)
      throw this.lose(`${what} within ${limit / 1000} s`, from)
    }
    try {
      return await Promise.race([promise, late(), lost])
    } finally {
      this.waiting.delete(give)
      done.abort()
    }
  }

  /**
   * Has the guest write on its console what it does instead of answering, so far as it still can.
   *
   * @param until what ends the waiting
   * @returns where that begins on the console
   * @throws AbortError
   */
  private async tell(until: { signal: AbortSignal }): Promise<number> {
    const from = sizeOf(this.console)
    log.warn(`${this.name} takes long; it is asked what it does`)
    this.teller.write('\n')
    const told = (): boolean => linesSince(this.console, from).some((line) => line.includes(TOLD_ALL))
    for (let waited = 0; waited < TELL_LIMIT_MS * this.patience && !told(); waited += WATCH_MS) await sleep(WATCH_MS, undefined, until)
    // The console is a file, the answer comes by a socket: what the guest answered before it had told all may be read after it.
    await sleep(WATCH_MS, undefined, until)
    return from
  }

  /** @param told where on the console it has told what it does, if it was asked */
  private lose(what: string, told?: number): Failure {
    if (this.failure) return this.failure
    const signal = interruption()
    this.failure = signal
      ? new Failure('interrupted', `Interrupted by ${signal}.`)
      : new Failure('lostVm', `The virtual machine ${this.name} ${what}.`, { excerpt: told === undefined ? tail(this.console) : whatWasTold(this.console, told), log: this.console })
    this.fail(this.failure)
    for (const give of this.waiting) give(this.failure)
    this.agent.abandon(this.failure)
    this.qemu.kill()
    return this.failure
  }

  private onExit(exit: Exit): void {
    if (this.stopping) return
    const panic = crashOf(tail(this.console, 400))
    this.lose(panic ? `crashed: ${panic}` : `ended by itself (${exit.signal ?? `exit code ${exit.code}`})`)
  }

  /** A kernel that cannot even reboot after its panic would otherwise be noticed only when a command times out. */
  private watchForPanic(): void {
    let seen = 0
    const timer = setInterval(() => {
      const panic = tail(this.console, 60).some((line) => line.includes('Kernel panic - not syncing'))
      if (!panic) return
      seen = seen || Date.now()
      if (Date.now() - seen < PANIC_GRACE_MS) return
      clearInterval(timer)
      this.qemu.kill()
    }, WATCH_MS)
    timer.unref()
    void this.qemu.exited.then(() => clearInterval(timer))
  }
}

/** @param lines of a console @returns what a kernel said first of its crash, if it did */
export const crashOf = (lines: readonly string[]): string | undefined =>
  lines.map((line) => PANIC.exec(line)?.[0]).find((text) => text !== undefined)

const sizeOf = (console: string): number => statSync(console, { throwIfNoEntry: false })?.size ?? 0

/** @returns the lines of a console behind a place in it, or the last ones of them */
const linesSince = (console: string, from: number): string[] => tail(console, TOLD_LINES, sizeOf(console) - from)

/** @returns what a guest has told when it was asked; the end of its console if it has told nothing */
function whatWasTold(console: string, from: number): string[] {
  const lines = linesSince(console, from)
  const told = lines.findIndex((line) => line.includes(TOLD))
  return told < 0 ? tail(console) : lines.slice(told, told + EXCERPT_LINES)
}

interface Listener {
  name: string
  path: string
  server: Server
  connected: Promise<Socket>
}

async function listen(name: string, path: string): Promise<Listener> {
  const server = createServer()
  const connected = new Promise<Socket>((resolve) => server.once('connection', resolve))
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
  return { name, path, server, connected }
}
