import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from '../lib/command.ts'
import type { Context } from '../lib/context.ts'
import { asideOf, listFiles, replaceFolder, sha256File, writeIfChanged } from '../lib/files.ts'
import { log } from '../lib/log.ts'
import { runLogged } from '../lib/run.ts'
import { bring, type Facts, type Step } from '../lib/step.ts'
import { SOURCE_DATE_EPOCH } from '../release.ts'
import { step as exportStep } from './export.ts'
import { step as rpm } from './rpm.ts'

/** The folders of dist that the checksums cover, besides the exported patch. */
const COVERED = ['RPMS', 'SRPMS', 'repodata']

export const step: Step = {
  name: 'repo',
  scope: 'variant',
  needs: [rpm, exportStep],
  code: ['commands/repo.ts'],
  inputs: () => ({ options: [...OPTIONS] }),
  outputs: (context) => [join(context.paths.dist, 'repodata', 'repomd.xml'), sumsFile(context)],
  async run(context) {
    await createRepository(context)
    return writeSums(context)
  },
}

/**
 * No time of this run and no database whose bytes depend on the library's version; gzip,
 * which yum of EL6 reads too. The files' own times were set when they were published.
 */
const OPTIONS = [
  '--quiet',
  '--revision',
  String(SOURCE_DATE_EPOCH),
  '--set-timestamp-to-revision',
  '--no-database',
  '--general-compress-type=gz',
  '--checksum=sha256',
  '--workers=1',
  '--excludes=test/*',
  '--excludes=production/*',
]

async function createRepository(context: Context): Promise<void> {
  const { dist, logs } = context.paths
  const aside = asideOf(join(dist, 'repodata'))
  mkdirSync(aside)
  try {
    await runLogged(['createrepo_c', ...OPTIONS, '--outputdir', aside, dist], {
      log: join(logs, 'createrepo.log'),
      doing: 'making the RPM repository',
    })
    replaceFolder(join(aside, 'repodata'), join(dist, 'repodata'))
  } finally {
    rmSync(aside, { recursive: true, force: true })
  }
}

const sumsFile = (context: Context): string => join(context.paths.dist, 'SHA256SUMS')

/** Writes dist's SHA256SUMS, which `sha256sum --check` reads. */
async function writeSums(context: Context): Promise<Facts> {
  const { dist } = context.paths
  const patches = readdirSync(dist).filter((name) => name.endsWith('.patch'))
  const packaged = COVERED.filter((folder) => existsSync(join(dist, folder)))
    .flatMap((folder) => listFiles(join(dist, folder)).map((name) => `${folder}/${name}`))
  const lines: string[] = []
  for (const name of [...packaged, ...patches].sort()) lines.push(`${await sha256File(join(dist, name))}  ${name}\n`)
  writeIfChanged(sumsFile(context), lines.join(''))
  log.info(`${lines.length} files in ${sumsFile(context)}`)
  return { files: lines.length }
}

const command: Command = {
  summary: 'make dist an RPM repository with checksums',
  help: `Writes dist/VARIANT/repodata, so that the folder can be served to dnf and yum as it
is, and SHA256SUMS over packages, repository and exported patch.
Check a copy with: cd dist/lts && sha256sum --check SHA256SUMS`,
  async run(context) {
    await bring(context, step)
    process.stdout.write(`${sumsFile(context)}\n`)
  },
}
export default command
