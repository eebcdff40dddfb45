// SPDX-License-Identifier: GPL-2.0-only
/**
 * Finds out whether KVM works here. /dev/kvm can exist, open, and still hang an
 * ordinary kernel (nested paravirtual KVM), so a kernel is booted under it.
 */

import { constants, accessSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { log } from '../../scripts/base/log.ts'
import { capture } from '../../scripts/base/run.ts'
import type { Image } from '../guest/image.ts'
import { type Accelerator, qemuArguments } from './arguments.ts'
import { QEMU, startQemu } from './process.ts'

/** Bytes at the end of the address space that write to QEMU's exit device: mov dx,0xf4; mov al,0x10; out dx,al; hlt. */
const RESET_CODE = Buffer.from([0xba, 0xf4, 0x00, 0xb0, 0x10, 0xee, 0xf4])
const FIRMWARE_BYTES = 64 << 10
/** QEMU exits with twice the written value, plus one. */
const FIRMWARE_EXIT = (0x10 << 1) | 1
/** A working KVM needs 0.1 s for the firmware and one second for the kernel. */
const FIRMWARE_LIMIT_MS = 3_000
const KERNEL_LIMIT_MS = 8_000
/** What `init` writes on the console when the command line has lab.probe. */
const KERNEL_WORD = 'lab: this accelerator boots the kernel'

interface Answer {
  accelerator: Accelerator
  why: string
}

/**
 * @param image what is to run under it
 * @param kernel name of what is built; the answer is remembered for each, until the next boot of this computer
 * @param cache folder of the remembered answers
 */
export async function findAccelerator(image: Image, kernel: string, cache: string): Promise<Accelerator> {
  const path = join(cache, 'accelerator.json')
  const key = [kernel, bootId(), await qemuVersion()].join(' ')
  const known = readAnswers(path)
  const answer = known[key] ?? (await probe(image))
  if (!known[key]) {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, `${JSON.stringify({ [key]: answer, ...onlyOf(known, bootId()) }, null, 2)}\n`)
  }
  log.info(`accelerator: ${answer.accelerator} (${answer.why})`)
  return answer.accelerator
}

const bootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()

/** @returns the line that QEMU says of itself */
export async function qemuVersion(): Promise<string> {
  const { stdout } = await capture([QEMU, '--version'], { kind: 'environment' })
  return stdout.split('\n')[0] ?? ''
}

function readAnswers(path: string): Record<string, Answer> {
  if (!existsSync(path)) return {}
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Record<string, Answer>
  } catch {
    return {}
  }
}

const onlyOf = (answers: Record<string, Answer>, boot: string): Record<string, Answer> =>
  Object.fromEntries(Object.entries(answers).filter(([key]) => key.includes(boot)))

async function probe(image: Image): Promise<Answer> {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK)
  } catch {
    return { accelerator: 'tcg', why: '/dev/kvm is missing or not ours to use' }
  }
  log.info('trying KVM')
  const folder = mkdtempSync(join(dirname(image.initrd), 'probe-'))
  try {
    if (!(await firmwareRuns(folder))) return { accelerator: 'tcg', why: 'KVM did not run a few instructions' }
    if (!(await kernelBoots(image, folder))) return { accelerator: 'tcg', why: `KVM did not boot the kernel within ${KERNEL_LIMIT_MS / 1000} s` }
    return { accelerator: 'kvm', why: 'KVM boots the kernel' }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function firmwareRuns(folder: string): Promise<boolean> {
  const firmware = Buffer.alloc(FIRMWARE_BYTES, 0xf4)
  // The processor starts 16 bytes below the end.
  RESET_CODE.copy(firmware, FIRMWARE_BYTES - 16)
  const path = join(folder, 'firmware')
  writeFileSync(path, firmware)
  const args = [
    '-nodefaults', '-no-user-config', '-display', 'none', '-machine', 'pc', '-accel', 'kvm', '-cpu', 'qemu64',
    '-bios', path, '-device', 'isa-debug-exit,iobase=0xf4,iosize=1',
  ]
  return (await exitWithin(args, folder, FIRMWARE_LIMIT_MS)) === FIRMWARE_EXIT
}

async function kernelBoots(image: Image, folder: string): Promise<boolean> {
  const console = join(folder, 'console')
  const args = qemuArguments({
    name: 'probe', image, accelerator: 'kvm', memoryMegabytes: 256, cpus: 2, cards: [], ports: {}, console,
    interactive: false, append: ['lab.probe'], instructionClock: false, parallel: false,
  })
  await exitWithin(args, folder, KERNEL_LIMIT_MS)
  return existsSync(console) && readFileSync(console, 'latin1').includes(KERNEL_WORD)
}

/** @returns QEMU's exit code, or undefined when it had to be killed */
async function exitWithin(args: readonly string[], folder: string, limit: number): Promise<number | undefined> {
  const qemu = await startQemu(args, join(folder, 'qemu'))
  const timer = setTimeout(() => qemu.kill(), limit)
  const { code } = await qemu.exited
  clearTimeout(timer)
  return code ?? undefined
}
