// SPDX-License-Identifier: GPL-2.0-only
/** What builds inherit from the caller. */

import { callersEnvironment } from '../base/environment.ts'
import { sharedEnvironment } from './farm.ts'

/** @returns the caller's environment as every program has it, and of ccache's and distcc's variables what is shared between machines */
export const inheritedEnvironment = (): NodeJS.ProcessEnv => ({ ...callersEnvironment(), ...sharedEnvironment() })
