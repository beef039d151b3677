// memory.ts is what the browser remembers: the theme and the addresses that were
// looked at last. Storage may be forbidden or full; then nothing is remembered.
import { parse } from './address'

const most = 6

function load(key: string): string | null {
  try {
    return localStorage.getItem(key)
  } catch {
    return null
  }
}

function save(key: string, value: string | null) {
  try {
    if (value === null) localStorage.removeItem(key)
    else localStorage.setItem(key, value)
  } catch {
    // See above.
  }
}

/** recent lists addresses in lower case, the last one first. */
export function recent(): string[] {
  try {
    const list: unknown = JSON.parse(load('recent') ?? '[]')
    return Array.isArray(list) ? list.filter((a): a is string => typeof a === 'string' && parse(a) === a).slice(0, most) : []
  } catch {
    return []
  }
}

export function remember(address: string) {
  save('recent', JSON.stringify([address, ...recent().filter((a) => a !== address)].slice(0, most)))
}

export function forget(address: string) {
  save('recent', JSON.stringify(recent().filter((a) => a !== address)))
}

/** worker is the rig's name of the help page. */
export const worker = () => load('worker') ?? ''
export const setWorker = (name: string) => save('worker', name || null)

export type Theme = 'auto' | 'light' | 'dark'

export function theme(): Theme {
  const chosen = load('theme')
  return chosen === 'light' || chosen === 'dark' ? chosen : 'auto'
}

export function setTheme(chosen: Theme) {
  save('theme', chosen === 'auto' ? null : chosen)
  if (chosen === 'auto') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = chosen
  dispatchEvent(new Event('themechange'))
}
