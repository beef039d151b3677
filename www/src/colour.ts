// colour.ts keeps an operator's colour visible: lines, bars and marks in it have
// a contrast of at least 3:1, as WCAG asks of what is no text.

type RGB = [number, number, number]

/** grounds are what accents are seen against, the closest to them: --track of
 * style.css, which cards and pages are further away from. */
export const grounds = { light: '#e4e8eb', dark: '#2a343c' }

const least = 3
const steps = 50

export function parse(hex: string): RGB | null {
  const m = /^#(?:([0-9a-f]{3})|([0-9a-f]{6}))$/i.exec(hex)
  if (!m) return null
  const digits = m[2] ?? [...m[1]!].map((c) => c + c).join('')
  return [0, 2, 4].map((i) => parseInt(digits.slice(i, i + 2), 16)) as RGB
}

function light(rgb: RGB): number {
  const [r, g, b] = rgb.map((x) => (x / 255 <= 0.03928 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4)) as RGB
  return 0.2126 * r + 0.7152 * g + 0.0722 * b
}

/** contrast of two colours such as #0b7a69, from 1 to 21. */
export function contrast(a: string, b: string): number {
  const [dim, bright] = [light(parse(a)!), light(parse(b)!)].sort((x, y) => x - y) as [number, number]
  return (bright + 0.05) / (dim + 0.05)
}

const write = (rgb: RGB) => '#' + rgb.map((x) => Math.round(x).toString(16).padStart(2, '0')).join('')

/** visible mixes a colour with black on a light ground, with white on a dark one,
 * until it is seen; a colour that is seen stays as it is. */
export function visible(colour: string, theme: keyof typeof grounds): string | null {
  const from = parse(colour)
  if (!from) return null
  const end = theme === 'light' ? 0 : 255
  for (let i = 0; ; i++) {
    const mixed = write(from.map((x) => x + ((end - x) * i) / steps) as RGB)
    if (i === steps || contrast(mixed, grounds[theme]) >= least) return mixed
  }
}
