// SPDX-License-Identifier: GPL-2.0-only
/** The version of this project that is released: what has to hold before, and the tag that names it. */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import semver from 'semver'
import { Failure } from '../base/errors.ts'
import { Git } from '../base/git.ts'
import { BUILDID } from '../release.ts'
import { isSet, type Context } from './context.ts'
import { revision } from './revision.ts'

/** What is released. */
export type Version = {
  version: string
  /** Name of the tag. */
  tag: string
  commit: string
  /** When that was made, in seconds since 1970. */
  time: number
  /** Its section of CHANGELOG.md, without the heading. */
  changes: string
}

/** Where {@link BUILDID} is. */
const BUILDID_FILE = 'scripts/release.ts'

const EXAMPLE = 'For example: make release VERSION=1.1.0'

/** The heading of changes that no version has yet. */
const UNRELEASED = 'Unreleased'

const tagOf = (version: string): string => `v${version}`

function gitOf({ paths }: Context): Git {
  const { GNUPGHOME } = process.env
  return new Git(paths.root, { userConfig: true, ...(GNUPGHOME === undefined ? {} : { env: { GNUPGHOME } }) })
}

/**
 * @returns what VERSION= names, of the commit that is checked out
 * @throws Failure of kind `usage` unless it can be released
 */
export async function requireVersion(context: Context): Promise<Version> {
  const version = context.variables.VERSION ?? ''
  if (semver.valid(version) !== version) throw new Failure('usage', `VERSION="${version}" is no version as semver.org has it.`, { hint: EXAMPLE })
  const { commit, dirty } = await revision(context)
  if (commit === null) throw new Failure('usage', 'There is no commit that could be released.')
  if (dirty) throw new Failure('usage', 'The checkout has changes that are not committed, or files that are not added; a release is of a commit.', { hint: 'git status shows them.' })
  requirePackageJson(context, version)
  const sections = changelog(context)
  const changes = sections.get(version)
  if (!changes) throw new Failure('usage', `CHANGELOG.md has no section for ${version}, or nothing in it.`, { hint: `It begins with a line "## ${version}".` })
  if (sections.get(UNRELEASED)) throw new Failure('usage', `CHANGELOG.md has changes below "${UNRELEASED}", which this commit has as well.`, { hint: `They belong below "## ${version}".` })
  const git = gitOf(context)
  await requireHistory(git, version, [...sections.keys()])
  await requireTag(context, git, version, commit)
  await requireLatest(git, version, [...sections.keys()])
  await requireOwnBuildId(git, version)
  return { version, tag: tagOf(version), commit, time: Number(await git.line('show', '--no-patch', '--format=%ct', commit)), changes }
}

function requirePackageJson({ paths }: Context, version: string): void {
  const { version: said } = JSON.parse(readFileSync(join(paths.root, 'package.json'), 'utf8')) as { version?: string }
  if (said === version) return
  throw new Failure('usage', `package.json says version ${said}, and not ${version}.`, { hint: `npm version --no-git-tag-version ${version}, and commit that.` })
}

