// SPDX-License-Identifier: GPL-2.0-only
/** What the service of ipvsadm does to the kernel's settings when it starts, on a host of files and of programs that write down how they were called. */

import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { ROOT } from '../../scripts/base/root.ts'
import { capture } from '../../scripts/base/run.ts'
import { debianPlaces } from '../../scripts/package/deb-packaging.ts'

const SERVICE = readFileSync(join(ROOT, 'specs/ipvsadm/ipvsadm-service'), 'utf8')
const SETTINGS = 'proc/sys/net/ipv4/vs'
const FORWARDING = 'proc/sys/net/ipv4/ip_forward'
const SNAT = 'proc/net/ip_vs_snat'
const SYSTEMD = 'usr/lib/systemd/systemd-sysctl'
/** Kernels with SNAT and without it, as what loading IPVS makes there. */
const LOADS = { snat: `mkdir -p $ROOT/${SETTINGS} $ROOT/proc/net && touch $ROOT/${SNAT}`, stock: `mkdir -p $ROOT/${SETTINGS}`, nothing: 'exit 1' } as const

const ZONE = '-K --zone 192.168.0.0/16\n-U --zone 192.168.0.0/16 -z 203.0.113.10\n'

interface Host {
  /** Which kernel it has. */
  loads?: keyof typeof LOADS
  /** Whether IPVS is loaded already. */
  loaded?: boolean
  /** Where systemd-sysctl is, if anywhere. */
  systemd?: string
  /** Exit status of the restore. */
  restores?: number
  /** Lines of ipvsadm-config. */
  config?: string
  /** What the table is, as ipvsadm -S says. */
  table?: string
  /** What systemd is about to do. */
  jobs?: string
  forwarding?: '0' | '1'
  /** Whether keepalived runs. */
  keepalived?: boolean
  /** Whether it is a Debian. */
  debian?: boolean
  files?: Record<string, string>
}

/** Makes a host; @returns how its service is called, with its exit status, what it says, and the calls of programs since the call before */
function createHost(t: ExecutionContext, { loads = 'snat', loaded = false, systemd, restores = 0, config = '', table = ZONE, jobs = 'No jobs running.', forwarding = '0', keepalived = false, debian = false, files = {} }: Host) {
  const root = mkdtempSync(join(tmpdir(), 'lvs-snat-service-'))
  t.teardown(() => rmSync(root, { recursive: true, force: true }))
  const write = (path: string, content: string, mode = 0o644): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), content, { mode })
  }
  const program = (path: string, body: string): void => write(path, `#!/bin/sh\nset -- "\${0##*/}" "$@"\necho "$*" >> $ROOT/calls\n${body}\n`, 0o755)
  program('bin/modprobe', LOADS[loads])
  program('bin/sysctl', 'cat >> $ROOT/calls')
  program('bin/ipvsadm-restore', 'cat > /dev/null\nexit $(cat $ROOT/restores)')
  write('restores', String(restores))
  // What is restored, and the table of which it is asked, are not the same thing here.
  write('bin/ipvsadm', `#!/bin/sh\n[ "$1" = -S ] && exec cat $ROOT/table\necho "ipvsadm $*" >> $ROOT/calls\ncat >> $ROOT/calls\n`, 0o755)
  write('bin/ipvsadm-save', '#!/bin/sh\nexec cat $ROOT/table\n', 0o755)
  write('bin/pidof', `#!/bin/sh\n[ "$1" = keepalived ] && [ -e $ROOT/pid ] && cat $ROOT/pid\n`, 0o755)
  if (keepalived) write('pid', '812\n')
  write('bin/systemctl', '#!/bin/sh\ncat $ROOT/jobs\n', 0o755)
  write('table', table)
  write('jobs', `${jobs}\n`)
  if (systemd !== undefined) program(systemd, 'exit 1')
  const places = debian ? debianPlaces : (text: string) => text
  write(places('/etc/sysconfig/ipvsadm'), '# a table\n')
  write(places('/etc/sysconfig/ipvsadm-config'), config)
  write(FORWARDING, `${forwarding}\n`)
  for (const [path, content] of Object.entries(files)) write(path, content)
  const env = { ROOT: root, PATH: process.env['PATH'] }
  // Its paths are the host's, and its programs the fake ones first.
  const service = places(SERVICE).replace(/^PATH=.*/m, 'PATH=$ROOT/bin:/usr/bin:/bin').replaceAll(/(?<=[ =])\/(?=(?:etc|proc|var|usr\/lib|lib)\/)/g, '$ROOT/')
  write('var/run/ipvsadm-stopped', '')
  return {
    root,
    write,
    read: (path: string): string => readFileSync(join(root, path), 'utf8').trim(),
    async call(word: string) {
      rmSync(join(root, 'calls'), { force: true })
      if (loaded) await capture(['sh', '-c', LOADS[loads]], { env })
      const { exitCode, stderr } = await capture(['sh', '-c', service, 'ipvsadm-service', word], { env, anyExit: true })
      return { exitCode, stderr, calls: existsSync(join(root, 'calls')) ? readFileSync(join(root, 'calls'), 'utf8').trim().split('\n') : [] }
    },
  }
}

