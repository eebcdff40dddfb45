/** The kernel lines that can be built. Everything that differs between them is data here. */

/** What the end-to-end tests may need of a kernel and not every kernel line has. */
export type Feature = 'ipvs-namespaces' | 'ipvs-conntrack'

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
  /** What this kernel line lacks, each with the reason, which is given for every test that does not apply. */
  lacks: Readonly<Partial<Record<Feature, string>>>
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
    lacks: {},
  },
]

export const DEFAULT_TARGET = 'lts'
