// SPDX-License-Identifier: GPL-2.0-only
import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Failure } from '../../scripts/base/errors.ts'
import { bring } from '../../scripts/build/step.ts'
import { LEFT_OUT, SELFTESTS } from '../../scripts/lab/selftest-scripts.ts'
import { beforeTests, type Boot, type Chosen, chosenSelftests, COUNT_NAMESPACES, judge, runIn, setUpScript, type Tester, testScript, TIDY_UP, unknownScripts, wrapperScript } from '../../scripts/lab/selftests.ts'
import type { Outcome } from '../../vm/guest/agent.ts'
import { suiteList } from '../../scripts/source/apt.ts'
import { step as patch } from '../../scripts/steps/patch.ts'
import { step as userland, userlandArchive } from '../../scripts/steps/userland.ts'
import { createFixture, fails, printed, read } from './fixture.ts'

/** What the kernels have, as `ls` lists it. */
const OF_6_1 = ['bridge_brouter.sh', 'ipip-conntrack-mtu.sh', 'ipvs.sh', 'nft_nat.sh']
const OF_6_12 = ['conntrack_ipip_mtu.sh', 'ipvs.sh', 'lib.sh', 'nft_nat.sh']

test('every script is either run or left out, with a reason that can be read', (t) => {
  const run = SELFTESTS.flatMap(({ scripts, beside }) => scripts.map((script) => `${script} ${beside}`))
  t.is(new Set(run).size, run.length)
  for (const { scripts, why } of SELFTESTS) {
    t.true(why.length > 20, why)
    for (const script of scripts) t.false(script in LEFT_OUT, script)
  }
  for (const [script, why] of Object.entries(LEFT_OUT)) t.true(why.length > 10, script)
})

test('a kernel has its scripts, by the name that it calls them', (t) => {
  const names = (scripts: string[], only?: string, folder = 'netfilter') => chosenSelftests(folder, scripts, only).map(({ name }) => name)
  t.deepEqual(names(OF_6_1), ['ipvs.sh', 'ipvs.sh beside SNAT', 'nft_nat.sh beside SNAT', 'ipip-conntrack-mtu.sh beside SNAT'])
  t.deepEqual(names(OF_6_12, 'mtu, nft_'), ['nft_nat.sh beside SNAT', 'conntrack_ipip_mtu.sh beside SNAT'])
  const helper = ['nft_conntrack_helper.sh', 'ipvs.sh']
  t.deepEqual(names(helper, 'helper', 'net/netfilter'), ['nft_conntrack_helper.sh beside SNAT'])
  t.false(names(helper).includes('nft_conntrack_helper.sh beside SNAT'), 'it may wait for ever')
  const error = t.throws(() => chosenSelftests('netfilter', OF_6_1, 'nothing'), { instanceOf: Failure })
  t.is(error.kind, 'usage')
  t.regex(error.details.hint ?? '', /ipvs\.sh beside SNAT/)
})

test('a word that chooses nothing is told of, whatever the others choose', (t) => {
  const error = t.throws(() => chosenSelftests('netfilter', OF_6_1, 'nft_nat,nft_synproxi'), { instanceOf: Failure })
  t.is(error.message, 'No selftest has a name with "nft_synproxi" in it.')
})

test('a kernel without the test of IPVS has failed it', (t) => {
  const error = t.throws(() => chosenSelftests('netfilter', ['nft_nat.sh']), { instanceOf: Failure })
  t.is(error.kind, 'test')
  t.is(error.message, 'The kernel has no ipvs.sh, which has to be run.')
})

test('a script that is new in a kernel is told of', (t) => {
  t.deepEqual(unknownScripts([...OF_6_1, ...OF_6_12]), [])
  t.deepEqual(unknownScripts(['ipvs.sh', 'nft_later.sh']), ['nft_later.sh'])
})

