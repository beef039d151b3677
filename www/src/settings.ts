// settings.ts is what the pool's configuration says about the pages.
import { createContext } from 'preact'
import { useContext } from 'preact/hooks'
import type { Settings } from './types'

/** unset is used until the API has answered. */
export const unset: Settings = {
  name: '', coin: '', symbol: '', network: '', fee: 0, depth: 0, immatureDepth: 0, confirmations: 0, feeFromMiner: false, interval: 0,
  ports: [], explorerTx: '', explorerAddress: '', explorerBlock: '', accent: '', contact: '', version: '',
}

export const SettingsContext = createContext<Settings>(unset)

export const useSettings = () => useContext(SettingsContext)
