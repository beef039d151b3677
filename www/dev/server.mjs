// server.mjs serves dist/ with made-up data in the shapes of api/view.go, to look
// at the pages without a pool:
//
//   npm run build && npm run dev    http://127.0.0.1:5173
//
// While it runs: /dev/down and /dev/up take the API away and bring it back,
// /dev/stale stops its clock, /dev/session starts a payout session, /dev/halt
// stops payouts, /dev/empty is a pool on its first day.
import { createServer } from 'node:http'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, extname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'

const dist = join(dirname(fileURLToPath(import.meta.url)), '..', 'dist')
const port = Number(process.env.PORT ?? 5173)

let seed = 7
const random = () => ((seed = (seed * 1103515245 + 12345) & 0x7fffffff), seed / 0x7fffffff)
const hex = (n) => Array.from({ length: n }, () => Math.floor(random() * 16).toString(16)).join('')
const now = () => Math.floor(Date.now() / 1000)
const start = now()

const addresses = Array.from({ length: 137 }, () => '0x' + hex(40))
addresses[0] = '0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed'
const difficulty = 2_613_402_118_771_204
const depth = 120
let mode = '' // down, stale or empty
let payouts = 'idle'
let session = { started: start - 3900, ended: start - 3870, due: 41, paid: 41, inFlight: 0, amount: 188_402_119_337 }
let stopped = 0
const paid = []

const wave = (i, base, swing) => Math.round(base * (1 + swing * Math.sin(i / 11) + 0.06 * (random() - 0.5)))
const points = Array.from({ length: 144 }, (_, i) => ({
  x: start - (143 - i) * 600, hashrate: wave(i, 4.21e12, 0.12), minersOnline: Math.round(wave(i, 131, 0.05)), difficulty: wave(i, difficulty, 0.03),
})).filter((_, i) => i < 60 || i > 68)
const minerPoints = (base) => points.map((p, i) => ({ x: p.x, hashrate: wave(i, base, 0.2) }))

const payment = (i) => ({
  timestamp: start - 3870 - i * 5400, tx: '0x' + hex(64), address: addresses[i % addresses.length], amount: 1_000_000_000 + Math.floor(random() * 9e9),
  status: i === 0 ? 'sent' : i < 3 ? 'confirming' : i === 4 ? 'held' : 'final', confirmations: i === 0 ? 0 : i < 3 ? 3 + i : 20, block: i === 0 ? 0 : 19_402_113 - i * 400,
  feeWei: i === 0 ? '' : String(21000n * 1_250_000_001n), ...(i === 4 ? { why: 'recipient_rejects' } : {}),
})
for (let i = 0; i < 1234; i++) paid.push(payment(i))

// Of an uncle height is the block that includes it, and uncleHeight its own.
const block = (i, kind, state) => ({
  height: 19_402_200 - i * 61, timestamp: start - 700 - i * 793, difficulty, shares: Math.floor(difficulty * (0.1 + 1.9 * random() ** 2)),
  uncle: kind === 'uncle', uncleHeight: kind === 'uncle' ? 19_402_199 - i * 61 : 0, orphan: kind === 'orphan',
  hash: state === 'candidate' ? '' : kind === 'orphan' ? '0x0' : '0x' + hex(64), reward: state === 'candidate' || kind === 'orphan' ? '0' : kind === 'uncle' ? '1792000000000000000' : String(2048000000000000000n + BigInt(Math.floor(random() * 1e15))),
  kind, state, luck: 0, confirmations: state === 'candidate' ? 7 : Math.min(depth, 12 + i * 14), finder: i % 4 === 3 ? '' : addresses[i % 9],
})
const kinds = (i) => (i % 17 === 5 ? 'uncle' : i % 23 === 9 ? 'orphan' : 'block')
const candidates = [block(0, 'candidate', 'candidate')]
const immature = [1, 2, 3, 4, 5, 6].map((i) => block(i, kinds(i), 'immature'))
const matured = Array.from({ length: 217 }, (_, i) => block(i + 8, kinds(i), 'matured'))
for (const b of [...candidates, ...immature, ...matured]) b.luck = b.shares / b.difficulty

const days = (n, amount, count) => Array.from({ length: n }, (_, i) => ({ day: new Date((start - i * 86400) * 1000).toISOString().slice(0, 10), amount: Math.floor(amount * (0.6 + 0.8 * random())), payments: Math.round(count * (0.6 + 0.8 * random())) }))
const poolDays = days(30, 512_334_117_901, 88)
const earnings = days(21, 2_104_553_917, 17)

