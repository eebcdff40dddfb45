// SPDX-License-Identifier: GPL-2.0-only
/** Environments of EL6 that build an SRPM with its own compiler, and what a host needs for them. */

import { existsSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { Failure } from '../base/errors.ts'
import { capture } from '../base/run.ts'

/** `--with` and `--without` of RHEL's kernel.spec: the kernel with its headers, and none of its variants and documents. */
const OPTIONS = ['--with', 'baseonly', '--without', 'debuginfo', '--without', 'doc', '--without', 'perf']

const VAULT = 'https://vault.centos.org/6.10'
/** The last image of CentOS 6. A tag can be moved, a digest cannot. */
const IMAGE = 'docker.io/library/centos@sha256:a93df2e96e07f56ea48f215425c6f1673ab922927894595bb5c0ee4c5a955133'
const MOCK_CONFIG = 'centos-6-x86_64'

/** Where a builder looks on the host, for tests to lead it elsewhere. */
export interface Host {
  /** Memory map of a process: whether it has the page of vsyscall. */
  maps: string
  /** Folder of mock's configuration. */
  mock: string
  /** The package repository that EL6 environments are made from. */
  repository: string
}

export const HOST: Host = { maps: '/proc/self/maps', mock: '/etc/mock', repository: `${VAULT}/os/x86_64/repodata/repomd.xml` }

export interface Builder {
  name: string
  /** What is missing on the host, a line each with what to do. */
  missing: (host: Host) => Promise<string[]>
  /**
   * @param source path of the SRPM
   * @param results folder that takes the packages and the builder's logs
   */
  command: (host: Host, source: string, results: string) => string[]
}

export const BUILDERS: readonly Builder[] = [
  {
    name: 'mock',
    async missing(host) {
      if (!(await works('mock', '--version'))) return ['mock is not installed: dnf install mock, or apt-get install mock']
      const lacks: string[] = []
      if (mockConfig(host) === undefined) lacks.push(`mock has no ${MOCK_CONFIG}: it is among the "eol" configurations of mock-core-configs`)
      const { stdout } = await capture(['id', '--name', '--groups'])
      if (process.getuid?.() !== 0 && !stdout.trim().split(' ').includes('mock')) {
        lacks.push('you are not in the group mock: usermod --append --groups mock USER, and log in anew')
      }
      return lacks
    },
    command: (host, source, results) => ['mock', '--root', mockConfig(host) ?? MOCK_CONFIG, '--resultdir', results, ...OPTIONS, '--rebuild', source],
  },
  {
    name: 'podman',
    async missing() {
      if (!(await works('podman', '--version'))) return ['podman is not installed: dnf install podman, or apt-get install podman']
      if (await works('podman', 'image', 'exists', IMAGE)) return []
      return [`podman has no image of CentOS 6: podman pull ${IMAGE}`]
    },
    // Z: SELinux lets no container into a folder that is not labelled for it.
    command: (_host, source, results) => [
      ...['podman', 'run', '--rm', '--pull=never', '--volume', `${dirname(source)}:/source:ro,Z`, '--volume', `${results}:/results:Z`],
      ...[IMAGE, '/bin/sh', '-e', '-c', CONTAINER_SCRIPT, 'build', `/source/${basename(source)}`],
    ],
  },
]

/** What is done in the container, where EL6's repositories have moved to the vault. */
const CONTAINER_SCRIPT = `sed -i -e 's/^mirrorlist=/#&/' \\
  -e 's|^#* *baseurl=http://mirror.centos.org/centos/$releasever|baseurl=${VAULT}|' /etc/yum.repos.d/CentOS-Base.repo
yum -y install rpm-build yum-utils redhat-rpm-config
yum-builddep -y "$1"
rpmbuild --rebuild --define '_topdir /build' ${OPTIONS.join(' ')} "$1"
cp /build/RPMS/*/*.rpm /results/`

/** mock calls its retired configurations by their folder. */
function mockConfig(host: Host): string | undefined {
  const names = [`eol/${MOCK_CONFIG}`, MOCK_CONFIG]
  return names.find((name) => existsSync(join(host.mock, `${name}.cfg`)))
}

/** @throws Failure of kind `usage` unless BUILDER= names one */
export function findBuilder(name: string | undefined): Builder {
  const builder = BUILDERS.find((candidate) => candidate.name === name)
  if (builder) return builder
  throw new Failure('usage', name ? `Unknown builder "${name}".` : 'BUILDER= does not say what is to build it.', {
    hint: `BUILDER is one of: ${BUILDERS.map((known) => known.name).join(', ')}`,
  })
}

/**
 * Checks all that a builder needs before it starts.
 *
 * @throws Failure of kind `environment` that tells everything that is missing
 */
export async function requireBuilder(builder: Builder, host: Host = HOST): Promise<void> {
  const lacks = await builder.missing(host)
  if (!readFileSync(host.maps, 'utf8').includes('[vsyscall]')) {
    lacks.push('this kernel has no vsyscall page, without which programs of EL6 crash: boot it with vsyscall=emulate')
  }
  if (!(await works('curl', '--silent', '--fail', '--head', '--location', '--proto-redir', '=https', '--max-time', '15', '--output', '/dev/null', host.repository))) {
    lacks.push(`EL6's packages cannot be reached: ${host.repository}`)
  }
  if (lacks.length === 0) return
  throw new Failure('environment', `This host cannot build with ${builder.name}.`, {
    excerpt: lacks,
    hint: 'Or build the SRPM elsewhere, on an EL6 host or in Koji: make srpm prints its path.',
  })
}

async function works(...argv: string[]): Promise<boolean> {
  const { exitCode } = await capture(argv, { anyExit: true })
  return exitCode === 0
}
