import assert from 'node:assert/strict'
import { test } from 'node:test'
import { place, programs } from './commands'

const plain = { address: '0xAb', worker: 'rig1', host: 'pool.example.org', port: 8008, tls: false, etchash: true }

test('every program gets address, rig, host and port', () => {
  for (const { name, command } of programs) {
    const text = command(plain)
    for (const part of ['0xAb', 'rig1', 'pool.example.org:8008']) assert.ok(text.includes(part), `${name}: ${text}`)
    assert.ok(!/tls|ssl/.test(text), `${name}: ${text}`)
    assert.ok(/tls|ssl/.test(command({ ...plain, tls: true })), name)
    const bare = command({ ...plain, worker: '' })
    assert.ok(!/undefined|\. |\.@|  /.test(bare), `${name}: ${bare}`)
    assert.ok(name === 'ethminer' || /etchash/i.test(text), name)
    assert.ok(!/etchash/i.test(command({ ...plain, etchash: false })), name)
    assert.ok(command({ ...plain, host: '2001:db8::1' }).includes('[2001:db8::1]:8008'), name)
  }
})

test('the command lines are spelled as the programs want them', () => {
  const of = (name: string) => programs.find((p) => p.name === name)!.command(plain)
  assert.equal(of('lolMiner'), 'lolMiner --algo ETCHASH --pool pool.example.org:8008 --user 0xAb --worker rig1')
  assert.equal(of('T-Rex'), 't-rex -a etchash -o stratum+tcp://pool.example.org:8008 -u 0xAb -w rig1 -p x')
  assert.equal(of('TeamRedMiner'), 'teamredminer -a etchash -o stratum+tcp://pool.example.org:8008 -u 0xAb.rig1 -p x')
  assert.equal(of('Gminer'), 'miner --algo etchash --server pool.example.org:8008 --user 0xAb.rig1 --proto proxy')
  assert.equal(of('NBMiner'), 'nbminer -a etchash -o ethproxy+tcp://pool.example.org:8008 -u 0xAb.rig1')
  assert.equal(of('ethminer'), 'ethminer -P stratum1+tcp://0xAb.rig1@pool.example.org:8008')
})

test('a port is written as programs read it', () => {
  assert.equal(place('pool.example.org', 8008), 'pool.example.org:8008')
  assert.equal(place('2001:db8::1', 8008), '[2001:db8::1]:8008')
  assert.equal(place('[::1]', 8008), '[::1]:8008')
})
