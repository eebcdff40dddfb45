// SPDX-License-Identifier: GPL-2.0-only
import { withBuildLock } from '../build/lock.ts'
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { signPackages } from '../package/sign.ts'
import { createRepository, requireMade, signedFolder, step, sumsFile } from '../steps/repo.ts'

const command: Command = {
  summary: 'make dist an RPM repository with checksums; SIGN= makes a signed copy, for apt too',
  help: `Writes dist/VARIANT/repodata, so that the folder can be served to dnf and yum as it
is, and SHA256SUMS over packages, repository and exported patch.
Check a copy with: cd dist/lts && sha256sum --check SHA256SUMS

SIGN=KEY, a key that gpg can sign with, makes dist/VARIANT/signed as well: the packages signed, repodata with
repomd.xml.asc, what make kmod and make deb have made for Debian as a repository of apt (DEBS/InRelease) and for EL10 among the other RPMs, and KEY.asc.
A package that SHA256SUMS does not list, and make kmod, make deb or make srpm has not made last, is refused.
docs/hosting.md says how to serve it.`,
  step,
  async run(context) {
    const { dist } = context.paths
    const { SIGN } = context.variables
    await bring(context, step)
    process.stdout.write(`${sumsFile(context)}\n`)
    // No build may change the packages meanwhile.
    if (SIGN) {
      await withBuildLock(context, async () => {
        await requireMade(context)
        await signPackages(dist, signedFolder(context), SIGN, (folder, folders) => createRepository(context, folder, folders))
      })
    }
  },
}
export default command
