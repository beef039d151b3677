// chart.tsx draws a line over time. uPlot is loaded when the first chart is seen.
import { useEffect, useRef, useState } from 'preact/hooks'
import type uPlot from 'uplot'
import { duration, exact, spanOf, stepOf } from '../format'
import { texts } from '../texts'

export type Point = [x: number, y: number]

export interface Chart {
  name: string
  points: Point[]
  show: (y: number) => string
  zero?: boolean // the axis begins at zero
  count?: boolean // of whole things
  tall?: boolean
}

const height = 150
const tallHeight = 210
const counts = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000]

/** Chart is a line with its name, its present value and what is under the pointer. */
export function Chart(props: Chart) {
  const { name, points, show, zero, tall } = props
  const box = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  const latest = useRef(props)
  latest.current = props
  const [at, setAt] = useState<number | null>(null)
  const [theme, setTheme] = useState(0)
  const enough = points.length >= 2

  useEffect(() => {
    if (!enough) return
    let gone = false
    let watch: ResizeObserver | undefined
    void import('uplot').then(({ default: Plot }) => {
      const element = box.current
      if (gone || !element) return
      const css = getComputedStyle(element)
      const colour = (property: string) => css.getPropertyValue(property).trim()
      const line = colour('--accent')
      const axis = {
        stroke: colour('--muted'), font: `12px ${css.fontFamily}`,
        grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false },
      }
      const size = () => ({ width: Math.max(1, element.clientWidth), height: latest.current.tall ? tallHeight : height })
      const made = new Plot({
        ...size(),
        padding: [8, 28, 0, 0], // half a label to the right
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 7, fill: line, stroke: line } },
        scales: { y: { range: (_u, low, high) => range(low, high, !!latest.current.zero) } },
        axes: [
          { ...axis, grid: { show: false }, space: 60, size: 32, gap: 9, values: (_u, marks) => marks.map((m) => clock(m, marks[1]! - marks[0]! < 60)) },
          { ...axis, size: 78, space: 26, ...(latest.current.count && { incrs: counts }), values: (_u, marks) => marks.map((m) => latest.current.show(m)) },
        ],
        series: [{}, { stroke: line, width: 1.75, fill: zero ? colour('--accent-soft') : '', points: { show: false }, spanGaps: false }],
        hooks: { setCursor: [(u) => setAt(u.cursor.idx ?? null)] },
      }, dataOf(latest.current.points), element)
      made.root.setAttribute('aria-hidden', 'true')
      plot.current = made
      watch = new ResizeObserver(() => made.setSize(size()))
      watch.observe(element)
    })
    return () => {
      gone = true
      watch?.disconnect()
      plot.current?.destroy()
      plot.current = null
    }
  }, [enough, theme, zero, tall])

  useEffect(() => plot.current?.setData(dataOf(points)), [points])

  useEffect(() => {
    const redraw = () => setTheme((n) => n + 1)
    const system = matchMedia('(prefers-color-scheme: dark)')
    addEventListener('themechange', redraw)
    system.addEventListener('change', redraw)
    return () => {
      removeEventListener('themechange', redraw)
      system.removeEventListener('change', redraw)
    }
  }, [])

  if (!enough) return <figure class="chart"><figcaption><b>{name}</b></figcaption><p class="empty">{texts.chart.empty}</p></figure>
  const values = points.map((p) => p[1])
  const last = values[values.length - 1]!
  const [xs, ys] = dataOf(points)
  const x = at === null ? undefined : xs[at]
  const y = at === null ? undefined : ys[at]
  const pointed = x !== undefined && y !== undefined && y !== null
  return (
    <figure class="chart">
      <figcaption>
        <b>{name}</b>
        <span class="value">{show(pointed ? y : last)}</span>
        <span class="muted">{pointed ? exact(x) : spanText(points)}</span>
      </figcaption>
      <div ref={box} class={tall ? 'plot tall' : 'plot'} role="img" aria-label={texts.chart.summary(name, show(last), show(Math.min(...values)), show(Math.max(...values)))} />
    </figure>
  )
}

/** spanText says how far back points reach. */
export function spanText(points: Point[]): string {
  const span = spanOf(points.map((p) => p[0]))
  const hours = Math.round(span / 3600)
  return texts.chart.span(hours >= 24 && hours < 48 ? texts.units.hour(hours) : duration(span))
}

// dataOf puts a gap where points are missing: a line over it would claim what
// nobody measured.
function dataOf(points: Point[]): [number[], (number | null)[]] {
  const xs: number[] = []
  const ys: (number | null)[] = []
  const usual = stepOf(points.map((p) => p[0]))
  points.forEach(([x, y], i) => {
    const before = points[i - 1]
    if (before && usual && x - before[0] > 3 * usual) {
      xs.push(before[0] + usual)
      ys.push(null)
    }
    xs.push(x)
    ys.push(y)
  })
  return [xs, ys]
}

function range(low: number, high: number, zero: boolean): [number, number] {
  if (!Number.isFinite(low) || !Number.isFinite(high)) return [0, 1]
  if (zero) return [0, high > 0 ? high * 1.1 : 1]
  const room = (high - low) * 0.15 || high * 0.05 || 1
  return [Math.max(0, low - room), high + room]
}

function clock(x: number, seconds: boolean): string {
  const d = new Date(x * 1000)
  const two = (n: number) => String(n).padStart(2, '0')
  return `${two(d.getHours())}:${two(d.getMinutes())}${seconds ? ':' + two(d.getSeconds()) : ''}`
}

/** Spark is a line without axes, for rows of a table; from is where the time of all
 * of them begins. */
export function Spark({ points, label, from }: { points: Point[]; label: string; from?: number | undefined }) {
  if (points.length < 2) return null
  const width = 120
  const tall = 28
  const [x0, x1] = [from ?? points[0]![0], points[points.length - 1]![0]]
  const top = Math.max(...points.map((p) => p[1])) || 1
  const step = stepOf(points.map((p) => p[0]))
  const gap = (i: number) => i === 0 || points[i]![0] - points[i - 1]![0] > 3 * step
  const path = points.map(([x, y], i) => `${gap(i) ? 'M' : 'L'}${(((x - x0) / (x1 - x0 || 1)) * width).toFixed(1)} ${(tall - 2 - (y / top) * (tall - 4)).toFixed(1)}`).join('')
  return <svg class="spark" viewBox={`0 0 ${width} ${tall}`} width={width} height={tall} role="img" aria-label={label}><path d={path} /></svg>
}
