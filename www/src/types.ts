// types.ts is what the routes answer, as api/view.go says it. Amounts are in
// Shannon (10⁻⁹ coins) and times in unix seconds unless a field says otherwise.

/** Whole is an integer; the reader keeps one that a number could not hold as text. */
export type Whole = number | string

export interface Pool {
  now: number // milliseconds
  nodes: Node[]
  stats: { lastBlockFound?: number; roundShares?: Whole }
  hashrate: number
  hashrateAverage: number
  minersTotal: number
  workersTotal: number
  maturedTotal: number
  immatureTotal: number
  candidatesTotal: number
  paymentsTotal: number
  poolCharts: PoolPoint[]
  network: { height: number; difficulty: Whole; hashrate: Whole }
  round: { shares: Whole; progress: number }
  payouts: Payouts
  settings: Settings
}

export interface Node {
  name: string
  height: string
  difficulty: string
  lastBeat: string
}

export interface PoolPoint {
  x: number
  hashrate: number
  minersOnline: number
  difficulty: Whole
}

export interface Payouts {
  state: string // idle, running, halted or unknown
  reason: string
  nextSession: number // 0 while unknown
  threshold: Whole
  session: { started: number; ended: number; due: number; paid: number; inFlight: number; amount: Whole }
  wallet: Whole // -1 while unknown
  liabilities: Whole
  audit: { time: number; clean: boolean; findings: number; journal: boolean; chain: boolean } | null
}

export interface Settings {
  name: string
  coin: string
  symbol: string
  network: string
  fee: number // percent
  depth: number
  immatureDepth: number
  confirmations: number
  feeFromMiner: boolean
  interval: number // seconds between statistics
  hashrateWindow?: number // seconds that the present hashrate is a mean of
  ports: Port[]
  explorerTx: string // {} stands for the hash
  explorerAddress: string
  explorerBlock: string
  accent: string
  contact: string
  version: string
}

export interface Port {
  host: string
  port: number
  tls: boolean
  difficulty: Whole
  varDiff: boolean
}

export interface Miners {
  now: number // milliseconds
  miners: Record<string, Miner>
  hashrate: number
  minersTotal: number
  list?: ListedMiner[]
  found?: number // how many addresses contain what ?find= asks for; list is a part of these
}

export interface Miner {
  lastBeat: number
  hr: number
  offline: boolean
}

export interface ListedMiner extends Miner {
  login: string
  workers?: number
}

export interface Blocks {
  matured: Block[]
  maturedTotal: number
  immature: Block[]
  immatureTotal: number
  candidates: Block[]
  candidatesTotal: number
  luck: Record<string, { luck: number; uncleRate: number; orphanRate: number }>
}

export interface Block {
  height: number // of an uncle: of the block that includes it
  timestamp: number
  difficulty: Whole
  shares: Whole
  uncle: boolean
  uncleHeight: number // of the uncle; 0 for a block
  orphan: boolean
  hash: string
  reward: string // Wei
  kind: string // candidate, block, uncle or orphan
  luck: number
  confirmations: number
}

export interface Payments {
  payments: Payment[]
  paymentsTotal: number
  pending: Payment[]
  days: Day[]
}

export interface Payment {
  timestamp: number
  tx: string
  address?: string
  amount: Whole
  status: string // pending, sent, confirming, final, held or failed
  confirmations: number
  block: number
  feeWei: string
  why?: string
}

export interface Day {
  day: string // 2006-01-02, UTC
  amount: Whole
  payments: number
}

export interface Account {
  stats: { balance?: Whole; pending?: Whole; paid?: Whole; immature?: Whole; lastShare?: number; blocksFound?: number }
  payments: Payment[]
  paymentsTotal: number
  roundShares: Whole
  roundShare?: number // of the present round, 0 to 1
  workers: Record<string, Worker>
  workersTotal: number
  workersOnline: number
  workersOffline: number
  hashrate: number
  currentHashrate: number
  pageSize: number
  charts: MinerPoint[]
  login: string
  now: number // milliseconds
  pending: Payment[] // debited, not yet taken by a node
  payout: {
    threshold: Whole
    progress: number
    reason: string
    why: string
    nextSession: number // while a session runs this may still be its own time
    thresholdAt: number
    due?: boolean // while a session runs: it is going to pay what is on the balance
  }
  rewards: Reward[] // the newest
  rewardsTotal: number
  earnings: Day[]
}

/** AccountPayments is a page of one account's payments. */
export interface AccountPayments {
  payments: Payment[]
  paymentsTotal: number
}

/** AccountRewards is a page of one account's rewards. */
export interface AccountRewards {
  rewards: Reward[]
  rewardsTotal: number
}

export interface MinerPoint {
  x: number
  hashrate: number
}

export interface Worker extends Miner {
  hr2: number
}

/** AccountCharts is what an account's workers did in the last 24 hours. */
export interface AccountCharts {
  charts: Record<string, MinerPoint[]> // by worker, of the first hundred by name
}

export interface Reward {
  height: number // as in Block
  uncleHeight?: number
  timestamp: number
  hash: string
  amount: Whole
  share: number // 0 to 1
  luck: number
  kind: string // block or uncle
  immature: boolean
}
