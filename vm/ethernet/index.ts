// SPDX-License-Identifier: GPL-2.0-only
export * from './faults.ts'
export * from './pcap.ts'
export * from './qemu-port.ts'
export * from './segment.ts'
