// SPDX-License-Identifier: GPL-2.0-only
/** How a plugin of QEMU is compiled for the QEMU that is to take it. */

import semver from 'semver'
import { Failure } from '../../scripts/base/errors.ts'
import { versionIn } from '../../scripts/base/version.ts'

/**
 * Versions of the interface of plugins, by the QEMU from which on plugins are to be of that version: either what plugin.h declares has changed
 * with it, or older ones are refused ("supports only a minimum version of"). Those in between (4 of 9.2, 5 of 10.1) add functions that
 * are not used here. QEMU's qemu-plugin.h says what is new in each: in 3 qemu_plugin_insn_data() copies, and in 7 callbacks have other arguments.
 *
 * 7.2, 10.0 and 11.1, of Debian 12, 13 and what is to be 14, were tried: 10.0 refuses 1, and ends by SIGSEGV with 2, which it takes; 11.1 refuses 6.
 */
export const INTERFACES: Readonly<Record<string, number>> = { '7.2.0': 1, '9.0.0': 2, '9.1.0': 3, '11.0.0': 6, '11.1.0': 7 }

/**
 * @param told what `qemuVersion` of accelerator.ts returns
 * @returns the version of the interface that a plugin is to be compiled for
 * @throws Failure of kind `environment` for a QEMU that is too old, or does not say its version
 */
export function interfaceOf(told: string): number {
  const qemu = versionIn(told)
  const since = qemu && semver.rsort(Object.keys(INTERFACES)).find((first) => semver.gte(qemu, first))
  const found = INTERFACES[since ?? '']
  if (found === undefined) throw new Failure('environment', `No plugin can be compiled for "${told}".`, { hint: `QEMU ${semver.sort(Object.keys(INTERFACES))[0]} or later is needed.` })
  return found
}

/** @param version of the interface of plugins @param source a C file beside plugin.h @returns a command */
export const compiling = (version: number, source: string, into: string): string[] =>
  ['gcc', '-O2', '-Wall', '-shared', '-fPIC', '-fvisibility=hidden', `-DPLUGIN_API=${version}`, '-o', into, source]
