// account.tsx is what a miner has earned, was paid, and why not yet.
import { useEffect, useMemo, useState } from 'preact/hooks'
import { url, useApi } from '../api'
import type { Answer } from '../api'
import { roundShare, whenPaid } from '../account'
import { checksummed, mistyped, parse } from '../address'
import { big, hashrate, percent, permille, shannon, short, whole } from '../format'
import * as memory from '../memory'
import { Chart, Spark, spanText } from '../parts/chart'
import type { Point } from '../parts/chart'
import { Panel, Tile, Title, Wait } from '../parts/panel'
import { DayTable, PaymentTable } from '../parts/payments'
import { Search } from '../parts/search'
import { reason } from '../parts/session'
import { Paged, Table, pageOf } from '../parts/table'
import { After, Amount, Badge, Bar, Copy, Due, Exact, ExplorerOf, Found, Time } from '../parts/values'
import { link } from '../router'
import type { Place } from '../router'
import { useSettings } from '../settings'
import { texts } from '../texts'
import type { Account, AccountCharts, AccountPayments, AccountRewards, MinerPoint, Pool, Reward, Worker } from '../types'

export function AccountPage({ at, pool }: { at: Place; pool: Answer<Pool> }) {
  const typed = at.path[1] ?? ''
  const address = parse(typed)
  if (!address) return <><Title>{texts.account.title}</Title><p class="bad">{typed && texts.search.bad}</p><Search /></>
  return <Known address={address} typed={typed} at={at} pool={pool} />
}

function Known({ address, typed, at, pool }: { address: string; typed: string; at: Place; pool: Answer<Pool> }) {
  const account = useApi<Account>(`/api/accounts/${address}`)
  const shown = checksummed(address)
  const found = account.data !== undefined
  useEffect(() => {
    if (found) memory.remember(address)
  }, [found, address])
  return (
    <>
      <div class="who">
        <Title>{texts.account.title} <span class="unseen">{short(shown)}</span></Title>
        <p class="hex whole">{shown}</p>
        <div class="buttons"><Copy text={shown} from={() => document.querySelector('.who .whole')} /><ExplorerOf address={shown} /></div>
        {mistyped(typed) && <p class="bad">{texts.search.typo}</p>}
      </div>
      {account.failure?.status === 404 ? (
        <Panel title={texts.account.unknown}>
          <p>{texts.account.unknownNote}</p>
          <p><a class="button" href={link('help', shown)}>{texts.account.unknownHelp}</a></p>
        </Panel>
      ) : (
        <Wait on={account}>{(a) => <Everything a={a} address={address} at={at} pool={pool.data} />}</Wait>
      )}
    </>
  )
}

const line = (points: MinerPoint[] | undefined): Point[] => (points ?? []).map((p) => [p.x, p.hashrate])

function Everything({ a, address, at, pool }: { a: Account; address: string; at: Place; pool: Pool | undefined }) {
  const t = texts.account
  const { stats } = a
  const points = useMemo(() => line(a.charts), [a.charts])
  const share = roundShare(a, pool)
  const csv = (what: string) => url(`/api/accounts/${address}/${what}.csv`)
  return (
    <>
      <div class="columns lopsided">
        <Balance a={a} />
        <dl class="tiles small">
          <Tile name={t.immature} note={t.immatureNote}><Amount of={stats.immature} /></Tile>
          <Tile name={t.onTheWay} note={t.onTheWayNote}><Amount of={stats.pending} /></Tile>
          <Tile name={t.paid} note={t.paidNote(a.paymentsTotal)}><Amount of={stats.paid} /></Tile>
          <Tile name={t.hashrate} note={t.average(hashrate(a.hashrate))}>{hashrate(a.currentHashrate)}</Tile>
          <Tile name={t.lastShare} note={t.workersNote(whole(a.workersOnline), whole(a.workersOffline))}><Time at={stats.lastShare} /></Tile>
          <Tile name={t.round} note={t.blocksFound(Number(stats.blocksFound ?? 0))}>{share === null ? texts.none : percent(share)}</Tile>
        </dl>
      </div>
      <Panel title={texts.dashboard.charts}><Chart name={texts.chart.hashrate} points={points} show={hashrate} zero tall /></Panel>
      <Workers of={a.workers} address={address} now={Math.floor(a.now / 1000)} />
      <Payments a={a} address={address} at={at} csv={csv('payments')} />
      <Rewards a={a} address={address} at={at} csv={csv('rewards')} />
      <Panel title={t.earnings}>
        <DayTable rows={a.earnings} caption={t.earnings} empty={t.noEarnings} count={t.blocks} day={t.day} />
      </Panel>
    </>
  )
}

