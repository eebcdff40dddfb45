// SPDX-License-Identifier: GPL-2.0-only
/** The image of the lab's virtual machines, from the packages that the repo step has made. */

import { basename, join } from 'node:path'
import { assemble, type Image } from '../../vm/guest/image.ts'
import { partsFromPackages } from '../../vm/guest/packages.ts'
import { findAccelerator } from '../../vm/qemu/accelerator.ts'
import type { Accelerator } from '../../vm/qemu/arguments.ts'
import { Failure } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { isSet, type Context } from '../build/context.ts'
import { bring } from '../build/step.ts'
import { kernelRelease } from '../steps/kernel.ts'
import { bringModules, ipvsModules } from '../steps/modules.ts'
import { step as repo } from '../steps/repo.ts'
import { busyboxFile, guestTools } from '../steps/tools.ts'

export interface Guest {
  image: Image
  accelerator: Accelerator
}

/** Whether edits of the modules are to be tried that are in no package yet. */
export const isQuick = ({ variables }: Context): boolean => isSet(variables, 'QUICK')

/**
 * Builds the packages if they are not up to date, and the image from them. With QUICK=1 only the modules are compiled, and stand
 * in for those of the packages that there are.
 *
 * @throws Failure of the build's, of kind `environment` when a part is missing, or `usage` when modules and packages are of two kernels
 */
export async function bringGuest(context: Context): Promise<Guest> {
  const quick = isQuick(context)
  if (quick) await bringModules(context)
  else await bring(context, repo)
  const { dist, work, cache } = context.paths
  const parts = await partsFromPackages(
    join(dist, 'RPMS', 'x86_64'), busyboxFile(context), guestTools(context), join(work, `guest-${context.variant}`, 'root'),
  )
  const image = assemble({ ...parts, ...(quick ? { instead: builtModules(context, basename(parts.modules)) } : {}) }, join(work, `guest-${context.variant}`, 'image'))
  return { image, accelerator: await findAccelerator(image, context.variant, cache) }
}

/** @param release of the kernel in the packages */
function builtModules(context: Context, release: string): Map<string, string> {
  if (release !== kernelRelease(context)) {
    throw new Failure('usage', `The packages are of ${release}, the modules for ${kernelRelease(context)}.`, { hint: 'make packages the kernel; QUICK=1 is for edits of its modules.' })
  }
  log.warn('what is tested are modules that are in no package: QUICK=1')
  return new Map(ipvsModules(context).map((path) => [`kernel/${path}`, join(context.paths.build, path)]))
}
