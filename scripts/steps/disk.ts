// SPDX-License-Identifier: GPL-2.0-only
/** The disk of a machine on which a distribution is installed, before its first boot: a root file system without a boot loader. */

import { chmodSync, closeSync, mkdirSync, openSync, readFileSync, rmSync, symlinkSync, writeFileSync, writeSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { GATEWAY } from '../../vm/topology.ts'
import { callersEnvironment } from '../base/environment.ts'
import { Failure } from '../base/errors.ts'
import { sha256File } from '../base/files.ts'
import { log } from '../base/log.ts'
import { quote } from '../base/quote.ts'
import { ROOT } from '../base/root.ts'
import { capture, runLogged } from '../base/run.ts'
import type { Context } from '../build/context.ts'
import type { Facts, Step } from '../build/step.ts'
import { DEBIAN_REQUIREMENTS, DISK_REQUIREMENTS } from '../packages.ts'
import { TARGETS, type Stock } from '../targets.ts'
import { diskFiles, DKMS_PACKAGES, PACKAGES, STOCK_TOOLS } from '../../vm/disk-files.ts'
import { dkmsPackage, step as dkms } from './dkms.ts'
import { installDeb, mmdebstrap } from './stock.ts'

const SECTOR = 512
const SECTORS_A_MEGABYTE = 2048
/** Where the partition begins, and how long it is: between the master boot record and it GRUB has its place. */
const FIRST_SECTOR = 2048
const PARTITION_MEGABYTES = 4096

/**
 * Features of ext4 that GRUB of Debian 12 knows, by name: what mke2fs takes by itself grows with its version.
 */
const FEATURES = 'none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum'

/** Units that would do something at a time of their own, and are of no use to a gateway that lives for minutes. */
const MASKED = ['apt-daily.timer', 'apt-daily-upgrade.timer', 'e2scrub_all.timer', 'fstrim.timer', 'dpkg-db-backup.timer']

/** A system with the distribution's kernel, into which packages of another one come. */
export const step: Step = diskStep('disk', [])

/** A system whose own kernel stays, and for which DKMS has compiled IPVS with SNAT. */
export const stockStep: Step = diskStep('disk-stock', [dkms])

function diskStep(name: string, needs: readonly Step[]): Step {
  return {
    name,
    scope: 'variant',
    needs,
    host: [...DEBIAN_REQUIREMENTS, ...DISK_REQUIREMENTS],
    code: ['steps/disk.ts', 'steps/stock.ts', '../vm/disk-files.ts'],
    inputs: async (context) => ({
      ...debianOf(context),
      packages: packagesOf(context),
      agent: ['agent', 'agent-service'].map((file) => readFileSync(guestFile(file), 'utf8')),
      network: JSON.stringify(GATEWAY),
      ...(context.stock ? { dkms: await sha256File(dkmsPackage(context)) } : {}),
    }),
    outputs(context) {
      const { disk, kernel, initrd } = installedDisk(context)
      return [disk, kernel, initrd]
    },
    async run(context): Promise<Facts> {
      const folder = diskFolder(context)
      const { distribution, suite } = debianOf(context)
      log.step(name, `${distribution} on a disk${context.stock ? `, and ${basename(dkmsPackage(context))}` : ''}`)
      rmSync(folder, { recursive: true, force: true })
      mkdirSync(folder, { recursive: true })
      writeFiles(join(folder, 'files'))
      await install(context, suite, folder)
      writePartitionTable(installedDisk(context).disk)
      rmSync(join(folder, 'files'), { recursive: true, force: true })
      return { distribution }
    },
  }
}

const packagesOf = ({ stock }: Context): string[] => [...PACKAGES, ...(stock ? [...DKMS_PACKAGES, ...STOCK_TOOLS] : [])]

/** What the step makes: the disk, and what boots it for the first time, without a boot loader. */
export interface InstalledDisk {
  disk: string
  kernel: string
  initrd: string
}

/** Everything of the disk, before and after it was made. */
export const diskFolder = (context: Context): string => join(context.paths.work, `disk-${context.variant}`)

export function installedDisk(context: Context): InstalledDisk {
  const folder = diskFolder(context)
  return { disk: join(folder, 'disk'), kernel: join(folder, 'vmlinuz'), initrd: join(folder, 'initrd') }
}

const guestFile = (name: string): string => join(ROOT, 'vm/guest', name)

/** @throws Failure of kind `usage` for a target whose kernel no distribution at hand boots with */
export function debianOf({ target }: Context): Stock {
  if (target.stock) return target.stock
  const known = TARGETS.flatMap(({ name, stock }) => (stock ? [`${name} (${stock.distribution})`] : []))
  throw new Failure('usage', `There is no system to install packages of TARGET=${target.name} into.`, { hint: `Targets that have one: ${known.join(', ')}` })
}

/** @param folder root of what is laid over the distribution's files */
function writeFiles(folder: string): void {
  const write = (path: string, content: string, mode = 0o644): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), content)
    chmodSync(join(folder, path), mode)
  }
  for (const { path, content, mode } of diskFiles()) write(path, content, mode)
  write('usr/local/lib/lab/agent', readFileSync(guestFile('agent'), 'utf8'))
  write('usr/local/sbin/lab-agent', readFileSync(guestFile('agent-service'), 'utf8'), 0o755)
  for (const unit of MASKED) link('/dev/null', join(folder, 'etc/systemd/system', unit))
  link('../lab-agent.service', join(folder, 'etc/systemd/system/multi-user.target.wants/lab-agent.service'))
}

