// SPDX-License-Identifier: GPL-2.0-only
/** Packets that the kernel has merged on reception (GRO) go through translation and are cut again; sums that are left to a card are right in the end. */

import assert from 'node:assert/strict'
import { Connection } from '../../vm/host/index.ts'
import type { Lab } from '../../vm/lab.ts'
import { checksum, pseudoHeader } from '../../vm/packet/checksum.ts'
import { ethernet, ETHERTYPE, ipBytes, PROTOCOL, udp } from '../../vm/packet/index.ts'
import { A, C, POOL, S } from '../../vm/topology.ts'
import { sendMerged } from './lib/bulk.ts'
import { between, snat } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'

const DF_GRO = 'issue 2: DF with GRO; defect 4: no false FRAG_NEEDED'
const UNSUMMED = 'issue 10: replies and what goes out are right to the byte, checksums included'
const [P0 = ''] = POOL

/** A host behind veth, its frames go to the device `tunnel0`. */
const HOST = '10.77.0.2'
const FASTPATH = '/proc/sys/net/ipv4/vs/snat_fastpath'
const HOST_MAC = '02:00:00:00:77:02'
const GATEWAY_MAC = '02:00:00:00:77:01'
const ETHERNET_BYTES = 14
const UDP_BYTES = 8
/** Where in what a tunnel carries the inner header and its checksum are. */
const INNER = 8
const INNER_SUM = 6

/** What a tunnel carries, with the inner checksum that it has on the wire, and before that. */
function carried(): { whole: Buffer; unsummed: Buffer } {
  const unsummed = Buffer.from('outer...inner.\0\0and what it is about')
  unsummed.writeUInt16BE(0x1234, INNER + INNER_SUM)
  const whole = Buffer.from(unsummed)
  whole.writeUInt16BE(checksum(unsummed.subarray(INNER)), INNER + INNER_SUM)
  return { whole, unsummed }
}

/** Sends an IP datagram as the host behind veth, with a checksum that is yet to be computed from a place of it on. */
async function sendUnsummed(lab: Lab, datagram: Buffer, start: number, offset: number): Promise<void> {
  await lab.gateway.put('/tmp/frame', ethernet(HOST_MAC, GATEWAY_MAC, ETHERTYPE.ip, datagram))
  await lab.gateway.sh(`send-unsummed tunnel1 ${ETHERNET_BYTES + start} ${offset} </tmp/frame && rm /tmp/frame`)
}

/**
 * Runs with the host behind veth, whose flows take the short way from their second packet on where there is one. The
 * outside card computes no checksums meanwhile: QEMU's e1000e knows only those of what it takes for the packet's own header.
 */
async function withHost(lab: Lab, work: () => Promise<void>): Promise<void> {
  const setUp = `
    set -e
    ethtool -K outside tx off
    modprobe veth
    ip link add type veth
    ip link set veth0 name tunnel0
    ip link set veth1 name tunnel1
    ip link set tunnel0 address ${GATEWAY_MAC}
    ip link set tunnel0 up
    ip link set tunnel1 up
    ip addr add 10.77.0.1/24 dev tunnel0
    [ ! -e ${FASTPATH} ] || { cat ${FASTPATH} >/tmp/fastpath; echo 60 >${FASTPATH}; }`
  const takeDown = `
    ip link del tunnel0
    ethtool -K outside tx on sg on tso on
    [ ! -e ${FASTPATH} ] || cat /tmp/fastpath >${FASTPATH}`
  await between(lab, setUp, takeDown, work)
}

export default suite('offload', [
  test('merged segments with DF go out whole, without a false frag-needed', DF_GRO, async (lab) => {
    await snat(lab, { pool: [P0] })
    const sent = `${C}:40001 > ${S}:80`
    const seen = `${P0}:40001 > ${S}:80`
    await Connection.open({ client: lab.c, sent, server: lab.net, seen })
    await sendMerged({ lab, link: 'inside2', what: 'forwarded', from: lab.c, sent, to: lab.net, seen, seq: 1_000_001 })
  }),

  test('merged segments with DF come in whole, without a false frag-needed', DF_GRO, async (lab) => {
    await snat(lab, { pool: [P0] })
    const connection = await Connection.open({ client: lab.a, sent: `${A}:40002 > ${S}:80`, server: lab.net, seen: `${P0}:40002 > ${S}:80` })
    await connection.request('GET /')
    const sent = `${S}:80 > ${P0}:40002`
    await sendMerged({ lab, link: 'outside', what: 'received', from: lab.net, sent, to: lab.a, seen: `${S}:80 > ${A}:40002`, seq: 5_000_001 })
  }),

  test('a sum that the sender left to the card is right in the end', UNSUMMED, async (lab) => {
    await snat(lab, { pool: [P0], protocols: ['udp'] })
    await withHost(lab, async () => {
      for (let round = 0; round < 3; round++) {
        const datagram = udp(`${HOST}:7000 > ${S}:53`, 'left to the card')
        const segment = datagram.subarray(20)
        const pseudo = pseudoHeader(ipBytes(HOST), ipBytes(S), PROTOCOL.udp, segment.length)
        segment.writeUInt16BE(~checksum(pseudo) & 0xffff, 6)
        await sendUnsummed(lab, datagram, 20, 6)
        const seen = await lab.net.expect(`udp ${P0}:7000 > ${S}:53`)
        assert.equal(checksum(pseudoHeader(ipBytes(P0), ipBytes(S), PROTOCOL.udp, segment.length), seen.datagram.subarray(20)), 0)
      }
    })
  }, { needs: ['unsummed-frames'] }),

  ...([['has one of its own', false], ['has none', true]] as const).map(([what, noChecksum]) =>
    test(`a tunnel that ${what} keeps it while the sum of what it carries is left to the card`, UNSUMMED, async (lab) => {
      await snat(lab, { pool: [P0], protocols: ['udp'] })
      const { whole, unsummed } = carried()
      await withHost(lab, async () => {
        for (let round = 0; round < 3; round++) {
          const datagram = udp(`${HOST}:4789 > ${S}:4789`, whole, { noChecksum })
          unsummed.copy(datagram, datagram.length - unsummed.length)
          await sendUnsummed(lab, datagram, 20 + UDP_BYTES + INNER, INNER_SUM)
          const seen = await lab.net.expect(`udp ${P0}:4789 > ${S}:4789`)
          assert.deepEqual(seen.data, whole)
          if (noChecksum) assert.equal(seen.udp?.checksum, 0)
          else assert.equal(checksum(pseudoHeader(ipBytes(P0), ipBytes(S), PROTOCOL.udp, UDP_BYTES + whole.length), seen.datagram.subarray(20)), 0)
        }
      })
    }, { needs: ['unsummed-frames'] })),
])
