// SPDX-License-Identifier: GPL-2.0-only
/**
 * Where sources come from. A distribution's package is trusted through apt's own
 * signature chain and moves on with the distribution; an upstream file is pinned
 * by its SHA-256 in sources.lock.json, or trusted by its signature, as kernel.org's kernels are: of
 * those the version is here that the series was made for. A kernel's source package is trusted by its
 * signature, whose key comes with the checkout, or by the digest that the user names.
 */

export interface AptSource {
  /** A source package, of which the upstream tarball is taken, or all of it, or a binary package that holds a tarball. */
  kind: 'source' | 'whole' | 'binary'
  package: string
  /** Which file: of the source package's files (of a whole one that which names the others), or path inside the binary package. */
  file: RegExp
  /** Which of the source package's files has the distribution's patches, if they are to be applied. */
  patches?: RegExp
  /** The release of Debian that has it, if it is not to be the host's own. */
  suite?: string
}

export interface UpstreamSource {
  version: string
  /** The same file at several places, tried in order. */
  urls: readonly string[]
  /** Detached OpenPGP signature of the *uncompressed* tarball, as kernel.org makes them. */
  signature?: { url: string; keyFingerprint: string; keyOwner: string }
}

export interface Source {
  name: string
  summary: string
  apt: AptSource
  /** Absent of what only a distribution has. */
  upstream?: UpstreamSource
}

/** Who signs a distribution's packages. */
export interface PackageSigner {
  /** Fingerprint of the primary key, 40 hexadecimal digits. */
  keyFingerprint: string
  keyOwner: string
  /** Path of the key in the checkout. The file holds it and no other, and counts only with the right fingerprint. */
  keyFile: string
}

/** A kernel that is published as a source package (SRPM). */
export interface SrpmSource {
  name: string
  summary: string
  /** VERSION-RELEASE of the package. */
  kernel: string
  filename: string
  /** The same file at several places, tried in order; none if it was never published. */
  urls: readonly string[]
  /** Why there is no place to fetch it from. */
  unpublished?: string
  /** Who signs what the places have: nobody else's package belongs there. */
  publisher: PackageSigner
  /** Who vouches for a file that the user brings, by any one signature. */
  signers: readonly PackageSigner[]
}

/** https://www.kernel.org/signature.html */
const GREG_KROAH_HARTMAN = {
  keyFingerprint: '647F28654894E3BD457199BE38DBBDC86092693E',
  keyOwner: 'gregkh@kernel.org',
}

/** The tools that become packages of Debian, made of its own source packages. */
const DEBIAN_TOOLS = [
  { name: 'ipvsadm', summary: 'administration of IPVS' },
  { name: 'keepalived', summary: 'VRRP and health checks' },
] as const

/** @returns the name in {@link SOURCES} of a tool's source package in a release of Debian */
export const debianSource = (tool: string, suite: string): string => `${tool}-${suite}`

/** What a release of Debian packages itself. */
const debianSources = (suite: string): Source[] =>
  DEBIAN_TOOLS.map(({ name, summary }) => ({ name: debianSource(name, suite), summary: `${summary}, as ${suite} packages it`, apt: { kind: 'whole', package: name, file: /\.dsc$/, suite } }))

/**
 * A distribution brings security updates of a release as patches of the upstream tarball. Libraries that are linked
 * into packages get them: nothing else brings them into those. The tools and the kernel themselves stay upstream's,
 * which their series are made for.
 */
const LIBRARY = { kind: 'source', file: /\.orig\.tar\.\w+$/, patches: /\.debian\.tar\.\w+$/ } as const

