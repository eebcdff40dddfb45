// SPDX-License-Identifier: GPL-2.0-only
/** What packages say of themselves. */

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { sha256File } from '../base/files.ts'
import { capture } from '../base/run.ts'

/** A package, as its header has it. */
export interface PackageFacts {
  file: string
  sha256: string
  /** What installs it. */
  type: 'rpm' | 'deb'
  name: string
  /** With the epoch before it, if it has one. */
  version: string
  /** "src" of a source package. */
  architecture: string
  summary: string
  license: string
  /** File name of the source package that it was built from, and of a source package the names of its sources. */
  source?: string
  sources: string[]
}

const FIELDS = ['%{NAME}', '%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}', '%|SOURCEPACKAGE?{src}:{%{ARCH}}|', '%{LICENSE}', '%{SOURCERPM}', '%{SUMMARY}'] as const

/** @returns what a package says of itself */
export async function describePackage(path: string): Promise<PackageFacts> {
  const about = basename(path).endsWith('.deb') ? await describeDeb(path) : await describeRpm(path)
  return { file: basename(path), sha256: await sha256File(path), ...about }
}

type Described = Omit<PackageFacts, 'file' | 'sha256'>

async function describeRpm(path: string): Promise<Described> {
  const { stdout } = await capture(['rpm', '--query', '--package', '--nosignature', '--queryformat', `${FIELDS.join('\\n')}\\n[%{SOURCE}\\n]`, path])
  const [name = '', version = '', architecture = '', license = '', source = '', summary = '', ...rest] = stdout.split('\n')
  const sources = architecture === 'src' ? rest.filter(Boolean) : []
  return { type: 'rpm', name, version, architecture, summary, license, sources, ...(source === '(none)' ? {} : { source }) }
}

async function describeDeb(path: string): Promise<Described> {
  const { stdout } = await capture(['dpkg-deb', '--show', '--showformat', '${Package}\\n${Version}\\n${Architecture}\\n${binary:Synopsis}\\n', path])
  const [name = '', version = '', architecture = '', summary = ''] = stdout.split('\n')
  return { type: 'deb', name, version, architecture, summary, license: await debLicense(path, name), sources: [] }
}

/** A package of Debian says it in its file of copyrights, which machines can read (DEP-5). */
async function debLicense(path: string, name: string): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-deb-'))
  try {
    await capture(['dpkg-deb', '--extract', path, folder])
    const file = join(folder, 'usr/share/doc', name, 'copyright')
    const said = existsSync(file) ? readFileSync(file, 'utf8') : ''
    return [...new Set([...said.matchAll(/^License: (\S+)$/gm)].map(([, license = '']) => license))].join(' AND ')
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
