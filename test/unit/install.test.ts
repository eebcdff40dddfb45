// SPDX-License-Identifier: GPL-2.0-only
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test from 'ava'
import type { Context } from '../../scripts/build/context.ts'
import { checkoutLock, withLock } from '../../scripts/build/lock.ts'
import { runInstall, stagesFor } from '../../scripts/lab/install.ts'
import { type Packages, type Site, type Stage, STAGES } from '../../scripts/lab/install-stages.ts'
import { diskFiles } from '../../vm/disk-files.ts'
import { installedDisk, partitionTable, step as disk } from '../../scripts/steps/disk.ts'
import { laterSpec } from '../../scripts/steps/next.ts'
import { privateOnes } from '../../vm/installed.ts'
import { ethernet, parseFrame, udp } from '../../vm/packet/index.ts'
import { createFixture, fails, printed, read } from './fixture.ts'

test('the disk has one partition that the firmware may boot, as fdisk reads it', (t) => {
  const table = partitionTable(2048, 4096 * 2048)
  t.is(table.length, 512)
  t.is(table.readUInt16LE(510), 0xaa55)
  t.deepEqual([...table.subarray(446, 447), ...table.subarray(450, 451)], [0x80, 0x83])
  t.is(table.readUInt32LE(454), 2048)
  t.is(table.readUInt32LE(458), 8_388_608)
  t.true(table.subarray(0, 440).every((byte) => byte === 0), 'no boot code: grub-install brings it')
})

test('the files of the disk: no unit is missing, and the plugin of kernel-install is a script that a shell reads', (t) => {
  const files = new Map(diskFiles().map(({ path, content }) => [path, content]))
  for (const path of files.keys()) t.notRegex(path, /^\//)
  execFileSync('sh', ['-n'], { input: files.get('etc/kernel/install.d/70-debian.install') })
  t.regex(files.get('etc/systemd/network/10-outside.network') ?? '', /Address=203\.0\.113\.1\/24\nAddress=203\.0\.113\.10\/32\n[^]*Gateway=203\.0\.113\.254/)
})

test('a later release is one', (t) => {
  t.is(laterSpec('%global tool_release   3.snat1\nName: x\n'), '%global tool_release   3.snat1.1\nName: x\n')
})

test('a packet with an inside host\'s address is seen', (t) => {
  const packet = (route: string) => parseFrame(ethernet('02:00:00:00:00:01', '02:00:00:00:00:02', 0x800, udp(route, 'x')))
  const [hidden, seen] = [packet('203.0.113.10:1 > 198.51.100.7:53'), packet('192.168.1.2:1 > 198.51.100.7:53')]
  t.deepEqual(privateOnes([hidden, seen]), [seen])
})

test('every stage has a name of its own and says what it proves', (t) => {
  t.is(new Set(STAGES.map(({ name }) => name)).size, STAGES.length)
  for (const { proves } of STAGES) t.true(proves.length > 10)
})

test('a kernel of ours and a distribution\'s own have stages of their own, in one order', (t) => {
  const { context } = createFixture(t)
  const [ours, stock] = [stagesFor(context()), stagesFor(context({ KERNEL: 'stock' }))]
  t.true(ours.some(({ only }) => only === 'kernel') && ours.every(({ only }) => only !== 'dkms'))
  t.true(stock.some(({ only }) => only === 'dkms') && stock.every(({ only }) => only !== 'kernel'))
  t.is(ours[0], stock[0])
})

/** A disk as the step leaves it, and packages. */
function prepare(context: Context): Parameters<typeof runInstall>[1] {
  const { disk: path } = installedDisk(context)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, 'the disk')
  const packages = Object.fromEntries(['kernel', 'ipvsadm', 'keepalived', 'next', 'base'].map((name) => {
    const file = join(dirname(path), `${name}.rpm`)
    writeFileSync(file, name)
    return [name, file]
  })) as unknown as Packages
  return { accelerator: 'tcg', release: '6.1', packages }
}

const stage = (name: string, run: (site: Site) => Promise<void>): Stage => ({ name, proves: 'a unit test', run })

test.serial('stages run in order on a copy of the disk, which is gone afterwards', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  const seen: string[] = []
  const passed = await runInstall(c, prepare(c), [
    stage('one', async ({ packages, known }) => {
      seen.push(packages.kernel ?? '')
      known.set('of one', 'is known')
      t.is(readFileSync(join(c.paths.work, 'install-lts/system'), 'utf8'), 'the disk')
    }),
    stage('two', async ({ known }) => void seen.push(known.get('of one') ?? '')),
  ])
  t.is(passed, 2)
  t.deepEqual(seen, ['kernel.rpm', 'is known'])
  t.false(existsSync(join(c.paths.work, 'install-lts')))
  t.true(read(c.paths.dist, 'test-install/junit.xml').includes('tests="2" failures="0" errors="0"'))
  t.true(read(c.paths.dist, 'EVIDENCE.SHA256SUMS').includes('  test-install/junit.xml'))
})

test.serial('a stage that fails ends the run: what comes after it counts as an error, and what was recorded before stays', async (t) => {
  const { context, write } = createFixture(t)
  const c = context()
  write('dist/lts/test-install/inside.pcap', 'of an earlier run')
  write('dist/lts/test-install/junit.xml', '')
  const failure = await fails(t, 'test', () => runInstall(c, prepare(c), [
    stage('one', async () => undefined),
    stage('two', async () => { throw new Error('the machine does not boot') }),
    stage('three', async () => void t.fail()),
  ]))
  t.is(failure.message, '1 of 3 stages passed.')
  const xml = read(c.paths.dist, 'test-install/junit.xml')
  t.true(xml.includes('tests="3" failures="1" errors="1"'))
  t.true(xml.includes('the machine does not boot') && xml.includes('not run: after: two'))
  t.is(read(c.paths.dist, 'test-install.previous/inside.pcap'), 'of an earlier run')
  t.false(existsSync(join(c.paths.work, 'install-lts')))
})

test.serial('two at once would boot one disk', async (t) => {
  const { context } = createFixture(t)
  const c = context()
  await withLock(checkoutLock(c, 'install-lts'), 'installation test', () => fails(t, 'environment', () => runInstall(c, prepare(c), [])))
})

test('what there is no system for is refused before anything is built', async (t) => {
  const { context } = createFixture(t)
  const failure = await fails(t, 'usage', async () => disk.inputs(context({ TARGET: 'el6' })))
  t.regex(failure.message, /no system to install packages of TARGET=el6 into/)
  await fails(t, 'usage', () => printed(['install-test', 'SANITIZE=1']))
})
