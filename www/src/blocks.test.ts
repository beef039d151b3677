import assert from 'node:assert/strict'
import { test } from 'node:test'
import { shown } from './blocks'

const hash = '0x' + 'ab'.repeat(32)

test('an uncle is shown by its own height, in the block that includes it', () => {
  const at = shown({ height: 202, uncleHeight: 201, hash, kind: 'uncle' })
  assert.deepEqual(at, { height: 201, link: hash, inside: 202 })
})

test('an uncle whose height is not said is not given that of another block', () => {
  assert.deepEqual(shown({ height: 202, hash, kind: 'uncle' }), { height: 0, link: hash, inside: 202 })
  assert.equal(shown({ height: 202, uncleHeight: 201, hash: '', kind: 'uncle' }).link, '')
})

test('only what is in the chain is linked by its height', () => {
  assert.deepEqual(shown({ height: 7, uncleHeight: 0, hash, kind: 'block' }), { height: 7, link: '7', inside: 0 })
  assert.equal(shown({ height: 7, uncleHeight: 0, hash: '0x0', kind: 'orphan' }).link, '')
  assert.equal(shown({ height: 7, uncleHeight: 0, hash: '', kind: 'candidate' }).link, '')
})
