// format.ts turns values into what people read. Money is text and BigInt from
// end to end: no amount ever passes through a float, and none is rounded up.
import { texts } from './texts'
import type { Whole } from './types'

const shannonDigits = 9
const weiDigits = 18

/** big reads an integer; what is none counts as zero. */
export function big(n: Whole | undefined): bigint {
  try {
    return BigInt(n ?? 0)
  } catch {
    return 0n
  }
}

/** decimal writes units × 10^-digits in full: grouped, without trailing zeros. */
export function decimal(units: bigint, digits: number): string {
  const { sign, whole, fraction } = parts(units, digits)
  const rest = fraction.replace(/0+$/, '')
  return sign + group(whole) + (rest && texts.decimalPoint + rest)
}

function parts(units: bigint, digits: number) {
  const sign = units < 0n ? '−' : ''
  const text = (units < 0n ? -units : units).toString().padStart(digits + 1, '0')
  return { sign, whole: text.slice(0, -digits), fraction: text.slice(-digits) }
}

function group(whole: string): string {
  return whole.replace(/\B(?=(\d{3})+$)/g, texts.groupMark)
}

/** Money is an amount ready to be shown: digits that say something, the zeros
 * that only fill up to nine decimals, and the whole truth for the title. */
export interface Money {
  digits: string
  zeros: string
  full: string
}

/** ofShannon splits an amount in Shannon. */
export function ofShannon(amount: Whole | undefined): Money {
  const units = big(amount)
  const { sign, whole, fraction } = parts(units, shannonDigits)
  const rest = fraction.replace(/0+$/, '')
  const digits = sign + group(whole) + (rest && texts.decimalPoint + rest)
  const zeros = (rest ? '' : texts.decimalPoint) + '0'.repeat(shannonDigits - rest.length)
  return { digits, zeros, full: digits }
}

/** ofWei splits an amount in Wei. What is behind the ninth decimal is cut off,
 * never rounded, and an ellipsis tells. */
export function ofWei(amount: string): Money {
  const units = big(amount)
  const shown = ofShannon((units / 10n ** BigInt(weiDigits - shannonDigits)).toString())
  const full = decimal(units, weiDigits)
  if (full === shown.digits) return { ...shown, full }
  return { digits: shown.digits + shown.zeros + '…', zeros: '', full }
}

/** shannon writes an amount in Shannon as coins. */
export function shannon(amount: Whole | undefined): string {
  return ofShannon(amount).digits
}

/** permille of a in b, exactly, for bars; 0 when b is. */
export function permille(a: Whole | undefined, b: Whole | undefined): number {
  const whole = big(b)
  if (whole <= 0n) return 0
  const part = (big(a) * 1000n) / whole
  return Number(part > 1_000_000n ? 1_000_000n : part)
}

/** ratio of a to b to six digits; 0 when b is. */
export function ratio(a: Whole | undefined, b: Whole | undefined): number {
  const whole = big(b)
  return whole > 0n ? Number((big(a) * 1_000_000n) / whole) / 1e6 : 0
}

const prefixes = ['', 'K', 'M', 'G', 'T', 'P', 'E', 'Z']

function scaled(n: number): { text: string; prefix: string } {
  if (!Number.isFinite(n) || n < 0) n = 0
  let step = 0
  while (n >= 999.995 && step < prefixes.length - 1) {
    n /= 1000
    step++
  }
  const text = step === 0 ? String(Math.round(n)) : n.toFixed(2)
  return { text: text.replace('.', texts.decimalPoint), prefix: prefixes[step]! }
}

/** hashrate writes hashes per second. */
export function hashrate(n: Whole | undefined): string {
  const s = scaled(Number(n ?? 0))
  return `${s.text} ${s.prefix}H/s`
}

/** difficulty writes a number of hashes. */
export function difficulty(n: Whole | undefined): string {
  const s = scaled(Number(n ?? 0))
  return s.prefix ? `${s.text} ${s.prefix}` : s.text
}

/** whole writes an integer with its digits grouped. */
export function whole(n: Whole | undefined): string {
  const units = big(typeof n === 'number' ? Math.trunc(n) : n)
  return (units < 0n ? '−' : '') + group((units < 0n ? -units : units).toString())
}

/** percent writes a ratio, 1 being 100 %. */
export function percent(ratio: number, digits = ratio < 0.1 ? 2 : ratio < 1 ? 1 : 0): string {
  if (!Number.isFinite(ratio)) return '–'
  const [whole, fraction] = (ratio * 100).toFixed(digits).split('.')
  return group(whole!) + (fraction ? texts.decimalPoint + fraction : '') + ' %'
}

const units: [keyof typeof texts.units, number][] = [
  ['day', 86400],
  ['hour', 3600],
  ['minute', 60],
  ['second', 1],
]

/** duration writes seconds in the one or two units that matter. */
export function duration(seconds: number): string {
  let rest = Math.max(0, Math.round(seconds))
  if (rest >= 3600) rest = Math.round(rest / 60) * 60
  const i = units.findIndex(([, size]) => rest >= size)
  if (i < 0) return texts.units.second(0)
  const [name, size] = units[i]!
  const count = Math.floor(rest / size)
  const text = texts.units[name](count)
  const next = units[i + 1]
  if (!next || name === 'minute' || (name === 'day' && count >= 10)) return text
  const more = Math.floor((rest - count * size) / next[1])
  return more ? `${text} ${texts.units[next[0]](more)}` : text
}

/** relative says how far a moment is from now; both in unix seconds. */
export function relative(at: number, now: number): string {
  const off = at - now
  if (Math.abs(off) < 5) return texts.justNow
  return off < 0 ? texts.ago(duration(-off)) : texts.inTime(duration(off))
}

/** spanOf is the time that points of a chart stand for, in seconds: each for what
 * is usually between two of them. */
export function spanOf(xs: number[]): number {
  if (xs.length < 2) return 0
  return xs[xs.length - 1]! - xs[0]! + stepOf(xs)
}

/** stepOf is what is usually between two points; a gap is unusual. */
export function stepOf(xs: number[]): number {
  const steps = xs.slice(1).map((x, i) => x - xs[i]!).sort((a, b) => a - b)
  return steps[steps.length >> 1] ?? 0
}

let stamp: Intl.DateTimeFormat | undefined

/** exact writes a moment to the second in the visitor's zone. */
export function exact(at: number): string {
  stamp ??= new Intl.DateTimeFormat(texts.locale, {
    year: 'numeric', month: 'short', day: 'numeric',
    hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23', timeZoneName: 'short',
  })
  return stamp.format(new Date(at * 1000))
}

/** short leaves out the middle of a hash or an address. */
export function short(hex: string): string {
  return hex.length > 14 ? `${hex.slice(0, 8)}…${hex.slice(-6)}` : hex
}
