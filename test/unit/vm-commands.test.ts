// SPDX-License-Identifier: GPL-2.0-only
/** The commands that talk to a running lab, of which only the gateway is made up. */

import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { withLock, checkoutLock } from '../../scripts/build/lock.ts'
import { bring } from '../../scripts/build/step.ts'
import { createContext, type Context, type Variables } from '../../scripts/build/context.ts'
import vm from '../../scripts/commands/vm.ts'
import vmCapture from '../../scripts/commands/vm-capture.ts'
import vmLog from '../../scripts/commands/vm-log.ts'
import vmReload from '../../scripts/commands/vm-reload.ts'
import { step as kernel } from '../../scripts/steps/kernel.ts'
import { serveControl, stateFile } from '../../vm/control.ts'
import { PcapWriter } from '../../vm/ethernet/pcap.ts'
import type { Lab } from '../../vm/lab.ts'
import { ethernet, ETHERTYPE, udp } from '../../vm/packet/index.ts'
import { LINKS } from '../../vm/topology.ts'
import { createFixture, fails, printed } from './fixture.ts'

interface Gateway {
  scripts: string[]
  files: Map<string, string>
  pcap: PcapWriter
  close: () => void
}

interface Behaviour {
  release?: string
  /** Of each script. */
  status?: (script: string) => number
  /** What the kernel says once somebody listens, after which the lab is closed. */
  says?: readonly string[]
}

/** Opens the door of a lab for a context's commands. */
async function openLab(t: ExecutionContext, context: Context, { release = '', status = () => 0, says = [] }: Behaviour = {}): Promise<Gateway> {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-door-'))
  const pcap = new PcapWriter(join(folder, 'outside.pcap'))
  const opened: Gateway = { scripts: [], files: new Map(), pcap, close: () => undefined }
  const gateway = {
    run: (script: string) => Promise.resolve({ status: status(script), output: `${script.trim().split('\n')[0]}\n`, ...(opened.scripts.push(script) && {}) }),
    put: (path: string, content: Buffer) => Promise.resolve(void opened.files.set(path, content.toString())),
    klog: {
      lines: ['<6>IPVS: before', '<6>random: other'],
      listen: (listener: (line: string) => void) => {
        for (const line of says) listener(line)
        setImmediate(() => opened.close())
        return () => undefined
      },
    },
  }
  const links = Object.fromEntries(LINKS.map((link) => [link, { pcap }]))
  opened.close = await serveControl({ gateway, links } as unknown as Lab, folder, stateFile(context.paths.work, context.variant), release)
  t.teardown(() => {
    opened.close()
    pcap.close()
    rmSync(folder, { recursive: true })
  })
  return opened
}

test('no machine runs: the commands say so, and what they were told wrongly', async (t) => {
  const { context } = createFixture(t)
  for (const command of [vmLog, vmCapture, vmReload]) {
    const failure = await fails(t, 'usage', () => command.run(context()))
    t.is(failure.message, 'No virtual machine is running.', command.summary)
  }
  for (const [command, variables, message] of [
    [vmLog, { LEVEL: 'much' }, 'LEVEL="much" is not a debug level.'],
    [vmLog, { LEVEL: '1;reboot' }, 'LEVEL="1;reboot" is not a debug level.'],
    [vmCapture, { LINK: 'elsewhere' }, 'There is no link "elsewhere".'],
    [vm, { RUN: 'true', PUT: 'file' }, 'PUT= has "file", which is not FROM=TO.'],
    [vm, { RUN: 'true', GET: '=there' }, 'GET= has "=there", which is not FROM=TO.'],
    [vm, { RUN: 'true', PUT: '/no/such=/there' }, 'PUT= names /no/such, which cannot be read (ENOENT).'],
    [vm, { RUN: 'true', PUT: '/etc=/there' }, 'PUT= names /etc, which cannot be read (EISDIR).'],
    [vm, { RUN: 'true', GET: '/proc/net/ip_vs=/no/such/file' }, 'GET= names /no/such/file, where no file can be.'],
    [vm, { RUN: 'true', GET: '/proc/net/ip_vs=/etc' }, 'GET= names /etc, where no file can be.'],
  ] as const) t.is((await fails(t, 'usage', () => command.run(context(variables)))).message, message)
})