function Balance({ a }: { a: Account }) {
  const t = texts.account
  const { symbol } = useSettings()
  const { payout: p, stats } = a
  const part = Math.min(1000, permille(stats.balance, p.threshold))
  const reached = big(stats.balance) >= big(p.threshold) && big(p.threshold) > 0n
  const running = p.due !== undefined
  const when = whenPaid(a)
  const calm = ['', 'below_threshold', 'next_session', 'in_flight'].includes(p.reason)
  return (
    <section class="panel balance" aria-label={t.unpaid}>
      <h2>{t.unpaid}</h2>
      <p class="big" aria-live="polite"><Amount of={stats.balance} unit /></p>
      {big(p.threshold) > 0n && (
        <>
          <Bar permille={part} label={t.ofThreshold(percent(Math.floor(part) / 1000, 0), shannon(p.threshold))} tone={reached ? 'done' : ''} />
          <p class="note">{reached ? t.reached(`${shannon(p.threshold)} ${symbol}`) : t.ofThreshold(percent(Math.floor(part) / 1000, 1), `${shannon(p.threshold)} ${symbol}`)}</p>
        </>
      )}
      {(p.reason || p.why) && <p class={calm ? 'reason' : 'reason warn'} aria-live="polite">{running && p.reason === 'next_session' ? t.when[when] : reason(p.reason)}{p.why && <span class="note">{p.why}</span>}</p>}
      <dl class="facts">
        {!reached && p.thresholdAt > 0 && <div><dt>{t.expected}</dt><dd><Time at={p.thresholdAt} /><span class="note">{t.expectedNote}</span></dd></div>}
        {running
          ? <div><dt>{t.session}</dt><dd>{texts.session.running}</dd></div>
          : <div><dt>{t.next}</dt><dd><Due at={p.nextSession} /></dd></div>}
        {running && when !== 'now' && <div><dt>{t.nextAfter}</dt><dd><After at={p.nextSession} /></dd></div>}
      </dl>
    </section>
  )
}

const chartsRest = 300_000 // ms: they have a new point every ten minutes

function Workers({ of, address, now }: { of: Record<string, Worker>; address: string; now: number }) {
  const t = texts.account
  const [open, setOpen] = useState<string | null>(null)
  const charts = useApi<AccountCharts>(`/api/accounts/${address}/charts`, chartsRest)
  const lines = useMemo(() => new Map(Object.entries(charts.data?.charts ?? {}).filter(([, points]) => points.length > 1).map(([name, points]) => [name, line(points)])), [charts.data])
  // A line goes on to what the worker does now: its last span ended up to ten minutes ago.
  const lineOf = (name: string, w: Worker): Point[] => {
    const points = lines.get(name) ?? []
    return now > (points[points.length - 1]?.[0] ?? now) ? [...points, [now, w.hr]] : points
  }
  const longest = [...lines.values()].reduce<Point[]>((a, b) => (b.length > a.length ? b : a), [])
  const rows = useMemo(() => Object.entries(of).sort(([a, x], [b, y]) => Number(x.offline) - Number(y.offline) || a.localeCompare(b, undefined, { numeric: true })), [of])
  return (
    <Panel title={t.workers} note={charts.failure && charts.failure.status !== 404 && !charts.data && t.noCharts(charts.failure.message)}>
      <Table
        caption={t.workers}
        rows={rows}
        id={([name]) => name}
        empty={t.noWorkers}
        more={([name, w]) => open === name && <Chart name={name} points={lineOf(name, w)} show={hashrate} zero />}
        columns={[
          { name: t.worker, of: ([name]) => <b class="data">{name}</b>, main: true },
          { name: t.status, of: ([, w]) => <Badge kind={w.offline ? 'bad' : 'good'}>{w.offline ? t.offline : t.online}</Badge> },
          { name: t.current, of: ([, w]) => hashrate(w.hr), number: true },
          { name: t.long, of: ([, w]) => hashrate(w.hr2), number: true },
          {
            name: t.chartOf(spanText(longest)), hide: lines.size === 0,
            of: ([name, w]) => lines.has(name)
              ? <button type="button" class="sparkle" aria-expanded={open === name} aria-label={`${t.chart}: ${name}`} onClick={() => setOpen(open === name ? null : name)}><Spark points={lineOf(name, w)} from={longest[0]?.[0]} label="" /></button>
              : texts.none,
          },
          { name: t.lastShare, of: ([, w]) => <Time at={w.lastBeat} />, number: true },
        ]}
      />
    </Panel>
  )
}

