// SPDX-License-Identifier: GPL-2.0-only
/** The kernel lines that can be built. Everything that differs between them is data here. */

import { el6Kernel, type SrpmSource } from './sources.ts'
import families from './families.json' with { type: 'json' }

/** What the end-to-end tests may need of a kernel and not every kernel line has. */
export type Feature = 'ipvs-namespaces' | 'ipvs-conntrack' | 'vrf' | 'user-namespaces' | 'extended-acks' | 'flowtable' | 'service-hooks' | 'fastpath' | 'whole-way' | 'ping-sockets' | 'unsummed-frames' | 'failing-allocations'

/** Kernels whose IPVS sources are the same, so that one series of hooks fits them all. */
export interface Family {
  name: string
  /** Folder below `patches/` with the hooks and their `series`. */
  series: string
  /** Folders below `patches/compat/` with the engine's files for this kernel's interfaces: what it has in common with others, and its own. */
  compat: readonly string[]
  /** Which kernels those are, for messages. */
  kernels: string
  /** Folder below `specs/kernel/` with fragments that these kernels need in every configuration. */
  config?: string
  /**
   * SHA-256 of every source file of IPVS. Without it every kernel of the target's line
   * belongs to the family, and a patch that does not fit says so.
   */
  files?: Readonly<Record<string, string>>
}

/**
 * What a kernel can be built as beside the one that is released, to find defects. The name stands behind the
 * variant's name and the packages'.
 */
export type FlavourName = 'debug' | 'sanitize' | 'kcsan'

export interface Flavour {
  name: FlavourName
  /** The variable of the command line that chooses it, and the value by which it does. */
  variable: 'DEBUG' | 'SANITIZE'
  value: '1' | 'kcsan'
  /** Names of the fragments with what it adds. Letters sort behind the digits that other fragments' names begin with. */
  fragments: readonly string[]
  /** Whether it differs from the released kernel in so few symbols that it had better begin with what that one has compiled. */
  resemblesRelease: boolean
  /** What it asks of the lab, where that differs. */
  lab?: {
    memoryMegabytes: number
    /** How many times longer everything may take. */
    patience: number
    /** Further words of the kernel's command line. */
    append: readonly string[]
    /** Whether it tells of memory that nothing points to any more (Documentation/dev-tools/kmemleak.rst). */
    findsLeaks: boolean
    /** Whether it tells of data races (Documentation/dev-tools/kcsan.rst). */
    findsRaces: boolean
    /** Whether processors that are emulated run at once, as of MachineArguments: the kernel does not change its code then. */
    parallel: boolean
    /** Whether allocations of memory can be made to fail in it (Documentation/fault-injection/fault-injection.rst). */
    failsAllocations: boolean
  }
}

/** The kernel's log loses what nobody has read in time, and says nothing of it to who reads /proc/kmsg. */
const LOG_BUFFER = 'log_buf_len=16M'

export const FLAVOURS: readonly Flavour[] = [
  { name: 'debug', variable: 'DEBUG', value: '1', fragments: ['debug.config'], resemblesRelease: true },
  {
    name: 'sanitize',
    variable: 'SANITIZE',
    value: '1',
    fragments: ['instrumented.config', 'sanitize.config'],
    resemblesRelease: false,
    lab: {
      memoryMegabytes: 1024,
      patience: 5,
      append: [
        // Emulated, and one processor at a time: nothing is stuck that has not moved for twenty seconds.
        'watchdog_thresh=60', 'rcupdate.rcu_cpu_stall_timeout=120',
        // ACPI's interpreter, whose every allocation is recorded, takes a minute for the interrupts of the PCI slots.
        'pci=noacpi',
        // KASAN tells of everything, not only of the first thing.
        'kasan_multi_shot',
        // Memory of this size may be made to fail by itself, what a short way is kept in: after the boot one cannot say so any more.
        'slub_debug=A,kmalloc-64',
        LOG_BUFFER,
      ],
      findsLeaks: true,
      findsRaces: false,
      parallel: false,
      failsAllocations: true,
    },
  },
  {
    // Apart from the other one, because a kernel has either KASAN or KCSAN (lib/Kconfig.kcsan).
    name: 'kcsan',
    variable: 'SANITIZE',
    value: 'kcsan',
    fragments: ['instrumented.config', 'kcsan.config'],
    resemblesRelease: false,
    lab: {
      memoryMegabytes: 1024,
      patience: 5,
      append: [
        'watchdog_thresh=60', 'rcupdate.rcu_cpu_stall_timeout=120',
        LOG_BUFFER,
        // A report has a hundred lines, each of which would wait for the serial console; the log has them all the same.
        'loglevel=3',
      ],
      findsLeaks: false,
      findsRaces: true,
      // A race is seen when one processor comes by while another one waits.
      parallel: true,
      failsAllocations: false,
    },
  },
]

