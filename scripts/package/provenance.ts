// SPDX-License-Identifier: GPL-2.0-only
/** How a release was made: a statement of in-toto with SLSA's predicate (https://slsa.dev/spec/v1.1/provenance). */

import type { Json } from '../build/step.ts'
import type { Version } from '../build/tag.ts'
import { BUILD_HOST, BUILDID, IDENTITY, SOURCE_DATE_EPOCH } from '../release.ts'
import { ingredientUrl, type Ingredient } from './sbom.ts'

export interface Production {
  version: Version
  /** The command that makes the packages of each target. */
  commands: Readonly<Record<string, string>>
  /** Targets that it is without. */
  without: readonly string[]
  /** What the tools of the host say of themselves. */
  tools: Readonly<Record<string, string>>
  ingredients: readonly Ingredient[]
  /** SHA-256 of what came out, by name. */
  files: ReadonlyMap<string, string>
}

/** What is in {@link provenance}'s parameters, and how the same is made of it: docs/releasing.md. */
const BUILD_TYPE = `${IDENTITY}make-release/1`

/**
 * Says nothing of when and where, so that who makes the release again gets the same statement.
 *
 * @returns the statement
 */
export function provenance({ version: { version, tag, commit }, commands, without, tools, ingredients, files }: Production): Json {
  return {
    _type: 'https://in-toto.io/Statement/v1',
    subject: [...files].map(([name, sha256]) => ({ name, digest: { sha256 } })),
    predicateType: 'https://slsa.dev/provenance/v1',
    predicate: {
      buildDefinition: {
        buildType: BUILD_TYPE,
        externalParameters: { version, tag, without: [...without], commands: { ...commands } },
        internalParameters: { sourceDateEpoch: SOURCE_DATE_EPOCH, buildHost: BUILD_HOST, buildid: BUILDID },
        resolvedDependencies: [
          { name: 'lvs-snat', digest: { gitCommit: commit } },
          ...ingredients.map((ingredient) => ({
            name: ingredient.filename,
            uri: ingredientUrl(ingredient),
            digest: { sha256: ingredient.sha256 },
            ...(ingredient.url === undefined ? {} : { downloadLocation: ingredient.url }),
            annotations: { origin: ingredient.origin },
          })),
        ],
      },
      runDetails: { builder: { id: `${IDENTITY}host`, version: { ...tools } } },
    },
  }
}
