// SPDX-License-Identifier: GPL-2.0-only
/** Small disks, where this host lets its users mount them. */

import { spawnSync } from 'node:child_process'

/** Words of unshare(1) for a mount namespace of one's own. */
export const ALONE = process.getuid?.() === 0 ? ['--mount'] : ['--user', '--map-root-user', '--mount']

/** Whether this host lets its users mount a file system there. */
export const mayMount = spawnSync('unshare', [...ALONE, 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']).status === 0
