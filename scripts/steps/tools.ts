// SPDX-License-Identifier: GPL-2.0-only
/** The static tools: packages of ipvsadm and keepalived, and programs of the virtual machines. */

import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join, relative } from 'node:path'
import { Failure } from '../base/errors.ts'
import { digestTree, listFiles, sha256File } from '../base/files.ts'
import { log } from '../base/log.ts'
import { quote } from '../base/quote.ts'
import { capture, runLogged } from '../base/run.ts'
import { contextOf, toolSource, type Context } from '../build/context.ts'
import { findMusl } from '../build/musl.ts'
import { bringResult } from '../build/results.ts'
import { codeDigest, digest, type Facts, type Json, type Step } from '../build/step.ts'
import { ask } from '../build/toolversions.ts'
import { lostSymbols, parseFragment } from '../kernel/kconfig.ts'
import { requireSaved, seriesPatches, subjectOf } from '../kernel/series.ts'
import { publish, requireEl6 } from '../package/publish.ts'
import { buildPackages, fillLines, locationMacros, requirePatchNames, rpmEnvironment, setGlobals, upstreamVersion, type PackageSource } from '../package/rpm.ts'
import { BUILD_HOST, BUILDID, SOURCE_DATE_EPOCH } from '../release.ts'
import { TREES } from '../trees.ts'
import { bringVerified, patchesOf, sourceFile, step as fetch } from './fetch.ts'
import { step as patch } from './patch.ts'

/** A tool that becomes a package, and the libraries that are compiled into it. */
export interface PackagedTool {
  name: string
  libraries: readonly string[]
  /** About how many lines its build prints, for messages. */
  lines: number
  /** What its release begins with: it grows whenever the same version of the tool comes with other patches. */
  build: number
}

export const PACKAGED: readonly PackagedTool[] = [
  { name: 'ipvsadm', libraries: ['popt', 'libnl'], lines: 504, build: 5 },
  { name: 'keepalived', libraries: ['openssl', 'libnl'], lines: 872, build: 3 },
]

/** What a spec has where the patches of a series are named, and where its changelog tells of them. */
const PATCHES = '# @patches@'
const CHANGES = '- @changes@'
/** The changelog's line of a version that the series is not made for. */
const UNCHANGED = '- Without the series, which this version is not known to'

/** A program of the virtual machines that is built as autoconf has it. */
interface GuestTool {
  name: string
  configure: readonly string[]
  /** Arguments of make. */
  make: readonly string[]
  /** What comes out, in the source folder. */
  program: string
}

const GUEST_TOOLS: readonly GuestTool[] = [
  {
    name: 'iptables',
    // The legacy interface, which 2.6.32 has too.
    configure: ['--disable-shared', '--enable-static', '--disable-nftables', '--disable-ipv6', '--disable-connlabel', '--disable-devel'],
    // libtool drops -static.
    make: ['LDFLAGS="$LDFLAGS -all-static"'],
    program: 'iptables/xtables-legacy-multi',
  },
  { name: 'ethtool', configure: ['--disable-netlink', '--disable-pretty-dump'], make: [], program: 'ethtool' },
]

/** Programs of the virtual machines that are our own: `vm/guest/NAME.c`. */
const OWN_TOOLS = ['alloc-fail', 'bulk-stream', 'fresh-slabs', 'genl-exchange', 'mark-window', 'netlink-batch', 'queue-accept', 'send-unsummed', 'short-connections', 'snat-fuzz', 'steady-stream'] as const

const SHARED_FILES = ['musl.sh', 'musl.COPYRIGHT', 'GPL-2.0.txt']

/** The modules by which tools are built, and results of them shared. */
const CODE = ['steps/tools.ts', 'kernel/kconfig.ts', 'package/publish.ts', 'package/rpm.ts']

/** ipvsadm as it is published, for tests that it works beside the patched one. */
const STOCK_IPVSADM = 'ipvsadm-stock'

