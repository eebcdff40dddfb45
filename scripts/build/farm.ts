// SPDX-License-Identifier: GPL-2.0-only
/**
 * Machines that help to compile, named by variables of ccache and distcc themselves. Each is tried
 * with a small file before it is used. One that does not answer, or whose compiler makes something
 * else of the file, is left out: the build is slower then, and its result the same.
 */

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { callersEnvironment } from '../base/environment.ts'
import { log } from '../base/log.ts'
import { capture } from '../base/run.ts'

/** For every compilation: results that the ccaches of several machines share. */
const SHARED = {
  CCACHE_REMOTE_STORAGE: 'results of compilers that machines share, such as redis://HOST or http://HOST/FOLDER',
  CCACHE_REMOTE_ONLY: '1: keep no copy of these here',
  CCACHE_RESHARE: '1: give the storage what was compiled before it was named, too',
} as const

/** For that of kernels: their compiler is one that other hosts have as well. */
const DISTRIBUTED = {
  CCACHE_PREFIX: 'distcc: what compiles the kernel on other hosts (with JOBS= as many as they take)',
  DISTCC_HOSTS: 'hosts of distcc; those with another compiler than this one are left out',
  DISTCC_SSH: 'how distcc calls hosts written with an @',
  DISTCC_IO_TIMEOUT: 'seconds after which distcc gives a host up',
} as const

/** Variables that count without a prefix, as they are not ours. No other one of ccache's or distcc's reaches a build. */
export const FARM_VARIABLES = { ...SHARED, ...DISTRIBUTED } as const

type Given = Partial<Record<keyof typeof FARM_VARIABLES, string>>

/** A storage or host, or what gives work to hosts. */
export interface Helper {
  variable: string
  /** As messages call it, without passwords. */
  name: string
  /** Why it is left out, if it is. */
  trouble?: string
}

interface Farm {
  helpers: readonly Helper[]
  shared: Given
  distributed: Given
}

let farm: Farm = { helpers: [], shared: {}, distributed: {} }
let asked: string | undefined

/** @returns what compilers of all kinds are given of what {@link findFarm} has found */
export const sharedEnvironment = (): Given => farm.shared

/** @returns what those of kernels are given besides */
export const distributedEnvironment = (): Given => farm.distributed

/**
 * Tries what the environment names, unless it did. No step has any of it among its inputs.
 *
 * @returns all that was tried
 */
export async function findFarm(environment: NodeJS.ProcessEnv = process.env): Promise<readonly Helper[]> {
  const given = choose(environment, FARM_VARIABLES)
  const question = JSON.stringify(given)
  if (question !== asked) farm = await tryAll(given)
  asked = question
  return farm.helpers
}

/** {@link findFarm} before work that compiles. What is left out is told, once. */
export async function bringFarm(): Promise<void> {
  const before = farm.helpers
  const helpers = await findFarm()
  if (helpers === before) return
  for (const { variable, name, trouble } of helpers) {
    if (trouble !== undefined) log.warn(`${variable}: ${name} ${trouble}; it is left out.`)
  }
}

function choose(environment: NodeJS.ProcessEnv, names: object): Given {
  return Object.fromEntries(Object.keys(names).flatMap((name) => (environment[name] ? [[name, environment[name]]] : [])))
}

