// SPDX-License-Identifier: GPL-2.0-only
/** Assembles the guest: an initramfs of busybox, the lab's init, the tools and the modules that the tests need. */

import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Failure } from '../../scripts/base/errors.ts'
import { ROOT } from '../../scripts/base/root.ts'
import { CHARACTER_DEVICE, cpio, type Entry, FILE, FOLDER, LINK } from './cpio.ts'
import { closure, moduleName } from './modules.ts'

/** Modules of the guest; `*` ends a prefix. Those that are missing are taken to be built in. */
const MODULES = [
  'virtio_pci', 'virtio_console', 'e1000e', 'ip_vs', 'ip_vs_*', 'nf_conntrack', 'nf_conntrack_ipv4', 'nf_nat',
  'iptable_*', 'ip_tables', 'xt_*', 'ipt_*', 'veth', 'dummy', 'pktgen', 'tun', 'ipip', 'ip_gre', 'af_packet', 'ipv6', 'sch_netem', 'vrf', '8021q', 'macvlan',
  'nfnetlink_queue', 'nf_tables', 'nft_*', 'nf_flow_table', 'nf_flow_table_inet',
  // What libcrc32c asks the crypto layer for; modules.dep does not know of it. (crc32c_intel needs a CPU that we do not show.)
  'crc32c_generic', 'crc32c',
]

const MAX_MODULE_BYTES = 64 << 20

/** What an image is made of. */
export interface Parts {
  /** The kernel's bzImage. */
  kernel: string
  /** `/lib/modules/RELEASE` of that kernel. */
  modules: string
  /** A static busybox. */
  busybox: string
  /** Further files: path in the guest, path here. */
  files: ReadonlyMap<string, string>
  /** What stands in for modules: path in {@link modules}, path here. */
  instead?: ReadonlyMap<string, string>
  /** Modules that not every guest has, by their names as in {@link MODULES}. */
  furtherModules?: readonly string[]
}

export interface Image {
  kernel: string
  initrd: string
  /** The kernel's release, `uname -r`. */
  release: string
}

const INIT = join(ROOT, 'vm/guest/init')
const AGENT = join(ROOT, 'vm/guest/agent')
const FOLDERS = ['bin', 'sbin', 'dev', 'etc', 'lib', 'lib/modules', 'usr', 'usr/bin', 'usr/sbin', 'root', 'tmp', 'var', 'var/run']

/**
 * @param folder where the initramfs is put, under a name that is the digest of its content
 * @throws Failure of kind `environment` when a part is missing
 */
export function assemble(parts: Parts, folder: string): Image {
  for (const path of [parts.kernel, parts.modules, parts.busybox, ...parts.files.values()]) {
    if (!existsSync(path)) throw new Failure('environment', `The virtual machine needs ${path}, which does not exist.`)
  }
  const release = parts.modules.replace(/\/+$/, '').split('/').pop() ?? ''
  const archive = cpio([
    ...FOLDERS.map((path): Entry => ({ path, mode: FOLDER | 0o755 })),
    { path: 'dev/console', mode: CHARACTER_DEVICE | 0o600, device: [5, 1] },
    { path: 'dev/null', mode: CHARACTER_DEVICE | 0o666, device: [1, 3] },
    file('init', INIT, 0o755),
    file('agent', AGENT, 0o644),
    file('bin/busybox', parts.busybox, 0o755),
    { path: 'bin/sh', mode: LINK | 0o777, data: Buffer.from('busybox') },
    { path: 'sbin/modprobe', mode: LINK | 0o777, data: Buffer.from('../bin/busybox') },
    ...moduleEntries(parts, release),
    ...fileEntries(parts.files),
  ])
  mkdirSync(folder, { recursive: true })
  const initrd = join(folder, `${createHash('sha256').update(archive).digest('hex').slice(0, 16)}.cpio`)
  if (!existsSync(initrd)) {
    writeFileSync(`${initrd}.new`, archive)
    renameSync(`${initrd}.new`, initrd)
  }
  pruneOthers(initrd)
  return { kernel: parts.kernel, initrd, release }
}

/** Such files are large, and who edits makes many of them. */
const KEPT_MS = 24 * 3600 * 1000

