// api.ts is the one place that talks to the pool. A page asks for a route with
// useApi and gets the newest answer, and again whenever there is a newer one:
// events of the server are hints to ask anew, and where there are none it asks
// every few seconds. What went wrong is kept beside the last good answer, so that
// pages can show both.
import { useEffect, useRef, useState } from 'preact/hooks'
import { Clock, Progress } from './clock'
import { texts } from './texts'

const base = (document.querySelector<HTMLMetaElement>('meta[name=pool-api]')?.content ?? '').replace(/\/+$/, '')

/** host is the API's, for what is reached under the same name. */
export const host = new URL(base || '/', location.href).hostname

/** url is where a route of the API is. */
export const url = (route: string) => base + route

const patience = 15_000 // ms until an answer is given up
const pollEvery = 10_000 // ms without events
const slowPoll = 60_000 // ms, to be sure, with events
const gather = 400 // ms in which hints become one question
const spread = 1_200 // ms at most, so that not all browsers ask at once

/** Failure says why there is no answer: the status, or 0 for none at all. */
export class Failure extends Error {
  constructor(readonly status: number, message: string) {
    super(message)
  }
}

/** Answer is what is known of a route. */
export interface Answer<T> {
  data?: T
  of?: string // the path that data answers
  failure?: Failure // of the last attempt
  retry(): void
}

class Route {
  data: unknown
  failure: Failure | undefined
  askedAt = 0
  goodAt = 0
  rest = 0 // ms between two questions at least
  watchers = new Set<() => void>()
  private running: AbortController | undefined
  private timer: ReturnType<typeof setTimeout> | undefined
  private again = false

  constructor(readonly path: string) {}

  /** soon asks within a moment, once for any number of hints. */
  soon(delay: number) {
    this.timer ??= setTimeout(() => {
      this.timer = undefined
      void this.ask()
    }, Math.max(delay, this.askedAt + this.rest - Date.now()))
  }

  async ask() {
    if (this.running) {
      this.again = true
      return
    }
    const abort = (this.running = new AbortController())
    const timeout = setTimeout(() => abort.abort(), patience)
    this.askedAt = Date.now()
    try {
      const response = await fetch(url(this.path), { signal: abort.signal, cache: 'no-cache', headers: { Accept: 'application/json' } })
      const body = await response.text()
      if (!response.ok) throw new Failure(response.status, messageOf(body) || texts.trouble.status(response.status))
      this.data = read(body)
      this.failure = undefined
      this.goodAt = Date.now()
      clock.heard(response.headers, Date.now())
    } catch (err) {
      this.failure = err instanceof Failure ? err : new Failure(0, texts.trouble.noAnswer)
      if (this.failure.status === 404) this.data = undefined
    } finally {
      clearTimeout(timeout)
      this.running = undefined
    }
    for (const tell of this.watchers) tell()
    health.look()
    if (this.again) {
      this.again = false
      this.soon(gather)
    }
  }

  leave() {
    clearTimeout(this.timer)
    this.timer = undefined
    this.again = false
  }
}

// read parses JSON and keeps integers that a number cannot hold exactly as text.
function read(body: string): unknown {
  return JSON.parse(body.replace(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g, (token) => (/^-?\d{16,}$/.test(token) ? `"${token}"` : token)))
}

function messageOf(body: string): string {
  try {
    const { error } = JSON.parse(body)
    return typeof error === 'string' ? error : ''
  } catch {
    return ''
  }
}

const routes = new Map<string, Route>()

function routeOf(path: string): Route {
  let route = routes.get(path)
  if (!route) routes.set(path, (route = new Route(path)))
  return route
}

const watched = () => [...routes.values()].filter((r) => r.watchers.size > 0)

/** useApi shows a route; null asks for nothing. Until the answer of another path
 * is there, the last one stays, so that a list does not flicker between pages.
 * A heavy answer has a rest: it is asked for no sooner than after so many ms. */
export function useApi<T>(path: string | null, rest = 0): Answer<T> {
  const [, redraw] = useState({})
  useEffect(() => {
    if (!path) return
    const route = routeOf(path)
    const tell = () => redraw({})
    route.watchers.add(tell)
    route.rest = rest
    if (Date.now() - route.askedAt > Math.max(rest, 2000)) void route.ask()
    connect()
    return () => {
      route.watchers.delete(tell)
      if (route.watchers.size === 0) {
        route.leave()
        prune()
      }
    }
  }, [path])
  const route = path ? routes.get(path) : undefined
  const last = useRef<Pick<Route, 'data' | 'path'>>(undefined)
  if (route?.data !== undefined || route?.failure) last.current = { data: route.data, path: route.path }
  return { data: last.current?.data as T | undefined, of: last.current?.path, failure: route?.failure, retry: () => void route?.ask() }
}

