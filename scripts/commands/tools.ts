import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join, relative } from 'node:path'
import type { Command } from '../lib/command.ts'
import type { Context } from '../lib/context.ts'
import { Failure } from '../lib/errors.ts'
import { asideOf, digestTree, listFiles, replaceFolder } from '../lib/files.ts'
import { lostSymbols, parseFragment } from '../lib/kconfig.ts'
import { log } from '../lib/log.ts'
import { buildPackages, publish, requireEl6, rpmEnvironment, setGlobals, upstreamVersion, type PackageSource } from '../lib/rpm.ts'
import { capture, runLogged } from '../lib/run.ts'
import { bring, type Facts, type Json, type Step } from '../lib/step.ts'
import { BUILD_HOST, RELEASE, SOURCE_DATE_EPOCH } from '../release.ts'
import { sourceFile, step as fetch } from './fetch.ts'

/** A tool that becomes a package, and the libraries that are compiled into it. */
interface PackagedTool {
  name: string
  libraries: readonly string[]
}

const PACKAGED: readonly PackagedTool[] = [
  { name: 'ipvsadm', libraries: ['popt', 'libnl'] },
  { name: 'keepalived', libraries: ['openssl', 'libnl'] },
]

const SHARED_FILES = ['musl.sh', 'musl.COPYRIGHT', 'GPL-2.0.txt']

/** One step a tool, so that a change in one does not build the others again. */
export const TOOL_STEPS: readonly Step[] = [busyboxStep(), ...PACKAGED.map(packageStep)]

export const step: Step = {
  name: 'tools',
  scope: 'checkout',
  needs: TOOL_STEPS,
  inputs: () => null,
  outputs: () => [],
  run: async () => ({}),
}

/** @returns the static busybox of the virtual machines */
export const busyboxFile = (context: Context): string => join(context.paths.tools, 'busybox', 'busybox')

/** @returns of each tool the paths of its packages, the source package among them */
export function toolPackages(context: Context): Record<string, string[]> {
  return Object.fromEntries(
    PACKAGED.map(({ name }): [string, string[]] => {
      const folder = join(context.paths.tools, name)
      return [name, listFiles(folder).filter((file) => file.endsWith('.rpm')).map((file) => join(folder, file))]
    }),
  )
}

const specsFolder = (context: Context, name: string): string => join(context.paths.root, 'specs', name)

function fileDigests(context: Context, ...paths: string[]): Json {
  const digests = Object.entries(digestTree(...paths))
  return Object.fromEntries(digests.map(([path, digest]) => [relative(context.paths.root, path), digest]))
}

async function compilers(): Promise<Json> {
  const { stdout } = await capture(['gcc', '--version'])
  return { gcc: stdout.split('\n')[0] ?? '', wrapper: readFileSync(await commandPath('musl-gcc'), 'utf8') }
}

async function commandPath(name: string): Promise<string> {
  const { stdout } = await capture(['sh', '-c', `command -v ${name}`], { kind: 'environment' })
  return stdout.trim()
}

function packageStep(tool: PackagedTool): Step {
  const sources = [tool.name, ...tool.libraries]
  const folder = (context: Context): string => join(context.paths.tools, tool.name)
  return {
    name: `tool-${tool.name}`,
    scope: 'checkout',
    needs: [],
    after: [fetch],
    inputs: async (context) => ({
      sources: sources.map((name) => sourceFile(context, name).sha256),
      files: fileDigests(context, specsFolder(context, tool.name), specsFolder(context, 'static')),
      release: [RELEASE, SOURCE_DATE_EPOCH, BUILD_HOST],
      compilers: await compilers(),
    }),
    outputs: (context) => [folder(context)],
    async run(context) {
      const packages = await buildTool(context, tool)
      const aside = asideOf(folder(context))
      const published = await publish(packages, aside)
      replaceFolder(aside, folder(context))
      rmSync(topdirOf(context, tool.name), { recursive: true, force: true })
      return { packages: published as unknown as Json }
    },
  }
}

const topdirOf = (context: Context, name: string): string => join(context.paths.tools, `rpmbuild-${name}`)

async function buildTool(context: Context, tool: PackagedTool): Promise<string[]> {
  const { version, filename } = sourceFile(context, tool.name)
  log.step('tools', `${tool.name} ${version}, static, with ${tool.libraries.join(' and ')}`)
  let lines = 0
  const packages = await buildPackages(context, {
    name: tool.name,
    spec: toolSpec(context, tool, filename),
    sources: toolSources(context, tool),
    topdir: topdirOf(context, tool.name),
    log: join(context.paths.logs, `tool-${tool.name}.log`),
    onLine: (line) => log.progress(`${++lines} ${line.trim()}`),
  })
  for (const path of packages) await requireEl6(path)
  return packages
}

