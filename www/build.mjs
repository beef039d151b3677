// build.mjs makes dist/ out of src/, and stops if the pages became too heavy:
// everything that a browser loads, compressed, must stay below budget.
//
//   node build.mjs                                  dist/
//   node build.mjs https://pool.example.org FOLDER  the same, for a web server of
//                                                   another origin than the API's
//   node build.mjs test                             the unit tests
import { build } from 'esbuild'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'

const budget = 80 * 1024 // bytes, gzip
const here = dirname(fileURLToPath(import.meta.url))
const src = join(here, 'src')
const [what = '', folder] = process.argv.slice(2)
const dist = what ? folder : join(here, 'dist')
const common = { bundle: true, format: 'esm', target: 'es2022', jsx: 'automatic', jsxImportSource: 'preact', logLevel: 'warning' }

if (what === 'test') await test()
else await pages(what && apiOf(what))

// apiOf reads where the API is: an origin, and a path where it is not at the top.
function apiOf(text) {
  const url = URL.canParse(text) ? new URL(text) : null
  if (!/^https?:$/.test(url?.protocol ?? '') || url.search || url.hash || url.username || !folder) {
    console.error(`the API is at "${text}", want a URL such as https://pool.example.org, and a folder for the pages`)
    process.exit(1)
  }
  return url
}

async function pages(api) {
  const out = await build({
    ...common,
    entryPoints: [
      { in: join(src, 'main.tsx'), out: 'app' },
      { in: join(src, 'style.css'), out: 'style' },
      { in: join(src, 'theme.ts'), out: 'theme' },
    ],
    outdir: dist,
    write: false,
    splitting: true,
    minify: true,
    legalComments: 'none',
    // The API lets browsers keep files with a hash in their name for ever.
    entryNames: '[name]-[hash]',
    chunkNames: '[name]-[hash]',
  })
  const files = new Map(out.outputFiles.map((file) => [basename(file.path), file.contents]))
  const named = (start, end) => [...files.keys()].find((name) => name.startsWith(start + '-') && name.endsWith(end))
  let html = readFileSync(join(src, 'index.html'), 'utf8')
    .replace('theme.js', named('theme', '.js'))
    .replace('app.js', named('app', '.js'))
    .replace('style.css', named('style', '.css'))
  if (api) html = elsewhere(html, api)
  files.set('favicon.svg', readFileSync(join(src, 'favicon.svg')))
  files.set('index.html', html) // the last one: all it names are there

  let total = 0
  for (const [name, content] of files) {
    const size = gzipSync(content, { level: 6 }).length
    total += size
    console.log(`${String(size).padStart(7)}  ${name}`)
  }
  console.log(`${String(total).padStart(7)}  bytes compressed, of ${budget}`)
  if (total > budget) {
    console.error('the pages are too heavy')
    process.exit(1)
  }
  mkdirSync(dist, { recursive: true })
  for (const [name, content] of files) writeFileSync(join(dist, name), content)
  for (const name of readdirSync(dist)) {
    if (!api && name !== '.keep' && !files.has(name)) rmSync(join(dist, name), { recursive: true })
  }
}

// elsewhere tells the pages where the API is, and lets them ask it.
function elsewhere(html, api) {
  for (const [from, to] of [
    ['name="pool-api" content=""', `name="pool-api" content="${api.href.replace(/\/+$/, '')}"`],
    ["connect-src 'self'", `connect-src 'self' ${api.origin}`],
  ]) {
    if (html.split(from).length !== 2) throw new Error(`index.html does not have ${from} once`)
    html = html.replace(from, to)
  }
  return html
}

async function test() {
  const dir = mkdtempSync(join(tmpdir(), 'www-test-'))
  try {
    const tests = readdirSync(src).filter((name) => name.endsWith('.test.ts')).map((name) => join(src, name))
    await build({ ...common, platform: 'node', entryPoints: tests, outdir: dir, outExtension: { '.js': '.mjs' } })
    const files = readdirSync(dir).map((name) => join(dir, name))
    process.exitCode = spawnSync(process.execPath, ['--test', '--test-reporter=spec', ...files], { stdio: 'inherit' }).status ?? 1
  } finally {
    rmSync(dir, { recursive: true })
  }
}
