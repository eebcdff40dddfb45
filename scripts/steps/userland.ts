// SPDX-License-Identifier: GPL-2.0-only
/** A Debian without a kernel, as an archive that an initramfs can have: what the kernel's own tests call. */

import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { log } from '../base/log.ts'
import { quote } from '../base/quote.ts'
import { runLogged } from '../base/run.ts'
import type { Context } from '../build/context.ts'
import type { Facts, Step } from '../build/step.ts'
import { DEBIAN_REQUIREMENTS } from '../packages.ts'
import { debianOf } from './disk.ts'
import { mmdebstrap, untar } from './stock.ts'

/** The folder of the machine in which the Debian is. */
export const USERLAND = 'debian'

/** Beside what every Debian has: the packages of the programs that the scripts of tools/testing/selftests look for before they begin, and those programs. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  iproute2: ['ip', 'tc', 'ss'],
  nftables: ['nft'],
  iptables: ['iptables', 'ip6tables'],
  conntrack: ['conntrack'],
  socat: ['socat'],
  'netcat-openbsd': ['nc'],
  iperf3: ['iperf3'],
  'iputils-ping': ['ping'],
  ethtool: ['ethtool'],
  kmod: ['modprobe', 'depmod'],
  procps: ['sysctl', 'pgrep'],
  netbase: [],
}

/** What a script that does not find it would skip its tests for. */
export const PROGRAMS = Object.values(PACKAGES).flat()

/** What no script reads, and memory would hold. */
const LEFT_OUT = ['./dev/*', './usr/share/doc', './usr/share/man', './usr/share/locale', './usr/lib/*/perl', './usr/lib/*/gconv', './var/cache', './var/lib/apt', './var/lib/dpkg']

export const step: Step = {
  name: 'userland',
  scope: 'target',
  needs: [],
  host: DEBIAN_REQUIREMENTS,
  code: ['steps/userland.ts', 'steps/stock.ts'],
  inputs: (context) => ({ ...debianOf(context), packages: Object.keys(PACKAGES), leftOut: LEFT_OUT }),
  outputs: (context) => [userlandArchive(context)],
  async run(context): Promise<Facts> {
    const folder = userlandFolder(context)
    const { distribution, suite } = debianOf(context)
    log.step('userland', `programs of ${distribution} for the kernel's own tests`)
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(join(folder, USERLAND), { recursive: true })
    await install(context, suite, folder)
    rmSync(join(folder, USERLAND), { recursive: true, force: true })
    return { distribution }
  },
}

const userlandFolder = (context: Context): string => join(context.paths.work, 'userland')

/** @returns the archive, whose names all begin with {@link USERLAND} */
export const userlandArchive = (context: Context): string => join(userlandFolder(context), 'root.cpio')

async function install(context: Context, suite: string, folder: string): Promise<void> {
  // Its packages need nothing of apt, and the machine has no network.
  const command = await mmdebstrap(suite, join(context.paths.work, 'userland.sources'), Object.keys(PACKAGES), [], 'essential')
  const excluded = LEFT_OUT.map((path) => `--exclude=${quote(path)}`).join(' ')
  const script = `set -o pipefail
    ${command} | ${untar(`--directory ${USERLAND} --no-same-owner ${excluded}`)}
    find ${USERLAND} -print0 | LC_ALL=C sort -z | cpio --create --null --format=newc --owner=0:0 --quiet >root.cpio.new
    mv root.cpio.new root.cpio`
  await runLogged(['bash', '-e', '-c', script], {
    cwd: folder,
    doing: `installing programs of ${suite}`,
    log: join(context.paths.logs, 'userland.log'),
    kind: 'environment',
    hint: 'It needs root, or user namespaces and newuidmap, which is in the package uidmap.',
    onLine: log.counter(),
  })
}
