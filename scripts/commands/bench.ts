// SPDX-License-Identifier: GPL-2.0-only
import { partNames } from '../../vm/bench/measure.ts'
import type { Command } from '../command.ts'
import { runBench } from '../lab/bench.ts'
import { testedStep } from '../lab/guest.ts'

const command: Command = {
  summary: 'measure what a forwarded packet costs, in instructions',
  anyKernel: true,
  help: `Boots one virtual machine whose clock counts instructions, and sends 60-byte UDP by pktgen
through the gateway, with and without checksum, to one remote address and port, in 1, 1,000, 20,000 and 100,000
flows: from inside, back (replies), and each packet a new flow. The same for plain forwarding, IPVS
SNAT, iptables, nftables, nftables with a flowtable; LVS NAT alone and beside SNAT; new
flows while 0, 50, 90, 95 and 99 % of the ports are taken, in one block; a stream of TCP; and short connections of TCP, from SYN to FIN.

What was sent is counted at the other end, where it has to arrive translated; a figure of
packets that did not is refused, and fails the command. ONLY= chooses parts by words of
their names: ${partNames().join('; ')}.

ONLY=scale and ONLY=million boot a machine of 2 GiB, or 3, and are in no other run: one million flows of IPVS SNAT, its short way, iptables and
a flowtable, or four million, against one flow; memory of each, how often the tables have grown, and the longest time for which a steady stream of
another host had no packet through while flows came, were ended or expired.

ONLY=processors boots two processors, and a plugin of QEMU counts what each packet writes to memory that both use, by function; plain forwarding writes nothing
there. Without any, nothing of the kernel's keeps two processors from forwarding twice as much as one. It needs gcc, and a QEMU that takes plugins.

ONLY=profile tells in which functions of the kernel the instructions of a packet are: of a new flow, and of 20,000 that are known, out and back, beside
those of plain forwarding and of the others. It needs the same, and takes longer.

REPEAT=5 measures all parts five times in that boot, one after the other and not each five times in a row; every
repeat is kept, and the tables have the median and the spread.

Instructions are counted, not cache misses; compare within one run. The tables are printed. In dist/VARIANT/bench are
results.json with every repeat, the commit, the kernel and how it was measured, plots (SVG), and report.md with all of it and what was
refused. Until a run
has come to its end, what it has measured is in dist/VARIANT/bench.unfinished, and the results of the run before stay.
At the end, the figures are compared with those of a commit, as make bench-compare does it, if test/bench has a baseline of
this kernel: by how much what is slower or faster. Being slower is no failure of this command.
KERNEL=stock measures on the distribution's own kernel, whose configuration is not the debug one of TARGET's.`,
  step: testedStep,
  run: runBench,
}
export default command
