// SPDX-License-Identifier: GPL-2.0-only
/** A lab for people: hosts that answer, commands in the gateway, and traffic on request. */

import { answerEverything, type Host } from './host/index.ts'
import type { Lab } from './lab.ts'
import { echo, tcp, udp } from './packet/index.ts'
import { A, B, CLIENT, POOL, S, VIP } from './topology.ts'

/** Words that the gateway's commands write into the kernel log for the lab to see. */
const START = 'lab: traffic start'
const STOP = 'lab: traffic stop'
const PAUSE_MS = 1_000
const PATIENCE_MS = 3_000

const EXAMPLE = `#!/bin/sh
# LVS NAT and SNAT side by side: a zone, and a pool that a rule puts DNS queries into.
set -e
for address in ${VIP} ${POOL[0]} ${POOL[1]}; do
  ip addr show dev outside | grep -qF $address/ || ip addr add $address/32 dev outside
done
set -x
ipvsadm -C
ipvsadm -A -t ${VIP}:80 -s rr
ipvsadm -a -t ${VIP}:80 -r ${A}:80 -m
ipvsadm -a -t ${VIP}:80 -r ${B}:80 -m
ipvsadm -K --zone 192.168.0.0/16
ipvsadm -U --zone 192.168.0.0/16 -z ${POOL[0]}
ipvsadm --add-pool dns -z ${POOL[1]}
ipvsadm --add-rule --priority 100 --proto udp --dport 53 --pool dns
ipvsadm -G -n
`

const TRAFFIC = `#!/bin/sh
case $1 in
  start|stop) echo "lab: traffic $1" >/dev/kmsg ;;
  *) echo 'usage: lab-traffic start|stop' >&2; exit 2 ;;
esac
`

const PROFILE = `export PS1='gateway:\\w# '
echo
echo '  lab-example         LVS NAT of ${VIP}:80 to a and b, SNAT to ${POOL[0]}, of DNS to ${POOL[1]}'
echo '  lab-traffic start   a connection out and one in, a ping and a query, every second'
echo '  ipvsadm -G -n       zones, rules, pools;  ipvsadm --snat-conns -n: their connections'
echo '  ipvsadm -lnc        all connections;  cat /proc/net/ip_vs_snat: the counters'
echo '  poweroff, or Ctrl-A X, leaves'
echo
`

/** A shell on the console, and another when it ends. */
const SHELL = `(
  cd /root
  while :; do setsid cttyhack sh -l; done
) </dev/console >/dev/console 2>&1 &`

/** What `make vm` says before the console takes the terminal over. */
export const GUIDE = `
  a ${A}, b ${B}            inside, behind 192.168.1.1 (the gateway)
  c 192.168.2.2                         inside2, behind 192.168.2.1
  net 203.0.113.254                     outside; every other address is behind it, such as ${S}
  All of them answer pings, UDP and TCP on every port.

  From another terminal: make vm-log LEVEL=12, make vm-capture LINK=outside, make vm-reload
  To leave: poweroff in the gateway, or Ctrl-A X.
`

/**
 * Makes all hosts answer, and brings the gateway the commands lab-example and lab-traffic.
 *
 * @param say is given a line when the traffic begins to work, or ceases to
 */
export async function bringCommands(lab: Lab, say: (line: string) => void): Promise<void> {
  for (const host of lab.hosts) answerEverything(host)
  for (const [path, text] of [['/usr/bin/lab-example', EXAMPLE], ['/usr/bin/lab-traffic', TRAFFIC]] as const) {
    await lab.gateway.put(path, Buffer.from(text))
    await lab.gateway.sh(`chmod 755 ${path}`)
  }
  let running = false
  lab.gateway.klog.listen((line) => {
    if (line.includes(STOP)) running = false
    if (!line.includes(START) || running) return
    running = true
    void generate(lab, () => running && !lab.gateway.lostBy, say)
  })
}

/** The same, and a shell on the console. */
export async function makeInteractive(lab: Lab, say: (line: string) => void): Promise<void> {
  await bringCommands(lab, say)
  await lab.gateway.put('/etc/profile', Buffer.from(PROFILE))
  await lab.gateway.sh(SHELL)
}

async function generate(lab: Lab, goesOn: () => boolean, say: (line: string) => void): Promise<void> {
  const working = new Map<string, boolean>()
  const tell = (what: string, works: boolean) => {
    if (working.get(what) !== works) say(`traffic: ${what} ${works ? 'works' : 'does not get through'}`)
    working.set(what, works)
  }
  for (let port = 20_000; goesOn(); port = port >= 60_000 ? 20_000 : port + 1) {
    const attempts: [string, Promise<unknown>][] = [
      [`TCP from a to ${S}:80`, connectOnce(lab.a, `${A}:${port} > ${S}:80`)],
      [`TCP from ${CLIENT} to ${VIP}:80`, connectOnce(lab.net, `${CLIENT}:${port} > ${VIP}:80`)],
      [`ping from a to ${S}`, pinged(lab, port)],
      [`UDP from b to ${S}:53`, asked(lab, port)],
    ]
    await Promise.all(attempts.map(async ([what, attempt]) => tell(what, await attempt.then(() => true, () => false))))
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
  }
}

/** A connection of which only the client's side is scripted: the server answers by itself. */
async function connectOnce(client: Host, route: string): Promise<void> {
  const back = route.split(' > ').reverse().join(' > ')
  client.send(tcp(route, 'S', { seq: 1 }))
  const syn = await client.expect(`tcp ${back} SA`, PATIENCE_MS)
  const ack = ((syn.tcp?.seq ?? 0) + 1) >>> 0
  client.send(tcp(route, 'PA', { seq: 2, ack, data: 'GET / HTTP/1.0\r\n\r\n' }))
  const answer = await client.expect(`tcp ${back} PA`, PATIENCE_MS)
  const end = (answer.tcp?.ack ?? 0) >>> 0
  client.send(tcp(route, 'FA', { seq: end, ack: ack + answer.data.length }))
  await client.expect(`tcp ${back} FA`, PATIENCE_MS)
  client.send(tcp(route, 'A', { seq: end + 1, ack: ack + answer.data.length + 1 }))
}

async function pinged(lab: Lab, id: number): Promise<void> {
  lab.a.send(echo(`${A} > ${S}`, 'request', { echoId: id }))
  await lab.a.expect(`icmp ${S} > ${A} echo-reply id=${id}`, PATIENCE_MS)
}

async function asked(lab: Lab, port: number): Promise<void> {
  lab.b.send(udp(`${B}:${port} > ${S}:53`, 'query'))
  await lab.b.expect(`udp ${S}:53 > ${B}:${port}`, PATIENCE_MS)
}
