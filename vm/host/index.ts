// SPDX-License-Identifier: GPL-2.0-only
export * from './connection.ts'
export * from './host.ts'
export * from './services.ts'
