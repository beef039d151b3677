import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Clock, Progress } from './clock'

const noon = Date.parse('2026-11-28T12:00:00Z')
const headers = (of: Record<string, string>) => ({ get: (name: string) => of[name] ?? null })
const hour = 3_600_000

test('the time is the server’s, not the visitor’s', () => {
  const clock = new Clock()
  clock.heard(headers({ Date: 'Sat, 28 Nov 2026 12:00:00 GMT' }), noon - hour) // his clock is an hour late
  assert.equal(clock.now(noon - hour + 5000), noon + 5000)
  clock.heard(headers({ Date: 'Sat, 28 Nov 2026 11:58:00 GMT', Age: '120' }), noon + 3000) // a cache had it for two minutes
  assert.equal(clock.now(noon), noon) // seconds are the network's
})

test('a wrong clock is no alarm where the server’s time is not known', () => {
  for (const off of [-hour, 0, hour, 24 * hour]) {
    const [clock, progress] = [new Clock(), new Progress()]
    clock.heard(headers({}), noon + off)
    assert.equal(clock.known, false)
    assert.equal(progress.age(noon, clock, noon + off), 0)
    assert.equal(progress.age(noon + 5000, clock, noon + off + 5000), 0)
    assert.equal(progress.age(noon + 5000, clock, noon + off + 300_000), 295_000) // nothing newer came
  }
})

test('where it is known, old numbers are old at first sight', () => {
  const [clock, progress] = [new Clock(), new Progress()]
  clock.heard(headers({ Date: 'Sat, 28 Nov 2026 12:00:00 GMT' }), noon + hour)
  assert.equal(progress.age(noon - 600_000, clock, noon + hour), 600_000)
})
