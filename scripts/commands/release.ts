// SPDX-License-Identifier: GPL-2.0-only
import { Failure } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { isSet } from '../build/context.ts'
import { withBuildLock } from '../build/lock.ts'
import { bring, requireUpToDate } from '../build/step.ts'
import { requireVersion, tagRelease } from '../build/tag.ts'
import type { Command } from '../command.ts'
import { requireKey } from '../package/sign.ts'
import { clearSignatures, releaseFolder, releaseStep, requireSources, saysLeftOut, signRelease, verifyRelease } from '../collect/release.ts'
import { TARGETS } from '../targets.ts'

const command: Command = {
  summary: 'build all targets, collect them with what tells of them, and tag the commit (VERSION=)',
  help: `Builds every target (${TARGETS.map(({ name }) => name).join(', ')}), the package for DKMS and the tools' packages for Debian, and puts all of it into dist/release/VERSION: packages,
repositories and patches, manifest.json, SHA256SUMS, the section of CHANGELOG.md, a bill of materials (SPDX) and a statement of
how it was made (in-toto, SLSA). The commit gets the annotated tag vVERSION when all is there.
  make release VERSION=1.1.0

Refused are changes that are not committed, a version that is not semver's, that has a tag, or that is not greater
than the last one, one that package.json does not say, one without a section in CHANGELOG.md, and changes that are in none. So is a target whose
source cannot be had, before anything is built: bring it by make fetch, or say that the release is to be without it:
  make release VERSION=1.1.0 WITHOUT=el6
WITHOUT=deb leaves out what make deb makes.
SIGN=KEY signs the tag and SHA256SUMS, and adds signed copies of the packages as make repo does.
AGAIN=1 makes a release that was tagged once more; the same host gives the same bytes. docs/releasing.md tells more.`,
  step: releaseStep,
  async run(context) {
    const version = await requireVersion(context)
    const { SIGN } = context.variables
    const signer = SIGN ? await requireKey(SIGN) : undefined
    await requireSources(context)
    for (const line of saysLeftOut(context)) log.warn(`left out: ${line}`)
    await bring(context, releaseStep(context))
    await withBuildLock(context, async () => {
      if ((await requireVersion(context)).commit !== version.commit) throw new Failure('usage', 'Another commit was checked out meanwhile; nothing was tagged.')
      await requireUpToDate(context, releaseStep(context))
      clearSignatures(context)
      await verifyRelease(releaseFolder(context))
      if (signer !== undefined) await signRelease(context, signer)
      if (isSet(context.variables, 'AGAIN')) return
      await tagRelease(context, version, signer)
      log.info(`tagged ${version.tag}; to publish it: git push REMOTE ${version.tag}`)
    })
    process.stdout.write(`${releaseFolder(context)}\n`)
  },
}
export default command
