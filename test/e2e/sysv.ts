// SPDX-License-Identifier: GPL-2.0-only
/** The SysV scripts of ipvsadm and keepalived, as EL6's service(8) calls them. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../../scripts/base/root.ts'
import { Connection } from '../../vm/host/index.ts'
import type { Lab } from '../../vm/lab.ts'
import { tcp } from '../../vm/packet/index.ts'
import { A, B, POOL, S } from '../../vm/topology.ts'
import { between } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'
import { ask, assertNothingPrivateLeft, until } from './lib/traffic.ts'

const [P0 = '', P1 = ''] = POOL
const RESTORES = 'issue 12: a restart of the service restores rules and pools, and stopping it does not let private addresses out'
const RUN = 'issue 13: it runs with the built packages as SysV script'
const LOGGED = 'issue 13, 4: a unit writes events to a file with rotation; as SysV script'
/** keepalived takes seconds to start and to stop on a host that does something else as well. */
const LIMIT_S = 180
const NOT_RUNNING = 3
const NOT_CONFIGURED = 6
const UNKNOWN_WORD = 2

/** Where the packages put what the scripts need, and from where; the functions are initscripts'. */
const FILES = {
  '/etc/rc.d/init.d/functions': 'test/e2e/lib/initscript-functions',
  '/etc/rc.d/init.d/ipvsadm': 'specs/ipvsadm/ipvsadm.init',
  '/etc/rc.d/init.d/ipvsadm-snatlog': 'specs/ipvsadm/ipvsadm-snatlog.init',
  '/usr/libexec/ipvsadm-service': 'specs/ipvsadm/ipvsadm-service',
  '/etc/sysconfig/ipvsadm-config': 'specs/ipvsadm/ipvsadm-config',
  '/etc/rc.d/init.d/keepalived': 'specs/keepalived/keepalived.init',
  '/etc/sysconfig/keepalived': 'specs/keepalived/keepalived.sysconfig',
} as const

/** Upstream's scripts around -S and -R, which are in the package. */
const WRAPPERS = { '/usr/sbin/ipvsadm-save': '-S "$@"', '/usr/sbin/ipvsadm-restore': '-R --replace' } as const

const FOLDERS = ['/etc/rc.d/init.d', '/usr/libexec', '/etc/sysconfig', '/etc/keepalived', '/var/lock/subsys', '/var/run', '/var/log']
const CONF = '/etc/keepalived/keepalived.conf'
const LEFT = '/etc/rc.d /usr/libexec /etc/sysconfig /etc/keepalived /var/lock/subsys /usr/sbin/ipvsadm-save /usr/sbin/ipvsadm-restore /var/run/ipvsadm-stopped'

async function install(lab: Lab): Promise<void> {
  await lab.gateway.sh(`mkdir -p ${FOLDERS.join(' ')}`)
  for (const [path, from] of Object.entries(FILES)) await lab.gateway.put(path, readFileSync(join(ROOT, from)))
  for (const [path, words] of Object.entries(WRAPPERS)) await lab.gateway.put(path, Buffer.from(`#!/bin/sh\nexec ipvsadm ${words}\n`))
  await lab.gateway.sh(`chmod 755 /etc/rc.d/init.d/* /usr/libexec/* ${Object.keys(WRAPPERS).join(' ')}`)
}

/** @returns what a script exits with */
const service = async (lab: Lab, name: string, word: string): Promise<number> => (await lab.gateway.run(`/etc/rc.d/init.d/${name} ${word}`)).status
const saved = (lab: Lab): Promise<string> => lab.gateway.sh('ipvsadm -S -n')
const keepalived = (lab: Lab): Promise<string> => lab.gateway.sh('pidof keepalived | tr " " "\\n" | sort')

async function refusesNewOnes(lab: Lab, port: number): Promise<void> {
  lab.a.send(tcp(`${A}:${port} > ${S}:80`, 'S'))
  await lab.settle()
  lab.net.refuse('tcp **')
  assertNothingPrivateLeft(lab)
}

const snat = (address: string, host = A): string => `snat_pool one {\n  address ${address}\n}\nsnat_rule {\n  from ${host}\n  pool one\n}\n`

