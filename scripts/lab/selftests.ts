// SPDX-License-Identifier: GPL-2.0-only
/** Runs the kernel's own tests of IPVS and netfilter on a kernel with SNAT, each in a machine of its own, and keeps what they say. */

import { createReadStream, createWriteStream, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { junit, type TestResult } from '../../test/e2e/lib/junit.ts'
import { type ForeignRace, foreignRaces, mergeRaces } from '../../test/e2e/lib/klog.ts'
import { forgetLeaks, requireNoLeaks } from '../../test/e2e/lib/leaks.ts'
import { keepCounters, requireWatched } from '../../test/e2e/lib/races.ts'
import { mark } from '../../test/e2e/lib/mark.ts'
import { checkLog } from '../../test/e2e/lib/run.ts'
import type { Outcome } from '../../vm/guest/agent.ts'
import type { Image } from '../../vm/guest/image.ts'
import { Machine } from '../../vm/qemu/machine.ts'
import { withRuntimeFolder } from '../../vm/runtime.ts'
import { Failure } from '../base/errors.ts'
import { newResults } from '../base/files.ts'
import { Git } from '../base/git.ts'
import { green, log, red } from '../base/log.ts'
import { requireUninterrupted } from '../base/run.ts'
import { withRun } from '../build/checkouts.ts'
import type { Context } from '../build/context.ts'
import { bring, type Step } from '../build/step.ts'
import { writeEvidence } from '../steps/all.ts'
import { step as patch } from '../steps/patch.ts'
import { PROGRAMS, step as userland, USERLAND, userlandArchive } from '../steps/userland.ts'
import { bringGuest, isQuick, testedRevision, testedStep, type Guest } from './guest.ts'
import { tellRaces } from './races.ts'
import { FOLDERS, LEFT_OUT, LIBRARIES, MODULES, type Selftest, SELFTESTS } from './selftest-scripts.ts'

/** What has to be there: the kernel in a package or a distribution's own, the scripts, and the programs that they call. */
export const selftestsStep = (context: Context): Step =>
  ({ name: 'selftests', scope: 'variant', needs: [testedStep(context), patch, userland], code: [], inputs: () => null, outputs: () => [], run: async () => ({}) })

/** A test that this kernel has. */
export interface Chosen extends Omit<Selftest, 'scripts' | 'only'> {
  script: string
  /** What results call it. */
  name: string
}

/** A machine that was booted for one test. */
export interface Tester {
  /** Runs a shell script. @param limit milliseconds @throws Failure of kind `lostVm` when no answer comes in time */
  run: (script: string, limit: number) => Promise<Outcome>
  /** @returns what its kernel has said since it was booted @throws Failure of kind `test` when that does not arrive */
  said: () => Promise<readonly string[]>
  /** @throws Error when memory has leaked, so far as its kernel tells of that */
  requireNoLeaks: () => Promise<void>
  stop: () => Promise<void>
}

/** @param logs folder for what the machine leaves @throws Failure of kind `lostVm` when it does not boot */
export type Boot = (logs: string) => Promise<Tester>

export interface Counts {
  passed: number
  failed: number
}

/** Of what the kernel's runner of selftests calls skipped (tools/testing/selftests/kselftest.h). */
const SKIPPED = 4
/** Seconds of the machine's own clock, as in the file `settings` of the newer folder. */
const LIMIT_S = 1800
/** After which a script that does not obey is killed. */
const KILL_S = 60
/** Of `timeout`: the second of a script that it has killed. */
const TIMED_OUT: readonly number[] = [124, 128 + 9]
/** Without KVM the machine's clock is slower than ours. */
const LIMIT_MS = 2 * LIMIT_S * 1000
const SETUP_LIMIT_MS = 300_000
/** After so many machines a kernel that does not bear them has shown it. */
const MAX_LOST = 3

const JUNIT = 'junit.xml'
const SUITE = 'selftests'
/** Results of edits that are not packaged prove nothing of the packages, and have a folder of their own. */
const resultsFolder = (context: Context): string => join(context.paths.dist, isQuick(context) ? 'selftests.quick' : 'selftests')

/**
 * @param folder of the scripts, below that of all selftests
 * @param names of the scripts that the kernel has there
 * @param only words of the names that are wanted, separated by commas
 * @throws Failure of kind `usage` when one of them chooses none, `test` when the kernel lacks a script that is required
 */
export function chosenSelftests(folder: string, names: readonly string[], only?: string): Chosen[] {
  const words = only?.split(',').map((word) => word.trim()).filter(Boolean) ?? []
  const here = SELFTESTS.filter((test) => test.only === undefined || test.only === folder)
  const all = here.flatMap(({ scripts, only: _only, ...test }): Chosen[] => {
    const script = scripts.find((name) => names.includes(name))
    if (script === undefined && test.required) throw new Failure('test', `The kernel has no ${scripts.join(' or ')}, which has to be run.`)
    return script === undefined ? [] : [{ ...test, script, name: `${script}${test.beside ? ' beside SNAT' : ''}` }]
  })
  const idle = words.filter((word) => !all.some(({ name }) => name.includes(word)))
  if (idle.length > 0) throw new Failure('usage', `No selftest has a name with "${idle.join('" or "')}" in it.`, { hint: `There are: ${all.map(({ name }) => name).join(', ')}` })
  return all.filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)))
}

