// router.ts reads pages from the address's hash, so that any file server can
// serve them: #/account/0x…?page=2.
import { useEffect, useState } from 'preact/hooks'

export interface Place {
  path: string[] // ['account', '0x…']
  query: URLSearchParams
}

export function place(): Place {
  const [path = '', query = ''] = location.hash.replace(/^#\/?/, '').split('?', 2)
  return { path: path.split('/').filter(Boolean).map(decode), query: new URLSearchParams(query) }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** link is where a page is: link('account', a) is #/account/a. */
export function link(...path: string[]): string {
  return '#/' + path.map(encodeURIComponent).join('/')
}

/** paged is the link to the present page with another query. */
export function withQuery(changes: Record<string, string>): string {
  const { path, query } = place()
  for (const [key, value] of Object.entries(changes)) {
    if (value) query.set(key, value)
    else query.delete(key)
  }
  const text = query.toString()
  return link(...path) + (text && '?' + text)
}

export const go = (hash: string) => void (location.hash = hash)

/** usePlace is where the visitor is. */
export function usePlace(): Place {
  const [at, set] = useState(place)
  useEffect(() => {
    const move = () => set(place())
    addEventListener('hashchange', move)
    return () => removeEventListener('hashchange', move)
  }, [])
  return at
}
