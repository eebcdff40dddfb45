// SPDX-License-Identifier: GPL-2.0-only
import test from 'ava'
import { Failure } from '../../scripts/base/errors.ts'
import { explain, foreignRaces, LogReader, mergeRaces, requireRaceWatch, scanKernelLog } from '../e2e/lib/klog.ts'
import { checkLog } from '../e2e/lib/run.ts'

/** One real line of each complaint that must never pass. */
const COMPLAINTS = [
  ['panic', '<0>[   12.3] Kernel panic - not syncing: Fatal exception in interrupt'],
  ['oops', '<1>[   12.3] BUG: unable to handle page fault for address: ffffffffffffffd8'],
  ['oops', '<4>[   12.3] Oops: 0000 [#1] PREEMPT SMP NOPTI'],
  ['oops', '<1>BUG: unable to handle kernel NULL pointer dereference at 0000000000000010'],
  ['BUG', '<2>[   12.3] kernel BUG at net/core/skbuff.c:112!'],
  ['BUG', '<3>[   12.3] BUG: KASAN: use-after-free in ip_vs_conn_put+0x1f/0x60 [ip_vs]'],
  ['BUG', '<3>[   12.3] BUG: scheduling while atomic: modprobe/77/0x00000200'],
  ['warning', '<4>[   12.3] WARNING: CPU: 1 PID: 0 at net/netfilter/ipvs/ip_vs_conn.c:850 ip_vs_conn_expire+0x1/0x2 [ip_vs]'],
  ['warning', '<4>WARNING: at net/core/dst.c:274 dst_release+0x60/0x70()'],
  ['warning', '<4>[   12.3] ------------[ cut here ]------------'],
  ['warning', '<4>[   12.3] WARNING: possible circular locking dependency detected'],
  ['warning', '<4>[   12.3] WARNING: suspicious RCU usage'],
  ['warning', '<4>[   12.3] WARNING: inconsistent lock state'],
  ['general protection fault', '<4>[   12.3] general protection fault, probably for non-canonical address 0xdead000000000122: 0000 [#1] SMP'],
  ['lockdep', '<4>[ INFO: possible recursive locking detected ]'],
  ['lockdep', '<4>[ INFO: inconsistent lock state ]'],
  ['UBSAN', '<4>[   12.3] UBSAN: shift-out-of-bounds in net/ipv4/x.c:1:2'],
  ['slab', '<3>[   12.3] kmem_cache_destroy ip_vs_conn: Slab cache still has objects when called from ip_vs_conn_cleanup'],
  ['slab', '<3>[   12.3] BUG ip_vs_conn (Tainted: G): Objects remaining in ip_vs_conn on __kmem_cache_shutdown()'],
  ['RCU', '<3>[   12.3] rcu: INFO: rcu_sched self-detected stall on CPU'],
  ['lockup', '<0>[   12.3] watchdog: soft lockup - CPU#0 stuck for 22s! [rmmod:99]'],
  ['lockup', '<3>[   12.3] INFO: task rmmod:99 blocked for more than 120 seconds.'],
  ['reference leak', '<0>[   12.3] unregister_netdevice: waiting for inside to become free. Usage count = 3'],
  ['reference leak', '<4>[   12.3] refcount_t: underflow; use-after-free.'],
  ['scheduling', '<3>[   12.3] sleeping function called from invalid context at kernel/locking/mutex.c:580'],
  ['list', '<4>[   12.3] list_del corruption. prev->next should be ffff, but was dead'],
  ['module', '<4>[   12.3] ip_vs: Unknown symbol ip_vs_snat_init (err -2)'],
  // As 2.6.32 says it, which has SLAB, no times in its log, and other words in places.
  ['oops', '<1>BUG: unable to handle kernel paging request at ffffffffa0123456'],
  ['BUG', '<0>BUG: soft lockup - CPU#1 stuck for 67s! [rmmod:431]'],
  ['BUG', '<3>BUG: sleeping function called from invalid context at mm/slab.c:3062'],
  ['BUG', '<1>BUG: Bad page state in process ipvsadm  pfn:0fb31'],
  ['warning', '<4>------------[ cut here ]------------'],
  ['warning', '<4>WARNING: at lib/list_debug.c:26 __list_add+0x6d/0xa0() (Not tainted)'],
  ['general protection fault', '<0>general protection fault: 0000 [#1] SMP '],
  ['lockdep', '<4>[ INFO: possible circular locking dependency detected ]'],
  ['lockdep', '<4>[ INFO: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected ]'],
  ['BUG', '<4>[ BUG: held lock freed! ]'],
  ['slab', '<3>slab error in kmem_cache_destroy(): cache `ip_vs_conn\': Can\'t free all objects'],
  ['slab', '<3>Slab corruption (Not tainted): size-256 start=ffff88000f0a1000, len=256'],
  ['slab', "<3>slab error in verify_redzone_free(): cache `size-64': double free detected"],
  ['slab', "<3>slab: double free detected in cache 'ip_vs_conn', objp ffff88000f0a1000"],
  ['RCU', '<3>INFO: RCU detected CPU 0 stall (t=1000 jiffies)'],
  ['RCU', '<3>INFO: RCU detected CPU stalls: 1 (detected by 0, t=1002 jiffies)'],
  ['BUG', '<0>BUG: NMI Watchdog detected LOCKUP on CPU 0, ip ffffffff8127a0b1, registers:'],
  ['lockup', '<3>INFO: task rmmod:431 blocked for more than 120 seconds.'],
  ['reference leak', '<3>Attempt to release alive inet socket ffff88000e8b8000'],
  ['memory', '<4>swapper: page allocation failure. order:0, mode:0x20'],
  ['memory', '<0>Out of memory: Kill process 512 (httpd) score 1 or sacrifice child'],
  ['module', '<4>ip_vs: Unknown symbol ip_vs_snat_init'],
  ['initramfs', '<0>[    1.2] Initramfs unpacking failed: write error'],
  ['interrupt', '<3>irq 11: nobody cared (try booting with the "irqpoll" option)'],
  ['IPVS', '<3>IPVS: ip_vs_conn_hash(): request for already hashed, called from ip_vs_conn_new+0x1/0x2 [ip_vs]'],
] as const

