// main.tsx is the frame around the pages: header, banner, the page that the
// address asks for, footer.
import { Component, render } from 'preact'
import type { ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { follow, useApi, useHealth } from './api'
import { parse } from './address'
import { visible } from './colour'
import { duration } from './format'
import * as memory from './memory'
import { AccountPage } from './pages/account'
import { Blocks } from './pages/blocks'
import { Dashboard } from './pages/dashboard'
import { Help } from './pages/help'
import { MinersPage } from './pages/miners'
import { PaymentsPage } from './pages/payments'
import { Panel, Title } from './parts/panel'
import { useNow } from './parts/values'
import { link, usePlace } from './router'
import type { Place } from './router'
import { SettingsContext, unset } from './settings'
import { texts } from './texts'
import type { Pool } from './types'

const menu: [keyof typeof texts.menu, string][] = [
  ['dashboard', ''],
  ['blocks', 'blocks'],
  ['payments', 'payments'],
  ['miners', 'miners'],
  ['help', 'help'],
]

function App() {
  const pool = useApi<Pool>('/api/stats')
  const at = usePlace()
  const settings = pool.data?.settings ?? unset
  const page = at.path[0] ?? ''
  const main = useRef<HTMLElement>(null)
  const opened = at.path.join('/')
  const first = useRef(true)

  useEffect(() => {
    follow(page === 'account' ? parse(at.path[1] ?? '') ?? '' : '')
    // Screen readers and keyboards go on where the new page begins.
    if (!first.current) {
      scrollTo(0, 0)
      document.getElementById('title')?.focus({ preventScroll: true })
    }
    first.current = false
  }, [opened])

  useEffect(() => {
    const title = document.getElementById('title')?.textContent
    const name = texts.pool(settings.name)
    document.title = title && page ? `${title} · ${name}` : name
  })

  useEffect(() => {
    const { accent } = settings
    const style = document.documentElement.style
    for (const theme of ['light', 'dark'] as const) style.setProperty('--brand-' + theme, visible(accent, theme) ?? '') // empty removes it
    dispatchEvent(new Event('themechange'))
  }, [settings.accent])

  const skip = (e: Event) => {
    e.preventDefault()
    main.current?.focus()
  }
  return (
    <SettingsContext.Provider value={settings}>
      <a class="skip" href="#title" onClick={skip}>{texts.skip}</a>
      <header class="top">
        <div class="wide">
          <a class="name" href={link()}>
            <Mark />
            <span>{texts.pool(settings.name)}</span>
          </a>
          <nav aria-label={texts.nav}>
            {menu.map(([name, path]) => (
              <a key={name} href={link(...(path ? [path] : []))} aria-current={page === path ? 'page' : undefined}>{texts.menu[name]}</a>
            ))}
          </nav>
          <ThemeSwitch />
        </div>
      </header>
      <Banner />
      <main ref={main} tabIndex={-1} class="wide">
        <Guard key={opened}>
          <Page at={at} pool={pool} />
        </Guard>
      </main>
      <footer class="wide">
        <span>{texts.timesIn(Intl.DateTimeFormat().resolvedOptions().timeZone)}</span>
        <Contact to={settings.contact} />
        {settings.version && <span>{texts.version(settings.version)}</span>}
      </footer>
    </SettingsContext.Provider>
  )
}

function Page({ at, pool }: { at: Place; pool: ReturnType<typeof useApi<Pool>> }) {
  switch (at.path[0] ?? '') {
    case '': return <Dashboard pool={pool} />
    case 'blocks': return <Blocks pool={pool} at={at} />
    case 'payments': return <PaymentsPage pool={pool} at={at} />
    case 'miners': return <MinersPage at={at} />
    case 'account': return <AccountPage key={at.path[1]} pool={pool} at={at} />
    case 'help': return <Help key={at.path[1]} pool={pool} at={at} />
    default: return <Lost />
  }
}

function Lost() {
  return (
    <>
      <Title>{texts.notFound}</Title>
      <p><a href={link()}>{texts.home}</a></p>
    </>
  )
}

/** Guard keeps the frame when a page breaks, and says so. */
class Guard extends Component<{ children: ComponentChildren }, { broken?: string }> {
  override componentDidCatch(err: unknown) {
    console.error(err)
    this.setState({ broken: String(err) })
  }
  override render() {
    if (!this.state.broken) return this.props.children
    return <Panel title={texts.trouble.failed(this.state.broken)}><button type="button" class="button" onClick={() => location.reload()}>{texts.trouble.retry}</button></Panel>
  }
}

function Mark() {
  return <svg viewBox="0 0 32 32" width="28" height="28" aria-hidden="true"><path class="shape" d="M16 2 28 9v14l-12 7L4 23V9z" /><path class="lines" d="M10 20.5V15m6 5.5V11m6 9.5V13" /></svg>
}

/** Banner says when what is shown cannot be believed as it stands. */
function Banner() {
  const health = useHealth()
  const age = useNow((now) => (health.state !== 'fine' && health.since ? duration(Math.max(0, now - health.since)) : ''))
  const was = useRef(false)
  const [back, setBack] = useState(false)
  useEffect(() => {
    if (health.state !== 'fine') {
      was.current = true
      setBack(false)
      return
    }
    if (!was.current) return
    was.current = false
    setBack(true)
    const timer = setTimeout(() => setBack(false), 4000)
    return () => clearTimeout(timer)
  }, [health.state])
  // The announcement is made once per change: the age is not read out each second.
  return (
    <div role="status">
      {health.state !== 'fine' && (
        <div class={`banner ${health.state}`}>
          <div class="wide">
            <span aria-live="off">{health.state === 'stale' ? texts.trouble.stale(age) : age ? texts.trouble.downOld(age) : texts.trouble.down}</span>
          </div>
        </div>
      )}
      {back && <div class="banner back"><div class="wide">{texts.trouble.back}</div></div>}
    </div>
  )
}

const themes: memory.Theme[] = ['auto', 'light', 'dark']

function ThemeSwitch() {
  const [chosen, set] = useState(memory.theme)
  const turn = () => {
    const next = themes[(themes.indexOf(chosen) + 1) % themes.length]!
    memory.setTheme(next)
    set(next)
  }
  return (
    <button type="button" class="theme" onClick={turn} aria-label={texts.theme[chosen]} title={texts.theme[chosen]}>
      <svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true">
        {chosen === 'light' && <path d="M12 7a5 5 0 1 0 0 10 5 5 0 0 0 0-10zm0-5v2m0 16v2M2 12h2m16 0h2M4.9 4.9l1.4 1.4m11.4 11.4 1.4 1.4m0-14.2-1.4 1.4M6.3 17.7l-1.4 1.4" />}
        {chosen === 'dark' && <path d="M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z" />}
        {chosen === 'auto' && <><circle cx="12" cy="12" r="8.5" /><path class="half" d="M12 3.5a8.5 8.5 0 0 1 0 17z" /></>}
      </svg>
    </button>
  )
}

function Contact({ to }: { to: string }) {
  if (!to) return null
  const href = /^(https?:\/\/|mailto:)/i.test(to) ? to : /^[^\s@:/]+@[^\s@:/]+$/.test(to) ? 'mailto:' + to : null
  return href ? <a href={href} rel="noopener noreferrer">{texts.contact}</a> : <span>{to}</span>
}

render(<App />, document.getElementById('app')!)
