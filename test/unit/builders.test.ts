// SPDX-License-Identifier: GPL-2.0-only
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import test from 'ava'
import { Failure } from '../../scripts/base/errors.ts'
import { findBuilder, requireBuilder, type Host } from '../../scripts/package/builders.ts'

let folder = ''
const path = process.env['PATH'] ?? ''
test.before(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvs-snat-builders-'))
})
test.after.always(() => {
  process.env['PATH'] = path
  rmSync(folder, { recursive: true, force: true })
})

/**
 * A host that has the given programs: "podman" works, "!podman" fails, "curl" decides
 * whether there is a network. Each writes down how it was called.
 */
function makeHost(programs: string[], facts: { vsyscall?: boolean; config?: string } = {}): Host & { calls: () => string } {
  const host = mkdtempSync(join(folder, 'host-'))
  mkdirSync(join(host, 'bin'))
  mkdirSync(join(host, 'mock', 'eol'), { recursive: true })
  // Programs that fail unless the host has them: those of the machine must not be found.
  for (const name of ['mock', 'podman', 'curl'].filter((known) => !programs.includes(known) && !programs.includes(`!${known}`))) programs.push(`!${name}`)
  for (const program of programs) {
    const file = join(host, 'bin', program.replace('!', ''))
    writeFileSync(file, `#!/bin/sh\necho "\${0##*/} $*" >> ${host}/calls\nexit ${program.startsWith('!') ? 1 : 0}\n`)
    chmodSync(file, 0o755)
  }
  writeFileSync(join(host, 'calls'), '')
  writeFileSync(join(host, 'maps'), facts.vsyscall === false ? '7ffe [vdso]\n' : '7ffe [vdso]\nffffffffff600000 [vsyscall]\n')
  if (facts.config) writeFileSync(join(host, 'mock', `${facts.config}.cfg`), '')
  process.env['PATH'] = [join(host, 'bin'), path].join(delimiter)
  return {
    maps: join(host, 'maps'),
    mock: join(host, 'mock'),
    repository: 'http://vault.example/repomd.xml',
    calls: () => readFileSync(join(host, 'calls'), 'utf8'),
  }
}

async function missing(name: string, host: Host): Promise<string[]> {
  try {
    await requireBuilder(findBuilder(name), host)
    return []
  } catch (error) {
    if (error instanceof Failure && error.kind === 'environment') return error.details.excerpt ?? []
    throw error
  }
}

test.serial('a host that has everything is accepted, and calls mock by its retired configuration', async (t) => {
  const host = makeHost(['mock', 'curl', 'id'], { config: 'eol/centos-6-x86_64' })
  t.deepEqual((await missing('mock', host)).filter((line) => !line.includes('group mock')), [])
  t.deepEqual(findBuilder('mock').command(host, '/s/k.src.rpm', '/r').slice(0, 5), ['mock', '--root', 'eol/centos-6-x86_64', '--resultdir', '/r'])
  t.true(findBuilder('mock').command(host, '/s/k.src.rpm', '/r').join(' ').endsWith('--with baseonly --without debuginfo --without doc --without perf --rebuild /s/k.src.rpm'))
})

test.serial('older mock has the configuration among the others', (t) => {
  const host = makeHost(['mock', 'curl'], { config: 'centos-6-x86_64' })
  t.is(findBuilder('mock').command(host, '/s/k.src.rpm', '/r')[2], 'centos-6-x86_64')
})

test.serial('all that is missing is told at once', async (t) => {
  const lacks = await missing('mock', makeHost([], { vsyscall: false }))
  t.is(lacks.length, 3)
  t.regex(lacks.join('\n'), /mock is not installed.*\n.*vsyscall=emulate\n.*cannot be reached: http:\/\/vault\.example/)
  const [config] = await missing('mock', makeHost(['mock', 'curl']))
  t.regex(config ?? '', /has no centos-6-x86_64.*eol/)
})

test.serial('podman needs the image', async (t) => {
  t.regex((await missing('podman', makeHost(['curl']))).join(), /^podman is not installed/)
  const host = makeHost(['podman', 'curl'])
  t.deepEqual(await missing('podman', host), [])
  t.regex(host.calls(), /podman image exists docker\.io\/library\/centos@sha256:[0-9a-f]{64}\n/)
  const pull = makeHost(['curl'])
  writeFileSync(join(pull.maps, '..', 'bin', 'podman'), '#!/bin/sh\ntest "$1" = --version\n')
  t.regex((await missing('podman', pull)).join(), /^podman has no image of CentOS 6: podman pull docker\.io\/library\/centos@sha256:[0-9a-f]{64}$/)
})

test.serial('the container builds from the vault and gives its packages back', (t) => {
  const command = findBuilder('podman').command(makeHost([]), '/dist/SRPMS/k.src.rpm', '/results')
  t.true(command.includes('/dist/SRPMS:/source:ro,Z') && command.includes('/results:/results:Z'))
  t.true(command.includes('--pull=never'), 'what was checked is what runs')
  t.is(command.at(-1), '/source/k.src.rpm')
  t.regex(command.join('\n'), /vault\.centos\.org\/6\.10[\s\S]*yum-builddep[\s\S]*--with baseonly[\s\S]*cp \/build\/RPMS/)
})

test('a builder has to be named, and known', (t) => {
  for (const name of [undefined, '', 'docker']) {
    const failure = t.throws<Failure>(() => findBuilder(name), { instanceOf: Failure })
    t.is(failure.kind, 'usage')
    t.regex(failure.details.hint ?? '', /mock, podman/)
  }
})
