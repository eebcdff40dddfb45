// SPDX-License-Identifier: GPL-2.0-only
/** Installs the packages into a system that boots from its disk, and follows it through what an administrator does with it. */

import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { junit, type TestResult } from '../../test/e2e/lib/junit.ts'
import { InstalledGateway } from '../../vm/installed.ts'
import type { Accelerator } from '../../vm/qemu/arguments.ts'
import { withRuntimeFolder } from '../../vm/runtime.ts'
import { Failure } from '../base/errors.ts'
import { newResults } from '../base/files.ts'
import { log } from '../base/log.ts'
import { capture, requireUninterrupted } from '../base/run.ts'
import { withRun } from '../build/checkouts.ts'
import type { Context } from '../build/context.ts'
import { revision } from '../build/revision.ts'
import type { Step } from '../build/step.ts'
import { writeEvidence } from '../steps/all.ts'
import { installedDisk, makeFileSystem, step as disk, stockStep as stockDisk } from '../steps/disk.ts'
import { nextPackages, step as next } from '../steps/next.ts'
import { step as repo } from '../steps/repo.ts'
import { distPackages } from '../steps/rpm.ts'
import { step as tools, toolPackages } from '../steps/tools.ts'
import { type Packages, type Site, type Stage, STAGES } from './install-stages.ts'

export interface InstallOptions {
  accelerator: Accelerator
  /** `uname -r` of the kernel that is installed; absent of the distribution's own. */
  release?: string
  /** Paths of the packages. */
  packages: Packages
}

/** What has to be there, of packages of ours and of a distribution's own kernel. */
const [ofKernel, ofStock] = [installStep([disk, repo, next]), installStep([stockDisk, tools, next])]
export const installSteps = ({ stock }: Context): Step => (stock ? ofStock : ofKernel)

function installStep(needs: readonly Step[]): Step {
  return { name: 'install-test', scope: 'variant', needs, code: [], inputs: () => null, outputs: () => [], run: async () => ({}) }
}

/** @returns paths of what is installed */
export function installedPackages(context: Context): Packages {
  const all = context.stock ? Object.values(toolPackages(context)).flat() : distPackages(context)
  const find = (name: string): string => {
    const found = all.filter((path) => new RegExp(`^${name}-\\d.*\\.x86_64\\.rpm$`).test(basename(path)))
    const [path] = found
    if (path !== undefined && found.length === 1) return path
    throw new Failure('environment', `There are ${found.length} packages of ${name}, and not one.`, { hint: 'make repo' })
  }
  return { ...(context.stock ? {} : { kernel: find('kernel') }), ipvsadm: find('ipvsadm'), keepalived: find('keepalived'), ...nextPackages(context) }
}

/** @returns the stages that there are for a kernel of ours, or for a distribution's own */
export const stagesFor = ({ stock }: Context): Stage[] => STAGES.filter(({ only }) => only !== (stock ? 'kernel' : 'dkms'))

const JUNIT = 'junit.xml'
const resultsFolder = (context: Context): string => join(context.paths.dist, 'test-install')

/**
 * Runs all stages on a copy of the disk that the step `disk` has made.
 *
 * @returns how many passed
 * @throws Failure of kind `test` when a stage fails, `lostVm` when the machine does, `environment` when it runs already
 */
export async function runInstall(context: Context, options: InstallOptions, stages: readonly Stage[] = stagesFor(context)): Promise<number> {
  return withRun(context, 'install', () => runIn(context, options, stages))
}

async function runIn(context: Context, options: InstallOptions, stages: readonly Stage[]): Promise<number> {
  const results = newResults(resultsFolder(context))
  const { commit, dirty } = await revision(context)
  const write = (done: readonly TestResult[]): void =>
    writeFileSync(join(results, JUNIT), junit(`${context.variant} installed`, withNotRun(stages, done), { commit: commit ?? 'unknown', dirty: String(dirty), ...options.packages }))
  write([])
  const work = join(context.paths.work, `install-${context.variant}`)
  try {
    const disks = await makeDisks(context, options.packages, work)
    const all = await withRuntimeFolder((sockets) => runOn({ disks, sockets, results, options, image: installedDisk(context) }, stages, write))
    await writeEvidence(context)
    return conclude(all, results)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** The system's disk, as it was before its first boot, and one with the packages. */
async function makeDisks(context: Context, packages: Packages, work: string): Promise<string[]> {
  rmSync(work, { recursive: true, force: true })
  const folder = join(work, 'packages')
  mkdirSync(folder, { recursive: true })
  for (const path of Object.values(packages)) copyFileSync(path as string, join(folder, basename(path as string)))
  const [system, media] = [join(work, 'system'), join(work, 'media')]
  await capture(['cp', '--sparse=always', '--reflink=auto', installedDisk(context).disk, system], { kind: 'environment' })
  await makeFileSystem(media, { label: 'packages', from: folder, megabytes: MEDIA_MEGABYTES })
  rmSync(folder, { recursive: true })
  return [system, media]
}

const MEDIA_MEGABYTES = 512

interface Place {
  disks: readonly string[]
  sockets: string
  results: string
  options: InstallOptions
  image: Site['image']
}

async function runOn({ disks, sockets, results, options, image }: Place, stages: readonly Stage[], write: (done: readonly TestResult[]) => void): Promise<TestResult[]> {
  const gateway = await InstalledGateway.open({ disks, accelerator: options.accelerator, sockets, results })
  const names = Object.fromEntries(Object.entries(options.packages).map(([name, path]) => [name, basename(path as string)])) as unknown as Packages
  const site: Site = { gateway, packages: names, release: options.release ?? '', image, known: new Map() }
  const done: TestResult[] = []
  try {
    for (const stage of stages) {
      const result = await runStage(site, stage)
      done.push(result)
      write(done)
      process.stdout.write(`${result.outcome === 'passed' ? 'ok  ' : 'FAIL'} ${stage.name} (${result.seconds.toFixed(0)} s)\n${result.message === undefined ? '' : `${result.message}\n`}`)
      // What a stage should have left for the next one is not there.
      if (result.outcome !== 'passed') break
    }
    return withNotRun(stages, done)
  } finally {
    await gateway.close()
  }
}

async function runStage(site: Site, stage: Stage): Promise<TestResult> {
  log.step('install', stage.name)
  const start = Date.now()
  const result = (outcome: TestResult['outcome'], message?: string): TestResult =>
    ({ suite: SUITE, name: stage.name, seconds: (Date.now() - start) / 1000, outcome, ...(message === undefined ? {} : { message }) })
  try {
    await stage.run(site)
    return result('passed')
  } catch (error) {
    requireUninterrupted()
    const { message } = error as Error
    return result('failed', error instanceof Failure ? [message, ...(error.details.excerpt ?? [])].join('\n') : message)
  }
}

const SUITE = 'install'

/** @returns results of all stages: those that there are, and that the others were not run */
function withNotRun(stages: readonly Stage[], done: readonly TestResult[]): TestResult[] {
  const reason = done.length === 0 ? 'the run was ended' : `after: ${done.at(-1)?.name}`
  return stages.map(({ name }) => done.find((one) => one.name === name) ?? { suite: SUITE, name, seconds: 0, outcome: 'not run', message: reason })
}

function conclude(results: readonly TestResult[], folder: string): number {
  const passed = results.filter(({ outcome }) => outcome === 'passed').length
  log.info(`results are in ${folder}`)
  if (passed === results.length) return passed
  throw new Failure('test', `${passed} of ${results.length} stages passed.`, { log: join(folder, JUNIT) })
}