/** @returns how the command line says it */
export const flavourWords = ({ variable, value }: Flavour): string => `${variable}=${value}`

/** How a kernel line has a flavour. */
export interface TargetFlavour {
  /** What it has behind its release. */
  release: string
  /** About how many lines its build prints from nothing, if that is less than of {@link Target.lines}. */
  lines?: number
  /** Fragments of other flavours and of the released kernel that it does without; its own has what it needs of them. */
  without?: readonly string[]
}

/** A release of Debian whose kernel is of a line. */
export interface Stock {
  /** What people call it. */
  distribution: string
  suite: string
}

export interface Target {
  name: string
  summary: string
  /** VERSION.PATCHLEVEL of the kernels, or VERSION.PATCHLEVEL.SUBLEVEL. */
  line: string
  families: readonly Family[]
  /**
   * What tools newer than the kernel need: a folder below `patches/` whose series comes before the engine and is never
   * exported, and options of gcc by the version that needs them.
   */
  toolchain?: { series: string; compiler: readonly { since: string; options: readonly string[] }[] }
  /** Name in `scripts/sources.ts` of the kernel's source; that of {@link kernels} has the kernel's version behind it. */
  source: string
  /** Names in `scripts/sources.ts` of the sources of tools that are not those of the host's own release, by the tool. */
  tools?: Readonly<Record<string, string>>
  /** The kernels that KERNEL= can name, if there is a choice: which it is without KERNEL=, and what their names look like. */
  kernels?: { default: string; pattern: RegExp; source: (stem: string, kernel: string) => SrpmSource }
  /** What CONFIG= can name, the default first: folders below `specs/kernel/` with configuration fragments, in order. */
  configs: Readonly<Record<string, readonly string[]>>
  /** About how many lines the kernel's build prints from nothing, of a configuration, for messages. */
  lines: Readonly<Record<string, number>>
  /** What the fragments are merged on: a configuration goal of the kernel's make, or one that the source package's own files make. */
  baseConfig: { goal: string } | { packaged: string }
  /** The goal of the kernel's make that gives symbols without a value their defaults. */
  settleConfig: string
  /** How `make check` looks at the series. */
  check: {
    /** Name in `scripts/sources.ts` of the kernel whose checkpatch.pl is taken, if not this one's own. */
    checkpatch?: string
    /** Types of its messages that don't count. */
    ignore: readonly string[]
    /** Arguments of the kernel's make that turn on warnings. */
    warnings: readonly string[]
    /** The source package's list of symbols whose checksums must stay. */
    kabi?: string
  }
  /** Which variable of the kernel's make adds the package's release to what `uname -r` says. */
  releaseVariable: 'LOCALVERSION' | 'EXTRAVERSION'
  /** What the kernel's make is told besides the folder when only modules are wanted. */
  modulesArguments?: readonly string[]
  /** How it has each flavour, or why it has none. */
  flavours: Readonly<Record<FlavourName, TargetFlavour | { lacking: string }>>
  /** The distribution whose own kernel is of this line: `make kmod` makes the modules for it, and KERNEL=stock runs them in it. */
  stock?: Stock
  /**
   * What `make srpm` puts into the kernel's own SRPM besides the series: symbols, from
   * fragments in a folder below `specs/kernel/`, those of the flavour among them. Absent where the kernel comes as a tarball.
   */
  injects?: { folder: string; fragments: readonly string[] }
  /** What this kernel line lacks, each with the reason, which is given for every test that does not apply. */
  lacks: Readonly<Partial<Record<Feature, string>>>
}

/** How the lines of kernel.org are built, which are as close to each other as they are far from RHEL's. */
const MAINLINE = {
  configs: { gateway: ['lts'] },
  lines: { gateway: 4185 },
  baseConfig: { goal: 'x86_64_defconfig' },
  settleConfig: 'olddefconfig',
  check: {
    // A patch that adds files should touch MAINTAINERS; one of the series does so for all of them.
    ignore: ['FILE_PATH_CHANGES'],
    warnings: ['C=1', 'CF=-D__CHECK_ENDIAN__', 'W=1'],
  },
  releaseVariable: 'LOCALVERSION',
  flavours: { debug: { release: '+debug' }, sanitize: { release: '+sanitize', lines: 3185, without: ['20-server.config'] }, kcsan: { release: '+kcsan', lines: 3185, without: ['20-server.config'] } },
  lacks: {},
} as const satisfies Partial<Target>

