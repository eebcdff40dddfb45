// SPDX-License-Identifier: GPL-2.0-only
/** What this project's packages are called and when they were released; every spec takes it from here. */

/** What names our build of a package, behind the release of what it is built from: another one for each release, which `make release` asks for. */
export const BUILDID = '.snat1'

/**
 * The moment that stands for "now" in everything that is built, in seconds since
 * 1970 (https://reproducible-builds.org/specs/source-date-epoch/). It is the date of
 * the newest %changelog entry of the specs, at noon UTC as rpm takes it.
 */
export const SOURCE_DATE_EPOCH = Date.UTC(2026, 10, 22, 12) / 1000

/** The host name that packages and kernels say they were built on. */
export const BUILD_HOST = 'localhost'

/** Who the changelogs of the packages name. */
export const PACKAGER = 'LVS SNAT gateway <lvs-snat@localhost>'

/** What names in statements about releases begin with (RFC 4151): the project has no domain. */
export const IDENTITY = 'tag:lvs-snat@localhost,2026:'
