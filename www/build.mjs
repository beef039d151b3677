// build.mjs makes dist/ out of src/, and stops if the pages became too heavy:
// everything that a browser loads, compressed, must stay below budget.
//
//   node build.mjs        dist/
//   node build.mjs test   the unit tests
import { build } from 'esbuild'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'

const budget = 80 * 1024 // bytes, gzip
const here = dirname(fileURLToPath(import.meta.url))
const src = join(here, 'src')
const dist = join(here, 'dist')
const common = { bundle: true, format: 'esm', target: 'es2022', jsx: 'automatic', jsxImportSource: 'preact', logLevel: 'warning' }

if (process.argv[2] === 'test') await test()
else await pages()

async function pages() {
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
  const html = readFileSync(join(src, 'index.html'), 'utf8')
    .replace('theme.js', named('theme', '.js'))
    .replace('app.js', named('app', '.js'))
    .replace('style.css', named('style', '.css'))
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
  for (const [name, content] of files) writeFileSync(join(dist, name), content)
  for (const name of readdirSync(dist)) {
    if (name !== '.keep' && !files.has(name)) rmSync(join(dist, name), { recursive: true })
  }
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