test('what the end of a script means', (t) => {
  const outcome = (status: number, output = '') => judge({}, { status, output })
  t.deepEqual(outcome(0, 'PASS: all\n'), { outcome: 'passed' })
  t.deepEqual(outcome(0, 'ipvs.sh: \u001b[0;92mPASS\u001b[0m\n'), { outcome: 'passed' })
  t.deepEqual(outcome(0, 'OK: PMTU without connection tracking\nSKIP: no IPv6\nskipped two\n'), { outcome: 'passed', output: 'it has said: SKIP: no IPv6; skipped two' })
  t.deepEqual(outcome(4, 'PASS: one\nSKIP: no nft\n'), { outcome: 'failed', message: 'it was skipped, and has to run: SKIP: no nft' })
  t.deepEqual(outcome(4, 'skip: no ipvs module\n'), { outcome: 'failed', message: 'it was skipped, and has to run: skip: no ipvs module' })
  t.deepEqual(outcome(1, 'FAIL: it leaks\n'), { outcome: 'failed', message: 'status 1\nFAIL: it leaks' })
  for (const status of [124, 137]) t.regex(outcome(status, 'PASS: one\n').message ?? '', /^not done within 1800 s\nPASS: one$/)
  t.is(outcome(127, 'ip: not found').outcome, 'failed')
})

test('a script that says that something has failed has failed, however it ends', (t) => {
  const outcome = (status: number, output: string, more: Pick<Chosen, 'tolerated'> = {}) => judge(more, { status, output })
  t.deepEqual(outcome(0, 'PASS: one\nFAIL: iperf3 returned an error\n'), { outcome: 'failed', message: 'status 0, and it has said:\nFAIL: iperf3 returned an error' })
  t.is(outcome(0, 'ERROR: cannot ping ns1\nPASS: two\n').outcome, 'failed')
  t.is(outcome(4, 'FAIL: one\nSKIP: two\n').message, 'status 4, and it has said:\nFAIL: one')
  t.is(outcome(0, '').message, 'it has said of nothing that it passed')
  const tolerated = /ipsec tunnel mode|file mismatch/
  t.deepEqual(outcome(0, 'PASS: one\nFAIL: file mismatch for ns1 -> ns2\nFAIL: ipsec tunnel mode for ns1/ns2\n', { tolerated }), {
    outcome: 'passed', output: 'it has said: FAIL: file mismatch for ns1 -> ns2; FAIL: ipsec tunnel mode for ns1/ns2',
  })
  t.is(outcome(0, 'PASS: one\nFAIL: file mismatch for ns1 -> ns2\nFAIL: flow offload for ns1/ns2 with NAT\n', { tolerated }).message, 'status 0, and it has said:\nFAIL: flow offload for ns1/ns2 with NAT')
})

test('the scripts of the machine are some that a shell reads', (t) => {
  for (const script of [setUpScript({ beside: false }), setUpScript({ beside: true }), testScript({ script: 'ipvs.sh' }, 'netfilter'), COUNT_NAMESPACES, TIDY_UP]) {
    execFileSync('sh', ['-n'], { input: script })
  }
  t.false(setUpScript({ beside: false }).includes('ipvsadm -R'))
  t.true(setUpScript({ beside: true }).includes('ipvsadm -R'))
  t.true(testScript({ script: 'ipvs.sh' }, 'net/netfilter').includes('cd /selftests/net/netfilter && exec timeout --foreground --kill-after=60 1800 ./ipvs.sh'))
})

test('what a script says is on the console before it has ended, and all of it is the answer', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-said-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  // Waits, as a script does, until its words have got through.
  writeFileSync(join(folder, 'chroot'), `#!/bin/sh\necho PASS: one\nfor try in $(seq 100); do grep -q one ${folder}/console && break; sleep 0.1; done\ngrep -q one ${folder}/console && echo it has come >&2\nexit 4\n`)
  chmodSync(join(folder, 'chroot'), 0o755)
  const script = testScript({ script: 'ipvs.sh' }, 'netfilter').replaceAll('/run/said', join(folder, 'said')).replaceAll('/dev/console', join(folder, 'console'))
  const { status, stdout } = spawnSync('sh', ['-c', script], { env: { PATH: `${folder}:${process.env['PATH']}` }, encoding: 'utf8' })
  t.is(status, 4)
  t.is(stdout, 'PASS: one\nit has come\n')
})

