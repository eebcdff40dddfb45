// SPDX-License-Identifier: GPL-2.0-only
/** What is said of a release: of which packages it consists, and of what those were made. */

import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { listFiles, sha256File } from '../base/files.ts'
import type { Context } from '../build/context.ts'
import { findMusl } from '../build/musl.ts'
import type { Json } from '../build/step.ts'
import type { Version } from '../build/tag.ts'
import { toolVersions } from '../build/toolversions.ts'
import { describePackage, type PackageFacts } from '../package/describe.ts'
import { provenance } from '../package/provenance.ts'
import { ingredientId, productId, sbom, type Bill, type Ingredient, type Product, type ProductPatch } from '../package/sbom.ts'
import type { Stored } from '../source/store.ts'
import { SOURCE_LICENSES } from '../sources.ts'
import { fetchedSources, reproduction } from '../steps/all.ts'
import { debSources } from '../steps/debs.ts'
import { kernelRelease } from '../steps/kernel.ts'
import { isToolPackage } from '../steps/tools.ts'

/** What is described, and where it is. */
export interface Release {
  context: Context
  /** The targets that it has, each in the folder of its variant. */
  contexts: readonly Context[]
  /** The targets that its package for DKMS is of, none if it has none, and the folder with it. */
  dkms: { contexts: readonly Context[]; folder: string }
  /** The targets for whose Debian it has packages of the tools. */
  debs: readonly Context[]
  version: Version
  folder: string
  without: readonly string[]
}

export interface ReleaseFacts {
  manifest: Json
  sbom: Json
  /** @param files digests of what the statement is about, by name */
  statement: (files: ReadonlyMap<string, string>) => Promise<Json>
}

/** Some packages with what they may be made of. */
interface Group {
  folder: string
  sources: readonly Ingredient[]
  /** What packages are made of that do not say it: {@link ingredientId}. */
  kernels: readonly string[]
  /** File names of packages whose programs musl is in. */
  linked: ReadonlySet<string>
  /** What packages of Debian are made of, by the name of the package. */
  debs: Readonly<Record<string, Ingredient>>
}

export async function describeRelease({ context, contexts, dkms, debs, version, folder, without }: Release): Promise<ReleaseFacts> {
  const musl = await muslIngredient()
  const targets = contexts.map((each) => groupOf(each, join(folder, each.variant), debs.includes(each)))
  const groups = [...targets, dkmsGroup(dkms)]
  const described = await Promise.all(groups.map(describeGroup))
  const products = unique(described.flatMap((facts, index) => facts.map((each) => productOf(each.facts, facts, groups[index] as Group, musl))))
  const patches = (await Promise.all(targets.map(patchesOf))).flat()
  const { license } = JSON.parse(readFileSync(join(context.paths.root, 'package.json'), 'utf8')) as { license: string }
  const bill: Bill = { version, license, products, patches, ingredients: usedOf([...groups.flatMap(({ sources }) => sources), musl], products, patches) }
  const commands = Object.fromEntries(contexts.map((each) => [each.variant, reproduction(each)]))
  return {
    manifest: manifest({ version, without, contexts, commands }, described.flat(), folder),
    sbom: sbom(bill),
    statement: async (files) => provenance({ version, commands, without, tools: await toolVersions(), ingredients: bill.ingredients, files }),
  }
}

function ingredientOf(stored: Stored, licensed: string): Ingredient {
  const { name, version, filename, sha256, origin, from, verified, package: of } = stored
  return {
    ...{ name, version: of?.version ?? version, filename, sha256, license: SOURCE_LICENSES[licensed] ?? '' },
    // Where a file was on this host is of no use to others.
    origin: origin === 'local' ? verified : `${from}; ${verified}`,
    ...(origin === 'upstream' ? { url: from } : {}),
    ...(of ? { package: of } : {}),
  }
}

/** Patches have the licence of what they are for. */
const ingredientsOf = (context: Context): Ingredient[] => fetchedSources(context).flatMap((stored) => {
  const licensed = stored.name === context.source ? context.target.source : stored.name
  return [stored, ...(stored.patches ? [stored.patches] : [])].map((file) => ingredientOf(file, licensed))
})

