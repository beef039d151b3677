// session.tsx tells how payouts are doing: the session that runs, the next one,
// and why there is none.
import { texts } from '../texts'
import type { Payouts } from '../types'
import { Panel } from './panel'
import { Amount, Badge, Bar, Due, Time } from './values'

/** reason puts a word of the payout plan into a sentence; unknown words stay. */
export function reason(word: string): string {
  return Object.hasOwn(texts.reasons, word) ? texts.reasons[word]! : word
}

export function SessionPanel({ payouts }: { payouts: Payouts }) {
  const { session: s, state } = payouts
  const ofDue = (n: number) => (s.due ? Math.round((n / s.due) * 1000) : 0)
  const running = state === 'running'
  const tone = { running: 'good', halted: 'bad', unknown: 'warn' }[state] ?? 'plain'
  return (
    <Panel title={texts.dashboard.payouts} aside={<Badge kind={tone}>{texts.session.state[state] ?? state}</Badge>}>
      {running && (
        <div class="session">
          <Bar permille={ofDue(s.paid)} soft={ofDue(s.inFlight)} label={texts.session.title} />
          <p aria-live="polite">
            <b>{texts.session.progress(s.paid, s.due)}</b>
            {s.inFlight > 0 && <>, {texts.session.inFlight(s.inFlight)}</>}
            , <Amount of={s.amount} unit /> {texts.session.amount}
          </p>
        </div>
      )}
      {payouts.reason && !running && (
        <p class={state === 'halted' ? 'reason bad' : 'reason'}>{reason(payouts.reason)}</p>
      )}
      <dl class="facts">
        {!running && (
          <div><dt>{texts.session.next}</dt><dd><Due at={state === 'halted' ? 0 : payouts.nextSession} /></dd></div>
        )}
        {!running && (
          <div>
            <dt>{texts.session.last}</dt>
            <dd>{s.started ? <><Time at={s.ended || s.started} /><span class="note">{texts.session.lastNote(s.paid, s.due)}, <Amount of={s.amount} unit /></span></> : texts.session.noneYet}</dd>
          </div>
        )}
        {running && <div><dt>{texts.session.began}</dt><dd><Time at={s.started} /></dd></div>}
        <div><dt>{texts.session.threshold}</dt><dd><Amount of={payouts.threshold} unit /></dd></div>
      </dl>
    </Panel>
  )
}