const RESTORED = 'ipvsadm-restore'
const BY_SYSTEMD = 'systemd-sysctl --prefix=/net/ipv4/vs'

test('what is not loaded is loaded, and has the settings of the files before there is a table', async (t) => {
  for (const systemd of [SYSTEMD, 'lib/systemd/systemd-sysctl']) {
    const { exitCode, calls } = await createHost(t, { systemd }).call('start')
    t.deepEqual(calls, ['modprobe ip_vs', BY_SYSTEMD, RESTORED], 'a file that systemd-sysctl finds fault with keeps no table away')
    t.is(exitCode, 0)
  }
})

test('without systemd the lines about IPVS of all files of sysctl count, and no other', async (t) => {
  const files = {
    'etc/sysctl.conf': 'net.ipv4.ip_forward = 0\n#net.ipv4.vs.conntrack = 1\n net.ipv4.vs.snat_max_conns = 1000',
    'etc/sysctl.d/snat.conf': 'net/ipv4/vs/snat_one_armed=1\nnet.ipv4.vsomething = 1\n',
    'etc/sysctl.d/snat.conf~': 'net.ipv4.vs.snat_one_armed=0\n',
  }
  const { exitCode, calls } = await createHost(t, { files }).call('start')
  t.deepEqual(calls, ['modprobe ip_vs', 'sysctl -e -p -', ' net.ipv4.vs.snat_max_conns = 1000', 'net/ipv4/vs/snat_one_armed=1', RESTORED])
  t.is(exitCode, 0)
  t.deepEqual((await createHost(t, {}).call('start')).calls, ['modprobe ip_vs', 'sysctl -e -p -', RESTORED], 'there are no such files')
})

test('what is loaded keeps the settings that it has', async (t) => {
  const host = createHost(t, { systemd: SYSTEMD })
  await host.call('start')
  for (const word of ['start', 'restart']) t.deepEqual((await host.call(word)).calls, [RESTORED], word)
})

test('a kernel without IPVS is told of by the restore', async (t) => {
  const { exitCode, calls } = await createHost(t, { loads: 'nothing', systemd: SYSTEMD, restores: 2 }).call('start')
  t.deepEqual(calls, ['modprobe ip_vs', RESTORED])
  t.is(exitCode, 2)
})

test('forwarding stays as it is, unless it is the service that turns it on', async (t) => {
  for (const config of ['', readFileSync(join(ROOT, 'specs/ipvsadm/ipvsadm-config'), 'utf8'), 'IPVS_FORWARD=no\n']) {
    const host = createHost(t, { config })
    t.is((await host.call('start')).exitCode, 0)
    t.is(host.read(FORWARDING), '0')
  }
})

