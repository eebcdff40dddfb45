// SPDX-License-Identifier: GPL-2.0-only
/**
 * Runs end-to-end tests.
 *
 * Not AVA, which runs the unit tests: here a virtual machine serves many tests, those of
 * a suite in their order, a test is not over before its kernel log was scanned and its modules
 * unloaded, a lost machine is replaced and counted apart from a failed test, and the
 * checksums of all packets are judged after the last test.
 */

import { basename, join } from 'node:path'
import { Failure } from '../../../scripts/base/errors.ts'
import { green, log, red } from '../../../scripts/base/log.ts'
import { interruption } from '../../../scripts/base/run.ts'
import { originalStack } from '../../../scripts/base/stack.ts'
import type { Target } from '../../../scripts/targets.ts'
import { Lab, type LabOptions } from '../../../vm/lab.ts'
import { GATEWAY, LINKS, type Link } from '../../../vm/topology.ts'
import { messageOfAssertion } from './assertion.ts'
import { requireTshark, verifyChecksums } from './checksums.ts'
import type { TestResult } from './junit.ts'
import { describeComplaints, type ForeignRace, foreignRaces, LogReader, mergeRaces } from './klog.ts'
import { forgetLeaks, NO_LEAKS } from './leaks.ts'
import { mark } from './mark.ts'
import { keepCounters, requireWatched } from './races.ts'
import { inapplicable, label, type Suite, type TestCase } from './suite.ts'

export interface RunOptions extends Omit<LabOptions, 'suffix'> {
  /** How many labs there are at the same time, each with its share of the suites. */
  labs: number
  /** What the kernel lacks, and why: tests that need it do not apply. */
  lacks: Target['lacks']
  /** Whether the kernel tells of leaked memory: it is asked after each suite. */
  findsLeaks?: boolean
  /** Whether the kernel tells of data races: without a sign that it does, nothing is run. */
  findsRaces?: boolean
  /** Called when the run ends before its last test, with what there is of results. */
  unfinished: (results: readonly TestResult[], reason: string) => void
  /** Called with every line for the user. */
  print: (line: string) => void
}

export interface RunReport {
  results: TestResult[]
  /** How often the gateway was lost. */
  lost: Failure[]
  /** IPv4 frames whose checksums were verified. */
  verifiedFrames: number
  /** What KCSAN has told that is not of IPVS. */
  foreignRaces: ForeignRace[]
}

/** A kernel that takes down machine after machine is broken; the tests after that many losses are not worth the time. */
const MAX_LOST = 3

interface Interval {
  result: TestResult
  from: Record<Link, number>
  to: Record<Link, number>
}

/** What the labs of a run have in common. */
class Run {
  readonly results: TestResult[] = []
  readonly lost: Failure[] = []
  foreignRaces: ForeignRace[] = []
  verifiedFrames = 0
  readonly options: RunOptions
  private queue: Suite[]
  private aborted = false

  constructor(suites: readonly Suite[], options: RunOptions) {
    this.options = options
    // The longest first: a lab should not be left with one alone at the end.
    this.queue = [...suites].sort((one, other) => other.tests.length - one.tests.length)
  }

  async all(): Promise<void> {
    const labs = Array.from({ length: Math.min(this.options.labs, this.queue.length) }, (_, index) => new Place(this, index))
    const ends = await Promise.allSettled(labs.map((place) => place.work().catch((error: unknown) => {
      this.aborted = true
      throw error
    })))
    for (const end of ends) if (end.status === 'rejected') throw end.reason
  }

  /** @returns the tests that the caller has to run next, until there are none */
  *suites(): Generator<Suite> {
    for (let suite = this.queue.shift(); suite && !this.aborted; suite = this.queue.shift()) yield suite
  }

  /** @returns the tests of a suite, until another lab has found out that there is no point in it */
  *tests({ tests }: Suite): Generator<TestCase> {
    for (const test of tests) {
      if (this.aborted) return
      yield test
    }
  }
}

/** One of the places where tests are run: a lab, and another one when its gateway is lost. */
class Place {
  private readonly run: Run
  private readonly options: RunOptions
  private readonly name: string
  private losses = 0
  private lab: Lab | undefined
  private said = new LogReader({ lines: [] })
  private intervals: Interval[] = []

  constructor(run: Run, index: number) {
    this.run = run
    this.options = run.options
    this.name = index === 0 ? '' : `-lab${index + 1}`
  }

  async work(): Promise<void> {
    try {
      for (const suite of this.run.suites()) {
        for (const test of this.run.tests(suite)) await this.one(suite, test)
        // A gateway that is gone has failed a test already, and takes its leaks with it.
        if (this.options.findsLeaks && this.lab) await this.one(suite, NO_LEAKS)
      }
    } finally {
      await this.close()
    }
  }

