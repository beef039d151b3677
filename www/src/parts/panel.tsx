// panel.tsx frames the parts of a page.
import type { ComponentChildren } from 'preact'
import { useId } from 'preact/hooks'
import type { Answer } from '../api'
import { texts } from '../texts'

/** Panel is a section with a heading. */
export function Panel({ title, note, aside, children }: { title: ComponentChildren; note?: ComponentChildren; aside?: ComponentChildren; children: ComponentChildren }) {
  const id = useId()
  return (
    <section class="panel" aria-labelledby={id}>
      <header>
        <h2 id={id}>{title}</h2>
        {aside}
      </header>
      {note && <p class="note">{note}</p>}
      {children}
    </section>
  )
}

/** Tile is one number with its name. */
export function Tile({ name, note, children }: { name: string; note?: ComponentChildren; children: ComponentChildren }) {
  return (
    <div class="tile">
      <dt>{name}</dt>
      <dd>{children}</dd>
      {note && <dd class="note">{note}</dd>}
    </div>
  )
}

/** Title is the page's name; it takes the focus when the page is opened. */
export function Title({ children }: { children: ComponentChildren }) {
  return <h1 id="title" tabIndex={-1}>{children}</h1>
}

/** Wait shows a route's answer, or that there is none yet, and why. */
export function Wait<T>({ on, children }: { on: Answer<T>; children: (data: T) => ComponentChildren }) {
  if (on.data !== undefined) return <>{children(on.data)}</>
  if (!on.failure) return <p class="loading" role="status">{texts.loading}</p>
  return (
    <div class="failed" role="alert">
      <p>{texts.trouble.failed(on.failure.message)}</p>
      <button type="button" class="button" onClick={on.retry}>{texts.trouble.retry}</button>
    </div>
  )
}