const FORWARDS = 'IPVS_FORWARD="yes"\n'

test('it is turned on by a table that stands, and not by one that is refused or by a kernel without SNAT', async (t) => {
  const right = createHost(t, { config: FORWARDS })
  t.deepEqual(await right.call('start'), { exitCode: 0, stderr: '', calls: ['modprobe ip_vs', 'sysctl -e -p -', RESTORED, 'sysctl -e -p -'] })
  t.is(right.read(FORWARDING), '1')
  const likeAuto = createHost(t, { config: 'IPVS_FORWARD="true"\n' })
  await likeAuto.call('start')
  t.is(likeAuto.read(FORWARDING), '1')

  const refused = createHost(t, { config: FORWARDS, restores: 2 })
  t.is((await refused.call('start')).exitCode, 2)
  t.is(refused.read(FORWARDING), '0')
  refused.write('restores', '0')
  t.is((await refused.call('restart')).exitCode, 0)
  t.is(refused.read(FORWARDING), '1', 'mended')

  const stock = createHost(t, { config: FORWARDS, loads: 'stock' })
  const { exitCode, stderr } = await stock.call('start')
  t.is(exitCode, 1)
  t.is(stderr, 'ipvsadm: this kernel has no SNAT in IPVS, forwarding is not turned on\n')
  t.is(stock.read(FORWARDING), '0')
})

test('what is on is not written again, and a reload that fails leaves it on', async (t) => {
  const host = createHost(t, { config: FORWARDS, loaded: true, forwarding: '1' })
  host.write(FORWARDING, '1 as it was')
  t.is((await host.call('start')).exitCode, 0)
  t.is(host.read(FORWARDING), '1 as it was')
  host.write('restores', '2')
  t.is((await host.call('start')).exitCode, 2)
  t.is(host.read(FORWARDING), '1 as it was')
})

test('it is not turned on over a table that says nothing of SNAT', async (t) => {
  for (const [table, on] of [['', '0'], ['-A -t 198.51.100.1:80 -s rr\n', '0'], ['--add-pool out -O rr\n', '0'], [ZONE, '1'], ['--add-rule --priority 1 -F 0.0.0.0/0 --pool out\n', '1'], ['-A -u 0.0.0.0:0 -s rr -p 300\n', '1']] as const) {
    const host = createHost(t, { table, config: 'IPVS_FORWARD=yes\n' })
    const { exitCode, stderr } = await host.call('start')
    t.is(host.read(FORWARDING), on, table)
    t.is(exitCode, on === '1' ? 0 : 1)
    t.is(stderr.includes('no zone, rule or service of SNAT'), on === '0')
  }
})

test("a restart of systemd's, which is a stop and a start, leaves the table to what the start restores", async (t) => {
  const jobs = ' 812 ipvsadm.service restart running\n\n1 jobs listed.'
  const host = createHost(t, { jobs, loaded: true })
  host.write('proc/net/ip_vs', '')
  t.deepEqual(await host.call('stop'), { exitCode: 0, stderr: '', calls: [] })
  t.is(host.read('etc/sysconfig/ipvsadm'), '# a table')

  host.write('etc/sysconfig/ipvsadm-config', 'IPVS_SAVE_ON_RESTART=yes\n')
  rmSync(join(host.root, 'var/run/ipvsadm-stopped'))
  t.is((await host.call('stop')).exitCode, 0)
  t.is(host.read('etc/sysconfig/ipvsadm'), ZONE.trim(), 'it is saved')
  // Else it is drained.
  host.write('jobs', 'No jobs running.\n')
  t.true((await host.call('stop')).calls.includes('ipvsadm -R --replace'))
})