  private async one(suite: Suite, test: TestCase): Promise<void> {
    const { results, lost } = this.run
    const result: TestResult = { suite: suite.name, name: test.name, seconds: 0, outcome: 'failed' }
    results.push(result)
    const reason = inapplicable(test, this.options.lacks)
    if (reason !== undefined) {
      result.outcome = 'not applicable'
      result.message = reason
      return this.options.print(`N/A  ${label(suite, test)}: ${reason}`)
    }
    if (lost.length >= MAX_LOST) {
      result.message = `not run: the gateway was lost ${MAX_LOST} times`
      return this.report(suite, test, result)
    }
    const start = Date.now()
    try {
      this.lab ??= await this.open()
      await this.inLab(this.lab, suite, test, result)
      result.outcome = 'passed'
    } catch (error) {
      await this.failed(result, error)
    }
    result.seconds = (Date.now() - start) / 1000
    if (interruption()) {
      results.splice(results.indexOf(result), 1)
      throw new Failure('interrupted', `Interrupted by ${interruption()}.`)
    }
    this.report(suite, test, result)
    if (this.lab?.gateway.lostBy) await this.close()
  }

  private async open(): Promise<Lab> {
    const lab = await Lab.start({ ...this.options, suffix: this.suffix })
    this.said = new LogReader(lab.gateway.klog)
    try {
      if (this.options.findsRaces) await requireWatched(lab.gateway)
      if (this.options.findsLeaks) await forgetLeaks(lab)
      return lab
    } catch (error) {
      await lab.stop()
      throw error
    }
  }

  /** What the lab's files have in their names. */
  private get suffix(): string {
    return `${this.name}${this.losses === 0 ? '' : `-${this.losses + 1}`}`
  }

  private async inLab(lab: Lab, suite: Suite, test: TestCase, result: TestResult): Promise<void> {
    const interval = { result, from: frameCounts(lab), to: frameCounts(lab) }
    this.intervals.push(interval)
    await mark(lab, `begin ${label(suite, test)}`)
    const failures: unknown[] = []
    try {
      await limited(test.run(lab), test.limit * (this.options.patience ?? 1))
    } catch (error) {
      failures.push(error)
      if (lab.gateway.lostBy) throw error
      result.output = [...describeTaken(lab), await describeGateway(lab)].join('\n')
    }
    try {
      await lab.reset()
      await mark(lab, `end ${label(suite, test)}`)
      // What the boot and the time between two tests had to say counts for the test after it.
      this.judgeLog(this.said.next())
    } catch (error) {
      failures.push(error)
    } finally {
      interval.to = frameCounts(lab)
      result.output = `${describeInterval(lab, interval)}\n${result.output ?? ''}`.trimEnd()
    }
    if (failures.length > 0) throw failures.length === 1 ? failures[0] : new Error(failures.map(messageOf).join('\n\n'))
  }

  private async failed(result: TestResult, error: unknown): Promise<void> {
    result.outcome = 'failed'
    result.message = messageOf(error)
    const failure = this.lab?.gateway.lostBy ?? (error instanceof Failure && error.kind === 'lostVm' ? error : undefined)
    if (failure) {
      this.losses++
      this.run.lost.push(failure)
    } else if (error instanceof Failure && error.kind === 'environment') {
      throw error
    }
  }

  /** Stops the machines; what they said and sent is complete then, and is judged. */
  private async close(): Promise<void> {
    const lab = this.lab
    if (!lab) return
    this.lab = undefined
    const unheard = interruption() || lab.gateway.lostBy ? undefined : await this.hearOut(lab).then(() => undefined, messageOf)
    await lab.stop()
    if (interruption()) return
    if (unheard !== undefined) this.blameLast(unheard)
    this.judgeRest()
    for (const link of LINKS) await this.judge(link, lab.links[link].pcap.path)
    this.intervals = []
  }

  /** Has the gateway say what it still has to. */
  private async hearOut(lab: Lab): Promise<void> {
    if (this.options.findsRaces) await keepCounters(lab.gateway, join(this.options.results, `kcsan${this.suffix}`))
    await mark(lab, 'the last test is over')
  }

  /** @throws Error when the kernel has complained in these lines of its log */
  private judgeLog(lines: readonly string[]): void {
    this.run.foreignRaces = mergeRaces([...this.run.foreignRaces, ...foreignRaces(lines)])
    checkLog(lines)
  }

  private judgeRest(): void {
    try {
      this.judgeLog(this.said.rest())
    } catch (error) {
      this.blameLast((error as Error).message)
    }
  }

  private blameLast(what: string): void {
    const last = this.intervals.at(-1)
    if (!last) throw new Failure('test', what)
    this.blame(last.result, what)
    for (const line of what.split('\n')) this.options.print(`     ${line}`)
  }