// prune forgets answers that nobody has looked at for long.
function prune() {
  const idle = [...routes.values()].filter((r) => r.watchers.size === 0).sort((a, b) => b.askedAt - a.askedAt)
  for (const r of idle.slice(20)) routes.delete(r.path)
}

// ---- events

const concerns: Record<string, RegExp> = {
  stats: /^\/api\/(stats|miners|accounts)/,
  session: /^\/api\/(stats|payments|accounts)/,
  block: /^\/api\/(stats|blocks|accounts)/,
  payment: /^\/api\/(payments|accounts)/,
  account: /^\/api\/accounts/,
}

let source: EventSource | undefined
let login = '' // whose events are wanted, besides the pool's
let tries = 0
let heard = false // something, before the connection was lost
let reconnect: ReturnType<typeof setTimeout> | undefined

/** follow asks for the events of an account, too; '' for the pool's only. */
export function follow(address: string) {
  if (address === login) return
  login = address
  disconnect()
  connect()
}

function connect() {
  if (source || reconnect || document.hidden) return
  const es = (source = new EventSource(url('/api/events') + (login ? '?login=' + encodeURIComponent(login) : '')))
  es.onopen = () => {
    tries = 0
    if (heard) for (const r of watched()) r.soon(Math.random() * spread) // what was missed
    heard = true
  }
  es.onerror = () => {
    routes.get('/api/stats')?.soon(gather) // to know whether the API is gone
    // The browser connects again by itself, unless the answer was no stream.
    if (es.readyState !== EventSource.CLOSED || es !== source) return
    disconnect()
    const wait = Math.min(60_000, 2000 * 2 ** tries++)
    reconnect = setTimeout(() => {
      reconnect = undefined
      connect()
    }, wait * (0.5 + Math.random()))
  }
  for (const [name, concern] of Object.entries(concerns)) {
    es.addEventListener(name, () => {
      for (const r of watched()) if (concern.test(r.path)) r.soon(gather + Math.random() * spread)
    })
  }
}

function disconnect() {
  source?.close()
  source = undefined
  clearTimeout(reconnect)
  reconnect = undefined
}

function poll() {
  if (document.hidden) return
  const every = source?.readyState === EventSource.OPEN ? slowPoll : pollEvery
  const now = Date.now()
  for (const r of watched()) {
    const due = r.failure && r.failure.status !== 404 ? Math.min(every, 5000) : every
    if (now - r.askedAt >= Math.max(due, r.failure ? 0 : r.rest)) void r.ask()
  }
  health.look()
}

setInterval(poll, 1000)
document.addEventListener('visibilitychange', () => {
  if (document.hidden) return disconnect()
  connect()
  for (const r of watched()) r.soon(0)
})
addEventListener('online', () => {
  for (const r of watched()) r.soon(0)
})

// ---- the clock of the server, by which ages are told

const clock = new Clock()

/** now is the present in unix seconds. */
export const now = () => Math.floor(clock.now(Date.now()) / 1000)

// ---- whether what is shown can be believed

/** Health is how the API is doing, as the banner tells it. */
export type Health = { state: 'fine' } | { state: 'down' | 'stale'; since: number } // since: unix s of the newest data, 0 for none

// staleAfter is how old statistics may be, in seconds: at least three cycles of the pool.
const staleAfter = (stats: unknown) => Math.max(90, 3 * ((stats as { settings?: { interval?: number } } | undefined)?.settings?.interval ?? 0))

const health = {
  now: { state: 'fine' } as Health,
  tell: new Set<() => void>(),
  progress: new Progress(),

  look() {
    const stats = routes.get('/api/stats')
    let next: Health = { state: 'fine' }
    const deaf = stats?.failure && (stats.failure.status === 0 || stats.failure.status >= 500)
    const made = Number((stats?.data as { now?: number } | undefined)?.now ?? 0)
    const at = Date.now()
    const age = this.progress.age(made, clock, at)
    const patient = staleAfter(stats?.data) * 1000
    const since = made && Math.floor((clock.now(at) - age) / 1000)
    if (deaf) next = { state: 'down', since }
    else if (made && stats && age > patient && at - stats.goodAt < patient) next = { state: 'stale', since }
    if (next.state === this.now.state && (next.state === 'fine' || next.since === (this.now as { since: number }).since)) return
    this.now = next
    for (const tell of this.tell) tell()
  },
}

/** useHealth is the present health of the API. */
export function useHealth(): Health {
  const [, redraw] = useState({})
  useEffect(() => {
    const tell = () => redraw({})
    health.tell.add(tell)
    return () => void health.tell.delete(tell)
  }, [])
  return health.now
}
