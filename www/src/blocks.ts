// blocks.ts knows which block a row of the API is about: of an uncle the API's
// height is that of the block that includes it, and uncleHeight is its own.

interface Row {
  height: number
  uncleHeight?: number
  hash: string
  kind: string
}

/** Shown is a block by its numbers. */
export interface Shown {
  height: number // its own; 0 while not known
  link: string // what stands for it in an explorer: its height or hash; empty where that would lead to another's block
  inside: number // the height of the block that includes it, 0 for none
}

/** shown never links a height at which the block of somebody else is: that of an
 * uncle, of an orphan, and of what is only just found. */
export function shown(b: Row): Shown {
  switch (b.kind) {
    case 'block':
      return { height: b.height, link: String(b.height), inside: 0 }
    case 'uncle':
      return { height: b.uncleHeight ?? 0, link: hashed(b.hash), inside: b.height }
    default:
      return { height: b.height, link: '', inside: 0 }
  }
}

const hashed = (hash: string) => (/^0x[0-9a-f]{64}$/i.test(hash) ? hash : '')