export const SOURCES: readonly Source[] = [
  {
    name: 'linux-6.1',
    summary: 'the kernel',
    apt: { kind: 'binary', package: 'linux-source-6.1', file: /^usr\/src\/linux-source-6\.1\.tar\.xz$/ },
    upstream: {
      version: '6.1.192',
      urls: [
        'https://cdn.kernel.org/pub/linux/kernel/v6.x/linux-6.1.192.tar.xz',
        'https://mirrors.edge.kernel.org/pub/linux/kernel/v6.x/linux-6.1.192.tar.xz',
      ],
      signature: {
        url: 'https://cdn.kernel.org/pub/linux/kernel/v6.x/linux-6.1.192.tar.sign',
        ...GREG_KROAH_HARTMAN,
      },
    },
  },
  {
    name: 'linux-6.12',
    summary: 'the kernel',
    apt: { kind: 'binary', package: 'linux-source-6.12', file: /^usr\/src\/linux-source-6\.12\.tar\.xz$/, suite: 'trixie' },
    upstream: {
      version: '6.12.118',
      urls: [
        'https://cdn.kernel.org/pub/linux/kernel/v6.x/linux-6.12.118.tar.xz',
        'https://mirrors.edge.kernel.org/pub/linux/kernel/v6.x/linux-6.12.118.tar.xz',
      ],
      signature: {
        url: 'https://cdn.kernel.org/pub/linux/kernel/v6.x/linux-6.12.118.tar.sign',
        ...GREG_KROAH_HARTMAN,
      },
    },
  },
  {
    name: 'ipvsadm',
    summary: 'administration of IPVS',
    apt: { kind: 'source', package: 'ipvsadm', file: /\.orig\.tar\.\w+$/ },
    upstream: {
      version: '1.31',
      urls: ['https://mirrors.edge.kernel.org/pub/linux/utils/kernel/ipvsadm/ipvsadm-1.31.tar.xz'],
    },
  },
  {
    name: 'keepalived',
    summary: 'VRRP and health checks',
    apt: { kind: 'source', package: 'keepalived', file: /\.orig\.tar\.\w+$/ },
    upstream: {
      version: '2.2.7',
      urls: ['https://www.keepalived.org/software/keepalived-2.2.7.tar.gz'],
    },
  },
  {
    name: 'keepalived-2.3',
    summary: 'VRRP and health checks',
    apt: { kind: 'source', package: 'keepalived', file: /\.orig\.tar\.\w+$/, suite: 'trixie' },
    upstream: {
      version: '2.3.3',
      urls: ['https://www.keepalived.org/software/keepalived-2.3.3.tar.gz'],
    },
  },
  {
    name: 'busybox',
    summary: 'user space of the virtual machines',
    apt: { kind: 'source', package: 'busybox', file: /\.orig\.tar\.\w+$/ },
    upstream: {
      version: '1.35.0',
      urls: ['https://busybox.net/downloads/busybox-1.35.0.tar.bz2'],
    },
  },
  {
    name: 'iptables',
    summary: 'marks packets in the virtual machines, and is what the benchmark compares with',
    apt: { kind: 'source', package: 'iptables', file: /\.orig\.tar\.\w+$/ },
    upstream: {
      version: '1.8.9',
      urls: ['https://www.netfilter.org/projects/iptables/files/iptables-1.8.9.tar.xz'],
    },
  },
  {
    name: 'ethtool',
    summary: 'switches offloads in the virtual machines',
    apt: { kind: 'source', package: 'ethtool', file: /\.orig\.tar\.\w+$/ },
    upstream: {
      version: '6.1',
      urls: ['https://mirrors.edge.kernel.org/pub/software/network/ethtool/ethtool-6.1.tar.xz'],
    },
  },
  {
    name: 'popt',
    summary: 'library of ipvsadm',
    apt: { ...LIBRARY, package: 'popt' },
    upstream: {
      version: '1.19',
      urls: ['https://ftp.osuosl.org/pub/rpm/popt/releases/popt-1.x/popt-1.19.tar.gz'],
    },
  },
  {
    name: 'libnl',
    summary: 'library of ipvsadm and keepalived',
    apt: { ...LIBRARY, package: 'libnl3' },
    upstream: {
      version: '3.7.0',
      urls: ['https://github.com/thom311/libnl/releases/download/libnl3_7_0/libnl-3.7.0.tar.gz'],
    },
  },
  {
    name: 'openssl',
    summary: 'library of keepalived',
    apt: { ...LIBRARY, package: 'openssl' },
    upstream: {
      version: '3.2.3',
      urls: ['https://github.com/openssl/openssl/releases/download/openssl-3.2.3/openssl-3.2.3.tar.gz'],
    },
  },
  ...debianSources('trixie'),
  ...debianSources('bookworm'),
]

/** What the static tools are made of: names in {@link SOURCES}, of which a target may have others in their place. */
export const TOOL_SOURCES = ['ipvsadm', 'keepalived', 'busybox', 'iptables', 'ethtool', 'popt', 'libnl', 'openssl'] as const

