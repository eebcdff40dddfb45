// SPDX-License-Identifier: GPL-2.0-only
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import test from 'ava'
import { corrupt, cut, delay, drop, duplicate, frameDecoder, QemuPort, reorder, Segment, type Station } from '../../vm/ethernet/index.ts'
import { ethernet, ETHERTYPE, parseFrame, summary, udp } from '../../vm/packet/index.ts'

const frame = (port: number): Buffer =>
  ethernet('02:00:00:00:00:01', '02:00:00:00:00:02', ETHERTYPE.ip, udp(`10.0.0.1:${port} > 10.0.0.2:9`))

const silent = (name: string): Station => ({ name, deliver: () => undefined })

function wire(t: { teardown: (end: () => void) => void }): { segment: Segment; sender: Station; received: number[] } {
  const folder = mkdtempSync(join(tmpdir(), 'lvs-unit-'))
  const segment = new Segment('test', join(folder, 'test.pcap'))
  const received: number[] = []
  const sender = silent('sender')
  segment.attach(sender)
  segment.attach({ name: 'receiver', deliver: (bytes) => received.push(parseFrame(bytes).udp?.sport ?? -1) })
  t.teardown(() => {
    segment.close()
    rmSync(folder, { recursive: true })
  })
  return { segment, sender, received }
}

test('a whole wire carries every frame, in order, and records it', (t) => {
  const { segment, sender, received } = wire(t)
  for (const port of [1, 2, 3]) segment.transmit(sender, frame(port))
  t.deepEqual(received, [1, 2, 3])
  const pcap = readFileSync(segment.pcap.path)
  t.is(pcap.readUInt32LE(0), 0xa1b2c3d4)
  t.is(pcap.length, 24 + 3 * (16 + 60))
})

test('a recording begins anew, and what there was is put aside, over what was put aside before', (t) => {
  const { segment, sender } = wire(t)
  for (const ports of [[1, 2, 3], [4, 5]]) {
    for (const port of ports) segment.transmit(sender, frame(port))
    const aside = segment.pcap.restart()
    t.is(readFileSync(aside).length, 24 + ports.length * (16 + 60))
    t.is(segment.pcap.frames, 0)
  }
  segment.transmit(sender, frame(6))
  t.is(readFileSync(segment.pcap.path).length, 24 + 16 + 60)
  t.deepEqual(readdirSync(dirname(segment.pcap.path)).sort(), ['test.pcap', 'test.previous.pcap'])
})

test('a wire drops, duplicates, reorders and corrupts what it is told to, and nothing else', (t) => {
  const { segment, sender, received } = wire(t)
  segment.inject(drop('udp *:1 > *'))
  segment.inject(duplicate('udp *:2 > *'))
  segment.inject(reorder('udp *:3* > *'))
  segment.inject(corrupt('udp *:4 > *', 35))
  for (const port of [1, 1, 2, 2, 30, 31, 4]) segment.transmit(sender, frame(port))
  t.deepEqual(received, [1, 2, 2, 2, 31, 30, 4 ^ 0xff])
  segment.inject(cut())
  segment.transmit(sender, frame(9))
  t.is(received.length, 7)
  segment.heal()
  segment.transmit(sender, frame(9))
  t.is(received.at(-1), 9)
})

test('a delayed frame comes after those that are not', async (t) => {
  const { segment, sender, received } = wire(t)
  segment.inject(delay('udp *:1 > *', 20))
  for (const port of [1, 2]) segment.transmit(sender, frame(port))
  t.deepEqual(received, [2])
  await new Promise((resolve) => setTimeout(resolve, 60))
  t.deepEqual(received, [2, 1])
})

test('frames are found in whatever pieces the socket delivers', (t) => {
  const frames: string[] = []
  const decode = frameDecoder((bytes) => frames.push(bytes.toString()))
  const stream = Buffer.from('\0\0\0\x03abc\0\0\0\x02de')
  for (const byte of stream) decode(Buffer.from([byte]))
  decode(stream)
  t.deepEqual(frames, ['abc', 'de', 'abc', 'de'])
  t.throws(() => decode(Buffer.from([0x7f, 0, 0, 0])), { instanceOf: RangeError })
})

test("QEMU's stream socket is a station like any other", async (t) => {
  const { segment, sender, received } = wire(t)
  const folder = mkdtempSync(join(tmpdir(), 'lvs-unit-'))
  const port = await QemuPort.listen('qemu', join(folder, 's'), segment)
  const socket = connect(join(folder, 's'))
  const arrived: string[] = []
  socket.on('data', frameDecoder((bytes) => arrived.push(summary(parseFrame(bytes)))))
  await new Promise<void>((resolve) => socket.once('connect', () => setTimeout(resolve, 20)))
  segment.transmit(sender, frame(7))
  const out = frame(8)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(out.length)
  socket.write(Buffer.concat([length, out]))
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.deepEqual(arrived, ['udp 10.0.0.1:7 > 10.0.0.2:9'])
  t.deepEqual(received, [7, 8])
  socket.destroy()
  port.close()
  rmSync(folder, { recursive: true })
  t.pass(summary(parseFrame(frame(1))))
})
