// SPDX-License-Identifier: GPL-2.0-only
/** The sources that have a series, each in a git work tree of its own: what TREE= names. */

/** A series of a tool's source. */
export interface ToolSeries {
  /** Folder below `patches/` with the patches and their `series`. */
  folder: string
  /** Versions that it is made for, if not for all. */
  versions?: RegExp
}

export interface Tree {
  name: string
  /** What a source of it is called before its version, in messages. */
  title: string
  /** Folder of the work tree, below the working folder. */
  folder: string
  /**
   * The series of what has neither kernel lines nor an engine; the kernel's is told by its family. A tool of a version
   * that none is made for is packaged as it is published. Its source in `scripts/sources.ts` has the name of the tree,
   * unless the target names another one.
   */
  series?: readonly ToolSeries[]
  /** Where new files of the series can appear: searching all of a kernel for them would take seconds. */
  newFiles: readonly string[]
  /** What building in the work tree leaves there, as gitignore(5) says it. */
  ignored: readonly string[]
}

/** The name of the tree that all commands know. */
export const KERNEL_TREE = 'kernel'

export const TREES: readonly Tree[] = [
  { name: KERNEL_TREE, title: 'Linux', folder: 'linux', newFiles: ['net', 'include', 'Documentation/networking'], ignored: [] },
  { name: 'ipvsadm', title: 'ipvsadm', folder: 'ipvsadm', series: [{ folder: 'ipvsadm' }], newFiles: ['.'], ignored: ['*.o', '*.a', '*.so', '/ipvsadm'] },
  {
    name: 'keepalived', title: 'keepalived', folder: 'keepalived', newFiles: ['.'],
    series: [{ folder: 'keepalived', versions: /^2\.2\.7$/ }, { folder: 'keepalived-2.3', versions: /^2\.3\.[34]$/ }],
    ignored: ['*.o', '*.a', 'Makefile', '.deps/', '/config.log', '/config.status', '/lib/config.h', '/lib/config_warnings.h', '/lib/stamp-h1', '/bin/', '/genhash/'],
  },
]