/** @returns scripts that nothing is known of here */
export const unknownScripts = (names: readonly string[]): string[] =>
  names.filter((name) => !(name in LEFT_OUT) && !SELFTESTS.some(({ scripts }) => scripts.includes(name)))

const SELFTESTS_FOLDER = 'tools/testing/selftests'

/** Where the scripts are: below the kernel's source, and the same in the machine. */
interface Scripts {
  folder: string
  names: string[]
  /** Path in the machine, path here. */
  files: Map<string, string>
}

/** @throws Failure of kind `usage` when the kernel has none, as 2.6.32 */
function findScripts({ paths, target }: Context): Scripts {
  const below = join(paths.tree, SELFTESTS_FOLDER)
  const folder = FOLDERS.find((name) => existsSync(join(below, name)))
  if (folder === undefined) throw new Failure('usage', `The kernel of TARGET=${target.name} has no selftests of netfilter.`)
  const names = readdirSync(join(below, folder)).filter((name) => name.endsWith('.sh')).sort()
  const read = [...names.map((name) => `${folder}/${name}`), ...LIBRARIES.filter((name) => existsSync(join(below, name)))]
  return { folder, names, files: new Map(read.map((name) => [`/${USERLAND}${IN_MACHINE}/${name}`, join(below, name)])) }
}

/** Folder of the scripts in the machine's Debian. */
const IN_MACHINE = '/selftests'

/**
 * Runs what ONLY chooses of the kernel's own tests.
 *
 * @throws Failure of kind `usage` when there are none or ONLY chooses none, `test` when one fails or none passes,
 *   `lostVm` when a machine is lost, `environment` when they run already in this checkout
 */
export async function runSelftests(context: Context): Promise<Counts> {
  requireDebian(context)
  const scripts = await beforeTests(context, [], async () => {
    await bring(context, selftestsStep(context))
    return findScripts(context)
  })
  const tests = chosenSelftests(scripts.folder, scripts.names, context.variables.ONLY)
  for (const name of unknownScripts(scripts.names)) log.warn(`${name} is run by nobody: scripts/lab/selftest-scripts.ts does not know it.`)
  const guest = await beforeTests(context, tests, () => bringGuest(context, { modules: MODULES, files: scripts.files }))
  return withRun(context, 'selftests', async () => {
    await startResults(context, tests)
    return withImage(context, guest, (booted) => withRuntimeFolder((sockets) => runIn(context, tests, scripts.folder, machines(context, booted, sockets))))
  })
}

/**
 * Does what the tests depend on. If that fails, the results say that they were not run, and why; those of an earlier
 * run are put aside, because they would be taken for this one's.
 *
 * @param tests so far as they are known
 * @throws what `prepare` throws
 */
export async function beforeTests<T>(context: Context, tests: readonly Chosen[], prepare: () => Promise<T>): Promise<T> {
  // After an interrupt no program is run any more, git neither.
  const properties = await propertiesOf(context)
  try {
    return await prepare()
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    // The results of a run that is under way are not ours to remove.
    await withRun(context, 'selftests', async () => {
      await startResults(context, tests, reason, properties)
    }).catch((other: unknown) => log.warn(other instanceof Error ? other.message : String(other)))
    throw error
  }
}

type Properties = Readonly<Record<string, string>>

