-- final: one of the recorded transactions is in a block, deep enough. The
-- history shows that one.
-- KEYS[3] record   KEYS[4] miner   KEYS[5] finances   KEYS[6] pending   KEYS[7] all   KEYS[8] miner's payments
-- KEYS[9] inflight   KEYS[10] finals   KEYS[11] rejects   KEYS[12] hashes   KEYS[13] opening
-- ARGV[3] id   ARGV[4] kind   ARGV[5] login   ARGV[6] amount   ARGV[7] hash   ARGV[8] unix time
-- ARGV[9] block   ARGV[10] block hash   ARGV[11] fee in Wei   ARGV[12] Shannon that stay pending for held payments
local state, bad = payment(KEYS[3], ARGV[3], 'kind', ARGV[4], 'login', ARGV[5], 'amount', ARGV[6])
if not bad and state == 'final' then
  state, bad = payment(KEYS[3], ARGV[3], 'hash', ARGV[7], 'block', ARGV[9], 'blockHash', ARGV[10])
  if not bad then return refuse('ALREADY') end
end
bad = bad or wrongtype('zset', KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]) or wrongtype('hash', KEYS[11], KEYS[12], KEYS[13])
  or taken(KEYS[12], ARGV[7], ARGV[3])
if bad then return refuse('CONFLICT', bad) end
if state ~= 'signed' and state ~= 'sent' and state ~= 'held' then
  return refuse('CONFLICT', 'payment ' .. ARGV[3] .. ' is ' .. state)
end
local pays = ARGV[4] == 'payment'
local row = ARGV[5] .. ':' .. ARGV[6]
local shown = redis.call('HGET', KEYS[3], 'hash') or ''
if pays and state ~= 'sent' then
  bad = unmovable(KEYS[4], KEYS[5], ARGV[6], 'pending', 'paid')
  if bad then return refuse('CONFLICT', bad) end
  local pending = redis.call('ZSCORE', KEYS[6], row)
  if state == 'signed' and not pending then return refuse('HAND', row) end
  if state == 'held' and pending then return refuse('CONFLICT', 'pending row ' .. row .. ' exists') end
end
if pays then
  local when = ARGV[8]
  if state == 'signed' then
    redis.call('ZREM', KEYS[6], row)
    move(KEYS[4], KEYS[5], ARGV[6], 'pending', 'paid')
  elseif state == 'held' then
    settlebyhand(KEYS[4], KEYS[5], KEYS[6], ARGV[6], ARGV[12], KEYS[13])
  elseif shown ~= ARGV[7] then
    when = redis.call('ZSCORE', KEYS[7], shown .. ':' .. row) or when
    redis.call('ZREM', KEYS[7], shown .. ':' .. row)
    redis.call('ZREM', KEYS[8], shown .. ':' .. ARGV[6])
  end
  if state ~= 'sent' or shown ~= ARGV[7] then
    redis.call('ZADD', KEYS[7], when, ARGV[7] .. ':' .. row)
    redis.call('ZADD', KEYS[8], when, ARGV[7] .. ':' .. ARGV[6])
  end
  redis.call('HDEL', KEYS[11], ARGV[5])
end
redis.call('HSET', KEYS[3], 'state', 'final', 'hash', ARGV[7], 'block', ARGV[9], 'blockHash', ARGV[10], 'fee', ARGV[11])
redis.call('HSET', KEYS[12], ARGV[7], ARGV[3])
redis.call('HDEL', KEYS[3], 'why')
redis.call('ZREM', KEYS[9], ARGV[3])
redis.call('ZADD', KEYS[10], ARGV[9], ARGV[3])
return done()
