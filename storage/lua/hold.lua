-- hold: the pending row was removed by hand and nothing was written down; or it
-- was put back (ARGV[4] 'signed').
-- KEYS[3] record   KEYS[4] pending   KEYS[5] miner
-- ARGV[3] id   ARGV[4] 'held' or 'signed'   ARGV[5] login   ARGV[6] amount   ARGV[7] why
-- ARGV[8] '1' when it may be put back although its amount is pending no more
local state, bad = payment(KEYS[3], ARGV[3], 'kind', 'payment', 'login', ARGV[5], 'amount', ARGV[6])
bad = bad or wrongtype('zset', KEYS[4]) or wrongtype('hash', KEYS[5])
if bad then return refuse('CONFLICT', bad) end
if state == ARGV[4] then return refuse('ALREADY') end
if state ~= 'signed' and state ~= 'held' then
  return refuse('CONFLICT', 'payment ' .. ARGV[3] .. ' is ' .. state)
end
local row = ARGV[5] .. ':' .. ARGV[6]
local there = redis.call('ZSCORE', KEYS[4], row)
if (ARGV[4] == 'held') == (there ~= false) then return refuse('CONFLICT', 'pending row ' .. row .. ' changed meanwhile') end
if ARGV[4] == 'signed' and ARGV[8] ~= '1' and not backed(KEYS[5], ARGV[6]) then
  return refuse('CONFLICT', 'pending row ' .. row .. ' was put back, but ' .. KEYS[5] .. ' has less pending: was the amount credited back by hand? Then take the row away again; the payment must not be made')
end
redis.call('HSET', KEYS[3], 'state', ARGV[4], 'why', ARGV[7])
return done()
