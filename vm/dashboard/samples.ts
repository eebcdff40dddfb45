// SPDX-License-Identifier: GPL-2.0-only
/** Metrics that were recorded one after the other, as Prometheus takes them in later. */

/** One call of `ipvsadm --metrics`. */
export interface Sample {
  /** Seconds since 1970. */
  time: number
  text: string
}

/** @param recorded each sample behind a line with its time behind an @ */
export function samplesOf(recorded: string): Sample[] {
  return recorded.split(/^@(?=\d+\n)/m).slice(1).map((part) => {
    const end = part.indexOf('\n')
    return { time: Number(part.slice(0, end)), text: part.slice(end + 1) }
  })
}

/**
 * @param instance name of the gateway, which Prometheus adds to what it scrapes
 * @returns text that `promtool tsdb create-blocks-from openmetrics` reads: values with their times
 */
export function backfill(samples: readonly Sample[], instance: string): string {
  const lines = samples.flatMap(({ time, text }) =>
    text.split('\n').filter((line) => line !== '' && !line.startsWith('#')).map((line) => `${labelled(line, `instance="${instance}"`)} ${time}`))
  return `${lines.join('\n')}\n# EOF\n`
}

function labelled(line: string, label: string): string {
  const name = /^\w+/.exec(line)?.[0] ?? ''
  const rest = line.slice(name.length)
  return rest.startsWith('{') ? `${name}{${label},${rest.slice(1)}` : `${name}{${label}}${rest}`
}
