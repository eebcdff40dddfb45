// SPDX-License-Identifier: GPL-2.0-only
/** What ipvsadm --who answers from logs that have gaps, and what --monitor does that they have few. */

import assert from 'node:assert/strict'
import type { Lab } from '../../vm/lab.ts'
import { A, B, POOL } from '../../vm/topology.ts'
import { between } from './lib/configure.ts'
import { suite, test } from './lib/suite.ts'
import { until } from './lib/traffic.ts'

const WHO = 'issue 13, 4: a query ("203.0.113.10, port 40001, 03:12") is answered by a command from the logs; it accuses nobody who did not have it'
const [P0 = ''] = POOL
const PORT = 4001
const FOLDER = '/tmp/who'
const LOG = `${FOLDER}/log`
const [SURELY, NOBODY, UNKNOWN] = [0, 1, 3]

const line = (time: string, text: string): string => `2026-11-28T${time}.000000Z ${text}\n`
const BOOT = '4c56534e-0000-4000-8000-00000000000'
const start = (time: string, boot = 1): string => line(time, `log-start boot ${BOOT}${boot}`) + line(time, 'blocks-held number 0')
const block = (host: string): string => `inside ${host} address ${P0} ports 4000-4127 pool office\n`
const taken = (time: string, seq: number, host: string): string => line(time, `block-taken seq ${seq} ${block(host).trim()}`)
const freed = (time: string, seq: number, host: string): string => line(time, `block-freed seq ${seq} ${block(host).trim()}`)
const conn = (host: string): string => `inside ${host}:${PORT} address ${P0}:${PORT} remote 198.51.100.7:53 proto udp pool office`
const began = (time: string, seq: number, host: string): string => line(time, `conn-new seq ${seq} ${conn(host)}`)
const ended = (time: string, seq: number, host: string): string => line(time, `conn-end seq ${seq} ${conn(host)}`)
const marks = (...times: string[]): string => times.map((time) => line(time, 'log-mark')).join('')
const end = (time: string): string => line(time, 'log-end')

const had = (host: string, times: string): RegExp => new RegExp(`^${host}(:${PORT})? had .*${times}$`, 'm')
const perhaps = (host: string, times: string): RegExp => new RegExp(`^Perhaps ${host}(:${PORT})? had .*${times}$`, 'm')

interface Question {
  at: string
  status: number
  says: RegExp
}

interface MadeUp {
  what: string
  /** Endings of names, and what is in the files; those of .gz are compressed. */
  files: Readonly<Record<string, string>>
  questions: readonly Question[]
}

