// SPDX-License-Identifier: GPL-2.0-only
/** A distribution with its own kernel, into which apt has installed the package for DKMS. */

import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { sha256File } from '../base/files.ts'
import { log } from '../base/log.ts'
import { quote } from '../base/quote.ts'
import { capture, runLogged } from '../base/run.ts'
import type { Context } from '../build/context.ts'
import type { Facts, Step } from '../build/step.ts'
import { DEBIAN_REQUIREMENTS } from '../packages.ts'
import { suiteList } from '../source/apt.ts'
import type { Stock } from '../targets.ts'
import { dkmsPackage, step as dkms } from './dkms.ts'

/** What a gateway has that DKMS serves. tiny-initramfs stands for an initramfs that nobody boots. */
const PACKAGES = ['linux-image-amd64', 'linux-headers-amd64', 'dkms', 'tiny-initramfs']
/** What of it is kept. */
const KEPT = ['./boot', './usr/lib/modules', './var/lib/dkms']

const NAME = 'stock'

export const step: Step = {
  name: NAME,
  scope: 'target',
  needs: [dkms],
  host: DEBIAN_REQUIREMENTS,
  code: ['steps/stock.ts'],
  inputs: async (context) => ({ ...stockOf(context), packages: PACKAGES, dkms: await sha256File(dkmsPackage(context)) }),
  outputs: (context) => [stockFolder(context)],
  async run(context): Promise<Facts> {
    const folder = stockFolder(context)
    const { distribution, suite } = stockOf(context)
    log.step('stock', `${distribution} with its own kernel, and ${basename(dkmsPackage(context))}`)
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
    await installDebian(context, { name: NAME, suite, packages: PACKAGES, hooks: installDeb(dkmsPackage(context)), kept: KEPT, folder, doing: `installing ${suite} and the package` })
    const [kernel = ''] = readdirSync(join(folder, 'usr/lib/modules'))
    requireModules(context, join(folder, 'usr/lib/modules', kernel))
    log.info(`Linux ${kernel}`)
    return { kernel }
  },
}

/** @returns root of what is kept of the distribution: kernel and modules */
export const stockFolder = (context: Context): string => join(context.paths.work, 'stock')

const logOf = (context: Context, name: string): string => join(context.paths.logs, `${name}.log`)

function stockOf({ target, stock }: Context): Stock {
  if (stock) return stock
  throw new Failure('internal', `A stock kernel of ${target.name} was asked for.`)
}

/** @returns hooks of mmdebstrap by which apt installs a package that is here */
export function installDeb(deb: string): string[] {
  return [`copy-in ${quote(deb)} /tmp`, aptHook('install', join('/tmp', basename(deb)))]
}

/**
 * @param verb of apt that takes a file
 * @param file in the new system
 * @returns the hook of mmdebstrap that calls it there
 */
export function aptHook(verb: 'install' | 'build-dep', file: string): string {
  // Without a terminal, which what DKMS leaves running for a moment would hold on to.
  return `chroot "$1" apt-get --option Dpkg::Use-Pty=0 ${verb} --yes --no-install-recommends ${quote(file)}`
}

/**
 * mmdebstrap has apt read nothing of this host's apt.conf, where its proxy may be (the installer of Debian writes it there).
 *
 * @returns what apt on this host is told of how archives are reached, as apt.conf(5) has it, but for programs that tell it
 */
async function wayToArchives(): Promise<string[]> {
  const { stdout } = await capture(['apt-config', 'dump', '--no-empty'])
  return stdout.split('\n').filter((line) => /^Acquire::(https?|ForceIPv[46])\b(?!.*Auto-?Detect)/i.test(line))
}

/** It is this host's, not one of the machine that is installed. */
const FORGET_WAY = 'rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"'

/**
 * The shell that calls it has the locks, see run.ts. mmdebstrap has apt write to a pipe of its own by /bin/sh, and dash
 * knows no descriptor of two digits.
 */
const WITHOUT_LOCKS = Array.from({ length: 12 }, (_, index) => `${index + 3}>&-`).join(' ')

/**
 * @param list file for the archives of this host
 * @param variant which packages there are besides: of mmdebstrap, `--variant`
 * @returns the command that writes an installed Debian to its output, as tar does
 * @throws Failure of kind `environment` if this host knows no archive of Debian
 */
export async function mmdebstrap(suite: string, list: string, packages: readonly string[], hooks: readonly string[], variant = 'apt'): Promise<string> {
  const entries = suiteList(suite)
  if (entries === '') throw new Failure('environment', `The source lists of this host name no archive of Debian, from which ${suite} could be installed.`)
  writeFileSync(list, entries)
  const options = await wayToArchives()
  const words = [
    'mmdebstrap', `--variant=${variant}`, '--format=tar', `--include=${packages.join(',')}`, ...options.map((option) => `--aptopt=${option}`),
    ...[...hooks, FORGET_WAY].map((hook) => `--customize-hook=${hook}`), suite, '-', list,
  ]
  return `${words.map(quote).join(' ')} ${WITHOUT_LOCKS}`
}

/**
 * tar stops at the end of the archive, which is not that of what it is given: mmdebstrap, if it still writes then, ends itself and
 * the shell that has called it.
 *
 * @param words of tar, besides that it extracts
 * @returns what takes an archive from mmdebstrap
 */
export const untar = (words: string): string => `{ tar --extract ${words} && cat >/dev/null; }`

/** A Debian that is installed for some of its files. */
export interface Installation {
  /** Of its list of archives, and its log. */
  name: string
  suite: string
  packages: readonly string[]
  hooks: readonly string[]
  /** What is kept, as tar calls it. */
  kept: readonly string[]
  /** Where to. */
  folder: string
  /** For messages. */
  doing: string
}

/**
 * Installs a Debian and keeps some of its files.
 *
 * @throws Failure of kind `build` when a package or a hook fails
 */
export async function installDebian(context: Context, { name, suite, packages, hooks, kept, folder, doing }: Installation): Promise<void> {
  const command = await mmdebstrap(suite, join(context.paths.work, `${name}.sources`), packages, hooks)
  const script = `set -o pipefail; ${command} | ${untar(`--directory ${quote(folder)} --no-same-owner ${kept.join(' ')}`)}`
  await runLogged(['bash', '-c', script], {
    doing,
    log: logOf(context, name),
    kind: 'build',
    hint: 'It needs root, or user namespaces and newuidmap, which is in the package uidmap.',
    onLine: log.counter(),
  })
}

/** @throws Failure of kind `build` if DKMS left the kernel with its own modules */
function requireModules(context: Context, modules: string): void {
  if (existsSync(join(modules, 'updates/dkms'))) return
  throw new Failure('build', 'DKMS has compiled no modules for this kernel.', { log: logOf(context, NAME) })
}
