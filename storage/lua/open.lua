-- open: debit a miner and bind the payment to a nonce, before anything is sent.
-- KEYS[3] record   KEYS[4] nonces   KEYS[5] hashes   KEYS[6] inflight
-- KEYS[7] miner    KEYS[8] finances KEYS[9] pending
-- ARGV[3] id   ARGV[4] nonce   ARGV[5] kind   ARGV[6] login   ARGV[7] amount
-- ARGV[8] time   ARGV[9] first hash or ''
-- ARGV[10] what the nonce is bound to so far ('' = it must be the next one, or
--          for a filler one that nothing is bound to)
-- ARGV[11...] the record's fields, in pairs; the last two pairs, tries and
--          attempts, are the ones that change later
local id, nonce, amount = ARGV[3], ARGV[4], ARGV[7]
local bad = wrongtype('hash', KEYS[4], KEYS[5]) or wrongtype('zset', KEYS[6], KEYS[9])
if bad then return refuse('CONFLICT', bad) end
if redis.call('EXISTS', KEYS[3]) == 1 then
  local state, other = payment(KEYS[3], id, unpack(ARGV, 11, #ARGV - 4))
  if not other and state == 'void' then other = 'payment ' .. id .. ' is void' end
  if not other and ARGV[9] ~= '' and redis.call('HGET', KEYS[5], ARGV[9]) ~= id then
    other = 'transaction ' .. ARGV[9] .. ' is not one of payment ' .. id
  end
  if other then return refuse('CONFLICT', other) end
  return refuse('ALREADY')
end
local filler = ARGV[5] == 'filler'
local bound = redis.call('HGET', KEYS[4], nonce) or ''
if bound ~= ARGV[10] or bound ~= '' and not filler then
  return refuse('CONFLICT', 'nonce ' .. nonce .. ' is bound to ' .. bound)
end
local next = redis.call('HGET', KEYS[2], 'nextNonce') or ''
local gap = filler and tonumber(nonce) < (shannon(next) or 0)
if next ~= nonce and not gap then
  return refuse('CONFLICT', 'nonce ' .. nonce .. ' is not the next one')
end
if ARGV[9] ~= '' and redis.call('HEXISTS', KEYS[5], ARGV[9]) == 1 then
  return refuse('CONFLICT', 'transaction ' .. ARGV[9] .. ' is recorded already')
end
local pays = ARGV[5] == 'payment'
if pays then
  -- paid as well, or the payment could be sent and never be booked
  bad = unmovable(KEYS[7], KEYS[8], amount, 'balance', 'pending') or unmovable(KEYS[7], KEYS[8], amount, 'pending', 'paid')
  if bad then return refuse('CONFLICT', bad) end
  if shannon(redis.call('HGET', KEYS[7], 'balance') or '0') < shannon(amount) then
    return refuse('CONFLICT', 'the balance is below ' .. amount)
  end
  local prefix = ARGV[6] .. ':'
  for _, row in ipairs(redis.call('ZRANGE', KEYS[9], 0, -1)) do
    if string.sub(row, 1, #prefix) == prefix then return refuse('CONFLICT', 'pending row ' .. row .. ' exists') end
  end
end
if pays then
  move(KEYS[7], KEYS[8], amount, 'balance', 'pending')
  redis.call('ZADD', KEYS[9], ARGV[8], ARGV[6] .. ':' .. amount)
end
redis.call('HSET', KEYS[3], 'state', 'signed', unpack(ARGV, 11))
redis.call('HSET', KEYS[4], nonce, id)
if next == nonce then redis.call('HSET', KEYS[2], 'nextNonce', string.format('%d', tonumber(nonce) + 1)) end
if ARGV[9] ~= '' then redis.call('HSET', KEYS[5], ARGV[9], id) end
redis.call('ZADD', KEYS[6], nonce, id)
return done()