export default suite('sysv', [
  test('ipvsadm saves, stops, starts and restarts, and says how it is', RESTORES, async (lab) => {
    await install(lab)
    await between(lab, `ip addr add ${P0}/32 dev outside; rm -f /etc/sysconfig/ipvsadm`, `rm -rf ${LEFT}`, async () => {
      assert.equal(await service(lab, 'ipvsadm', 'start'), NOT_CONFIGURED)
      await lab.gateway.sh(`ipvsadm -K --zone 192.168.0.0/16 && ipvsadm -U --zone 192.168.0.0/16 -z ${P0} && ipvsadm -A -t 203.0.113.80:80 -s rr`)
      const before = await saved(lab)
      assert.equal(await service(lab, 'ipvsadm', 'save'), 0)
      const connection = await Connection.open({ client: lab.a, sent: `${A}:40001 > ${S}:80`, server: lab.net, seen: `${P0}:40001 > ${S}:80` })

      assert.equal(await service(lab, 'ipvsadm', 'stop'), 0)
      assert.doesNotMatch(await saved(lab), /203\.0\.113\.80/)
      await refusesNewOnes(lab, 40_002)
      await connection.request('goes on')
      // Stopped, it is not started by who restarts what runs.
      assert.equal(await service(lab, 'ipvsadm', 'condrestart'), 0)
      assert.doesNotMatch(await saved(lab), /203\.0\.113\.80/)

      for (const word of ['start', 'restart', 'condrestart', 'reload']) {
        await lab.gateway.sh('ipvsadm --clear-snat && ipvsadm -C')
        assert.equal(await service(lab, 'ipvsadm', word), 0, word)
        assert.equal(await saved(lab), before, word)
      }
      assert.equal(await service(lab, 'ipvsadm', 'status'), 0)
      assert.equal(await service(lab, 'ipvsadm', 'begin'), UNKNOWN_WORD)
    })
  }),

  test('keepalived starts once, reloads, restarts and stops, and says how it is', RUN, async (lab) => {
    await install(lab)
    const stopped = `
      /etc/rc.d/init.d/keepalived stop
      ! pidof keepalived >/dev/null || killall -9 keepalived
      rm -rf ${LEFT}`
    await between(lab, `for address in ${P0} ${P1}; do ip addr add $address/32 dev outside; done; rm -f ${CONF}`, stopped, async () => {
      assert.equal(await service(lab, 'keepalived', 'start'), NOT_CONFIGURED)
      assert.equal(await service(lab, 'keepalived', 'status'), NOT_RUNNING)
      assert.equal(await service(lab, 'keepalived', 'condrestart'), 0)
      assert.equal(await keepalived(lab), '')

      await lab.gateway.put(CONF, Buffer.from(snat(P0)))
      assert.equal(await service(lab, 'keepalived', 'start'), 0)
      await until('there is the rule', async () => (await saved(lab)).includes(`-F ${A}/32`))
      assert.equal(await service(lab, 'keepalived', 'status'), 0)
      const processes = await keepalived(lab)
      assert.equal(await service(lab, 'keepalived', 'start'), 0)
      assert.equal(await keepalived(lab), processes, 'a second start starts nothing')
      const connection = await Connection.open({ client: lab.a, sent: `${A}:40001 > ${S}:80`, server: lab.net, seen: `${P0}:40001 > ${S}:80` })

      await lab.gateway.put(CONF, Buffer.from(snat(P1, B)))
      assert.equal(await service(lab, 'keepalived', 'reload'), 0)
      await until('there is the other rule', async () => (await saved(lab)).includes(`-F ${B}/32`))
      await ask({ client: lab.b, sent: `${B}:40001 > ${S}:53`, server: lab.net, seen: `${P1}:40001 > ${S}:53` })
      await lab.gateway.put(CONF, Buffer.from(snat(P0)))
      for (const word of ['restart', 'condrestart']) {
        assert.equal(await service(lab, 'keepalived', word), 0, word)
        await until('there is the first rule again', async () => (await saved(lab)).includes(`--pool one -z ${P0}\n`))
      }
      await connection.request('as if nothing had happened')

      assert.equal(await service(lab, 'keepalived', 'stop'), 0)
      assert.equal(await keepalived(lab), '')
      assert.equal(await service(lab, 'keepalived', 'status'), NOT_RUNNING)
      assert.equal(await service(lab, 'keepalived', 'stop'), 0)
      await refusesNewOnes(lab, 40_003)
      await connection.finish()
      assert.equal(await service(lab, 'keepalived', 'begin'), UNKNOWN_WORD)
    })
  }, { limit: LIMIT_S }),

  test('the log of addresses begins once, goes on in a new file and after a crash, and ends, and says how it is', LOGGED, async (lab) => {
    await install(lab)
    const script = '/etc/rc.d/init.d/ipvsadm-snatlog'
    const log = '/var/log/ipvs-snat.log'
    const monitors = async (): Promise<string[]> => (await lab.gateway.run('pidof ipvsadm')).output.trim().split(/\s+/).filter(Boolean)
    const has = (what: string, file = log): Promise<void> => until(`${what} is in ${file}`, async () => (await lab.gateway.run(`grep -q '${what}' ${file}`)).status === 0)
    const setUp = `
      ip addr add ${P0}/32 dev outside
      ipvsadm --add-pool logged --log-conns -z ${P0}
      ipvsadm --add-rule -F 192.168.1.0/24 --pool logged`
    await between(lab, setUp, `${script} stop; killall ipvsadm; rm -rf ${LEFT} ${log}*`, async () => {
      await lab.gateway.sh('touch /var/lock/subsys/ipvsadm')
      assert.equal(await service(lab, 'ipvsadm-snatlog', 'status'), NOT_RUNNING)
      assert.equal(await service(lab, 'ipvsadm-snatlog', 'condrestart'), 0)
      assert.deepEqual(await monitors(), [])
      for (const word of ['start', 'start', 'status']) assert.equal(await service(lab, 'ipvsadm-snatlog', word), 0, word)
      await has('log-start')
      assert.equal((await monitors()).length, 1, 'a second start starts nothing')
      assert.equal((await lab.gateway.sh(`stat -c %a ${log}`)).trim(), '600')
      await ask({ client: lab.a, sent: `${A}:4001 > ${S}:53`, server: lab.net, seen: `${P0}:4001 > ${S}:53` })
      await has(`inside ${A}:4001 `)

      // as logrotate does it
      await lab.gateway.sh(`mv ${log} ${log}.1 && ${script} reload`)
      await has('log-end', `${log}.1`)
      await has('log-continued')
      const [crashed] = await monitors()
      await lab.gateway.sh(`kill -9 ${crashed}`)
      await until('it is begun anew', async () => (await monitors()).some((pid) => pid !== crashed))
      assert.equal(await service(lab, 'ipvsadm-snatlog', 'status'), 0)
      await has('log-start')
      await ask({ client: lab.a, sent: `${A}:4002 > ${S}:53`, server: lab.net, seen: `${P0}:4002 > ${S}:53` })
      await has(`inside ${A}:4002 `)
      // Who kept it is killed, and leaves it alone.
      await lab.gateway.sh('kill -9 $(cut -d " " -f 1 /var/run/ipvsadm-snatlog.pid)')
      assert.equal(await service(lab, 'ipvsadm-snatlog', 'reload'), 0)
      assert.equal(await service(lab, 'ipvsadm-snatlog', 'start'), 0)
      await until('one alone runs, which has its number in the file', async () =>
        (await monitors()).join() === (await lab.gateway.sh('cut -d " " -f 2 /var/run/ipvsadm-snatlog.pid')).trim())
      for (const word of ['restart', 'condrestart']) {
        const before = await monitors()
        assert.equal(await service(lab, 'ipvsadm-snatlog', word), 0, word)
        await until('another one runs, and one alone', async () => {
          const pids = await monitors()
          return pids.length === 1 && pids[0] !== before[0]
        })
      }
      assert.equal(await service(lab, 'ipvsadm-snatlog', 'stop'), 0)
      assert.deepEqual(await monitors(), [])
      assert.match(await lab.gateway.sh(`tail -1 ${log}`), /log-end/)
      assert.equal(await service(lab, 'ipvsadm-snatlog', 'status'), NOT_RUNNING)
      assert.equal(await service(lab, 'ipvsadm-snatlog', 'stop'), 0)
      // A number that another process has by now.
      await lab.gateway.sh('echo $$ 1 >/var/run/ipvsadm-snatlog.pid')
      assert.equal(await service(lab, 'ipvsadm-snatlog', 'reload'), 7)
      assert.equal(await service(lab, 'ipvsadm-snatlog', 'begin'), UNKNOWN_WORD)
    })
  }, { limit: LIMIT_S }),
])
