export * from './address.ts'
export * from './build.ts'
export * from './parse.ts'