/** One step a tool, so that a change in one does not build the others again. */
export const TOOL_STEPS: readonly Step[] = [busyboxStep(), ...GUEST_TOOLS.map(guestToolStep), ...OWN_TOOLS.map(ownToolStep), stockIpvsadmStep(), ...PACKAGED.map(packageStep)]

export const step: Step = {
  name: 'tools',
  scope: 'target',
  needs: TOOL_STEPS,
  code: CODE,
  inputs: () => null,
  outputs: () => [],
  run: async () => ({}),
}

/** @returns the static busybox of the virtual machines */
export const busyboxFile = (context: Context): string => join(context.paths.tools, 'busybox', 'busybox')

/** @returns further programs of the virtual machines: path there, path here */
export const guestTools = (context: Context): Map<string, string> =>
  new Map([...GUEST_TOOLS.map(({ name }) => name), ...OWN_TOOLS, STOCK_IPVSADM].map((name) => [`/usr/sbin/${name}`, join(context.paths.tools, name, name)]))

/** @returns of each tool the paths of its packages, the source package among them */
export function toolPackages(context: Context): Record<string, string[]> {
  return Object.fromEntries(
    PACKAGED.map(({ name }): [string, string[]] => {
      const folder = join(context.paths.tools, name)
      return [name, listFiles(folder).filter((file) => file.endsWith('.rpm')).map((file) => join(folder, file))]
    }),
  )
}

/** @returns the source of a packaged tool or of a library of one */
const sourceOf = (context: Context, tool: string): ReturnType<typeof sourceFile> => sourceFile(context, toolSource(context, tool))

/** @returns digests of sources, and of the patches that are applied to them */
const sourceDigests = (context: Context, tools: readonly string[]): string[] =>
  tools.map((tool) => sourceOf(context, tool)).flatMap(({ sha256, patches }) => [sha256, ...(patches ? [patches.sha256] : [])])

/** @returns whether a file is a package of a tool, of whichever target */
export const isToolPackage = (file: string): boolean => PACKAGED.some(({ name }) => new RegExp(`^${name}-\\d.*\\.rpm$`).test(file))

const specsFolder = (context: Context, name: string): string => join(context.paths.root, 'specs', name)

function fileDigests(context: Context, ...paths: string[]): Json {
  const digests = Object.entries(digestTree(...paths))
  return Object.fromEntries(digests.map(([path, digest]) => [relative(context.paths.root, path), digest]))
}

let toolchainInputs: Promise<Json> | undefined

/** What decides a tool's bytes besides its sources, spec and script; results are shared by it. Found out once, for all tools. */
const toolchain = (): Promise<Json> => (toolchainInputs ??= findToolchain())

async function findToolchain(): Promise<Json> {
  const [wrapper, ...programs] = await Promise.all([
    ask('sh', '-c', 'command -v musl-gcc'), ask('gcc', '--version'), ask('ld', '--version'), ask('rpmbuild', '--version'),
  ])
  return {
    macros: locationMacros('.', 1),
    programs,
    wrapper: readFileSync(wrapper, 'utf8'),
    libc: (await findMusl()).sha256,
    kernelHeaders: await sha256File('/usr/include/linux/version.h'),
  }
}

function hasTree(tool: string): boolean {
  return TREES.some(({ name }) => name === tool)
}

/** @returns the context of the tool's own tree, if it has a series */
function treeOf(context: Context, { name }: PackagedTool): Context | undefined {
  return hasTree(name) ? contextOf(context, name) : undefined
}

/** @returns the tool's patches, in order; its tree has them applied, and nothing else */
async function toolPatches(context: Context, tool: PackagedTool): Promise<string[]> {
  const tree = treeOf(context, tool)
  if (!tree) return []
  await requireSaved(tree, `${tool.name} cannot be packaged`)
  return seriesPatches(tree)
}

