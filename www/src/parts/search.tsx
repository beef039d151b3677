// search.tsx is where a visitor puts in an address, and the ones put in before.
import { useId, useState } from 'preact/hooks'
import { checksummed, mistyped, parse } from '../address'
import { short } from '../format'
import * as memory from '../memory'
import { go, link } from '../router'
import { texts } from '../texts'

export function Search() {
  const id = useId()
  const [text, setText] = useState('')
  const [bad, setBad] = useState('')
  const [recent, setRecent] = useState(memory.recent)
  const submit = (e: Event) => {
    e.preventDefault()
    const address = parse(text)
    if (!address) return setBad(texts.search.bad)
    if (mistyped(text) && bad !== texts.search.typo) return setBad(texts.search.typo)
    go(link('account', checksummed(address)))
  }
  return (
    <form class="search" onSubmit={submit} noValidate>
      <label for={id}>{texts.search.label}</label>
      <div class="row">
        <input id={id} type="text" inputMode="text" autocomplete="off" autocapitalize="none" spellcheck={false} placeholder={texts.search.placeholder}
          value={text} aria-invalid={!!bad} aria-describedby={bad ? id + '-bad' : undefined}
          onInput={(e) => { setText(e.currentTarget.value); setBad('') }} />
        <button type="submit" class="button strong">{texts.search.go}</button>
      </div>
      {bad && <p class="bad" id={id + '-bad'} role="alert">{bad}</p>}
      {recent.length > 0 && (
        <ul class="recent" aria-label={texts.search.recent}>
          {recent.map((a) => {
            const shown = checksummed(a)
            return (
              <li key={a}>
                <a class="hex" href={link('account', shown)} title={shown}>{short(shown)}</a>
                <button type="button" aria-label={texts.search.forget(short(shown))} onClick={() => { memory.forget(a); setRecent(memory.recent()) }}>×</button>
              </li>
            )
          })}
        </ul>
      )}
    </form>
  )
}