  /** Lets a test fail that was reported already. */
  private blame(result: TestResult, what: string): void {
    if (result.outcome === 'passed') this.options.print(`${red('FAIL')} ${result.suite}: ${result.name}`)
    result.outcome = 'failed'
    result.message = `${result.message ?? ''}\n${what}`.trim()
  }

  private async judge(link: Link, pcap: string): Promise<void> {
    const { frames, bad } = await verifyChecksums(pcap, GATEWAY[link].mac)
    this.run.verifiedFrames += frames
    for (const { frame, what } of bad) {
      const interval = this.intervals.find(({ from, to }) => frame > from[link] && frame <= to[link])
      const result = interval?.result
      if (!result) throw new Failure('test', `Frame ${frame} of ${pcap}, sent between two tests: ${what}.`)
      this.blame(result, `frame ${frame} of ${link}: ${what}`)
      this.options.print(`     frame ${frame} of ${pcap}: ${what}`)
    }
  }

  private report(suite: Suite, test: TestCase, result: TestResult): void {
    const seconds = `(${result.seconds.toFixed(1)} s)`
    if (result.outcome === 'passed') return this.options.print(`${green('PASS')} ${label(suite, test)} ${seconds}`)
    this.options.print(`${red('FAIL')} ${label(suite, test)} ${seconds}`)
    this.options.print(`     it proves: ${test.proves}`)
    for (const line of (result.message ?? '').split('\n')) this.options.print(`     ${line}`)
    for (const line of (result.output ?? '').split('\n')) if (line) this.options.print(`     | ${line}`)
  }
}

/**
 * @param suites what to run; the results are in this order
 * @throws Failure when the tests cannot be run at all; a test that fails is in the report
 */
export async function runSuites(suites: readonly Suite[], options: RunOptions): Promise<RunReport> {
  await requireTshark()
  const run = new Run(suites, options)
  const total = suites.reduce((sum, suite) => sum + suite.tests.length, 0)
  log.step('e2e', `${total} tests${options.labs > 1 ? ` in ${options.labs} labs` : ''}`)
  try {
    await run.all()
    if (run.verifiedFrames === 0 && run.results.some((result) => result.outcome === 'passed')) {
      throw new Failure('test', 'tshark has verified no packet at all, so nothing is proven.')
    }
  } catch (error) {
    options.unfinished(run.results, messageOf(error))
    throw error
  }
  const { lost, verifiedFrames, foreignRaces: others } = run
  // Labs that work at the same time end their tests in no order.
  const results = suites.flatMap(({ name }) => run.results.filter(({ suite }) => suite === name))
  return { results, lost, verifiedFrames, foreignRaces: others }
}

const frameCounts = (lab: Lab): Record<Link, number> =>
  Object.fromEntries(LINKS.map((link) => [link, lab.links[link].pcap.frames])) as Record<Link, number>

const describeInterval = ({ links }: Lab, { from, to }: Interval): string =>
  LINKS.map((link) => `${basename(links[link].pcap.path)} frames ${from[link] + 1}-${to[link]}`).join(', ')

/** @throws Error when the kernel has complained in these lines of its log */
export function checkLog(lines: readonly string[]): void {
  const complaints = describeComplaints(lines)
  if (complaints !== undefined) throw new Error(complaints)
}

/** An assertion that failed was mostly about one of these. */
const describeTaken = ({ hosts }: Lab): string[] =>
  hosts.flatMap((host) => (host.taken ? [`${host.name} took last: ${host.describe(host.taken)}`] : []))

async function describeGateway(lab: Lab): Promise<string> {
  const script = 'ipvsadm -ln; ipvsadm -lnc; cat /proc/net/ip_vs_snat /proc/net/ip_vs_snat_pool 2>/dev/null'
  return lab.gateway.run(script).then(({ output }) => output, () => '')
}

/** @throws Error when it is not done in time */
export async function limited(promise: Promise<void>, seconds: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${seconds} s`)), seconds * 1000)
  })
  try {
    await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** @returns what to say of what a test has thrown, with the place of it in the tests */
export function messageOf(error: unknown): string {
  if (error instanceof Failure) return [error.message, ...(error.details.excerpt ?? [])].join('\n')
  if (!(error instanceof Error)) return String(error)
  const stack = originalStack(error.stack ?? '')
  return [messageOfAssertion(error, stack), ...placeOf(stack)].join('\n')
}

/** @returns the file and line of the test that failed, if the error's stack knows */
export function placeOf(stack: string): string[] {
  const frame = stack.split('\n').map((line) => /(test\/e2e\/(?!lib\/)[\w.-]+\.ts:\d+):\d+\)?$/.exec(line)?.[1]).find((place) => place !== undefined)
  return frame === undefined ? [] : [`at ${frame}`]
}
