// payments.tsx shows the pool paying.
import { useApi } from '../api'
import type { Answer } from '../api'
import { Panel, Title, Wait } from '../parts/panel'
import { DayTable, PaymentTable } from '../parts/payments'
import { SessionPanel } from '../parts/session'
import { Paged, pageOf } from '../parts/table'
import type { Place } from '../router'
import { texts } from '../texts'
import type { Payments, Pool } from '../types'

const size = 30

export function PaymentsPage({ pool, at }: { pool: Answer<Pool>; at: Place }) {
  const t = texts.payments
  const page = pageOf(at.query)
  const list = useApi<Payments>(`/api/payments?limit=${size}&offset=${(page - 1) * size}`)
  return (
    <>
      <Title>{t.title}</Title>
      {list.data && <p class="lead">{t.total(list.data.paymentsTotal)}</p>}
      {pool.data && <SessionPanel payouts={pool.data.payouts} />}
      {list.data && list.data.pending.length > 0 && (
        <Panel title={t.pending} note={t.pendingNote}>
          <PaymentTable rows={list.data.pending} caption={t.pending} empty={t.noPending} address />
        </Panel>
      )}
      <Panel title={t.sent}>
        <Wait on={list}>{(l) => (
          <Paged total={l.paymentsTotal} size={size} page={page}>
            <PaymentTable rows={l.payments} caption={t.sent} empty={t.noSent} address />
          </Paged>
        )}</Wait>
      </Panel>
      <Panel title={t.days}>
        <Wait on={list}>{(l) => <DayTable rows={l.days} caption={t.days} empty={t.noDays} count={t.count} day={t.day} />}</Wait>
      </Panel>
    </>
  )
}
