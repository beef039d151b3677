-- oldrow: settle a pending row that an older pool wrote: credited back, or paid
-- when its transaction was found.
-- KEYS[3] miner   KEYS[4] finances   KEYS[5] pending   KEYS[6] all   KEYS[7] miner's payments
-- KEYS[8], KEYS[9] open-etc-pool's nonce and hash of the row   KEYS[10] hashes
-- ARGV[3] login   ARGV[4] amount   ARGV[5] hash, or '' to credit back   ARGV[6] unix time
local row = ARGV[3] .. ':' .. ARGV[4]
local to = ARGV[5] == '' and 'balance' or 'paid'
local bad = wrongtype('zset', KEYS[5], KEYS[6], KEYS[7]) or wrongtype('hash', KEYS[8], KEYS[9], KEYS[10])
if bad then return refuse('CONFLICT', bad) end
if not redis.call('ZSCORE', KEYS[5], row) then
  if to == 'paid' and not redis.call('ZSCORE', KEYS[6], ARGV[5] .. ':' .. row) then return refuse('HAND', row) end
  return refuse('ALREADY')
end
bad = unmovable(KEYS[3], KEYS[4], ARGV[4], 'pending', to)
if bad then return refuse('CONFLICT', bad) end
redis.call('ZREM', KEYS[5], row)
if backed(KEYS[3], ARGV[4]) then move(KEYS[3], KEYS[4], ARGV[4], 'pending', to) end
if to == 'paid' then
  redis.call('ZADD', KEYS[6], ARGV[6], ARGV[5] .. ':' .. row)
  redis.call('ZADD', KEYS[7], ARGV[6], ARGV[5] .. ':' .. ARGV[4])
end
if to == 'paid' then redis.call('HSETNX', KEYS[10], ARGV[5], 'recorded') end
redis.call('HDEL', KEYS[8], row)
redis.call('HDEL', KEYS[9], row)
return done()
