import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { contrast, grounds, visible } from './colour'

const style = readFileSync('src/style.css', 'utf8')
const values = (name: string) => [...style.matchAll(new RegExp(`--${name}: (?:var\\([^,]*, )?(#[0-9a-f]{6})`, 'g'))].map((m) => m[1]!)
const themes = ['light', 'dark'] as const

test('any accent is seen, and one that is seen already is not changed', () => {
  for (const theme of themes) {
    for (const accent of ['#ffee00', '#000000', '#ffffff', '#00004d', '#777777', '#e4e8eb', '#2a343c', '#f00', '#0b7a69']) {
      const got = visible(accent, theme)!
      for (const ground of [grounds[theme], ...(theme === 'light' ? ['#ffffff', '#f5f6f7'] : ['#171e24', '#0f1418'])]) {
        assert.ok(contrast(got, ground) >= 3, `${accent} is ${got} on ${ground} of the ${theme} theme: ${contrast(got, ground)}`)
      }
    }
  }
  assert.equal(visible('#0b7a69', 'light'), '#0b7a69')
  assert.equal(visible('#FFEE00', 'dark'), '#ffee00')
  assert.equal(visible('#00004d', 'light'), '#00004d')
  assert.equal(visible('red;', 'light'), null)
})

test('contrast is what WCAG says', () => {
  assert.equal(contrast('#000', '#fff'), 21)
  assert.equal(contrast('#777777', '#ffffff').toFixed(2), '4.48')
})

test('the grounds are those of the style, and its own colours of bars are seen on them', () => {
  const tracks = values('track')
  assert.deepEqual(tracks, [grounds.light, grounds.dark, grounds.dark])
  for (const name of ['accent', 'over']) {
    const colours = values(name)
    assert.equal(colours.length, tracks.length)
    colours.forEach((colour, i) => assert.ok(contrast(colour, tracks[i]!) >= 3, `--${name} ${colour} on ${tracks[i]}: ${contrast(colour, tracks[i]!)}`))
  }
})