const LOGS: readonly MadeUp[] = [
  {
    what: 'half a line of a full disk, and the log goes on in it',
    files: { '': start('10:00:00') + taken('10:10:00', 1, A) + line('10:30:00', 'block-taken seq 2 inside 192.168.1.77 addr').trimEnd() + start('13:00:05') + taken('14:00:00', 9, B) + freed('15:00:00', 10, B) + end('17:00:00') },
    questions: [
      { at: '10:20:00', status: SURELY, says: had(A, 'from .* 10:10:00 until .* 10:30:00 or later, at the latest .* 13:00:05') },
      { at: '11:00:00', status: UNKNOWN, says: perhaps(A, 'at the latest .* 13:00:05') },
      { at: '12:00:00', status: UNKNOWN, says: /The log does not cover this time/ },
      { at: '14:30:00', status: SURELY, says: had(B, 'from .* 14:00:00 until .* 15:00:00') },
      { at: '16:00:00', status: UNKNOWN, says: /^The log does not cover this time/ },
    ],
  },
  {
    what: 'zeros of a power failure, and another boot',
    files: { '': `${start('10:00:00')}${began('10:10:00', 1, A)}${'\0'.repeat(300)}\n${start('13:00:00', 2)}${end('17:00:00')}` },
    questions: [
      { at: '11:00:00', status: UNKNOWN, says: perhaps(A, 'or later, at the latest .* 13:00:00') },
      { at: '16:00:00', status: NOBODY, says: /^Nobody had it/ },
    ],
  },
  {
    what: 'a restart within a second, in which something ended',
    files: { '': `${start('10:00:00') + taken('10:10:00', 1, A) + end('11:00:00')}2026-11-28T11:00:00.400000Z log-start boot ${BOOT}1\n${line('11:00:01', 'blocks-held number 0')}${taken('12:00:00', 5, B)}${end('17:00:00')}` },
    questions: [
      { at: '10:30:00', status: SURELY, says: had(A, 'at the latest .* 11:00:01') },
      { at: '12:30:00', status: SURELY, says: /^192\.168\.1\.3 had [^\n]*\n(?!.*192\.168\.1\.2 )/ },
    ],
  },
  {
    what: 'a connection that outlives a crash',
    files: { '': start('10:00:00') + began('10:10:00', 1, A) + marks('10:29:50') + start('10:30:05') + marks('12:00:00') + ended('15:00:00', 4, A) + end('16:00:00') },
    questions: [
      { at: '09:30:00', status: UNKNOWN, says: /^The log does not cover this time/ },
      { at: '10:29:55', status: UNKNOWN, says: perhaps(A, 'until .* 10:29:50 or later, at the latest .* 10:30:05') },
      { at: '11:00:00', status: SURELY, says: had(A, 'from .* 10:30:05 until .* 15:00:00') },
      { at: '15:30:00', status: NOBODY, says: /^Nobody/ },
    ],
  },
  {
    what: 'a connection of which nothing is heard after a crash, and its port with another host',
    files: { '': start('10:00:00') + began('10:10:00', 1, A) + marks('10:29:50') + start('10:30:05') + began('13:00:00', 4, B) + end('16:00:00') },
    questions: [
      { at: '10:20:00', status: SURELY, says: had(A, 'until .* 10:29:50 or later, at the latest .* 13:00:00') },
      { at: '11:00:00', status: UNKNOWN, says: perhaps(A, '13:00:00') },
      { at: '14:00:00', status: SURELY, says: /^192\.168\.1\.3:\d+ had [^\n]*\n(?!.*192\.168\.1\.2:)/ },
    ],
  },
  {
    what: 'an end without a beginning',
    files: { '': start('08:00:00') + taken('08:10:00', 1, B) + freed('09:00:00', 2, B) + line('09:30:00', 'lost 7 events') + line('09:30:00', 'blocks-held number 0') + ended('11:00:00', 10, A) + end('12:00:00') },
    questions: [
      { at: '08:30:00', status: SURELY, says: had(B, '09:00:00') },
      { at: '08:30:00', status: SURELY, says: /^(?!.*Perhaps 192.168.1.2 had ports)/ },
      { at: '09:15:00', status: UNKNOWN, says: perhaps(A, 'from .* 09:30:00 or earlier until .* 11:00:00') },
      { at: '10:00:00', status: SURELY, says: had(A, '11:00:00') },
    ],
  },
  {
    what: 'a file that logrotate had half compressed, and a .gz that is damaged',
    files: {
      '.3.gz': 'this is no file of gzip\n', '.2': start('07:00:00') + taken('07:10:00', 1, A) + freed('08:00:00', 2, A) + end('08:30:00'),
      '.2.gz': start('07:00:00') + taken('07:10:00', 1, A), '.1': line('08:30:02', 'log-continued') + end('09:00:00'), '': line('09:00:05', 'log-continued') + end('10:00:00'),
    },
    questions: [
      { at: '07:30:00', status: SURELY, says: /^192\.168\.1\.2 had [^\n]*08:00:00\n$/m },
      { at: '08:15:00', status: NOBODY, says: /^Nobody/m },
      { at: '09:30:00', status: NOBODY, says: /^Nobody/m },
    ],
  },
  {
    what: 'a clock that was set back, in a log that does not say so, and a file after that',
    files: {
      '.1': start('12:00:00') + taken('12:01:00', 1, A) + marks('12:05:00', '11:10:00') + end('11:10:30'),
      '': line('11:10:30', 'log-continued') + freed('11:20:00', 2, A) + taken('13:00:00', 3, B) + freed('14:00:00', 4, B) + end('20:00:00'),
    },
    questions: [
      { at: '12:03:00', status: SURELY, says: had(A, 'until .* 12:05:00') },
      { at: '13:30:00', status: SURELY, says: had(B, '14:00:00') },
      { at: '19:00:00', status: NOBODY, says: /^Nobody/ },
    ],
  },
  {
    what: 'a block that is given back while those that are held are listed',
    files: { '': start('10:00:00') + taken('10:10:00', 1, A) + marks('10:29:50') + line('10:30:05', `log-start boot ${BOOT}1`) + line('10:30:06', 'blocks-held number 0') + freed('10:30:05', 2, A) + end('12:00:00') },
    questions: [
      { at: '09:00:00', status: UNKNOWN, says: /^The log does not cover/ },
      { at: '10:29:00', status: SURELY, says: had(A, 'from .* 10:10:00 until .* 10:30:05') },
      { at: '10:40:00', status: NOBODY, says: /^Nobody had it/ },
    ],
  },
  {
    what: 'a file that is missing',
    files: {
      '.3': start('00:00:00') + taken('01:00:00', 1, A) + began('01:00:00', 2, A) + end('02:00:00'),
      '.1': line('08:00:00', 'log-continued') + line('08:00:00', 'blocks-held number 0') + end('09:00:00'), '': line('09:00:01', 'log-continued') + line('09:00:01', 'blocks-held number 0') + began('10:00:00', 9, B) + end('12:00:00'),
    },
    questions: [
      { at: '05:00:00', status: UNKNOWN, says: perhaps(A, 'until .* 02:00:00 or later, at the latest .* 08:00:00') },
      { at: '08:30:00', status: UNKNOWN, says: perhaps(A, 'until .* 02:00:00 or later, at the latest .* 10:00:00') },
      { at: '10:30:00', status: SURELY, says: /^192\.168\.1\.3:\d+ had [^\n]*\n$/ },
    ],
  },
  {
    what: 'a line that nobody can read, and a file after that',
    files: { '.1': start('00:00:00') + marks('09:59:00') + line('10:00:00', 'block-taken seq 3 inside 192.168.1.3 addr') + marks('15:00:00') + end('22:00:00'), '': line('22:00:01', 'log-continued') + line('22:00:01', 'blocks-held number 0') + end('23:00:00') },
    questions: [
      { at: '09:00:00', status: NOBODY, says: /^Nobody/ },
      { at: '12:00:00', status: UNKNOWN, says: /^The log does not cover/ },
      { at: '22:30:00', status: NOBODY, says: /^Nobody/ },
    ],
  },
  {
    what: 'a restart in a log whose first file is gone',
    files: { '': line('00:00:00', 'log-continued') + line('00:00:00', 'blocks-held number 0') + began('01:00:00', 5, A) + end('03:00:00') + start('03:00:01') + marks('04:00:00') + end('12:00:00') },
    questions: [{ at: '05:00:00', status: UNKNOWN, says: perhaps(A, 'until .* 03:00:00 or later') }],
  },
  {
    what: 'events that are lost after the last that was told',
    files: { '': start('00:00:00') + taken('01:00:00', 1, A) + marks('02:00:00', '06:00:00') + line('07:00:00', 'lost 40000 events') + line('07:00:00', 'blocks-held number 0') + taken('08:00:00', 40_002, B) + end('12:00:00') },
    questions: [
      { at: '05:00:00', status: UNKNOWN, says: /^Perhaps 192\.168\.1\.2 had [^]*\n40000 events were lost then/ },
      { at: '09:00:00', status: SURELY, says: /^192\.168\.1\.3 had [^\n]*\n$/ },
    ],
  },
  {
    what: 'a connection with a long gap in it',
    files: { '': start('10:00:00') + began('10:10:00', 1, A) + end('10:30:00') + start('15:30:00') + ended('16:00:00', 9, A) + end('17:00:00') },
    questions: [
      { at: '10:20:00', status: SURELY, says: had(A, 'until .* 10:30:00 or later, at the latest .* 15:30:00') },
      { at: '12:00:00', status: UNKNOWN, says: perhaps(A, '15:30:00') },
      { at: '15:45:00', status: SURELY, says: had(A, 'from .* 15:30:00 until .* 16:00:00') },
    ],
  },
  {
    what: 'a module that was loaded anew, whose events begin with 1',
    files: { '': start('00:00:00') + taken('01:00:00', 5000, A) + freed('02:00:00', 5001, A) + taken('04:00:00', 1, B) + freed('05:00:00', 2, B) + end('12:00:00') },
    questions: [{ at: '04:30:00', status: SURELY, says: had(B, 'from .* 04:00:00 until .* 05:00:00') }],
  },
  {
    what: 'a log that nobody has kept since a crash',
    files: { '': start('10:00:00') + taken('10:10:00', 1, A) + marks('10:20:00') },
    questions: [
      { at: '10:15:00', status: SURELY, says: had(A, 'until .* 10:20:00 or later') },
      { at: '23:00:00', status: UNKNOWN, says: perhaps(A, 'until .* 10:20:00 or later') },
    ],
  },
]

