// SPDX-License-Identifier: GPL-2.0-only
import { bring } from '../build/step.ts'
import type { Command } from '../command.ts'
import { step, sumsFile } from '../steps/repo.ts'

const command: Command = {
  summary: 'make dist an RPM repository with checksums',
  help: `Writes dist/VARIANT/repodata, so that the folder can be served to dnf and yum as it
is, and SHA256SUMS over packages, repository and exported patch.
Check a copy with: cd dist/lts && sha256sum --check SHA256SUMS`,
  step,
  async run(context) {
    await bring(context, step)
    process.stdout.write(`${sumsFile(context)}\n`)
  },
}
export default command
