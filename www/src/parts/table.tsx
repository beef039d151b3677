// table.tsx is the one table of the pages. On a phone its rows become cards, each
// value with its heading; the roles keep it a table for screen readers.
import { Fragment } from 'preact'
import type { ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { whole } from '../format'
import { withQuery } from '../router'
import { texts } from '../texts'

export interface Column<T> {
  name: string
  of: (row: T) => ComponentChildren
  number?: boolean // to the right
  main?: boolean // the card's heading
  wide?: boolean // left out on a phone
  hide?: boolean
}

export function Table<T>({ caption, columns, rows: given, id, empty, more, first }: {
  caption: string
  columns: Column<T>[]
  rows: T[]
  id: (row: T) => string // the same as long as it is the same thing, wherever it stands
  empty: string
  /** more is shown below a row, over all columns. */
  more?: (row: T) => ComponentChildren
  /** first is how many rows are shown until all are asked for. */
  first?: number
}) {
  const [open, setOpen] = useState(false)
  const table = useRef<HTMLTableElement>(null)
  const fewer = first !== undefined && !open && given.length > first
  const rows = fewer ? given.slice(0, first) : given
  const showAll = () => {
    setOpen(true)
    table.current?.focus({ preventScroll: true }) // the button is gone
  }
  if (rows.length === 0) return <p class="empty">{empty}</p>
  const keys = new Set<string>()
  const shown = columns.filter((c) => !c.hide)
  const kind = (c: Column<T>) => [c.number && 'number', c.main && 'main', c.wide && 'wideonly'].filter(Boolean).join(' ')
  return (
    <>
      <table role="table" ref={table} tabIndex={first === undefined ? undefined : -1}>
        <caption class="unseen">{caption}</caption>
        <thead role="rowgroup">
          <tr role="row">{shown.map((c) => <th role="columnheader" scope="col" class={kind(c)} key={c.name}>{c.name}</th>)}</tr>
        </thead>
        <tbody role="rowgroup">
          {rows.map((row) => {
            let key = id(row)
            while (keys.has(key)) key += '+'
            keys.add(key)
            const extra = more?.(row)
            return (
              <Fragment key={key}>
                <tr role="row">
                  {shown.map((c) => <td role="cell" class={kind(c)} data-label={c.name} key={c.name}><div>{c.of(row)}</div></td>)}
                </tr>
                {extra && <tr role="row" class="extra"><td role="cell" colSpan={shown.length}>{extra}</td></tr>}
              </Fragment>
            )
          })}
        </tbody>
      </table>
      {fewer && <p class="center"><button type="button" class="button" onClick={showAll}>{texts.all(whole(given.length))}</button></p>}
    </>
  )
}

/** Paged is one page of a list, with the way to the others. Beyond the end of the
 * list, which may have become shorter under the reader, it says so. */
export function Paged({ children, ...at }: { total: number; size: number; page: number; name?: string; children: ComponentChildren }) {
  const { total, size, page, name = 'page' } = at
  const last = lastPage(total, size)
  if (beyond(at)) {
    return <p class="empty">{texts.pager.beyond(whole(page))} <a href={to(name, last)}>{texts.pager.toLast(whole(last))}</a></p>
  }
  return <>{children}<Pager {...at} /></>
}

export const lastPage = (total: number, size: number) => Math.max(1, Math.ceil(total / size))

/** beyond reports a page that a list does not have, although it has others. */
export const beyond = ({ total, size, page }: { total: number; size: number; page: number }) => total > 0 && page > lastPage(total, size)

const to = (name: string, page: number) => withQuery({ [name]: page > 1 ? String(page) : '' })

/** Pager leads through a list; pages are counted from 1 in the query's key. Where
 * there is no way on its links stay, so that the focus has a place to go from. */
function Pager({ total, size, page, name = 'page' }: { total: number; size: number; page: number; name?: string }) {
  const range = useRef<HTMLSpanElement>(null)
  const last = lastPage(total, size)
  useEffect(() => {
    const active = document.activeElement
    if (active?.getAttribute('aria-disabled') === 'true' && active.parentElement === range.current?.parentElement) range.current?.focus({ preventScroll: true })
  }, [page, last])
  if (total <= size) return null
  const up = (e: Event & { currentTarget: HTMLElement }) => e.currentTarget.closest('section')?.scrollIntoView()
  const step = (n: number, rel: string, text: string) => n >= 1 && n <= last
    ? <a key={rel} class="button" href={to(name, n)} rel={rel} onClick={up}>{text}</a>
    : <a key={rel} class="button off" role="link" aria-disabled="true" tabIndex={-1}>{text}</a>
  return (
    <nav class="pager" aria-label={texts.pager.label}>
      {step(page - 1, 'prev', texts.pager.previous)}
      <span key="range" ref={range} class="muted" tabIndex={-1}>{texts.pager.range(whole((page - 1) * size + 1), whole(Math.min(page * size, total)), whole(total))}</span>
      {step(page + 1, 'next', texts.pager.next)}
    </nav>
  )
}

/** pageOf reads the number of the page. */
export function pageOf(query: URLSearchParams, name = 'page'): number {
  const n = Number(query.get(name))
  return Number.isInteger(n) && n > 0 && n < 1e9 ? n : 1
}
