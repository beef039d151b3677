// testing.d.ts is as much of Node as the unit tests use.
declare module 'node:test' {
  export function test(name: string, body: () => void): void
}
declare module 'node:assert/strict' {
  const assert: {
    ok(value: unknown, message?: string): void
    equal(got: unknown, want: unknown, message?: string): void
    deepEqual(got: unknown, want: unknown, message?: string): void
    match(text: string, pattern: RegExp, message?: string): void
  }
  export default assert
}
declare module 'node:fs' {
  export function readFileSync(name: string, encoding: 'utf8'): string
}
