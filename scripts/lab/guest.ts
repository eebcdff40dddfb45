// SPDX-License-Identifier: GPL-2.0-only
/** The image of the lab's virtual machines, from the packages that the repo step has made. */

import { basename, join } from 'node:path'
import { assemble, type Image, type Parts } from '../../vm/guest/image.ts'
import { type Furniture, partsFromPackages, partsFromSystem } from '../../vm/guest/packages.ts'
import { findAccelerator } from '../../vm/qemu/accelerator.ts'
import type { Accelerator } from '../../vm/qemu/arguments.ts'
import { Failure } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { isSet, type Context } from '../build/context.ts'
import { checkoutLock, withLock } from '../build/lock.ts'
import { type Revision, revision } from '../build/revision.ts'
import { bring, type Step } from '../build/step.ts'
import { kernelRelease } from '../steps/kernel.ts'
import { bringModules, ipvsModules } from '../steps/modules.ts'
import { step as repo } from '../steps/repo.ts'
import { step as stock, stockFolder } from '../steps/stock.ts'
import { busyboxFile, guestTools, step as tools, toolPackages } from '../steps/tools.ts'

export interface Guest {
  image: Image
  accelerator: Accelerator
}

/** What the guest of one command has and others do not. */
export interface Luggage {
  modules: readonly string[]
  /** Path in the guest, path here. */
  files: ReadonlyMap<string, string>
}

/** Whether edits of the modules are to be tried that are in no package yet. */
export const isQuick = ({ variables }: Context): boolean => isSet(variables, 'QUICK')

/** @returns what the virtual machines run, and the commit that it is of; that of edits says nothing of them */
export async function testedRevision(context: Context): Promise<Revision & { tested: string }> {
  const { commit, dirty } = await revision(context)
  const quick = isQuick(context)
  return { commit, dirty: dirty || quick, tested: quick ? 'modules of the prepared tree over the packages in dist' : 'packages in dist' }
}

/** @returns the step that makes what the virtual machines run */
export const testedStep = (context: Context): Step => (context.stock ? stock : repo)

/**
 * Builds the packages if they are not up to date, and the image from them. With QUICK=1 only the modules are compiled, and stand
 * in for those of the packages that there are. With KERNEL=stock the kernel is the distribution's, with modules that DKMS has made.
 *
 * @throws Failure of the build's, of kind `environment` when a part is missing, or `usage` when modules and packages are of two kernels
 */
export async function bringGuest(context: Context, luggage: Luggage = { modules: [], files: new Map() }): Promise<Guest> {
  await (context.stock ? bringStock(context) : bringPackages(context))
  // Two that begin at once would write the same files.
  const image = await withLock(checkoutLock(context, `image-${context.variant}`), 'image of a virtual machine', async () => {
    const usual = context.stock ? await stockParts(context) : await packagedParts(context)
    const parts = { ...usual, furtherModules: luggage.modules, files: new Map([...usual.files, ...luggage.files]) }
    return assemble(parts, join(guestFolder(context), 'image'))
  }, { wait: true })
  return { image, accelerator: await findAccelerator(image, context.variant, context.paths.cache) }
}

/** What the image is made of, and the image. */
export const guestFolder = (context: Context): string => join(context.paths.work, `guest-${context.variant}`)

const furniture = (context: Context): Furniture => ({
  busybox: busyboxFile(context),
  tools: guestTools(context),
  cache: join(guestFolder(context), 'root'),
})

const bringPackages = async (context: Context): Promise<unknown> => (isQuick(context) ? bringModules(context) : bring(context, repo))

async function bringStock(context: Context): Promise<void> {
  if (isQuick(context)) throw new Failure('usage', 'QUICK=1 means nothing for KERNEL=stock, whose modules DKMS makes.')
  await bring(context, tools)
  await bring(context, stock)
}

async function packagedParts(context: Context): Promise<Parts> {
  const parts = await partsFromPackages(join(context.paths.dist, 'RPMS', 'x86_64'), furniture(context))
  return isQuick(context) ? { ...parts, instead: builtModules(context, basename(parts.modules)) } : parts
}

async function stockParts(context: Context): Promise<Parts> {
  const packages = Object.values(toolPackages(context)).flat().filter((path) => !path.endsWith('.src.rpm'))
  return partsFromSystem(stockFolder(context), packages, furniture(context))
}

/** @param release of the kernel in the packages */
function builtModules(context: Context, release: string): Map<string, string> {
  if (release !== kernelRelease(context)) {
    throw new Failure('usage', `The packages are of ${release}, the modules for ${kernelRelease(context)}.`, { hint: 'make packages the kernel; QUICK=1 is for edits of its modules.' })
  }
  log.warn('what is tested are modules that are in no package: QUICK=1')
  return new Map(ipvsModules(context).map((path) => [`kernel/${path}`, join(context.paths.build, path)]))
}