async function tryAll(given: Given): Promise<Farm> {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-snat-farm-'))
  try {
    const [storages, hosts] = await Promise.all([
      Promise.all(words(given.CCACHE_REMOTE_STORAGE).map((word, index) => tryStorage(join(folder, `storage-${index}`), word))),
      given.CCACHE_PREFIX?.trim() === DISTCC ? tryHosts(folder, given) : [],
    ])
    const storage = joined(storages)
    const distributed = given.CCACHE_PREFIX === undefined ? {} : { ...choose(given, DISTRIBUTED), ...(hosts.length > 0 ? { DISTCC_HOSTS: joined(hosts) } : {}) }
    const prefix = await tryPrefix(join(folder, 'prefix'), given, distributed)
    return {
      helpers: [...storages, ...hosts, ...prefix].map(({ word: _word, ...helper }) => helper),
      shared: storage === '' ? {} : { ...choose(given, SHARED), CCACHE_REMOTE_STORAGE: storage },
      distributed: prefix.some(isGood) ? distributed : {},
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

interface Tried extends Helper {
  /** As the variable has it. */
  word: string
}

const DISTCC = 'distcc'

const isGood = ({ trouble }: Helper): boolean => trouble === undefined

const joined = (tried: readonly Tried[]): string => tried.filter(isGood).map(({ word }) => word).join(' ')

const words = (value = ''): string[] => value.split(/\s+/).filter(Boolean)

const tried = (variable: string, word: string, name: string, trouble?: string): Tried => ({ variable, word, name, ...(trouble === undefined ? {} : { trouble }) })

/** How the trial's file is compiled, in a folder of its own. */
const COMPILE = ['gcc', '-c', '-o', 'farm.o', 'farm.c']

/**
 * @param folder is made, with the file in it
 * @returns the object, if there is one, and the exit code
 */
async function compile(folder: string, prefix: readonly string[], variables: NodeJS.ProcessEnv): Promise<{ object?: Buffer; exitCode: number }> {
  mkdirSync(folder)
  writeFileSync(join(folder, 'farm.c'), 'int farm(int machines)\n{\n\treturn machines * 3;\n}\n')
  const { exitCode } = await capture([...prefix, ...COMPILE], { cwd: folder, env: { ...callersEnvironment(), ...variables }, anyExit: true })
  const object = join(folder, 'farm.o')
  return { exitCode, ...(existsSync(object) ? { object: readFileSync(object) } : {}) }
}

/** A storage has to take or give a result: it may be reachable, and want another password. */
async function tryStorage(folder: string, word: string): Promise<Tried> {
  const statistics = `${folder}.log`
  const { exitCode } = await compile(folder, ['ccache'], { CCACHE_REMOTE_STORAGE: word, CCACHE_DIR: `${folder}.cache`, CCACHE_STATSLOG: statistics })
  const results = existsSync(statistics) ? readFileSync(statistics, 'utf8') : ''
  const trouble = exitCode !== 0 ? 'is not understood by ccache' : /^remote_storage_(error|timeout)$/m.test(results) ? 'does not answer, or refuses' : undefined
  return tried('CCACHE_REMOTE_STORAGE', word, withoutSecrets(word), trouble)
}

/** @returns scheme and host of an address that is one: all else may be a password, or a token */
function withoutSecrets(word: string): string {
  const [, scheme, host] = /^([\w+]+:\/\/)(?:[^@/|]*@)?([\w.:[\]-]*)(?:[/|][^@]*)?$/.exec(word) ?? []
  return scheme === undefined ? 'an address' : `${scheme}${host}`
}

/** @returns all hosts that distcc would use, the names of which its files may have too */
async function tryHosts(folder: string, given: Given): Promise<Tried[]> {
  const here = await compile(join(folder, 'here'), [], {})
  const list = await capture([DISTCC, '--show-hosts'], { anyExit: true, env: { ...callersEnvironment(), ...given } })
  return Promise.all(words(list.stdout).map(async (word, index) => {
    const own = join(folder, `host-${index}`)
    const variables = { ...choose(given, DISTRIBUTED), DISTCC_HOSTS: word, DISTCC_DIR: folder, DISTCC_FALLBACK: '0' }
    const there = await compile(own, [DISTCC], variables)
    const trouble = there.object === undefined ? 'does not answer, or refuses' : here.object?.equals(there.object) ? undefined : 'has another compiler'
    return tried('DISTCC_HOSTS', word, word, trouble)
  }))
}

/** @returns nothing where none is named */
async function tryPrefix(folder: string, given: Given, distributed: Given): Promise<Tried[]> {
  const prefix = given.CCACHE_PREFIX
  if (prefix === undefined) return given.DISTCC_HOSTS === undefined ? [] : [tried('DISTCC_HOSTS', '', given.DISTCC_HOSTS, 'waits for CCACHE_PREFIX=distcc')]
  const without = distributed.DISTCC_HOSTS === '' ? 'has no host left' : undefined
  const { exitCode } = await compile(folder, words(prefix), { ...distributed, DISTCC_DIR: `${folder}.distcc` })
  return [tried('CCACHE_PREFIX', prefix, prefix, without ?? (exitCode === 0 ? undefined : 'does not compile'))]
}
