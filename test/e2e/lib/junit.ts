// SPDX-License-Identifier: GPL-2.0-only
/** Writes results in the XML form that CI systems read (JUnit's, as Jenkins documents it). */

export interface TestResult {
  suite: string
  name: string
  seconds: number
  /** Not applicable: it cannot apply to this kernel. Not run: it does, and something was in the way. */
  outcome: 'passed' | 'failed' | 'not applicable' | 'not run'
  /** Why it failed, does not apply or was not run. */
  message?: string
  /** Where to look: frames in pcaps, lines in logs. */
  output?: string
}

/**
 * @param name of the whole run
 * @param properties of what was tested, which every suite repeats
 */
export function junit(name: string, results: readonly TestResult[], properties: Readonly<Record<string, string>> = {}): string {
  const suites = [...new Set(results.map((result) => result.suite))]
  const body = suites.map((suite) => suiteXml(suite, results.filter((result) => result.suite === suite), propertiesXml(properties)))
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="${escape(name)}"${counts(results)}>\n${body.join('')}</testsuites>\n`
}

function counts(results: readonly TestResult[]): string {
  const count = (wanted: TestResult['outcome']) => results.filter(({ outcome }) => outcome === wanted).length
  const seconds = results.reduce((sum, result) => sum + result.seconds, 0)
  return ` tests="${results.length}" failures="${count('failed')}" errors="${count('not run')}" skipped="${count('not applicable')}" time="${seconds.toFixed(3)}"`
}

function propertiesXml(properties: Readonly<Record<string, string>>): string {
  const rows = Object.entries(properties).map(([name, value]) => `      <property name="${escape(name)}" value="${escape(value)}"/>\n`)
  return rows.length === 0 ? '' : `    <properties>\n${rows.join('')}    </properties>\n`
}

function suiteXml(name: string, results: readonly TestResult[], properties: string): string {
  return `  <testsuite name="${escape(name)}"${counts(results)}>\n${properties}${results.map(caseXml).join('')}  </testsuite>\n`
}

function caseXml(result: TestResult): string {
  const open = `    <testcase classname="${escape(result.suite)}" name="${escape(result.name)}" time="${result.seconds.toFixed(3)}"`
  const output = result.output === undefined ? '' : `      <system-out>${escape(result.output)}</system-out>\n`
  const message = result.message ?? ''
  const first = escape(message.split('\n')[0] ?? '')
  if (result.outcome === 'failed') {
    return `${open}>\n      <failure message="${first}">${escape(message)}</failure>\n${output}    </testcase>\n`
  }
  // An error, because a CI system shows what is only skipped as good.
  if (result.outcome === 'not run') return `${open}>\n      <error message="not run: ${first}">not run: ${escape(message)}</error>\n${output}    </testcase>\n`
  if (result.outcome !== 'passed') return `${open}>\n      <skipped message="${result.outcome}: ${first}"/>\n${output}    </testcase>\n`
  return output === '' ? `${open}/>\n` : `${open}>\n${output}    </testcase>\n`
}

/** XML 1.0 has no place for most control characters, escaped or not. */
const escape = (text: string): string =>
  text
    .replace(/[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD]/g, '?')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