for (const [name, line] of COMPLAINTS) {
  test(`a kernel log with "${line.slice(0, 90)}" is not clean`, (t) => {
    const found = scanKernelLog(['<6>[   11.0] IPVS: ipvs loaded.', line])
    t.is(found[0]?.index, 1)
    t.is(found[0]?.name, name)
  })
}

test('what a healthy machine prints is clean', (t) => {
  t.deepEqual(
    scanKernelLog([
      '<6>[    0.1] NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.',
      '<6>[    0.1] rcu: Hierarchical RCU implementation.',
      '<6>[    0.1] SLUB: HWalign=64, Order=0-3, MinObjects=0, CPUs=2, Nodes=1',
      '<6>[    1.1] IPVS: Registered protocols (TCP, UDP, SCTP, AH, ESP)',
      '<4>[    1.2] IPVS: ip_vs_snat: no free port in the pool',
      '<4>[    1.2] random: crng init done',
      '<6>IPVS: Registered protocols (TCP, UDP, SCTP, AH, ESP)',
      '<6>IPVS: Connection hash table configured (size=4096, memory=64Kbytes)',
      '<6>IPVS: ipvs unloaded.',
      '<6>NET: Unregistered protocol family 10',
      '<4>nf_conntrack version 0.5.0 (1024 buckets, 4096 max)',
    ]),
    [],
  )
})

test('the trace after a complaint is part of the explanation', (t) => {
  const lines = ['fine', 'kernel BUG at x.c:1!', 'Call Trace:', ' one', ' two']
  const [complaint] = scanKernelLog(lines)
  t.truthy(complaint)
  if (complaint) t.is(explain(complaint, lines), 'kernel BUG at x.c:1!\nCall Trace:\n one\n two')
})

/** A report of KCSAN, as kernel/kcsan/report.c prints it; the other side may be unknown. */
function race(title: string, one: readonly string[], other?: readonly string[]): string[] {
  const stack = (functions: readonly string[]) => functions.map((name) => ` ${name.replace(/ |$/, '+0x1a/0x90 ').trimEnd()}`)
  const lines = [
    '==================================================================', `BUG: KCSAN: ${title}`, '',
    ...(other ? ['write to 0xffff888004d5a040 of 8 bytes by interrupt on cpu 1:', ...stack(one), '', 'read to 0xffff888004d5a040 of 8 bytes by task 104 on cpu 0:', ...stack(other)] : ['race at unknown origin, with read to 0xffff888004d5a040 of 8 bytes by task 104 on cpu 0:', ...stack(one)]), '',
    'value changed: 0x0000000000000001 -> 0x0000000000000002', '', 'Reported by Kernel Concurrency Sanitizer on:', 'CPU: 0 PID: 104 Comm: ipvsadm Not tainted 6.1.0 #1',
    'Hardware name: QEMU Standard PC', '==================================================================',
  ]
  return lines.map((line) => `<3>[   12.3] ${line}`)
}

