// SPDX-License-Identifier: GPL-2.0-only
/** What a gateway goes through that is installed from the packages, in order: each stage finds what the one before has left. */

import assert from 'node:assert/strict'
import { scanKernelLog } from '../../test/e2e/lib/klog.ts'
import { ask } from '../../test/e2e/lib/traffic.ts'
import { STOCK_TOOLS } from '../../vm/disk-files.ts'
import { type InstalledGateway, privateOnes, type Watch } from '../../vm/installed.ts'
import { summary } from '../../vm/packet/index.ts'
import type { Machine } from '../../vm/qemu/machine.ts'
import { A, POOL, S } from '../../vm/topology.ts'
import { log } from '../base/log.ts'
import { quote } from '../base/quote.ts'

/** The packages: their paths, or the names of their files on the second disk. */
export interface Packages {
  /** The kernel; with a distribution's own there is none. */
  kernel?: string
  ipvsadm: string
  keepalived: string
  /** A later release of ipvsadm, which brings other default files. */
  next: string
  /** What tells rpm of that which Debian has. */
  base: string
}

export interface Site {
  gateway: InstalledGateway
  packages: Packages
  /** `uname -r` of the kernel that has SNAT; of a distribution's own it is known when that has booted. */
  release: string
  /** What boots the disk before it has a boot loader. */
  image: Parameters<InstalledGateway['boot']>[1]
  /** What later stages compare with, by name. */
  known: Map<string, string>
}

export interface Stage {
  name: string
  /** What is claimed and tested by it. */
  proves: string
  /** Absent of those that are for both: a kernel of ours that is installed, or a distribution's own with modules that DKMS has made. */
  only?: 'kernel' | 'dkms'
  run: (site: Site) => Promise<void>
}

/** For what takes minutes without KVM: an initramfs, the menu, an installation of a kernel. */
const LONG_MS = 900_000
const [POOL_ADDRESS = '', OTHER_ADDRESS = ''] = POOL

/** So many that they take their time, in which a network that is set up meanwhile would show. */
const OTHER_RULES = Array.from({ length: 1000 }, (_, index) => `--add-rule --priority 5 -F 10.${index >> 8}.${index & 255}.0/24 --accept\n`).join('')

/** The administrator's own configuration, with a line of his that no package has. */
const RULES = `# written by the administrator of this gateway
${OTHER_RULES}-K --zone 192.168.0.0/16
-U --zone 192.168.0.0/16 -z ${POOL_ADDRESS}
`
const RULES_FILE = '/etc/sysconfig/ipvsadm'
const ZONE = /^-U --zone 192\.168\.0\.0\/16 -z 203\.0\.113\.10\b/m

/** What an unpatched keepalived knows of SNAT: nothing but a service of all addresses and ports. */
const STOCK_KEEPALIVED = `virtual_server 0.0.0.0 0 {
    lvs_sched rr
    lvs_method NAT
    protocol UDP
    persistence_timeout 10
    real_server ${POOL_ADDRESS} 0 {
    }
}
`

/** With keepalived the zone has its address from there; until then it has none, and drops. */
const ZONE_ALONE = '# keepalived adds the addresses\n-K --zone 192.168.0.0/16\n'
const LOG = '/var/log/ipvs-snat.log'
const METRICS = '/var/lib/node_exporter'
/** Units of ipvsadm's package that the administrator has enabled. */
const UNITS = ['ipvsadm.service', 'ipvsadm-snatlog.service', 'ipvsadm-metrics.timer']
/** A setting that is there once IPVS is loaded, in a file that is read before. */
const SETTING = { name: 'net.ipv4.vs.snat_max_conns', value: '123456', file: '/etc/sysctl.d/60-snat.conf' }
const IN_FORCE = `test "$(sysctl -n ${SETTING.name})" = ${SETTING.value}`
/** What the disk's administrator wrote of forwarding, before the service turned it on. */
const FORWARDING_FILE = '/etc/sysctl.d/90-gateway.conf'
const KEEPALIVED_FILE = '/etc/keepalived/keepalived.conf'
const KEEPALIVED = `# written by the administrator of this gateway
global_defs {
    router_id gateway
}
local_address_group office {
    ${POOL_ADDRESS}
}
zone 192.168.0.0 16 {
    laddr_group_name office
}
`