const settings = {
  name: process.env.NAME ?? 'Ostrava', coin: 'etc', symbol: 'ETC', network: 'classic', fee: 1, depth, immatureDepth: 20, confirmations: 12, interval: 5, hashrateWindow: 1800, feeFromMiner: Boolean(process.env.FEE_FROM_MINER),
  ports: [
    { host: '', port: 8008, tls: false, difficulty: 2_000_000_000, varDiff: false },
    { host: '', port: 9009, tls: true, difficulty: 8_000_000_000, varDiff: true },
    { host: 'asia.pool.example.org', port: 8009, tls: false, difficulty: 20_000_000_000, varDiff: false },
  ],
  explorerTx: 'https://explorer.example.org/tx/{}', explorerAddress: 'https://explorer.example.org/address/{}', explorerBlock: 'https://explorer.example.org/block/{}',
  accent: process.env.ACCENT ?? '', contact: 'help@pool.example.org', version: 'v1.0.0-dev',
}

function payoutsView() {
  return {
    state: payouts, reason: payouts === 'halted' ? 'wallet_low' : '', nextSession: payouts === 'running' ? 0 : start + 7200,
    threshold: 1_000_000_000, session, wallet: 913_002_118_442, liabilities: 341_884_003_117, audit: { time: start - 8000, clean: true, findings: 0 },
  }
}

const empty = () => mode === 'empty'
const views = {
  '/api/stats': () => ({
    now: (stopped || now()) * 1000,
    nodes: empty() ? [] : [{ name: 'main', height: '19402213', difficulty: String(difficulty), lastBeat: String(now() - 2) }, { name: 'asia-2', height: '19402212', difficulty: String(difficulty), lastBeat: String(now() - 3) }],
    stats: empty() ? { roundShares: 0 } : { lastBlockFound: start - 700, roundShares: 1_640_002_118_771_204 },
    hashrate: empty() ? 0 : 4_213_882_117_004, hashrateAverage: empty() ? 0 : 4_102_004_331_882, minersTotal: empty() ? 0 : addresses.length, workersTotal: empty() ? 0 : 421,
    maturedTotal: empty() ? 0 : matured.length, immatureTotal: empty() ? 0 : immature.length, candidatesTotal: empty() ? 0 : candidates.length, paymentsTotal: empty() ? 0 : paid.length,
    poolCharts: empty() ? [] : points, network: { height: 19402213, difficulty, hashrate: 198_334_002_118_771 },
    round: empty() ? { shares: 0, progress: 0 } : { shares: 1_640_002_118_771_204, progress: 0.6275 + ((now() - start) % 600) / 2000 },
    payouts: empty() ? { ...payoutsView(), state: 'unknown', nextSession: 0, wallet: -1, liabilities: 0, audit: null, session: { started: 0, ended: 0, due: 0, paid: 0, inFlight: 0, amount: 0 } } : payoutsView(),
    settings: empty() ? { ...settings, ports: [] } : settings,
  }),
  '/api/miners': (q) => {
    const list = empty() ? [] : addresses.map((login, i) => ({ login, lastBeat: now() - (i % 40), hr: Math.floor(4.2e11 / (i + 1)), offline: i % 31 === 30, workers: 1 + (i * 7) % 12 }))
    const found = q.has('find') && !process.env.NO_FIND ? list.filter((m) => m.login.includes(q.get('find').toLowerCase())) : undefined
    const part = q.has('limit') ? cut(found ?? list, q) : undefined
    return { now: now() * 1000, miners: Object.fromEntries((part ?? list).map(({ login, workers, ...m }) => [login, m])), hashrate: 4_213_882_117_004, minersTotal: list.length, ...(part && { list: part }), ...(found && { found: found.length }) }
  },
  '/api/blocks': (q) => empty()
    ? { matured: [], maturedTotal: 0, immature: [], immatureTotal: 0, candidates: [], candidatesTotal: 0, luck: {} }
    : { matured: cut(matured, q), maturedTotal: matured.length, immature, immatureTotal: immature.length, candidates, candidatesTotal: 1, luck: { 64: { luck: 0.934, uncleRate: 0.0625, orphanRate: 0.0156 }, 128: { luck: 1.021, uncleRate: 0.0547, orphanRate: 0.0078 }, 256: { luck: 0.9963, uncleRate: 0.0586, orphanRate: 0.0117 } } },
  '/api/payments': (q) => empty()
    ? { payments: [], paymentsTotal: 0, pending: [], days: [] }
    : { payments: cut(paid, q), paymentsTotal: paid.length, pending: payouts === 'running' ? [{ timestamp: now() - 1, tx: '', address: addresses[12], amount: 4_551_000_001, status: 'pending', confirmations: 0, block: 0, feeWei: '' }] : [], days: poolDays },
}

function cut(list, q) {
  const from = Number(q.get('offset') ?? 0)
  return list.slice(from, from + Number(q.get('limit') ?? 30))
}