function Payments({ a, address, at, csv }: { a: Account; address: string; at: Place; csv: string }) {
  const t = texts.account
  const size = a.pageSize || 30
  const page = pageOf(at.query, 'payments')
  const other = useApi<AccountPayments>(page > 1 ? `/api/accounts/${address}/payments?limit=${size}&offset=${(page - 1) * size}` : null)
  return (
    <Panel title={t.payments} aside={<CSV href={csv} label={t.csvPayments} />}>
      <Paged total={a.paymentsTotal} size={size} page={page} name="payments">
        {page > 1
          ? <Wait on={other}>{(o) => <PaymentTable rows={o.payments} caption={t.payments} empty={t.noPayments} />}</Wait>
          : <PaymentTable rows={[...(a.pending ?? []), ...a.payments.slice(0, size)]} caption={t.payments} empty={t.noPayments} />}
      </Paged>
    </Panel>
  )
}

function CSV({ href, label }: { href: string; label: string }) {
  return <a class="button quiet" href={href} download aria-label={label} title={label}>{texts.account.csv}</a>
}

function Rewards({ a, address, at, csv }: { a: Account; address: string; at: Place; csv: string }) {
  const t = texts.account
  const size = Math.max(1, a.rewards.length)
  const page = pageOf(at.query, 'rewards')
  const other = useApi<AccountRewards>(page > 1 ? `/api/accounts/${address}/rewards?limit=${size}&offset=${(page - 1) * size}` : null)
  return (
    <Panel title={t.rewards} note={a.rewards.length > 0 && t.rewardsNote} aside={<CSV href={csv} label={t.csvRewards} />}>
      <Paged total={a.rewardsTotal} size={size} page={page} name="rewards">
        {page > 1 ? <Wait on={other}>{(o) => <RewardTable rows={o.rewards} />}</Wait> : <RewardTable rows={a.rewards} />}
      </Paged>
    </Panel>
  )
}

function RewardTable({ rows }: { rows: Reward[] }) {
  const t = texts.account
  const b = texts.blocks
  const { symbol } = useSettings()
  return (
    <Table
      caption={t.rewards}
      rows={rows}
      id={(r) => r.hash + r.height}
      empty={t.noRewards}
      columns={[
        { name: b.height, of: (r) => <Found of={r} /> },
        { name: b.found, of: (r) => <Time at={r.timestamp} /> },
        { name: t.kind, of: (r) => <><Badge kind={r.kind === 'uncle' ? 'info' : 'plain'}>{b.kinds[r.kind] ?? r.kind}</Badge>{r.immature && <> <Badge kind="warn">{t.immatureReward}</Badge></>}</> },
        { name: b.effort, of: (r) => percent(r.luck, 0), number: true },
        { name: t.share, of: (r) => <Exact full={`${r.share * 100} %`}>{percent(r.share)}</Exact>, number: true },
        { name: texts.payments.amount(symbol), of: (r) => <Amount of={r.amount} column />, number: true, main: true },
      ]}
    />
  )
}
