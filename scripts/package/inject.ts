// SPDX-License-Identifier: GPL-2.0-only
/**
 * Puts the series into the spec and the configuration of RHEL's own kernel SRPM, as
 * text: what comes out is built by an EL6 host with its own compiler, as its own
 * kernel is.
 */

import { Failure } from '../base/errors.ts'
import { renameRpmversion } from '../source/srpm.ts'

export interface Injection {
  /** The spec's own hook for naming another kernel, such as ".snat1". It sorts above the stock release. */
  buildid: string
  /** What the file name of the SRPM has behind its build number, such as ".el6". */
  dist: string
  /** Patch files in order, with what each does. */
  patches: readonly { file: string; subject: string }[]
  /** Of the changelog entry: seconds since 1970, and VERSION-RELEASE with the buildid. */
  time: number
  release: string
  /** Who is in the changelog: "Name <address>". */
  packager: string
}

/** A place in the spec that an edit needs, found in the specs of 2.6.32-71 to 2.6.32-754. */
interface Edit {
  anchor: RegExp
  /** How a person finds it, for the message when it is missing. */
  described: string
  replace: (found: string, injection: Injection, spec: string) => string
}

const TEST_PATCH = 'linux-kernel-test.patch'

const EDITS: readonly Edit[] = [
  {
    // Commented with a space behind "%", because rpm expands macros in comments too.
    anchor: /^#[ \t]*%[ \t]*define[ \t]+buildid\b.*$/gm,
    described: '"# % define buildid .local", the commented definition of the buildid',
    replace: (found, { buildid, dist }, spec) => [found, `%define buildid ${buildid}`, ...definesDist(spec, dist)].join('\n'),
  },
  {
    // With the buildid it would ask for firmware that only a build --with firmware makes;
    // the firmware of the stock kernel is the same.
    anchor: /^%define[ \t]+kernel_prereq\b.*kernel-firmware >= %\{rpmversion\}-%\{pkg_release\}.*$/gm,
    described: '"%define kernel_prereq" with "kernel-firmware >= %{rpmversion}-%{pkg_release}"',
    replace: (found) =>
      found.replace('kernel-firmware >= %{rpmversion}-%{pkg_release}', 'kernel-firmware >= %{rpmversion}-%{distro_build}%{?dist}'),
  },
  {
    anchor: /^Patch999999:[ \t]*linux-kernel-test\.patch[ \t]*$/gm,
    described: `"Patch999999: ${TEST_PATCH}", the last patch`,
    replace: (found, { patches }, spec) => {
      const first = firstPatchNumber(spec)
      return [...patches.map(({ file }, index) => `Patch${first + index}: ${file}`), '', found].join('\n')
    },
  },
  {
    anchor: /^ApplyPatch\(\)/gm,
    described: '"ApplyPatch()", the function of %prep that applies a patch',
    replace: (found) => found,
  },
  {
    // Not by ApplyOptionalPatch: that leaves out, without a word, files of 9 lines or fewer.
    anchor: /^ApplyOptionalPatch[ \t]+linux-kernel-test\.patch[ \t]*$/gm,
    described: `"ApplyOptionalPatch ${TEST_PATCH}", which applies the last patch`,
    replace: (found, { patches }) => [...patches.map(({ file }) => `ApplyPatch ${file}`), found].join('\n'),
  },
  {
    anchor: /^%changelog[ \t]*$/gm,
    described: '"%changelog"',
    replace: (found, injection) => `${found}\n${changelogEntry(injection)}`,
  },
]

/**
 * @param spec text of RHEL's kernel.spec
 * @returns the spec that applies the patches and names its kernel by the buildid
 * @throws Failure of kind `source` naming every anchor that is not there exactly once
 */
export function injectSpec(spec: string, injection: Injection): string {
  const counts = EDITS.map(({ anchor, described }) => ({ described, count: [...spec.matchAll(anchor)].length }))
  const wrong = counts.filter(({ count }) => count !== 1)
  if (wrong.length > 0) {
    throw new Failure('source', "The SRPM's kernel.spec is not one that the series can be put into.", {
      excerpt: wrong.map(({ described, count }) => `${count === 0 ? 'missing' : `${count} times instead of once`}: ${described}`),
      hint: 'It has to be the spec of a RHEL or CentOS 6 kernel, as Red Hat wrote it, with no buildid set.',
    })
  }
  return renameRpmversion(EDITS.reduce((text, { anchor, replace }) => text.replace(anchor, (found) => replace(found, injection, spec)), spec))
}

/** The spec of 279 leaves %dist to the host, which makes the release another one wherever it is built. */
const definesDist = (spec: string, dist: string): string[] =>
  /^%(define|global)[ \t]+dist\b/m.test(spec) ? [] : [`%define dist ${dist}`]

/** @returns a number for a Patch line, with no other above it but that of the test patch */
function firstPatchNumber(spec: string): number {
  const taken = [...spec.matchAll(/^Patch(\d+):/gm)].map((match) => Number(match[1])).filter((number) => number < 999_999)
  return Math.max(0, ...taken) + 1
}

function changelogEntry({ time, packager, release, patches }: Injection): string {
  const [day = '', date = '', month = '', year = ''] = new Date(time * 1000).toUTCString().split(/[ ,]+/)
  const lines = patches.map(({ subject }) => `- [net] ${subject.replaceAll('%', '%%')}`)
  return `* ${day} ${month} ${date} ${year} ${packager} [${release}]\n${lines.join('\n')}\n`
}

/**
 * Sets symbols in one of the SRPM's `config-*` files. Its merge.pl takes whatever looks
 * like a symbol for one, in comments too, so nothing but the symbols is written.
 *
 * @param config text of the file
 * @param symbols names, with "n" for a symbol that is not set
 */
export function setConfig(config: string, symbols: ReadonlyMap<string, string>): string {
  const named = (line: string): string => /^(?:# )?(CONFIG_\w+)(?:=| is not set$)/.exec(line)?.[1] ?? ''
  const kept = config.split('\n').filter((line) => !symbols.has(named(line)))
  while (kept.at(-1) === '') kept.pop()
  const set = [...symbols].map(([symbol, value]) => (value === 'n' ? `# ${symbol} is not set` : `${symbol}=${value}`))
  return `${[...kept, ...set].join('\n')}\n`
}