test('a machine that lacks a program is not set up', (t) => {
  const script = setUpScript({ beside: false })
  for (const program of ['ip', 'nft', 'iptables', 'conntrack', 'socat', 'nc', 'iperf3', 'ping', 'ethtool', 'sysctl']) t.regex(script, new RegExp(`^for program in .*\\b${program}\\b`, 'm'))
})

test('what a script has left is killed, and IPVS has to go', (t) => {
  t.true(TIDY_UP.indexOf('kill -9') < TIDY_UP.indexOf('ip netns del') && TIDY_UP.indexOf('ip netns del') < TIDY_UP.indexOf('rmmod'))
  t.regex(TIDY_UP, /the ip_vs module cannot be unloaded:'\ngrep ip_vs \/proc\/modules\nexit 1$/)
})

/** A folder with an `ip` that notes how it is called, and an `ipvsadm`. */
function wrapped(t: ExecutionContext, ipvsadm: string): (...words: string[]) => { status: number | null; called: string; set: string; failed: string } {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-wrapper-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const program = (name: string, text: string) => {
    writeFileSync(join(folder, name), `#!/bin/sh\n${text}`)
    chmodSync(join(folder, name), 0o755)
  }
  program('ip', `echo "$@" >>${folder}/called; if [ "$2" = exec ]; then shift 3; "$@"; fi\n`)
  program('ipvsadm', ipvsadm)
  writeFileSync(join(folder, 'commands'), '-A -t 192.0.2.1:9\n')
  writeFileSync(join(folder, 'wrapper'), wrapperScript(join(folder, 'ip'), join(folder, 'commands'), join(folder, 'set')))
  return (...words) => {
    const { status } = spawnSync('sh', [join(folder, 'wrapper'), ...words], { env: { PATH: `${folder}:${process.env['PATH']}` } })
    return { status, called: read(folder, 'called'), set: existsSync(join(folder, 'set')) ? read(folder, 'set') : '', failed: existsSync(join(folder, 'set.failed')) ? read(folder, 'set.failed') : '' }
  }
}

test('a namespace has IPVS from its beginning, and all else that ip does is as it was', (t) => {
  const ip = wrapped(t, 'grep -q 192.0.2.1 && [ "$1" = -R ]\n')
  t.deepEqual(ip('link', 'show'), { status: 0, called: 'link show\n', set: '', failed: '' })
  t.deepEqual(ip('netns', 'add', 'ns1'), { status: 0, called: 'link show\nnetns add ns1\nnetns exec ns1 ipvsadm -R\n', set: 'ns1\n', failed: '' })
})

test('a namespace that cannot have IPVS is none, and is remembered', (t) => {
  const ip = wrapped(t, 'exit 2\n')
  const { status, set, failed } = ip('netns', 'add', 'ns1')
  t.is(status, 1)
  t.is(set, '')
  t.is(failed, 'ns1\n')
})

const PLAIN: Chosen = { script: 'ipvs.sh', name: 'ipvs.sh', why: 'it is the first', beside: false, required: true }
const BESIDE: Chosen = { script: 'nft_nat.sh', name: 'nft_nat.sh beside SNAT', why: 'it is the second', beside: true, required: false }

/** A machine in which each script ends as told. */
const machine = (ends: Readonly<Record<string, Outcome>>, more: Partial<Tester> = {}): Tester => ({
  run: async (script) => {
    if (script === COUNT_NAMESPACES) return ends['namespaces'] ?? { status: 0, output: '3\n' }
    if (script === TIDY_UP) return ends['tidied'] ?? { status: 0, output: '' }
    const isTest = script.includes('exec timeout')
    return Object.entries(ends).find(([name]) => script.includes(`./${name}`))?.[1] ?? { status: 0, output: isTest ? 'PASS' : '' }
  },
  said: async () => [],
  requireNoLeaks: async () => undefined,
  stop: async () => undefined,
  ...more,
})

const silently = async <T>(work: () => Promise<T>): Promise<[T, string]> => {
  const write = process.stdout.write.bind(process.stdout)
  let text = ''
  process.stdout.write = (chunk: string) => ((text += chunk), true)
  try {
    return [await work(), text]
  } finally {
    process.stdout.write = write
  }
}

test.serial('each script has a machine of its own, which is stopped; what it has said is kept', async (t) => {
  const { context, write } = createFixture(t)
  const c = context()
  write('dist/lts/selftests/junit.xml', '')
  write('dist/lts/selftests/ipvs.sh/output', 'of an earlier run')
  const folders: string[] = []
  let stopped = 0
  const boot: Boot = async (logs) => {
    folders.push(logs)
    const ends = { 'ipvs.sh': { status: 0, output: 'PASS\n' }, 'nft_nat.sh': { status: 0, output: 'PASS\nSKIP: no <IPv6>\n' } }
    const stop = async () => {
      stopped++
    }
    return machine(ends, { stop })
  }
  const [counts, text] = await silently(() => runIn(c, [PLAIN, BESIDE], 'netfilter', boot))
  t.deepEqual(counts, { passed: 2, failed: 0 })
  t.is(text, 'ok ipvs.sh (0 s)\nok nft_nat.sh beside SNAT (0 s)\n  it has said: SKIP: no <IPv6>\n')
  t.is(stopped, 2)
  t.deepEqual(folders, ['ipvs.sh', 'nft_nat.sh-beside-SNAT'].map((name) => join(c.paths.dist, 'selftests', name)))
  const xml = read(c.paths.dist, 'selftests/junit.xml')
  t.true(xml.includes('tests="2" failures="0" errors="0" skipped="0"') && xml.includes('it has said: SKIP: no &lt;IPv6&gt;'))
  t.is(read(c.paths.dist, 'selftests/ipvs.sh/output'), 'PASS\n')
  t.is(read(c.paths.dist, 'selftests.previous/ipvs.sh/output'), 'of an earlier run')
  t.true(read(c.paths.dist, 'EVIDENCE.SHA256SUMS').includes('  selftests/junit.xml'))
})

test.serial('a script that has passed fails for what the kernel has said meanwhile, or if IPVS was not beside it', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  const boot: Boot = async (logs) => machine({ namespaces: { status: 0, output: '0\n' } }, {
    said: async () => (logs.endsWith('ipvs.sh') ? ['BUG: in IPVS'] : []),
  })
  const [failure] = await silently(() => fails(t, 'test', () => runIn(c, [PLAIN, BESIDE], 'netfilter', boot)))
  t.is(failure.message, '2 selftests failed.')
  const xml = read(c.paths.dist, 'selftests/junit.xml')
  t.true(xml.includes('BUG: in IPVS') && xml.includes('no network namespace was set up with IPVS: 0'))
})

