export * from './connection.ts'
export * from './host.ts'
export * from './services.ts'