const write = async (gateway: InstalledGateway, path: string, content: string): Promise<void> => gateway.machine.put(path, Buffer.from(content))

/** @returns titles of GRUB's entries, in order, without those for recovery */
const menu = async (gateway: InstalledGateway): Promise<string[]> => {
  const titles = await gateway.sh(`sed -n "s/^menuentry '\\([^']*\\)'.*/\\1/p" /boot/grub/grub.cfg`)
  return titles.trim().split('\n').filter((title) => !title.includes('recovery'))
}

const entryOf = (titles: readonly string[], release: string): string | undefined => titles.find((title) => title.endsWith(` ${release}`))

/** Digests of what there is of a kernel, in /boot and of its modules, without what depmod writes anew. */
const filesOf = async (gateway: InstalledGateway, release: string): Promise<string> =>
  gateway.sh(`find /boot/*-${quote(release)} /lib/modules/${quote(release)} -type f ! -path '*/modules.*' | sort | xargs sha256sum | sha256sum`, LONG_MS)

/** Installs, upgrades or removes packages as Debian's rpm lets one; @returns what it said */
async function rpm(gateway: InstalledGateway, words: string, packages: readonly string[] = []): Promise<string> {
  const paths = packages.map((name) => quote(`/media/packages/${name}`)).join(' ')
  // With this word the rpm of Debian 12 asks whether one means it; that of Debian 13 does not know it.
  const meant = '$(rpm --force-debian --version >/dev/null 2>&1 && echo --force-debian)'
  return gateway.sh(`mkdir -p /media/packages && { mountpoint -q /media/packages || mount -o ro LABEL=packages /media/packages; } && rpm ${words} ${meant} ${paths}`, LONG_MS)
}

async function requireRunning(site: Site, state: string, release: string): Promise<void> {
  const failed = await site.gateway.sh('systemctl list-units --failed --no-legend --plain')
  assert.equal(state, 'running', `units that have failed: ${failed}`)
  assert.equal((await site.gateway.sh('uname -r')).trim(), release)
}

/** Releases have signs that mean something in a regular expression. */
const requireStart = (text: string, start: string): void => assert.ok(text.startsWith(start), `${text} begins with ${start}`)

function requireQuiet(machine: Machine): void {
  const [first] = scanKernelLog(machine.klog.lines)
  assert.equal(first?.line, undefined, 'the kernel complained')
}

/** The inside host reaches the outside, as the pool address, and is answered. */
const askOutside = ({ gateway }: Site, port: number): Promise<string> =>
  ask({ client: gateway.a, sent: `${A}:${port} > ${S}:53`, server: gateway.net, seen: `${POOL_ADDRESS}:* > ${S}:53` })

/** Waits until a command in the gateway succeeds. */
async function until({ gateway }: Site, what: string, command: string, limit = EVENT_MS): Promise<void> {
  for (const end = Date.now() + limit; Date.now() < end; await pause()) {
    if ((await gateway.machine.run(command)).status === 0) return
  }
  assert.fail(`${what}: not so after ${limit / 1000} s: ${command}`)
}

const now = async ({ gateway }: Site): Promise<string> => (await gateway.sh(`date '+%Y-%m-%d %H:%M:%S'`)).trim()

/** @returns what the log says of who had the pool address and port of a flow at a time */
const whoHad = async ({ gateway }: Site, seen: string, time: string): Promise<string> =>
  gateway.sh(`ipvsadm --who ${POOL_ADDRESS}:${seen.split(' ')[0]?.split(':')[1]} --at '${time}'`)