test.serial('a script is not skipped for a namespace that could not have IPVS', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  const ends = { 'nft_nat.sh': { status: 4, output: 'SKIP: Could not create net namespace ns1\n' }, namespaces: { status: 0, output: '0\nns1\n' } }
  await silently(() => fails(t, 'test', () => runIn(c, [BESIDE], 'netfilter', async () => machine(ends))))
  t.true(read(c.paths.dist, 'selftests/junit.xml').includes('network namespaces could not be set up with IPVS: ns1'))
})

test.serial('after each script IPVS has to go, memory too, and what the kernel says of it counts', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  const steps: string[] = []
  const tester = machine({ tidied: { status: 1, output: 'the ip_vs module cannot be unloaded:\n' } })
  const boot: Boot = async () => ({
    ...tester,
    run: async (script, limit) => {
      if (script === TIDY_UP) steps.push('tidied')
      return tester.run(script, limit)
    },
    said: async () => {
      steps.push('said')
      return ['WARNING: CPU: 1 PID: 9 at ip_vs_core.c:1']
    },
    requireNoLeaks: async () => {
      steps.push('leaks')
      throw new Error('1 leaks')
    },
  })
  await silently(() => fails(t, 'test', () => runIn(c, [PLAIN], 'netfilter', boot)))
  t.deepEqual(steps, ['tidied', 'said', 'leaks'])
  t.regex(read(c.paths.dist, 'selftests/junit.xml'), /the ip_vs module cannot be unloaded:\nthe kernel complained \(warning\):\n.*\n1 leaks/)
})

