-- record: a payment made by hand that the books do not know yet.
-- KEYS[3] miner   KEYS[4] finances   KEYS[5] all   KEYS[6] miner's payments   KEYS[7] hashes
-- ARGV[3] login   ARGV[4] amount   ARGV[5] hash   ARGV[6] unix time
local row = ARGV[5] .. ':' .. ARGV[3] .. ':' .. ARGV[4]
local bad = unsound(KEYS[3], 'balance', 'paid') or unsound(KEYS[4], 'balance', 'paid') or wrongtype(KEYS[5], KEYS[6])
if not shannon(ARGV[4]) then bad = 'amount ' .. ARGV[4] .. ' is not an amount' end
if bad then return refuse('CONFLICT', bad) end
if redis.call('ZSCORE', KEYS[5], row) then return refuse('ALREADY') end
local owner = redis.call('HGET', KEYS[7], ARGV[5])
if owner then return refuse('CONFLICT', 'transaction ' .. ARGV[5] .. ' belongs to payment ' .. owner) end
move(KEYS[3], KEYS[4], ARGV[4], 'balance', 'paid')
redis.call('ZADD', KEYS[5], ARGV[6], row)
redis.call('ZADD', KEYS[6], ARGV[6], ARGV[5] .. ':' .. ARGV[4])
return done()
