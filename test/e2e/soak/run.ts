// SPDX-License-Identifier: GPL-2.0-only
/** A gateway under random actions for hours, and the reckoning after every so many of them. */

import { appendFileSync, existsSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Failure } from '../../../scripts/base/errors.ts'
import { interruption } from '../../../scripts/base/run.ts'
import { Lab, type LabOptions } from '../../../vm/lab.ts'
import { GATEWAY, LINKS, type Link } from '../../../vm/topology.ts'
import { requireTshark, verifyChecksums } from '../lib/checksums.ts'
import { type ForeignRace, foreignRaces, LogReader, mergeRaces } from '../lib/klog.ts'
import { forgetLeaks, NO_LEAKS } from '../lib/leaks.ts'
import { keepCounters, requireWatched } from '../lib/races.ts'
import { mark } from '../lib/mark.ts'
import { checkLog, limited, messageOf } from '../lib/run.ts'
import { ACTIONS, type Action } from './actions.ts'
import { Dice } from './dice.ts'
import { Growth, sizesOf } from './growth.ts'
import { World } from './world.ts'

export interface SoakOptions extends Omit<LabOptions, 'suffix'> {
  seed: number
  hours: number
  /** Whether the kernel tells of leaked memory: it is asked at the end. */
  findsLeaks?: boolean
  /** Whether the kernel tells of data races. */
  findsRaces?: boolean
  /** Called with the data races that are not of IPVS, whatever the end. */
  races: (races: readonly ForeignRace[]) => void
  /** Called with every line for the user. */
  print: (line: string) => void
}

export interface SoakReport {
  actions: number
  reckonings: number
  flows: Readonly<World['flows']>
  /** IPv4 frames whose checksums were verified. */
  verifiedFrames: number
}

/** Actions between two reckonings. */
const BATCH = 40
const LIMIT_S = 60
const LAST_SHOWN = 12
const LOG_BYTES = 16 << 20
const HOUR_MS = 3_600_000
/** In which what was freed after a grace period of RCU is free. */
const GRACE_MS = 1_500
const ACTIONS_LOG = 'actions.log'
const GROWTH = 'growth.json'

/** What can be given back is no growth. 4 is for silence in the log. */
const MEASURE = `
echo 7 >/proc/sys/vm/drop_caches
for file in /sys/kernel/slab/*/shrink; do echo 1 >$file; done 2>/dev/null
cat /proc/meminfo /proc/slabinfo`

/** @returns whether so many hours have passed, by a clock that nobody sets */
export function alarm(hours: number): () => boolean {
  const end = performance.now() + hours * HOUR_MS
  return () => performance.now() >= end
}

/** @returns the action that a seed has at a number, and the dice for what is left open of it */
export function actionAt(seed: number, number: number): { action: Action; dice: Dice } {
  const dice = new Dice(seed, number)
  return { action: dice.weighted(ACTIONS), dice }
}

class Soak {
  private readonly growth = new Growth()
  private readonly last: string[] = []
  private number = 0
  private reckonings = 0
  private verifiedFrames = 0
  private readonly said: LogReader
  private races: ForeignRace[] = []
  private readonly patience: number

  constructor(
    private readonly lab: Lab,
    private readonly world: World,
    private readonly options: SoakOptions,
  ) {
    this.said = new LogReader(lab.gateway.klog)
    this.patience = options.patience ?? 1
  }

  /** @throws Failure of kind `test` or `lostVm` that says how it comes about again */
  async run(): Promise<SoakReport> {
    const isOver = alarm(this.options.hours)
    try {
      await this.world.begin(this.diceOfBatch())
      while (!isOver()) await this.batch(isOver)
      await this.finish()
    } catch (error) {
      throw this.failure(error)
    } finally {
      this.options.races(this.races)
    }
    return { actions: this.number, reckonings: this.reckonings, flows: this.world.flows, verifiedFrames: this.verifiedFrames }
  }

  /** Whatever is set up for the actions after this one. */
  private diceOfBatch(): Dice {
    return new Dice(this.options.seed, -1 - this.number)
  }

  private async batch(isOver: () => boolean): Promise<void> {
    for (let count = 0; count < BATCH && !isOver(); count++) await this.one()
    await this.reckon()
    if (!isOver()) this.note(`set up: ${await this.world.setUp(this.diceOfBatch())}`)
  }

