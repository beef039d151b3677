-- reinstate: put back a journalled payment that Redis forgot. Its bytes may be
-- out, so it comes back as sent, whatever the balance; the journal tells later
-- if it was given up.
-- KEYS[3] record   KEYS[4] nonces   KEYS[5] hashes   KEYS[6] inflight
-- KEYS[7] miner    KEYS[8] finances KEYS[9] all      KEYS[10] miner's payments
-- ARGV[3] id   ARGV[4] nonce   ARGV[5] kind   ARGV[6] login   ARGV[7] amount
-- ARGV[8] time   ARGV[9] hash to show or ''   ARGV[10] what may be replaced at the nonce or ''
-- ARGV[11...] the record's fields, in pairs; the last two pairs, tries and
--          attempts, are the ones that change later
local id, nonce, amount = ARGV[3], ARGV[4], ARGV[7]
local bad = wrongtype('hash', KEYS[4], KEYS[5]) or wrongtype('zset', KEYS[6], KEYS[9], KEYS[10])
if bad then return refuse('CONFLICT', bad) end
if redis.call('EXISTS', KEYS[3]) == 1 then
  local _, other = payment(KEYS[3], id, unpack(ARGV, 11, #ARGV - 4))
  if other then return refuse('CONFLICT', other) end
  return refuse('ALREADY')
end
local bound = redis.call('HGET', KEYS[4], nonce) or ''
if bound ~= '' and bound ~= ARGV[10] and not string.match(bound, '^dead:') and not string.match(bound, '^foreign:') then
  return refuse('CONFLICT', 'nonce ' .. nonce .. ' is bound to ' .. bound)
end
local next = shannon(redis.call('HGET', KEYS[2], 'nextNonce') or '0')
if not next then return refuse('CONFLICT', KEYS[2] .. ' field nextNonce is not a nonce') end
local pays = ARGV[5] == 'payment'
bad = taken(KEYS[5], ARGV[9], id) or pays and unmovable(KEYS[7], KEYS[8], amount, 'balance', 'paid')
if bad then return refuse('CONFLICT', bad) end
if pays then
  move(KEYS[7], KEYS[8], amount, 'balance', 'paid')
  if ARGV[9] ~= '' then
    redis.call('ZADD', KEYS[9], ARGV[8], ARGV[9] .. ':' .. ARGV[6] .. ':' .. amount)
    redis.call('ZADD', KEYS[10], ARGV[8], ARGV[9] .. ':' .. amount)
  end
end
redis.call('HSET', KEYS[3], 'state', 'sent', 'hash', ARGV[9], unpack(ARGV, 11))
redis.call('HSET', KEYS[4], nonce, id)
if ARGV[9] ~= '' then redis.call('HSET', KEYS[5], ARGV[9], id) end
redis.call('ZADD', KEYS[6], nonce, id)
if next <= tonumber(nonce) then
  redis.call('HSET', KEYS[2], 'nextNonce', string.format('%d', tonumber(nonce) + 1))
end
return done()
