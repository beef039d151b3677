// dashboard.tsx is how the pool is doing, at one glance.
import { useMemo } from 'preact/hooks'
import type { Answer } from '../api'
import { big, difficulty, hashrate, percent, permille, whole } from '../format'
import { Chart } from '../parts/chart'
import type { Point } from '../parts/chart'
import { Panel, Tile, Title, Wait } from '../parts/panel'
import { Search } from '../parts/search'
import { SessionPanel } from '../parts/session'
import { Table } from '../parts/table'
import { Amount, Badge, Bar, Time } from '../parts/values'
import { texts } from '../texts'
import type { Pool, PoolPoint } from '../types'

export function Dashboard({ pool }: { pool: Answer<Pool> }) {
  const t = texts.dashboard
  return (
    <>
      <div class="hero">
        <div>
          <Title>{pool.data ? texts.pool(pool.data.settings.name) : t.title}</Title>
          {pool.data && <p class="lead">{t.lead(pool.data.settings.symbol, percent(pool.data.settings.fee / 100, feeDigits(pool.data.settings.fee)))}</p>}
        </div>
        <Search />
      </div>
      <Wait on={pool}>{(p) => <Numbers p={p} />}</Wait>
    </>
  )
}

const feeDigits = (fee: number) => Math.min(3, (String(fee).split('.')[1] ?? '').length)

function Numbers({ p }: { p: Pool }) {
  const t = texts.dashboard
  const { settings, payouts } = p
  return (
    <>
      <dl class="tiles">
        <Tile name={t.hashrate} note={t.average(hashrate(p.hashrateAverage))}>{hashrate(p.hashrate)}</Tile>
        <Tile name={t.miners} note={t.workers(p.workersTotal)}>{whole(p.minersTotal)}</Tile>
        <Tile name={t.difficulty} note={t.network(hashrate(p.network.hashrate), whole(p.network.height))}>{difficulty(p.network.difficulty)}</Tile>
        <Tile name={t.round} note={t.roundNote}>
          {percent(p.round.progress, p.round.progress < 1 ? 1 : 0)}
          <Bar permille={Math.round(p.round.progress * 1000)} label={t.round} tone={p.round.progress > 1 ? 'over' : ''} />
        </Tile>
        <Tile name={t.lastBlock} note={t.blocksNote(whole(p.candidatesTotal), whole(p.immatureTotal), whole(p.maturedTotal))}>
          <Time at={p.stats.lastBlockFound} none={t.noBlock} />
        </Tile>
        <Tile name={t.fee} note={<>{t.feeNote('')}<Amount of={payouts.threshold} unit /></>}>{percent(settings.fee / 100, feeDigits(settings.fee))}</Tile>
      </dl>
      <div class="columns">
        <SessionPanel payouts={payouts} />
        <Wallet p={p} />
      </div>
      <Charts points={p.poolCharts} />
      <Servers p={p} />
    </>
  )
}

function Wallet({ p }: { p: Pool }) {
  const t = texts.dashboard
  const { wallet, liabilities, audit } = p.payouts
  const known = big(wallet) >= 0n
  const owes = big(liabilities) >= 0n // else it could not be read
  const enough = big(wallet) >= big(liabilities)
  const part = permille(wallet, liabilities)
  return (
    <Panel
      title={t.wallet}
      aside={known && big(liabilities) > 0n && <Badge kind={enough ? 'good' : 'plain'}>{enough ? t.covered : t.covers(percent(Math.floor(part / 10) / 100, 0))}</Badge>}
      note={known ? t.walletNote : t.walletUnknown}
    >
      {known && (
        <>
          {big(liabilities) > 0n && <Bar permille={part} label={t.wallet} />}
          <dl class="facts">
            <div><dt>{t.holds}</dt><dd><Amount of={wallet} unit /></dd></div>
            <div><dt>{t.owes}</dt><dd>{owes ? <Amount of={liabilities} unit /> : texts.unknown}</dd></div>
          </dl>
        </>
      )}
      <p class="audit">
        {t.audit}: {audit ? <><Time at={audit.time} />, <Badge kind={audit.clean ? 'good' : 'bad'}>{audit.clean ? t.auditClean : t.auditFindings(audit.findings)}</Badge></> : t.auditNone}
      </p>
    </Panel>
  )
}

function Charts({ points }: { points: PoolPoint[] }) {
  const lines = useMemo(() => {
    const of = (y: (p: PoolPoint) => number): Point[] => points.map((p) => [p.x, y(p)])
    return [of((p) => p.hashrate), of((p) => p.minersOnline), of((p) => Number(p.difficulty))] as const
  }, [points])
  return (
    <Panel title={texts.dashboard.charts}>
      <div class="charts">
        <Chart name={texts.chart.hashrate} points={lines[0]} show={hashrate} zero />
        <Chart name={texts.chart.miners} points={lines[1]} show={whole} zero count />
        <Chart name={texts.chart.difficulty} points={lines[2].filter(([, y]) => y > 0)} show={difficulty} />
      </div>
    </Panel>
  )
}

function Servers({ p }: { p: Pool }) {
  const t = texts.dashboard
  return (
    <Panel title={t.servers}>
      <Table
        caption={t.servers}
        rows={p.nodes}
        id={(n) => n.name}
        empty={t.noServers}
        columns={[
          { name: t.server, of: (n) => n.name, main: true },
          { name: t.height, of: (n) => whole(n.height), number: true },
          { name: t.difficultyColumn, of: (n) => difficulty(n.difficulty), number: true },
          { name: t.seen, of: (n) => <Time at={Number(n.lastBeat) || 0} />, number: true },
        ]}
      />
    </Panel>
  )
}

