// miners.tsx lists who mines, the fastest first.
import { useEffect, useId, useMemo, useRef, useState } from 'preact/hooks'
import { useApi } from '../api'
import { checksummed, parse } from '../address'
import { hashrate, percent, whole } from '../format'
import { Panel, Title, Wait } from '../parts/panel'
import { Paged, Table, pageOf } from '../parts/table'
import { Badge, Login, Time } from '../parts/values'
import { link, withQuery } from '../router'
import type { Place } from '../router'
import { texts } from '../texts'
import type { ListedMiner, Miners } from '../types'

const size = 50
const searchRest = 60_000 // ms: a search among all miners is not asked for with every cycle

export function MinersPage({ at }: { at: Place }) {
  const t = texts.miners
  const id = useId()
  const page = pageOf(at.query)
  const typed = at.query.get('find') ?? ''
  const wanted = typed.trim().toLowerCase()
  const settled = useSettled(wanted)
  const path = `/api/miners?limit=${size}&offset=${(page - 1) * size}${settled && `&find=${encodeURIComponent(settled)}`}`
  const listed = useApi<Miners>(path, settled ? searchRest : 0)
  // An API that cannot search says nothing of what it found; then a search needs all miners.
  const able = useRef(true)
  if (settled && listed.data && listed.of === path) able.current = listed.data.found !== undefined
  const unable = settled !== '' && !able.current
  const all = useApi<Miners>(unable ? '/api/miners' : null, searchRest)
  const answer = unable ? all : listed
  const search = useMemo(() => (unable && all.data ? searched(all.data, wanted) : null), [unable, wanted, all.data])
  const found = !wanted ? null : search ? search.length : listed.data?.found ?? null
  const account = parse(wanted)
  const find = (e: Event & { currentTarget: HTMLInputElement }) => history.replaceState(null, '', withQuery({ find: e.currentTarget.value, page: '' }))
  return (
    <>
      <Title>{t.title}</Title>
      {answer.data && <p class="lead">{t.online(answer.data.minersTotal, hashrate(answer.data.hashrate))}</p>}
      <form class="search" role="search" onSubmit={(e) => { e.preventDefault(); if (account) location.hash = link('account', checksummed(account)) }}>
        <label for={id}>{t.find}</label>
        <div class="row">
          <input id={id} type="search" autocomplete="off" autocapitalize="none" spellcheck={false} placeholder={t.findPlaceholder} value={typed}
            onInput={(e) => { find(e); dispatchEvent(new Event('hashchange')) }} />
          {account && <button type="submit" class="button strong">{t.whole}</button>}
        </div>
        {found !== null && <p class="note" role="status">{t.found(found)}</p>}
      </form>
      <Panel title={texts.chart.miners}>
        <Wait on={answer}>{(m) => {
          const rows = search ? search.slice((page - 1) * size, page * size) : m.list ?? []
          const total = found ?? m.minersTotal
          return (
            <Paged total={total} size={size} page={page}>
              <Table
                caption={t.title}
                rows={rows.map((r, i) => ({ ...r, rank: (page - 1) * size + i + 1 }))}
                id={(r) => r.login}
                empty={wanted ? t.noneFound : t.none}
                columns={[
                  { name: t.rank, of: (r) => r.rank, number: true, wide: true, hide: found !== null },
                  { name: t.address, of: (r) => <><Login of={r.login} />{r.offline && <> <Badge kind="bad">{t.offline}</Badge></>}</>, main: true },
                  { name: t.hashrate, of: (r) => hashrate(r.hr), number: true },
                  { name: t.share, of: (r) => (m.hashrate > 0 ? percent(r.hr / m.hashrate) : texts.none), number: true, wide: true },
                  { name: t.workers, of: (r) => (r.workers === undefined ? texts.none : whole(r.workers)), number: true, hide: search !== null },
                  { name: t.seen, of: (r) => <Time at={r.lastBeat} />, number: true },
                ]}
              />
            </Paged>
          )
        }}</Wait>
      </Panel>
    </>
  )
}

// useSettled is text when nobody has typed for a moment.
function useSettled(text: string): string {
  const [settled, set] = useState(text)
  useEffect(() => {
    if (!text) return set(text)
    const timer = setTimeout(() => set(text), 300)
    return () => clearTimeout(timer)
  }, [text])
  return settled
}

function searched(m: Miners, wanted: string): ListedMiner[] {
  return Object.entries(m.miners)
    .filter(([login]) => login.toLowerCase().includes(wanted))
    .map(([login, miner]) => ({ login, ...miner }))
    .sort((a, b) => b.hr - a.hr || a.login.localeCompare(b.login))
}