async function muslIngredient(): Promise<Ingredient> {
  return { ...(await findMusl()), name: 'musl', purpose: 'LIBRARY', license: SOURCE_LICENSES['musl'] ?? '', origin: 'C library of the host' }
}

const kernelsOf = (context: Context, sources: readonly Ingredient[]): string[] => sources.filter(({ name }) => name === context.source).map(ingredientId)

function groupOf(context: Context, folder: string, hasDebs: boolean): Group {
  const debs = hasDebs ? Object.fromEntries(Object.entries(debSources(context)).map(([name, stored]) => [name, ingredientOf(stored, stored.name)])) : {}
  const sources = ingredientsOf(context)
  return {
    folder, debs, sources: [...sources, ...Object.values(debs)], kernels: kernelsOf(context, sources),
    linked: new Set(listFiles(folder).map((name) => basename(name)).filter(isToolPackage)),
  }
}

function dkmsGroup({ contexts, folder }: Release['dkms']): Group {
  const kernels = contexts.flatMap((context) => kernelsOf(context, ingredientsOf(context)))
  return { folder, sources: contexts.flatMap(ingredientsOf), kernels, linked: new Set(), debs: {} }
}

interface Described {
  path: string
  facts: PackageFacts
}

async function describeGroup({ folder }: Group): Promise<Described[]> {
  const paths = listFiles(folder).filter((name) => /\.(rpm|deb)$/.test(name)).map((name) => join(folder, name))
  return Promise.all(paths.map(async (path) => ({ path, facts: await describePackage(path) })))
}

/** A package is made of its source package, that of the sources that it names, and what names none that is known of the kernel. */
function productOf(facts: PackageFacts, among: readonly Described[], { sources, kernels, linked, debs }: Group, musl: Ingredient): Product {
  const source = among.find((other) => other.facts.file === facts.source)
  const named = sources.filter(({ filename }) => facts.sources.includes(filename)).map(ingredientId)
  const debian = facts.type === 'deb' ? debs[facts.name] : undefined
  const from = debian ? [ingredientId(debian)] : source ? [productId(source.facts.file)] : named.length > 0 ? named : kernels
  return { ...facts, from, links: linked.has(facts.file) && facts.architecture !== 'src' ? [ingredientId(musl)] : [] }
}

/** Targets have packages in common. */
const unique = (products: readonly Product[]): Product[] => [...new Map(products.map((product) => [`${product.file} ${product.sha256}`, product])).values()]

/** Those that something is made of: not what only the lab runs. */
function usedOf(ingredients: readonly Ingredient[], products: readonly Product[], patches: readonly ProductPatch[]): Ingredient[] {
  const used = new Set([...products.flatMap(({ from, links }) => [...from, ...links]), ...patches.map((patch) => patch.for)])
  return [...new Map(ingredients.filter((each) => used.has(ingredientId(each))).map((each) => [`${ingredientId(each)} ${each.sha256}`, each])).values()]
}

async function patchesOf({ folder, kernels: [kernel = ''] }: Group): Promise<ProductPatch[]> {
  const files = listFiles(folder).filter((name) => name.endsWith('.patch'))
  return Promise.all(files.map(async (file) => ({ file, sha256: await sha256File(join(folder, file)), for: kernel })))
}

type Told = Pick<Release, 'version' | 'without' | 'contexts'> & { commands: Readonly<Record<string, string>> }

/** What is there, for programs that want to fetch it. */
function manifest({ version: { version, tag, commit, time }, without, contexts, commands }: Told, packages: readonly Described[], folder: string): Json {
  return {
    name: 'lvs-snat',
    version,
    tag,
    commit,
    date: new Date(time * 1000).toISOString(),
    without: [...without],
    targets: Object.fromEntries(contexts.map((each) => [each.variant, { summary: each.target.summary, kernelRelease: kernelRelease(each), command: commands[each.variant] ?? '' }])),
    packages: packages.map(({ path, facts: { name, version: of, architecture, license, sha256 } }) => ({ path: path.slice(folder.length + 1), name, version: of, architecture, license, sha256 })),
  }
}