async function requireUnits({ gateway }: Site): Promise<void> {
  for (const question of ['is-enabled', 'is-active']) {
    const { output } = await gateway.machine.run(`systemctl ${question} ${UNITS.join(' ')}`)
    assert.deepEqual(output.trim().split('\n'), UNITS.map(() => (question === 'is-active' ? 'active' : 'enabled')), question)
  }
}

/** Of what a service does within seconds of being asked. */
const EVENT_MS = 120_000
/** How long it may take from the boot's end until links carry something. */
const LINK_MS = 600_000
const POLL_MS = 500
const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, POLL_MS))
/** So few that one flow is more than a percent of them. */
const LOGGED_PORTS = '4000-4050'
/** Behind all numbers that {@link OTHER_RULES} have. */
const LOGGED_RULE = 5000
const RULE_IS_THERE = `ipvsadm -S -n | grep -q -- '-F 10.9.0.0/16'`

/** With all addresses and routes that networkd sets up once there is a carrier. */
const NETWORK_IS_UP = `ip -4 route get ${S} | grep -q 'dev outside' && ip -4 route get ${A} | grep -q 'dev inside'`

/** Waits for a packet that leaves, for as long as links may take. */
async function untilOneLeft({ left }: Watch, which = (packets: Watch['left']) => packets): Promise<void> {
  for (let waited = 0; which(left).length === 0 && waited < LINK_MS; waited += POLL_MS) await pause()
  assert.ok(which(left).length > 0, `nothing left within ${LINK_MS / 1000} s`)
}

/** Boots while an inside host sends without end, looks at every packet that leaves, and at when the table was there. */
async function bootWatched(site: Site, name: string): Promise<string> {
  const { gateway } = site
  const watch = gateway.watch()
  try {
    const state = await gateway.boot(name)
    await untilOneLeft(watch)
    await gateway.sh('sleep 2')
    requireNothingPrivate(watch, 'while the gateway booted')
    return state
  } finally {
    watch.end()
  }
}

/** Boots a kernel without SNAT while an inside host sends without end: what needs SNAT fails, and nothing leaves at all until forwarding is turned on by hand. */
async function bootClosed(site: Site, name: string): Promise<void> {
  const { gateway } = site
  const watch = gateway.watch()
  try {
    await gateway.boot(name)
    const failed = (await gateway.sh('systemctl list-units --failed --no-legend --plain | cut -d " " -f 1')).trim().split('\n')
    assert.ok(failed.includes('ipvsadm.service') && failed.every((unit) => /^(ipvsadm|keepalived)/.test(unit)), `units that have failed: ${failed.join(' ')}`)
    await until(site, 'the network is set up', NETWORK_IS_UP, LINK_MS)
    await gateway.sh('sleep 2')
    assert.deepEqual(watch.left.slice(0, 3).map(summary), [], 'what has left without SNAT')
    await gateway.sh('sysctl -q -w net.ipv4.ip_forward=1')
    await untilOneLeft(watch, privateOnes)
  } finally {
    watch.end()
  }
}

async function shutDownWatched({ gateway }: Site): Promise<void> {
  const watch = gateway.watch()
  try {
    await gateway.shutDown()
    requireNothingPrivate(watch, 'while it shut down')
  } finally {
    watch.end()
  }
}

function requireNothingPrivate({ left }: Watch, when: string): void {
  const leaked = privateOnes(left)
  log.info(`${left.length} packets of the inside host left ${when}, ${leaked.length} of them with its private address`)
  assert.deepEqual(leaked.slice(0, 3).map(summary), [], `${leaked.length} of ${left.length} packets left with a private address`)
}

/** By systemd's own record: a link that comes up late would hide on the wire that the order is wrong. */
async function requireTableBeforeNetwork({ gateway }: Site): Promise<void> {
  const show = async (property: string, unit: string): Promise<number> => Number((await gateway.sh(`systemctl show --value -p ${property} ${unit}`)).trim())
  const restored = await show('ActiveEnterTimestampMonotonic', 'ipvsadm.service')
  const network = await show('ExecMainStartTimestampMonotonic', 'systemd-networkd.service')
  assert.ok(restored > 0 && restored <= network, `the table was there ${restored} us after the boot, and the network began after ${network}`)
}

