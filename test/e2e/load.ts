// SPDX-License-Identifier: GPL-2.0-only
/** Real TCP stacks on both sides: the same image as the gateway's, in machines of their own. */

import assert from 'node:assert/strict'
import type { Machine } from '../../vm/qemu/machine.ts'
import { POOL, REAL_HOSTS, VIP } from '../../vm/topology.ts'
import { counter, nat, snat } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'

const [P0 = ''] = POOL
const DOWNLOAD_BYTES = 4 << 20
const ROUGH_BYTES = 512 << 10
const LOAD_BYTES = 64 << 10
const LOAD_REQUESTS = 40
const LIMIT_MS = 120_000

/** Serves a file of random bytes. @returns its SHA-256 */
async function serve(machine: Machine, name: string, bytes: number): Promise<string> {
  const output = await machine.sh(`
    set -e
    mkdir -p /tmp/www
    head -c ${bytes} /dev/urandom >/tmp/www/${name}
    pidof httpd >/dev/null || httpd -p 8080 -h /tmp/www
    sha256sum </tmp/www/${name}`)
  return output.split(' ')[0] ?? ''
}

const digestOf = (url: string): string => `wget -q -T 30 -O - ${url} | sha256sum | cut -d ' ' -f 1`

export default suite('load', [
  test(
    'a download through the gateway is whole, and so is every balanced one at the same time',
    'issue 2: a real download through the gateway compared by digest, and LVS NAT under real load at the same time',
    async (lab) => {
      await snat(lab, { pool: [P0] })
      await nat(lab, { port: 80, servers: [`${REAL_HOSTS.real.address}:8080`] })
      const [real, server] = await Promise.all([lab.realHost('real'), lab.realHost('server')])
      const large = await serve(server, 'large', DOWNLOAD_BYTES)
      const small = await serve(real, 'small', LOAD_BYTES)
      const [downloaded, loaded] = await Promise.all([
        real.sh(digestOf(`http://${REAL_HOSTS.server.address}:8080/large`), LIMIT_MS),
        server.sh(`for round in $(seq ${LOAD_REQUESTS}); do ${digestOf(`http://${VIP}/small`)}; done`, LIMIT_MS),
      ])
      assert.equal(downloaded.trim(), large, 'digest of the download')
      const digests = loaded.trim().split('\n')
      assert.equal(digests.length, LOAD_REQUESTS)
      assert.deepEqual([...new Set(digests)], [small], 'digests of the balanced downloads')
      assert.equal(await counter(lab, 'created'), 1, 'the download, and nothing else, was translated')
      const seen = lab.sent('outside', `tcp ${P0}:* > ${REAL_HOSTS.server.address}:8080 S`)
      assert.ok(seen.length >= 1, 'the server saw the pool address')
    },
    { limit: 300 },
  ),

  test(
    'a download over a wire that loses, doubles and delays frames is whole',
    'lab.md: the wire can fail on purpose',
    async (lab) => {
      await snat(lab, { pool: [P0] })
      const [real, server] = await Promise.all([lab.realHost('real'), lab.realHost('server')])
      const digest = await serve(server, 'rough', ROUGH_BYTES)
      let frames = 0
      lab.links.outside.inject((frame, forward) => {
        frames++
        if (frames % 50 === 0) return true
        if (frames % 33 === 0) forward(frame)
        if (frames % 21 !== 0) return false
        setTimeout(() => forward(frame), 20)
        return true
      })
      const downloaded = await real.sh(digestOf(`http://${REAL_HOSTS.server.address}:8080/rough`), LIMIT_MS)
      assert.equal(downloaded.trim(), digest)
      assert.ok(frames > 200, 'the wire did lose frames')
    },
    { limit: 300 },
  ),
])