/**
 * Keeps a file or folder as long as this process is there, and removes those beside it that no process keeps and nobody has
 * used for a day. How long a machine runs, and boots from it again, is not told by any clock.
 */
export function pruneOthers(path: string, now = Date.now()): void {
  utimesSync(path, now / 1000, now / 1000)
  flock(openSync(path, 'r'), '--shared')
  const folder = dirname(path)
  for (const name of readdirSync(folder)) {
    const other = join(folder, name)
    const used = statSync(other, { throwIfNoEntry: false })?.mtimeMs ?? now
    if (now - used > KEPT_MS) removeUnlessKept(other)
  }
}

function removeUnlessKept(path: string): void {
  const fd = openSync(path, 'r')
  try {
    if (flock(fd, '--exclusive')) rmSync(path, { recursive: true, force: true })
  } finally {
    closeSync(fd)
  }
}

/** @returns whether this process has the lock of what is open, until that is closed */
const flock = (fd: number, mode: '--shared' | '--exclusive'): boolean =>
  spawnSync('flock', [mode, '--nonblock', '3'], { stdio: ['ignore', 'ignore', 'inherit', fd] }).status === 0

const file = (path: string, from: string, mode: number): Entry => ({ path, mode: FILE | mode, data: readFileSync(from) })

function fileEntries(files: ReadonlyMap<string, string>): Entry[] {
  const folders = new Set<string>()
  for (const path of files.keys()) for (const parent of parents(path)) folders.add(parent)
  return [
    ...[...folders].filter((path) => !FOLDERS.includes(path)).map((path): Entry => ({ path, mode: FOLDER | 0o755 })),
    ...[...files].map(([path, from]) => file(path.replace(/^\//, ''), from, 0o755)),
  ]
}

function moduleEntries({ modules: folder, instead, furtherModules = [] }: Parts, release: string): Entry[] {
  const dep = join(folder, 'modules.dep')
  if (!existsSync(dep)) {
    throw new Failure('environment', `${folder} has no modules.dep.`, { hint: `depmod -b ${dirname(dirname(dirname(folder)))} ${release}` })
  }
  const set = closure(readFileSync(dep, 'utf8'), [...MODULES, ...furtherModules])
  const top = `lib/modules/${release}`
  const folders = new Set<string>([top])
  for (const path of set.paths) for (const parent of parents(`${top}/${path}`)) folders.add(parent)
  const names = set.paths.map(moduleName)
  return [
    ...[...folders].filter((path) => !FOLDERS.includes(path)).map((path): Entry => ({ path, mode: FOLDER | 0o755 })),
    ...set.paths.map((path): Entry => ({ path: `${top}/${plain(path)}`, mode: FILE | 0o644, data: readModule(instead?.get(path) ?? join(folder, path)) })),
    { path: `${top}/modules.dep`, mode: FILE | 0o644, data: Buffer.from(plain(set.dep)) },
    { path: `${top}/modules.alias`, mode: FILE | 0o644, data: Buffer.from(aliases(folder, names)) },
    ...readdirSync(folder).filter((name) => name === 'modules.builtin').map((name) => file(`${top}/${name}`, join(folder, name), 0o644)),
  ]
}

/** Names of modules without the ending of those that are compressed. */
const plain = (text: string): string => text.replace(/(\.ko)\.xz\b/g, '$1')

/** Distributions compress modules; busybox loads them as they are. */
const readModule = (path: string): Buffer => (path.endsWith('.xz') ? execFileSync('xz', ['--decompress', '--stdout', path], { maxBuffer: MAX_MODULE_BYTES }) : readFileSync(path))

/** The lines of modules.alias that lead to modules of the image: the kernel loads by alias. */
function aliases(folder: string, names: readonly string[]): string {
  const path = join(folder, 'modules.alias')
  if (!existsSync(path)) return ''
  const kept = readFileSync(path, 'utf8').split('\n').filter((line) => names.includes(line.split(' ')[2] ?? ''))
  return kept.length === 0 ? '' : `${kept.join('\n')}\n`
}

/** The folders above a path, outermost first. */
function parents(path: string): string[] {
  const parts = path.replace(/^\//, '').split('/').slice(0, -1)
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'))
}
