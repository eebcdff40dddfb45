// SPDX-License-Identifier: GPL-2.0-only
/**
 * The failures a user can meet, each with its own exit code. Anything else that
 * escapes is a defect of this tool and exits with {@link INTERNAL_ERROR}.
 */

export const EXIT = {
  usage: 2,
  environment: 3,
  source: 4,
  patch: 5,
  build: 6,
  test: 7,
  lostVm: 8,
  slower: 9,
  internal: 70,
  interrupted: 130,
} as const

export type FailureKind = keyof typeof EXIT

/** What a failure may carry besides its message. */
export interface FailureDetails {
  /** What the user can do about it, one suggestion a line. */
  hint?: string
  /** The lines of the log that explain the failure. */
  excerpt?: string[]
  /** Path of the complete log. */
  log?: string
  cause?: unknown
}

/**
 * A failure that is reported as one message, without a stack trace.
 *
 * @param kind decides the exit code, see {@link EXIT}
 * @param message what went wrong and where, one sentence
 */
export class Failure extends Error {
  readonly kind: FailureKind
  readonly details: FailureDetails

  constructor(kind: FailureKind, message: string, details: FailureDetails = {}) {
    super(message, { cause: details.cause })
    this.name = 'Failure'
    this.kind = kind
    this.details = details
  }

  get exitCode(): number {
    return EXIT[this.kind]
  }
}

export const DISK_FULL_HINT =
  'Free some space, or set CACHE= to a folder on another disk; nothing that was finished is lost.'