/** What the report says of what was tested. */
async function propertiesOf(context: Context): Promise<Properties> {
  const { commit, dirty, tested } = await testedRevision(context)
  const { ONLY } = context.variables
  return { commit: commit ?? 'unknown', dirty: String(dirty), tested, ...(ONLY ? { only: ONLY } : {}), ...(await scriptsOf(context)) }
}

/** The scripts are run as they are in the work tree of the kernel's source, of which `dirty` says nothing. */
async function scriptsOf({ paths }: Context): Promise<Properties> {
  if (!existsSync(join(paths.tree, '.git'))) return {}
  const edits = await new Git(paths.tree).lines('status', '--porcelain', '--', SELFTESTS_FOLDER)
  return { scripts: edits.length > 0 ? 'edited' : 'as in the commit of the work tree' }
}

interface Results {
  folder: string
  write: (done: readonly TestResult[]) => void
}

/** Makes an empty folder of results, which say that nothing was run; they stay if this process is killed. */
async function startResults(context: Context, tests: readonly Chosen[], reason = ENDED, known?: Properties): Promise<Results> {
  const properties = known ?? (await propertiesOf(context))
  const folder = newResults(resultsFolder(context))
  const write = (done: readonly TestResult[]) => writeFileSync(join(folder, JUNIT), junit(context.variant, withNotRun(tests, done, reason), properties))
  write([])
  return { folder, write }
}

/** @throws Failure of kind `usage` before anything is built for a kernel line that no Debian is of, whose sources have no tests of netfilter either */
function requireDebian({ target }: Context): void {
  if (!target.stock) throw new Failure('usage', `The kernel of TARGET=${target.name} has no tests of netfilter, and there is no Debian for it.`)
}

/** Has an image that Debian is part of: the kernel unpacks archives that follow one another (Documentation/driver-api/early-userspace/buffer-format.rst). */
async function withImage<T>(context: Context, { image, accelerator }: Guest, work: (guest: Guest) => Promise<T>): Promise<T> {
  const initrd = join(context.paths.work, `selftests-${context.variant}.cpio`)
  try {
    for (const [part, flags] of [[image.initrd, 'w'], [userlandArchive(context), 'a']] as const) {
      await pipeline(createReadStream(part), createWriteStream(initrd, { flags }))
    }
    return await work({ image: { ...image, initrd } satisfies Image, accelerator })
  } finally {
    rmSync(initrd, { force: true })
  }
}

/** The Debian, and all that it holds of the archive, once more as files. */
const MEMORY_MEGABYTES = 768

/**
 * Without KVM, the clock of a machine counts its instructions: scripts give a server a fifth of a second to listen,
 * which is enough on a computer and no time on one that emulates another, and does much else.
 */
function machines(context: Context, { image, accelerator }: Guest, sockets: string): Boot {
  const lab = context.flavour?.lab
  // Processors that run at once have no clock of that kind.
  const counted = accelerator === 'tcg' && lab?.parallel !== true
  return async (logs) => {
    const machine = await Machine.start({
      ...lab, name: 'guest', image, accelerator, cards: [], sockets, logs,
      cpus: counted ? 1 : 2,
      instructionClock: counted,
      memoryMegabytes: (lab?.memoryMegabytes ?? 0) + MEMORY_MEGABYTES,
      bootLimit: SETUP_LIMIT_MS,
    })
    try {
      if (lab?.findsRaces) await requireWatched(machine)
      if (lab?.findsLeaks) await forgetLeaks({ gateway: machine })
    } catch (error) {
      await machine.stop()
      throw error
    }
    return {
      run: async (script, limit) => machine.run(script, limit),
      said: async () => {
        if (lab?.findsRaces) await keepCounters(machine, join(logs, 'kcsan'))
        await mark({ gateway: machine }, 'the end')
        return machine.klog.lines
      },
      requireNoLeaks: async () => {
        if (lab?.findsLeaks) await requireNoLeaks({ gateway: machine })
      },
      stop: async () => machine.stop(),
    }
  }
}

/** In Debian, before everything else that is on its PATH. */
const WRAPPER = '/usr/local/bin/ip'
const SETUP_OF_NAMESPACES = '/etc/beside'
/** Where the wrapper writes the namespaces that it has set up. */
const NAMESPACES = '/run/beside'

/** Addresses for documentation (RFC 5737), which no script has. A zone without an address would drop; this one translates what never comes. */
const SETUP_OF_NAMESPACE = `-A -t 192.0.2.1:9 -s rr
-K --zone 192.0.2.128/25
-U --zone 192.0.2.128/25 -z 192.0.2.2
`

