import assert from 'node:assert/strict'
import { test } from 'node:test'
import { roundShare, whenPaid } from './account'
import { unset } from './settings'
import { texts } from './texts'

const account = (reason: string, due?: boolean) => ({
  payout: { threshold: 1000, progress: 0, reason, why: '', nextSession: 0, thresholdAt: 0, ...(due !== undefined && { due }) },
})

test('who is due is paid in the session that runs, and nobody is sent to another one', () => {
  assert.equal(whenPaid(account('next_session')), 'next')
  assert.equal(whenPaid(account('next_session', true)), 'now')
  assert.equal(whenPaid(account('next_session', false)), 'after')
  assert.equal(whenPaid(account('below_threshold', false)), 'after')
  assert.equal(whenPaid(account('below_threshold')), 'none')
  assert.equal(whenPaid(account('wallet_low', false)), 'none')
  for (const when of ['now', 'after'] as const) {
    assert.ok(texts.account.when[when]!.includes('running now'), when)
    assert.ok(!/next payout session/i.test(texts.account.when[when]!), when)
  }
})

test('a share of the round is never above the whole, and of one round only', () => {
  const pool = { now: 100_000, round: { shares: 1000, progress: 0 }, settings: { ...unset, interval: 5 } }
  assert.equal(roundShare({ now: 100_000, roundShares: 250 }, pool), 0.25)
  assert.equal(roundShare({ now: 100_000, roundShares: 2000 }, pool), 1)
  assert.equal(roundShare({ now: 95_000, roundShares: 250 }, pool), 0.25)
  assert.equal(roundShare({ now: 94_000, roundShares: 250 }, pool), null)
  assert.equal(roundShare({ now: 106_000, roundShares: 250 }, pool), null)
  assert.equal(roundShare({ now: 100_000, roundShares: 250 }, undefined), null)
  assert.equal(roundShare({ now: 1, roundShares: 2000, roundShare: 0.125 }, pool), 0.125)
  assert.equal(roundShare({ now: 1, roundShares: 2000, roundShare: 1.5 }, undefined), 1)
})