/** @returns text of each section of CHANGELOG.md by the first word of its heading */
function changelog({ paths }: Context): Map<string, string> {
  const path = join(paths.root, 'CHANGELOG.md')
  const [, ...sections] = (existsSync(path) ? readFileSync(path, 'utf8') : '').split(/^## /m)
  return new Map(sections.map((section) => {
    const [heading = '', ...lines] = section.split('\n')
    return [heading.split(' ')[0] ?? '', lines.join('\n').trim()]
  }))
}

/** Of a version that has a tag nothing new is made; AGAIN=1 makes the same once more. */
async function requireTag({ variables }: Context, git: Git, version: string, commit: string): Promise<void> {
  const tag = tagOf(version)
  const again = isSet(variables, 'AGAIN')
  // A lightweight tag is no object of its own.
  const [type, tagged] = (await git.line('for-each-ref', '--format=%(objecttype) %(*objectname)', `refs/tags/${tag}`)).split(' ')
  if (!type && !again) return
  if (!type) throw new Failure('usage', `There is no tag ${tag}, of which the same could be made again.`, { hint: 'The first time it is made without AGAIN=1.' })
  if (!again) throw new Failure('usage', `There is a tag ${tag} already.`, { hint: `To make the same again: git checkout ${tag}, and make release VERSION=${version} AGAIN=1` })
  if (type !== 'tag' || tagged !== commit) throw new Failure('usage', `The tag ${tag} is no annotated tag of the commit that is checked out.`, { hint: `git checkout ${tag}` })
}

/** @throws Failure of kind `usage` in a clone that lacks commits or tags: what was released before is asked of them */
async function requireHistory(git: Git, version: string, headings: readonly string[]): Promise<void> {
  if ((await git.line('rev-parse', '--is-shallow-repository')) === 'true') {
    throw new Failure('usage', 'This clone is shallow, and does not know what was released before.', { hint: 'git fetch --unshallow --tags' })
  }
  const [last] = semver.rsort(headings.filter((other) => semver.valid(other) === other && semver.lt(other, version)))
  if (last === undefined || (await git.lines('tag', '--list', tagOf(last))).length > 0) return
  throw new Failure('usage', `CHANGELOG.md tells of ${last}, and this clone has no tag ${tagOf(last)}, by which its packages are told from these.`, {
    hint: `git fetch --tags; if it never had one: git tag --annotate ${tagOf(last)} COMMIT`,
  })
}

/** @throws Failure of kind `usage` unless it is greater than what was tagged before it, and what CHANGELOG.md tells of */
async function requireLatest(git: Git, version: string, headings: readonly string[]): Promise<void> {
  const tags = await git.lines('tag', '--list', 'v*', '--merged', 'HEAD')
  const others = [...tags.map((tag) => tag.slice(1)), ...headings].filter((other) => other !== version && semver.valid(other) === other)
  const [last] = semver.rsort(others)
  if (last === undefined || semver.gt(version, last)) return
  throw new Failure('usage', `${version} is not greater than ${last}, which there was already.`, { hint: `The next are ${(['patch', 'minor', 'major'] as const).map((part) => semver.inc(last, part)).join(', ')}.` })
}

/**
 * Names the commit, with the section of CHANGELOG.md as message.
 *
 * @param key that signs the tag, as gpg knows it
 * @throws Failure of kind `environment` when git fails, as it does without a name of who tags
 */
export async function tagRelease(context: Context, { version, tag, commit, changes }: Version, key?: string): Promise<void> {
  const how = key === undefined ? ['--annotate'] : ['--local-user', key]
  // Headings begin with what git takes for a comment otherwise.
  const input = `lvs-snat ${version}\n\n${changes}\n`
  await gitOf(context).call(['-c', 'gpg.format=openpgp', 'tag', ...how, '--cleanup=whitespace', '--file=-', tag, commit], { kind: 'environment', input })
}

/** @throws Failure of kind `usage` if packages would be called as those of the release before, and not be installed in their place */
async function requireOwnBuildId(git: Git, version: string): Promise<void> {
  const tags = await git.lines('tag', '--list', 'v*', '--merged', 'HEAD')
  const [last] = semver.rsort(tags.map((tag) => tag.slice(1)).filter((other) => other !== version && semver.valid(other) === other))
  if (last === undefined || (await git.lines('ls-tree', '--name-only', tagOf(last), BUILDID_FILE)).length === 0) return
  if (!(await git.text('show', `${tagOf(last)}:${BUILDID_FILE}`)).includes(`'${BUILDID}'`)) return
  throw new Failure('usage', `${BUILDID} is the build ID of ${last} already: its packages and these would have the same names.`, { hint: `Count BUILDID up in ${BUILDID_FILE}, tell of it in %changelog of the specs, and commit that.` })
}