/**
 * @param ip the real one
 * @param commands file that ipvsadm -R takes
 * @param list file to which the name of each namespace is added; one with `.failed` behind its name has those that could not be set up
 * @returns an `ip` whose `netns add NAME` sets the new namespace up, or fails
 */
export const wrapperScript = (ip: string, commands: string, list: string): string => `#!/bin/sh
[ "$1 $2" = "netns add" ] || exec ${ip} "$@"
${ip} "$@" || exit
${ip} netns exec "$3" ipvsadm -R <${commands} && { echo "$3" >>${list}; exit; }
# To the script it is a namespace that cannot be made, which it may skip its tests for.
echo "$3" >>${list}.failed
exit 1
`

/**
 * What turns the machine's first folder into a Debian: `ip netns exec` makes / a mount that hears of others, which a folder
 * that is nothing but the root of a process cannot be.
 */
const SET_UP = `set -e
# As every udev makes them.
ln -sf /proc/self/fd /dev/fd
ln -sf fd/0 /dev/stdin
ln -sf fd/1 /dev/stdout
ln -sf fd/2 /dev/stderr
mount --bind /${USERLAND} /${USERLAND}
for folder in proc sys dev; do mount --rbind /$folder /${USERLAND}/$folder; done
mkdir -p /${USERLAND}/usr/lib/modules
mount --bind /lib/modules /${USERLAND}/usr/lib/modules
mount -t tmpfs tmpfs /${USERLAND}/tmp
mount -t tmpfs tmpfs /${USERLAND}/run
cp /usr/sbin/ipvsadm /${USERLAND}/usr/sbin/ipvsadm
for program in ${PROGRAMS.join(' ')}; do
  chroot /${USERLAND} /usr/bin/env PATH=/usr/sbin:/usr/bin /bin/sh -c "command -v $program" >/dev/null || { echo "there is no $program"; exit 1; }
done
# By its path: a busybox may prefer what it has itself.
chroot /${USERLAND} /usr/sbin/depmod
modprobe ip_vs`

const SET_UP_BESIDE = `
cat >/${USERLAND}${SETUP_OF_NAMESPACES} <<'END'
${SETUP_OF_NAMESPACE}END
cat >/${USERLAND}${WRAPPER} <<'END'
${wrapperScript('/usr/sbin/ip', SETUP_OF_NAMESPACES, NAMESPACES)}END
chmod 755 /${USERLAND}${WRAPPER}`

/** @returns a script that sets a machine up for a test */
export const setUpScript = ({ beside }: Pick<Chosen, 'beside'>): string => `${SET_UP}${beside ? SET_UP_BESIDE : ''}`

/**
 * @param folder of the scripts, below that of all selftests
 * @returns a script that runs one as the kernel's own runner does, in its folder; the console has what it says, should the machine be lost
 */
export const testScript = ({ script }: Pick<Chosen, 'script'>, folder: string): string => `
said=/run/said
: >$said
tail -f $said >/dev/console &
teller=$!
chroot /${USERLAND} /usr/bin/env -i HOME=/root LANG=C PATH=/usr/local/bin:/usr/sbin:/usr/bin KSFT_MACHINE_SLOW=yes \\
  /bin/bash -c 'cd ${IN_MACHINE}/${folder} && exec timeout --foreground --kill-after=${KILL_S} ${LIMIT_S} ./${script}' >$said 2>&1
status=$?
kill $teller
cat $said
exit $status`

/** Tells how many namespaces the wrapper has set up, and the names of those that it could not. */
export const COUNT_NAMESPACES = `cat /${USERLAND}${NAMESPACES} 2>/dev/null | wc -l
cat /${USERLAND}${NAMESPACES}.failed 2>/dev/null
true`

/** Tenths of a second: TCP connections without a process keep their namespace until it gives them up, minutes after their other end has gone. */
const TIDY_TENTHS = 2400

/**
 * Takes away what a script has left, and IPVS: what goes wrong when namespaces and modules go would be seen by nobody.
 * `ip netns del` only asks for it; a module goes when the last namespace with a service has gone.
 */
