// SPDX-License-Identifier: GPL-2.0-only
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { quote, shellLine } from '../../scripts/base/quote.ts'
import { createContext } from '../../scripts/build/context.ts'
import { kbuildCommand } from '../../scripts/kernel/kbuild.ts'
import { createFixture } from './fixture.ts'

for (const word of ['plain', '', 'two words', "o'brien", "''", '"$(id)"', '`id`', 'a;b|c&d', 'new\nline', '\\', '*', '~', '#', '-n', 'ä']) {
  test(`a shell takes it for one word: ${JSON.stringify(word)}`, (t) => {
    t.is(execFileSync('sh', ['-c', `printf %s/ ${quote(word)} x`], { encoding: 'utf8' }), `${word}/x/`)
  })
}

test('words stay apart', (t) => {
  t.is(execFileSync('sh', ['-c', `printf %s/ ${shellLine(["it's", 'a b', ''])}`], { encoding: 'utf8' }), "it's/a b//")
})

test("rpm's macro that calls the kernel's make gives a shell the same words, whatever the folder is called", async (t) => {
  const folder = join(createFixture(t).root, "it's 100%{nil} $HOME")
  mkdirSync(folder, { recursive: true })
  const command = await kbuildCommand(createContext({ CACHE: folder }))
  const expanded = execFileSync('rpm', ['--define', `kernel_make ${command}`, '--eval', '%{kernel_make}'], { encoding: 'utf8' }).trimEnd()
  const words = execFileSync('sh', ['-c', `printf '%s\\n' ${expanded}`], { encoding: 'utf8' }).split('\n')
  t.true(words.includes(`O=${createContext({ CACHE: folder }).paths.build}`), words.join('\n'))
})