function toolSpec(context: Context, tool: PackagedTool, filename: string): string {
  const spec = readFileSync(join(specsFolder(context, tool.name), `${tool.name}.spec`), 'utf8')
  const libraries = tool.libraries.map((name) => [`${name}_source`, sourceFile(context, name).filename])
  return setGlobals(spec, {
    tool_version: upstreamVersion(filename),
    tool_source: filename,
    tool_release: RELEASE,
    build_host: BUILD_HOST,
    ...Object.fromEntries(libraries),
  })
}

function toolSources(context: Context, tool: PackagedTool): PackageSource[] {
  const fetched = [tool.name, ...tool.libraries].map((name) => {
    const { filename, path } = sourceFile(context, name)
    return { name: filename, path }
  })
  const own = listFiles(specsFolder(context, tool.name))
    .filter((name) => !name.endsWith('.spec'))
    .map((name) => ({ name, path: join(specsFolder(context, tool.name), name) }))
  const shared = SHARED_FILES.map((name) => ({ name, path: join(specsFolder(context, 'static'), name) }))
  return [...fetched, ...own, ...shared]
}

function busyboxStep(): Step {
  return {
    name: 'tool-busybox',
    scope: 'checkout',
    needs: [],
    after: [fetch],
    inputs: async (context) => ({
      source: sourceFile(context, 'busybox').sha256,
      files: fileDigests(context, specsFolder(context, 'busybox'), join(specsFolder(context, 'static'), 'musl.sh')),
      compilers: await compilers(),
    }),
    outputs: (context) => [busyboxFile(context)],
    run: buildBusybox,
  }
}

/** busybox as its own documentation says: a configuration, here defconfig and our fragment, and make. */
async function buildBusybox(context: Context): Promise<Facts> {
  const { filename, path, version } = sourceFile(context, 'busybox')
  log.step('tools', `busybox ${version}, static, for the virtual machines`)
  const top = join(context.paths.tools, 'busybox-build')
  const fragment = join(specsFolder(context, 'busybox'), 'busybox.config')
  rmSync(top, { recursive: true, force: true })
  mkdirSync(top, { recursive: true })
  await busyboxScript(context, 'busybox-defconfig', top, [`static_unpack '${path}' source && cd source`, 'make defconfig'])
  replaceSymbols(join(top, 'source', '.config'), readFileSync(fragment, 'utf8'))
  await busyboxScript(context, 'busybox-config', top, ['cd source', "yes '' | make oldconfig"])
  requireSymbols(fragment, join(top, 'source', '.config'))
  await busyboxScript(context, 'busybox', top, [`cd source && make -j${context.jobs} CC=static-cc HOSTCC=gcc busybox`])
  mkdirSync(join(context.paths.tools, 'busybox'), { recursive: true })
  const aside = asideOf(busyboxFile(context))
  copyFileSync(join(top, 'source', 'busybox'), aside)
  await capture([aside, 'true'])
  renameSync(aside, busyboxFile(context))
  rmSync(top, { recursive: true, force: true })
  return { version: upstreamVersion(filename) }
}

/** Runs lines of shell in `top`, with the functions of specs/static/musl.sh; busybox brings its own compiler flags. */
async function busyboxScript(context: Context, name: string, top: string, lines: readonly string[]): Promise<void> {
  const prologue = [`. '${join(specsFolder(context, 'static'), 'musl.sh')}'`, 'static_toolchain static', 'unset CFLAGS LDFLAGS']
  let count = 0
  await runLogged(['sh', '-e', '-c', [...prologue, ...lines].join('\n')], {
    cwd: top,
    env: { ...rpmEnvironment(context, top), KCONFIG_NOTIMESTAMP: '1', SOURCE_DATE_EPOCH: String(SOURCE_DATE_EPOCH) },
    log: join(context.paths.logs, `${name}.log`),
    doing: 'building busybox',
    onLine: (line) => log.progress(`${++count} ${line.trim()}`),
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

const command: Command = {
  summary: 'build busybox, ipvsadm and keepalived, static with musl',
  help: `ipvsadm and keepalived become RPMs that run on EL6 to EL10: one program each,
with the libraries they need compiled in. busybox becomes the user space of the
virtual machines and is not packaged. Prints the paths of what was built.

Needs musl-gcc and the kernel's headers. They are built once for all targets.`,
  async run(context) {
    await bring(context, step)
    for (const path of [busyboxFile(context), ...Object.values(toolPackages(context)).flat()]) process.stdout.write(`${path}\n`)
  },
}
export default command
