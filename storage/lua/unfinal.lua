-- unfinal: a reorg deeper than finality took the block away; the payment is
-- open again and its bytes go out again.
-- KEYS[3] record   KEYS[4] inflight   KEYS[5] finals
-- ARGV[3] id   ARGV[4] nonce   ARGV[5] why
local state, bad = payment(KEYS[3], ARGV[3], 'nonce', ARGV[4])
bad = bad or wrongtype('zset', KEYS[4], KEYS[5])
if bad then return refuse('CONFLICT', bad) end
if state == 'sent' then return refuse('ALREADY') end
if state ~= 'final' then return refuse('CONFLICT', 'payment ' .. ARGV[3] .. ' is ' .. state) end
redis.call('HSET', KEYS[3], 'state', 'sent', 'why', ARGV[5])
redis.call('HDEL', KEYS[3], 'block', 'blockHash', 'fee')
redis.call('ZREM', KEYS[5], ARGV[3])
redis.call('ZADD', KEYS[4], ARGV[4], ARGV[3])
return done()