function packageStep(tool: PackagedTool): Step {
  return toolStep(tool.name, {
    inputs: async (context) => ({
      sources: sourceDigests(context, [tool.name, ...tool.libraries]),
      files: fileDigests(context, specsFolder(context, tool.name), specsFolder(context, 'static'), ...await toolPatches(context, tool)),
      release: [tool.build, BUILDID, SOURCE_DATE_EPOCH, BUILD_HOST],
    }),
    after: hasTree(tool.name) ? [{ ...patch, context: (context) => contextOf(context, tool.name) }] : [],
    async make(context, folder) {
      await publish(await buildTool(context, tool), folder)
      rmSync(topdirOf(context, tool.name), { recursive: true, force: true })
    },
  })
}

interface Recipe {
  /** What decides the result besides the toolchain. */
  inputs: (context: Context) => Promise<{ [key: string]: Json }> | { [key: string]: Json }
  /** Steps that come before it, besides fetching. */
  after?: readonly Step[]
  /** Builds the tool into a folder. */
  make: (context: Context, folder: string) => Promise<void>
}

/** A step whose result all checkouts share. */
function toolStep(name: string, recipe: Recipe): Step {
  const folder = (context: Context): string => join(context.paths.tools, name)
  return {
    name: `tool-${name}`,
    scope: 'target',
    needs: [],
    code: CODE,
    after: [fetch, ...(recipe.after ?? [])],
    inputs: async (context) => ({ ...await recipe.inputs(context), toolchain: await toolchain() }),
    outputs: (context) => [folder(context)],
    async run(context): Promise<Facts> {
      const key = digest({ ...await recipe.inputs(context), toolchain: await toolchain(), code: codeDigest(CODE) })
      const built = await bringResult(context, { name, key, make: (into) => recipe.make(context, into) }, folder(context))
      const files = digestTree(folder(context))
      return { built, files: Object.fromEntries(Object.entries(files).map(([path, sha256]) => [basename(path), sha256])) }
    },
  }
}

const topdirOf = (context: Context, name: string): string => join(context.paths.tools, `rpmbuild-${name}`)

async function buildTool(context: Context, tool: PackagedTool): Promise<string[]> {
  const { version, filename } = sourceOf(context, tool.name)
  log.step('tools', `${tool.name} ${version}, static, with ${tool.libraries.join(' and ')}`)
  const packages = await buildPackages(context, {
    name: tool.name,
    spec: toolSpec(context, tool, filename, await toolPatches(context, tool)),
    sources: await toolSources(context, tool),
    topdir: topdirOf(context, tool.name),
    log: join(context.paths.logs, `tool-${tool.name}.log`),
    onLine: log.counter(tool.lines),
  })
  for (const path of packages) await requireEl6(path)
  return packages
}

function toolSpec(context: Context, tool: PackagedTool, filename: string, patches: readonly string[]): string {
  const spec = readFileSync(join(specsFolder(context, tool.name), `${tool.name}.spec`), 'utf8')
  const libraries = tool.libraries.flatMap((name): [string, string][] => {
    const library = sourceOf(context, name)
    return [[`${name}_source`, library.filename], [`${name}_patches`, library.patches?.filename ?? '%{nil}']]
  })
  const filled = setGlobals(spec, {
    tool_version: upstreamVersion(filename),
    tool_source: filename,
    tool_release: `${tool.build}${BUILDID}`,
    build_host: BUILD_HOST,
    ...Object.fromEntries(libraries),
  })
  return treeOf(context, tool) ? fillPatches(filled, patches) : filled
}

/**
 * Names the patches where the spec takes them, and in its changelog by their subjects.
 *
 * @throws Failure of kind `patch` for a name that could not stand there
 */
export function fillPatches(spec: string, patches: readonly string[]): string {
  requirePatchNames(patches.map((path) => basename(path)))
  const lines = patches.map((path, index) => `${`Patch${index + 1}:`.padEnd(15)} ${basename(path)}`)
  const changes = patches.map((path) => `- ${subjectOf(readFileSync(path, 'utf8')).replaceAll('%', '%%')}`)
  if (patches.length === 0) changes.push(UNCHANGED)
  return fillLines(fillLines(spec, PATCHES, lines), CHANGES, changes)
}

