/** The kernel lines that can be built. Everything that differs between them is data here. */

export interface Target {
  name: string
  summary: string
  /** VERSION.PATCHLEVEL of the kernels that the series is made for. */
  line: string
  /** Folder below `patches/` with the target's `series`. */
  series: string
  /** Folder below `specs/kernel/` with the target's configuration fragments. */
  config: string
  /** The kernel's own configuration target that the fragments are merged on. */
  baseConfig: string
  /** Name in `scripts/sources.ts` of the kernel's source. */
  source: string
}

export const TARGETS: readonly Target[] = [
  {
    name: 'lts',
    summary: 'Linux 6.1 LTS',
    line: '6.1',
    baseConfig: 'x86_64_defconfig',
    series: 'lts',
    config: 'lts',
    source: 'linux-6.1',
  },
]

export const DEFAULT_TARGET = 'lts'
