// SPDX-License-Identifier: GPL-2.0-only
/** What Debian's packaging of the tools needs beside the series: its services take the whole table away at each restart, reload and upgrade. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Packaging } from './deb.ts'

/** Where Debian has what is in /etc/sysconfig for our RPM, which names the longer one first. */
const PLACES: readonly (readonly [rpms: string, debians: string])[] = [
  ['/etc/sysconfig/ipvsadm-config', '/etc/default/ipvsadm'],
  ['/etc/sysconfig/ipvsadm', '/etc/ipvsadm.rules'],
]

/** @returns a file of our RPM with the places that Debian has */
export const debianPlaces = (text: string): string => PLACES.reduce((changed, [rpms, debians]) => changed.replaceAll(rpms, debians), text)

const SERVICE = '/usr/libexec/ipvsadm/ipvsadm-service'
const UNITS = 'usr/lib/systemd/system'

/** The script of SysV init, which in Debian 12 is the only one: what it clears, it need not clear before it loads, and what it says of a wrong line it says also to init. */
const INIT: NonNullable<Packaging['replaced']> = {
  'ipvsadm.init': [
    [/^\s*ipvsadm -C\b/gm, `    ${SERVICE} stop`],
    [/^\s*grep -v "\^#" \$IPVSADM_RULES \| \$IPVSADM -R \|\| log_action_end_msg 1$/gm, `    ${SERVICE} start || { log_action_end_msg 1; exit 1; }`],
    [/^\s*flush\n(?=\s+load\n)/gm, ''],
    [/^if \[ ! -f \$IPVSADM_RULES \]; then\n.*\nfi\n/gm, ''],
  ],
}

function ipvsadm(read: (name: string) => string): Packaging {
  return {
    files: {
      'ipvsadm-service': debianPlaces(read('ipvsadm/ipvsadm-service')),
      'ipvs-table.service': read('ipvsadm-deb/ipvs-table.service'),
      'ipvs-table.conf': read('ipvsadm-deb/ipvs-table.conf'),
      'ipvsadm.links': `${UNITS}/ipvs-table.service ${UNITS}/multi-user.target.wants/ipvs-table.service\n`,
      'ipvsadm.udev': read('ipvsadm/ipvsadm.udev'),
    },
    // Debian 12 has none.
    instead: { 'ipvsadm-load': read('ipvsadm-deb/ipvsadm-load'), 'ipvsadm-flush': read('ipvsadm-deb/ipvsadm-flush') },
    added: {
      'ipvsadm.manpages': 'ipvsadm-snat.8',
      'ipvsadm.install': [
        'ipvsadm.bash usr/share/bash-completion/completions',
        'debian/ipvsadm-service usr/libexec/ipvsadm',
        `debian/ipvs-table.service ${UNITS}`,
        `debian/ipvs-table.conf ${UNITS}/ipvsadm.service.d`,
      ].join('\n'),
    },
    replaced: INIT,
    // An upgrade leaves the running table alone, what is loaded while it boots is for the next boot, and a wrong line breaks no upgrade.
    options: { dh_installinit: '--no-stop-on-upgrade --error-handler=true', dh_installsystemd: '--no-stop-on-upgrade --exclude=ipvs-table.service' },
    never: /(ipvsadm|IPVSADM)["}]* -C\b/,
  }
}

/** By the name of the tool; what reads files is given paths in specs. */
const PACKAGING: Readonly<Record<string, (read: (name: string) => string) => Packaging>> = {
  ipvsadm,
  keepalived: (read) => ({ files: { 'keepalived.udev': read('keepalived/keepalived.udev') } }),
}

/** @returns what becomes of Debian's packaging of a tool, by the files of a checkout's specs */
export const packagingOf = (root: string, tool: string): Packaging => PACKAGING[tool]?.((name) => readFileSync(join(root, 'specs', name), 'utf8')) ?? {}
