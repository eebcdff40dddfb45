// SPDX-License-Identifier: GPL-2.0-only
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The checkout. The JavaScript that the Makefile makes of this file lies as deep in it as the file does. */
export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
