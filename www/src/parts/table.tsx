// table.tsx is the one table of the pages. On a phone its rows become cards, each
// value with its heading; the roles keep it a table for screen readers.
import type { ComponentChildren } from 'preact'
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

export function Table<T>({ caption, columns, rows, id, empty, more }: {
  caption: string
  columns: Column<T>[]
  rows: T[]
  id: (row: T, i: number) => string
  empty: string
  /** more is shown below a row, over all columns. */
  more?: (row: T) => ComponentChildren
}) {
  if (rows.length === 0) return <p class="empty">{empty}</p>
  const shown = columns.filter((c) => !c.hide)
  const kind = (c: Column<T>) => [c.number && 'number', c.main && 'main', c.wide && 'wideonly'].filter(Boolean).join(' ')
  return (
    <table role="table">
      <caption class="unseen">{caption}</caption>
      <thead role="rowgroup">
        <tr role="row">{shown.map((c) => <th role="columnheader" scope="col" class={kind(c)} key={c.name}>{c.name}</th>)}</tr>
      </thead>
      <tbody role="rowgroup">
        {rows.map((row, i) => {
          const key = id(row, i)
          const extra = more?.(row)
          return [
            <tr role="row" key={key}>
              {shown.map((c) => <td role="cell" class={kind(c)} data-label={c.name} key={c.name}><div>{c.of(row)}</div></td>)}
            </tr>,
            extra && <tr role="row" class="extra" key={key + '+'}><td role="cell" colSpan={shown.length}>{extra}</td></tr>,
          ]
        })}
      </tbody>
    </table>
  )
}

/** Pager leads through a list; pages are counted from 1 in the query's key. */
export function Pager({ total, size, page, name = 'page' }: { total: number; size: number; page: number; name?: string }) {
  if (total <= size && page <= 1) return null
  const last = Math.max(1, Math.ceil(total / size))
  const up = (e: Event & { currentTarget: HTMLElement }) => e.currentTarget.closest('section')?.scrollIntoView()
  const to = (n: number) => withQuery({ [name]: n > 1 ? String(n) : '' })
  const from = Math.min((page - 1) * size + 1, total)
  return (
    <nav class="pager" aria-label={texts.pager.label}>
      {page > 1 ? <a class="button" href={to(Math.min(page - 1, last))} rel="prev" onClick={up}>{texts.pager.previous}</a> : <span class="button off">{texts.pager.previous}</span>}
      <span class="muted">{texts.pager.range(whole(from), whole(Math.min(page * size, total)), whole(total))}</span>
      {page < last ? <a class="button" href={to(page + 1)} rel="next" onClick={up}>{texts.pager.next}</a> : <span class="button off">{texts.pager.next}</span>}
    </nav>
  )
}

/** pageOf reads the number of the page. */
export function pageOf(query: URLSearchParams, name = 'page'): number {
  const n = Number(query.get(name))
  return Number.isInteger(n) && n > 0 && n < 1e9 ? n : 1
}
