// SPDX-License-Identifier: GPL-2.0-only
/** What the build and the lab need from the host, and which package has it. */

export interface Requirement {
  /** A command on the PATH, or an absolute path of a file. */
  needs: string
  apt: string
  dnf: string
  why: string
}

export const REQUIREMENTS: readonly Requirement[] = [
  { needs: 'flock', apt: 'util-linux', dnf: 'util-linux-core', why: 'keeps two builds out of one folder' },
  { needs: 'git', apt: 'git', dnf: 'git-core', why: 'keeps the prepared kernel source and the series' },
  { needs: 'curl', apt: 'curl', dnf: 'curl', why: 'downloads what the distribution does not have' },
  { needs: 'gpg', apt: 'gnupg', dnf: 'gnupg2', why: 'checks upstream signatures' },
  { needs: 'xz', apt: 'xz-utils', dnf: 'xz', why: 'unpacks sources' },
  { needs: 'bzip2', apt: 'bzip2', dnf: 'bzip2', why: 'unpacks sources' },
  { needs: 'patch', apt: 'patch', dnf: 'patch', why: 'checks the exported patch; rpmbuild applies the series with it' },
  { needs: 'gcc', apt: 'gcc', dnf: 'gcc', why: 'compiles the kernel' },
  { needs: 'make', apt: 'make', dnf: 'make', why: 'builds the kernel' },
  { needs: 'ccache', apt: 'ccache', dnf: 'ccache', why: 'spares repeated compilation' },
  { needs: 'flex', apt: 'flex', dnf: 'flex', why: 'builds the kernel' },
  { needs: 'bison', apt: 'bison', dnf: 'bison', why: 'builds the kernel' },
  { needs: 'bc', apt: 'bc', dnf: 'bc', why: 'builds the kernel' },
  { needs: 'perl', apt: 'perl', dnf: 'perl', why: 'builds the kernel and OpenSSL' },
  { needs: 'depmod', apt: 'kmod', dnf: 'kmod', why: 'indexes kernel modules' },
  { needs: 'cpio', apt: 'cpio', dnf: 'cpio', why: 'assembles the initramfs of the virtual machines' },
  { needs: '/usr/include/gelf.h', apt: 'libelf-dev', dnf: 'elfutils-libelf-devel', why: 'builds the kernel (objtool)' },
  { needs: '/usr/include/openssl/opensslv.h', apt: 'libssl-dev', dnf: 'openssl-devel', why: 'builds the kernel' },
  { needs: 'musl-gcc', apt: 'musl-tools', dnf: 'musl-gcc', why: 'links ipvsadm and keepalived statically' },
  { needs: 'pkg-config', apt: 'pkg-config', dnf: 'pkgconf-pkg-config', why: 'tells keepalived and ipvsadm of the static libraries' },
  { needs: '/usr/include/linux/ip_vs.h', apt: 'linux-libc-dev', dnf: 'kernel-headers', why: 'compiles the static tools' },
  { needs: 'rpmbuild', apt: 'rpm', dnf: 'rpm-build', why: 'builds the packages' },
  { needs: 'rpmsign', apt: 'rpm', dnf: 'rpm-sign', why: 'signs packages in the unit tests' },
  { needs: 'rpm2cpio', apt: 'rpm2cpio', dnf: 'rpm', why: 'unpacks packages for the virtual machines' },
  { needs: 'createrepo_c', apt: 'createrepo-c', dnf: 'createrepo_c', why: 'makes the RPM repository' },
  { needs: 'rpmlint', apt: 'rpmlint', dnf: 'rpmlint', why: 'checks the packages' },
  { needs: 'sparse', apt: 'sparse', dnf: 'sparse', why: 'checks the kernel code' },
  { needs: 'qemu-system-x86_64', apt: 'qemu-system-x86', dnf: 'qemu-system-x86-core', why: 'runs the virtual machines' },
  { needs: 'tshark', apt: 'tshark', dnf: 'wireshark-cli', why: 'verifies the packets of the tests' },
]

/** What installs a Debian into a folder or a disk, for those goals that want one. */
export const DEBIAN_REQUIREMENTS: readonly Requirement[] = [
  { needs: 'mmdebstrap', apt: 'mmdebstrap', dnf: 'mmdebstrap', why: 'installs the Debian that this goal runs' },
  { needs: 'newuidmap', apt: 'uidmap', dnf: 'shadow-utils', why: 'lets users who are not root install it' },
  { needs: '/usr/share/keyrings/debian-archive-keyring.gpg', apt: 'debian-archive-keyring', dnf: 'debian-keyring', why: 'has the keys that Debian signs its archive with' },
]

/** What takes a source package of Debian apart, and makes another one of it. */
export const DEB_REQUIREMENTS: readonly Requirement[] = [
  { needs: 'dpkg-source', apt: 'dpkg-dev', dnf: 'dpkg-dev', why: "puts the series into Debian's source packages" },
]

/** What puts it onto a disk. */
export const DISK_REQUIREMENTS: readonly Requirement[] = [
  { needs: 'mke2fs', apt: 'e2fsprogs', dnf: 'e2fsprogs', why: 'makes the file system that the Debian boots from' },
  { needs: 'fakeroot', apt: 'fakeroot', dnf: 'fakeroot', why: 'lets files there belong to root' },
]

/** What draws the dashboard. */
export const PROMETHEUS_REQUIREMENTS: readonly Requirement[] = [
  { needs: 'prometheus', apt: 'prometheus', dnf: 'golang-github-prometheus', why: 'answers the queries of the dashboard' },
]
