-- void: it is proved that the payment can never happen; the miner is credited
-- back, once.
-- KEYS[3] record   KEYS[4] miner   KEYS[5] finances   KEYS[6] pending   KEYS[7] all   KEYS[8] miner's payments
-- KEYS[9] inflight   KEYS[10] nonces   KEYS[11] rejects   KEYS[12] hashes
-- ARGV[3] id   ARGV[4] kind   ARGV[5] login   ARGV[6] amount   ARGV[7] nonce   ARGV[8] why
-- ARGV[9] what the nonce is bound to now: 'free' (nothing is out: the nonce is
--         used again if it was the last one, else it is dead), 'own' (our own
--         transaction used it up) or 'foreign:HASH'
-- ARGV[10] why the recipient rejects payments, or ''
-- ARGV[11...] the attempts' hashes; with 'free' they name nothing any more,
--         because the next payment at the nonce may have the very same bytes
local state, bad = payment(KEYS[3], ARGV[3], 'kind', ARGV[4], 'login', ARGV[5], 'amount', ARGV[6], 'nonce', ARGV[7])
bad = bad or wrongtype('zset', KEYS[6], KEYS[7], KEYS[8], KEYS[9]) or wrongtype('hash', KEYS[10], KEYS[11], KEYS[12])
if bad then return refuse('CONFLICT', bad) end
if state == 'void' then return refuse('ALREADY') end
if state ~= 'signed' and state ~= 'sent' then
  return refuse('CONFLICT', 'payment ' .. ARGV[3] .. ' is ' .. state)
end
local pays = ARGV[4] == 'payment'
local row = ARGV[5] .. ':' .. ARGV[6]
local shown = redis.call('HGET', KEYS[3], 'hash') or ''
local from = state == 'signed' and 'pending' or 'paid'
if pays then
  bad = unmovable(KEYS[4], KEYS[5], ARGV[6], from, 'balance')
  if bad then return refuse('CONFLICT', bad) end
  if state == 'signed' and not redis.call('ZSCORE', KEYS[6], row) then return refuse('HAND', row) end
end
if pays then
  -- only its own row: when sent, another payment of the miner may have one like it
  if state == 'signed' then redis.call('ZREM', KEYS[6], row) end
  redis.call('ZREM', KEYS[7], shown .. ':' .. row)
  redis.call('ZREM', KEYS[8], shown .. ':' .. ARGV[6])
  if state == 'sent' or backed(KEYS[4], ARGV[6]) then move(KEYS[4], KEYS[5], ARGV[6], from, 'balance') end
  if ARGV[10] ~= '' then redis.call('HSET', KEYS[11], ARGV[5], ARGV[10]) end
end
redis.call('HSET', KEYS[3], 'state', 'void', 'why', ARGV[8])
redis.call('ZREM', KEYS[9], ARGV[3])
if ARGV[9] ~= 'own' and redis.call('HGET', KEYS[10], ARGV[7]) == ARGV[3] then
  if ARGV[9] == 'free' then
    for i = 11, #ARGV do redis.call('HDEL', KEYS[12], ARGV[i]) end
  end
  if ARGV[9] ~= 'free' then
    redis.call('HSET', KEYS[10], ARGV[7], ARGV[9])
  elseif tonumber(redis.call('HGET', KEYS[2], 'nextNonce')) == tonumber(ARGV[7]) + 1 then
    redis.call('HDEL', KEYS[10], ARGV[7])
    redis.call('HSET', KEYS[2], 'nextNonce', ARGV[7])
  else
    redis.call('HSET', KEYS[10], ARGV[7], 'dead:' .. ARGV[3])
  end
end
return done()