test.serial('a kernel log that does not arrive fails one test, and the others are run', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  const boot: Boot = async (logs) => machine({}, {
    said: async () => {
      if (logs.endsWith('ipvs.sh')) throw new Failure('test', 'The kernel log could not be scanned: it does not arrive.')
      return []
    },
  })
  await silently(() => fails(t, 'test', () => runIn(c, [PLAIN, BESIDE], 'netfilter', boot)))
  const xml = read(c.paths.dist, 'selftests/junit.xml')
  t.true(xml.includes('tests="2" failures="1" errors="0"') && xml.includes('it does not arrive'))
})

test.serial('data races of the kernel alone are listed', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  const race = ['BUG: KCSAN: data-race in tick+0x1a/0x90', 'race at unknown origin, with read to 0xff of 8 bytes by task 104 on cpu 0:', ' tick+0x1a/0x90', 'Reported by Kernel Concurrency Sanitizer on:', '='.repeat(66)]
  const [counts] = await silently(() => runIn(c, [PLAIN, { ...BESIDE, name: 'other' }], 'netfilter', async () => machine({}, { said: async () => race })))
  t.is(counts.passed, 2)
  t.true(read(c.paths.dist, 'selftests/races.txt').includes('2 data-race in tick+0x1a/0x90\n'))
})

test.serial('a script has no more of our time where everything takes longer', async (t) => {
  const { context } = createFixture(t)
  const limits: number[] = []
  const tester = machine({})
  const boot: Boot = async () => ({
    ...tester,
    run: async (script, limit) => {
      if (script.includes('exec timeout')) limits.push(limit)
      return tester.run(script, limit)
    },
  })
  for (const variables of [{}, { SANITIZE: '1' }]) await silently(() => runIn(context(variables), [PLAIN], 'netfilter', boot))
  t.deepEqual(limits, [3_600_000, 720_000])
})

test.serial('a run of edits is no evidence', async (t) => {
  const { context, write } = createFixture(t)
  const c = context({ QUICK: '1' })
  write('dist/lts/selftests/ipvs.sh/output', 'of the packages')
  await silently(() => runIn(c, [PLAIN], 'netfilter', async () => machine({})))
  t.is(read(c.paths.dist, 'selftests/ipvs.sh/output'), 'of the packages')
  t.true(read(c.paths.dist, 'selftests.quick/junit.xml').includes('value="modules of the prepared tree'))
  t.false(existsSync(join(c.paths.dist, 'EVIDENCE.SHA256SUMS')))
})

test.serial('results say what was chosen, and that the scripts are not those of the kernel', async (t) => {
  const { context } = createFixture(t)
  const c = context({ ONLY: 'ipvs' })
  await bring(c, patch)
  const properties = async () => {
    await silently(() => runIn(c, [PLAIN], 'netfilter', async () => machine({})))
    return read(c.paths.dist, 'selftests/junit.xml').match(/<property name="(?:only|scripts)".*\/>/g)
  }
  t.deepEqual(await properties(), ['<property name="only" value="ipvs"/>', '<property name="scripts" value="as in the commit of the work tree"/>'])
  mkdirSync(join(c.paths.tree, 'tools/testing/selftests/netfilter'), { recursive: true })
  writeFileSync(join(c.paths.tree, 'tools/testing/selftests/netfilter/ipvs.sh'), 'exit 0\n')
  t.true((await properties())?.includes('<property name="scripts" value="edited"/>'))
})

test.serial('what is in the way of a run is in its results, and those of the run before are put aside', async (t) => {
  const { context, write } = createFixture(t)
  const c = context()
  write('dist/lts/selftests/junit.xml', 'green')
  write('dist/lts/selftests/ipvs.sh/output', 'of an earlier run')
  const stop = async (): Promise<never> => {
    throw new Failure('build', 'The build failed.')
  }
  await fails(t, 'build', () => beforeTests(c, [], stop))
  t.regex(read(c.paths.dist, 'selftests/junit.xml'), /name="the run as a whole".*\n.*not run: The build failed\./)
  t.is(read(c.paths.dist, 'selftests.previous/ipvs.sh/output'), 'of an earlier run')
  await fails(t, 'build', () => beforeTests(c, [PLAIN, BESIDE], stop))
  t.true(read(c.paths.dist, 'selftests/junit.xml').includes('tests="2" failures="0" errors="2"'))
})

