// SPDX-License-Identifier: GPL-2.0-only
import { spawnSync } from 'node:child_process'
import { chmodSync, readFileSync, statSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { delimiter, dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { Context } from '../../scripts/build/context.ts'
import { inheritedEnvironment } from '../../scripts/build/environment.ts'
import { distributedEnvironment, FARM_VARIABLES, findFarm } from '../../scripts/build/farm.ts'
import { bring, type Facts } from '../../scripts/build/step.ts'
import { step as kernel } from '../../scripts/steps/kernel.ts'
import { createFixture, printed, read } from './fixture.ts'

// What the farm is asked for stands in this process's environment.
const { serial } = test

/** Sets variables for the test, and no other of the farm's. */
function set(t: ExecutionContext, variables: Record<string, string>): void {
  const before = { ...process.env }
  t.teardown(() => {
    for (const name of [...Object.keys(FARM_VARIABLES), 'PATH']) {
      if (before[name] === undefined) Reflect.deleteProperty(process.env, name)
      else process.env[name] = before[name]
    }
  })
  Object.assign(process.env, variables)
}

const USER = 'builder:geheim'

interface Storage {
  /** With the password. */
  address: string
  /** With another one. */
  wrong: string
  /** Without any. */
  shown: string
  stored: Map<string, Buffer>
  server: Server
}

/** A storage as ccache's manual describes it: PUT and GET of files below a folder, here for who has the password. */
async function createStorage(t: ExecutionContext): Promise<Storage> {
  const stored = new Map<string, Buffer>()
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const path = request.url ?? ''
      const end = (status: number, body?: Buffer) => response.writeHead(status).end(body)
      if (request.headers.authorization !== `Basic ${Buffer.from(USER).toString('base64')}`) return end(401)
      if (request.method === 'PUT') stored.set(path, Buffer.concat(chunks))
      return stored.has(path) ? end(200, request.method === 'HEAD' ? undefined : stored.get(path)) : end(404)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  return { address: `http://${USER}@127.0.0.1:${port}/team`, wrong: `http://builder:falsch@127.0.0.1:${port}/team`, shown: `http://127.0.0.1:${port}`, stored, server }
}

/** Brings the kernel in a checkout and a cache that are new. */
async function build(t: ExecutionContext): Promise<{ context: Context; folder: string; facts: Facts; key: string }> {
  const fixture = createFixture(t)
  const context = fixture.context()
  return { context, folder: dirname(fixture.root), ...(await bring(context, kernel)) }
}

serial('what one machine has compiled, another one takes from the storage, to the bit', async (t) => {
  const storage = await createStorage(t)
  set(t, { CCACHE_REMOTE_STORAGE: storage.address })
  const [first, second] = [await build(t), await build(t)]
  t.deepEqual(first.facts, { compilations: 1, ccacheHits: 0, remoteHits: 0 })
  t.deepEqual(second.facts, { compilations: 1, ccacheHits: 1, remoteHits: 1 })
  t.true(storage.stored.size > 0)
  t.true(objectOf(first.context).equals(objectOf(second.context)))
})

const objectOf = (context: Context): Buffer => readFileSync(join(context.paths.build, 'lib.o'))

serial('a storage that has gone, or wants another password, is left out and fails nothing', async (t) => {
  const [storage, gone] = [await createStorage(t), await createStorage(t)]
  gone.server.close()
  set(t, { CCACHE_REMOTE_STORAGE: [gone.address, storage.wrong, storage.address, 'nonsense', 'nosuch://geheim@host'].join(' ') })
  t.deepEqual(await findFarm(), [
    { variable: 'CCACHE_REMOTE_STORAGE', name: gone.shown, trouble: 'does not answer, or refuses' },
    { variable: 'CCACHE_REMOTE_STORAGE', name: storage.shown, trouble: 'does not answer, or refuses' },
    { variable: 'CCACHE_REMOTE_STORAGE', name: storage.shown },
    { variable: 'CCACHE_REMOTE_STORAGE', name: 'an address', trouble: 'is not understood by ccache' },
    { variable: 'CCACHE_REMOTE_STORAGE', name: 'nosuch://host', trouble: 'is not understood by ccache' },
  ])
  t.is(inheritedEnvironment()['CCACHE_REMOTE_STORAGE'], storage.address)
  set(t, { CCACHE_REMOTE_STORAGE: gone.address })
  t.deepEqual((await build(t)).facts, { compilations: 1, ccacheHits: 0, remoteHits: 0 })
  t.is(inheritedEnvironment()['CCACHE_REMOTE_STORAGE'], undefined)
})

serial('no part of an address is shown that may be a password', async (t) => {
  for (const [address, name] of [
    ['redis://geheim@127.0.0.1:1', 'redis://127.0.0.1:1'],
    ['redis://user:ge/heim@127.0.0.1:1', 'an address'],
    ['http://127.0.0.1:1/geheim', 'http://127.0.0.1:1'],
    ['http://127.0.0.1:1|bearer-token=geheim', 'http://127.0.0.1:1'],
    ['http://127.0.0.1:1|bearer-token=geheim@home', 'an address'],
    ['geheim', 'an address'],
  ] as const) {
    set(t, { CCACHE_REMOTE_STORAGE: address })
    t.deepEqual((await findFarm()).map((helper) => helper.name), [name])
  }
})

serial('a password is in nothing that a build writes or says, and another storage makes no step stale', async (t) => {
  const storage = await createStorage(t)
  set(t, { CCACHE_REMOTE_STORAGE: storage.address })
  const { context, folder, key } = await build(t)
  const object = statSync(join(context.paths.build, 'lib.o')).mtimeMs
  set(t, { CCACHE_REMOTE_STORAGE: storage.wrong, CCACHE_RESHARE: '1' })
  t.is((await bring(context, kernel)).key, key)
  t.is(statSync(join(context.paths.build, 'lib.o')).mtimeMs, object)
  const { stdout, status } = spawnSync('grep', ['-rElae', 'geheim|falsch', folder], { encoding: 'utf8' })
  t.deepEqual({ stdout, status }, { stdout: '', status: 1 })
  const said = await printed(['doctor'], { CACHE: context.paths.cache })
  t.true(said.includes(`CCACHE_REMOTE_STORAGE ${storage.shown} does not answer, or refuses (left out)`))
  t.notRegex(said, /geheim|falsch/)
})

/** A distcc whose hosts are the words of DISTCC_HOSTS: "other" has another compiler, "down" does not answer. */
const DISTCC = `#!/bin/sh
case $1 in --show-hosts) printf '%s\\n' $DISTCC_HOSTS; exit;; esac
case $DISTCC_HOSTS in
down) exit 103 ;;
other) exec "$@" -DOTHER -g ;;
esac
echo "$DISTCC_HOSTS $CCACHE_DIR $*" >> CALLS
exec "$@"
`

/** Puts a program first on the PATH. @returns the file with a line for each call */
function addDistcc(t: ExecutionContext): string {
  const { root, write } = createFixture(t)
  const calls = join(root, 'calls')
  chmodSync(write('bin/distcc', DISTCC.replace('CALLS', calls)), 0o755)
  set(t, { PATH: [join(root, 'bin'), process.env['PATH']].join(delimiter) })
  return calls
}

serial('hosts compile the kernel; one that is down or has another compiler is left out', async (t) => {
  const calls = addDistcc(t)
  set(t, { CCACHE_PREFIX: 'distcc', DISTCC_HOSTS: 'one down other two/4' })
  t.deepEqual(await findFarm(), [
    { variable: 'DISTCC_HOSTS', name: 'one' },
    { variable: 'DISTCC_HOSTS', name: 'down', trouble: 'does not answer, or refuses' },
    { variable: 'DISTCC_HOSTS', name: 'other', trouble: 'has another compiler' },
    { variable: 'DISTCC_HOSTS', name: 'two/4' },
    { variable: 'CCACHE_PREFIX', name: 'distcc' },
  ])
  const { context } = await build(t)
  t.true(read(calls).includes(`one two/4 ${context.paths.ccache} `))
  t.is(inheritedEnvironment()['DISTCC_HOSTS'], undefined)
})

serial('without a host, and without the program, it is compiled here', async (t) => {
  addDistcc(t)
  for (const [variables, troubles] of [
    [{ CCACHE_PREFIX: 'distcc', DISTCC_HOSTS: 'down' }, ['down does not answer, or refuses', 'distcc has no host left']],
    [{ CCACHE_PREFIX: 'nosuch', DISTCC_HOSTS: '' }, ['nosuch does not compile']],
    [{ CCACHE_PREFIX: '', DISTCC_HOSTS: 'one' }, ['one waits for CCACHE_PREFIX=distcc']],
  ] as const) {
    set(t, variables)
    t.deepEqual((await findFarm()).map(({ name, trouble }) => `${name} ${trouble}`), [...troubles])
    t.deepEqual(distributedEnvironment(), {})
    t.is((await build(t)).facts['compilations'], 1)
  }
})

serial('no other variable of ccache or distcc reaches a build', (t) => {
  process.env['CCACHE_RECACHE'] = '1'
  t.teardown(() => Reflect.deleteProperty(process.env, 'CCACHE_RECACHE'))
  t.is(inheritedEnvironment()['CCACHE_RECACHE'], undefined)
})