test('what keepalived has added to the table stays, and what is asked for is refused', async (t) => {
  const host = createHost(t, { loaded: true, config: FORWARDS, keepalived: true })
  host.write('proc/net/ip_vs', '')
  rmSync(join(host.root, 'pid'))
  t.is((await host.call('start')).exitCode, 0, 'it does not run while it boots')
  host.write('pid', '812')
  host.write('table', ZONE.replace(/$/m, ' -w 7'))
  t.is((await host.call('start')).exitCode, 0, 'another weight is nothing that it has added')
  host.write('table', `${ZONE}-A -t 198.51.100.1:80 -s rr\n`)
  host.write(FORWARDING, '0')
  for (const word of ['start', 'restart']) {
    const { exitCode, stderr, calls } = await host.call(word)
    t.is(exitCode, 1)
    t.regex(stderr, /keepalived runs, and the table has what \S+ has not: it stays as it is/)
    t.deepEqual(calls.filter((call) => call === RESTORED), [], word)
    t.is(host.read(FORWARDING), '1', 'it is turned on over the table that there is')
  }
  rmSync(join(host.root, 'pid'))
  t.true((await host.call('start')).calls.includes(RESTORED), 'who stops keepalived gets what the file says')
  host.write('pid', '812')
  rmSync(join(host.root, 'var/run/ipvsadm-restored'))
  t.is((await host.call('start')).exitCode, 1, 'nothing is known of who has made the table')
})

test('a table that was to be saved and could not be is not replaced', async (t) => {
  const host = createHost(t, { jobs: ' 812 ipvsadm.service restart running', loaded: true, config: 'IPVS_SAVE_ON_RESTART=yes\n', files: { 'proc/net/ip_vs': '' } })
  rmSync(join(host.root, 'var/run/ipvsadm-stopped'))
  host.write('bin/ipvsadm-save', '#!/bin/sh\nexit 1\n')
  t.is((await host.call('stop')).exitCode, 1)
  const { exitCode, stderr, calls } = await host.call('start')
  t.deepEqual({ exitCode, stderr, calls }, { exitCode: 1, stderr: 'ipvsadm: the table could not be saved, and stays as it is\n', calls: [] })
  t.true((await host.call('start')).calls.includes(RESTORED), 'who starts it once more has been told')
})

test('devices that are not to forward do not when it is turned on, which all do then', async (t) => {
  const files = { 'etc/sysctl.d/50.conf': 'net.ipv4.conf.mgmt.forwarding = 0\nnet.ipv4.ip_nonlocal_bind = 1\n' }
  const sysv = createHost(t, { config: FORWARDS, files })
  const { calls } = await sysv.call('start')
  t.deepEqual(calls.slice(-2), ['sysctl -e -p -', 'net.ipv4.conf.mgmt.forwarding = 0'])
  t.deepEqual((await sysv.call('start')).calls.filter((call) => call.includes('mgmt')), [], 'it is on already')
  const undone = createHost(t, { config: FORWARDS, files: { ...files, 'bin/sysctl': `#!/bin/sh\nif grep -q forwarding; then echo 0 > $ROOT/${FORWARDING}; fi\n` } })
  chmodSync(join(undone.root, 'bin/sysctl'), 0o755)
  const { exitCode, stderr } = await undone.call('start')
  t.is(exitCode, 1)
  t.regex(stderr, /turns forwarding off again/)
  const systemd = createHost(t, { config: FORWARDS, files, systemd: SYSTEMD })
  t.is((await systemd.call('start')).calls.at(-1), 'systemd-sysctl --prefix=/net/ipv4/conf')
})

test('on Debian it has the files of Debian', async (t) => {
  const host = createHost(t, { debian: true, loaded: true, config: 'AUTO="true"\n\nIPVS_FORWARD="yes"\n', files: { 'proc/net/ip_vs': '' } })
  t.deepEqual(await host.call('start'), { exitCode: 0, stderr: '', calls: [RESTORED, 'sysctl -e -p -'] })
  t.is(host.read(FORWARDING), '1')
  t.is((await host.call('save')).exitCode, 0)
  t.is(host.read('etc/ipvsadm.rules'), ZONE.trim())
  t.false(existsSync(join(host.root, 'etc/sysconfig')))
})
