// SPDX-License-Identifier: GPL-2.0-only
export * from './address.ts'
export * from './build.ts'
export * from './parse.ts'
