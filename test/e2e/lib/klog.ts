// SPDX-License-Identifier: GPL-2.0-only
/** Looks for the kernel's complaints in its log. The patterns are data; test/unit/vm-klog.test.ts has a sample of each. */

import { Failure } from '../../../scripts/base/errors.ts'

/** What the kernel prints when something is wrong with itself. */
const DENIED: readonly { name: string; pattern: RegExp }[] = [
  { name: 'KCSAN', pattern: /\bKCSAN: / },
  { name: 'panic', pattern: /Kernel panic - not syncing/ },
  { name: 'oops', pattern: /\bOops: |Unable to handle kernel|BUG: unable to handle/ },
  { name: 'BUG', pattern: /kernel BUG at |\bBUG: / },
  { name: 'warning', pattern: /------------\[ cut here \]------------|\bWARNING: (?:CPU: |at |possible |suspicious |bad |inconsistent |lock )/ },
  { name: 'general protection fault', pattern: /general protection fault|stack segment: |divide error: |invalid opcode: / },
  { name: 'lockdep', pattern: /possible (?:circular locking|recursive locking|irq lock inversion)|INFO: (?:possible|inconsistent|suspicious|trying to register|.* lock order detected)|held lock freed|suspicious rcu_dereference/ },
  { name: 'KASAN', pattern: /\bKASAN: / },
  { name: 'UBSAN', pattern: /\bUBSAN: / },
  { name: 'slab', pattern: /SLUB: |Objects remaining in |kmem_cache_destroy |Slab cache still has objects|Poison overwritten|Redzone overwritten|Object already free|[Ss]lab (?:error in|corruption)|double free detected/ },
  { name: 'RCU', pattern: /rcu: INFO: |rcu_\w+ (?:self-)?detected stall|RCU detected CPU \d* ?stall|RCU Stall|RCU used illegally/ },
  { name: 'lockup', pattern: /soft lockup|hard LOCKUP|blocked for more than \d+ seconds|NMI watchdog: / },
  { name: 'reference leak', pattern: /unregister_netdevice: waiting for |refcount_t: |leaked reference|inet_sock_destruct: |Attempt to release alive inet socket|kobject .*tried to init an initialized object/ },
  { name: 'scheduling', pattern: /scheduling while atomic|sleeping function called from invalid context/ },
  { name: 'list', pattern: /list_(?:add|del) corruption/ },
  { name: 'module', pattern: /Unknown symbol |disagrees about version of symbol/ },
  { name: 'memory', pattern: /page allocation failure|Out of memory: / },
  { name: 'initramfs', pattern: /Initramfs unpacking failed/ },
  { name: 'workqueue', pattern: /workqueue: .* hogged CPU/ },
  { name: 'interrupt', pattern: /irq \d+: nobody cared/i },
  { name: 'IPVS', pattern: /request for already hashed/ },
]

/** Lines that look denied and are not: each with the reason. */
const ALLOWED: readonly { pattern: RegExp; reason: string }[] = [
  { pattern: /NMI watchdog: (?:Enabled|disabled|Perf )/, reason: 'only says whether the watchdog runs' },
  { pattern: /rcu: INFO: .* expedited stalls on CPUs\/tasks: \{ \}/, reason: 'an expedited stall that had ended when it was printed' },
  { pattern: /WARNING: .*mitigations/i, reason: 'the guest runs without mitigations on purpose' },
  { pattern: /SLUB: HWalign=/, reason: 'the allocator introduces itself' },
]

export interface Complaint {
  /** Which kind of complaint. */
  name: string
  /** Index of the line in what was scanned. */
  index: number
  line: string
}

/** Lines shown from the one that complains: an RCU stall has the trace of the processor that hangs after two others. */
const CONTEXT = 60