export const STAGES: readonly Stage[] = [
  {
    name: 'Debian boots, and gets GRUB onto its disk',
    proves: 'the system that the packages come into is one that boots by itself',
    async run(site) {
      const { gateway, known } = site
      const state = await gateway.boot('boot-1-installer', site.image)
      const old = (await gateway.sh('uname -r')).trim()
      if (site.packages.kernel === undefined) site.release = old
      known.set('old kernel', old)
      await requireRunning(site, state, old)
      await gateway.sh('grub-install "$(findmnt -no SOURCE / | sed "s/[0-9]*$//")" && update-grub', LONG_MS)
      assert.equal((await menu(gateway)).filter((title) => title.endsWith(` ${old}`)).length, 1)
      known.set('files of the old kernel', await filesOf(gateway, old))
    },
  },
  {
    name: 'keepalived and ipvsadm of the distribution, which know nothing of SNAT, set it up by stock words, and go',
    proves: 'issue 13: the unpatched distribution keepalived beside the patched kernel',
    only: 'dkms',
    async run(site) {
      const { gateway } = site
      await gateway.sh(`dpkg --verify ${STOCK_TOOLS.join(' ')}`)
      await write(gateway, KEEPALIVED_FILE, STOCK_KEEPALIVED)
      await gateway.sh('systemctl start keepalived.service')
      await until(site, 'the pool is there', `ipvsadm -ln | grep -qF '${POOL_ADDRESS}:0'`)
      await askOutside(site, 3001)
      assert.match(await gateway.sh('cat /proc/net/ip_vs_snat'), /^created +1$/m)
      await write(gateway, KEEPALIVED_FILE, STOCK_KEEPALIVED.replace(POOL_ADDRESS, OTHER_ADDRESS))
      await gateway.sh('systemctl reload keepalived.service')
      await until(site, 'the other address is there', `ipvsadm -ln | grep -qF '${OTHER_ADDRESS}:0' && ! ipvsadm -ln | grep -qF '${POOL_ADDRESS}:0'`)
      await gateway.sh(`systemctl stop keepalived.service && ipvsadm -C && DEBIAN_FRONTEND=noninteractive apt-get --option Dpkg::Use-Pty=0 purge --yes ${STOCK_TOOLS.join(' ')}`, LONG_MS)
      requireQuiet(gateway.machine)
    },
  },
  {
    name: 'the kernel is installed while it runs: an initramfs and an entry of the menu, beside the old ones',
    proves: 'issue 15, item 4: install the kernel RPM while it runs; specs/kernel/kernel.spec, %posttrans',
    only: 'kernel',
    async run(site) {
      const { gateway, known, packages, release } = site
      const old = known.get('old kernel') ?? ''
      await rpm(gateway, '-i', [packages.base])
      const said = await rpm(gateway, '-i', [packages.kernel ?? ''])
      assert.doesNotMatch(said, /^kernel: /m)
      await gateway.sh(`test -s /boot/vmlinuz-${release} && test -s /boot/initrd.img-${release} && test -s /lib/modules/${release}/modules.dep.bin`)
      const titles = await menu(gateway)
      assert.ok(entryOf(titles, release) !== undefined && entryOf(titles, old) !== undefined, titles.join('; '))
      assert.equal(await filesOf(gateway, old), known.get('files of the old kernel'), 'files of the old kernel')
    },
  },
  {
    name: 'ipvsadm and keepalived are installed, and the administrator writes a configuration',
    proves: 'issue 15, item 4: RPMs of the tools on a running system',
    async run(site) {
      const { gateway, packages } = site
      if (packages.kernel === undefined) await rpm(gateway, '-i', [packages.base])
      await rpm(gateway, '-i', [packages.ipvsadm, packages.keepalived])
      await gateway.sh('systemctl enable ipvsadm.service && systemctl disable keepalived.service')
      await write(gateway, RULES_FILE, RULES)
      await write(gateway, SETTING.file, `${SETTING.name} = ${SETTING.value}\n`)
      await gateway.shutDown()
    },
  },
  {
    name: 'it boots by GRUB from its disk, our IPVS restores the table before the network begins, and nothing leaves with a private address',
    proves: 'issue 15, item 4: reboot from disk, our kernel comes up; the configuration is there before the network takes traffic, watched on the wire',
    async run(site) {
      const { gateway, packages, release } = site
      const state = await bootWatched(site, 'boot-2-ours')
      await requireRunning(site, state, release)
      requireStart(await gateway.sh('cat /proc/cmdline'), `BOOT_IMAGE=/boot/vmlinuz-${release} `)
      requireStart(await gateway.sh('modinfo -n ip_vs'), `/lib/modules/${release}/${packages.kernel === undefined ? 'updates/dkms' : 'kernel'}/`)
      await requireTableBeforeNetwork(site)
      assert.match(await gateway.sh('ipvsadm -S -n'), ZONE)
      await gateway.sh(IN_FORCE)
      await askOutside(site, 4001)
      requireQuiet(gateway.machine)
    },
  },
  {
    name: 'the watch sees private addresses where there are some: without a table they leave',
    proves: 'that the stage before would have seen them',
    async run(site) {
      const { gateway } = site
      await gateway.sh('ipvsadm -C')
      const watch = gateway.watch()
      try {
        await gateway.sh('sleep 3')
      } finally {
        watch.end()
      }
      assert.ok(privateOnes(watch.left).length > 0)
      await gateway.sh('systemctl restart ipvsadm.service')
      await askOutside(site, 4002)
    },
  },
  {
    name: 'the service is restarted with a wrong line in its file: the table stays as it is',
    proves: 'issue 15, as what boots was attacked: a restart of systemd is a stop and a start',
    async run(site) {
      const { gateway } = site
      await gateway.sh(`
        echo '--add-rule --id nonsense' >> ${RULES_FILE}
        ! systemctl restart ipvsadm.service`)
      assert.match(await gateway.sh('ipvsadm -S -n'), ZONE)
      await askOutside(site, 4008)
      await gateway.sh(`sed -i '$d' ${RULES_FILE} && systemctl restart ipvsadm.service`)
      assert.equal(await gateway.sh(`cat ${RULES_FILE}`), RULES)
      await askOutside(site, 4009)
    },
  },
  {
    name: 'something else loads IPVS, as keepalived does: settings of the files of sysctl are in force, and the service leaves others alone',
    proves: 'that settings of SNAT outlast a boot, by the rule of udev',
    async run(site) {
      const { gateway } = site
      await gateway.sh(`
        ipvsadm -C
        for module in $(sed -n 's/^\\(ip_vs_[^ ]*\\) .*/\\1/p' /proc/modules) ip_vs; do modprobe -r $module; done
        test ! -e /proc/net/ip_vs && modprobe ip_vs`)
      await until(site, 'the setting is in force', IN_FORCE)
      await gateway.sh(`udevadm settle && sysctl -q -w ${SETTING.name}=100000 && systemctl restart ipvsadm.service && ! ${IN_FORCE}`)
      await askOutside(site, 4007)
    },
  },
  {
    name: 'who had an address is answered from the log that a service keeps, through rotation by logrotate and a crash',
    proves: 'issue 13, item 4: a unit writes events to a file with rotation, and a query is answered from those logs',
    async run(site) {
      const { gateway } = site
      await gateway.sh('systemctl enable --now ipvsadm-snatlog.service')
      await until(site, 'the log begins', `grep -q log-start ${LOG}`)
      assert.equal((await gateway.sh(`stat -c '%U %a' ${LOG}`)).trim(), 'root 600')
      await gateway.sh(`
        set -e
        ipvsadm --add-pool logged --log-conns --ports ${LOGGED_PORTS} -z ${POOL_ADDRESS}
        ipvsadm --add-rule --id ${LOGGED_RULE} -F ${A}/32 --pool logged`)
      const seen = await askOutside(site, 4010)
      await until(site, 'the connection is in the log', `grep -q 'conn-new.* inside ${A}:4010 ' ${LOG}`)
      const first = await now(site)
      assert.match(await whoHad(site, seen, first), new RegExp(`^${A}:4010 `))

      await gateway.sh('logrotate --force /etc/logrotate.d/ipvsadm')
      await until(site, 'it goes on in a new log', `grep -q log-continued ${LOG} && grep -q log-end ${LOG}.1`)
      await gateway.sh('systemctl kill -s KILL ipvsadm-snatlog.service')
      await until(site, 'the service is started again', `test "$(systemctl show --value -p NRestarts ipvsadm-snatlog.service)" = 1 && grep -q log-start ${LOG}`)
      await gateway.sh('logrotate --force /etc/logrotate.d/ipvsadm')
      await until(site, 'the oldest log is compressed', `test -s ${LOG}.2.gz && grep -q log-continued ${LOG}`)
      const later = await askOutside(site, 4011)
      await until(site, 'a later connection is in the newest log', `grep -q 'conn-new.* inside ${A}:4011 ' ${LOG}`)
      assert.match(await whoHad(site, seen, first), new RegExp(`^${A}:4010 `), 'from what logrotate has compressed')
      assert.match(await whoHad(site, later, await now(site)), new RegExp(`^${A}:4011 `))
    },
  },
  {
    name: 'metrics are there for node_exporter and stay fresh, and the journal tells of ports that run out, by their timer',
    proves: 'issue 13, items 2 and 3: a timer unit for the textfile collector; a threshold that is logged before anything is refused',
    async run(site) {
      const { gateway } = site
      await gateway.sh(`
        set -e
        mkdir -p ${METRICS}
        sed -i 's|^IPVS_METRICS_FOLDER=.*|IPVS_METRICS_FOLDER="${METRICS}"|; s|^IPVS_PRESSURE_WARN=.*|IPVS_PRESSURE_WARN="1"|' /etc/sysconfig/ipvsadm-config
        systemctl enable --now ipvsadm-metrics.timer`)
      const file = `${METRICS}/ipvs_snat.prom`
      await until(site, 'there are metrics', `grep -q '^ipvs_snat_.*connections.* [1-9]' ${file}`)
      const written = (await gateway.sh(`stat -c %i ${file}`)).trim()
      await until(site, 'they are written again', `test "$(stat -c %i ${file})" != ${written}`)
      assert.equal((await gateway.sh(`ls ${METRICS}`)).trim(), 'ipvs_snat.prom', 'nothing is left of writing it')
      await until(site, 'the journal has the warning', `journalctl --quiet -t ipvsadm | grep -qF ${POOL_ADDRESS}`)

      await gateway.sh(`systemctl stop ipvsadm-metrics.timer && rm ${file} && /usr/libexec/ipvsadm-metrics cron && test ! -e ${file} && systemctl start ipvsadm-metrics.timer`)
      await until(site, 'there are metrics again', `test -s ${file}`)
      await gateway.sh(`ipvsadm --delete-rule --id ${LOGGED_RULE} && ipvsadm --delete-pool logged`)
      await requireUnits(site)
    },
  },
  {
    name: 'ipvsadm is upgraded to a later release, and back: table, service and configuration stay as they were',
    proves: 'issue 15, item 4: upgrade, downgrade; configuration files as the user had them',
    async run(site) {
      const { gateway, packages } = site
      for (const [words, name] of [['-U', packages.next], ['-U --oldpackage', packages.ipvsadm]] as const) {
        await rpm(gateway, words, [name])
        assert.equal(`${(await gateway.sh('rpm -q ipvsadm')).trim()}.rpm`, name)
        assert.equal(await gateway.sh(`cat ${RULES_FILE}`), RULES, `${RULES_FILE} after ${name}`)
        await requireUnits(site)
        assert.match(await gateway.sh('ipvsadm -S -n'), ZONE)
        await askOutside(site, 4003)
      }
    },
  },
  {
    name: 'keepalived has the addresses, ipvsadm the zone, and turns forwarding on: nothing leaves with a private address when it shuts down and boots',
    proves: 'issue 15, item 4: ipvsadm.service and keepalived restore the configuration before the network takes traffic',
    async run(site) {
      const { gateway, release } = site
      await write(gateway, RULES_FILE, ZONE_ALONE)
      await write(gateway, KEEPALIVED_FILE, KEEPALIVED)
      await gateway.sh(`systemctl enable keepalived.service && rm ${FORWARDING_FILE} && sed -i 's|^IPVS_FORWARD=.*|IPVS_FORWARD="yes"|' /etc/sysconfig/ipvsadm-config`)
      await shutDownWatched(site)
      await requireRunning(site, await bootWatched(site, 'boot-3-keepalived'), release)
      await requireTableBeforeNetwork(site)
      await askOutside(site, 4004)
      assert.equal(await gateway.sh(`cat ${KEEPALIVED_FILE}`), KEEPALIVED)
      await requireUnits(site)
      await until(site, 'the log has the end of the last boot, and the begin of this', `sed -n '/log-end/,$p' ${LOG} | grep -q log-start`)
      requireQuiet(gateway.machine)
    },
  },
  {
    name: 'keepalived is reloaded, rightly and wrongly, restarted and stopped by systemctl: what is open goes on, and nothing private leaves',
    proves: 'issue 13: as a service of systemd; a reload changes only what changed, a bad file changes nothing',
    async run(site) {
      const { gateway } = site
      const seen = await askOutside(site, 4005)
      const goesOn = async (when: string): Promise<void> => assert.equal(await askOutside(site, 4005), seen, when)
      await write(gateway, KEEPALIVED_FILE, `${KEEPALIVED}snat_rule {\n  from 10.9.0.0/16\n  accept\n}\n`)
      await gateway.sh('systemctl reload keepalived.service')
      await until(site, 'the rule is there', RULE_IS_THERE)
      await goesOn('after a reload')
      await write(gateway, KEEPALIVED_FILE, `${KEEPALIVED}snat_rule {\n  from 10.9.0.0/33\n  accept\n}\n`)
      assert.match((await gateway.machine.run('keepalived -t')).output, /keepalived\.conf.*: Line 12/)
      await gateway.sh('systemctl reload keepalived.service')
      await until(site, 'the journal says that it stays', `journalctl --quiet -u keepalived.service | grep -q 'SNAT: its configuration is wrong'`)
      await gateway.sh(`systemctl is-active keepalived.service && ${RULE_IS_THERE}`)
      await goesOn('after a reload of a bad file')

      await write(gateway, KEEPALIVED_FILE, KEEPALIVED)
      const watch = gateway.watch()
      try {
        await gateway.sh('systemctl restart keepalived.service')
        await until(site, 'it has come back', `ipvsadm -S -n | grep -q '^-U ' && ! { ${RULE_IS_THERE}; }`)
        await goesOn('after a restart')
        await gateway.sh('systemctl stop keepalived.service')
        await until(site, 'it is gone', '! pidof keepalived')
        await gateway.sh('sleep 2')
        await gateway.sh('systemctl start keepalived.service')
        await until(site, 'it has begun again', `ipvsadm -S -n | grep -q '^-U '`)
        await askOutside(site, 4006)
      } finally {
        watch.end()
      }
      requireNothingPrivate(watch, 'while keepalived was restarted, stopped and started')
      requireQuiet(gateway.machine)
    },
  },
  {
    name: 'ipvsadm is restarted and reloaded while keepalived has added to the table: all of it stays, and systemd is told',
    proves: 'issue 15, as the packages were attacked: a restart took all away that keepalived had configured, with status 0',
    async run(site) {
      const { gateway } = site
      const table = await gateway.sh('ipvsadm -S -n')
      assert.match(table, ZONE)
      for (const word of ['restart', 'reload']) {
        assert.notEqual((await gateway.machine.run(`systemctl ${word} ipvsadm.service`)).status, 0, word)
        assert.equal(await gateway.sh('ipvsadm -S -n'), table, word)
      }
      await askOutside(site, 4007)
      await gateway.sh('systemctl stop keepalived.service && systemctl restart ipvsadm.service && systemctl start keepalived.service')
      await until(site, 'it has its addresses again', `ipvsadm -S -n | grep -q '^-U '`)
      await requireUnits(site)
    },
  },
  {
    name: 'the old kernel, which has no SNAT, boots from the menu, and forwards nothing',
    proves: 'issue 15, item 4: the old one is still in the menu; IPVS_FORWARD opens no gateway that does not translate',
    only: 'kernel',
    async run(site) {
      const { gateway, known } = site
      const old = known.get('old kernel') ?? ''
      await gateway.sh(`grub-reboot ${quote(entryOf(await menu(gateway), old) ?? '')}`)
      await gateway.shutDown()
      await bootClosed(site, 'boot-4-old')
      assert.equal((await gateway.sh('uname -r')).trim(), old)
    },
  },
  {
    name: 'the tools are removed: what the administrator wrote is kept',
    proves: 'issue 15, item 4: remove; configuration files as the user had them',
    async run({ gateway, packages }) {
      await rpm(gateway, `-e ${[packages.ipvsadm, packages.keepalived].map((name) => quote(name.replace(/\.rpm$/, ''))).join(' ')}`)
      assert.equal(await gateway.sh(`cat ${RULES_FILE}.rpmsave`), ZONE_ALONE)
      assert.equal(await gateway.sh(`cat ${KEEPALIVED_FILE}.rpmsave`), KEEPALIVED)
      await gateway.sh('! ls /usr/sbin/ipvsadm /usr/sbin/keepalived 2>/dev/null && ! pidof ipvsadm keepalived && test -z "$(systemctl list-unit-files --no-legend "ipvsadm*" "keepalived*")"')
    },
  },
  {
    name: 'the kernel is removed: the menu has the old one alone, and it boots',
    proves: 'issue 15, item 4: remove; the machine stays bootable',
    only: 'kernel',
    async run(site) {
      const { gateway, known, packages, release } = site
      const old = known.get('old kernel') ?? ''
      await rpm(gateway, `-e ${quote((packages.kernel ?? '').replace(/\.rpm$/, ''))}`)
      await gateway.sh(`! ls -d /boot/*${release}* /lib/modules/${release} 2>/dev/null`)
      const titles = await menu(gateway)
      assert.ok(entryOf(titles, release) === undefined && entryOf(titles, old) !== undefined, titles.join('; '))
      assert.equal(await filesOf(gateway, old), known.get('files of the old kernel'), 'files of the old kernel')
      await gateway.shutDown()
      await requireRunning(site, await gateway.boot('boot-5-after'), old)
    },
  },
  {
    name: 'apt removes the package for DKMS while it runs: the kernel has its own IPVS again, and boots',
    proves: 'issue 15, item 4: remove; the machine stays bootable',
    only: 'dkms',
    async run(site) {
      const { gateway, release } = site
      await gateway.sh('DEBIAN_FRONTEND=noninteractive apt-get --option Dpkg::Use-Pty=0 remove --yes ipvs-snat-dkms', LONG_MS)
      requireStart(await gateway.sh('modinfo -n ip_vs'), `/lib/modules/${release}/kernel/`)
      await gateway.shutDown()
      await requireRunning(site, await gateway.boot('boot-4-after'), release)
      await gateway.sh('modprobe ip_vs && test ! -e /proc/net/ip_vs_snat')
    },
  },
]
