export * from './connection.ts'
export * from './host.ts'