export const TIDY_UP = `
for root in /proc/[0-9]*/root; do
  pid=\${root%/root}
  [ "$(readlink $root)" != /${USERLAND} ] || kill -9 \${pid#/proc/}
done
for name in $(ls /${USERLAND}/run/netns 2>/dev/null); do chroot /${USERLAND} /usr/sbin/ip netns del $name; done
ipvsadm -C
for round in $(seq ${TIDY_TENTHS}); do
  for module in $(awk '/^(ip_vs|xt_ipvs)/ { print $1 }' /proc/modules); do rmmod $module 2>/dev/null; done
  grep -q '^ip_vs ' /proc/modules || exit 0
  usleep 100000
done
echo 'the ip_vs module cannot be unloaded:'
grep ip_vs /proc/modules
exit 1`

/** What the tests of a run have in common. */
interface Run {
  /** Of the scripts, below that of all selftests. */
  folder: string
  /** Milliseconds that a script may take. */
  limit: number
  boot: Boot
  /** Why machines were lost. */
  lost: Failure[]
  races: ForeignRace[]
}

/** @param folder of the scripts, below that of all selftests */
export async function runIn(context: Context, tests: readonly Chosen[], folder: string, boot: Boot): Promise<Counts> {
  const results = await startResults(context, tests)
  // The limit is that of the machine's own clock, whatever its kernel watches.
  const run: Run = { folder, limit: LIMIT_MS / (context.flavour?.lab?.patience ?? 1), boot, lost: [], races: [] }
  const done: TestResult[] = []
  for (const test of tests) {
    if (run.lost.length >= MAX_LOST) break
    log.step('selftests', `${test.name}: ${test.why}`)
    const result = await runOne(test, run, join(results.folder, test.name.replaceAll(' ', '-')))
    done.push(result)
    results.write(done)
    print(result)
  }
  tellRaces(run.races, results.folder)
  if (!isQuick(context)) await writeEvidence(context)
  return conclude(withNotRun(tests, done, ENDED), results.folder, run.lost)
}

async function runOne(test: Chosen, run: Run, logs: string): Promise<TestResult> {
  const start = Date.now()
  const result = (judged: Judged): TestResult => ({ suite: SUITE, name: test.name, seconds: (Date.now() - start) / 1000, ...judged })
  mkdirSync(logs, { recursive: true })
  try {
    return result(await inMachine(test, run, logs, await run.boot(logs)))
  } catch (error) {
    requireUninterrupted()
    if (!(error instanceof Failure) || !OF_ONE_TEST.includes(error.kind)) throw error
    if (error.kind === 'lostVm') run.lost.push(error)
    return result({ outcome: 'failed', message: [error.message, ...(error.details.excerpt ?? [])].join('\n') })
  }
}

/** What keeps no other test from being run. */
const OF_ONE_TEST: readonly Failure['kind'][] = ['lostVm', 'test']

type Judged = Pick<TestResult, 'outcome' | 'message' | 'output'>

async function inMachine(test: Chosen, run: Run, logs: string, machine: Tester): Promise<Judged> {
  try {
    const setUp = await machine.run(setUpScript(test), SETUP_LIMIT_MS)
    if (setUp.status !== 0) return { outcome: 'failed', message: `the machine could not be set up: ${setUp.output}` }
    const outcome = await machine.run(testScript(test, run.folder), run.limit)
    writeFileSync(join(logs, 'output'), outcome.output)
    const judged = judge(test, outcome)
    const wrong = await afterwards(test, judged, run, machine)
    return wrong.length === 0 ? judged : { ...judged, outcome: 'failed', message: [judged.message, ...wrong].filter((text) => text !== undefined).join('\n') }
  } finally {
    await machine.stop()
  }
}

/** @returns what is wrong with the machine after a test, whatever its own end */
async function afterwards(test: Chosen, { outcome }: Judged, run: Run, machine: Tester): Promise<string[]> {
  const checks = [
    async () => test.beside && requireNamespaces(machine, outcome),
    async () => tidyUp(machine),
    async () => {
      const said = await machine.said()
      run.races = mergeRaces([...run.races, ...foreignRaces(said)])
      checkLog(said)
    },
    async () => machine.requireNoLeaks(),
  ]
  const wrong: string[] = []
  for (const check of checks) {
    try {
      await check()
    } catch (error) {
      if (error instanceof Failure && error.kind !== 'test') throw error
      wrong.push((error as Error).message)
    }
  }
  return wrong
}

