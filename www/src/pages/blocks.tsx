// blocks.tsx lists the pool's blocks on their way from found to paid.
import { useApi } from '../api'
import type { Answer } from '../api'
import { big, difficulty, percent, whole } from '../format'
import { Panel, Title, Wait } from '../parts/panel'
import { Paged, Table, pageOf } from '../parts/table'
import type { Column } from '../parts/table'
import { Badge, Bar, Exact, Found, Time, Wei } from '../parts/values'
import type { Place } from '../router'
import { useSettings } from '../settings'
import { texts } from '../texts'
import type { Block, Blocks as Answered, Pool } from '../types'

const size = 25
const firstNew = 10

export function Blocks({ pool, at }: { pool: Answer<Pool>; at: Place }) {
  const t = texts.blocks
  const { depth, immatureDepth } = useSettings()
  const page = pageOf(at.query)
  const blocks = useApi<Answered>(`/api/blocks?limit=${size}&offset=${(page - 1) * size}`)
  return (
    <>
      <Title>{t.title}</Title>
      <Wait on={blocks}>{(b) => (
        <>
          <Luck of={b.luck} />
          <Panel title={<>{t.candidates} <Count of={b.candidatesTotal} /></>} note={immatureDepth > 0 && t.candidatesNote(whole(immatureDepth))}>
            <List rows={b.candidates} caption={t.candidates} empty={t.noCandidates} depth={immatureDepth} head={pool.data?.network.height ?? 0} first={firstNew} unknown />
          </Panel>
          <Panel title={<>{t.immature} <Count of={b.immatureTotal} /></>} note={depth > 0 && t.immatureNote(whole(depth))}>
            <List rows={b.immature} caption={t.immature} empty={t.noImmature} depth={depth} first={firstNew} />
          </Panel>
          <Panel title={<>{t.matured} <Count of={b.maturedTotal} /></>}>
            <Paged total={b.maturedTotal} size={size} page={page}>
              <List rows={b.matured} caption={t.matured} empty={t.noMatured} depth={0} />
            </Paged>
          </Panel>
        </>
      )}</Wait>
      <Panel title={t.words}>
        <dl class="glossary">{t.glossary.map(([word, meaning]) => <div key={word}><dt>{word}</dt><dd>{meaning}</dd></div>)}</dl>
      </Panel>
    </>
  )
}

const Count = ({ of }: { of: number }) => <span class="count">{whole(of)}</span>

function Luck({ of }: { of: Answered['luck'] }) {
  const t = texts.blocks
  const windows = Object.entries(of ?? {}).sort(([a], [b]) => Number(a) - Number(b))
  if (windows.length === 0) return <p class="empty">{t.noLuck}</p>
  return (
    <dl class="tiles luck">
      {windows.map(([n, l]) => (
        <div class="tile" key={n}>
          <dt>{t.luckOver(whole(n))}</dt>
          <dd>{percent(l.luck, 1)}</dd>
          <dd class="note">{t.rates(percent(l.uncleRate, 1), percent(l.orphanRate, 1))}</dd>
        </div>
      ))}
    </dl>
  )
}

const tones: Record<string, string> = { candidate: 'plain', block: 'good', uncle: 'info', orphan: 'bad' }

function List({ rows, caption, empty, depth, head = 0, first, unknown }: { rows: Block[]; caption: string; empty: string; depth: number; head?: number; first?: number; unknown?: boolean }) {
  const t = texts.blocks
  const { symbol } = useSettings()
  const columns: Column<Block>[] = [
    { name: t.height, main: true, of: (b) => <Found of={b} /> },
    { name: t.found, of: (b) => <Time at={b.timestamp} /> },
    { name: t.kind, of: (b) => <Badge kind={tones[b.kind] ?? 'plain'}>{t.kinds[b.kind] ?? b.kind}</Badge> },
    { name: t.effort, number: true, of: (b) => <Exact kind={b.luck <= 1 ? 'lucky' : ''} full={t.effortTitle(whole(b.shares), difficulty(b.difficulty))}>{percent(b.luck, 0)}</Exact> },
    {
      // Of a new block only the height is known: it may not be in the chain.
      name: unknown ? t.since : t.confirmations, hide: !depth,
      of: (b) => {
        const n = Math.min(depth, Math.max(b.confirmations, unknown ? head - b.height : 0, 0))
        return <span class="confirmations"><span>{t.ofDepth(whole(n), whole(depth))}</span><Bar permille={Math.round((n / depth) * 1000)} label={t.confirmations} /></span>
      },
    },
    { name: t.reward(symbol), number: true, hide: !!unknown, of: (b) => (b.orphan || big(b.reward) === 0n ? texts.none : <Wei of={b.reward} column />) },
  ]
  return <Table caption={caption} rows={rows} id={(b) => `${b.hash} ${b.height} ${b.timestamp}`} empty={empty} columns={columns} {...(first !== undefined && { first })} />
}
