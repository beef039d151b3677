-- sent: a node has taken the transaction; pending becomes paid, as the manual says.
-- KEYS[3] record   KEYS[4] miner   KEYS[5] finances   KEYS[6] pending   KEYS[7] all   KEYS[8] miner's payments
-- ARGV[3] id   ARGV[4] kind   ARGV[5] login   ARGV[6] amount   ARGV[7] hash   ARGV[8] unix time
local state, bad = payment(KEYS[3], ARGV[3], 'kind', ARGV[4], 'login', ARGV[5], 'amount', ARGV[6])
if bad then return refuse('CONFLICT', bad) end
if (state == 'sent' or state == 'final') and redis.call('HGET', KEYS[3], 'hash') == ARGV[7] then return refuse('ALREADY') end
if state ~= 'signed' then return refuse('CONFLICT', 'payment ' .. ARGV[3] .. ' is ' .. state) end
if ARGV[4] == 'payment' then
  bad = unmovable(KEYS[4], KEYS[5], ARGV[6], 'pending', 'paid') or wrongtype('zset', KEYS[6], KEYS[7], KEYS[8])
  if bad then return refuse('CONFLICT', bad) end
  local row = ARGV[5] .. ':' .. ARGV[6]
  if not redis.call('ZSCORE', KEYS[6], row) then return refuse('HAND', row) end
  redis.call('ZREM', KEYS[6], row)
  move(KEYS[4], KEYS[5], ARGV[6], 'pending', 'paid')
  redis.call('ZADD', KEYS[7], ARGV[8], ARGV[7] .. ':' .. row)
  redis.call('ZADD', KEYS[8], ARGV[8], ARGV[7] .. ':' .. ARGV[6])
end
redis.call('HSET', KEYS[3], 'state', 'sent', 'hash', ARGV[7])
redis.call('HDEL', KEYS[3], 'why')
return done()