const reasons = { 0: ['below_threshold', 387_119_204_113], 1: ['next_session', 14e9], 2: ['recipient_rejects', 41e9], 3: ['wallet_low', 2e9], 4: ['some_new_word', 1e9] }
function account(login, q) {
  const i = addresses.indexOf(login)
  if (i < 0 || empty()) return null
  const [reason, balance] = reasons[i] ?? ['below_threshold', 412_119_204]
  const threshold = i === 0 ? 500_000_000_000 : 1_000_000_000
  const mine = paid.map(({ address, ...p }) => p).slice(0, 61)
  const workers = Object.fromEntries(['rig1', 'rig2', 'rig10', 'attic', '<img src=x onerror=alert(1)>', 'a-very-long-rig-name-of-32-chars'].map((name, j) => [name, { lastBeat: now() - (j === 3 ? 9000 : 4 + j), hr: j === 3 ? 0 : 9.2e10 + j * 1e9, hr2: 8.9e10 + j * 1e9, offline: j === 3 }]))
  return {
    stats: { balance, pending: 0, paid: 81_204_553_917_004, immature: 1_204_553_917, lastShare: now() - 4, blocksFound: 12 },
    payments: cut(mine, q), paymentsTotal: mine.length, roundShares: 98_224_118_771_204, roundShare: 0.0598927, workers, workersTotal: 6, workersOnline: 5, workersOffline: 1,
    hashrate: 418_204_553_917, currentHashrate: 431_882_117_004, pageSize: 30, charts: minerPoints(4.2e11), login, now: now() * 1000,
    pending: i === 0 ? [{ timestamp: now() - 2, tx: '', amount: 1_551_000_001, status: 'pending', confirmations: 0, block: 0, feeWei: '' }] : [],
    payout: { threshold, progress: Math.min(1, balance / threshold), reason, why: i === 2 ? 'execution reverted' : '', nextSession: start + 7200, thresholdAt: reason === 'below_threshold' ? start + 93_000 : 0, ...(payouts === 'running' && { due: i === 1 }) },
    rewards: [...immature, ...matured].slice(0, 40).filter((b) => b.kind !== 'orphan').map((b) => ({ height: b.height, ...(b.uncle && { uncleHeight: b.uncleHeight }), timestamp: b.timestamp, hash: b.hash, amount: Math.floor(2.048e9 * 0.0512 * (0.8 + 0.4 * random())), share: 0.0512, luck: b.luck, kind: b.kind, immature: b.state === 'immature' })),
    earnings,
  }
}

const listeners = new Set()
const tell = (...names) => { for (const res of listeners) for (const name of names) res.write(`event: ${name}\ndata: {}\n\n`) }
setInterval(() => { if (mode !== 'down' && mode !== 'stale') tell('stats', 'account') }, 5000)
setInterval(() => {
  if (payouts !== 'running') return
  session.paid++
  session.amount += 4_551_000_001
  session.inFlight = Math.min(3, session.due - session.paid)
  paid.unshift({ ...payment(0), timestamp: now() })
  if (session.paid === session.due) { session.ended = now(); payouts = 'idle' }
  tell('session', 'payment')
}, 1500)

const types = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' }

createServer((req, res) => {
  const { pathname, searchParams } = new URL(req.url, 'http://localhost')
  const json = (status, body) => { res.writeHead(status, { 'Content-Type': 'application/json' }); res.end(JSON.stringify(body)) }
  if (pathname.startsWith('/dev/')) {
    const what = pathname.slice(5)
    if (what === 'session') { payouts = 'running'; session = { started: now(), ended: 0, due: 41, paid: 0, inFlight: 2, amount: 0 } }
    else if (what === 'halt') payouts = 'halted'
    else { mode = what === 'up' ? '' : what; stopped = what === 'stale' ? now() - 300 : 0; payouts = 'idle' }
    if (mode === 'down') for (const l of listeners) l.destroy()
    tell('session')
    return json(200, { mode, payouts })
  }
  if (pathname.startsWith('/api/')) {
    if (mode === 'down') return req.socket.destroy()
    if (pathname === '/api/events') {
      res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
      res.write('retry: 5000\n\n')
      listeners.add(res)
      return res.on('close', () => listeners.delete(res))
    }
    const m = /^\/api\/accounts\/(0x[0-9a-f]{40})(\/payments|\/charts|\/(?:payments|rewards)\.csv)?$/i.exec(pathname)
    if (m?.[2]?.endsWith('.csv')) { res.writeHead(200, { 'Content-Type': 'text/csv' }); return res.end('time,amount\n') }
    if (m?.[2] === '/charts') return json(200, { now: now() * 1000, charts: Object.fromEntries(['rig1', 'rig2', 'rig10', 'attic'].map((name, j) => [name, minerPoints(9e10).slice(20 * j)])) })
    const view = m ? account(m[1].toLowerCase(), searchParams) : views[pathname]?.(searchParams)
    return view ? json(200, view) : json(404, { error: m ? 'no such miner' : 'no such route' })
  }
  const file = join(dist, normalize(pathname === '/' ? '/index.html' : pathname))
  if (!file.startsWith(dist) || !existsSync(file)) return json(404, { error: 'no such file' })
  res.writeHead(200, {
    'Content-Type': types[extname(file)] ?? 'application/octet-stream', 'Cache-Control': 'no-cache',
    'Content-Security-Policy': "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
  })
  res.end(readFileSync(file))
}).listen(port, '127.0.0.1', () => console.log(`http://127.0.0.1:${port}`))
