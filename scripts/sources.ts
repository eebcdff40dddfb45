/**
 * Where sources come from. A distribution's package is trusted through apt's own
 * signature chain and moves on with the distribution; an upstream file is pinned
 * by its SHA-256 in sources.lock.json, and a kernel.org kernel's signature is
 * checked as well.
 */

export interface AptSource {
  /** A source package, of which the upstream tarball is taken, or a binary package that holds a tarball. */
  kind: 'source' | 'binary'
  package: string
  /** Which file: of the source package's files, or path inside the binary package. */
  file: RegExp
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
  upstream: UpstreamSource
}

/** https://www.kernel.org/signature.html */
const GREG_KROAH_HARTMAN = {
  keyFingerprint: '647F28654894E3BD457199BE38DBBDC86092693E',
  keyOwner: 'gregkh@kernel.org',
}

export const SOURCES: readonly Source[] = [
  {
    name: 'linux-6.1',
    summary: 'the kernel',
    apt: { kind: 'binary', package: 'linux-source-6.1', file: /^\.?\/usr\/src\/linux-source-6\.1\.tar\.xz$/ },
    upstream: {
      version: '6.1.127',
      urls: [
        'https://cdn.kernel.org/pub/linux/kernel/v6.x/linux-6.1.127.tar.xz',
        'https://mirrors.edge.kernel.org/pub/linux/kernel/v6.x/linux-6.1.127.tar.xz',
      ],
      signature: {
        url: 'https://cdn.kernel.org/pub/linux/kernel/v6.x/linux-6.1.127.tar.sign',
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
      version: '2.2.8',
      urls: ['https://www.keepalived.org/software/keepalived-2.2.8.tar.gz'],
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
    name: 'popt',
    summary: 'library of ipvsadm',
    apt: { kind: 'source', package: 'popt', file: /\.orig\.tar\.\w+$/ },
    upstream: {
      version: '1.19',
      urls: ['http://ftp.rpm.org/popt/releases/popt-1.x/popt-1.19.tar.gz'],
    },
  },
  {
    name: 'libnl',
    summary: 'library of ipvsadm and keepalived',
    apt: { kind: 'source', package: 'libnl3', file: /\.orig\.tar\.\w+$/ },
    upstream: {
      version: '3.7.0',
      urls: ['https://github.com/thom311/libnl/releases/download/libnl3_7_0/libnl-3.7.0.tar.gz'],
    },
  },
  {
    name: 'openssl',
    summary: 'library of keepalived',
    apt: { kind: 'source', package: 'openssl', file: /\.orig\.tar\.\w+$/ },
    upstream: {
      version: '3.2.3',
      urls: ['https://github.com/openssl/openssl/releases/download/openssl-3.2.3/openssl-3.2.3.tar.gz'],
    },
  },
]

/** Names in {@link SOURCES} of what the static tools are made of. */
export const TOOL_SOURCES = ['ipvsadm', 'keepalived', 'busybox', 'popt', 'libnl', 'openssl'] as const
