// SPDX-License-Identifier: GPL-2.0-only
/** What the tools that take part in a build say of themselves: for `doctor`, metadata.json, and the inputs of steps. */

import { capture } from '../base/run.ts'

const TOOLS: Record<string, readonly string[]> = {
  node: ['node', '--version'],
  make: ['make', '--version'],
  git: ['git', '--version'],
  gcc: ['gcc', '--version'],
  binutils: ['ld', '--version'],
  perl: ['perl', '-e', 'print $^V'],
  'musl-gcc': ['musl-gcc', '--version'],
  ccache: ['ccache', '--version'],
  rpmbuild: ['rpmbuild', '--version'],
  createrepo_c: ['createrepo_c', '--version'],
  rpmlint: ['rpmlint', '--version'],
  qemu: ['qemu-system-x86_64', '--version'],
  tshark: ['tshark', '--version'],
}

/** @returns the first line of what each tool says of its version, or "missing" */
export async function toolVersions(): Promise<Record<string, string>> {
  const versions = Object.entries(TOOLS).map(async ([tool, argv]): Promise<[string, string]> => {
    const { stdout, exitCode } = await capture(argv, { anyExit: true })
    return [tool, exitCode === 0 ? (stdout.split('\n')[0] ?? '').trim() : 'missing']
  })
  return Object.fromEntries(await Promise.all(versions))
}

const answers = new Map<string, Promise<string>>()

/**
 * @param argv a program and a question about itself; asked once, as programs don't change during a command
 * @returns the first line of the answer
 * @throws Failure of kind `environment` when it cannot be asked
 */
export function ask(...argv: string[]): Promise<string> {
  const question = argv.join(' ')
  const answer = answers.get(question) ?? capture(argv, { kind: 'environment' }).then(({ stdout }) => stdout.split('\n')[0] ?? '')
  answers.set(question, answer)
  return answer
}
