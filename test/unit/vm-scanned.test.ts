// SPDX-License-Identifier: GPL-2.0-only
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Failure } from '../../scripts/base/errors.ts'
import { PcapWriter } from '../../vm/ethernet/index.ts'
import { Lab } from '../../vm/lab.ts'
import { echo, ethernet, ETHERTYPE } from '../../vm/packet/index.ts'
import { GATEWAY, LINKS } from '../../vm/topology.ts'
import { runSuites, type RunReport } from '../e2e/lib/run.ts'
import { suite, test as e2e, type TestCase } from '../e2e/lib/suite.ts'

const COMPLAINT = '<4>[   12.3] WARNING: CPU: 1 PID: 0 at net/netfilter/ipvs/ip_vs_conn.c:850 ip_vs_conn_expire+0x1/0x2 [ip_vs]'

interface Said {
  lines: string[]
  lostBy?: Failure
  /** What it answers to whoever looks for leaks; without it, nobody does. */
  leaks?: () => string
}

/** Runs tests in labs that are none: all that a gateway does is to keep a log. */
async function run(t: ExecutionContext, tests: readonly TestCase[], gateway: Said, atStop: () => void = () => undefined): Promise<RunReport> {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-unit-'))
  const real = Lab.start.bind(Lab)
  t.teardown(() => {
    Lab.start = real
    rmSync(folder, { recursive: true })
  })
  const links = Object.fromEntries(LINKS.map((link) => {
    const pcap = new PcapWriter(join(folder, `${link}.pcap`))
    pcap.write(ethernet(GATEWAY[link].mac, '02:00:00:00:09:09', ETHERTYPE.ip, echo('10.0.0.1 > 10.0.0.2', 'request', { echoId: 1 })))
    pcap.close()
    return [link, { pcap }]
  }))
  const sh = async (script: string): Promise<string> => {
    if (script.includes('kmemleak')) return gateway.leaks?.() ?? ''
    if (script.startsWith('echo ')) gateway.lines.push(`<12>${script}`)
    return ''
  }
  const klog = { lines: gateway.lines, find: async (text: string) => gateway.lines.findIndex((line) => line.includes(text)) }
  const lab = {
    gateway: { klog, sh, run: async () => ({ status: 0, output: '' }), get lostBy() { return gateway.lostBy } },
    links, hosts: [], reset: async () => undefined, stop: async () => atStop(),
  }
  Lab.start = async () => lab as unknown as Lab
  return runSuites([suite('some', tests)], {
    labs: 1, lacks: {}, findsLeaks: gateway.leaks !== undefined, unfinished: () => undefined, print: () => undefined,
    image: { kernel: '', initrd: '' } as never, accelerator: 'tcg', sockets: folder, results: folder,
  })
}

const outcomes = ({ results }: RunReport): string[] => results.map(({ name, outcome, message = '' }) => `${name}: ${outcome} ${message.split('\n').at(-1)}`.trim())
const nothing = (name: string): TestCase => e2e(name, 'it is there', async () => undefined)

test.serial('what the kernel complains of before the first test counts for it', async (t) => {
  t.deepEqual(outcomes(await run(t, [nothing('one'), nothing('two')], { lines: ['booted', COMPLAINT] })).map((text) => text.slice(0, 11)), ['one: failed', 'two: passed'])
})

test.serial('what the kernel complains of after the last test counts for that one', async (t) => {
  const gateway: Said = { lines: [] }
  const report = await run(t, [nothing('one'), nothing('two')], gateway, () => void gateway.lines.push(COMPLAINT))
  t.deepEqual(outcomes(report), ['one: passed', `two: failed ${COMPLAINT}`])
})

test.serial('what the kernel has complained of before its machine was lost is told of', async (t) => {
  const gateway: Said = { lines: [] }
  const dies = e2e('dies', 'it is lost', async () => {
    gateway.lines.push(COMPLAINT)
    gateway.lostBy = new Failure('lostVm', 'The virtual machine gateway crashed.')
    throw gateway.lostBy
  })
  const { results, lost } = await run(t, [dies], gateway)
  t.is(lost.length, 1)
  t.regex(results[0]?.message ?? '', /^The virtual machine gateway crashed\.\nthe kernel complained \(warning\)/)
})

test.serial('a machine that has booted is stopped when it cannot be made ready, as when somebody interrupts it', async (t) => {
  let stopped = 0
  const leaks = (): never => {
    throw new Failure('interrupted', 'Interrupted by SIGINT.')
  }
  const { results } = await run(t, [nothing('one')], { lines: [], leaks }, () => {
    stopped++
  })
  t.is(results[0]?.outcome, 'failed')
  t.is(stopped, 1)
})