test('a second machine of the same kernel is refused', async (t) => {
  const c = createFixture(t).context({ RUN: 'true' })
  await withLock(checkoutLock(c, `vm-${c.variant}`), 'virtual machine', async () => {
    t.regex((await fails(t, 'environment', () => vm.run(c))).message, /^Another virtual machine of lts is running/)
  })
})

/** Runs `vm-log` until the lab ends. */
const followed = async (t: ExecutionContext, behaviour: Behaviour, variables: Variables = {}): Promise<{ text: string; gateway: Gateway }> => {
  const fixture = createFixture(t)
  const { CACHE = '' } = fixture.context().variables
  // The command is one of this checkout, with a cache of its own.
  const gateway = await openLab(t, createContext({ CACHE, ...variables }), behaviour)
  return { text: await printed(['vm-log'], { CACHE, ...variables }), gateway }
}

test.serial('vm-log sets the level, and prints what IPVS says until the machine ends', async (t) => {
  const { text, gateway } = await followed(t, { says: ['<7>IPVS: lookup', '<4>eth0: up', '<7>ip_vs_snat: new'] }, { LEVEL: '7' })
  t.is(text, 'IPVS: before\nIPVS: lookup\nip_vs_snat: new\n')
  t.regex(gateway.scripts.join(), /echo 8 >\/proc\/sys\/kernel\/printk; .*echo 7 >\/proc\/sys\/net\/ipv4\/vs\/debug_level/)
})

test.serial('vm-log follows a kernel without a debug level too', async (t) => {
  const { text } = await followed(t, { status: () => 1 })
  t.is(text, 'IPVS: before\n')
})

test.serial('vm-reload brings the modules that were compiled, and only those that the machine has', async (t) => {
  const context = createFixture(t).context()
  await bring(context, kernel)
  writeFileSync(join(context.paths.build, 'modules.order'), 'net/netfilter/ipvs/ip_vs.ko\nnet/netfilter/ipvs/ip_vs_sed.ko\n')
  writeFileSync(join(context.paths.build, 'net/netfilter/ipvs/ip_vs.ko'), 'new')
  const release = '6.12.3-1.snat1.x86_64'
  const { files, scripts } = await openLab(t, context, { release, status: (script) => (script.includes('ip_vs_sed') ? 1 : 0) })
  await vmReload.run(context)
  t.deepEqual([...files], [[`/lib/modules/${release}/kernel/net/netfilter/ipvs/ip_vs.ko`, 'new']])
  const reload = scripts.at(-1) ?? ''
  t.true(reload.indexOf('ipvsadm -S') < reload.indexOf('rmmod') && reload.indexOf('rmmod') < reload.indexOf('ipvsadm -R'))
})

test.serial('vm-reload refuses a machine with another kernel, and tells why a module stays', async (t) => {
  const context = createFixture(t).context()
  await bring(context, kernel)
  const other = await openLab(t, context, { release: '6.1.6' })
  t.is((await fails(t, 'usage', () => vmReload.run(context))).message, 'The virtual machine runs 6.1.6, the modules are for 6.12.3-1.snat1.x86_64.')
  other.close()
  await openLab(t, context, { release: '6.12.3-1.snat1.x86_64', status: (script) => (script.includes('rmmod') ? 1 : 0) })
  const failure = await fails(t, 'environment', () => vmReload.run(context))
  t.is(failure.message, 'In the virtual machine, reloading the modules failed (status 1).')
  t.deepEqual(failure.details.excerpt, ['set -e'])
})

test.serial('vm-capture shows a link until the machine ends, and refuses a filter that is none', async (t) => {
  const fixture = createFixture(t)
  const WRITE = join(fixture.root, 'some.pcapng')
  const context = fixture.context({ FILTER: 'udp', WRITE })
  const { pcap, close } = await openLab(t, context)
  await fails(t, 'usage', () => vmCapture.run(fixture.context({ FILTER: 'udp.prt' })))
  pcap.write(ethernet('02:00:00:00:01:02', '02:00:00:00:01:01', ETHERTYPE.ip, udp('192.168.1.2:1 > 198.51.100.7:53', 'x')))
  const ended = vmCapture.run(context)
  while (!existsSync(WRITE)) await new Promise((resolve) => setTimeout(resolve, 50))
  close()
  await t.notThrowsAsync(ended)
})
