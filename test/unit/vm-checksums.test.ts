// SPDX-License-Identifier: GPL-2.0-only
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { judge, verifyChecksums } from '../e2e/lib/checksums.ts'
import { PcapWriter } from '../../vm/ethernet/index.ts'
import { echo, ethernet, ETHERTYPE, fragment, icmpError, tcp, udp } from '../../vm/packet/index.ts'

const GATEWAY = '02:00:00:00:01:01'
const HOST = '02:00:00:00:01:02'

test('tshark finds every damaged packet of the gateway, and no other', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-unit-'))
  const pcap = new PcapWriter(join(folder, 'a.pcap'))
  const send = (datagram: Buffer, from = GATEWAY) => pcap.write(ethernet(from, from === HOST ? GATEWAY : HOST, ETHERTYPE.ip, datagram))
  const damaged = (datagram: Buffer, at: number): Buffer => {
    const copy = Buffer.from(datagram)
    copy[at] = (copy[at] ?? 0) ^ 1
    return copy
  }
  const query = udp('10.0.0.1:5 > 10.0.0.2:6000', 'hello')
  const parts = fragment(udp('10.0.0.1:7 > 10.0.0.2:6000', Buffer.alloc(3000), { df: false }), 1480)
  const broken = fragment(udp('10.0.0.1:8 > 10.0.0.2:6000', Buffer.alloc(3000), { df: false, wrong: 3 }), 1480)
  for (const good of [query, tcp('10.0.0.1:5 > 10.0.0.2:6000', 'S'), echo('10.0.0.1 > 10.0.0.2', 'request', { echoId: 1 }), ...parts]) send(good)
  send(udp('10.0.0.1:5 > 10.0.0.2:6000', 'none', { noChecksum: true }))
  send(icmpError('10.0.0.1 > 10.0.0.2', 'port-unreachable', udp('10.0.0.2:6 > 10.0.0.1:7', 'x'.repeat(100))))
  send(damaged(query, 30), HOST)
  const before = pcap.frames
  send(udp('10.0.0.1:5 > 10.0.0.2:6000', 'bad', { wrong: 1 }))
  send(tcp('10.0.0.1:5 > 10.0.0.2:6000', 'S', { wrong: 1 }))
  send(damaged(echo('10.0.0.1 > 10.0.0.2', 'request', { echoId: 1 }), 30))
  send(damaged(query, 8))
  send(icmpError('10.0.0.1 > 10.0.0.2', 'port-unreachable', damaged(query, 8)))
  for (const part of broken) send(part)
  pcap.close()
  const report = await verifyChecksums(pcap.path, GATEWAY)
  t.deepEqual(report.bad.map(({ frame }) => frame - before), [1, 2, 3, 4, 5, 8])
  t.is(report.frames, pcap.frames - 1)
  rmSync(folder, { recursive: true })
})

test('a checksum that was not looked at is not a good one', (t) => {
  t.deepEqual(judge('7;6;0;0;1;1;;'), [])
  t.is(judge('7;6;0;0;1;2;;')[0]?.what, 'bad checksum: TCP (status 2)')
  t.is(judge('7;6;0;0;1;;;')[0]?.what, 'bad checksum: TCP (status none)')
  t.is(judge('7;17;0;0;;;1;')[0]?.what, 'bad checksum: IP header (status none)')
  t.deepEqual(judge('7;17;1;0;1;;;'), [])
})
