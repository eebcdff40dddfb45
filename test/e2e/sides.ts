// SPDX-License-Identifier: GPL-2.0-only
/** Which devices are outside, where the pools do not tell, or rules of routing have the default route in tables of their own. */

import assert from 'node:assert/strict'
import type { Lab } from '../../vm/lab.ts'
import { summary, tcp, udp } from '../../vm/packet/index.ts'
import { A, C, CLIENT, GATEWAY, POOL, ROUTER, S } from '../../vm/topology.ts'
import { between, counter, snat, vsSysctl } from './lib/configure.ts'
import { atOnce, pool, rule } from './lib/rules.ts'
import { suite, test } from './lib/suite.ts'
import { ask, assertNothingPrivateLeft, everyKindGoesOut, withNeighbour } from './lib/traffic.ts'

const [P0 = '', P1 = ''] = POOL
const PUBLIC = '198.18.0.5'
const LOW_DELAY = 0x10
const ATTACKED = 'issue 15, as the engine was attacked'
const LO = `${ATTACKED}: a second pool elsewhere takes the default route's device out of the outside`
const SIDES = `${ATTACKED}: what comes in by the default route of a table is from outside, too`
const KEYS = `${ATTACKED}: rules of routing ask for more than addresses`
const PRIVATE = `${ATTACKED}: pools, and what is outside, may have private addresses`
const TUNNEL = `${ATTACKED}: tunnels with many ends were taken for dummies`

/** Has P0 on lo and routes in tables of their own in place of the default route for as long as `work` takes. */
const withTables = (lab: Lab, setUp: string, takeDown: string, work: () => Promise<void>): Promise<void> => between(lab, `
  ip addr add ${P0}/32 dev lo
  ip route del default
  ${setUp}`, `
  ${takeDown}
  ip route flush table 77
  ip route flush table 78
  ip addr del ${P0}/32 dev lo
  ip route replace default via ${ROUTER}`, work)

