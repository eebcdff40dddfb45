// SPDX-License-Identifier: GPL-2.0-only
/**
 * The door into a lab that `make vm` runs: other commands find it by a state file and
 * talk to it over a unix socket, a line of JSON each way.
 */

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, connect, type Server, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { Failure } from '../scripts/base/errors.ts'
import type { Outcome } from './guest/agent.ts'
import type { Lab } from './lab.ts'
import { LINKS, type Link } from './topology.ts'

/** What other commands need to know of the running lab. */
export interface State {
  socket: string
  /** The kernel's release. */
  release: string
  pcaps: Record<Link, string>
}

type Request = { op: 'run'; script: string } | { op: 'put'; path: string; content: string } | { op: 'klog' }
type Reply = { outcome: Outcome } | { error: string } | { line: string }

/** Lines of the past that a follower of the kernel log is given first. */
const PAST_LINES = 20

/** @param work the target's working folder @param variant `lts` or `lts-debug` @returns path of the state file */
export const stateFile = (work: string, variant: string): string => join(work, `vm-${variant}.json`)

/**
 * Opens the door.
 *
 * @param folder of the sockets
 * @param path of the state file
 * @returns closes it
 */
export async function serveControl(lab: Lab, folder: string, path: string, release: string): Promise<() => void> {
  const socket = join(folder, 'control')
  const clients = new Set<Socket>()
  const server: Server = createServer((client) => {
    clients.add(client)
    client.once('close', () => clients.delete(client))
    serveClient(lab, client)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(socket, resolve)
  })
  const pcaps = Object.fromEntries(LINKS.map((link) => [link, lab.links[link].pcap.path])) as Record<Link, string>
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, JSON.stringify({ socket, release, pcaps } satisfies State))
  return () => {
    rmSync(path, { force: true })
    server.close()
    // Who follows the log of a machine that has ended waits for nothing.
    for (const client of clients) client.destroy()
  }
}

function serveClient(lab: Lab, client: Socket): void {
  const reply = (message: Reply) => client.write(`${JSON.stringify(message)}\n`)
  client.on('error', () => client.destroy())
  createInterface({ input: client }).on('line', (line) => {
    void answer(lab, line, client, reply).catch((error: unknown) => reply({ error: error instanceof Error ? error.message : String(error) }))
  }).on('error', () => undefined)
}

async function answer(lab: Lab, line: string, client: Socket, reply: (message: Reply) => void): Promise<void> {
  const { gateway } = lab
  const request = JSON.parse(line) as Request
  if (request.op === 'run') return reply({ outcome: await gateway.run(request.script) })
  if (request.op === 'put') {
    await gateway.put(request.path, Buffer.from(request.content, 'base64'))
    return reply({ outcome: { status: 0, output: '' } })
  }
  for (const line of gateway.klog.lines.slice(-PAST_LINES)) reply({ line })
  const stop = gateway.klog.listen((line) => reply({ line }))
  client.once('close', stop)
}

/** A command's connection to the running lab. */
export class Door {
  readonly state: State
  private readonly socket: Socket
  private readonly replies: AsyncIterator<string, undefined>

  private constructor(state: State, socket: Socket) {
    this.state = state
    this.socket = socket
    const lines = createInterface({ input: socket })
    // A destroyed socket has no end that readline would notice.
    socket.once('close', () => lines.close())
    this.replies = lines[Symbol.asyncIterator]()
  }

  /** @param path of the state file @throws Failure of kind `usage` when no lab runs */
  static async open(path: string): Promise<Door> {
    const state = readState(path)
    const socket = state && (await connected(state.socket))
    if (state && socket) return new Door(state, socket)
    throw new Failure('usage', 'No virtual machine is running.', { hint: 'Start one in another terminal: make vm' })
  }

  /** Runs a script in the gateway. */
  async run(script: string): Promise<Outcome> {
    return this.ask({ op: 'run', script })
  }

  /** Like {@link run}, for scripts that must succeed. @throws Failure of kind `environment` with what they said */
  async sh(script: string, doing: string): Promise<string> {
    const { status, output } = await this.run(script)
    if (status === 0) return output
    throw new Failure('environment', `In the virtual machine, ${doing} failed (status ${status}).`, { excerpt: output.trimEnd().split('\n') })
  }

  /** Writes a file in the gateway. */
  async put(path: string, content: Buffer): Promise<void> {
    await this.ask({ op: 'put', path, content: content.toString('base64') })
  }

  /** @returns the lines of the kernel log as they come, until the lab ends or the door is closed */
  async *klog(): AsyncGenerator<string> {
    this.send({ op: 'klog' })
    for (;;) {
      const { value, done } = await this.replies.next()
      if (done) return
      const reply = JSON.parse(value) as Reply
      if ('line' in reply) yield reply.line
    }
  }

  /** Calls when the lab has ended. */
  onClose(listener: () => void): void {
    this.socket.once('close', listener)
  }

  close(): void {
    this.socket.destroy()
  }

  private send(request: Request): void {
    this.socket.write(`${JSON.stringify(request)}\n`)
  }

  private async ask(request: Request): Promise<Outcome> {
    this.send(request)
    const { value, done } = await this.replies.next()
    if (done) throw new Failure('lostVm', 'The virtual machine has ended.')
    const reply = JSON.parse(value) as Reply
    if ('outcome' in reply) return reply.outcome
    throw new Failure('lostVm', 'error' in reply ? reply.error : 'The virtual machine gave no answer.')
  }
}

function readState(path: string): State | undefined {
  if (!existsSync(path)) return undefined
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as State
  } catch {
    return undefined
  }
}

/** @returns the socket, or nothing when nobody listens: what a killed lab leaves behind */
async function connected(path: string): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => resolve(socket))
    socket.once('error', () => resolve(undefined))
  })
}