test.serial('a kernel that does not bear the tests is given up', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  let boots = 0
  const boot: Boot = async () => {
    boots++
    throw new Failure('lostVm', 'The virtual machine guest did not boot.')
  }
  const tests = ['one', 'two', 'three', 'four', 'five'].map((name) => ({ ...PLAIN, name }))
  const [failure] = await silently(() => fails(t, 'lostVm', () => runIn(c, tests, 'netfilter', boot)))
  t.is(boots, 3)
  t.regex(failure.message, /^5 selftests failed; a virtual machine was lost 3 times\. First: The virtual machine guest did not boot/)
  t.true(read(c.paths.dist, 'selftests/junit.xml').includes('tests="5" failures="3" errors="2"'))
})

test.serial('what was not run when somebody has interrupted reads as an error, and the machine is stopped', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  let stopped = 0
  const boot: Boot = async () => machine({}, {
    run: async () => { throw new Failure('interrupted', 'Interrupted by SIGINT.') },
    stop: async () => {
      stopped++
    },
  })
  await silently(() => fails(t, 'interrupted', () => runIn(c, [PLAIN, BESIDE], 'netfilter', boot)))
  t.is(stopped, 1)
  t.true(read(c.paths.dist, 'selftests/junit.xml').includes('tests="2" failures="0" errors="2"'))
})

test.serial('nothing is built for a kernel line without such tests', async (t) => {
  const { message } = await fails(t, 'usage', () => printed(['selftests', 'TARGET=el6', 'SETUP=no']))
  t.regex(message, /TARGET=el6 has no tests of netfilter/)
})

/** A host of another distribution may know no archive of Debian. */
const onDebian = suiteList('bookworm') === '' ? test.serial.skip : test.serial

/** Has a program of that name found before the host's, until the test ends. */
function insteadOf(t: ExecutionContext, name: string, script: string): void {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-path-'))
  const before = process.env['PATH']
  t.teardown(() => {
    process.env['PATH'] = before
    rmSync(folder, { recursive: true, force: true })
  })
  writeFileSync(join(folder, name), script)
  chmodSync(join(folder, name), 0o755)
  process.env['PATH'] = `${folder}:${before}`
}

const ROOT_OF_DEBIAN = `#!/bin/sh
case "$*" in *--variant=essential*) ;; *) exit 1;; esac
root=$(mktemp -d)
mkdir -p $root/usr/bin $root/usr/share/doc/bash $root/dev
echo program >$root/usr/bin/nft
echo text >$root/usr/share/doc/bash/copyright
ln -s usr/bin $root/bin
tar --create --directory $root .
rm -r $root
`

onDebian('what the scripts call is an archive that begins with one folder, without what nobody reads', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  insteadOf(t, 'mmdebstrap', ROOT_OF_DEBIAN)
  await userland.run(c)
  const listed = execFileSync('cpio', ['--list', '--quiet'], { input: readFileSync(userlandArchive(c)), encoding: 'utf8' }).trim().split('\n')
  t.deepEqual(listed, ['debian', 'debian/bin', 'debian/dev', 'debian/usr', 'debian/usr/bin', 'debian/usr/bin/nft', 'debian/usr/share'])
  t.false(existsSync(join(dirname(userlandArchive(c)), 'debian')))
})

onDebian('an installation that fails leaves no archive', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  insteadOf(t, 'mmdebstrap', '#!/bin/sh\necho "E: no mirror" >&2\nexit 1\n')
  const { details } = await fails(t, 'environment', () => userland.run(c))
  t.true(details.excerpt?.join('\n').includes('E: no mirror'))
  t.false(existsSync(userlandArchive(c)))
})
