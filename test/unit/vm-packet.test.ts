// SPDX-License-Identifier: GPL-2.0-only
import test from 'ava'
import {
  arp, differences, echo, ethernet, ETHERTYPE, fragment, icmpError, ip6Bytes, ip6Text, ipBytes, matches, parseDatagram, parseFrame,
  summary, tcp, udp, udp6,
} from '../../vm/packet/index.ts'
import { checksum } from '../../vm/packet/checksum.ts'

test('the checksum of the example in RFC 1071', (t) => {
  t.is(checksum(Buffer.from('0001f203f4f5f6f7', 'hex')), ~0xddf2 & 0xffff)
})

test('an odd last byte is padded on the right', (t) => {
  t.is(checksum(Buffer.from([0x12, 0x34, 0x56])), checksum(Buffer.from([0x12, 0x34, 0x56, 0x00])))
})

test('what a builder is told is what a parser finds', (t) => {
  const packet = parseFrame(
    ethernet('02:00:00:00:00:01', '02:00:00:00:00:02', ETHERTYPE.ip, tcp('10.0.0.1:1234 > 192.0.2.9:80', 'SA', { seq: 4294967295, ack: 7, ttl: 3, data: 'x' })),
  )
  t.is(summary(packet), 'tcp 10.0.0.1:1234 > 192.0.2.9:80 SA')
  t.like(packet.ip, { ttl: 3, df: true, mf: false, offset: 0, length: 41 })
  t.like(packet.tcp, { seq: 4294967295, ack: 7, flags: 'SA' })
  t.is(packet.data.toString(), 'x')
  t.is(packet.datagram.length, 41)
})

test('every kind of packet has its line', (t) => {
  const query = udp('10.0.0.1:5 > 192.0.2.9:53', 'hi')
  const line = (datagram: Buffer) => summary(parseDatagram(datagram))
  t.is(line(query), 'udp 10.0.0.1:5 > 192.0.2.9:53')
  t.is(line(echo('10.0.0.1 > 192.0.2.9', 'request', { echoId: 7 })), 'icmp 10.0.0.1 > 192.0.2.9 echo-request id=7')
  t.is(
    line(icmpError('192.0.2.1 > 10.0.0.1', 'frag-needed', query, { mtu: 1400 })),
    'icmp 192.0.2.1 > 10.0.0.1 frag-needed [udp 10.0.0.1:5 > 192.0.2.9:53]',
  )
  t.is(parseDatagram(icmpError('192.0.2.1 > 10.0.0.1', 'frag-needed', query, { mtu: 1400 })).icmp?.mtu, 1400)
  const question = arp(1, { mac: '02:00:00:00:00:01', ip: '10.0.0.1' }, { mac: '00:00:00:00:00:00', ip: '10.0.0.2' })
  t.is(summary(parseFrame(ethernet('02:00:00:00:00:01', 'ff:ff:ff:ff:ff:ff', ETHERTYPE.arp, question))), 'arp who-has 10.0.0.2 tell 10.0.0.1')
  const six = ethernet('02:00:00:00:00:01', '02:00:00:00:00:02', ETHERTYPE.ip6, udp6('fd00::1 > fd00:2::9', 9, 'hi'))
  t.is(summary(parseFrame(six)), 'ip6 17 fd00::1 > fd00:2::9')
})

test('fragments carry the whole datagram between them', (t) => {
  const whole = udp('10.0.0.1:5 > 192.0.2.9:53', Buffer.alloc(3001, 0x61), { df: false })
  const parts = fragment(whole, 1480).map(parseDatagram)
  t.deepEqual(parts.map((part) => part.ip?.offset), [0, 1480, 2960])
  t.deepEqual(parts.map((part) => part.ip?.mf), [true, true, false])
  t.is(summary(parts[1] as (typeof parts)[0]), 'frag 17 10.0.0.1 > 192.0.2.9 offset=1480')
  t.is(parts.reduce((sum, part) => sum + part.datagram.length - 20, 0), 3009)
})

test('a star stands for a part of one word', (t) => {
  const packet = parseDatagram(tcp('10.0.0.1:1234 > 192.0.2.9:80', 'S'))
  t.true(matches('tcp 10.0.0.1:* > 192.0.2.9:80 S', packet))
  t.true(matches('* 10.0.0.1:* > * *', packet))
  t.false(matches('tcp 10.0.0.1:* > 192.0.2.9:80 SA', packet))
  t.false(matches('tcp 10.0.0.1:123 > 192.0.2.9:80 S', packet))
  t.false(matches('tcp 10.0.0.1*', packet))
})

test('in which fields a packet is another one than was waited for', (t) => {
  const question = udp('10.0.0.1:5 > 192.0.2.9:53', 'hi')
  for (const [datagram, pattern, fields] of [
    [question, 'udp 10.0.0.1:* > 192.0.2.*:53', []],
    [question, 'udp 203.0.113.1:7 > 192.0.2.9:53', ['source address 10.0.0.1 instead of 203.0.113.1', 'source port 5 instead of 7']],
    [question, 'tcp 10.0.0.1:5 > 192.0.2.9:53 S', undefined],
    [question, 'udp ** > *', undefined],
    [question, '* 10.0.0.1:5 > *', undefined],
    [tcp('10.0.0.1:5 > 192.0.2.9:80', 'SA'), 'tcp 10.0.0.1:5 > 192.0.2.9:80 S', ['flags SA instead of S']],
    [echo('10.0.0.1 > 192.0.2.9', 'request', { echoId: 7 }), 'icmp 10.0.0.1 > 192.0.2.9 echo-reply id=8', ['kind echo-request instead of echo-reply', 'echo id=7 instead of id=8']],
    [
      icmpError('192.0.2.1 > 10.0.0.1', 'frag-needed', question), 'icmp 192.0.2.1 > 10.0.0.1 port-unreachable [udp 10.0.0.1:6 > 192.0.2.9:53]',
      ['kind frag-needed instead of port-unreachable', 'quoted source port 5 instead of 6'],
    ],
    [icmpError('192.0.2.1 > 10.0.0.1', 'frag-needed', question), 'icmp 192.0.2.1 > 10.0.0.1 frag-needed', ['quoted protocol udp instead of none', 'quoted source address 10.0.0.1 instead of none', 'quoted source port 5 instead of none', 'quoted destination address 192.0.2.9 instead of none', 'quoted destination port 53 instead of none']],
  ] as const) t.deepEqual(differences(pattern, parseDatagram(datagram)), fields === undefined ? undefined : [...fields], pattern)
})

test('addresses that are none are refused', (t) => {
  t.throws(() => ipBytes('10.0.0'), { message: /not an IPv4 address/ })
  t.throws(() => ipBytes('10.0.0.256'), { message: /not an IPv4 address/ })
  t.throws(() => tcp('10.0.0.1 > 10.0.0.2:3', 'S'), { message: /has no port/ })
  t.is(ip6Text(ip6Bytes('fd00:0:0:1::2')), 'fd00:0:0:1::2')
})
