// SPDX-License-Identifier: GPL-2.0-only
/** The report of a run: where its figures come from, how far they can be trusted, and what they are. */

import type { Chart } from './charts.ts'
import { inapplicables, legend, percent, refusals, type Table, tablesOf } from './report.ts'
import { figuresOf, nameOf, roundsOf, spreadOf, summaryOf } from './results.ts'
import { commitOf, type Stored } from './stored.ts'

/** @param name of a chart @returns the name of its file */
export const svgFile = ({ name }: Pick<Chart, 'name'>): string => `${name}.svg`

const escaped = (text: string): string => text.replaceAll('|', '\\|')

const row = (cells: readonly string[]): string => `| ${cells.map(escaped).join(' | ')} |`

function table({ title, head, rows }: Table): string[] {
  return [`### ${title}`, '', row(head), `|${head.map((_, column) => (column === 0 ? '---|' : '---:|')).join('')}`, ...rows.map(row), '']
}

const list = (lines: readonly string[]): string[] => [...(lines.length === 0 ? ['None.'] : lines.map((line) => `- ${line}`)), '']

function origin(stored: Stored): string[] {
  const { variant, kernel, tested, date, method, qemu, host, complete } = stored
  return [
    row(['kernel', `${kernel} (${variant})`]), '|---|---|',
    ...[
      ['commit', commitOf(stored)],
      ['tested', tested],
      ['begun', date],
      ['counted', method],
      ['machine', `${qemu}, on ${host.processor} (${host.processors} processors, ${host.system})`],
      ['rounds', `${roundsOf(stored)} of ${stored.rounds}${complete ? '' : ', the last one not finished'}`],
      ['spread', spread(stored)],
    ].map(row),
    '',
  ]
}

/** How far the rounds are from each other. */
function spread({ measurements }: Stored): string {
  const figures = figuresOf(measurements).filter(({ values, refused }) => values.length > 1 && refused === undefined)
  const [widest] = [...figures].sort((one, other) => spreadOf(other.instructions) - spreadOf(one.instructions))
  if (!widest) return 'not known: measured once'
  const { median } = summaryOf(figures.map(({ instructions }) => spreadOf(instructions)))
  return `of half of the figures at most ${percent(median, 2)}, at most ${percent(spreadOf(widest.instructions), 2)} (${nameOf(widest)})`
}

/**
 * @param charts those whose files are in the same folder
 * @param comparison lines about what later runs are compared with
 * @returns the text of a Markdown file
 */
export function reportOf(stored: Stored, charts: readonly Chart[], comparison: readonly string[]): string {
  return [
    `# What a packet costs: ${stored.variant}`, '',
    ...origin(stored),
    '## Against the baseline', '', ...list(comparison),
    '## Refused', '', ...list(refusals(stored)),
    '## Not applicable', '', ...list(inapplicables(stored)),
    '## Tables', '', ...legend(stored).flatMap((line) => [line, '']),
    ...tablesOf(stored).flatMap(table),
    '## Plots', '', ...charts.flatMap((chart) => [`![${chart.title}](${svgFile(chart)})`, '']),
  ].join('\n').trimEnd() + '\n'
}
