// What is wrong with the page at first sight, as a list of sentences. width is the
// window's, in CSS pixels.
(width) => {
  const found = []
  const root = document.documentElement
  if (root.scrollWidth > width) found.push(`the page is ${root.scrollWidth} wide and scrolls sideways`)

  // Where there is text, and in which element.
  const pieces = []
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const text = node.data.trim()
    const element = node.parentElement
    if (!text || !element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue
    if (element.closest('script, style, noscript, .unseen, .skip')) continue
    const head = element.closest('thead') // unseen on a phone
    if (head && getComputedStyle(head).position === 'absolute') continue
    const range = document.createRange()
    range.selectNodeContents(node)
    for (const box of range.getClientRects()) if (box.width > 0.5 && box.height > 0.5) pieces.push({ text: text.slice(0, 40), element, box })
  }

  for (const { text, element, box } of pieces) {
    if (box.left < -0.5 || box.right > width + 0.5) found.push(`"${text}" is outside of the window`)
    for (let e = element; e && e !== document.body; e = e.parentElement) {
      const style = getComputedStyle(e)
      if (!/hidden|clip|auto|scroll/.test(style.overflowX + style.overflowY)) continue
      const frame = e.getBoundingClientRect()
      if (box.right > frame.right + 1 || box.left < frame.left - 1 || box.bottom > frame.bottom + 1 || box.top < frame.top - 1) found.push(`"${text}" is cut off`)
    }
  }

  // Line boxes may touch; letters must not.
  const core = (b) => ({ left: b.left + 1, right: b.right - 1, top: b.top + b.height * 0.25, bottom: b.bottom - b.height * 0.25 })
  for (let i = 0; i < pieces.length; i++) {
    const a = core(pieces[i].box)
    for (let j = i + 1; j < pieces.length; j++) {
      const b = core(pieces[j].box)
      if (a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom) found.push(`"${pieces[i].text}" and "${pieces[j].text}" overlap`)
    }
  }

  // Contrast, as WCAG defines it.
  const channels = (colour) => {
    const n = colour.match(/[\d.]+(?:e-?\d+)?/g)?.map(Number) ?? [0, 0, 0, 0]
    const [r, g, b] = colour.startsWith('color(') ? n.slice(0, 3).map((x) => x * 255) : n
    return [r, g, b, n[3] ?? 1]
  }
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1)
  const ground = (e) => {
    if (!e) return [255, 255, 255, 1]
    const own = channels(getComputedStyle(e).backgroundColor)
    return own[3] === 1 ? own : over(own, ground(e.parentElement))
  }
  const light = (c) => {
    const [r, g, b] = c.slice(0, 3).map((x) => ((x /= 255) <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  for (const { text, element } of pieces) {
    const style = getComputedStyle(element)
    const below = ground(element)
    const [dim, bright] = [light(over(channels(style.color), below)), light(below)].sort((a, b) => a - b)
    const ratio = (bright + 0.05) / (dim + 0.05)
    const big = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700)
    if (ratio < (big ? 3 : 4.5)) found.push(`"${text}" has a contrast of ${ratio.toFixed(2)}`)
  }

  // What can be operated has a name, and ids are unique.
  for (const e of document.querySelectorAll('a, button, input')) {
    const name = e.ariaLabel || e.innerText.trim() || e.title || [...(e.labels ?? [])].map((l) => l.innerText).join('')
    if (!name) found.push(`${e.outerHTML.slice(0, 80)} has no name`)
  }
  for (const e of document.querySelectorAll('[id]')) if (document.querySelectorAll('#' + CSS.escape(e.id)).length > 1) found.push(`two elements have the id ${e.id}`)
  for (const bad of ['undefined', 'NaN', '[object', 'Infinity']) if (document.body.innerText.includes(bad)) found.push(`the page says ${bad}`)

  return [...new Set(found)]
}
