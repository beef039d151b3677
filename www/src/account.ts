// account.ts decides what an account's page says where two answers of the API,
// made at different moments, have to be put together.
import { permille, ratio } from './format'
import type { Account, Pool } from './types'

/** When is in which session an account is paid that only waits for one:
 * now:   in the one that is running
 * after: in the one after it
 * next:  in the next one: none is running
 * none:  it is not known that any session will */
export type When = 'now' | 'after' | 'next' | 'none'

/** whenPaid tells it of an account, whose payout.due is there while one runs. */
export function whenPaid({ payout: { reason, due } }: Pick<Account, 'payout'>): When {
  if (reason === 'next_session') return due === undefined ? 'next' : due ? 'now' : 'after'
  return reason === 'below_threshold' && due !== undefined ? 'after' : 'none'
}

/** roundShare is an account's part of the present round, 0 to 1, or null when the
 * answers do not fit together: they are of different rounds, perhaps. */
export function roundShare(a: Pick<Account, 'now' | 'roundShares' | 'roundShare'>, pool: Pick<Pool, 'now' | 'round' | 'settings'> | undefined): number | null {
  if (a.roundShare !== undefined) return Math.min(1, Math.max(0, a.roundShare))
  if (!pool) return null
  const cycle = (pool.settings.interval || 5) * 1000
  if (Math.abs(a.now - pool.now) > cycle) return null
  return permille(a.roundShares, pool.round.shares) >= 1000 ? 1 : ratio(a.roundShares, pool.round.shares)
}
