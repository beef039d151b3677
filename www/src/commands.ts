// commands.ts writes the command lines of miner programs.

export interface Target {
  address: string
  worker: string // may be empty
  host: string
  port: number
  tls: boolean
  etchash: boolean // else Ethash
}

export interface Program {
  name: string
  command: (t: Target) => string
}

const algo = (t: Target) => (t.etchash ? 'etchash' : 'ethash')

/** place writes where a port is; an address of IPv6 is in brackets. */
export const place = (host: string, port: number) => `${host.includes(':') && !host.startsWith('[') ? `[${host}]` : host}:${port}`
const at = (t: Target) => place(t.host, t.port)
const login = (t: Target) => (t.worker ? `${t.address}.${t.worker}` : t.address)

/** programs speak the pool's own dialect, eth_submitLogin, unless the program
 * finds out by itself. */
export const programs: Program[] = [
  { name: 'lolMiner', command: (t) => `lolMiner --algo ${algo(t).toUpperCase()} --pool ${at(t)} --user ${t.address}${t.worker && ` --worker ${t.worker}`}${t.tls ? ' --tls on' : ''}` },
  { name: 'T-Rex', command: (t) => `t-rex -a ${algo(t)} -o stratum+${t.tls ? 'ssl' : 'tcp'}://${at(t)} -u ${t.address}${t.worker && ` -w ${t.worker}`} -p x` },
  { name: 'TeamRedMiner', command: (t) => `teamredminer -a ${algo(t)} -o stratum+${t.tls ? 'ssl' : 'tcp'}://${at(t)} -u ${login(t)} -p x` },
  { name: 'Gminer', command: (t) => `miner --algo ${algo(t)} --server ${at(t)} --user ${login(t)} --proto proxy${t.tls ? ' --ssl 1' : ''}` },
  { name: 'NBMiner', command: (t) => `nbminer -a ${algo(t)} -o ethproxy+${t.tls ? 'ssl' : 'tcp'}://${at(t)} -u ${login(t)}` },
  { name: 'ethminer', command: (t) => `ethminer -P stratum1+${t.tls ? 'ssl' : 'tcp'}://${login(t)}@${at(t)}` },
]
