// payments.tsx lists payments, of all miners or of one.
import { ofWei, permille } from '../format'
import { useSettings } from '../settings'
import { texts } from '../texts'
import type { Day, Payment } from '../types'
import { Table } from './table'
import { reason } from './session'
import { Amount, Badge, Bar, Height, Login, Time, Tx } from './values'

export function PaymentTable({ rows, caption, empty, address }: { rows: Payment[]; caption: string; empty: string; address?: boolean }) {
  const t = texts.payments
  const { symbol } = useSettings()
  return (
    <Table
      caption={caption}
      rows={rows}
      id={(p) => p.tx || `${p.address} ${p.timestamp}`}
      empty={empty}
      columns={[
        { name: t.time, of: (p) => <Time at={p.timestamp} /> },
        { name: t.address, of: (p) => <Login of={p.address ?? ''} />, hide: !address },
        { name: t.amount(symbol), of: (p) => <Amount of={p.amount} column />, number: true, main: true },
        { name: t.status, of: (p) => <Status of={p} /> },
        { name: t.tx, of: (p) => (p.tx ? <Tx hash={p.tx} /> : <span class="muted">{t.noTx}</span>) },
      ]}
    />
  )
}

function Status({ of: p }: { of: Payment }) {
  const { confirmations: depth, symbol, feeFromMiner } = useSettings()
  const t = texts.payments
  // Confirmations are counted from a block, which has to be known.
  const state = p.status === 'confirming' && !p.block ? 'sent' : p.status
  const confirming = p.confirmations < depth ? t.confirming(String(p.confirmations), String(depth)) : t.confirmed // and payouts have not looked since
  const word = state === 'confirming' && depth ? confirming : t.states[state] ?? state
  const kind = { final: 'good', held: 'bad', failed: 'bad', pending: 'plain', sent: 'plain', confirming: 'info' }[state] ?? 'plain'
  const fee = p.feeWei ? t.fee(`${ofWei(p.feeWei).full} ${symbol}`.trim(), feeFromMiner) : undefined
  return (
    <span class="status">
      <span title={fee}><Badge kind={kind}>{word}</Badge></span>
      {p.block > 0 && <> <span class="note place">{t.inBlock('')}<Height of={p.block} /></span></>}
      {fee && feeFromMiner && <> <span class="note">{fee}</span></>}
      {p.why && p.status !== 'final' && <> <span class="note">{reason(p.why)}</span></>}
    </span>
  )
}

/** DayTable is a sum for each day, with bars to compare. */
export function DayTable({ rows, caption, empty, count, day }: { rows: Day[]; caption: string; empty: string; count: string; day: string }) {
  const { symbol } = useSettings()
  const days = rows.slice(0, rows.reduce((n, d, i) => (d.payments > 0 ? i + 1 : n), 0)) // from the first one on
  const most = days.reduce((m, d) => (BigInt(d.amount) > m ? BigInt(d.amount) : m), 0n)
  return (
    <Table
      caption={caption}
      rows={days}
      id={(d) => d.day}
      empty={empty}
      columns={[
        { name: day, of: (d) => <time dateTime={d.day}>{d.day}</time> },
        { name: count, of: (d) => d.payments, number: true },
        { name: texts.payments.amount(symbol), of: (d) => <span class="daybar"><Amount of={d.amount} column /><span aria-hidden="true"><Bar permille={permille(d.amount, most.toString())} label="" /></span></span>, number: true, main: true },
      ]}
    />
  )
}
