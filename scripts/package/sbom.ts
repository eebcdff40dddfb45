// SPDX-License-Identifier: GPL-2.0-only
/** The bill of materials of a release, in SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3/). */

import parse from 'spdx-expression-parse'
import { Failure } from '../base/errors.ts'
import { digest, type Json } from '../build/step.ts'
import type { Version } from '../build/tag.ts'
import { PACKAGER } from '../release.ts'
import type { PackageFacts } from './describe.ts'

/** What packages are made of. */
export interface Ingredient {
  name: string
  version: string
  filename: string
  sha256: string
  license: string
  /** Where it came from, and what vouches for it. */
  origin: string
  /** What it is if not a source. */
  purpose?: 'LIBRARY'
  /** Where everybody can fetch it. */
  url?: string
  /** The distribution's source package of that version, if it is what the distribution builds of: with its patches. */
  package?: { distribution: string; name: string }
}

/** A package of the release. */
export interface Product extends PackageFacts {
  /** What it was built from: {@link productId} or {@link ingredientId}. */
  from: readonly string[]
  /** What is linked into its programs besides. */
  links: readonly string[]
}

/** A series as one patch. */
export interface ProductPatch {
  file: string
  sha256: string
  /** {@link ingredientId} of what it is for. */
  for: string
}

export interface Bill {
  version: Version
  license: string
  products: readonly Product[]
  patches: readonly ProductPatch[]
  ingredients: readonly Ingredient[]
}

/** Of SPDX: letters, digits, dots and dashes. */
const spdxId = (kind: string, name: string): string => `SPDXRef-${kind}-${name.replace(/[^A-Za-z0-9.-]/g, '-')}`
export const productId = (file: string): string => spdxId('Package', file)
export const ingredientId = ({ name, version }: Pick<Ingredient, 'name' | 'version'>): string => spdxId('Source', `${name}-${version}`)

/** A package's URL (https://github.com/package-url/purl-spec). */
export function packageUrl(type: string, name: string, version: string, qualifiers: Readonly<Record<string, string>> = {}): string {
  const query = Object.entries(qualifiers).map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join('&')
  return `pkg:${type}/${encodeURIComponent(name)}@${encodeURIComponent(version)}${query ? `?${query}` : ''}`
}

export const ingredientUrl = ({ name, version, package: of }: Ingredient): string =>
  of ? packageUrl(`deb/${of.distribution}`, of.name, version, { arch: 'source' }) : packageUrl('generic', name, version)

function productUrl({ type, name, version, architecture }: Product): string {
  const [, epoch, rest = version] = /^(\d+):(.*)$/.exec(version) ?? []
  // A deb has its epoch in the version, an RPM beside it.
  if (type === 'deb' || epoch === undefined) return packageUrl(`${type}/lvs-snat`, name, version, { arch: architecture })
  return packageUrl(`${type}/lvs-snat`, name, rest, { arch: architecture, epoch })
}

const NONE = 'NOASSERTION'

/** Names of licences from before SPDX, in packages that are not ours. */
const OLD_NAMES: Readonly<Record<string, string>> = { GPLv2: 'GPL-2.0-only' }

/** @returns what SPDX understands of what a package says of its licence */
export function declaredLicense(said: string): Record<string, string> {
  const license = OLD_NAMES[said] ?? said
  try {
    parse(license)
    return { licenseDeclared: license }
  } catch {
    return { licenseDeclared: NONE, ...(said === '' ? {} : { licenseComments: `It says "${said}", which is no expression of SPDX.` }) }
  }
}

/** What all packages say; nobody has looked into their files for this document. */
const NOT_ANALYZED = { filesAnalyzed: false, licenseConcluded: NONE, copyrightText: NONE }

const sha256 = (checksumValue: string): Json => [{ algorithm: 'SHA256', checksumValue }]
const reference = (referenceLocator: string): Json => [{ referenceCategory: 'PACKAGE-MANAGER', referenceType: 'purl', referenceLocator }]
const SUPPLIER = `Organization: ${PACKAGER.replace(/ <.*/, '')}`

/** A package as SPDX has it. */
type Element = { SPDXID: string } & { [key: string]: Json }

const productEntry = (product: Product): Element => ({
  SPDXID: productId(product.file),
  name: product.name,
  versionInfo: product.version,
  packageFileName: product.file,
  summary: product.summary,
  supplier: SUPPLIER,
  downloadLocation: NONE,
  primaryPackagePurpose: product.architecture === 'src' ? 'SOURCE' : 'INSTALL',
  checksums: sha256(product.sha256),
  ...NOT_ANALYZED,
  ...declaredLicense(product.license),
  externalRefs: reference(productUrl(product)),
})

