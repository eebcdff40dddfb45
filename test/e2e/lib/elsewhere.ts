// SPDX-License-Identifier: GPL-2.0-only
/** Other network namespaces of the gateway: a host like {@link A} behind a router of its own. */

import type { Lab } from '../../../vm/lab.ts'
import { A, GATEWAY } from '../../../vm/topology.ts'

export interface Elsewhere {
  /** Address that the gateway answers for while it lasts. */
  remote: string
  /** Shell commands for the router, once its devices `left` (to its host) and `far` (10.9.9.2, to the gateway) are up. */
  router: string
  /** Shell commands of the host. */
  host: string
  /** Shell commands that the router runs when its host has finished. */
  report?: string
}

/**
 * Has a host elsewhere talk with the gateway at `remote`, where a web server listens on port 81.
 *
 * @returns what its commands, and then those of the report, have printed
 */
export async function elsewhere(lab: Lab, { remote, router, host, report = 'true' }: Elsewhere): Promise<string> {
  return lab.gateway.sh(`
    set -e
    rm -f /tmp/router /tmp/host /tmp/ready /tmp/finished /tmp/reported
    # Both names by hand: 2.6.32 gives the second card the name that one asks for the first.
    wired() { ip link add type veth; ip link set veth0 name $1; ip link set veth1 name $2; }
    modprobe veth
    wired near far
    wired left right
    unshare -n sh -c '
      touch /tmp/router
      until ip link show dev far && ip link show dev left; do usleep 50000; done >/dev/null 2>&1
      echo 1 >/proc/sys/net/ipv4/ip_forward
      ip link set lo up
      ip addr add 10.9.9.2/24 dev far; ip link set far up
      ip addr add ${GATEWAY.inside.address}/24 dev left; ip link set left up
      ip route add default via 10.9.9.1
      ${router.replaceAll('\n', '\n      ')}
      touch /tmp/ready
      until [ -e /tmp/finished ]; do usleep 50000; done
      { ${report.replaceAll('\n', '\n      ')}
      } >/tmp/report 2>&1
      touch /tmp/reported
      exec sleep 1000' & router=$!
    unshare -n sh -c '
      touch /tmp/host
      until ip link show dev right; do usleep 50000; done >/dev/null 2>&1
      ip addr add ${A}/24 dev right; ip link set right up
      ip route add default via ${GATEWAY.inside.address}
      until [ -e /tmp/ready ]; do usleep 50000; done
      ${host.replaceAll('\n', '\n      ')}' >/tmp/heard 2>&1 & host=$!
    until [ -e /tmp/router ] && [ -e /tmp/host ]; do usleep 50000; done
    httpd -p 81 -h /tmp
    ip addr add 10.9.9.1/24 dev near; ip addr add ${remote}/32 dev near; ip link set near up
    ip route add ${A}/32 via 10.9.9.2
    ip link set far netns $router
    ip link set left netns $router
    ip link set right netns $host
    wait $host || true
    touch /tmp/finished
    until [ -e /tmp/reported ]; do usleep 50000; done
    killall httpd
    # With its last process a namespace ends, and so do the cards in it and their other ends.
    kill $router
    while ip link show dev near >/dev/null 2>&1; do usleep 50000; done
    cat /tmp/heard /tmp/report`)
}
