-- openbooks: write down the differences that an older pool left, once.
-- KEYS[3] opening   ARGV[3...] login, BALANCE:PENDING:PAID:IMMATURE, in pairs
local bad = wrongtype('hash', KEYS[3])
if bad then return refuse('CONFLICT', bad) end
if redis.call('EXISTS', KEYS[3]) == 1 then return refuse('ALREADY') end
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
return {'OK', step, ''}
