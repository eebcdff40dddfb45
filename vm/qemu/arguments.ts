// SPDX-License-Identifier: GPL-2.0-only
/** The QEMU command line of a lab machine. */

import type { Image } from '../guest/image.ts'

export type Accelerator = 'kvm' | 'tcg'

export interface Card {
  /** Name of the interface in the guest. */
  name: string
  mac: string
  /** Path of the unix socket of its wire. */
  socket: string
}

export interface MachineArguments {
  name: string
  /** What is booted without a boot loader; without one, the first disk is. */
  image?: Pick<Image, 'kernel' | 'initrd'>
  /** Files of whole disks, which the guest may write to. */
  disks?: readonly string[]
  accelerator: Accelerator
  memoryMegabytes: number
  cpus: number
  cards: readonly Card[]
  /** Paths of the unix sockets of the guest's virtio-serial ports, by name. */
  ports: Readonly<Record<string, string>>
  /** File that the serial console is written to. */
  console: string
  /** Connect the console to the terminal as well. */
  interactive: boolean
  /** Further words of the kernel's command line. */
  append: readonly string[]
  /** Count guest instructions as time: one instruction, one nanosecond. Only with tcg. */
  instructionClock: boolean
  /** Let processors that are emulated run at once: only for a kernel that does not change its own code, see {@link ACCEL}. */
  parallel: boolean
  /** A plugin, and a file that it appends to, see plugin.h. */
  plugin?: { file: string; out: string }
}

/**
 * A CPU that 2.6.32 knows as well as 6.1; `host` would make results depend on the
 * computer, and 2.6.32 refuses some of today's.
 */
const CPU = 'qemu64'

/**
 * By the instruction clock a boot takes a second, in which the kernel gathers no entropy: without a
 * source of the processor's, each random number would cost ten thousand instructions for as long as it lacks
 * some (drivers/char/random.c, crng_make_state), and no gateway lacks it.
 */
const CPU_OF_INSTRUCTION_CLOCK = `${CPU},+rdrand`

/**
 * `panic=1`: QEMU runs with -no-reboot and so ends one second after a panic (with -1,
 * 2.6.32 hangs). `oops=panic`: a machine that has oopsed proves nothing any more.
 */
export const KERNEL_COMMAND_LINE = ['console=ttyS0,115200', 'panic=1', 'oops=panic', 'loglevel=7', 'mitigations=off', 'no_timer_check']

/**
 * One thread for all processors: with a thread each, QEMU before 8.1 can miss that one
 * processor changes the code that another one is translating (QEMU commit deba78709ae8,
 * "accel/tcg: Always lock pages before translation"). The kernel's jump labels do that
 * with every netfilter hook that comes or goes; a processor then never leaves the
 * breakpoint that stood there for a moment.
 */
const ACCEL: Readonly<Record<Accelerator, string>> = { kvm: 'kvm', tcg: 'tcg,thread=single' }
const ACCEL_PARALLEL: typeof ACCEL = { ...ACCEL, tcg: 'tcg,thread=multi' }

/** @returns the arguments after the name of the program */
export function qemuArguments(machine: MachineArguments): string[] {
  return [
    '-name', machine.name,
    '-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none', '-nic', 'none',
    // No microvm: 2.6.32 has no virtio-mmio.
    '-machine', 'pc,usb=off', '-cpu', machine.instructionClock ? CPU_OF_INSTRUCTION_CLOCK : CPU,
    '-accel', (machine.parallel ? ACCEL_PARALLEL : ACCEL)[machine.accelerator],
    '-m', String(machine.memoryMegabytes), '-smp', String(machine.cpus),
    ...(machine.instructionClock ? ['-icount', 'shift=0,sleep=off'] : []),
    ...(machine.plugin ? ['-plugin', `${escape(machine.plugin.file)},out=${escape(machine.plugin.out)}`] : []),
    ...imageArguments(machine),
    ...diskArguments(machine.disks ?? []),
    ...consoleArguments(machine),
    '-device', SERIAL,
    ...Object.entries(machine.ports).flatMap(([name, path]) => portArguments(name, path)),
    ...machine.cards.flatMap(cardArguments),
  ]
}

const imageArguments = ({ image, append }: MachineArguments): string[] =>
  image ? ['-kernel', image.kernel, '-initrd', image.initrd, '-append', [...KERNEL_COMMAND_LINE, ...append].join(' ')] : []

/**
 * AHCI, which is told through registers, as the network card is. What the guest has flushed needs to survive the
 * guest only, and not this computer.
 * The first place to boot from is that of an image without a boot loader.
 */
function diskArguments(disks: readonly string[]): string[] {
  if (disks.length === 0) return []
  const each = disks.flatMap((path, index) => [
    '-drive', `if=none,id=disk${index},format=raw,cache=unsafe,file=${escape(path)}`,
    '-device', `ide-hd,drive=disk${index},bus=ahci.${index},bootindex=${index + 1}`,
  ])
  return ['-device', 'ahci,id=ahci', ...each]
}

function consoleArguments(machine: MachineArguments): string[] {
  const log = escape(machine.console)
  if (!machine.interactive) return ['-chardev', `file,id=console,path=${log}`, '-serial', 'chardev:console']
  return [
    '-chardev', `stdio,id=console,mux=on,signal=off,logfile=${log}`,
    '-serial', 'chardev:console', '-mon', 'chardev=console',
  ]
}

function portArguments(name: string, path: string): string[] {
  const id = name.replaceAll('.', '-')
  return [
    '-chardev', `socket,id=${id},path=${escape(path)},server=off`,
    '-device', `virtserialport,chardev=${id},name=${name}`,
  ]
}

/**
 * No virtio-net. Driver and device of virtio tell each other through memory when they want to be told of
 * something, which takes memory barriers; and with one thread for all processors TCG leaves out those of the guest
 * (QEMU before 8.1 all, commit c914d46d0a64; later ones still those that are locked instructions, as 6.1 has them),
 * though the device runs in a thread of its own. Once in some hundred thousand frames an interrupt is lost
 * and no further one is asked for. An e1000e is told through registers, in order.
 */
const CARD_MODEL = 'e1000e'

/** The same of virtio-serial, which without EVENT_IDX holds nothing back. */
const SERIAL = 'virtio-serial-pci,event_idx=off'

function cardArguments(card: Card): string[] {
  return [
    '-netdev', `stream,id=${card.name},server=off,addr.type=unix,addr.path=${escape(card.socket)}`,
    // Without a boot ROM the firmware does not look for a network to boot from.
    '-device', `${CARD_MODEL},netdev=${card.name},mac=${card.mac},romfile=`,
  ]
}

/** A comma inside a QEMU option is written twice. */
const escape = (path: string): string => path.replaceAll(',', ',,')
