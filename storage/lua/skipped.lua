-- skipped: write down whom a session did not pay, instead of those of the last.
-- KEYS[3] skipped   ARGV[3...] login, why, in pairs
local bad = wrongtype('hash', KEYS[3])
if bad then return refuse('CONFLICT', bad) end
redis.call('DEL', KEYS[3])
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
return {'OK', step, ''}
