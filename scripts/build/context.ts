// SPDX-License-Identifier: GPL-2.0-only
/** What every command is given: the variables of the command line, checked, and the folders they lead to. */

import { createHash } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { availableParallelism, homedir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { Failure } from '../base/errors.ts'
import { ROOT } from '../base/root.ts'
import type { SrpmSource } from '../sources.ts'
import { DEFAULT_TARGET, FLAVOURS, flavourWords, TARGETS, type Flavour, type Stock, type Target, type TargetFlavour } from '../targets.ts'
import { KERNEL_TREE, TREES, type Tree } from '../trees.ts'

/** What the names of variables have before them in the environment, where others are called TARGET and DEBUG too. */
export const PREFIX = 'LVS_SNAT_'

/** Which kernels KERNEL=stock names, for messages. */
const STOCK_KERNELS = `that of ${TARGETS.flatMap(({ name, stock }) => (stock ? [`${stock.distribution} (TARGET=${name})`] : [])).join(' or ')}`

/** The variables a user may set, as `make NAME=value`, or with {@link PREFIX} in the environment. */
export const VARIABLES = {
  TARGET: `kernel line to build: ${TARGETS.map((target) => target.name).join(', ')} (default ${DEFAULT_TARGET})`,
  KERNEL: `which kernel of the line, such as 2.6.32-279.22.1.el6, into dist/TARGET-KERNEL; or stock, for e2e and vm: ${STOCK_KERNELS} (default: the target's own)`,
  TREE: `source whose series patch, save and discard are about: ${TREES.map((tree) => tree.name).join(', ')} (default ${KERNEL_TREE})`,
  CONFIG: 'kernel configuration: gateway, or rhel (el6 only: RHEL\'s own, all drivers), into dist/TARGET-rhel (default gateway)',
  SRPM: 'source package of an el6 kernel, instead of fetching it; its name tells KERNEL',
  SRPM_SHA256: 'SHA-256 of a source package that no pinned key signed, and that you vouch for',
  SIGN: 'key, as gpg knows it, that make repo signs packages and repositories with, into dist/VARIANT/signed, and make release the tag and all of a release',
  VERSION: 'what is released, such as 1.1.0',
  WITHOUT: 'targets that a release is made without, and deb for the packages of make deb, separated by commas',
  AGAIN: '1: make a release of which there is a tag once more (default 0)',
  DEBUG: '1: IPVS debug configuration, into dist/TARGET-debug (default 0)',
  SANITIZE: '1: KASAN, lockdep and kmemleak, into dist/TARGET-sanitize; kcsan: KCSAN, into dist/TARGET-kcsan (not of el6; default 0)',
  JOBS: 'parallel compile jobs (default: the number of CPUs)',
  ONLY: 'end-to-end tests or selftests to run, or parts of the benchmark: words that their names contain, separated by commas',
  REPEAT: 'how many times the end-to-end tests are run, or the parts of the benchmark (default 1)',
  LABS: 'how many labs of virtual machines run end-to-end tests at the same time (default: one for each CPU, up to 4)',
  FUZZ: 'how many random netlink messages the suite fuzz sends (default 20000)',
  SEED: 'which ones (default 12), or which actions soak takes (default: chance): a number',
  EVENTS: 'how many events of connections the suite whohad causes, twice (default 40000)',
  HOURS: 'how long soak goes on, such as 8 or 0.05 (default 1)',
  FASTPATH: '1: the end-to-end tests with net.ipv4.vs.snat_fastpath on (default 0)',
  CACHE: 'folder of downloads and build results (default ~/.cache/lvs-snat)',
  SETUP: 'no: report missing packages instead of installing them (default yes)',
  SOURCE: 'NAME=PATH[,NAME=PATH...]: take a source from a local file; names: see `make fetch` --help',
  BUILDER: 'mock or podman: what srpm-build builds with (el6)',
  WAIT: '1: wait for a build or test run of this checkout to end, instead of refusing (default 0)',
  DRYRUN: '1: say which steps would run, and why, and run none (default 0)',
  V: '1: print the commands that are run, and all that builds say (default 0)',
  Q: '1: print only warnings, errors and results (default 0)',
  QUICK: '1: e2e and vm with the modules of the prepared tree as it is, over the packages in dist as they are (default 0)',
  RUN: 'a script that vm runs in the gateway, instead of giving it the terminal',
  PUT: 'HERE=THERE[,HERE=THERE...]: files that vm puts into the gateway first',
  GET: 'THERE=HERE[,THERE=HERE...]: files that vm takes out of the gateway after RUN',
  FILTER: 'which packets vm-capture shows, as tshark -Y takes it',
  WRITE: 'file that vm-capture writes the packets to, beside showing them',
  LEVEL: 'IPVS debug level that vm-log sets (default 12)',
  LINK: 'network link that vm-capture follows (default outside)',
  A: 'results of make bench, a file or a folder, that bench-compare compares with',
  B: 'those that it says of what has changed',
} as const

export type Variable = keyof typeof VARIABLES
export type Variables = Partial<Record<Variable, string>>

export interface Context {
  readonly target: Target
  /** The source that is prepared here and has a series. All that tells of kernels means nothing where it is a tool's. */
  readonly tree: Tree
  /** Target and, unless it is the target's default, kernel: `lts`, `el6`, `el6-2.6.32-358.el6`; or a tool's source. Names the working folder. */
  readonly name: string
  /** There is no target of that name any more: no command is about its tree. */
  readonly former?: boolean
  /** Name of the tree's source, see `scripts/sources.ts`. */
  readonly source: string
  /** The kernel's source package, where the target is built from one. */
  readonly srpm?: SrpmSource
  /** Name of the kernel's configuration, as CONFIG= takes it. */
  readonly config: string
  /** Folders below `specs/kernel/` with its fragments, in order. */
  readonly configs: readonly string[]
  /** The distribution whose own kernel is meant, which is not built here. */
  readonly stock?: Stock
  /** What the kernel is built as, unless it is the one that is released. */
  readonly flavour?: Flavour & TargetFlavour
  /** {@link name} with `-CONFIG` unless it is the default, and `-FLAVOUR` or `-stock` if there is one: names the folder in dist. */
  readonly variant: string
  readonly jobs: number
  /** How many times the end-to-end tests are run, or the parts of the benchmark. */
  readonly repeat: number
  /** How many labs run them at the same time. */
  readonly labs: number
  /** How long a soak goes on. */
  readonly hours: number
  /** Which random messages or actions, if that is asked for. */
  readonly seed?: number
  readonly setup: boolean
  /** Wait for a lock of this checkout's instead of refusing. */
  readonly wait: boolean
  readonly variables: Variables
  readonly paths: Paths
}

/** How far a step's result reaches: all targets of the checkout, all variants of a target's kernel, or one variant. */
export type Scope = 'checkout' | 'target' | 'variant'

export interface Paths {
  /** The checkout. */
  readonly root: string
  readonly cache: string
  /** Content-addressed downloads: the file name is the SHA-256. */
  readonly store: string
  readonly ccache: string
  /** Results that checkouts share, by the digest of what decided them, see results.ts. */
  readonly results: string
  /** Files of locks, those of checkouts too: a folder that is removed must not take its lock along. */
  readonly locks: string
  /** Everything below the cache that belongs to this checkout. */
  readonly checkout: string
  /** Everything below {@link checkout} that belongs to this target's kernel, in every variant. */
  readonly work: string
  /** The source as a git work tree: pristine, engine and series are its commits. */
  readonly tree: string
  /**
   * The kernel's output folder (`make O=`) of this variant, and that of the released kernel in its place. It lies directly below the
   * source, because then kbuild calls the source ".." (Makefile, "building in a subdirectory
   * of the source tree"), and the objects are the same wherever the checkout is. git does not see it.
   */
  readonly build: string
  readonly releaseBuild: string
  /**
   * Static tools: one folder a tool, a copy of the shared result. The target has its own, because what a
   * run of the lab takes out of it must not become that of another target, with another keepalived, meanwhile.
   */
  readonly tools: string
  /** What each step did, by the step's scope, see step.ts. */
  readonly stamps: Readonly<Record<Scope, string>>
  readonly logs: string
  /** `dist/VARIANT` in the checkout. */
  readonly dist: string
}

/** Each takes about 1 GiB of memory, and no suite is a fourth of all. */
const MAX_LABS = 4

/**
 * @param variables what the user set
 * @param root the checkout
 * @throws Failure of kind `usage` for a value that makes no sense
 */
export function createContext(variables: Variables, root = ROOT): Context {
  for (const [name, most] of Object.entries(OF_TESTS)) count(name, variables[name as keyof typeof OF_TESTS], 1, most)
  const target = findTarget(variables.TARGET || DEFAULT_TARGET)
  const tree = findTree(variables.TREE || KERNEL_TREE)
  const stock = chooseStock(target, variables)
  const srpm = isKernel({ tree }) && !stock ? chooseKernel(target, variables) : undefined
  const name = isKernel({ tree }) ? kernelName(target, srpm) : toolSource({ target }, tree.name)
  const flavour = chooseFlavour(target, variables)
  const [config, configs] = chooseConfig(target, variables.CONFIG)
  const suffix = stock ? `-${STOCK}` : variantSuffix(target, config, flavour)
  return {
    target,
    tree,
    name,
    source: isKernel({ tree }) ? srpm?.name ?? target.source : name,
    ...(srpm ? { srpm } : {}),
    config,
    configs,
    ...(stock ? { stock } : {}),
    ...(flavour ? { flavour } : {}),
    variant: `${name}${suffix}`,
    jobs: count('JOBS', variables.JOBS, availableParallelism()),
    repeat: count('REPEAT', variables.REPEAT, 1),
    labs: count('LABS', variables.LABS, Math.min(availableParallelism(), MAX_LABS)),
    hours: hours(variables.HOURS),
    ...(variables.SEED ? { seed: Number(variables.SEED) } : {}),
    setup: flag('SETUP', variables.SETUP, { yes: true, no: false }, true),
    wait: isSet(variables, 'WAIT'),
    variables,
    paths: createPaths(root, cacheFolder(variables.CACHE), name, tree.folder, {
      suffix,
      releaseSuffix: variantSuffix(target, config),
    }),
  }
}

/** @returns whether the tree is the kernel's, with an engine and a series for each family, and not a tool's */
export const isKernel = ({ tree }: Pick<Context, 'tree'>): boolean => tree.series === undefined

/** @returns the name in `scripts/sources.ts` of the source of a tool, or of a library of one, that the target takes */
export const toolSource = ({ target }: Pick<Context, 'target'>, tool: string): string => target.tools?.[tool] ?? tool

/** @returns the command line of a command for the context's tree: each target and kernel can have one of its own */
export function goal({ tree, target, srpm }: Context, command: string): string {
  const words = [
    ...(isKernel({ tree }) ? [] : [`TREE=${tree.name}`]),
    ...(target.name === DEFAULT_TARGET ? [] : [`TARGET=${target.name}`]),
    ...(srpm === undefined || srpm.kernel === target.kernels?.default ? [] : [`KERNEL=${srpm.kernel}`]),
  ]
  return ['make', command, ...words].join(' ')
}

/** @returns the context of another tree of the same checkout */
export const contextOf = ({ variables, paths }: Context, tree: string): Context => createContext({ ...variables, TREE: tree }, paths.root)

const kernelName = ({ name, kernels }: Target, srpm?: SrpmSource): string =>
  srpm === undefined || srpm.kernel === kernels?.default ? name : `${name}-${srpm.kernel}`

/** @returns the context of another target of the same checkout */
export const contextFor = ({ variables, paths }: Context, target: string): Context => createContext({ ...variables, TARGET: target }, paths.root)

/** What KERNEL= says for the kernel that a distribution has. */
const STOCK = 'stock'

/**
 * @returns the distribution whose kernel is meant, if KERNEL= says so
 * @throws Failure of kind `usage` where there is none, or a flavour is asked for
 */
function chooseStock({ name, stock }: Target, variables: Variables): Stock | undefined {
  if (variables.KERNEL !== STOCK) return undefined
  if (!stock) {
    throw new Failure('usage', `KERNEL=${STOCK} means nothing for TARGET=${name}.`, { hint: `It is ${STOCK_KERNELS}.` })
  }
  const [flavour] = wantedFlavours(variables)
  if (!flavour) return stock
  throw new Failure('usage', `KERNEL=${STOCK} is the kernel as ${stock.distribution} has it: ${flavourWords(flavour)} means nothing for it.`)
}

/** What only makes sense for a target that is built from a source package. */
const SRPM_VARIABLES = ['KERNEL', 'SRPM', 'SRPM_SHA256'] as const

/** @returns the kernel that KERNEL= or the file name in SRPM= says, or the default; undefined where there is no choice */
function chooseKernel({ name, source, kernels }: Target, variables: Variables): SrpmSource | undefined {
  const given = SRPM_VARIABLES.filter((variable) => variables[variable])
  if (kernels === undefined && given.length > 0) {
    throw new Failure('usage', `${given.join(' and ')} mean nothing for TARGET=${name}, which is not built from a source package.`, {
      hint: `Targets that are: ${TARGETS.filter((target) => target.kernels).map((target) => target.name).join(', ')}`,
    })
  }
  if (kernels === undefined) return undefined
  const kernel = variables.KERNEL || /\/?kernel-([^/]*)\.src\.rpm$/.exec(variables.SRPM ?? '')?.[1] || kernels.default
  if (kernels.pattern.test(kernel)) return kernels.source(source, kernel)
  throw new Failure('usage', `"${kernel}" is no kernel of TARGET=${name}.`, { hint: `For example: KERNEL=${kernels.default}` })
}

/**
 * @returns the flavours that variables choose
 * @throws Failure of kind `usage` for a value that chooses none
 */
const wantedFlavours = (variables: Variables): Flavour[] =>
  [...new Set(FLAVOURS.map(({ variable }) => variable))].flatMap((variable) => {
    const flavours = FLAVOURS.filter((flavour) => flavour.variable === variable)
    const value = chosen(variable, variables[variable], ['0', ...flavours.map((flavour) => flavour.value)])
    return flavours.filter((flavour) => flavour.value === value)
  })

/**
 * @returns the flavour that a variable chooses, if one does
 * @throws Failure of kind `usage` for two of them, and for one that the target does not have
 */
function chooseFlavour(target: Target, variables: Variables): (Flavour & TargetFlavour) | undefined {
  const [flavour, another] = wantedFlavours(variables)
  if (flavour === undefined) return undefined
  if (another) throw new Failure('usage', `${flavourWords(flavour)} and ${flavourWords(another)} are different kernels.`, { hint: 'Choose one of them.' })
  const ofTarget = target.flavours[flavour.name]
  if (!('lacking' in ofTarget)) return { ...flavour, ...ofTarget }
  throw new Failure('usage', `${flavourWords(flavour)} is not available for TARGET=${target.name}: ${ofTarget.lacking}.`)
}

/** @returns what a variant has behind the {@link Context.name} */
const variantSuffix = (target: Target, config: string, flavour?: Flavour): string =>
  `${config === defaultConfig(target) ? '' : `-${config}`}${flavour ? `-${flavour.name}` : ''}`

/** @returns the names of all variants of the context's kernel */
export const variants = ({ target, name }: Context): string[] =>
  Object.keys(target.configs).flatMap((config) => [undefined, ...FLAVOURS].map((flavour) => `${name}${variantSuffix(target, config, flavour)}`))

/** @returns {@link variants}, and that of the distribution's own kernel, which is not built here but runs in the lab */
export const labVariants = (context: Context): string[] => [...variants(context), `${context.name}-${STOCK}`]

/** @returns a context for every kernel and tool that has a working folder in the checkout, under whatever name */
export const preparedTrees = (context: Context): Context[] => [...preparedContexts(context), ...preparedTools(context), ...formerContexts(context)]

/** @returns a context for every kernel that has a working folder in the checkout */
export function preparedContexts(context: Context): Context[] {
  const { cache: CACHE, root } = context.paths
  return workingFolders(context).flatMap((name) => {
    const target = TARGETS.find((candidate) => name === candidate.name || (candidate.kernels && name.startsWith(`${candidate.name}-`)))
    if (!target) return []
    const KERNEL = name.slice(target.name.length + 1)
    return [createContext({ CACHE, TARGET: target.name, ...(KERNEL === '' ? {} : { KERNEL }) }, root)]
  })
}

function preparedTools(context: Context): Context[] {
  const { cache: CACHE, root } = context.paths
  return workingFolders(context).flatMap((name) => {
    const tool = toolVariables().find((variables) => toolSource({ target: findTarget(variables.TARGET) }, variables.TREE) === name)
    return tool ? [createContext({ CACHE, ...tool }, root)] : []
  })
}

/** A target may have had another name when its tree was prepared; what is in that is the user's all the same. */
function formerContexts(context: Context): Context[] {
  const { cache: CACHE, root } = context.paths
  const known = new Set([...preparedContexts(context), ...preparedTools(context)].map(({ name }) => name))
  return workingFolders(context).filter((name) => !known.has(name)).flatMap((name) => {
    const here = createContext({ CACHE }, root)
    const paths = createPaths(root, here.paths.cache, name, here.tree.folder, { suffix: '', releaseSuffix: '' })
    return existsSync(join(paths.tree, '.git')) ? [{ ...here, name, variant: name, former: true, paths }] : []
  })
}

const workingFolders = ({ paths: { checkout } }: Context): string[] => (existsSync(checkout) ? readdirSync(checkout) : [])

/** @returns what chooses the tools of each target, that of the default target first */
const toolVariables = (): { TREE: string; TARGET: string }[] =>
  TREES.filter((tree) => !isKernel({ tree })).flatMap((tree) => TARGETS.map((target) => ({ TREE: tree.name, TARGET: target.name })))

const defaultConfig = (target: Target): string | undefined => Object.keys(target.configs)[0]

function chooseConfig(target: Target, value: string | undefined): [name: string, folders: readonly string[]] {
  const name = value || (defaultConfig(target) ?? '')
  const folders = Object.hasOwn(target.configs, name) ? target.configs[name] : undefined
  if (folders) return [name, folders]
  throw new Failure('usage', `CONFIG="${name}" is no configuration of TARGET=${target.name}.`, {
    hint: `CONFIG is one of: ${Object.keys(target.configs).join(', ')}`,
  })
}

function findTarget(name: string): Target {
  const target = TARGETS.find((candidate) => candidate.name === name)
  if (target) return target
  throw new Failure('usage', `Unknown target "${name}".`, {
    hint: `TARGET is one of: ${TARGETS.map((known) => known.name).join(', ')}`,
  })
}

function findTree(name: string): Tree {
  const tree = TREES.find((candidate) => candidate.name === name)
  if (tree) return tree
  throw new Failure('usage', `There is no series for "${name}".`, { hint: `TREE is one of: ${TREES.map((known) => known.name).join(', ')}` })
}

function flag(name: string, value: string | undefined, values: Record<string, boolean>, fallback: boolean): boolean {
  const word = chosen(name, value, Object.keys(values))
  return word === undefined ? fallback : (values[word] ?? fallback)
}

/** @returns the value, if there is one @throws Failure of kind `usage` for one that is none of `values` */
function chosen(name: string, value: string | undefined, values: readonly string[]): string | undefined {
  if (value === undefined || value === '') return undefined
  if (values.includes(value)) return value
  throw new Failure('usage', `${name}="${value}" is not understood.`, { hint: `${name} is one of: ${values.join(', ')}` })
}

/**
 * @returns whether a variable that is 1 or 0 is 1
 * @throws Failure of kind `usage` for another value
 */
export const isSet = (variables: Variables, name: Variable): boolean => flag(name, variables[name], { 1: true, 0: false }, false)

function count(name: string, value: string | undefined, fallback: number, most = 9999): number {
  if (value === undefined || value === '') return fallback
  if (/^[1-9]\d*$/.test(value) && Number(value) <= most) return Number(value)
  throw new Failure('usage', `${name}="${value}" is not a number from 1 to ${most}.`, { hint: `For example: ${name}=4` })
}

/** Numbers that tests read from the environment, and the largest that make sense. */
const OF_TESTS = { FUZZ: 1e9, SEED: 2 ** 31 - 1, EVENTS: 1e8 } as const

const DEFAULT_HOURS = 1

function hours(value: string | undefined): number {
  if (value === undefined || value === '') return DEFAULT_HOURS
  if (/^\d{1,3}(\.\d{1,4})?$/.test(value) && Number(value) > 0) return Number(value)
  throw new Failure('usage', `HOURS="${value}" is not a number of hours above 0 and below 1000.`, { hint: 'For example: HOURS=8, or HOURS=0.05 for three minutes' })
}

function cacheFolder(value: string | undefined): string {
  if (value) return resolve(value)
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'lvs-snat')
}

/** What names of output folders begin with. */
export const OUTPUT = 'build'

/** Folder of dist with one for each version that was released. */
export const RELEASES = 'release'

function createPaths(root: string, cache: string, name: string, folder: string, { suffix, releaseSuffix }: { suffix: string; releaseSuffix: string }): Paths {
  const id = createHash('sha256').update(root).digest('hex').slice(0, 8)
  const checkout = join(cache, 'checkouts', `${basename(root)}-${id}`)
  const work = join(checkout, name)
  const tree = join(work, folder)
  return {
    root,
    cache,
    store: join(cache, 'store'),
    ccache: join(cache, 'ccache'),
    results: join(cache, 'results'),
    locks: join(cache, 'locks'),
    checkout,
    work,
    tree,
    build: join(tree, `${OUTPUT}${suffix}`),
    releaseBuild: join(tree, `${OUTPUT}${releaseSuffix}`),
    tools: join(work, 'tools'),
    stamps: {
      checkout: join(checkout, 'stamps'),
      target: join(work, 'stamps'),
      variant: join(work, `stamps-${name}${suffix}`),
    },
    logs: join(work, `logs${suffix}`),
    dist: join(root, 'dist', `${name}${suffix}`),
  }
}
