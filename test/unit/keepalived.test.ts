// SPDX-License-Identifier: GPL-2.0-only
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { ROOT } from '../../scripts/base/root.ts'
import { readSeries } from '../../scripts/kernel/series.ts'

const PATCHES = join(ROOT, 'patches')
const EXAMPLES = ['snat-zones.conf', 'snat-rules.conf', 'snat-pools.conf'] as const
const series = readSeries(join(PATCHES, 'keepalived')).map((path) => readFileSync(path, 'utf8')).join('')

/** @returns what the series adds to a file */
function added(name: string): string {
  const [, body = ''] = series.split(`+++ b/${name}\n`)
  const [part = ''] = body.split('\ndiff --git ')
  return part.split('\n').filter((line) => line.startsWith('+')).map((line) => `${line.slice(1)}\n`).join('')
}

const keywords = [...`${added('keepalived/check/check_snat.c')}${added('keepalived/check/check_parser.c')}`.matchAll(/install_keyword(?:_root)?\("(\w+)"/g)].map(([, name = '']) => name)

test("keepalived's copy of the netlink interface is the kernel's", (t) => {
  t.is(added('keepalived/include/ip_vs_snat.h'), readFileSync(join(PATCHES, 'engine/include/uapi/linux/ip_vs_snat.h'), 'utf8'))
})

test('the manual tells of every keyword of SNAT', (t) => {
  t.true(keywords.length > 30, keywords.join())
  const manual = added('doc/man/man5/keepalived.conf.5.in')
  t.deepEqual(keywords.filter((name) => !manual.includes(`\\fB${name}`)), [])
})

test('the examples use only words that there are, and are in the package', (t) => {
  const spec = readFileSync(join(ROOT, 'specs/keepalived/keepalived.spec'), 'utf8')
  const blocks = EXAMPLES.map((name) => readFileSync(join(ROOT, 'specs/keepalived', name), 'utf8')).join('')
  const bodies = [...blocks.matchAll(/^ *snat_rule \{\n([^}]*)\}/gm)].flatMap(([, body = '']) => body.split('\n').map((line) => line.trim().split(/\s+/)[0] ?? ''))
  t.deepEqual(bodies.filter((word) => word !== '' && !keywords.includes(word)), [])
  for (const name of EXAMPLES) t.true(spec.includes(`%doc %{doc_folder}/${name}`), name)
})
