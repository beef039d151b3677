// values.tsx shows single values: amounts, times, addresses. What is shown in short
// is shown in full when it is pressed, and has it as its title.
import type { ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { now } from '../api'
import { checksummed } from '../address'
import { shown } from '../blocks'
import { exact, ofShannon, ofWei, relative, short, whole } from '../format'
import type { Money } from '../format'
import { link } from '../router'
import { useSettings } from '../settings'
import { texts } from '../texts'
import type { Whole } from '../types'

/** Exact is a value in short; pressed, by finger or key, it is the full one. */
export function Exact({ full, kind = '', children, more }: { full: string; kind?: string; children: ComponentChildren; more?: ComponentChildren }) {
  const [open, set] = useState(false)
  return (
    <>
      <button type="button" class={`exact ${kind}`} title={full} aria-pressed={open} onClick={() => set(!open)}>{open ? full : children}</button>
      {open && more}
    </>
  )
}

/** Amount shows Shannon; in a column all nine decimals, so that points align. */
export function Amount({ of, column, unit }: { of: Whole | undefined; column?: boolean; unit?: boolean }) {
  return <Coins money={ofShannon(of)} column={column} unit={unit} />
}

/** Wei shows an amount in Wei. */
export function Wei({ of, column, unit }: { of: string; column?: boolean; unit?: boolean }) {
  const money = ofWei(of)
  const { symbol } = useSettings()
  const coins = <Coins money={money} column={column} unit={unit} />
  return money.full === money.digits ? coins : <Exact full={`${money.full} ${symbol}`}>{coins}</Exact>
}

function Coins({ money, column, unit }: { money: Money; column?: boolean | undefined; unit?: boolean | undefined }) {
  const { symbol } = useSettings()
  const point = texts.decimalPoint
  const [coins, fraction] = money.digits.split(point)
  return (
    <span class="amount" title={`${money.full} ${symbol}`}>
      {coins}
      {fraction && <><wbr /><span class="fraction">{point + fraction}</span></>}
      {column && money.zeros && <span class="zeros" aria-hidden="true">{money.zeros}</span>}
      {unit && symbol && <span class="unit"> {symbol}</span>}
    </span>
  )
}

const ticking = new Set<() => void>()
setInterval(() => {
  if (!document.hidden) for (const tick of ticking) tick()
}, 1000)

/** useNow is the present, in unix seconds, every second. */
export function useNow<T>(of: (now: number) => T): T {
  const [value, set] = useState(() => of(now()))
  useEffect(() => {
    const tick = () => set(of(now()))
    tick()
    ticking.add(tick)
    return () => void ticking.delete(tick)
  })
  return value
}

/** Time shows how long ago, or until when, a moment is. */
export function Time({ at, none = texts.never }: { at: number | undefined; none?: string }) {
  const text = useNow((now) => (at ? relative(at, now) : none))
  if (!at) return <span class="muted">{none}</span>
  return <Moment at={at} text={text} />
}

function Moment({ at, text }: { at: number; text: string }) {
  return <Exact full={exact(at)}><time dateTime={new Date(at * 1000).toISOString()}>{text}</time></Exact>
}

/** Due shows when the next payout session is, which may be late. */
export function Due({ at }: { at: number }) {
  const t = texts.session
  const text = useNow((now) => (at >= now + 5 ? relative(at, now) : now - at < 120 ? t.due : t.overdue(relative(at, now))))
  if (!at) return <span class="muted">{t.nextUnknown}</span>
  return <Moment at={at} text={text} />
}

/** After shows when the session after the running one is: a time that has passed
 * is that of the running one. */
export function After({ at }: { at: number }) {
  return useNow((now) => at > now) ? <Time at={at} /> : <span class="muted">{texts.session.afterThis}</span>
}

function explorer(template: string, value: string): string | null {
  if (!/^https?:\/\//i.test(template) || !value) return null
  return template.replace('{}', encodeURIComponent(value))
}

/** Out is a link to the explorer; where there is none, a hash can be seen in full
 * and copied. */
function Out({ template, value, title, text }: { template: string; value: string; title: string; text: string }) {
  const href = explorer(template, value)
  if (!href && title !== text) return <Hash title={title} text={text} />
  if (!href) return <span class="hex" title={title}>{text}</span>
  return <a class="hex" href={href} title={title} target="_blank" rel="noopener noreferrer">{text}</a>
}

function Hash({ title, text }: { title: string; text: string }) {
  const box = useRef<HTMLSpanElement>(null)
  return <span class="hash" ref={box}><Exact full={title} kind="hex" more={<Copy text={title} from={() => box.current?.querySelector('.exact') ?? null} />}>{text}</Exact></span>
}

export function Tx({ hash }: { hash: string }) {
  return <Out template={useSettings().explorerTx} value={hash} title={hash} text={short(hash)} />
}

/** Height is the number of a block in the chain, leading to it. */
export function Height({ of }: { of: number }) {
  return <Out template={useSettings().explorerBlock} value={String(of)} title={whole(of)} text={whole(of)} />
}

/** Found is a block of the pool by its own number, leading to it; an uncle also
 * says which block includes it. */
export function Found({ of }: { of: Parameters<typeof shown>[0] }) {
  const { height, link, inside } = shown(of)
  const text = height ? whole(height) : short(of.hash)
  return (
    <>
      <Out template={useSettings().explorerBlock} value={link} title={link ? of.hash : text} text={text} />
      {inside > 0 && <span class="note">{texts.blocks.uncleIn('')}<Height of={inside} /></span>}
    </>
  )
}

export function ExplorerOf({ address }: { address: string }) {
  const href = explorer(useSettings().explorerAddress, address)
  return href ? <a class="button quiet" href={href} target="_blank" rel="noopener noreferrer">{texts.explorer}</a> : null
}

/** Login leads to the page of an account. */
export function Login({ of }: { of: string }) {
  if (!of) return <span class="muted">{texts.none}</span>
  const shown = checksummed(of)
  return <a class="hex" href={link('account', shown)} title={shown}>{short(shown)}</a>
}

/** Badge is a state in a word; its colour only repeats what the word says. */
export function Badge({ kind, children }: { kind: string; children: ComponentChildren }) {
  return <span class={`badge ${kind}`}>{children}</span>
}

/** Bar is how much of something is done, and of what is begun (soft); both may be
 * above 1000. */
export function Bar({ permille, label, tone = '', soft = 0 }: { permille: number; label: string; tone?: string; soft?: number }) {
  const part = Math.min(1000, Math.max(0, permille)) / 10
  const begun = Math.min(100 - part, Math.max(0, soft) / 10)
  return (
    <div class={`bar ${tone}`} role="progressbar" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(part)}>
      <div class="fill" style={{ width: `${part}%` }} />
      {begun > 0 && <div class="fill soft" style={{ width: `${begun}%` }} />}
    </div>
  )
}

/** Copy puts text on the clipboard, and selects it where that is forbidden. */
export function Copy({ text, from }: { text: string; from?: () => Element | null }) {
  const [done, set] = useState(false)
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text)
    } catch {
      const element = from?.()
      if (!element) return
      getSelection()?.selectAllChildren(element)
      if (!document.execCommand('copy')) return
    }
    set(true)
    setTimeout(() => set(false), 2000)
  }
  return <button type="button" class="button quiet" onClick={copy}><span aria-live="polite">{done ? texts.copied : texts.copy}</span></button>
}
