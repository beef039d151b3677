// address.ts reads addresses in any letter case and writes them with the capital
// letters of EIP-55, which are a checksum: Keccak-256 of the lower-case digits.

/** parse returns the address in lower case with 0x, or null. */
export function parse(text: string): string | null {
  const m = /^\s*(?:0x)?([0-9a-f]{40})\s*$/i.exec(text)
  return m ? '0x' + m[1]!.toLowerCase() : null
}

/** mistyped reports an address whose capital letters contradict its digits. */
export function mistyped(text: string): boolean {
  const lower = parse(text)
  const digits = text.trim().replace(/^0x/i, '')
  if (!lower || digits === digits.toLowerCase() || digits === digits.toUpperCase()) return false
  return '0x' + digits !== checksummed(lower)
}

/** checksummed writes an address for people; other text stays as it is. */
export function checksummed(address: string): string {
  const lower = parse(address)
  if (!lower) return address
  let done = written.get(lower)
  if (!done) {
    const hash = keccak256(lower.slice(2))
    done = '0x' + Array.from(lower.slice(2), (c, i) => ((hash[i >> 1]! >> (i & 1 ? 0 : 4)) & 8 ? c.toUpperCase() : c)).join('')
    if (written.size > 5000) written.clear()
    written.set(lower, done)
  }
  return done
}

const written = new Map<string, string>()

const lanes = (1n << 64n) - 1n
const rate = 136 // bytes that a round takes in, for 256 bits of hash

function rotl(x: bigint, n: number): bigint {
  return n ? ((x << BigInt(n)) | (x >> BigInt(64 - n))) & lanes : x
}

// The constants of Keccak-f[1600], computed as its specification defines them.
const turns: number[] = Array(25).fill(0)
for (let t = 0, x = 1, y = 0; t < 24; t++) {
  turns[x + 5 * y] = (((t + 1) * (t + 2)) / 2) % 64
  ;[x, y] = [y, (2 * x + 3 * y) % 5]
}
const iotas: bigint[] = []
for (let round = 0, lfsr = 1; round < 24; round++) {
  let c = 0n
  for (let j = 0; j < 7; j++) {
    if (lfsr & 1) c |= 1n << BigInt((1 << j) - 1)
    lfsr = (lfsr << 1) ^ (lfsr & 0x80 ? 0x171 : 0)
  }
  iotas.push(c)
}

function permute(a: bigint[]) {
  for (const iota of iotas) {
    const column = [0, 1, 2, 3, 4].map((x) => a[x]! ^ a[x + 5]! ^ a[x + 10]! ^ a[x + 15]! ^ a[x + 20]!)
    for (let i = 0; i < 25; i++) a[i]! ^= column[(i + 4) % 5]! ^ rotl(column[(i + 1) % 5]!, 1)
    const b: bigint[] = Array(25)
    for (let x = 0; x < 5; x++) {
      for (let y = 0; y < 5; y++) b[y + 5 * ((2 * x + 3 * y) % 5)] = rotl(a[x + 5 * y]!, turns[x + 5 * y]!)
    }
    for (let y = 0; y < 25; y += 5) {
      for (let x = 0; x < 5; x++) a[x + y] = b[x + y]! ^ (~b[((x + 1) % 5) + y]! & lanes & b[((x + 2) % 5) + y]!)
    }
    a[0]! ^= iota
  }
}

/** keccak256 hashes text of less than one block of ASCII. */
export function keccak256(text: string): number[] {
  const block = new Uint8Array(rate)
  for (let i = 0; i < text.length; i++) block[i] = text.charCodeAt(i)
  block[text.length]! ^= 0x01
  block[rate - 1]! ^= 0x80
  const state: bigint[] = Array(25).fill(0n)
  for (let i = 0; i < rate; i++) state[i >> 3]! |= BigInt(block[i]!) << BigInt(8 * (i & 7))
  permute(state)
  return Array.from({ length: 32 }, (_, i) => Number((state[i >> 3]! >> BigInt(8 * (i & 7))) & 0xffn))
}
