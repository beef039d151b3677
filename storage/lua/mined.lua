-- mined: in which block a sent payment is, for those who look on; nothing rests on
-- it, and a reorg may take it away.
-- KEYS[3] record   ARGV[3] id   ARGV[4] block, or '' for none
local state, bad = payment(KEYS[3], ARGV[3])
if bad then return refuse('CONFLICT', bad) end
if state ~= 'sent' or (redis.call('HGET', KEYS[3], 'block') or '') == ARGV[4] then return refuse('ALREADY') end
if ARGV[4] == '' then
  redis.call('HDEL', KEYS[3], 'block')
else
  redis.call('HSET', KEYS[3], 'block', ARGV[4])
end
return done()
