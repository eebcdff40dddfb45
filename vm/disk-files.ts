// SPDX-License-Identifier: GPL-2.0-only
/** What makes a freshly installed Debian a gateway of the lab: packages, and files that its administrator has written. */

import { KERNEL_COMMAND_LINE } from './qemu/arguments.ts'
import { GATEWAY, LINKS, POOL, ROUTER } from './topology.ts'

export const PACKAGES = [
  'linux-image-amd64', 'initramfs-tools', 'grub-pc', 'systemd-sysv', 'udev', 'dbus', 'iproute2', 'kmod', 'procps', 'e2fsprogs',
  // Which installs the packages that are made here.
  'rpm',
  // What their configuration is for.
  'logrotate',
] as const

/** What DKMS compiles with. */
export const DKMS_PACKAGES = ['linux-headers-amd64', 'dkms'] as const

/** The distribution's own, which are tried before those that are made here replace them. */
export const STOCK_TOOLS = ['ipvsadm', 'keepalived'] as const

export interface DiskFile {
  path: string
  content: string
  mode?: number
}

/** The pool's first addresses are the gateway's own, beside the one that it is reached by. */
const POOL_ADDRESSES = POOL.slice(0, 2)

/**
 * EL has plugins of kernel-install that make the initramfs and GRUB's entry; Debian 12's kernel-install comes with none that does.
 * This one calls what Debian's own kernel packages call. A kernel that is being removed is still there while its
 * plugins run, and GRUB would find it once more.
 */
const KERNEL_INSTALL_PLUGIN = `#!/bin/sh
set -e
case $1 in
  add)
    run-parts --verbose --exit-on-error --arg="$2" --arg="$4" /etc/kernel/postinst.d
    ;;
  remove)
    rm -f "/boot/vmlinuz-$2"
    run-parts --verbose --exit-on-error --arg="$2" --arg="/boot/vmlinuz-$2" /etc/kernel/postrm.d
    ;;
esac
`

/** @returns the files, of which none belongs to a package but Debian's own configuration */
export function diskFiles(): DiskFile[] {
  return [
    { path: 'etc/hostname', content: 'gateway\n' },
    { path: 'etc/hosts', content: '127.0.0.1 localhost\n127.0.1.1 gateway\n' },
    // With an empty one systemd would take the first boot for the time to enable units by its presets.
    { path: 'etc/machine-id', content: `${'4c56534e'.repeat(4)}\n` },
    { path: 'etc/fstab', content: 'LABEL=root / ext4 errors=remount-ro 0 1\n' },
    { path: 'etc/systemd/system.conf.d/patience.conf', content: PATIENCE },
    { path: 'etc/default/grub', content: grubDefaults() },
    { path: 'etc/kernel/install.d/70-debian.install', content: KERNEL_INSTALL_PLUGIN, mode: 0o755 },
    { path: 'etc/sysctl.d/90-gateway.conf', content: 'net.ipv4.ip_forward = 1\n' },
    { path: 'etc/systemd/system/lab-agent.service', content: LAB_AGENT },
    ...LINKS.flatMap((link) => [
      { path: `etc/systemd/network/10-${link}.link`, content: `[Match]\nMACAddress=${GATEWAY[link].mac}\n\n[Link]\nName=${link}\n` },
      { path: `etc/systemd/network/10-${link}.network`, content: network(link) },
    ]),
  ]
}

/** A machine without KVM, on a computer that does much else, takes its time; nothing is wrong with a unit then. */
const PATIENCE = `[Manager]
DefaultTimeoutStartSec=20min
DefaultTimeoutStopSec=20min
DefaultDeviceTimeoutSec=20min
`

const LAB_AGENT = `[Unit]
Description=Commands of the lab

[Service]
ExecStart=/usr/local/sbin/lab-agent

[Install]
WantedBy=multi-user.target
`

function network(link: (typeof LINKS)[number]): string {
  const addresses = [`${GATEWAY[link].address}/24`, ...(link === 'outside' ? POOL_ADDRESSES.map((address) => `${address}/32`) : [])]
  const lines = [...addresses.map((address) => `Address=${address}`), ...(link === 'outside' ? [`Gateway=${ROUTER}`] : []), 'IPv6AcceptRA=no', 'LLMNR=no']
  return `[Match]\nName=${link}\n\n[Network]\n${lines.join('\n')}\n`
}

/** GRUB on the serial console, where its menu is recorded; the newest kernel unless another was chosen for once. */
function grubDefaults(): string {
  return [
    'GRUB_DEFAULT=saved', 'GRUB_TIMEOUT=1', 'GRUB_DISABLE_SUBMENU=y', 'GRUB_DISABLE_OS_PROBER=true', 'GRUB_DISTRIBUTOR=Debian',
    'GRUB_CMDLINE_LINUX_DEFAULT=""', `GRUB_CMDLINE_LINUX="${KERNEL_COMMAND_LINE.join(' ')}"`,
    'GRUB_TERMINAL=serial', 'GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"', '',
  ].join('\n')
}
