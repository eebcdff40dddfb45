// SPDX-License-Identifier: GPL-2.0-only
/** The image of the lab's virtual machines, from the packages that the repo step has made. */

import { join } from 'node:path'
import { assemble, type Image } from '../../vm/guest/image.ts'
import { partsFromPackages } from '../../vm/guest/packages.ts'
import { findAccelerator } from '../../vm/qemu/accelerator.ts'
import type { Accelerator } from '../../vm/qemu/arguments.ts'
import type { Context } from '../build/context.ts'
import { bring } from '../build/step.ts'
import { step as repo } from '../steps/repo.ts'
import { busyboxFile, guestTools } from '../steps/tools.ts'

export interface Guest {
  image: Image
  accelerator: Accelerator
}

/**
 * Builds the packages if they are not up to date, and the image from them.
 *
 * @throws Failure of the build's, or of kind `environment` when a part is missing
 */
export async function bringGuest(context: Context): Promise<Guest> {
  await bring(context, repo)
  const { dist, work, cache } = context.paths
  const parts = await partsFromPackages(
    join(dist, 'RPMS', 'x86_64'), busyboxFile(context), guestTools(context), join(work, `guest-${context.variant}`, 'root'),
  )
  const image = assemble(parts, join(work, `guest-${context.variant}`, 'image'))
  return { image, accelerator: await findAccelerator(image, context.variant, cache) }
}