function link(to: string, path: string): void {
  mkdirSync(dirname(path), { recursive: true })
  symlinkSync(to, path)
}

/** What is done in the new system, before it has ever booted. */
function hooks(context: Context): string[] {
  const enable = 'chroot "$1" systemctl enable systemd-networkd.service'
  return context.stock ? [enable, ...installDeb(dkmsPackage(context))] : [enable]
}

async function install(context: Context, suite: string, folder: string): Promise<void> {
  const logFile = join(context.paths.logs, `disk-${context.variant}.log`)
  const command = await mmdebstrap(suite, join(context.paths.work, `disk-${context.variant}.sources`), packagesOf(context), hooks(context))
  const unpack = [
    'mkdir root && tar --extract --directory root --numeric-owner',
    'cp -R --no-preserve=ownership files/. root/',
    'cp root/boot/vmlinuz-* vmlinuz && cp root/boot/initrd.img-* initrd && chmod a+r vmlinuz initrd',
    `mke2fs -q -t ext4 -O ${FEATURES} -L root -d root -E offset=${FIRST_SECTOR * SECTOR} disk ${PARTITION_MEGABYTES}M`,
    'rm -rf root',
  ]
  // Only root, or who takes himself for root, can make files of others.
  const fakeroot = process.getuid?.() === 0 ? [] : ['fakeroot']
  const script = `set -o pipefail; ${command} | ${[...fakeroot, 'sh', '-e', '-c', unpack.join('\n')].map(quote).join(' ')}`
  await runLogged(['bash', '-c', script], {
    cwd: folder,
    env: withSbin(),
    doing: `installing ${suite}`,
    log: logFile,
    kind: 'environment',
    hint: 'It needs root, or user namespaces and newuidmap, which is in the package uidmap.',
    onLine: log.counter(),
  })
}

/**
 * Makes a file system with what is in a folder, without mounting it.
 *
 * @param path of the file, whose whole length it has
 */
export async function makeFileSystem(path: string, { label, from, megabytes }: { label: string; from: string; megabytes: number }): Promise<void> {
  await capture(['mke2fs', '-q', '-t', 'ext4', '-O', FEATURES, '-L', label, '-d', from, path, `${megabytes}M`], { kind: 'environment', env: withSbin() })
}

/** mke2fs is an administrator's command, which is not on every user's PATH. */
const withSbin = (): NodeJS.ProcessEnv => ({ ...callersEnvironment(), PATH: `${process.env['PATH']}:/usr/sbin:/sbin` })

/** One bootable partition, as the master boot record has it: https://en.wikipedia.org/wiki/Master_boot_record#PTE */
export function partitionTable(firstSector: number, sectors: number): Buffer {
  const table = Buffer.alloc(SECTOR)
  // Cylinders and heads are given up for: FE FF FF is what stands there for a disk beyond them.
  table.set([0x80, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff], 446)
  table.writeUInt32LE(firstSector, 454)
  table.writeUInt32LE(sectors, 458)
  table.writeUInt32LE(0x4c56534e, 440)
  table.writeUInt16LE(0xaa55, 510)
  return table
}

function writePartitionTable(disk: string): void {
  const fd = openSync(disk, 'r+')
  try {
    writeSync(fd, partitionTable(FIRST_SECTOR, PARTITION_MEGABYTES * SECTORS_A_MEGABYTE), 0, SECTOR, 0)
  } finally {
    closeSync(fd)
  }
}