const OF_TICKS = race('data-race in tick_nohz_idle_stop_tick / tick_sched_do_timer', ['tick_sched_do_timer', 'tick_sched_timer'], ['tick_nohz_idle_stop_tick', 'do_idle'])

const without = (lines: readonly string[], from: number, count: number): string[] => lines.filter((_, index) => index < from || index >= from + count)

for (const [what, lines, found] of [
  ['writes in IPVS', race('data-race in ip_vs_snat_expire / ip_vs_snat_in', ['ip_vs_snat_expire', 'call_timer_fn'], ['ip_vs_snat_in [ip_vs]', 'nf_hook_slow']), 1],
  ['is called by IPVS on one of its sides', race('data-race in __mod_timer / run_timer_softirq', ['run_timer_softirq'], ['__mod_timer', 'ip_vs_conn_put [ip_vs]']), 1],
  ['is told of one side only, which is in IPVS', race('data-race in ip_vs_in_hook [ip_vs]', ['ip_vs_in_hook [ip_vs]']), 1],
  ['is in a function of IPVS that is not called so', race('data-race in tcp_state_transition / tcp_state_transition', ['tcp_state_transition [ip_vs]', 'nf_hook_slow']), 1],
  ['is within the driver by which IPVS sends', race('data-race in e1000_clean_tx_irq [e1000e] / e1000_maybe_stop_tx [e1000e]', ['e1000_clean_tx_irq [e1000e]'], ['e1000_maybe_stop_tx [e1000e]', 'snat_fast_hook [ip_vs]']), 0],
  ['is within that driver, with IPVS on both sides', race('data-race in e1000_tx_map [e1000e] / e1000_tx_map [e1000e]', ['e1000_tx_map [e1000e]', 'ip_vs_nat_xmit [ip_vs]'], ['e1000_tx_map [e1000e]', 'snat_fast_hook [ip_vs]']), 1],
  ['is within that driver, as far as is known of one side', race('data-race in e1000_clean_tx_irq+0x1a/0x90 [e1000e]', ['e1000_clean_tx_irq [e1000e]', 'snat_fast_hook [ip_vs]']), 1],
  ['is within another module, called by IPVS', race('data-race in veth_a [veth] / veth_b [veth]', ['veth_a [veth]'], ['veth_b [veth]', 'snat_fast_hook [ip_vs]']), 1],
  ['is in two modules, called by IPVS', race('data-race in e1000_clean_tx_irq [e1000e] / veth_xmit [veth]', ['e1000_clean_tx_irq [e1000e]'], ['veth_xmit [veth]', 'snat_fast_hook [ip_vs]']), 1],
  ['is within connection tracking, called by IPVS', race('data-race in nf_ct_a [nf_conntrack] / nf_ct_b [nf_conntrack]', ['nf_ct_a [nf_conntrack]'], ['nf_ct_b [nf_conntrack]', 'ip_vs_out [ip_vs]']), 1],
  ['is of the kernel alone', OF_TICKS, 0],
  ['is of the kernel alone and of unknown origin', race('data-race in tick_sched_do_timer+0x1a/0x90', ['tick_sched_do_timer', 'tick_sched_timer']), 0],
  ['is of the kernel alone as far as the log goes, which ends in the first stack', OF_TICKS.slice(0, 6), 1],
  ['is of the kernel alone as far as the log goes, which ends before the last line', OF_TICKS.slice(0, -1), 1],
  ['is of the kernel alone but for a stack that is lost', without(OF_TICKS, 8, 2), 1],
  ['is of the kernel alone but for a side that is lost', without(OF_TICKS, 4, 4), 1],
  ['is called one of IPVS, whose stack is lost', race('data-race in ip_vs_snat_expire / tick_sched_do_timer', ['tick_sched_do_timer'], ['tick_nohz_idle_stop_tick']), 1],
  ['has lost its beginning', [...OF_TICKS, ...OF_TICKS.slice(8)], 1],
  ['is in the match of netfilter for IPVS', race('data-race in ipvs_mt / tick_sched_do_timer', ['ipvs_mt [xt_ipvs]'], ['tick_sched_do_timer']), 1],
  ['is of the kernel alone, before one of IPVS', [...OF_TICKS, ...race('data-race in ip_vs_a / ip_vs_b', ['ip_vs_a'], ['ip_vs_b'])], 1],
] as const) {
  test(`a data race that ${what} ${found === 0 ? 'is no' : 'is a'} complaint`, (t) => {
    const complaints = scanKernelLog(['<6>[   11.0] fine', ...lines, '<6>[   13.0] IPVS: ip_vs_rr loaded'])
    t.deepEqual(complaints.map(({ name }) => name), Array<string>(found).fill('KCSAN'))
  })
}

