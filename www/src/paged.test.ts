import assert from 'node:assert/strict'
import { test } from 'node:test'
import { beyond, lastPage, pageOf } from './parts/table'

test('a page beyond the end is known, and an empty list has none', () => {
  const rows: [total: number, page: number, last: number, gone: boolean][] = [
    [0, 1, 1, false],
    [0, 999, 1, false], // that there is nothing is the truth
    [30, 1, 1, false],
    [30, 2, 1, true],
    [31, 2, 2, false],
    [1234, 999, 42, true],
  ]
  for (const [total, page, last, gone] of rows) {
    assert.equal(lastPage(total, 30), last)
    assert.equal(beyond({ total, size: 30, page }), gone, `page ${page} of ${total} rows`)
  }
  for (const [text, want] of [['3', 3], ['0', 1], ['-1', 1], ['1.5', 1], ['x', 1]] as const) assert.equal(pageOf(new URLSearchParams({ page: text })), want)
})
