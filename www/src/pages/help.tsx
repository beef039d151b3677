// help.tsx writes the command line with which a visitor starts to mine.
import { useId, useRef, useState } from 'preact/hooks'
import { host } from '../api'
import type { Answer } from '../api'
import { checksummed, mistyped, parse } from '../address'
import { place, programs } from '../commands'
import { difficulty, duration } from '../format'
import * as memory from '../memory'
import { Panel, Title, Wait } from '../parts/panel'
import { Copy } from '../parts/values'
import type { Place } from '../router'
import { texts } from '../texts'
import type { Pool, Port } from '../types'

const goodWorker = /^[\w-]{0,32}$/

export function Help({ pool, at }: { pool: Answer<Pool>; at: Place }) {
  const t = texts.help
  return (
    <>
      <Title>{t.title}</Title>
      <p class="lead">{t.lead}</p>
      <Wait on={pool}>{(p) => <Commands p={p} first={at.path[1] ?? memory.recent()[0] ?? ''} />}</Wait>
      <Panel title={t.then}><ol class="steps">{t.steps(pool.data?.settings.hashrateWindow ? duration(pool.data.settings.hashrateWindow) : '').map((s) => <li key={s}>{s}</li>)}</ol></Panel>
      <Panel title={t.questions}>
        <dl class="glossary">{[...t.faq, t.fee(pool.data?.settings.feeFromMiner ?? false)].map(([q, a]) => <div key={q}><dt>{q}</dt><dd>{a}</dd></div>)}</dl>
      </Panel>
    </>
  )
}

function Commands({ p, first }: { p: Pool; first: string }) {
  const t = texts.help
  const id = useId()
  const [typed, setTyped] = useState(() => (parse(first) ? checksummed(first) : ''))
  const [worker, setWorker] = useState(memory.worker)
  const [chosenPort, setPort] = useState(0)
  const [program, setProgram] = useState(programs[0]!.name)
  const code = useRef<HTMLElement>(null)
  const { ports, network } = p.settings
  if (ports.length === 0) return <p class="empty">{t.noPorts}</p>
  const port = ports[chosenPort] ?? ports[0]!
  const address = parse(typed)
  const named = goodWorker.test(worker)
  const etchash = network === 'classic' || network === 'mordor'
  const command = programs.find((x) => x.name === program)!.command({
    address: address ? checksummed(address) : t.placeholder,
    worker: named ? worker : '',
    host: port.host || host,
    port: port.port, tls: port.tls, etchash,
  })
  const bad = typed && !address ? texts.search.bad : mistyped(typed) ? texts.search.typo : ''
  return (
    <div class="columns connect">
      <Panel title={p.settings.symbol ? `${t.title}: ${p.settings.symbol}` : t.title}>
        <div class="fields">
          <div>
            <label for={id + 'a'}>{t.address}</label>
            <input id={id + 'a'} type="text" class="hex" autocomplete="off" autocapitalize="none" spellcheck={false} placeholder={texts.search.placeholder} value={typed}
              aria-invalid={!!bad} aria-describedby={id + 'an'} onInput={(e) => setTyped(e.currentTarget.value)} />
            <p id={id + 'an'} class={bad ? 'bad' : 'note'}>{bad || t.addressNote}</p>
          </div>
          <div>
            <label for={id + 'w'}>{t.worker}</label>
            <input id={id + 'w'} type="text" autocomplete="off" autocapitalize="none" spellcheck={false} maxLength={40} value={worker} placeholder="rig1"
              aria-invalid={!named} aria-describedby={id + 'wn'} onInput={(e) => { setWorker(e.currentTarget.value); if (goodWorker.test(e.currentTarget.value)) memory.setWorker(e.currentTarget.value) }} />
            <p id={id + 'wn'} class={named ? 'note' : 'bad'}>{named ? t.workerNote : t.badWorker}</p>
          </div>
          <fieldset>
            <legend>{t.port}</legend>
            {ports.map((x, i) => (
              <label class="choice" key={i}>
                <input type="radio" name={id + 'p'} checked={x === port} onChange={() => setPort(i)} />
                <span><b>{place(x.host || host, x.port)}</b><span class="note">{describe(x)}</span></span>
              </label>
            ))}
          </fieldset>
        </div>
      </Panel>
      <Panel title={t.command}>
        <fieldset class="programs">
          <legend>{t.program}</legend>
          {programs.map((x) => (
            <label class="chip" key={x.name}>
              <input type="radio" name={id + 'm'} checked={x.name === program} onChange={() => setProgram(x.name)} />
              <span>{x.name}</span>
            </label>
          ))}
        </fieldset>
        <pre class="command" tabIndex={0} aria-label={t.command}><code ref={code}>{command}</code></pre>
        <Copy text={command} from={() => code.current} />
        {!address && <p class="note">{t.needAddress}</p>}
        {program === 'ethminer' && etchash && <p class="note">{t.ethminerEtc}</p>}
      </Panel>
    </div>
  )
}

function describe(p: Port): string {
  const t = texts.help
  return `${p.tls ? t.tls : t.plain}, ${p.varDiff ? t.varDiff(difficulty(p.difficulty)) : t.fixed(difficulty(p.difficulty))}`
}