async function toolSources(context: Context, tool: PackagedTool): Promise<PackageSource[]> {
  const fetched: PackageSource[] = []
  for (const name of [tool.name, ...tool.libraries]) {
    const source = await bringVerified(context, toolSource(context, name))
    fetched.push({ name: source.filename, path: source.path }, ...patchesOf(context, source))
  }
  const own = listFiles(specsFolder(context, tool.name))
    .filter((name) => !name.endsWith('.spec'))
    .map((name) => ({ name, path: join(specsFolder(context, tool.name), name) }))
  const patches = (await toolPatches(context, tool)).map((path) => ({ name: basename(path), path }))
  const shared = SHARED_FILES.map((name) => ({ name, path: join(specsFolder(context, 'static'), name) }))
  return [...fetched, ...own, ...patches, ...shared]
}

/** busybox as its own documentation says: a configuration, here defconfig and our fragment, and make. */
const BUSYBOX_MAKE = {
  defconfig: 'make defconfig',
  config: "yes '' | make oldconfig",
  build: 'make CC=static-cc HOSTCC=gcc busybox',
}

function busyboxStep(): Step {
  return toolStep('busybox', {
    inputs: (context) => ({
      source: sourceFile(context, 'busybox').sha256,
      files: fileDigests(context, specsFolder(context, 'busybox'), join(specsFolder(context, 'static'), 'musl.sh')),
      release: [SOURCE_DATE_EPOCH],
      make: BUSYBOX_MAKE,
    }),
    make: buildBusybox,
  })
}

async function buildBusybox(context: Context, folder: string): Promise<void> {
  const { path, version } = await bringVerified(context, 'busybox')
  log.step('tools', `busybox ${version}, static, for the virtual machines`)
  const top = join(context.paths.tools, 'busybox-build')
  const fragment = join(specsFolder(context, 'busybox'), 'busybox.config')
  rmSync(top, { recursive: true, force: true })
  mkdirSync(top, { recursive: true })
  const script = (log: string, lines: readonly string[]) => staticScript(context, 'busybox', log, top, ['unset CFLAGS LDFLAGS', ...lines])
  await script('busybox-defconfig', [`static_unpack ${quote(path)} source && cd source`, BUSYBOX_MAKE.defconfig])
  replaceSymbols(join(top, 'source', '.config'), readFileSync(fragment, 'utf8'))
  await script('busybox-config', ['cd source', BUSYBOX_MAKE.config])
  requireSymbols(fragment, join(top, 'source', '.config'))
  await script('busybox', [`cd source && MAKEFLAGS=-j${context.jobs} ${BUSYBOX_MAKE.build}`])
  await capture([join(top, 'source', 'busybox'), 'true'])
  copyFileSync(join(top, 'source', 'busybox'), join(folder, 'busybox'))
  rmSync(top, { recursive: true, force: true })
}

function guestToolStep(tool: GuestTool): Step {
  return toolStep(tool.name, {
    inputs: (context) => ({
      source: sourceFile(context, tool.name).sha256,
      files: fileDigests(context, join(specsFolder(context, 'static'), 'musl.sh')),
      release: [SOURCE_DATE_EPOCH],
      recipe: [...tool.configure, ...tool.make, tool.program],
    }),
    make: (context, folder) => buildGuestTool(context, tool, folder),
  })
}

async function buildGuestTool(context: Context, tool: GuestTool, folder: string): Promise<void> {
  const { path, version } = await bringVerified(context, tool.name)
  log.step('tools', `${tool.name} ${version}, static, for the virtual machines`)
  const top = join(context.paths.tools, `${tool.name}-build`)
  rmSync(top, { recursive: true, force: true })
  mkdirSync(top, { recursive: true })
  await staticScript(context, tool.name, tool.name, top, [
    `static_unpack ${quote(path)} source && cd source`,
    `./configure --host=x86_64-linux-musl --prefix=/usr ${tool.configure.join(' ')}`,
    `make -j${context.jobs} ${tool.make.join(' ')}`,
  ])
  copyFileSync(join(top, 'source', tool.program), join(folder, tool.name))
  rmSync(top, { recursive: true, force: true })
}