/** @throws Error when a namespace could not get IPVS, or a test that has passed had none in which it was beside it, so that it has shown nothing */
async function requireNamespaces(machine: Tester, outcome: Judged['outcome']): Promise<void> {
  const { output } = await machine.run(COUNT_NAMESPACES, SETUP_LIMIT_MS)
  const [count, ...failed] = output.trim().split('\n')
  if (failed.length > 0) throw new Error(`network namespaces could not be set up with IPVS: ${failed.join(', ')}`)
  if (outcome === 'passed' && !(Number(count) > 0)) throw new Error(`no network namespace was set up with IPVS: ${count}`)
}

/** @throws Error when IPVS stays */
async function tidyUp(machine: Tester): Promise<void> {
  const { status, output } = await machine.run(TIDY_UP, SETUP_LIMIT_MS)
  if (status !== 0) throw new Error(output.trim())
}

/** What a script says in one of its words for it: the scripts write SKIP, skip and SKIPPED. */
const skips = (output: string): string[] => linesWith(/\bskip/i, output)
/** Some scripts tell of a part that has failed, and end as if it had not: nft_flowtable.sh of 6.1 where AES takes its time. */
const notes = (output: string): string[] => linesWith(/\bskip|\bFAIL\b/i, output)
const linesWith = (pattern: RegExp, output: string): string[] => output.split('\n').filter((line) => pattern.test(line)).map((line) => line.trim())

const SHOWN_LINES = 15
const lastLines = (output: string): string => output.trimEnd().split('\n').slice(-SHOWN_LINES).join('\n')

/** Some end with 0 after a part of theirs has failed: nft_synproxy.sh takes the status of its own `echo`. */
const FAILS = /^(?:FAIL|ERROR)\b/
/** ipvs.sh has what makes colours before it. */
const PASSES = /PASS|\bOK\b/

/** @returns what the end of a script means; of one that has passed, what it says of parts that have not */
export function judge({ tolerated }: Pick<Chosen, 'tolerated'>, { status, output }: Outcome): Judged {
  const failed = (message: string): Judged => ({ outcome: 'failed', message })
  if (TIMED_OUT.includes(status)) return failed(`not done within ${LIMIT_S} s\n${lastLines(output)}`)
  if (status !== 0 && status !== SKIPPED) return failed(`status ${status}\n${lastLines(output)}`)
  const broken = linesWith(FAILS, output).filter((line) => !tolerated?.test(line))
  if (broken.length > 0) return failed(`status ${status}, and it has said:\n${broken.join('\n')}`)
  if (status === SKIPPED) return failed(`it was skipped, and has to run: ${skips(output).at(-1) ?? lastLines(output)}`)
  if (!PASSES.test(output)) return failed(`it has said of nothing that it passed\n${lastLines(output)}`.trim())
  const told = notes(output)
  return { outcome: 'passed', ...(told.length === 0 ? {} : { output: `it has said: ${told.join('; ')}` }) }
}

function print({ outcome, name, seconds, message, output }: TestResult): void {
  const more = message ?? output
  process.stdout.write(`${outcome === 'passed' ? green('ok') : red('FAIL')} ${name} (${seconds.toFixed(0)} s)${more === undefined ? '' : `\n  ${more.replaceAll('\n', '\n  ')}`}\n`)
}

const ENDED = 'the run was ended'
/** In place of tests that are not known yet. */
const WHOLE = { name: 'the run as a whole' }

/** @returns results of all tests: those that there are, and that the others were not run */
function withNotRun(tests: readonly Chosen[], done: readonly TestResult[], reason: string): TestResult[] {
  return (tests.length > 0 ? tests : [WHOLE]).map(({ name }) => done.find((one) => one.name === name) ?? { suite: SUITE, name, seconds: 0, outcome: 'not run', message: reason })
}

function conclude(all: readonly TestResult[], results: string, lost: readonly Failure[]): Counts {
  const passed = all.filter(({ outcome }) => outcome === 'passed').length
  const counts = { passed, failed: all.length - passed }
  log.info(`results are in ${results}`)
  if (counts.failed === 0) return counts
  process.stdout.write(`${describe(counts)}\n`)
  const [first] = lost
  if (first) throw new Failure('lostVm', `${counts.failed} selftests failed; a virtual machine was lost ${lost.length} times. First: ${first.message}`, { log: join(results, JUNIT) })
  throw new Failure('test', `${counts.failed} selftests failed.`, { log: join(results, JUNIT) })
}

export const describe = ({ passed, failed }: Counts): string => `${passed} passed, ${failed} failed`
