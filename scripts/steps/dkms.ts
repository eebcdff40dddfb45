// SPDX-License-Identifier: GPL-2.0-only
/** IPVS with SNAT as a package that DKMS compiles for the kernels of distributions, at each update of theirs: for Debian, and as an RPM. */

import { createHash } from 'node:crypto'
import { chmodSync, copyFileSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { callersEnvironment } from '../base/environment.ts'
import { digestTree, listFiles } from '../base/files.ts'
import { log } from '../base/log.ts'
import { capture } from '../base/run.ts'
import { contextFor, type Context } from '../build/context.ts'
import type { Facts, Step } from '../build/step.ts'
import { sourceRevision } from '../kernel/kbuild.ts'
import { APPLIED, appliedCommit, PRISTINE, requireSaved, touchedFiles, treeGit } from '../kernel/series.ts'
import { lint } from '../package/lint.ts'
import { publish } from '../package/publish.ts'
import { buildPackages, setGlobals } from '../package/rpm.ts'
import { BUILD_HOST, BUILDID, PACKAGER, SOURCE_DATE_EPOCH } from '../release.ts'
import { TARGETS } from '../targets.ts'
import { sourceFile } from './fetch.ts'
import { step as patch } from './patch.ts'
import { preparedVersion } from './prep.ts'

const NAME = 'ipvs-snat'
const PACKAGE = `${NAME}-dkms`
/** What is compiled, and what of the kernel's own it knows by. */
const HEADER = 'include/net/ip_vs.h'
const SOURCES = ['net/netfilter/ipvs', 'net/netfilter/xt_ipvs.c', HEADER]

/** Where kernels look for what is to be done when they, or their headers, have been installed. */
const HOOKS = ['etc/kernel/postinst.d/ipvs-snat', 'etc/kernel/header_postinst.d/ipvs-snat']

/** The kernel lines that some distribution has as its own; the newest comes first, as it names the package. */
const LINES = TARGETS.filter(({ stock }) => stock)

/** The targets that the package is of. */
export const DKMS_TARGETS: readonly string[] = LINES.map(({ name }) => name)

const lineContexts = (context: Context): Context[] => LINES.map(({ name }) => contextFor(context, name))

export const step: Step = {
  name: 'dkms',
  scope: 'checkout',
  needs: [],
  after: LINES.map(({ name }) => ({ ...patch, context: (context) => contextFor(context, name) })),
  code: ['steps/dkms.ts', 'package/lint.ts', 'package/publish.ts', 'package/rpm.ts'],
  inputs: async (context) => ({
    series: await Promise.all(lineContexts(context).map(async (line) => (await appliedCommit(line)) ?? '')),
    sources: lineContexts(context).map((line) => sourceFile(line, line.source).from),
    files: Object.values(digestTree(specFolder(context), licenseFile(context), join(context.paths.root, 'specs', 'rpmlint.toml'))),
    release: [packageRelease(context), PACKAGER, SOURCE_DATE_EPOCH, BUILD_HOST],
  }),
  outputs: (context) => [dkmsPackage(context), ...dkmsRpms(context)],
  async run(context): Promise<Facts> {
    for (const line of lineContexts(context)) await requireSaved(line, 'the package for DKMS cannot be made')
    const version = packageVersion(context)
    log.step('kmod', `${PACKAGE} ${version}`)
    rmSync(builtFolder(context), { recursive: true, force: true })
    const source = join(builtFolder(context), 'source')
    await fillSource(context, source, version)
    await packDeb(context, source, version)
    await packRpms(context, source, version)
    rmSync(source, { recursive: true })
    return { package: PACKAGE, version }
  },
}

const specFolder = (context: Context): string => join(context.paths.root, 'specs', 'dkms')
const licenseFile = (context: Context): string => join(context.paths.root, 'specs', 'static', 'GPL-2.0.txt')
const builtFolder = (context: Context): string => join(context.paths.checkout, 'dkms')

/** @returns path of the package for Debian */
export const dkmsPackage = (context: Context): string => join(builtFolder(context), `${PACKAGE}_${packageVersion(context)}_all.deb`)

/** @returns paths of the RPM and its source package */
export const dkmsRpms = (context: Context): string[] => ['noarch', 'src'].map((kind) => join(builtFolder(context), `${PACKAGE}-${packageVersion(context)}.${kind}.rpm`))

/** @returns paths of the packages that were made last, if any were */
export const dkmsPackages = (context: Context): string[] => listFiles(builtFolder(context)).map((name) => join(builtFolder(context), name))

/** Grows with each of the kernels whose IPVS it has. */
const kernelsVersion = (context: Context): string => lineContexts(context).map(preparedVersion).join('+')

/** Grows with each revision of a kernel, and with each release of the series. */
const packageRelease = (context: Context): string => `${lineContexts(context).map(sourceRevision).join('.')}${BUILDID}`

const packageVersion = (context: Context): string => `${kernelsVersion(context)}-${packageRelease(context)}`

const readSpec = (context: Context, name: string, version: string): string => readFileSync(join(specFolder(context), name), 'utf8').replaceAll('@version@', version)

/** What DKMS needs, wherever it is. */
async function fillSource(context: Context, source: string, version: string): Promise<void> {
  for (const line of lineContexts(context)) await fillLine(context, line, join(source, line.target.line), version)
  const families = await Promise.all(lineContexts(context).map(familyRow))
  write(join(source, 'families'), families.join(''))
  write(join(source, 'dkms.conf'), readSpec(context, 'dkms.conf', version))
  for (const name of listFiles(source)) chmodSync(join(source, name), 0o644)
  for (const script of ['family', 'versions']) write(join(source, script), readSpec(context, script, version), 0o755)
}

async function packDeb(context: Context, source: string, version: string): Promise<void> {
  const root = join(builtFolder(context), 'root')
  const spec = (name: string): string => readSpec(context, name, version)
  cpSync(source, join(root, 'usr/src', `${NAME}-${version}`), { recursive: true })
  write(join(root, 'usr/share/doc', PACKAGE, 'copyright'), spec('copyright'))
  write(join(root, 'usr/share/doc', PACKAGE, 'README.md'), spec('README.md'))
  for (const hook of HOOKS) write(join(root, hook), spec('kernel-hook'), 0o755)
  write(join(root, 'DEBIAN/conffiles'), HOOKS.map((hook) => `/${hook}\n`).join(''))
  const control = [`Package: ${PACKAGE}`, `Version: ${version}`, `Maintainer: ${PACKAGER}`, spec('control')].join('\n')
  write(join(root, 'DEBIAN/control'), control)
  for (const script of ['postinst', 'prerm']) write(join(root, 'DEBIAN', script), spec(script), 0o755)
  await pack(root, dkmsPackage(context))
  rmSync(root, { recursive: true })
}

async function packRpms(context: Context, source: string, version: string): Promise<void> {
  const top = join(builtFolder(context), 'rpm')
  const tarball = `${PACKAGE}-${version}.tar.xz`
  cpSync(source, join(top, 'files/source'), { recursive: true })
  write(join(top, 'files/README.md'), readSpec(context, 'README.md', version))
  await capture([
    ...['tar', '--create', '--sort=name', `--mtime=@${SOURCE_DATE_EPOCH}`, '--owner=0', '--group=0', '--numeric-owner', '--mode=u=rwX,go=rX'],
    ...['--use-compress-program=xz --threads=1', '--file', join(top, tarball), '--directory', join(top, 'files'), '.'],
  ])
  const packages = await buildPackages(context, {
    name: PACKAGE,
    spec: setGlobals(readSpec(context, `${PACKAGE}.spec`, version), { dkms_version: kernelsVersion(context), dkms_release: packageRelease(context), build_host: BUILD_HOST }),
    sources: [{ name: tarball, path: join(top, tarball) }, { name: basename(licenseFile(context)), path: licenseFile(context) }],
    topdir: join(top, 'rpmbuild'),
    log: join(context.paths.logs, 'dkms.log'),
  })
  log.info(`rpmlint, dkms: ${await lint(context, 'dkms', packages)}`)
  await publish(packages, builtFolder(context))
  rmSync(top, { recursive: true })
}

async function fillLine(context: Context, line: Context, folder: string, version: string): Promise<void> {
  const git = treeGit(line)
  const own = (await touchedFiles(line)).filter((name) => name.startsWith('include/'))
  await git.unpack(APPLIED, [...new Set([...(await git.files(APPLIED, SOURCES)), ...own])], folder)
  copyFileSync(join(specFolder(context), 'Kbuild'), join(folder, 'Kbuild'))
  for (const name of listFiles(folder)) tellVersion(join(folder, name), version)
}

/** DKMS of Debian 12 puts a module in the place of the kernel's own only if it has another version, and those have none. */
function tellVersion(path: string, version: string): void {
  const content = readFileSync(path, 'utf8')
  const told = content.replace(/^MODULE_LICENSE\(.*\);$/m, `$&\nMODULE_VERSION("${version}");`)
  if (told !== content) writeFileSync(path, told)
}

/** What tells whether a kernel's IPVS is the one that is here, see `specs/dkms/family`. */
async function familyRow(line: Context): Promise<string> {
  const digest = createHash('sha256').update(await treeGit(line).text('show', `${PRISTINE}:${HEADER}`)).digest('hex')
  const version = preparedVersion(line)
  const { origin, from } = sourceFile(line, line.source)
  return `${line.target.line} ${version} ${origin === 'apt' ? from.split(' ').at(-1) : `${version}-1`} ${digest}\n`
}

function write(path: string, content: string, mode = 0o644): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, content)
  chmodSync(path, mode)
}

/** The same bytes from the same files: without times of this run, owners and the folders' modes of this host. */
async function pack(root: string, deb: string): Promise<void> {
  await capture(['chmod', '-R', 'u=rwX,go=rX', root])
  const env = { ...callersEnvironment(), SOURCE_DATE_EPOCH: String(SOURCE_DATE_EPOCH) }
  await capture(['dpkg-deb', '--build', '--root-owner-group', '-Zxz', root, deb], { env, kind: 'environment' })
}
