// miners.tsx lists who mines, the fastest first.
import { useId, useMemo } from 'preact/hooks'
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

export function MinersPage({ at }: { at: Place }) {
  const t = texts.miners
  const id = useId()
  const page = pageOf(at.query)
  const typed = at.query.get('find') ?? ''
  const wanted = typed.trim().toLowerCase()
  // The API pages the list; a search needs all of it.
  const listed = useApi<Miners>(wanted ? null : `/api/miners?limit=${size}&offset=${(page - 1) * size}`)
  const all = useApi<Miners>(wanted ? '/api/miners' : null)
  const answer = wanted ? all : listed
  const found = useMemo(() => (wanted && all.data ? search(all.data, wanted) : null), [wanted, all.data])
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
        {found && <p class="note" role="status">{t.found(found.length)}</p>}
      </form>
      <Panel title={texts.chart.miners}>
        <Wait on={answer}>{(m) => {
          const rows = found ? found.slice((page - 1) * size, page * size) : m.list ?? []
          const total = found ? found.length : m.minersTotal
          return (
            <Paged total={total} size={size} page={page}>
              <Table
                caption={t.title}
                rows={rows.map((r, i) => ({ ...r, rank: (page - 1) * size + i + 1 }))}
                id={(r) => r.login}
                empty={wanted ? t.noneFound : t.none}
                columns={[
                  { name: t.rank, of: (r) => r.rank, number: true, wide: true, hide: !!found },
                  { name: t.address, of: (r) => <><Login of={r.login} />{r.offline && <> <Badge kind="bad">{t.offline}</Badge></>}</>, main: true },
                  { name: t.hashrate, of: (r) => hashrate(r.hr), number: true },
                  { name: t.share, of: (r) => (m.hashrate > 0 ? percent(r.hr / m.hashrate) : texts.none), number: true, wide: true },
                  { name: t.workers, of: (r) => (r.workers === undefined ? texts.none : whole(r.workers)), number: true, hide: !!found },
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

function search(m: Miners, wanted: string): ListedMiner[] {
  return Object.entries(m.miners)
    .filter(([login]) => login.toLowerCase().includes(wanted))
    .map(([login, miner]) => ({ login, ...miner }))
    .sort((a, b) => b.hr - a.hr || a.login.localeCompare(b.login))
}