export const TARGETS: readonly Target[] = [
  {
    ...MAINLINE,
    name: 'lts',
    summary: 'Linux 6.12 LTS',
    line: '6.12',
    families: [{ name: '6.12', series: 'lts-6.12', compat: ['6', '6.12'], kernels: 'Linux 6.12' }],
    source: 'linux-6.12',
    // With M= it looks for sources in the folder of the output only, which is one of the tree's.
    modulesArguments: ['VPATH=..'],
    // What its gateways have from Debian is not replaced by an older one.
    tools: { keepalived: 'keepalived-2.3' },
    stock: { distribution: 'Debian 13', suite: 'trixie' },
  },
  {
    ...MAINLINE,
    name: 'lts-6.1',
    summary: 'Linux 6.1 LTS',
    line: '6.1',
    families: [{ name: '6.1', series: 'lts-6.1', compat: ['6', '6.1'], kernels: 'Linux 6.1', config: 'lts-6.1' }],
    source: 'linux-6.1',
    stock: { distribution: 'Debian 12', suite: 'bookworm' },
  },
  {
    name: 'el6',
    summary: 'RHEL/CentOS 6, from its source package',
    line: '2.6.32',
    families: [
      { name: '279', series: 'el6-279', compat: ['2.6.32'], kernels: '2.6.32-279.el6 to 2.6.32-279.23.1.el6', files: families['el6-279'] },
      { name: '358', series: 'el6-358', compat: ['2.6.32'], kernels: '2.6.32-358.el6 to 2.6.32-358.23.2.el6', config: 'el6-358', files: families['el6-358'] },
    ],
    toolchain: {
      series: 'el6-toolchain',
      compiler: [
        // gnu11's inline gives functions in headers a definition in every object.
        { since: '5', options: ['-std=gnu89'] },
        // Position-independent by default; the kernel turns off only what it knows.
        { since: '6', options: ['-fno-pie'] },
        // The decompressor's flags leave it SSE registers, which are not set up yet.
        { since: '5', options: ['-mno-sse', '-mno-mmx'] },
        // linux/log2.h has a function that is both const and noreturn: a warning in every file.
        { since: '8', options: ['-Wno-attributes'] },
        // Inlines udelay() of more than it can do, which is decided after constants are known: __bad_udelay.
        { since: '10', options: ['-fno-inline-functions'] },
        // Defaults of some distributions that the kernel's code of 16 bits and of the vDSO does not bear.
        { since: '8', options: ['-fcf-protection=none', '-fno-stack-clash-protection'] },
      ],
    },
    source: 'kernel',
    kernels: { default: '2.6.32-279.el6', pattern: /^2\.6\.32-\d[\w.]*$/, source: el6Kernel },
    injects: { folder: 'el6-rhel', fragments: ['ipvs.config'] },
    configs: { gateway: ['el6-rhel', 'el6'], rhel: ['el6-rhel'] },
    lines: { gateway: 5766 },
    baseConfig: { packaged: 'kernel-2.6.32-x86_64.config' },
    settleConfig: 'loose_nonint_oldconfig',
    check: {
      // Its own checkpatch.pl is of 2009, and today's perl refuses it.
      checkpatch: 'linux-6.1',
      // The compatibility header has macros of later kernels, which use their arguments as those do.
      ignore: ['FILE_PATH_CHANGES', 'MACRO_ARG_REUSE'],
      warnings: ['C=1', 'CF=-D__CHECK_ENDIAN__'],
      kabi: 'Module.kabi_x86_64',
    },
    releaseVariable: 'EXTRAVERSION',
    flavours: {
      debug: { release: '.debug' },
      sanitize: { lacking: '2.6.32 has no KASAN, which came with Linux 4.0' },
      kcsan: { lacking: '2.6.32 has no KCSAN, which came with Linux 5.8' },
    },
    lacks: {
      'ipvs-namespaces': 'IPVS of 2.6.32 has one set of services and connections, that of the first network namespace',
      'ipvs-conntrack': 'IPVS of 2.6.32 does not take part in connection tracking; net.ipv4.vs.conntrack came with 2.6.37',
      vrf: 'virtual routing and forwarding came with Linux 4.3',
      'user-namespaces': 'network namespaces of unprivileged users came with Linux 3.8',
      'extended-acks': 'netlink says in words what is wrong since Linux 4.12',
      flowtable: 'flowtables of nf_tables came with Linux 4.16',
      fastpath: 'flows have no short way through the gateway on 2.6.32, whose routes have one neighbour and are cached already',
      'unsummed-frames': 'packet sockets take frames whose checksum is yet to be computed since Linux 2.6.34',
      'ping-sockets': 'PING_CHECK of keepalived needs sockets for pings, which came with Linux 3.0',
      'service-hooks': 'IPVS of 2.6.32 takes packets of its connections as long as its module is loaded',
    },
  },
]

export const DEFAULT_TARGET = 'lts'
