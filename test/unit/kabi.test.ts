// SPDX-License-Identifier: GPL-2.0-only
import test from 'ava'
import { compareAbi, parseSymvers } from '../../scripts/kernel/kabi.ts'

test('the lines of Module.symvers are read, whatever stands behind symbol and CRC', (t) => {
  const text = '0x01234567\tone\tvmlinux\tEXPORT_SYMBOL\n0x89abcdef\ttwo\tnet/netfilter/ipvs/ip_vs\tEXPORT_SYMBOL_GPL\n\nnothing\n'
  t.deepEqual([...parseSymvers(text)], [['one', '0x01234567'], ['two', '0x89abcdef']])
})

test('symbols that changed are told apart from those that a build does not have', (t) => {
  const whitelist = parseSymvers('0x00000001 one\n0x00000002 two\n0x00000003 three\n')
  t.deepEqual(compareAbi(parseSymvers('0x00000001 one\n0x0000000f two\n0x00000009 other\n'), whitelist), {
    same: 1,
    different: ['two: 0x00000002 in the stock kernel, 0x0000000f here'],
    missing: 1,
  })
})
