// SPDX-License-Identifier: GPL-2.0-only
/** The sources that a build needs, verified, in the store. */

import { copyFileSync, existsSync, readFileSync, rmSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { download, megabytes } from '../base/download.ts'
import { Failure } from '../base/errors.ts'
import { isPlainName, sha256File } from '../base/files.ts'
import { log } from '../base/log.ts'
import { capture } from '../base/run.ts'
import { verifyTarball } from '../base/signature.ts'
import { kernelVersion, versionOfFile } from '../base/version.ts'
import { isKernel, toolSource, type Context } from '../build/context.ts'
import { withSharedThing } from '../build/lock.ts'
import { readStamp, sourcesOf, type Json, type Step, type StepName } from '../build/step.ts'
import { Apt } from '../source/apt.ts'
import { fetchSrpm, localFile } from '../source/fetch-srpm.ts'
import { Store, wrongDigest, type Stored } from '../source/store.ts'
import lock from '../sources.lock.json' with { type: 'json' }
import { SOURCES, TOOL_SOURCES, type Source, type UpstreamSource } from '../sources.ts'

const DIGESTS: Readonly<Record<string, string>> = lock

/** The modules that fetch. */
const FETCHED_BY = ['steps/fetch.ts', 'base/version.ts', 'source/apt.ts', 'base/download.ts', 'source/fetch-srpm.ts', 'base/signature.ts', 'source/srpm.ts', 'source/store.ts']

export const step: Step = {
  name: 'fetch',
  scope: 'target',
  needs: [],
  code: FETCHED_BY,
  inputs: (context) => ({
    sources: wanted(context) as unknown as Json,
    lock: DIGESTS as Json,
    local: localIdentities(context),
    ...srpmInputs(context),
  }),
  sources: (context) => wanted(context).map(({ name }) => name),
  outputs: (context) => [...wanted(context), ...(context.srpm ? [context.srpm] : [])].flatMap(({ name }) => storedFiles(context, name, step)),
  run: (context) => alone(context, async () => {
    const fetched: Record<string, Json> = {}
    if (context.srpm) fetched[context.source] = { ...(await fetchSrpm(context, context.srpm, DIGESTS)) }
    return { ...fetched, ...(await fetchAll(context, wanted(context))) }
  }),
}

/**
 * @param name of the step
 * @param names of the sources, in `scripts/sources.ts`
 * @returns a step that brings sources which not every build needs
 */
export function fetchStep(name: string, names: (context: Context) => readonly string[]): Step {
  const step: Step = {
    name,
    scope: 'target',
    needs: [],
    code: FETCHED_BY,
    inputs: (context) => ({ sources: sourcesNamed(names(context)) as unknown as Json, local: localIdentities(context, names(context)) }),
    sources: names,
    outputs: (context) => names(context).flatMap((each) => storedFiles(context, each, step)),
    run: (context) => alone(context, () => fetchAll(context, sourcesNamed(names(context)))),
  }
  return step
}

async function fetchAll(context: Context, sources: readonly Source[]): Promise<Record<string, Json>> {
  const fetched: Record<string, Json> = {}
  for (const source of sources) fetched[source.name] = { ...(await fetchSource(context, source)) }
  return fetched
}

const sourcesNamed = (names: readonly string[]): Source[] => SOURCES.filter(({ name }) => names.includes(name))

/** Checkouts share the store, what grows in it, and the folder of apt. */
const alone = <T>(context: Context, work: () => Promise<T>): Promise<T> => withSharedThing(context, 'store', 'download', work)

/**
 * A source that was fetched, for whoever wants to know which; to build of it, see {@link bringVerified}.
 *
 * @param name one of the names in `scripts/sources.ts`
 * @param by the step that has fetched it
 * @returns its path in the store, and what is known of it
 */
export function sourceFile(context: Context, name: string, by: StepName = step): Stored & { path: string } {
  const stored = readStamp(context, by)?.facts[name] as unknown as Stored | undefined
  if (!stored) throw new Failure('internal', `${name} was asked for before it was fetched.`)
  return { ...stored, path: join(context.paths.store, stored.sha256) }
}

/**
 * A source that was fetched, for building of it: with the bytes that it was fetched with.
 *
 * @param by the step that has fetched it
 * @throws Failure of kind `source` when it was damaged and cannot be had again
 */
export async function bringVerified(context: Context, name: string, by: StepName = step): Promise<Stored & { path: string }> {
  const wanted = sourceFile(context, name, by)
  if (await new Store(context.paths.store).isWhole(wanted)) return wanted
  const { sha256, patches } = await alone(context, () => fetchNamed(context, name))
  if (sha256 === wanted.sha256 && patches?.sha256 === wanted.patches?.sha256) return wanted
  throw new Failure('source', `${wanted.filename} in the store was damaged, and what is fetched for it is another one by now.`, {
    hint: 'The same command takes the new one when it is run again.',
  })
}

/** @returns the patches that are to be applied to a source that was fetched, by their name and path: one file, or none */
export const patchesOf = (context: Context, { patches }: Stored): { name: string; path: string }[] =>
  patches ? [{ name: patches.filename, path: join(context.paths.store, patches.sha256) }] : []

/** Of a target that is built from a source package: which, and what the user says of it. */
function srpmInputs(context: Context): Record<string, Json> {
  if (!context.srpm) return {}
  const local = localFile(context)
  const { publisher: _publisher, signers: _signers, ...source } = context.srpm
  return { srpm: source as unknown as Json, brought: local === undefined ? null : fileIdentity(local), named: context.variables.SRPM_SHA256 ?? null }
}

/**
 * Brings one source that a command of its own needs, beside those of every build.
 *
 * @param name one of the names in `scripts/sources.ts`
 * @returns its path in the store
 * @throws Failure of kind `source`
 */
export async function bringSource(context: Context, name: string): Promise<string> {
  return join(context.paths.store, (await alone(context, () => fetchNamed(context, name))).sha256)
}

async function fetchNamed(context: Context, name: string): Promise<Stored> {
  if (context.srpm?.name === name) return fetchSrpm(context, context.srpm, DIGESTS)
  const source = SOURCES.find((candidate) => candidate.name === name)
  if (!source) throw new Failure('internal', `There is no source "${name}".`)
  return fetchSource(context, source)
}

/** @returns paths of what is stored of a source, or of one that there is not when it was cut short; digests are for those who use it */
function storedFiles(context: Context, name: string, by: StepName): string[] {
  const stored = readStamp(context, by)?.facts[name] as unknown as Stored | undefined
  return [stored, ...(stored?.patches ? [stored.patches] : [])].map((file) => {
    const path = join(context.paths.store, file?.sha256 ?? 'not fetched')
    return statSync(path, { throwIfNoEntry: false })?.size === file?.size ? path : `${path}, whole`
  })
}

/** The tree of a tool is the same whatever the target takes beside it. */
function wanted(context: Context): Source[] {
  const names = [context.source, ...(isKernel(context) ? TOOL_SOURCES.map((tool) => toolSource(context, tool)) : [])]
  return sourcesNamed(names)
}

/** Parses `SOURCE=NAME=PATH,NAME=PATH`. */
function localFiles(context: Context): Map<string, string> {
  const files = new Map<string, string>()
  for (const item of (context.variables.SOURCE ?? '').split(',').filter(Boolean)) {
    const [name = '', ...rest] = item.split('=')
    const path = resolve(rest.join('='))
    if (!SOURCES.some((source) => source.name === name)) {
      throw new Failure('usage', `SOURCE= names "${name}", which is no source.`, {
        hint: `SOURCE=NAME=PATH, where NAME is one of: ${SOURCES.map((source) => source.name).join(', ')}`,
      })
    }
    if (!existsSync(path) || !statSync(path).isFile()) {
      throw new Failure('usage', `SOURCE= names ${path}, which is not a file.`)
    }
    if (!isPlainName(basename(path))) {
      throw new Failure('usage', `SOURCE= names a file called ${JSON.stringify(basename(path))}, which cannot stand in a spec.`, {
        hint: 'Give the file the name that its project published it under, such as keepalived-2.2.8.tar.gz.',
      })
    }
    files.set(name, path)
  }
  return files
}

/** @returns what SOURCE= names and a step has no use for: of other targets, with which it shares the variable, or a mistake */
export function unusedSources(context: Context, last: Step): string[] {
  const used = sourcesOf(context, last)
  return [...localFiles(context).keys()].filter((name) => !used.has(name))
}

const localIdentities = (context: Context, names?: readonly string[]): Json =>
  Object.fromEntries([...localFiles(context)].filter(([name]) => names?.includes(name) ?? true).map(([name, path]) => [name, fileIdentity(path)]))

/** Tells one local file from another without reading it. */
function fileIdentity(path: string): Json {
  const { ino, size, mtimeMs, ctimeMs } = statSync(path)
  return { path, ino, size, mtimeMs, ctimeMs }
}

async function fetchSource(context: Context, source: Source): Promise<Stored> {
  const store = new Store(context.paths.store)
  const local = localFiles(context).get(source.name)
  if (local) return takeLocal(store, source, local)
  const known = store.find(source.name)
  if (known && acceptable(known, source) && (await store.isWhole(known))) return toldOf(known)
  log.step('fetch', `${source.name}: ${source.summary}`)
  const stored = (await fetchByApt(context, store, source)) ?? (await fetchUpstream(store, source))
  log.info(`${stored.filename} ${stored.version}, ${megabytes(stored.size)}, from ${stored.from}; ${stored.verified}`)
  return toldOf(stored)
}

/** @returns whether something that the distribution patches came without its patches, and not by the user's will */
export const isWithoutPatches = ({ name, origin, patches }: Stored): boolean =>
  patches === null || (origin === 'upstream' && SOURCES.some((source) => source.name === name && source.apt.patches !== undefined))

/** A build goes on without patches that a mirror does not have yet, or that no archive of this host has; a release does not. */
function toldOf(stored: Stored): Stored {
  if (isWithoutPatches(stored)) log.warn(`${stored.name} ${stored.version} is without the distribution's patches, which its archive does not have. To ask for them again: make distclean purge && make`)
  return stored
}

/**
 * An upstream file stays good only as long as the lock still names it, or it is the version whose signature was good; one that
 * apt has brought if nobody has to ask for its patches yet.
 */
function acceptable(known: Stored, { apt, upstream }: Source): boolean {
  if (known.origin === 'apt') return apt.patches === undefined || known.patches !== undefined
  if (!upstream) return false
  const pinned = DIGESTS[basename(upstream.urls[0] ?? '')]
  return pinned === undefined ? known.origin === 'upstream' && known.version === upstream.version : known.sha256 === pinned
}

async function takeLocal(store: Store, source: Source, path: string): Promise<Stored> {
  const filename = basename(path)
  const incoming = store.incoming(filename)
  copyFileSync(path, incoming)
  const pinned = DIGESTS[filename]
  const version = versionOfFile(filename) ?? 'unknown'
  const verified = pinned ? 'sha256 pinned in sources.lock.json' : 'brought by the user, not pinned'
  return store.add(incoming, { name: source.name, version, filename, origin: 'local', from: path, verified }, pinned)
}

const bringHint = ({ name }: Source): string => `Or bring the file and name it: SOURCE=${name}=PATH`

/** @throws Failure of kind `source` for what only apt could have brought */
function requireUpstream(source: Source): UpstreamSource {
  if (source.upstream) return source.upstream
  throw new Failure('source', `apt has no ${source.name} for this host.`, { hint: `It takes an archive of Debian in the host's source lists, and the package debian-archive-keyring.\n${bringHint(source)}` })
}

async function fetchByApt(context: Context, store: Store, source: Source): Promise<Stored | undefined> {
  const apt = aptOf(context, source.apt.suite)
  if (!(await apt.available())) return undefined
  const folder = store.incoming(`apt-${source.name}`)
  rmSync(folder, { recursive: true, force: true })
  try {
    const file = await apt.fetch(source.apt, folder, bringHint(source))
    if (!file) return undefined
    const { path, patches, version, filename, ...about } = file
    const by = { ...about, origin: 'apt', verified: "apt's signature chain" } as const
    const stored = patches && (await store.add(patches.path, { name: `${source.name}-patches`, version: file.package?.version ?? version, filename: patches.filename, ...by }))
    return await store.add(path, { name: source.name, version, filename, ...by, ...(stored === undefined ? {} : { patches: stored }) })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** One for each release that sources are taken from, which reads its package lists once. */
const apts = new Map<string | undefined, Apt>()

function aptOf(context: Context, suite: string | undefined): Apt {
  const apt = apts.get(suite) ?? new Apt(join(context.paths.cache, 'apt', suite ?? ''), suite)
  apts.set(suite, apt)
  return apt
}

/** It is some hundred bytes long. */
const SIGNATURE = { longest: 64e3, seconds: 60 }

/** @throws Failure of kind `source` for what else a place may answer: a page where somebody is to log in */
async function requireSignature(path: string): Promise<void> {
  if (readFileSync(path, 'utf8').startsWith('-----BEGIN PGP SIGNATURE-----')) return
  throw new Failure('source', `${basename(path)} is no signature.`)
}

/** What is signed tells neither its name nor its age: an older kernel is signed as well. @throws Failure of kind `source` when it is another version */
async function requireKernel(path: string, version: string): Promise<void> {
  const { stdout } = await capture(['tar', '--extract', '--to-stdout', '--occurrence=1', '--file', path, `linux-${version}/Makefile`], { anyExit: true })
  const found = kernelVersion(stdout)
  if (found !== version) throw new Failure('source', `${basename(path)} is signed, but it is not Linux ${version}${/\d/.test(found) ? `: it says ${found}` : ''}.`)
}

/**
 * Fetches what upstream publishes: what is pinned, and what is signed, and both where it is both.
 *
 * @throws Failure of kind `source` when neither vouches for it, or one of them does not
 */
export async function fetchUpstream(store: Store, source: Source, verify = verifyTarball): Promise<Stored> {
  const { version, urls, signature } = requireUpstream(source)
  const filename = basename(urls[0] ?? '')
  const pinned = DIGESTS[filename]
  if (pinned === undefined && !signature) throw new Failure('source', `${filename} has no digest in scripts/sources.lock.json, and is not signed.`)
  const [incoming, sign] = [store.incoming(filename), store.incoming(`${filename}.sign`)]
  const check = async (path: string): Promise<void> => {
    const sha256 = await sha256File(path)
    if (pinned !== undefined && sha256 !== pinned) throw wrongDigest(filename, sha256, pinned)
    if (signature) await verify(path, sign, signature)
    if (pinned === undefined) await requireKernel(path, version)
  }
  if (signature) await download([signature.url], sign, bringHint(source), { ...SIGNATURE, check: requireSignature })
  const from = await download(urls, incoming, bringHint(source), { check })
  rmSync(sign, { force: true })
  const verified = [...(pinned === undefined ? [] : ['sha256 pinned in sources.lock.json']), ...(signature ? [`signature by ${signature.keyFingerprint}`] : [])].join(', ')
  return store.add(incoming, { name: source.name, version, filename, origin: 'upstream', from, verified }, pinned)
}