export default suite('sides', [
  ...(['a pool of no rule', 'a pool of a rule', 'the same service'] as const).map((other) =>
    test(`a pool on lo goes out by the default route, whatever other address there is, in ${other}`, LO, async (lab) => {
      await between(lab, `ip addr add ${P0}/32 dev lo; ip addr add ${P1}/32 dev inside2`, `ip addr del ${P0}/32 dev lo; ip addr del ${P1}/32 dev inside2`, async () => {
        const main = [...pool('out', [P0]), rule('192.168.0.0/16', 'out')]
        if (other === 'the same service') await snat(lab, { pool: [P0, P1], device: 'none' })
        else if (other === 'a pool of no rule') await atOnce(lab, ...main, ...pool('partner', [P1]))
        else await atOnce(lab, ...main, ...pool('partner', [P1]), rule('192.168.0.0/16', 'partner', { to: '198.18.0.0/16' }))
        lab.a.send([udp(`${A}:40001 > ${S}:53`, 'question'), tcp(`${A}:40001 > ${S}:80`, 'S')])
        await lab.settle()
        assertNothingPrivateLeft(lab)
        assert.equal(await counter(lab, 'created'), 2)
      })
    }),
  ),

  test('a pool on lo goes out by the default route still when another address comes by and by', LO, async (lab) => {
    await between(lab, `ip addr add ${P0}/32 dev lo; ip addr add ${P1}/32 dev inside2`, `ip addr del ${P0}/32 dev lo; ip addr del ${P1}/32 dev inside2`, async () => {
      await atOnce(lab, ...pool('out', [P0]), rule('192.168.0.0/16', 'out'))
      await everyKindGoesOut(lab, P0)
      await lab.gateway.sh(`ipvsadm --add-pool partner -z ${P1}`)
      await everyKindGoesOut(lab, P0, 40002)
      assertNothingPrivateLeft(lab)
    })
  }),

  test('what comes from outside is of no inside host\'s flow, where a rule has the default route in a table', SIDES, async (lab) => {
    await withTables(lab, `ip rule add from ${A} lookup 77; ip route add default via ${ROUTER} dev outside table 77`, `ip rule del from ${A} lookup 77`, async () => {
      await snat(lab, { pool: [P0], device: 'none' })
      await ask({ client: lab.a, sent: `${A}:40002 > ${S}:53`, server: lab.net, seen: `${P0}:40002 > ${S}:53` })
      const before = lab.sent('outside').length
      lab.net.send(udp(`${A}:40002 > ${S}:53`, 'forged'))
      await lab.settle()
      assert.deepEqual(lab.sent('outside').slice(before).filter(({ ip }) => ip?.src === P0).map(summary), [])
    })
  }),

  test('clients are not translated, where each side has a table of its own', SIDES, async (lab) => {
    await withTables(lab, `
      ip rule add iif inside lookup 77
      ip route add default via ${ROUTER} dev outside table 77
      ip rule add iif outside lookup 78
      ip route add default via ${A} dev inside table 78`, 'ip rule del iif inside lookup 77; ip rule del iif outside lookup 78', async () => {
      await snat(lab, { pool: [P0], device: 'none' })
      lab.net.send(udp(`${CLIENT}:5001 > ${PUBLIC}:9`, 'for a server inside'))
      await lab.a.expect(`udp ${CLIENT}:5001 > ${PUBLIC}:9`)
      await ask({ client: lab.a, sent: `${A}:40001 > ${S}:53`, server: lab.net, seen: `${P0}:40001 > ${S}:53` })
    })
  }),

  test('a default route that a rule chooses by TOS leads outside', KEYS, async (lab) => {
    await withTables(lab, `
      ip route add default via ${C}
      ip rule add iif inside tos ${LOW_DELAY.toString(16)} lookup 77
      ip route add default via ${ROUTER} dev outside table 77`, `ip rule del iif inside tos ${LOW_DELAY.toString(16)} lookup 77`, async () => {
      await snat(lab, { pool: [P0], device: 'none' })
      lab.a.send(udp(`${A}:40001 > ${S}:53`, 'question', { tos: LOW_DELAY }))
      await lab.settle()
      assertNothingPrivateLeft(lab)
      await lab.net.expect(`udp ${P0}:40001 > ${S}:53`)
    })
  }),

  test('an inside host that names a private outside address as its source has no answers sent there', PRIVATE, async (lab) => {
    const own = '10.1.0.10'
    await between(lab, `ip addr add ${own}/32 dev outside`, `ip addr del ${own}/32 dev outside`, async () => {
      await snat(lab, { pool: [own], device: 'none' })
      lab.a.send(udp(`10.99.0.5:40001 > 10.20.0.5:53`, 'answer somebody else'))
      await lab.settle()
      assert.equal(await counter(lab, 'created'), 0)
      assert.equal(await counter(lab, 'drop_unsolicited'), 1)
    })
  }),

  test('a private destination beyond a default route in a table is outside', PRIVATE, async (lab) => {
    await withTables(lab, `ip rule add iif inside lookup 77; ip route add default via ${ROUTER} dev outside table 77`, 'ip rule del iif inside lookup 77', async () => {
      await snat(lab, { pool: [P0], device: 'none' })
      await ask({ client: lab.a, sent: `${A}:40001 > 100.64.0.1:53`, server: lab.net, seen: `${P0}:40001 > 100.64.0.1:53` })
    })
  }),

  test('networks that no default route is for are no inside ones, where the pool is private', PRIVATE, async (lab) => {
    const own = '10.1.0.10'
    await between(lab, `ip addr add ${own}/32 dev lo; ip route del default; ip route add 10.20.0.0/16 via ${ROUTER}`, `ip addr del ${own}/32 dev lo; ip route del 10.20.0.0/16; ip route replace default via ${ROUTER}`, async () => {
      await snat(lab, { pool: [own], device: 'none' })
      lab.a.send(udp(`${A}:40001 > 10.20.0.5:53`, 'question'))
      await lab.settle()
      assertNothingPrivateLeft(lab)
      assert.equal(await counter(lab, 'drop_no_way'), 1)
    })
  }),

  test('one link for all may have its default route in a table', KEYS, async (lab) => {
    await withTables(lab, `ip rule add iif outside lookup 77; ip route add default via ${ROUTER} dev outside table 77; ip route add 10.9.0.0/24 dev outside; ip route add 10.9.0.0/24 dev outside table 77`,
      'ip rule del iif outside lookup 77; ip route del 10.9.0.0/24', async () => {
        await snat(lab, { pool: [P0], device: 'none' })
        await vsSysctl(lab, 'snat_one_armed', '1')
        await withNeighbour(lab, '10.9.0.5', async (neighbour) => {
          await ask({ client: neighbour, sent: `10.9.0.5:40001 > ${S}:53`, server: lab.net, seen: `${P0}:40001 > ${S}:53` })
        })
      })
  }),

  test('a pool address on a tunnel without a remote is outside', TUNNEL, async (lab) => {
    await between(lab, `
      modprobe ip_gre
      ip tunnel add hub mode gre local ${GATEWAY.outside.address} key 7
      ip link set hub up
      ip addr add ${P0}/32 dev hub
      ip route add 198.18.0.0/16 dev hub`, 'ip tunnel del hub', async () => {
      await snat(lab, { pool: [P0], device: 'none' })
      lab.a.send(udp(`${A}:40001 > ${PUBLIC}:53`, 'question'))
      await lab.settle()
      assert.equal(await counter(lab, 'created'), 1)
    })
  }),

  ...(['no default route at all', 'a default route in a table'] as const).map((what) =>
    test(`a device is inside again when the pool address on it has gone, with ${what}`, LO, async (lab) => {
      const table = what === 'a default route in a table'
      await withTables(lab, table
        ? `
        ip rule add from 192.168.0.0/16 lookup 77
        ip route add 192.168.1.0/24 dev inside table 77
        ip route add 192.168.2.0/24 dev inside2 table 77
        ip route add default via ${ROUTER} dev outside table 77`
        : `ip route add 198.51.100.0/24 via ${ROUTER}`,
      table ? 'ip rule del from 192.168.0.0/16 lookup 77' : 'ip route del 198.51.100.0/24', async () => {
        await lab.gateway.sh(`ip addr add ${P1}/32 dev inside2`)
        await atOnce(lab, ...pool('out', [P0]), ...pool('partner', [P1]), rule('192.168.0.0/16', 'out', table ? {} : { oif: 'outside' }))
        await ask({ client: lab.a, sent: `${A}:40001 > ${S}:53`, server: lab.net, seen: `${P0}:40001 > ${S}:53` })
        await lab.gateway.sh(`ipvsadm --delete-pool partner; ip addr del ${P1}/32 dev inside2`)
        await ask({ client: lab.c, sent: `${C}:40002 > ${S}:53`, server: lab.net, seen: `${P0}:40002 > ${S}:53` })
        assertNothingPrivateLeft(lab)
      })
    }),
  ),
])
