// SPDX-License-Identifier: GPL-2.0-only
/** Takes the guest's parts out of the RPMs in dist, or out of a system: what is tested is what is shipped. */

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Failure } from '../../scripts/base/errors.ts'
import { sha256File } from '../../scripts/base/files.ts'
import { capture } from '../../scripts/base/run.ts'
import { type Parts, pruneOthers } from './image.ts'

/** Packages the guest is made of. */
const KERNEL = 'kernel'
const TOOL_PACKAGES = ['ipvsadm', 'keepalived'] as const
const TOOLS = ['usr/sbin/ipvsadm', 'usr/sbin/keepalived'] as const
const EXTRACT = 'rpm2cpio "$1" >payload && cpio --extract --make-directories --quiet --no-absolute-filenames <payload && rm payload'

/** What the guest has besides a kernel and its modules. */
export interface Furniture {
  /** The static one. */
  busybox: string
  /** Further static programs: path in the guest, path here. */
  tools: ReadonlyMap<string, string>
  /** Folder to unpack packages into; what was unpacked once stays for the next time. */
  cache: string
}

/**
 * @param rpms folder with the binary packages
 * @throws Failure of kind `environment` when a package is missing
 */
export async function partsFromPackages(rpms: string, furniture: Furniture): Promise<Parts> {
  const root = await unpack([KERNEL, ...TOOL_PACKAGES].map((name) => findPackage(rpms, name)), furniture.cache)
  return partsFrom(root, join(root, 'lib/modules'), root, furniture)
}

/**
 * @param system root of a system that has one kernel
 * @param packages those of {@link TOOLS}
 */
export async function partsFromSystem(system: string, packages: readonly string[], furniture: Furniture): Promise<Parts> {
  return partsFrom(system, join(system, 'usr/lib/modules'), await unpack(packages, furniture.cache), furniture)
}

async function partsFrom(system: string, folder: string, tools: string, furniture: Furniture): Promise<Parts> {
  const releases = readdirSync(folder)
  const [release] = releases
  if (release === undefined || releases.length > 1) {
    throw new Failure('environment', `There are modules of ${releases.length} kernels, not of one.`)
  }
  const modules = join(folder, release)
  if (!existsSync(join(modules, 'modules.dep'))) await capture([depmod(), '-b', system, release])
  const files = new Map([...furniture.tools, ...TOOLS.map((path): [string, string] => [`/${path}`, join(tools, path)])])
  return { kernel: join(system, 'boot', `vmlinuz-${release}`), modules, busybox: furniture.busybox, files }
}

/** The name, perhaps that of a variant such as "kernel-debug", a version that begins with a digit; and no "kernel-devel". */
function findPackage(folder: string, name: string): string {
  const pattern = new RegExp(`^${name}(-(?!devel-)[a-z]+)?-\\d.*\\.x86_64\\.rpm$`)
  const found = existsSync(folder) ? readdirSync(folder).filter((file) => pattern.test(file)) : []
  const [first] = found
  if (first !== undefined && found.length === 1) return join(folder, first)
  throw new Failure('environment', `${folder} has ${found.length} packages of ${name}; the virtual machine needs exactly one.`, { hint: 'make repo' })
}

/** Unpacks packages into a folder named by their digests. */
async function unpack(packages: readonly string[], cache: string): Promise<string> {
  const digests = await Promise.all(packages.map(sha256File))
  const root = join(cache, createHash('sha256').update(digests.join()).digest('hex').slice(0, 16))
  if (existsSync(root)) {
    pruneOthers(root)
    return root
  }
  const unfinished = `${root}.${process.pid}`
  rmSync(unfinished, { recursive: true, force: true })
  mkdirSync(unfinished, { recursive: true })
  for (const path of packages) {
    await capture(['sh', '-c', EXTRACT, 'sh', path], { cwd: unfinished, kind: 'environment' })
  }
  renameSync(unfinished, root)
  pruneOthers(root)
  return root
}

const depmod = (): string => ['/sbin/depmod', '/usr/sbin/depmod'].find((path) => existsSync(path)) ?? 'depmod'
