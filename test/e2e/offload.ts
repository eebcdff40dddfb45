// SPDX-License-Identifier: GPL-2.0-only
/** Packets that the kernel has merged on reception (GRO) go through translation and are cut again. */

import { Connection } from '../../vm/host/index.ts'
import { A, C, POOL, S } from '../../vm/topology.ts'
import { sendMerged } from './lib/bulk.ts'
import { snat } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'

const DF_GRO = 'issue 2: DF with GRO; defect 4: no false FRAG_NEEDED'
const [P0 = ''] = POOL

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
])