/** @param lines of a kernel log @returns every line that should not be there */
export function scanKernelLog(lines: readonly string[]): Complaint[] {
  return lines.flatMap((line, index) => {
    const name = isRestOfRace(lines, index) ? OF_RACES : DENIED.find(({ pattern }) => pattern.test(line))?.name
    if (name === undefined || ALLOWED.some(({ pattern }) => pattern.test(line)) || isForeignRace(lines, index)) return []
    return [{ name, index, line }]
  })
}

/** Reports of the Kernel Concurrency Sanitizer (kernel/kcsan/report.c): what a line has that begins one, one near its end, and the one that ends it. */
const OF_RACES = 'KCSAN'
const RACE = /\bKCSAN: (.*)/
const RACE_REPORTED = /\bReported by Kernel Concurrency Sanitizer/
const RACE_END = /={40}$/
/** What is between the functions of a title. */
const TWO_SIDES = ' / '
/** What stands before the stack of each side. */
const SIDE = / by (?:task \d+|interrupt) on cpu \d+:$/
/** A line of a stack: a function, and how far into it, and the module that it is of. */
const FRAME = /\s[\w.]+\+0x[\da-f]+\/0x[\da-f]+/
/** One of ours has to be on one of the sides of a race. */
const OUR_FRAME = /\s_*ip_vs_\S*\+0x[\da-f]+\/0x|\+0x[\da-f]+\/0x[\da-f]+ \[(?:ip_vs|xt_ipvs)/
/** The same in the line that begins a report, where functions have no offsets. */
const OUR_NAME = /\s_*ip_vs_|\[(?:ip_vs|xt_ipvs)/
/** The driver of the lab's network cards races with itself as it sends. With IPVS on one side that is by whom it was called. */
const WITHIN_DRIVER = /^data-race in \S+ \[e1000e\] \/ \S+ \[e1000e\]$/

/** A report of a data race. */
interface Race {
  /** What KCSAN calls it. */
  title: string
  /** What follows; nothing if it does not end. */
  body: readonly string[]
}

function raceAt(lines: readonly string[], index: number): Race | undefined {
  const title = RACE.exec(lines[index] ?? '')?.[1]
  if (title === undefined) return undefined
  const rest = lines.slice(index + 1)
  return { title, body: rest.slice(0, rest.findIndex((line) => RACE_END.test(line)) + 1) }
}

/** @returns whether all of a report is there: whoever reads the log too late has lost lines of it, and what is there says nothing of them */
function isWhole({ title, body }: Race): boolean {
  const tops = body.flatMap((line, index) => (SIDE.test(line) ? [body[index + 1] ?? ''] : []))
  return tops.length === (title.includes(TWO_SIDES) ? 2 : 1) && tops.every((line) => FRAME.test(line)) && body.some((line) => RACE_REPORTED.test(line))
}

/** @returns whether a line begins the whole report of a data race which is none of IPVS: the kernel has many that are known and do no harm */
function isForeignRace(lines: readonly string[], index: number): boolean {
  const race = raceAt(lines, index)
  if (race === undefined || OUR_NAME.test(race.title) || !isWhole(race)) return false
  const ours = race.body.map((line) => OUR_FRAME.test(line))
  const second = race.body.findLastIndex((line) => SIDE.test(line))
  const oneSide = !ours.slice(0, second).includes(true) || !ours.slice(second).includes(true)
  return WITHIN_DRIVER.test(race.title) ? oneSide : !ours.includes(true)
}

/** @returns whether a line is near the end of a report whose beginning is lost */
function isRestOfRace(lines: readonly string[], index: number): boolean {
  if (!RACE_REPORTED.test(lines[index] ?? '')) return false
  return !RACE.test(lines.slice(0, index).findLast((line) => RACE.test(line) || RACE_REPORTED.test(line)) ?? '')
}

/** Data races of the kernel alone that have one title. */
export interface ForeignRace {
  title: string
  times: number
  /** Whether only one side is known of it. */
  unknownOrigin: boolean
  /** The first of the reports. */
  report: readonly string[]
}

/** @returns the races that {@link scanKernelLog} does not complain of */
export const foreignRaces = (lines: readonly string[]): ForeignRace[] =>
  mergeRaces(lines.flatMap((line, index) => {
    const race = isForeignRace(lines, index) ? raceAt(lines, index) : undefined
    return race ? [{ title: race.title, times: 1, unknownOrigin: !race.title.includes(TWO_SIDES), report: [line, ...race.body] }] : []
  }))

/** @returns one for each title, in the order of the titles */
export function mergeRaces(races: readonly ForeignRace[]): ForeignRace[] {
  const kinds = new Map<string, ForeignRace>()
  for (const race of races) kinds.set(race.title, { ...(kinds.get(race.title) ?? race), times: (kinds.get(race.title)?.times ?? 0) + race.times })
  return [...kinds.values()].sort((one, other) => (one.title < other.title ? -1 : 1))
}

/** More lines than a report has: two stacks of 64 and what is between them. Longer, it has lost its end. */
const RACE_LINES = 200

/** The log of a machine's whole life, of which every line is looked at once. */
export class LogReader {
  private read = 0

  constructor(private readonly log: { readonly lines: readonly string[] }) {}

  /** @returns the lines that have come since the last time; a report that has begun and may still go on is left for the next time */
  next(): string[] {
    const lines = this.log.lines.slice(this.read)
    const last = lines.findLastIndex((line) => RACE.test(line))
    const goesOn = last >= 0 && lines.length - last < RACE_LINES && raceAt(lines, last)?.body.length === 0
    return this.take(goesOn ? last : lines.length)
  }

  /** @returns the lines that have come since the last time, of a machine that says no more */
  rest(): string[] {
    return this.take(this.log.lines.length - this.read)
  }

  private take(count: number): string[] {
    const from = this.read
    this.read += count
    return this.log.lines.slice(from, this.read)
  }
}

/** What the kernel says of KCSAN when it boots (kernel/kcsan/core.c, selftest.c). */
const RACES_WATCHED = /\bkcsan: enabled early/
const RACES_FOUND = /\bkcsan: selftest: (\d+)\/\1 tests passed/

/** @throws Failure of kind `environment` when these lines of a boot do not say that data races are watched for: none would be found */
export function requireRaceWatch(lines: readonly string[]): void {
  const missing = [RACES_WATCHED, RACES_FOUND].filter((pattern) => !lines.some((line) => pattern.test(line)))
  if (missing.length > 0) throw new Failure('environment', `The kernel does not watch for data races: it has not said ${missing.map(({ source }) => source).join(' and ')}.`)
}

/** @returns the complaint and the lines after it, for a report; of a data race, its report */
export function explain(complaint: Complaint, lines: readonly string[]): string {
  return linesOf(complaint, lines).join('\n')
}

function linesOf({ index }: Complaint, lines: readonly string[]): readonly string[] {
  const length = raceAt(lines, index)?.body.length || CONTEXT - 1
  return lines.slice(index, index + 1 + length)
}

/**
 * @returns the first complaint of each kind with the lines after it, and how many there are: one may have come of the one before it, or not.
 *   Each data race is a kind; nothing when there is no complaint
 */
export function describeComplaints(lines: readonly string[]): string | undefined {
  const complaints = scanKernelLog(lines)
  const kinds = new Set<string>()
  let shown = 0
  const told = complaints.flatMap((complaint) => {
    const kind = raceAt(lines, complaint.index)?.title ?? complaint.name
    if (complaint.index < shown || kinds.has(kind)) return []
    kinds.add(kind)
    shown = complaint.index + linesOf(complaint, lines).length
    return [`the kernel complained (${complaint.name}):\n${explain(complaint, lines)}`]
  })
  const more = complaints.length - told.length
  return told.length === 0 ? undefined : [...told, ...(more > 0 ? [`and ${more} lines more`] : [])].join('\n')
}
