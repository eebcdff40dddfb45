// SPDX-License-Identifier: GPL-2.0-only
/** The sources that have a series, each in a git work tree of its own: what TREE= names. */

export interface Tree {
  name: string
  /** What a source of it is called before its version, in messages. */
  title: string
  /** Folder of the work tree, below the working folder. */
  folder: string
  /**
   * Folder below `patches/` with the patches and their `series`, of what has neither kernel lines nor an engine; the
   * kernel's is told by its family. Its source in `scripts/sources.ts` has the name of the tree.
   */
  series?: string
  /** Versions that the series is made for, if not for all: of others the tool is packaged as it is published. */
  known?: RegExp
  /** Where new files of the series can appear: searching all of a kernel for them would take seconds. */
  newFiles: readonly string[]
  /** What building in the work tree leaves there, as gitignore(5) says it. */
  ignored: readonly string[]
}

/** The name of the tree that all commands know. */
export const KERNEL_TREE = 'kernel'

export const TREES: readonly Tree[] = [
  { name: KERNEL_TREE, title: 'Linux', folder: 'linux', newFiles: ['net', 'include', 'Documentation/networking'], ignored: [] },
  { name: 'ipvsadm', title: 'ipvsadm', folder: 'ipvsadm', series: 'ipvsadm', newFiles: ['.'], ignored: ['*.o', '*.a', '*.so', '/ipvsadm'] },
  {
    name: 'keepalived', title: 'keepalived', folder: 'keepalived', series: 'keepalived', known: /^2\.2\.7$/, newFiles: ['.'],
    ignored: ['*.o', '*.a', 'Makefile', '.deps/', '/config.log', '/config.status', '/lib/config.h', '/lib/config_warnings.h', '/lib/stamp-h1', '/bin/', '/genhash/'],
  },
]
