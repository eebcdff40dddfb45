// SPDX-License-Identifier: GPL-2.0-only
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { followCapture } from '../../vm/capture.ts'
import { PcapWriter } from '../../vm/ethernet/pcap.ts'
import { ethernet, tcp, udp } from '../../vm/packet/build.ts'
import { createFixture, fails } from './fixture.ts'

test('a filter that tshark does not understand is refused at once', async (t) => {
  for (const filter of ['tcp.prt == 80', 'tcp.port ===']) await fails(t, 'usage', () => followCapture('/no/such', { filter }))
})

test('packets that a filter chooses are shown, and written to a file until it is stopped', async (t) => {
  const { root } = createFixture(t)
  const pcap = new PcapWriter(join(root, 'link.pcap'))
  const write = join(root, 'some.pcapng')
  const capture = await followCapture(pcap.path, { filter: 'udp', write })
  const frames = [udp('192.168.1.2:1 > 198.51.100.7:53', 'x'), tcp('192.168.1.2:2 > 198.51.100.7:80', 'S')].flat()
  for (const datagram of frames) pcap.write(ethernet('02:00:00:00:01:02', '02:00:00:00:01:01', 0x0800, datagram))
  // The clock of the follower is not ours: it has all that was there when it is stopped.
  while (!existsSync(write)) await new Promise((resolve) => setTimeout(resolve, 50))
  capture.stop()
  await capture.ended
  pcap.close()
  t.is(execFileSync('tshark', ['-n', '-r', write, '-T', 'fields', '-e', 'ip.proto'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }), '17\n')
})