async function ask(lab: Lab, { at, status, says }: Question): Promise<void> {
  const answer = await lab.gateway.run(`TZ=UTC ipvsadm --who ${P0}:${PORT} --at '2026-11-28 ${at}' --log ${LOG}`)
  assert.match(answer.output, says, at)
  assert.equal(answer.status, status, `${at}: ${answer.output}`)
}

const monitor = (log: string): string => `ipvsadm --monitor --log ${log} </dev/null`

export default suite('who', [
  ...LOGS.map(({ what, files, questions }) => test(`${what}: what is certain is told, and what is not, as such`, WHO, async (lab) => {
    await between(lab, `mkdir ${FOLDER}`, `rm -rf ${FOLDER}`, async () => {
      for (const [ending, content] of Object.entries(files)) {
        const packed = ending.endsWith('.gz') && content.startsWith('2026')
        await lab.gateway.put(`${LOG}${packed ? '.packed' : ending}`, Buffer.from(content))
        if (packed) await lab.gateway.sh(`gzip <${LOG}.packed >${LOG}${ending} && rm ${LOG}.packed`)
      }
      for (const question of questions) await ask(lab, question)
    })
  })),

  test('a time that there is not, or twice, is refused', WHO, async (lab) => {
    await between(lab, `mkdir ${FOLDER}`, `rm -rf ${FOLDER}`, async () => {
      await lab.gateway.put(LOG, Buffer.from(start('10:00:00')))
      const said = async (at: string, zone = 'UTC'): Promise<string> => (await lab.gateway.run(`TZ=${zone} ipvsadm --who ${P0}:${PORT} --at '${at}' --log ${LOG}`)).output
      const berlin = 'CET-1CEST,M3.5.0,M10.5.0/3'
      assert.match(await said('2026-02-30 12:30'), /there is no time/)
      assert.match(await said('2026-03-29 02:30', berlin), /there is no time/)
      assert.match(await said('2026-10-25 02:30', berlin), /is there twice: say it as UTC, with a Z/)
      assert.match(await said('2026-10-25 00:30Z', berlin), /does not cover/)
      assert.match(await said('2026-11-28 12:00', berlin), /does not cover this time; it has 2026-11-28 11:00:00 to/)
    })
  }),

  test('two monitors do not write one log', WHO, async (lab) => {
    await between(lab, `mkdir ${FOLDER}; ${monitor(LOG)} >/dev/null 2>&1 & echo $! >/tmp/monitor.pid`, `kill $(cat /tmp/monitor.pid); rm -rf ${FOLDER} /tmp/monitor.pid`, async () => {
      await until('the log begins', async () => (await lab.gateway.run(`grep -q blocks-held ${LOG}`)).status === 0)
      const second = await lab.gateway.run(monitor(LOG))
      assert.equal(second.status, 2)
      assert.match(second.output, /Another ipvsadm writes \/tmp\/who\/log/)
      assert.equal((await lab.gateway.sh(`grep -c log-start ${LOG}`)).trim(), '1')
    })
  }),

  test('a full disk ends the log, and what is written when there is room again begins in a line of its own', WHO, async (lab) => {
    const full = `
      mkdir ${FOLDER}; mount -t tmpfs -o size=16k none ${FOLDER}
      ${monitor(LOG)} >/tmp/said 2>&1 & echo $! >/tmp/monitor.pid
      until grep -q blocks-held ${LOG}; do usleep 50000; done
      dd if=/dev/zero of=${FOLDER}/ballast 2>/dev/null || :`
    await between(lab, full, `kill $(cat /tmp/monitor.pid); rm -f /tmp/said /tmp/monitor.pid; umount ${FOLDER}; rm -rf ${FOLDER}`, async () => {
      // As long as it takes until there is no room in the page that is there.
      await until('the log ends', async () => (await lab.gateway.run(`
        for round in $(seq 20); do [ ! -d /proc/$(cat /tmp/monitor.pid) ] || kill -HUP $(cat /tmp/monitor.pid); usleep 20000; done
        grep -q "Can't write the events" /tmp/said`)).status === 0)
      await lab.gateway.sh(`rm ${FOLDER}/ballast; ${monitor(LOG)} >/dev/null 2>&1 & echo $! >/tmp/monitor.pid`)
      await until('the log begins again', async () => (await lab.gateway.run(`test $(grep -c '^[-0-9]*T[0-9:.]*Z log-start' ${LOG}) = 2`)).status === 0)
    })
  }),
])
