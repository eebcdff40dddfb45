// SPDX-License-Identifier: GPL-2.0-only
/** Random messages to the netlink family of SNAT, beside traffic. FUZZ= says how many, SEED= which ones. */

import assert from 'node:assert/strict'
import { udp } from '../../vm/packet/index.ts'
import { A, POOL, S } from '../../vm/topology.ts'
import { counter } from './lib/configure.ts'
import { atOnce, list, pool, rule } from './lib/rules.ts'
import { suite, test } from './lib/suite.ts'
import { ask, during } from './lib/traffic.ts'

const FUZZ = 'issue 12: netlink fuzz, no splat, no leak, reproducible by seed'
const DEFAULT_MESSAGES = 20_000
/** Far more than they take under KASAN. */
const MESSAGES_PER_S = 100
const GRACE_S = 120
/** Without it a sanitized gateway forwards most of the time, and takes nine times as long for its messages. */
const PAUSE_MS = 400
const [P0 = ''] = POOL

const messages = Number(process.env['LVS_SNAT_FUZZ'] || DEFAULT_MESSAGES)
const seed = Number(process.env['LVS_SNAT_SEED'] || 12)

export default suite('fuzz', [
  test(`messages ${messages}, seed ${seed}: none does harm, and rules work afterwards`, FUZZ, async (lab) => {
    const limit = (messages / MESSAGES_PER_S + GRACE_S) * 1000
    const output = await during(lab, (round) => lab.a.send(udp(`${A}:${10_000 + round % 5000} > ${S}:53`, 'beside it')), () =>
      lab.gateway.sh(`snat-fuzz ${seed} ${messages}`, limit), PAUSE_MS)
    const answers = new Map(output.trim().split('\n').map((line) => [line.replace(/ \d+$/, ''), Number(line.split(' ').pop())]))
    assert.ok((answers.get('done') ?? 0) > messages / 20, `many messages are right: ${output}`)
    assert.ok(answers.size > 6, `and there are many kinds of mistakes: ${output}`)
    assert.deepEqual(await list(lab, 'getRule'), [])
    assert.deepEqual(await list(lab, 'getPool'), [])
    assert.equal(await counter(lab, 'conns'), 0)
    await lab.gateway.sh(`ip addr add ${P0}/32 dev outside`)
    await atOnce(lab, ...pool('out', [P0]), rule('192.168.0.0/16', 'out'))
    await ask({ client: lab.a, sent: `${A}:40001 > ${S}:53`, server: lab.net, seen: `${P0}:40001 > ${S}:53` })
  }, { limit: messages / MESSAGES_PER_S + 2 * GRACE_S }),
])
