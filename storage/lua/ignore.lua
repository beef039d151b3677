-- ignore: a transaction of the account was no payout, says the operator, though
-- it used the nonce of a payment.
-- KEYS[3] hashes   ARGV[3] its hash
local bad = wrongtype('hash', KEYS[3])
if bad then return refuse('CONFLICT', bad) end
local owner = redis.call('HGET', KEYS[3], ARGV[3])
if owner == 'ignored' then return refuse('ALREADY') end
if owner then return refuse('CONFLICT', 'transaction ' .. ARGV[3] .. ' is payment ' .. owner) end
redis.call('HSET', KEYS[3], ARGV[3], 'ignored')
return done()
