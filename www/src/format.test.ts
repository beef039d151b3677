import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decimal, difficulty, duration, hashrate, ofShannon, ofWei, percent, permille, ratio, relative, shannon, short, spanOf, whole } from './format'

test('amounts are exact, grouped and trimmed', () => {
  const rows: [string | number, string][] = [
    [0, '0'],
    [1, '0.000000001'],
    [1_000_000_000, '1'],
    [1_500_000_000, '1.5'],
    [1_234_567_000_000_001, '1,234,567.000000001'],
    ['9223372036854775807', '9,223,372,036.854775807'],
    [-1_500_000_000, '−1.5'],
    ['nonsense', '0'],
  ]
  for (const [amount, want] of rows) assert.equal(shannon(amount), want)
  assert.equal(shannon(undefined), '0')
})

test('a column of amounts has nine decimals each', () => {
  for (const amount of [0, 1, 1_000_000_000, 1_500_000_000, '9223372036854775807']) {
    const { digits, zeros } = ofShannon(amount)
    assert.match(digits + zeros, /\.\d{9}$/)
  }
})

test('Wei is cut, never rounded, and the title has all of it', () => {
  assert.deepEqual(ofWei('2048000000000000000'), { digits: '2.048', zeros: '000000', full: '2.048' })
  const odd = ofWei('1999999999999999999')
  assert.equal(odd.digits, '1.999999999…')
  assert.equal(odd.full, '1.999999999999999999')
  assert.equal(ofWei('1').digits, '0.000000000…')
  assert.equal(decimal(1n, 18), '0.000000000000000001')
})

test('shares of a whole do not pass through floats', () => {
  assert.equal(permille('9223372036854775806', '9223372036854775807'), 999)
  assert.equal(permille(1, 0), 0)
  assert.equal(permille(3, 2), 1500)
  assert.equal(ratio(1, 3), 0.333333)
  assert.equal(ratio(1, undefined), 0)
})

test('hashrates and difficulties have units', () => {
  const rows: [number, string][] = [
    [0, '0 H/s'],
    [999, '999 H/s'],
    [1000, '1.00 KH/s'],
    [123_456_789, '123.46 MH/s'],
    [999_996_000, '1.00 GH/s'],
    [4_213_882_117_004, '4.21 TH/s'],
    [-1, '0 H/s'],
    [NaN, '0 H/s'],
  ]
  for (const [n, want] of rows) assert.equal(hashrate(n), want)
  assert.equal(difficulty(2_000_000_000), '2.00 G')
  assert.equal(difficulty('2613402118771204'), '2.61 P')
  assert.equal(difficulty(12), '12')
  assert.equal(whole('19402213'), '19,402,213')
})

test('durations have one unit or two', () => {
  const rows: [number, string][] = [
    [0, '0 s'],
    [59, '59 s'],
    [60, '1 min'],
    [3599, '59 min'],
    [3600, '1 h'],
    [7_500, '2 h 5 min'],
    [86_400, '1 day'],
    [90_000, '1 day 1 h'],
    [86_400 * 12 + 7200, '12 days'],
    [-5, '0 s'],
  ]
  for (const [s, want] of rows) assert.equal(duration(s), want)
})

test('times are relative to now', () => {
  assert.equal(relative(100, 102), 'just now')
  assert.equal(relative(100, 220), '2 min ago')
  assert.equal(relative(7300, 100), 'in 2 h')
})

test('ratios are percents', () => {
  assert.equal(percent(0.0512), '5.12 %')
  assert.equal(percent(0.5), '50.0 %')
  assert.equal(percent(1.42), '142 %')
  assert.equal(percent(Infinity), '–')
  assert.equal(percent(103.74), '10,374 %')
  assert.equal(percent(12.5, 1), '1,250.0 %')
})

test('long hex is shortened in the middle', () => {
  assert.equal(short('0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed'), '0x5aAeb6…1BeAed')
  assert.equal(short('0x0'), '0x0')
})

test('a chart is as long as what its points stand for', () => {
  const points = (n: number, step: number) => Array.from({ length: n }, (_, i) => 1000 + i * step)
  assert.equal(duration(spanOf(points(144, 600))), '1 day')
  assert.equal(duration(spanOf(points(17, 600))), '2 h 50 min') // of a large window of 3 h
  assert.equal(duration(spanOf([...points(60, 600), ...points(144, 600).slice(68)])), '1 day')
  assert.equal(spanOf([1000]), 0)
})
