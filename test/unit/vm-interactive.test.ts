// SPDX-License-Identifier: GPL-2.0-only
import test from 'ava'
import { makeInteractive } from '../../vm/interactive.ts'
import type { Lab } from '../../vm/lab.ts'

/** A host at which nothing arrives, and that says so after a while. */
const deafHost = (ms: number) => ({
  send: () => undefined,
  expect: () => new Promise((_, reject) => setTimeout(() => reject(new Error('nothing came')), ms)),
})

test('traffic that does not get through is told, and ends nothing', async (t) => {
  let hear = (_line: string): void => undefined
  const klog = { listen: (listener: typeof hear) => (hear = listener) }
  const gateway = { put: () => Promise.resolve(), sh: () => Promise.resolve(''), klog }
  const said: string[] = []
  // Node ends a program at such a rejection; AVA forgives one that is caught later.
  const uncaught: unknown[] = []
  const note = (reason: unknown) => uncaught.push(reason)
  process.on('unhandledRejection', note)
  t.teardown(() => process.off('unhandledRejection', note))
  const told = new Promise<void>((resolve) => {
    // The first attempt is the last to fail: the others fail while it is being waited for.
    const lab = { hosts: [], a: deafHost(60), b: deafHost(10), net: deafHost(10), gateway } as unknown as Lab
    void makeInteractive(lab, (line) => {
      if (said.push(line) === 4) resolve()
    }).then(() => hear('<4>lab: traffic start'))
  })
  await told
  hear('<4>lab: traffic stop')
  t.deepEqual(uncaught, [])
  t.deepEqual(said.map((line) => /does not get through$/.test(line)), [true, true, true, true])
})
