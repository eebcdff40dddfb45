// SPDX-License-Identifier: GPL-2.0-only
/**
 * Verifies the checksums of everything the gateway has sent, by tshark: by a judge
 * that is neither the kernel under test nor the lab's own packet codec.
 */

import { Failure } from '../../../scripts/base/errors.ts'
import { capture } from '../../../scripts/base/run.ts'

/** Values of tshark's `*.checksum.status` fields. */
const GOOD = '1'
const NOT_PRESENT = '3'

const FIELDS = [
  'frame.number', 'ip.proto', 'ip.flags.mf', 'ip.frag_offset', 'ip.checksum.status', 'tcp.checksum.status',
  'udp.checksum.status', 'icmp.checksum.status',
] as const

export interface BadFrame {
  frame: number
  what: string
}

export interface ChecksumReport {
  /** IPv4 frames from the gateway that were looked at. */
  frames: number
  bad: BadFrame[]
}

/**
 * @param pcap file to look through
 * @param mac address of the gateway on that link; only its frames count
 * @throws Failure of kind `environment` when tshark is missing, `test` when it cannot read the file
 */
export async function verifyChecksums(pcap: string, mac: string): Promise<ChecksumReport> {
  await requireTshark()
  const { stdout } = await capture(
    [
      'tshark', '-n', '-r', pcap, '-Y', `eth.src == ${mac} && ip`,
      '-o', 'ip.check_checksum:TRUE', '-o', 'tcp.check_checksum:TRUE', '-o', 'udp.check_checksum:TRUE',
      '-o', 'ip.defragment:TRUE', '-T', 'fields', '-E', 'separator=;', '-E', 'aggregator=,',
      ...FIELDS.flatMap((field) => ['-e', field]),
    ],
    { kind: 'test' },
  )
  const lines = stdout.split('\n').filter(Boolean)
  return { frames: lines.length, bad: lines.flatMap(judge) }
}

/** @throws Failure of kind `environment` when there is no tshark: without it nothing is verified */
export async function requireTshark(): Promise<void> {
  const found = await capture(['tshark', '--version'], { anyExit: true }).catch(() => undefined)
  if (found?.exitCode === 0) return
  throw new Failure('environment', 'tshark is missing: nobody would verify the checksums of forwarded packets.', {
    hint: 'Install the package tshark (Debian) or wireshark-cli (Fedora).',
  })
}

/**
 * @param line the values of {@link FIELDS}; several of one field are those of a packet and of the one it quotes
 * @returns what is wrong with the frame, if anything is
 */
export function judge(line: string): BadFrame[] {
  const [number = '', protocols = '', more = '', offsets = '', ip = '', tcp = '', udp = '', icmp = ''] = line.split(';')
  const first = (values: string): string => values.split(',')[0] ?? ''
  const wrong: string[] = []
  if (ip === '' || ip.split(',').some((status) => status !== GOOD)) wrong.push(`IP header (status ${ip || 'none'})`)
  // A checksum over a datagram in fragments shows with the fragment that completes it, so the others have none.
  const isFragment = /^(1|True)/i.test(first(more)) || Number(first(offsets)) > 0
  const check = (name: string, statuses: string, fine: readonly string[]) => {
    const status = first(statuses)
    if (isFragment && status === '') return
    if (!fine.includes(status)) wrong.push(`${name} (status ${status || 'none'})`)
  }
  // What an ICMP error quotes is cut off; only its IP header can be judged.
  if (first(protocols) === '1') check('ICMP', icmp, [GOOD])
  if (first(protocols) === '6') check('TCP', tcp, [GOOD])
  if (first(protocols) === '17') check('UDP', udp, [GOOD, NOT_PRESENT])
  return wrong.length === 0 ? [] : [{ frame: Number(number), what: `bad checksum: ${wrong.join(', ')}` }]
}
