// SPDX-License-Identifier: GPL-2.0-only
/** Which kernel modules go into the guest: those that are asked for and what they need, by the kernel's own modules.dep. */

import { basename } from 'node:path'

export interface ModuleSet {
  /** Paths relative to the modules folder, each after everything it needs. */
  paths: string[]
  /** The lines of modules.dep for exactly these. */
  dep: string
}

/** Underscores and dashes are the same in module names. */
export const moduleName = (path: string): string => basename(path).replace(/\.ko(\.\w+)?$/, '').replaceAll('-', '_')

/**
 * @param dep text of modules.dep
 * @param wanted names of modules, or `PREFIX*` for all whose names start so; one that is missing is
 *   taken to be built in, because a kernel that lacks it fails at its first use with a clear message
 */
export function closure(dep: string, wanted: readonly string[]): ModuleSet {
  const lines = new Map<string, { path: string; needs: string[]; line: string }>()
  for (const line of dep.split('\n')) {
    const [path, needs] = line.split(':')
    if (!path || needs === undefined) continue
    lines.set(moduleName(path), { path, needs: needs.split(' ').filter(Boolean), line })
  }
  const paths = new Set<string>()
  const picked: string[] = []
  const add = (name: string): void => {
    const found = lines.get(name)
    if (!found || paths.has(found.path)) return
    for (const need of found.needs) add(moduleName(need))
    paths.add(found.path)
    picked.push(found.line)
  }
  for (const name of wanted.flatMap((want) => expand(want, [...lines.keys()]))) add(name)
  return { paths: [...paths], dep: `${picked.join('\n')}\n` }
}

function expand(want: string, names: readonly string[]): string[] {
  const plain = want.replaceAll('-', '_')
  return plain.endsWith('*') ? names.filter((name) => name.startsWith(plain.slice(0, -1))) : [plain]
}
