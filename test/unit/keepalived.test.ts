// SPDX-License-Identifier: GPL-2.0-only
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { ROOT } from '../../scripts/base/root.ts'
import { readSeries } from '../../scripts/kernel/series.ts'
import { TREES } from '../../scripts/trees.ts'

const PATCHES = join(ROOT, 'patches')
const EXAMPLES = ['snat-zones.conf', 'snat-rules.conf', 'snat-pools.conf'] as const
/** One for each line of versions, by their folders. */
const SERIES = (TREES.find(({ name }) => name === 'keepalived')?.series ?? [])
  .map(({ folder }) => [folder, readSeries(join(PATCHES, folder)).map((path) => readFileSync(path, 'utf8')).join('')] as const)
const series = SERIES[0]?.[1] ?? ''

/** @returns what a series adds to a file */
function added(name: string, to = series): string {
  const [, body = ''] = to.split(`+++ b/${name}\n`)
  const [part = ''] = body.split('\ndiff --git ')
  return part.split('\n').filter((line) => line.startsWith('+')).map((line) => `${line.slice(1)}\n`).join('')
}

const keywordsOf = (to: string): string[] =>
  [...`${added('keepalived/check/check_snat.c', to)}${added('keepalived/check/check_parser.c', to)}`.matchAll(/install_keyword(?:_root|_quoted)?\("(\w+)"/g)].map(([, name = '']) => name)
const keywords = keywordsOf(series)

test('what is new in keepalived, its words and its manual are the same in all versions', (t) => {
  const newFiles = (text: string): string[] => [...text.matchAll(/^--- \/dev\/null\n\+\+\+ b\/(.*)$/gm)].map(([, name = '']) => name)
  t.deepEqual(SERIES.map(([folder]) => folder), ['keepalived', 'keepalived-2.3'])
  t.true(newFiles(series).length > 5, newFiles(series).join())
  for (const [folder, other] of SERIES) {
    t.deepEqual(newFiles(other), newFiles(series), folder)
    t.deepEqual(keywordsOf(other), keywords, folder)
    for (const name of [...newFiles(series), 'doc/man/man5/keepalived.conf.5.in']) t.is(added(name, other), added(name), `${folder}: ${name}`)
  }
})

test("keepalived's copy of the netlink interface is the kernel's", (t) => {
  t.is(added('keepalived/include/ip_vs_snat.h'), readFileSync(join(PATCHES, 'engine/include/uapi/linux/ip_vs_snat.h'), 'utf8'))
})

test('what the kernel takes of a pool, keepalived tells it, and knows again', (t) => {
  const [, attributes = ''] = /IPVS_SNAT_POOL_UNSPEC,([\s\S]*?)__IPVS_SNAT_POOL_MAX/.exec(added('keepalived/include/ip_vs_snat.h')) ?? []
  const taken = attributes.replace(/From the kernel only[\s\S]*?PAD,/, '').replace(/From the kernel only[\s\S]*/, '')
  const names = [...taken.matchAll(/(IPVS_SNAT_POOL_\w+),/g)].map(([, name = '']) => name)
  t.true(names.includes('IPVS_SNAT_POOL_BLOCK_SIZE'), names.join())
  t.false(names.includes('IPVS_SNAT_POOL_STATS'), names.join())
  const library = added('keepalived/check/libipvs_snat.c')
  t.deepEqual(names.filter((name) => !library.includes(`(msg, ${name}, pool->`)), [], 'told')
  t.deepEqual(names.filter((name) => !library.includes(`(attrs[${name}]`)), [], 'known again')
})

test("the limits are the kernel's", (t) => {
  const engine = ['config.h', 'block.c', 'parse.c'].map((name) => readFileSync(join(PATCHES, `engine/net/netfilter/ipvs/ip_vs_snat_${name}`), 'utf8')).join('')
  const value = (text: string, name: string): string | undefined => new RegExp(`#define ${name}\\s+(\\d+)`).exec(text)?.[1]
  const pairs: readonly (readonly [ours: string, kernels: string])[] = [
    ['MIN_BLOCK_SIZE', 'SNAT_MIN_BLOCK_SIZE'], ['MAX_BLOCK_SIZE', 'SNAT_MAX_BLOCK_SIZE'], ['MAX_HOST_BLOCKS', 'SNAT_MAX_HOST_BLOCKS'],
    ['MAX_RULES', 'SNAT_MAX_RULES'], ['MAX_POOLS', 'SNAT_MAX_POOLS'], ['MAX_ADDRESSES', 'SNAT_MAX_ADDRS'], ['DEF_HOST_BLOCKS', 'SNAT_DEF_HOST_BLOCKS'], ['MAX_BLOCKS', 'SNAT_MAX_BLOCKS'], ['MAX_ADDRESS_POOLS', 'SNAT_ADDR_BLOCKS'],
  ]
  const words = added('keepalived/check/check_snat.c')
  for (const [ours, kernels] of pairs) {
    t.truthy(value(words, ours), ours)
    t.is(value(words, ours), value(engine, kernels), ours)
  }
  t.regex(engine, new RegExp(`port_min = ${value(words, 'FIRST_BLOCK_PORT')};\\s+spec->port_max = ${value(words, 'LAST_BLOCK_PORT')};`))
})

test('the manual tells of every keyword of SNAT', (t) => {
  t.true(keywords.length > 30, keywords.join())
  const manual = added('doc/man/man5/keepalived.conf.5.in')
  t.deepEqual(keywords.filter((name) => !manual.includes(`\\fB${name}`)), [])
})

test('the examples use only words that there are, and are in the package', (t) => {
  const spec = readFileSync(join(ROOT, 'specs/keepalived/keepalived.spec'), 'utf8')
  const blocks = EXAMPLES.map((name) => readFileSync(join(ROOT, 'specs/keepalived', name), 'utf8')).join('')
  const bodies = [...blocks.matchAll(/^ *(?:snat_rule|snat_pool \w+) \{\n([^{}]*)/gm)].flatMap(([, body = '']) => body.split('\n').map((line) => line.trim().split(/\s+/)[0] ?? ''))
  t.true(bodies.includes('block_size') && bodies.includes('snat_ip'))
  t.deepEqual(bodies.filter((word) => !/^(#.*)?$/.test(word) && !keywords.includes(word)), [])
  for (const name of EXAMPLES) t.true(spec.includes(`%doc %{doc_folder}/${name}`), name)
})
