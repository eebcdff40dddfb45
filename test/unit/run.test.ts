// SPDX-License-Identifier: GPL-2.0-only
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { capture } from '../../scripts/base/run.ts'

for (const input of [undefined, '']) {
  test(`a program that reads its input comes to the end of it (${JSON.stringify(input)})`, async (t) => {
    t.timeout(60_000)
    const { stdout } = await capture(['cat'], input === undefined ? {} : { input })
    t.is(stdout, '')
  })
}

test('a program reads what it is given', async (t) => {
  const { stdout } = await capture(['cat'], { input: 'a\nb' })
  t.is(stdout, 'a\nb')
})

test.serial("programs have what says who calls, and nothing of other projects' settings", async (t) => {
  const others = { TAR_OPTIONS: '--exclude=*', CDPATH: '/', BASH_ENV: '/x', ARCH: 'arm64', https_proxy: 'http://proxy.example.org' }
  const before = Object.keys(others).map((name) => [name, process.env[name]] as const)
  t.teardown(() => {
    for (const [name, value] of before) {
      if (value === undefined) Reflect.deleteProperty(process.env, name)
      else process.env[name] = value
    }
  })
  Object.assign(process.env, others)
  const { stdout } = await capture(['env'])
  t.deepEqual(Object.keys(others).filter((name) => stdout.includes(`${name}=`)), ['https_proxy'])
  t.regex(stdout, /^PATH=.*^LC_ALL=C$|^LC_ALL=C$.*^PATH=/ms)
})

test("the user's ~/.bashrc is not read for a program that has an input", async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'lvs-snat-test-'))
  t.teardown(() => rmSync(home, { recursive: true }))
  writeFileSync(join(home, '.bashrc'), `: >${home}/read\n`)
  await capture(['cat'], { input: 'x', env: { PATH: process.env['PATH'], HOME: home } })
  t.false(existsSync(join(home, 'read')))
})
