// SPDX-License-Identifier: GPL-2.0-only
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { ROOT } from '../../scripts/base/root.ts'
import { readSeries } from '../../scripts/kernel/series.ts'

const PATCHES = join(ROOT, 'patches')

/** @returns the text of a file that the series of ipvsadm adds */
function added(name: string): string {
  const series = readSeries(join(PATCHES, 'ipvsadm')).map((path) => readFileSync(path, 'utf8')).join('')
  const [, body = ''] = series.split(`+++ b/${name}\n`)
  const [part = ''] = body.split('\ndiff --git ')
  return part.split('\n').filter((line) => line.startsWith('+')).map((line) => `${line.slice(1)}\n`).join('')
}

/** Long options in a table of popt(3) or of commands: the first word of each line in braces. */
const optionsIn = (source: string): string[] => [...source.matchAll(/^\t\t?\{ "([a-z-]+)",/gm)].map(([, name = '']) => name)

/** Words of earlier SNAT gateways, which the manual names beside the others and completion need not offer. */
const PUBLISHED = ['src', 'dst', 'rule', 'laddr', 'get-laddr', 'add-snat', 'edit-snat', 'delete-snat', 'add-laddr', 'del-laddr', 'fwmark-service', 'sort']

test("ipvsadm's copy of the netlink interface is the kernel's", (t) => {
  t.is(added('libipvs/ip_vs_snat.h'), readFileSync(join(PATCHES, 'engine/include/uapi/linux/ip_vs_snat.h'), 'utf8'))
})

test("the series leans on no recipe that calls the compiler, as Debian's patches of 1.31-5 change those", (t) => {
  const patches = readSeries(join(PATCHES, 'ipvsadm'))
  t.true(patches.length > 5)
  t.deepEqual(patches.filter((path) => readFileSync(path, 'utf8').includes('$(CC)')), [])
})

test('the manual tells of every command and option, and bash completes them', (t) => {
  const names = optionsIn(added('snat_parse.c')).filter((name) => !['tcp', 'udp', 'icmp', 'any'].includes(name))
  t.true(names.length > 50, names.join())
  const manual = added('ipvsadm-snat.8').replaceAll('\\-', '-')
  const completion = added('ipvsadm.bash')
  for (const name of names.filter((each) => !['add-laddr', 'del-laddr'].includes(each))) t.regex(manual, new RegExp(`--${name}\\b`), name)
  for (const name of names.filter((each) => !PUBLISHED.includes(each))) t.regex(completion, new RegExp(`--${name}\\b`), name)
})

test('the dashboard asks for metrics that there are', (t) => {
  const names = new Set([...added('snat_metrics.c').matchAll(/"(ipvs_snat_\w+)"/g)].map(([, name = '']) => name))
  const dashboard = readFileSync(join(ROOT, 'docs/grafana-snat.json'), 'utf8')
  const { panels } = JSON.parse(dashboard) as { panels: { title: string; targets: unknown[] }[] }
  t.true(panels.length > 5 && panels.every(({ title, targets }) => title !== '' && targets.length > 0))
  const asked = new Set([...dashboard.matchAll(/ipvs_snat_\w+/g)].map(([name]) => name))
  t.true(asked.size > 10)
  t.deepEqual([...asked].filter((name) => !names.has(name)), [])
})

test('the service restores the table before any device is set up, with systemd and with SysV', (t) => {
  const spec = (name: string): string => readFileSync(join(ROOT, 'specs/ipvsadm', name), 'utf8')
  const unit = spec('ipvsadm.service')
  t.regex(unit, /^Before=network-pre\.target\b/m)
  t.regex(unit, /^Wants=network-pre\.target$/m, 'nothing else may want it, and then it orders nothing')
  t.regex(unit, /^DefaultDependencies=no$/m, 'what sets up the network early would wait for itself')
  t.notRegex(unit, /^After=.*network/m)
  t.regex(unit, /^After=.*\bsystemd-sysctl\.service\b/m, 'what the files say of forwarding comes first')
  t.regex(spec('ipvsadm.init'), /^# chkconfig: - 08 92$/m, 'network has 10')
  t.notRegex(spec('ipvsadm.init'), /^# Required-.*\$network/m, 'chkconfig would put it after network')
})

test('settings of IPVS are put into force by whichever package is there when something loads it', (t) => {
  const [rule, other] = ['ipvsadm', 'keepalived'].map((name) => readFileSync(join(ROOT, 'specs', name, `${name}.udev`), 'utf8'))
  t.regex(rule ?? '', /^ACTION=="add", SUBSYSTEM=="module", KERNEL=="ip_vs", RUN\+="\/usr\/lib\/systemd\/systemd-sysctl --prefix=\/net\/ipv4\/vs"$/m)
  t.is(rule, other)
  const files = ['ipvsadm', 'keepalived'].map((name) => readFileSync(join(ROOT, 'specs', name, `${name}.spec`), 'utf8').match(/^%\{_prefix\}\/lib\/udev\/rules\.d\/\S+$/m)?.[0])
  t.true(files.every((file) => file !== undefined) && files[0] !== files[1], 'two packages with one path would not go together')
})
