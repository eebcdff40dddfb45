// SPDX-License-Identifier: GPL-2.0-only
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