const OWN_TOOL_FLAGS = '-Wall -Wextra'

function ownToolStep(name: string): Step {
  const source = (context: Context): string => join(context.paths.root, 'vm/guest', `${name}.c`)
  return toolStep(name, {
    inputs: (context) => ({
      files: fileDigests(context, source(context), join(specsFolder(context, 'static'), 'musl.sh')),
      flags: OWN_TOOL_FLAGS,
    }),
    async make(context, folder) {
      const top = join(context.paths.tools, `${name}-build`)
      rmSync(top, { recursive: true, force: true })
      mkdirSync(top, { recursive: true })
      await staticScript(context, name, name, top, [`$CC $CFLAGS ${OWN_TOOL_FLAGS} $LDFLAGS -o '${join(folder, name)}' '${source(context)}'`])
      rmSync(top, { recursive: true, force: true })
    },
  })
}

function stockIpvsadmStep(): Step {
  const sources = ['ipvsadm', 'popt', 'libnl']
  return toolStep(STOCK_IPVSADM, {
    inputs: (context) => ({
      sources: sourceDigests(context, sources),
      files: fileDigests(context, join(specsFolder(context, 'static'), 'musl.sh')),
      release: [SOURCE_DATE_EPOCH],
    }),
    async make(context, folder) {
      const top = join(context.paths.tools, `${STOCK_IPVSADM}-build`)
      rmSync(top, { recursive: true, force: true })
      mkdirSync(top, { recursive: true })
      const unpack: string[] = []
      for (const name of sources) {
        const source = await bringVerified(context, name)
        unpack.push(['static_unpack', quote(source.path), name, ...patchesOf(context, source).map(({ path }) => quote(path))].join(' '))
      }
      await staticScript(context, STOCK_IPVSADM, STOCK_IPVSADM, top, [
        `STATIC_MAKE=-j${context.jobs}`,
        ...unpack,
        'static_popt popt',
        'static_libnl libnl',
        'cd ipvsadm',
        'make -C libipvs CC="$CC" CFLAGS="$CFLAGS -DLIBIPVS_USE_NL" libipvs.a',
        'make CC="$CC" CFLAGS="$CFLAGS $LDFLAGS" ipvsadm',
      ])
      copyFileSync(join(top, 'ipvsadm', 'ipvsadm'), join(folder, STOCK_IPVSADM))
      rmSync(top, { recursive: true, force: true })
    },
  })
}

/** Runs lines of shell in `top`, with the functions of specs/static/musl.sh. */
async function staticScript(context: Context, tool: string, name: string, top: string, lines: readonly string[]): Promise<void> {
  const prologue = [`. ${quote(join(specsFolder(context, 'static'), 'musl.sh'))}`, 'static_toolchain static']
  await runLogged(['sh', '-e', '-c', [...prologue, ...lines].join('\n')], {
    cwd: top,
    env: { ...rpmEnvironment(context, top), KCONFIG_NOTIMESTAMP: '1', SOURCE_DATE_EPOCH: String(SOURCE_DATE_EPOCH) },
    log: join(context.paths.logs, `${name}.log`),
    doing: `building ${tool}`,
    onLine: log.counter(),
  })
}

/** Of two lines for a symbol busybox's kconfig takes the first, so those of the defconfig go. */
function replaceSymbols(config: string, fragment: string): void {
  const requested = new Set(parseFragment(fragment).map(([symbol]) => symbol))
  const kept = readFileSync(config, 'utf8').split('\n').filter((line) => !requested.has(parseFragment(line)[0]?.[0] ?? ''))
  writeFileSync(config, `${kept.join('\n')}\n${fragment}`)
}

function requireSymbols(fragment: string, config: string): void {
  const lost = lostSymbols(new Map(parseFragment(readFileSync(fragment, 'utf8'))), readFileSync(config, 'utf8'))
  if (lost.length === 0) return
  throw new Failure('build', `${lost.length} symbols of ${basename(fragment)} did not survive busybox's configuration.`, { excerpt: lost })
}