const ingredientEntry = (ingredient: Ingredient): Element => ({
  SPDXID: ingredientId(ingredient),
  name: ingredient.name,
  versionInfo: ingredient.version,
  packageFileName: ingredient.filename,
  supplier: NONE,
  downloadLocation: ingredient.url ?? NONE,
  sourceInfo: ingredient.origin,
  primaryPackagePurpose: ingredient.purpose ?? 'SOURCE',
  checksums: sha256(ingredient.sha256),
  ...NOT_ANALYZED,
  ...declaredLicense(ingredient.license),
  externalRefs: reference(ingredientUrl(ingredient)),
})

const patchEntry = ({ version, license }: Bill, { file, sha256: sum }: ProductPatch): Element => ({
  SPDXID: productId(file),
  name: file,
  versionInfo: version.version,
  packageFileName: file,
  supplier: SUPPLIER,
  downloadLocation: NONE,
  primaryPackagePurpose: 'SOURCE',
  checksums: sha256(sum),
  ...NOT_ANALYZED,
  ...declaredLicense(license),
})

const ROOT = 'SPDXRef-Release'

const rootEntry = ({ version: { version, commit }, license }: Bill): Element => ({
  SPDXID: ROOT,
  name: 'lvs-snat',
  versionInfo: version,
  summary: 'SNAT in IPVS: kernels, modules and tools of a gateway',
  supplier: SUPPLIER,
  downloadLocation: NONE,
  sourceInfo: `git commit ${commit}`,
  ...NOT_ANALYZED,
  ...declaredLicense(license),
})

type Relation = [from: string, type: string, to: string]

const relations = ({ products, patches }: Bill): Relation[] => [
  ['SPDXRef-DOCUMENT', 'DESCRIBES', ROOT],
  ...[...products, ...patches].map(({ file }): Relation => [ROOT, 'CONTAINS', productId(file)]),
  ...products.flatMap(({ file, from, links }) => [
    ...from.map((id): Relation => [productId(file), 'GENERATED_FROM', id]),
    ...links.map((id): Relation => [productId(file), 'STATIC_LINK', id]),
  ]),
  ...patches.map((patch): Relation => [productId(patch.file), 'PATCH_FOR', patch.for]),
]

/** Licences that SPDX has no name for are told of in the document itself. */
function extracted({ products }: Bill): Json[] {
  const names = new Set(products.flatMap(({ license }) => license.match(/LicenseRef-[A-Za-z0-9.-]+/g) ?? []))
  return [...names].sort().map((licenseId) => ({ licenseId, name: licenseId.replace('LicenseRef-', ''), extractedText: 'As the files of the package say, below /usr/share/licenses.' }))
}

/**
 * @returns the document, the same of the same release
 * @throws Failure of kind `internal` for two elements of one name, and for one that is named and not there
 */
export function sbom(bill: Bill): Json {
  const { version } = bill
  const packages = [rootEntry(bill), ...bill.products.map(productEntry), ...bill.patches.map((patch) => patchEntry(bill, patch)), ...bill.ingredients.map(ingredientEntry)]
  requireElements(packages, relations(bill))
  const infos = extracted(bill)
  const body = {
    packages,
    ...(infos.length > 0 ? { hasExtractedLicensingInfos: infos } : {}),
    relationships: relations(bill).map(([spdxElementId, relationshipType, relatedSpdxElement]) => ({ spdxElementId, relationshipType, relatedSpdxElement })),
  }
  return {
    spdxVersion: 'SPDX-2.3',
    dataLicense: 'CC0-1.0',
    SPDXID: 'SPDXRef-DOCUMENT',
    name: `lvs-snat-${version.version}`,
    // Names this content and no other.
    documentNamespace: `https://spdx.org/spdxdocs/lvs-snat-${version.version}-${digest(body).slice(0, 32)}`,
    creationInfo: { created: new Date(version.time * 1000).toISOString().replace('.000Z', 'Z'), creators: [SUPPLIER, `Tool: lvs-snat-${version.version}`] },
    ...body,
  }
}

function requireElements(elements: readonly Element[], related: readonly Relation[]): void {
  const ids = new Set(['SPDXRef-DOCUMENT', ...elements.map(({ SPDXID }) => SPDXID)])
  if (ids.size !== elements.length + 1) throw new Failure('internal', 'Two elements of the bill of materials have one name.')
  const missing = related.flatMap(([from, , to]) => [from, to]).find((id) => !ids.has(id))
  if (missing !== undefined) throw new Failure('internal', `The bill of materials names ${missing}, and has none.`)
}