  private async one(): Promise<void> {
    if (interruption()) throw new Failure('interrupted', `Interrupted by ${interruption()}.`)
    const { action, dice } = actionAt(this.options.seed, ++this.number)
    const start = performance.now()
    let said = 'not done'
    try {
      await limited(action.run(this.world, dice).then((text) => void (said = text)), (action.limit ?? LIMIT_S) * this.patience)
      await this.lab.settle()
      this.world.judge()
      this.scan()
    } finally {
      this.note(`${action.name} (${((performance.now() - start) / 1000).toFixed(1)} s): ${said}`)
    }
  }

  /** Takes everything back, and looks at what is left. */
  private async reckon(): Promise<void> {
    const { lab, world } = this
    this.note(`reckoning; the monitor: ${await world.endWatch()}`)
    await world.quiet()
    await world.takeBack()
    await world.answers()
    world.judge()
    await mark(lab, `action ${this.number}`)
    this.scan()
    await delay(GRACE_MS * this.patience)
    this.growth.add(sizesOf(await lab.gateway.sh(MEASURE)))
    writeFileSync(join(this.options.results, GROWTH), `${JSON.stringify(this.growth)}\n`)
    const found = this.growth.found()
    if (found.length > 0) throw new Error(`what becomes more each time:\n${found.join('\n')}`)
    for (const link of LINKS) await this.verify(link, lab.links[link].pcap.restart())
    this.reckonings++
    const { answered, refused } = world.flows
    this.options.print(`action ${this.number}: ${answered} flows translated and answered, ${refused} refused with a reason; everything was taken back, nothing is left`)
  }

  /** What is left of the modules when they are gone. */
  private async finish(): Promise<void> {
    await this.lab.reset()
    await mark(this.lab, 'the modules are gone')
    this.judgeLog(this.said.rest())
    if (this.options.findsLeaks) await NO_LEAKS.run(this.lab)
    if (this.options.findsRaces) await keepCounters(this.lab.gateway, join(this.options.results, 'kcsan'))
  }

  private async verify(link: Link, pcap: string): Promise<void> {
    const { frames, bad } = await verifyChecksums(pcap, GATEWAY[link].mac)
    this.verifiedFrames += frames
    if (bad.length > 0) throw new Error(bad.map(({ frame, what }) => `frame ${frame} of ${pcap}: ${what}`).join('\n'))
  }

  private judgeLog(lines: readonly string[]): void {
    this.races = mergeRaces([...this.races, ...foreignRaces(lines)])
    checkLog(lines)
  }

  private scan(): void {
    this.judgeLog(this.said.next())
  }

  private note(text: string): void {
    const line = `${this.number} ${text.replace(/\s+/g, ' ').slice(0, 300)}`
    this.last.push(line)
    this.last.splice(0, this.last.length - LAST_SHOWN)
    const path = join(this.options.results, ACTIONS_LOG)
    if (existsSync(path) && statSync(path).size > LOG_BYTES) renameSync(path, `${path}.previous`)
    appendFileSync(path, `${line}\n`)
  }

  private failure(error: unknown): unknown {
    if (interruption()) return error
    const lost = this.lab.gateway.lostBy ?? (error instanceof Failure && error.kind === 'lostVm' ? error : undefined)
    const { seed } = this.options
    const path = join(this.options.results, ACTIONS_LOG)
    return new Failure(lost ? 'lostVm' : 'test', `SEED=${seed}: action ${this.number} or what came before it did harm.`, {
      excerpt: [...messageOf(lost ?? error).split('\n'), 'The last actions:', ...this.last],
      hint: `make soak SEED=${seed} takes the same actions up to this one.`,
      log: path,
      cause: error,
    })
  }
}

/**
 * Boots a lab, and has random actions happen to its gateway until the time is over.
 *
 * @throws Failure of kind `test` when something is wrong with the gateway, `lostVm` when it is gone
 */
export async function soak(options: SoakOptions): Promise<SoakReport> {
  await requireTshark()
  const lab = await Lab.start(options)
  try {
    if (options.findsRaces) await requireWatched(lab.gateway)
    if (options.findsLeaks) await forgetLeaks(lab)
    return await new Soak(lab, new World(lab, options.patience ?? 1), options).run()
  } finally {
    await lab.stop()
  }
}
