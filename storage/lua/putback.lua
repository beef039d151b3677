-- putback: the pending row of a held payment is there again, as the manual has it
-- typed; the payment goes on at the next look.
-- KEYS[3] record   KEYS[4] pending   KEYS[5] miner
-- ARGV[3] id   ARGV[4] login   ARGV[5] amount   ARGV[6] unix time of the debit
local state, bad = payment(KEYS[3], ARGV[3], 'kind', 'payment', 'login', ARGV[4], 'amount', ARGV[5])
bad = bad or wrongtype('zset', KEYS[4]) or wrongtype('hash', KEYS[5])
if bad then return refuse('CONFLICT', bad) end
local row = ARGV[4] .. ':' .. ARGV[5]
if (state == 'held' or state == 'signed') and redis.call('ZSCORE', KEYS[4], row) then return refuse('ALREADY') end
if state ~= 'held' then return refuse('CONFLICT', 'payment ' .. ARGV[3] .. ' is ' .. state) end
if not backed(KEYS[5], ARGV[5]) then
  return refuse('CONFLICT', KEYS[5] .. ' has less pending than the payment; was the amount credited back by hand? Then the payment must not be made')
end
redis.call('ZADD', KEYS[4], ARGV[6], row)
return done()