/** Licences of sources, as SPDX names them; of a target's kernel by the name that the target has for it. */
export const SOURCE_LICENSES: Readonly<Record<string, string>> = {
  'linux-6.1': 'GPL-2.0-only WITH Linux-syscall-note',
  'linux-6.12': 'GPL-2.0-only WITH Linux-syscall-note',
  kernel: 'GPL-2.0-only',
  ipvsadm: 'GPL-2.0-or-later',
  keepalived: 'GPL-2.0-or-later',
  'keepalived-2.3': 'GPL-2.0-or-later',
  'ipvsadm-trixie': 'GPL-2.0-or-later',
  'ipvsadm-bookworm': 'GPL-2.0-or-later',
  'keepalived-trixie': 'GPL-2.0-or-later',
  'keepalived-bookworm': 'GPL-2.0-or-later',
  busybox: 'GPL-2.0-only',
  iptables: 'GPL-2.0-or-later',
  ethtool: 'GPL-2.0-only',
  popt: 'MIT',
  libnl: 'LGPL-2.1-only',
  openssl: 'Apache-2.0',
  musl: 'MIT',
}

/** The archive of CentOS releases, and its mirrors. */
const CENTOS_VAULT = [
  'https://vault.centos.org',
  'https://archive.kernel.org/centos-vault',
  'https://mirrors.aliyun.com/centos-vault',
  'https://ftp.jaist.ac.jp/pub/Linux/CentOS-vault',
]

/** https://www.centos.org/keys/ */
const CENTOS_6: PackageSigner = {
  keyFingerprint: 'C1DAC52D1664E8A4386DBA430946FCA2C105B9DE',
  keyOwner: 'CentOS 6',
  keyFile: 'specs/keys/RPM-GPG-KEY-CentOS-6',
}

/** https://access.redhat.com/security/team/key: what signs RHEL 6, and all products since November 2009. */
const RED_HAT_2: PackageSigner = {
  keyFingerprint: '567E347AD0044ADE55BA8A5F199E2F91FD431D51',
  keyOwner: 'Red Hat, release key 2',
  keyFile: 'specs/keys/RPM-GPG-KEY-redhat-release-2',
}

/** Kernels of CentOS 6 by the release they were published in: the first with the release, the others as its updates. */
const CENTOS_6_KERNELS: readonly { release: string; builds: readonly string[] }[] = [
  { release: '6.3', builds: ['279', '279.1.1', '279.2.1', '279.5.1', '279.5.2', '279.9.1', '279.11.1', '279.14.1', '279.19.1', '279.22.1'] },
  { release: '6.4', builds: ['358', '358.0.1', '358.2.1', '358.6.1', '358.6.2', '358.11.1', '358.14.1', '358.18.1', '358.23.2'] },
]

/** Kernels that people ask for and CentOS never had. */
const UNPUBLISHED: Readonly<Record<string, string>> = {
  '2.6.32-279.23.1.el6': 'It is an erratum of RHEL 6.3 EUS (RHSA-2013:0662), which CentOS did not rebuild; who subscribes to RHEL can have its source package.',
}

/**
 * @param stem what the source's name has before the kernel
 * @param kernel VERSION-RELEASE of the package, such as "2.6.32-279.el6"
 */
export function el6Kernel(stem: string, kernel: string): SrpmSource {
  const filename = `kernel-${kernel}.src.rpm`
  const build = /^2\.6\.32-(.*)\.el6$/.exec(kernel)?.[1] ?? ''
  const published = CENTOS_6_KERNELS.find(({ builds }) => builds.includes(build))
  const folder = published?.builds[0] === build ? 'os' : 'updates'
  const urls = published ? CENTOS_VAULT.map((vault) => `${vault}/${published.release}/${folder}/Source/SPackages/${filename}`) : []
  const unpublished = UNPUBLISHED[kernel] ?? 'It is none of the kernels that CentOS published for a family of IPVS sources that is known here.'
  return { name: `${stem}-${kernel}`, summary: 'the kernel', kernel, filename, urls, ...(published ? {} : { unpublished }), publisher: CENTOS_6, signers: [CENTOS_6, RED_HAT_2] }
}
