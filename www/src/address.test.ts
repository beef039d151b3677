import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checksummed, keccak256, mistyped, parse } from './address'

const right = '0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed' // of EIP-55

test('keccak of nothing is what Ethereum says it is', () => {
  const hex = keccak256('').map((b) => b.toString(16).padStart(2, '0')).join('')
  assert.equal(hex, 'c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470')
})

test('any letter case is the same address', () => {
  for (const text of [right, right.toLowerCase(), right.toUpperCase(), right.slice(2), `  ${right}\n`]) {
    assert.equal(parse(text), right.toLowerCase())
    assert.equal(checksummed(parse(text)!), right)
    assert.equal(mistyped(text), false)
  }
  assert.equal(checksummed('0xfb6916095ca1df60bb79ce92ce3ea74c37c5d359'), '0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359')
})

test('what is no address is none', () => {
  for (const text of ['', '0x', right + '0', right.slice(0, -1), right.replace('a', 'g')]) assert.equal(parse(text), null)
  assert.equal(checksummed('0x12'), '0x12')
})

test('a wrong capital letter is noticed', () => {
  assert.equal(mistyped(right.replace('aA', 'Aa')), true)
  assert.equal(mistyped(right.replace('5a', '6a')), true)
})