test('of races of the kernel alone is known how often they were told of, and a report of each', (t) => {
  const unknown = race('data-race in tick_sched_do_timer+0x1a/0x90', ['tick_sched_do_timer', 'tick_sched_timer'])
  const ours = race('data-race in ip_vs_a / ip_vs_b', ['ip_vs_a'], ['ip_vs_b'])
  const races = foreignRaces([...OF_TICKS, ...ours, ...unknown, ...OF_TICKS])
  t.deepEqual(races.map(({ title, times, unknownOrigin }) => [title, times, unknownOrigin]), [
    ['data-race in tick_nohz_idle_stop_tick / tick_sched_do_timer', 2, false],
    ['data-race in tick_sched_do_timer+0x1a/0x90', 1, true],
  ])
  t.deepEqual(races.map(({ report }) => report), [OF_TICKS.slice(1), unknown.slice(1)])
  t.deepEqual(mergeRaces([...races, ...races]).map(({ times }) => times), [4, 2])
})

test('a kernel that does not say that it watches for races proves nothing of them', (t) => {
  const on = '<6>[    0.5] kcsan: enabled early'
  const tested = '<6>[    0.9] kcsan: selftest: 3/3 tests passed'
  t.notThrows(() => requireRaceWatch(['boot', on, tested]))
  for (const lines of [[], [on], [tested], [on, '<6>[    0.9] kcsan: selftest: 2/3 tests passed']]) {
    t.is(t.throws(() => requireRaceWatch(lines), { instanceOf: Failure }).kind, 'environment')
  }
})

test('of data races every kind is told of, each once and to its end', (t) => {
  const deep = Array.from({ length: 64 }, (_, index) => `step_${index}`)
  const deepest = race('data-race in ip_vs_a / ip_vs_b', ['ip_vs_a', ...deep], ['ip_vs_b', ...deep])
  const other = race('data-race in ip_vs_c / ip_vs_d', ['ip_vs_c'], ['ip_vs_d'])
  const message = t.throws(() => checkLog([...OF_TICKS, ...deepest, ...other, ...other, ...deepest])).message
  t.deepEqual(message.match(/KCSAN: .*/g), ['KCSAN: data-race in ip_vs_a / ip_vs_b', 'KCSAN: data-race in ip_vs_c / ip_vs_d'])
  t.is(message.split('step_63').length, 3)
  t.is(message.match(/Hardware name/g)?.length, 2)
  t.regex(message, /\nand 2 lines more$/)
})

test('what the kernel complains of after a complaint of another kind is told of, too, unless it is shown already', (t) => {
  const lines = ['<1>BUG: unable to handle kernel NULL pointer dereference at 0000000000000010', '<4>Oops: 0000 [#1] SMP', ...Array<string>(100).fill('fine'), '<3>list_del corruption. prev->next should be ffff']
  const { message } = t.throws(() => checkLog(lines))
  t.deepEqual(message.match(/complained \(.*\)/g), ['complained (oops)', 'complained (list)'])
})

test('a log is looked at once, and the report of a race only when it has ended', (t) => {
  const of = race('data-race in ip_vs_a / ip_vs_b', ['ip_vs_a'], ['ip_vs_b'])
  const log = { lines: ['boot', ...of.slice(0, 5)] }
  const reader = new LogReader(log)
  t.deepEqual(reader.next(), ['boot', of[0] ?? ''])
  t.deepEqual(reader.next(), [])
  log.lines.push(...of.slice(5), 'mark')
  t.deepEqual(reader.next(), [...of.slice(1), 'mark'])
  log.lines.push(...of.slice(0, -1))
  t.deepEqual(reader.next(), of.slice(0, 1))
  t.deepEqual(reader.rest(), of.slice(1, -1))
})

test('a report that never ends keeps nothing else from being looked at', (t) => {
  const log = { lines: [...OF_TICKS.slice(0, 6), ...Array<string>(300).fill('fine')] }
  t.is(new LogReader(log).next().length, log.lines.length)
})
